//! craton-platform-http
