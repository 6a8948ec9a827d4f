//! Repairs damaged records of the tenants' logs from the other members of the cluster.
//!
//! Every member has the same records. One that is damaged here is asked for by its position, and what comes is written only when
//! this member's own hashes prove that it is the one; see `LogReader::repair`. A member that sends another one is passed over.

use std::collections::BTreeSet;
use std::time::Duration;

use craton_crypto::LinkedRecord;
use craton_log::TenantLogError;
use craton_types::{NodeId, Timestamp};
use parking_lot::Mutex;

use crate::applier::chain;
use crate::cluster::Cluster;
use crate::craton::Node;
use crate::damage::{Damage, DamagedRecord};
use crate::recoveries::Recoveries;
use crate::tenant::SharedTenant;
use crate::tenants::SYSTEM_DATABASE;

/// How long it waits until it asks again for what it did not get.
const PAUSE: Duration = Duration::from_secs(1);

/// When to ask again.
#[derive(Default)]
pub(crate) struct Repair {
    next_at: Mutex<Timestamp>,
}

impl Repair {
    /// Repairs what is damaged, if it is time to. A node alone has nobody to ask.
    pub(crate) async fn look(&self, node: &Node, damage: &Damage, recoveries: &Recoveries) {
        let Some(cluster) = &node.cluster else {
            return;
        };
        let damaged = damage.records();
        let now = node.clock.now();
        if damaged.is_empty() || now < *self.next_at.lock() {
            return;
        }
        let pause = u64::try_from(PAUSE.as_nanos()).unwrap_or(u64::MAX);
        *self.next_at.lock() = Timestamp::new(now.get().saturating_add(pause));
        // One that cannot be reached is not asked for every record.
        let mut silent = BTreeSet::new();
        for record in damaged {
            let tenant = match record.database.as_str() {
                SYSTEM_DATABASE => Some(node.tenants.system().clone()),
                name => node.tenants.by_name(name),
            };
            if let Some(tenant) = tenant
                && repair(cluster, &tenant, &record, &mut silent, recoveries).await
            {
                damage.clear(&record.database, record.position);
            }
        }
    }
}

/// Repairs one record from the first member that has it; whether it is whole now.
async fn repair(
    cluster: &Cluster,
    tenant: &SharedTenant,
    record: &DamagedRecord,
    silent: &mut BTreeSet<NodeId>,
    recoveries: &Recoveries,
) -> bool {
    for member in cluster.others() {
        if silent.contains(&member) {
            continue;
        }
        let sent = match cluster.fetch_record(member, tenant.id, record.position).await {
            Ok(Some(sent)) => sent,
            // It has not applied it yet, or its own copy is damaged.
            Ok(None) => continue,
            Err(error) => {
                tracing::debug!(%member, error, "a member could not be asked for a damaged record");
                silent.insert(member);
                continue;
            }
        };
        match tenant.log.repair(&LinkedRecord::new(sent)) {
            Ok(None) => return true,
            Ok(Some(repaired)) => {
                recoveries.note_repaired(tenant.id, repaired, &format!("member {member}"));
                return true;
            }
            Err(error @ (TenantLogError::NotProven { .. } | TenantLogError::Invalid { .. })) => {
                tracing::error!(
                    %member,
                    database = tenant.name,
                    error = chain(&error),
                    "a member sent a record that is not the one that was written"
                );
            }
            // What must be repaired before is noted; it comes first the next time.
            Err(error) => {
                let error = tenant.log_error(error);
                tracing::warn!(error = chain(&error), "a damaged record could not be repaired yet");
                return false;
            }
        }
    }
    false
}
