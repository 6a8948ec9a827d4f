//! The read model of identities.

mod projection;
mod queries;

pub use projection::IdentityProjection;
pub(crate) use queries::{AuditEventRow, IdentityView, OrganisationRow, UserRow};
