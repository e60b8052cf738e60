//! The tracker's API: a torrent is registered before anybody announces it, and no longer once it is withdrawn.

use std::fmt;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use shard::InfoHash;
use url::Url;

/// The API of a margay that has to be told which torrents it serves.
#[derive(Clone)]
pub(super) struct TrackerApi {
    client: Client,
    /// Ends with `/api/v1/`.
    base: Url,
    token: String,
}

/// Why the tracker was not told.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrackerError {
    /// It does not answer.
    #[error("the tracker's API at {url} does not answer; it is tried again")]
    Away {
        /// Where it should be.
        url: Url,
        /// Why.
        source: reqwest::Error,
    },
    /// It answers that it cannot now.
    #[error("the tracker's API at {url} says {status}: {message}; it is tried again")]
    Unable {
        /// Where it is.
        url: Url,
        /// Its status, 500 or above.
        status: StatusCode,
        /// Its words.
        message: String,
    },
    /// It refuses.
    #[error(
        "the tracker's API at {url} refuses: {status}: {message}; mend that, then `margay publish republish NAME`"
    )]
    Refused {
        /// Where it is.
        url: Url,
        /// Its status, 400 to 499.
        status: StatusCode,
        /// Its words.
        message: String,
    },
}

impl TrackerApi {
    /// The API of the control listener at `control`, asked with this token.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub(super) fn new(control: &Url, token: String) -> Result<Self, reqwest::Error> {
        let client = Client::builder().timeout(ANSWER_TIME).no_proxy().build()?;
        let mut base = control.clone();
        base.set_path(&format!("{}/api/v1/", control.path().trim_end_matches('/')));
        Ok(Self { client, base, token })
    }

    /// A torrent is to be served. Saying it twice is saying it once.
    pub(super) async fn register(
        &self,
        info_hash: &InfoHash,
        name: &str,
    ) -> Result<(), TrackerError> {
        self.ask(Method::PUT, info_hash, &[], Some(json!({ "name": name }))).await
    }

    /// A torrent is not to be served any more; `reason` is what clients are told.
    pub(super) async fn withdraw(
        &self,
        info_hash: &InfoHash,
        reason: &str,
    ) -> Result<(), TrackerError> {
        let done = self.ask(Method::DELETE, info_hash, &[("reason", reason)], None).await;
        match done {
            // It is not served: as was wanted.
            Err(TrackerError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(()),
            done => done,
        }
    }

    async fn ask(
        &self,
        method: Method,
        info_hash: &InfoHash,
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<(), TrackerError> {
        let mut url = self.base.join(&format!("torrents/{info_hash}")).expect("hex is a path");
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.client.request(method, url.clone()).bearer_auth(&self.token);
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        };
        let away = |source: reqwest::Error| TrackerError::Away {
            url: self.base.clone(),
            source: source.without_url(),
        };
        let answer = request.send().await.map_err(away)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let text = answer.text().await.unwrap_or_default();
        let message = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|value| value["error"]["message"].as_str().map(str::to_owned))
            .unwrap_or_else(|| text.chars().take(SHOWN).collect());
        let url = self.base.clone();
        Err(match status.is_server_error() {
            true => TrackerError::Unable { url, status, message },
            false => TrackerError::Refused { url, status, message },
        })
    }
}

impl fmt::Debug for TrackerApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackerApi").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// How long the tracker may take; it waits for its database for up to eight seconds itself.
const ANSWER_TIME: Duration = Duration::from_secs(12);

/// Characters of an answer that is no JSON.
const SHOWN: usize = 200;
