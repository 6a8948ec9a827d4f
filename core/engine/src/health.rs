//! Whether the node may go on. The first failure that it may not survive is kept and ends everything.

use std::sync::OnceLock;

use crate::EngineError;

/// Set once, by whoever fails first.
#[derive(Debug, Default)]
pub(crate) struct Health(OnceLock<String>);

impl Health {
    /// Stops the node for good.
    pub(crate) fn stop(&self, reason: String) {
        if self.0.set(reason.clone()).is_ok() {
            tracing::error!(reason, "the node stops serving");
        }
    }

    /// Why the node stopped, if it did.
    pub(crate) fn stop_reason(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    /// Fails when the node has stopped.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        if self.0.get().is_some() {
            Err(self.stopped())
        } else {
            Ok(())
        }
    }

    /// The error that says so; also used when a thread ended without a reason.
    pub(crate) fn stopped(&self) -> EngineError {
        let reason = self.stop_reason().unwrap_or("it is closing").to_owned();
        EngineError::Stopped { reason }
    }
}
