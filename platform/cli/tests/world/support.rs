//! A world of processes for one test.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::TempDir;

/// How long anything may take on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// The command under test; the programs that `craton dev` runs lie beside it.
pub(crate) fn craton() -> PathBuf {
    let craton = PathBuf::from(env!("CARGO_BIN_EXE_craton"));
    for sibling in ["craton-platform", "craton-agent", "craton-server"] {
        assert!(
            craton.with_file_name(sibling).is_file(),
            "{sibling} is not built; run cargo build --workspace --bins, or the tests of the whole workspace"
        );
    }
    craton
}

/// Polls until there is a value.
pub(crate) fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_for_each(Duration::from_millis(20), what, look)
}

/// Polls until there is a value, with a pause between two looks: the control plane limits how often it answers.
pub(crate) fn wait_for_each<T>(pause: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + DEADLINE;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(now() < deadline, "timed out waiting for {what}");
        sleep(pause);
    }
}

#[expect(clippy::disallowed_methods, reason = "tests wait by the clock")]
fn now() -> Instant {
    Instant::now()
}

/// `craton dev`, running.
pub(crate) struct World {
    /// Files of the test: configuration, certificates.
    pub(crate) folder: TempDir,
    dev: Child,
    pub(crate) ready: Json,
}

impl World {
    /// A new world in a directory of its own.
    pub(crate) fn start() -> Self {
        // Short, since sockets lie below it.
        let folder = tempfile::Builder::new().prefix("ct-").tempdir().expect("a folder");
        let (dev, ready) = start_dev(folder.path(), true);
        Self { folder, dev, ready }
    }

    /// Starts `craton dev` again on the same directory.
    pub(crate) fn start_again(&mut self) {
        (self.dev, self.ready) = start_dev(self.folder.path(), false);
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        data_dir(self.folder.path())
    }

    pub(crate) fn base_url(&self) -> &str {
        self.ready["base_url"].as_str().expect("a URL")
    }

    /// The process `craton dev` itself.
    pub(crate) fn dev_process(&self) -> u32 {
        self.dev.id()
    }

    /// Starts `craton dev` again and does not wait until it is ready.
    pub(crate) fn start_in_background(&mut self) {
        self.dev = spawn_dev(self.folder.path(), None);
    }

    /// Ends it in order and returns whether it succeeded.
    pub(crate) fn stop(&mut self) -> bool {
        kill("TERM", self.dev.id());
        self.stop_was_clean()
    }

    /// Waits for its end and returns whether it succeeded.
    pub(crate) fn stop_was_clean(&mut self) -> bool {
        let status = wait_for("craton dev to end", || self.dev.try_wait().expect("a child"));
        status.success()
    }

    /// Ends only `craton dev`, without a chance to clean up.
    pub(crate) fn kill_dev(&mut self) {
        self.dev.kill().expect("a child");
        self.dev.wait().expect("a child");
    }

    /// Reads the ready file again, which is replaced with every restart of a process.
    pub(crate) fn ready_now(&self) -> Json {
        read_json(&ready_file(self.folder.path())).expect("a ready file")
    }

    /// Runs `craton` with this test's configuration and nothing from outside.
    pub(crate) fn craton(&self, arguments: &[&str]) -> Finished {
        self.craton_with(arguments, &[], "")
    }

    pub(crate) fn craton_with(&self, arguments: &[&str], variables: &[(&str, &str)], input: &str) -> Finished {
        let mut child = Command::new(craton())
            .args(arguments)
            .env_clear()
            .env("CRATON_CONFIG_DIR", self.folder.path().join("config"))
            .envs(variables.iter().copied())
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command runs");
        // It may end without reading what it is given.
        let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        Finished::new(arguments, child.wait_with_output().expect("the command ends"))
    }

    /// Runs `craton … --json`, which must succeed, and returns what it says.
    pub(crate) fn craton_json(&self, arguments: &[&str]) -> Json {
        let finished = self.craton(&[arguments, &["--json"]].concat());
        serde_json::from_str(&finished.succeeded().output).expect("JSON")
    }

    /// Nothing has been logged that somebody would have to look into.
    pub(crate) fn expect_quiet_logs(&self) {
        const LOUD: [&str; 4] = [" WARN ", " ERROR ", "\"level\":\"WARN\"", "\"level\":\"ERROR\""];
        for (file, content) in self.logs() {
            let is_loud = |line: &&str| LOUD.iter().any(|mark| line.contains(mark));
            let loud: Vec<_> = content.lines().filter(is_loud).collect();
            assert!(loud.is_empty(), "{}:\n{}", file.display(), loud.join("\n"));
        }
    }

