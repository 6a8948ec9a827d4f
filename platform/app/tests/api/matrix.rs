//! Every route as every kind of caller, with two tenants. A route that is not listed here fails the test.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use craton_platform_kernel::{Permission, Role};
use serde_json::{Value, json};

use crate::support::{Caller, Person, World};

/// Who may come in.
#[derive(Clone, Copy, Debug)]
enum Access {
    /// Everyone, signed in or not.
    Public,
    /// Everyone with a credential.
    Anyone,
    /// People, not keys.
    People,
    /// People; the call ends the session that it is made with.
    PeopleOnce,
    /// Members and keys of the organisation whose role allows it.
    Role(Permission),
    /// The operator.
    Operator,
}

/// A route, what it asks for, and the status when it is granted to an allowed caller.
struct Route {
    method: &'static str,
    path: &'static str,
    access: Access,
    granted: u16,
    body: fn() -> Option<Value>,
}

const fn route(method: &'static str, path: &'static str, access: Access, granted: u16) -> Route {
    Route {
        method,
        path,
        access,
        granted,
        body: || None,
    }
}

impl Route {
    const fn with(mut self, body: fn() -> Option<Value>) -> Self {
        self.body = body;
        self
    }
}

fn routes() -> Vec<Route> {
    use Access::{Anyone, Operator, People, PeopleOnce, Public, Role};
    vec![
        route("POST", "/auth/register/start", Public, 200)
            .with(|| Some(json!({ "display_name": "a", "email": "a@b" }))),
        route("POST", "/auth/register/finish", Public, 422).with(|| Some(json!({}))),
        route("POST", "/auth/login/start", Public, 200).with(|| Some(json!({}))),
        route("POST", "/auth/login/finish", Public, 422).with(|| Some(json!({}))),
        route("POST", "/auth/logout", PeopleOnce, 204),
        route("GET", "/api/v1/me", People, 200),
        route("GET", "/api/v1/me/passkeys", People, 200),
        route("GET", "/api/v1/me/sessions", People, 200),
        route("DELETE", "/api/v1/me/sessions/{session}", PeopleOnce, 204),
        route("POST", "/api/v1/orgs", People, 201).with(|| Some(json!({ "name": "New" }))),
        route("GET", "/api/v1/orgs", Anyone, 200),
        route("GET", "/api/v1/orgs/{org}", Role(Permission::ReadOrganisation), 200),
        route(
            "GET",
            "/api/v1/orgs/{org}/members",
            Role(Permission::ReadOrganisation),
            200,
        ),
        route(
            "PUT",
            "/api/v1/orgs/{org}/members/{user}",
            Role(Permission::ManageMembers),
            200,
        )
        .with(|| Some(json!({ "role": "auditor" }))),
        route(
            "DELETE",
            "/api/v1/orgs/{org}/members/{user}",
            Role(Permission::ManageMembers),
            204,
        ),
        route(
            "POST",
            "/api/v1/orgs/{org}/api-keys",
            Role(Permission::ManageApiKeys),
            201,
        )
        .with(|| Some(json!({ "name": "k", "role": "viewer" }))),
        route("GET", "/api/v1/orgs/{org}/api-keys", Role(Permission::ReadApiKeys), 200),
        route(
            "DELETE",
            "/api/v1/orgs/{org}/api-keys/{key}",
            Role(Permission::ManageApiKeys),
            204,
        ),
        route(
            "GET",
            "/api/v1/orgs/{org}/audit-events",
            Role(Permission::ReadAuditEvents),
            200,
        ),
        route(
            "GET",
            "/api/v1/orgs/{org}/receipts/{position}",
            Role(Permission::ReadAuditEvents),
            200,
        ),
        route("GET", "/api/v1/log-key", Public, 200),
        route(
            "GET",
            "/api/v1/orgs/{org}/clusters",
            Role(Permission::ReadClusters),
            200,
        ),
        route(
            "POST",
            "/api/v1/orgs/{org}/clusters",
            Role(Permission::ManageClusters),
            201,
        )
        .with(|| Some(json!({ "name": unique_name() }))),
        route(
            "GET",
            "/api/v1/orgs/{org}/clusters/{cluster}",
            Role(Permission::ReadClusters),
            200,
        ),
        route(
            "DELETE",
            "/api/v1/orgs/{org}/clusters/{cluster}",
            Role(Permission::DeleteClusters),
            202,
        ),
        // Without a node there is no endpoint yet, and whoever may ask is told so.
        route(
            "POST",
            "/api/v1/orgs/{org}/clusters/{cluster}/scale",
            Role(Permission::ManageClusters),
            409,
        )
        .with(|| Some(json!({ "node_count": 1 }))),
        route(
            "POST",
            "/api/v1/orgs/{org}/clusters/{cluster}/upgrade",
            Role(Permission::ManageClusters),
            409,
        )
        .with(|| Some(json!({ "version": "0.2.0" }))),
        route(
            "POST",
            "/api/v1/orgs/{org}/clusters/{cluster}/finalize",
            Role(Permission::ManageClusters),
            409,
        )
        .with(|| Some(json!({ "format_version": 2 }))),
        route(
            "POST",
            "/api/v1/orgs/{org}/clusters/{cluster}/nodes/{member}/replace",
            Role(Permission::ManageClusters),
            409,
        ),
        route(
            "GET",
            "/api/v1/orgs/{org}/clusters/{cluster}/connection",
            Role(Permission::ReadClusters),
            409,
        ),
        route(
            "GET",
            "/api/v1/orgs/{org}/clusters/{cluster}/ca.pem",
            Role(Permission::ReadClusters),
            200,
        ),
        route(
            "GET",
            "/api/v1/orgs/{org}/clusters/{cluster}/witnesses",
            Role(Permission::ReadClusters),
            200,
        ),
        route(
            "PUT",
            "/api/v1/orgs/{org}/clusters/{cluster}/witnesses",
            Role(Permission::ManageClusters),
            200,
        )
        .with(|| Some(json!({ "external": [] }))),
        route("GET", "/api/v1/witness-key", Public, 200),
        // Nothing is no checkpoint, and everybody is told so.
        route("POST", "/witness/add-checkpoint", Public, 400),
        route(
            "GET",
            "/api/v1/orgs/{org}/clusters/{cluster}/users",
            Role(Permission::ReadClusters),
            200,
        ),
        route(
            "POST",
            "/api/v1/orgs/{org}/clusters/{cluster}/users/{name}/rotate-password",
            Role(Permission::ManageDatabaseUsers),
            200,
        ),
        route(
            "GET",
            "/api/v1/orgs/{org}/operations/{operation}",
            Role(Permission::ReadClusters),
            200,
        ),
        route(
            "GET",
            "/api/v1/orgs/{org}/operations/{operation}/events",
            Role(Permission::ReadClusters),
            200,
        ),
        route(
            "POST",
            "/api/v1/orgs/{org}/operations/{operation}/cancel",
            Role(Permission::ManageClusters),
            200,
        ),
        route(
            "POST",
            "/api/v1/orgs/{org}/operations/{operation}/retry",
            Role(Permission::ManageClusters),
            200,
        ),
        route("POST", "/api/v1/fleet/join-tokens", Operator, 201).with(|| Some(json!({}))),
        route("GET", "/api/v1/fleet/nodes", Operator, 200),
        route("GET", "/health", Public, 200),
        route("GET", "/ready", Public, 200),
    ]
}

