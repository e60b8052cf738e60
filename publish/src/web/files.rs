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
use shard::InfoHash;
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
    /// Published files by their path below `/files/`. While a name is published anew, two torrents have the same ones.
    files: RwLock<HashMap<PathBuf, Vec<File>>>,
    seeders: Mutex<HashMap<String, (Seeder, Instant)>>,
}

impl Content {
    /// A document is served like this from now on.
    pub fn put_document(&self, name: &str, served: Served) {
        write(&self.documents).insert(name.to_owned(), served);
    }

    /// The documents that are served, with their names.
    pub fn documents(&self) -> Vec<(String, Document)> {
        let documents = read(&self.documents);
        documents.iter().map(|(name, served)| (name.clone(), served.document.clone())).collect()
    }

    /// These files of a torrent, by their paths below `/files/`, are served while they are what they were.
    pub fn put_files(&self, torrent: InfoHash, root: &Path, files: &[(PathBuf, Identity)]) {
        let mut served = write(&self.files);
        for (path, identity) in files {
            let of = served.entry(path.clone()).or_default();
            of.retain(|file| file.torrent != torrent);
            of.push(File { torrent, at: root.join(path), identity: Some(*identity) });
        }
    }

    /// The torrent is published and these files of it are not served: they are not what they were, or not for now.
    pub fn hold_files(&self, torrent: InfoHash, files: &[(PathBuf, Identity)]) {
        let mut served = write(&self.files);
        for (path, _) in files {
            let of = served.entry(path.clone()).or_default();
            of.retain(|file| file.torrent != torrent);
            of.insert(0, File { torrent, at: PathBuf::new(), identity: None });
        }
    }

    /// The torrent is not published any more. What another one has of its files goes on.
    pub fn remove_files(&self, torrent: InfoHash, files: &[(PathBuf, Identity)]) {
        let mut served = write(&self.files);
        for (path, _) in files {
            if let Some(of) = served.get_mut(path) {
                of.retain(|file| file.torrent != torrent);
                if of.is_empty() {
                    served.remove(path);
                }
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

/// A file that a torrent has.
#[derive(Clone, Debug)]
struct File {
    torrent: InfoHash,
    /// Where it is.
    at: PathBuf,
    /// Which it was; none while it is not served.
    identity: Option<Identity>,
}

impl File {
    /// A symbolic link that took its place has another inode.
    async fn is_what_it_was(&self) -> bool {
        let Some(identity) = self.identity else { return false };
        tokio::fs::symlink_metadata(&self.at).await.is_ok_and(|now| Identity::of(&now) == identity)
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
    let found = read(&content.files).get(Path::new(&path)).cloned().unwrap_or_default();
    if found.is_empty() {
        return (StatusCode::NOT_FOUND, "this is not published\n").into_response();
    }
    let mut served = None;
    // The newest last.
    for file in found.into_iter().rev() {
        if file.is_what_it_was().await {
            served = Some(file.at);
            break;
        }
    }
    let Some(path) = served else {
        return (StatusCode::GONE, "this has changed since it was published\n").into_response();
    };
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn what_two_torrents_have_is_served_until_the_last_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["a", "b"].map(|name| {
            fs::write(folder.path().join(name), name).unwrap();
            let identity = Identity::of(&fs::metadata(folder.path().join(name)).unwrap());
            (PathBuf::from(name), identity)
        });
        let content = Arc::new(Content::default());
        let ask = async |name: &str| {
            let request =
                Request::builder().uri(format!("/files/{name}")).body(Body::empty()).unwrap();
            public(folder.path(), content.clone()).oneshot(request).await.unwrap().status().as_u16()
        };
        let (old, new) = (InfoHash([1; 20]), InfoHash([2; 20]));
        assert_eq!(ask("a").await, 404);
        content.put_files(old, folder.path(), &files[..1]);
        assert_eq!((ask("a").await, ask("b").await), (200, 404));
        content.hold_files(old, &files[..1]);
        assert_eq!(ask("a").await, 410);
        content.put_files(new, folder.path(), &files);
        content.hold_files(old, &files[..1]);
        assert_eq!((ask("a").await, ask("b").await), (200, 200));
        content.remove_files(old, &files[..1]);
        assert_eq!((ask("a").await, ask("b").await), (200, 200));
        fs::write(folder.path().join("b"), "longer").unwrap();
        assert_eq!((ask("a").await, ask("b").await), (200, 410));
        content.remove_files(new, &files);
        assert_eq!((ask("a").await, ask("b").await), (404, 404));
    }
}
