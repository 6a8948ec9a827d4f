//! craton-cli
