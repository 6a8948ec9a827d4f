//! The words of openraft, and ours.
//!
//! Raft's first index is 0, the write-ahead log's is 1: entry `i` of the one is entry `i + 1` of the other.

use bytes::Bytes;
use craton_types::{Form, Format, FormatUnknown, FormatVersion, LogIndex, Term};
use openraft::{CommittedLeaderId, Membership};

use super::runtime::Runtime;

openraft::declare_raft_types!(
    /// What openraft is instantiated with.
    pub(crate) TypeConfig:
        D = Proposal,
        R = (),
        NodeId = u64,
        Node = Member,
        SnapshotData = SnapshotOffer,
        AsyncRuntime = Runtime,
);

pub(super) type Raft = openraft::Raft<TypeConfig>;
pub(super) type Entry = openraft::Entry<TypeConfig>;
pub(super) type LogId = openraft::LogId<u64>;
pub(super) type Vote = openraft::Vote<u64>;
pub(super) type StorageError = openraft::StorageError<u64>;
pub(super) type StoredMembership = openraft::StoredMembership<u64, Member>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<u64, Member>;
pub(super) type Members = Membership<u64, Member>;

/// What is proposed: the payload of an entry, which consensus does not look into.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proposal(pub(crate) Bytes);

impl std::fmt::Debug for Proposal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proposal({} bytes)", self.0.len())
    }
}

/// How a member of the cluster is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// Host and port where it listens for the others.
    pub(crate) peer_address: String,
    /// The generation of the list of members that it came with.
    pub(crate) generation: u64,
    /// How it is written.
    pub(crate) form: MemberForm,
}

/// How a [`Member`] is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MemberForm {
    /// With an address for clients, which is empty and read by nobody.
    #[default]
    Long,
    /// Without it: [`Form::ShortMembers`].
    Short,
}

impl MemberForm {
    /// The form in which new members are written.
    pub(crate) fn of(format: &Format) -> Self {
        match format.writes(Form::ShortMembers) {
            true => Self::Short,
            false => Self::Long,
        }
    }

    /// The version that a build must know to read the form.
    const fn since(self) -> FormatVersion {
        match self {
            Self::Long => FormatVersion::FIRST,
            Self::Short => Form::ShortMembers.since(),
        }
    }
}

/// Whether this build reads these members.
///
/// # Errors
/// When they are written in a form of a later one.
pub(crate) fn check_form(members: &Members, format: &Format) -> Result<(), FormatUnknown> {
    let mut forms = members.nodes().map(|(_, member)| member.form.since());
    forms.try_for_each(|since| format.check(since))
}

/// What a leader offers to a member that needs more than the log still has: a list, by which the rest is fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SnapshotOffer {
    /// Who offers it.
    pub(crate) from: u64,
    /// What there is, in words of the state machine.
    pub(crate) manifest: Bytes,
}

pub(super) const fn log_index(index: u64) -> LogIndex {
    LogIndex::new(index + 1)
}

/// The raft index of an entry; `None` for index zero, which no entry has.
pub(super) fn raft_index(index: LogIndex) -> Option<u64> {
    index.get().checked_sub(1)
}

/// The log id of an entry of the write-ahead log; `None` for index zero.
pub(super) fn log_id(index: LogIndex, term: Term) -> Option<LogId> {
    raft_index(index).map(|index| LogId::new(CommittedLeaderId::new(term.get(), 0), index))
}

pub(super) fn term(log_id: &LogId) -> Term {
    Term::new(log_id.leader_id.term)
}
