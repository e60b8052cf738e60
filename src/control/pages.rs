//! What the control listener answers.

use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{any, get, post};

use super::api;
use super::state::{Command, Declined, State};

/// All pages.
pub(super) fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/snapshot", post(snapshot))
        .route("/api/{*rest}", any(api::answer))
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such page; GET / lists them\n") })
        .with_state(state)
}

async fn index() -> &'static str {
    INDEX
}

async fn metrics(Shared(state): Shared<Arc<State>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, METRICS_TYPE)], state.metrics())
}

/// 200 while every core turns: what a supervisor asks before it restarts the process.
async fn live(Shared(state): Shared<Arc<State>>) -> impl IntoResponse {
    let (status, text) = match state.stalled() {
        None => (StatusCode::OK, "live\n".to_owned()),
        Some(stalled) => (StatusCode::SERVICE_UNAVAILABLE, format!("{stalled}\n")),
    };
    (status, NOT_CACHED, text)
}

/// 200 while requests are answered: what a load balancer asks before it sends any.
async fn ready(Shared(state): Shared<Arc<State>>) -> impl IntoResponse {
    let phase = state.phase();
    let status = if phase.ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, NOT_CACHED, format!("{phase}\n"))
}

/// Has a snapshot written; answers before it is.
async fn snapshot(Shared(state): Shared<Arc<State>>, headers: HeaderMap) -> impl IntoResponse {
    if !from_operator(&headers) {
        return (StatusCode::FORBIDDEN, NOT_FROM_BROWSERS);
    }
    match state.command(Command::Snapshot) {
        Ok(()) => {
            tracing::info!("snapshot asked for on the control listener");
            (StatusCode::ACCEPTED, "a snapshot is being written\n")
        }
        Err(Declined(why)) => (StatusCode::CONFLICT, why),
    }
}

/// Whether a command comes from a tool and not from a web page that the operator's browser happens to
/// show. A browser puts `Origin` on every POST (Fetch standard, "append a request Origin header"),
/// also where a page has pointed its own name at this address, and newer ones `Sec-Fetch-Site`; and
/// no page can add a header of its own across sites without asking first, which is answered with 405.
fn from_operator(headers: &HeaderMap) -> bool {
    headers.contains_key(COMMAND_HEADER)
        && !headers.contains_key(ORIGIN)
        && !headers.contains_key("sec-fetch-site")
}

/// Marks a command as meant. Its value does not matter.
const COMMAND_HEADER: &str = "margay-command";

/// The text format of Prometheus.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const NOT_CACHED: [(axum::http::HeaderName, &str); 1] = [(CACHE_CONTROL, "no-store")];

const NOT_FROM_BROWSERS: &str = "\
commands are taken from tools, not from web pages:
curl -X POST -H 'Margay-Command: yes' http://ADDRESS/snapshot
";

const INDEX: &str = "\
margay, a BitTorrent tracker: control listener

GET  /metrics       metrics for Prometheus
GET  /health/live   200 while every core turns
GET  /health/ready  200 while requests are answered, 503 while loading or draining
POST /snapshot      write a snapshot now; needs the header Margay-Command: yes
     /api/v1/…      users, torrents, tokens and client rules of a private tracker;
                    GET /api/v1/openapi.json describes it
";
