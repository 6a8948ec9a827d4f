//! The members of a cluster's consensus group: which there shall be, and what one of them sees of it.

use std::{collections::BTreeSet, fmt, net::SocketAddr};

use crate::{
    ClusterId, NAME_BYTES_MAX,
    desired::{LimitError, at_most},
};

/// The most members of one cluster at one time: five that stay, and as many that take their places.
pub const MEMBERS_MAX: usize = 10;
/// The most reasons that a member gives for not being ready.
pub const NOT_READY_REASONS_MAX: usize = 16;

/// A member's number in its cluster. Counted up from 1 and never used twice, so that a member that lost its data can
/// never be taken for the one that it was.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct MemberId(u64);

/// A number that no member can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no member's number: these go from 1 to {max}", max = MemberId::MAX)]
pub struct MemberIdError(pub u64);

impl MemberId {
    /// The number of a cluster's first member.
    pub const FIRST: Self = Self(1);
    /// The greatest number: it is part of the paths of sockets, which have to be short.
    pub const MAX: u64 = 9_999;

    /// Checks a number.
    ///
    /// # Errors
    /// When it is 0 or above [`Self::MAX`].
    pub const fn new(number: u64) -> Result<Self, MemberIdError> {
        if number == 0 || number > Self::MAX {
            Err(MemberIdError(number))
        } else {
            Ok(Self(number))
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for MemberId {
    type Error = MemberIdError;

    fn try_from(number: u64) -> Result<Self, MemberIdError> {
        Self::new(number)
    }
}

impl From<MemberId> for u64 {
    fn from(id: MemberId) -> Self {
        id.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {}", self.0)
    }
}

/// One member of one cluster: what a node runs as one process on one directory.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Which of its members.
    pub member_id: MemberId,
}

impl InstanceId {
    /// Reads the form that [`fmt::Display`] writes: the cluster, a full stop and the number.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (cluster_id, number) = text.split_once('.')?;
        let member_id = MemberId::new(number.parse().ok()?).ok()?;
        // The same instance has one name only.
        (member_id.to_string() == number).then_some(())?;
        Some(Self {
            cluster_id: ClusterId::parse(cluster_id).ok()?,
            member_id,
        })
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.cluster_id, self.member_id)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A member that the group shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DesiredMember {
    /// Its number.
    pub member_id: MemberId,
    /// Where the other members reach it.
    pub peer_address: SocketAddr,
}

/// An instance's part in a consensus group.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DesiredMembership {
    /// Whether it may begin the group when it has no data: at most one member, and only until the cluster was ready
    /// for the first time.
    pub bootstrap: bool,
    /// Grows with every change of the members.
    pub generation: u64,
    /// The members that the group shall have, sorted by number. The instance itself is not among them before its
    /// addresses are known, and no more when it is to leave.
    pub members: Vec<DesiredMember>,
}

impl DesiredMembership {
    /// Whether a member is among those that the group shall have.
    #[must_use]
    pub fn lists(&self, member_id: MemberId) -> bool {
        self.members.iter().any(|member| member.member_id == member_id)
    }

    pub(crate) fn is_canonical(&self) -> bool {
        self.members.is_sorted_by(|a, b| a.member_id < b.member_id)
    }

    pub(crate) fn check_limits(&self) -> Result<(), LimitError> {
        at_most("instances[].membership.members", self.members.len(), MEMBERS_MAX)
    }
}

/// What a member is in its group at the moment (Raft, section 5.1; a learner has no vote).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Orders the group's entries.
    Leader,
    /// Has a vote and follows the leader.
    Follower,
    /// Receives the entries and has no vote.
    Learner,
    /// Asks for votes.
    Candidate,
    /// Has no part in it at the moment: it is starting, or has stopped.
    Stopped,
}

/// Why a member does not serve.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NotReady {
    /// For programs.
    pub code: String,
    /// For people.
    pub detail: String,
}

/// What a member sees of its group.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ObservedMembership {
    /// What the member is.
    pub role: Role,
    /// Who leads, as far as the member knows.
    pub leader: Option<MemberId>,
    /// The term that the member is in.
    pub term: u64,
    /// The last entry that the member knows to be committed; `None` before the first.
    pub committed: Option<u64>,
    /// The last entry that the member has applied; `None` before the first.
    pub applied: Option<u64>,
    /// Who has a vote.
    pub voters: BTreeSet<MemberId>,
    /// Who has none yet.
    pub learners: BTreeSet<MemberId>,
    /// The generation of the wanted members that the member works with.
    pub members_generation: u64,
    /// What keeps the member from serving; nothing when it serves.
    pub not_ready: Vec<NotReady>,
}

impl ObservedMembership {
    /// Whether the member knows a leader and nothing keeps it from serving.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.leader.is_some() && self.not_ready.is_empty()
    }

    pub(crate) fn check_limits(&self) -> Result<(), LimitError> {
        at_most("instances[].membership.voters", self.voters.len(), MEMBERS_MAX)?;
        at_most("instances[].membership.learners", self.learners.len(), MEMBERS_MAX)?;
        let reasons = &self.not_ready;
        at_most("instances[].membership.not_ready", reasons.len(), NOT_READY_REASONS_MAX)?;
        reasons.iter().try_for_each(|reason| {
            at_most(
                "instances[].membership.not_ready[].code",
                reason.code.len(),
                NAME_BYTES_MAX,
            )?;
            let length = reason.detail.len();
            at_most(
                "instances[].membership.not_ready[].detail",
                length,
                crate::ERROR_BYTES_MAX,
            )
        })
    }

    /// Forgets how far the log is, which moves all the time.
    pub(crate) fn without_positions(self) -> Self {
        Self {
            committed: None,
            applied: None,
            ..self
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn member(number: u64) -> MemberId {
        MemberId::new(number).unwrap()
    }

    #[test]
    fn members_are_numbered_from_one_to_the_limit() {
        for (number, accepted) in [(0, false), (1, true), (9_999, true), (10_000, false), (u64::MAX, false)] {
            assert_eq!(MemberId::new(number).is_ok(), accepted, "{number}");
            assert_eq!(
                serde_json::from_str::<MemberId>(&number.to_string()).is_ok(),
                accepted,
                "{number}"
            );
        }
    }

    #[test]
    fn an_instance_has_one_name() {
        let cluster = "clu_01h455vb4pex5vsknk084sn02q";
        for (text, accepted) in [
            (format!("{cluster}.1"), true),
            (format!("{cluster}.9999"), true),
            (format!("{cluster}.0"), false),
            (format!("{cluster}.10000"), false),
            (format!("{cluster}.01"), false),
            (format!("{cluster}.+1"), false),
            (format!("{cluster}."), false),
            (cluster.to_owned(), false),
            ("clu.1".to_owned(), false),
            (format!("{cluster}.1.2"), false),
        ] {
            let parsed = InstanceId::parse(&text);
            assert_eq!(parsed.is_some(), accepted, "{text}");
            if let Some(parsed) = parsed {
                assert_eq!(parsed.to_string(), text);
            }
        }
    }
}
