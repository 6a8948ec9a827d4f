//! Real `craton-server` processes under load from a stock driver, ended in the middle of it, started again and checked.

mod campaign;
mod file_system;
pub(crate) mod process;

pub use campaign::{ServerOptions, kill_nine, power_cut};
pub use file_system::missing_privilege;

pub(crate) use campaign::{log_directory, segments, verify_log_of};
