//! What the control listener answers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{any, get, post};
use axum::{Router, middleware};

use ops::counters::{Books, Tls};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::state::{Command, Declined, State};
use super::{api, host};

/// What a listener answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pages {
    /// Everything, to who asks for it by an address.
    All,
    /// What changes nothing, under any name.
    Metrics,
}

pub(super) fn router(state: Arc<State>, pages: Pages) -> Router {
    let readable = Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready));
    let router = match pages {
        Pages::Metrics => readable
            .fallback(|| async { (StatusCode::NOT_FOUND, "here are /metrics and /health\n") }),
        Pages::All => readable
            .route("/", get(index))
            .route("/snapshot", post(snapshot))
            .route("/lists", post(lists))
            .route("/api/{*rest}", any(api::answer))
            .fallback(|| async { (StatusCode::NOT_FOUND, "no such page; GET / lists them\n") })
            .layer(middleware::from_fn(host::check)),
    };
    router.with_state(state)
}

async fn index() -> &'static str {
    INDEX
}

async fn metrics(Shared(state): Shared<Arc<State>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, METRICS_TYPE)], state.metrics())
}

/// What an operator asks at night: every part in a line, with what to do. 200 while requests are answered
/// and every core turns.
async fn health(Shared(state): Shared<Arc<State>>) -> impl IntoResponse {
    let (phase, stalled) = (state.phase(), state.stalled());
    let well = phase.ready() && stalled.is_none();
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut text = format!("tracker: {phase}\n");
    match stalled {
        None => text.push_str("cores: all turn\n"),
        Some(stalled) => text.push_str(&format!("cores: {stalled}\n")),
    }
    if let Some((address, percent)) = state.crowd() {
        text.push_str(&format!(
            "addresses: {percent}% of the announces come from {address}, a private address: something in front of the \
             tracker hides who announces; see docs/proxies.md\n"
        ));
    }
    text.push_str(&health_of_services(&state));
    text.push_str(&health_of_tls(&state.tls(), super::state::unix_seconds() as i64));
    if let Some(why) = &state.screening().trouble {
        text.push_str(&format!(
            "screening: rules not read again, those before are in force; mend the file: {why}\n"
        ));
    }
    if let Some(why) = &state.lookups().trouble {
        text.push_str(&format!(
            "screening: countries cannot be looked up, what is known stays; see to the name servers: {why}\n"
        ));
    }
    if let Some(books) = state.books() {
        text.push_str(&health_of_books(&books));
    }
    (status, NOT_CACHED, text)
}

fn health_of_services(state: &State) -> String {
    let mut text = String::new();
    for (service, is_on, serving) in state.services() {
        if !is_on {
            text.push_str(&format!(
                "{service}: switched off; `margay service {service} on` switches it on, and so does a restart\n"
            ));
        } else if serving.is_shedding {
            text.push_str(&format!(
                "{service}: sheds load, {} requests so far: more comes than shed-above allows; see docs/floods.md\n",
                serving.shed
            ));
        }
    }
    text
}

fn health_of_tls(tls: &Tls, now: i64) -> String {
    let mut text = String::new();
    for certificate in &tls.certificates {
        let days = (certificate.not_after - now).div_euclid(24 * 3600);
        let file = &certificate.file;
        text.push_str(&match days {
            ..0 => format!("certificate: {file} is over for {} days; renew it\n", -days),
            days => format!("certificate: {file} is valid for {days} days\n"),
        });
    }
    if let Some(why) = &tls.trouble {
        text.push_str(&format!("certificate: not read again, those before are shown: {why}\n"));
    }
    text
}

fn health_of_books(books: &Books) -> String {
    let (ledger, journal) = (&books.ledger, &books.journal);
    let mut text = format!("books: {}: {}\n", ledger.state, ledger.state_text);
    let behind = ledger.position.map(|position| journal.end.saturating_sub(position));
    text.push_str(&match behind {
        Some(0) => "database: has all records of the journal\n".to_owned(),
        Some(behind) => format!("database: lacks {behind} records, which the journal has\n"),
        None => "database: has not said yet what it has\n".to_owned(),
    });
    if ledger.gaps.0 > 0 {
        let (rows, records) = ledger.gaps;
        text.push_str(&format!(
            "gaps: {rows} rows of table gaps say what is missing for good, {records} records as far as they are \
             counted; read them, and delete those that are settled\n"
        ));
    }
    if let Some(damage) = &journal.damage {
        text.push_str(&format!(
            "journal: {} segments are damaged, and a database that is restored would lack what is in them; save the \
             database now, and look after the disk: {damage}\n",
            journal.damaged
        ));
    }
    let journal = match journal.accepting {
        true => {
            format!("journal: takes what comes, {} bytes of {}", journal.bytes, journal.bytes_max)
        }
        false => {
            "journal: takes nothing, credit is postponed; make room or mend the disk".to_owned()
        }
    };
    text.push_str(&format!("{journal}\n"));
    if !ledger.watching {
        text.push_str(
            "site: what it changes by SQL is not heard now; it is compared when it is again, and \
             each half minute where a pooler lets no notice through\n",
        );
    }
    text
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

/// Has the lists of torrents read again, and says what they are.
async fn lists(Shared(state): Shared<Arc<State>>, headers: HeaderMap) -> (StatusCode, String) {
    if !from_operator(&headers) {
        return (StatusCode::FORBIDDEN, NOT_FROM_BROWSERS.to_owned());
    }
    let (reply, read) = oneshot::channel();
    if let Err(Declined(why)) = state.command(Command::Lists(reply)) {
        return (StatusCode::CONFLICT, why.to_owned());
    }
    tracing::info!("lists asked for on the control listener");
    match timeout(LISTS_TIME, read).await {
        Ok(Ok(Ok(lists))) => (StatusCode::OK, lists),
        Ok(Ok(Err(why))) => (StatusCode::CONFLICT, why),
        _ => {
            (StatusCode::SERVICE_UNAVAILABLE, "the lists are not read yet; ask again\n".to_owned())
        }
    }
}

/// How long it may take: a million torrents are read in half a second.
const LISTS_TIME: Duration = Duration::from_secs(5);

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
GET  /health        how everything is, a line each, and what to do
GET  /health/live   200 while every core turns
GET  /health/ready  200 while requests are answered, 503 while loading or draining
POST /snapshot      write a snapshot now; needs the header Margay-Command: yes
POST /lists         read allow-list and deny-list again; the same
     /api/v1/…      torrents; users, tokens and client rules of a private tracker;
                    GET /api/v1/openapi.json describes it
";
