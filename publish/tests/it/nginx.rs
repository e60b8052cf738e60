//! The docroot and the watched folder by nginx, as the sample configuration has it, for a Master that serves nothing
//! itself.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT_ENCODING, IF_NONE_MATCH, RANGE};
use reqwest::{Client, Response, StatusCode};

#[tokio::test]
async fn a_seeder_follows_a_feed_that_nginx_serves() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for name in ["watch", "docroot", "nginx"] {
        fs::create_dir(at.join(name)).unwrap();
    }
    let ports = ports();
    let [web, master, seeder, ..] = ports;
    let _nginx = nginx(at, web);
    let url = |path: &str| format!("http://127.0.0.1:{web}/{path}");
    let feed_url = url("feed.xml");
    let _master = publisher(
        at,
        "master",
        &format!(
            "publish run --watch watch --docroot docroot --data master --feed-url {feed_url} --files-url {} --settle \
             300ms --tracker http://127.0.0.1:9/announce --control 127.0.0.1:{master} --listen 127.0.0.1:{}",
            url("files/"),
            ports[3]
        ),
    );
    let content: Vec<u8> = (0..700_000_u32).flat_map(u32::to_be_bytes).collect();
    fs::write(at.join("watch/.a film.mkv"), &content).unwrap();
    fs::rename(at.join("watch/.a film.mkv"), at.join("watch/a film.mkv")).unwrap();
    fs::write(at.join("watch/.hidden"), "nobody sees this").unwrap();
    let control = format!("publish list --control 127.0.0.1:{master}");
    let info_hash = wait(|| seeding(&said(at, &control)));

    let feed = said(at, &format!("publish key --data master --feed-url {feed_url}"));
    let _seeder = publisher(
        at,
        "seeder",
        &format!(
            "seed --feed {} --data seeder --poll 1s --control 127.0.0.1:{seeder} --listen 127.0.0.1:{}",
            feed.trim(),
            ports[4]
        ),
    );
    let control = format!("seed list --control 127.0.0.1:{seeder}");
    assert_eq!(wait(|| seeding(&said(at, &control))), info_hash);
    let fetched = at.join("seeder/content").join(&info_hash).join("a film.mkv");
    assert!(fs::read(fetched).unwrap() == content, "what was fetched is what was published");
    wait(|| {
        let log = fs::read_to_string(at.join("nginx/access.log")).unwrap();
        log.lines().any(|line| line == "GET /feed.list 304").then_some(())
    });

    let client = Client::builder().no_proxy().build().unwrap();
    for (name, media_type) in [
        ("feed.xml", "application/rss+xml; charset=utf-8"),
        ("feed.list", "application/x-margay-list"),
    ] {
        let plain = client.get(url(name)).send().await.unwrap();
        assert_eq!((plain.status(), header(&plain, "content-type")), (StatusCode::OK, media_type));
        assert_eq!(header(&plain, "vary"), "Accept-Encoding");
        let etag = header(&plain, "etag").to_owned();
        let again = client.get(url(name)).header(IF_NONE_MATCH, &etag).send().await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{name}");
        // Who does not ask is not answered so: qBittorrent takes it as an error.
        let again = client.get(url(name)).send().await.unwrap();
        assert_eq!(again.status(), StatusCode::OK, "{name}");
        let packed = client.get(url(name)).header(ACCEPT_ENCODING, "gzip").send().await.unwrap();
        assert_eq!(
            (header(&packed, "content-encoding"), header(&packed, "content-type")),
            ("gzip", media_type)
        );
        assert_ne!(header(&packed, "etag"), etag, "{name}");
        let kept = fs::read(at.join("docroot").join(format!("{name}.gz"))).unwrap();
        assert!(packed.bytes().await.unwrap() == kept, "{name} is the one that was made ready");
    }

    let torrent = format!("torrents/{info_hash}.torrent");
    let answer = client.get(url(&torrent)).send().await.unwrap();
    assert_eq!(header(&answer, "content-type"), "application/x-bittorrent");
    assert!(answer.bytes().await.unwrap() == fs::read(at.join("docroot").join(&torrent)).unwrap());

    let part = client.get(url("files/a%20film.mkv")).header(RANGE, "bytes=4000-4007");
    let answer = part.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(header(&answer, "content-range"), "bytes 4000-4007/2800000");
    assert!(answer.bytes().await.unwrap() == content[4000..4008]);
    for hidden in ["files/.hidden", "files/", "files/../nginx/access.log", "nothing"] {
        let answer = client.get(url(hidden)).send().await.unwrap();
        assert!(answer.status().is_client_error(), "{hidden}: {}", answer.status());
    }

    fs::remove_file(at.join("watch/a film.mkv")).unwrap();
    let started = Instant::now();
    while client.get(url(&torrent)).send().await.unwrap().status() != StatusCode::NOT_FOUND {
        assert!(started.elapsed() < PATIENCE, "what was removed leaves the docroot");
        tokio::time::sleep(STEP).await;
    }
    let list = client.get(url("feed.list")).send().await.unwrap().text().await.unwrap();
    assert!(!list.contains(&info_hash), "{list}");
}

