//! `/health` and `/ready`: is the process alive, and may it have traffic.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use craton_platform_http::{Problem, Problems};
use craton_platform_kernel::EventStore;
use craton_platform_sqlite::Views;
use serde::Serialize;
use utoipa::ToSchema;

/// How many positions a view may be behind the log of a ready platform.
const READY_LAG_MAX: u64 = 1_000;

/// Looks at the parts that everything rests on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Health(Arc<Parts>);

struct Parts {
    stop_reason: Box<dyn Fn() -> Option<String> + Send + Sync>,
    store: Arc<dyn EventStore>,
    views: Views,
}

impl Health {
    /// Watches the store, through a function that says why it stopped, and the views.
    pub(crate) fn new(
        stop_reason: impl Fn() -> Option<String> + Send + Sync + 'static,
        store: Arc<dyn EventStore>,
        views: Views,
    ) -> Self {
        Self(Arc::new(Parts {
            stop_reason: Box::new(stop_reason),
            store,
            views,
        }))
    }

    /// Why the platform's log stopped taking changes, if it did.
    pub(crate) fn stop_reason(&self) -> Option<String> {
        (self.0.stop_reason)()
    }

    /// Each view and how many positions it is behind the log.
    pub(crate) fn lags(&self) -> Vec<(&'static str, u64)> {
        let head = *self.0.store.watch().borrow();
        self.0.views.iter().map(|view| (view.name(), view.lag(head))).collect()
    }

    /// The length of the platform's log.
    pub(crate) fn head(&self) -> u64 {
        *self.0.store.watch().borrow()
    }
}

/// The process is well.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Healthy {
    /// Always `ok`.
    pub status: String,
    /// The version of the platform.
    pub version: String,
}

impl Healthy {
    fn now() -> Json<Self> {
        Json(Self {
            status: "ok".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
}

/// Is the process alive
#[utoipa::path(
    get, path = "/health", tag = "service", operation_id = "get_health",
    responses((status = 200, description = "It is", body = Healthy), Problems),
    security(()),
)]
pub(crate) async fn get_health(State(health): State<Health>) -> Result<Json<Healthy>, Problem> {
    check_log(&health)?;
    Ok(Healthy::now())
}

/// May the process have traffic
#[utoipa::path(
    get, path = "/ready", tag = "service", operation_id = "get_ready",
    responses((status = 200, description = "It may", body = Healthy), Problems),
    security(()),
)]
pub(crate) async fn get_ready(State(health): State<Health>) -> Result<Json<Healthy>, Problem> {
    check_log(&health)?;
    match health.lags().into_iter().find(|(_, lag)| *lag > READY_LAG_MAX) {
        None => Ok(Healthy::now()),
        Some((view, lag)) => Err(Problem::unavailable(format!(
            "The view {view} is {lag} positions behind the log."
        ))),
    }
}

fn check_log(health: &Health) -> Result<(), Problem> {
    let Some(reason) = health.stop_reason() else {
        return Ok(());
    };
    tracing::error!(reason, "the platform's log has stopped");
    Err(Problem::unavailable(
        "The platform's log has stopped. The process must be restarted.",
    ))
}
