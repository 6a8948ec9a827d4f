//! craton-server
