//! What a member answers others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use craton_types::planted::{Bug, is_planted};
use craton_types::{FormatUnknown, NodeId};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteResponse};
use openraft::{EntryPayload, Snapshot};

use super::Inner;
use super::log::LogStore;
use super::types::{LogId, Raft, SnapshotOffer, TypeConfig, check_form};
use super::wire::{Request, Response};
use crate::ConsensusError;

/// The most entries that a follower keeps that it has not applied. A leader proposes far fewer at once; more come only when
/// this node catches up, or applies more slowly than the others.
const UNAPPLIED_ENTRIES_MAX: u64 = 256;
/// How long a leader waits before it sends again what was not taken.
const FULL_PAUSE: Duration = Duration::from_millis(20);

impl Inner {
    pub(super) async fn answer(self: &Arc<Self>, from: NodeId, request: Bytes) -> Bytes {
        let response = match Request::decode(&request) {
            Ok(request) => match self.check_known(&request) {
                Ok(()) => self.respond(from, request).await,
                Err(error) => failed(&error),
            },
            Err(error) => failed(&error),
        };
        response.encode()
    }

    /// Whether this build reads what is asked.
    fn check_known(&self, request: &Request) -> Result<(), FormatUnknown> {
        match request {
            Request::Append(request) => request.entries.iter().try_for_each(|entry| match &entry.payload {
                EntryPayload::Membership(members) => check_form(members, &self.format),
                EntryPayload::Normal(_) | EntryPayload::Blank => Ok(()),
            }),
            Request::Snapshot { meta, .. } => check_form(meta.last_membership.membership(), &self.format),
            Request::Vote(_) | Request::ReadIndex | Request::Campaign | Request::Application(_) => Ok(()),
        }
    }

    async fn respond(self: &Arc<Self>, from: NodeId, request: Request) -> Response {
        // The application answers those as well who are not members yet.
        if let Request::Application(request) = request {
            return match self.machine.load_full() {
                Some(machine) => Response::Application(machine.answer(from, request).await),
                None => stopped(),
            };
        }
        let Some(raft) = self.raft() else {
            return stopped();
        };
        if !self.is_in_good_standing() {
            return Response::Failed {
                reason: "the member may not take part, or does not know yet whether it may".to_owned(),
            };
        }
        match request {
            Request::Append(request) => self.take_entries(&raft, request).await,
            Request::Vote(mut request) => {
                if is_planted(Bug::VoteForShorterLog) {
                    request.last_log_id = request.last_log_id.max(self.log.last());
                }
                if self.is_incomplete() {
                    return self.refuse_vote().await;
                }
                match raft.vote(request).await {
                    Ok(response) => Response::Vote(response),
                    Err(error) => failed(&error),
                }
            }
            Request::Snapshot { vote, meta, manifest } => {
                let from = from.get();
                let snapshot = Box::new(SnapshotOffer { from, manifest });
                match raft.install_full_snapshot(vote, Snapshot { meta, snapshot }).await {
                    Ok(response) => Response::Snapshot { vote: response.vote },
                    Err(error) => failed(&error),
                }
            }
            Request::ReadIndex => match self.confirm().await {
                Ok(index) => Response::ReadIndex(index),
                Err(ConsensusError::NotLeader { leader }) => Response::NotLeader {
                    leader: leader.map(NodeId::get),
                },
                Err(error) => failed(&error),
            },
            Request::Campaign if self.is_incomplete() => Response::Failed {
                reason: "the log lacks what it may have acknowledged".to_owned(),
            },
            Request::Campaign if !self.may_stand() => Response::Failed {
                reason: "the member does not lead: its disk is full, or it is about to end".to_owned(),
            },
            Request::Campaign => match raft.trigger().elect().await {
                Ok(()) => Response::Done,
                Err(error) => failed(&error),
            },
            Request::Application(_) => unreachable!("answered above"),
        }
    }

    /// Takes entries, unless too many wait to be applied already: then only that the leader leads.
    async fn take_entries(&self, raft: &Raft, mut request: AppendEntriesRequest<TypeConfig>) -> Response {
        let before = request.prev_log_id;
        if is_planted(Bug::AcknowledgeUnwritten) && request.entries.len() == 1 {
            return Response::Append(AppendEntriesResponse::Success);
        }
        if is_planted(Bug::ApplyBeforeCommit) {
            request.leader_commit = request
                .entries
                .last()
                .map(|entry| entry.log_id)
                .or(request.leader_commit);
        }
        let is_full = !request.entries.is_empty() && self.unapplied() > UNAPPLIED_ENTRIES_MAX;
        if is_full {
            request.entries.clear();
        }
        match raft.append_entries(request).await {
            Ok(AppendEntriesResponse::Success) if is_full => {
                // The leader sends the same entries again when this is answered.
                tokio::time::sleep(FULL_PAUSE).await;
                Response::Append(AppendEntriesResponse::PartialSuccess(before))
            }
            Ok(response) => Response::Append(response),
            Err(error) => failed(&error),
        }
    }

    /// Entries of the log that were not handed out to be applied.
    fn unapplied(&self) -> u64 {
        let next = |log_id: Option<LogId>| log_id.map_or(0, |log_id| log_id.index + 1);
        next(self.log.last()).saturating_sub(next(self.applied.lock().last))
    }

    /// A member that may have lost what it acknowledged must not help to elect somebody who lacks it too.
    async fn refuse_vote(&self) -> Response {
        use openraft::storage::RaftLogStorage;
        let mut store = LogStore(Arc::clone(&self.log));
        match store.read_vote().await {
            Ok(vote) => Response::Vote(VoteResponse {
                vote: vote.unwrap_or_default(),
                vote_granted: false,
                last_log_id: self.log.last(),
            }),
            Err(error) => failed(&error),
        }
    }
}

fn stopped() -> Response {
    Response::Failed {
        reason: "the node is being started".to_owned(),
    }
}

fn failed(error: &dyn std::error::Error) -> Response {
    Response::Failed {
        reason: error.to_string(),
    }
}
