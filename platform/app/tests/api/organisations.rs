//! Organisations.

use serde_json::json;

use crate::support::{Person, World};

#[tokio::test]
async fn whoever_makes_an_organisation_owns_it() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    let answer = world
        .post(&ada.caller(), "/api/v1/orgs", json!({ "name": " Acme Health " }))
        .await;
    let created = answer.expect(201);
    let organisation = &created["organisation"];
    let id = organisation["id"].as_str().expect("an id");
    assert_eq!(answer.header("location"), Some(format!("/api/v1/orgs/{id}").as_str()));
    assert_eq!(
        (&organisation["name"], &organisation["role"]),
        (&json!("Acme Health"), &json!("owner"))
    );
    assert!(
        organisation["slug"]
            .as_str()
            .is_some_and(|slug| slug.starts_with("acme-health-"))
    );
    assert_eq!(created["receipt"]["record_hash"].as_str().map(str::len), Some(64));
    assert!(created["receipt"]["position"].is_u64());

    // Read your own writes, on every route that shows it.
    let shown = world
        .get(&ada.caller(), &format!("/api/v1/orgs/{id}"))
        .await
        .expect(200);
    assert_eq!(&shown, organisation);
    let list = world.get(&ada.caller(), "/api/v1/orgs").await.expect(200);
    assert_eq!(list, json!({ "items": [shown], "next_page_token": null }));
    let me = world.get(&ada.caller(), "/api/v1/me").await.expect(200);
    assert_eq!(me["organisations"][0]["id"], id);
}

#[tokio::test]
async fn an_organisation_of_others_is_like_one_that_does_not_exist() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    let eve = Person::sign_up(&world, "eve").await;
    let org = world.organisation(&ada, "Acme").await;
    let missing = "org_01h455vb4pex5vsknk084sn02q";
    for suffix in ["", "/members", "/api-keys", "/audit-events", "/receipts/0"] {
        let mut foreign = world.get(&eve.caller(), &format!("/api/v1/orgs/{org}{suffix}")).await;
        let mut nothing = world
            .get(&eve.caller(), &format!("/api/v1/orgs/{missing}{suffix}"))
            .await;
        foreign.expect_problem(404, "not_found");
        for answer in [&mut foreign, &mut nothing] {
            let mut problem = answer.json();
            problem["request_id"] = json!(null);
            answer.body = problem.to_string().into_bytes();
        }
        assert_eq!(
            (foreign.status, foreign.text()),
            (nothing.status, nothing.text()),
            "{suffix}"
        );
    }
    assert_eq!(
        world.get(&eve.caller(), "/api/v1/orgs").await.expect(200)["items"],
        json!([])
    );
}

#[tokio::test]
async fn two_organisations_may_have_the_same_name_and_see_nothing_of_each_other() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    let eve = Person::sign_up(&world, "eve").await;
    let (first, second) = (
        world.organisation(&ada, "Same").await,
        world.organisation(&eve, "Same").await,
    );
    for (person, own, other) in [(&ada, &first, &second), (&eve, &second, &first)] {
        let list = world.get(&person.caller(), "/api/v1/orgs").await;
        assert!(list.text().contains(own.as_str()) && !list.text().contains(other.as_str()));
        let audit = world
            .get(&person.caller(), &format!("/api/v1/orgs/{own}/audit-events"))
            .await;
        assert!(audit.status == 200 && !audit.text().contains(other.as_str()));
    }
}
