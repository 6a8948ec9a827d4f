//! The way to other members: one connection to each for each lane, made when it is needed, with many requests in flight.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use craton_consensus::{Lane, Peer, Transport, TransportError};
use craton_types::{Form, FormatUnknown, FormatUser, FormatVersion, NodeId};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::tls::PeerIdentity;
use super::wire::{Hello, VERSION, Welcome, WireError, read_frame, read_hello, write_frame, write_hello};

/// How long connecting may take, hellos included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection whose other end says nothing for so long is asked whether it is still there,
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
/// again after so long,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// and given up after so many questions. Whoever waits for a snapshot to come in would otherwise wait for a machine that
/// lost its power until the request times out.
const KEEPALIVE_PROBES: u32 = 3;
/// Requests on one connection that have no answer yet; further ones wait.
const IN_FLIGHT_MAX: usize = 1_024;

/// Carries requests to other members.
pub(crate) struct PeerTransport {
    identity: Arc<PeerIdentity>,
    connections: Mutex<HashMap<(Peer, Lane), Arc<Slot>>>,
}

/// Where the connection to a member is, or is made by one request at a time.
#[derive(Default)]
struct Slot(Arc<tokio::sync::Mutex<Option<Arc<Connection>>>>);

struct Connection<W = WriteHalf<TlsStream<TcpStream>>> {
    writer: tokio::sync::Mutex<W>,
    waiting: Mutex<Waiting>,
    next_number: AtomicU64,
    room: Semaphore,
    /// Cancelled when the connection has ended, so that nobody reads from it any more.
    over: CancellationToken,
}

/// Who waits for which answer; nobody once the connection ended.
#[derive(Default)]
struct Waiting {
    answers: HashMap<u64, oneshot::Sender<Bytes>>,
    ended: bool,
}

impl PeerTransport {
    pub(crate) fn new(identity: Arc<PeerIdentity>) -> Self {
        Self {
            identity,
            connections: Mutex::default(),
        }
    }

    fn slot(&self, peer: &Peer, lane: Lane) -> Arc<Slot> {
        let mut connections = self.connections.lock();
        // A member that got another address leaves nothing behind.
        connections.retain(|(known, _), _| known.id != peer.id || known.address == peer.address);
        Arc::clone(connections.entry((peer.clone(), lane)).or_default())
    }
}

impl Transport for PeerTransport {
    fn call(&self, peer: Peer, lane: Lane, request: Bytes) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let slot = self.slot(&peer, lane);
        let identity = Arc::clone(&self.identity);
        async move {
            let connection = slot.connection(&identity, &peer).await?;
            connection.call(peer.id, &request).await
        }
        .boxed()
    }
}

impl Slot {
    async fn connection(&self, identity: &Arc<PeerIdentity>, peer: &Peer) -> Result<Arc<Connection>, TransportError> {
        let mut slot = Arc::clone(&self.0).lock_owned().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.waiting.lock().ended) {
            return Ok(Arc::clone(connection));
        }
        // A heartbeat is given up sooner than a busy machine connects. The connection is there for the next one then.
        let (identity, target) = (Arc::clone(identity), peer.clone());
        let connecting = tokio::spawn(async move {
            let connected = timeout(CONNECT_TIMEOUT, connect(&identity, &target)).await;
            let connection = connected.unwrap_or_else(|_| Err(unreachable(target.id, "connecting took too long")))?;
            *slot = Some(Arc::clone(&connection));
            Ok(connection)
        });
        connecting.await.map_err(|error| unreachable(peer.id, error))?
    }
}

fn unreachable(peer: NodeId, reason: impl ToString) -> TransportError {
    TransportError::Unreachable {
        peer,
        reason: reason.to_string(),
    }
}

