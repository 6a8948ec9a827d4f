//! craton-agent-protocol
