//! The fleet's routes without any node: who may do what, what is refused how, and that every operation has an exit.

mod world;

use axum::http::{Method, StatusCode};
use craton_platform_http::Authentication;
use craton_platform_kernel::Role;
use serde_json::{Value, json};
use world::World;

#[tokio::test]
async fn a_cluster_without_nodes_waits_says_why_and_can_be_cancelled_retried_and_deleted() {
    let world = World::start().await;
    let owner = world.member(Role::Owner);
    let (status, created) = owner
        .call(Method::POST, "clusters", Some(json!({"name": "clinic"})))
        .await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    assert_eq!(created["cluster"]["state"], "provisioning");
    assert_eq!(created["credentials"]["user"], "app");
    // 192 bits in base64url.
    assert_eq!(created["credentials"]["password"].as_str().unwrap().len(), 32);
    assert!(created["receipt"]["position"].is_u64());
    let host = created["cluster"]["host"].as_str().unwrap();
    assert!(
        host.starts_with("clinic-") && host.ends_with(".local.craton.localhost"),
        "{host}"
    );
    let cluster = format!("clusters/{}", created["cluster"]["id"].as_str().unwrap());
    let operation = format!("operations/{}", created["operation"]["id"].as_str().unwrap());

    let waiting = owner.until(&operation, |operation| !operation["error"].is_null()).await;
    assert_eq!(
        (&waiting["step"], &waiting["state"]),
        (&json!("placed"), &json!("running"))
    );
    assert_eq!(
        waiting["error"],
        "region local has 0 nodes online with room, 1 are needed"
    );
    assert!(
        waiting["retry_at"].is_string() && waiting["attempts"].as_u64() >= Some(1),
        "{waiting}"
    );

    let (status, problem) = owner.call(Method::GET, &format!("{cluster}/connection"), None).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::CONFLICT, &json!("endpoint_unknown"))
    );

    let (status, cancelled) = owner.call(Method::POST, &format!("{operation}/cancel"), None).await;
    assert_eq!(
        (status, &cancelled["state"]),
        (StatusCode::OK, &json!("cancelled")),
        "{cancelled}"
    );
    let failed = owner.until(&cluster, |cluster| cluster["state"] == "failed").await;
    assert_eq!(failed["last_error"], "its creation was cancelled");
    let (status, problem) = owner.call(Method::POST, &format!("{operation}/cancel"), None).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::CONFLICT, &json!("operation_ended"))
    );

    let (status, retried) = owner.call(Method::POST, &format!("{operation}/retry"), None).await;
    assert_eq!(
        (status, &retried["state"]),
        (StatusCode::OK, &json!("running")),
        "{retried}"
    );
    owner
        .until(&cluster, |cluster| cluster["state"] == "provisioning")
        .await;

    let (status, deleted) = owner.call(Method::DELETE, &cluster, None).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{deleted}");
    let deletion = format!("operations/{}", deleted["operation"]["id"].as_str().unwrap());
    owner
        .until(&deletion, |operation| operation["state"] == "succeeded")
        .await;
    owner
        .until(&operation, |operation| operation["state"] == "cancelled")
        .await;
    let (_, tombstone) = owner.call(Method::GET, &cluster, None).await;
    assert_eq!(tombstone["state"], "deleted");
    let (_, list) = owner.call(Method::GET, "clusters", None).await;
    assert_eq!(list["items"], json!([]), "tombstones are not listed");
    let (status, _) = owner.call(Method::DELETE, &cluster, None).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let (status, again) = owner
        .call(Method::POST, "clusters", Some(json!({"name": "clinic"})))
        .await;
    assert_eq!(status, StatusCode::CREATED, "the name is free again");
    assert_ne!(
        again["cluster"]["host"], created["cluster"]["host"],
        "but the host name never comes back"
    );
    world.stop().await;
}

