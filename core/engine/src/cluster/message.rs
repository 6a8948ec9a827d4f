//! What the engines of two members say to each other: a version and CBOR. Consensus carries it and does not look into it.

use craton_kernel::Outcome;
use craton_types::{FormatVersion, Hash, LogIndex, Offset, TenantId, decode_whole};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use super::instance::Instance;
use crate::keyring::TenantKeys;

const VERSION: u8 = 1;

/// What a member's engine asks another one's.
#[derive(Debug, Encode, Decode)]
pub(super) enum Ask {
    /// The keys of the cluster, for a node that joins it.
    #[n(0)]
    ClusterKeys,
    /// To order and apply a command. For the leader.
    #[n(1)]
    Command(#[n(0)] ByteVec),
    /// The keys of a tenant.
    #[n(2)]
    TenantKeys(#[n(0)] TenantId),
    /// Records of a tenant's log.
    #[n(3)]
    Records {
        #[n(0)]
        tenant: TenantId,
        #[n(1)]
        from: Offset,
        #[n(2)]
        end: Offset,
    },
    /// The keys of a tenant's data subjects from this number on.
    #[n(4)]
    SubjectKeys {
        #[n(0)]
        tenant: TenantId,
        #[n(1)]
        from: u64,
        #[n(2)]
        end: u64,
    },
    /// The newest version of the formats that the member's build knows.
    #[n(5)]
    FormatNewest,
    /// To remember what the member says of itself, and to say whether it may take part.
    #[n(10)]
    Introduce(#[n(0)] Instance),
    /// To order an entry that does nothing. For the leader.
    #[n(11)]
    Entry,
}

/// What it answers.
#[derive(Debug, Encode, Decode)]
pub(super) enum Answer {
    #[n(0)]
    ClusterKeys {
        #[n(0)]
        keys: ByteVec,
        /// The version of the formats that the cluster uses; the first one when it is not said.
        #[n(1)]
        format: Option<FormatVersion>,
    },
    /// The command was applied with this or an earlier entry.
    #[n(1)]
    Outcome {
        #[n(0)]
        outcome: Outcome,
        #[n(1)]
        applied: LogIndex,
    },
    /// The command was not taken, and the reason may pass.
    #[n(2)]
    NotTaken(#[n(0)] NotTaken),
    #[n(3)]
    TenantKeys(#[n(0)] TenantKeys),
    /// Records in order, each header and body.
    #[n(4)]
    Records(#[n(0)] Vec<ByteVec>),
    /// Wrapped keys in order; none for one that is erased.
    #[n(5)]
    SubjectKeys(#[n(0)] Vec<Option<ByteVec>>),
    #[n(6)]
    Failed(#[n(0)] String),
    /// Whether the command was applied is not known.
    #[n(7)]
    OutcomeUnknown,
    #[n(8)]
    FormatNewest(#[n(0)] FormatVersion),
    /// The member may take part.
    #[n(20)]
    Welcome,
    /// It may not, and why.
    #[n(21)]
    NotWelcome(#[n(0)] String),
    /// Its directory, or the one of whoever answers, is of another cluster.
    #[n(22)]
    Stranger,
}

/// Why a leader did not take a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum NotTaken {
    #[n(0)]
    NotLeader,
    #[n(1)]
    Overloaded,
    #[n(2)]
    DiskFull,
}

/// What everything up to an entry led to.
#[derive(Debug, Encode, Decode)]
pub(super) struct Manifest {
    /// The system tenant first.
    #[n(0)]
    pub(super) tenants: Vec<ListedTenant>,
}

/// A tenant in a [`Manifest`].
#[derive(Debug, Encode, Decode)]
pub(super) struct ListedTenant {
    #[n(0)]
    pub(super) tenant: TenantId,
    /// How many records its log has.
    #[n(1)]
    pub(super) end: Offset,
    /// The last one's hash; zeros for none.
    #[n(2)]
    pub(super) last_hash: Hash,
}

pub(super) fn encode(message: &impl Encode<()>) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    minicbor::encode(message, &mut bytes).expect("writing to memory does not fail");
    bytes
}

pub(super) fn decode<T: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Result<T, minicbor::decode::Error> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => decode_whole(rest),
        _ => Err(minicbor::decode::Error::message("a message of another version")),
    }
}
