//! craton-platform-data
