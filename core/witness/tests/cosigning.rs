//! A node and its witnesses: what is cosigned, what is refused, and what nobody waits for.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use craton_crypto::{SecretBytes, SigningKey};
use craton_engine::{ActorId, Append, Craton, Response, Tenant, Value, Wait as _};
use craton_proof::{
    AddCheckpoint, Checkpoint, Cosigner, KeyName, Note, Receipt, VerifierKey, WitnessPolicy, Witnessed,
};
use craton_witness::{
    Cosigning, CosigningStatus, Policy, Reply, RequestOutcome, ServiceUrl, Transport, TransportError, Witness,
};
use std::sync::Mutex;

/// Witnesses in memory, by URL.
#[derive(Default)]
struct Witnesses(HashMap<String, InMemory>);

struct InMemory {
    cosigner: Cosigner,
    /// By origin.
    latest: Mutex<HashMap<String, Witnessed>>,
    /// The keys of the logs that it knows.
    known: Mutex<Vec<VerifierKey>>,
    is_down: AtomicBool,
    is_slow: AtomicBool,
}

impl Witnesses {
    fn of(count: u8) -> Self {
        let witness = |number: u8| {
            let key = SigningKey::from_seed(&SecretBytes::new([number; 32]));
            let name = KeyName::parse(&format!("witness.example/{number}")).expect("a name");
            let witness = InMemory {
                cosigner: Cosigner::new(name, key),
                latest: Mutex::default(),
                known: Mutex::default(),
                is_down: AtomicBool::new(false),
                is_slow: AtomicBool::new(false),
            };
            (format!("https://witness.example/{number}"), witness)
        };
        Self((0..count).map(witness).collect())
    }

    fn policy(&self) -> Policy {
        let mut witnesses: Vec<_> = self
            .0
            .iter()
            .map(|(url, witness)| Witness {
                url: url.parse().expect("a URL"),
                key: witness.cosigner.cosigner_key().clone(),
            })
            .collect();
        witnesses.sort_by(|a, b| a.url.cmp(&b.url));
        Policy::new(witnesses).expect("few")
    }

    fn get(&self, number: u8) -> &InMemory {
        &self.0[&format!("https://witness.example/{number}")]
    }

    fn learn(&self, key: &VerifierKey) {
        for witness in self.0.values() {
            witness.known.lock().expect("no panic").push(key.clone());
        }
    }
}

impl Transport for Witnesses {
    fn post(&self, service: &ServiceUrl, path: &str, _: &str, body: &[u8]) -> Result<Reply, TransportError> {
        assert_eq!(path, "/add-checkpoint");
        let witness = &self.0[service.as_str()];
        while witness.is_slow.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if witness.is_down.load(Ordering::Acquire) {
            let (url, reason) = (service.to_string(), "it is down".to_owned());
            return Err(TransportError { url, reason });
        }
        let reply = |status, body: String| {
            Ok(Reply {
                status,
                body: body.into(),
            })
        };
        let request = AddCheckpoint::parse(body).expect("the node's requests are well formed");
        let origin = request.origin();
        let known = witness.known.lock().expect("no panic");
        let Some(key) = known.iter().find(|key| *key.name() == origin) else {
            return reply(404, String::new());
        };
        let mut latest = witness.latest.lock().expect("no panic");
        match request.judge(key, latest.get(origin.as_str())) {
            Ok(witnessed) => {
                latest.insert(origin.to_string(), witnessed);
                let line = witness.cosigner.cosign(&request.checkpoint, 1_700_000_000);
                reply(200, line.expect("a checkpoint").to_string())
            }
            Err(refusal) => {
                let size = refusal.latest_size().map_or(String::new(), |size| format!("{size}\n"));
                reply(refusal.status(), size)
            }
        }
    }
}

fn open(directory: &Path) -> (Craton, Tenant) {
    let engine = Craton::open(directory).expect("the node opens");
    let tenant = engine.open_tenant("main").wait().expect("a tenant");
    (engine, tenant)
}

fn write(tenant: &Tenant, event: &str) {
    tenant.append(Append::new("orders", [event])).wait().expect("committed");
    tenant.checkpoint().wait().expect("a checkpoint");
}

