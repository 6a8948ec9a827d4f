//! Clients of the database servers.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;
use tokio_postgres::{Client, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// TLS that trusts a cluster's authority.
pub(crate) fn tls(ca_pem: &str) -> MakeRustlsConnect {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("PEM"))
        .expect("a CA certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    MakeRustlsConnect::new(config)
}

/// Logs in as the application does: TLS with the cluster's CA and host name, then SCRAM.
pub(crate) async fn connect(connection: &Value, ca_pem: &str, password: &str) -> Result<Client, tokio_postgres::Error> {
    let text = |name: &str| connection[name].as_str().expect(name).to_owned();
    let port = u16::try_from(connection["port"].as_u64().expect("a port")).expect("a port");
    let (client, running) = tokio_postgres::Config::new()
        .host(text("host"))
        .hostaddr(text("host_address").parse().expect("an address"))
        .port(port)
        .dbname(text("database"))
        .user(text("user"))
        .password(password)
        .ssl_mode(SslMode::Require)
        .connect(tls(ca_pem))
        .await?;
    tokio::spawn(running);
    Ok(client)
}

/// Connects with patience: a server that was just restarted needs a moment.
pub(crate) async fn connect_soon(connection: &Value, ca_pem: &str, password: &str) -> Client {
    let mut last = String::new();
    for _ in 0..300 {
        match connect(connection, ca_pem, password).await {
            Ok(client) => return client,
            Err(error) => last = format!("{error:?}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("no connection: {last}");
}
