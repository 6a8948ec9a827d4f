//! Witnesses in memory, and a node.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use craton_crypto::{SecretBytes, SigningKey};
use craton_engine::{Append, Craton, Tenant, Wait as _};
use craton_proof::{AddCheckpoint, Checkpoint, Cosigner, KeyName, Note, VerifierKey, Witnessed};
use craton_witness::{Cosigning, Policy, Reply, ServiceUrl, Transport, TransportError, Witness};

/// Witnesses in memory, by URL.
#[derive(Default)]
pub(crate) struct Witnesses(pub(crate) HashMap<String, InMemory>);

pub(crate) struct InMemory {
    pub(crate) cosigner: Cosigner,
    /// By origin.
    latest: Mutex<HashMap<String, Witnessed>>,
    /// The keys of the logs that it knows.
    pub(crate) known: Mutex<Vec<VerifierKey>>,
    pub(crate) is_down: AtomicBool,
    pub(crate) is_slow: AtomicBool,
}

impl Witnesses {
    pub(crate) fn of(count: u8) -> Self {
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

    pub(crate) fn policy(&self) -> Policy {
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

    pub(crate) fn get(&self, number: u8) -> &InMemory {
        &self.0[&format!("https://witness.example/{number}")]
    }

    pub(crate) fn learn(&self, key: &VerifierKey) {
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

pub(crate) fn open(directory: &Path) -> (Craton, Tenant) {
    let engine = Craton::open(directory).expect("the node opens");
    let tenant = engine.open_tenant("main").wait().expect("a tenant");
    (engine, tenant)
}

pub(crate) fn write(tenant: &Tenant, event: &str) {
    tenant.append(Append::new("orders", [event])).wait().expect("committed");
    tenant.checkpoint().wait().expect("a checkpoint");
}

pub(crate) fn log_key(tenant: &Tenant) -> VerifierKey {
    tenant.log_key().parse().expect("a key")
}

#[expect(clippy::disallowed_methods, reason = "a deadline")]
pub(crate) fn until(what: &str, status: impl Fn() -> String, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "no {what}: {}", status());
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn until_cosigned(tenant: &Tenant, cosigning: &Cosigning) {
    let status = || format!("{:?}", cosigning.status());
    until("cosigned checkpoint", status, || {
        tenant.cosigned_size() == tenant.checkpoint_size()
    });
}

pub(crate) fn cosigned(tenant: &Tenant) -> Note {
    let checkpoint = tenant.newest_cosigned_checkpoint().expect("readable").expect("one");
    Checkpoint::open(checkpoint.note.as_bytes(), &log_key(tenant)).expect("the log's own");
    Note::parse(checkpoint.note.as_bytes()).expect("a note")
}
