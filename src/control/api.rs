//! The API as the control listener serves it: who asks is checked, what is asked goes to the cores it
//! concerns, and what they say is the answer.

mod highest;
mod look;
mod open;
mod operator;
mod stream;

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State as Shared};
use axum::http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::{Extension, body};
use ops::counters;
use ops::health::Phase;
use persist::register::Register;
use serde_json::{Value, json};
use shard::private::UserId;
use tokio::sync::{Mutex, Semaphore, oneshot};
use tokio::time::{sleep, timeout};

pub use open::said;

use super::CONNECTION_TIME;
use super::lease::Lease;
use super::state::State;
use crate::api::audit::{Asker, Audit, Noted};
use crate::api::route::{self, Call};
use crate::api::token::{Gate, TokenError};
use crate::api::{Done, Failure, Operation, describe};
use crate::core::mesh::Address;
use crate::core::mesh::ask::Ask;
use crate::core::mesh::message::Message;
use crate::private::site::Site;
use crate::private::users::accounts::Accounts;
use crate::process::clock::Clock;
use highest::HighestNumber;

/// Bytes of a body of one change.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a body of many.
const BULK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Changes in one bulk request.
const BULK_MAX: usize = 10_000;

/// Changes that cores are asked for together; as many messages at most go from core to core.
const CHANGES_TOGETHER: usize = 256;

/// Traces at a time.
const TRACES_MAX: usize = 8;

/// Searches for a user's clients at a time.
const SEARCHES_MAX: usize = 2;

/// How long a core may take to answer, the disk included.
const ANSWER_TIME: Duration = Duration::from_secs(8);

/// How long and how often a core's full inbox is tried.
const INBOX_PAUSE: Duration = Duration::from_millis(5);
const INBOX_TRIES: usize = 200;

/// What the API is made of.
pub struct Api {
    cores: Vec<Address<Message>>,
    of: Of,
    gate: Gate,
    audit: Arc<Audit>,
    clock: Clock,
    counts: Counts,
}

/// Whose API it is.
enum Of {
    /// A private tracker's.
    Private(Private),
    /// An open tracker's: what it has been told of torrents.
    Open(Arc<Mutex<Register>>),
}

/// What the API of a private tracker has beside.
struct Private {
    accounts: Arc<Accounts>,
    site: Arc<Site>,
    numbers: HighestNumber,
    traces: Arc<Semaphore>,
    searches: Semaphore,
}

#[derive(Default)]
struct Counts {
    done: AtomicU64,
    unauthorized: AtomicU64,
    refused: AtomicU64,
    unavailable: AtomicU64,
    changes: AtomicU64,
    trace_drops: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Api {
    /// The API of a private tracker with these cores, users and data folder, where a token for operators on the
    /// same machine is left. Who changes what is noted in `audit`.
    pub fn private(
        cores: Vec<Address<Message>>,
        accounts: Arc<Accounts>,
        site: Arc<Site>,
        data: &Path,
        audit: Arc<Audit>,
        clock: Clock,
    ) -> Result<Self, TokenError> {
        let numbers = HighestNumber::of(data);
        site.numbers().at_least(numbers.get());
        let private = Private {
            accounts,
            site,
            numbers,
            traces: Arc::new(Semaphore::new(TRACES_MAX)),
            searches: Semaphore::new(SEARCHES_MAX),
        };
        Self::new(cores, Of::Private(private), data, audit, clock)
    }

    /// The same of an open tracker, which has been told this of torrents.
    pub fn open(
        cores: Vec<Address<Message>>,
        register: Register,
        data: &Path,
        audit: Arc<Audit>,
        clock: Clock,
    ) -> Result<Self, TokenError> {
        Self::new(cores, Of::Open(Arc::new(Mutex::new(register))), data, audit, clock)
    }

    fn new(
        cores: Vec<Address<Message>>,
        of: Of,
        data: &Path,
        audit: Arc<Audit>,
        clock: Clock,
    ) -> Result<Self, TokenError> {
        let gate = Gate::open(data, clock.now())?;
        Ok(Self { cores, of, gate, audit, clock, counts: Counts::default() })
    }

    /// What a private tracker's has. Every call but those of [`open`] comes here after it was seen that it is one.
    fn of_private(&self) -> &Private {
        match &self.of {
            Of::Private(private) => private,
            Of::Open(_) => unreachable!("an open tracker answers that it is not private"),
        }
    }

    /// How it is doing.
    pub(super) fn figures(&self) -> counters::Api {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        counters::Api {
            done: count(&self.counts.done),
            unauthorized: count(&self.counts.unauthorized),
            refused: count(&self.counts.refused),
            unavailable: count(&self.counts.unavailable),
            changes: count(&self.counts.changes),
            traces: match &self.of {
                Of::Private(private) => (TRACES_MAX - private.traces.available_permits()) as u64,
                Of::Open(_) => 0,
            },
            trace_drops: count(&self.counts.trace_drops),
        }
    }

    fn note(&self, result: Result<(), &Failure>) {
        let counts = &self.counts;
        let counter = match result.map_err(|failure| failure.status().0) {
            Ok(()) => &counts.done,
            Err(401) => &counts.unauthorized,
            Err(500..) => &counts.unavailable,
            Err(_) => &counts.refused,
        };
        add(counter, 1);
    }

    /// Asks a core something.
    async fn ask<T>(
        &self,
        core: usize,
        ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        self.send(core, Message::Ask(Box::new(ask(reply)))).await?;
        match timeout(ANSWER_TIME, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Failure::Unavailable("stopping")),
            Err(_) => Err(Failure::Late),
        }
    }

