//! What a cluster answers to a command.

use super::{ClusterState, Command, Event, Lifecycle, Refusal};
use crate::aggregate::member::{PendingChange, Standing};

/// The events that a command leads to, once the cluster was created.
pub(super) fn decide(cluster: &ClusterState, command: Command) -> Result<Vec<Event>, Refusal> {
    use Lifecycle as L;
    let wrong_state = Err(Refusal::Lifecycle(cluster.lifecycle));
    match command {
        Command::Create(_) => Err(Refusal::Exists),
        Command::Place { nodes } => match cluster.lifecycle {
            L::Provisioning if cluster.members.is_empty() => {
                let members = cluster.number(nodes)?;
                Ok(vec![Event::Placed { members }])
            }
            // Another run of the same step was faster; its choice stands.
            L::Provisioning => Ok(vec![]),
            _ => wrong_state,
        },
        Command::AddMembers { operation_id, nodes } => match &cluster.change {
            _ if cluster.lifecycle != L::Ready => wrong_state,
            Some(pending) if pending.operation_id == operation_id => {
                let members = cluster.number(nodes)?;
                Ok(vec![Event::Placed { members }])
            }
            _ => Err(Refusal::OtherOperation(operation_id)),
        },
        Command::RecordEndpoint { member_id, endpoint } => match cluster.lifecycle {
            L::Deleting | L::Deleted => wrong_state,
            _ if cluster.member(member_id)?.endpoint == Some(endpoint) => Ok(vec![]),
            _ => Ok(vec![Event::EndpointSeen { member_id, endpoint }]),
        },
        Command::ReleaseMembers { mut member_ids } => {
            for member_id in &member_ids {
                cluster.member(*member_id)?;
            }
            member_ids.retain(|member_id| {
                cluster
                    .members
                    .get(member_id)
                    .is_some_and(|member| member.standing == Standing::Wanted)
            });
            match cluster.lifecycle {
                L::Ready if member_ids.is_empty() => Ok(vec![]),
                L::Ready => Ok(vec![Event::MembersLeaving { member_ids }]),
                _ => wrong_state,
            }
        }
        Command::BeginRemoval { member_id } => match (cluster.lifecycle, cluster.member(member_id)?.standing) {
            (_, Standing::Removing) => Ok(vec![]),
            (L::Deleting, _) | (L::Ready, Standing::Leaving) => Ok(vec![Event::RemovalBegun { member_id }]),
            (L::Ready, Standing::Wanted) => Err(Refusal::UnknownMember(member_id)),
            _ => wrong_state,
        },
        Command::RecordRemoved { member_id } => match cluster.members.get(&member_id).map(|member| member.standing) {
            None => Ok(vec![]),
            Some(Standing::Removing) => Ok(vec![Event::MemberRemoved { member_id }]),
            Some(Standing::Wanted | Standing::Leaving) => Err(Refusal::UnknownMember(member_id)),
        },
        Command::SetVersion { member_id, version } => match cluster.lifecycle {
            _ if cluster.member(member_id)?.server_version.as_ref() == Some(&version) => Ok(vec![]),
            L::Ready => Ok(vec![Event::VersionSet { member_id, version }]),
            _ => wrong_state,
        },
        Command::RequestChange {
            operation_id,
            change,
            ended,
        } => match cluster.lifecycle {
            L::Ready => {
                cluster.check_change(&change, ended)?;
                Ok(vec![Event::ChangeRequested(PendingChange { operation_id, change })])
            }
            _ => wrong_state,
        },
        Command::FinishChange { operation_id } => match &cluster.change {
            Some(pending) if pending.operation_id == operation_id => Ok(vec![Event::ChangeFinished { operation_id }]),
            // Finished before, or given up for another one.
            _ => Ok(vec![]),
        },
        Command::SetFormatVersion {
            operation_id,
            format_version,
        } => match &cluster.change {
            _ if cluster.lifecycle != L::Ready => wrong_state,
            Some(pending) if pending.operation_id == operation_id => match cluster.format_version {
                Some(asked) if asked >= format_version => Ok(vec![]),
                _ => Ok(vec![Event::FormatVersionSet { format_version }]),
            },
            _ => Err(Refusal::OtherOperation(operation_id)),
        },
        Command::WithdrawFormatVersion { operation_id } => match &cluster.change {
            Some(pending) if pending.operation_id == operation_id && cluster.format_version.is_some() => {
                Ok(vec![Event::FormatVersionWithdrawn])
            }
            _ => Ok(vec![]),
        },
        Command::RecordCertificate {
            member_id,
            node_id,
            purpose,
            serial,
            not_after,
        } => match cluster.lifecycle {
            L::Deleting | L::Deleted => wrong_state,
            _ if cluster.member(member_id)?.node_id != node_id => Err(Refusal::OtherNode(node_id)),
            _ => Ok(vec![Event::CertificateIssued {
                member_id,
                node_id,
                purpose,
                serial,
                not_after,
            }]),
        },
        Command::RecordLogKey { database, verifier_key } => match cluster.log_keys.get(&database) {
            Some(pinned) if *pinned == verifier_key => Ok(vec![]),
            Some(pinned) => Err(Refusal::LogKeyChanged {
                database,
                pinned: pinned.clone(),
                seen: verifier_key,
            }),
            None => Ok(vec![Event::LogKeySeen { database, verifier_key }]),
        },
        Command::MarkReady { now } => match cluster.lifecycle {
            L::Provisioning => Ok(vec![Event::Ready { at: now }]),
            L::Ready => Ok(vec![]),
            _ => wrong_state,
        },
        Command::MarkFailed { error } => match cluster.lifecycle {
            L::Provisioning => Ok(vec![Event::Failed { error }]),
            L::Failed => Ok(vec![]),
            _ => wrong_state,
        },
        Command::Retry => match cluster.lifecycle {
            L::Failed => Ok(vec![Event::Retried]),
            L::Provisioning | L::Deleting => Ok(vec![]),
            _ => wrong_state,
        },
        Command::RotatePassword {
            user,
            scram_verifier,
            now,
        } => match cluster.lifecycle {
            L::Deleting | L::Deleted => wrong_state,
            _ if !cluster.users.contains_key(&user) => Err(Refusal::UnknownUser(user)),
            _ => Ok(vec![Event::PasswordRotated {
                user,
                scram_verifier,
                at: now,
            }]),
        },
        Command::SetWitnesses {
            witnesses,
            time_stamp_authority,
        } => match cluster.lifecycle {
            L::Deleting | L::Deleted => wrong_state,
            _ if cluster.witnesses == witnesses && cluster.time_stamp_authority == time_stamp_authority => Ok(vec![]),
            _ => Ok(vec![Event::WitnessesSet {
                witnesses,
                time_stamp_authority,
            }]),
        },
        // A node asks again and again: only what is new is worth an event.
        Command::RecordRefusedHistory { database, refused } => match cluster.refused_histories.get(&database) {
            _ if cluster.lifecycle == L::Deleted => wrong_state,
            Some(known) if known.reason == refused.reason => Ok(vec![]),
            _ => Ok(vec![Event::HistoryRefused { database, refused }]),
        },
        Command::RecordContinuedHistory { database, size } => match cluster.refused_histories.get(&database) {
            _ if cluster.lifecycle == L::Deleted => wrong_state,
            None => Ok(vec![]),
            Some(_) => Ok(vec![Event::HistoryContinued { database, size }]),
        },
        Command::RequestDeletion { operation_id } => match cluster.lifecycle {
            L::Deleted => wrong_state,
            L::Deleting => Ok(vec![]),
            _ => Ok(vec![Event::DeletionRequested { operation_id }]),
        },
        Command::MarkDeleted => match cluster.lifecycle {
            L::Deleting => Ok(vec![Event::Deleted]),
            L::Deleted => Ok(vec![]),
            _ => wrong_state,
        },
    }
}
