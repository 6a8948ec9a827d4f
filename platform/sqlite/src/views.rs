//! All views together, as a barrier for clients that read their own writes.

use std::time::Duration;

use async_trait::async_trait;
use craton_platform_kernel::{Position, ViewBarrier};

use crate::ReadModel;

/// How long a writer waits for the views to see its change.
pub const VIEW_WAIT_MAX: Duration = Duration::from_secs(5);

/// The views of a platform.
#[derive(Clone, Debug)]
pub struct Views(Vec<ReadModel>);

impl Views {
    /// Joins views.
    #[must_use]
    pub fn new(models: Vec<ReadModel>) -> Self {
        Self(models)
    }

    /// Each view.
    pub fn iter(&self) -> impl Iterator<Item = &ReadModel> {
        self.0.iter()
    }
}

#[async_trait]
impl ViewBarrier for Views {
    async fn wait_for(&self, position: Position) -> bool {
        let all = async {
            for model in &self.0 {
                let mut progress = model.progress();
                if progress.wait_for(|next| *next > position).await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(VIEW_WAIT_MAX, all).await.unwrap_or(false)
    }
}
