//! The protocol below the drivers: what a client may get wrong, and what only few clients do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{DEADLINE, World};

/// A client that sends what it is told, logged in as the probe.
struct Raw {
    stream: rustls::StreamOwned<rustls::ClientConnection, TcpStream>,
}

fn socket(world: &World) -> TcpStream {
    let socket = TcpStream::connect(world.endpoints().postgres).expect("a connection");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    socket
}

impl Raw {
    /// TLS after an `SSLRequest`.
    fn encrypted(world: &World) -> Self {
        let mut socket = socket(world);
        socket.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).expect("sent");
        let mut answer = [0];
        socket.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"S");
        Self::handshake(world, socket, &[])
    }

    fn handshake(world: &World, socket: TcpStream, alpn: &[&[u8]]) -> Self {
        let mut config = world.tls_config();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let connection = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().expect("a name"));
        Self {
            stream: rustls::StreamOwned::new(connection.expect("a configuration"), socket),
        }
    }

    /// A session as the probe.
    fn session(world: &World) -> Self {
        let mut raw = Self::encrypted(world);
        raw.log_in(world, 0);
        raw
    }

    /// Logs in and returns the secret key for cancel requests, with the process id before it.
    fn log_in(&mut self, world: &World, minor: u8) -> Vec<u8> {
        self.opening(&[&[0, 3, 0, minor], &b"user\0craton_probe\0database\0probe\0\0"[..]].concat());
        assert_eq!(self.receive(), (b'R', vec![0, 0, 0, 3]));
        self.send(b'p', &[world.valid_token().as_bytes(), b"\0"].concat());
        assert_eq!(self.receive(), (b'R', vec![0, 0, 0, 0]));
        let mut key = Vec::new();
        loop {
            match self.receive() {
                (b'S', _) => {}
                (b'K', body) => key = body,
                (b'Z', body) => {
                    assert_eq!(body, b"I");
                    return key;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    fn opening(&mut self, body: &[u8]) {
        let length = u32::try_from(body.len() + 4).expect("small");
        self.write(&[&length.to_be_bytes(), body].concat());
    }

    fn send(&mut self, tag: u8, body: &[u8]) {
        let length = u32::try_from(body.len() + 4).expect("small");
        self.write(&[&[tag], &length.to_be_bytes()[..], body].concat());
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sent");
        self.stream.flush().expect("sent");
    }

    fn receive(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header).expect("a message");
        let length = u32::from_be_bytes(header[1..].try_into().expect("four bytes")) as usize - 4;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("a whole message");
        (header[0], body)
    }

    /// The tags of the messages up to and with `ReadyForQuery`; errors as their SQLSTATE.
    fn cycle(&mut self) -> Vec<String> {
        let mut tags = Vec::new();
        loop {
            let (tag, body) = self.receive();
            tags.push(match tag {
                b'E' => sqlstate(&body),
                b'C' => String::from_utf8_lossy(&body[..body.len() - 1]).into_owned(),
                b'Z' => format!("Z{}", char::from(body[0])),
                tag => char::from(tag).to_string(),
            });
            if tag == b'Z' {
                return tags;
            }
        }
    }

    /// The SQLSTATE of an error that ends the connection.
    fn fatal(&mut self) -> String {
        loop {
            let (tag, body) = self.receive();
            if tag == b'E' {
                let mut rest = Vec::new();
                let _ = self.stream.read_to_end(&mut rest);
                assert!(rest.is_empty(), "nothing follows a fatal error");
                return sqlstate(&body);
            }
        }
    }
}

fn sqlstate(body: &[u8]) -> String {
    let field = body.split(|&byte| byte == 0).find(|field| field.first() == Some(&b'C'));
    String::from_utf8_lossy(&field.expect("an SQLSTATE")[1..]).into_owned()
}

fn probe_world() -> World {
    let world = World::start();
    world.put_database("probe");
    world
}

#[test]
fn malformed_messages_cost_an_error_and_no_more() {
    let world = probe_world();
    let mut raw = Raw::session(&world);
    raw.send(b'Q', b"no end");
    assert_eq!(raw.cycle(), ["08P01", "ZI"]);
    raw.send(b'Q', b"SELECT '\xff'\0");
    assert_eq!(raw.cycle(), ["22021", "ZI"]);
    raw.send(b'Q', b"\0");
    assert_eq!(raw.cycle(), ["I", "ZI"]);
    // In the extended protocol everything up to Sync is skipped.
    raw.send(b'P', b"\0SELECT 1\0\0\x01");
    raw.send(b'B', b"\0\0\0\0\0\0\0\0");
    raw.send(b'E', b"\0\0\0\0\0");
    raw.send(b'S', b"");
    assert_eq!(raw.cycle(), ["08P01", "ZI"]);
    raw.send(b'Q', b"SELECT 1\0");
    assert_eq!(raw.cycle(), ["T", "D", "SELECT 1", "ZI"]);
    // A message of no known type.
    raw.send(b'F', b"");
    assert_eq!(raw.cycle(), ["08P01", "ZI"]);
}

#[test]
fn every_cycle_ends_with_the_state_of_the_transaction() {
    let world = probe_world();
    let mut raw = Raw::session(&world);
    for (sql, expected) in [
        ("BEGIN", &["BEGIN", "ZT"][..]),
        ("SELECT 1", &["T", "D", "SELECT 1", "ZT"]),
        ("SELECT nothing", &["42703", "ZE"]),
        ("SELECT 1", &["25P02", "ZE"]),
        ("ROLLBACK", &["ROLLBACK", "ZI"]),
        ("BEGIN; SELECT 1", &["BEGIN", "T", "D", "SELECT 1", "ZT"]),
        ("COMMIT; SELECT 1", &["COMMIT", "T", "D", "SELECT 1", "ZI"]),
        ("SELECT 1; SELECT nothing", &["T", "D", "SELECT 1", "42703", "ZI"]),
        // A warning goes before the completion.
        ("COMMIT", &["N", "COMMIT", "ZI"]),
    ] {
        raw.send(b'Q', format!("{sql}\0").as_bytes());
        assert_eq!(raw.cycle(), expected, "{sql}");
    }
    // What goes wrong in the protocol fails the transaction just as well.
    raw.send(b'Q', b"BEGIN\0");
    assert_eq!(raw.cycle(), ["BEGIN", "ZT"]);
    raw.send(b'B', b"\0none\0\0\0\0\0\0\0");
    raw.send(b'S', b"");
    assert_eq!(raw.cycle(), ["26000", "ZE"]);
}

#[test]
fn lengths_out_of_bounds_end_the_connection() {
    let world = probe_world();
    for (header, sqlstate) in [
        (&[b'Q', 0, 0, 0, 3][..], "08P01"),
        (&[b'Q', 0xff, 0xff, 0xff, 0xff], "08P01"),
        (&[b'Q', 0x7f, 0xff, 0xff, 0xff], "54000"),
    ] {
        let mut raw = Raw::session(&world);
        raw.write(header);
        assert_eq!(raw.fatal(), sqlstate, "{header:?}");
    }
    // Before authentication messages are short.
    let mut raw = Raw::encrypted(&world);
    raw.opening(b"\0\x03\0\0user\0craton_probe\0database\0probe\0\0");
    assert_eq!(raw.receive(), (b'R', vec![0, 0, 0, 3]));
    raw.write(&[b'p', 0, 1, 0, 0]);
    assert_eq!(raw.fatal(), "08P01");
}

#[test]
fn openings_that_are_not_understood_are_refused() {
    let world = probe_world();
    for (opening, sqlstate) in [
        (&b"\0\x02\0\0user\0app\0\0"[..], "0A000"),
        (b"\0\x03\0\0\0", "28000"),
        (b"\0\x03\0\0user\0app\0replication\0true\0\0", "0A000"),
        (b"\0\x03\0\0user\0app", "08P01"),
    ] {
        let mut raw = Raw::encrypted(&world);
        raw.opening(opening);
        assert_eq!(raw.fatal(), sqlstate, "{opening:?}");
    }
}

#[test]
fn gssapi_is_declined_and_direct_tls_needs_its_protocol_name() {
    let world = probe_world();
    let mut plain = socket(&world);
    plain.write_all(&[0, 0, 0, 8, 4, 210, 22, 48]).expect("sent");
    let mut answer = [0];
    plain.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"N");
    plain.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).expect("sent");
    plain.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"S");

    let mut direct = Raw::handshake(&world, socket(&world), &[b"postgresql"]);
    direct.log_in(&world, 0);
    direct.send(b'Q', b"SELECT 1\0");
    assert_eq!(direct.cycle(), ["T", "D", "SELECT 1", "ZI"]);
    let mut nameless = Raw::handshake(&world, socket(&world), &[]);
    let mut rest = Vec::new();
    let startup = b"\0\0\0\x17\0\x03\0\0user\0craton\0\0\0\0";
    let refused = nameless.stream.write_all(startup).is_err() || nameless.stream.read_to_end(&mut rest).is_err();
    assert!(refused || rest.is_empty());
}

