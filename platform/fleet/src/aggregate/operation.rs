//! Something that takes time: which step it is at, until when it may take, and how it ended.
//!
//! # Invariants
//! - Steps complete in their order.
//! - It ends once, as succeeded, failed or cancelled. Only failed and cancelled ones can be retried, with a new deadline.
//! - A running operation always has a deadline; what passes it fails.

use std::fmt;

use craton_platform_kernel::{Aggregate, ClusterId, OperationId, OrgId, StreamName};
use jiff::{SignedDuration, Timestamp};

/// The aggregate.
pub(crate) enum Operation {}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) enum Kind {
    #[serde(rename = "cluster.create")]
    CreateCluster,
    #[serde(rename = "cluster.delete")]
    DeleteCluster,
    #[serde(rename = "cluster.scale")]
    ScaleCluster,
    #[serde(rename = "cluster.replace_node")]
    ReplaceNode,
    #[serde(rename = "cluster.upgrade")]
    UpgradeCluster,
    #[serde(rename = "cluster.finalize")]
    FinalizeCluster,
}

/// One step of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// Nodes are chosen.
    Placed,
    /// Every node has the cluster's certificates.
    Certificate,
    /// Every node's server answers.
    Started,
    /// Every member has a vote in the cluster's group, and the group has a leader.
    Joined,
    /// Databases and users are in place.
    Configured,
    /// The public endpoint was tried: TLS, login, a write and a read.
    Probed,
    /// The group goes on without the members that it is to lose.
    Left,
    /// Every member runs the wanted version.
    Upgraded,
    /// Every member writes the wanted version of the formats.
    Finalized,
    /// No node has anything left of it.
    Removed,
}

impl Kind {
    /// The steps in their order.
    pub(crate) const fn steps(self) -> &'static [Step] {
        match self {
            Self::CreateCluster => &[
                Step::Placed,
                Step::Certificate,
                Step::Started,
                Step::Joined,
                Step::Configured,
                Step::Probed,
            ],
            Self::DeleteCluster => &[Step::Removed],
            Self::ScaleCluster | Self::ReplaceNode => &[
                Step::Placed,
                Step::Certificate,
                Step::Started,
                Step::Joined,
                Step::Configured,
                Step::Probed,
                Step::Left,
                Step::Removed,
            ],
            Self::UpgradeCluster => &[Step::Upgraded, Step::Probed],
            Self::FinalizeCluster => &[Step::Finalized, Step::Probed],
        }
    }

    /// How long it may take.
    pub(crate) const fn time_allowed(self) -> SignedDuration {
        match self {
            Self::CreateCluster => SignedDuration::from_mins(5),
            Self::DeleteCluster | Self::FinalizeCluster => SignedDuration::from_mins(10),
            // A new member first receives everything that the others have.
            Self::ScaleCluster | Self::ReplaceNode => SignedDuration::from_mins(60),
            Self::UpgradeCluster => SignedDuration::from_mins(30),
        }
    }

    /// Whether it can be stopped on the way. What is being destroyed cannot be kept.
    pub(crate) const fn is_cancellable(self) -> bool {
        !matches!(self, Self::DeleteCluster)
    }

    /// The name in the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::CreateCluster => "cluster.create",
            Self::DeleteCluster => "cluster.delete",
            Self::ScaleCluster => "cluster.scale",
            Self::ReplaceNode => "cluster.replace_node",
            Self::UpgradeCluster => "cluster.upgrade",
            Self::FinalizeCluster => "cluster.finalize",
        }
    }
}

impl Step {
    /// The name in the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Certificate => "certificate",
            Self::Started => "started",
            Self::Joined => "joined",
            Self::Configured => "configured",
            Self::Probed => "probed",
            Self::Left => "left",
            Self::Upgraded => "upgraded",
            Self::Finalized => "finalized",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happened to an operation.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "type", content = "data")]
pub(crate) enum Event {
    #[serde(rename = "operation.started")]
    Started {
        operation_id: OperationId,
        org_id: OrgId,
        kind: Kind,
        cluster_id: ClusterId,
        at: Timestamp,
        deadline: Timestamp,
    },
    #[serde(rename = "operation.step_completed")]
    StepCompleted { step: Step, at: Timestamp },
    #[serde(rename = "operation.attempt_failed")]
    AttemptFailed {
        step: Step,
        error: String,
        at: Timestamp,
        retry_at: Timestamp,
    },
    #[serde(rename = "operation.succeeded")]
    Succeeded { at: Timestamp },
    #[serde(rename = "operation.failed")]
    Failed { error: String, at: Timestamp },
    #[serde(rename = "operation.cancelled")]
    Cancelled { at: Timestamp },
    #[serde(rename = "operation.retried")]
    Retried { at: Timestamp, deadline: Timestamp },
}

