//! The server's admin interface: HTTP over a Unix socket that only this user can open.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use craton_agent_protocol::{DesiredMembership, DesiredUser, ObservedDatabase, ObservedFormat, ObservedMembership};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// How long a change may take: it waits for a durable write.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the status may take. It is asked for all the time and needs no disk.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// Nobody answered.
    #[error("the server does not answer on its admin socket: {0}")]
    Unreachable(String),
    /// It took longer than allowed.
    #[error("the server did not answer {method} {path} within {timeout:?}")]
    Timeout {
        /// The method.
        method: Method,
        /// The path.
        path: String,
        /// The limit.
        timeout: Duration,
    },
    /// The server said no.
    #[error("the server answered {method} {path} with {status}: {body}")]
    Refused {
        /// The method.
        method: Method,
        /// The path.
        path: String,
        /// The status.
        status: StatusCode,
        /// The beginning of the answer.
        body: String,
    },
    /// The answer could not be read.
    #[error("the server's answer to {path} could not be read: {detail}")]
    Answer {
        /// The path.
        path: String,
        /// What is wrong with it.
        detail: String,
    },
}

/// What a server says of itself.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct ServerStatus {
    pub(crate) version: String,
    pub(crate) databases: Vec<ObservedDatabase>,
    /// Whether a failed disk operation made the server refuse all work.
    pub(crate) poisoned: bool,
    /// Its part in its group; `None` for a server that stands alone.
    pub(crate) cluster: Option<ObservedMembership>,
    /// Which versions of the formats it writes and knows; `None` for a build that does not say.
    pub(crate) format: Option<ObservedFormat>,
}

#[derive(serde::Serialize)]
struct UserBody<'a> {
    scram_verifier: &'a str,
    databases: &'a [String],
    read_only: bool,
    compliance: bool,
}

/// The members of a group as the server reads them, from its file and from its admin interface.
pub(crate) fn members_body(membership: &DesiredMembership) -> Vec<u8> {
    let members: Vec<_> = membership
        .members
        .iter()
        .map(|member| {
            serde_json::json!({
                "node_id": member.member_id,
                "peer_address": member.peer_address,
            })
        })
        .collect();
    let body = serde_json::json!({ "generation": membership.generation, "members": members });
    body.to_string().into_bytes()
}

/// Tells the members that the group shall have. A server that leads brings the group there.
pub(crate) async fn put_members(socket: &Path, membership: &DesiredMembership) -> Result<(), AdminError> {
    let body = members_body(membership).into();
    call(socket, Method::PUT, "/v1/members", body).await.map(drop)
}

/// Lets another member lead, and takes no new work.
pub(crate) async fn drain(socket: &Path) -> Result<(), AdminError> {
    call(socket, Method::POST, "/v1/drain", Bytes::new()).await.map(drop)
}

/// Lets the server's cluster write a version of the formats; nothing happens when it writes it, or a newer one, already.
pub(crate) async fn finalize(socket: &Path, version: u8) -> Result<(), AdminError> {
    let body = serde_json::json!({ "version": version }).to_string().into();
    call(socket, Method::POST, "/v1/finalize", body).await.map(drop)
}

/// Asks for the server's status.
pub(crate) async fn status(socket: &Path) -> Result<ServerStatus, AdminError> {
    let path = "/v1/status";
    let answer = call(socket, Method::GET, path, Bytes::new()).await?;
    let mut status: ServerStatus = serde_json::from_slice(&answer).map_err(|error| AdminError::Answer {
        path: path.to_owned(),
        detail: error.to_string(),
    })?;
    status.databases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(status)
}

/// Creates a database; nothing happens when it exists.
pub(crate) async fn put_database(socket: &Path, name: &str) -> Result<(), AdminError> {
    call(socket, Method::PUT, &format!("/v1/databases/{name}"), Bytes::new())
        .await
        .map(drop)
}

/// Creates or changes a user.
pub(crate) async fn put_user(socket: &Path, user: &DesiredUser) -> Result<(), AdminError> {
    let body = UserBody {
        scram_verifier: &user.scram_verifier,
        databases: &user.databases,
        read_only: user.read_only,
        compliance: user.compliance,
    };
    let body = serde_json::to_vec(&body).expect("a struct of strings has no failing serializer");
    call(socket, Method::PUT, &format!("/v1/users/{}", user.name), body.into())
        .await
        .map(drop)
}

/// Drops a user; nothing happens when there is none.
pub(crate) async fn delete_user(socket: &Path, name: &str) -> Result<(), AdminError> {
    match call(socket, Method::DELETE, &format!("/v1/users/{name}"), Bytes::new()).await {
        Err(AdminError::Refused {
            status: StatusCode::NOT_FOUND,
            ..
        }) => Ok(()),
        result => result.map(drop),
    }
}

async fn call(socket: &Path, method: Method, path: &str, body: Bytes) -> Result<Bytes, AdminError> {
    let timeout = if method == Method::GET {
        STATUS_TIMEOUT
    } else {
        CHANGE_TIMEOUT
    };
    tokio::time::timeout(timeout, exchange(socket, method.clone(), path, body))
        .await
        .unwrap_or_else(|_| {
            Err(AdminError::Timeout {
                method,
                path: path.to_owned(),
                timeout,
            })
        })
}

async fn exchange(socket: &Path, method: Method, path: &str, body: Bytes) -> Result<Bytes, AdminError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| AdminError::Unreachable(error.to_string()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| AdminError::Unreachable(error.to_string()))?;
    // Ends by itself when the sender is dropped.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(&method)
        .uri(path)
        .header(http::header::HOST, "localhost")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| AdminError::Answer {
            path: path.to_owned(),
            detail: error.to_string(),
        })?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| AdminError::Unreachable(error.to_string()))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| AdminError::Answer {
            path: path.to_owned(),
            detail: error.to_string(),
        })?
        .to_bytes();
    if status.is_success() {
        Ok(body)
    } else {
        let body = String::from_utf8_lossy(&body).chars().take(300).collect();
        Err(AdminError::Refused {
            method,
            path: path.to_owned(),
            status,
            body,
        })
    }
}
