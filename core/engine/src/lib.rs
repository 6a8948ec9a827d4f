//! craton-engine
