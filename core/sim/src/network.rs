//! The simulated network between members: packets that are late, lost, doubled or held up by a cut, as the seed says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use craton_consensus::{Lane, Peer, Transport, TransportError};
use craton_types::NodeId;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::dice::{Dice, fnv, fnv_empty};
use crate::fault::{Counts, Fault};
use crate::swarm::Swarm;
use crate::trace::Trace;

/// How long a packet takes at most when nothing is wrong, in milliseconds.
const LATENCY_MS_MAX: u64 = 3;
/// How much longer a late packet takes at most.
const DELAY_MS_MAX: u64 = 800;

/// A shorter answer is no part of a snapshot.
const TRANSFER_BYTES_MIN: usize = 150;
/// The last so many bytes of a part of a snapshot may be damaged.
const DAMAGED_BYTES_MAX: u64 = 8;
/// A connection whose other end says nothing for so long is given up.
const KEEPALIVE_MS: u64 = 11_000;

/// Who waits for an answer; a doubled request has nobody.
type Waiting = Option<oneshot::Sender<Result<Bytes, TransportError>>>;

/// Something on its way.
pub(crate) enum Packet {
    /// A member asks another one.
    Request {
        from: u64,
        to: u64,
        bytes: Bytes,
        lane: Lane,
        /// Whether it may arrive twice. A connection brings a command once or not at all.
        may_double: bool,
        waiting: Waiting,
    },
    /// A member is answered.
    Answer {
        from: u64,
        to: u64,
        lane: Lane,
        answer: Result<Bytes, TransportError>,
        waiting: Waiting,
    },
}

/// See the module. A clone is the same network.
#[derive(Clone)]
pub(crate) struct Network(Arc<Mutex<State>>);

struct State {
    dice: Dice,
    swarm: Swarm,
    trace: Trace,
    armed: bool,
    now_ms: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Packet>,
    /// From whom to whom nothing gets through.
    cut: BTreeSet<(u64, u64)>,
    /// Whoever waits for what was lost, until it gives up, or the connection is: since when.
    lost: VecDeque<(u64, NodeId, Waiting)>,
    counts: Counts,
}

impl Network {
    pub(crate) fn new(seed: u64, swarm: &Swarm, trace: &Trace) -> Self {
        Self(Arc::new(Mutex::new(State {
            dice: Dice::new(seed, "network"),
            swarm: swarm.clone(),
            trace: trace.clone(),
            armed: false,
            now_ms: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            cut: BTreeSet::new(),
            lost: VecDeque::new(),
            counts: Counts::default(),
        })))
    }

    pub(crate) fn set_armed(&self, armed: bool) {
        self.0.lock().armed = armed;
    }

    /// Cuts the way from one member to another, or mends it.
    pub(crate) fn cut(&self, from: u64, to: u64, is_cut: bool) {
        let cut = &mut self.0.lock().cut;
        if is_cut {
            cut.insert((from, to));
        } else {
            cut.remove(&(from, to));
        }
    }

    /// Mends everything.
    pub(crate) fn mend(&self) {
        self.0.lock().cut.clear();
    }

    /// A millisecond passes; what arrives now.
    pub(crate) fn tick(&self) -> Vec<Packet> {
        let state = &mut *self.0.lock();
        state.now_ms += 1;
        state.give_up();
        let later = state.queue.split_off(&(state.now_ms + 1, 0));
        let due = std::mem::replace(&mut state.queue, later);
        due.into_values().filter_map(|packet| state.arrive(packet)).collect()
    }

    /// The way that a member sends.
    pub(crate) fn wire(&self, from: u64) -> Arc<dyn Transport> {
        Arc::new(Wire {
            network: self.clone(),
            from,
        })
    }

    pub(crate) fn send(&self, packet: Packet) {
        self.0.lock().send(packet);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.0.lock().counts.clone()
    }
}