fn log_key(tenant: &Tenant) -> VerifierKey {
    tenant.log_key().parse().expect("a key")
}

#[expect(clippy::disallowed_methods, reason = "a deadline")]
fn until(what: &str, status: impl Fn() -> String, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "no {what}: {}", status());
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn until_cosigned(tenant: &Tenant, cosigning: &Cosigning) {
    let status = || format!("{:?}", cosigning.status());
    until("cosigned checkpoint", status, || {
        tenant.cosigned_size() == tenant.checkpoint_size()
    });
}

fn cosigned(tenant: &Tenant) -> Note {
    let checkpoint = tenant.newest_cosigned_checkpoint().expect("readable").expect("one");
    Checkpoint::open(checkpoint.note.as_bytes(), &log_key(tenant)).expect("the log's own");
    Note::parse(checkpoint.note.as_bytes()).expect("a note")
}

fn policy_of(witnesses: &Witnesses, quorum: usize) -> WitnessPolicy {
    let keys = witnesses
        .policy()
        .witnesses()
        .iter()
        .map(|witness| witness.key.clone())
        .collect();
    WitnessPolicy::new(keys, quorum).expect("a policy")
}

fn count(status: &CosigningStatus, outcome: RequestOutcome) -> u64 {
    status.requests.get(&outcome).copied().unwrap_or(0)
}

#[test]
fn every_new_checkpoint_is_cosigned_and_receipts_carry_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (engine, tenant) = open(directory.path());
    let witnesses = Arc::new(Witnesses::of(2));
    witnesses.learn(&log_key(&tenant));
    write(&tenant, "before anybody was asked");
    let cosigning = Cosigning::start(engine.clone(), witnesses.clone(), witnesses.policy()).expect("threads");
    until_cosigned(&tenant, &cosigning);
    write(&tenant, "after");
    until_cosigned(&tenant, &cosigning);
    policy_of(&witnesses, 2)
        .verify(&cosigned(&tenant))
        .expect("both have signed");

    let receipt = tenant
        .receipt(craton_engine::Offset::new(0), &|_| true)
        .wait()
        .expect("a receipt");
    let verified = Receipt::verify(receipt.as_bytes(), &log_key(&tenant)).expect("it verifies");
    assert_eq!(verified.checkpoint.size, tenant.cosigned_size());
    assert!(receipt.contains("witness.example/1"), "{receipt}");

    // What is known already is not asked for again, not even after a restart.
    cosigning.stop();
    let requests = cosigning.status().requests;
    assert_eq!(count(&cosigning.status(), RequestOutcome::Cosigned), 4, "{requests:?}");
    drop((cosigning, tenant));
    engine.close().expect("closed");
    drop(engine);
    let (engine, tenant) = open(directory.path());
    let cosigning = Cosigning::start(engine, witnesses.clone(), witnesses.policy()).expect("threads");
    until(
        "look at both",
        || format!("{:?}", cosigning.status()),
        || cosigning.status().witnesses.len() == 2,
    );
    assert_eq!(cosigning.status().requests.len(), 0);
    write(&tenant, "and on");
    until_cosigned(&tenant, &cosigning);
    assert_eq!(
        count(&cosigning.status(), RequestOutcome::Conflict),
        0,
        "the node knows where the witnesses are"
    );
}

#[test]
fn a_witness_that_is_down_or_does_not_know_the_log_yet_holds_up_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let (engine, tenant) = open(directory.path());
    let witnesses = Arc::new(Witnesses::of(3));
    witnesses.get(0).known.lock().expect("no panic").push(log_key(&tenant));
    witnesses.get(2).is_down.store(true, Ordering::Release);
    let cosigning = Cosigning::start(engine, witnesses.clone(), witnesses.policy()).expect("threads");
    write(&tenant, "one");
    until_cosigned(&tenant, &cosigning);
    let signers = policy_of(&witnesses, 0).verify(&cosigned(&tenant)).expect("some");
    assert_eq!(signers.len(), 1);
    let status = cosigning.status();
    let errors: Vec<_> = status.witnesses.iter().map(|witness| witness.error.is_some()).collect();
    assert_eq!(errors, [false, true, true], "{status:?}");
    assert!(count(&status, RequestOutcome::UnknownOrigin) > 0 && count(&status, RequestOutcome::Unreachable) > 0);

    // They are asked again about the same checkpoint, and what they say is added.
    witnesses.get(1).known.lock().expect("no panic").push(log_key(&tenant));
    witnesses.get(2).known.lock().expect("no panic").push(log_key(&tenant));
    witnesses.get(2).is_down.store(false, Ordering::Release);
    until(
        "all three",
        || format!("{:?}", cosigning.status()),
        || policy_of(&witnesses, 3).verify(&cosigned(&tenant)).is_ok(),
    );
}

