//! Asking a Master: its list, and the `.torrent` files that it names. Everything that comes is bounded before it is read.

use std::io::Read;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::read::GzDecoder;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, IF_NONE_MATCH};
use reqwest::{Client, Response, StatusCode};
use ring::digest;
use url::Url;

use crate::feed::{self, FeedError, List, TrustedKeys};
use crate::web::SEEDER_HEADER;

/// Asks Masters.
#[derive(Clone, Debug)]
pub struct Poller {
    client: Client,
}

/// An answer about a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Polled {
    /// It is what it was.
    Same,
    /// It is this.
    New {
        /// The list as it was signed.
        bytes: Bytes,
        /// What to ask with the next time.
        etag: Option<String>,
    },
}

/// Why there is no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// Nobody answers.
    #[error("{url} does not answer")]
    Away {
        /// Where.
        url: Url,
        /// Why.
        source: reqwest::Error,
    },
    /// It takes too long.
    #[error("{url} takes too long")]
    Late {
        /// Where.
        url: Url,
    },
    /// The address is none.
    #[error("{url:?} is no URL; the Master that signed the list is at fault")]
    Url {
        /// What stands there.
        url: String,
        /// What is wrong.
        source: url::ParseError,
    },
    /// The answer is no success.
    #[error("{url} says {status}; is the address right, and does the Master run?")]
    Status {
        /// Where.
        url: Url,
        /// What it says.
        status: StatusCode,
    },
    /// The answer is too long.
    #[error("{url} answers with more than {bytes_max} bytes, which is refused")]
    TooLarge {
        /// Where.
        url: Url,
        /// Bytes that it may have.
        bytes_max: usize,
    },
    /// It cannot be unpacked.
    #[error("{url} answers with gzip that cannot be unpacked")]
    Packed {
        /// Where.
        url: Url,
        /// Why.
        source: std::io::Error,
    },
    /// The list is refused.
    #[error("the list of {url} is refused")]
    Feed {
        /// Where.
        url: Url,
        /// Why.
        source: Box<FeedError>,
    },
    /// A file is not what the list says.
    #[error("{url} is not the file that the signed list names; it is not used")]
    Foreign {
        /// Where.
        url: Url,
    },
}

impl Poller {
    /// Makes the client.
    pub fn new() -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .connect_timeout(CONNECT_TIME)
            .read_timeout(READ_TIME)
            .timeout(WHOLE_TIME)
            .redirect(reqwest::redirect::Policy::limited(3))
            .user_agent(concat!("margay-publish/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client })
    }

    /// Asks for the list at `url`; `etag` is that of the last one, `holds` what the Master is told.
    pub async fn list(
        &self,
        url: &Url,
        etag: Option<&str>,
        holds: &str,
        bytes_max: usize,
    ) -> Result<Polled, PollError> {
        let mut request = self
            .client
            .get(url.clone())
            .header(ACCEPT_ENCODING, "gzip")
            .header(SEEDER_HEADER, holds);
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let answer = request.send().await.map_err(|error| away(url, error))?;
        if etag.is_some() && answer.status() == StatusCode::NOT_MODIFIED {
            return Ok(Polled::Same);
        }
        let header = |name| {
            answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let etag = header(ETAG);
        let is_packed =
            header(CONTENT_ENCODING).is_some_and(|coding| coding.eq_ignore_ascii_case("gzip"));
        let bytes = body(url, answer, bytes_max).await?;
        let bytes = if is_packed { unpack(url, &bytes, bytes_max)? } else { bytes };
        Ok(Polled::New { bytes, etag })
    }

    /// The list at `url`, where it is signed by one of `keys`.
    pub async fn signed(&self, url: &Url, keys: &TrustedKeys) -> Result<List, PollError> {
        match self.list(url, None, "", feed::BYTES_MAX).await? {
            Polled::Same => Err(PollError::Late { url: url.clone() }),
            Polled::New { bytes, .. } => feed::read(&bytes, keys)
                .map(|signed| signed.list)
                .map_err(|source| PollError::Feed { url: url.clone(), source: source.into() }),
        }
    }

    /// Fetches the `.torrent` file at `url`, which has this length and this SHA-256.
    pub async fn torrent(
        &self,
        url: &Url,
        length: u64,
        sha256: &[u8; 32],
    ) -> Result<Bytes, PollError> {
        let answer = self.client.get(url.clone()).send().await.map_err(|error| away(url, error))?;
        let bytes_max = usize::try_from(length).unwrap_or(usize::MAX).min(TORRENT_BYTES_MAX);
        let bytes = body(url, answer, bytes_max).await?;
        match digest::digest(&digest::SHA256, &bytes).as_ref() == sha256 {
            true => Ok(bytes),
            false => Err(PollError::Foreign { url: url.clone() }),
        }
    }
}

async fn body(url: &Url, mut answer: Response, bytes_max: usize) -> Result<Bytes, PollError> {
    if answer.status() != StatusCode::OK {
        return Err(PollError::Status { url: url.clone(), status: answer.status() });
    }
    let too_large = || PollError::TooLarge { url: url.clone(), bytes_max };
    if answer.content_length().is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large());
    }
    let mut bytes = BytesMut::new();
    while let Some(part) = answer.chunk().await.map_err(|error| away(url, error))? {
        if bytes.len() + part.len() > bytes_max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes.freeze())
}

fn unpack(url: &Url, packed: &[u8], bytes_max: usize) -> Result<Bytes, PollError> {
    let mut bytes = Vec::new();
    let unpacked = GzDecoder::new(packed).take(bytes_max as u64 + 1).read_to_end(&mut bytes);
    unpacked.map_err(|source| PollError::Packed { url: url.clone(), source })?;
    match bytes.len() > bytes_max {
        true => Err(PollError::TooLarge { url: url.clone(), bytes_max }),
        false => Ok(bytes.into()),
    }
}

fn away(url: &Url, error: reqwest::Error) -> PollError {
    PollError::Away { url: url.clone(), source: error.without_url() }
}

const CONNECT_TIME: Duration = Duration::from_secs(10);

/// How long nothing may come.
const READ_TIME: Duration = Duration::from_secs(20);

const WHOLE_TIME: Duration = Duration::from_secs(300);

/// As the tracker takes them.
const TORRENT_BYTES_MAX: usize = 64 << 20;
