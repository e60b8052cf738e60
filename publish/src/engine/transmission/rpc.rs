//! Questions to transmission-daemon: JSON over HTTP, one answer to each (Transmission's `rpc-spec.md`).
//!
//! The daemon asks for a number of its own in each request, against web pages that ask in somebody's name: a request
//! without it, or with an old one, is answered 409 with the right one.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ops::options::Secret;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, StatusCode, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Login {
    /// `rpc-username` of the daemon.
    pub user: String,
    /// `rpc-password` of the daemon.
    pub password: Option<Secret>,
}

/// Why the daemon has not done what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
    /// The URL names no host that is known.
    #[error("the host of {url} is not known")]
    Host {
        /// The URL.
        url: Url,
        /// What the resolver says.
        source: std::io::Error,
    },
    /// It is on another machine.
    #[error("{0} is on another machine; the daemon has to write to a folder of this one")]
    Elsewhere(Url),
    /// Nobody answers, or not in time.
    #[error(
        "transmission-daemon does not answer at {url}; is it running, and is that its address?"
    )]
    Away {
        /// Where it was asked.
        url: Url,
        /// What is wrong.
        source: reqwest::Error,
    },
    /// It does not know who asks.
    #[error("transmission-daemon takes another user or password than it was given")]
    Login,
    /// It does not want to be asked from here.
    #[error(
        "transmission-daemon refuses to be asked from here, or after too many wrong passwords; see its rpc-whitelist and rpc-host-whitelist"
    )]
    Whitelist,
    /// Somebody else answers.
    #[error("{url} answers {status}, which is not transmission-daemon's RPC")]
    Status {
        /// Where it was asked.
        url: Url,
        /// Its answer.
        status: StatusCode,
    },
    /// The answer is too long.
    #[error("transmission-daemon's answer is longer than {ANSWER_BYTES_MAX} bytes")]
    Long,
    /// The answer is no answer to this question.
    #[error("what {url} answers is not understood")]
    Answer {
        /// Where it was asked.
        url: Url,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// It says no.
    #[error("transmission-daemon says to {method}: {what}")]
    Refused {
        /// What it was asked.
        method: &'static str,
        /// What it says.
        what: String,
    },
    /// It is too old.
    #[error(
        "transmission-daemon {version} is too old: its RPC is {rpc}, and {RPC_MIN} is needed, which Transmission 2.80 has"
    )]
    Old {
        /// Its version.
        version: String,
        /// Its RPC's.
        rpc: u64,
    },
}

impl RpcError {
    /// It may be another way in a while: the daemon is away, or starts.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Away { .. } => true,
            Self::Status { status, .. } => status.is_server_error(),
            _ => false,
        }
    }
}

/// A daemon that is asked.
#[derive(Debug)]
pub(super) struct Rpc {
    client: Client,
    url: Url,
    login: Option<Login>,
    session: Mutex<Option<HeaderValue>>,
}

#[derive(Deserialize)]
struct Answer {
    result: String,
    #[serde(default)]
    arguments: Value,
}

impl Rpc {
    pub(super) fn new(mut url: Url, login: Option<Login>) -> Result<Self, RpcError> {
        let of_url = (!url.username().is_empty()).then(|| Login {
            user: unescaped(url.username()),
            password: url.password().and_then(|password| Secret::new(&unescaped(password))),
        });
        // What is shown of it must not have them.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()
            .map_err(RpcError::Client)?;
        Ok(Self { client, url, login: login.or(of_url), session: Mutex::default() })
    }

