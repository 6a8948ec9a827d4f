//! A node and its time stamp authority, which is OpenSSL's behind HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use craton_timestamp::{Authorities, verify};
use craton_witness::{
    Cosigning, HttpTransport, Policy, Reply, ServiceUrl, StampOutcome, TimeStampAuthority, Transport, TransportError,
};

use crate::support::{Witnesses, log_key, open, until, until_cosigned, write};

/// How the authority answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    /// With the first answer that it ever gave.
    Replaying,
    Refusing,
    Failing,
    Talking,
    Endless,
    Silent,
}

/// A time stamp authority on a port of its own. It ends with the test.
struct Tsa {
    directory: tempfile::TempDir,
    manner: Mutex<Manner>,
    first: Mutex<Option<Vec<u8>>>,
}

impl Tsa {
    fn start() -> (Arc<Self>, SocketAddr) {
        let tsa = Arc::new(Self {
            directory: tempfile::tempdir().expect("a directory"),
            manner: Mutex::new(Manner::Honest),
            first: Mutex::default(),
        });
        let config = "[req]\ndistinguished_name=name\nprompt=no\nx509_extensions=tsa\n[name]\nCN=Test authority\n\
            [tsa]\nextendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\n\
            basicConstraints=CA:FALSE\nsubjectKeyIdentifier=hash\n\
            [ts]\ndefault_tsa=ts_config\n[ts_config]\nserial=serial\ncrypto_device=builtin\nsigner_cert=tsa.pem\n\
            signer_key=tsa.key\nsigner_digest=sha256\ndefault_policy=1.2.3.4.1\ndigests=sha256\n\
            ess_cert_id_alg=sha256\n";
        tsa.write("openssl.cnf", config.as_bytes());
        tsa.write("serial", b"01\n");
        tsa.openssl("req -x509 -newkey rsa:2048 -nodes -keyout tsa.key -out tsa.pem -days 2 -config openssl.cnf");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let serving = tsa.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream.expect("a connection")));
            }
        });
        (tsa, address)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.path().join(name), content).expect("writable");
    }

    fn openssl(&self, arguments: &str) -> bool {
        let mut openssl = Command::new("openssl");
        let output = openssl.args(arguments.split(' ')).current_dir(self.path()).output();
        output.expect("openssl is installed").status.success()
    }

    fn authority(&self, address: SocketAddr) -> TimeStampAuthority {
        let pem = std::fs::read_to_string(self.path().join("tsa.pem")).expect("a certificate");
        TimeStampAuthority {
            url: ServiceUrl::parse_any_http(&format!("http://{address}/stamp")).expect("a URL"),
            certificates: Authorities::from_pem(&pem).expect("usable"),
        }
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("post /stamp http/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/timestamp-query\r\n"), "{head}");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut query = vec![0; length.expect("a length")];
        reader.read_exact(&mut query).expect("a body");
        let manner = *self.manner.lock().expect("no panic");
        let (status, answer) = match manner {
            Manner::Honest => (200, self.reply(&query)),
            Manner::Replaying => (200, self.first.lock().expect("no panic").clone().expect("an answer")),
            // `PKIStatusInfo` of a rejection.
            Manner::Refusing => (200, vec![0x30, 0x05, 0x30, 0x03, 0x02, 0x01, 0x02]),
            Manner::Failing => (503, b"later".to_vec()),
            Manner::Talking => (200, b"<html>sorry</html>".to_vec()),
            Manner::Endless => (200, vec![0x30; 1024 * 1024]),
            Manner::Silent => {
                let _ = reader.read(&mut [0]);
                return;
            }
        };
        let head = format!(
            "HTTP/1.1 {status} x\r\nContent-Type: application/timestamp-reply\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n",
            answer.len()
        );
        // Who reads too much hangs up.
        let _ = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(&answer));
    }

    fn reply(&self, query: &[u8]) -> Vec<u8> {
        // Requests come one after the other, and each has the directory for itself.
        let mut first = self.first.lock().expect("no panic");
        self.write("query.tsq", query);
        assert!(self.openssl("ts -reply -queryfile query.tsq -out reply.tsr -config openssl.cnf -section ts_config"));
        let reply = std::fs::read(self.path().join("reply.tsr")).expect("a reply");
        first.get_or_insert_with(|| reply.clone());
        reply
    }
}

/// Witnesses in memory, everyone else over HTTP.
struct Both {
    witnesses: Witnesses,
    http: HttpTransport,
}

impl Transport for Both {
    fn post(&self, service: &ServiceUrl, path: &str, content_type: &str, body: &[u8]) -> Result<Reply, TransportError> {
        if self.witnesses.0.contains_key(service.as_str()) {
            return self.witnesses.post(service, path, content_type, body);
        }
        self.http.post(service, path, content_type, body)
    }
}

fn both(answer_timeout: Duration) -> Arc<Both> {
    Arc::new(Both {
        witnesses: Witnesses::of(1),
        http: HttpTransport::with_answer_timeout("test", answer_timeout),
    })
}

/// How long an answer may take on a busy machine.
const PATIENT: Duration = Duration::from_secs(60);

