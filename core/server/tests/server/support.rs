//! A real server process in a directory of its own, and the clients that tests talk to it with.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use craton_crypto::ScramVerifier;
use craton_proof::{LogSummary, LogVerifyOptions, SegmentSource, VerifierKey, verify_log};
use craton_server::Endpoints;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_postgres::Client;
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long anything may take on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// The cluster that the server believes to be.
pub(crate) const CLUSTER: &str = "clu_test";
/// The password of every user that tests make.
pub(crate) const PASSWORD: &str = "correct horse";
/// The host name in the certificate.
pub(crate) const HOST: &str = "localhost";

/// A server process and everything that it needs.
pub(crate) struct World {
    directory: TempDir,
    process: Option<Child>,
    arguments: Vec<String>,
    endpoints: Option<Endpoints>,
    authority: Authority,
    token_key: KeyPair,
    /// Parts of warnings and errors that the test provokes. Any other in the server's log fails the test.
    expected_in_log: Vec<&'static str>,
}

struct Authority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

impl World {
    /// A server with the database `main` and the user `app` who may use it.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let mut world = Self::prepare(arguments);
        world.spawn();
        world.put_database("main");
        world.put_user("app", PASSWORD, &["main"], false);
        world
    }

    /// Everything but the process.
    pub(crate) fn prepare(arguments: &[&str]) -> Self {
        let directory = TempDir::new().expect("a directory");
        let authority = Authority::new();
        fs::write(directory.path().join("ca.pem"), &authority.certificate_pem).expect("writable");
        let token_key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        fs::write(directory.path().join("token.pub"), token_key.public_key_pem()).expect("writable");
        let world = Self {
            directory,
            process: None,
            arguments: [&["--metrics-listen", "127.0.0.1:0"], arguments]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            endpoints: None,
            authority,
            token_key,
            expected_in_log: Vec::new(),
        };
        world.issue_certificate();
        world
    }

    /// More arguments for the next start; a repeated one counts instead of the earlier one.
    pub(crate) fn add_arguments(&mut self, arguments: &[&str]) {
        self.arguments
            .extend(arguments.iter().map(|argument| (*argument).to_owned()));
    }

    /// Leaves out every argument that a server does not need.
    pub(crate) fn drop_arguments(&mut self) {
        self.arguments.clear();
    }

    /// Says which warnings or errors the test provokes.
    pub(crate) fn expect_in_log(&mut self, part: &'static str) {
        self.expected_in_log.push(part);
    }

    /// Gives the server a new certificate, which it reads at its next start or reload. Returns the serial number.
    pub(crate) fn issue_certificate(&self) -> Vec<u8> {
        let (certificate, key, serial) = self.authority.issue();
        fs::write(self.path("server.pem"), certificate).expect("writable");
        write_private(&self.path("server.key"), &key);
        serial
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    /// The command line of the server.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_craton-server"));
        for (name, path) in [
            ("--data-dir", "data"),
            ("--tls-cert", "server.pem"),
            ("--tls-key", "server.key"),
            ("--token-key-file", "token.pub"),
        ] {
            command.arg(name).arg(self.path(path));
        }
        let master_key = format!("file:{}", self.path("master.key").display());
        command
            .args(["--master-key", &master_key])
            .args(["--origin", "clu-test.craton.localhost", "--cluster-id", CLUSTER])
            .args([
                "--listen",
                "127.0.0.1:0",
                "--https-listen",
                "127.0.0.1:0",
                "--generate-master-key",
            ])
            .args(&self.arguments)
            .env("RUST_LOG", "info,craton_server=debug,openraft=off")
            .stdin(Stdio::null());
        command
    }

    /// Starts a process that the test looks after itself.
    pub(crate) fn start_process(&self) -> Child {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("server.log"))
            .expect("writable");
        self.command().stderr(log).spawn().expect("the server's binary")
    }

    /// Whether a process was started and not ended by the test.
    pub(crate) const fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Starts the process and waits until it serves.
    pub(crate) fn spawn(&mut self) {
        let child = self.start_process();
        let process_id = child.id();
        self.process = Some(child);
        self.endpoints = Some(self.wait_for("endpoints.json of the new process", || {
            Endpoints::read(&self.data_dir())
                .ok()
                .filter(|endpoints| endpoints.process_id == process_id)
        }));
    }

    /// Polls until there is an answer.
    #[expect(clippy::disallowed_methods, reason = "a deadline")]
    pub(crate) fn wait_for<T>(&self, what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(answer) = poll() {
                return answer;
            }
            assert!(
                Instant::now() < deadline,
                "no {what} within {DEADLINE:?}; log:\n{}",
                self.log()
            );
            sleep(Duration::from_millis(5));
        }
    }

    /// Polls until `done` says so.
    #[expect(clippy::disallowed_methods, reason = "a deadline")]
    pub(crate) async fn until(&self, what: &str, mut done: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !done().await {
            // Other tasks of the test, its connections among them, get their turn.
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(
                Instant::now() < deadline,
                "no {what} within {DEADLINE:?}; log:\n{}",
                self.log()
            );
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    pub(crate) fn endpoints(&self) -> &Endpoints {
        self.endpoints.as_ref().expect("the server was started")
    }

    pub(crate) fn port(&self) -> u16 {
        self.endpoints().postgres.port()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let process = self.process.as_ref().expect("the server runs");
        let id = rustix::process::Pid::from_child(process);
        rustix::process::kill_process(id, signal).expect("a child of this process");
    }

    /// Kills the process as a power cut would, as far as the kernel goes.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("the server runs");
        process.kill().expect("a child of this process");
        process.wait().expect("a child of this process");
    }

    /// Asks the process to end, and waits until it did.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    /// Waits until the process has ended by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("the server runs");
        self.wait_for("end of the process", || {
            process.try_wait().expect("a child of this process")
        })
    }

    /// A request to the administrative API.
    pub(crate) fn admin(&self, method: &str, path: &str, body: Option<&str>) -> Reply {
        let stream = UnixStream::connect(&self.endpoints().admin_socket).expect("the administrative socket");
        request(stream, method, path, body)
    }

    /// A request to the address for the operator.
    pub(crate) fn http(&self, path: &str) -> Reply {
        let address = self.endpoints().metrics.expect("an address for metrics");
        let stream = TcpStream::connect(address).expect("the operator's interface");
        request(stream, "GET", path, None)
    }

    /// The value of a metric, written as in `/metrics`; 0 when it is not there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.http("/metrics").text;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    pub(crate) fn put_database(&self, name: &str) {
        let reply = self.admin("PUT", &format!("/v1/databases/{name}"), None);
        assert!(matches!(reply.status, 200 | 201), "{reply:?}");
    }

    pub(crate) fn put_user(&self, name: &str, password: &str, databases: &[&str], read_only: bool) {
        let body = json!({
            "scram_verifier": verifier(password),
            "databases": databases,
            "read_only": read_only,
        });
        let reply = self.admin("PUT", &format!("/v1/users/{name}"), Some(&body.to_string()));
        assert!(matches!(reply.status, 200 | 201), "{reply:?}");
    }

    /// A `psql` for `user` on `database`, without its own configuration.
    pub(crate) fn psql_command(&self, user: &str, password: &str, database: &str, sslmode: &str) -> Command {
        let mut command = Command::new("psql");
        command
            .arg("--no-psqlrc")
            .arg("--no-password")
            .args([
                "--set",
                "ON_ERROR_STOP=1",
                "--set",
                "VERBOSITY=verbose",
                "--quiet",
                "--no-align",
                "--tuples-only",
            ])
            .arg(format!(
                "host={HOST} hostaddr=127.0.0.1 port={} user={user} dbname={database} sslmode={sslmode} sslrootcert={}",
                self.port(),
                self.path("ca.pem").display()
            ))
            .env("PGPASSWORD", password)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    /// Runs one text as `app` on `main` and returns what psql printed.
    pub(crate) fn psql(&self, sql: &str) -> String {
        self.psql_as("app", "main", sql)
            .unwrap_or_else(|error| panic!("{error}\nlog:\n{}", self.log()))
    }

    /// Runs one text and returns what psql printed, or its error.
    pub(crate) fn psql_as(&self, user: &str, database: &str, sql: &str) -> Result<String, String> {
        let mut command = self.psql_command(user, PASSWORD, database, "verify-full");
        outcome(command.args(["--command", sql]).output().expect("psql is installed"))
    }

    /// Verifies a database's log as an auditor would, from its files alone.
    pub(crate) fn verify_log(&self, log_key: &str) -> LogSummary {
        let key: VerifierKey = log_key.parse().expect("a verifier key");
        let tenant = key.name().as_str().rsplit('/').next().expect("a name").to_owned();
        let mut segments = Vec::new();
        find_segments(&self.data_dir(), &tenant, &mut segments);
        segments.sort();
        let sources = segments.iter().map(|path| SegmentSource {
            name: path.file_name().expect("a file").to_string_lossy().into_owned(),
            reader: fs::File::open(path).expect("readable"),
        });
        let options = LogVerifyOptions {
            key: Some(key),
            ..LogVerifyOptions::default()
        };
        verify_log(sources, &options).unwrap_or_else(|fault| panic!("{fault}\nlog:\n{}", self.log()))
    }

    /// A database's entry in the status.
    pub(crate) fn database_status(&self, name: &str) -> Value {
        let status = self.admin("GET", "/v1/status", None).json();
        let databases = status["databases"].as_array().expect("a list");
        databases
            .iter()
            .find(|database| database["name"] == name)
            .expect("the database")
            .clone()
    }

    /// A connection as `app` to `main`.
    pub(crate) async fn client(&self) -> Client {
        self.connect("app", PASSWORD, "main").await.expect("a session")
    }

    /// A connection with the name in the certificate checked.
    pub(crate) async fn connect(
        &self,
        user: &str,
        password: &str,
        database: &str,
    ) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(HOST)
            .hostaddr([127, 0, 0, 1].into())
            .port(self.port())
            .user(user)
            .password(password)
            .dbname(database)
            .ssl_mode(tokio_postgres::config::SslMode::Require);
        let (client, connection) = config.connect(self.connector()).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// TLS as clients do it: the authority is known, the name is checked.
    pub(crate) fn connector(&self) -> MakeRustlsConnect {
        MakeRustlsConnect::new(self.tls_config())
    }

    pub(crate) fn tls_config(&self) -> rustls::ClientConfig {
        use rustls_pki_types::pem::PemObject;
        let mut roots = rustls::RootCertStore::empty();
        let authority = rustls_pki_types::CertificateDer::from_pem_slice(self.authority.certificate_pem.as_bytes());
        roots.add(authority.expect("a certificate")).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// A token signed by the key that the server trusts.
    pub(crate) fn token(&self, claims: &Value) -> String {
        sign(&self.token_key, claims)
    }

    /// A token that is valid now.
    pub(crate) fn valid_token(&self) -> String {
        self.token(&json!({"aud": CLUSTER, "sub": "craton_probe", "exp": unix_seconds() + 60}))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            return;
        }
        let log = self.log();
        for line in log
            .lines()
            .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "))
        {
            let expected = self.expected_in_log.iter().any(|part| line.contains(part));
            assert!(expected, "unexpected in the server's log: {line}");
        }
    }
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        // A name unlike the server's, or the server's certificate would seem to be its own issuer.
        parameters.distinguished_name.push(DnType::CommonName, "Test authority");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate_pem = parameters.self_signed(&key).expect("signable").pem();
        Self {
            certificate_pem,
            issuer: Issuer::new(parameters, key),
        }
    }

    fn issue(&self) -> (String, String, Vec<u8>) {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(vec![HOST.to_owned()]).expect("a name");
        let mut serial = vec![0; 8];
        getrandom::fill(&mut serial).expect("random bytes");
        serial[0] &= 0x7f;
        parameters.serial_number = Some(serial.clone().into());
        let certificate = parameters.signed_by(&key, &self.issuer).expect("signable");
        (certificate.pem(), key.serialize_pem(), serial)
    }
}

