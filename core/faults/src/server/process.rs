//! One server process after another on one data directory.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
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
/// One look counts as so much of the deadline at most.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// How long one request to the administrative interface may take; a process may stand still.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);
const HOST: &str = "localhost";
const USER: &str = "app";
const PASSWORD: &str = "correct horse";
pub(crate) const DATABASE: &str = "main";

/// A server's files outside its data directory, and its process.
pub(crate) struct Server {
    binary: PathBuf,
    /// Certificate, keys and the server's log; survives every harm.
    directory: PathBuf,
    data_dir: PathBuf,
    certificate_pem: String,
    /// The programs that start the server in its surroundings; none by default.
    launcher: Vec<String>,
    /// What comes after the usual arguments; a repeated one counts instead of the earlier one.
    arguments: Vec<String>,
    process: Option<Child>,
    endpoints: Value,
}

impl Server {
    pub(crate) fn new(binary: &Path, directory: &Path, data_dir: PathBuf) -> anyhow::Result<Self> {
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
            launcher: Vec::new(),
            arguments: Vec::new(),
            process: None,
            endpoints: Value::Null,
        })
    }

    /// More arguments for the next start.
    pub(crate) fn add_arguments(&mut self, arguments: impl IntoIterator<Item = String>) {
        self.arguments.extend(arguments);
    }

    /// Programs that each start what follows in the same process, as `nsenter` and `env` do.
    pub(crate) fn set_launcher(&mut self, launcher: Vec<String>) {
        self.launcher = launcher;
    }

    /// Starts a process and waits until it serves.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        self.wait_until_it_listens()
    }

    /// Starts a process.
    pub(crate) fn spawn(&mut self) -> anyhow::Result<()> {
        let path = |name: &str| self.directory.join(name);
        let log = fs::File::options().create(true).append(true).open(path("server.log"))?;
        let binary = self.binary.display().to_string();
        let (program, before) = match self.launcher.split_first() {
            Some((program, launcher)) => (program.clone(), [launcher, &[binary]].concat()),
            None => (binary, Vec::new()),
        };
        let child = Command::new(program)
            .args(before)
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
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        self.process = Some(child);
        Ok(())
    }

    /// Waits until the process that was started serves.
    pub(crate) fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let process_id = self.process.as_ref().context("no process")?.id();
        let path = self.data_dir.join("endpoints.json");
        self.endpoints = self.wait_for("endpoints of the new process", || {
            let endpoints: Value = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
            (endpoints["process_id"] == process_id).then_some(endpoints)
        })?;
        Ok(())
    }

    /// Makes the database and the user whom the load uses.
    pub(crate) fn prepare(&self) -> anyhow::Result<()> {
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
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("no process")?;
        Ok(rustix::process::kill_process(
            rustix::process::Pid::from_child(process),
            signal,
        )?)
    }

    /// The process, if one was started.
    pub(crate) fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Asks the process to end, which signs what is not signed yet, and waits until it did.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        self.signal(rustix::process::Signal::TERM)?;
        self.wait_for_end()
    }

    /// Waits until a process that was asked to end did so in order.
    pub(crate) fn wait_for_end(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("no process")?;
        let status = self.wait_for("end of the process", || process.try_wait().ok().flatten())?;
        ensure!(status.success(), "the server ended with {status}:\n{}", self.log_end());
        Ok(())
    }

    /// A connection with the server's certificate checked.
    pub(crate) async fn connect(&self) -> anyhow::Result<Client> {
        let address = self.endpoints["postgres"].as_str().context("an address")?;
        Ok(self.door(address.parse()?)?.open().await?)
    }

    /// How clients connect to the server at an address of it.
    pub(crate) fn door(&self, address: SocketAddr) -> anyhow::Result<Door> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(HOST)
            .hostaddr(address.ip())
            .port(address.port())
            .user(USER)
            .password(PASSWORD)
            .dbname(DATABASE)
            .ssl_mode(tokio_postgres::config::SslMode::Require);
        let tls = self.tls()?;
        Ok(Door { config, tls })
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

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What the server has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("server.log")).unwrap_or_default()
    }

    /// The last lines of the server's log, for messages.
    pub(crate) fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().rev().take(6).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// The verifier key of the database's log.
    pub(crate) fn log_key(&self) -> anyhow::Result<String> {
        let status = self.status()?;
        let databases = status["databases"].as_array().context("databases")?;
        let database = databases.iter().find(|database| database["name"] == DATABASE);
        let key = database.and_then(|database| database["log_key"].as_str());
        Ok(key.context("a log key")?.to_owned())
    }

    /// What the server says of itself.
    pub(crate) fn status(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.admin("GET", "/v1/status", "")?)?)
    }

    /// A request to the administrative API; its body.
    pub(crate) fn admin(&self, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
        let socket = self.endpoints["admin_socket"].as_str().context("a socket")?;
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ADMIN_TIMEOUT))?;
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
    pub(crate) fn wait_for<T>(&mut self, what: &str, mut poll: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        let mut waited = Duration::ZERO;
        while waited < DEADLINE {
            let looked = Instant::now();
            if let Some(answer) = poll() {
                return Ok(answer);
            }
            if let Some(process) = &mut self.process
                && let Some(status) = process.try_wait()?
            {
                bail!("the server ended with {status}:\n{}", self.log_end());
            }
            std::thread::sleep(POLL);
            // A machine that stood still as a whole shows nothing about the server.
            waited += looked.elapsed().min(LOOK_MAX);
        }
        bail!("no {what} within {DEADLINE:?}:\n{}", self.log_end());
    }
}

/// How to connect to one server as the user of the load, with its certificate checked.
#[derive(Clone)]
pub(crate) struct Door {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
}

impl Door {
    /// Connects, on the runtime that the caller runs on.
    pub(crate) async fn open(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A process that ended by itself needs no killing.
        let _ = self.kill();
    }
}
