//! A database's log as auditors fetch it: checkpoint, tiles and entries, and who may see them.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use base64::Engine as _;
use craton_crypto::record_hash;
use craton_proof::{
    Checkpoint, Note, TileContent, TilePath, VerifierKey, decode_entry_bundle, decode_tile, merkle_tree_hash,
};
use craton_types::{HEADER_BYTES, Hash, Offset, RecordHeader};

use crate::support::{HOST, PASSWORD, World};

struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

fn read_answer(mut stream: impl Read + Write, path: &str, authorization: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{authorization}\r\n");
    stream.write_all(head.as_bytes()).expect("a connection");
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("an answer");
    let head = String::from_utf8(bytes[..end].to_vec()).expect("UTF-8");
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    Answer {
        status: head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status"),
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body: bytes[end + 4..].to_vec(),
    }
}

/// Asks over TLS, with the server's certificate checked.
fn get(world: &World, path: &str, authorization: &str) -> Answer {
    let name = HOST.to_owned().try_into().expect("a name");
    let session = rustls::ClientConnection::new(Arc::new(world.tls_config()), name).expect("a client");
    let socket = TcpStream::connect(world.endpoints().https).expect("the HTTP interface");
    read_answer(rustls::StreamOwned::new(session, socket), path, authorization)
}

fn basic(user: &str, password: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {encoded}\r\n")
}

fn log_key(world: &World, database: &str) -> VerifierKey {
    let status = world.database_status(database);
    status["log_key"]
        .as_str()
        .expect("a key")
        .parse()
        .expect("a verifier key")
}

/// The checkpoint of `main` as it is served.
pub(crate) fn checkpoint_note(world: &World) -> Note {
    let answer = get(world, "/logs/main/checkpoint", &basic("app", PASSWORD));
    Note::parse(&answer.body).expect("a note")
}

/// Fetches the checkpoint, once it covers at least `records`. A receipt needs one, so it is made now.
fn checkpoint(world: &World, records: u64) -> Checkpoint {
    world.psql("SELECT craton_receipt('t', 0)");
    let key = log_key(world, "main");
    world.wait_for("checkpoint", || {
        let answer = get(world, "/logs/main/checkpoint", &basic("app", PASSWORD));
        if answer.status == 404 {
            return None;
        }
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(answer.header("cache-control"), "private, no-cache");
        let checkpoint = Checkpoint::open(&answer.body, &key).expect("signed by the log");
        (checkpoint.size >= records).then_some(checkpoint)
    })
}

#[test]
fn the_tree_is_rebuilt_from_what_is_served() {
    let mut world = World::start_with(&[]);
    world.psql("CREATE TABLE t (id int PRIMARY KEY)");
    let inserts: String = (0..300)
        .map(|id| format!("BEGIN; INSERT INTO t VALUES ({id}); COMMIT;"))
        .collect();
    world.psql(&inserts);
    let checkpoint = checkpoint(&world, 301);
    let size = checkpoint.size;
    let fetch = |path: TilePath| {
        let answer = get(&world, &format!("/logs/main/{path}"), &basic("app", PASSWORD));
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        assert!(answer.header("cache-control").contains("immutable"), "{path}");
        answer.body
    };
    let tile = |content, index| TilePath::in_tree(content, index, size).expect("a tile");

    let mut leaves: Vec<Hash> = Vec::new();
    let mut entries: Vec<Hash> = Vec::new();
    let mut offset = Offset::ZERO;
    for index in 0..=size / 256 {
        let Some(path) = TilePath::in_tree(TileContent::Hashes(0), index, size) else {
            break;
        };
        leaves.extend(decode_tile(&path, &fetch(path)).expect("a tile"));
        let path = tile(TileContent::Entries, index);
        for entry in decode_entry_bundle(&path, &fetch(path)).expect("a bundle") {
            let entry: &[u8; HEADER_BYTES] = entry.as_ref().try_into().expect("a header's length");
            let header = RecordHeader::decode(entry).expect("a header");
            assert_eq!(header.offset, offset);
            offset = offset.next();
            entries.push(record_hash(entry));
        }
    }
    assert_eq!(leaves.len() as u64, size);
    assert_eq!(entries, leaves);
    assert_eq!(merkle_tree_hash(&leaves), checkpoint.root);
    let upper = tile(TileContent::Hashes(1), 0);
    assert_eq!(upper.to_string(), "tile/1/000.p/1");
    assert_eq!(fetch(upper), merkle_tree_hash(&leaves[..256]).as_bytes());

    // What no checkpoint covers, what is empty and what is misspelled is not there.
    let rest = size % 256;
    for path in [
        format!("tile/0/001.p/{}", rest + 1),
        "tile/0/001".to_owned(),
        "tile/entries/001".to_owned(),
        "tile/0/002.p/1".to_owned(),
        "tile/2/000.p/1".to_owned(),
        "tile/0/000.p/0".to_owned(),
        "tile/0/000.p/256".to_owned(),
        "tile/0/0".to_owned(),
        "tile/0/x000/000".to_owned(),
        "tile/8/000".to_owned(),
        "tile/00/000".to_owned(),
        "tile/0/x999/x999/x999/x999/x999/x999/999".to_owned(),
        "tiles".to_owned(),
    ] {
        let answer = get(&world, &format!("/logs/main/{path}"), &basic("app", PASSWORD));
        assert_eq!(answer.status, 404, "{path}");
    }
    // The partial tile of a smaller tree is still there when the tile is full.
    assert_eq!(
        get(&world, "/logs/main/tile/0/000.p/7", &basic("app", PASSWORD))
            .body
            .len(),
        7 * 32
    );
    assert!(world.terminate().success());
}

