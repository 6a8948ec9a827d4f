//! The program itself: starts, is killed, comes back, ends when asked, and keeps its secrets out of its log.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, Caller, send};

/// How long the program may take to serve.
const START_MAX: Duration = Duration::from_secs(60);

/// Never outlives its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Process {
    child: Killed,
    address: SocketAddr,
    log: std::thread::JoinHandle<Vec<String>>,
}

impl Process {
    fn start(data_dir: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_craton-platform"));
        command
            .arg("--data-dir")
            .arg(data_dir)
            .stderr(Stdio::piped())
            .stdin(Stdio::null());
        for listener in ["--listen", "--agent-listen", "--metrics-listen"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        let mut child = Killed(command.spawn().expect("the program starts"));
        let stderr = BufReader::new(child.0.stderr.take().expect("a pipe"));
        let (sender, receiver) = mpsc::channel();
        let log = std::thread::spawn(move || {
            let lines = stderr.lines().map_while(Result::ok);
            lines
                .inspect(|line| {
                    let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
                    if let Some(address) = event["fields"]["address"].as_str() {
                        let _ = sender.send(address.parse().expect("an address"));
                    }
                })
                .collect()
        });
        let address = receiver.recv_timeout(START_MAX);
        let address = address.unwrap_or_else(|_| panic!("it does not serve; it ended with {:?}", child.0.try_wait()));
        Self { child, address, log }
    }

    async fn call(&self, caller: &Caller, method: &str, path: &str) -> Answer {
        let mut headers = vec![("content-type", "application/json".to_owned())];
        if let Caller::Token(token) = caller {
            headers.push(("authorization", format!("Bearer {token}")));
        }
        send(self.address, method, path, &headers, b"{}".to_vec()).await
    }

    /// Ends the program in one way or the other, and gives what it logged.
    fn end(mut self, signal: &str) -> (Option<i32>, Vec<String>) {
        let pid = self.child.0.id().to_string();
        let killed = Command::new("kill").args([signal, &pid]).status();
        assert!(killed.is_ok_and(|status| status.success()));
        let status = self.child.0.wait().expect("it ends");
        (status.code(), self.log.join().expect("a log"))
    }
}

#[tokio::test]
async fn it_survives_a_kill_and_ends_when_asked() {
    let directory = tempfile::tempdir().expect("a folder");
    let data_dir = directory.path().join("data");
    let process = Process::start(&data_dir);
    let key = std::fs::read_to_string(data_dir.join("operator.key"))
        .expect("a key")
        .trim()
        .to_owned();
    let operator = Caller::Token(key.clone());
    let log_key = process
        .call(&Caller::Anonymous, "GET", "/api/v1/log-key")
        .await
        .expect(200);
    let join = process
        .call(&operator, "POST", "/api/v1/fleet/join-tokens")
        .await
        .expect(201);
    let (code, first_log) = process.end("-KILL");
    assert_eq!(code, None, "killed");

    let process = Process::start(&data_dir);
    assert_eq!(
        process
            .call(&Caller::Anonymous, "GET", "/api/v1/log-key")
            .await
            .expect(200),
        log_key
    );
    process.call(&operator, "GET", "/api/v1/fleet/nodes").await.expect(200);
    process.call(&Caller::Anonymous, "GET", "/ready").await.expect(200);
    let (code, second_log) = process.end("-TERM");
    assert_eq!(code, Some(0), "{second_log:#?}");

    let secrets = [key.as_str(), join["token"].as_str().expect("a token")];
    for line in first_log.iter().chain(&second_log) {
        assert!(!secrets.iter().any(|secret| line.contains(secret)), "{line}");
        let event: Value = serde_json::from_str(line).expect("JSON");
        assert!(
            event["level"] != json!("ERROR") && event["level"] != json!("WARN"),
            "{line}"
        );
    }
    assert!(second_log.iter().any(|line| line.contains("the platform has stopped")));
}

#[test]
fn two_programs_do_not_share_a_directory() {
    let directory = tempfile::tempdir().expect("a folder");
    let process = Process::start(directory.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_craton-platform"));
    command.arg("--data-dir").arg(directory.path());
    for listener in ["--listen", "--agent-listen", "--metrics-listen"] {
        command.args([listener, "127.0.0.1:0"]);
    }
    let second = command.output().expect("it runs");
    assert!(!second.status.success());
    let text = String::from_utf8_lossy(&second.stderr);
    assert!(text.contains("in use by another process"), "{text}");
    process.end("-TERM");
}

#[test]
fn wrong_settings_are_refused_with_a_reason() {
    for (arguments, reason) in [
        (vec!["--public-url", "http://cloud.example"], "is no public URL"),
        (vec!["--tls-cert", "a.pem"], "--tls-key"),
        (vec!["--listen", "here"], "invalid socket address"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_craton-platform"));
        let output = command
            .args(["--data-dir", "/nonexistent/craton"])
            .args(&arguments)
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && text.contains(reason),
            "{arguments:?}: {text}"
        );
    }
}
