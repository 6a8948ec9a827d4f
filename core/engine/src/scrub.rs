//! The scrubber: records what the node mended by itself.

use std::sync::Arc;
use std::time::Duration;

use crate::craton::Node;
use crate::flusher::Closing;
use crate::recoveries::Recoveries;

/// How often it is looked whether something is to be recorded.
const PERIOD: Duration = Duration::from_millis(250);

/// What the scrubber thread works with.
pub(crate) struct Scrubber {
    pub(crate) node: Arc<Node>,
    pub(crate) recoveries: Arc<Recoveries>,
    pub(crate) closing: Arc<Closing>,
}

impl Scrubber {
    /// Runs until the node closes.
    pub(crate) fn run(&self) {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else {
            self.node.health.stop("no runtime for the scrubber".to_owned());
            return;
        };
        loop {
            runtime.block_on(self.recoveries.record(&self.node));
            if self.closing.wait(PERIOD) {
                return;
            }
        }
    }
}
