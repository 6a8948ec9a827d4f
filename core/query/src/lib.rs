//! craton-query
