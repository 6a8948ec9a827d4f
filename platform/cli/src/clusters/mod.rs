//! `craton clusters`.

mod wait;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};
use std::fmt::Write as _;

use crate::access::{OrganisationAccess, find_cluster};
use crate::api::{
    Api, Cluster, ClusterCreated, ClusterNode, ClusterState, Connection, Operation, PasswordRotated, Reply,
};
use crate::output;

pub(crate) use wait::NotAchieved;

/// Clusters
#[derive(Args)]
pub(crate) struct ClustersArguments {
    #[command(subcommand)]
    command: ClustersCommand,
}

/// Which organisation, and how to print.
#[derive(Args)]
struct ClusterAccess {
    #[command(flatten)]
    organisation: OrganisationAccess,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ClusterAccess {
    fn connect(&self) -> anyhow::Result<(Api, String)> {
        self.organisation.connect()
    }
}

/// How long to wait for something.
#[derive(Args)]
struct Patience {
    /// Seconds to wait at most
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

impl Patience {
    fn duration(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// Whether to wait for the end of an operation.
#[derive(Args)]
struct Following {
    /// Return when it is done
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    patience: Patience,
}

#[derive(Subcommand)]
enum ClustersCommand {
    /// List the organisation's clusters
    List {
        #[command(flatten)]
        access: ClusterAccess,
    },
    /// Create a cluster and show its password, once
    Create {
        #[command(flatten)]
        access: ClusterAccess,
        /// The name: 1 to 40 of a-z, 0-9 and -
        name: String,
        /// Where [default: the control plane's own choice]
        #[arg(long)]
        region: Option<String>,
        /// How many nodes: 1, 3 or 5
        #[arg(long, default_value_t = 1)]
        node_count: u32,
        /// Return when the cluster is connectable
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        patience: Patience,
    },
    /// Show a cluster
    Show {
        #[command(flatten)]
        access: ClusterAccess,
        /// Its name or id
        cluster: String,
    },
    /// Wait until a cluster is connectable
    Wait {
        #[command(flatten)]
        access: ClusterAccess,
        /// Its name or id
        cluster: String,
        #[command(flatten)]
        patience: Patience,
    },
    /// Show how to connect, and save the CA certificate that the connection is checked against
    Connection {
        #[command(flatten)]
        access: ClusterAccess,
        /// Its name or id
        cluster: String,
        /// Save the CA certificate in this file
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
    },
    /// Give a database user a new password and show it, once
    RotatePassword {
        #[command(flatten)]
        access: ClusterAccess,
        /// Its name or id
        cluster: String,
        /// The database user
        #[arg(default_value = "app")]
        user: String,
    },
    /// Change how many nodes a cluster has
    Scale {
        #[command(flatten)]
        access: ClusterAccess,
        /// Its name or id
        cluster: String,
        /// How many nodes: 1, 3 or 5
        node_count: u32,
        #[command(flatten)]
        following: Following,
    },
    /// Move a cluster to another installed version of the server, one node after the other
    Upgrade {
        #[command(flatten)]
        access: ClusterAccess,
        /// Its name or id
        cluster: String,
        /// The version, which must be installed on every node of the cluster
        version: String,
        #[command(flatten)]
        following: Following,
    },
    /// Make an upgrade final: the nodes write the newest format version that all of them know, and there is no way back to a
    /// version of the server that does not know it
    Finalize {
        #[command(flatten)]
        access: ClusterAccess,
        /// Its name or id
        cluster: String,
        #[command(flatten)]
        following: Following,
    },
    /// Replace a node of a cluster by another one, such as one that does not come back
    ReplaceNode {
        #[command(flatten)]
        access: ClusterAccess,
        /// Its name or id
        cluster: String,
        /// The node's number in the cluster
        member: u64,
        #[command(flatten)]
        following: Following,
    },
    /// Delete a cluster with everything in it
    Delete {
        #[command(flatten)]
        access: ClusterAccess,
        /// Its name or id
        cluster: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Return when it is gone
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        patience: Patience,
    },
}

pub(crate) fn run(arguments: &ClustersArguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        ClustersCommand::List { access } => list(access),
        ClustersCommand::Create {
            access,
            name,
            region,
            node_count,
            wait,
            patience,
        } => {
            let mut body = json!({ "name": name, "node_count": node_count });
            if let Some(region) = region {
                body["region"] = region.as_str().into();
            }
            create(access, &body, wait.then(|| patience.duration()))
        }
        ClustersCommand::Show { access, cluster } => {
            let (api, org) = access.connect()?;
            let cluster = find_cluster(&api, &org, cluster)?;
            print(access, &cluster.json, || output::facts(&cluster_facts(&cluster.value)))?;
            Ok(ExitCode::SUCCESS)
        }
        ClustersCommand::Wait {
            access,
            cluster,
            patience,
        } => {
            let (api, org) = access.connect()?;
            let id = find_cluster(&api, &org, cluster)?.value.id;
            let cluster = wait::until_ready(&api, &org, &id, patience.duration())?;
            print(access, &cluster.json, || output::facts(&cluster_facts(&cluster.value)))?;
            Ok(status_of(&cluster.value))
        }
        ClustersCommand::Connection {
            access,
            cluster,
            ca_file,
        } => connection(access, cluster, ca_file.as_ref()),
        ClustersCommand::RotatePassword { access, cluster, user } => rotate_password(access, cluster, user),
        ClustersCommand::Scale {
            access,
            cluster,
            node_count,
            following,
        } => change(
            access,
            cluster,
            "scale",
            &json!({ "node_count": node_count }),
            following,
        ),
        ClustersCommand::Upgrade {
            access,
            cluster,
            version,
            following,
        } => change(access, cluster, "upgrade", &json!({ "version": version }), following),
        ClustersCommand::Finalize {
            access,
            cluster,
            following,
        } => finalize(access, cluster, following),
        ClustersCommand::ReplaceNode {
            access,
            cluster,
            member,
            following,
        } => change(
            access,
            cluster,
            &format!("nodes/{member}/replace"),
            &json!({}),
            following,
        ),
        ClustersCommand::Delete {
            access,
            cluster,
            yes,
            wait,
            patience,
        } => delete(access, cluster, *yes, wait.then(|| patience.duration())),
    }
}

fn list(access: &ClusterAccess) -> anyhow::Result<ExitCode> {
    let (api, org) = access.connect()?;
    let clusters: Reply<Vec<Cluster>> = api.list(&format!("{org}/clusters"))?;
    print(access, &clusters.json, || {
        let rows: Vec<_> = clusters
            .value
            .iter()
            .map(|cluster| {
                [
                    cluster.name.clone(),
                    cluster.state.to_string(),
                    cluster.region.clone(),
                    cluster.node_count.to_string(),
                    cluster.id.clone(),
                ]
            })
            .collect();
        output::table(["NAME", "STATE", "REGION", "NODES", "ID"], &rows)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn create(access: &ClusterAccess, body: &Json, wait: Option<Duration>) -> anyhow::Result<ExitCode> {
    let (api, org) = access.connect()?;
    let mut created: Reply<ClusterCreated> = api.post(&format!("{org}/clusters"), body)?;
    let ClusterCreated {
        cluster,
        operation,
        credentials,
    } = &mut created.value;
    // First, since waiting may fail and the password is shown only now.
    if !access.json {
        let mut stdout = io::stdout().lock();
        let shown = [
            ("database", Some(credentials.database.clone())),
            ("user", Some(credentials.user.clone())),
            ("password", credentials.password.clone()),
        ];
        let facts = [cluster_facts(cluster).as_slice(), &shown].concat();
        write!(stdout, "{}", output::facts(&facts))?;
        writeln!(stdout, "\nStore the password now: it is not shown again.")?;
    }
    let Some(patience) = wait else {
        if access.json {
            writeln!(io::stdout(), "{:#}", created.json)?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let end = wait::until_finished(&api, &org, &operation.id, patience);
    let ready: Reply<Cluster> = api.get(&format!("{org}/clusters/{}", cluster.id))?;
    if access.json {
        created.json["cluster"] = ready.json;
        if let Ok(operation) = &end {
            created.json["operation"] = operation.json.clone();
        }
        writeln!(io::stdout(), "{:#}", created.json)?;
    }
    wait::require_success(&end?.value)?;
    if !access.json {
        writeln!(
            io::stdout(),
            "\n{} is ready. Next: craton clusters connection {}",
            ready.value.name,
            ready.value.name
        )?;
    }
    Ok(status_of(&ready.value))
}

fn connection(access: &ClusterAccess, cluster: &str, ca_file: Option<&PathBuf>) -> anyhow::Result<ExitCode> {
    let (api, org) = access.connect()?;
    let cluster = find_cluster(&api, &org, cluster)?.value;
    let path = format!("{org}/clusters/{}", cluster.id);
    let connection: Reply<Connection> = api.get(&format!("{path}/connection"))?;
    if let Some(file) = ca_file {
        let pem = api.get_text(&format!("{path}/ca.pem"))?;
        std::fs::write(file, pem).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    print(access, &connection.json, || {
        let connection = &connection.value;
        let mut text = output::facts(&[
            ("host", Some(connection.host.clone())),
            ("database", Some(connection.database.clone())),
            ("user", Some(connection.user.clone())),
            ("uri", Some(connection.uri.clone())),
            ("psql", Some(connection.psql.clone())),
        ]);
        for member in &connection.members {
            let ports = format!("port {}, HTTPS port {}", member.port, member.https_port);
            let place = format!("{}, {ports}", member.host_address);
            text += &output::facts(&[(&format!("node {}", member.member), Some(place))]);
        }
        for key in &connection.log_keys {
            text += &output::facts(&[
                (&format!("log key of {}", key.database), Some(key.verifier_key.clone())),
                (&format!("log of {}", key.database), Some(key.url.clone())),
            ]);
        }
        for key in &connection.witness_keys {
            text += &output::facts(&[("witness key", Some(key.clone()))]);
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

fn rotate_password(access: &ClusterAccess, cluster: &str, user: &str) -> anyhow::Result<ExitCode> {
    if !user
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    {
        bail!("{user:?} is no name of a database user");
    }
    let (api, org) = access.connect()?;
    let cluster = find_cluster(&api, &org, cluster)?.value;
    let path = format!("{org}/clusters/{}/users/{user}/rotate-password", cluster.id);
    let rotated: Reply<PasswordRotated> = api.post(&path, &json!({}))?;
    print(access, &rotated.json, || {
        let mut text = output::facts(&[
            ("user", Some(rotated.value.user.clone())),
            ("password", rotated.value.password.clone()),
        ]);
        text += "\nStore the password now: it is not shown again. The old one has stopped working, and its connections are closed.\n";
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Asks for a change of a cluster.
fn change(
    access: &ClusterAccess,
    cluster: &str,
    what: &str,
    body: &Json,
    following: &Following,
) -> anyhow::Result<ExitCode> {
    let (api, org) = access.connect()?;
    let cluster = find_cluster(&api, &org, cluster)?.value;
    follow_change(access, &api, &org, &cluster, what, body, following)
}

/// Goes over to the newest version of the formats that every node knows.
fn finalize(access: &ClusterAccess, cluster: &str, following: &Following) -> anyhow::Result<ExitCode> {
    let (api, org) = access.connect()?;
    let cluster = find_cluster(&api, &org, cluster)?.value;
    let Some(format) = cluster.format else {
        bail!(
            "not every node of {} has said which format versions it knows; see craton clusters show",
            cluster.name
        );
    };
    let body = json!({ "format_version": format.newest });
    follow_change(access, &api, &org, &cluster, "finalize", &body, following)
}

fn follow_change(
    access: &ClusterAccess,
    api: &Api,
    org: &str,
    cluster: &Cluster,
    what: &str,
    body: &Json,
    following: &Following,
) -> anyhow::Result<ExitCode> {
    let path = format!("{org}/clusters/{}/{what}", cluster.id);
    let changing: Reply<Begun> = api.post(&path, body)?;
    if !following.wait {
        print(access, &changing.json, || {
            let id = &changing.value.operation.id;
            format!("{} is being changed by {id}.\n", cluster.name)
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let patience = following.patience.duration();
    let operation = wait::until_finished(api, org, &changing.value.operation.id, patience)?;
    wait::require_success(&operation.value)?;
    let changed: Reply<Cluster> = api.get(&format!("{org}/clusters/{}", cluster.id))?;
    print(access, &changed.json, || output::facts(&cluster_facts(&changed.value)))?;
    Ok(ExitCode::SUCCESS)
}

/// What the answer to the beginning of an operation says, as far as it is needed.
#[derive(serde::Deserialize)]
struct Begun {
    operation: Operation,
}

fn delete(access: &ClusterAccess, cluster: &str, yes: bool, wait: Option<Duration>) -> anyhow::Result<ExitCode> {
    let (api, org) = access.connect()?;
    let cluster = find_cluster(&api, &org, cluster)?.value;
    if !yes {
        confirm(&cluster)?;
    }
    let deleted: Reply<Begun> = api.delete(&format!("{org}/clusters/{}", cluster.id))?;
    let Some(patience) = wait else {
        print(access, &deleted.json, || {
            format!("{} is being deleted.\n", cluster.name)
        })?;
        return Ok(ExitCode::SUCCESS);
    };
    let operation = wait::until_finished(&api, &org, &deleted.value.operation.id, patience)?;
    wait::require_success(&operation.value)?;
    print(access, &operation.json, || format!("{} is deleted.\n", cluster.name))?;
    Ok(ExitCode::SUCCESS)
}

fn confirm(cluster: &Cluster) -> anyhow::Result<()> {
    use io::IsTerminal as _;
    if !io::stdin().is_terminal() {
        bail!("deleting a cluster is final: give --yes");
    }
    let mut stderr = io::stderr();
    write!(
        stderr,
        "This deletes {} ({}) with everything in it. Type its name to go on: ",
        cluster.name, cluster.id
    )?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if answer.trim() != cluster.name {
        bail!("nothing was deleted");
    }
    Ok(())
}

fn cluster_facts(cluster: &Cluster) -> Vec<(&'static str, Option<String>)> {
    let format = cluster.format.map(|format| match format.newest > format.active {
        true => format!("{}, and every node knows {}", format.active, format.newest),
        false => format.active.to_string(),
    });
    let nodes = cluster.nodes.iter().map(|node| ("node", Some(node_words(node))));
    let facts = vec![
        ("name", Some(cluster.name.clone())),
        ("id", Some(cluster.id.clone())),
        ("state", Some(cluster.state.to_string())),
        ("region", Some(cluster.region.clone())),
        ("nodes", Some(cluster.node_count.to_string())),
        ("host", Some(cluster.host.clone())),
        (
            "port",
            cluster.port.filter(|port| *port != 0).map(|port| port.to_string()),
        ),
        ("created", Some(cluster.created_at.clone())),
        ("ready", cluster.ready_at.clone()),
        ("format version", format),
        ("error", cluster.last_error.clone()),
    ];
    facts.into_iter().chain(nodes).collect()
}

fn node_words(node: &ClusterNode) -> String {
    let mut words = format!("{} on {}, {}", node.member, node.node_id, node.state);
    let standing = Some(&node.standing).filter(|standing| *standing != "wanted");
    for word in [standing, node.role.as_ref()].into_iter().flatten() {
        let _ = write!(words, ", {word}");
    }
    if let Some(version) = &node.server_version {
        let _ = write!(words, ", version {version}");
    }
    words
}

fn status_of(cluster: &Cluster) -> ExitCode {
    ExitCode::from(u8::from(!matches!(
        cluster.state,
        ClusterState::Ready | ClusterState::Degraded
    )))
}

fn print(access: &ClusterAccess, json: &Json, text: impl FnOnce() -> String) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if access.json {
        writeln!(stdout, "{json:#}")
    } else {
        write!(stdout, "{}", text())
    }
}
