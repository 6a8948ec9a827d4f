//! Who gets in, and what the others learn.

use serde_json::json;

use crate::support::{CLUSTER, PASSWORD, World, outcome, sign, unix_seconds};

/// What psql prints for a log-in that fails.
fn refusal(world: &World, user: &str, password: &str, database: &str) -> String {
    let mut psql = world.psql_command(user, password, database, "verify-full");
    let output = psql
        .args(["--command", "SELECT 1"])
        .output()
        .expect("psql is installed");
    outcome(output).expect_err("the log-in must fail")
}

#[test]
fn a_password_opens_a_session_with_channel_binding() {
    let world = World::start();
    let mut psql = world.psql_command("app", PASSWORD, "main", "verify-full");
    psql.env("PGCHANNELBINDING", "require");
    let output = psql
        .args(["--command", "SELECT 1"])
        .output()
        .expect("psql is installed");
    assert_eq!(outcome(output), Ok("1".into()));
}

#[test]
fn a_wrong_password_and_an_unknown_user_look_the_same() {
    let world = World::start();
    let wrong = refusal(&world, "app", "wrong", "main");
    let unknown = refusal(&world, "nobody", "wrong", "main");
    assert!(
        wrong.contains("FATAL:  password authentication failed for user \"app\""),
        "{wrong}"
    );
    assert_eq!(wrong.replace("app", "nobody"), unknown);
    assert_eq!(world.metric("craton_failed_logins_total{method=\"scram\"}"), 2.0);
    // Nor does a database that does not exist show before the password is right.
    let elsewhere = refusal(&world, "app", "wrong", "missing");
    assert!(elsewhere.contains("password authentication failed"), "{elsewhere}");
}

#[test]
fn only_tls_is_spoken() {
    let world = World::start();
    let mut psql = world.psql_command("app", PASSWORD, "main", "disable");
    let output = psql
        .args(["--command", "SELECT 1"])
        .output()
        .expect("psql is installed");
    let error = outcome(output).expect_err("without TLS");
    assert!(error.contains("FATAL:  connections without TLS are refused"), "{error}");
}

#[test]
fn databases_are_told_apart_only_by_those_who_may_use_them() {
    let world = World::start();
    world.put_database("other");
    world.put_user("operator", PASSWORD, &[], false);
    // A user of one database sees no difference between a foreign database and none.
    let foreign = refusal(&world, "app", PASSWORD, "other");
    let missing = refusal(&world, "app", PASSWORD, "missing");
    assert!(
        foreign.contains("FATAL:  permission denied for database \"other\""),
        "{foreign}"
    );
    assert_eq!(foreign.replace("other", "missing"), missing);
    let missing = refusal(&world, "operator", PASSWORD, "missing");
    assert!(
        missing.contains("FATAL:  database \"missing\" does not exist"),
        "{missing}"
    );
    assert_eq!(
        world.psql_as("operator", "other", "SELECT current_database()"),
        Ok("other".into())
    );
}

#[tokio::test]
async fn sqlstates_tell_the_reasons_apart() {
    let world = World::start();
    world.put_user("operator", PASSWORD, &[], false);
    for (user, password, database, sqlstate) in [
        ("app", "wrong", "main", "28P01"),
        ("nobody", "wrong", "main", "28P01"),
        ("app", PASSWORD, "missing", "42501"),
        ("operator", PASSWORD, "missing", "3D000"),
    ] {
        let error = world.connect(user, password, database).await.expect_err("refused");
        assert_eq!(
            error.code().map(|code| code.code()),
            Some(sqlstate),
            "{user} {database}: {error}"
        );
    }
}

#[tokio::test]
async fn a_changed_password_ends_sessions_at_once_and_the_old_one_opens_none() {
    let world = World::start();
    let client = world.client().await;
    client.simple_query("SELECT 1").await.expect("a session");
    world.put_user("app", "another", &["main"], false);
    world.until("end of the session", async || client.is_closed()).await;
    assert!(world.connect("app", PASSWORD, "main").await.is_err());
    let client = world.connect("app", "another", "main").await.expect("the new password");
    // Storing the same user again changes nothing.
    assert_eq!(world.admin("DELETE", "/v1/users/app", None).status, 204);
    world.until("end of the session", async || client.is_closed()).await;
    assert!(world.connect("app", "another", "main").await.is_err());
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let world = World::start_with(&["--connections-max", "2"]);
    let first = world.client().await;
    let _second = world.client().await;
    let error = world.connect("app", PASSWORD, "main").await.expect_err("one too many");
    assert_eq!(error.code().map(|code| code.code()), Some("53300"), "{error}");
    drop(first);
    world
        .until("free place", async || {
            world.connect("app", PASSWORD, "main").await.is_ok()
        })
        .await;
}

#[tokio::test]
async fn the_probe_logs_in_with_a_token_and_nobody_else_does() {
    let world = World::start();
    world.put_database("probe");
    let now = unix_seconds();
    let stranger = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let good = json!({"aud": CLUSTER, "sub": "craton_probe", "exp": now + 60});
    for (what, user, database, token, sqlstate) in [
        ("a good token", "craton_probe", "probe", world.token(&good), None),
        (
            "an expired token",
            "craton_probe",
            "probe",
            world.token(&json!({"aud": CLUSTER, "sub": "craton_probe", "exp": now - 1})),
            Some("28P01"),
        ),
        (
            "a token valid for an hour",
            "craton_probe",
            "probe",
            world.token(&json!({"aud": CLUSTER, "sub": "craton_probe", "exp": now + 3_600})),
            Some("28P01"),
        ),
        (
            "a token for another cluster",
            "craton_probe",
            "probe",
            world.token(&json!({"aud": "clu_other", "sub": "craton_probe", "exp": now + 60})),
            Some("28P01"),
        ),
        (
            "a token for another user",
            "craton_probe",
            "probe",
            world.token(&json!({"aud": CLUSTER, "sub": "app", "exp": now + 60})),
            Some("28P01"),
        ),
        (
            "a stranger's token",
            "craton_probe",
            "probe",
            sign(&stranger, &good),
            Some("28P01"),
        ),
        (
            "a token as a password",
            "app",
            "main",
            world.token(&good),
            Some("28P01"),
        ),
        (
            "the probe elsewhere",
            "craton_probe",
            "main",
            world.token(&good),
            Some("42501"),
        ),
    ] {
        let code = match world.connect(user, &token, database).await {
            Ok(client) => {
                client
                    .batch_execute("CREATE TABLE beat (id int PRIMARY KEY); INSERT INTO beat VALUES (1)")
                    .await
                    .expect("the probe writes");
                None
            }
            Err(error) => Some(
                error
                    .code()
                    .map_or_else(|| error.to_string(), |code| code.code().to_owned()),
            ),
        };
        assert_eq!(code.as_deref(), sqlstate, "{what}");
    }
    assert_eq!(world.metric("craton_failed_logins_total{method=\"token\"}"), 5.0);
    assert!(
        !world.log().contains(&world.valid_token()[..40]),
        "tokens are not logged"
    );
}
