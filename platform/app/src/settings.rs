//! What the platform is started with.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Parser;
use craton_platform_http::{PublicUrl, RateLimit};

/// The Craton control plane.
#[derive(Clone, Debug, Parser)]
#[command(name = "craton-platform", version)]
pub struct Settings {
    /// Where everything lies: the log, the views, the keys. Made when it is missing.
    #[arg(long, env = "CRATON_PLATFORM_DATA_DIR")]
    pub data_dir: PathBuf,

    /// The address of the API and the console.
    #[arg(long, env = "CRATON_PLATFORM_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Where browsers reach the platform, without path; passkeys are bound to its host name.
    /// On localhost at the port of --listen when absent.
    #[arg(long, env = "CRATON_PLATFORM_PUBLIC_URL", value_parser = PublicUrl::parse)]
    pub public_url: Option<PublicUrl>,

    /// The certificate chain of the public address in PEM; plain HTTP when absent.
    #[arg(long, env = "CRATON_PLATFORM_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert in PEM.
    #[arg(long, env = "CRATON_PLATFORM_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// The address of the agents' link, which has mutual TLS of its own.
    #[arg(long, env = "CRATON_PLATFORM_AGENT_LISTEN", default_value = "127.0.0.1:8443")]
    pub agent_listen: SocketAddr,

    /// A host name or IP address by which agents reach --agent-listen, beside localhost. May be repeated.
    #[arg(long, env = "CRATON_PLATFORM_AGENT_HOST", value_delimiter = ',')]
    pub agent_host: Vec<String>,

    /// The region of clusters and nodes that name none.
    #[arg(long, env = "CRATON_PLATFORM_REGION", default_value = "local")]
    pub region: String,

    /// The domain below which clusters have their host names.
    #[arg(long, env = "CRATON_PLATFORM_CLUSTER_DOMAIN", default_value = "craton.localhost")]
    pub cluster_domain: String,

    /// Members of a cluster may share a node when there are not enough nodes. For trying things out: one broken machine
    /// may then take several members of a cluster.
    #[arg(long, env = "CRATON_PLATFORM_DEVELOPMENT")]
    pub development: bool,

    /// Seconds without a sign of its node after which a member of a cluster gets a successor on another node.
    #[arg(long, env = "CRATON_PLATFORM_REPLACE_OFFLINE_AFTER", value_name = "SECONDS", default_value_t = 900,
          value_parser = clap::value_parser!(u64).range(60..))]
    pub replace_offline_after: u64,

    /// The address of /metrics; not one that the public reaches.
    #[arg(long, env = "CRATON_PLATFORM_METRICS_LISTEN", default_value = "127.0.0.1:8081")]
    pub metrics_listen: SocketAddr,

    /// The file with the master key, 64 hexadecimal digits, mode 0600. `master.key` in the data directory, made
    /// at the first start, when absent.
    #[arg(long, env = "CRATON_PLATFORM_MASTER_KEY_FILE")]
    pub master_key_file: Option<PathBuf>,

    /// What the checkpoints of the platform's own log begin with. It names the log's key, so it must not change.
    #[arg(
        long,
        env = "CRATON_PLATFORM_LOG_ORIGIN",
        default_value = "platform.craton.localhost"
    )]
    pub log_origin: String,

    /// JSON file of the witnesses that cosign the platform's own log (C2SP tlog-witness), read again on SIGHUP:
    /// `{"witnesses": [{"url": "https://witness.example", "verifier_key": "<name>+<key id>+<base64>"}],
    /// "time_stamp_authority": {"url": "https://tsa.example", "certificates": "<PEM>"}}`; the latter, for time stamps (RFC
    /// 3161), may be left out. Nobody is asked when absent.
    #[arg(long, env = "CRATON_PLATFORM_WITNESS_FILE")]
    pub witness_file: Option<PathBuf>,

    /// How many requests a caller may make.
    #[arg(skip)]
    pub rate_limits: RateLimits,
}

/// How many requests a caller may make.
#[derive(Clone, Copy, Debug)]
pub struct RateLimits {
    /// Below `/auth`.
    pub auth: RateLimit,
    /// Below `/api`.
    pub api: RateLimit,
}

impl Default for RateLimits {
    fn default() -> Self {
        let limit = |burst, per_second| RateLimit {
            burst: NonZeroU32::new(burst).expect("a constant above zero"),
            per_second: NonZeroU32::new(per_second).expect("a constant above zero"),
        };
        Self {
            auth: limit(60, 2),
            api: limit(300, 50),
        }
    }
}
