//! Puts the fleet together.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use craton_agent_protocol::DesiredWitness;
use craton_crypto::FileMasterKey;
use craton_platform_kernel::{ClusterId, Ledger, OperationId, WitnessStore};
use craton_platform_sqlite::ReadModel;
use jiff::SignedDuration;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    authority::{AGENT_AUTHORITY, Authority, AuthorityError, Vault, VaultError, probe_token::ProbeTokens},
    desired::SharedSettings,
    health::{HEARTBEAT_INTERVAL, OFFLINE_AFTER},
    link::{Links, listener::AgentListener},
    reconciler,
    view::FleetView,
    witness::{LogWitness, WitnessKeyError},
};

/// What a fleet is started with.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// Where authorities and signing keys are kept, sealed by the master key.
    pub vault_dir: PathBuf,
    /// Where agents connect; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The host names and IP addresses by which agents reach the listener.
    pub listener_names: Vec<String>,
    /// The region that clusters and nodes get when none is named.
    pub default_region: String,
    /// The domain below which clusters have their host names.
    pub domain: String,
    /// How long a node's certificate is valid. It is renewed at half of it, so a node may be away for the other half.
    pub node_certificate_lifetime: SignedDuration,
    /// How long an instance's server certificate is valid.
    pub instance_certificate_lifetime: SignedDuration,
    /// The name of the platform's key as a witness. Cosignatures bear it, so it must not change.
    pub witness_name: String,
    /// Where nodes reach the platform as a witness, without `/add-checkpoint`.
    pub witness_url: String,
    /// How often agents say that they are alive.
    pub heartbeat_interval: Duration,
    /// A node that was not heard for this long counts as gone: several times the interval of heartbeats.
    pub offline_after: Duration,
    /// Whether members of a cluster may share a node when there are not enough. Not for data that matters.
    pub development: bool,
    /// A member of a cluster whose node was not heard for this long gets a successor.
    pub replace_offline_after: Duration,
}

impl FleetConfig {
    /// The usual values for a platform with its secrets in `vault_dir`, whose agents are on this machine.
    #[must_use]
    pub fn new(vault_dir: PathBuf, listen: SocketAddr) -> Self {
        Self {
            vault_dir,
            listen,
            listener_names: ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec(),
            default_region: "local".to_owned(),
            domain: "craton.localhost".to_owned(),
            node_certificate_lifetime: SignedDuration::from_hours(7 * 24),
            instance_certificate_lifetime: SignedDuration::from_hours(30 * 24),
            witness_name: "platform.craton.localhost/witness".to_owned(),
            witness_url: "http://localhost:8080/witness".to_owned(),
            heartbeat_interval: HEARTBEAT_INTERVAL,
            offline_after: OFFLINE_AFTER,
            development: false,
            replace_offline_after: Duration::from_secs(15 * 60),
        }
    }
}

/// Why a fleet cannot run.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The secrets cannot be used.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The witness has no key.
    #[error(transparent)]
    Witness(#[from] WitnessKeyError),
    /// An authority cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The agents' listener cannot be opened.
    #[error("the agents' listener cannot be opened on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// What every part of the fleet shares.
pub(crate) struct Inner {
    pub(crate) config: FleetConfig,
    pub(crate) ledger: Ledger,
    pub(crate) view: FleetView,
    pub(crate) vault: Vault,
    pub(crate) agent_authority: Authority,
    pub(crate) tokens: ProbeTokens,
    pub(crate) witness: LogWitness,
    pub(crate) links: Links,
    /// Wakes the reconciler.
    pub(crate) wake: Notify,
    /// Operations that a task works on.
    pub(crate) advancing: Mutex<HashSet<OperationId>>,
    /// Changed log keys that were already cried out about.
    pub(crate) log_key_alarms: Mutex<HashSet<(ClusterId, String)>>,
    /// Sessions and operations' tasks, waited for at the end.
    pub(crate) sessions: TaskTracker,
    /// Ends streams of events to browsers.
    pub(crate) shutdown: CancellationToken,
}

impl Inner {
    /// What every instance is given alike.
    pub(crate) fn shared_settings(&self) -> SharedSettings {
        SharedSettings {
            token_verification_key: self.tokens.public_key_pem().to_owned(),
            witness: DesiredWitness {
                url: self.witness.url().to_owned(),
                verifier_key: self.witness.verifier_key(),
            },
        }
    }
}

/// The fleet: clusters, nodes and operations. Cheap to clone.
#[derive(Clone)]
pub struct Fleet(pub(crate) Arc<Inner>);

impl Fleet {
    /// Opens the fleet's secrets, making them at the first start. `read_model` is the one of
    /// [`crate::projection`] and is among the views that `ledger` waits for. `witnessed` is what the platform has cosigned
    /// as a witness.
    ///
    /// # Errors
    /// When the vault cannot be opened with this master key.
    pub fn new(
        config: FleetConfig,
        ledger: Ledger,
        read_model: ReadModel,
        witnessed: Arc<dyn WitnessStore>,
        master_key: &FileMasterKey,
    ) -> Result<Self, FleetError> {
        let environment = ledger.environment().clone();
        let vault = Vault::open(&config.vault_dir, master_key, environment.clone())?;
        let agent_authority = Authority::open_or_create(&vault, AGENT_AUTHORITY, "Craton agents", None, &environment)?;
        let tokens = ProbeTokens::open_or_create(&vault, &environment)?;
        let (name, url) = (&config.witness_name, config.witness_url.clone());
        let witness = LogWitness::open_or_create(&vault, &environment, witnessed, name, url)?;
        Ok(Self(Arc::new(Inner {
            links: Links::new(config.offline_after),
            config,
            ledger,
            view: FleetView::new(read_model),
            vault,
            agent_authority,
            tokens,
            witness,
            wake: Notify::new(),
            advancing: Mutex::default(),
            log_key_alarms: Mutex::default(),
            sessions: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        })))
    }

    /// Answers to logs that asked for a cosignature since the start, by a word for them.
    #[must_use]
    pub fn witness_answers(&self) -> BTreeMap<&'static str, u64> {
        self.0.witness.answers()
    }

    /// Opens the agents' listener.
    ///
    /// # Errors
    /// When the address is in use or not allowed.
    pub async fn bind(&self) -> Result<AgentListener, FleetError> {
        let address = self.0.config.listen;
        AgentListener::bind(address)
            .await
            .map_err(|source| FleetError::Listen { address, source })
    }

    /// Serves agents and reconciles until the token is cancelled. Running databases are not touched by the end.
    ///
    /// # Errors
    /// When the listener's certificate cannot be made.
    pub async fn run(&self, listener: AgentListener, shutdown: CancellationToken) -> Result<(), FleetError> {
        let fleet = self.0.clone();
        let ending = async {
            shutdown.cancelled().await;
            fleet.shutdown.cancel();
            Ok(())
        };
        let reconciling = async {
            reconciler::run(fleet.clone(), shutdown.clone()).await;
            Ok(())
        };
        tokio::try_join!(listener.serve(fleet.clone(), shutdown.clone()), reconciling, ending)?;
        fleet.sessions.close();
        fleet.sessions.wait().await;
        Ok(())
    }
}
