//! The clients of a node: what they ask for, one request at a time each, and what they write down of the answers.

mod client;
mod requests;
mod schema;

pub(crate) use client::Client;
pub(crate) use requests::{Request, request_name};
pub(crate) use schema::{ACCOUNT_BALANCE, REGISTER_VALUE, REGISTERS, create_schema, tenant_name};
