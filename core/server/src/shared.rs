//! What every connection and request of the server shares.

use std::sync::Arc;
use std::time::{Duration, Instant};

use craton_engine::Craton;
use craton_witness::FileCosigning;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::connections::Connections;
use crate::http::Passwords;
use crate::limits::Limits;
use crate::master_key::VaultSettings;
use crate::member::{Membership, NotReady};
use crate::metrics::Metrics;
use crate::postgres::MockVerifiers;
use crate::tls::Certificate;
use crate::token::TokenVerifier;

/// The server's state.
pub(crate) struct Shared {
    /// The databases.
    pub(crate) engine: Craton,
    /// Its part in a cluster; `None` for a server that stands alone.
    pub(crate) membership: Option<Membership>,
    /// The certificate in use.
    pub(crate) certificate: Certificate,
    /// Checks the probe's tokens, when a key is configured.
    pub(crate) tokens: Option<TokenVerifier>,
    /// Where Vault is, for master keys in it.
    pub(crate) vault: Option<VaultSettings>,
    /// Stands in for users that do not exist.
    pub(crate) mock_verifiers: MockVerifiers,
    /// Checks the passwords that come over HTTP.
    pub(crate) passwords: Passwords,
    /// Who cosigns the databases' checkpoints, when a file says so.
    pub(crate) witnesses: Option<FileCosigning>,
    /// Counters.
    pub(crate) metrics: Metrics,
    /// Bounds.
    pub(crate) limits: Limits,
    /// Who is connected.
    pub(crate) connections: Arc<Connections>,
    /// One permit for each session that may be open.
    pub(crate) session_permits: Arc<Semaphore>,
    /// Cancelled when the server begins to stop.
    pub(crate) stopping: CancellationToken,
    /// When the server started.
    pub(crate) started_at: Instant,
}

/// Whether statements are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// They are.
    Ready,
    /// Those that read are; the others are refused for this reason until it is gone.
    ReadOnly(&'static str),
    /// The member lacks something, see [`Membership::not_ready`].
    NotServing(Vec<NotReady>),
    /// The server is stopping.
    Stopping,
    /// The engine has failed for good.
    Poisoned,
}

impl Shared {
    /// Whether statements are served.
    pub(crate) fn readiness(&self) -> Readiness {
        if self.engine.stop_reason().is_some() {
            Readiness::Poisoned
        } else if self.stopping.is_cancelled() {
            Readiness::Stopping
        } else if let Some(reasons) = self.not_serving() {
            Readiness::NotServing(reasons)
        } else {
            match self.engine.read_only_reason() {
                Some(reason) => Readiness::ReadOnly(reason),
                None => Readiness::Ready,
            }
        }
    }

    fn not_serving(&self) -> Option<Vec<NotReady>> {
        let reasons = self.membership.as_ref()?.not_ready();
        (!reasons.is_empty()).then_some(reasons)
    }

    /// How long the server has been running.
    pub(crate) fn uptime(&self) -> Duration {
        self.started_at.elapsed()
    }
}
