//! What a cluster's members show together, and what follows from it for joining, leaving and upgrading. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use craton_agent_protocol::{InstancePhase, MemberId, ObservedInstance, ObservedMembership, Role};

use craton_platform_kernel::NodeId;

use crate::{
    aggregate::{
        cluster::ClusterState,
        member::{Member, Standing},
    },
    health::Health,
    link::Snapshot,
};

/// One member as it is seen.
struct Seen<'a> {
    member: &'a Member,
    health: Health,
    instance: Option<&'a ObservedInstance>,
}

impl<'a> Seen<'a> {
    /// What it sees of its group, unless that may be long past.
    fn membership(&self) -> Option<&'a ObservedMembership> {
        let is_fresh = self.health == Health::Online;
        self.instance.filter(|_| is_fresh)?.membership.as_ref()
    }
}

/// A cluster's members at one moment.
pub(crate) struct Group<'a> {
    cluster: &'a ClusterState,
    members: BTreeMap<MemberId, Seen<'a>>,
}

/// What an upgrade does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UpgradeStep {
    /// Every member runs the version.
    Done,
    /// This member is the next one to run it.
    Restart(MemberId),
    /// This member does not come up with what it shall run now, so nothing is lost by giving it the version at once.
    Rescue(MemberId),
    /// The group is not whole; until it is, no further member is touched.
    Wait(String),
    /// The version does not run. Nothing further is touched.
    GiveUp(String),
}

impl<'a> Group<'a> {
    pub(crate) fn new(cluster: &'a ClusterState, snapshot: &'a Snapshot) -> Self {
        let members = cluster.members.iter().map(|(member_id, member)| {
            let seen = Seen {
                member,
                health: snapshot.health(member.node_id),
                instance: snapshot.instance(member.node_id, cluster.cluster_id, *member_id),
            };
            (*member_id, seen)
        });
        Self {
            cluster,
            members: members.collect(),
        }
    }

    /// Who leads: of the members that say so of themselves, the one of the newest term.
    pub(crate) fn leader(&self) -> Option<(MemberId, &'a ObservedMembership)> {
        let leaders = self.members.iter().filter_map(|(member_id, seen)| {
            let membership = seen.membership()?;
            (membership.role == Role::Leader).then_some((*member_id, membership))
        });
        leaders.max_by_key(|(_, membership)| membership.term)
    }

    /// A member that does not come back: its directory is gone, or its node has been silent for too long. Nobody is
    /// replaced while nobody leads, because nobody could let the lost one go.
    pub(crate) fn lost(&self, is_silent: impl Fn(NodeId) -> bool) -> Option<MemberId> {
        self.leader()?;
        let is_lost = |member_id: &MemberId, member: &Member| {
            let seen = self.members.get(member_id).and_then(|seen| seen.instance);
            let is_gone = seen.is_some_and(|instance| instance.phase == InstancePhase::Lost);
            is_gone || is_silent(member.node_id)
        };
        let mut wanted = self.cluster.wanted();
        wanted
            .find(|(member_id, member)| is_lost(member_id, member))
            .map(|(member_id, _)| member_id)
    }

    /// Whether every member that the cluster shall have takes part, but for one that is being replaced.
    ///
    /// # Errors
    /// What is missing, for people.
    pub(crate) fn check_whole(&self, replaced: Option<MemberId>) -> Result<(), String> {
        let wanted: BTreeSet<MemberId> = self.cluster.wanted().map(|(member_id, _)| member_id).collect();
        self.check_voters(&wanted)?;
        for member_id in wanted.iter().filter(|id| Some(**id) != replaced) {
            self.check_member(*member_id)?;
        }
        Ok(())
    }

    fn check_voters(&self, wanted: &BTreeSet<MemberId>) -> Result<(), String> {
        let (_, seen) = self.leader().ok_or("the group has no leader")?;
        let (works, wants) = (seen.members_generation, self.cluster.members_generation);
        if works != wants {
            return Err(format!(
                "the leader works with generation {works} of the members, {wants} is wanted"
            ));
        }
        if seen.voters != *wanted || !seen.learners.is_empty() {
            let (voters, wanted) = (numbers(&seen.voters), numbers(wanted));
            return Err(format!("members {voters} have votes, {wanted} shall have them"));
        }
        Ok(())
    }

