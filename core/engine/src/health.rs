//! Whether the node may go on. The first failure that it may not survive is kept and ends everything.

use std::sync::{Arc, OnceLock};

use crate::EngineError;
use crate::disk_space::DiskSpace;

/// Set once, by whoever fails first; and what is known about the space on the disk.
#[derive(Debug, Default)]
pub(crate) struct Health {
    stop_reason: OnceLock<String>,
    pub(crate) space: Arc<DiskSpace>,
}

impl Health {
    /// Stops the node for good.
    pub(crate) fn stop(&self, reason: String) {
        if self.stop_reason.set(reason.clone()).is_ok() {
            tracing::error!(reason, "the node stops serving");
        }
    }

    /// Why the node stopped, if it did.
    pub(crate) fn stop_reason(&self) -> Option<&str> {
        self.stop_reason.get().map(String::as_str)
    }

    /// Fails when the node has stopped.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        if self.stop_reason.get().is_some() {
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
