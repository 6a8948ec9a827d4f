//! Prometheus metrics, served on a listener of their own.

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use craton_platform_fleet::Fleet;
use craton_platform_http::Problem;
use craton_platform_kernel::Environment;
use craton_witness::FileCosigning;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::health::Health;

/// What is counted. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    log_records: IntGauge,
    view_lag: IntGaugeVec,
    witness_requests: IntCounterVec,
    cosigning_requests: IntCounterVec,
}

impl Metrics {
    /// Registers the metrics.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let requests = IntCounterVec::new(
            Opts::new("craton_platform_http_requests_total", "HTTP requests answered"),
            &["method", "route", "status"],
        )?;
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "craton_platform_http_request_duration_seconds",
                "Time to an HTTP answer's headers",
            ),
            &["method", "route"],
        )?;
        let log_records = IntGauge::new("craton_platform_log_records", "Records in the platform's log")?;
        let view_lag = IntGaugeVec::new(
            Opts::new(
                "craton_platform_view_lag_positions",
                "Positions that a view is behind the log",
            ),
            &["view"],
        )?;
        let witness_requests = IntCounterVec::new(
            Opts::new(
                "craton_platform_witness_requests_total",
                "Checkpoints that clusters' logs asked to be cosigned, by the answer",
            ),
            &["answer"],
        )?;
        let cosigning_requests = IntCounterVec::new(
            Opts::new(
                "craton_platform_cosigning_requests_total",
                "Requests to witnesses for cosignatures over the platform's own log, by how they ended; other_history is an alarm",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(witness_requests.clone()))?;
        registry.register(Box::new(cosigning_requests.clone()))?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        registry.register(Box::new(log_records.clone()))?;
        registry.register(Box::new(view_lag.clone()))?;
        Ok(Self {
            registry,
            requests,
            durations,
            log_records,
            view_lag,
            witness_requests,
            cosigning_requests,
        })
    }

    fn render(
        &self,
        health: &Health,
        fleet: &Fleet,
        witnesses: Option<&FileCosigning>,
    ) -> Result<Vec<u8>, prometheus::Error> {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.log_records.set(gauge(health.head()));
        for (view, lag) in health.lags() {
            self.view_lag.with_label_values(&[view]).set(gauge(lag));
        }
        for (answer, total) in fleet.witness_answers() {
            let counter = self.witness_requests.with_label_values(&[answer]);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
        for (outcome, total) in witnesses
            .map(|witnesses| witnesses.status().requests)
            .unwrap_or_default()
        {
            let counter = self.cosigning_requests.with_label_values(&[outcome.as_str()]);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Middleware: counts and times the request by its route, never by its path, which would grow without bound.
pub(crate) async fn record(
    State((metrics, environment)): State<(Metrics, Environment)>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().to_string();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| "console".to_owned());
    let started_at = environment.now();
    let response = next.run(request).await;
    let seconds = environment.now().duration_since(started_at).as_secs_f64();
    metrics.durations.with_label_values(&[&method, &route]).observe(seconds);
    let status = response.status().as_str().to_owned();
    metrics.requests.with_label_values(&[&method, &route, &status]).inc();
    response
}

/// The router of the metrics listener.
pub(crate) fn router(metrics: Metrics, health: Health, fleet: Fleet, witnesses: Option<Arc<FileCosigning>>) -> Router {
    let render = move || async move {
        match metrics.render(&health, &fleet, witnesses.as_deref()) {
            Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
            Err(error) => Problem::internal(&error).into_response(),
        }
    };
    Router::new().route("/metrics", get(render))
}
