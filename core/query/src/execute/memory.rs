//! The bound on the rows that a statement holds at once.

use craton_types::Value;

use crate::SqlError;

/// Counts bytes of kept rows against the bound of [`crate::Context::memory_bytes_max`].
#[derive(Debug)]
pub(crate) struct Memory {
    used: usize,
    bytes_max: usize,
}

impl Memory {
    pub(crate) const fn new(bytes_max: usize) -> Self {
        Self { used: 0, bytes_max }
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// `53200` past the bound.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), SqlError> {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.bytes_max {
            return Err(SqlError::memory_exceeded(self.bytes_max));
        }
        Ok(())
    }

    pub(crate) fn take_row(&mut self, row: &[Value]) -> Result<(), SqlError> {
        self.take(row_bytes(row))
    }

    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
    }
}

/// About what a row takes in memory.
pub(crate) fn row_bytes(row: &[Value]) -> usize {
    let heap: usize = row
        .iter()
        .map(|value| match value {
            Value::Text(text) | Value::Json(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => 0,
        })
        .sum();
    size_of::<Vec<Value>>() + size_of_val(row) + heap
}
