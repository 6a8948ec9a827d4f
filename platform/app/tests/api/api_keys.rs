//! API keys.

use jiff::SignedDuration;
use serde_json::json;

use crate::support::{Caller, Person, World};

#[tokio::test]
async fn a_key_is_shown_once_works_and_is_revoked_at_once() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    let org = world.organisation(&ada, "Acme").await;
    let path = format!("/api/v1/orgs/{org}/api-keys");
    let (id, key) = world.api_key(&ada.caller(), &org, "viewer").await;
    let Caller::Token(secret) = &key else { unreachable!() };
    assert!(
        secret.starts_with(&format!("crt_live_{}_", id.strip_prefix("key_").expect("a prefix"))),
        "{id}"
    );

    world.get(&key, &format!("/api/v1/orgs/{org}")).await.expect(200);
    assert_eq!(
        world.get(&key, "/api/v1/orgs").await.expect(200)["items"][0]["role"],
        "viewer"
    );
    let list = world.get(&ada.caller(), &path).await;
    let item = &list.expect(200)["items"][0];
    assert_eq!((&item["id"], &item["created_by"]), (&json!(id), &json!(ada.user_id)));
    assert_eq!(item["last_used_at"], "2026-01-01T00:00:00Z");
    assert!(
        !list.text().contains("secret") && !list.text().contains("hash"),
        "{}",
        list.text()
    );

    assert_eq!(world.delete(&ada.caller(), &format!("{path}/{id}")).await.status, 204);
    world
        .get(&key, &format!("/api/v1/orgs/{org}"))
        .await
        .expect_problem(401, "invalid_api_key");
    world
        .delete(&ada.caller(), &format!("{path}/{id}"))
        .await
        .expect_problem(404, "not_found");
}

#[tokio::test]
async fn a_key_ends_when_it_should() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    let org = world.organisation(&ada, "Acme").await;
    let path = format!("/api/v1/orgs/{org}/api-keys");
    let body = json!({ "name": "ci", "role": "viewer", "expires_at": "2026-01-01T01:00:00Z" });
    let created = world.post(&ada.caller(), &path, body).await.expect(201);
    let key = Caller::Token(created["secret"].as_str().expect("a secret").to_owned());
    world
        .clock
        .advance(SignedDuration::from_hours(1) - SignedDuration::from_nanos(1));
    world.get(&key, "/api/v1/orgs").await.expect(200);
    world.clock.advance(SignedDuration::from_nanos(1));
    world
        .get(&key, "/api/v1/orgs")
        .await
        .expect_problem(401, "api_key_expired");
    let past = json!({ "name": "ci", "role": "viewer", "expires_at": "2026-01-01T01:00:00Z" });
    let answer = world.post(&ada.caller(), &path, past).await;
    assert_eq!(
        answer.expect_problem(422, "validation_failed")["errors"][0]["pointer"],
        "/expires_at"
    );
}

#[tokio::test]
async fn a_key_does_not_reach_beyond_its_organisation_and_its_maker() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    let (first, second) = (
        world.organisation(&ada, "One").await,
        world.organisation(&ada, "Two").await,
    );
    let (_, key) = world.api_key(&ada.caller(), &first, "admin").await;
    world
        .get(&key, &format!("/api/v1/orgs/{second}"))
        .await
        .expect_problem(404, "not_found");
    let body = json!({ "name": "more", "role": "owner" });
    let answer = world.post(&key, &format!("/api/v1/orgs/{first}/api-keys"), body).await;
    answer.expect_problem(403, "permission_denied");
    world
        .get(&key, "/api/v1/me")
        .await
        .expect_problem(403, "permission_denied");
    world
        .post(&key, "/api/v1/orgs", json!({ "name": "Three" }))
        .await
        .expect_problem(403, "permission_denied");
}

#[tokio::test]
async fn tokens_that_are_not_right_are_refused_alike() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    let org = world.organisation(&ada, "Acme").await;
    let (_, Caller::Token(secret)) = world.api_key(&ada.caller(), &org, "viewer").await else {
        unreachable!()
    };
    let changed = secret[..secret.len() - 1].to_owned() + if secret.ends_with('0') { "1" } else { "0" };
    for token in [
        "",
        "x",
        "crt_live_x_y",
        &changed,
        &secret.to_uppercase(),
        &secret.replace("live", "operator"),
    ] {
        let answer = world.get(&Caller::Token(token.to_owned()), "/api/v1/orgs").await;
        answer.expect_problem(401, "invalid_api_key");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
}
