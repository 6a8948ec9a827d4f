//! What to do next, from what shall be and what is. Pure, and the only place that decides it.

use std::collections::BTreeMap;

use craton_agent_protocol::{ContentHash, DesiredInstance, DesiredState, InstanceId, RunState};

/// A certificate of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateCondition {
    /// There is none that could be served.
    Missing,
    /// There is one.
    Current,
    /// There is one, and half of its time is over.
    RenewalDue,
}

/// The process of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessCondition {
    /// None runs.
    Stopped {
        /// Whether it may be started now, or still waits after a failure.
        start_allowed: bool,
    },
    /// It runs and does not answer.
    Silent,
    /// It runs and answers.
    Answering,
    /// It runs, and refuses all work after a failed disk operation until it is started again.
    Poisoned,
}

/// What a running server says of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalMembership {
    /// The generation of the wanted members that it works with.
    pub members_generation: u64,
    /// Whether it knows a leader and nothing keeps it from serving.
    pub is_serving: bool,
}

/// An instance as it is on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalInstance {
    /// The certificate for clients.
    pub certificate: CertificateCondition,
    /// The certificate for other members.
    pub peer_certificate: CertificateCondition,
    /// Its process.
    pub process: ProcessCondition,
    /// Whether the server has answered since its ports were chosen.
    pub has_answered: bool,
    /// What it says of its group, when it answers and has one.
    pub membership: Option<LocalMembership>,
    /// The installed version that the process, or the last one, was started from; `None` for the agent's own choice.
    pub runs_version: Option<String>,
    /// Whether the process serves an older certificate than the one on disk.
    pub reload_due: bool,
    /// The hash of the desired instance that was applied in full.
    pub applied: Option<ContentHash>,
    /// The version of the formats that it writes, when it answers and says so.
    pub format_active: Option<u8>,
}

/// A step. Every step may be taken again without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the directory, the keys and the choice of ports.
    Prepare,
    /// Ask the platform for the certificate for clients.
    RequestCertificate,
    /// Ask the platform for the certificate for other members.
    RequestPeerCertificate,
    /// Start the process.
    Start,
    /// Let the process read its certificates again.
    ReloadCertificate,
    /// Tell the server the members that its group shall have.
    PutMembers,
    /// Bring databases and users in place.
    Configure,
    /// Let the cluster write a newer version of the formats.
    Finalize,
    /// Let another member lead and the process end; the next step starts the wanted version.
    Restart,
    /// Let the process end; it is killed when it takes too long.
    Stop,
    /// Remove everything that is left of the instance.
    Destroy,
}

/// Compares and lists the next steps of each instance. Instances that are not listed as desired get none.
#[must_use]
pub fn plan(desired: &DesiredState, local: &BTreeMap<InstanceId, LocalInstance>) -> Vec<(InstanceId, Vec<Action>)> {
    let steps = desired.instances.iter().map(|instance| {
        let local = local.get(&instance.id());
        let actions = match instance.run_state {
            RunState::Running => run(local, instance),
            RunState::Deleted => delete(local),
        };
        (instance.id(), actions)
    });
    steps.filter(|(_, actions)| !actions.is_empty()).collect()
}

fn run(local: Option<&LocalInstance>, wanted: &DesiredInstance) -> Vec<Action> {
    let Some(local) = local else {
        // What was established and is gone is lost: the platform gives the cluster another member.
        return if wanted.established {
            vec![]
        } else {
            vec![Action::Prepare]
        };
    };
    let mut actions = Vec::new();
    if local.certificate != CertificateCondition::Current {
        actions.push(Action::RequestCertificate);
    }
    if wanted.membership.is_some() && local.peer_certificate != CertificateCondition::Current {
        actions.push(Action::RequestPeerCertificate);
    }
    let is_other_version = local.runs_version != wanted.server_version;
    match local.process {
        ProcessCondition::Stopped { start_allowed } => {
            if start_allowed && may_start(local, wanted) {
                actions.push(Action::Start);
            }
        }
        ProcessCondition::Silent | ProcessCondition::Answering if is_other_version => actions.push(Action::Restart),
        ProcessCondition::Silent => {}
        ProcessCondition::Answering => {
            if local.reload_due {
                actions.push(Action::ReloadCertificate);
            }
            actions.extend(settle(local, wanted));
        }
        ProcessCondition::Poisoned => actions.push(Action::Stop),
    }
    actions
}

