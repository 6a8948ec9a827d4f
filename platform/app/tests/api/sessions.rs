//! Sessions: listed, revoked, expired.

use craton_platform_identity::{SESSION_ABSOLUTE_HOURS, SESSION_IDLE_HOURS};
use jiff::SignedDuration;

use crate::support::{Caller, Person, World};

#[tokio::test]
async fn a_session_ends_when_it_is_idle_and_not_before() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    world
        .clock
        .advance(SignedDuration::from_hours(SESSION_IDLE_HOURS) - SignedDuration::from_secs(1));
    world.get(&ada.caller(), "/api/v1/me").await.expect(200);
    // That was a use, so the time starts again.
    world
        .clock
        .advance(SignedDuration::from_hours(SESSION_IDLE_HOURS) - SignedDuration::from_secs(1));
    world.get(&ada.caller(), "/api/v1/me").await.expect(200);
    world.clock.advance(SignedDuration::from_hours(SESSION_IDLE_HOURS));
    world
        .get(&ada.caller(), "/api/v1/me")
        .await
        .expect_problem(401, "session_expired");
}

#[tokio::test]
async fn a_session_ends_after_its_time_however_busy() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    for _ in 1..SESSION_ABSOLUTE_HOURS {
        world.clock.advance(SignedDuration::from_hours(1));
        world.get(&ada.caller(), "/api/v1/me").await.expect(200);
    }
    world.clock.advance(SignedDuration::from_hours(1));
    world
        .get(&ada.caller(), "/api/v1/me")
        .await
        .expect_problem(401, "session_expired");
}

#[tokio::test]
async fn sessions_are_listed_and_revoked_by_their_owner_only() {
    let world = World::start().await;
    let mut ada = Person::sign_up(&world, "ada").await;
    let laptop = ada.caller();
    world.clock.advance(SignedDuration::from_mins(1));
    let phone = ada.sign_in(&world).await;
    let list = world.get(&phone, "/api/v1/me/sessions").await.expect(200);
    let items = list["items"].as_array().expect("a list");
    let current: Vec<_> = items.iter().map(|item| item["current"].as_bool()).collect();
    assert_eq!(current, [Some(true), Some(false)], "newest first");
    let lost = format!("/api/v1/me/sessions/{}", items[1]["id"].as_str().expect("an id"));

    let eve = Person::sign_up(&world, "eve").await;
    world
        .delete(&eve.caller(), &lost)
        .await
        .expect_problem(404, "not_found");
    world.get(&laptop, "/api/v1/me").await.expect(200);
    assert_eq!(world.delete(&phone, &lost).await.status, 204);
    world
        .get(&laptop, "/api/v1/me")
        .await
        .expect_problem(401, "session_expired");
    world.delete(&phone, &lost).await.expect_problem(404, "not_found");
    assert_eq!(
        world.get(&phone, "/api/v1/me/sessions").await.expect(200)["items"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[tokio::test]
async fn a_cookie_that_nobody_gave_is_no_session() {
    let world = World::start().await;
    let invented = Caller::Cookie(format!("craton_session={}", "A".repeat(43)));
    world
        .get(&invented, "/api/v1/me")
        .await
        .expect_problem(401, "session_expired");
    world
        .get(&Caller::Anonymous, "/api/v1/me")
        .await
        .expect_problem(401, "unauthenticated");
}
