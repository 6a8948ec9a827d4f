//! The log of a live database as an auditor checks it: over HTTPS, and as an export without the server.
//!
//! Needs the server's binary beside the command under test, as the tests of the whole workspace build it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use craton_crypto::ScramVerifier;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct horse";

/// A server with the database `main` and the user `app`.
struct Server {
    folder: TempDir,
    process: Child,
    endpoints: Json,
}

fn craton() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_craton"))
}

impl Server {
    fn start() -> Self {
        let binary = craton().with_file_name("craton-server");
        assert!(
            binary.is_file(),
            "craton-server is not built; run cargo build --workspace --bins"
        );
        let folder = TempDir::new().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = parameters.self_signed(&key).expect("signable");
        fs::write(path("server.pem"), certificate.pem()).expect("writable");
        fs::write(path("server.key"), key.serialize_pem()).expect("writable");
        fs::set_permissions(path("server.key"), fs::Permissions::from_mode(0o600)).expect("the owner");
        let token = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        fs::write(path("token.pub"), token.public_key_pem()).expect("writable");
        let mut command = Command::new(binary);
        for (option, name) in [
            ("--data-dir", "data"),
            ("--tls-cert", "server.pem"),
            ("--tls-key", "server.key"),
            ("--token-key-file", "token.pub"),
        ] {
            command.arg(option).arg(path(name));
        }
        command
            .args(["--master-key", &format!("file:{}", path("master.key").display())])
            .args([
                "--origin",
                "clinic.example",
                "--cluster-id",
                "clu_test",
                "--generate-master-key",
            ])
            .args(["--listen", "127.0.0.1:0", "--https-listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stderr(fs::File::create(path("server.log")).expect("writable"));
        let process = command.spawn().expect("the server's binary");
        let endpoints = wait_for("endpoints.json", || {
            serde_json::from_slice(&fs::read(path("data/endpoints.json")).ok()?).ok()
        });
        let server = Self {
            folder,
            process,
            endpoints,
        };
        server.admin("PUT", "/v1/databases/main", "");
        let verifier = ScramVerifier::from_password(PASSWORD, b"some salt", 4096).expect("a password");
        let user = json!({ "scram_verifier": verifier.to_string(), "databases": ["main"], "read_only": false });
        server.admin("PUT", "/v1/users/app", &user.to_string());
        server
    }

    fn admin(&self, method: &str, path: &str, body: &str) {
        let socket = self.endpoints["admin_socket"].as_str().expect("a path");
        let mut stream = UnixStream::connect(socket).expect("the administrative socket");
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: craton\r\nConnection: close\r\nContent-Type: application/json");
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).expect("a connection");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("text").to_owned()
    }

    fn port(&self, edge: &str) -> String {
        let address = self.endpoints[edge].as_str().expect("an address");
        address.rsplit(':').next().expect("a port").to_owned()
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/logs/main", self.port("https"))
    }

    /// How the server is reached.
    fn access(&self) -> [String; 4] {
        [
            "--ca-file".into(),
            self.path("server.pem"),
            "--address".into(),
            "127.0.0.1".into(),
        ]
    }

    fn sql(&self, script: &str) -> String {
        let port = self.port("postgres");
        let access = self.access();
        let arguments = ["sql", "--host", "localhost", "--port", &port, "-c", script];
        let access = access.each_ref().map(String::as_str);
        run(&self.folder, &[&arguments[..], &access[..]].concat()).succeeded()
    }

    /// Adds as many records, and has a checkpoint made that covers them.
    fn grow(&self, records: u64) {
        let first: u64 = self
            .sql("SELECT count(*) FROM visit")
            .lines()
            .nth(2)
            .expect("a row")
            .trim()
            .parse()
            .expect("a number");
        let inserts = (first..first + records).map(|id| format!("BEGIN; INSERT INTO visit VALUES ({id}); COMMIT;"));
        self.sql(&inserts.collect::<String>());
        self.sql(&format!("SELECT craton_receipt('visit', {})", first + records - 1));
    }

    fn key(&self) -> String {
        let key = self
            .sql("SELECT craton_log_key()")
            .lines()
            .nth(2)
            .expect("a row")
            .trim()
            .to_owned();
        fs::write(self.path("log.key"), &key).expect("writable");
        key
    }

    /// `craton verify cluster …`.
    fn verify(&self, more: &[&str]) -> Finished {
        let (url, access) = (self.url(), self.access());
        let access = access.each_ref().map(String::as_str);
        let key = self.path("log.key");
        run(
            &self.folder,
            &[&["verify", "cluster", &url, "--key", &key, "--json"], &access[..], more].concat(),
        )
    }

    fn export(&self, folder: &str) -> Json {
        let (url, access) = (self.url(), self.access());
        let access = access.each_ref().map(String::as_str);
        let key = self.path("log.key");
        run(
            &self.folder,
            &[&["export", &url, folder, "--key", &key, "--json"], &access[..]].concat(),
        )
        .json()
    }

    fn verify_export(&self, folder: &str, more: &[&str]) -> Finished {
        let key = self.path("log.key");
        run(
            &self.folder,
            &[&["verify", "export", folder, "--key", &key, "--json"], more].concat(),
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Finished {
    status: i32,
    output: String,
    errors: String,
}

impl Finished {
    #[track_caller]
    fn succeeded(self) -> String {
        assert_eq!(self.status, 0, "{}{}", self.output, self.errors);
        self.output
    }

    #[track_caller]
    fn json(self) -> Json {
        serde_json::from_str(&self.succeeded()).expect("JSON")
    }

    /// It must have ended with this status, and says why as JSON.
    #[track_caller]
    fn refused(self, status: i32) -> Json {
        assert_eq!(self.status, status, "{}{}", self.output, self.errors);
        let json: Json = serde_json::from_str(&self.output).expect("JSON");
        assert_eq!(json["verified"], false);
        json
    }
}

/// Runs the command with nothing from outside; what it remembers is the test's own.
fn run(folder: &TempDir, arguments: &[&str]) -> Finished {
    let output = Command::new(craton())
        .args(arguments)
        .env_clear()
        .env("XDG_STATE_HOME", folder.path().join("state"))
        .env("PGPASSWORD", PASSWORD)
        .stdin(Stdio::null())
        .output()
        .expect("the command runs");
    Finished {
        status: output.status.code().expect("a status"),
        output: String::from_utf8(output.stdout).expect("text"),
        errors: String::from_utf8(output.stderr).expect("text"),
    }
}

#[expect(clippy::disallowed_methods, reason = "a deadline")]
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < deadline, "no {what} within {DEADLINE:?}");
        sleep(Duration::from_millis(10));
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path());
    let mut all: Vec<PathBuf> = entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect();
    all.sort();
    all
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("below"));
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        fs::copy(&file, target).expect("a copy");
    }
}