#[test]
fn every_cosigned_checkpoint_is_stamped_and_openssl_accepts_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (tsa, address) = Tsa::start();
    let (engine, tenant) = open(directory.path());
    let transport = both(PATIENT);
    transport.witnesses.learn(&log_key(&tenant));
    let policy = transport.witnesses.policy().with_time_stamps(tsa.authority(address));
    let cosigning = Cosigning::start(engine, transport, policy).expect("threads");
    for event in ["one", "two"] {
        write(&tenant, event);
        until_cosigned(&tenant, &cosigning);
        let checkpoint = tenant.newest_cosigned_checkpoint().expect("readable").expect("one");
        let token = checkpoint.time_stamp.expect("a time stamp");
        tsa.write("note", checkpoint.note.as_bytes());
        tsa.write("token", &token);
        assert!(tsa.openssl("ts -verify -data note -in token -token_in -CAfile tsa.pem"));
        tsa.write(
            "note",
            checkpoint
                .note
                .replace("log.", "lag.")
                .replacen('\n', "\n0", 1)
                .as_bytes(),
        );
        assert!(!tsa.openssl("ts -verify -data note -in token -token_in -CAfile tsa.pem"));
        let stamp = verify(&token, checkpoint.note.as_bytes(), &tsa.authority(address).certificates);
        assert!(stamp.expect("it verifies").unix_seconds > 1_700_000_000);
    }
    assert_eq!(cosigning.status().time_stamps[&StampOutcome::Stamped], 2);
}

#[test]
fn without_a_time_stamp_that_verifies_the_cosignatures_are_recorded_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let (tsa, address) = Tsa::start();
    let (other, _) = Tsa::start();
    let (engine, tenant) = open(directory.path());
    let key = log_key(&tenant);
    let own = tsa.authority(address);
    let untrusted = TimeStampAuthority {
        certificates: other.authority(address).certificates,
        ..own.clone()
    };
    let gone = TimeStampAuthority {
        url: ServiceUrl::parse_any_http("http://127.0.0.1:1/stamp").expect("a URL"),
        ..own.clone()
    };
    let run = |manner: Manner, authority: &TimeStampAuthority, timeout| {
        *tsa.manner.lock().expect("no panic") = manner;
        let transport = both(timeout);
        transport.witnesses.learn(&key);
        let policy: Policy = transport.witnesses.policy().with_time_stamps(authority.clone());
        let cosigning = Cosigning::start(engine.clone(), transport, policy).expect("threads");
        write(&tenant, "an event");
        until_cosigned(&tenant, &cosigning);
        cosigning.stop();
        let status = cosigning.status();
        let outcomes: Vec<_> = status.time_stamps.keys().copied().collect();
        let is_stamped = tenant
            .newest_cosigned_checkpoint()
            .expect("readable")
            .is_some_and(|checkpoint| checkpoint.time_stamp.is_some());
        (outcomes, is_stamped, status.time_stamp_error.unwrap_or_default())
    };
    let brief = Duration::from_millis(200);
    assert_eq!(
        run(Manner::Honest, &own, PATIENT),
        (vec![StampOutcome::Stamped], true, String::new())
    );
    for (manner, authority, timeout, outcome, words) in [
        (
            Manner::Replaying,
            &own,
            PATIENT,
            StampOutcome::NotVerified,
            "over other data",
        ),
        (
            Manner::Honest,
            &untrusted,
            PATIENT,
            StampOutcome::NotVerified,
            "certificate is not trusted",
        ),
        (
            Manner::Talking,
            &own,
            PATIENT,
            StampOutcome::NotVerified,
            "this is no time stamp",
        ),
        (
            Manner::Refusing,
            &own,
            PATIENT,
            StampOutcome::Refused,
            "refused with status 2",
        ),
        (Manner::Failing, &own, PATIENT, StampOutcome::Refused, "HTTP status 503"),
        (Manner::Endless, &own, PATIENT, StampOutcome::Unreachable, "limit"),
        (Manner::Silent, &own, brief, StampOutcome::Unreachable, "timeout"),
        (
            Manner::Honest,
            &gone,
            PATIENT,
            StampOutcome::Unreachable,
            "did not answer",
        ),
    ] {
        let (outcomes, is_stamped, error) = run(manner, authority, timeout);
        assert_eq!((outcomes, is_stamped), (vec![outcome], false), "{manner:?}: {error}");
        assert!(error.contains(words), "{manner:?}: {error}");
    }
}

#[test]
fn an_authority_that_fails_is_left_alone_for_a_while_and_asked_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let (tsa, address) = Tsa::start();
    let (engine, tenant) = open(directory.path());
    let transport = both(PATIENT);
    transport.witnesses.learn(&log_key(&tenant));
    *tsa.manner.lock().expect("no panic") = Manner::Failing;
    let policy = transport.witnesses.policy().with_time_stamps(tsa.authority(address));
    let cosigning = Cosigning::start(engine, transport, policy).expect("threads");
    write(&tenant, "one");
    until_cosigned(&tenant, &cosigning);
    assert!(cosigning.status().time_stamp_error.is_some());
    *tsa.manner.lock().expect("no panic") = Manner::Honest;
    until(
        "time stamp",
        || format!("{:?}", cosigning.status()),
        || {
            write(&tenant, "more");
            until_cosigned(&tenant, &cosigning);
            cosigning.status().time_stamps.contains_key(&StampOutcome::Stamped)
        },
    );
    assert_eq!(cosigning.status().time_stamp_error, None);
}
