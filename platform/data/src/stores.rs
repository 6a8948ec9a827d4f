//! Opens the platform's databases in an engine.

use std::sync::Arc;

use craton_engine::Craton;
use craton_platform_kernel::{CredentialUse, SessionStore, WitnessStore};

use crate::credential_use::EngineCredentialUse;
use crate::event_store::EngineEventStore;
use crate::session_store::EngineSessionStore;
use crate::table::Table;
use crate::witness_store::EngineWitnessStore;
use crate::{OpenError, credential_use, session_store, witness_store};

/// The database of the ledger: events and nothing else.
pub const LEDGER_DATABASE: &str = "platform";
/// The database of what comes and goes.
pub const STATE_DATABASE: &str = "platform_state";

/// The platform's stores.
#[derive(Clone)]
pub struct Stores {
    /// The ledger.
    pub events: EngineEventStore,
    /// Browser sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// When credentials were used.
    pub credential_use: Arc<dyn CredentialUse>,
    /// What was cosigned as a witness.
    pub witnessed: Arc<dyn WitnessStore>,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stores")
    }
}

impl Stores {
    /// Opens the stores, making their tenants and tables in a new data directory.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn open(craton: &Craton) -> Result<Self, OpenError> {
        let ledger = craton.open_tenant(LEDGER_DATABASE).await?;
        let state = craton.open_tenant(STATE_DATABASE).await?;
        let open = |create| Table::open(&state, create);
        Ok(Self {
            events: EngineEventStore::new(ledger),
            sessions: Arc::new(EngineSessionStore::new(open(session_store::CREATE).await?)),
            credential_use: Arc::new(EngineCredentialUse::new(open(credential_use::CREATE).await?)),
            witnessed: Arc::new(EngineWitnessStore::new(
                open(witness_store::CREATE).await?,
                open(witness_store::CREATE_REFUSED).await?,
            )),
        })
    }
}