impl State {
    fn strikes(&mut self, fault: Fault) -> bool {
        let rate = if self.armed { self.swarm.rate(fault) } else { 0 };
        let strikes = rate > 0 && self.dice.strikes(rate);
        if strikes {
            self.counts.add(fault.name(), 1);
        }
        strikes
    }

    fn send(&mut self, mut packet: Packet) {
        let (kind, from, to, hash) = match &packet {
            Packet::Request { from, to, bytes, .. } => ("asks", *from, *to, fnv(fnv_empty(), bytes)),
            Packet::Answer { from, to, answer, .. } => {
                let hash = answer.as_ref().map_or(0, |bytes| fnv(fnv_empty(), bytes));
                ("answers", *from, *to, hash)
            }
        };
        self.trace.note(format_args!("{from} {kind} {to} {hash:x}"));
        if self.strikes(Fault::NetworkDrop) {
            return self.lose(packet);
        }
        if let Packet::Request {
            from,
            to,
            lane,
            bytes,
            may_double: true,
            ..
        } = &packet
            && self.strikes(Fault::NetworkDuplicate)
        {
            let again = Packet::Request {
                from: *from,
                to: *to,
                lane: *lane,
                bytes: bytes.clone(),
                may_double: false,
                waiting: None,
            };
            self.queue_up(again);
        }
        self.damage(&mut packet);
        self.queue_up(packet);
    }

    /// Flips a bit at the end of a part of a snapshot: of what the last record of it says, or of a key. No one but the
    /// member that takes it in can notice.
    fn damage(&mut self, packet: &mut Packet) {
        if let Packet::Answer {
            lane: Lane::Transfer,
            answer: Ok(bytes),
            ..
        } = packet
            && bytes.len() >= TRANSFER_BYTES_MIN
            && self.strikes(Fault::DamagedTransfer)
        {
            let mut damaged = bytes.to_vec();
            let back = usize::try_from(self.dice.between(1, DAMAGED_BYTES_MAX)).expect("few bytes");
            let at = damaged.len() - back;
            damaged[at] ^= 1 << self.dice.below(8);
            *bytes = damaged.into();
        }
    }

    fn queue_up(&mut self, packet: Packet) {
        let mut latency_ms = self.dice.between(1, LATENCY_MS_MAX);
        if self.strikes(Fault::NetworkDelay) {
            latency_ms += self.dice.below(DELAY_MS_MAX);
        }
        self.sequence += 1;
        self.queue.insert((self.now_ms + latency_ms, self.sequence), packet);
    }

    fn arrive(&mut self, packet: Packet) -> Option<Packet> {
        let (Packet::Request { from, to, .. } | Packet::Answer { from, to, .. }) = &packet;
        if self.cut.contains(&(*from, *to)) {
            self.lose(packet);
            return None;
        }
        Some(packet)
    }

    fn lose(&mut self, packet: Packet) {
        let (Packet::Request { to, waiting, .. } | Packet::Answer { from: to, waiting, .. }) = packet;
        self.lost.push_back((self.now_ms, NodeId::new(to), waiting));
    }

    /// Gives up connections whose other end has said nothing for too long.
    fn give_up(&mut self) {
        let is_due = |lost: &mut (u64, NodeId, Waiting)| lost.0 + KEEPALIVE_MS <= self.now_ms;
        while let Some((_, peer, waiting)) = self.lost.pop_front_if(is_due) {
            // Whoever asked may have given up before.
            let _ = waiting.map(|waiting| waiting.send(Err(TransportError::Timeout { peer })));
        }
    }
}

struct Wire {
    network: Network,
    from: u64,
}

impl Transport for Wire {
    fn call(&self, peer: Peer, lane: Lane, request: Bytes) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (sender, receiver) = oneshot::channel();
        self.network.send(Packet::Request {
            from: self.from,
            to: peer.id.get(),
            lane,
            bytes: request,
            may_double: lane == Lane::Consensus,
            waiting: Some(sender),
        });
        let timeout = TransportError::Timeout { peer: peer.id };
        async move { receiver.await.unwrap_or(Err(timeout)) }.boxed()
    }
}