/// Collects the segment files of a tenant, wherever below `directory` its folder is.
fn find_segments(directory: &Path, tenant: &str, segments: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            find_segments(&path, tenant, segments);
        } else if path.extension().is_some_and(|extension| extension == "segment")
            && path.components().any(|part| part.as_os_str() == tenant)
        {
            segments.push(path);
        }
    }
}

/// Writes a file that only its owner can read.
pub(crate) fn write_private(path: &Path, text: &str) {
    fs::write(path, text).expect("writable");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("the owner");
}

/// What the server keeps of a password.
pub(crate) fn verifier(password: &str) -> String {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).expect("random bytes");
    ScramVerifier::from_password(password, &salt, 4096)
        .expect("a password")
        .to_string()
}

/// Signs a token.
pub(crate) fn sign(key: &KeyPair, claims: &Value) -> String {
    let encoding = jsonwebtoken::EncodingKey::from_ed_pem(key.serialize_pem().as_bytes()).expect("a private key");
    jsonwebtoken::encode(
        &jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA),
        claims,
        &encoding,
    )
    .expect("signable")
}

/// Seconds since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "tokens are checked against the machine's clock"
)]
pub(crate) fn unix_seconds() -> u64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    elapsed.expect("the clock is right").as_secs()
}

/// Standard output, or standard error when the program failed.
pub(crate) fn outcome(output: Output) -> Result<String, String> {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    if output.status.success() {
        Ok(text(output.stdout).trim_end().to_owned())
    } else {
        Err(text(output.stderr))
    }
}

/// One HTTP/1.1 request on a connection of its own.
fn request(mut stream: impl Read + Write, method: &str, path: &str, body: Option<&str>) -> Reply {
    let body = body.unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: craton\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("a connection");
    // A server that refuses a body may close before it has read all of it.
    let _ = stream.write_all(body.as_bytes());
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    let reply = String::from_utf8(reply).expect("UTF-8");
    let (head, text) = reply
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {reply:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let content_type = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-type: ")
            .map(str::to_owned)
    });
    Reply {
        status: status.unwrap_or_else(|| panic!("no status: {head:?}")),
        content_type: content_type.unwrap_or_default(),
        text: text.to_owned(),
    }
}
