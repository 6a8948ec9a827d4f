//! The platform's own log is cosigned by others.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use craton_crypto::{SecretBytes, SigningKey};
use craton_proof::{AddCheckpoint, Cosigner, KeyName, Receipt, VerifierKey, WitnessPolicy, Witnessed};
use serde_json::json;

use crate::support::{Caller, Person, World};

/// A witness of one log, on a port of its own until the test ends.
struct Witness {
    cosigner: Cosigner,
    key: Mutex<Option<VerifierKey>>,
    latest: Mutex<HashMap<String, Witnessed>>,
}

impl Witness {
    /// Returns the witness and the prefix of its API.
    async fn start() -> (Arc<Self>, String) {
        let key = SigningKey::from_seed(&SecretBytes::new([3; 32]));
        let witness = Arc::new(Self {
            cosigner: Cosigner::new(KeyName::parse("witness.example/a").expect("a name"), key),
            key: Mutex::default(),
            latest: Mutex::default(),
        });
        let answering = witness.clone();
        let answer = post(async move |body: Bytes| answering.answer(&body));
        let router = Router::new().route("/prefix/add-checkpoint", answer);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        (witness, format!("http://{address}/prefix"))
    }

    fn answer(&self, body: &[u8]) -> (StatusCode, String) {
        let request = AddCheckpoint::parse(body).expect("well formed");
        let key = self.key.lock().expect("no panic");
        let Some(key) = key.as_ref().filter(|key| *key.name() == request.origin()) else {
            return (StatusCode::NOT_FOUND, String::new());
        };
        let mut latest = self.latest.lock().expect("no panic");
        match request.judge(key, latest.get(request.origin().as_str())) {
            Ok(witnessed) => {
                latest.insert(request.origin().to_string(), witnessed);
                let line = self.cosigner.cosign(&request.checkpoint, 1_700_000_000);
                (StatusCode::OK, line.expect("a checkpoint").to_string())
            }
            Err(refusal) => {
                let status = StatusCode::from_u16(refusal.status()).expect("a status");
                (
                    status,
                    refusal.latest_size().map_or(String::new(), |size| format!("{size}\n")),
                )
            }
        }
    }
}

#[tokio::test]
async fn receipts_of_the_platform_carry_the_signature_of_its_witness() {
    let (witness, url) = Witness::start().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let entry = json!({ "url": url, "verifier_key": witness.cosigner.cosigner_key().to_string() });
    std::fs::write(file.path(), json!({ "witnesses": [entry] }).to_string()).expect("writable");
    let world = World::start_witnessed(file.path()).await;
    let ada = Person::sign_up(&world, "ada").await;
    let key = world.get(&Caller::Anonymous, "/api/v1/log-key").await.expect(200);
    let key = VerifierKey::from_str(key["verifier_key"].as_str().expect("a key")).expect("a verifier key");
    *witness.key.lock().expect("no panic") = Some(key.clone());

    let body = json!({ "name": "Acme" });
    let answer = world.post(&ada.caller(), "/api/v1/orgs", body).await.expect(201);
    let org = answer["organisation"]["id"].as_str().expect("an id");
    let path = format!("/api/v1/orgs/{org}/receipts/{}", answer["receipt"]["position"]);
    let policy = WitnessPolicy::new(vec![witness.cosigner.cosigner_key().clone()], 1).expect("a policy");
    let cosigned = async || {
        let receipt = world.get(&ada.caller(), &path).await;
        Receipt::verify_witnessed(&receipt.body, &key, &policy).ok()
    };
    let verified = world.until("a cosigned receipt", cosigned).await;
    assert_eq!(verified.cosignatures.len(), 1);
    let metrics = world.metrics().await;
    let counted = "craton_platform_cosigning_requests_total{outcome=\"cosigned\"}";
    assert!(metrics.text().contains(counted), "{}", metrics.text());
}