    fn check_member(&self, member_id: MemberId) -> Result<(), String> {
        let Some(seen) = self.members.get(&member_id) else {
            return Err(format!("member {member_id} is unknown"));
        };
        if seen.health != Health::Online {
            return Err(format!("the node of member {member_id} was not heard of for a while"));
        }
        let answers = |instance: &&ObservedInstance| {
            matches!(instance.phase, InstancePhase::Configuring | InstancePhase::Running)
        };
        match seen.instance {
            Some(instance) if answers(&instance) => Ok(()),
            Some(instance) => Err(format!("member {member_id} {}", shortcoming(instance))),
            None => Err(format!("member {member_id} was not reported")),
        }
    }

    /// The members that a cluster of `node_count` can do without: those out of reach first, the newest ones next, and
    /// the one that leads last.
    pub(crate) fn surplus(&self, node_count: usize) -> Vec<MemberId> {
        let leader = self.leader().map(|(member_id, _)| member_id);
        let mut wanted: Vec<MemberId> = self.cluster.wanted().map(|(member_id, _)| member_id).collect();
        let surplus = wanted.len().saturating_sub(node_count);
        wanted.sort_by_key(|member_id| {
            let is_there = self.members.get(member_id).is_some_and(|seen| {
                let is_lost = seen
                    .instance
                    .is_some_and(|instance| instance.phase == InstancePhase::Lost);
                seen.health == Health::Online && !is_lost
            });
            (Some(*member_id) == leader, is_there, Reverse(*member_id))
        });
        wanted.truncate(surplus);
        wanted
    }

    /// The leaving members that the group has let go.
    pub(crate) fn released(&self) -> Vec<MemberId> {
        let Some((_, seen)) = self.leader() else { return vec![] };
        if seen.members_generation != self.cluster.members_generation {
            return vec![];
        }
        let leaving = self
            .members
            .iter()
            .filter(|(_, seen)| seen.member.standing == Standing::Leaving);
        let ids = leaving.map(|(member_id, _)| *member_id);
        ids.filter(|id| !seen.voters.contains(id) && !seen.learners.contains(id))
            .collect()
    }

    /// The members of a cluster that is being deleted whose removal may begin: the leader's last, so that the others
    /// need not elect another one meanwhile.
    pub(crate) fn removable(&self) -> Vec<MemberId> {
        let staying = || {
            self.members
                .iter()
                .filter(|(_, seen)| seen.member.standing != Standing::Removing)
        };
        let leader = self.leader().map(|(member_id, _)| member_id);
        let others: Vec<MemberId> = staying().map(|(id, _)| *id).filter(|id| Some(*id) != leader).collect();
        let others_remain = self
            .members
            .iter()
            .any(|(id, seen)| Some(*id) != leader && seen.health == Health::Online);
        if others.is_empty() && !others_remain {
            staying().map(|(id, _)| *id).collect()
        } else {
            others
        }
    }

    /// Whether a member's server ends again and again.
    fn is_failing(&self, member_id: MemberId) -> bool {
        let Some(seen) = self.members.get(&member_id) else {
            return false;
        };
        seen.instance.is_some_and(|instance| {
            instance.phase == InstancePhase::Backoff && instance.runs_version == seen.member.server_version
        })
    }

    /// What an upgrade does next: the followers first, one at a time, and the leader last.
    pub(crate) fn next_upgrade(&self, version: &str) -> UpgradeStep {
        for (member_id, member) in self.cluster.wanted().filter(|(_, member)| runs(member, version)) {
            let seen = self.members.get(&member_id).and_then(|seen| seen.instance);
            let is_there = seen.is_some_and(|instance| instance.runs_version.as_deref() == Some(version));
            match seen {
                Some(instance) if is_there && instance.phase == InstancePhase::Backoff => {
                    return UpgradeStep::GiveUp(format!(
                        "version {version} does not run on {}: member {member_id} {}",
                        member.node_id,
                        shortcoming(instance)
                    ));
                }
                _ if !is_there => return UpgradeStep::Wait(format!("member {member_id} does not run {version} yet")),
                _ => {}
            }
        }
        let rest = || {
            let rest = self.cluster.wanted().filter(|(_, member)| !runs(member, version));
            rest.map(|(member_id, _)| member_id)
        };
        if let Some(member_id) = rest().find(|member_id| self.is_failing(*member_id)) {
            return UpgradeStep::Rescue(member_id);
        }
        if let Err(reason) = self.check_whole(None) {
            return UpgradeStep::Wait(reason);
        }
        let leader = self.leader().map(|(member_id, _)| member_id);
        match rest().min_by_key(|id| (Some(*id) == leader, *id)) {
            Some(member_id) => UpgradeStep::Restart(member_id),
            None => UpgradeStep::Done,
        }
    }
}