/// A server without a certificate would refuse every client, and one that the others do not know would wait for them,
/// so neither is worth starting. One that has run is known.
fn may_start(local: &LocalInstance, wanted: &DesiredInstance) -> bool {
    let is_known = wanted.membership.as_ref().is_none_or(|membership| {
        let is_listed = membership.lists(wanted.member_id) || local.has_answered;
        is_listed && local.peer_certificate != CertificateCondition::Missing
    });
    is_known && local.certificate != CertificateCondition::Missing
}

/// The members come first: databases and users can be told only to a server that has a part in its group.
fn settle(local: &LocalInstance, wanted: &DesiredInstance) -> Option<Action> {
    let is_outdated = |generation| {
        let known = local.membership.map_or(0, |membership| membership.members_generation);
        known < generation
    };
    match &wanted.membership {
        Some(membership) if is_outdated(membership.generation) => Some(Action::PutMembers),
        Some(_) if !local.membership.is_some_and(|membership| membership.is_serving) => None,
        _ if local.applied != Some(wanted.content_hash()) => Some(Action::Configure),
        // Last, so that a member that does not know the version keeps no password from being changed.
        _ => (local.format_active < wanted.format_version).then_some(Action::Finalize),
    }
}

fn delete(local: Option<&LocalInstance>) -> Vec<Action> {
    match local.map(|local| local.process) {
        None => vec![],
        Some(ProcessCondition::Stopped { .. }) => vec![Action::Destroy],
        Some(ProcessCondition::Silent | ProcessCondition::Answering | ProcessCondition::Poisoned) => vec![Action::Stop],
    }
}

#[cfg(test)]
mod tests {
    use craton_agent_protocol::{ClusterId, DesiredMember, DesiredMembership, MemberId, NodeId};

    use super::*;

    fn desired(run_state: RunState) -> DesiredState {
        let instance = DesiredInstance {
            cluster_id: ClusterId::parse("clu_01h455vb4pex5vsknk084sn02q").unwrap(),
            member_id: MemberId::FIRST,
            name: "clinic".into(),
            run_state,
            hostnames: vec!["clinic.local".into()],
            log_origin: "clinic.local".into(),
            region: "local".into(),
            databases: vec!["main".into()],
            users: vec![],
            token_verification_key: String::new(),
            witnesses: vec![],
            time_stamp_authority: None,
            established: false,
            membership: None,
            server_version: None,
            format_version: None,
        };
        with(instance)
    }

    fn with(instance: DesiredInstance) -> DesiredState {
        let node_id = NodeId::parse("node_01h455vb4pex5vsknk084sn02q").unwrap();
        DesiredState::new(node_id, 1, vec![instance])
    }

    /// In a group that it is listed in, at generation 2.
    fn desired_member(members: &[u64]) -> DesiredState {
        let members = members.iter().map(|number| DesiredMember {
            member_id: MemberId::new(*number).unwrap(),
            peer_address: ([127, 0, 0, 1], 1).into(),
        });
        let membership = DesiredMembership {
            bootstrap: true,
            generation: 2,
            members: members.collect(),
        };
        with(DesiredInstance {
            membership: Some(membership),
            ..desired(RunState::Running).instances[0].clone()
        })
    }

    fn local(process: ProcessCondition) -> LocalInstance {
        LocalInstance {
            certificate: CertificateCondition::Current,
            peer_certificate: CertificateCondition::Current,
            process,
            has_answered: false,
            membership: None,
            runs_version: None,
            reload_due: false,
            applied: None,
            format_active: None,
        }
    }