/// What is asked of an operation.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Start {
        operation_id: OperationId,
        org_id: OrgId,
        kind: Kind,
        cluster_id: ClusterId,
        now: Timestamp,
    },
    CompleteStep {
        step: Step,
        now: Timestamp,
    },
    FailAttempt {
        step: Step,
        error: String,
        now: Timestamp,
    },
    /// Gives up if the deadline has passed; `seen` is what the last look showed.
    Expire {
        seen: String,
        now: Timestamp,
    },
    /// Gives up before the deadline: going on would do harm.
    GiveUp {
        error: String,
        now: Timestamp,
    },
    Cancel {
        now: Timestamp,
    },
    Retry {
        now: Timestamp,
    },
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no such operation")]
    Unknown,
    #[error("the operation has ended")]
    Ended,
    #[error("the operation still runs")]
    Running,
    #[error("this operation cannot be cancelled")]
    NotCancellable,
    #[error("the operation is at another step than {0}")]
    OtherStep(Step),
    #[error("the operation's deadline has not passed")]
    NotExpired,
}

/// How an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Accepted, no step is done.
    Queued,
    /// Under way.
    Running,
    /// Done.
    Succeeded,
    /// Given up.
    Failed,
    /// Stopped by someone.
    Cancelled,
}

impl Phase {
    /// Whether nothing more will happen by itself.
    pub(crate) const fn is_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct OperationState {
    pub(crate) operation_id: OperationId,
    pub(crate) org_id: OrgId,
    pub(crate) kind: Kind,
    pub(crate) cluster_id: ClusterId,
    pub(crate) phase: Phase,
    pub(crate) steps_done: usize,
    /// Tries of the current step that failed.
    pub(crate) attempts: u32,
    pub(crate) retry_at: Option<Timestamp>,
    pub(crate) error: Option<String>,
    pub(crate) deadline: Timestamp,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl OperationState {
    /// The step that comes next; `None` when all are done.
    pub(crate) fn step(&self) -> Option<Step> {
        self.kind.steps().get(self.steps_done).copied()
    }
}

/// An operation, once it was started.
pub(crate) type State = Option<OperationState>;

/// The stream of an operation.
pub(crate) fn stream(org_id: OrgId, operation_id: OperationId) -> StreamName {
    StreamName::new(Some(org_id), Operation::KIND, operation_id)
}

/// The wait after `attempts` failed tries: one second, twice that, and so on up to 15.
fn retry_wait(attempts: u32) -> SignedDuration {
    SignedDuration::from_secs((1_i64 << attempts.min(4)).min(15))
}

impl Aggregate for Operation {
    const KIND: &'static str = "operation";
    const EVENT_VERSION: u32 = 1;
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command) -> Result<Vec<Event>, Refusal> {
        if let Command::Start {
            operation_id,
            org_id,
            kind,
            cluster_id,
            now,
        } = command
        {
            let deadline = now + kind.time_allowed();
            return Ok(match state {
                None => vec![Event::Started {
                    operation_id,
                    org_id,
                    kind,
                    cluster_id,
                    at: now,
                    deadline,
                }],
                Some(_) => vec![],
            });
        }
        let operation = state.as_ref().ok_or(Refusal::Unknown)?;
        let is_ended = operation.phase.is_ended();
        match command {
            Command::Start { .. } => unreachable!("answered above"),
            Command::Retry { now } => match operation.phase {
                Phase::Failed | Phase::Cancelled => Ok(vec![Event::Retried {
                    at: now,
                    deadline: now + operation.kind.time_allowed(),
                }]),
                Phase::Succeeded => Err(Refusal::Ended),
                Phase::Queued | Phase::Running => Err(Refusal::Running),
            },
            _ if is_ended => Err(Refusal::Ended),
            Command::CompleteStep { step, now } => {
                if operation.step() != Some(step) {
                    return Err(Refusal::OtherStep(step));
                }
                let mut events = vec![Event::StepCompleted { step, at: now }];
                if operation.steps_done + 1 == operation.kind.steps().len() {
                    events.push(Event::Succeeded { at: now });
                }
                Ok(events)
            }
            Command::FailAttempt { step, error, now } => {
                if operation.step() != Some(step) {
                    return Err(Refusal::OtherStep(step));
                }
                let retry_at = now + retry_wait(operation.attempts);
                Ok(vec![Event::AttemptFailed {
                    step,
                    error,
                    at: now,
                    retry_at,
                }])
            }
            Command::Expire { seen, now } => {
                if now < operation.deadline {
                    return Err(Refusal::NotExpired);
                }
                let step = operation.step().map_or("end", Step::as_str);
                let allowed = operation.kind.time_allowed().as_mins();
                let error = format!("step {step} was not done within {allowed} minutes: {seen}");
                Ok(vec![Event::Failed { error, at: now }])
            }
            Command::GiveUp { error, now } => Ok(vec![Event::Failed { error, at: now }]),
            Command::Cancel { now } => {
                if operation.kind.is_cancellable() {
                    Ok(vec![Event::Cancelled { at: now }])
                } else {
                    Err(Refusal::NotCancellable)
                }
            }
        }
    }

    fn apply(state: State, event: &Event) -> State {
        if let Event::Started {
            operation_id,
            org_id,
            kind,
            cluster_id,
            at,
            deadline,
        } = event.clone()
        {
            return Some(OperationState {
                operation_id,
                org_id,
                kind,
                cluster_id,
                phase: Phase::Queued,
                steps_done: 0,
                attempts: 0,
                retry_at: None,
                error: None,
                deadline,
                created_at: at,
                updated_at: at,
            });
        }
        let mut operation = state?;
        match event.clone() {
            Event::Started { .. } => unreachable!("applied above"),
            Event::StepCompleted { at, .. } => {
                operation.phase = Phase::Running;
                operation.steps_done += 1;
                operation.attempts = 0;
                operation.retry_at = None;
                operation.error = None;
                operation.updated_at = at;
            }
            Event::AttemptFailed {
                error, at, retry_at, ..
            } => {
                operation.phase = Phase::Running;
                operation.attempts += 1;
                operation.retry_at = Some(retry_at);
                operation.error = Some(error);
                operation.updated_at = at;
            }
            Event::Succeeded { at } => operation.end(Phase::Succeeded, None, at),
            Event::Failed { error, at } => operation.end(Phase::Failed, Some(error), at),
            Event::Cancelled { at } => operation.end(Phase::Cancelled, None, at),
            Event::Retried { at, deadline } => {
                operation.phase = Phase::Running;
                operation.attempts = 0;
                operation.retry_at = None;
                operation.error = None;
                operation.deadline = deadline;
                operation.updated_at = at;
            }
        }
        Some(operation)
    }
}

impl OperationState {
    fn end(&mut self, phase: Phase, error: Option<String>, at: Timestamp) {
        self.phase = phase;
        self.retry_at = None;
        self.error = error;
        self.updated_at = at;
    }
}

#[cfg(test)]
mod tests {
    use craton_platform_kernel::testing;

