//! Following a tenant's events.

use std::collections::VecDeque;

use craton_types::Offset;
use tokio::sync::watch;

use crate::tenant::Published;
use crate::{EngineError, EventRecord, Tenant};

/// The most records that a subscription reads ahead.
const PAGE_RECORDS_MAX: usize = 256;

/// The event records of a tenant from an offset on, in log order, each once: see [`Tenant::subscribe`].
///
/// It holds a bounded number of records, and reads the next ones from the log when they are wanted; so a slow consumer
/// misses nothing and costs nothing. To go on after a restart, subscribe from [`Self::position`].
pub struct Subscription {
    tenant: Tenant,
    published: watch::Receiver<Published>,
    page: VecDeque<EventRecord>,
    /// Where the next page begins.
    next: Offset,
}

impl Subscription {
    pub(crate) fn new(tenant: Tenant, from: Offset) -> Self {
        let published = tenant.tenant.published.subscribe();
        Self {
            tenant,
            published,
            page: VecDeque::new(),
            next: from,
        }
    }

    /// The offset after the last record that was given out: where a new subscription goes on.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.page.front().map_or(self.next, |record| record.header.offset)
    }

    /// The next record; waits for one. `None` once the node is closed and everything was given out. Dropping the future
    /// loses nothing.
    ///
    /// # Errors
    /// When the log cannot be read, where calling again tries again; and when the node stopped after a failure.
    pub async fn next(&mut self) -> Result<Option<EventRecord>, EngineError> {
        loop {
            if let Some(record) = self.page.pop_front() {
                return Ok(Some(record));
            }
            let published = *self.published.borrow_and_update();
            if self.next < published.end {
                let page = self.tenant.read_events(self.next, PAGE_RECORDS_MAX)?;
                self.next = page.next;
                self.page = page.records.into();
            } else if published.closed || self.published.changed().await.is_err() {
                return self.tenant.node.health.check().map(|()| None);
            }
        }
    }
}