fn keep_alive(tcp: &TcpStream) -> Result<(), rustix::io::Errno> {
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(tcp, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(tcp, KEEPALIVE_PROBES)
}

async fn connect(identity: &PeerIdentity, peer: &Peer) -> Result<Arc<Connection>, TransportError> {
    let failed = |error: &dyn std::error::Error| unreachable(peer.id, error);
    let name = identity.name_of(peer.id).map_err(|error| failed(&error))?;
    let tcp = TcpStream::connect(&peer.address)
        .await
        .map_err(|error| failed(&error))?;
    tcp.set_nodelay(true).map_err(|error| failed(&error))?;
    keep_alive(&tcp).map_err(|error| failed(&error))?;
    let mut stream = identity
        .connector()
        .connect(name, tcp)
        .await
        .map_err(|error| failed(&error))?;
    let hello = Hello {
        version: VERSION,
        cluster_id: identity.cluster_id.clone(),
        from: identity.node,
        to: peer.id,
        format_newest: Some(identity.format.newest()),
        region: identity
            .region
            .clone()
            .filter(|_| identity.format.reads(Form::Placement)),
    };
    write_hello(&mut stream, &hello).await.map_err(|error| failed(&error))?;
    match read_hello(&mut stream).await.map_err(|error| failed(&error))? {
        Welcome::Accepted { format_newest } => {
            let newest = format_newest.unwrap_or(FormatVersion::FIRST);
            check_knows(peer.id, newest, identity.format.active())
                .map_err(|error| TransportError::Format { peer: peer.id, error })?;
        }
        Welcome::Outdated(active) => {
            let error = FormatUnknown {
                who: FormatUser::ThisNode,
                found: active,
                oldest: FormatVersion::OLDEST,
                newest: identity.format.newest(),
            };
            if identity.outdated.set(error).is_ok() {
                tracing::error!(peer = %peer.id, %error, "this node cannot take part in its cluster");
            }
            return Err(TransportError::Format { peer: peer.id, error });
        }
        Welcome::Refused(reason) => {
            tracing::warn!(peer = %peer.id, reason, "a member refuses this node");
            return Err(TransportError::Refused { peer: peer.id, reason });
        }
    }
    let (reader, writer) = tokio::io::split(stream);
    let connection = Arc::new(Connection::new(writer));
    tokio::spawn(read_answers(Arc::downgrade(&connection), reader));
    Ok(connection)
}

/// Makes sure that a member's build knows the version of the formats that is used.
pub(super) fn check_knows(member: NodeId, newest: FormatVersion, active: FormatVersion) -> Result<(), FormatUnknown> {
    match newest >= active {
        true => Ok(()),
        false => Err(FormatUnknown {
            who: FormatUser::Member(member),
            found: active,
            oldest: newest.min(FormatVersion::OLDEST),
            newest,
        }),
    }
}

/// Hands answers over until the connection ends or nobody has it any more.
async fn read_answers<W: AsyncWrite + Unpin>(
    connection: std::sync::Weak<Connection<W>>,
    mut reader: impl AsyncRead + Unpin,
) {
    let Some(over) = connection.upgrade().map(|connection| connection.over.clone()) else {
        return;
    };
    let ended: Result<(), WireError> = async {
        loop {
            let (number, answer) = tokio::select! {
                frame = read_frame(&mut reader) => frame?,
                () = over.cancelled() => return Ok(()),
            };
            let Some(connection) = connection.upgrade() else {
                return Ok(());
            };
            let waiting = connection.waiting.lock().answers.remove(&number);
            if let Some(waiting) = waiting {
                // Whoever asked may have given up.
                let _ = waiting.send(answer);
            }
        }
    }
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to a member ended");
    }
    if let Some(connection) = connection.upgrade() {
        connection.end();
    }
}

impl<W: AsyncWrite + Unpin> Connection<W> {
    fn new(writer: W) -> Self {
        Self {
            writer: tokio::sync::Mutex::new(writer),
            waiting: Mutex::default(),
            next_number: AtomicU64::new(0),
            room: Semaphore::new(IN_FLIGHT_MAX),
            over: CancellationToken::new(),
        }
    }

