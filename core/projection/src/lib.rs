//! craton-projection
