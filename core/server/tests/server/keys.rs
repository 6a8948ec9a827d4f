//! Keys rotate under load, as an operator rotates them: over the administrative socket, seen through SQL.

use std::sync::atomic::{AtomicBool, Ordering};

use craton_proof::{Receipt, VerifierKey};
use serde_json::json;

use crate::support::{World, write_private};
use fake::FakeVault;

#[path = "../../../vault/tests/transit/fake.rs"]
#[allow(dead_code, reason = "the other tests of the fake use the rest")]
mod fake;

fn rotate(world: &World, key: &str) {
    let body = json!({ "key": key }).to_string();
    let reply = world.admin("POST", "/v1/databases/main/keys/rotate", Some(&body));
    assert_eq!(reply.status, 200, "{reply:?}");
}

fn put_master_key(world: &World, source: &str) {
    let body = json!({ "source": source }).to_string();
    let reply = world.admin("PUT", "/v1/keys/master", Some(&body));
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(world.admin("GET", "/v1/keys", None).json(), reply.json());
}

#[test]
fn every_key_is_rotated_while_psql_inserts_and_a_restart_reads_everything() {
    let mut world = World::start();
    world.psql("CREATE TABLE visit (id int PRIMARY KEY, note text); INSERT INTO visit VALUES (0, 'before')");
    let master_file = world.path("second.key");
    write_private(&master_file, &"5a".repeat(32));
    let master_source = format!("file:{}", master_file.display());

    let done = AtomicBool::new(false);
    let inserted = std::thread::scope(|scope| {
        let inserting = scope.spawn(|| {
            let mut count = 0;
            while !done.load(Ordering::Acquire) || count == 0 {
                count += 1;
                // `psql` panics on any error.
                world.psql(&format!("INSERT INTO visit VALUES ({count}, 'visit {count}')"));
            }
            count
        });
        for _ in 0..3 {
            rotate(&world, "data");
            rotate(&world, "key_encryption");
            put_master_key(&world, &master_source);
        }
        done.store(true, Ordering::Release);
        inserting.join().expect("no insert failed")
    });
    let reasons = world.psql("SELECT reason FROM craton_key_epochs ORDER BY epoch");
    assert_eq!(reasons.matches("data key rotated").count(), 3, "{reasons}");
    assert_eq!(reasons.matches("key-encryption key rotated").count(), 3, "{reasons}");
    assert_eq!(
        world.psql("SELECT data_key, active FROM craton_key_epochs WHERE epoch = 6"),
        "3|t"
    );
    let log_key = world.database_status("main")["log_key"]
        .as_str()
        .expect("a key")
        .to_owned();
    assert!(world.terminate().success());

    let master_key = ["--master-key", &master_source];
    world.add_arguments(&master_key);
    world.spawn();
    assert_eq!(
        world.psql("SELECT count(*) FROM visit WHERE note LIKE '%t%' OR note = 'before'"),
        (inserted + 1).to_string()
    );
    assert_eq!(world.psql("SELECT note FROM visit AS OF POSITION 1"), "before");
    world.psql("UPDATE visit SET note = 'after' WHERE id = 0");
    assert_eq!(
        world.psql("SELECT reason FROM craton_key_epochs WHERE active"),
        "opened"
    );
    let key: VerifierKey = log_key.parse().expect("a verifier key");
    for id in [0, 1, inserted] {
        let receipt = world.psql(&format!("SELECT craton_receipt('visit', {id})")) + "\n";
        Receipt::verify(receipt.as_bytes(), &key).expect("a valid receipt");
    }
    assert!(world.terminate().success());
    world.verify_log(&log_key);
}

#[test]
fn a_server_moves_its_master_key_into_vault_and_needs_vault_to_start_again() {
    let vault = FakeVault::start();
    let options = vault.options();
    let [token_file, ca_file] = [&options.token_file, options.ca_file.as_ref().expect("an authority")]
        .map(|path| path.to_str().expect("a plain path").to_owned());
    let vault_arguments = [
        "--vault-address",
        &options.address,
        "--vault-token-file",
        &token_file,
        "--vault-mount",
        &options.mount,
        "--vault-namespace",
        options.namespace.as_deref().expect("a namespace"),
        "--vault-ca-file",
        &ca_file,
    ];
    let mut world = World::start_with(&vault_arguments);
    world.psql("CREATE TABLE visit (id int PRIMARY KEY); INSERT INTO visit VALUES (1)");
    put_master_key(&world, "vault:hospital");
    assert!(!vault.received().is_empty());
    world.psql("INSERT INTO visit VALUES (2)");
    world.kill();

    // The file's key opens nothing any more.
    let output = world.command().output().expect("the server's binary");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && error.contains("the keyring does not open"),
        "{error}"
    );

    world.add_arguments(&["--master-key", "vault:hospital"]);
    world.spawn();
    assert_eq!(world.psql("SELECT count(*) FROM visit"), "2");
    // An open server goes on without Vault; only rotations and starts need it.
    vault.write_token("hvs.revoked", 0o600);
    world.psql("INSERT INTO visit VALUES (3)");
    let body = json!({ "source": "vault:hospital" }).to_string();
    world.expect_in_log("an administrative request failed");
    let reply = world.admin("PUT", "/v1/keys/master", Some(&body));
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.text.contains("Vault denies the use of the key"), "{reply:?}");
    assert!(world.terminate().success());
    let output = world.command().output().expect("the server's binary");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && error.contains("Vault denies the use of the key"),
        "{error}"
    );
    assert!(
        !error.contains("hvs.revoked") && !world.log().contains("hvs."),
        "no token is logged"
    );
}

#[test]
fn unusable_sources_and_unknown_databases_are_refused_and_nothing_changes() {
    let world = World::start();
    let before = world.admin("GET", "/v1/keys", None).text;
    for source in [
        "",
        "kms:key",
        "file:/no/such/file",
        "env:CRATON_NOT_SET",
        "vault:hospital",
    ] {
        let body = json!({ "source": source }).to_string();
        let reply = world.admin("PUT", "/v1/keys/master", Some(&body));
        assert_eq!(reply.status, 422, "{source}: {reply:?}");
    }
    let others = world.path("others.key");
    std::fs::write(&others, "5a".repeat(32)).expect("writable");
    let body = json!({ "source": format!("file:{}", others.display()) }).to_string();
    let reply = world.admin("PUT", "/v1/keys/master", Some(&body));
    assert!(reply.status == 422 && reply.text.contains("mode"), "{reply:?}");
    for (path, body, status) in [
        ("/v1/databases/other/keys/rotate", r#"{"key":"data"}"#, 404),
        ("/v1/databases/main/keys/rotate", r#"{"key":"master"}"#, 422),
        ("/v1/databases/main/keys/rotate", "{}", 422),
    ] {
        assert_eq!(world.admin("POST", path, Some(body)).status, status, "{path} {body}");
    }
    assert_eq!(world.admin("GET", "/v1/databases/other/keys", None).status, 404);
    let keys = world.admin("GET", "/v1/databases/main/keys", None).json();
    assert_eq!(
        keys["epochs"],
        json!([{ "epoch": 0, "data_key": 0, "position": 0, "active": true }])
    );
    assert_eq!(world.admin("GET", "/v1/keys", None).text, before);
}
