//! Whether what clients of a store saw can be explained by a store that does one thing after another: linearizability
//! (Herlihy and Wing, *Linearizability: A Correctness Condition for Concurrent Objects*, TOPLAS 1990).
//!
//! The search is that of Wing and Gong (*Testing and Verifying Concurrent Objects*, JPDC 1993) with the memory of Lowe
//! (*Testing for linearizability*, 2017): what was tried, as a set of calls and the state that they led to, is not tried
//! again. A history of several keys is linearizable when that of each key is, so keys are searched one by one.
//!
//! # Invariants
//! - A call without an answer may have taken effect at any moment after it began, or never.
//! - The search is bounded: a history that takes longer is undecided, and never taken for a good one.
//!
//! # Deliberately absent
//! Clocks. Moments are numbers that whoever recorded the history took from one clock.

mod register;
mod search;

pub use register::{Register, RegisterOperation};
pub use search::{Call, HistoryError, Model, check, check_keys};
