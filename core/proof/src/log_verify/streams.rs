//! The sequence of each stream: records of a stream are numbered from zero without gap.

use std::collections::HashMap;

use craton_types::{StreamId, StreamSequence};

/// The most streams whose sequences are checked: what bounds the verifier's memory.
pub(super) const STREAMS_TRACKED_MAX: usize = 1_048_576;

pub(super) struct Streams {
    next: HashMap<StreamId, StreamSequence>,
    tracked_max: usize,
    untracked: bool,
}

impl Streams {
    pub(super) fn new(tracked_max: usize) -> Self {
        Self {
            next: HashMap::new(),
            tracked_max,
            untracked: false,
        }
    }

    /// Notes a stream's next record. The sequence that it should have, when it has another.
    pub(super) fn unexpected(&mut self, stream: StreamId, found: StreamSequence) -> Option<StreamSequence> {
        if !self.next.contains_key(&stream) && self.next.len() == self.tracked_max {
            self.untracked = true;
            return None;
        }
        let next = self.next.entry(stream).or_default();
        if *next != found {
            return Some(*next);
        }
        *next = next.next();
        None
    }

    /// Notes a stream's next records, from `first` to before `next`. `false` when others are expected, or the stream is
    /// one more than are tracked.
    pub(super) fn advance(&mut self, stream: StreamId, first: StreamSequence, next: StreamSequence) -> bool {
        if self.unexpected(stream, first).is_some() || self.untracked {
            return false;
        }
        self.next.insert(stream, next);
        true
    }

    /// Whether some streams were not checked because there are too many.
    pub(super) const fn are_untracked(&self) -> bool {
        self.untracked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_count_from_zero_up_to_as_many_streams_as_are_tracked() {
        let mut streams = Streams::new(2);
        let mut note = |stream, sequence| {
            let unexpected = streams.unexpected(StreamId::new(stream), StreamSequence::new(sequence));
            (unexpected.map(StreamSequence::get), streams.are_untracked())
        };
        assert_eq!(note(7, 0), (None, false));
        assert_eq!(note(7, 1), (None, false));
        assert_eq!(note(8, 3), (Some(0), false));
        assert_eq!(note(8, 0), (None, false));
        assert_eq!(note(7, 1), (Some(2), false));
        assert_eq!(note(9, 5), (None, true), "a third stream is one too many");
        assert_eq!(note(7, 2), (None, true), "the others are still checked");
        assert_eq!(note(8, 2), (Some(1), true));
    }
}
