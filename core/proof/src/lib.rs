//! craton-proof
