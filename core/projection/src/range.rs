//! Which keys a scan visits, and in which order.

/// Encoded primary keys from `start` (inclusive) to `end` (exclusive), compared as bytes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct KeyRange {
    /// The first key inside, or a prefix of it; empty for "from the beginning".
    pub start: Vec<u8>,
    /// The first key outside; `None` for "to the end".
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key of a table.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            start: Vec::new(),
            end: None,
        }
    }

    /// Whether no key can be inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// The part that follows a key that was just visited.
    pub(crate) fn after(&self, key: &[u8], direction: Direction) -> Self {
        match direction {
            // Nothing lies between a byte string and itself followed by a zero byte.
            Direction::Ascending => Self {
                start: [key, &[0]].concat(),
                end: self.end.clone(),
            },
            Direction::Descending => Self {
                start: self.start.clone(),
                end: Some(key.to_vec()),
            },
        }
    }
}

/// The order of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Direction {
    /// Smallest key first.
    #[default]
    Ascending,
    /// Largest key first.
    Descending,
}
