//! craton-platform-app