#[tokio::test]
async fn unacceptable_requests_name_the_field() {
    let world = World::start().await;
    let owner = world.member(Role::Owner);
    for (body, pointer) in [
        (json!({"name": "Clinic"}), "/name"),
        (json!({"name": ""}), "/name"),
        (json!({"name": "-a"}), "/name"),
        (json!({"name": "a".repeat(41)}), "/name"),
        (json!({}), "/name"),
        (json!({"name": "a", "region": "No Where"}), "/region"),
        (json!({"name": "a", "node_count": 0}), "/node_count"),
        (json!({"name": "a", "node_count": 2}), "/node_count"),
        (json!({"name": "a", "colour": "blue"}), "/colour"),
    ] {
        let (status, problem) = owner.call(Method::POST, "clusters", Some(body.clone())).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(problem["code"], "validation_failed", "{body}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
    let (status, _) = owner
        .call(Method::POST, "clusters", Some(json!({"name": "clinic"})))
        .await;
    assert_eq!(status, StatusCode::CREATED);
    let (status, problem) = owner
        .call(Method::POST, "clusters", Some(json!({"name": "clinic"})))
        .await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("name_taken")));
    world.stop().await;
}

#[tokio::test]
async fn a_foreign_organisation_sees_nothing_and_changes_nothing() {
    let world = World::start().await;
    let (ours, theirs) = (world.member(Role::Owner), world.member(Role::Owner));
    let create = |name: &'static str| Some(json!({"name": name}));
    let (_, created) = ours.call(Method::POST, "clusters", create("clinic")).await;
    let (status, _) = theirs.call(Method::POST, "clusters", create("clinic")).await;
    assert_eq!(
        status,
        StatusCode::CREATED,
        "names are unique within an organisation only"
    );
    let cluster = format!("clusters/{}", created["cluster"]["id"].as_str().unwrap());
    let operation = format!("operations/{}", created["operation"]["id"].as_str().unwrap());
    let routes = [
        (Method::GET, cluster.clone()),
        (Method::DELETE, cluster.clone()),
        (Method::GET, format!("{cluster}/connection")),
        (Method::GET, format!("{cluster}/ca.pem")),
        (Method::GET, format!("{cluster}/users")),
        (Method::POST, format!("{cluster}/users/app/rotate-password")),
        (Method::GET, operation.clone()),
        (Method::GET, format!("{operation}/events")),
        (Method::POST, format!("{operation}/cancel")),
        (Method::POST, format!("{operation}/retry")),
    ];
    for (method, route) in &routes {
        // Under their own organisation, and under ours.
        let (status, missing) = theirs.call(method.clone(), route, None).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{method} {route}: {missing}");
        let (status, _) = theirs.call_in(ours.org_id, method.clone(), route, None).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{method} {route}");
    }
    let (_, list) = theirs.call(Method::GET, "clusters", None).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let (status, _) = theirs.call_in(ours.org_id, Method::GET, "clusters", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, unchanged) = ours.call(Method::GET, &cluster, None).await;
    assert_eq!(unchanged["state"], "provisioning");
    world.stop().await;
}

#[tokio::test]
async fn roles_decide_who_may_do_what() {
    let world = World::start().await;
    let owner = world.member(Role::Owner);
    let (_, created) = owner
        .call(Method::POST, "clusters", Some(json!({"name": "clinic"})))
        .await;
    let cluster = format!("clusters/{}", created["cluster"]["id"].as_str().unwrap());
    let rotate = format!("{cluster}/users/app/rotate-password");
    let allowed = |status: StatusCode| status != StatusCode::FORBIDDEN;
    for (role, reads, rotates, deletes) in [
        (Role::Auditor, true, false, false),
        (Role::Viewer, true, false, false),
        (Role::Member, true, true, false),
        (Role::Admin, true, true, true),
    ] {
        let member = world.member_of(owner.org_id, role);
        assert_eq!(
            member.call(Method::GET, &cluster, None).await.0 == StatusCode::OK,
            reads,
            "{role:?} reads"
        );
        assert_eq!(
            allowed(member.call(Method::POST, &rotate, None).await.0),
            rotates,
            "{role:?} rotates"
        );
        assert_eq!(
            allowed(member.call(Method::DELETE, &cluster, None).await.0),
            deletes,
            "{role:?} deletes"
        );
    }
    let (status, problem) = owner
        .call(Method::POST, "/api/v1/fleet/join-tokens", Some(json!({})))
        .await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::FORBIDDEN, &json!("permission_denied"))
    );
    let (status, _) = world.operator().call(Method::GET, &cluster, None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "the operator sees no organisation");
    let (status, _) = world
        .caller(owner.org_id, Authentication::Anonymous)
        .call(Method::GET, "clusters", None)
        .await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    world.stop().await;
}

