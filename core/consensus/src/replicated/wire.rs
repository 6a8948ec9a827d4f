//! What members say to each other: requests and answers as bytes. How the bytes travel, and that only members of the same
//! cluster send them, is the transport's business.
//!
//! A message is a CBOR array of version, kind and the fields of its kind. Entries and commands are opaque byte strings.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use craton_types::LogIndex;
use minicbor::decode::Error;
use minicbor::{Decoder, Encoder};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use openraft::{CommittedLeaderId, EntryPayload, LeaderId};

use super::types::{
    Entry, LogId, Member, MemberForm, Members, Proposal, SnapshotMeta, StoredMembership, TypeConfig, Vote,
};

const VERSION: u8 = 1;
/// The most members that a message names.
const MEMBERS_MAX: u64 = 64;
/// The most entries in a message.
const ENTRIES_MAX: u64 = 4_096;

/// What a member asks another one.
#[derive(Debug)]
pub(super) enum Request {
    /// Raft's AppendEntries, also as a heartbeat.
    Append(AppendEntriesRequest<TypeConfig>),
    /// Raft's RequestVote.
    Vote(VoteRequest<u64>),
    /// Raft's InstallSnapshot, whose content the other one fetches by itself.
    Snapshot {
        vote: Vote,
        meta: SnapshotMeta,
        manifest: Bytes,
    },
    /// Which entry must be applied before a read is linearizable. For the leader.
    ReadIndex,
    /// To stand for election now, as the leader hands over.
    Campaign,
    /// Something of the state machine's.
    Application(Bytes),
}

/// What it answers.
#[derive(Debug)]
pub(super) enum Response {
    Append(AppendEntriesResponse<u64>),
    Vote(VoteResponse<u64>),
    Snapshot {
        vote: Vote,
    },
    ReadIndex(LogIndex),
    Done,
    Application(Bytes),
    /// It does not lead; perhaps it knows who does.
    NotLeader {
        leader: Option<u64>,
    },
    /// It could not.
    Failed {
        reason: String,
    },
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;
type Writer = Encoder<Vec<u8>>;

fn written(bytes: usize, write: impl FnOnce(&mut Writer) -> Written) -> Bytes {
    let mut encoder = Encoder::new(Vec::with_capacity(bytes));
    write(&mut encoder).expect("writing to memory does not fail");
    encoder.into_writer().into()
}

impl Request {
    pub(super) fn encode(&self) -> Bytes {
        let payloads = match self {
            Self::Append(append) => append.entries.iter().map(payload_bytes).sum(),
            Self::Snapshot { manifest, .. } => manifest.len(),
            Self::Application(bytes) => bytes.len(),
            Self::Vote(_) | Self::ReadIndex | Self::Campaign => 0,
        };
        written(payloads + 256, |encoder| self.write(encoder))
    }

    fn write(&self, encoder: &mut Writer) -> Written {
        let fields = match self {
            Self::Append(_) => 4,
            Self::Vote(_) => 2,
            Self::Snapshot { .. } => 5,
            Self::Application(_) => 1,
            Self::ReadIndex | Self::Campaign => 0,
        };
        encoder.array(2 + fields)?.u8(VERSION)?;
        match self {
            Self::Append(append) => {
                encoder.u8(1)?;
                write_vote(encoder, &append.vote)?;
                write_log_id(encoder, append.prev_log_id.as_ref())?;
                write_log_id(encoder, append.leader_commit.as_ref())?;
                encoder.array(append.entries.len() as u64)?;
                append.entries.iter().try_for_each(|entry| write_entry(encoder, entry))
            }
            Self::Vote(request) => {
                encoder.u8(2)?;
                write_vote(encoder, &request.vote)?;
                write_log_id(encoder, request.last_log_id.as_ref())
            }
            Self::Snapshot { vote, meta, manifest } => {
                encoder.u8(3)?;
                write_vote(encoder, vote)?;
                write_log_id(encoder, meta.last_log_id.as_ref())?;
                write_stored_membership(encoder, &meta.last_membership)?;
                encoder.str(&meta.snapshot_id)?.bytes(manifest)?;
                Ok(())
            }
            Self::ReadIndex => encoder.u8(4)?.ok(),
            Self::Campaign => encoder.u8(5)?.ok(),
            Self::Application(bytes) => encoder.u8(6)?.bytes(bytes)?.ok(),
        }
    }

