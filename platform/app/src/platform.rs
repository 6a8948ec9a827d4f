//! Starts the platform's parts in order, and stops them in the other.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use craton_engine::Craton;
use craton_listener::{ConnectionLimits, Listener};
use craton_platform_data::Stores;
use craton_platform_fleet::{AgentListener, Fleet, FleetConfig};
use craton_platform_http::{PublicUrl, RateLimiting};
use craton_platform_identity::{Identity, IdentityParts, IdentityProjection};
use craton_platform_kernel::{Environment, EventStore, Ledger};
use craton_platform_sqlite::{ReadModel, Views};
use craton_witness::FileCosigning;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::metrics::Metrics;
use crate::router::AppState;
use crate::settings::Settings;
use crate::{maintenance, metrics, router, secrets, tls};

/// How the platform names itself to witnesses.
const USER_AGENT: &str = concat!("craton-platform/", env!("CARGO_PKG_VERSION"));
/// How long requests under way may take after a stop was asked for.
const STOP_MAX: Duration = Duration::from_secs(10);

/// A platform that serves.
pub struct Platform {
    address: SocketAddr,
    metrics_address: SocketAddr,
    public_url: PublicUrl,
    engine: Craton,
    /// Asks others to cosign the platform's own log.
    witnesses: Option<Arc<FileCosigning>>,
    /// Why the agents' link ended, if it failed.
    failure: Arc<OnceLock<String>>,
    /// Ends the listeners and what serves them.
    stop_serving: CancellationToken,
    serving: JoinSet<()>,
    /// Ends what runs beside requests.
    stop_working: CancellationToken,
    working: JoinSet<()>,
}

impl std::fmt::Debug for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Platform({})", self.public_url)
    }
}

impl Platform {
    /// Starts everything; it serves when this returns.
    ///
    /// # Errors
    /// When a file, an address or the log cannot be used.
    pub async fn start(settings: Settings, environment: Environment) -> anyhow::Result<Self> {
        let data_dir = &settings.data_dir;
        std::fs::create_dir_all(data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
        let tls = match (&settings.tls_cert, &settings.tls_key) {
            (Some(certificate), Some(key)) => Some(tls::source(certificate, key)?),
            _ => None,
        };
        let public = Listener::bind(settings.listen, tls, ConnectionLimits::default()).await;
        let public = public.with_context(|| format!("cannot listen on {}", settings.listen))?;
        let private = Listener::bind(settings.metrics_listen, None, ConnectionLimits::default()).await;
        let private = private.with_context(|| format!("cannot listen on {}", settings.metrics_listen))?;
        let address = public.address();
        let metrics_address = private.address();
        let public_url = match settings.public_url.clone() {
            Some(public_url) => public_url,
            None => PublicUrl::parse(&format!("http://localhost:{}", address.port()))?,
        };

        let master_key_file = settings.master_key_file.clone();
        let master_key_file = master_key_file.unwrap_or_else(|| data_dir.join(secrets::MASTER_KEY_FILE));
        let master_key = secrets::master_key(&master_key_file, &environment)?;
        let operator_key = secrets::operator_key(&data_dir.join(secrets::OPERATOR_KEY_FILE), &environment)?;

        let options = Craton::options()
            .origin(settings.log_origin.clone())
            .master_key(master_key.clone());
        let log_dir = data_dir.join("log");
        let engine = tokio::task::spawn_blocking(|| options.open(log_dir)).await?;
        let engine = engine.context("the platform's log does not open")?;
        let stores = Stores::open(&engine).await?;
        let witnesses = match settings.witness_file.clone() {
            Some(path) => Some(Arc::new(FileCosigning::start(path, engine.clone(), USER_AGENT)?)),
            None => None,
        };
        let events: Arc<dyn EventStore> = Arc::new(stores.events.clone());

        let views_dir = data_dir.join("views");
        std::fs::create_dir_all(&views_dir).with_context(|| format!("cannot make {}", views_dir.display()))?;
        let identity_view = ReadModel::open(&views_dir, Arc::new(IdentityProjection))?;
        let fleet_view = ReadModel::open(&views_dir, craton_platform_fleet::projection())?;
        let views = Views::new(vec![identity_view.clone(), fleet_view.clone()]);

        let stop_working = CancellationToken::new();
        let mut working = JoinSet::new();
        for view in views.iter() {
            view.catch_up(&*events).await?;
            working.spawn(view.clone().run(events.clone(), stop_working.clone()));
        }
        let ledger = Ledger::new(events.clone(), Arc::new(views.clone()), environment.clone());
        let witness_url = format!("{public_url}/witness");
        let witnessed = stores.witnessed.clone();
        let config = fleet_config(&settings, witness_url);
        let fleet = Fleet::new(config, ledger.clone(), fleet_view, witnessed, master_key.as_ref());
        let fleet = fleet.context("the fleet's keys do not open")?;
        let agents = fleet.bind().await?;
        let agents_address = agents.local_address()?;
        let identity = Identity::new(IdentityParts {
            ledger,
            view: identity_view,
            sessions: stores.sessions,
            credential_use: stores.credential_use,
            operator_key,
            public_url: public_url.clone(),
        })?;

        let watched = engine.clone();
        let health = Health::new(move || watched.stop_reason(), events, views);
        let state = AppState {
            environment,
            identity: identity.clone(),
            fleet: fleet.clone(),
            events: stores.events,
            public_url: public_url.clone(),
            health: health.clone(),
            metrics: Metrics::new()?,
            auth_rate: RateLimiting::new(settings.rate_limits.auth),
            api_rate: RateLimiting::new(settings.rate_limits.api),
        };
        let rates = vec![state.auth_rate.clone(), state.api_rate.clone()];
        working.spawn(maintenance::run(identity, rates, stop_working.clone()));

        let stop_serving = CancellationToken::new();
        let mut serving = JoinSet::new();
        let failure = Arc::new(OnceLock::new());
        serving.spawn(run_fleet(fleet, agents, stop_serving.clone(), failure.clone()));
        let metrics = metrics::router(state.metrics.clone(), health, state.fleet.clone(), witnesses.clone());
        serving.spawn(private.serve(metrics, stop_serving.clone()));
        serving.spawn(public.serve(router::router(state), stop_serving.clone()));
        tracing::info!(%address, %agents_address, %metrics_address, %public_url, "the platform serves");
        Ok(Self {
            address,
            metrics_address,
            public_url,
            engine,
            witnesses,
            failure,
            stop_serving,
            serving,
            stop_working,
            working,
        })
    }

    /// The address of API and console.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the metrics.
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics_address
    }

