//! Fuzz targets for every parser of what comes from a disk or a wire.
//!
//! A [`Target`] is a family of parsers. The first byte of an input says which of them gets the rest. A parser is a function
//! that takes bytes, asserts what must hold of anything that it understands, and says whether it understood:
//!
//! - no input makes it panic, and none takes it long or much memory (libFuzzer's limits, see `scripts/fuzz.sh`);
//! - what it understood is encoded again and decodes to the same; where a format has one form only, to the same bytes;
//! - what is changed in a valid document never verifies as something else;
//! - what is changed in a log is never served.
//!
//! `libfuzzer/` has the binaries for `cargo fuzz`. `corpus/` has small inputs that reach what fuzzing has reached so far; a
//! test feeds them to the targets with the ordinary compiler.
//!
//! # Deliberately absent
//! Mutation, coverage and minimisation: libFuzzer.

mod edits;
mod stable;
mod targets;
mod world;

pub use targets::{Parser, TARGETS, Target};

/// Gives an input to the target with this name.
///
/// # Panics
/// When there is no such target, or when the input shows a defect.
pub fn run(target: &str, input: &[u8]) {
    let found = TARGETS.iter().find(|known| known.name == target);
    found.expect("the name of a target").run(input);
}
