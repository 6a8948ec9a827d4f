//! A register: what is under one key.

use crate::search::Model;

/// A value that can be read, written and compared and set. It is absent at first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

/// What was asked of a register, and what it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterOperation {
    /// It was read, and this was there. A read without an answer says nothing and is left out of a history.
    Read(Option<i64>),
    /// It was written.
    Write(i64),
    /// It was set if it was as expected.
    CompareAndSet {
        /// What it had to be.
        expected: Option<i64>,
        /// What it was to become.
        new: i64,
        /// Whether it was set; `None` when nobody was told.
        was_set: Option<bool>,
    },
}

impl Model for Register {
    type State = Option<i64>;
    type Operation = RegisterOperation;

    fn initial(&self) -> Self::State {
        None
    }

    fn step(&self, state: &Self::State, operation: &Self::Operation) -> Option<Self::State> {
        match *operation {
            RegisterOperation::Read(value) => (*state == value).then_some(*state),
            RegisterOperation::Write(value) => Some(Some(value)),
            RegisterOperation::CompareAndSet { expected, new, was_set } => {
                let fits = *state == expected;
                let next = if fits { Some(new) } else { *state };
                (was_set.is_none_or(|was_set| was_set == fits)).then_some(next)
            }
        }
    }
}
