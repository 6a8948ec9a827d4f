//! Repeated requests, through the real routes.

use serde_json::{Value, json};

use crate::support::{Answer, Caller, Person, World};

async fn create_key(world: &World, caller: &Caller, org: &str, key: &str, body: &Value) -> Answer {
    let headers = vec![
        ("content-type", "application/json".to_owned()),
        ("idempotency-key", key.to_owned()),
    ];
    let path = format!("/api/v1/orgs/{org}/api-keys");
    world
        .send_raw(caller, "POST", &path, headers, body.to_string().into_bytes())
        .await
}

#[tokio::test]
async fn a_repetition_makes_one_key_and_does_not_show_its_secret_again() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    let ben = Person::sign_up(&world, "ben").await;
    let org = world.organisation(&ada, "Acme").await;
    let body = json!({ "name": "ci", "role": "viewer" });
    let first = create_key(&world, &ada.caller(), &org, "one", &body).await.expect(201);
    let again = create_key(&world, &ada.caller(), &org, "one", &body).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let again = again.expect(201);
    assert!(first["secret"].is_string() && again["secret"].is_null());
    assert_eq!(
        (&again["api_key"], &again["receipt"]),
        (&first["api_key"], &first["receipt"])
    );

    let other = json!({ "name": "cd", "role": "viewer" });
    let reused = create_key(&world, &ada.caller(), &org, "one", &other).await;
    reused.expect_problem(422, "idempotency_key_reused");
    // Another person's key of the same spelling is another key.
    create_key(&world, &ben.caller(), &org, "one", &body)
        .await
        .expect_problem(404, "not_found");
    let list = world
        .get(&ada.caller(), &format!("/api/v1/orgs/{org}/api-keys"))
        .await
        .expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
}
