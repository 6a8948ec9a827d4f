//! A node, its witnesses and its time stamp authority.

mod cosigning;
mod support;
mod time_stamps;
