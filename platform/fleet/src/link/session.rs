//! One link, from hello to its end.

use std::{sync::Arc, time::Duration};

use craton_agent_protocol::{
    AckOutcome, AgentEnvelope, AgentMessage, CertificateOutcome, CertificateSubject, Hello, LinkRefusalCode,
    MESSAGE_BYTES_MAX, NodeId as WireNodeId, PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN, PlatformMessage, decode_agent,
    encode_platform, negotiate,
};
use craton_platform_kernel::NodeId;
use futures::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error as WebSocketError, Message, protocol::WebSocketConfig},
};
use tokio_util::sync::CancellationToken;

use crate::{aggregate::cluster::CertificatePurpose, fleet::Inner, workflow::certificate};

/// How long the hello or one write may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Why a link ended.
#[derive(Debug)]
enum End {
    /// The agent went away.
    Gone(String),
    /// The platform ends.
    Shutdown,
    /// The agent is told to go.
    Refused(LinkRefusalCode, String),
}

impl From<WebSocketError> for End {
    fn from(error: WebSocketError) -> Self {
        match error {
            WebSocketError::Capacity(error) => Self::Refused(LinkRefusalCode::ProtocolViolation, error.to_string()),
            error => Self::Gone(error.to_string()),
        }
    }
}

pub(crate) fn web_socket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
}

/// Runs a link. `wire_id` is the node in the client certificate.
pub(crate) async fn run(fleet: Arc<Inner>, wire_id: WireNodeId, mut socket: Socket, shutdown: CancellationToken) {
    let end = match hold(&fleet, &wire_id, &mut socket, &shutdown).await {
        Ok(end) | Err(end) => end,
    };
    match end {
        End::Gone(reason) => tracing::info!(node_id = %wire_id, reason, "a node's link is down"),
        End::Shutdown => {}
        End::Refused(code, detail) => {
            tracing::warn!(node_id = %wire_id, ?code, detail, "a node's link was refused");
            let refused = PlatformMessage::Refused { code, detail };
            // The agent may be gone already; then nobody misses the message.
            let _ = write(&mut socket, &refused).await;
        }
    }
    let _ = tokio::time::timeout(Duration::from_secs(1), socket.close(None)).await;
}

async fn hold(
    fleet: &Inner,
    wire_id: &WireNodeId,
    socket: &mut Socket,
    shutdown: &CancellationToken,
) -> Result<End, End> {
    let hello = tokio::time::timeout(STEP_TIMEOUT, next(socket, wire_id))
        .await
        .map_err(|_| violation("no hello arrived in time"))??;
    let AgentMessage::Hello(hello) = hello else {
        return Err(violation("the first message is not a hello"));
    };
    let node_id = known_node(fleet, wire_id).await?;
    let protocol_version = version(&hello)?;
    let welcome = PlatformMessage::Welcome {
        protocol_version,
        heartbeat_interval_ms: u64::try_from(fleet.config.heartbeat_interval.as_millis()).unwrap_or(u64::MAX),
    };
    write(socket, &welcome).await?;
    tracing::info!(%node_id, generation = hello.generation, "a node's link is up");
    let mut registration = fleet.links.register(node_id, (hello.generation, hello.content_hash));
    fleet.wake.notify_one();
    let offline_after = fleet.config.offline_after;
    let end = loop {
        let step = tokio::select! {
            () = shutdown.cancelled() => Ok(Some(End::Shutdown)),
            () = registration.superseded.cancelled() => {
                Err(End::Refused(LinkRefusalCode::Superseded, "a newer link of this node has taken over".to_owned()))
            }
            Some(message) = registration.outgoing.recv() => write(socket, &message).await.map(|()| None),
            incoming = tokio::time::timeout(offline_after, next(socket, wire_id)) => match incoming {
                Err(_) => Err(End::Gone(format!("nothing was heard for {offline_after:?}"))),
                Ok(Err(end)) => Err(end),
                Ok(Ok(message)) => receive(fleet, node_id, message, socket).await.map(|()| None),
            },
        };
        match step {
            Ok(None) => {}
            Ok(Some(end)) | Err(end) => break end,
        }
    };
    fleet.links.unregister(node_id, registration.number);
    Ok(end)
}

fn violation(detail: &str) -> End {
    End::Refused(LinkRefusalCode::ProtocolViolation, detail.to_owned())
}

