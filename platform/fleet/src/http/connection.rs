//! `/api/v1/orgs/{org}/clusters/{cluster}/connection` and `ca.pem`: how to connect.

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use craton_platform_http::{Authenticated, PathParams, Problem, Problems};
use craton_platform_kernel::{ClusterId, OrgId, Permission};
use serde::Serialize;
use utoipa::ToSchema;

use super::clusters::{endpoints, find};
use crate::{
    authority::{certificate_pem, cluster_authority, probe_token::PROBE_DATABASE},
    connection::{Driver, Target, TargetMember},
    fleet::Fleet,
    workflow::{
        WorkflowError,
        cluster::{APP_USER, MAIN_DATABASE},
    },
};

/// The key that verifies one database's log, and where the log is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogKey {
    /// The database.
    pub(crate) database: String,
    /// A verifier key as C2SP's signed-note writes it. The first one that was ever seen; another one is refused.
    pub(crate) verifier_key: String,
    /// Where the log is served: `<url>/checkpoint`, `<url>/tile/…` (C2SP tlog-tiles), with the name and password of a
    /// database user (HTTP Basic) and the same certificate authority as connections.
    pub(crate) url: String,
}

/// Where one member of a cluster accepts clients.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConnectionMember {
    /// The member's number.
    pub(crate) member: u64,
    /// Its own host name, which its certificate is for, too.
    pub(crate) host: String,
    /// Its address.
    pub(crate) host_address: String,
    /// Its TCP port.
    pub(crate) port: u16,
    /// Its TCP port of the logs over HTTPS.
    pub(crate) https_port: u16,
}

/// How to connect to a cluster.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Connection {
    /// The host name, which the certificate of every member is for.
    pub(crate) host: String,
    /// The address of the first member, for resolvers that do not know the name.
    pub(crate) host_address: String,
    /// The TCP port of the first member.
    pub(crate) port: u16,
    /// The first member's TCP port of the logs over HTTPS.
    pub(crate) https_port: u16,
    /// Every member. Clients may use any of them: all read and write.
    pub(crate) members: Vec<ConnectionMember>,
    /// The database.
    pub(crate) database: String,
    /// The user.
    pub(crate) user: String,
    /// How much of the certificate to check: always everything.
    pub(crate) sslmode: String,
    /// A libpq connection URI without a password.
    pub(crate) uri: String,
    /// A complete command line. Save `ca.pem` under the file name in it first.
    pub(crate) psql: String,
    /// Snippets for common drivers.
    pub(crate) drivers: Vec<Driver>,
    /// The keys that verify the databases' logs.
    pub(crate) log_keys: Vec<LogKey>,
    /// The keys of the witnesses that cosign the logs, first the platform's own.
    pub(crate) witness_keys: Vec<String>,
}

/// Shows how to connect
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/clusters/{cluster}/connection", tag = "clusters", operation_id = "get_connection",
    params(
        ("org" = OrgId, Path, description = "The organisation"),
        ("cluster" = ClusterId, Path, description = "The cluster"),
    ),
    responses((status = 200, description = "How to connect", body = Connection), Problems),
)]
pub(crate) async fn get_connection(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    PathParams((org_id, cluster_id)): PathParams<(OrgId, ClusterId)>,
) -> Result<Json<Connection>, Problem> {
    authenticated.require(org_id, Permission::ReadClusters)?;
    let cluster = find(&fleet.0, org_id, cluster_id).await?;
    let members: Vec<ConnectionMember> = endpoints(&cluster)
        .map(|(member_id, endpoint)| ConnectionMember {
            member: member_id.get(),
            host: cluster.host.of_member(member_id),
            host_address: endpoint.address.to_string(),
            port: endpoint.port,
            https_port: endpoint.https_port,
        })
        .collect();
    let (_, first) = endpoints(&cluster).next().ok_or_else(|| {
        Problem::conflict(
            "endpoint_unknown",
            "No node has said yet where this cluster can be reached.",
        )
        .retryable()
    })?;
    let ca_file = format!("{}-ca.pem", cluster.name);
    let target = Target {
        host: &cluster.host,
        members: endpoints(&cluster)
            .map(|(member_id, endpoint)| TargetMember {
                name: cluster.host.of_member(member_id),
                address: endpoint.address,
                port: endpoint.port,
            })
            .collect(),
        database: MAIN_DATABASE,
        user: APP_USER,
        ca_file: &ca_file,
    };
    // The probe's database is nobody's data.
    let own = cluster
        .log_keys
        .iter()
        .filter(|(database, _)| *database != PROBE_DATABASE);
    let log_keys = own.map(|(database, key)| LogKey {
        database: database.clone(),
        verifier_key: key.clone(),
        url: format!("https://{}:{}/logs/{database}", cluster.host, first.https_port),
    });
    Ok(Json(Connection {
        host: cluster.host.to_string(),
        host_address: first.address.to_string(),
        port: first.port,
        https_port: first.https_port,
        members,
        database: MAIN_DATABASE.to_owned(),
        user: APP_USER.to_owned(),
        sslmode: "verify-full".to_owned(),
        uri: target.uri(),
        psql: target.psql(),
        drivers: target.drivers(),
        log_keys: log_keys.collect(),
        witness_keys: std::iter::once(fleet.0.witness.verifier_key())
            .chain(cluster.witnesses.iter().map(|witness| witness.verifier_key.clone()))
            .collect(),
    }))
}

/// Downloads the cluster's CA certificate
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/clusters/{cluster}/ca.pem", tag = "clusters", operation_id = "get_ca_certificate",
    params(
        ("org" = OrgId, Path, description = "The organisation"),
        ("cluster" = ClusterId, Path, description = "The cluster"),
    ),
    responses(
        (status = 200, description = "The certificate", body = String, content_type = "application/x-pem-file"),
        Problems,
    ),
)]
pub(crate) async fn get_ca_certificate(
    State(fleet): State<Fleet>,
    authenticated: Authenticated,
    PathParams((org_id, cluster_id)): PathParams<(OrgId, ClusterId)>,
) -> Result<Response, Problem> {
    authenticated.require(org_id, Permission::ReadClusters)?;
    let cluster = find(&fleet.0, org_id, cluster_id).await?;
    let pem = certificate_pem(&fleet.0.vault, &cluster_authority(cluster_id))
        .map_err(WorkflowError::from)?
        .ok_or(WorkflowError::NotFound)?;
    let headers = [
        (header::CONTENT_TYPE, "application/x-pem-file".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{}-ca.pem\"", cluster.name),
        ),
    ];
    Ok((headers, pem).into_response())
}
