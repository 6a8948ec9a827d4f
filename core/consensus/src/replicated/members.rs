//! Who shall be a member, and the next step from who is.

use std::collections::{BTreeMap, BTreeSet};

use craton_types::NodeId;
use openraft::ChangeMembers;

use super::types::{Member, MemberForm, Members};

/// The members that a cluster shall have, as somebody outside decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberList {
    /// Grows with every change; an older list is ignored.
    pub generation: u64,
    /// The members.
    pub members: Vec<ListedMember>,
}

/// A member in a [`MemberList`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedMember {
    /// Its id, at least one, never given to another node.
    pub id: NodeId,
    /// Host and port where it listens for the others.
    pub peer_address: String,
}

impl MemberList {
    fn nodes(&self, form: MemberForm) -> BTreeMap<u64, Member> {
        let nodes = self.members.iter().map(|listed| {
            let member = Member {
                peer_address: listed.peer_address.clone(),
                generation: self.generation,
                form,
            };
            (listed.id.get(), member)
        });
        nodes.collect()
    }
}

/// A change of the membership, and whether voters that it takes the vote from stay as learners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) change: ChangeMembers<u64, Member>,
    pub(super) retain: bool,
}

impl Step {
    const fn new(change: ChangeMembers<u64, Member>) -> Self {
        Self { change, retain: true }
    }
}

/// The next step towards `desired`, written in `form`; `None` when there is none to take now. New members learn before they
/// vote; members that are no longer wanted leave when all that are wanted vote.
pub(super) fn next_step(
    desired: &MemberList,
    form: MemberForm,
    current: &Members,
    caught_up: impl Fn(u64) -> bool,
) -> Option<Step> {
    let wanted = desired.nodes(form);
    let known: BTreeMap<u64, &Member> = current.nodes().map(|(id, member)| (*id, member)).collect();
    let is_outdated = known.values().any(|member| member.generation > desired.generation);
    // A change that is under way is finished by whoever began it, or by the next change.
    if wanted.is_empty() || is_outdated {
        return None;
    }
    let voters: BTreeSet<u64> = current.voter_ids().collect();
    let all_wanted: BTreeSet<u64> = wanted.keys().copied().collect();
    if current.get_joint_config().len() > 1 {
        let target = current.get_joint_config().last()?.clone();
        return Some(Step::new(ChangeMembers::ReplaceAllVoters(target)));
    }
    let new: BTreeMap<u64, Member> = wanted
        .iter()
        .filter(|(id, _)| !known.contains_key(id))
        .map(|(id, member)| (*id, member.clone()))
        .collect();
    if !new.is_empty() {
        return Some(Step::new(ChangeMembers::AddNodes(new)));
    }
    let changed: BTreeMap<u64, Member> = wanted
        .iter()
        .filter(|(id, member)| known.get(id).is_some_and(|known| is_changed(known, member)))
        .map(|(id, member)| (*id, member.clone()))
        .collect();
    if !changed.is_empty() {
        return Some(Step::new(ChangeMembers::SetNodes(changed)));
    }
    let ready: BTreeSet<u64> = all_wanted
        .difference(&voters)
        .copied()
        .filter(|id| caught_up(*id))
        .collect();
    if !ready.is_empty() {
        return Some(Step::new(ChangeMembers::AddVoterIds(ready)));
    }
    if !all_wanted.is_subset(&voters) {
        return None;
    }
    if voters != all_wanted {
        return Some(Step {
            change: ChangeMembers::ReplaceAllVoters(all_wanted),
            retain: false,
        });
    }
    let leftover: BTreeSet<u64> = known.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
    (!leftover.is_empty()).then(|| Step::new(ChangeMembers::RemoveNodes(leftover)))
}