    use super::*;
    use crate::aggregate::story::{decide, state};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    fn started(kind: Kind) -> Event {
        let environment = testing::environment();
        Event::Started {
            operation_id: environment.new_id(),
            org_id: environment.new_id(),
            kind,
            cluster_id: environment.new_id(),
            at: at(0),
            deadline: at(0) + kind.time_allowed(),
        }
    }

    fn done(steps: &[Step]) -> Vec<Event> {
        let completed = steps.iter().map(|step| Event::StepCompleted { step: *step, at: at(1) });
        std::iter::once(started(Kind::CreateCluster)).chain(completed).collect()
    }

    fn complete(step: Step) -> Command {
        Command::CompleteStep { step, now: at(1) }
    }

    #[test]
    fn steps_complete_in_their_order_and_the_last_one_ends_it() {
        assert_eq!(
            decide::<Operation>(&done(&[]), complete(Step::Placed)),
            Ok(vec![Event::StepCompleted {
                step: Step::Placed,
                at: at(1)
            }])
        );
        assert_eq!(
            decide::<Operation>(&done(&[]), complete(Step::Started)),
            Err(Refusal::OtherStep(Step::Started))
        );
        assert_eq!(
            decide::<Operation>(&done(&[Step::Placed]), complete(Step::Placed)),
            Err(Refusal::OtherStep(Step::Placed))
        );
        let almost = done(&[
            Step::Placed,
            Step::Certificate,
            Step::Started,
            Step::Joined,
            Step::Configured,
        ]);
        assert_eq!(
            decide::<Operation>(&almost, complete(Step::Probed)),
            Ok(vec![
                Event::StepCompleted {
                    step: Step::Probed,
                    at: at(1)
                },
                Event::Succeeded { at: at(1) }
            ])
        );
        assert_eq!(decide::<Operation>(&[], complete(Step::Placed)), Err(Refusal::Unknown));
    }

