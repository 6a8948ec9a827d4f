//! Every bound of the server's edges, in one place.

use std::time::Duration;

use craton_types::BODY_BYTES_MAX;

/// Bounds on connections, messages and waiting. Statements and results have their own, in `craton-query`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The most connections that have passed their opening. One more is told 53300.
    pub connections_max: usize,
    /// The longest message after authentication, in bytes.
    pub message_bytes_max: usize,
    /// The most bytes of one `COPY … FROM STDIN`.
    pub copy_bytes_max: usize,
    /// The most prepared statements, and the most portals, that a connection keeps.
    pub prepared_max: usize,
    /// How long a connection may take from its first byte to the end of authentication.
    pub authentication_timeout: Duration,
    /// How long a client may leave bytes unread before its connection is closed.
    pub write_timeout: Duration,
    /// How long a session may idle outside a transaction; `None` for ever.
    pub idle_session_timeout: Option<Duration>,
    /// How long a session may idle inside a transaction; `None` for ever.
    pub idle_in_transaction_timeout: Option<Duration>,
    /// The most connections of the HTTP interface; further ones wait.
    pub http_connections_max: usize,
    /// How long an HTTP client may take for a TLS handshake, and for a request's head.
    pub http_head_timeout: Duration,
    /// How long running statements are given to finish at shutdown.
    pub shutdown_timeout: Duration,
}

/// Connections beyond `connections_max` that may be in their opening at once, so that the one too many can be told why.
pub(crate) const CONNECTIONS_OPENING_EXTRA: usize = 64;
/// The longest message before authentication, PostgreSQL's limit for startup packets.
pub(crate) const OPENING_BYTES_MAX: usize = 10_000;
/// Bytes of output that are gathered before they are handed to the socket.
pub(crate) const OUTPUT_FLUSH_BYTES: usize = 64 * 1024;
/// The longest body of an administrative request, in bytes.
pub(crate) const ADMIN_BODY_BYTES_MAX: usize = 64 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1_000,
            message_bytes_max: BODY_BYTES_MAX as usize,
            copy_bytes_max: BODY_BYTES_MAX as usize,
            prepared_max: 4_096,
            authentication_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            idle_session_timeout: None,
            idle_in_transaction_timeout: Some(Duration::from_secs(600)),
            http_connections_max: 256,
            http_head_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(30),
        }
    }
}
