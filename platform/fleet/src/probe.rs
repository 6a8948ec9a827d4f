//! Whether a cluster can be connected to, tried the way a client does it: through the public endpoint, with TLS and
//! the host name checked, a login, a write and a read.

use std::{net::IpAddr, sync::Arc, time::Duration};

use craton_agent_protocol::Endpoint;
use craton_platform_kernel::OperationId;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::CertificateDer};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    aggregate::cluster::ClusterState,
    authority::{
        certificate_pem, cluster_authority,
        probe_token::{PROBE_DATABASE, PROBE_USER},
    },
    fleet::Inner,
};

/// How long the whole probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
const TABLE: &str = "CREATE TABLE IF NOT EXISTS craton_probe (id TEXT PRIMARY KEY, nonce TEXT NOT NULL)";

/// What went wrong, by stage.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error("the cluster's certificate authority cannot be used: {0}")]
    Authority(String),
    #[error("the endpoint {address}:{port} did not let the probe in: {detail}")]
    Connect { address: IpAddr, port: u16, detail: String },
    #[error("the probe could not {action}: {detail}")]
    Statement { action: &'static str, detail: String },
    #[error("the probe wrote {wrote:?} and read {read:?}")]
    Mismatch { wrote: String, read: Option<String> },
    #[error("the probe took longer than {PROBE_TIMEOUT:?}")]
    Timeout,
}

/// Probes one endpoint of a cluster.
pub(crate) async fn probe(
    fleet: &Inner,
    cluster: &ClusterState,
    endpoint: &Endpoint,
    operation_id: OperationId,
) -> Result<(), ProbeError> {
    tokio::time::timeout(PROBE_TIMEOUT, run(fleet, cluster, endpoint, operation_id))
        .await
        .unwrap_or(Err(ProbeError::Timeout))
}

async fn run(
    fleet: &Inner,
    cluster: &ClusterState,
    endpoint: &Endpoint,
    operation_id: OperationId,
) -> Result<(), ProbeError> {
    let connect = |error: tokio_postgres::Error| ProbeError::Connect {
        address: endpoint.address,
        port: endpoint.port,
        detail: with_causes(&error),
    };
    let mut config = tokio_postgres::Config::new();
    config
        .host(cluster.host.as_str())
        .hostaddr(endpoint.address)
        .port(endpoint.port)
        .dbname(PROBE_DATABASE)
        .user(PROBE_USER)
        .password(fleet.tokens.sign(cluster.cluster_id))
        .application_name("craton probe")
        .ssl_mode(SslMode::Require);
    let tls = MakeRustlsConnect::new(tls_config(fleet, cluster)?);
    let (client, connection) = config.connect(tls).await.map_err(connect)?;
    // Ends when the client is dropped; its error shows in the statement that it fails.
    tokio::spawn(connection);
    let failed = |action| {
        move |error: tokio_postgres::Error| ProbeError::Statement {
            action,
            detail: with_causes(&error),
        }
    };
    client.batch_execute(TABLE).await.map_err(failed("create its table"))?;
    let id = operation_id.to_string();
    let nonce = hex::encode(fleet.ledger.environment().random_bytes::<16>());
    // The row may be there from an earlier try of the same operation.
    let updated = client
        .execute("UPDATE craton_probe SET nonce = $1 WHERE id = $2", &[&nonce, &id])
        .await
        .map_err(failed("write"))?;
    if updated == 0 {
        client
            .execute("INSERT INTO craton_probe (id, nonce) VALUES ($1, $2)", &[&id, &nonce])
            .await
            .map_err(failed("write"))?;
    }
    let rows = client
        .query("SELECT nonce FROM craton_probe WHERE id = $1", &[&id])
        .await
        .map_err(failed("read"))?;
    let read = rows.first().and_then(|row| row.try_get::<_, String>(0).ok());
    if read.as_deref() == Some(&nonce) {
        Ok(())
    } else {
        Err(ProbeError::Mismatch { wrote: nonce, read })
    }
}

fn tls_config(fleet: &Inner, cluster: &ClusterState) -> Result<ClientConfig, ProbeError> {
    let failed = |error: &dyn std::fmt::Display| ProbeError::Authority(error.to_string());
    let pem = certificate_pem(&fleet.vault, &cluster_authority(cluster.cluster_id))
        .map_err(|error| failed(&error))?
        .ok_or_else(|| failed(&"it is missing"))?;
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| failed(&error))?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).map_err(|error| failed(&error))?;
    Ok(
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

/// The driver's own message says little without what is below it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
