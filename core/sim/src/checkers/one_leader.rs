//! A term has one leader at most, whoever is asked (Raft's Election Safety, Ongaro 2014, section 3.6).

use std::collections::BTreeMap;

use craton_consensus::ClusterStatus;

use super::Objection;

/// Who led in which term, as anybody ever said.
#[derive(Default)]
pub(crate) struct OneLeader(BTreeMap<u64, u64>);

impl OneLeader {
    /// Takes note of what a member says; whether it said something new.
    pub(crate) fn check(&mut self, status: &ClusterStatus) -> Result<bool, Objection> {
        let Some(leader) = status.leader else {
            return Ok(false);
        };
        let (term, leader) = (status.term.get(), leader.get());
        match self.0.insert(term, leader) {
            Some(known) if known != leader => Err(Objection::Broken(format!(
                "member {} takes {leader} for the leader of term {term}, which is {known}",
                status.node.get()
            ))),
            known => Ok(known.is_none()),
        }
    }
}
