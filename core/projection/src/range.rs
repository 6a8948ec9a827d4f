//! Going on with a scan where it stopped.

use craton_types::{Direction, KeyRange};

/// The part of a range that follows a key that was just visited.
pub(crate) fn range_after(range: &KeyRange, key: &[u8], direction: Direction) -> KeyRange {
    match direction {
        // Nothing lies between a byte string and itself followed by a zero byte.
        Direction::Forward => KeyRange {
            start: [key, &[0]].concat(),
            end: range.end.clone(),
        },
        Direction::Backward => KeyRange {
            start: range.start.clone(),
            end: Some(key.to_vec()),
        },
    }
}