    pub(super) fn decode(bytes: &Bytes) -> Result<Self, Error> {
        let mut decoder = Decoder::new(bytes);
        let (fields, kind) = head(&mut decoder)?;
        let request = match (kind, fields) {
            (1, 4) => {
                let vote = vote(&mut decoder)?;
                let prev_log_id = log_id(&mut decoder)?;
                let leader_commit = log_id(&mut decoder)?;
                let count = at_most(decoder.array()?, ENTRIES_MAX)?;
                let entries = (0..count)
                    .map(|_| entry(&mut decoder, bytes))
                    .collect::<Result<_, _>>()?;
                Self::Append(AppendEntriesRequest {
                    vote,
                    prev_log_id,
                    entries,
                    leader_commit,
                })
            }
            (2, 2) => Self::Vote(VoteRequest::new(vote(&mut decoder)?, log_id(&mut decoder)?)),
            (3, 5) => Self::Snapshot {
                vote: vote(&mut decoder)?,
                meta: SnapshotMeta {
                    last_log_id: log_id(&mut decoder)?,
                    last_membership: stored_membership(&mut decoder)?,
                    snapshot_id: decoder.str()?.to_owned(),
                },
                manifest: slice(&mut decoder, bytes)?,
            },
            (4, 0) => Self::ReadIndex,
            (5, 0) => Self::Campaign,
            (6, 1) => Self::Application(slice(&mut decoder, bytes)?),
            _ => return Err(Error::message("not a request of this version")),
        };
        end(&decoder, bytes)?;
        Ok(request)
    }
}

impl Response {
    pub(super) fn encode(&self) -> Bytes {
        let payload = match self {
            Self::Application(bytes) => bytes.len(),
            _ => 0,
        };
        written(payload + 64, |encoder| self.write(encoder))
    }

    fn write(&self, encoder: &mut Writer) -> Written {
        let fields = match self {
            Self::Append(_) => 2,
            Self::Vote(_) => 3,
            Self::Done => 0,
            _ => 1,
        };
        encoder.array(2 + fields)?.u8(VERSION)?;
        match self {
            Self::Append(response) => {
                encoder.u8(1)?;
                match response {
                    AppendEntriesResponse::Success => encoder.u8(0)?.null()?.ok(),
                    AppendEntriesResponse::PartialSuccess(matching) => {
                        encoder.u8(1)?;
                        write_log_id(encoder, matching.as_ref())
                    }
                    AppendEntriesResponse::Conflict => encoder.u8(2)?.null()?.ok(),
                    AppendEntriesResponse::HigherVote(vote) => {
                        encoder.u8(3)?;
                        write_vote(encoder, vote)
                    }
                }
            }
            Self::Vote(response) => {
                encoder.u8(2)?;
                write_vote(encoder, &response.vote)?;
                encoder.bool(response.vote_granted)?;
                write_log_id(encoder, response.last_log_id.as_ref())
            }
            Self::Snapshot { vote } => {
                encoder.u8(3)?;
                write_vote(encoder, vote)
            }
            Self::ReadIndex(index) => encoder.u8(4)?.u64(index.get())?.ok(),
            Self::Done => encoder.u8(5)?.ok(),
            Self::Application(bytes) => encoder.u8(6)?.bytes(bytes)?.ok(),
            Self::NotLeader { leader } => encoder.u8(7)?.encode(leader)?.ok(),
            Self::Failed { reason } => encoder.u8(8)?.str(reason)?.ok(),
        }
    }

