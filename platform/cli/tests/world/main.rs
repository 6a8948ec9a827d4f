//! The product as processes: what people and scripts do with the `craton` command, and what happens when a process
//! is killed.

mod commands;
mod faults;
mod person;
mod restart;
mod rollback;
mod support;
mod writer;
