//! craton-crypto
