//! How requests reach a witness.

use std::time::Duration;

use crate::ServiceUrl;

/// How long a service may take to answer, unless another time is given.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Nobody answered, or too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url} did not answer: {reason}")]
pub struct TransportError {
    /// Who was asked.
    pub url: String,
    /// What happened.
    pub reason: String,
}

/// Sends requests. Calls block, for a bounded time, and come from several threads at once.
pub trait Transport: Send + Sync {
    /// Posts a body to `<service><path>`.
    ///
    /// # Errors
    /// When there was no answer that could be read.
    fn post(&self, service: &ServiceUrl, path: &str, content_type: &str, body: &[u8]) -> Result<Reply, TransportError>;
}

/// HTTP with TLS, against the certificates that the operating system trusts.
pub struct HttpTransport {
    agent: ureq::Agent,
    /// For services on this machine, which no proxy can reach.
    local: ureq::Agent,
}

impl HttpTransport {
    /// A transport that names itself to services.
    #[must_use]
    pub fn new(user_agent: &str) -> Self {
        Self::with_answer_timeout(user_agent, ANSWER_TIMEOUT)
    }

    /// The same, with another time for connection, request and answer together.
    #[must_use]
    pub fn with_answer_timeout(user_agent: &str, timeout: Duration) -> Self {
        let config = || {
            let tls = ureq::tls::TlsConfig::builder()
                .root_certs(ureq::tls::RootCerts::PlatformVerifier)
                .build();
            ureq::Agent::config_builder()
                .tls_config(tls)
                .http_status_as_error(false)
                .max_redirects(0)
                .timeout_global(Some(timeout))
                .timeout_connect(Some(CONNECT_TIMEOUT.min(timeout)))
                .user_agent(user_agent)
        };
        Self {
            agent: config().build().into(),
            local: config().proxy(None).build().into(),
        }
    }
}

impl Transport for HttpTransport {
    fn post(&self, service: &ServiceUrl, path: &str, content_type: &str, body: &[u8]) -> Result<Reply, TransportError> {
        let url = format!("{service}{path}");
        let failed = |error: ureq::Error| TransportError {
            url: url.clone(),
            reason: error.to_string(),
        };
        let agent = if service.is_local() { &self.local } else { &self.agent };
        let request = agent.post(&url).content_type(content_type);
        let mut response = request.send(body).map_err(failed)?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        Ok(Reply {
            status,
            body: body.map_err(failed)?,
        })
    }
}
