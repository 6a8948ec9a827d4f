//! What a request can have wrong with it before any rule is asked.

use craton_platform_http::BODY_BYTES_MAX;
use serde_json::json;

use crate::support::{Caller, Person, World};

fn json_type() -> Vec<(&'static str, String)> {
    vec![("content-type", "application/json".to_owned())]
}

#[tokio::test]
async fn malformed_and_unacceptable_bodies() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    for (body, status, code) in [
        ("{\"name\":", 400, "malformed_json"),
        ("", 400, "malformed_json"),
        ("{\"name\":\"Acme\"}}", 400, "malformed_json"),
        ("[]", 422, "validation_failed"),
        ("{\"name\":\"Acme\",\"plan\":\"free\"}", 422, "validation_failed"),
        ("{\"name\":7}", 422, "validation_failed"),
        ("{}", 422, "validation_failed"),
    ] {
        let answer = world
            .send_raw(&ada.caller(), "POST", "/api/v1/orgs", json_type(), body.into())
            .await;
        answer.expect_problem(status, code);
    }
    let unknown = json!({ "name": "Acme", "plan": "free" });
    let problem = world
        .post(&ada.caller(), "/api/v1/orgs", unknown)
        .await
        .expect_problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["pointer"], "/plan");
    assert_eq!(problem["errors"][0]["code"], "unknown_field");
    let plain = vec![("content-type", "text/plain".to_owned())];
    let answer = world
        .send_raw(&ada.caller(), "POST", "/api/v1/orgs", plain, b"{}".to_vec())
        .await;
    answer.expect_problem(415, "unsupported_media_type");
    assert_eq!(
        world.get(&ada.caller(), "/api/v1/orgs").await.expect(200)["items"],
        json!([]),
        "nothing happened"
    );
}

#[tokio::test]
async fn a_body_is_refused_one_byte_past_the_limit() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    let filled = |bytes: usize| format!("{{\"name\":\"Acme\"{}}}", " ".repeat(bytes - 15)).into_bytes();
    assert_eq!(filled(100).len(), 100);
    let at_edge = world
        .send_raw(
            &ada.caller(),
            "POST",
            "/api/v1/orgs",
            json_type(),
            filled(BODY_BYTES_MAX),
        )
        .await;
    at_edge.expect(201);
    for headers in [
        json_type(),
        [json_type(), vec![("idempotency-key", "k".to_owned())]].concat(),
    ] {
        let past = world
            .send_raw(
                &ada.caller(),
                "POST",
                "/api/v1/orgs",
                headers,
                filled(BODY_BYTES_MAX + 1),
            )
            .await;
        past.expect_problem(413, "body_too_large");
    }
}

#[tokio::test]
async fn addresses_and_methods_that_do_not_exist() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    for path in [
        "/api/v1/nothing",
        "/api",
        "/api/v2/me",
        "/auth/nothing",
        "/api/v1/orgs/org_x",
        "/api/v1/orgs/1",
    ] {
        let path = if path == "/api" { "/api/" } else { path };
        world.get(&ada.caller(), path).await.expect_problem(404, "not_found");
    }
    world
        .delete(&ada.caller(), "/api/v1/me")
        .await
        .expect_problem(405, "method_not_allowed");
}

#[tokio::test]
async fn another_site_cannot_use_the_cookie() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    let evil = |name: &'static str, value: &str| [json_type(), vec![(name, value.to_owned())]].concat();
    for headers in [
        evil("origin", "https://evil.example"),
        evil("origin", "null"),
        evil("sec-fetch-site", "same-site"),
    ] {
        let body = b"{\"name\":\"Acme\"}".to_vec();
        let answer = world
            .send_raw(&ada.caller(), "POST", "/api/v1/orgs", headers, body)
            .await;
        answer.expect_problem(403, "cross_origin");
    }
    let logout = world
        .send_raw(
            &ada.caller(),
            "POST",
            "/auth/logout",
            evil("origin", "https://evil.example"),
            vec![],
        )
        .await;
    logout.expect_problem(403, "cross_origin");
    let own = evil("sec-fetch-site", "same-origin");
    let body = b"{\"name\":\"Acme\"}".to_vec();
    world
        .send_raw(&ada.caller(), "POST", "/api/v1/orgs", own, body)
        .await
        .expect(201);
}

#[tokio::test]
async fn every_answer_carries_the_protective_headers() {
    let world = World::start().await;
    for path in ["/", "/api/v1/me", "/health", "/api/v1/openapi.json"] {
        let answer = world.get(&Caller::Anonymous, path).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        assert!(
            answer
                .header("content-security-policy")
                .is_some_and(|policy| policy.contains("default-src 'self'; script-src 'self' 'wasm-unsafe-eval';"))
        );
        assert!(answer.header("strict-transport-security").is_none(), "plain HTTP");
        assert!(answer.header("x-request-id").is_some_and(|id| id.starts_with("req_")));
    }
    assert_eq!(
        world
            .get(&Caller::Anonymous, "/api/v1/me")
            .await
            .header("cache-control"),
        Some("no-store")
    );
}