    async fn call(&self, peer: NodeId, request: &[u8]) -> Result<Bytes, TransportError> {
        let broken = || TransportError::Answer {
            peer,
            reason: "the connection ended".to_owned(),
        };
        let _room = self.room.acquire().await.map_err(|_| broken())?;
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.ended {
                return Err(unreachable(peer, "the connection ended"));
            }
            waiting.answers.insert(number, sender);
        }
        let _forgets = Forgets {
            connection: self,
            number,
        };
        {
            let mut writer = self.writer.lock().await;
            if self.over.is_cancelled() {
                return Err(unreachable(peer, "the connection ended"));
            }
            let mut writing = Writing {
                connection: self,
                is_whole: false,
            };
            if let Err(error) = write_frame(&mut *writer, number, request).await {
                return Err(TransportError::Answer {
                    peer,
                    reason: error.to_string(),
                });
            }
            writing.is_whole = true;
        }
        answer.await.map_err(|_| broken())
    }

    /// Nothing comes any more: everybody who waits is told.
    fn end(&self) {
        let mut waiting = self.waiting.lock();
        waiting.ended = true;
        waiting.answers.clear();
        self.over.cancel();
    }
}

/// A frame on its way. One that failed, or was given up in the middle, leaves half a frame behind, after which the other end
/// would take the next requests for its rest: so the connection ends then.
struct Writing<'a, W: AsyncWrite + Unpin> {
    connection: &'a Connection<W>,
    is_whole: bool,
}

impl<W: AsyncWrite + Unpin> Drop for Writing<'_, W> {
    fn drop(&mut self) {
        if !self.is_whole {
            self.connection.end();
        }
    }
}

/// Forgets a request that nobody waits for any more.
struct Forgets<'a, W> {
    connection: &'a Connection<W>,
    number: u64,
}

impl<W> Drop for Forgets<'_, W> {
    fn drop(&mut self) {
        self.connection.waiting.lock().answers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const PEER: NodeId = NodeId::new(2);

    #[tokio::test]
    async fn a_request_that_is_given_up_half_written_ends_the_connection_for_everybody() {
        // The other end reads nothing, as a process that stands still.
        let (near, far) = tokio::io::duplex(64);
        let (reader, writer) = tokio::io::split(near);
        let connection = Arc::new(Connection::new(writer));
        let reading = tokio::spawn(read_answers(Arc::downgrade(&connection), reader));
        let whole = tokio::spawn({
            let connection = Arc::clone(&connection);
            async move { connection.call(PEER, b"whole").await }
        });
        while connection.waiting.lock().answers.is_empty() {
            tokio::task::yield_now().await;
        }
        let given_up = timeout(Duration::from_millis(20), connection.call(PEER, &[7; 4_096])).await;
        assert!(given_up.is_err(), "nobody read it");
        assert!(whole.await.expect("no panic").is_err(), "no answer can come any more");
        let next = connection.call(PEER, b"next").await;
        assert!(matches!(next, Err(TransportError::Unreachable { .. })), "{next:?}");
        reading.await.expect("nobody reads an ended connection");
        drop(far);
    }

    #[tokio::test]
    async fn a_connection_whose_other_end_is_gone_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let tcp = TcpStream::connect(listener.local_addr().expect("bound"))
            .await
            .expect("connected");
        keep_alive(&tcp).expect("the system takes it");
        assert!(sockopt::socket_keepalive(&tcp).expect("known"));
        assert_eq!(sockopt::tcp_keepidle(&tcp).expect("known"), KEEPALIVE_IDLE);
        assert_eq!(sockopt::tcp_keepintvl(&tcp).expect("known"), KEEPALIVE_INTERVAL);
        assert_eq!(sockopt::tcp_keepcnt(&tcp).expect("known"), KEEPALIVE_PROBES);
    }
}
