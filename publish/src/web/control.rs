//! The control listener: status as a page and as JSON, metrics, health, and commands.
//!
//! It takes commands, so it is asked by an address or as `localhost` (no web page can point a name of its own at it),
//! and a command is a `POST` with a body of JSON, which no web page can send elsewhere without being allowed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State as Shared};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::metrics::Exporter;
use super::page;
use super::status::Status;

/// What an operator can order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// A name leaves feed, docroot, tracker and swarm, and stays out until its content changes.
    Withdraw {
        /// The file or folder.
        name: String,
    },
    /// A name that failed or was withdrawn is tried again.
    Republish {
        /// The file or folder.
        name: String,
    },
    /// What vanished from the folder is meant to be gone, however much it is: Seeders do not hold it back.
    Confirm,
    /// A standby becomes the Master.
    Promote,
    /// What a Seeder holds for a feed that it does not follow any more goes.
    Drop {
        /// The feed's key.
        key: String,
    },
}

/// A command with the place for its answer: what was done, or why not, for people.
pub type Ordered = (Command, oneshot::Sender<Result<String, String>>);

/// What the control listener is made of.
#[derive(Clone, Debug)]
pub struct Control {
    status: watch::Receiver<Status>,
    orders: mpsc::Sender<Ordered>,
    ready: Arc<AtomicBool>,
    exporter: Arc<Exporter>,
}

impl Control {
    /// Pages about `status`, whose commands go to `orders`.
    pub fn new(status: watch::Receiver<Status>, orders: mpsc::Sender<Ordered>) -> Self {
        Self { status, orders, ready: Arc::default(), exporter: Arc::new(Exporter::new()) }
    }

    /// The flag that says whether the node has started and has not begun to stop.
    pub fn ready(&self) -> Arc<AtomicBool> {
        self.ready.clone()
    }

    /// The pages.
    pub fn router(self) -> Router {
        Router::new()
            .route("/", get(index))
            .route("/status.json", get(status))
            .route("/metrics", get(metrics))
            .route("/health", get(health))
            .route("/health/live", get(|| async { "live\n" }))
            .route("/health/ready", get(ready))
            .route("/command", post(command))
            .fallback(|| async {
                (StatusCode::NOT_FOUND, "here are /, /status.json, /metrics and /health\n")
            })
            .layer(middleware::from_fn(by_address))
            .with_state(self)
    }
}

async fn index(Shared(control): Shared<Control>) -> impl IntoResponse {
    let html = page::html(&control.status.borrow());
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
    ];
    (headers, html)
}

async fn status(Shared(control): Shared<Control>) -> impl IntoResponse {
    let text = serde_json::to_vec(&*control.status.borrow()).expect("a status is plain values");
    ([(CACHE_CONTROL, "no-store"), (CONTENT_TYPE, "application/json")], text)
}

async fn metrics(Shared(control): Shared<Control>) -> impl IntoResponse {
    let text = control.exporter.render(&control.status.borrow());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// What an operator asks at night: what is wrong in a line each, with what to do.
async fn health(Shared(control): Shared<Control>) -> impl IntoResponse {
    let status = control.status.borrow();
    let ready = control.ready.load(Ordering::Relaxed);
    let mut text =
        format!("{}: {}\n", status.role.word(), if ready { "ready" } else { "not ready" });
    for trouble in &status.troubles {
        text.push_str(&format!("trouble: {trouble}\n"));
    }
    if status.troubles.is_empty() {
        text.push_str("no trouble\n");
    }
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, [(CACHE_CONTROL, "no-store")], text)
}

async fn ready(Shared(control): Shared<Control>) -> impl IntoResponse {
    match control.ready.load(Ordering::Relaxed) {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

async fn command(Shared(control): Shared<Control>, Json(command): Json<Command>) -> Response {
    let (reply, answer) = oneshot::channel();
    if control.orders.send((command, reply)).await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    match answer.await {
        Ok(Ok(done)) => (StatusCode::OK, done + "\n").into_response(),
        Ok(Err(why)) => (StatusCode::CONFLICT, why + "\n").into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response(),
    }
}

/// Passes on what is asked for by an address or as `localhost`.
async fn by_address(request: Request, next: Next) -> Response {
    if ops::host::is_asked_by_address(request.headers(), request.uri()) {
        return next.run(request).await;
    }
    (StatusCode::MISDIRECTED_REQUEST, "this listener is asked by its address or as localhost\n")
        .into_response()
}