    /// Where the daemon is asked.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// The address that it is asked at, which must be one of this machine.
    pub(super) async fn host(&self) -> Result<IpAddr, RpcError> {
        let unknown = |source| RpcError::Host { url: self.url.clone(), source };
        let host = self.url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = self.url.port_or_known_default().unwrap_or_default();
        let all = tokio::net::lookup_host((host, port)).await.map_err(unknown)?;
        let mut all: Vec<SocketAddr> = all.collect();
        // Peers that are told of have IPv4 mostly, and so has what the daemon listens on.
        all.sort_by_key(SocketAddr::is_ipv6);
        let is_here = |address: &&SocketAddr| UdpSocket::bind((address.ip(), 0)).is_ok();
        let here = all.iter().find(is_here).ok_or_else(|| RpcError::Elsewhere(self.url.clone()))?;
        Ok(here.ip())
    }

    /// Asks for `method`.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        arguments: Value,
    ) -> Result<T, RpcError> {
        let unclear = |source| RpcError::Answer { url: self.url.clone(), source };
        let question = json!({"method": method, "arguments": arguments}).to_string();
        let answer = self.ask(question).await?;
        let answer: Answer = serde_json::from_slice(&answer).map_err(unclear)?;
        match answer.result.as_str() {
            "success" => serde_json::from_value(answer.arguments).map_err(unclear),
            _ => Err(RpcError::Refused { method, what: answer.result }),
        }
    }

    async fn ask(&self, question: String) -> Result<Vec<u8>, RpcError> {
        let mut tries = 0;
        let answer = loop {
            let answer = self.send(question.clone()).await?;
            let status = answer.status();
            match status {
                StatusCode::OK => break answer,
                StatusCode::UNAUTHORIZED => return Err(RpcError::Login),
                // 421 is what later versions say to a host name that they do not know.
                StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST => {
                    return Err(RpcError::Whitelist);
                }
                _ => {}
            }
            tries += 1;
            match answer.headers().get(SESSION) {
                Some(session) if status == StatusCode::CONFLICT && tries < TRIES_MAX => {
                    *self.session() = Some(session.clone());
                }
                _ => return Err(RpcError::Status { url: self.url.clone(), status }),
            }
        };
        self.read(answer).await
    }

    async fn send(&self, question: String) -> Result<Response, RpcError> {
        let mut request =
            self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        if let Some(login) = &self.login {
            request = request.basic_auth(&login.user, login.password.as_ref().map(Secret::reveal));
        }
        let session = self.session().clone();
        if let Some(session) = session {
            request = request.header(SESSION, session);
        }
        request.body(question).send().await.map_err(self.away())
    }

    async fn read(&self, mut answer: Response) -> Result<Vec<u8>, RpcError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(self.away())? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(RpcError::Long);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn away(&self) -> impl FnOnce(reqwest::Error) -> RpcError {
        let url = self.url.clone();
        move |error| RpcError::Away { url, source: error.without_url() }
    }

    fn session(&self) -> std::sync::MutexGuard<'_, Option<HeaderValue>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of a URL without its escapes.
