//! The audit log and its receipts.

use std::str::FromStr;

use craton_proof::{Receipt, VerifierKey};
use serde_json::json;

use crate::support::{Caller, Person, World};

#[tokio::test]
async fn every_change_is_in_the_audit_log_with_its_receipt_and_no_secret() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    let org = world.organisation(&ada, "Acme").await;
    let (key_id, key) = world.api_key(&ada.caller(), &org, "admin").await;
    let body = json!({ "name": "by a key", "role": "viewer" });
    let created = world.post(&key, &format!("/api/v1/orgs/{org}/api-keys"), body).await;
    let receipt = &created.expect(201)["receipt"];

    let answer = world
        .get(&ada.caller(), &format!("/api/v1/orgs/{org}/audit-events"))
        .await;
    let list = answer.expect(200);
    let items = list["items"].as_array().expect("a list");
    let types: Vec<_> = items
        .iter()
        .map(|item| item["type"].as_str().expect("a type"))
        .collect();
    let expected = [
        "api_key.created",
        "api_key.created",
        "organisation.member_added",
        "organisation.created",
    ];
    assert_eq!(types, expected, "newest first");
    assert_eq!(
        (&items[0]["position"], &items[0]["record_hash"]),
        (&receipt["position"], &receipt["record_hash"])
    );
    assert_eq!(
        items[0]["actor"],
        json!({ "kind": "api_key", "id": key_id, "name": "test" })
    );
    assert_eq!(items[0]["request_id"].as_str(), created.header("x-request-id"));
    assert_eq!(
        items[3]["actor"],
        json!({ "kind": "user", "id": ada.user_id, "name": "ada" })
    );
    assert_eq!(items[3]["aggregate"], json!({ "kind": "organisation", "id": org }));
    assert!(!answer.text().contains("secret_hash"), "{}", answer.text());

    // Page by page it is the same.
    let first = world
        .get(&ada.caller(), &format!("/api/v1/orgs/{org}/audit-events?limit=3"))
        .await
        .expect(200);
    let token = first["next_page_token"].as_str().expect("a second page");
    let query = format!("/api/v1/orgs/{org}/audit-events?limit=3&page_token={token}");
    let second = world.get(&ada.caller(), &query).await.expect(200);
    assert_eq!(second["items"], json!([items[3]]));
}

#[tokio::test]
async fn a_receipt_checks_offline_and_a_changed_one_does_not() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    let answer = world
        .post(&ada.caller(), "/api/v1/orgs", json!({ "name": "Acme" }))
        .await
        .expect(201);
    let org = answer["organisation"]["id"].as_str().expect("an id");
    let position = answer["receipt"]["position"].as_u64().expect("a position");
    let receipt = world
        .get(&ada.caller(), &format!("/api/v1/orgs/{org}/receipts/{position}"))
        .await;
    assert_eq!(
        (receipt.status, receipt.header("content-type")),
        (200, Some("text/plain; charset=utf-8"))
    );

    let key = world.get(&Caller::Anonymous, "/api/v1/log-key").await.expect(200);
    let key = VerifierKey::from_str(key["verifier_key"].as_str().expect("a key")).expect("a verifier key");
    let verified = Receipt::verify(&receipt.body, &key).expect("a good receipt");
    let hash = answer["receipt"]["record_hash"].as_str().expect("a hash");
    assert_eq!(verified.record_hash.to_string(), hash);
    let mut changed = receipt.body.clone();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    assert!(Receipt::verify(&changed, &key).is_err());

    // The registration of a person belongs to no organisation, so nobody gets its receipt this way.
    world
        .get(&ada.caller(), &format!("/api/v1/orgs/{org}/receipts/0"))
        .await
        .expect_problem(404, "not_found");
    world
        .get(&ada.caller(), &format!("/api/v1/orgs/{org}/receipts/999999"))
        .await
        .expect_problem(404, "not_found");
}
