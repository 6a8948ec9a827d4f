//! craton-platform-sqlite