#[test]
fn only_the_databases_own_users_see_its_log_and_only_over_tls() {
    let mut world = World::start();
    world.put_database("clinic");
    world.put_user("ada", PASSWORD, &["clinic"], true);
    world.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (0)");
    checkpoint(&world, 1);
    for path in [
        "/logs/main/checkpoint",
        "/logs/main/tile/0/000.p/1",
        "/logs/main/tile/entries/000.p/1",
    ] {
        let status = |authorization: &str| get(&world, path, authorization).status;
        assert_eq!(status(&basic("app", PASSWORD)), 200, "{path}");
        assert_eq!(status(""), 401, "{path}");
        assert_eq!(status(&basic("app", "wrong")), 401, "{path}");
        assert_eq!(status(&basic("nobody", PASSWORD)), 401, "{path}");
        assert_eq!(
            status(&format!("Authorization: Bearer {}\r\n", world.valid_token())),
            401,
            "{path}"
        );
        assert_eq!(status(&basic("ada", PASSWORD)), 404, "{path}: another database's user");

        let mut plain = TcpStream::connect(world.endpoints().https).expect("the HTTP interface");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", basic("app", PASSWORD));
        plain.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        // The server may reset the connection; what counts is that it says nothing that HTTP knows.
        let _ = plain.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{path}");
    }
    let challenge = get(&world, "/logs/main/checkpoint", "");
    assert!(challenge.header("www-authenticate").starts_with("Basic "));
    for missing in [
        "/logs/nothing/checkpoint",
        "/logs/system/checkpoint",
        "/logs/clinic/tile/0/000",
    ] {
        assert_eq!(
            get(&world, missing, "").status,
            401,
            "{missing}: nobody learns what exists"
        );
        assert_eq!(get(&world, missing, &basic("app", PASSWORD)).status, 404, "{missing}");
    }
    for path in ["/health", "/ready"] {
        let answer = get(&world, path, "");
        assert_eq!(answer.status, 200, "{path} needs no password");
    }
    assert_eq!(
        get(&world, "/health", "").body,
        br#"{"status":"ok"}"#,
        "and tells nothing"
    );

    // A changed password and a removed user are noticed at once.
    world.put_user("app", "another one", &["main"], false);
    assert_eq!(
        get(&world, "/logs/main/checkpoint", &basic("app", PASSWORD)).status,
        401
    );
    assert_eq!(
        get(&world, "/logs/main/checkpoint", &basic("app", "another one")).status,
        200
    );
    world.admin("DELETE", "/v1/users/app", None);
    assert_eq!(
        get(&world, "/logs/main/checkpoint", &basic("app", "another one")).status,
        401
    );
    assert!(world.terminate().success());
}

#[test]
fn metrics_are_served_where_the_operator_says_and_nowhere_else() {
    let mut world = World::start();
    world.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (0)");
    let names_a_database = |text: &str| text.contains("craton_log_records{database=\"main\"}");
    assert!(names_a_database(&world.http("/metrics").text));
    for credentials in [String::new(), basic("app", PASSWORD)] {
        assert_eq!(get(&world, "/metrics", &credentials).status, 404);
    }
    assert_eq!(world.http("/logs/main/checkpoint").status, 404);
    assert!(world.terminate().success());

    world.drop_arguments();
    world.spawn();
    assert_eq!(world.endpoints().metrics, None);
    assert_eq!(get(&world, "/metrics", "").status, 404);
    assert!(
        names_a_database(&world.admin("GET", "/metrics", None).text),
        "the socket's mode is the credential"
    );
    assert!(world.terminate().success());
}

#[test]
fn guessing_passwords_is_slowed_down() {
    let mut world = World::start();
    world.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (0)");
    checkpoint(&world, 1);
    let status = |password: &str| get(&world, "/logs/main/checkpoint", &basic("app", password));
    for attempt in 0..10 {
        assert_eq!(status(&format!("guess {attempt}")).status, 401);
    }
    let limited = status("guess 10");
    assert_eq!(limited.status, 429);
    assert_eq!(limited.header("retry-after"), "60");
    assert_eq!(status(PASSWORD).status, 200, "who was let in before stays in");
    assert_eq!(world.metric("craton_failed_logins_total{method=\"basic\"}"), 10.0);
    assert!(world.terminate().success());
}