    pub(super) fn decode(bytes: &Bytes) -> Result<Self, Error> {
        let mut decoder = Decoder::new(bytes);
        let (fields, kind) = head(&mut decoder)?;
        let response = match (kind, fields) {
            (1, 2) => Self::Append(match decoder.u8()? {
                0 => decoder.null().map(|()| AppendEntriesResponse::Success)?,
                1 => AppendEntriesResponse::PartialSuccess(log_id(&mut decoder)?),
                2 => decoder.null().map(|()| AppendEntriesResponse::Conflict)?,
                3 => AppendEntriesResponse::HigherVote(vote(&mut decoder)?),
                _ => return Err(Error::message("not an answer to entries")),
            }),
            (2, 3) => Self::Vote(VoteResponse {
                vote: vote(&mut decoder)?,
                vote_granted: decoder.bool()?,
                last_log_id: log_id(&mut decoder)?,
            }),
            (3, 1) => Self::Snapshot {
                vote: vote(&mut decoder)?,
            },
            (4, 1) => Self::ReadIndex(LogIndex::new(decoder.u64()?)),
            (5, 0) => Self::Done,
            (6, 1) => Self::Application(slice(&mut decoder, bytes)?),
            (7, 1) => Self::NotLeader {
                leader: decoder.decode()?,
            },
            (8, 1) => Self::Failed {
                reason: decoder.str()?.to_owned(),
            },
            _ => return Err(Error::message("not an answer of this version")),
        };
        end(&decoder, bytes)?;
        Ok(response)
    }
}

/// The number of fields and the kind.
fn head(decoder: &mut Decoder<'_>) -> Result<(u64, u8), Error> {
    let length = decoder.array()?.unwrap_or_default();
    if decoder.u8()? != VERSION {
        return Err(Error::message("a message of another version"));
    }
    let fields = length
        .checked_sub(2)
        .ok_or_else(|| Error::message("a message has a kind"))?;
    Ok((fields, decoder.u8()?))
}

fn end(decoder: &Decoder<'_>, bytes: &Bytes) -> Result<(), Error> {
    match decoder.position() == bytes.len() {
        true => Ok(()),
        false => Err(Error::message("bytes follow the message")),
    }
}

fn at_most(length: Option<u64>, length_max: u64) -> Result<u64, Error> {
    match length {
        Some(length) if length <= length_max => Ok(length),
        _ => Err(Error::message("a list is too long")),
    }
}

/// A byte string that shares the message's memory.
fn slice(decoder: &mut Decoder<'_>, message: &Bytes) -> Result<Bytes, Error> {
    let bytes = decoder.bytes()?;
    Ok(message.slice_ref(bytes))
}

fn write_vote(encoder: &mut Writer, vote: &Vote) -> Written {
    encoder
        .array(3)?
        .u64(vote.leader_id.term)?
        .encode(vote.leader_id.voted_for)?
        .bool(vote.committed)?
        .ok()
}

fn vote(decoder: &mut Decoder<'_>) -> Result<Vote, Error> {
    exactly(decoder.array()?, 3)?;
    let leader_id = LeaderId {
        term: decoder.u64()?,
        voted_for: decoder.decode()?,
    };
    Ok(Vote {
        leader_id,
        committed: decoder.bool()?,
    })
}

fn exactly(length: Option<u64>, expected: u64) -> Result<(), Error> {
    match length == Some(expected) {
        true => Ok(()),
        false => Err(Error::message("a list of another length")),
    }
}

fn write_log_id(encoder: &mut Writer, log_id: Option<&LogId>) -> Written {
    match log_id {
        None => encoder.null()?.ok(),
        Some(log_id) => encoder.array(2)?.u64(log_id.leader_id.term)?.u64(log_id.index)?.ok(),
    }
}

fn log_id(decoder: &mut Decoder<'_>) -> Result<Option<LogId>, Error> {
    if decoder.datatype()? == minicbor::data::Type::Null {
        decoder.null()?;
        return Ok(None);
    }
    exactly(decoder.array()?, 2)?;
    let leader_id = CommittedLeaderId::new(decoder.u64()?, 0);
    let index = decoder.u64()?;
    match index.checked_add(1) {
        Some(_) => Ok(Some(LogId::new(leader_id, index))),
        None => Err(Error::message("an index has a next one")),
    }
}

fn payload_bytes(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.0.len(),
        EntryPayload::Blank => 0,
        EntryPayload::Membership(_) => 256,
    };
    payload + 40
}

fn write_entry(encoder: &mut Writer, entry: &Entry) -> Written {
    encoder.array(2)?;
    write_log_id(encoder, Some(&entry.log_id))?;
    write_payload(encoder, &entry.payload)
}

fn entry(decoder: &mut Decoder<'_>, message: &Bytes) -> Result<Entry, Error> {
    exactly(decoder.array()?, 2)?;
    let log_id = log_id(decoder)?.ok_or_else(|| Error::message("an entry has an id"))?;
    Ok(Entry {
        log_id,
        payload: payload(decoder, message)?,
    })
}

fn write_payload(encoder: &mut Writer, payload: &EntryPayload<TypeConfig>) -> Written {
    match payload {
        EntryPayload::Blank => encoder.null()?.ok(),
        EntryPayload::Normal(proposal) => encoder.bytes(&proposal.0)?.ok(),
        EntryPayload::Membership(members) => write_members(encoder, members),
    }
}

