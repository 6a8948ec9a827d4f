//! Which keys a scan visits, and in which order.

/// A half-open range of encoded primary keys.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct KeyRange {
    /// The first key that is inside, or a prefix of it; empty for "from the beginning".
    pub start: Vec<u8>,
    /// The first key that is outside; `None` for "to the end".
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

    /// Every key that begins with these bytes.
    #[must_use]
    pub fn prefix(bytes: &[u8]) -> Self {
        Self {
            start: bytes.to_vec(),
            end: prefix_end(bytes),
        }
    }

    /// Whether no key can be inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| self.start >= *end)
    }

    /// Whether the key is inside.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && self.end.as_ref().is_none_or(|end| key < end.as_slice())
    }
}

/// The smallest byte string after every string that begins with `prefix`; `None` when there is no such string.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Which end of a range comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Direction {
    /// Ascending keys.
    #[default]
    Forward,
    /// Descending keys.
    Backward,
}
