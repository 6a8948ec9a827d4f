//! SQL from text to rows, as tables of statements and answers over rows in memory.

mod access;
mod copy;
mod database;
mod definition;
mod expression;
mod limits;
mod overlay;
mod parameter;
mod query;
mod session;
mod survival;
mod write;
