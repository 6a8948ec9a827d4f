//! A new key epoch for every tenant before the first write after the node was opened.
//!
//! A node cannot know whether its data directory is the only one: it may have been restored from a copy, or copied, and
//! the other one may have gone on. Two logs that go on from the same position under the same key would encrypt two
//! plaintexts under one key and nonce. So no opening goes on under a key of an earlier one: the first encrypted record
//! of each tenant is preceded by a record that begins an epoch, with a salt drawn then and there.

use std::collections::HashSet;
use std::sync::Arc;

use craton_kernel::{Command, Operation};
use craton_types::{ActorId, CorrelationId, IdempotencyId, RotationReason, TenantId};

use crate::Random;
use crate::clock::random_array;
use crate::tenants::Tenants;

/// Which tenants have begun an epoch since the node was opened. The proposer asks it for every command.
pub(crate) struct EpochStarts {
    tenants: Arc<Tenants>,
    random: Arc<dyn Random>,
    begun: HashSet<TenantId>,
    /// The one of `begun` that was asked for last.
    last: Option<TenantId>,
    /// Those that begin theirs with the entry that is being made.
    beginning: Vec<TenantId>,
}

impl EpochStarts {
    pub(crate) fn new(tenants: Arc<Tenants>, random: Arc<dyn Random>) -> Self {
        Self {
            tenants,
            random,
            begun: HashSet::new(),
            last: None,
            beginning: Vec::new(),
        }
    }

    /// The command that must go before this one in the same entry.
    pub(crate) fn before(&mut self, command: &Command) -> Option<Command> {
        let tenant = command.tenant;
        // Almost every command of almost every process ends here.
        if self.last == Some(tenant) {
            return None;
        }
        if self.begun.contains(&tenant) {
            self.last = Some(tenant);
            return None;
        }
        if !command.operation.is_sealed() {
            return None;
        }
        self.begun.insert(tenant);
        // Keys that were drawn since the node was opened are in no other copy of the directory that has gone on.
        if self.tenants.is_fresh(tenant) {
            return None;
        }
        self.beginning.push(tenant);
        Some(Command {
            tenant,
            actor: ActorId::NIL,
            correlation_id: CorrelationId::NIL,
            idempotency_id: IdempotencyId::NIL,
            operation: Operation::RotateKeys {
                salt: random_array(self.random.as_ref()),
                reason: RotationReason::Opened,
                data_key: None,
            },
        })
    }

    /// Forgets which epochs were begun: an entry that was taken may have come to nothing. To begin one again is harmless.
    pub(crate) fn begin_again(&mut self) {
        self.last = None;
        self.begun.clear();
    }

    /// Notes what became of the entry: when the log did not take it, its tenants have not begun their epochs.
    pub(crate) fn finish_entry(&mut self, taken: bool) {
        for tenant in self.beginning.drain(..) {
            if !taken {
                self.last = None;
                self.begun.remove(&tenant);
            }
        }
    }
}