#[test]
fn a_forked_log_and_one_that_was_turned_back_are_refused_and_it_is_seen() {
    let directory = tempfile::tempdir().expect("a directory");
    let (honest, forked) = (directory.path().join("honest"), directory.path().join("forked"));
    let (engine, tenant) = open(&honest.join("node"));
    let witnesses = Arc::new(Witnesses::of(1));
    witnesses.learn(&log_key(&tenant));
    write(&tenant, "what both share");
    engine.close().expect("closed");
    drop((engine, tenant));
    copy(&honest, &forked);

    let (engine, tenant) = open(&honest.join("node"));
    let cosigning = Cosigning::start(engine, witnesses.clone(), witnesses.policy()).expect("threads");
    for event in ["paid", "shipped", "returned"] {
        write(&tenant, event);
    }
    until_cosigned(&tenant, &cosigning);
    let witnessed = tenant.cosigned_size();

    let (engine, tenant) = open(&forked.join("node"));
    let cosigning = Cosigning::start(engine, witnesses.clone(), witnesses.policy()).expect("threads");
    write(&tenant, "never paid");
    assert!(tenant.checkpoint_size() < witnessed);
    let refused = || count(&cosigning.status(), RequestOutcome::OtherHistory);
    until("refusal", || format!("{:?}", cosigning.status()), || refused() > 0);
    let error = cosigning.status().witnesses[0].error.clone().unwrap_or_default();
    assert!(error.contains("turned back or forked"), "{error}");
    while tenant.checkpoint_size() <= witnessed {
        write(&tenant, "never shipped");
    }
    let before = refused();
    until(
        "another refusal",
        || format!("{:?}", cosigning.status()),
        || refused() > before,
    );
    let error = cosigning.status().witnesses[0].error.clone().unwrap_or_default();
    assert!(error.contains("another history"), "{error}");
    assert_eq!(count(&cosigning.status(), RequestOutcome::Cosigned), 0);
    assert_eq!(tenant.cosigned_size(), 0);
}

#[test]
fn no_write_waits_for_a_witness_and_a_receipt_only_for_a_while() {
    let directory = tempfile::tempdir().expect("a directory");
    let (engine, tenant) = open(directory.path());
    let witnesses = Arc::new(Witnesses::of(1));
    witnesses.learn(&log_key(&tenant));
    witnesses.get(0).is_slow.store(true, Ordering::Release);
    let cosigning = Cosigning::start(engine, witnesses.clone(), witnesses.policy()).expect("threads");
    let mut session = tenant.session(ActorId::NIL);
    let mut run = |sql: &str| session.sql(sql, &[]).wait().expect("it succeeds");
    run("CREATE TABLE people (id int PRIMARY KEY, name text)");
    run("INSERT INTO people VALUES (1, 'Ada')");
    let mut receipt = |session_sql: &str| {
        run(session_sql);
        match run("SELECT craton_receipt('people', 1)") {
            Response::Rows { result, .. } => match &result.rows[0][0] {
                Value::Text(receipt) => receipt.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    let without = receipt("SET craton.cosignature_timeout = '200ms'");
    assert!(!without.contains("witness.example"), "{without}");
    let also_without = receipt("SET craton.cosignature_timeout = 0");
    assert!(!also_without.contains("witness.example"));

    witnesses.get(0).is_slow.store(false, Ordering::Release);
    let with = receipt("SET craton.cosignature_timeout = '30s'");
    assert!(with.contains("witness.example/0"), "{with}");
    cosigning.stop();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
