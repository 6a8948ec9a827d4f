//! A connection whose other end is who it says it is.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio_postgres::config::{ChannelBinding, SslMode};
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::target::Target;
use crate::output::causes;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The CA certificate cannot be used.
    #[error("the CA certificate cannot be used: {0}")]
    Authority(String),
    /// TLS, the login, or the way there failed.
    #[error("no connection: {}", causes(.0))]
    Postgres(tokio_postgres::Error),
}

/// Connects with TLS, checks name and certificate, and logs in with the channel bound to that certificate.
pub(super) async fn connect(target: &Target, password: &str) -> Result<Client, ConnectError> {
    let mut config = Config::new();
    config
        .dbname(&target.database)
        .user(&target.user)
        .password(password)
        .application_name("craton sql")
        .connect_timeout(CONNECT_TIMEOUT)
        .ssl_mode(SslMode::Require)
        .channel_binding(ChannelBinding::Require);
    for (address, port) in &target.servers {
        config.host(&target.host).port(*port);
        if let Some(address) = address {
            config.hostaddr(*address);
        }
    }
    let tls = MakeRustlsConnect::new(tls_config(&target.ca_pem)?);
    let (client, connection) = config.connect(tls).await.map_err(ConnectError::Postgres)?;
    // Its end is seen by the statement that waits for an answer.
    tokio::spawn(connection);
    Ok(client)
}

fn tls_config(ca_pem: &[u8]) -> Result<rustls::ClientConfig, ConnectError> {
    let authority = |error: &dyn std::fmt::Display| ConnectError::Authority(error.to_string());
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        roots
            .add(certificate.map_err(|error| authority(&error))?)
            .map_err(|error| authority(&error))?;
    }
    if roots.is_empty() {
        return Err(authority(&"there is no certificate in it"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| authority(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
