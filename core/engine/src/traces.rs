//! What a member of a cluster does about erased data subjects: every member removes the traces in its own files, in its own
//! time. From the moment that an erasure is applied, nobody who reads there gets the key.
//!
//! What is sealed under a key, and the key itself, may be in the write-ahead log, and in what was set aside of it because it was
//! damaged. So it is made to forget all of it, and members that lag are given a snapshot instead.

use std::sync::Arc;

use craton_consensus::{Consensus, Replicated};
use craton_types::{LogIndex, SubjectKeyId};
use parking_lot::Mutex;

use crate::EngineError;
use crate::tenant::SharedTenant;
use crate::tenants::Tenants;

/// Removes traces in the background; does nothing on a node alone, where whoever erases waits for it.
pub(crate) struct Traces {
    replicated: Option<Arc<Replicated>>,
    removing: Mutex<Option<Removing>>,
}

/// Keys that are gone from everything but the write-ahead log.
struct Removing {
    /// No file of the log may hold the entries up to here.
    through: LogIndex,
    keys: Vec<(Arc<SharedTenant>, Vec<SubjectKeyId>)>,
}

impl Traces {
    pub(crate) fn new(replicated: Option<Arc<Replicated>>) -> Self {
        Self {
            replicated,
            removing: Mutex::default(),
        }
    }

    /// Whether a removal was begun and goes on with the next step.
    pub(crate) fn is_removing(&self) -> bool {
        self.removing.lock().is_some()
    }

    /// Takes a step. To be called after everything was flushed.
    pub(crate) fn look(&self, tenants: &Tenants) -> Result<(), EngineError> {
        let Some(replicated) = &self.replicated else {
            return Ok(());
        };
        let mut removing = self.removing.lock();
        if let Some(begun) = removing.take() {
            if replicated.before_oldest_file() < begun.through {
                let last = replicated.status().last;
                match last > begun.through {
                    true => replicated.forget(LogIndex::new(last.get() - 1)),
                    // Files go as a whole, and the newest one stays: an entry must come that begins another.
                    false => crate::cluster::ask_for_entry(replicated),
                }
                *removing = Some(begun);
                return Ok(());
            }
            if !replicated.forget_set_aside()? {
                // What was set aside is needed until the log has it back.
                *removing = Some(begun);
                return Ok(());
            }
            for (tenant, keys) in begun.keys {
                tenant.subject_keys.finish(&keys)?;
            }
            return Ok(());
        }
        let mut keys = Vec::new();
        for tenant in tenants.databases() {
            let condemned = tenant.subject_keys.condemned();
            if !condemned.is_empty() {
                tenant.subject_keys.destroy(&condemned)?;
                keys.push((tenant, condemned));
            }
        }
        if !keys.is_empty() {
            // What comes later is in another file than what must go.
            replicated.begin_segment();
            let through = replicated.status().last;
            *removing = Some(Removing { through, keys });
        }
        Ok(())
    }
}
