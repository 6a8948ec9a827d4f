//! The projection as its users see it.

mod disk;
mod faults;
mod histories;
mod reference;
mod rows;
mod stories;
