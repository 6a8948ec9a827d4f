//! Members and their roles.

use serde_json::json;

use crate::support::{Person, World};

#[tokio::test]
async fn members_come_change_and_go() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    let org = world.organisation(&ada, "Acme").await;
    let ben = world.member(&ada.caller(), &org, "viewer").await;
    let path = format!("/api/v1/orgs/{org}/members");

    let list = world.get(&ben.caller(), &path).await.expect(200);
    let mut roles: Vec<_> = list["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|item| item["role"].clone())
        .collect();
    roles.sort_by_key(ToString::to_string);
    assert_eq!(roles, ["owner", "viewer"]);

    // A new role counts at once, without a new sign-in.
    world
        .get(&ben.caller(), &format!("/api/v1/orgs/{org}/api-keys"))
        .await
        .expect_problem(403, "permission_denied");
    world
        .put(
            &ada.caller(),
            &format!("{path}/{}", ben.user_id),
            json!({ "role": "admin" }),
        )
        .await
        .expect(200);
    world
        .get(&ben.caller(), &format!("/api/v1/orgs/{org}/api-keys"))
        .await
        .expect(200);

    assert_eq!(
        world
            .delete(&ben.caller(), &format!("{path}/{}", ben.user_id))
            .await
            .status,
        204,
        "leaves"
    );
    world.get(&ben.caller(), &path).await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn the_last_owner_cannot_leave() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    let org = world.organisation(&ada, "Acme").await;
    let own = format!("/api/v1/orgs/{org}/members/{}", ada.user_id);
    world
        .delete(&ada.caller(), &own)
        .await
        .expect_problem(409, "last_owner");
    world
        .put(&ada.caller(), &own, json!({ "role": "admin" }))
        .await
        .expect_problem(409, "last_owner");
    world.member(&ada.caller(), &org, "owner").await;
    assert_eq!(world.delete(&ada.caller(), &own).await.status, 204);
}

#[tokio::test]
async fn an_admin_cannot_make_owners_and_nobody_can_add_strangers() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    let org = world.organisation(&ada, "Acme").await;
    let ben = world.member(&ada.caller(), &org, "admin").await;
    let path = format!("/api/v1/orgs/{org}/members");
    let own = format!("{path}/{}", ben.user_id);
    world
        .put(&ben.caller(), &own, json!({ "role": "owner" }))
        .await
        .expect_problem(403, "permission_denied");
    let stranger = format!("{path}/usr_01h455vb4pex5vsknk084sn02q");
    let answer = world.put(&ada.caller(), &stranger, json!({ "role": "viewer" })).await;
    assert_eq!(
        answer.expect_problem(422, "validation_failed")["errors"][0]["pointer"],
        "/user_id"
    );
    let unknown = world.put(&ada.caller(), &own, json!({ "role": "king" })).await;
    assert_eq!(
        unknown.expect_problem(422, "validation_failed")["errors"][0]["pointer"],
        "/role"
    );
}

#[tokio::test]
async fn lists_come_in_pages() {
    let world = World::start().await;
    let ada = Person::sign_up(&world, "ada").await;
    let org = world.organisation(&ada, "Acme").await;
    for _ in 0..4 {
        world.member(&ada.caller(), &org, "viewer").await;
    }
    let path = format!("/api/v1/orgs/{org}/members");
    let mut seen = Vec::new();
    let mut token = None::<String>;
    loop {
        let query = token.map(|token| format!("&page_token={token}")).unwrap_or_default();
        let page = world
            .get(&ada.caller(), &format!("{path}?limit=2{query}"))
            .await
            .expect(200);
        let items = page["items"].as_array().expect("a list");
        assert!(items.len() <= 2);
        seen.extend(
            items
                .iter()
                .map(|item| item["user_id"].as_str().expect("an id").to_owned()),
        );
        token = page["next_page_token"].as_str().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    let mut unique = seen.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!((seen.len(), unique.len()), (5, 5));
    for (query, pointer) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("page_token=!", "page_token"),
        ("x=1", "x"),
        ("limit=a", "limit"),
    ] {
        let answer = world.get(&ada.caller(), &format!("{path}?{query}")).await;
        assert_eq!(
            answer.expect_problem(422, "validation_failed")["errors"][0]["pointer"],
            pointer,
            "{query}"
        );
    }
}
