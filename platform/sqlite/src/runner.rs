//! Keeps a view up with the log: catches up at the start, then follows.

use std::sync::Arc;
use std::time::Duration;

use craton_platform_kernel::{EventStore, Position};
use tokio_util::sync::CancellationToken;

use crate::{ReadModel, ReadModelError};

/// Records read and applied at a time.
const BATCH_RECORDS: usize = 256;
/// The first wait after a failure; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The longest wait after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

impl ReadModel {
    /// Applies everything that is in the log now. A view that does not fit the log is emptied first.
    ///
    /// # Errors
    /// When the log cannot be read or an event does not fit.
    pub async fn catch_up(&self, store: &dyn EventStore) -> Result<(), ReadModelError> {
        if !self.fits(store).await? {
            tracing::warn!(
                projection = self.name(),
                "the view does not fit the log and is replayed"
            );
            self.clone().blocking(|model| model.reset()).await?;
        }
        self.apply_new(store).await
    }

    /// Follows the log until told to stop. Failures are logged and tried again: the view lags, nothing is lost.
    pub async fn run(self, store: Arc<dyn EventStore>, stop: CancellationToken) {
        let mut head = store.watch();
        let mut backoff = BACKOFF_MIN;
        loop {
            let wait = match self.apply_new(&*store).await {
                Ok(()) => {
                    backoff = BACKOFF_MIN;
                    None
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::error!(projection = self.name(), %error, cause, "the view does not move");
                    let wait = backoff;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                    Some(wait)
                }
            };
            let woken = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    // A store that is gone wakes nobody; then only the stop ends the loop.
                    None if head.changed().await.is_err() => std::future::pending().await,
                    None => {}
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = woken => {}
            }
        }
    }

    /// How many positions the view is behind the log.
    #[must_use]
    pub fn lag(&self, head: Position) -> u64 {
        head.saturating_sub(self.next_position())
    }

    async fn apply_new(&self, store: &dyn EventStore) -> Result<(), ReadModelError> {
        loop {
            let events = store.read_all(self.next_position(), BATCH_RECORDS).await?;
            if events.is_empty() {
                return Ok(());
            }
            self.clone().blocking(move |model| model.apply(&events)).await?;
        }
    }

    /// Whether the log has the record that the view's checkpoint names.
    async fn fits(&self, store: &dyn EventStore) -> Result<bool, ReadModelError> {
        let checkpoint = self.checkpoint()?;
        let Some(record_hash) = checkpoint.record_hash else {
            return Ok(checkpoint.next_position == 0);
        };
        let last = store.read_all(checkpoint.next_position - 1, 1).await?;
        Ok(last.first().is_some_and(|event| event.record_hash == record_hash))
    }

    async fn blocking<T, F>(self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> T + Send + 'static,
    {
        let task = tokio::task::spawn_blocking(move || work(&self));
        task.await.expect("a projection does not panic")
    }
}
