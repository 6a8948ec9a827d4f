//! Stop, start, same state; and the views are nothing but the log.

use serde_json::{Value, json};

use crate::support::{Caller, Person, World};

async fn everything(world: &World, caller: &Caller, org: &str) -> Vec<Value> {
    let mut seen = Vec::new();
    let org = format!("/api/v1/orgs/{org}");
    for path in [
        "/api/v1/me",
        "/api/v1/me/passkeys",
        "/api/v1/me/sessions",
        "/api/v1/orgs",
        "/api/v1/log-key",
        &org,
        &format!("{org}/members"),
        &format!("{org}/api-keys"),
        &format!("{org}/audit-events"),
    ] {
        seen.push(world.get(caller, path).await.expect(200));
    }
    seen
}

#[tokio::test]
async fn a_restart_changes_nothing_and_views_are_replayed() {
    let world = World::start().await;
    let mut ada = Person::sign_up(&world, "ada").await;
    let org = world.organisation(&ada, "Acme").await;
    world.member(&ada.caller(), &org, "auditor").await;
    let (_, key) = world.api_key(&ada.caller(), &org, "viewer").await;
    world.get(&key, "/api/v1/orgs").await.expect(200);
    let operator = world.operator();
    let before = everything(&world, &ada.caller(), &org).await;

    let world = world.restart(|_| {}).await;
    assert_eq!(everything(&world, &ada.caller(), &org).await, before, "after a restart");

    let world = world
        .restart(|data_dir| std::fs::remove_dir_all(data_dir.join("views")).expect("the views are there"))
        .await;
    assert_eq!(
        everything(&world, &ada.caller(), &org).await,
        before,
        "after the views were dropped"
    );

    // Credentials go on working, and so does everything that changes something.
    world.get(&key, "/api/v1/orgs").await.expect(200);
    world.get(&operator, "/api/v1/orgs").await.expect(200);
    ada.sign_in(&world).await;
    world
        .post(&ada.caller(), "/api/v1/orgs", json!({ "name": "Second" }))
        .await
        .expect(201);
}