#[test]
fn statements_of_a_pipeline_are_one_transaction() {
    let world = probe_world();
    let mut raw = Raw::session(&world);
    raw.send(b'Q', b"CREATE TABLE t (id int PRIMARY KEY)\0");
    assert_eq!(raw.cycle(), ["CREATE TABLE", "ZI"]);
    let execute = |raw: &mut Raw, sql: &str| {
        raw.send(b'P', &[b"\0", sql.as_bytes(), b"\0\0\0"].concat());
        raw.send(b'B', b"\0\0\0\0\0\0\0\0");
        raw.send(b'E', b"\0\0\0\0\0");
    };
    execute(&mut raw, "INSERT INTO t VALUES (1)");
    execute(&mut raw, "INSERT INTO t VALUES (1)");
    execute(&mut raw, "INSERT INTO t VALUES (2)");
    raw.send(b'S', b"");
    assert_eq!(raw.cycle(), ["1", "2", "INSERT 0 1", "1", "2", "23505", "ZI"]);
    raw.send(b'Q', b"SELECT * FROM t\0");
    assert_eq!(raw.cycle(), ["T", "SELECT 0", "ZI"]);

    execute(&mut raw, "INSERT INTO t VALUES (1)");
    execute(&mut raw, "INSERT INTO t VALUES (2)");
    raw.send(b'S', b"");
    assert_eq!(raw.cycle(), ["1", "2", "INSERT 0 1", "1", "2", "INSERT 0 1", "ZI"]);
    raw.send(b'Q', b"SELECT * FROM t\0");
    assert_eq!(raw.cycle(), ["T", "D", "D", "SELECT 2", "ZI"]);

    // An Execute whose client leaves before Sync never happened.
    execute(&mut raw, "INSERT INTO t VALUES (3)");
    raw.send(b'X', b"");
    let mut other = Raw::session(&world);
    other.send(b'Q', b"SELECT * FROM t\0");
    assert_eq!(other.cycle(), ["T", "D", "D", "SELECT 2", "ZI"]);
    // One that is flushed has run, inside the pipeline's transaction.
    execute(&mut other, "INSERT INTO t VALUES (3)");
    other.send(b'H', b"");
    assert_eq!([other.receive().0, other.receive().0, other.receive().0], *b"12C");
    other.send(b'S', b"");
    assert_eq!(other.cycle(), ["ZI"]);
}

