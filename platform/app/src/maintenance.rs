//! What has to be done now and then.

use std::time::Duration;

use craton_platform_http::RateLimiting;
use craton_platform_identity::Identity;
use tokio_util::sync::CancellationToken;

/// How often.
const EVERY: Duration = Duration::from_secs(10 * 60);

/// Removes sessions that have ended and forgets idle callers, until told to stop.
pub(crate) async fn run(identity: Identity, rates: Vec<RateLimiting>, stop: CancellationToken) {
    loop {
        if let Err(error) = identity.remove_expired_sessions().await {
            tracing::warn!(%error, "ended sessions stay for now");
        }
        rates.iter().for_each(RateLimiting::forget_idle);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
