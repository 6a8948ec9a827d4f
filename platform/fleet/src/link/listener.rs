//! The agents' listener: TLS 1.3 with the agents' authority, `POST /enroll` without and `GET /link` with a client
//! certificate.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use craton_agent_protocol::{
    ENROL_BYTES_MAX, ENROL_PATH, EnrolRefusal, EnrolRefusalCode, EnrolRequest, LINK_PATH, NodeId,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::{
    RootCertStore, ServerConfig, crypto::aws_lc_rs, pki_types::CertificateDer, server::WebPkiClientVerifier,
    version::TLS13,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::{WebSocketStream, tungstenite::handshake::derive_accept_key, tungstenite::protocol::Role};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{enrol, session};
use crate::{
    authority::{self, AuthorityError},
    fleet::{FleetError, Inner},
};

/// Connections that are in their handshake or enrol at one time; further ones wait. A link that is up does not count:
/// there is one for each node.
const CONNECTIONS_MAX: usize = 1_024;
/// How long the TLS handshake, the request's head or an enrolment's body may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The listener's own certificate is replaced after this time.
const CERTIFICATE_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

type Answer = Response<Full<Bytes>>;

/// The bound listener.
pub struct AgentListener {
    listener: TcpListener,
}

impl AgentListener {
    pub(crate) async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves agents until the token is cancelled, then ends every link.
    pub(crate) async fn serve(self, fleet: Arc<Inner>, shutdown: CancellationToken) -> Result<(), FleetError> {
        let mut config = tls_config(&fleet)?;
        let mut made_at = Instant::now();
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let tasks = TaskTracker::new();
        loop {
            let slot = slots
                .clone()
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: it passes, and spinning would not help.
                    tracing::warn!(%error, "an agent's connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            if made_at.elapsed() > CERTIFICATE_AGE_MAX {
                config = tls_config(&fleet)?;
                made_at = Instant::now();
            }
            let (fleet, config, shutdown) = (fleet.clone(), config.clone(), shutdown.clone());
            tasks.spawn(async move {
                if let Err(error) = connection(fleet, config, stream, shutdown).await {
                    tracing::debug!(%peer, error, "an agent's connection ended");
                }
                drop(slot);
            });
        }
        tasks.close();
        tasks.wait().await;
        Ok(())
    }
}

fn tls_config(fleet: &Inner) -> Result<Arc<ServerConfig>, AuthorityError> {
    let issue = |error: &dyn std::fmt::Display| AuthorityError::Damaged {
        name: authority::AGENT_AUTHORITY.to_owned(),
        detail: error.to_string(),
    };
    let names: Vec<&str> = fleet.config.listener_names.iter().map(String::as_str).collect();
    let (chain, key) = fleet.agent_authority.listener_identity(&names)?;
    let mut roots = RootCertStore::empty();
    roots
        .add(fleet.agent_authority.certificate().clone())
        .map_err(|error| issue(&error))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| issue(&error))?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| issue(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| issue(&error))?;
    Ok(Arc::new(config))
}

