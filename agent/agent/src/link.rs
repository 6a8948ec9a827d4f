//! The link to the platform: one WebSocket on mutual TLS, made again whenever it breaks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use craton_agent_protocol::{
    AckOutcome, AgentEnvelope, AgentMessage, CertificateOutcome, CertificateSubject, DecodeError, Hello, LINK_PATH,
    LinkRefusalCode, MESSAGE_BYTES_MAX, ObservedState, PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN, PlatformMessage,
    decode_platform, encode_agent,
};
use futures::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    sync::{Notify, mpsc, watch},
    time::{Instant, MissedTickBehavior},
};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Error as WebSocketError, Message, protocol::WebSocketConfig},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    config::PlatformUrl,
    desired_store::DesiredStore,
    executor::CertificateAnswer,
    identity::{IdentityError, IdentityStore},
    time::unix_now_s,
    tls::{self, ConnectError},
};

const RECONNECT_BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(250),
    cap: Duration::from_secs(30),
};
/// How long connecting, the welcome, or one write may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages that wait to be sent. What does not fit is not queued: every sender tries again later.
const OUTGOING_MAX: usize = 64;
/// A link without a sign of the platform for this many heartbeats is dead.
const SILENT_HEARTBEATS_MAX: u32 = 4;
/// The platform's wish for heartbeats is kept within these bounds.
const HEARTBEAT_BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    WebSocket(#[from] Box<WebSocketError>),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the platform ended the link ({code:?}): {detail}")]
    Refused { code: LinkRefusalCode, detail: String },
    #[error("the platform did not {0} in time")]
    Timeout(&'static str),
    #[error("the platform closed the link")]
    Closed,
    #[error("the platform sent {0} out of order")]
    OutOfOrder(&'static str),
}

impl From<WebSocketError> for LinkError {
    fn from(error: WebSocketError) -> Self {
        Self::WebSocket(Box::new(error))
    }
}

/// Why a link ended without a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The agent ends.
    Shutdown,
    /// The next link shows the renewed certificate.
    Renewed,
}

/// What the rest of the agent holds of the link.
#[derive(Default)]
pub(crate) struct LinkHandle {
    outgoing: Mutex<Option<mpsc::Sender<AgentMessage>>>,
    connections: AtomicU64,
}

impl LinkHandle {
    /// Sends a message. Returns `false` when there is no link or too much is waiting; then nothing was sent.
    pub(crate) fn send(&self, message: AgentMessage) -> bool {
        self.outgoing
            .lock()
            .as_ref()
            .is_some_and(|sender| sender.try_send(message).is_ok())
    }

    /// Counts the links that there have been, so that a request can tell whether it was asked on this one.
    pub(crate) fn connection(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Keeps the link.
pub(crate) struct Link {
    pub(crate) platform: PlatformUrl,
    pub(crate) identity: Arc<IdentityStore>,
    pub(crate) desired: Arc<DesiredStore>,
    pub(crate) handle: Arc<LinkHandle>,
    pub(crate) observed: watch::Receiver<ObservedState>,
    pub(crate) certificates: mpsc::Sender<CertificateAnswer>,
    pub(crate) wake: Arc<Notify>,
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

impl Link {
    /// Connects and connects again until the token is cancelled.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut failures = 0;
        loop {
            let mut welcomed = false;
            let ended = self.hold(&shutdown, &mut welcomed).await;
            *self.handle.outgoing.lock() = None;
            match ended {
                Ok(Ended::Shutdown) => return,
                Ok(Ended::Renewed) => {
                    tracing::info!("the node's certificate was renewed");
                    continue;
                }
                Err(error @ LinkError::Refused { .. }) => tracing::warn!(%error, "the link was refused"),
                Err(error) => tracing::info!(%error, "the link is down; the servers go on"),
            }
            failures = if welcomed { 1 } else { u32::saturating_add(failures, 1) };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(RECONNECT_BACKOFF.jittered(failures, rand::random())) => {}
            }
        }
    }

    async fn hold(&mut self, shutdown: &CancellationToken, welcomed: &mut bool) -> Result<Ended, LinkError> {
        let (mut socket, heartbeat) = tokio::select! {
            () = shutdown.cancelled() => return Ok(Ended::Shutdown),
            opened = self.open() => opened?,
        };
        *welcomed = true;
        tracing::info!(platform = %self.platform, "the link is up");
        let (sender, outgoing) = mpsc::channel(OUTGOING_MAX);
        *self.handle.outgoing.lock() = Some(sender);
        self.handle.connections.fetch_add(1, Ordering::Relaxed);
        self.wake.notify_one();
        let ended = self.exchange(&mut socket, heartbeat, outgoing, shutdown).await;
        if ended.is_ok() {
            // Politeness only: the platform also notices a link that just ends.
            let _ = tokio::time::timeout(Duration::from_secs(1), socket.close(None)).await;
        }
        ended
    }

    /// Connects, says hello and waits for the welcome.
    async fn open(&self) -> Result<(Socket, Duration), LinkError> {
        let config = tls::link_config(&self.identity.current())?;
        let stream = tokio::time::timeout(STEP_TIMEOUT, tls::connect(&self.platform, config))
            .await
            .map_err(|_| LinkError::Timeout("accept the connection"))??;
        let url = format!("wss://{}{LINK_PATH}", self.platform.authority());
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let (mut socket, _) = tokio::time::timeout(STEP_TIMEOUT, client_async_with_config(url, stream, Some(config)))
            .await
            .map_err(|_| LinkError::Timeout("open the WebSocket"))??;
        let held = self.desired.current();
        let hello = Hello {
            protocol_version_min: PROTOCOL_VERSION_MIN,
            protocol_version_max: PROTOCOL_VERSION_MAX,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: held.as_ref().map_or(0, |held| held.generation),
            content_hash: held.map(|held| held.content_hash),
        };
        self.send(&mut socket, AgentMessage::Hello(hello)).await?;
        let welcome = async {
            loop {
                if let Some(message) = read(socket.next().await)? {
                    return Ok::<_, LinkError>(message);
                }
            }
        };
        match tokio::time::timeout(STEP_TIMEOUT, welcome)
            .await
            .map_err(|_| LinkError::Timeout("answer the hello"))??
        {
            PlatformMessage::Welcome {
                heartbeat_interval_ms, ..
            } => {
                let wanted = Duration::from_millis(heartbeat_interval_ms);
                Ok((socket, wanted.clamp(HEARTBEAT_BOUNDS.0, HEARTBEAT_BOUNDS.1)))
            }
            PlatformMessage::Refused { code, detail } => Err(LinkError::Refused { code, detail }),
            PlatformMessage::Desired(_) | PlatformMessage::Certificate { .. } => {
                Err(LinkError::OutOfOrder("something else before the welcome"))
            }
        }
    }

    async fn exchange(
        &mut self,
        socket: &mut Socket,
        heartbeat: Duration,
        mut outgoing: mpsc::Receiver<AgentMessage>,
        shutdown: &CancellationToken,
    ) -> Result<Ended, LinkError> {
        let mut heartbeats = tokio::time::interval(heartbeat);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sequence = 0;
        let mut heard_at = Instant::now();
        let mut reported = None;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(Ended::Shutdown),
                incoming = socket.next() => {
                    heard_at = Instant::now();
                    if let Some(message) = read(incoming)?
                        && let Some(ended) = self.receive(socket, message).await? {
                        return Ok(ended);
                    }
                }
                Some(message) = outgoing.recv() => self.send(socket, message).await?,
                changed = self.observed.changed() => {
                    if changed.is_err() {
                        return Ok(Ended::Shutdown);
                    }
                    self.report(socket, &mut reported, false).await?;
                }
                _ = heartbeats.tick() => {
                    if heard_at.elapsed() > heartbeat * SILENT_HEARTBEATS_MAX {
                        return Err(LinkError::Timeout("answer for several heartbeats"));
                    }
                    self.send(socket, AgentMessage::Heartbeat { sequence }).await?;
                    sequence += 1;
                    // The pong is the sign of life that the check above waits for.
                    write(socket, Message::Ping(bytes::Bytes::new())).await?;
                    self.report(socket, &mut reported, true).await?;
                    if self.identity.is_renewal_due(unix_now_s()) {
                        let csr_pem = self.identity.begin_renewal()?;
                        let subject = CertificateSubject::Node;
                        self.send(socket, AgentMessage::CertificateRequest { subject, csr_pem }).await?;
                    }
                }
            }
        }
    }

    async fn receive(&self, socket: &mut Socket, message: PlatformMessage) -> Result<Option<Ended>, LinkError> {
        match message {
            PlatformMessage::Desired(desired) => {
                let (generation, content_hash) = (desired.generation, desired.content_hash);
                let outcome = self.desired.offer(desired);
                match &outcome {
                    AckOutcome::Accepted => {
                        tracing::info!(generation, "desired state accepted");
                        self.wake.notify_one();
                    }
                    AckOutcome::Refused { refusal } => tracing::warn!(generation, %refusal, "desired state refused"),
                }
                self.send(
                    socket,
                    AgentMessage::Ack {
                        generation,
                        content_hash,
                        outcome,
                    },
                )
                .await?;
                Ok(None)
            }
            PlatformMessage::Certificate {
                subject: subject @ (CertificateSubject::Instance { .. } | CertificateSubject::Peer { .. }),
                outcome,
            } => {
                // A full queue loses the answer; the executor asks again.
                if self.certificates.try_send((subject, outcome)).is_ok() {
                    self.wake.notify_one();
                }
                Ok(None)
            }
            PlatformMessage::Certificate {
                subject: CertificateSubject::Node,
                outcome,
            } => match outcome {
                CertificateOutcome::Issued { chain_pem } => {
                    Ok(self.identity.finish_renewal(&chain_pem)?.then_some(Ended::Renewed))
                }
                CertificateOutcome::Refused { detail } => {
                    tracing::warn!(%detail, "the platform did not renew the node's certificate");
                    Ok(None)
                }
            },
            PlatformMessage::Refused { code, detail } => Err(LinkError::Refused { code, detail }),
            PlatformMessage::Welcome { .. } => Err(LinkError::OutOfOrder("a second welcome")),
        }
    }

    /// Reports what the node sees when it changed; mere positions only `with_positions`.
    async fn report(
        &mut self,
        socket: &mut Socket,
        reported: &mut Option<ObservedState>,
        with_positions: bool,
    ) -> Result<(), LinkError> {
        let current = self.observed.borrow_and_update().clone();
        let worth_it = match reported {
            None => true,
            Some(reported) if with_positions => *reported != current,
            Some(reported) => reported.differs_materially(&current),
        };
        if worth_it {
            self.send(socket, AgentMessage::Observed(current.clone())).await?;
            *reported = Some(current);
        }
        Ok(())
    }

    async fn send(&self, socket: &mut Socket, message: AgentMessage) -> Result<(), LinkError> {
        let envelope = AgentEnvelope {
            node_id: self.identity.current().node_id,
            message,
        };
        write(socket, Message::text(encode_agent(&envelope))).await
    }
}

async fn write(socket: &mut Socket, message: Message) -> Result<(), LinkError> {
    tokio::time::timeout(STEP_TIMEOUT, socket.send(message))
        .await
        .map_err(|_| LinkError::Timeout("take a message"))?
        .map_err(Into::into)
}

/// Reads one WebSocket message; `None` for those that only keep the link alive.
fn read(incoming: Option<Result<Message, WebSocketError>>) -> Result<Option<PlatformMessage>, LinkError> {
    match incoming {
        None | Some(Ok(Message::Close(_))) => Err(LinkError::Closed),
        Some(Err(error)) => Err(error.into()),
        Some(Ok(Message::Text(text))) => Ok(Some(decode_platform(text.as_bytes())?)),
        Some(Ok(Message::Binary(bytes))) => Ok(Some(decode_platform(&bytes)?)),
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
    }
}
