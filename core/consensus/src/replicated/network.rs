//! How members reach each other: openraft's calls as requests on a transport.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use craton_types::planted::{Bug, is_planted};
use craton_types::{FormatUnknown, NodeId};
use futures::future::BoxFuture;
use openraft::error::{Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{OptionalSend, RaftNetwork, RaftNetworkFactory, Snapshot};

use super::types::{Member, TypeConfig, Vote};
use super::wire::{Request, Response};

/// How long a snapshot may take to come in. What came in before is not lost: the next attempt goes on from there.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(3_600);
/// How long any other request may take that openraft sets no limit for.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a member that cannot be reached is left alone.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(100);

/// Which connection a request takes, so that a long one does not hold up others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Entries, heartbeats and votes.
    Consensus,
    /// Commands and reads that are forwarded.
    Commands,
    /// Parts of snapshots and of logs.
    Transfer,
}

/// A member that a request goes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Its id.
    pub id: NodeId,
    /// Host and port where it listens for the others.
    pub address: String,
}

/// Why there is no answer. Whether the request arrived is unknown.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransportError {
    /// There is no connection.
    #[error("member {peer} cannot be reached: {reason}")]
    Unreachable {
        /// Which one.
        peer: NodeId,
        /// Why.
        reason: String,
    },
    /// It refuses connections of this node.
    #[error("member {peer} refuses this node: {reason}")]
    Refused {
        /// Which one.
        peer: NodeId,
        /// Why.
        reason: String,
    },
    /// One of both is of a build that does not know the format version in use.
    #[error("member {peer} is not spoken to")]
    Format {
        /// Which one.
        peer: NodeId,
        /// Who is too old.
        #[source]
        error: FormatUnknown,
    },
    /// It took too long.
    #[error("member {peer} did not answer in time")]
    Timeout {
        /// Which one.
        peer: NodeId,
    },
    /// What it answered cannot be understood, or is that it failed.
    #[error("member {peer} answered: {reason}")]
    Answer {
        /// Which one.
        peer: NodeId,
        /// What is wrong.
        reason: String,
    },
}

/// Carries requests between members that have shown each other who they are. Bytes are opaque to it.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request and waits for its answer.
    fn call(&self, peer: Peer, lane: Lane, request: Bytes) -> BoxFuture<'static, Result<Bytes, TransportError>>;
}

/// The other members, as one of them sees them.
pub(super) struct Peers {
    own: u64,
    transport: Arc<dyn Transport>,
}

impl Peers {
    pub(super) fn new(own: NodeId, transport: Arc<dyn Transport>) -> Self {
        Self {
            own: own.get(),
            transport,
        }
    }

    pub(super) const fn own_id(&self) -> u64 {
        self.own
    }

    async fn call(
        &self,
        target: u64,
        member: &Member,
        lane: Lane,
        request: Request,
        timeout: Duration,
    ) -> Result<Response, TransportError> {
        let peer = NodeId::new(target);
        let address = member.peer_address.clone();
        let call = self.transport.call(Peer { id: peer, address }, lane, request.encode());
        let answer = tokio::time::timeout(timeout, call)
            .await
            .map_err(|_| TransportError::Timeout { peer })??;
        match Response::decode(&answer) {
            Ok(Response::Failed { reason }) => Err(TransportError::Answer { peer, reason }),
            Ok(response) => Ok(response),
            Err(error) => Err(TransportError::Answer {
                peer,
                reason: error.to_string(),
            }),
        }
    }

    /// A request for a part of a snapshot or a log.
    pub(super) async fn transfer(
        &self,
        target: u64,
        member: &Member,
        request: Request,
    ) -> Result<Response, TransportError> {
        self.call(target, member, Lane::Transfer, request, REQUEST_TIMEOUT)
            .await
    }

    /// A forwarded command or read.
    pub(super) async fn forward(
        &self,
        target: u64,
        member: &Member,
        request: Request,
    ) -> Result<Response, TransportError> {
        self.call(target, member, Lane::Commands, request, REQUEST_TIMEOUT)
            .await
    }
}

/// Makes [`Connection`]s for openraft.
#[derive(Clone)]
pub(super) struct Network(pub(super) Arc<Peers>);

/// The way to one member.
pub(super) struct Connection {
    peers: Arc<Peers>,
    target: u64,
    member: Member,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &Member) -> Self::Network {
        Connection {
            peers: Arc::clone(&self.0),
            target,
            member: node.clone(),
        }
    }
}

type RpcError = RPCError<u64, Member, RaftError<u64>>;

fn rpc_error(error: &TransportError) -> RpcError {
    match error {
        TransportError::Unreachable { .. } | TransportError::Refused { .. } | TransportError::Format { .. } => {
            RPCError::Unreachable(Unreachable::new(error))
        }
        TransportError::Timeout { .. } | TransportError::Answer { .. } => RPCError::Network(NetworkError::new(error)),
    }
}

impl Connection {
    async fn call(&self, request: Request, timeout: Duration) -> Result<Response, TransportError> {
        self.peers
            .call(self.target, &self.member, Lane::Consensus, request, timeout)
            .await
    }

    fn unexpected(&self, response: &Response) -> TransportError {
        TransportError::Answer {
            peer: NodeId::new(self.target),
            reason: format!("something else than was asked for: {response:?}"),
        }
    }
}

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        // The limit is the heartbeat's interval; entries on a slow disk take longer, and asking again makes it worse.
        let timeout = if rpc.entries.is_empty() {
            option.hard_ttl()
        } else {
            REQUEST_TIMEOUT
        };
        let answer = self.call(Request::Append(rpc), timeout).await;
        if is_planted(Bug::AcknowledgeBeforeQuorum) && answer.is_err() {
            return Ok(AppendEntriesResponse::Success);
        }
        match answer.map_err(|error| rpc_error(&error))? {
            Response::Append(AppendEntriesResponse::HigherVote(_)) if is_planted(Bug::IgnoreNewerLeader) => {
                Ok(AppendEntriesResponse::Success)
            }
            Response::Append(response) => Ok(response),
            other => Err(rpc_error(&self.unexpected(&other))),
        }
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, option: RPCOption) -> Result<VoteResponse<u64>, RpcError> {
        let answer = self.call(Request::Vote(rpc), option.hard_ttl()).await;
        match answer.map_err(|error| rpc_error(&error))? {
            Response::Vote(response) => Ok(response),
            other => Err(rpc_error(&self.unexpected(&other))),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<TypeConfig>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        let request = Request::Snapshot {
            vote,
            meta: snapshot.meta,
            manifest: snapshot.snapshot.manifest,
        };
        let call = self
            .peers
            .call(self.target, &self.member, Lane::Transfer, request, SNAPSHOT_TIMEOUT);
        let answer = tokio::select! {
            biased;
            answer = call => answer,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        match answer {
            Ok(Response::Snapshot { vote }) => Ok(SnapshotResponse::new(vote)),
            Ok(other) => Err(StreamingError::Network(NetworkError::new(&self.unexpected(&other)))),
            Err(error @ TransportError::Unreachable { .. }) => {
                Err(StreamingError::Unreachable(Unreachable::new(&error)))
            }
            Err(error) => Err(StreamingError::Network(NetworkError::new(&error))),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(UNREACHABLE_PAUSE))
    }
}
