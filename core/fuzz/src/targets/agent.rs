//! What the control plane and agents say to each other.

use craton_agent_protocol::{
    AckOutcome, AgentEnvelope, AgentMessage, CertificateOutcome, CertificateSubject, ClusterId, DesiredInstance,
    DesiredMember, DesiredMembership, DesiredRefusal, DesiredState, DesiredTimeStampAuthority, DesiredUser,
    DesiredWitness, Endpoint, EnrolRequest, EnrolResponse, FormatRange, Hello, InstalledVersion, InstanceId,
    InstancePhase, JoinToken, LinkRefusalCode, MemberId, NodeId, NotReady, ObservedDatabase, ObservedFormat,
    ObservedInstance, ObservedMembership, ObservedState, PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN, PlatformMessage,
    Role, RunState, Successor, decode_agent, decode_platform, encode_agent, encode_platform, negotiate,
};

use super::Parser;

pub(super) const PARSERS: &[Parser] = &[
    Parser {
        name: "message of an agent",
        parse: agent_message,
        seeds: || {
            agent_messages()
                .iter()
                .map(|message| encode_agent(message).into_bytes())
                .collect()
        },
    },
    Parser {
        name: "message of the platform",
        parse: platform_message,
        seeds: || {
            platform_messages()
                .iter()
                .map(|message| encode_platform(message).into_bytes())
                .collect()
        },
    },
    Parser {
        name: "join token",
        parse: join_token,
        seeds: || vec![JoinToken::new([1; 16], [2; 32], [3; 32]).expose().into_bytes()],
    },
    Parser {
        name: "ids",
        parse: ids,
        seeds: || {
            let instance = format!("{CLUSTER}.12");
            vec![
                NODE.as_bytes().to_vec(),
                CLUSTER.as_bytes().to_vec(),
                instance.into_bytes(),
            ]
        },
    },
    Parser {
        name: "enrolment",
        parse: enrolment,
        seeds: || vec![ENROL_REQUEST.as_bytes().to_vec(), ENROL_RESPONSE.as_bytes().to_vec()],
    },
];

const NODE: &str = "node_01h455vb4pex5vsknk084sn02q";
const CLUSTER: &str = "clu_01h455vb4pex5vsknk084sn02q";

fn node() -> NodeId {
    NodeId::parse(NODE).expect("an id")
}

fn cluster() -> ClusterId {
    ClusterId::parse(CLUSTER).expect("an id")
}

fn desired() -> DesiredState {
    let instance = DesiredInstance {
        cluster_id: cluster(),
        member_id: MemberId::FIRST,
        name: "clinic".to_owned(),
        run_state: RunState::Running,
        hostnames: vec!["clinic.example".to_owned()],
        log_origin: "clinic.example".to_owned(),
        region: "local".to_owned(),
        databases: vec!["main".to_owned(), "probe".to_owned()],
        users: vec![DesiredUser {
            name: "app".to_owned(),
            scram_verifier: "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy".to_owned(),
            databases: vec!["main".to_owned()],
            read_only: false,
            compliance: true,
        }],
        token_verification_key: "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n".to_owned(),
        witnesses: vec![DesiredWitness {
            url: "https://witness.example".to_owned(),
            verifier_key: "witness.example/w1+00000000+key".to_owned(),
        }],
        time_stamp_authority: Some(DesiredTimeStampAuthority {
            url: "https://tsa.example".to_owned(),
            certificates: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_owned(),
        }),
        established: true,
        membership: Some(DesiredMembership {
            bootstrap: true,
            generation: 3,
            members: vec![DesiredMember {
                member_id: MemberId::FIRST,
                peer_address: ([127, 0, 0, 1], 20_003).into(),
            }],
        }),
        server_version: Some("0.2.0".to_owned()),
        format_version: Some(2),
    };
    DesiredState::new(node(), 5, vec![instance])
}

fn observed() -> ObservedState {
    let instance = ObservedInstance {
        cluster_id: cluster(),
        member_id: MemberId::FIRST,
        phase: InstancePhase::Running,
        endpoint: Some(Endpoint {
            address: [127, 0, 0, 1].into(),
            port: 20_001,
            https_port: 20_002,
            peer_port: 20_003,
        }),
        pid: Some(4_711),
        restarts: 1,
        server_version: Some("0.1.0".to_owned()),
        runs_version: Some("0.2.0".to_owned()),
        format: Some(ObservedFormat { active: 1, newest: 2 }),
        certificate_not_after_s: Some(1_800_000_000),
        peer_certificate_not_after_s: Some(1_800_000_001),
        membership: Some(ObservedMembership {
            role: Role::Leader,
            leader: Some(MemberId::FIRST),
            term: 4,
            committed: Some(42),
            applied: Some(42),
            voters: [MemberId::FIRST].into(),
            learners: [].into(),
            members_generation: 3,
            not_ready: vec![NotReady {
                code: "catching_up".to_owned(),
                detail: "17 entries are missing".to_owned(),
            }],
        }),
        applied: None,
        databases: vec![ObservedDatabase {
            name: "main".to_owned(),
            position: Some(42),
            log_key: "origin+00000000+key".to_owned(),
        }],
        error: Some("an error".to_owned()),
    };
    ObservedState {
        generation: 5,
        server_versions: vec![InstalledVersion {
            name: "0.2.0".to_owned(),
            formats: Some(FormatRange { oldest: 1, newest: 2 }),
        }],
        instances: vec![instance],
    }
}

