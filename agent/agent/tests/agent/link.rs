//! What each side of the link refuses: the platform from a node, and a node from the platform.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use crate::node::{Node, until};
use crate::world::World;
use craton_agent_protocol::{
    AckOutcome, AgentEnvelope, AgentMessage, CertificateOutcome, CertificateSubject, ClusterId, DesiredRefusal,
    DesiredState, EnrolRequest, EnrolResponse, Hello, InstanceId, JoinToken, LinkRefusalCode, MESSAGE_BYTES_MAX,
    MemberId, NodeId, PlatformMessage, Successor, decode_agent, decode_platform, encode_agent, encode_platform,
};
use craton_platform_kernel::Role;
use futures::{SinkExt as _, StreamExt as _};
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use tokio_tungstenite::{
    WebSocketStream, accept_async, client_async,
    tungstenite::{Error as WebSocketError, Message},
};

/// How long a message may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The identity that a real agent has stored.
struct Identity {
    node_id: NodeId,
    value: Value,
}

impl Identity {
    async fn of_a_new_node(world: &World) -> Self {
        let mut node = Node::start(world.address(), &world.join_token(60).await, Path::new("/bin/false"));
        let nodes = "/api/v1/fleet/nodes";
        world
            .operator()
            .until(nodes, |nodes| nodes["items"][0]["connected"] == true)
            .await;
        assert!(node.end(Signal::TERM).success());
        let value: Value = serde_json::from_slice(&std::fs::read(node.path("agent/identity.json")).unwrap()).unwrap();
        Self {
            node_id: NodeId::parse(value["node_id"].as_str().unwrap()).unwrap(),
            value,
        }
    }

    fn pem(&self, name: &str) -> Vec<CertificateDer<'static>> {
        let text = self.value[name].as_str().unwrap().as_bytes();
        CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().unwrap()
    }

    async fn connect(
        &self,
        address: SocketAddr,
        with_certificate: bool,
    ) -> Result<WebSocketStream<client::TlsStream<TcpStream>>, WebSocketError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.pem("authorities_pem").remove(0)).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = if with_certificate {
            let key = PrivateKeyDer::from_pem_slice(self.value["key_pem"].as_str().unwrap().as_bytes()).unwrap();
            builder.with_client_auth_cert(self.pem("chain_pem"), key).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let url = format!("wss://localhost:{}/link", address.port());
        client_async(url, stream).await.map(|(socket, _)| socket)
    }

    fn envelope(&self, message: AgentMessage) -> String {
        encode_agent(&AgentEnvelope {
            node_id: self.node_id.clone(),
            message,
        })
    }
}

fn hello(versions: (u16, u16)) -> AgentMessage {
    AgentMessage::Hello(Hello {
        protocol_version_min: versions.0,
        protocol_version_max: versions.1,
        agent_version: "test".into(),
        generation: 0,
        content_hash: None,
    })
}