#[tokio::test]
async fn a_rotated_password_is_new_each_time_and_the_ca_can_be_downloaded() {
    let world = World::start().await;
    let owner = world.member(Role::Owner);
    let (_, created) = owner
        .call(Method::POST, "clusters", Some(json!({"name": "clinic"})))
        .await;
    let cluster = format!("clusters/{}", created["cluster"]["id"].as_str().unwrap());
    let rotate = format!("{cluster}/users/app/rotate-password");
    let (_, first) = owner.call(Method::POST, &rotate, None).await;
    let (_, second) = owner.call(Method::POST, &rotate, None).await;
    assert_ne!(first["password"], second["password"]);
    assert_ne!(first["password"], created["credentials"]["password"]);
    let (_, users) = owner.call(Method::GET, &format!("{cluster}/users"), None).await;
    assert_eq!(users["items"][0]["name"], "app");
    assert!(users["items"][0]["password_rotated_at"].is_string());
    let (status, _) = owner
        .call(Method::POST, &format!("{cluster}/users/nobody/rotate-password"), None)
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let pem = owner.get(&format!("{cluster}/ca.pem")).await;
    assert!(
        pem.as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"),
        "{pem}"
    );
    let events = serde_json::to_string(&world.events().await).unwrap();
    for password in [
        &created["credentials"]["password"],
        &first["password"],
        &second["password"],
    ] {
        assert!(
            !events.contains(password.as_str().unwrap()),
            "no password is in any event"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn the_events_of_an_operation_are_streamed() {
    let world = World::start().await;
    let owner = world.member(Role::Owner);
    let (_, created) = owner
        .call(Method::POST, "clusters", Some(json!({"name": "clinic"})))
        .await;
    let operation = format!("operations/{}", created["operation"]["id"].as_str().unwrap());
    let stream = format!("{operation}/events");
    let (text, ()) = tokio::join!(owner.get(&stream), async {
        owner.until(&operation, |operation| !operation["error"].is_null()).await;
        owner.call(Method::POST, &format!("{operation}/cancel"), None).await;
    });
    let states: Vec<String> = text
        .as_str()
        .expect("a stream is no JSON")
        .split("\n\n")
        .filter(|event| !event.is_empty())
        .map(|event| {
            let data = event
                .strip_prefix("event: operation\ndata: ")
                .unwrap_or_else(|| panic!("{event:?}"));
            serde_json::from_str::<Value>(data).unwrap()["state"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(states.last().map(String::as_str), Some("cancelled"), "{states:?}");
    assert!(states.len() >= 2, "{states:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_long_poll_answers_at_the_change_and_not_before() {
    let world = World::start().await;
    let owner = world.member(Role::Owner);
    let (_, created) = owner
        .call(Method::POST, "clusters", Some(json!({"name": "clinic"})))
        .await;
    let operation = format!("operations/{}", created["operation"]["id"].as_str().unwrap());
    owner.call(Method::POST, &format!("{operation}/cancel"), None).await;
    // It has ended, so there is nothing to wait for.
    let (status, ended) = owner.call(Method::GET, &format!("{operation}?wait=60s"), None).await;
    assert_eq!((status, &ended["state"]), (StatusCode::OK, &json!("cancelled")));
    let (status, problem) = owner.call(Method::GET, &format!("{operation}?wait=61s"), None).await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("wait"))
    );
    world.stop().await;
}

#[tokio::test]
async fn the_operator_makes_join_tokens_within_limits() {
    let world = World::start().await;
    let operator = world.operator();
    let path = "/api/v1/fleet/join-tokens";
    let (status, created) = operator
        .call(Method::POST, path, Some(json!({"zone": "a", "ttl_seconds": 60})))
        .await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    let token = created["token"].as_str().unwrap();
    assert!(token.starts_with("crt_join_"), "{token}");
    assert!(!serde_json::to_string(&world.events().await).unwrap().contains(token));
    for (body, pointer) in [
        (json!({"ttl_seconds": 0}), "/ttl_seconds"),
        (json!({"ttl_seconds": 604_801}), "/ttl_seconds"),
        (json!({"zone": "A b"}), "/zone"),
        (json!({"region": ""}), "/region"),
    ] {
        let (status, problem) = operator.call(Method::POST, path, Some(body)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    assert_ne!(world.join_token(60).await, token, "each one is another");
    let (status, nodes) = operator.call(Method::GET, "/api/v1/fleet/nodes", None).await;
    assert_eq!((status, &nodes["items"]), (StatusCode::OK, &json!([])));
    world.stop().await;
}

#[tokio::test]
async fn a_list_is_walked_in_pages() {
    let world = World::start().await;
    let owner = world.member(Role::Owner);
    for index in 0..5 {
        owner
            .call(Method::POST, "clusters", Some(json!({"name": format!("c{index}")})))
            .await;
    }
    let mut names = Vec::new();
    let mut token = String::new();
    loop {
        let (status, page) = owner.call(Method::GET, &format!("clusters?limit=2{token}"), None).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        names.extend(items.iter().map(|cluster| cluster["name"].as_str().unwrap().to_owned()));
        match page["next_page_token"].as_str() {
            Some(next) => token = format!("&page_token={next}"),
            None => break,
        }
    }
    names.sort();
    assert_eq!(names, ["c0", "c1", "c2", "c3", "c4"]);
    world.stop().await;
}

#[tokio::test]
async fn a_restarted_platform_goes_on_where_it_was() {
    let mut world = World::start().await;
    let owner = world.member(Role::Owner);
    let (_, created) = owner
        .call(Method::POST, "clusters", Some(json!({"name": "clinic"})))
        .await;
    let cluster = format!("clusters/{}", created["cluster"]["id"].as_str().unwrap());
    let operation = format!("operations/{}", created["operation"]["id"].as_str().unwrap());
    let (address, pem) = (world.address(), owner.get(&format!("{cluster}/ca.pem")).await);
    world.restart().await;
    assert_eq!(world.address(), address);
    let owner = world.member_of(owner.org_id, Role::Owner);
    assert_eq!(
        owner.get(&format!("{cluster}/ca.pem")).await,
        pem,
        "the authority is the same"
    );
    let attempts = owner.get(&operation).await["attempts"].as_u64();
    owner
        .until(&operation, |operation| operation["attempts"].as_u64() > attempts)
        .await;
    world.stop().await;
}

#[tokio::test]
async fn witnesses_and_time_stamp_authority_are_set_together_and_checked() {
    let world = World::start().await;
    let owner = world.member(Role::Owner);
    let (_, created) = owner
        .call(Method::POST, "clusters", Some(json!({"name": "clinic"})))
        .await;
    let path = format!("clusters/{}/witnesses", created["cluster"]["id"].as_str().unwrap());
    let made = rcgen::generate_simple_self_signed(["tsa.example".to_owned()]).expect("a certificate");
    let authority = json!({ "url": "http://tsa.example/stamp", "certificates": made.cert.pem() });
    let body = json!({ "external": [], "time_stamp_authority": authority });
    let (status, set) = owner.call(Method::PUT, &path, Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{set}");
    assert_eq!(owner.get(&path).await["time_stamp_authority"], authority);

    for (field, wrong, pointer) in [
        ("url", "ftp://tsa.example", "/time_stamp_authority/url"),
        ("certificates", "no PEM", "/time_stamp_authority/certificates"),
    ] {
        let mut refused = authority.clone();
        refused[field] = wrong.into();
        let body = json!({ "external": [], "time_stamp_authority": refused });
        let (status, problem) = owner.call(Method::PUT, &path, Some(body)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
    assert_eq!(
        owner.get(&path).await["time_stamp_authority"],
        authority,
        "nothing has changed"
    );

    let (status, _) = owner.call(Method::PUT, &path, Some(json!({ "external": [] }))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(owner.get(&path).await["time_stamp_authority"], Value::Null);
    world.stop().await;
}