    /// Puts a message into the inbox of a core, which a serving core makes room in at once.
    async fn send(&self, core: usize, mut message: Message) -> Result<(), Failure> {
        for _ in 0..INBOX_TRIES {
            match self.cores[core].send(message) {
                Ok(()) => return Ok(()),
                Err(back) => message = back,
            }
            sleep(INBOX_PAUSE).await;
        }
        Err(Failure::Busy)
    }

    /// Has operations done by the cores that do them; their results in the same order.
    async fn do_all(&self, operations: Vec<Operation>) -> Vec<Result<Done, Failure>> {
        let mut results: Vec<_> = operations.iter().map(|_| Err(Failure::Late)).collect();
        if let Err(error) = self.keep_numbers(&operations) {
            let why = error.to_string();
            tracing::error!(%error, "cannot keep how far torrents are numbered");
            return results.into_iter().map(|_| Err(Failure::NotWritten(why.clone()))).collect();
        }
        let for_all = operations.iter().any(Operation::is_for_all);
        let mut parts = vec![(Vec::new(), Vec::new()); self.cores.len()];
        let mut put = HashSet::new();
        for (place, operation) in operations.into_iter().enumerate() {
            if let Operation::PutUser { id, .. } = operation {
                put.insert(id);
            }
            let hybrids = self.of_private().site.hybrids();
            let operation = operation.by_first_name(|name| hybrids.registered(name));
            if let Some(failure) = self.refused(&operation, &put).await {
                results[place] = Err(failure);
                continue;
            }
            let (places, operations) = &mut parts[operation.core(self.cores.len())];
            places.push(place);
            operations.push(operation);
        }
        let mut coming = Vec::new();
        for (core, (places, operations)) in parts.into_iter().enumerate() {
            if operations.is_empty() {
                continue;
            }
            let (reply, answer) = oneshot::channel();
            let ask = Message::Ask(Box::new(Ask::Do(operations, reply)));
            match self.send(core, ask).await {
                Ok(()) => coming.push((places, answer)),
                Err(busy) => places.iter().for_each(|place| results[*place] = Err(busy.clone())),
            }
        }
        for (places, answer) in coming {
            match timeout(ANSWER_TIME, answer).await {
                Ok(Ok(done)) => {
                    add(
                        &self.counts.changes,
                        done.iter().filter(|done| done.is_ok()).count() as u64,
                    );
                    places.iter().zip(done).for_each(|(place, done)| results[*place] = done);
                }
                Ok(Err(_)) => {
                    let stopping = Err(Failure::Unavailable("stopping"));
                    places.iter().for_each(|place| results[*place] = stopping.clone());
                }
                // As the results say already.
                Err(_) => {}
            }
        }
        if for_all && let Err(failure) = self.settle().await {
            results.iter_mut().filter(|result| result.is_ok()).for_each(|result| {
                *result = Err(failure.clone());
            });
        }
        results
    }