fn agent_messages() -> Vec<AgentEnvelope> {
    let content_hash = desired().content_hash;
    let messages = vec![
        AgentMessage::Hello(Hello {
            protocol_version_min: 1,
            protocol_version_max: 3,
            agent_version: "0.1.0".to_owned(),
            generation: 5,
            content_hash: Some(content_hash),
        }),
        AgentMessage::Heartbeat { sequence: 17 },
        AgentMessage::Ack {
            generation: 5,
            content_hash,
            outcome: AckOutcome::Accepted,
        },
        AgentMessage::Ack {
            generation: 4,
            content_hash,
            outcome: AckOutcome::Refused {
                refusal: DesiredRefusal::OlderGeneration { generation: 4, held: 5 },
            },
        },
        AgentMessage::Observed(observed()),
        AgentMessage::CertificateRequest {
            subject: CertificateSubject::instance(desired().instances[0].id()),
            csr_pem: "-----BEGIN CERTIFICATE REQUEST-----\n".to_owned(),
        },
        AgentMessage::CertificateRequest {
            subject: CertificateSubject::peer(desired().instances[0].id()),
            csr_pem: "-----BEGIN CERTIFICATE REQUEST-----\n".to_owned(),
        },
    ];
    let envelope = |message| AgentEnvelope {
        node_id: node(),
        message,
    };
    messages.into_iter().map(envelope).collect()
}

fn platform_messages() -> Vec<PlatformMessage> {
    vec![
        PlatformMessage::Welcome {
            protocol_version: 2,
            heartbeat_interval_ms: 5_000,
        },
        PlatformMessage::Desired(desired()),
        PlatformMessage::Certificate {
            subject: CertificateSubject::Node,
            outcome: CertificateOutcome::Issued {
                chain_pem: "-----BEGIN CERTIFICATE-----\n".to_owned(),
            },
        },
        PlatformMessage::Certificate {
            subject: CertificateSubject::Node,
            outcome: CertificateOutcome::Refused {
                detail: "no".to_owned(),
            },
        },
        PlatformMessage::Refused {
            code: LinkRefusalCode::Superseded,
            detail: "a newer link".to_owned(),
        },
    ]
}

fn agent_message(bytes: &[u8]) -> bool {
    let Ok(envelope) = decode_agent(bytes) else {
        return false;
    };
    let again = decode_agent(encode_agent(&envelope).as_bytes()).expect("what was encoded decodes");
    assert_eq!(again, envelope);
    if let AgentMessage::Hello(hello) = &envelope.message {
        let spoken = (hello.protocol_version_min, hello.protocol_version_max);
        let chosen = negotiate(spoken, (PROTOCOL_VERSION_MIN, PROTOCOL_VERSION_MAX));
        assert!(chosen.is_none_or(|chosen| (spoken.0..=spoken.1).contains(&chosen)));
    }
    true
}

fn platform_message(bytes: &[u8]) -> bool {
    let Ok(message) = decode_platform(bytes) else {
        return false;
    };
    let again = decode_platform(encode_platform(&message).as_bytes()).expect("what was encoded decodes");
    assert_eq!(again, message);
    if let PlatformMessage::Desired(state) = &message {
        let held = desired();
        match state.check_successor(&node(), Some(&held)) {
            Ok(Successor::Same) => assert_eq!(*state, held, "one hash for two contents"),
            Ok(Successor::Newer) => assert!(state.generation > held.generation && state.node_id == node()),
            Err(_) => {}
        }
    }
    true
}

fn join_token(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let parsed = JoinToken::parse(text);
    if let Ok(token) = &parsed {
        assert_eq!(token.expose(), text.trim(), "a token has one form");
    }
    parsed.is_ok()
}

fn ids(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let (node, cluster) = (NodeId::parse(text), ClusterId::parse(text));
    if let Ok(id) = &node {
        assert_eq!(id.as_str(), text);
        assert!(cluster.is_err(), "an id is of one kind");
    }
    let instance = InstanceId::parse(text);
    if let Some(id) = &instance {
        assert_eq!(id.to_string(), text, "an instance has one name");
    }
    node.is_ok() || cluster.is_ok() || instance.is_some()
}

const ENROL_REQUEST: &str =
    r#"{"token":"t","csr_pem":"c","host":{"hostname":"h","agent_version":"0.1.0","processors":2}}"#;
const ENROL_RESPONSE: &str = r#"{"node_id":"node_01h455vb4pex5vsknk084sn02q","chain_pem":"c","authorities_pem":"a"}"#;

fn enrolment(bytes: &[u8]) -> bool {
    let request = serde_json::from_slice::<EnrolRequest>(bytes);
    let response = serde_json::from_slice::<EnrolResponse>(bytes);
    request.is_ok() || response.is_ok()
}
