//! craton-kernel