    #[test]
    fn the_deadline_fails_it_with_what_was_seen() {
        let given = done(&[Step::Placed]);
        let expire = |second| Command::Expire {
            seen: "node a is offline".into(),
            now: at(second),
        };
        assert_eq!(decide::<Operation>(&given, expire(299)), Err(Refusal::NotExpired));
        assert_eq!(
            decide::<Operation>(&given, expire(300)),
            Ok(vec![Event::Failed {
                error: "step certificate was not done within 5 minutes: node a is offline".into(),
                at: at(300)
            }])
        );
    }

    #[test]
    fn an_ended_operation_can_only_be_retried_and_only_when_it_did_not_succeed() {
        let ends: [(Event, bool); 3] = [
            (
                Event::Failed {
                    error: "no".into(),
                    at: at(2),
                },
                true,
            ),
            (Event::Cancelled { at: at(2) }, true),
            (Event::Succeeded { at: at(2) }, false),
        ];
        for (end, retried) in ends {
            let mut given = done(&[Step::Placed]);
            given.push(end);
            assert_eq!(
                decide::<Operation>(&given, complete(Step::Certificate)),
                Err(Refusal::Ended)
            );
            assert_eq!(
                decide::<Operation>(&given, Command::Cancel { now: at(3) }),
                Err(Refusal::Ended)
            );
            let retry = decide::<Operation>(&given, Command::Retry { now: at(400) });
            assert_eq!(retry.is_ok(), retried, "{given:?}");
            if let Ok(events) = retry {
                given.extend(events);
                let operation = state::<Operation>(&given).unwrap();
                assert_eq!(
                    (operation.phase, operation.deadline, &operation.error),
                    (Phase::Running, at(700), &None)
                );
                assert_eq!(operation.step(), Some(Step::Certificate), "what was done stays done");
            }
        }
        assert_eq!(
            decide::<Operation>(&done(&[]), Command::Retry { now: at(1) }),
            Err(Refusal::Running)
        );
    }

    #[test]
    fn everything_but_a_deletion_can_be_cancelled() {
        let cancel = Command::Cancel { now: at(1) };
        for kind in [
            Kind::CreateCluster,
            Kind::ScaleCluster,
            Kind::ReplaceNode,
            Kind::UpgradeCluster,
            Kind::FinalizeCluster,
        ] {
            assert_eq!(
                decide::<Operation>(&[started(kind)], cancel.clone()),
                Ok(vec![Event::Cancelled { at: at(1) }])
            );
        }
        assert_eq!(
            decide::<Operation>(&[started(Kind::DeleteCluster)], cancel),
            Err(Refusal::NotCancellable)
        );
    }

    #[test]
    fn waits_grow_between_failed_attempts() {
        let mut given = done(&[]);
        for (second, wait) in [(10, 1), (20, 2), (30, 4), (40, 8), (50, 15), (60, 15)] {
            let fail = Command::FailAttempt {
                step: Step::Placed,
                error: "no node".into(),
                now: at(second),
            };
            let events = decide::<Operation>(&given, fail).unwrap();
            assert!(
                matches!(&events[..], [Event::AttemptFailed { retry_at, .. }] if *retry_at == at(second + wait)),
                "{events:?}"
            );
            given.extend(events);
        }
        assert_eq!(state::<Operation>(&given).unwrap().attempts, 6);
    }

    #[test]
    fn starting_twice_changes_nothing() {
        let Event::Started {
            operation_id,
            org_id,
            kind,
            cluster_id,
            ..
        } = started(Kind::CreateCluster)
        else {
            unreachable!()
        };
        let start = Command::Start {
            operation_id,
            org_id,
            kind,
            cluster_id,
            now: at(5),
        };
        assert_eq!(decide::<Operation>(&[started(Kind::CreateCluster)], start), Ok(vec![]));
    }
}
