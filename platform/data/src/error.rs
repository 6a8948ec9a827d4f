//! The engine's failures as the platform's.

use craton_engine::{EngineError, SqlError};
use craton_platform_kernel::StoreError;

/// Why the stores do not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The engine failed.
    #[error("the platform's databases do not open")]
    Engine(#[from] EngineError),
    /// A table could not be made.
    #[error("the platform's tables cannot be made: {message}")]
    Table {
        /// What the database says.
        message: String,
    },
}

/// Damage is told from trouble that may pass.
pub(crate) fn of_engine(error: &EngineError) -> StoreError {
    let causes: Vec<String> = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source())
        .map(ToString::to_string)
        .collect();
    match error {
        EngineError::Record { database, offset, .. } => StoreError::Damaged {
            place: format!("{database} position {offset}"),
            detail: causes.join(": "),
        },
        EngineError::TenantLog { database, .. } | EngineError::Projection { database, .. } => StoreError::Damaged {
            place: database.clone(),
            detail: causes.join(": "),
        },
        _ => StoreError::Unavailable(causes.join(": ")),
    }
}

pub(crate) fn of_sql(error: &SqlError) -> StoreError {
    StoreError::Unavailable(error.message.clone())
}