fn runs(member: &Member, version: &str) -> bool {
    member.server_version.as_deref() == Some(version)
}

fn shortcoming(instance: &ObservedInstance) -> String {
    let phase = crate::reconciler::phase_name(instance.phase);
    let reasons = instance.membership.iter().flat_map(|membership| &membership.not_ready);
    let reasons = reasons
        .map(|reason| reason.detail.as_str())
        .chain(instance.error.as_deref());
    let reasons: Vec<&str> = reasons.collect();
    if reasons.is_empty() {
        format!("is {phase}")
    } else {
        format!("is {phase}: {}", reasons.join("; "))
    }
}

fn numbers(ids: &BTreeSet<MemberId>) -> String {
    let ids: Vec<String> = ids.iter().map(MemberId::to_string).collect();
    ids.join(", ")
}

#[cfg(test)]
pub(crate) mod tests {
    use craton_agent_protocol::{NotReady, ObservedState};
    use craton_platform_kernel::testing;

    use super::*;
    use crate::{
        aggregate::{
            cluster::{
                Cluster, Command,
                tests::{member, ready_on},
            },
            story::{decide, state},
        },
        desired::wire_cluster_id,
        link::Links,
    };

    /// An instance that takes part in its group.
    pub(crate) fn observed(cluster: &ClusterState, member_id: MemberId) -> ObservedInstance {
        ObservedInstance {
            cluster_id: wire_cluster_id(cluster.cluster_id),
            member_id,
            phase: InstancePhase::Running,
            endpoint: None,
            pid: Some(1),
            restarts: 0,
            server_version: Some("0".into()),
            runs_version: None,
            format: None,
            certificate_not_after_s: None,
            peer_certificate_not_after_s: None,
            membership: None,
            applied: None,
            databases: vec![],
            error: None,
        }
    }

    /// Three members, the second of which leads, and what their nodes report.
    struct Story {
        cluster: ClusterState,
        given: Vec<crate::aggregate::cluster::Event>,
        reports: BTreeMap<MemberId, ObservedInstance>,
        silent: BTreeSet<NodeId>,
    }

    impl Story {
        fn new() -> Self {
            let environment = testing::environment();
            let nodes: Vec<NodeId> = (0..3).map(|_| environment.new_id()).collect();
            let given = ready_on(&environment, &nodes);
            let cluster = state::<Cluster>(&given).unwrap();
            let mut story = Self {
                cluster,
                given,
                reports: BTreeMap::new(),
                silent: BTreeSet::new(),
            };
            story.report_all(2);
            story
        }

        fn report_all(&mut self, leader: u64) {
            let voters: BTreeSet<MemberId> = self.cluster.wanted().map(|(id, _)| id).collect();
            for member_id in self.cluster.members.keys().copied().collect::<Vec<_>>() {
                let mut instance = observed(&self.cluster, member_id);
                instance.runs_version = self.cluster.members[&member_id].server_version.clone();
                let is_leader = member_id == member(leader);
                instance.membership = Some(ObservedMembership {
                    role: if is_leader { Role::Leader } else { Role::Follower },
                    leader: Some(member(leader)),
                    term: 7,
                    committed: None,
                    applied: None,
                    voters: voters.clone(),
                    learners: BTreeSet::new(),
                    members_generation: self.cluster.members_generation,
                    not_ready: vec![],
                });
                self.reports.insert(member_id, instance);
            }
        }

        fn change(&mut self, number: u64, change: impl FnOnce(&mut ObservedInstance)) {
            change(self.reports.get_mut(&member(number)).unwrap());
        }

