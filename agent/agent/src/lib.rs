//! craton-agent
