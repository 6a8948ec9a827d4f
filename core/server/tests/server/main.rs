//! The server as its clients see it: a real process, real `psql`, real drivers, over TLS with the name checked.

mod authentication;
mod cluster;
mod copying;
mod erasure;
mod isolation;
mod keys;
mod logs;
mod operations;
mod protocol;
mod receipts;
mod statements;
mod support;
mod time_stamps;
mod transactions;
mod witnesses;
