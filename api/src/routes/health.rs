//! `/livez`, `/readyz`, `/metrics`: what orchestrators and Prometheus ask of every role, also of those without REST.

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use crate::edge::{EdgeLayer, Loudness};
use crate::problem::{FieldError, Problem, ProblemCode};

/// One thing that a process needs to do its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What, for example `postgres` or `follower:projections`.
    pub name: String,
    /// Whether it is there.
    pub ready: bool,
    /// Whether this process should get no work without it. What is not critical is shown and no more.
    #[serde(skip)]
    pub critical: bool,
    /// What is wrong, or worth knowing. No secrets: whoever reaches the port reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Says whether this process should get work.
#[async_trait]
pub trait Readiness: Send + Sync + 'static {
    /// Everything that was looked at; ready when all that is critical is. Must answer within a second or so, and bound its own
    /// waiting.
    async fn checks(&self) -> Vec<Check>;
}

/// Writes the metrics of this process in Prometheus' text format.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

#[derive(Clone)]
struct Health {
    readiness: Arc<dyn Readiness>,
    render_metrics: RenderMetrics,
}

#[derive(Serialize)]
struct ReadyBody {
    status: &'static str,
    checks: Vec<Check>,
}

/// The three routes, to be merged with [`router`](crate::router()) or served alone.
///
/// `/livez` says that the process turns its event loop; `/readyz` is 200 with all checks when every critical one passes
/// (its `status` is `ready`, or `degraded` when another does not), and otherwise the problem `not_ready` (503), whose
/// `errors` are those that do not; `/metrics` is what `render_metrics` writes.
pub fn health_router(readiness: Arc<dyn Readiness>, render_metrics: RenderMetrics) -> Router {
    let probe = |path| EdgeLayer::new(path, Loudness::Debug);
    Router::new()
        .route("/livez", get(alive).layer(probe("/livez")))
        .route("/readyz", get(ready).layer(probe("/readyz")))
        .route("/metrics", get(metrics).layer(probe("/metrics")))
        .with_state(Health { readiness, render_metrics })
}

async fn alive() -> &'static str {
    "ok"
}

async fn ready(State(health): State<Health>) -> Result<Json<ReadyBody>, Problem> {
    let checks = health.readiness.checks().await;
    if checks.iter().all(|check| check.ready || !check.critical) {
        let status = if checks.iter().all(|check| check.ready) { "ready" } else { "degraded" };
        return Ok(Json(ReadyBody { status, checks }));
    }
    let missing = checks.into_iter().filter(|check| !check.ready);
    let error = |check: Check| FieldError::new(check.name, "not_ready", check.detail.unwrap_or_default());
    Err(Problem::fields(ProblemCode::NotReady, "Not everything that is needed is there.", missing.map(error).collect()))
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], (health.render_metrics)())
}