#[test]
fn a_live_log_is_verified_exported_and_verified_again() {
    let server = Server::start();
    server.sql("CREATE TABLE visit (id int PRIMARY KEY)");
    server.key();
    let unsigned = server.verify(&[]).refused(1);
    assert!(
        unsigned["error"]
            .as_str()
            .expect("text")
            .contains("nothing of it is signed yet"),
        "{unsigned}"
    );
    server.grow(300);

    // Over HTTPS: at first everything, then what is new, from the checkpoint that was seen.
    let first = server.verify(&["--entries"]).json();
    let size = first["checkpoint"]["size"].as_u64().expect("a number");
    assert!(size > 300, "{first}");
    assert_eq!((&first["entries_from"], &first["continues"]), (&0.into(), &json!([])));
    server.grow(300);
    let second = server.verify(&["--entries"]).json();
    assert_eq!(second["continues"], json!([size]), "{second}");
    assert_eq!(second["entries_from"], (size - 1) / 256 * 256);
    let from = server.verify(&["--from", "17", "--no-pin"]).json();
    assert_eq!((&from["continues"], &from["entries_from"]), (&json!([17]), &Json::Null));
    assert!(
        server.verify(&["--from", "9999"]).refused(1)["error"]
            .as_str()
            .expect("text")
            .contains("--from 9999")
    );

    // As an export, which goes on where it was interrupted and grows.
    let export = server.path("export");
    let folder = Path::new(&export);
    let exported = server.export(&export);
    let all = exported["files"].as_u64().expect("a number");
    assert_eq!(exported["files_fetched"], all);
    let older = server.path("older");
    copy(folder, Path::new(&older));
    server.verify_export(&export, &[]).json();
    for lost in ["checkpoint", "tile/entries/001", "tile/0/000"] {
        fs::remove_file(folder.join(lost)).expect("it was there");
    }
    assert_eq!(server.export(&export)["files_fetched"], 2);
    server.grow(200);
    // From what was seen on, and nothing is new to the second one.
    for _ in 0..2 {
        let seen = server.verify(&["--entries"]).json();
        assert!(seen["entries_from"].as_u64() > Some(255), "{seen}");
    }
    let grown = server.export(&export);
    let size = grown["size"].as_u64().expect("a number");
    let verified = server.verify_export(&export, &[]).json();
    assert_eq!(
        (&verified["checkpoint"]["size"], &verified["entries_from"]),
        (&size.into(), &0.into())
    );
    // Nothing is left of the smaller tree: the tiles and bundles, the checkpoint and the key.
    assert_eq!(
        files(folder).len() as u64,
        grown["files"].as_u64().expect("a number") + 2
    );

    // One byte of any file.
    for file in files(folder) {
        let genuine = fs::read(&file).expect("a file");
        for position in [0, genuine.len() / 3, genuine.len() - 2] {
            let mut flipped = genuine.clone();
            flipped[position] ^= 1;
            fs::write(&file, flipped).expect("writable");
            let refused = server.verify_export(&export, &["--no-pin"]).refused(1);
            let name = file.file_name().expect("a name").to_str().expect("text");
            if name != "checkpoint" {
                let place = refused["file"]
                    .as_str()
                    .unwrap_or_else(|| panic!("{name} {position}: {refused}"));
                assert_eq!(place, file.to_str().expect("text"), "{position}: {refused}");
            }
        }
        fs::write(&file, genuine).expect("writable");
    }
    let bundle = folder.join("tile/entries/000");
    let mut bytes = fs::read(&bundle).expect("a file");
    bytes[3 * 182 + 2 + 60] ^= 0x10;
    fs::write(&bundle, &bytes).expect("writable");
    let refused = server.verify_export(&export, &["--no-pin"]).refused(1);
    assert_eq!(
        (&refused["record"], &refused["field"]),
        (&3.into(), &"actor".into()),
        "{refused}"
    );
    assert_eq!(refused["byte"], 3 * 182 + 2 + 60);
    bytes[3 * 182 + 2 + 60] ^= 0x10;
    fs::write(&bundle, &bytes).expect("writable");
    fs::remove_file(folder.join("tile/1/000.p").join((size / 256).to_string())).expect("it was there");
    assert!(
        server.verify_export(&export, &["--no-pin"]).refused(1)["error"]
            .as_str()
            .expect("text")
            .contains("is missing")
    );

    // An older checkpoint of a log that goes on up to the one that was seen, as servers with witnesses show.
    let behind = server.path("behind");
    server.export(&export);
    copy(folder, Path::new(&behind));
    copy(Path::new(&older), Path::new(&behind));
    let verified = server.verify_export(&behind, &[]).json();
    assert!(verified["checkpoint"]["size"].as_u64() < Some(size), "{verified}");
    assert_eq!(
        verified["continues"].as_array().and_then(|sizes| sizes.last()),
        Some(&size.into())
    );

    // An older one is what a rollback looks like.
    let rolled_back = server.verify_export(&older, &[]).refused(3);
    assert_eq!(rolled_back["known_checkpoint"]["size"], size, "{rolled_back}");
    server.verify_export(&older, &["--no-pin"]).json();
    server.verify_export(&older, &["--pins", &server.path("other")]).json();
}
