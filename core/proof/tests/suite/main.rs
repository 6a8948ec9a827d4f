//! The promises of the verifier: what is intact verifies, and what is not is named.

mod cosigned;
mod damage;
mod forgery;
mod golden;
mod independent;
mod log;
mod receipt;
mod sealed;
mod support;
mod vectors;
