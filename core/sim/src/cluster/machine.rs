//! A machine of a cluster: its disk and clock, and the runtime that everything on it runs on while it is up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use craton_consensus::{Lane, Peer, Transport, TransportError};
use craton_engine::{ClusterKeys, ClusterOptions, Member, fetch_cluster_keys};
use craton_log::testing::Crash;
use craton_types::NodeId;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::{TICK, violation};
use crate::checkers::LIVENESS;
use crate::host::Host;
use crate::network::{Network, Packet};
use crate::swarm::Swarm;
use crate::trace::Trace;
use crate::world::Violation;

/// See the module.
pub(super) struct Machine {
    pub(super) id: u64,
    pub(super) host: Host,
    pub(super) runtime: Option<Runtime>,
    /// When it is started again, while it is down.
    pub(super) starts_at_ms: u64,
    /// Until when it stands still, and since when.
    pub(super) stands_still: Option<StandsStill>,
    /// When its disk has space again.
    pub(super) space_at_ms: Option<u64>,
    /// The generation of the list of members that it was told.
    pub(super) told_generation: u64,
    /// It hands leadership on before it stops.
    pub(super) draining: Option<JoinHandle<()>>,
    /// It is no machine of the cluster any more.
    pub(super) is_gone: bool,
    /// Whether its disk may be damaged.
    pub(super) is_unlucky: bool,
}

/// A machine that stands still knows nothing of it; what arrives meanwhile waits.
pub(super) struct StandsStill {
    pub(super) since_ms: u64,
    pub(super) until_ms: u64,
    pub(super) arrived: Vec<Packet>,
}

impl Machine {
    pub(super) fn new(seed: u64, id: u64, swarm: &Swarm, trace: &Trace, is_unlucky: bool) -> Self {
        let spared = swarm.undamaged();
        let swarm = if is_unlucky { swarm } else { &spared };
        Self {
            id,
            host: Host::new(seed ^ id.rotate_left(48), swarm, trace),
            runtime: None,
            starts_at_ms: 0,
            stands_still: None,
            space_at_ms: None,
            told_generation: 0,
            draining: None,
            is_gone: false,
            is_unlucky,
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        self.runtime.is_some()
    }

    /// The node as a member, when it is up.
    pub(super) fn member(&self) -> Option<Member> {
        self.host.node.as_ref()?.craton.member()
    }

    /// Starts the node. The error is told as a text.
    pub(super) fn open(&mut self, options: impl FnOnce(&Runtime) -> ClusterOptions) -> Result<(), String> {
        let runtime = new_runtime();
        let options = options(&runtime);
        let entered = runtime.enter();
        let opened = self.host.open_member(options);
        drop(entered);
        self.runtime = Some(runtime);
        opened.map_err(|error| format!("{error:?}"))
    }

    /// The keys of the cluster, as a new member asks for them.
    pub(super) fn keys(&self) -> Result<ClusterKeys, Violation> {
        let (Some(member), Some(runtime)) = (self.member(), &self.runtime) else {
            return Err(violation(LIVENESS, "the first member is gone"));
        };
        let peer = Peer {
            id: NodeId::new(self.id),
            address: String::new(),
        };
        let keys = runtime.block_on(fetch_cluster_keys(&Direct(member), peer));
        keys.map_err(|error| violation(LIVENESS, format!("no keys: {error}")))
    }

    /// Everything that it does ends; what it did not sync is treated as the crash says.
    pub(super) fn stop(&mut self, crash: Crash) {
        self.draining = None;
        self.stands_still = None;
        self.host.crash(crash);
        drop(self.runtime.take());
    }

    /// Stops the node in good order.
    pub(super) fn close(&mut self) -> Result<(), String> {
        self.draining = None;
        let Some(runtime) = self.runtime.take() else {
            return Ok(());
        };
        let entered = runtime.enter();
        let closed = self.host.close();
        drop(entered);
        drop(runtime);
        closed.map_err(|error| format!("{error:?}"))
    }

    /// Lets everything that runs on it go on for a tick.
    pub(super) fn run_tasks(&self) {
        if let Some(runtime) = &self.runtime {
            runtime.block_on(async { tokio::time::sleep(TICK).await });
        }
    }

    /// It goes on after it stood still for so long. What arrived meanwhile is returned.
    pub(super) fn go_on(&mut self, now_ms: u64) -> Vec<Packet> {
        let Some(stood_still) = self.stands_still.take() else {
            return Vec::new();
        };
        let still = Duration::from_millis(now_ms.saturating_sub(stood_still.since_ms));
        self.host
            .clock
            .advance(u64::try_from(still.as_nanos()).unwrap_or(u64::MAX));
        if let Some(runtime) = &self.runtime {
            runtime.block_on(tokio::time::advance(still));
        }
        stood_still.arrived
    }

    /// Hands a packet to whom it is for.
    pub(super) fn take(&mut self, packet: Packet, network: &Network) {
        if let Some(stands_still) = &mut self.stands_still {
            return stands_still.arrived.push(packet);
        }
        match packet {
            Packet::Answer { answer, waiting, .. } => {
                if let Some(waiting) = waiting {
                    // Whoever asked may have given up.
                    let _ = waiting.send(answer);
                }
            }
            Packet::Request {
                from,
                to,
                lane,
                bytes,
                waiting,
                ..
            } => {
                let network = network.clone();
                let answer = move |answer| Packet::Answer {
                    from: to,
                    to: from,
                    lane,
                    answer,
                    waiting,
                };
                match (self.member(), &self.runtime) {
                    (Some(member), Some(runtime)) => {
                        runtime.spawn(async move {
                            let bytes = member.answer(NodeId::new(from), bytes).await;
                            network.send(answer(Ok(bytes)));
                        });
                    }
                    _ => network.send(answer(Err(TransportError::Unreachable {
                        peer: NodeId::new(to),
                        reason: "it is down".to_owned(),
                    }))),
                }
            }
        }
    }
}

/// A runtime whose time stands still unless somebody waits for it.
pub(super) fn new_runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("the system gives a runtime")
}

/// Asks a member without a network.
struct Direct(Member);

impl Transport for Direct {
    fn call(&self, _: Peer, _: Lane, request: Bytes) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let member = self.0.clone();
        async move { Ok(member.answer(NodeId::new(u64::MAX), request).await) }.boxed()
    }
}

/// Reaches nobody.
pub(super) struct Nobody;

impl Nobody {
    pub(super) fn transport() -> Arc<dyn Transport> {
        Arc::new(Self)
    }
}

impl Transport for Nobody {
    fn call(&self, peer: Peer, _: Lane, _: Bytes) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let reason = "there is no network".to_owned();
        async move { Err(TransportError::Unreachable { peer: peer.id, reason }) }.boxed()
    }
}
