//! A server and its witness, which speaks HTTP.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use craton_crypto::{SecretBytes, SigningKey};
use craton_proof::{
    AddCheckpoint, Cosigner, KeyName, Note, Receipt, TLOG_SIZE_CONTENT_TYPE, VerifierKey, WitnessPolicy, Witnessed,
};
use rustix::process::Signal;
use serde_json::json;

use crate::support::World;

/// Status, content type and body.
pub(crate) type HttpAnswer = (u16, &'static str, Vec<u8>);

/// Answers POST requests on a port of its own until the test ends. The answer is made from path and body.
pub(crate) fn serve_http(answer: impl Fn(&str, &[u8]) -> HttpAnswer + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = answer.clone();
            std::thread::spawn(move || serve_connection(stream.expect("a connection"), &*answer));
        }
    });
    address
}

fn serve_connection(mut stream: TcpStream, answer: &dyn Fn(&str, &[u8]) -> HttpAnswer) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let path = head.strip_prefix("POST ").and_then(|rest| rest.split(' ').next());
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.expect("a length")];
        reader.read_exact(&mut body).expect("a body");
        let (status, content_type, answer) = answer(path.expect("a POST request"), &body);
        let head = format!(
            "HTTP/1.1 {status} x\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        if stream.write_all(&[head.into_bytes(), answer].concat()).is_err() {
            return;
        }
    }
}

/// A witness on a port of its own. It ends with the test.
pub(crate) struct HttpWitness {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    cosigner: Cosigner,
    /// What it has cosigned, by origin.
    latest: Mutex<HashMap<String, Witnessed>>,
    known: Mutex<Vec<VerifierKey>>,
}

impl HttpWitness {
    pub(crate) fn start(name: &str, seed: u8) -> Self {
        let key = SigningKey::from_seed(&SecretBytes::new([seed; 32]));
        let state = Arc::new(State {
            cosigner: Cosigner::new(KeyName::parse(name).expect("a name"), key),
            latest: Mutex::default(),
            known: Mutex::default(),
        });
        let serving = state.clone();
        let address = serve_http(move |path, body| {
            assert_eq!(path, "/prefix/add-checkpoint");
            serving.answer(body)
        });
        Self { address, state }
    }

    fn entry(&self) -> serde_json::Value {
        json!({
            "url": format!("http://{}/prefix/", self.address),
            "verifier_key": self.state.cosigner.cosigner_key().to_string(),
        })
    }

    pub(crate) fn learn(&self, key: &str) {
        let key = key.parse().expect("a verifier key");
        self.state.known.lock().expect("no panic").push(key);
    }

    fn policy(&self) -> WitnessPolicy {
        WitnessPolicy::new(vec![self.state.cosigner.cosigner_key().clone()], 1).expect("a policy")
    }
}

impl State {
    fn answer(&self, body: &[u8]) -> HttpAnswer {
        let request = AddCheckpoint::parse(body).expect("well formed");
        let origin = request.origin();
        let known = self.known.lock().expect("no panic");
        let Some(key) = known.iter().find(|key| *key.name() == origin) else {
            return (404, "text/plain", Vec::new());
        };
        let mut latest = self.latest.lock().expect("no panic");
        match request.judge(key, latest.get(origin.as_str())) {
            Ok(witnessed) => {
                latest.insert(origin.to_string(), witnessed);
                let line = self.cosigner.cosign(&request.checkpoint, 1_700_000_000);
                (200, "text/plain", line.expect("a checkpoint").to_string().into_bytes())
            }
            Err(refusal) => {
                let size = refusal.latest_size().map_or(String::new(), |size| format!("{size}\n"));
                (refusal.status(), TLOG_SIZE_CONTENT_TYPE, size.into_bytes())
            }
        }
    }
}

fn write_policy(world: &World, witnesses: &[&HttpWitness]) {
    std::fs::write(world.path("witnesses.json"), policy(witnesses).to_string()).expect("writable");
}

pub(crate) fn policy(witnesses: &[&HttpWitness]) -> serde_json::Value {
    let entries: Vec<_> = witnesses.iter().map(|witness| witness.entry()).collect();
    json!({ "witnesses": entries })
}

fn world_with(witnesses: &[&HttpWitness]) -> World {
    world_with_policy(&policy(witnesses))
}

pub(crate) fn world_with_policy(policy: &serde_json::Value) -> World {
    let mut world = World::prepare(&[]);
    std::fs::write(world.path("witnesses.json"), policy.to_string()).expect("writable");
    let path = world.path("witnesses.json").display().to_string();
    world.add_arguments(&["--witness-file", &path]);
    world.spawn();
    world.put_database("main");
    world.put_user("app", crate::support::PASSWORD, &["main"], false);
    world.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    world
}

fn receipt(world: &World) -> String {
    world.psql("SET craton.cosignature_timeout = '30s'; SELECT craton_receipt('t', 1)") + "\n"
}

pub(crate) fn log_key(world: &World) -> String {
    let status = world.database_status("main");
    status["log_key"].as_str().expect("a key").to_owned()
}

