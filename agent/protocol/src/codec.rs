//! From bytes to checked messages and back.

use crate::{
    AgentEnvelope, AgentMessage, PEM_BYTES_MAX, PlatformMessage,
    desired::{LimitError, at_most},
};

/// The largest message on a link, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// The largest enrolment request or response, in bytes.
pub const ENROL_BYTES_MAX: usize = 64 * 1024;

/// Why a message was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is longer than [`MESSAGE_BYTES_MAX`].
    #[error("the message has {length} bytes, at most {MESSAGE_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its length in bytes.
        length: usize,
    },
    /// It is no JSON of a known message.
    #[error("the message could not be read: {0}")]
    Malformed(#[source] serde_json::Error),
    /// A part of it is larger than allowed.
    #[error("the message exceeds a limit: {0}")]
    Limit(#[from] LimitError),
}

/// Writes a message of the agent.
#[must_use]
pub fn encode_agent(envelope: &AgentEnvelope) -> String {
    serde_json::to_string(envelope).expect("messages have string keys and no failing serializer")
}

/// Writes a message of the platform.
#[must_use]
pub fn encode_platform(message: &PlatformMessage) -> String {
    serde_json::to_string(message).expect("messages have string keys and no failing serializer")
}

fn parse<M: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<M, DecodeError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(DecodeError::TooLarge { length: bytes.len() });
    }
    serde_json::from_slice(bytes).map_err(DecodeError::Malformed)
}

/// Reads a message of the agent.
///
/// # Errors
/// When it is too large, not understood, or beyond a limit.
pub fn decode_agent(bytes: &[u8]) -> Result<AgentEnvelope, DecodeError> {
    let envelope: AgentEnvelope = parse(bytes)?;
    match &envelope.message {
        AgentMessage::Observed(observed) => observed.check_limits()?,
        AgentMessage::CertificateRequest { csr_pem, .. } => at_most("csr_pem", csr_pem.len(), PEM_BYTES_MAX)?,
        AgentMessage::Hello(_) | AgentMessage::Heartbeat { .. } | AgentMessage::Ack { .. } => {}
    }
    Ok(envelope)
}

