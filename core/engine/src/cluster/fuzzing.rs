//! The parsers of what members' engines say to each other, for fuzzing.

use craton_types::{FormatVersion, Hash, LogIndex, Offset, TenantId};
use minicbor::{Decode, Encode};

use super::instance::Instance;
use super::message::{Answer, Ask, ListedTenant, Manifest, NotTaken, decode, encode};

/// What it is encoded to must decode to the same encoding.
fn is_stable<T: Encode<()> + for<'b> Decode<'b, ()>>(bytes: &[u8]) -> bool {
    let Ok(message) = decode::<T>(bytes) else {
        return false;
    };
    let encoded = encode(&message);
    let again: T = decode(&encoded).expect("what was encoded decodes");
    assert_eq!(encode(&again), encoded);
    true
}

/// A question.
#[must_use]
pub fn ask(bytes: &[u8]) -> bool {
    is_stable::<Ask>(bytes)
}

/// An answer.
#[must_use]
pub fn answer(bytes: &[u8]) -> bool {
    is_stable::<Answer>(bytes)
}

/// What a snapshot lists.
#[must_use]
pub fn manifest(bytes: &[u8]) -> bool {
    is_stable::<Manifest>(bytes)
}

const TENANT: TenantId = TenantId::new([7; 16]);

/// Questions of every kind.
#[must_use]
pub fn asks() -> Vec<Vec<u8>> {
    let (from, end) = (Offset::ZERO, Offset::new(9));
    let asks = [
        Ask::ClusterKeys,
        Ask::Command(vec![1, 2, 3].into()),
        Ask::TenantKeys(TENANT),
        Ask::Records {
            tenant: TENANT,
            from,
            end,
        },
        Ask::SubjectKeys {
            tenant: TENANT,
            from: 0,
            end: 9,
        },
        Ask::FormatNewest,
        Ask::Introduce(Instance {
            cluster: Hash::ZERO,
            opened: 3,
            drawn: [5; 16],
            last: Some(LogIndex::new(8)),
            committed: LogIndex::new(7),
        }),
        Ask::Entry,
    ];
    asks.iter().map(encode).collect()
}

/// Answers of most kinds.
#[must_use]
pub fn answers() -> Vec<Vec<u8>> {
    let answers = [
        Answer::ClusterKeys {
            keys: vec![4; 8].into(),
            format: Some(FormatVersion::NEWEST),
        },
        Answer::NotTaken(NotTaken::Overloaded),
        Answer::Records(vec![vec![1; 4].into(), vec![2; 4].into()]),
        Answer::SubjectKeys(vec![Some(vec![3; 4].into()), None]),
        Answer::Failed("full".to_owned()),
        Answer::OutcomeUnknown,
        Answer::FormatNewest(FormatVersion::NEWEST),
        Answer::Welcome,
        Answer::NotWelcome("it forgot".to_owned()),
    ];
    answers.iter().map(encode).collect()
}

/// Lists of tenants.
#[must_use]
pub fn manifests() -> Vec<Vec<u8>> {
    let listed = ListedTenant {
        tenant: TENANT,
        end: Offset::new(9),
        last_hash: Hash::ZERO,
    };
    vec![encode(&Manifest { tenants: vec![listed] })]
}
