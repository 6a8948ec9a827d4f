//! A client that inserts rows, one after another, over one connection, and remembers what was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value as Json;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::person::text;
use crate::support::{DEADLINE, wait_for};

/// Connects as a driver does: the CA is known, the name is checked.
pub(crate) async fn connect(connection: &Json, ca_pem: &str, password: &str) -> Client {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("a certificate"))
        .expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let port = connection["port"].as_u64().expect("a port");
    let (client, io) = Config::new()
        .host(text(&connection["host"]))
        .hostaddr(text(&connection["host_address"]).parse().expect("an address"))
        .port(u16::try_from(port).expect("a port"))
        .dbname(text(&connection["database"]))
        .user(text(&connection["user"]))
        .password(password)
        .connect_timeout(DEADLINE)
        .ssl_mode(SslMode::Require)
        .connect(MakeRustlsConnect::new(tls))
        .await
        .expect("a connection");
    tokio::spawn(io);
    client
}

/// Runs something asynchronous to its end.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// The running client.
pub(crate) struct Writer {
    acknowledged: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Begins to insert 1, 2, 3, … into `written`, which must be empty.
    pub(crate) fn start(connection: &Json, ca_pem: &str, password: &str) -> Self {
        let acknowledged = Arc::new(AtomicI64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (counter, end) = (acknowledged.clone(), stop.clone());
        let (connection, ca_pem, password) = (connection.clone(), ca_pem.to_owned(), password.to_owned());
        let thread = std::thread::spawn(move || {
            block_on(async {
                let client = connect(&connection, &ca_pem, &password).await;
                let insert = client
                    .prepare("INSERT INTO written (id) VALUES ($1)")
                    .await
                    .expect("a statement");
                while !end.load(Ordering::SeqCst) {
                    let id = counter.load(Ordering::SeqCst) + 1;
                    let rows = client.execute(&insert, &[&id]).await.expect("an acknowledgement");
                    assert_eq!(rows, 1);
                    counter.store(id, Ordering::SeqCst);
                }
            });
        });
        Self {
            acknowledged,
            stop,
            thread,
        }
    }

    /// Waits until rows were written that were not before.
    pub(crate) fn expect_progress(&self) {
        let before = self.acknowledged.load(Ordering::SeqCst);
        wait_for("more rows to be written", || {
            assert!(!self.thread.is_finished(), "the writer has failed");
            (self.acknowledged.load(Ordering::SeqCst) > before + 5).then_some(())
        });
    }

    /// Ends the client and returns how many rows were acknowledged.
    pub(crate) fn finish(self) -> i64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("every row was acknowledged");
        self.acknowledged.load(Ordering::SeqCst)
    }
}
