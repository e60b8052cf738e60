//! The public listener: the docroot as any web server would serve it, and the content of what is published, so that
//! clients can use the Master as a web seed (BEP 19).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path as UrlPath, Request, State as Shared};
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower::ServiceExt;
use tower_http::services::{ServeDir, ServeFile};

use super::status::Seeder;
use crate::feed::Document;
use crate::torrent::Identity;

/// A document of the feed as it is served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Served {
    /// Its media type.
    pub media_type: &'static str,
    /// It, packed and not.
    pub document: Document,
}

/// What may be asked for: filled by the Master, read by the listener.
#[derive(Debug, Default)]
pub struct Content {
    /// Documents by their name.
    documents: RwLock<HashMap<String, Served>>,
    /// Published files by their path below `/files/`: where they are, and which they were.
    files: RwLock<HashMap<PathBuf, (PathBuf, Identity)>>,
    seeders: Mutex<HashMap<String, (Seeder, Instant)>>,
}

impl Content {
    /// A document is served like this from now on.
    pub fn put_document(&self, name: &str, served: Served) {
        write(&self.documents).insert(name.to_owned(), served);
    }

    /// These files, by their paths below `/files/`, are served while they are what they were.
    pub fn put_files(&self, root: &Path, files: &[(PathBuf, Identity)]) {
        let mut served = write(&self.files);
        for (path, identity) in files {
            served.insert(path.clone(), (root.join(path), *identity));
        }
    }

    /// These are not any more.
    pub fn remove_files(&self, files: &[(PathBuf, Identity)]) {
        let mut served = write(&self.files);
        for (path, identity) in files {
            // A newer file of the same name stays.
            if served.get(path).is_some_and(|(_, is)| is == identity) {
                served.remove(path);
            }
        }
    }

    /// Seeders that have asked in the last ten minutes, by name.
    pub fn seeders(&self) -> Vec<Seeder> {
        let mut known = self.seeders.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, at)| at.elapsed() < SEEDER_TIME);
        let mut seeders: Vec<Seeder> = known.values().map(|(seeder, _)| seeder.clone()).collect();
        seeders.sort_by(|a, b| a.name.cmp(&b.name));
        seeders
    }

    fn hear_seeder(&self, headers: &HeaderMap, from: SocketAddr) {
        let Some(said) = headers.get(SEEDER_HEADER).and_then(|said| said.to_str().ok()) else {
            return;
        };
        let mut fields = HashMap::new();
        for part in said.split(';').take(FIELDS_MAX) {
            if let Some((name, value)) = part.trim().split_once('=') {
                fields.insert(name, value.chars().take(NAME_CHARS_MAX).collect::<String>());
            }
        }
        let Some(name) = fields.get("name").cloned() else { return };
        let number =
            |field| fields.get(field).and_then(|text| text.parse().ok()).unwrap_or_default();
        let seeder = Seeder {
            address: from.ip().to_canonical().to_string(),
            holds: number("holds"),
            bytes: number("bytes"),
            generation: number("generation"),
            at: crate::unix_seconds(),
            name,
        };
        let mut known = self.seeders.lock().unwrap_or_else(PoisonError::into_inner);
        let key = format!("{} {}", seeder.address, seeder.name);
        // Anybody can say that he is a Seeder: so many and no more.
        if known.len() < SEEDERS_MAX || known.contains_key(&key) {
            known.insert(key, (seeder, Instant::now()));
        }
    }
}

/// The header by which a Seeder tells a Master what it holds.
pub const SEEDER_HEADER: &str = "margay-seeder";

/// The pages of the public listener: `docroot` below `/`, documents from memory, content below `/files/`.
pub fn public(docroot: &Path, content: Arc<Content>) -> Router {
    let folder = ServeDir::new(docroot).precompressed_gzip();
    Router::new()
        .route("/files/{*path}", get(file))
        .fallback_service(folder)
        .layer(middleware::from_fn(typed))
        .layer(middleware::from_fn_with_state(content.clone(), document))
        .with_state(content)
}

/// Answers for documents of the feed, and passes on everything else.
async fn document(Shared(content): Shared<Arc<Content>>, request: Request, next: Next) -> Response {
    let name = request.uri().path().trim_start_matches('/');
    let served = read(&content.documents).get(name).cloned();
    let Some(served) = served else { return next.run(request).await };
    let headers = request.headers();
    if let Some(ConnectInfo(from)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
        content.hear_seeder(headers, *from);
    }
    let takes_gzip = headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(takes_gzip);
    let document = &served.document;
    let (bytes, etag) = match takes_gzip {
        true => (&document.gzip, &document.gzip_etag),
        false => (&document.bytes, &document.etag),
    };
    // Never without the question: qBittorrent takes such an answer as an error.
    let has = headers.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let is_same = has.is_some_and(|tags| {
        tags.split(',')
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == etag || tag == "*")
    });
    let mut response = match is_same {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Response::new(Body::from(bytes.clone())),
    };
    if takes_gzip && !is_same {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(served.media_type));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(ETAG, etag);
    }
    response
}

/// True for a coding of `Accept-Encoding` that is gzip and wanted (RFC 9110, 12.5.3).
fn takes_gzip(coding: &str) -> bool {
    let mut parts = coding.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let is_refused =
        |weight: &str| weight.strip_prefix("q=").and_then(|q| q.parse().ok()) == Some(0.0);
    name.eq_ignore_ascii_case("gzip") && !parts.any(is_refused)
}

/// A published file, while it is the one that was hashed.
async fn file(
    Shared(content): Shared<Arc<Content>>,
    UrlPath(path): UrlPath<String>,
    request: Request,
) -> Response {
    let found = read(&content.files).get(Path::new(&path)).cloned();
    let Some((path, identity)) = found else {
        return (StatusCode::NOT_FOUND, "this is not published\n").into_response();
    };
    // A symbolic link that took its place has another inode.
    let is_same =
        tokio::fs::symlink_metadata(&path).await.is_ok_and(|now| Identity::of(&now) == identity);
    if !is_same {
        return (StatusCode::GONE, "this has changed since it was published\n").into_response();
    }
    match ServeFile::new(path).oneshot(request).await {
        Ok(response) => response.map(Body::new).into_response(),
        Err(never) => match never {},
    }
}

/// `.torrent` files have their media type, under a name of their own.
async fn typed(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    if path.ends_with(".torrent") && response.status().is_success() {
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-bittorrent"));
        headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    }
    response
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// How long a Seeder that does not ask is shown.
const SEEDER_TIME: Duration = Duration::from_secs(600);

const SEEDERS_MAX: usize = 10_000;

const NAME_CHARS_MAX: usize = 64;

const FIELDS_MAX: usize = 8;
