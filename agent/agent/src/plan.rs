//! What to do next, from what shall be and what is. Pure, and the only place that decides it.

use std::collections::BTreeMap;

use craton_agent_protocol::{ClusterId, ContentHash, DesiredState, RunState};

/// The certificate of an instance.
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

/// An instance as it is on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalInstance {
    /// Its certificate.
    pub certificate: CertificateCondition,
    /// Its process.
    pub process: ProcessCondition,
    /// Whether the process serves an older certificate than the one on disk.
    pub reload_due: bool,
    /// The hash of the desired instance that was applied in full.
    pub applied: Option<ContentHash>,
}

/// A step. Every step may be taken again without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the directory, the keys and the choice of ports.
    Prepare,
    /// Ask the platform for a certificate.
    RequestCertificate,
    /// Start the process.
    Start,
    /// Let the process read its certificate again.
    ReloadCertificate,
    /// Bring databases and users in place.
    Configure,
    /// Let the process end; it is killed when it takes too long.
    Stop,
    /// Remove everything that is left of the instance.
    Destroy,
}

/// Compares and lists the next steps of each instance. Instances that are not listed as desired get none.
#[must_use]
pub fn plan(desired: &DesiredState, local: &BTreeMap<ClusterId, LocalInstance>) -> Vec<(ClusterId, Vec<Action>)> {
    let steps = desired.instances.iter().map(|instance| {
        let local = local.get(&instance.cluster_id);
        let actions = match instance.run_state {
            RunState::Running => run(local, instance.content_hash()),
            RunState::Deleted => delete(local),
        };
        (instance.cluster_id.clone(), actions)
    });
    steps.filter(|(_, actions)| !actions.is_empty()).collect()
}

fn run(local: Option<&LocalInstance>, wanted: ContentHash) -> Vec<Action> {
    let Some(local) = local else {
        return vec![Action::Prepare];
    };
    let mut actions = Vec::new();
    if local.certificate != CertificateCondition::Current {
        actions.push(Action::RequestCertificate);
    }
    match local.process {
        // A server without a certificate would refuse every client, so it is not worth starting.
        ProcessCondition::Stopped { start_allowed } => {
            if start_allowed && local.certificate != CertificateCondition::Missing {
                actions.push(Action::Start);
            }
        }
        ProcessCondition::Silent => {}
        ProcessCondition::Answering => {
            if local.reload_due {
                actions.push(Action::ReloadCertificate);
            }
            if local.applied != Some(wanted) {
                actions.push(Action::Configure);
            }
        }
        ProcessCondition::Poisoned => actions.push(Action::Stop),
    }
    actions
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
    use craton_agent_protocol::{DesiredInstance, NodeId};

    use super::*;

    fn cluster() -> ClusterId {
        ClusterId::parse("clu_01h455vb4pex5vsknk084sn02q").unwrap()
    }

    fn desired(run_state: RunState) -> DesiredState {
        let instance = DesiredInstance {
            cluster_id: cluster(),
            name: "clinic".into(),
            run_state,
            hostnames: vec!["clinic.local".into()],
            log_origin: "clinic.local".into(),
            databases: vec!["main".into()],
            users: vec![],
            token_verification_key: String::new(),
            witnesses: vec![],
            time_stamp_authority: None,
        };
        DesiredState::new(
            NodeId::parse("node_01h455vb4pex5vsknk084sn02q").unwrap(),
            1,
            vec![instance],
        )
    }

    fn actions(desired: &DesiredState, local: Option<LocalInstance>) -> Vec<Action> {
        let local = local.map(|local| (cluster(), local)).into_iter().collect();
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
                process: *process,
                reload_due: *reload_due,
                applied: if *is_applied { applied } else { None },
            };
            assert_eq!(actions(&desired, Some(local)), *steps, "{local:?}");
        }
    }

    #[test]
    fn a_deleted_instance_is_stopped_before_it_is_destroyed() {
        let desired = desired(RunState::Deleted);
        let local = |process| {
            Some(LocalInstance {
                certificate: CertificateCondition::Missing,
                process,
                reload_due: false,
                applied: None,
            })
        };
        assert_eq!(actions(&desired, None), []);
        assert_eq!(actions(&desired, local(ProcessCondition::Answering)), [Action::Stop]);
        assert_eq!(actions(&desired, local(ProcessCondition::Silent)), [Action::Stop]);
        assert_eq!(
            actions(&desired, local(ProcessCondition::Stopped { start_allowed: false })),
            [Action::Destroy]
        );
    }

    #[test]
    fn an_instance_that_is_not_listed_is_left_alone() {
        let empty = DesiredState::new(NodeId::parse("node_01h455vb4pex5vsknk084sn02q").unwrap(), 1, vec![]);
        for process in [
            ProcessCondition::Answering,
            ProcessCondition::Stopped { start_allowed: true },
        ] {
            let local = LocalInstance {
                certificate: CertificateCondition::Missing,
                process,
                reload_due: false,
                applied: None,
            };
            assert_eq!(actions(&empty, Some(local)), []);
        }
    }
}
