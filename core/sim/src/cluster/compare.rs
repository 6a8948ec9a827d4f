//! What is looked at in a cluster: now and then that members agree, and at the end that each keeps every promise.

use std::sync::Arc;

use craton_engine::{ClusterOptions, Tenant};
use craton_log::testing::MemoryDisk;
use craton_types::NodeId;

use super::machine::{Machine, Nobody, new_runtime};
use super::{ClusterWorld, violation};
use crate::checkers::{
    self, Checker, IDENTICAL, LINEARIZABLE, LIVENESS, ONE_LEADER, Objection, REPLAY, View, check_registers,
    compare_with_replay, show,
};
use crate::workload::tenant_name;
use crate::world::Violation;

/// Why a check of a member ends.
pub(super) enum Finding {
    Violation(Violation),
    /// A member whose disk may be damaged says that it is.
    Damaged(usize),
}

impl From<Violation> for Finding {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl ClusterWorld {
    /// No term has two leaders.
    pub(super) fn check_leaders(&mut self) -> Result<(), Violation> {
        for machine in self.machines.iter().filter(|machine| machine.stands_still.is_none()) {
            let Some(member) = machine.member() else { continue };
            match self.one_leader.check(&member.status()) {
                Ok(is_new) => self.facts.add(ONE_LEADER, u64::from(is_new)),
                Err(Objection::Broken(what) | Objection::Unreadable(what)) => return Err(violation(ONE_LEADER, what)),
            }
        }
        Ok(())
    }

    /// Members have the same records as far as both have any.
    pub(super) fn compare_logs(&mut self) -> Result<(), Violation> {
        let was_armed = self.set_armed(false);
        let compared = self.compare_logs_of_members();
        self.set_armed(was_armed);
        compared
    }

    fn compare_logs_of_members(&mut self) -> Result<(), Violation> {
        let history = self.history.borrow();
        for machine in self.machines.iter().filter(|machine| !machine.host.disk.is_dead()) {
            let Some(node) = &machine.host.node else { continue };
            for number in 0..self.swarm.tenants {
                let Some(tenant) = node.craton.tenant(&tenant_name(number)) else {
                    continue;
                };
                let view = View {
                    tenant: &tenant,
                    number: usize::try_from(number).expect("few tenants"),
                    history: &history,
                    accounts: self.swarm.accounts,
                };
                match self.log_matching.check(&view) {
                    Ok(facts) => self.facts.add(self.log_matching.name(), facts),
                    Err(Objection::Unreadable(_))
                        if machine.is_unlucky || node.craton.stop_reason().is_some() || machine.host.disk.is_dead() => {
                    }
                    Err(Objection::Broken(what) | Objection::Unreadable(what)) => {
                        return Err(violation(
                            self.log_matching.name(),
                            format!("member {}: {what}", machine.id),
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// Every member keeps every promise, and all show the same, which is also what a replay of its log shows.
    pub(super) fn check_members(&mut self) -> Result<(), Finding> {
        let mut shown: Option<Vec<String>> = None;
        for index in 0..self.machines.len() {
            if self.machines[index].is_gone {
                continue;
            }
            let shows = self.check_member(index)?;
            self.facts.add(IDENTICAL, 1);
            match &shown {
                Some(shown) if *shown != shows => {
                    let what = format!("member {} shows {shows:?}, another one {shown:?}", index + 1);
                    return Err(violation(IDENTICAL, what).into());
                }
                _ => shown = Some(shows),
            }
        }
        let shown = shown.unwrap_or_default();
        for index in 0..self.machines.len() {
            if !self.machines[index].is_gone {
                self.check_replay(index, &shown)?;
            }
        }
        Ok(())
    }

    /// What a member shows, which breaks no promise.
    fn check_member(&mut self, index: usize) -> Result<Vec<String>, Finding> {
        let machine = &self.machines[index];
        let history = self.history.borrow();
        let object = |name: &'static str, objection: Objection| match objection {
            Objection::Unreadable(_) if machine.is_unlucky => Finding::Damaged(index),
            Objection::Broken(what) | Objection::Unreadable(what) => {
                violation(name, format!("member {}: {what}", machine.id)).into()
            }
        };
        let mut checkers = checkers::all();
        let mut shows = Vec::new();
        for (number, tenant) in tenants(machine, self.swarm.tenants)?.iter().enumerate() {
            let view = View {
                tenant,
                number,
                history: &history,
                accounts: self.swarm.accounts,
            };
            for checker in &mut checkers {
                let name = checker.name();
                let facts = checker.check(&view).map_err(|objection| object(name, objection))?;
                self.facts.add(name, facts);
            }
            let facts = check_registers(&view).map_err(|objection| object(LINEARIZABLE, objection))?;
            self.facts.add(LINEARIZABLE, facts);
            shows.push(show(tenant, self.swarm.streams).map_err(|objection| object(IDENTICAL, objection))?);
        }
        Ok(shows)
    }

    /// A member that is closed and has lost its views shows the same when it is opened again.
    fn check_replay(&mut self, index: usize, shown: &[String]) -> Result<(), Finding> {
        let (list, tenants_count) = (self.list(), self.swarm.tenants);
        let machine = &mut self.machines[index];
        let id = machine.id;
        if let Err(error) = machine.close() {
            return Err(match machine.is_unlucky {
                true => Finding::Damaged(index),
                false => violation(LIVENESS, format!("member {id} does not close: {error}")).into(),
            });
        }
        let disk = machine.host.disk.fork();
        let runtime = new_runtime();
        let cluster = ClusterOptions {
            node: NodeId::new(id),
            bootstrap: false,
            members: list,
            transport: Nobody::transport(),
            keys: self.keys.clone(),
            runtime: Some(runtime.handle().clone()),
        };
        let compared = {
            let _entered = runtime.enter();
            let mut copy = None;
            let reopen = |disk: &MemoryDisk| {
                let node = machine.host.open_copy(Arc::new(disk.clone()), Some(cluster))?;
                let node = copy.insert(node);
                Ok((0..tenants_count)
                    .filter_map(|number| node.craton.tenant(&tenant_name(number)))
                    .collect())
            };
            compare_with_replay(&disk, shown, reopen, self.swarm.streams)
        };
        match compared {
            Ok(facts) => {
                self.facts.add(REPLAY, facts);
                Ok(())
            }
            Err(Objection::Unreadable(_)) if machine.is_unlucky => Err(Finding::Damaged(index)),
            Err(Objection::Broken(what) | Objection::Unreadable(what)) => {
                Err(violation(REPLAY, format!("member {id}: {what}")).into())
            }
        }
    }
}

/// The tenants of a member that is up.
fn tenants(machine: &Machine, count: u64) -> Result<Vec<Tenant>, Violation> {
    let node = machine.host.node.as_ref();
    let tenants = (0..count).map(|number| {
        let tenant = node.and_then(|node| node.craton.tenant(&tenant_name(number)));
        let what = || format!("member {} has no tenant {number}", machine.id);
        tenant.ok_or_else(|| violation("acknowledged-never-lost", what()))
    });
    tenants.collect()
}