fn payload(decoder: &mut Decoder<'_>, message: &Bytes) -> Result<EntryPayload<TypeConfig>, Error> {
    use minicbor::data::Type;
    match decoder.datatype()? {
        Type::Null => decoder.null().map(|()| EntryPayload::Blank),
        Type::Bytes => Ok(EntryPayload::Normal(Proposal(slice(decoder, message)?))),
        _ => Ok(EntryPayload::Membership(members(decoder)?)),
    }
}

fn write_stored_membership(encoder: &mut Writer, stored: &StoredMembership) -> Written {
    encoder.array(2)?;
    write_log_id(encoder, stored.log_id().as_ref())?;
    write_members(encoder, stored.membership())
}

fn stored_membership(decoder: &mut Decoder<'_>) -> Result<StoredMembership, Error> {
    exactly(decoder.array()?, 2)?;
    Ok(StoredMembership::new(log_id(decoder)?, members(decoder)?))
}

/// A membership by itself, as the log and a file of its own hold it.
pub(super) fn encode_members(members: &Members) -> Vec<u8> {
    written(256, |encoder| write_members(encoder, members)).into()
}

/// What [`encode_members`] wrote.
pub(super) fn decode_members(bytes: &[u8]) -> Result<Members, Error> {
    let mut decoder = Decoder::new(bytes);
    let decoded = members(&mut decoder)?;
    match decoder.position() == bytes.len() {
        true => Ok(decoded),
        false => Err(Error::message("bytes follow the membership")),
    }
}

/// Who votes, jointly while it changes, and how each member, learners included, is reached.
fn write_members(encoder: &mut Writer, members: &Members) -> Written {
    let configs = members.get_joint_config();
    encoder.array(2)?.array(configs.len() as u64)?;
    for config in configs {
        encoder.array(config.len() as u64)?;
        config.iter().try_for_each(|node| encoder.u64(*node)?.ok())?;
    }
    let nodes: Vec<_> = members.nodes().collect();
    encoder.array(nodes.len() as u64)?;
    for (id, member) in nodes {
        match member.form {
            MemberForm::Long => encoder.array(4)?.u64(*id)?.str(&member.peer_address)?.str("")?,
            MemberForm::Short => encoder.array(3)?.u64(*id)?.str(&member.peer_address)?,
        };
        encoder.u64(member.generation)?;
    }
    Ok(())
}

