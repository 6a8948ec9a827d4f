//! What a verification says, as JSON: for `craton verify --json`, and for the verifier page of the console, for which
//! this crate is compiled to WebAssembly.
//!
//! # Invariants
//! - Decides nothing: `craton-proof` verifies, this crate words the result.
//! - In the browser, the one function reads no clock, makes no request and keeps nothing.
//!
//! # Deliberately absent
//! Reading files and the command line (`platform/cli`), the page around it (`web`).

#[cfg(target_family = "wasm")]
pub mod browser;
pub mod json;
mod page;

pub use page::verify_receipt;
