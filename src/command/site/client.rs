//! The API as its command line asks for it: one request a connection, with HTTP/1.0, so that an answer ends
//! where its connection does.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::api::route::BASE;
use crate::api::token::Token;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error(
        "no tracker answers at {address}; is it running, and is that its control address? \
         (--control ADDRESS, or --config with its file)"
    )]
    NoTracker {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Something else answers there.
    #[error("what answers at {0} is no margay of this version; is that its control address?")]
    Stranger(SocketAddr),
    /// The tracker takes longer than it should.
    #[error("the tracker at {address} has not answered to the end")]
    Broken {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The token is not good.
    #[error("the tracker refuses the token from {token_from}: {message}")]
    Token {
        /// Where the token came from.
        token_from: String,
        /// What the tracker says.
        message: String,
    },
    /// The tracker refuses.
    #[error("{message}")]
    Refused {
        /// The status of the answer.
        status: u16,
        /// What the API calls it.
        code: String,
        /// What the tracker says.
        message: String,
    },
}

/// Who asks, and where.
#[derive(Debug)]
pub(super) struct Client {
    address: SocketAddr,
    token: Token,
    token_from: String,
}

/// How long a connection may take to be there.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How long the tracker may be silent; whatever is asked, it answers or says something before.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Bytes of an answer's head, and of an answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

impl Client {
    /// Asks the tracker whose control listener is at `address`, with the token that came from
    /// `token_from`.
    pub(super) fn new(address: SocketAddr, token: Token, token_from: String) -> Self {
        Self { address, token, token_from }
    }

    /// The answer to one request; `path` is below `/api/v1/`.
    pub(super) fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let (status, reader) = self.begin(method, path, body)?;
        let mut text = Vec::new();
        reader.take(BODY_BYTES_MAX).read_to_end(&mut text).map_err(|source| self.broken(source))?;
        let value =
            serde_json::from_slice(&text).map_err(|_| ClientError::Stranger(self.address))?;
        match status {
            200 => Ok(value),
            _ => Err(self.refused(status, &value)),
        }
    }

    /// The lines of an answer, as they come.
    pub(super) fn follow(
        &self,
        path: &str,
    ) -> Result<impl Iterator<Item = Result<Value, ClientError>>, ClientError> {
        let (status, mut reader) = self.begin("GET", path, None)?;
        if status != 200 {
            let mut text = Vec::new();
            let read = (&mut reader).take(BODY_BYTES_MAX).read_to_end(&mut text);
            read.map_err(|source| self.broken(source))?;
            let value = serde_json::from_slice(&text);
            let value = value.map_err(|_| ClientError::Stranger(self.address))?;
            return Err(self.refused(status, &value));
        }
        Ok(reader.lines().map(|line| {
            let line = line.map_err(|source| self.broken(source))?;
            serde_json::from_str(&line).map_err(|_| ClientError::Stranger(self.address))
        }))
    }

    /// Sends a request; the status of its answer, and where the body of that is read from.
    fn begin(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, BufReader<TcpStream>), ClientError> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let authorization = format!("Authorization: Bearer {}", self.token.reveal());
        send(self.address, &format!("{method} {BASE}{path}"), &authorization, &body)
    }

    fn refused(&self, status: u16, value: &Value) -> ClientError {
        let Some(message) = value["error"]["message"].as_str() else {
            return ClientError::Stranger(self.address);
        };
        let message = message.to_owned();
        match status {
            401 => ClientError::Token { token_from: self.token_from.clone(), message },
            _ => {
                let code = value["error"]["code"].as_str().unwrap_or_default().to_owned();
                ClientError::Refused { status, code, message }
            }
        }
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Broken { address: self.address, source }
    }
}

/// Posts a command to the control listener at `address`; its status and text.
pub(super) fn command(address: SocketAddr, path: &str) -> Result<(u16, String), ClientError> {
    let (status, reader) = send(address, &format!("POST /{path}"), "Margay-Command: yes", "")?;
    let mut text = String::new();
    let read = reader.take(HEAD_BYTES_MAX as u64).read_to_string(&mut text);
    read.map_err(|source| ClientError::Broken { address, source })?;
    Ok((status, text))
}

/// Sends a request; the status of its answer, and where the body of that is read from.
fn send(
    address: SocketAddr,
    asked: &str,
    header: &str,
    body: &str,
) -> Result<(u16, BufReader<TcpStream>), ClientError> {
    let no_tracker = |source| ClientError::NoTracker { address, source };
    let broken = |source| ClientError::Broken { address, source };
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIME).map_err(no_tracker)?;
    let length = body.len();
    let request = format!(
        "{asked} HTTP/1.0\r\nHost: {address}\r\n{header}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.set_read_timeout(Some(SILENCE_MAX)).map_err(no_tracker)?;
    stream.set_write_timeout(Some(SILENCE_MAX)).map_err(no_tracker)?;
    stream.write_all(request.as_bytes()).map_err(broken)?;
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let line = (&mut reader).take(HEAD_BYTES_MAX as u64).read_until(b'\n', &mut head);
        if line.map_err(broken)? == 0 || head.len() > HEAD_BYTES_MAX {
            return Err(ClientError::Stranger(address));
        }
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(&head);
    let status = response.code.filter(|_| parsed.is_ok_and(|parsed| parsed.is_complete()));
    Ok((status.ok_or(ClientError::Stranger(address))?, reader))
}