        fn carry_out(&mut self, command: Command) {
            self.given.extend(decide::<Cluster>(&self.given, command).unwrap());
            self.cluster = state::<Cluster>(&self.given).unwrap();
        }

        fn ask<T>(&self, question: impl FnOnce(&Group<'_>) -> T) -> T {
            let links = Links::default();
            for (member_id, instance) in &self.reports {
                let Some(known) = self.cluster.members.get(member_id) else {
                    continue;
                };
                if !self.silent.contains(&known.node_id) {
                    links.expect([known.node_id]);
                }
                let observed = ObservedState {
                    generation: 1,
                    server_versions: vec![],
                    instances: vec![instance.clone()],
                };
                links.observe(known.node_id, observed);
            }
            let snapshot = links.snapshot();
            question(&Group::new(&self.cluster, &snapshot))
        }

        fn whole(&self) -> Result<(), String> {
            self.ask(|group| group.check_whole(None))
        }

        fn silence(&mut self, number: u64) {
            self.silent.insert(self.cluster.members[&member(number)].node_id);
        }
    }

    fn edit(instance: &mut ObservedInstance, edit: impl FnOnce(&mut ObservedMembership)) {
        edit(instance.membership.as_mut().unwrap());
    }

    #[test]
    fn a_group_is_whole_when_its_leader_and_every_member_say_so() {
        assert_eq!(Story::new().whole(), Ok(()));
        type Change = fn(&mut Story);
        let table: [(&str, Change); 6] = [
            ("the group has no leader", |story| {
                story.change(2, |i| edit(i, |group| group.role = Role::Candidate));
            }),
            ("members 1, 2 have votes, 1, 2, 3 shall have them", |story| {
                story.change(2, |i| edit(i, |group| assert!(group.voters.remove(&member(3)))));
            }),
            (
                "the leader works with generation 9 of the members, 0 is wanted",
                |story| {
                    story.change(2, |i| edit(i, |group| group.members_generation = 9));
                },
            ),
            ("member 3 is joining: 5 entries are missing", |story| {
                story.change(3, |i| {
                    i.phase = InstancePhase::Joining;
                    edit(i, |group| {
                        group.not_ready.push(NotReady {
                            code: "catching_up".into(),
                            detail: "5 entries are missing".into(),
                        });
                    });
                });
            }),
            ("the node of member 1 was not heard of for a while", |story| {
                story.silence(1)
            }),
            ("the group has no leader", |story| story.silence(2)),
        ];
        for (reason, change) in table {
            let mut story = Story::new();
            change(&mut story);
            assert_eq!(story.whole(), Err(reason.to_owned()));
        }
        let mut replaced = Story::new();
        replaced.silence(1);
        assert_eq!(replaced.ask(|group| group.check_whole(Some(member(1)))), Ok(()));
    }

    #[test]
    fn of_two_that_claim_to_lead_the_newer_term_counts() {
        let mut story = Story::new();
        story.change(3, |i| {
            edit(i, |group| {
                group.role = Role::Leader;
                group.term = 8;
            });
        });
        assert_eq!(story.ask(|group| group.leader().map(|(id, _)| id)), Some(member(3)));
    }

    #[test]
    fn who_leads_goes_last_and_who_is_gone_goes_first() {
        let surplus = |story: &Story, count| story.ask(|group| group.surplus(count));
        let mut story = Story::new();
        assert_eq!(surplus(&story, 3), []);
        assert_eq!(surplus(&story, 1), [member(3), member(1)]);
        assert_eq!(surplus(&story, 0), [member(3), member(1), member(2)]);
        story.silence(1);
        assert_eq!(surplus(&story, 2), [member(1)]);
        story.silence(2);
        assert_eq!(surplus(&story, 2), [member(2)], "who led is not known to lead");
    }

    #[test]
    fn who_is_lost_is_replaced_while_somebody_leads() {
        let lost = |story: &Story, silent: Option<u64>| {
            let silent = silent.map(|number| story.cluster.members[&member(number)].node_id);
            story.ask(|group| group.lost(|node_id| Some(node_id) == silent))
        };
        let mut story = Story::new();
        assert_eq!(lost(&story, None), None);
        assert_eq!(
            lost(&story, Some(3)),
            Some(member(3)),
            "its node is silent for too long"
        );
        story.change(1, |i| i.phase = InstancePhase::Lost);
        assert_eq!(lost(&story, None), Some(member(1)), "its directory is gone");
        assert_eq!(story.ask(|group| group.surplus(2)), [member(1)]);
        story.silence(2);
        assert_eq!(lost(&story, None), None, "nobody leads");
    }

