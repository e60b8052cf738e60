//! A Master's docroot on loopback: feed and `.torrent` files, as a web server hands them out.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use publish::feed::{Document, Item, List, Page, RSS_ITEMS, rss, title};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use shard::InfoHash;

/// What is published, and who has asked for it.
pub(super) struct Docroot {
    pub(super) list: List,
    port: u16,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    files: BTreeMap<String, (&'static str, Document)>,
    requests: Vec<Request>,
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) is_conditional: bool,
    pub(super) takes_gzip: bool,
    pub(super) status: u16,
}

impl Docroot {
    /// Serves an empty feed until the process ends.
    pub(super) fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::<Mutex<Shared>>::default();
        let served = shared.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let served = served.clone();
                thread::spawn(move || answer(connection, &served));
            }
        });
        let list = List { epoch: 1, made: 1_760_000_000, ..List::default() };
        let mut docroot = Self { list, port, shared };
        docroot.write_feed();
        docroot
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Publishes a file of this name and content, for the `count`th time; of a name there is one.
    pub(super) fn publish(&mut self, name: &str, content: &[u8], count: u32) -> InfoHash {
        let (info_hash, torrent) = torrent(name, content);
        let path = format!("/torrents/{info_hash}.torrent");
        self.list.items.retain(|item| item.name != name);
        self.list.items.push(Item {
            info_hash,
            name: name.to_owned(),
            title: title(name, count),
            size: content.len() as u64,
            files: 1,
            published: 1_760_000_000 + self.list.generation,
            torrent_url: self.url(&path),
            torrent_length: torrent.len() as u64,
            torrent_sha256: digest(&SHA256, &torrent).as_ref().try_into().unwrap(),
        });
        let file = ("application/x-bittorrent", Document::new(torrent));
        self.shared.lock().unwrap().files.insert(path, file);
        self.write_feed();
        info_hash
    }

    /// The feed as it is now.
    pub(super) fn feed(&self) -> Document {
        let page = Page {
            title: "What is new".to_owned(),
            description: "Files & folders".to_owned(),
            link: self.url("/").parse().unwrap(),
            list: self.url("/feed.list").parse().unwrap(),
            ttl: 1,
            items_max: RSS_ITEMS,
        };
        rss(&self.list, &page)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.shared.lock().unwrap().requests.clone()
    }

    fn write_feed(&mut self) {
        self.list.generation += 1;
        let feed = ("application/rss+xml", self.feed());
        self.shared.lock().unwrap().files.insert("/feed.xml".to_owned(), feed);
    }
}

/// One request, one answer.
fn answer(connection: TcpStream, shared: &Mutex<Shared>) {
    let _ = connection.set_read_timeout(Some(Duration::from_secs(30)));
    let mut lines = BufReader::new(&connection).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let header = |name: &str| {
        head.iter().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let asked = header("If-None-Match");
    let takes_gzip = header("Accept-Encoding").is_some_and(|value| value.contains("gzip"));
    let found = shared.lock().unwrap().files.get(&path).cloned();
    let (status, said) = match found {
        None => (
            404,
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
        ),
        Some((mime_type, document)) => {
            let (tag, bytes, encoding) = match takes_gzip {
                true => (&document.gzip_etag, &document.gzip, "Content-Encoding: gzip\r\n"),
                false => (&document.etag, &document.bytes, ""),
            };
            let rest = format!("ETag: {tag}\r\nVary: Accept-Encoding\r\nConnection: close\r\n");
            if asked.as_ref().is_some_and(|asked| asked == tag) {
                (304, format!("HTTP/1.1 304 Not Modified\r\n{rest}\r\n").into_bytes())
            } else {
                let length = bytes.len();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {mime_type}\r\nContent-Length: {length}\r\n{encoding}{rest}\r\n"
                );
                (200, [head.as_bytes(), bytes].concat())
            }
        }
    };
    let request = Request { path, is_conditional: asked.is_some(), takes_gzip, status };
    shared.lock().unwrap().requests.push(request);
    let _ = (&connection).write_all(&said);
}

/// A torrent of one file with one piece (BEP 3).
fn torrent(name: &str, content: &[u8]) -> (InfoHash, Vec<u8>) {
    let sha_1 = |bytes: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
    let mut info = format!(
        "d6:lengthi{}e4:name{}:{name}12:piece lengthi16384e6:pieces20:",
        content.len(),
        name.len()
    );
    let mut info = std::mem::take(&mut info).into_bytes();
    info.extend_from_slice(sha_1(content).as_ref());
    info.push(b'e');
    let info_hash = InfoHash(sha_1(&info).as_ref().try_into().unwrap());
    // Nobody answers at port 1.
    let announce = "http://127.0.0.1:1/announce";
    let mut torrent = format!("d8:announce{}:{announce}4:info", announce.len()).into_bytes();
    torrent.extend_from_slice(&info);
    torrent.push(b'e');
    (info_hash, torrent)
}
