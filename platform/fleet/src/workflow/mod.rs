//! What a request or an agent sets off: look up facts, decide, append, answer.

pub(crate) mod certificate;
pub(crate) mod change;
pub(crate) mod cluster;
pub(crate) mod join_token;
pub(crate) mod operation;

use craton_platform_http::Problem;
use craton_platform_kernel::{ExecuteError, StoreError};

use crate::{aggregate, authority::AuthorityError, format::FormatRefusal};

/// Why a workflow did not finish.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkflowError {
    /// There is none, or not for this organisation.
    #[error("there is nothing like that")]
    NotFound,
    /// The name is in use.
    #[error("the organisation already has a cluster with this name")]
    NameTaken,
    #[error(transparent)]
    Cluster(aggregate::cluster::Refusal),
    #[error(transparent)]
    Operation(aggregate::operation::Refusal),
    #[error(transparent)]
    Format(#[from] FormatRefusal),
    #[error("others changed the same thing at the same time")]
    Contended,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A rule that only this crate can break was broken.
    #[error("an internal rule was broken: {0}")]
    Internal(String),
}

impl From<ExecuteError<aggregate::cluster::Refusal>> for WorkflowError {
    fn from(error: ExecuteError<aggregate::cluster::Refusal>) -> Self {
        match error {
            ExecuteError::Refused(refusal) => Self::Cluster(refusal),
            ExecuteError::Contended(_) => Self::Contended,
            ExecuteError::Store(error) => Self::Store(error),
        }
    }
}

impl From<ExecuteError<aggregate::operation::Refusal>> for WorkflowError {
    fn from(error: ExecuteError<aggregate::operation::Refusal>) -> Self {
        match error {
            ExecuteError::Refused(refusal) => Self::Operation(refusal),
            ExecuteError::Contended(_) => Self::Contended,
            ExecuteError::Store(error) => Self::Store(error),
        }
    }
}

impl From<WorkflowError> for Problem {
    fn from(error: WorkflowError) -> Self {
        use aggregate::{cluster::Refusal as C, operation::Refusal as O};
        match &error {
            WorkflowError::NotFound
            | WorkflowError::Cluster(C::Unknown | C::UnknownUser(_) | C::UnknownMember(_))
            | WorkflowError::Operation(O::Unknown) => Self::not_found(),
            WorkflowError::NameTaken => {
                let detail = "This organisation already has a cluster with this name.";
                Self::conflict("name_taken", detail).with_field("/name", "name_taken", detail)
            }
            WorkflowError::Cluster(C::Lifecycle(lifecycle)) => Self::conflict(
                "cluster_state",
                format!("The cluster is {lifecycle}, which does not allow this."),
            ),
            WorkflowError::Cluster(C::ChangePending(pending)) => Self::conflict(
                "change_pending",
                format!("The cluster is being changed by operation {}.", pending.operation_id),
            ),
            WorkflowError::Cluster(C::Unchanged) => Self::conflict("unchanged", "The cluster is like this already."),
            WorkflowError::Format(FormatRefusal::Unchanged(_)) => {
                Self::conflict("unchanged", "The cluster writes this format version already.")
            }
            WorkflowError::Format(FormatRefusal::NotSaid(_)) => {
                Self::conflict("member_silent", sentence(&error)).retryable()
            }
            WorkflowError::Format(FormatRefusal::MemberTooOld { .. } | FormatRefusal::ServerUnfit { .. }) => {
                Self::conflict("format_unknown", sentence(&error))
            }
            WorkflowError::Operation(O::NotCancellable) => {
                Self::conflict("not_cancellable", "This operation cannot be cancelled.")
            }
            WorkflowError::Operation(O::Ended) => Self::conflict("operation_ended", "This operation has ended."),
            WorkflowError::Operation(O::Running) => Self::conflict("operation_running", "This operation still runs."),
            WorkflowError::Contended => {
                Self::conflict("contended", "Others changed the same thing at the same time.").retryable()
            }
            WorkflowError::Store(StoreError::Unavailable(_)) => {
                Self::unavailable("The platform's log is not available right now.")
            }
            WorkflowError::Store(StoreError::Damaged { .. })
            | WorkflowError::Authority(_)
            | WorkflowError::Internal(_)
            | WorkflowError::Cluster(
                C::Exists | C::OtherNode(_) | C::LogKeyChanged { .. } | C::OtherOperation(_) | C::MembersExhausted,
            )
            | WorkflowError::Operation(O::OtherStep(_) | O::NotExpired) => Self::internal(&error),
        }
    }
}

/// An error as a sentence, for people.
fn sentence(error: &WorkflowError) -> String {
    let text = error.to_string();
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).chain(['.']).collect()
}