fn unescaped(text: &str) -> String {
    let as_value = format!("a={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(as_value.as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
}

/// The header that its number is in.
const SESSION: &str = "x-transmission-session-id";

/// Its number may change once between two requests, and not each time.
const TRIES_MAX: usize = 3;

/// The names of 100,000 files are some 10 MiB.
const ANSWER_BYTES_MAX: usize = 32 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// It answers late while a disk is slow, as one thread of it does everything.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The version of the RPC that can rename a file of a torrent.
pub(super) const RPC_MIN: u64 = 15;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    type Replies = Box<dyn FnMut(&str) -> String + Send>;

    /// A server that answers each request by `reply`, which is given all of it.
    async fn server(mut reply: Replies) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/transmission/rpc", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (mut request, mut bytes) = (String::new(), [0; 4096]);
                while !is_whole(&request) {
                    match stream.read(&mut bytes).await.unwrap() {
                        0 => break,
                        read => request += std::str::from_utf8(&bytes[..read]).unwrap(),
                    }
                }
                let _ = stream.write_all(reply(&request).as_bytes()).await;
            }
        });
        url.parse().unwrap()
    }

    fn is_whole(request: &str) -> bool {
        let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        body.len() == length.parse::<usize>().unwrap()
    }

    fn http(head: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    async fn asked(head: &str, body: &str) -> Result<Value, RpcError> {
        let answer = http(head, body);
        let url = server(Box::new(move |_| answer.clone())).await;
        Rpc::new(url, None).unwrap().call("x", json!({})).await
    }

    #[tokio::test]
    async fn the_number_is_learnt_and_learnt_anew() {
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = requests.clone();
        let mut url = server(Box::new(move |request| {
            let mut seen = seen.lock().unwrap();
            seen.push(request.to_ascii_lowercase());
            let number = if seen.len() <= 3 { "one" } else { "two" };
            match seen.last().unwrap().contains(&format!("{SESSION}: {number}\r\n")) {
                true => http("200 OK", r#"{"result":"success","arguments":{"a":1}}"#),
                false => http(&format!("409 Conflict\r\nX-Transmission-Session-Id: {number}"), ""),
            }
        }))
        .await;
        url.set_username("a%20user").unwrap();
        url.set_password(Some("a%3Apass+word")).unwrap();
        let rpc = Rpc::new(url, None).unwrap();
        assert!(!format!("{rpc:?}").contains("pass+"), "{rpc:?}");
        for _ in 0..3 {
            let answer: Value = rpc.call("session-get", json!({"fields": ["a"]})).await.unwrap();
            assert_eq!(answer, json!({"a": 1}));
        }
        let requests = requests.lock().unwrap();
        // Two for the first question, one for the second, and two again when the number is another one.
        assert_eq!(requests.len(), 5);
        for request in requests.iter() {
            assert!(request.starts_with("post /transmission/rpc http/1.1\r\n"), "{request}");
            // `a user:a:pass+word`
            assert!(request.contains("authorization: basic ysb1c2vyome6cgfzcyt3b3jk"), "{request}");
            assert!(request.ends_with(r#"{"arguments":{"fields":["a"]},"method":"session-get"}"#));
        }
    }

    #[tokio::test]
    async fn what_is_wrong_is_told() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let rpc = Rpc::new(format!("http://{gone}/").parse().unwrap(), None).unwrap();
        let error = rpc.call::<Value>("x", json!({})).await.unwrap_err();
        assert!(error.passes() && error.to_string().contains("is it running"), "{error}");
        assert!(matches!(asked("401 Unauthorized", "").await, Err(RpcError::Login)));
        assert!(matches!(asked("403 Forbidden", "").await, Err(RpcError::Whitelist)));
        for head in ["404 Not Found", "302 Found\r\nLocation: /", "409 Conflict"] {
            assert!(matches!(asked(head, "").await, Err(RpcError::Status { .. })), "{head}");
        }
        let always = "409 Conflict\r\nX-Transmission-Session-Id: one";
        assert!(matches!(asked(always, "").await, Err(RpcError::Status { .. })));
        for body in ["", "{}", "<html>", r#"{"result":1}"#] {
            assert!(matches!(asked("200 OK", body).await, Err(RpcError::Answer { .. })), "{body}");
        }
        let error = asked("200 OK", r#"{"result":"no such thing"}"#).await.unwrap_err();
        assert_eq!(error.to_string(), "transmission-daemon says to x: no such thing");
        let long = " ".repeat(ANSWER_BYTES_MAX + 1);
        assert!(matches!(asked("200 OK", &long).await, Err(RpcError::Long)));
    }

    #[tokio::test]
    async fn it_has_to_be_on_this_machine() {
        let host = async |url: &str| Rpc::new(url.parse().unwrap(), None).unwrap().host().await;
        let loopback: IpAddr = [127, 0, 0, 1].into();
        assert_eq!(host("http://127.0.0.1:9091/").await.unwrap(), loopback);
        assert_eq!(host("http://localhost:9091/").await.unwrap(), loopback);
        let other = host("http://192.0.2.1:9091/").await.unwrap_err();
        assert!(matches!(other, RpcError::Elsewhere(_)), "{other}");
    }
}