/// The checkpoint in a receipt: what follows the line of hashes.
fn note_of(receipt: &str) -> Note {
    let (_, note) = receipt.split_once("\n\n").expect("a receipt");
    Note::parse(note.as_bytes()).expect("a note")
}

#[test]
fn a_receipt_carries_the_witnesss_signature_and_the_log_with_it_verifies() {
    let witness = HttpWitness::start("witness.example/a", 1);
    let mut world = world_with(&[&witness]);
    let key = log_key(&world);
    let without = receipt(&world);
    assert!(
        !without.contains("witness.example"),
        "the witness does not know the log yet: {without}"
    );

    witness.learn(&key);
    let with = world.wait_for("cosigned receipt", || {
        let receipt = receipt(&world);
        receipt.contains("witness.example/a").then_some(receipt)
    });
    Receipt::verify(with.as_bytes(), &key.parse().expect("a key")).expect("it verifies");
    witness.policy().verify(&note_of(&with)).expect("cosigned");

    assert!(world.metric("craton_witness_requests_total{outcome=\"cosigned\"}") >= 1.0);
    assert!(world.metric("craton_witness_requests_total{outcome=\"unknown_origin\"}") >= 1.0);
    assert!(world.metric("craton_cosigned_records{database=\"main\"}") >= 1.0);
    assert!(
        world
            .http("/metrics")
            .text
            .contains("craton_cosigned_checkpoint_age_seconds{database=\"main\"}")
    );
    let status = world.admin("GET", "/v1/status", None).json();
    assert_eq!(status["witnesses"][0]["database"], "main");
    assert_eq!(status["witnesses"][0]["error"], json!(null));

    // What the auditors fetch is cosigned too, and the files verify.
    let served = crate::logs::checkpoint_note(&world);
    witness.policy().verify(&served).expect("cosigned");
    assert!(world.terminate().success());
    world.verify_log(&key);
}

#[test]
fn witnesses_are_read_again_on_request_and_a_broken_file_changes_nothing() {
    let (first, second) = (
        HttpWitness::start("witness.example/a", 1),
        HttpWitness::start("witness.example/b", 2),
    );
    let mut world = world_with(&[&first]);
    world.expect_in_log("the witnesses were not read again");
    for witness in [&first, &second] {
        witness.learn(&log_key(&world));
    }
    world.wait_for("the first witness", || {
        receipt(&world).contains("witness.example/a").then_some(())
    });
    std::fs::write(world.path("witnesses.json"), "{").expect("writable");
    world.signal(Signal::HUP);
    world.wait_for("refusal of the file", || {
        world.log().contains("the witnesses were not read again").then_some(())
    });
    write_policy(&world, &[&first, &second]);
    world.signal(Signal::HUP);
    world.wait_for("the second witness", || {
        receipt(&world).contains("witness.example/b").then_some(())
    });
    assert!(world.terminate().success());

    std::fs::write(world.path("witnesses.json"), "{").expect("writable");
    let refused = world.command().output().expect("the server's binary");
    assert!(!refused.status.success());
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(error.contains("witnesses.json"), "{error}");
}

#[test]
fn a_server_on_a_forked_copy_is_refused_and_says_so() {
    let witness = HttpWitness::start("witness.example/a", 1);
    let mut world = world_with(&[&witness]);
    witness.learn(&log_key(&world));
    world.wait_for("a cosignature", || {
        receipt(&world).contains("witness.example/a").then_some(())
    });
    assert!(world.terminate().success());
    let copied = std::process::Command::new("cp")
        .args([
            "-r".as_ref(),
            world.data_dir().as_os_str(),
            world.path("copy").as_os_str(),
        ])
        .status();
    assert!(copied.expect("cp").success());

    world.spawn();
    world.psql("INSERT INTO t VALUES (2)");
    world.psql("SET craton.cosignature_timeout = '30s'; SELECT craton_receipt('t', 2)");
    world.wait_for("the honest history", || {
        (world.metric("craton_witness_requests_total{outcome=\"cosigned\"}") >= 1.0).then_some(())
    });
    assert!(world.terminate().success());

    std::fs::rename(world.data_dir(), world.path("honest")).expect("movable");
    std::fs::rename(world.path("copy"), world.data_dir()).expect("movable");
    world.expect_in_log("a witness refuses this log");
    world.spawn();
    for id in 10..16 {
        world.psql(&format!("INSERT INTO t VALUES ({id})"));
    }
    world.psql("SET craton.cosignature_timeout = 0; SELECT craton_receipt('t', 10)");
    world.wait_for("the refusal", || {
        (world.metric("craton_witness_requests_total{outcome=\"other_history\"}") >= 1.0).then_some(())
    });
    let status = world.admin("GET", "/v1/status", None).json();
    let error = status["witnesses"][0]["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("another history") || error.contains("forked"), "{error}");
    assert!(world.log().contains("a witness refuses this log"));
    assert!(world.terminate().success());
}
