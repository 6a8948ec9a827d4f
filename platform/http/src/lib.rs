//! What every HTTP route of the control plane shares: problems, extractors, pagination and middleware.
//!
//! # Invariants
//! - Every error leaves as an RFC 9457 [`Problem`] with a stable `code`; its text never holds a secret or an
//!   internal cause.
//! - Authorisation goes through [`Authenticated`]: a foreign organisation is answered like a missing one.
//! - Buffers are bounded: bodies by [`BODY_BYTES_MAX`] and [`BODY_TIME_MAX`], the idempotency store by count, size and age.
//!
//! # Deliberately absent
//! How a principal is authenticated (`craton-platform-identity`), routes, and everything about a domain.

mod authentication;
mod body;
mod headers;
mod idempotency;
mod origin;
mod page;
mod params;
mod problem;
mod rate_limit;
mod request;

pub use authentication::{Authenticated, Authentication};
pub use body::{BODY_BYTES_MAX, BODY_TIME_MAX, JsonBody};
pub use headers::security_headers;
pub use idempotency::{
    IDEMPOTENCY_ENTRIES_MAX, IDEMPOTENCY_HOURS, IDEMPOTENCY_RESPONSE_BYTES_MAX, IdempotencyStore, ShownOnce,
    idempotency,
};
pub use origin::{PublicUrl, PublicUrlError, same_origin};
pub use page::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, Page, PageQuery, PageRequest};
pub use params::{PathParams, QueryParams};
pub use problem::{FieldError, Problem, ProblemBody, Problems};
pub use rate_limit::{RateLimit, RateLimiting};
pub use request::{REQUEST_ID_HEADER, current_request_id, request_id, within_request};