#[test]
fn names_of_statements_and_portals_are_checked() {
    let world = probe_world();
    let mut raw = Raw::session(&world);
    for (messages, expected) in [
        (&[(b'B', &b"\0none\0\0\0\0\0\0\0"[..])][..], "26000"),
        (&[(b'E', b"none\0\0\0\0\0")], "34000"),
        (&[(b'D', b"Pnone\0")], "34000"),
        (&[(b'D', b"Snone\0")], "26000"),
        (&[(b'P', b"s\0SELECT 1\0\0\0"), (b'P', b"s\0SELECT 1\0\0\0")], "42P05"),
        // A parameter of a type that does not exist here, and one that is not there.
        (&[(b'P', b"\0SELECT $1\0\0\x01\0\0\x03\xef")], "42704"),
        (
            &[(b'P', b"\0SELECT 1\0\0\0"), (b'B', b"\0\0\0\0\0\x01\0\0\0\x011\0\0")],
            "08P01",
        ),
    ] {
        for (tag, body) in messages {
            raw.send(*tag, body);
        }
        raw.send(b'S', b"");
        let cycle = raw.cycle();
        assert_eq!(cycle[cycle.len() - 2..], [expected, "ZI"], "{messages:?}");
    }
    // Closing what does not exist is no error.
    raw.send(b'C', b"Snone\0");
    raw.send(b'S', b"");
    assert_eq!(raw.cycle(), ["3", "ZI"]);
    raw.send(b'Q', b"DEALLOCATE s\0");
    assert_eq!(raw.cycle(), ["DEALLOCATE", "ZI"]);
    raw.send(b'Q', b"DEALLOCATE s\0");
    assert_eq!(raw.cycle(), ["26000", "ZI"]);
}