/// Reads a message of the platform.
///
/// # Errors
/// When it is too large, not understood, or beyond a limit.
pub fn decode_platform(bytes: &[u8]) -> Result<PlatformMessage, DecodeError> {
    let message: PlatformMessage = parse(bytes)?;
    if let PlatformMessage::Desired(desired) = &message {
        desired.check_limits()?;
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AckOutcome, CertificateOutcome, CertificateSubject, ClusterId, DesiredRefusal, DesiredState, DesiredUser,
        ERROR_BYTES_MAX, Hello, INSTANCES_MAX, LinkRefusalCode, MEMBERS_MAX, MemberId, USERS_MAX,
        desired::tests::{instance, node},
        observed::tests::observed,
    };

    fn agent_messages() -> Vec<AgentMessage> {
        let desired = DesiredState::new(node('q'), 5, vec![instance('q')]);
        let id = instance('q').id();
        vec![
            AgentMessage::Hello(Hello {
                protocol_version_min: 2,
                protocol_version_max: 2,
                agent_version: "0.1.0".into(),
                generation: 5,
                content_hash: Some(desired.content_hash),
            }),
            AgentMessage::Heartbeat { sequence: 17 },
            AgentMessage::Ack {
                generation: 5,
                content_hash: desired.content_hash,
                outcome: AckOutcome::Accepted,
            },
            AgentMessage::Ack {
                generation: 4,
                content_hash: desired.content_hash,
                outcome: AckOutcome::Refused {
                    refusal: DesiredRefusal::OlderGeneration { generation: 4, held: 5 },
                },
            },
            AgentMessage::Observed(observed(42)),
            AgentMessage::CertificateRequest {
                subject: CertificateSubject::Node,
                csr_pem: "csr".into(),
            },
            AgentMessage::CertificateRequest {
                subject: CertificateSubject::instance(id.clone()),
                csr_pem: "csr".into(),
            },
            AgentMessage::CertificateRequest {
                subject: CertificateSubject::peer(id),
                csr_pem: "csr".into(),
            },
        ]
    }

    fn platform_messages() -> Vec<PlatformMessage> {
        vec![
            PlatformMessage::Welcome {
                protocol_version: 2,
                heartbeat_interval_ms: 5_000,
            },
            PlatformMessage::Desired(DesiredState::new(node('q'), 5, vec![instance('q')])),
            PlatformMessage::Certificate {
                subject: CertificateSubject::Node,
                outcome: CertificateOutcome::Issued {
                    chain_pem: "chain".into(),
                },
            },
            PlatformMessage::Certificate {
                subject: CertificateSubject::Node,
                outcome: CertificateOutcome::Refused { detail: "no".into() },
            },
            PlatformMessage::Refused {
                code: LinkRefusalCode::WrongNode,
                detail: "you are another".into(),
            },
        ]
    }

    /// The bytes of version 2 of the protocol. A change here needs a new version.
    #[test]
    fn the_bytes_of_every_message_are_pinned() {
        let agent = agent_messages().into_iter().map(|message| AgentEnvelope {
            node_id: node('q'),
            message,
        });
        let lines: Vec<String> = agent
            .map(|envelope| encode_agent(&envelope))
            .chain(platform_messages().iter().map(encode_platform))
            .collect();
        insta::assert_snapshot!("protocol_v2", lines.join("\n"));
    }

    #[test]
    fn every_message_survives_its_bytes() {
        for message in agent_messages() {
            let envelope = AgentEnvelope {
                node_id: node('q'),
                message,
            };
            assert_eq!(decode_agent(encode_agent(&envelope).as_bytes()).unwrap(), envelope);
        }
        for message in platform_messages() {
            assert_eq!(decode_platform(encode_platform(&message).as_bytes()).unwrap(), message);
        }
    }

    #[test]
    fn fields_of_a_newer_version_are_ignored() {
        let bytes = br#"{"type":"welcome","protocol_version":1,"heartbeat_interval_ms":5000,"colour":"blue"}"#;
        assert_eq!(
            decode_platform(bytes).unwrap(),
            PlatformMessage::Welcome {
                protocol_version: 1,
                heartbeat_interval_ms: 5_000
            }
        );
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let nested = "[".repeat(10_000);
        for bytes in ["", "{}", "null", "{\"node_id\":\"x\"}", "\u{0}", nested.as_str()] {
            assert!(
                matches!(decode_agent(bytes.as_bytes()), Err(DecodeError::Malformed(_))),
                "{bytes:.20}"
            );
        }
        assert!(matches!(decode_agent(&[0xff, 0xfe]), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn the_size_limit_holds_at_its_edge() {
        let mut bytes = encode_platform(&platform_messages()[0]).into_bytes();
        bytes.resize(MESSAGE_BYTES_MAX, b' ');
        assert!(decode_platform(&bytes).is_ok());
        bytes.push(b' ');
        assert!(matches!(decode_platform(&bytes), Err(DecodeError::TooLarge { length }) if length == bytes.len()));
    }

    #[test]
    fn list_limits_hold_at_their_edges() {
        let instances = |count: usize| {
            let instance = instance('q');
            let digits: Vec<char> = "0123456789abcdefghjkmnpqrstvwxyz".chars().collect();
            let instances = (0..count)
                .map(|index| {
                    let suffix: String = [digits[index / 32 % 32], digits[index % 32]].iter().collect();
                    let cluster_id = ClusterId::parse(&format!("clu_01h455vb4pex5vsknk084sn0{suffix}")).unwrap();
                    crate::DesiredInstance {
                        cluster_id,
                        ..instance.clone()
                    }
                })
                .collect();
            encode_platform(&PlatformMessage::Desired(DesiredState::new(node('q'), 1, instances)))
        };
        assert!(decode_platform(instances(INSTANCES_MAX).as_bytes()).is_ok());
        assert!(matches!(
            decode_platform(instances(INSTANCES_MAX + 1).as_bytes()),
            Err(DecodeError::Limit(_))
        ));

        let users = |count: usize| {
            let mut instance = instance('q');
            instance.users = (0..count)
                .map(|index| DesiredUser {
                    name: format!("user{index:03}"),
                    ..instance.users[0].clone()
                })
                .collect();
            encode_platform(&PlatformMessage::Desired(DesiredState::new(
                node('q'),
                1,
                vec![instance],
            )))
        };
        assert!(decode_platform(users(USERS_MAX).as_bytes()).is_ok());
        assert!(matches!(
            decode_platform(users(USERS_MAX + 1).as_bytes()),
            Err(DecodeError::Limit(_))
        ));
    }

    #[test]
    fn a_certificate_request_is_limited() {
        let request = |length: usize| {
            let message = AgentMessage::CertificateRequest {
                subject: CertificateSubject::Node,
                csr_pem: "x".repeat(length),
            };
            encode_agent(&AgentEnvelope {
                node_id: node('q'),
                message,
            })
        };
        assert!(decode_agent(request(PEM_BYTES_MAX).as_bytes()).is_ok());
        assert!(matches!(
            decode_agent(request(PEM_BYTES_MAX + 1).as_bytes()),
            Err(DecodeError::Limit(_))
        ));
    }

    #[test]
    fn what_a_node_reports_is_limited() {
        let report = |length: usize| {
            let mut observed = observed(1);
            observed.instances[0].error = Some("x".repeat(length));
            encode_agent(&AgentEnvelope {
                node_id: node('q'),
                message: AgentMessage::Observed(observed),
            })
        };
        assert!(decode_agent(report(ERROR_BYTES_MAX).as_bytes()).is_ok());
        assert!(matches!(
            decode_agent(report(ERROR_BYTES_MAX + 1).as_bytes()),
            Err(DecodeError::Limit(_))
        ));
        let members = |count: u64| {
            let mut observed = observed(1);
            let membership = observed.instances[0].membership.as_mut().unwrap();
            membership.voters = (1..=count).map(|number| MemberId::new(number).unwrap()).collect();
            encode_agent(&AgentEnvelope {
                node_id: node('q'),
                message: AgentMessage::Observed(observed),
            })
        };
        assert!(decode_agent(members(MEMBERS_MAX as u64).as_bytes()).is_ok());
        assert!(matches!(
            decode_agent(members(MEMBERS_MAX as u64 + 1).as_bytes()),
            Err(DecodeError::Limit(_))
        ));
        // An address is shown to people who paste it into a shell.
        let odd = report(1).replace("127.0.0.1", "$(reboot)");
        assert!(matches!(decode_agent(odd.as_bytes()), Err(DecodeError::Malformed(_))));
    }
}
