//! craton-platform-fleet
