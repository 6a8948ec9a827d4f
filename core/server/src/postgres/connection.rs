//! A socket becomes a session: TLS, startup message, authentication, database.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use craton_engine::{EngineError, Session};
use craton_query::SERVER_VERSION;
use craton_types::UserDefinition;
use pgwire::api::auth::sasl::scram::ScramServerAuth;
use pgwire::messages::startup::{Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey};
use prometheus::IntGauge;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::authentication::{self, Refusal};
use super::failure::Failure;
use super::frontend::Opening;
use super::session::SessionLoop;
use super::startup::{self, PROTOCOL_MINOR_LONG_KEYS, Startup};
use super::transport::{ReceiveError, Transport, receive_opening};
use crate::connections::Registration;
use crate::metrics::Metrics;
use crate::shared::Shared;
use crate::tls::ALPN_POSTGRESQL;
use crate::token::PROBE_USER;

/// The first byte of a TLS handshake record (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// How long a silent connection may be dead before the kernel asks.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// How a connection ended before it had a session.
enum Ended {
    /// Nothing is wrong: a cancel request, or a client that left.
    Quietly,
    /// The client is told why, in plain text or over TLS; `reason` is the metric's label.
    Refused { failure: Failure, reason: &'static str },
}

/// Serves one connection from its first byte to its last.
pub(crate) async fn serve(shared: Arc<Shared>, socket: TcpStream) {
    let peer = socket
        .peer_addr()
        .map_or_else(|_| "unknown".to_owned(), |address| address.to_string());
    if let Err(error) = configure(&socket) {
        tracing::debug!(peer, %error, "socket options");
    }
    let session = match timeout(shared.limits.authentication_timeout, open(&shared, socket, &peer)).await {
        Ok(session) => session,
        Err(_) => {
            tracing::info!(peer, "a connection was closed: authentication took too long");
            shared
                .metrics
                .connections_refused_total
                .with_label_values(&["timeout"])
                .inc();
            None
        }
    };
    let Some((session, permit)) = session else {
        return;
    };
    shared.metrics.sessions_total.inc();
    let _open = OpenSession::count(&shared.metrics);
    session.run().await;
    drop(permit);
}

/// Counts a session for as long as it lives, however it ends.
struct OpenSession(IntGauge);

impl OpenSession {
    fn count(metrics: &Metrics) -> Self {
        metrics.connections.inc();
        Self(metrics.connections.clone())
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn configure(socket: &TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(socket, true)?;
    rustix::net::sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
    Ok(())
}

async fn open(
    shared: &Arc<Shared>,
    socket: TcpStream,
    peer: &str,
) -> Option<(SessionLoop<TlsStream<TcpStream>>, OwnedSemaphorePermit)> {
    let (mut stream, exchange) = match encrypt(shared, socket).await {
        Ok(encrypted) => encrypted?,
        Err(error) => {
            tracing::debug!(peer, %error, "a connection failed before it was encrypted");
            shared
                .metrics
                .connections_refused_total
                .with_label_values(&["protocol"])
                .inc();
            return None;
        }
    };
    let opening = receive_opening(&mut stream).await;
    let mut transport = Transport::new(stream, shared.limits.write_timeout);
    let ended = match opening {
        Ok(Opening::Startup { version, parameters }) => {
            match begin(shared, &mut transport, &exchange, (version, parameters), peer).await {
                Ok((parts, permit)) => return Some((parts.into_session(shared.clone(), transport), permit)),
                Err(ended) => ended,
            }
        }
        Ok(Opening::Cancel { process_id, secret }) => {
            shared.connections.cancel(process_id, &secret);
            Ended::Quietly
        }
        Ok(Opening::Tls | Opening::Gssapi) => Ended::Refused {
            failure: Failure::fatal("08P01", "the connection is encrypted already"),
            reason: "protocol",
        },
        Err(error) => receive_failed(error),
    };
    if let Ended::Refused { failure, reason } = ended {
        shared
            .metrics
            .connections_refused_total
            .with_label_values(&[reason])
            .inc();
        if let Err(error) = transport.put(&failure.to_message()) {
            tracing::debug!(peer, %error, "an error was not sent");
        }
    }
    transport.close().await;
    None
}

/// A stream, and the password exchange that is bound to the certificate it was opened with.
type Encrypted = (TlsStream<TcpStream>, ScramServerAuth);

/// Brings the connection to TLS. `None` when it ended in an orderly way.
async fn encrypt(shared: &Shared, mut socket: TcpStream) -> Result<Option<Encrypted>, ReceiveError> {
    let mut first = [0];
    if socket.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    let (acceptor, exchange) = shared.certificate.current();
    if first == [TLS_HANDSHAKE] {
        let stream = acceptor.accept(socket).await?;
        // Without the name, a handshake meant for another protocol could be replayed here.
        if stream.get_ref().1.alpn_protocol() != Some(ALPN_POSTGRESQL) {
            return Err(std::io::Error::other("direct TLS without the ALPN protocol \"postgresql\"").into());
        }
        return Ok(Some((stream, exchange)));
    }
    loop {
        match receive_opening(&mut socket).await? {
            Opening::Tls => {
                socket.write_all(b"S").await?;
                return Ok(Some((acceptor.accept(socket).await?, exchange)));
            }
            // Asks for GSSAPI encryption: no, and the client may ask for TLS next.
            Opening::Gssapi => socket.write_all(b"N").await?,
            // Clients before PostgreSQL 17 send these without TLS; the secret is all that they reveal.
            Opening::Cancel { process_id, secret } => {
                shared.connections.cancel(process_id, &secret);
                return Ok(None);
            }
            Opening::Startup { .. } => {
                shared
                    .metrics
                    .connections_refused_total
                    .with_label_values(&["plaintext"])
                    .inc();
                let failure = Failure::fatal("28000", "connections without TLS are refused")
                    .with_hint("Connect with sslmode=verify-full and the server's CA certificate.");
                let mut transport = Transport::new(socket, shared.limits.write_timeout);
                transport.put(&failure.to_message())?;
                transport.close().await;
                return Ok(None);
            }
        }
    }
}

/// What a session consists of, before its main loop.
struct Parts {
    session: Session,
    registration: Registration,
}

impl Parts {
    fn into_session<S>(self, shared: Arc<Shared>, transport: Transport<S>) -> SessionLoop<S>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        SessionLoop::new(shared, transport, self.session, self.registration)
    }
}

/// From the startup message to the first `ReadyForQuery`, which the main loop sends.
async fn begin(
    shared: &Arc<Shared>,
    transport: &mut Transport<TlsStream<TcpStream>>,
    exchange: &ScramServerAuth,
    (version, parameters): ((u16, u16), Vec<(String, String)>),
    peer: &str,
) -> Result<(Parts, OwnedSemaphorePermit), Ended> {
    let refuse = |failure, reason| Ended::Refused { failure, reason };
    let startup = startup::understand(version, parameters).map_err(|failure| refuse(failure, "protocol"))?;
    if shared.stopping.is_cancelled() {
        return Err(refuse(
            Failure::fatal("57P03", "the database system is shutting down"),
            "stopping",
        ));
    }
    let Ok(permit) = shared.session_permits.clone().try_acquire_owned() else {
        return Err(refuse(
            Failure::fatal("53300", "sorry, too many clients already").with_detail(format!(
                "The server takes {} connections.",
                shared.limits.connections_max
            )),
            "connections",
        ));
    };
    if let Some(negotiation) = &startup.negotiate {
        let message = NegotiateProtocolVersion::new(negotiation.version, negotiation.unknown_options.clone());
        transport.put(&message).map_err(io_failed)?;
    }

    let user = authenticate(shared, transport, exchange, &startup, peer).await?;
    transport.put(&Authentication::Ok).map_err(io_failed)?;

    // A user who may not use a database learns nothing about whether it exists.
    let allowed = user.databases.is_empty() || user.databases.contains(&startup.database);
    let denied = || {
        Failure::fatal(
            "42501",
            format!("permission denied for database \"{}\"", startup.database),
        )
        .with_detail(format!("User \"{}\" may not connect to it.", user.name))
    };
    if !allowed {
        return Err(refuse(denied(), "database"));
    }
    let session = shared
        .engine
        .open_session(&startup.database, &user)
        .map_err(|error| match error {
            EngineError::DatabaseMissing { .. } => refuse(
                Failure::fatal("3D000", format!("database \"{}\" does not exist", startup.database)),
                "database",
            ),
            EngineError::DatabaseDenied { .. } => refuse(denied(), "database"),
            error => {
                tracing::error!(peer, %error, "a session could not be opened");
                refuse(Failure::fatal("57P03", "the database cannot be used now"), "engine")
            }
        })?;

    let registration = register(shared, &startup, &user.name);
    let mut parts = Parts { session, registration };
    apply_settings(&mut parts.session, &startup.settings)
        .await
        .map_err(|failure| refuse(failure.into_fatal(), "settings"))?;
    let key = parts.registration.secret.clone();
    for (name, value) in session_parameters(&startup) {
        transport.put(&ParameterStatus::new(name, value)).map_err(io_failed)?;
    }
    transport
        .put(&BackendKeyData::new(
            parts.registration.process_id,
            SecretKey::Bytes(key),
        ))
        .map_err(io_failed)?;
    transport.set_message_bytes_max(shared.limits.message_bytes_max);
    tracing::debug!(peer, user = user.name, database = startup.database, "session opened");
    Ok((parts, permit))
}

fn io_failed(error: std::io::Error) -> Ended {
    receive_failed(error.into())
}

fn receive_failed(error: ReceiveError) -> Ended {
    match error {
        ReceiveError::Closed | ReceiveError::Io(_) => Ended::Quietly,
        error => Ended::Refused {
            failure: Failure::fatal("08P01", error.to_string()),
            reason: "protocol",
        },
    }
}

async fn authenticate(
    shared: &Shared,
    transport: &mut Transport<TlsStream<TcpStream>>,
    exchange: &ScramServerAuth,
    startup: &Startup,
    peer: &str,
) -> Result<UserDefinition, Ended> {
    let name = &startup.user;
    let (method, result) = if name == PROBE_USER {
        ("token", authentication::token(transport, shared.tokens.as_ref()).await)
    } else {
        let known = shared.engine.user(name);
        let result = authentication::scram(transport, exchange, &shared.mock_verifiers, name, known).await;
        ("scram", result)
    };
    result.map_err(|refusal| match refusal {
        Refusal::Failure(failure) => {
            if failure.sqlstate == "28P01" {
                shared.metrics.failed_logins_total.with_label_values(&[method]).inc();
                tracing::info!(peer, user = name, database = startup.database, method, "log-in refused");
            }
            Ended::Refused {
                failure,
                reason: "authentication",
            }
        }
        Refusal::Receive(error) => receive_failed(error),
    })
}

fn register(shared: &Shared, startup: &Startup, user: &str) -> Registration {
    let mut secret = vec![
        0;
        if startup.protocol_minor >= PROTOCOL_MINOR_LONG_KEYS {
            32
        } else {
            4
        }
    ];
    fill_random(&mut secret);
    shared.connections.register(user, Bytes::from(secret), || {
        let mut bytes = [0; 4];
        fill_random(&mut bytes);
        u32::from_be_bytes(bytes)
    })
}

fn fill_random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

/// Gives the session the settings of the startup message, as `SET` would.
async fn apply_settings(session: &mut Session, settings: &[(String, String)]) -> Result<(), Failure> {
    for (name, value) in settings {
        let set = startup::set_statement(name, value)?;
        for statement in session.parse(&set)? {
            let prepared = session.prepare(&statement, &[])?;
            session.execute(&prepared, &[]).await?;
        }
    }
    Ok(())
}

/// What clients are told about the session before they ask.
fn session_parameters(startup: &Startup) -> Vec<(String, String)> {
    let application_name = startup
        .settings
        .iter()
        .rev()
        .find(|(name, _)| name == "application_name")
        .map_or("", |(_, value)| value);
    [
        (
            "server_version",
            &*format!("{SERVER_VERSION} (Craton {})", env!("CARGO_PKG_VERSION")),
        ),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("application_name", application_name),
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "UTC"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("is_superuser", "off"),
        ("session_authorization", &startup.user),
        ("default_transaction_read_only", "off"),
        ("in_hot_standby", "off"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}
