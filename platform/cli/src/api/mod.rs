//! The control plane's HTTP API, from the outside.

mod problem;
mod types;

use std::io::Read as _;
use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

pub(crate) use problem::Problem;
pub(crate) use types::{
    Cluster, ClusterCreated, ClusterNode, ClusterState, Connection, ConnectionMember, JoinTokenCreated, Node,
    Operation, OperationState, Organisation, PasswordRotated,
};

/// How long an answer may take. Longer than the server lets a long poll wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes. Lists are paged, so none comes near.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Items of a list that are asked for at once; the server's maximum.
const PAGE_ITEMS: u32 = 100;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The server said no.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// Nobody answered.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why not.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The answer is not what the API promises; perhaps the server is something else.
    #[error("{url} answered with {status} and something that is no answer of Craton: {detail}")]
    Answer {
        /// What was asked for.
        url: String,
        /// The status.
        status: StatusCode,
        /// What is wrong.
        detail: String,
    },
}

/// An answer: as it came, for programs, and as what it means.
pub(crate) struct Reply<T> {
    pub(crate) json: Json,
    pub(crate) value: T,
}

/// A client with a credential.
#[derive(Clone)]
pub(crate) struct Api {
    agent: ureq::Agent,
    server: String,
    key: String,
}

impl ApiError {
    /// Whether the same call may succeed later.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Problem(problem) => problem.retryable,
            Self::Unreachable { .. } => true,
            Self::Answer { .. } => false,
        }
    }
}

impl Api {
    /// `server` is an origin such as `http://localhost:8080`, without a slash at its end.
    pub(crate) fn new(server: &str, key: &str) -> Self {
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(ureq::tls::RootCerts::PlatformVerifier)
            .build();
        let mut config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(ANSWER_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("craton/", env!("CARGO_PKG_VERSION")));
        if is_local(server) {
            // A proxy cannot reach this machine's own loopback address.
            config = config.proxy(None);
        }
        Self {
            agent: config.build().into(),
            server: server.to_owned(),
            key: key.to_owned(),
        }
    }

    /// The server's origin.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Reply<T>, ApiError> {
        self.call(Method::GET, path, None)
    }

    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &Json) -> Result<Reply<T>, ApiError> {
        self.call(Method::POST, path, Some(body))
    }

    pub(crate) fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<Reply<T>, ApiError> {
        self.call(Method::DELETE, path, None)
    }

    /// A file, such as a certificate.
    pub(crate) fn get_text(&self, path: &str) -> Result<String, ApiError> {
        let (url, status, body) = self.exchange(Method::GET, path, None)?;
        if !status.is_success() {
            return Err(refusal(url, status, &body));
        }
        String::from_utf8(body).map_err(|error| ApiError::Answer {
            url,
            status,
            detail: error.to_string(),
        })
    }

    /// Every item of a list, page after page.
    pub(crate) fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Reply<Vec<T>>, ApiError> {
        #[derive(serde::Deserialize)]
        struct Page {
            items: Vec<Json>,
            next_page_token: Option<String>,
        }
        let mut items = Vec::new();
        let mut query = format!("limit={PAGE_ITEMS}");
        loop {
            let page: Page = self.get(&format!("{path}?{query}"))?.value;
            items.extend(page.items);
            match page.next_page_token {
                Some(token) => query = format!("limit={PAGE_ITEMS}&page_token={token}"),
                None => break,
            }
        }
        let json = Json::Array(items);
        let value = Vec::<T>::deserialize(&json).map_err(|error| ApiError::Answer {
            url: format!("{}{path}", self.server),
            status: StatusCode::OK,
            detail: error.to_string(),
        })?;
        Ok(Reply { json, value })
    }

    fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&Json>) -> Result<Reply<T>, ApiError> {
        let (url, status, body) = self.exchange(method, path, body)?;
        if !status.is_success() {
            return Err(refusal(url, status, &body));
        }
        let parse = || {
            let json: Json = serde_json::from_slice(&body)?;
            let value = T::deserialize(&json)?;
            Ok::<_, serde_json::Error>(Reply { json, value })
        };
        parse().map_err(|error| ApiError::Answer {
            url,
            status,
            detail: error.to_string(),
        })
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Json>,
    ) -> Result<(String, StatusCode, Vec<u8>), ApiError> {
        let url = format!("{}{path}", self.server);
        let unreachable = |source: ureq::Error| ApiError::Unreachable {
            url: url.clone(),
            source: Box::new(source),
        };
        let request = Request::builder()
            .method(method)
            .uri(&url)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::ACCEPT, "application/json");
        let response = match body {
            Some(body) => {
                let request = request.header(header::CONTENT_TYPE, "application/json");
                self.agent.run(
                    request
                        .body(body.to_string())
                        .map_err(|e| unreachable(ureq::Error::Http(e)))?,
                )
            }
            None => self
                .agent
                .run(request.body(()).map_err(|e| unreachable(ureq::Error::Http(e)))?),
        }
        .map_err(unreachable)?;
        let status = response.status();
        let mut bytes = Vec::new();
        response
            .into_body()
            .into_reader()
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|error| unreachable(ureq::Error::Io(error)))?;
        Ok((url, status, bytes))
    }
}

fn refusal(url: String, status: StatusCode, body: &[u8]) -> ApiError {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => ApiError::Problem(Box::new(problem)),
        Err(_) => ApiError::Answer {
            url,
            status,
            detail: "no problem document (RFC 9457)".to_owned(),
        },
    }
}

fn is_local(server: &str) -> bool {
    let host = server
        .parse::<http::Uri>()
        .ok()
        .and_then(|uri| uri.host().map(str::to_owned));
    host.is_some_and(|host| {
        host == "localhost"
            || host.ends_with(".localhost")
            || host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn loopback_servers_are_never_reached_by_proxy() {
        for (server, local) in [
            ("http://localhost:8080", true),
            ("http://platform.localhost", true),
            ("http://127.0.0.1:1", true),
            ("http://[::1]:8080", true),
            ("https://craton.example", false),
            ("https://localhost.example", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_local(server), local, "{server}");
        }
    }
}
