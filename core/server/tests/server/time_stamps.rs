//! A server, its witness, and a time stamp authority made with OpenSSL.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::{PASSWORD, World};
use crate::witnesses::{HttpWitness, log_key, policy, serve_http, world_with_policy};

const OPENSSL_CONFIG: &str = "[req]\ndistinguished_name=name\nprompt=no\nx509_extensions=tsa\n\
    [name]\nCN=Test authority\n\
    [tsa]\nextendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\nbasicConstraints=CA:FALSE\n\
    [ts]\ndefault_tsa=ts_config\n[ts_config]\nserial=serial\ncrypto_device=builtin\nsigner_cert=tsa.pem\n\
    signer_key=tsa.key\nsigner_digest=sha256\ndefault_policy=1.2.3.4.1\ndigests=sha256\ness_cert_id_alg=sha256\n";

fn openssl(directory: &Path, arguments: &str) -> bool {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .output();
    output.expect("openssl is installed").status.success()
}

fn write(directory: &Path, name: &str, content: &[u8]) {
    std::fs::write(directory.join(name), content).expect("writable");
}

/// An authority in a directory: its entry in the server's file.
fn authority(directory: &Path) -> serde_json::Value {
    write(directory, "openssl.cnf", OPENSSL_CONFIG.as_bytes());
    write(directory, "serial", b"01\n");
    let make = "req -x509 -newkey rsa:2048 -nodes -keyout tsa.key -out tsa.pem -days 2 -config openssl.cnf";
    assert!(openssl(directory, make));
    let certificates = std::fs::read_to_string(directory.join("tsa.pem")).expect("a certificate");
    let directory = directory.to_owned();
    let address = serve_http(move |path, query| {
        assert_eq!(path, "/stamp");
        write(&directory, "query.tsq", query);
        let reply = "ts -reply -queryfile query.tsq -out reply.tsr -config openssl.cnf -section ts_config";
        assert!(openssl(&directory, reply));
        let reply = std::fs::read(directory.join("reply.tsr")).expect("a reply");
        (200, "application/timestamp-reply", reply)
    });
    json!({ "url": format!("http://{address}/stamp"), "certificates": certificates })
}

/// Saves what one statement says of checkpoint and time stamp as `note.txt` and `token.der`, with the commands of the
/// documentation. Returns the note; `None` while there is no time stamp.
fn save(world: &World, directory: &Path) -> Option<String> {
    let mut psql = world.psql_command("app", PASSWORD, "main", "verify-full");
    psql.args(["-AtF,", "-c", "SELECT craton_timestamp(), craton_cosigned_checkpoint()"]);
    let output = psql.output().expect("psql is installed");
    assert!(output.status.success(), "{}", world.log());
    if output.stdout.starts_with(b",") {
        return None;
    }
    write(directory, "stamped", &output.stdout);
    let save = "sed '1s/^[^,]*,//' stamped | head -c -1 > note.txt && \
        sed -n '1s/^..\\([^,]*\\),.*/\\1/p' stamped | tr a-f A-F | basenc --base16 -d > token.der";
    let saved = Command::new("bash").args(["-ec", save]).current_dir(directory).status();
    assert!(saved.expect("bash").success());
    Some(std::fs::read_to_string(directory.join("note.txt")).expect("a note"))
}

#[test]
fn a_cosigned_checkpoint_has_a_time_stamp_that_openssl_accepts() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let witness = HttpWitness::start("witness.example/a", 1);
    let mut settings = policy(&[&witness]);
    settings["time_stamp_authority"] = authority(directory);
    let mut world = world_with_policy(&settings);
    assert_eq!(save(&world, directory), None, "the witness does not know the log yet");
    let key = log_key(&world);
    witness.learn(&key);
    let note = world.wait_for("time stamp", || save(&world, directory));
    assert!(note.contains("witness.example/a"), "{note}");
    let verify = "ts -verify -data note.txt -in token.der -token_in -CAfile tsa.pem";
    assert!(openssl(directory, verify));
    write(directory, "note.txt", note.replacen('\n', "\n1", 1).as_bytes());
    assert!(!openssl(directory, verify), "another size");

    assert!(world.metric("craton_time_stamp_requests_total{outcome=\"stamped\"}") >= 1.0);
    let status = world.admin("GET", "/v1/status", None).json();
    assert_eq!(status["time_stamp_error"], json!(null));
    // A time stamp is a part of the log, and the log with it verifies.
    assert!(world.terminate().success());
    world.verify_log(&key);
    world.spawn();
    assert!(save(&world, directory).is_some(), "it is there after a restart");
    assert!(world.terminate().success());
}

#[test]
fn an_authority_that_is_not_the_configured_one_is_said_so_and_receipts_go_on() {
    let directories = [
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    ];
    let witness = HttpWitness::start("witness.example/a", 1);
    let mut settings = policy(&[&witness]);
    settings["time_stamp_authority"] = authority(directories[0].path());
    settings["time_stamp_authority"]["certificates"] = authority(directories[1].path())["certificates"].clone();
    let mut world = world_with_policy(&settings);
    world.expect_in_log("a cosigned checkpoint has no time stamp");
    witness.learn(&log_key(&world));
    world.wait_for("cosignature", || {
        let checkpoint = world.psql("SELECT craton_cosigned_checkpoint()");
        checkpoint.contains("witness.example/a").then_some(())
    });
    assert_eq!(save(&world, directories[0].path()), None);
    assert!(world.metric("craton_time_stamp_requests_total{outcome=\"not_verified\"}") >= 1.0);
    let status = world.admin("GET", "/v1/status", None).json();
    let error = status["time_stamp_error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("certificate is not trusted"), "{error}");
    assert!(world.terminate().success());
}
