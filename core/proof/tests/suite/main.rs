//! The promises of the verifier: what is intact verifies, and what is not is named.

mod bytes;
mod clinic;
mod cosigned;
mod damage;
mod forgery;
mod golden;
mod independent;
mod log;
mod receipt;
mod sealed;
mod state;
mod support;
mod tiles;
mod vectors;