async fn connection(
    fleet: Arc<Inner>,
    config: Arc<ServerConfig>,
    stream: TcpStream,
    shutdown: CancellationToken,
) -> Result<(), String> {
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream))
        .await
        .map_err(|_| "no TLS handshake in time".to_owned())?
        .map_err(|error| error.to_string())?;
    let certificates = stream.get_ref().1.peer_certificates();
    let node = certificates.and_then(|chain: &[CertificateDer<'_>]| authority::node_of_certificate(chain.first()?));
    let ended = shutdown.clone();
    let service = service_fn(move |request| {
        let (fleet, node, shutdown) = (fleet.clone(), node.clone(), shutdown.clone());
        async move { Ok::<_, Infallible>(route(fleet, node, request, shutdown).await) }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        served = serving => served.map_err(|error| error.to_string()),
        () = ended.cancelled() => Ok(()),
    }
}

async fn route(
    fleet: Arc<Inner>,
    node: Option<NodeId>,
    mut request: Request<Incoming>,
    shutdown: CancellationToken,
) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::POST, ENROL_PATH) => match enrolment(&fleet, request).await {
            Ok(answer) => answer,
            Err(refusal) => json(enrol_status(refusal.code), &refusal),
        },
        (&Method::GET, LINK_PATH) => {
            let Some(node) = node else {
                return text(StatusCode::FORBIDDEN, "a client certificate of a node is needed");
            };
            let Some(accept) = accept_key(request.headers()) else {
                return text(
                    StatusCode::BAD_REQUEST,
                    "a WebSocket handshake of version 13 is needed (RFC 6455)",
                );
            };
            let upgrade = hyper::upgrade::on(&mut request);
            let tracker = fleet.sessions.clone();
            tracker.spawn(run_session(fleet, node, upgrade, shutdown));
            let mut answer = text(StatusCode::SWITCHING_PROTOCOLS, "");
            let headers = answer.headers_mut();
            headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
            headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
            answer
        }
        _ => text(StatusCode::NOT_FOUND, "agents enrol and link here"),
    }
}

async fn run_session(fleet: Arc<Inner>, node: NodeId, upgrade: OnUpgrade, shutdown: CancellationToken) {
    match upgrade.await {
        Ok(upgraded) => {
            let config = session::web_socket_config();
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
            session::run(fleet, node, socket, shutdown).await;
        }
        Err(error) => tracing::debug!(%error, "a link did not come up"),
    }
}

/// The answer to a WebSocket handshake (RFC 6455 section 4.2); `None` when the request is none.
fn accept_key(headers: &HeaderMap) -> Option<header::HeaderValue> {
    let has = |name, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(wanted)))
    };
    let is_handshake = has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade")
        && has(header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| is_handshake)?;
    derive_accept_key(key.as_bytes()).parse().ok()
}

async fn enrolment(fleet: &Inner, request: Request<Incoming>) -> Result<Answer, EnrolRefusal> {
    let malformed = |detail: String| EnrolRefusal {
        code: EnrolRefusalCode::CertificateRequestInvalid,
        detail,
    };
    let body = tokio::time::timeout(
        HANDSHAKE_TIMEOUT,
        Limited::new(request.into_body(), ENROL_BYTES_MAX).collect(),
    )
    .await
    .map_err(|_| malformed("the request did not arrive in time".to_owned()))?
    .map_err(|error| malformed(error.to_string()))?
    .to_bytes();
    let request: EnrolRequest = serde_json::from_slice(&body).map_err(|error| malformed(error.to_string()))?;
    let response = enrol::enrol(fleet, request).await?;
    Ok(json(StatusCode::CREATED, &response))
}

fn enrol_status(code: EnrolRefusalCode) -> StatusCode {
    match code {
        EnrolRefusalCode::TokenInvalid => StatusCode::UNAUTHORIZED,
        EnrolRefusalCode::TokenUsed | EnrolRefusalCode::TokenExpired => StatusCode::GONE,
        EnrolRefusalCode::CertificateRequestInvalid => StatusCode::UNPROCESSABLE_ENTITY,
        EnrolRefusalCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Answer {
    let body = serde_json::to_vec(value).expect("the protocol's types have no failing serializer");
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    answer
}

fn text(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_handshake_of_rfc_6455_is_answered() {
        let mut headers = HeaderMap::new();
        headers.insert(header::UPGRADE, "websocket".parse().unwrap());
        headers.insert(header::CONNECTION, "keep-alive, Upgrade".parse().unwrap());
        headers.insert(header::SEC_WEBSOCKET_VERSION, "13".parse().unwrap());
        headers.insert(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
        assert_eq!(accept_key(&headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for name in [
            header::UPGRADE,
            header::CONNECTION,
            header::SEC_WEBSOCKET_VERSION,
            header::SEC_WEBSOCKET_KEY,
        ] {
            let mut without = headers.clone();
            without.remove(&name);
            assert!(accept_key(&without).is_none(), "without {name}");
        }
    }
}
