//! craton-log
