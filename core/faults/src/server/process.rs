//! One server process after another on one data directory.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use craton_crypto::ScramVerifier;
use serde_json::{Value, json};
use tokio_postgres::Client;
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long anything may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);
const HOST: &str = "localhost";
const USER: &str = "app";
const PASSWORD: &str = "correct horse";
pub(super) const DATABASE: &str = "main";

/// A server's files outside its data directory, and its process.
pub(super) struct Server {
    binary: PathBuf,
    /// Certificate, keys and the server's log; survives every harm.
    directory: PathBuf,
    data_dir: PathBuf,
    certificate_pem: String,
    process: Option<Child>,
    endpoints: Value,
}

impl Server {
    pub(super) fn new(binary: &Path, directory: &Path, data_dir: PathBuf) -> anyhow::Result<Self> {
        let certificate = rcgen::generate_simple_self_signed(vec![HOST.to_owned()])?;
        fs::write(directory.join("server.pem"), certificate.cert.pem())?;
        let mut options = fs::File::options();
        options.create(true).write(true).truncate(true).mode(0o600);
        let mut key = options.open(directory.join("server.key"))?;
        key.write_all(certificate.signing_key.serialize_pem().as_bytes())?;
        Ok(Self {
            binary: binary.to_path_buf(),
            directory: directory.to_path_buf(),
            data_dir,
            certificate_pem: certificate.cert.pem(),
            process: None,
            endpoints: Value::Null,
        })
    }

    /// Starts a process and waits until it serves.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        let path = |name: &str| self.directory.join(name);
        let log = fs::File::options().create(true).append(true).open(path("server.log"))?;
        let child = Command::new(&self.binary)
            .arg("--data-dir")
            .arg(&self.data_dir)
            .arg("--tls-cert")
            .arg(path("server.pem"))
            .arg("--tls-key")
            .arg(path("server.key"))
            .arg("--master-key")
            .arg(format!("file:{}", path("master.key").display()))
            .arg("--generate-master-key")
            .args(["--origin", "faults.craton.localhost"])
            .args(["--listen", "127.0.0.1:0", "--https-listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        let process_id = child.id();
        self.process = Some(child);
        let path = self.data_dir.join("endpoints.json");
        self.endpoints = self.wait_for("endpoints of the new process", || {
            let endpoints: Value = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
            (endpoints["process_id"] == process_id).then_some(endpoints)
        })?;
        Ok(())
    }

    /// Makes the database and the user whom the load uses.
    pub(super) fn prepare(&self) -> anyhow::Result<()> {
        self.admin("PUT", &format!("/v1/databases/{DATABASE}"), "")?;
        let verifier = ScramVerifier::from_password(PASSWORD, &[5; 16], 4_096).context("a verifier")?;
        let user = json!({
            "scram_verifier": verifier.to_string(),
            "databases": [DATABASE],
            "read_only": false,
        });
        self.admin("PUT", &format!("/v1/users/{USER}"), &user.to_string())?;
        Ok(())
    }

    /// Ends the process without a warning.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Asks the process to end, which signs what is not signed yet, and waits until it did.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("no process")?;
        let id = rustix::process::Pid::from_child(process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        let mut process = self.process.take().context("no process")?;
        let status = self.wait_for("end of the process", || process.try_wait().ok().flatten())?;
        ensure!(status.success(), "the server ended with {status}:\n{}", self.log_end());
        Ok(())
    }

    /// A connection with the server's certificate checked.
    pub(super) async fn connect(&self) -> anyhow::Result<Client> {
        let address = self.endpoints["postgres"].as_str().context("an address")?;
        let address: std::net::SocketAddr = address.parse()?;
        let mut config = tokio_postgres::Config::new();
        config
            .host(HOST)
            .hostaddr(address.ip())
            .port(address.port())
            .user(USER)
            .password(PASSWORD)
            .dbname(DATABASE)
            .ssl_mode(tokio_postgres::config::SslMode::Require);
        let (client, connection) = config.connect(self.tls()?).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    fn tls(&self) -> anyhow::Result<MakeRustlsConnect> {
        use rustls_pki_types::pem::PemObject;
        let mut roots = rustls::RootCertStore::empty();
        let certificate = rustls_pki_types::CertificateDer::from_pem_slice(self.certificate_pem.as_bytes())?;
        roots.add(certificate)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(MakeRustlsConnect::new(config))
    }

    pub(super) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The last lines of the server's log, for messages.
    pub(super) fn log_end(&self) -> String {
        let log = fs::read_to_string(self.directory.join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(6).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// The verifier key of the database's log.
    pub(super) fn log_key(&self) -> anyhow::Result<String> {
        let status: Value = serde_json::from_str(&self.admin("GET", "/v1/status", "")?)?;
        let databases = status["databases"].as_array().context("databases")?;
        let database = databases.iter().find(|database| database["name"] == DATABASE);
        let key = database.and_then(|database| database["log_key"].as_str());
        Ok(key.context("a log key")?.to_owned())
    }

    /// A request to the administrative API; its body.
    fn admin(&self, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
        let socket = self.endpoints["admin_socket"].as_str().context("a socket")?;
        let mut stream = UnixStream::connect(socket)?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: craton\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        ensure!(reply.starts_with("HTTP/1.1 20"), "{method} {path}: {reply}");
        Ok(reply.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned())
    }

    #[expect(clippy::disallowed_methods, reason = "a deadline")]
    fn wait_for<T>(&mut self, what: &str, mut poll: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(answer) = poll() {
                return Ok(answer);
            }
            if let Some(process) = &mut self.process
                && let Some(status) = process.try_wait()?
            {
                bail!("the server ended with {status}:\n{}", self.log_end());
            }
            ensure!(
                Instant::now() < deadline,
                "no {what} within {DEADLINE:?}:\n{}",
                self.log_end()
            );
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A process that ended by itself needs no killing.
        let _ = self.kill();
    }
}