    fn actions(desired: &DesiredState, local: Option<LocalInstance>) -> Vec<Action> {
        let id = desired.instances.first().map(DesiredInstance::id);
        let id = id.unwrap_or_else(|| InstanceId::parse("clu_01h455vb4pex5vsknk084sn02q.1").unwrap());
        let local = local.map(|local| (id, local)).into_iter().collect();
        plan(desired, &local)
            .into_iter()
            .flat_map(|(_, actions)| actions)
            .collect()
    }

    #[test]
    fn a_wanted_instance_moves_one_step_closer_in_every_condition() {
        use CertificateCondition as C;
        use ProcessCondition as P;
        let desired = desired(RunState::Running);
        let applied = Some(desired.instances[0].content_hash());
        let waiting = P::Stopped { start_allowed: false };
        let stopped = P::Stopped { start_allowed: true };

        assert_eq!(actions(&desired, None), [Action::Prepare]);
        let table: &[(C, P, bool, bool, &[Action])] = &[
            // certificate, process, reload due, applied, steps
            (C::Missing, stopped, false, false, &[Action::RequestCertificate]),
            (C::Current, stopped, false, false, &[Action::Start]),
            (C::Current, waiting, false, true, &[]),
            (
                C::RenewalDue,
                stopped,
                false,
                true,
                &[Action::RequestCertificate, Action::Start],
            ),
            (C::Current, P::Silent, true, false, &[]),
            (C::Current, P::Answering, false, false, &[Action::Configure]),
            (C::Current, P::Answering, false, true, &[]),
            (C::Current, P::Answering, true, true, &[Action::ReloadCertificate]),
            (C::RenewalDue, P::Answering, false, true, &[Action::RequestCertificate]),
            (C::Current, P::Poisoned, false, true, &[Action::Stop]),
        ];
        for (certificate, process, reload_due, is_applied, steps) in table {
            let local = LocalInstance {
                certificate: *certificate,
                peer_certificate: C::Missing,
                reload_due: *reload_due,
                applied: if *is_applied { applied } else { None },
                ..local(*process)
            };
            assert_eq!(actions(&desired, Some(local.clone())), *steps, "{local:?}");
        }
    }

    #[test]
    fn what_was_established_and_is_gone_is_not_begun_anew() {
        let established = with(DesiredInstance {
            established: true,
            ..desired(RunState::Running).instances[0].clone()
        });
        assert_eq!(actions(&established, None), []);
        let stopped = ProcessCondition::Stopped { start_allowed: true };
        assert_eq!(actions(&established, Some(local(stopped))), [Action::Start]);
    }

    #[test]
    fn a_member_waits_for_its_certificate_and_its_place_and_is_told_of_the_others_before_the_rest() {
        use CertificateCondition as C;
        use ProcessCondition as P;
        let stopped = P::Stopped { start_allowed: true };
        let (listed, unlisted) = (desired_member(&[1, 2]), desired_member(&[2]));
        let group = |members_generation, is_serving| {
            Some(LocalMembership {
                members_generation,
                is_serving,
            })
        };
        type Case<'a> = (&'a DesiredState, C, P, bool, Option<LocalMembership>, &'a [Action]);
        let table: &[Case<'_>] = &[
            // desired, peer certificate, process, has answered, group, steps
            (
                &listed,
                C::Missing,
                stopped,
                false,
                None,
                &[Action::RequestPeerCertificate],
            ),
            (&listed, C::Current, stopped, false, None, &[Action::Start]),
            (&unlisted, C::Current, stopped, false, None, &[]),
            (&unlisted, C::Current, stopped, true, None, &[Action::Start]),
            (&listed, C::Current, P::Answering, true, None, &[Action::PutMembers]),
            (
                &listed,
                C::Current,
                P::Answering,
                true,
                group(1, true),
                &[Action::PutMembers],
            ),
            (&listed, C::Current, P::Answering, true, group(2, false), &[]),
            (
                &listed,
                C::Current,
                P::Answering,
                true,
                group(2, true),
                &[Action::Configure],
            ),
            (
                &listed,
                C::Current,
                P::Answering,
                true,
                group(3, true),
                &[Action::Configure],
            ),
            (
                &listed,
                C::RenewalDue,
                P::Answering,
                true,
                group(2, false),
                &[Action::RequestPeerCertificate],
            ),
        ];
        for (desired, peer_certificate, process, has_answered, membership, steps) in table {
            let local = LocalInstance {
                peer_certificate: *peer_certificate,
                has_answered: *has_answered,
                membership: *membership,
                ..local(*process)
            };
            assert_eq!(actions(desired, Some(local.clone())), *steps, "{local:?}");
        }
    }

