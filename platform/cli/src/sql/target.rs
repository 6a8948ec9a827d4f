//! Where to connect: from options, or through the control plane.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::access::{OrganisationAccess, find_cluster};
use crate::api::{Connection, ConnectionMember};

/// Which server, database and user.
#[derive(Args)]
pub(super) struct TargetArguments {
    #[command(flatten)]
    access: OrganisationAccess,
    /// A cluster's name or id; host, port and certificate are asked from the control plane
    #[arg(long, conflicts_with_all = ["host", "address", "port", "ca_file"], required_unless_present = "host")]
    cluster: Option<String>,
    /// The server's name, which its certificate must have
    #[arg(long, requires_all = ["port", "ca_file"])]
    host: Option<String>,
    /// The server's address, when its name cannot be resolved
    #[arg(long, value_name = "IP", requires = "host")]
    address: Option<IpAddr>,
    /// The server's port
    #[arg(long, requires = "host")]
    port: Option<u16>,
    /// The CA certificate that the server's certificate must be signed by, in PEM
    #[arg(long, value_name = "FILE", requires = "host")]
    ca_file: Option<PathBuf>,
    /// The database [default: main]
    #[arg(long)]
    database: Option<String>,
    /// The database user [default: app]
    #[arg(long)]
    user: Option<String>,
}

/// Where to connect.
pub(super) struct Target {
    /// The name that the certificate of every server must have.
    pub(super) host: String,
    /// The servers, any of which will do: the address, unless the name is to be resolved, and the port.
    pub(super) servers: Vec<(Option<IpAddr>, u16)>,
    pub(super) database: String,
    pub(super) user: String,
    pub(super) ca_pem: Vec<u8>,
}

impl TargetArguments {
    pub(super) fn resolve(&self) -> anyhow::Result<Target> {
        let given_or = |given: &Option<String>, otherwise: &str| given.clone().unwrap_or_else(|| otherwise.to_owned());
        if let Some(cluster) = &self.cluster {
            let (api, org) = self.access.connect()?;
            let path = format!("{org}/clusters/{}", find_cluster(&api, &org, cluster)?.value.id);
            let connection: Connection = api.get(&format!("{path}/connection"))?.value;
            let server = |member: &ConnectionMember| {
                let text = &member.host_address;
                let address = text.parse();
                let address = address.with_context(|| format!("the control plane gave no usable address: {text:?}"))?;
                Ok((Some(address), member.port))
            };
            return Ok(Target {
                servers: connection.members.iter().map(server).collect::<anyhow::Result<_>>()?,
                host: connection.host,
                database: given_or(&self.database, &connection.database),
                user: given_or(&self.user, &connection.user),
                ca_pem: api.get_text(&format!("{path}/ca.pem"))?.into_bytes(),
            });
        }
        let (Some(host), Some(port), Some(ca_file)) = (&self.host, self.port, &self.ca_file) else {
            bail!("give --cluster, or --host with --port and --ca-file");
        };
        Ok(Target {
            host: host.clone(),
            servers: vec![(self.address, port)],
            database: given_or(&self.database, "main"),
            user: given_or(&self.user, "app"),
            ca_pem: std::fs::read(ca_file).with_context(|| format!("{} cannot be read", ca_file.display()))?,
        })
    }
}
