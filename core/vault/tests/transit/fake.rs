//! A fake of the part of Vault's HTTP API that is used, with real TLS.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use craton_crypto::{SecretBytes, WrappingKey};
use craton_vault::{VaultMasterKey, VaultOptions};
use parking_lot::Mutex;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;

pub(crate) const TOKEN: &str = "hvs.CAESIJtoken";
const NAMESPACE: &str = "team/craton";

/// How the fake answers the next request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// As Vault does.
    Proper,
    /// This status and body.
    Fixed(u16, String),
    /// Nothing, for as long as the client waits.
    Nothing,
    /// The connection is cut.
    Cut,
}

/// A request as the fake got it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: serde_json::Value,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct State {
    answers: VecDeque<Answer>,
    received: Vec<Received>,
    /// Versions of the one transit key, oldest first.
    versions: u8,
    nonce: u8,
}

pub(crate) struct FakeVault {
    address: SocketAddr,
    folder: tempfile::TempDir,
    state: Arc<Mutex<State>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeVault {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(folder.path().join("ca.pem"), certified.cert.pem()).expect("writable");
        let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .expect("a server's certificate");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State {
            versions: 1,
            ..State::default()
        }));
        let (stop, stopped) = channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || serve(&listener, &Arc::new(config), &shared, &stopped));
        let vault = Self {
            address,
            folder,
            state,
            stop: Some(stop),
            thread: Some(thread),
        };
        vault.write_token(TOKEN, 0o600);
        vault
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    pub(crate) fn write_token(&self, token: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(self.token_file(), token).expect("writable");
        std::fs::set_permissions(self.token_file(), std::fs::Permissions::from_mode(mode)).expect("owner");
    }

    pub(crate) fn options(&self) -> VaultOptions {
        let address = format!("https://localhost:{}", self.address.port());
        VaultOptions {
            mount: "secrets/transit".to_owned(),
            namespace: Some(NAMESPACE.to_owned()),
            ca_file: Some(self.folder.path().join("ca.pem")),
            timeout: Duration::from_secs(10),
            attempts_max: 3,
            retry_delay: Duration::from_millis(1),
            ..VaultOptions::new(address, "hospital", self.token_file())
        }
    }

    pub(crate) fn key(&self) -> VaultMasterKey {
        VaultMasterKey::new(self.options()).expect("the options are right")
    }

    /// The next requests are answered so, later ones properly.
    pub(crate) fn answer_with(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.lock().answers = answers.into_iter().collect();
    }

    pub(crate) fn rotate(&self) {
        self.state.lock().versions += 1;
    }

    /// The requests since the last call.
    pub(crate) fn received(&self) -> Vec<Received> {
        std::mem::take(&mut self.state.lock().received)
    }
}

impl Drop for FakeVault {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Wakes the listener, which then sees that it is to stop.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, config: &Arc<ServerConfig>, state: &Arc<Mutex<State>>, stopped: &Receiver<()>) {
    let mut silent = Vec::new();
    for connection in listener.incoming() {
        if stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected) {
            return;
        }
        let connection = connection.expect("a connection");
        let server = ServerConnection::new(Arc::clone(config)).expect("a TLS connection");
        let mut stream = BufReader::new(StreamOwned::new(server, connection));
        // One request a connection; a client that does not trust the certificate sends none.
        let Some(received) = read_request(&mut stream) else {
            continue;
        };
        let answer = {
            let mut state = state.lock();
            state.received.push(received.clone());
            state.answers.pop_front().unwrap_or(Answer::Proper)
        };
        let (status, body) = match answer {
            Answer::Proper => state.lock().answer(&received),
            Answer::Fixed(status, body) => (status, body),
            Answer::Nothing => {
                silent.push(stream);
                continue;
            }
            Answer::Cut => continue,
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\nconnection: close\r\n");
        let stream = stream.get_mut();
        // The client may have given up.
        let _ = stream.write_all(format!("{head}content-type: application/json\r\n\r\n{body}").as_bytes());
        stream.conn.send_close_notify();
        let _ = stream.flush();
    }
}

fn read_request(stream: &mut impl BufRead) -> Option<Received> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split(' ');
    assert_eq!(words.next(), Some("POST"), "both calls are POST");
    let path = words.next()?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let length = headers.iter().find(|(name, _)| name == "content-length")?;
    let mut body = vec![0; length.1.parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).expect("a JSON body");
    Some(Received { path, headers, body })
}

impl State {
    /// What Vault answers, after checking what it checks.
    fn answer(&mut self, received: &Received) -> (u16, String) {
        use base64::Engine as _;
        use base64::prelude::BASE64_STANDARD;
        let refuse = |status, error: &str| (status, format!("{{\"errors\":[\"{error}\"]}}"));
        if received.header("x-vault-token") != Some(TOKEN) || received.header("x-vault-namespace") != Some(NAMESPACE) {
            return refuse(403, "permission denied");
        }
        let text = |name: &str| received.body[name].as_str().unwrap_or_default().to_owned();
        let bytes = |name: &str| BASE64_STANDARD.decode(text(name)).expect("base64");
        let version_key = |version: u8| WrappingKey::new(&SecretBytes::new([version; 32]));
        match received.path.as_str() {
            "/v1/secrets/transit/encrypt/hospital" => {
                let plaintext: [u8; 32] = bytes("plaintext").try_into().expect("a key");
                self.nonce += 1;
                let key = version_key(self.versions);
                let sealed = key.wrap(
                    &SecretBytes::new(plaintext),
                    &bytes("associated_data"),
                    [self.nonce; 12],
                );
                let ciphertext = format!("vault:v{}:{}", self.versions, BASE64_STANDARD.encode(sealed));
                let version = self.versions;
                (
                    200,
                    format!(
                        "{{\"request_id\":\"1\",\"data\":{{\"ciphertext\":\"{ciphertext}\",\"key_version\":{version}}}}}"
                    ),
                )
            }
            "/v1/secrets/transit/decrypt/hospital" => {
                let ciphertext = text("ciphertext");
                let (version, sealed) = ciphertext
                    .strip_prefix("vault:v")
                    .and_then(|rest| rest.split_once(':'))
                    .expect("checked");
                let version: u8 = version.parse().expect("a version");
                if version > self.versions {
                    return refuse(400, "invalid ciphertext: version is too new");
                }
                let sealed = BASE64_STANDARD.decode(sealed).expect("base64");
                match version_key(version).unwrap(&sealed, &bytes("associated_data")) {
                    Ok(key) => {
                        let plaintext = BASE64_STANDARD.encode(key.expose());
                        (200, format!("{{\"data\":{{\"plaintext\":\"{plaintext}\"}}}}"))
                    }
                    Err(_) => refuse(400, "invalid ciphertext: unable to decrypt"),
                }
            }
            path => refuse(404, &format!("no handler for route {path}")),
        }
    }
}