/// The node of the certificate, if it is part of the fleet.
async fn known_node(fleet: &Inner, wire_id: &WireNodeId) -> Result<NodeId, End> {
    let unknown = || {
        End::Refused(
            LinkRefusalCode::UnknownNode,
            format!("{wire_id} is not part of this fleet"),
        )
    };
    let node_id: NodeId = wire_id.as_str().parse().map_err(|_| unknown())?;
    match fleet.view.node(node_id).await {
        Ok(Some(_)) => Ok(node_id),
        Ok(None) => Err(unknown()),
        // Not the node's fault: it comes back by itself.
        Err(error) => Err(End::Gone(error.to_string())),
    }
}

fn version(hello: &Hello) -> Result<u16, End> {
    let agent = (hello.protocol_version_min, hello.protocol_version_max);
    let own = (PROTOCOL_VERSION_MIN, PROTOCOL_VERSION_MAX);
    negotiate(agent, own).ok_or_else(|| {
        let detail = format!(
            "the agent speaks versions {} to {}, this platform {} to {}",
            agent.0, agent.1, own.0, own.1
        );
        End::Refused(LinkRefusalCode::UnsupportedVersion, detail)
    })
}

/// The next message, once it is certain that it speaks for the node of the certificate.
async fn next(socket: &mut Socket, wire_id: &WireNodeId) -> Result<AgentMessage, End> {
    loop {
        let bytes = match socket.next().await {
            None | Some(Ok(Message::Close(_))) => return Err(End::Gone("the agent closed it".to_owned())),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(Message::Text(text))) => text.as_bytes().to_vec(),
            Some(Ok(Message::Binary(bytes))) => bytes.to_vec(),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
        };
        let AgentEnvelope { node_id, message } = decode_agent(&bytes).map_err(|error| violation(&error.to_string()))?;
        if node_id != *wire_id {
            let detail = format!("the message speaks for {node_id}, the certificate for {wire_id}");
            return Err(End::Refused(LinkRefusalCode::WrongNode, detail));
        }
        return Ok(message);
    }
}

async fn write(socket: &mut Socket, message: &PlatformMessage) -> Result<(), End> {
    match tokio::time::timeout(STEP_TIMEOUT, socket.send(Message::text(encode_platform(message)))).await {
        Ok(sent) => Ok(sent?),
        Err(_) => Err(End::Gone(format!("a message was not taken within {STEP_TIMEOUT:?}"))),
    }
}

async fn receive(fleet: &Inner, node_id: NodeId, message: AgentMessage, socket: &mut Socket) -> Result<(), End> {
    fleet.links.heard(node_id);
    match message {
        AgentMessage::Hello(_) => Err(violation("a second hello")),
        AgentMessage::Heartbeat { .. } => Ok(()),
        AgentMessage::Ack {
            generation,
            content_hash,
            outcome: AckOutcome::Accepted,
        } => {
            fleet.links.accepted(node_id, generation, content_hash);
            Ok(())
        }
        AgentMessage::Ack {
            generation,
            outcome: AckOutcome::Refused { refusal },
            ..
        } => {
            tracing::warn!(%node_id, generation, %refusal, "a node refused its desired state");
            Ok(())
        }
        AgentMessage::Observed(observed) => {
            if fleet.links.observe(node_id, observed) {
                fleet.wake.notify_one();
            }
            Ok(())
        }
        AgentMessage::CertificateRequest { subject, csr_pem } => {
            let issued = match &subject {
                CertificateSubject::Node => certificate::renew_node(fleet, node_id, &csr_pem).await,
                CertificateSubject::Instance { cluster_id, member_id } => {
                    let purpose = CertificatePurpose::Server;
                    certificate::issue_instance(fleet, node_id, cluster_id, *member_id, purpose, &csr_pem).await
                }
                CertificateSubject::Peer { cluster_id, member_id } => {
                    let purpose = CertificatePurpose::Peer;
                    certificate::issue_instance(fleet, node_id, cluster_id, *member_id, purpose, &csr_pem).await
                }
            };
            let outcome = match issued {
                Ok(chain_pem) => CertificateOutcome::Issued { chain_pem },
                Err(error) => {
                    tracing::warn!(%node_id, ?subject, %error, "a certificate was not issued");
                    CertificateOutcome::Refused {
                        detail: error.to_string(),
                    }
                }
            };
            write(socket, &PlatformMessage::Certificate { subject, outcome }).await
        }
    }
}
