//! The first messages of a connection between members, for fuzzing.

use craton_types::{FormatVersion, NodeId, decode_whole};
use minicbor::{Decode, Encode};

use super::wire::{Hello, VERSION, Welcome};

/// What it is encoded to must decode to the same.
fn is_stable<T: Encode<()> + for<'b> Decode<'b, ()> + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> bool {
    let Ok(message) = decode_whole::<T>(bytes) else {
        return false;
    };
    let encoded = minicbor::to_vec(&message).expect("writing to memory does not fail");
    assert_eq!(decode_whole::<T>(&encoded).ok(), Some(message));
    true
}

/// Who connects.
#[must_use]
pub fn hello(bytes: &[u8]) -> bool {
    is_stable::<Hello>(bytes)
}

/// What it is told.
#[must_use]
pub fn welcome(bytes: &[u8]) -> bool {
    is_stable::<Welcome>(bytes)
}

/// Hellos of this build and of the one before.
#[must_use]
pub fn hellos() -> Vec<Vec<u8>> {
    let newest = Hello {
        version: VERSION,
        cluster_id: "clu_1".to_owned(),
        from: NodeId::new(1),
        to: NodeId::new(2),
        format_newest: Some(FormatVersion::NEWEST),
        region: Some("eu-central".parse().expect("a region")),
    };
    let before = Hello {
        format_newest: None,
        region: None,
        ..newest.clone()
    };
    [newest, before]
        .map(|hello| minicbor::to_vec(hello).expect("in memory"))
        .into()
}

/// One answer of each kind.
#[must_use]
pub fn welcomes() -> Vec<Vec<u8>> {
    let accepted = Welcome::Accepted {
        format_newest: Some(FormatVersion::NEWEST),
    };
    [accepted, Welcome::Refused("another cluster".to_owned())]
        .map(|welcome| minicbor::to_vec(welcome).expect("in memory"))
        .into()
}
