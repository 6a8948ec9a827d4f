//! craton-platform-identity
