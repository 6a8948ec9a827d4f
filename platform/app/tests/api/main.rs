//! The platform from outside: a real server on a random port, a real log on disk, real passkey ceremonies.

mod api_keys;
mod audit;
mod auth;
mod console;
mod errors;
mod idempotency;
mod matrix;
mod members;
mod openapi;
mod organisations;
mod process;
mod restart;
mod service;
mod sessions;
mod support;
mod tls;
mod witnessed;