    /// Has it on the disk how far torrents are numbered, before a number becomes free.
    fn keep_numbers(&self, operations: &[Operation]) -> io::Result<()> {
        let Private { site, numbers, .. } = self.of_private();
        let frees = |operation: &Operation| matches!(operation, Operation::RemoveTorrent { .. });
        match operations.iter().any(frees) {
            true => numbers.keep(site.numbers().upcoming()),
            false => Ok(()),
        }
    }

    /// Why an operation is not done, where the core that would do it does not know: a token is for a user who is
    /// known, or among those that are `put` before it in the same request; and a second name is not the first one of
    /// another torrent.
    async fn refused(&self, operation: &Operation, put: &HashSet<UserId>) -> Option<Failure> {
        let second = match operation {
            Operation::PutToken { user, .. } => {
                let known = put.contains(user) || self.of_private().accounts.known(*user).is_some();
                return (!known).then_some(Failure::UserUnknown(*user));
            }
            Operation::PutTorrent { info_hash_v2: Some(second), .. } => second,
            _ => return None,
        };
        let state = self.ask(self.owner(second), |reply| Ask::Torrent(*second, reply)).await;
        match state {
            Ok(Some(state)) if state.info_hash == *second => {
                Some(Failure::NameTaken(*second, *second))
            }
            Ok(_) => None,
            Err(failure) => Some(failure),
        }
    }

    /// Waits until every core has come to what was put into its inbox before.
    async fn settle(&self) -> Result<(), Failure> {
        for core in 0..self.cores.len() {
            self.ask(core, |reply| Ask::Do(Vec::new(), reply)).await?;
        }
        Ok(())
    }

    /// Does these operations in this order, and notes who asked for them.
    async fn do_audited(
        &self,
        operations: Vec<Operation>,
        asker: &Asker,
    ) -> Vec<Result<Done, Failure>> {
        let said: Vec<Value> = operations.iter().map(Operation::audited).collect();
        let results = match &self.of {
            Of::Private(_) => self.do_all(operations).await,
            Of::Open(register) => self.do_open(register, operations).await,
        };
        let became = results.iter().map(|result| match result {
            Ok(_) => "done",
            Err(failure) => failure.status().1,
        });
        let changes: Vec<Noted> = said.into_iter().zip(became).collect();
        self.audit.note(asker, &changes, self.clock.now());
        results
    }

    /// Does what a bulk request says.
    async fn bulk(&self, body: Value, asker: &Asker, lease: &Lease) -> Result<Value, Failure> {
        let Value::Object(mut fields) = body else {
            return Err(Failure::bad("the body is to be a JSON object"));
        };
        let Some(Value::Array(said)) = fields.remove("operations") else {
            return Err(Failure::bad("`operations` is to be an array"));
        };
        if said.len() > BULK_MAX {
            return Err(Failure::bad(format!(
                "more than {BULK_MAX} operations; send them in parts"
            )));
        }
        let mut said = said.into_iter();
        let mut results = Vec::with_capacity(said.len());
        loop {
            let chunk: Vec<Value> = said.by_ref().take(CHANGES_TOGETHER).collect();
            if chunk.is_empty() {
                break;
            }
            let read: Vec<_> = chunk.into_iter().map(Operation::read).collect();
            let good = read.iter().filter_map(|read| read.as_ref().ok().cloned()).collect();
            let mut done = self.do_audited(good, asker).await.into_iter();
            results.extend(read.into_iter().map(|read| match read {
                Ok(_) => done.next().expect("a result for each operation"),
                Err(wrong) => Err(wrong),
            }));
            lease.extend(CONNECTION_TIME);
        }
        let results: Vec<Value> = results.iter().map(result).collect();
        Ok(json!({"results": results}))
    }
}

/// The result of one of many changes.
fn result(result: &Result<Done, Failure>) -> Value {
    match result {
        Ok(done) => json!({"status": 200, "result": done.json()}),
        Err(failure) => {
            let mut value = failure.json();
            value["status"] = failure.status().0.into();
            value
        }
    }
}

