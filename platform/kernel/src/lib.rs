//! craton-platform-kernel
