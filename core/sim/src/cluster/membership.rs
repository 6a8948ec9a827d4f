//! Whoever decides who shall be a member: adds, removes and replaces members, one change at a time.

use craton_consensus::{ListedMember, MemberList, MemberRole};
use craton_log::testing::Crash;
use craton_types::NodeId;

use super::machine::Machine;
use super::{ClusterWorld, index_of};
use crate::fault::Fault;

/// No cluster has more members.
const MEMBERS_MAX: usize = 5;
/// A member is told of a new list within about so many milliseconds.
const TOLD_WITHIN_MS: u64 = 100;
/// It is looked at whether a change is done about once in so many milliseconds.
const MS_BETWEEN_LOOKS: u64 = 50;

impl ClusterWorld {
    /// Who shall be a member.
    pub(super) fn list(&self) -> MemberList {
        let members = self.wanted.iter().map(|id| ListedMember {
            id: NodeId::new(*id),
            peer_address: format!("member-{id}"),
        });
        MemberList {
            generation: self.generation,
            members: members.collect(),
        }
    }

    /// Begins a change, if none is under way.
    pub(super) fn change_members(&mut self, fault: Fault) {
        if self.is_changing {
            return;
        }
        match fault {
            Fault::AddedMember if self.wanted.len() < MEMBERS_MAX => self.add_member(),
            Fault::RemovedMember if self.wanted.len() > self.members_min => {
                let victim = *self.dice.pick(&self.wanted);
                self.wanted.retain(|id| *id != victim);
            }
            Fault::ReplacedMember => {
                let victim = *self.dice.pick(&self.wanted);
                self.replace(victim);
            }
            _ => return,
        }
        self.counts.add(fault.name(), 1);
        self.is_changing = true;
        self.generation += 1;
        self.trace.note(format_args!("members shall be {:?}", self.wanted));
    }

    /// Another machine takes a member's place. That one's may be gone for good already, unless another one's disk may be
    /// damaged: of three members only one may lose what it has.
    fn replace(&mut self, victim: u64) {
        let machine = &self.machines[index_of(victim)];
        let may_be_gone = machine.is_unlucky || !self.swarm.damages();
        if may_be_gone && self.dice.below(2) == 0 {
            self.retire(index_of(victim));
        }
        self.wanted.retain(|id| *id != victim);
        self.add_member();
    }

    fn add_member(&mut self) {
        let id = self.machines.len() as u64 + 1;
        let machine = Machine::new(self.seed, id, &self.swarm, &self.trace, false);
        machine.host.disk.set_armed(self.is_armed);
        self.machines.push(machine);
        self.wanted.push(id);
    }

    /// Replaces a member whose files are damaged.
    pub(super) fn replace_damaged(&mut self, index: usize) {
        let id = self.machines[index].id;
        self.trace.note(format_args!("member {id} is replaced"));
        self.facts.add("damage-noticed", 1);
        self.retire(index);
        if self.wanted.contains(&id) {
            self.wanted.retain(|wanted| *wanted != id);
            self.add_member();
            self.is_changing = true;
            self.generation += 1;
        }
    }

    /// A machine is gone for good.
    fn retire(&mut self, index: usize) {
        self.trace.note(format_args!("machine {} is gone", index + 1));
        self.machines[index].stop(Crash::Process);
        self.machines[index].is_gone = true;
        self.leave_clients(index);
    }

    /// Tells members who shall be one, and looks whether they are.
    pub(super) fn look_at_members(&mut self) {
        for machine in &mut self.machines {
            if machine.told_generation < self.generation && machine.is_up() && self.dice.below(TOLD_WITHIN_MS) == 0 {
                machine.told_generation = self.generation;
            } else {
                continue;
            }
            let list = MemberList {
                generation: self.generation,
                members: self
                    .wanted
                    .iter()
                    .map(|id| ListedMember {
                        id: NodeId::new(*id),
                        peer_address: format!("member-{id}"),
                    })
                    .collect(),
            };
            if let Some(member) = machine.member() {
                member.set_members(list);
            }
        }
        if self.is_changing && self.now_ms.is_multiple_of(MS_BETWEEN_LOOKS) && self.is_changed() {
            self.is_changing = false;
            self.facts.add("membership-changed", 1);
            let wanted = self.wanted.clone();
            let leaving = self
                .machines
                .iter()
                .filter(|machine| !wanted.contains(&machine.id) && !machine.is_gone);
            let leaving: Vec<usize> = leaving.map(|machine| index_of(machine.id)).collect();
            leaving.into_iter().for_each(|index| self.retire(index));
        }
    }

    /// Whether those who shall be members are, and a majority of them knows.
    fn is_changed(&self) -> bool {
        let mut wanted: Vec<NodeId> = self.wanted.iter().map(|id| NodeId::new(*id)).collect();
        wanted.sort_unstable();
        let statuses = self
            .machines
            .iter()
            .filter_map(|machine| Some(machine.member()?.status()));
        let leading = statuses.filter(|status| status.role == MemberRole::Leader && !status.lacks_majority);
        let newest = leading.max_by_key(|status| status.term);
        newest.is_some_and(|status| {
            let mut voters = status.voters.clone();
            voters.sort_unstable();
            voters == wanted && status.learners.is_empty() && status.committed == status.last
        })
    }
}