/// Sends messages and returns the platform's last word.
async fn last_word(identity: &Identity, address: SocketAddr, messages: Vec<String>) -> PlatformMessage {
    let mut socket = identity.connect(address, true).await.expect("a link");
    for message in messages {
        // The platform may hang up before the last one is out.
        if socket.send(Message::text(message)).await.is_err() {
            break;
        }
    }
    let mut last = None;
    while let Ok(Some(Ok(message))) = tokio::time::timeout(PATIENCE, socket.next()).await {
        if let Message::Text(text) = message {
            last = Some(decode_platform(text.as_bytes()).expect("a message"));
        }
    }
    last.expect("the platform says something")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_ends_a_link_that_breaks_the_rules_and_says_which() {
    let world = World::start().await;
    let identity = Identity::of_a_new_node(&world).await;
    let other = NodeId::parse("node_01h455vb4pex5vsknk084sn02q").unwrap();
    let as_other = |message| {
        encode_agent(&AgentEnvelope {
            node_id: other.clone(),
            message,
        })
    };
    let own = |message| identity.envelope(message);
    let heartbeat = || AgentMessage::Heartbeat { sequence: 0 };
    for (messages, code) in [
        (vec![as_other(hello((2, 2)))], LinkRefusalCode::WrongNode),
        (
            vec![own(hello((2, 2))), own(heartbeat()), as_other(heartbeat())],
            LinkRefusalCode::WrongNode,
        ),
        (vec![own(heartbeat())], LinkRefusalCode::ProtocolViolation),
        (
            vec![own(hello((2, 2))), own(hello((2, 2)))],
            LinkRefusalCode::ProtocolViolation,
        ),
        (
            vec![own(hello((2, 2))), "{}".to_owned()],
            LinkRefusalCode::ProtocolViolation,
        ),
        (
            vec![own(hello((2, 2))), " ".repeat(MESSAGE_BYTES_MAX + 1)],
            LinkRefusalCode::ProtocolViolation,
        ),
        (vec![own(hello((7, 9)))], LinkRefusalCode::UnsupportedVersion),
        (vec![own(hello((1, 1)))], LinkRefusalCode::UnsupportedVersion),
    ] {
        let shown: Vec<String> = messages
            .iter()
            .map(|message| message.chars().take(120).collect())
            .collect();
        match last_word(&identity, world.address(), messages).await {
            PlatformMessage::Refused { code: seen, .. } => assert_eq!(seen, code, "{shown:?}"),
            other => panic!("{shown:?}: {other:?}"),
        }
    }
    match identity.connect(world.address(), false).await {
        Err(WebSocketError::Http(response)) => assert_eq!(response.status(), 403),
        other => panic!("without a certificate: {other:?}"),
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_gets_no_certificate_for_a_cluster_that_is_not_placed_on_it() {
    let world = World::start().await;
    let identity = Identity::of_a_new_node(&world).await;
    let owner = world.member(Role::Owner);
    // In a region without nodes, so it is placed nowhere.
    let body = json!({"name": "clinic", "region": "elsewhere"});
    let (_, created) = owner.call(http::Method::POST, "clusters", Some(body)).await;
    let placed_nowhere = ClusterId::parse(created["cluster"]["id"].as_str().unwrap()).unwrap();
    let unknown = ClusterId::parse("clu_01h455vb4pex5vsknk084sn02q").unwrap();
    let csr_pem = CertificateParams::default()
        .serialize_request(&KeyPair::generate().unwrap())
        .and_then(|request| request.pem())
        .unwrap();
    let mut socket = identity.connect(world.address(), true).await.unwrap();
    socket
        .send(Message::text(identity.envelope(hello((2, 2)))))
        .await
        .unwrap();
    let mut refusals = Vec::new();
    let member_id = MemberId::FIRST;
    let of_clients = [placed_nowhere, unknown].map(|cluster_id| InstanceId { cluster_id, member_id });
    let of_peers = of_clients.clone().map(CertificateSubject::peer);
    for subject in of_clients.map(CertificateSubject::instance).into_iter().chain(of_peers) {
        let request = AgentMessage::CertificateRequest {
            subject,
            csr_pem: csr_pem.clone(),
        };
        socket.send(Message::text(identity.envelope(request))).await.unwrap();
    }
    while refusals.len() < 4 {
        let message = tokio::time::timeout(PATIENCE, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        if let PlatformMessage::Certificate { outcome, .. } = decode_platform(&message.into_data()).unwrap() {
            match outcome {
                CertificateOutcome::Refused { detail } => refusals.push(detail),
                CertificateOutcome::Issued { .. } => panic!("a certificate for a foreign cluster"),
            }
        }
    }
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "a foreign cluster looks like a missing one");
    world.stop().await;
}

/// A platform that says what the test wants.
struct Script {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    authority: Issuer<'static, KeyPair>,
    authority_pem: String,
    token: JoinToken,
    node_id: NodeId,
}

impl Script {
    async fn start() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let authority = Issuer::new(params, key);
        let server_key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let server = server.signed_by(&server_key, &authority).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![server.der().clone(), certificate.der().clone()], server_key.into())
            .unwrap();
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            authority,
            authority_pem: certificate.pem(),
            token: JoinToken::new([1; 16], [2; 32], Sha256::digest(certificate.der()).into()),
            node_id: NodeId::parse("node_01h455vb4pex5vsknk084sn02q").unwrap(),
        }
    }

    async fn accept(&self) -> server::TlsStream<TcpStream> {
        let (stream, _) = tokio::time::timeout(PATIENCE, self.listener.accept())
            .await
            .expect("an agent")
            .unwrap();
        self.acceptor.accept(stream).await.unwrap()
    }

    /// Answers one enrolment.
    async fn enrol(&self) {
        let mut stream = self.accept().await;
        let mut bytes = Vec::new();
        let request: EnrolRequest = loop {
            let mut chunk = [0; 4096];
            let count = stream.read(&mut chunk).await.unwrap();
            bytes.extend_from_slice(&chunk[..count]);
            let text = String::from_utf8_lossy(&bytes);
            if let Some(request) = text
                .split_once("\r\n\r\n")
                .and_then(|(_, body)| serde_json::from_str(body).ok())
            {
                break request;
            }
            assert!(count > 0, "the request ended early: {text}");
        };
        assert_eq!(JoinToken::parse(&request.token).unwrap(), self.token);
        let csr = CertificateSigningRequestParams::from_pem(&request.csr_pem).unwrap();
        let certificate = csr.signed_by(&self.authority).unwrap();
        let response = EnrolResponse {
            node_id: self.node_id.clone(),
            chain_pem: certificate.pem(),
            authorities_pem: self.authority_pem.clone(),
        };
        let body = serde_json::to_string(&response).unwrap();
        let head = format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }

    /// Takes a link up to the welcome and returns the agent's hello with it.
    async fn link(&self) -> (WebSocketStream<server::TlsStream<TcpStream>>, Hello) {
        let mut socket = accept_async(self.accept().await).await.unwrap();
        let AgentMessage::Hello(hello) = next(&mut socket).await else {
            panic!("no hello")
        };
        let welcome = PlatformMessage::Welcome {
            protocol_version: 2,
            heartbeat_interval_ms: 60_000,
        };
        socket.send(Message::text(encode_platform(&welcome))).await.unwrap();
        (socket, hello)
    }
}