    #[test]
    fn a_newer_format_version_is_asked_for_once_everything_else_is_in_place() {
        use ProcessCondition as P;
        let stopped = P::Stopped { start_allowed: true };
        for (wanted, active, process, is_applied, steps) in [
            (Some(2), Some(1), P::Answering, true, &[Action::Finalize][..]),
            (Some(2), None, P::Answering, true, &[Action::Finalize]),
            (Some(2), Some(1), P::Answering, false, &[Action::Configure]),
            (Some(2), Some(2), P::Answering, true, &[]),
            (Some(2), Some(3), P::Answering, true, &[]),
            (None, Some(1), P::Answering, true, &[]),
            (Some(2), None, P::Silent, true, &[]),
            (Some(2), None, stopped, true, &[Action::Start]),
        ] {
            let desired = with(DesiredInstance {
                format_version: wanted,
                ..desired(RunState::Running).instances[0].clone()
            });
            let local = LocalInstance {
                applied: is_applied.then(|| desired.instances[0].content_hash()),
                format_active: active,
                ..local(process)
            };
            assert_eq!(actions(&desired, Some(local.clone())), steps, "{wanted:?} {local:?}");
        }
    }

    #[test]
    fn another_version_is_reached_by_a_restart_and_nothing_else_is_done_before() {
        use ProcessCondition as P;
        let newer = with(DesiredInstance {
            server_version: Some("0.2.0".into()),
            ..desired(RunState::Running).instances[0].clone()
        });
        for (runs, process, steps) in [
            (None, P::Answering, [Action::Restart]),
            (None, P::Silent, [Action::Restart]),
            (None, P::Poisoned, [Action::Stop]),
            (None, P::Stopped { start_allowed: true }, [Action::Start]),
            (Some("0.1.0"), P::Answering, [Action::Restart]),
            (Some("0.2.0"), P::Answering, [Action::Configure]),
        ] {
            let local = LocalInstance {
                runs_version: runs.map(str::to_owned),
                reload_due: runs != Some("0.2.0"),
                ..local(process)
            };
            assert_eq!(actions(&newer, Some(local.clone())), steps, "{local:?}");
        }
    }

    #[test]
    fn a_deleted_instance_is_stopped_before_it_is_destroyed() {
        let desired = desired(RunState::Deleted);
        assert_eq!(actions(&desired, None), []);
        for (process, step) in [
            (ProcessCondition::Answering, Action::Stop),
            (ProcessCondition::Silent, Action::Stop),
            (ProcessCondition::Stopped { start_allowed: false }, Action::Destroy),
        ] {
            assert_eq!(actions(&desired, Some(local(process))), [step]);
        }
    }

    #[test]
    fn an_instance_that_is_not_listed_is_left_alone() {
        let empty = DesiredState::new(NodeId::parse("node_01h455vb4pex5vsknk084sn02q").unwrap(), 1, vec![]);
        for process in [
            ProcessCondition::Answering,
            ProcessCondition::Stopped { start_allowed: true },
        ] {
            assert_eq!(actions(&empty, Some(local(process))), []);
        }
    }
}