    #[test]
    fn a_leaving_member_is_removed_when_the_group_has_let_it_go() {
        let released = |story: &Story| story.ask(|group| group.released());
        let mut story = Story::new();
        let member_ids = vec![member(3)];
        story.carry_out(Command::ReleaseMembers { member_ids });
        assert_eq!(released(&story), [], "the leader has not heard of it");
        story.report_all(2);
        assert_eq!(released(&story), [member(3)]);
        story.change(2, |i| edit(i, |group| assert!(group.learners.insert(member(3)))));
        assert_eq!(released(&story), []);
    }

    #[test]
    fn a_deleted_cluster_loses_its_leader_last() {
        let removable = |story: &Story| story.ask(|group| group.removable());
        let mut story = Story::new();
        let operation_id = testing::environment().new_id();
        story.carry_out(Command::RequestDeletion { operation_id });
        assert_eq!(removable(&story), [member(1), member(3)]);
        for number in [1, 3] {
            let member_id = member(number);
            story.carry_out(Command::BeginRemoval { member_id });
        }
        assert_eq!(removable(&story), [], "they are still there");
        story.carry_out(Command::RecordRemoved { member_id: member(1) });
        story.silence(3);
        assert_eq!(removable(&story), [member(2)], "who is out of reach is not waited for");

        let mut leaderless = Story::new();
        leaderless.silence(2);
        leaderless.carry_out(Command::RequestDeletion { operation_id });
        assert_eq!(removable(&leaderless), [member(1), member(2), member(3)]);
    }

    #[test]
    fn an_upgrade_takes_one_member_at_a_time_and_the_leader_last() {
        let next = |story: &Story| story.ask(|group| group.next_upgrade("2"));
        let mut story = Story::new();
        for number in [1, 3] {
            let member_id = member(number);
            assert_eq!(next(&story), UpgradeStep::Restart(member_id));
            let version = "2".to_owned();
            story.carry_out(Command::SetVersion { member_id, version });
            let waits = UpgradeStep::Wait(format!("member {number} does not run 2 yet"));
            assert_eq!(next(&story), waits);
            story.report_all(2);
            story.change(number, |i| i.phase = InstancePhase::Joining);
            assert_eq!(next(&story), UpgradeStep::Wait(format!("member {number} is joining")));
            story.report_all(2);
        }
        assert_eq!(next(&story), UpgradeStep::Restart(member(2)));
        let (member_id, version) = (member(2), "2".to_owned());
        story.carry_out(Command::SetVersion { member_id, version });
        story.report_all(3);
        assert_eq!(next(&story), UpgradeStep::Done);
    }

    #[test]
    fn an_upgrade_stops_when_the_version_does_not_run_or_the_group_is_not_whole() {
        let next = |story: &Story| story.ask(|group| group.next_upgrade("2"));
        let mut story = Story::new();
        story.silence(3);
        let silent = "the node of member 3 was not heard of for a while".to_owned();
        assert_eq!(next(&story), UpgradeStep::Wait(silent));

        let mut story = Story::new();
        let (member_id, version) = (member(1), "2".to_owned());
        story.carry_out(Command::SetVersion { member_id, version });
        story.change(1, |i| {
            i.phase = InstancePhase::Backoff;
            i.error = Some("it ended".into());
        });
        let waits = UpgradeStep::Wait("member 1 does not run 2 yet".into());
        assert_eq!(next(&story), waits, "the report is about the version before");
        story.change(1, |i| i.runs_version = Some("2".into()));
        let UpgradeStep::GiveUp(reason) = next(&story) else {
            panic!("{:?}", next(&story));
        };
        assert!(reason.starts_with("version 2 does not run on node_"), "{reason}");
        assert!(reason.ends_with("member 1 is backoff: it ended"), "{reason}");
        let back = story.ask(|group| group.next_upgrade("1"));
        assert_eq!(back, UpgradeStep::Rescue(member(1)), "the way back is open");
    }
}
