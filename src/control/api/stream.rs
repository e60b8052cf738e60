//! The trace of a user: a line of JSON for each thing that happens, until the client leaves.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use futures_lite::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::{Api, add};
use crate::api::{Failure, trace};
use crate::control::lease::Lease;
use crate::core::mesh::message::{Command, Message};
use crate::core::mesh::tracer::{Coming, Tracer};

/// A line comes at least this often: that a client has left is seen when a line cannot be sent.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Who takes nothing for so long is cut off.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines sent together at most.
const LINES_TOGETHER: usize = 64;

/// One trace under way.
struct Trace {
    api: Arc<Api>,
    coming: Coming,
    lease: Lease,
    begun: bool,
    _place: OwnedSemaphorePermit,
}

impl Api {
    /// Begins the trace of the user with this number.
    pub(super) async fn trace(
        self: &Arc<Self>,
        number: &str,
        lease: &Lease,
    ) -> Result<Response, Failure> {
        let user = self.known(number)?.user;
        let place =
            self.of_private().traces.clone().try_acquire_owned().map_err(|_| Failure::Busy)?;
        let (tracer, coming) = Tracer::new(user.id);
        for core in 0..self.cores.len() {
            self.send(core, Message::Command(Command::Trace(tracer.clone()))).await?;
        }
        self.settle().await?;
        let (api, lease) = (self.clone(), lease.clone());
        let trace = Trace { api, coming, lease, begun: false, _place: place };
        let lines = stream::unfold(trace, |mut trace| async {
            let lines = trace.next().await?;
            Some((Ok::<_, Infallible>(lines), trace))
        });
        let mut response = Response::new(Body::from_stream(lines));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

impl Trace {
    /// The next lines; `None` when the tracker stops. Not asked for while the client takes nothing.
    async fn next(&mut self) -> Option<Bytes> {
        self.lease.extend(PATIENCE);
        let mut text = String::new();
        if !self.begun {
            // Whoever sees the first line knows that nothing is missed from here on.
            self.begun = true;
            push(&mut text, &trace::alive());
            return Some(text.into());
        }
        let first = match timeout(SILENCE_MAX, self.coming.events.recv()).await {
            Ok(first) => Some(first?),
            Err(_) => None,
        };
        let dropped = self.coming.take_dropped();
        if dropped > 0 {
            add(&self.api.counts.trace_drops, dropped);
            push(&mut text, &trace::dropped(dropped));
        }
        match first {
            None => push(&mut text, &trace::alive()),
            Some(first) => {
                let mut next = Some(first);
                for _ in 0..LINES_TOGETHER {
                    let Some(traced) = next else { break };
                    push(&mut text, &trace::json(&traced));
                    next = self.coming.events.try_recv().ok();
                }
                if let Some(last) = next {
                    push(&mut text, &trace::json(&last));
                }
            }
        }
        Some(text.into())
    }
}

fn push(text: &mut String, line: &serde_json::Value) {
    text.push_str(&line.to_string());
    text.push('\n');
}
