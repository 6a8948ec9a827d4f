//! What an error says of the operation that it answers.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// Why an operation was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was not applied and never will be.
    Refused,
    /// A row with this key is there.
    Exists,
    /// It may have been applied, or be applied later.
    Unknown,
}

/// Errors after which nothing was applied (`docs/clustering.md`): another transaction was first, overloaded, the disk is
/// full, no leader within the time.
const REFUSED: [&str; 4] = ["40001", "53000", "53100", "57P03"];

/// What this error says.
pub(super) fn failure_of(error: &Error) -> Failure {
    match error.code() {
        Some(code) => failure_of_code(code.code()),
        // The connection ended.
        None => Failure::Unknown,
    }
}

fn failure_of_code(code: &str) -> Failure {
    match code {
        code if code == SqlState::UNIQUE_VIOLATION.code() => Failure::Exists,
        code if REFUSED.contains(&code) => Failure::Refused,
        _ => Failure::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_to_be_refused_counts_as_refused() {
        for (code, expected) in [
            ("23505", Failure::Exists),
            ("40001", Failure::Refused),
            ("57P03", Failure::Refused),
            ("53100", Failure::Refused),
            // The statement's completion is unknown; the server ends; a defect.
            ("40003", Failure::Unknown),
            ("57P01", Failure::Unknown),
            ("XX000", Failure::Unknown),
        ] {
            assert_eq!(failure_of_code(code), expected, "{code}");
        }
    }
}