    /// Everything that the world wrote.
    fn logs(&self) -> Vec<(PathBuf, String)> {
        let entries = |folder: &Path| {
            fs::read_dir(folder)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
        };
        let mut folders = vec![self.folder.path().to_owned(), self.data_dir().join("logs")];
        for number in 1..=3 {
            folders.extend(entries(&self.data_dir().join(format!("node-{number}/instances"))));
        }
        let files = folders.iter().flat_map(|folder| entries(folder));
        files
            .filter(|file| file.extension().is_some_and(|extension| extension == "log"))
            .map(|file| (file.clone(), fs::read_to_string(file).unwrap_or_default()))
            .collect()
    }
}

impl Drop for World {
    #[expect(clippy::print_stderr, reason = "a failed test shows what the processes wrote")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (file, content) in self.logs() {
                let lines: Vec<_> = content.lines().collect();
                let last = &lines[lines.len().saturating_sub(40)..];
                eprintln!("--- the end of {}\n{}", file.display(), last.join("\n"));
            }
        }
        if matches!(self.dev.try_wait(), Ok(None)) {
            kill("TERM", self.dev.id());
            // Errors in a destructor would hide the test's own.
            let _ = self.dev.wait();
        } else {
            // The databases of a world whose craton dev was killed.
            for number in 1..=3 {
                let node = self.data_dir().join(format!("node-{number}"));
                let agent = craton().with_file_name("craton-agent");
                let _ = Command::new(agent)
                    .arg("stop-instances")
                    .arg("--data-dir")
                    .arg(node)
                    .output();
            }
        }
    }
}

fn data_dir(folder: &Path) -> PathBuf {
    folder.join("w")
}

fn ready_file(folder: &Path) -> PathBuf {
    folder.join("ready.json")
}

fn start_dev(folder: &Path, first: bool) -> (Child, Json) {
    let mut dev = spawn_dev(folder, first.then(free_port));
    let ready = wait_for("craton dev to be ready", || {
        if let Some(status) = dev.try_wait().expect("a child") {
            let log = fs::read_to_string(folder.join("dev.log")).unwrap_or_default();
            panic!("craton dev ended: {status}\n{log}");
        }
        read_json(&ready_file(folder))
    });
    (dev, ready)
}

fn spawn_dev(folder: &Path, port: Option<u16>) -> Child {
    // One that is left of an earlier start would be taken for the new one.
    let _ = fs::remove_file(ready_file(folder));
    let log = fs::File::create(folder.join("dev.log")).expect("a log");
    let mut command = Command::new(craton());
    command
        .arg("dev")
        .arg("--data-dir")
        .arg(data_dir(folder))
        .arg("--ready-file")
        .arg(ready_file(folder))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log);
    if let Some(port) = port {
        command.arg("--port").arg(port.to_string());
    }
    command.spawn().expect("craton dev runs")
}

/// A port that is free now. Below the range of outgoing connections, so that nobody takes it by chance while its
/// process is down.
pub(crate) fn free_port() -> u16 {
    let random = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address")
        .port();
    (0..1_000)
        .map(|step| 6_000 + (random + step) % 4_000)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

pub(crate) fn read_json(path: &Path) -> Option<Json> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Sends a signal with the tool of that name.
pub(crate) fn kill(signal: &str, process: u32) {
    let status = Command::new("kill")
        .arg(format!("-{signal}"))
        .arg(process.to_string())
        .status();
    assert!(status.expect("kill runs").success(), "process {process} is there");
}

/// Whether a process runs; one that only waits to be collected does not.
pub(crate) fn is_alive(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with('Z')
    })
}

/// A command that has ended.
pub(crate) struct Finished {
    what: String,
    pub(crate) status: i32,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Finished {
    fn new(arguments: &[&str], output: Output) -> Self {
        Self {
            what: format!("craton {}", arguments.join(" ")),
            status: output.status.code().unwrap_or(-1),
            output: String::from_utf8(output.stdout).expect("text"),
            errors: String::from_utf8(output.stderr).expect("text"),
        }
    }

    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.status, 0, "{}\n{}{}", self.what, self.output, self.errors);
        self
    }

    /// It must have ended with this status, and its errors must say all of this.
    #[track_caller]
    pub(crate) fn failed(self, status: i32, words: &[&str]) {
        assert_eq!(self.status, status, "{}\n{}{}", self.what, self.output, self.errors);
        for word in words {
            assert!(
                self.errors.contains(word),
                "{}: {word:?} is not in\n{}",
                self.what,
                self.errors
            );
        }
    }
}
