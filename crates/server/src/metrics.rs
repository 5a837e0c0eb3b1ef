//! `/metrics`: OpenMetrics text, base units, no label whose values are unbounded.
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use maos_api::Problem;
use maos_api::query::NoQuery;
use prometheus_client::encoding::{EncodeLabelSet, text::encode_registry};
use prometheus_client::metrics::{family::Family, gauge::Gauge, histogram::Histogram, info::Info};
use prometheus_client::registry::Registry;

use crate::app::App;
use crate::input::Params;
use crate::reply::{Answer, Fault};
use crate::stream::STREAMS_MAX;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
    method: String,
    status: String,
}

/// Figures of the HTTP side.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RouteLabels, Histogram>,
    streams: Gauge,
}

fn buckets() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("maos");
        let requests = Family::<RouteLabels, Histogram>::new_with_constructor(buckets);
        let streams = Gauge::default();
        registry.register("http_request_duration_seconds", "Time from request to the head of the answer", requests.clone());
        registry.register("events_stream_clients", "Open event streams", streams.clone());
        registry.register("build", "The program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        Self { registry, requests, streams }
    }

    pub(crate) fn request(&self, route: &str, method: &str, status: u16, took: Duration) {
        // A client may invent methods; a label must not grow with them.
        let method = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].into_iter().find(|m| *m == method).unwrap_or("other");
        let labels = RouteLabels { route: route.to_owned(), method: method.to_owned(), status: status.to_string() };
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

/// `GET /metrics`
#[utoipa::path(get, path = "/metrics", operation_id = "get_metrics", tag = "system", summary = "Figures for Prometheus",
    responses((status = 200, description = "OpenMetrics text.", content_type = "application/openmetrics-text", body = String)))]
pub(crate) async fn metrics(State(app): State<Arc<App>>, _: Params<NoQuery>) -> Answer<Response> {
    let open = STREAMS_MAX - app.streams.available_permits();
    app.metrics.streams.set(i64::try_from(open).unwrap_or(i64::MAX));
    let mut text = String::new();
    encode_registry(&mut text, &app.metrics.registry)
        .map_err(|e| Fault(Box::new(Problem::new(maos_api::ProblemCode::Internal, format!("metrics: {e}")))))?;
    text.push_str(&app.backend.metrics().await?);
    text.push_str("# EOF\n");
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}
