//! craton-consensus
