//! The routes of identity. Each file: parameters, response, documentation, handler, in that order.

pub mod api_keys;
pub mod audit_events;
pub mod login;
pub mod logout;
pub mod me;
pub mod members;
pub mod organisations;
pub(crate) mod refusals;
pub mod register;