#[test]
fn a_cancel_request_stops_what_waits_for_the_client() {
    let world = probe_world();
    for (minor, key_bytes) in [(0, 4), (2, 32)] {
        let mut raw = Raw::encrypted(&world);
        let key = raw.log_in(&world, minor);
        assert_eq!(key.len(), 4 + key_bytes);
        raw.send(b'Q', b"CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY)\0");
        assert!(raw.cycle().ends_with(&["CREATE TABLE".into(), "ZI".into()]));
        raw.send(b'Q', b"COPY t FROM STDIN\0");
        assert_eq!(raw.receive().0, b'G');
        // With a wrong secret nothing happens; the right one, without TLS as old clients send it, stops the COPY.
        let mut wrong = key.clone();
        wrong[4] ^= 1;
        for key in [&wrong, &key] {
            let mut socket = socket(&world);
            let length = u32::try_from(8 + key.len()).expect("small");
            socket
                .write_all(&[&length.to_be_bytes()[..], &[4, 210, 22, 46], key].concat())
                .expect("sent");
            let mut rest = Vec::new();
            socket.read_to_end(&mut rest).expect("closed");
            assert!(rest.is_empty());
        }
        assert_eq!(raw.cycle(), ["57014", "ZI"]);
        // What the client still sends of its COPY is ignored.
        raw.send(b'd', b"1\n");
        raw.send(b'c', b"");
        raw.send(b'Q', b"SELECT * FROM t\0");
        assert_eq!(raw.cycle(), ["T", "SELECT 0", "ZI"]);
    }
}

#[test]
fn those_who_dally_are_sent_away() {
    let world = World::start_with(&[
        "--authentication-timeout",
        "1",
        "--idle-session-timeout",
        "1",
        "--idle-in-transaction-timeout",
        "1",
    ]);
    world.put_database("probe");
    let mut silent = socket(&world);
    silent
        .set_read_timeout(Some(DEADLINE.max(Duration::from_secs(2))))
        .expect("a timeout");
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).expect("closed");
    assert!(rest.is_empty());

    let mut idle = Raw::session(&world);
    assert_eq!(idle.fatal(), "57P05");
    let mut undecided = Raw::session(&world);
    undecided.send(b'Q', b"BEGIN\0");
    assert_eq!(undecided.cycle(), ["BEGIN", "ZT"]);
    assert_eq!(undecided.fatal(), "25P03");
}
