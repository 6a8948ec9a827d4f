//! Registration, sign-in, sign-out.

use serde_json::json;

use crate::support::{Caller, Person, World};

#[tokio::test]
async fn a_person_signs_up_and_is_signed_in() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    let me = world.get(&ada.caller(), "/api/v1/me").await.expect(200);
    assert_eq!(me["user"]["id"], ada.user_id);
    assert_eq!(me["user"]["display_name"], "ada");
    assert_eq!(me["user"]["email"], "ada@example.org");
    assert_eq!(me["organisations"], json!([]));
    let passkeys = world.get(&ada.caller(), "/api/v1/me/passkeys").await.expect(200);
    assert_eq!(passkeys["items"][0]["name"], "Passkey");
    assert_eq!(passkeys["items"][0]["last_used_at"], json!(null));
}

#[tokio::test]
async fn the_cookie_is_out_of_reach_for_scripts_and_other_sites() {
    let world = World::start().await;
    let (mut authenticator, started, _) = Person::registration(&world, "ada").await;
    let body = Person::attest(&world, &mut authenticator, &started);
    let finished = world.post(&Caller::Anonymous, "/auth/register/finish", body).await;
    let cookie = finished.header("set-cookie").expect("a cookie").to_owned();
    let (pair, attributes) = cookie.split_once("; ").expect("attributes");
    let (name, value) = pair.split_once('=').expect("a pair");
    assert_eq!((name, value.len()), ("craton_session", 43), "256 bits");
    let mut attributes: Vec<_> = attributes.split("; ").collect();
    attributes.sort_unstable();
    assert_eq!(attributes, ["HttpOnly", "Max-Age=604800", "Path=/", "SameSite=Lax"]);
    assert!(!finished.text().contains(value), "the cookie is not in the body");
}

#[tokio::test]
async fn a_person_comes_back_with_the_passkey_and_the_old_session_ends() {
    let world = World::start().await;
    let mut ada = Person::sign_up(&world, "ada").await;
    let first = ada.caller();
    let second = ada.sign_in_from(&world, &first).await;
    assert_eq!(second.expect(200)["user"]["id"], ada.user_id);
    world
        .get(&first, "/api/v1/me")
        .await
        .expect_problem(401, "session_expired");
    world.get(&ada.caller(), "/api/v1/me").await.expect(200);
    // The software passkey counts its uses, so the counter on file has to move along.
    for _ in 0..2 {
        ada.sign_in(&world).await;
    }
    let passkeys = world.get(&ada.caller(), "/api/v1/me/passkeys").await.expect(200);
    assert_eq!(passkeys["items"][0]["last_used_at"], "2026-01-01T00:00:00Z");
}

#[tokio::test]
async fn signing_out_ends_the_session_at_once() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    let answer = world.send(&ada.caller(), "POST", "/auth/logout", None).await;
    assert_eq!(answer.status, 204);
    assert!(answer.header("set-cookie").expect("a cookie").contains("Max-Age=0"));
    world
        .get(&ada.caller(), "/api/v1/me")
        .await
        .expect_problem(401, "session_expired");
}

#[tokio::test]
async fn a_ceremony_counts_once_and_in_time() {
    let world = World::start().await;
    let mut ada = Person::sign_up(&world, "ada").await;
    let proof = ada.assertion(&world, &world.origin()).await;
    world
        .post(&Caller::Anonymous, "/auth/login/finish", proof.clone())
        .await
        .expect(200);
    let again = world.post(&Caller::Anonymous, "/auth/login/finish", proof).await;
    again.expect_problem(422, "ceremony_over");

    let late = ada.assertion(&world, &world.origin()).await;
    world.clock.advance(jiff::SignedDuration::from_mins(5));
    let late = world.post(&Caller::Anonymous, "/auth/login/finish", late).await;
    late.expect_problem(422, "ceremony_over");
}

#[tokio::test]
async fn a_proof_that_is_not_right_signs_nobody_in() {
    let world = World::start().await;
    let mut ada = Person::sign_up(&world, "ada").await;
    let ben = Person::sign_up(&world, "ben").await;

    let phished = ada.assertion(&world, "http://localhost:1").await;
    let mut forged = ada.assertion(&world, &world.origin()).await;
    forged["credential"]["response"]["signature"] = json!("MEUCIQDdummy");
    let mut as_ben = ada.assertion(&world, &world.origin()).await;
    as_ben["credential"]["response"]["userHandle"] = ben_handle(&ben);
    let mut nobody = ada.assertion(&world, &world.origin()).await;
    nobody["credential"]["response"]["userHandle"] = json!(null);
    for body in [phished, forged, as_ben, nobody] {
        let answer = world.post(&Caller::Anonymous, "/auth/login/finish", body).await;
        answer.expect_problem(401, "sign_in_failed");
        assert!(answer.header("set-cookie").is_none());
    }
}

fn ben_handle(ben: &Person) -> serde_json::Value {
    use base64::Engine;
    let id: craton_platform_kernel::UserId = ben.user_id.parse().expect("an id");
    json!(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(id.as_uuid().as_bytes()))
}

#[tokio::test]
async fn a_passkey_for_another_ceremony_registers_nobody() {
    let world = World::start().await;
    let (mut authenticator, first, _) = Person::registration(&world, "ada").await;
    let (_, second, _) = Person::registration(&world, "ben").await;
    let mut body = Person::attest(&world, &mut authenticator, &first);
    body["ceremony_id"] = second["ceremony_id"].clone();
    let answer = world.post(&Caller::Anonymous, "/auth/register/finish", body).await;
    answer.expect_problem(422, "passkey_rejected");
}

#[tokio::test]
async fn what_people_type_is_checked() {
    let world = World::start().await;
    for (body, pointer) in [
        (json!({ "display_name": " ", "email": "a@b" }), "/display_name"),
        (json!({ "display_name": "a", "email": "a" }), "/email"),
        (json!({ "display_name": "a", "email": "a@b", "admin": true }), "/admin"),
        (json!({ "display_name": "a" }), "/email"),
    ] {
        let answer = world.post(&Caller::Anonymous, "/auth/register/start", body).await;
        assert_eq!(
            answer.expect_problem(422, "validation_failed")["errors"][0]["pointer"],
            pointer
        );
    }
}

#[tokio::test]
async fn a_flood_of_sign_ins_is_slowed_down() {
    use craton_platform_app::RateLimits;
    let mut limits = RateLimits::default();
    limits.auth.burst = 3.try_into().expect("above zero");
    let world = World::start_with(limits).await;
    for _ in 0..3 {
        let answer = world.post(&Caller::Anonymous, "/auth/login/start", json!({})).await;
        answer.expect(200);
    }
    let answer = world.post(&Caller::Anonymous, "/auth/login/start", json!({})).await;
    let problem = answer.expect_problem(429, "rate_limited");
    assert_eq!(problem["retryable"], true);
    assert_eq!(answer.header("retry-after"), Some("1"));
}