fn members(decoder: &mut Decoder<'_>) -> Result<Members, Error> {
    exactly(decoder.array()?, 2)?;
    // A change is joint: of two sets at most.
    let configs = (0..at_most(decoder.array()?, 2)?)
        .map(|_| {
            (0..at_most(decoder.array()?, MEMBERS_MAX)?)
                .map(|_| decoder.u64())
                .collect::<Result<BTreeSet<_>, _>>()
        })
        .collect::<Result<Vec<_>, _>>()?;
    let nodes = (0..at_most(decoder.array()?, MEMBERS_MAX)?)
        .map(|_| {
            let form = match decoder.array()? {
                Some(4) => MemberForm::Long,
                Some(3) => MemberForm::Short,
                _ => return Err(Error::message("not a member of this version")),
            };
            let id = decoder.u64()?;
            let peer_address = decoder.str()?.to_owned();
            if form == MemberForm::Long {
                decoder.str()?;
            }
            let member = Member {
                peer_address,
                generation: decoder.u64()?,
                form,
            };
            Ok((id, member))
        })
        .collect::<Result<BTreeMap<_, _>, Error>>()?;
    Ok(Members::new(configs, nodes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some_log_id() -> impl Strategy<Value = Option<LogId>> {
        proptest::option::of((any::<u64>(), 0..u64::MAX - 1))
            .prop_map(|id| id.map(|(term, index)| LogId::new(CommittedLeaderId::new(term, 0), index)))
    }

    fn some_vote() -> impl Strategy<Value = Vote> {
        (any::<u64>(), proptest::option::of(any::<u64>()), any::<bool>()).prop_map(|(term, voted_for, committed)| {
            Vote {
                leader_id: LeaderId { term, voted_for },
                committed,
            }
        })
    }

    fn some_members() -> impl Strategy<Value = Members> {
        let set = || proptest::collection::btree_set(1..9u64, 1..4);
        let form = prop_oneof![Just(MemberForm::Long), Just(MemberForm::Short)];
        let member = (".{0,20}", any::<u64>(), form).prop_map(|(peer_address, generation, form)| Member {
            peer_address,
            generation,
            form,
        });
        let nodes = proptest::collection::btree_map(1..9u64, member, 0..5);
        (proptest::collection::vec(set(), 1..3), nodes).prop_map(|(configs, mut nodes)| {
            for id in configs.iter().flatten() {
                nodes.entry(*id).or_default();
            }
            Members::new(configs, nodes)
        })
    }

    fn some_payload() -> impl Strategy<Value = EntryPayload<TypeConfig>> {
        prop_oneof![
            Just(EntryPayload::Blank),
            proptest::collection::vec(any::<u8>(), 0..40)
                .prop_map(|bytes| EntryPayload::Normal(Proposal(bytes.into()))),
            some_members().prop_map(EntryPayload::Membership),
        ]
    }

    fn some_entries() -> impl Strategy<Value = Vec<Entry>> {
        let entry = (any::<u64>(), 0..u64::MAX - 1, some_payload()).prop_map(|(term, index, payload)| Entry {
            log_id: LogId::new(CommittedLeaderId::new(term, 0), index),
            payload,
        });
        proptest::collection::vec(entry, 0..5)
    }

    fn some_request() -> impl Strategy<Value = Request> {
        prop_oneof![
            (some_vote(), some_log_id(), some_entries(), some_log_id()).prop_map(
                |(vote, prev_log_id, entries, leader_commit)| Request::Append(AppendEntriesRequest {
                    vote,
                    prev_log_id,
                    entries,
                    leader_commit,
                })
            ),
            (some_vote(), some_log_id()).prop_map(|(vote, last)| Request::Vote(VoteRequest::new(vote, last))),
            (some_vote(), some_log_id(), some_log_id(), some_members(), ".{0,20}").prop_map(
                |(vote, last_log_id, member_id, members, snapshot_id)| Request::Snapshot {
                    vote,
                    meta: SnapshotMeta {
                        last_log_id,
                        last_membership: StoredMembership::new(member_id, members),
                        snapshot_id,
                    },
                    manifest: Bytes::from_static(b"manifest"),
                }
            ),
            Just(()).prop_map(|()| Request::ReadIndex),
            Just(()).prop_map(|()| Request::Campaign),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Request::Application(bytes.into())),
        ]
    }

    fn some_response() -> impl Strategy<Value = Response> {
        prop_oneof![
            Just(()).prop_map(|()| Response::Append(AppendEntriesResponse::Success)),
            Just(()).prop_map(|()| Response::Append(AppendEntriesResponse::Conflict)),
            some_log_id().prop_map(|id| Response::Append(AppendEntriesResponse::PartialSuccess(id))),
            some_vote().prop_map(|vote| Response::Append(AppendEntriesResponse::HigherVote(vote))),
            (some_vote(), some_log_id(), any::<bool>())
                .prop_map(|(vote, last, granted)| Response::Vote(VoteResponse::new(vote, last, granted))),
            some_vote().prop_map(|vote| Response::Snapshot { vote }),
            any::<u64>().prop_map(|index| Response::ReadIndex(LogIndex::new(index))),
            Just(()).prop_map(|()| Response::Done),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Response::Application(bytes.into())),
            proptest::option::of(any::<u64>()).prop_map(|leader| Response::NotLeader { leader }),
            ".{0,20}".prop_map(|reason| Response::Failed { reason }),
        ]
    }

    proptest! {
        #[test]
        fn requests_survive_the_way(request in some_request()) {
            let bytes = request.encode();
            let decoded = Request::decode(&bytes).expect("what was encoded decodes");
            prop_assert_eq!(format!("{decoded:?}"), format!("{request:?}"));
            prop_assert_eq!(decoded.encode(), bytes, "a message has one form");
        }

        #[test]
        fn answers_survive_the_way(response in some_response()) {
            let bytes = response.encode();
            let decoded = Response::decode(&bytes).expect("what was encoded decodes");
            prop_assert_eq!(format!("{decoded:?}"), format!("{response:?}"));
            prop_assert_eq!(decoded.encode(), bytes, "a message has one form");
        }

        #[test]
        fn nothing_else_is_understood(request in some_request(), cut in any::<prop::sample::Index>(), more in any::<u8>()) {
            let bytes = request.encode();
            prop_assert!(Request::decode(&bytes.slice(..cut.index(bytes.len()))).is_err());
            prop_assert!(Request::decode(&[&bytes[..], &[more]].concat().into()).is_err());
            let mut other_version = bytes.to_vec();
            other_version[1] += 1;
            prop_assert!(Request::decode(&other_version.into()).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let bytes = Bytes::from(bytes);
            let _ = (Request::decode(&bytes), Response::decode(&bytes), decode_members(&bytes));
        }
    }
}