    /// Where browsers reach the platform.
    #[must_use]
    pub fn public_url(&self) -> &PublicUrl {
        &self.public_url
    }

    /// Reads the file of the witnesses again; on an error the old ones are asked.
    pub fn reload(&self) {
        match self.witnesses.as_ref().map(|witnesses| witnesses.reload()) {
            Some(Ok(())) => tracing::info!("the witnesses were read again"),
            Some(Err(error)) => {
                tracing::error!(%error, "the witnesses were not read again, the old ones are asked");
            }
            None => {}
        }
    }

    /// Ends when the platform cannot go on, and says why.
    pub async fn failed(&self) -> String {
        const EVERY: Duration = Duration::from_millis(500);
        loop {
            if let Some(reason) = self.engine.stop_reason().or_else(|| self.failure.get().cloned()) {
                return reason;
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Takes no more requests, finishes those under way, and closes the log.
    ///
    /// # Errors
    /// When the last flush fails; nothing acknowledged is lost even then.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop_serving.cancel();
        let finished = async { while self.serving.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_MAX, finished).await.is_err() {
            tracing::warn!("requests under way are cut off");
            self.serving.shutdown().await;
        }
        self.stop_working.cancel();
        let finished = async { while self.working.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_MAX, finished).await.is_err() {
            self.working.shutdown().await;
        }
        let (engine, witnesses) = (self.engine.clone(), self.witnesses.take());
        let close = move || {
            if let Some(witnesses) = witnesses {
                witnesses.stop();
            }
            engine.close()
        };
        tokio::task::spawn_blocking(close)
            .await?
            .context("the log does not close")?;
        tracing::info!("the platform has stopped");
        Ok(())
    }
}

fn fleet_config(settings: &Settings, witness_url: String) -> FleetConfig {
    let mut config = FleetConfig::new(settings.data_dir.join("vault"), settings.agent_listen);
    config.listener_names.extend(settings.agent_host.iter().cloned());
    config.default_region.clone_from(&settings.region);
    config.domain.clone_from(&settings.cluster_domain);
    config.witness_name = format!("{}/witness", settings.log_origin);
    config.witness_url = witness_url;
    config.development = settings.development;
    config.replace_offline_after = Duration::from_secs(settings.replace_offline_after);
    config
}

/// Serves agents until the platform stops. Running databases are not touched by that.
async fn run_fleet(fleet: Fleet, agents: AgentListener, stop: CancellationToken, failure: Arc<OnceLock<String>>) {
    if let Err(error) = fleet.run(agents, stop).await {
        tracing::error!(%error, "the agents' listener ended");
        // The first reason is the one that counts.
        let _ = failure.set(error.to_string());
    }
}