async fn next(socket: &mut WebSocketStream<server::TlsStream<TcpStream>>) -> AgentMessage {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next())
            .await
            .expect("a message")
            .unwrap()
            .unwrap();
        if let Message::Text(text) = message {
            return decode_agent(text.as_bytes()).unwrap().message;
        }
    }
}

/// Offers a desired state and returns what becomes of it.
async fn offer(socket: &mut WebSocketStream<server::TlsStream<TcpStream>>, desired: &DesiredState) -> AckOutcome {
    socket
        .send(Message::text(encode_platform(&PlatformMessage::Desired(
            desired.clone(),
        ))))
        .await
        .unwrap();
    loop {
        if let AgentMessage::Ack {
            generation,
            content_hash,
            outcome,
        } = next(socket).await
        {
            assert_eq!((generation, content_hash), (desired.generation, desired.content_hash));
            return outcome;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_refuses_what_may_not_follow_and_remembers_what_it_holds() {
    let script = Script::start().await;
    let address = script.listener.local_addr().unwrap();
    let mut node = Node::start(address, &script.token.expose(), Path::new("/bin/false"));
    script.enrol().await;
    let (mut socket, hello) = script.link().await;
    assert_eq!((hello.generation, hello.content_hash), (0, None));

    let state = |generation| DesiredState::new(script.node_id.clone(), generation, vec![]);
    assert_eq!(offer(&mut socket, &state(5)).await, AckOutcome::Accepted);
    assert_eq!(
        offer(&mut socket, &state(5)).await,
        AckOutcome::Accepted,
        "the same again"
    );
    let refusal = |outcome| match outcome {
        AckOutcome::Refused { refusal } => refusal,
        AckOutcome::Accepted => panic!("accepted"),
    };
    assert_eq!(
        refusal(offer(&mut socket, &state(4)).await),
        DesiredRefusal::OlderGeneration { generation: 4, held: 5 }
    );
    let elsewhere = NodeId::parse("node_01h455vb4pex5vsknk084sn03q").unwrap();
    let for_another = DesiredState::new(elsewhere, 6, vec![]);
    assert!(matches!(
        refusal(offer(&mut socket, &for_another).await),
        DesiredRefusal::WrongNode { .. }
    ));
    // Another content under the number that is held.
    let mut conflict = for_another.clone();
    conflict.generation = 5;
    conflict.node_id = script.node_id.clone();
    assert!(matches!(
        refusal(offer(&mut socket, &conflict).await),
        DesiredRefusal::HashMismatch { .. }
    ));
    assert_eq!(
        offer(&mut socket, &state(6)).await,
        AckOutcome::Accepted,
        "the link goes on"
    );

    // What was acknowledged is still there after the agent's sudden end.
    node.end(Signal::KILL);
    drop(socket);
    node.start_again();
    let (mut socket, hello) = script.link().await;
    assert_eq!((hello.generation, hello.content_hash), (6, Some(state(6).content_hash)));
    assert!(matches!(
        refusal(offer(&mut socket, &state(5)).await),
        DesiredRefusal::OlderGeneration { .. }
    ));

    // A message that is none ends the link; the agent comes back by itself.
    socket.send(Message::text("{}")).await.unwrap();
    let (_socket, hello) = script.link().await;
    assert_eq!(hello.generation, 6);
    assert_eq!(state(6).check_successor(&script.node_id, None), Ok(Successor::Newer));
    assert!(
        tokio::task::spawn_blocking(move || node.end(Signal::TERM))
            .await
            .unwrap()
            .success()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_answer_was_lost_enrols_again_with_the_same_key() {
    let world = World::start().await;
    let token = world.join_token(60).await;
    let mut node = Node::start(world.address(), &token, Path::new("/bin/false"));
    let nodes = "/api/v1/fleet/nodes";
    let joined = world
        .operator()
        .until(nodes, |nodes| nodes["items"][0]["connected"] == true)
        .await;
    node.end(Signal::KILL);
    // As if the agent had ended between the platform's answer and its own write.
    let identity: Value = serde_json::from_slice(&std::fs::read(node.path("agent/identity.json")).unwrap()).unwrap();
    std::fs::write(node.path("agent/enrolment.key"), identity["key_pem"].as_str().unwrap()).unwrap();
    std::fs::remove_file(node.path("agent/identity.json")).unwrap();
    node.start_with(&token);
    until("the node has its identity again", || {
        node.path("agent/identity.json").exists()
    });
    let again: Value = serde_json::from_slice(&std::fs::read(node.path("agent/identity.json")).unwrap()).unwrap();
    assert_eq!(again["node_id"], identity["node_id"], "{joined}");
    until("the key is nowhere else", || !node.path("agent/enrolment.key").exists());
    world.stop().await;
}
