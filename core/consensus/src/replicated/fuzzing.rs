//! The parsers of what members say to each other and keep beside their logs, for fuzzing.

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use openraft::{CommittedLeaderId, EntryPayload};

use super::marks;
use super::types::{Entry, LogId, Member, Members, Proposal, SnapshotMeta, StoredMembership, Vote};
use super::wire::{Request, Response, decode_members, encode_members};

/// A request; what it is encoded to must decode to the same encoding.
#[must_use]
pub fn request(bytes: &[u8]) -> bool {
    let decoded = Request::decode(&Bytes::copy_from_slice(bytes));
    if let Ok(request) = &decoded {
        let encoded = request.encode();
        let again = Request::decode(&encoded).expect("what was encoded decodes");
        assert_eq!(again.encode(), encoded);
    }
    decoded.is_ok()
}

/// An answer, likewise.
#[must_use]
pub fn response(bytes: &[u8]) -> bool {
    let decoded = Response::decode(&Bytes::copy_from_slice(bytes));
    if let Ok(response) = &decoded {
        let encoded = response.encode();
        let again = Response::decode(&encoded).expect("what was encoded decodes");
        assert_eq!(again.encode(), encoded);
    }
    decoded.is_ok()
}

/// The members in an entry of the log, likewise.
#[must_use]
pub fn members(bytes: &[u8]) -> bool {
    let decoded = decode_members(bytes);
    if let Ok(members) = &decoded {
        let encoded = encode_members(members);
        let again = decode_members(&encoded).expect("what was encoded decodes");
        assert_eq!(encode_members(&again), encoded);
    }
    decoded.is_ok()
}

/// A file of marks, likewise.
#[must_use]
pub fn marks(bytes: &[u8]) -> bool {
    let decoded = marks::decode(bytes);
    if let Some(saved) = &decoded {
        let encoded = marks::encode(saved);
        let again = marks::decode(&encoded).expect("what was encoded decodes");
        assert_eq!(marks::encode(&again), encoded);
    }
    decoded.is_some()
}

fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(3, 0), index)
}

fn some_members() -> Members {
    let member = |id: u64| {
        let member = Member {
            peer_address: format!("10.0.0.{id}:7001"),
            generation: 4,
            ..Member::default()
        };
        (id, member)
    };
    let nodes: std::collections::BTreeMap<_, _> = [1, 2, 3].map(member).into();
    Members::new(vec![[1, 2].into(), [1, 3].into()], nodes)
}

/// One request of each kind.
#[must_use]
pub fn requests() -> Vec<Vec<u8>> {
    let vote = Vote::new_committed(3, 1);
    let payloads = [
        EntryPayload::Normal(Proposal(Bytes::from_static(b"proposal"))),
        EntryPayload::Blank,
        EntryPayload::Membership(some_members()),
    ];
    let entries = (6..).zip(payloads).map(|(index, payload)| Entry {
        log_id: log_id(index),
        payload,
    });
    let requests = [
        Request::Append(AppendEntriesRequest {
            vote,
            prev_log_id: Some(log_id(5)),
            entries: entries.collect(),
            leader_commit: None,
        }),
        Request::Vote(VoteRequest::new(Vote::new(4, 2), Some(log_id(8)))),
        Request::Snapshot {
            vote,
            meta: SnapshotMeta {
                last_log_id: Some(log_id(8)),
                last_membership: StoredMembership::new(Some(log_id(2)), some_members()),
                snapshot_id: "3-8".to_owned(),
            },
            manifest: Bytes::from_static(b"manifest"),
        },
        Request::ReadIndex,
        Request::Campaign,
        Request::Application(Bytes::from_static(b"question")),
    ];
    requests.iter().map(|request| request.encode().into()).collect()
}

/// One answer of each kind.
#[must_use]
pub fn responses() -> Vec<Vec<u8>> {
    let responses = [
        Response::Append(AppendEntriesResponse::Success),
        Response::Append(AppendEntriesResponse::PartialSuccess(Some(log_id(5)))),
        Response::Append(AppendEntriesResponse::HigherVote(Vote::new(4, 2))),
        Response::Vote(VoteResponse::new(Vote::new(4, 2), Some(log_id(8)), true)),
        Response::ReadIndex(craton_types::LogIndex::new(9)),
        Response::Done,
        Response::Application(Bytes::from_static(b"answer")),
        Response::NotLeader { leader: Some(2) },
        Response::Failed {
            reason: "full".to_owned(),
        },
    ];
    responses.iter().map(|response| response.encode().into()).collect()
}

/// Members as an entry holds them.
#[must_use]
pub fn member_lists() -> Vec<Vec<u8>> {
    vec![encode_members(&some_members()), encode_members(&Members::default())]
}

/// Marks with all that they can hold.
#[must_use]
pub fn mark_files() -> Vec<Vec<u8>> {
    vec![marks::encode(&marks::Saved {
        generation: 7,
        membership: StoredMembership::new(Some(log_id(2)), some_members()),
        installing: Some(log_id(8)),
    })]
}