/// A cluster's name that was not used before.
fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("c{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

#[test]
fn every_documented_route_is_listed() {
    let document: Value = serde_json::from_str(&craton_platform_app::openapi_json()).expect("JSON");
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("methods").keys() {
            documented.insert((method.to_uppercase(), path.clone()));
        }
    }
    let listed: BTreeSet<_> = routes()
        .iter()
        .map(|route| (route.method.to_owned(), route.path.to_owned()))
        .collect();
    assert_eq!(documented, listed);
}

/// A kind of caller, seen from the organisation that is asked for.
enum Kind {
    Nobody,
    /// A person with this role there, or with none.
    Person(Box<Person>, Option<Role>),
    /// A key with this role there, or of another organisation.
    Key(Caller, Option<Role>),
    Operator(Caller),
    /// Credentials that are no good, and the code that says so.
    Refused(Caller, &'static str),
}

fn role_name(role: Role) -> String {
    serde_json::to_value(role)
        .expect("JSON")
        .as_str()
        .expect("a name")
        .to_owned()
}

/// Everyone who could knock: each role as a person and as a key, a second tenant, and the rest.
async fn callers(world: &World, org: &str, owner: &Caller) -> Vec<(String, Kind)> {
    let mut callers = vec![("nobody".to_owned(), Kind::Nobody)];
    for role in Role::ALL {
        let name = role_name(role);
        let person = world.member(owner, org, &name).await;
        callers.push((format!("person {name}"), Kind::Person(Box::new(person), Some(role))));
        let (_, key) = world.api_key(owner, org, &name).await;
        callers.push((format!("key {name}"), Kind::Key(key, Some(role))));
    }
    let foreign = Person::sign_up(world, "foreign").await;
    let other = world.organisation(&foreign, "Other").await;
    let (_, key) = world.api_key(&foreign.caller(), &other, "owner").await;
    callers.push(("key of another tenant".to_owned(), Kind::Key(key, None)));
    callers.push((
        "owner of another tenant".to_owned(),
        Kind::Person(Box::new(foreign), None),
    ));
    callers.push(("operator".to_owned(), Kind::Operator(world.operator())));
    let cookie = Caller::Cookie(format!("craton_session={}", "A".repeat(43)));
    callers.push(("ended session".to_owned(), Kind::Refused(cookie, "session_expired")));
    let token = Caller::Token("crt_live_nonsense".to_owned());
    callers.push(("bad key".to_owned(), Kind::Refused(token, "invalid_api_key")));
    callers
}

/// What the table says must come back: a status, and the code where it is a refusal.
fn expected(route: &Route, kind: &Kind) -> (u16, Option<&'static str>) {
    let granted = (route.granted, None);
    let denied = (403, Some("permission_denied"));
    match (route.access, kind) {
        (Access::Public, _) => granted,
        (_, Kind::Nobody) => (401, Some("unauthenticated")),
        (_, Kind::Refused(_, code)) => (401, Some(code)),
        (Access::Anyone, _) | (Access::People | Access::PeopleOnce, Kind::Person(..)) => granted,
        (Access::People | Access::PeopleOnce, _) => denied,
        (Access::Operator, Kind::Operator(_)) => granted,
        (Access::Operator, _) => denied,
        (Access::Role(_), Kind::Operator(_) | Kind::Person(_, None) | Kind::Key(_, None)) => (404, Some("not_found")),
        (Access::Role(permission), Kind::Person(_, Some(role)) | Kind::Key(_, Some(role))) => {
            if role.allows(permission) { granted } else { denied }
        }
    }
}

/// The path with real identifiers in it.
async fn fill(world: &World, path: &str, org: &str, owner: &Caller, caller: &Caller) -> String {
    let mut path = path.replace("{org}", org);
    if path.contains("{user}") {
        let target = world.member(owner, org, "viewer").await;
        path = path.replace("{user}", &target.user_id);
    }
    if path.contains("{key}") {
        path = path.replace("{key}", &world.api_key(owner, org, "viewer").await.0);
    }
    if path.contains("{position}") {
        let events = world
            .get(owner, &format!("/api/v1/orgs/{org}/audit-events"))
            .await
            .expect(200);
        path = path.replace("{position}", &events["items"][0]["position"].to_string());
    }
    if path.contains("{cluster}") || path.contains("{operation}") {
        let body = json!({ "name": unique_name() });
        let created = world
            .post(owner, &format!("/api/v1/orgs/{org}/clusters"), body)
            .await
            .expect(201);
        let id = |what: &str| created[what]["id"].as_str().expect("an id").to_owned();
        path = path
            .replace("{cluster}", &id("cluster"))
            .replace("{operation}", &id("operation"))
            .replace("{name}", "app")
            .replace("{member}", "1");
        // What has ended can be retried, and its stream of events ends.
        if path.ends_with("/retry") || path.ends_with("/events") {
            let cancel = format!("/api/v1/orgs/{org}/operations/{}/cancel", id("operation"));
            world.send(owner, "POST", &cancel, None).await.expect(200);
        }
    }
    if path.contains("{session}") {
        let sessions = world.get(caller, "/api/v1/me/sessions").await.json();
        let current = sessions["items"]
            .as_array()
            .and_then(|items| items.iter().find(|item| item["current"] == true));
        let id = current.and_then(|session| session["id"].as_str());
        path = path.replace("{session}", id.unwrap_or("ses_01h455vb4pex5vsknk084sn02q"));
    }
    path
}

#[tokio::test]
async fn every_route_as_every_kind_of_caller() {
    let world = World::start().await;
    let owner = Person::sign_up(&world, "owner").await;
    let org = world.organisation(&owner, "Acme").await;
    let mut callers = callers(&world, &org, &owner.caller()).await;
    let mut wrong = Vec::new();
    for route in routes() {
        // What was refused has changed nothing, so the next caller is shown the same thing.
        let mut target = None;
        for (name, kind) in &mut callers {
            let caller = match kind {
                Kind::Nobody => Caller::Anonymous,
                Kind::Person(person, _) if matches!(route.access, Access::PeopleOnce) => person.sign_in(&world).await,
                Kind::Person(person, _) => person.caller(),
                Kind::Key(caller, _) | Kind::Operator(caller) | Kind::Refused(caller, _) => caller.clone(),
            };
            let expected = expected(&route, kind);
            let path = match target.take() {
                Some(path) => path,
                None => fill(&world, route.path, &org, &owner.caller(), &caller).await,
            };
            let answer = world.send(&caller, route.method, &path, (route.body)()).await;
            if let (Kind::Person(person, _), Access::PeopleOnce) = (&mut *kind, route.access) {
                person.sign_in(&world).await;
            }
            let granted_once = route.method != "GET" && expected.1.is_none();
            let of_caller = matches!(route.access, Access::PeopleOnce);
            target = (!granted_once && !of_caller).then_some(path);
            let code = expected
                .1
                .and_then(|_| answer.json()["code"].as_str().map(str::to_owned));
            if (answer.status, code.as_deref()) != expected {
                let (method, path) = (route.method, route.path);
                wrong.push(format!(
                    "{method} {path} as {name}: {expected:?}, not {} {}",
                    answer.status,
                    answer.text()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