/// A program that runs; it is killed when the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// nginx with the sample, in places of this test.
fn nginx(at: &Path, port: u16) -> Running {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/nginx/margay-publish.conf");
    let mut sample = fs::read_to_string(sample).unwrap();
    let folder = |name: &str| at.join(name).display().to_string();
    for (there, here) in [
        ("listen 80;", format!("listen 127.0.0.1:{port};")),
        ("listen [::]:80;", String::new()),
        ("publish.example.org;", "127.0.0.1;".to_owned()),
        ("root /var/cache/margay-publish;", format!("root {};", folder("docroot"))),
        ("/srv/publish/;", format!("{}/;", folder("watch"))),
    ] {
        assert!(sample.contains(there), "{there} in the sample");
        sample = sample.replace(there, &here);
    }
    let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|part| format!("{part}_temp_path {};\n", folder("nginx")))
        .concat();
    let whole = format!(
        "daemon off;\nmaster_process off;\npid {0}/pid;\nerror_log {0}/error.log;\nevents {{ }}\nhttp {{\n{places}log_format \
         short '$request_method $uri $status';\naccess_log {0}/access.log short;\n{sample}}}\n",
        folder("nginx")
    );
    let file = at.join("nginx/nginx.conf");
    fs::write(&file, whole).unwrap();
    // Debian keeps it out of the path of users.
    let program =
        ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| Path::new(path).exists());
    let child =
        Command::new(program.expect("nginx is missing; install the Debian package nginx-light"))
            .arg("-c")
            .arg(file)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
    Running(child)
}

/// A Master or a Seeder that runs in the folder `at`, with its log in `name.log`.
fn publisher(at: &Path, name: &str, args: &str) -> Running {
    let log = File::create(at.join(format!("{name}.log"))).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_margay-publish"))
        .args(args.split_whitespace())
        .env_clear()
        .current_dir(at)
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    Running(child)
}

/// What a command writes; nothing as long as nobody answers it.
fn said(at: &Path, args: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_margay-publish"));
    let output =
        command.args(args.split_whitespace()).env_clear().current_dir(at).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The infohash of what a list says to be seeded.
fn seeding(list: &str) -> Option<String> {
    let line = list.lines().find(|line| line.starts_with("seeding "))?;
    line.split_whitespace().find(|word| word.len() == 40).map(str::to_owned)
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// Waits for what has to happen.
fn wait<T>(mut happened: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(what) = happened() {
            return what;
        }
        assert!(started.elapsed() < PATIENCE, "it has not happened");
        std::thread::sleep(STEP);
    }
}

/// Ports that are free.
fn ports() -> [u16; 5] {
    let listeners = [(); 5].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.each_ref().map(|listener| listener.local_addr().unwrap().port())
}

const PATIENCE: Duration = Duration::from_secs(120);

const STEP: Duration = Duration::from_millis(100);
