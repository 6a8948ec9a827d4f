//! The first start: a join token and a new key in exchange for an identity.

use std::time::Duration;

use bytes::Bytes;
use craton_agent_protocol::{
    ENROL_BYTES_MAX, ENROL_PATH, EnrolRefusal, EnrolRequest, EnrolResponse, HostFacts, JoinToken,
};
use http::{Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;

use crate::{
    certificate::{self, CertificateError},
    config::PlatformUrl,
    identity::Identity,
    tls::{self, ConnectError},
};

/// How long one try may take.
const ENROL_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the node did not get an identity.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrolError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The key or the request could not be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The platform said no.
    #[error(transparent)]
    Refused(#[from] EnrolRefusal),
    /// The exchange broke off or took too long.
    #[error("the enrolment broke off: {0}")]
    Exchange(String),
}

impl EnrolError {
    /// Whether another try may succeed.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(ConnectError::Io { .. }) | Self::Exchange(_) => true,
            Self::Refused(refusal) => refusal.code.is_retryable(),
            Self::Connect(_) | Self::Certificate(_) => false,
        }
    }
}

/// Enrols with a token. `key_pem` stays the same over several tries, so that a try whose answer was lost is not a
/// second node.
pub(crate) async fn enrol(url: &PlatformUrl, token: &JoinToken, key_pem: &str) -> Result<Identity, EnrolError> {
    let request = EnrolRequest {
        token: token.expose(),
        csr_pem: certificate::request_pem(key_pem, "craton node")?,
        host: host_facts(),
    };
    let body = serde_json::to_vec(&request).expect("a struct of strings has no failing serializer");
    let response = tokio::time::timeout(ENROL_TIMEOUT, exchange(url, token, body))
        .await
        .map_err(|_| EnrolError::Exchange(format!("no answer within {ENROL_TIMEOUT:?}")))??;
    Ok(Identity {
        node_id: response.node_id,
        key_pem: key_pem.to_owned(),
        chain_pem: response.chain_pem,
        authorities_pem: response.authorities_pem,
    })
}

async fn exchange(url: &PlatformUrl, token: &JoinToken, body: Vec<u8>) -> Result<EnrolResponse, EnrolError> {
    let broken = |error: &dyn std::error::Error| EnrolError::Exchange(error.to_string());
    let stream = tls::connect(url, tls::enrol_config(token.authority_sha256())?).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| broken(&e))?;
    tokio::spawn(connection);
    let request = Request::post(ENROL_PATH)
        .header(header::HOST, url.authority())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| broken(&e))?;
    let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ENROL_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| EnrolError::Exchange(error.to_string()))?
        .to_bytes();
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|e| broken(&e));
    }
    match serde_json::from_slice::<EnrolRefusal>(&body) {
        Ok(refusal) => Err(refusal.into()),
        Err(_) => Err(EnrolError::Exchange(format!("the platform answered with {status}"))),
    }
}

fn host_facts() -> HostFacts {
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let processors =
        std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
    HostFacts {
        hostname,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        processors,
    }
}