/// Answers any request for the API.
pub(super) async fn answer(
    Shared(state): Shared<Arc<State>>,
    Extension(lease): Extension<Lease>,
    Extension(address): Extension<IpAddr>,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    let api = match (state.api(), state.phase()) {
        (None, _) | (_, Phase::Loading { .. }) => {
            return fail(&Failure::Unavailable("starting"), &path);
        }
        (Some(api), _) => api,
    };
    let answered = api.hear(&state, request, address, state.unavailable(), &lease).await;
    api.note(answered.as_ref().map(|_| ()));
    answered.unwrap_or_else(|failure| fail(&failure, &path))
}

impl Api {
    async fn hear(
        self: &Arc<Self>,
        state: &State,
        request: Request,
        address: IpAddr,
        unavailable: Option<&'static str>,
        lease: &Lease,
    ) -> Result<Response, Failure> {
        let found = route::find(request.method().as_str(), request.uri().path());
        if matches!(found, Ok((Call::Describe, _))) {
            return Ok(respond(StatusCode::OK, &describe::document()));
        }
        let authorization = request.headers().get(AUTHORIZATION);
        let token =
            self.gate.admit(authorization.map(|value| value.to_str().unwrap_or_default()))?;
        let asker = Asker { who: token.to_string(), address: Some(address) };
        let (call, parts) = found?;
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = match call {
            Call::PutUser
            | Call::PatchUser
            | Call::PutGroup
            | Call::PutTorrent
            | Call::PutToken
            | Call::PutClientRule
            | Call::PutService => read_body(request, BODY_BYTES_MAX).await?,
            Call::Bulk | Call::PutBans => read_body(request, BULK_BYTES_MAX).await?,
            _ => json!({}),
        };
        if matches!(
            call,
            Call::Services | Call::PutService | Call::Bans | Call::PutBans | Call::RemoveBan
        ) {
            if let Some(unavailable) = unavailable {
                return Err(Failure::Unavailable(unavailable));
            }
            let value = self.hear_operator(state, call, &parts, &query, body, &asker).await?;
            return Ok(respond(StatusCode::OK, &value));
        }
        if let Of::Open(register) = &self.of {
            if !open::knows(call) {
                return Err(Failure::NotPrivate);
            }
            if let Some(unavailable) = unavailable {
                return Err(Failure::Unavailable(unavailable));
            }
            if let Some(value) = self.look_open(register, call, &parts, &query).await? {
                return Ok(respond(StatusCode::OK, &value));
            }
        }
        let value = match call {
            Call::Bulk => self.bulk(body, &asker, lease).await?,
            Call::TraceUser => return self.trace(&parts[0], lease).await,
            _ => match Operation::of(call, &parts, &query, body) {
                Some(operation) => {
                    let mut done = self.do_audited(vec![operation?], &asker).await;
                    done.pop().expect("a result for each operation")?.json()
                }
                None => self.look(call, &parts, &query, lease).await?,
            },
        };
        Ok(respond(StatusCode::OK, &value))
    }
}

/// The JSON of a request's body; an empty object where there is none.
async fn read_body(request: Request, bytes_max: usize) -> Result<Value, Failure> {
    let declared = request.headers().get("content-length").and_then(|value| value.to_str().ok());
    if declared
        .and_then(|bytes| bytes.parse().ok())
        .is_some_and(|bytes: u64| bytes > bytes_max as u64)
    {
        return Err(Failure::TooLarge(bytes_max));
    }
    let bytes = body::to_bytes(request.into_body(), bytes_max)
        .await
        .map_err(|_| Failure::TooLarge(bytes_max))?;
    if bytes.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::bad(format!("the body is no JSON: {error}")))
}

fn respond(status: StatusCode, value: &Value) -> Response {
    let mut text = value.to_string();
    text.push('\n');
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn fail(failure: &Failure, path: &str) -> Response {
    let (status, _) = failure.status();
    let status = StatusCode::from_u16(status).expect("a status of HTTP");
    let mut response = respond(status, &failure.json());
    let headers = response.headers_mut();
    match failure {
        Failure::Unauthorized(_) => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Failure::Method(_) => {
            let methods = HeaderValue::from_str(&route::methods(path));
            headers.insert(ALLOW, methods.expect("names of methods"));
        }
        _ if status == StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        _ => {}
    }
    response
}