/// Whether a member is to be written again. One that learns late which form is written does not go back to the old one.
fn is_changed(known: &Member, wanted: &Member) -> bool {
    (&known.peer_address, known.generation) != (&wanted.peer_address, wanted.generation) || known.form < wanted.form
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(generation: u64, ids: &[u64]) -> MemberList {
        let members = ids.iter().map(|id| ListedMember {
            id: NodeId::new(*id),
            peer_address: format!("host-{id}:7001"),
        });
        MemberList {
            generation,
            members: members.collect(),
        }
    }

    fn members(generation: u64, voters: &[u64], learners: &[u64]) -> Members {
        let all: Vec<u64> = voters.iter().chain(learners).copied().collect();
        Members::new(
            vec![voters.iter().copied().collect()],
            list(generation, &all).nodes(MemberForm::Long),
        )
    }

    /// Takes steps until there is none, and tells them.
    fn steps(desired: &MemberList, mut current: Members) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(step) = next_step(desired, MemberForm::Long, &current, |_| true) {
            let mut nodes: BTreeMap<u64, Member> = current.nodes().map(|(id, node)| (*id, node.clone())).collect();
            let mut voters: BTreeSet<u64> = current.voter_ids().collect();
            told.push(match step.change {
                ChangeMembers::AddNodes(new) => {
                    let text = format!("learn {:?}", new.keys().collect::<Vec<_>>());
                    nodes.extend(new);
                    text
                }
                ChangeMembers::SetNodes(changed) => {
                    let text = format!("set {:?}", changed.keys().collect::<Vec<_>>());
                    nodes.extend(changed);
                    text
                }
                ChangeMembers::AddVoterIds(ids) => {
                    let text = format!("vote {ids:?}");
                    voters.extend(ids);
                    text
                }
                ChangeMembers::ReplaceAllVoters(ids) => {
                    let text = format!("voters {ids:?}");
                    if !step.retain {
                        nodes.retain(|id, _| ids.contains(id) || !voters.contains(id));
                    }
                    voters = ids;
                    text
                }
                ChangeMembers::RemoveNodes(ids) => {
                    let text = format!("remove {ids:?}");
                    nodes.retain(|id, _| !ids.contains(id));
                    text
                }
                other => panic!("{other:?} is never planned"),
            });
            assert!(told.len() < 10, "{told:?}");
            current = Members::new(vec![voters], nodes);
        }
        told
    }

    #[test]
    fn members_learn_vote_and_leave_in_this_order() {
        for (desired, current, expected) in [
            (
                list(2, &[1, 2, 3]),
                members(1, &[1], &[]),
                vec!["learn [2, 3]", "set [1]", "vote {2, 3}"],
            ),
            (list(2, &[1, 2, 3]), members(2, &[1, 2, 3], &[]), vec![]),
            (
                list(3, &[1, 2, 4]),
                members(2, &[1, 2, 3], &[]),
                vec!["learn [4]", "set [1, 2]", "vote {4}", "voters {1, 2, 4}"],
            ),
            (
                list(3, &[2]),
                members(2, &[1, 2, 3], &[]),
                vec!["set [2]", "voters {2}"],
            ),
            (list(3, &[1]), members(3, &[1], &[2]), vec!["remove {2}"]),
            (list(1, &[1]), members(2, &[1, 2, 3], &[]), vec![]),
            (list(9, &[]), members(2, &[1, 2, 3], &[]), vec![]),
        ] {
            assert_eq!(
                steps(&desired, current.clone()),
                expected,
                "{desired:?} from {current:?}"
            );
        }
    }

    #[test]
    fn nobody_leaves_before_the_replacement_has_caught_up() {
        let current = members(3, &[1, 2, 3], &[4]);
        assert_eq!(
            next_step(&list(3, &[1, 2, 4]), MemberForm::Long, &current, |_| false),
            None
        );
    }

    #[test]
    fn a_change_that_was_begun_is_finished_first() {
        let voters = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<u64>>();
        let joint = Members::new(
            vec![voters(&[1, 2, 3]), voters(&[1, 2, 4])],
            list(3, &[1, 2, 3, 4]).nodes(MemberForm::Long),
        );
        let step = next_step(&list(3, &[1, 2, 4]), MemberForm::Long, &joint, |_| true);
        assert_eq!(
            step,
            Some(Step::new(ChangeMembers::ReplaceAllVoters(voters(&[1, 2, 4]))))
        );
    }

    #[test]
    fn members_are_written_again_in_a_newer_form_and_never_in_an_older_one() {
        let desired = list(2, &[1, 2]);
        let written = |form| Members::new(vec![[1, 2].into()], desired.nodes(form));
        let step = |form, current| next_step(&desired, form, &written(current), |_| true);
        let (long, short) = (MemberForm::Long, MemberForm::Short);
        assert_eq!(step(long, long), None);
        assert_eq!(step(short, short), None);
        assert_eq!(step(long, short), None);
        assert_eq!(
            step(short, long),
            Some(Step::new(ChangeMembers::SetNodes(desired.nodes(short))))
        );
    }
}
