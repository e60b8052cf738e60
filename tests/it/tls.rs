//! HTTPS: what is answered over it, what is resumed, and what certificates are shown.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::tracker::http::{Http, announce, bare, counts, peers, scrape};
use crate::tracker::tls::{Issued, Trusting, issue, issue_for};
use crate::tracker::{HOMES, Tracker, get, hash, patiently};

/// A tracker with a certificate for `localhost`, and the folder that it lies in.
fn start(args: &str) -> (Tracker, Issued, TempDir) {
    let folder = TempDir::new().unwrap();
    let issued = issue(&["localhost"]);
    issued.write(folder.path(), "a");
    let tracker = Tracker::start(&format!("{} {args}", Issued::options(folder.path(), "a")));
    (tracker, issued, folder)
}

#[test]
fn announces_are_answered_as_over_http_on_every_core_and_family() {
    let (tracker, issued, _folder) = start("--cores 2");
    for (is_13, home) in [(true, HOMES[0]), (true, HOMES[1]), (false, HOMES[0]), (false, HOMES[1])]
    {
        let client = Trusting::new(&[&issued], is_13);
        let at = tracker.https(home);
        let torrents: Vec<_> =
            (0..20).map(|number| hash(&format!("{is_13} {home} {number}"))).collect();
        // One connection, over which the torrents of both cores are asked for.
        let mut kept = client.connect(at);
        for torrent in &torrents {
            let answer = kept.get(&announce(*torrent, 1, "&left=0")).dictionary();
            assert_eq!(counts(&answer)[..2], [1, 0]);
            // Another one, which ends.
            let mut client = client.connect(at);
            let target = announce(*torrent, 2, "&left=1");
            client.send(format!("GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n"));
            let answer = client.page().dictionary();
            client.check_end();
            assert_eq!(peers(&answer), BTreeSet::from([SocketAddr::new(home, 1)]));
        }
        let files = kept.get(&scrape(&torrents)).dictionary();
        for torrent in &torrents {
            assert_eq!(counts(files.get("files").get(torrent))[..2], [1, 1]);
        }
        // All at once.
        let asked: String =
            torrents.iter().map(|torrent| bare(&announce(*torrent, 3, "&left=1"))).collect();
        kept.send(asked);
        for _ in &torrents {
            assert_eq!(counts(&kept.page().dictionary())[..2], [1, 2]);
        }
    }
    tracker.await_metric("margay_tls_failures_total", &[], 0.0);
    patiently("handshakes are counted", || {
        (tracker.metric("margay_tls_handshakes_total", &["resumed"]) > 70.0).then_some(())
    });
}

#[test]
fn a_request_may_come_in_pieces_and_an_answer_be_large() {
    let (tracker, issued, _folder) = start("--full-scrape --full-scrape-interval 1s");
    let client = Trusting::new(&[&issued], true);
    let at = tracker.https(HOMES[0]);
    let mut kept = client.connect(at);
    for byte in bare(&announce(hash("a"), 1, "&left=0")).bytes() {
        kept.send([byte]);
    }
    assert_eq!(counts(&kept.page().dictionary())[..2], [1, 0]);
    for number in 0..3000 {
        kept.get(&announce(hash(&format!("many {number}")), 1, "&left=0")).dictionary();
    }
    patiently("all are in the full scrape", || {
        let page = kept.get("/scrape");
        (page.status == 200 && page.body.len() > 200_000).then_some(())
    });
    // An unknown page, a request that is none.
    assert_eq!(kept.get("/nothing").status, 404);
    kept.send("nonsense\r\n\r\n");
    assert_eq!(kept.page().status, 200);
    kept.check_end();
}

#[test]
fn what_is_no_tls_ends_and_costs_nobody_else() {
    let (mut tracker, issued, _folder) =
        start("--http-request-timeout 2s --http-header-timeout 1s");
    let at = tracker.https(HOMES[0]);
    let plain = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(bytes).unwrap();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        said
    };
    // An alert, of the form of TLS.
    assert_eq!(plain(b"GET /announce HTTP/1.1\r\n\r\n").first(), Some(&21));
    plain(&[22, 3, 1, 0, 5, 1, 0, 0, 1, 0]);
    plain(&[0; 5000]);
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..50 {
        let length = random.usize(1..3000);
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        bytes[0] = 22;
        plain(&bytes);
    }
    // Who says nothing, or not all, is let go.
    assert_eq!(plain(&[22, 3, 1]), b"");
    // Who does not trust the certificate.
    let stranger = Trusting::new(&[&issue(&["localhost"])], true);
    assert!(stranger.try_connect(at, "localhost").is_err());
    let client = Trusting::new(&[&issued], true);
    client.connect(at).get(&announce(hash("a"), 1, "")).dictionary();
    patiently("failures are counted", || {
        (tracker.metric("margay_tls_failures_total", &[]) >= 50.0).then_some(())
    });
    tracker.check_alive();
}

#[test]
fn sessions_are_resumed_on_any_core_and_after_a_restart() {
    let (folder, data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let issued = issue(&["localhost"]);
    issued.write(folder.path(), "a");
    let options = format!("--cores 2 {}", Issued::options(folder.path(), "a"));
    let clients = [true, false].map(|is_13| Trusting::new(&[&issued], is_13));
    for start in 0..3 {
        let tracker = Tracker::start_on(data.path(), &options);
        for client in &clients {
            for number in 0..20 {
                let mut connection = client.connect(tracker.https(HOMES[0]));
                assert_eq!(connection.is_resumed(), start + number > 0, "{start} {number}");
                connection.get(&announce(hash("a"), 1, "")).dictionary();
            }
        }
        tracker.stop();
    }
}

#[test]
fn the_certificate_of_the_name_is_shown() {
    let folder = TempDir::new().unwrap();
    let (first, second) = (issue(&["localhost"]), issue(&["other.test", "*.wild.test"]));
    first.write(folder.path(), "a");
    second.write(folder.path(), "b");
    let both =
        format!("{} {}", Issued::options(folder.path(), "a"), Issued::options(folder.path(), "b"));
    let both = both.replacen("--https 127.0.0.1:0,[::1]:0", "", 1);
    let tracker = Tracker::start(&both);
    let at = tracker.https(HOMES[0]);
    let (knows_first, knows_second) =
        (Trusting::new(&[&first], true), Trusting::new(&[&second], true));
    for name in ["other.test", "a.wild.test", "OTHER.test"] {
        knows_second.try_connect(at, name).unwrap().get(&announce(hash("a"), 1, "")).dictionary();
    }
    knows_first.try_connect(at, "localhost").unwrap();
    for name in ["localhost", "a.b.wild.test", "wild.test"] {
        assert!(knows_second.try_connect(at, name).is_err(), "{name}");
    }
    let health = get(tracker.control(), "/health").unwrap();
    assert_eq!(health.matches("certificate: ").count(), 2, "{health}");
}

#[test]
fn certificates_are_replaced_under_load_and_bad_ones_are_not_shown() {
    let (tracker, first, folder) = start("--cores 2");
    let times = std::env::var("MARGAY_TEST_SWAPS").map_or(10, |times| times.parse().unwrap());
    let at = tracker.https(HOMES[0]);
    let issued: Vec<Issued> = (0..8).map(|_| issue(&["localhost"])).collect();
    let all: Vec<&Issued> = issued.iter().chain([&first]).collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for is_13 in [true, false] {
            let (all, stop) = (&all, &stop);
            scope.spawn(move || {
                // Over which all goes on, whatever is shown to others.
                let mut kept = Trusting::new(all, is_13).connect(at);
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) || count <= 5 {
                    let client = Trusting::new(all, is_13);
                    for _ in 0..3 {
                        client.connect(at).get(&announce(hash("a"), 1, "")).dictionary();
                    }
                    kept.get(&announce(hash("a"), 2, "")).dictionary();
                    count += 1;
                }
            });
        }
        for round in 0..times {
            let now = &issued[round % issued.len()];
            now.write(folder.path(), "a");
            tracker.signal(Signal::HUP);
            let client = Trusting::new(&[now], true);
            patiently("the new one is shown", || client.try_connect(at, "localhost").ok());
        }
        stop.store(true, Ordering::Relaxed);
    });
    let last = &issued[(times - 1) % issued.len()];
    let client = Trusting::new(&[last], true);
    // Each is said, and the one before stays.
    let other = issue(&["localhost"]);
    let spoil =
        |end: &str, text: &str| fs::write(folder.path().join(format!("a.{end}")), text).unwrap();
    let reads = [
        ("key", other.key.as_str(), "is not that of the first certificate"),
        ("key", "", "no private key that can be read"),
        ("pem", "garbage", "no certificate that can be read"),
        ("pem", &last.certificate[..200], "no certificate that can be read"),
    ];
    // Among many that are replaced, files may have been looked at between one and the other.
    let (good, bad) = ("certificate read again", "certificates not read");
    for (end, text, why) in reads {
        let before = tracker.times_logged(good);
        last.write(folder.path(), "a");
        tracker.signal(Signal::HUP);
        tracker.await_logged(good, before + 1);
        let before = tracker.times_logged(bad);
        spoil(end, text);
        tracker.signal(Signal::HUP);
        tracker.await_logged(bad, before + 1);
        let health = patiently("health says why", || {
            get(tracker.control(), "/health").filter(|text| text.contains("not read again"))
        });
        assert!(health.contains(why), "{why}: {health}");
        client.connect(at).get(&announce(hash("a"), 1, "")).dictionary();
    }
    fs::remove_file(folder.path().join("a.pem")).unwrap();
    tracker.signal(Signal::HUP);
    client.connect(at).get(&announce(hash("a"), 1, "")).dictionary();
    // Without a signal: it is looked at.
    other.write(folder.path(), "a");
    let client = Trusting::new(&[&other], true);
    patiently("the new one is shown", || client.try_connect(at, "localhost").ok());
    assert!(!get(tracker.control(), "/health").unwrap().contains("not read again"));
}

#[test]
fn a_start_without_a_usable_certificate_says_why() {
    let folder = TempDir::new().unwrap();
    let data = TempDir::new().unwrap();
    let (one, other) = (issue(&["localhost"]), issue(&["localhost"]));
    one.write(folder.path(), "a");
    fs::write(folder.path().join("b.pem"), &one.certificate).unwrap();
    fs::write(folder.path().join("b.key"), &other.key).unwrap();
    fs::write(folder.path().join("empty.pem"), "").unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (pem, key) = (path("a.pem"), path("a.key"));
    let cases = [
        ("--https 127.0.0.1:0".to_owned(), "https and control-https need a certificate"),
        (format!("--https 127.0.0.1:0 --tls-certificate {pem}"), "each certificate needs its key"),
        (Issued::options(folder.path(), "b"), "is not that of the first certificate"),
        (Issued::options(folder.path(), "c"), "cannot read"),
        (
            format!("--https 127.0.0.1:0 --tls-certificate {} --tls-key {key}", path("empty.pem")),
            "no certificate that can be read",
        ),
        (
            format!("--https 127.0.0.1:0 --tls-certificate {key} --tls-key {pem}"),
            "no certificate that can be read",
        ),
    ];
    for (options, why) in cases {
        let ended = Tracker::try_start_on(data.path(), &options).err().expect("it does not start");
        assert!(ended.err.contains(why), "{options}: {}", ended.err);
        assert_eq!(ended.code, Some(2), "{options}: {}", ended.err);
    }
}

#[test]
fn an_end_that_is_near_or_over_is_said() {
    let folder = TempDir::new().unwrap();
    issue_for(&["localhost"], (2000, 2001)).write(folder.path(), "a");
    let tracker = Tracker::start(&Issued::options(folder.path(), "a"));
    tracker.logged("the certificate is over");
    let health = get(tracker.control(), "/health").unwrap();
    assert!(health.contains("is over for"), "{health}");
    let expiry = tracker.metric("margay_tls_certificate_expiry_timestamp_seconds", &["a.pem"]);
    assert_eq!(expiry, 978_307_200.0);
}

#[test]
fn curl_and_openssl_are_answered() {
    let (tracker, _issued, folder) = start("");
    let at = tracker.https(HOMES[0]);
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        said
    };
    let pem = folder.path().join("a.pem").display().to_string();
    let url = format!("https://localhost:{}{}", at.port(), announce(hash("a"), 1, ""));
    for version in ["1.2", "1.3"] {
        let answer = run("curl", &["-sS", "--tls-max", version, "--cacert", &pem, &url]);
        assert!(answer.starts_with("d8:complete"), "{answer}");
    }
    let session = folder.path().join("session").display().to_string();
    let address = at.to_string();
    for flag in ["-sess_out", "-sess_in"] {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-quiet", "-connect", &address, "-CAfile", &pem, flag, &session]);
        let mut client = client
            .args(["-ign_eof", "-tls1_2"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let asked = "GET / HTTP/1.1\r\nConnection: close\r\n\r\n";
        client.stdin.as_mut().unwrap().write_all(asked.as_bytes()).unwrap();
        let output = client.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("HTTP/1.1 200"), "{said}");
    }
    tracker.await_metric("margay_tls_handshakes_total", &["resumed"], 1.0);
}

/// With the variables that certbot (its `--help`), lego (its page on hooks) and acme.sh (its wiki) document.
#[test]
fn what_is_renewed_is_shown_without_a_restart() {
    let folder = TempDir::new().unwrap();
    let tls = folder.path().join("tls");
    let hook = |variables: &[(&str, String)]| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/ops/tls/install-certificate");
        let mut command = Command::new(script);
        command.env("MARGAY_TLS", &tls).env("MARGAY_TLS_GROUP", "no-such-group");
        command.envs(variables.iter().map(|(name, value)| (*name, value)));
        command.output().unwrap()
    };
    let path = |name: &str| folder.path().join(name).display().to_string();
    let renew = |issued: &Issued, certificate: &str, key: &str| {
        fs::write(folder.path().join(certificate), &issued.certificate).unwrap();
        fs::write(folder.path().join(key), &issued.key).unwrap();
    };
    fs::create_dir(folder.path().join("live")).unwrap();
    type Hook<'h> = (&'h str, &'h str, &'h [(&'h str, String)]);
    let hooks: [Hook<'_>; 4] = [
        ("live/fullchain.pem", "live/privkey.pem", &[("RENEWED_LINEAGE", path("live"))]),
        (
            "lego.crt",
            "lego.key",
            &[("LEGO_CERT_PATH", path("lego.crt")), ("LEGO_CERT_KEY_PATH", path("lego.key"))],
        ),
        (
            "lego5.crt",
            "lego5.key",
            &[
                ("LEGO_HOOK_CERT_PATH", path("lego5.crt")),
                ("LEGO_HOOK_CERT_KEY_PATH", path("lego5.key")),
            ],
        ),
        (
            "acme.cer",
            "acme.key",
            &[("CERT_FULLCHAIN_PATH", path("acme.cer")), ("CERT_KEY_PATH", path("acme.key"))],
        ),
    ];
    let mut tracker = None;
    for (certificate, key, variables) in hooks {
        let issued = issue(&["localhost"]);
        renew(&issued, certificate, key);
        let output = hook(variables);
        assert!(output.status.success(), "{output:?}");
        let options = format!(
            "--https 127.0.0.1:0 --tls-certificate {0}/certificate.pem --tls-key {0}/key.pem",
            tls.display()
        );
        let tracker = tracker.get_or_insert_with(|| Tracker::start(&options));
        let client = Trusting::new(&[&issued], true);
        let at = tracker.https(HOMES[0]);
        patiently(certificate, || client.try_connect(at, "localhost").ok());
        // Without the file nothing is replaced.
        fs::remove_file(folder.path().join(key)).unwrap();
        assert_eq!(hook(variables).status.code(), Some(1));
        client.try_connect(at, "localhost").unwrap();
    }
    assert_eq!(hook(&[]).status.code(), Some(2));
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(tls.join("key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn operators_are_answered_over_tls_by_the_names_of_the_certificate() {
    let folder = TempDir::new().unwrap();
    let (first, second) = (issue(&["tracker.test"]), issue(&["tracker.test"]));
    first.write(folder.path(), "a");
    let options = Issued::options(folder.path(), "a");
    let tracker = Tracker::start(
        &options.replace("--https 127.0.0.1:0,[::1]:0", "--control-https 127.0.0.1:0"),
    );
    let at = tracker.logged("ready")["control_https"].as_str().unwrap().parse().unwrap();
    let ask = |issued: &Issued, request: &str| {
        let client = Trusting::new(&[issued], true);
        let mut connection = client.try_connect(at, "tracker.test").ok()?;
        connection.send(request);
        Some(connection.page())
    };
    let health = "GET /health HTTP/1.1\r\nHost: tracker.test\r\n\r\n";
    let page = ask(&first, health).unwrap();
    assert!(page.status == 200 && page.body.starts_with(b"tracker: ready"), "{page:?}");
    // Not without its header, and not without a token.
    let snapshot = "POST /snapshot HTTP/1.1\r\nHost: tracker.test\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(ask(&first, snapshot).unwrap().status, 403);
    let api = "GET /api/v1/torrents HTTP/1.1\r\nHost: tracker.test\r\n\r\n";
    assert_eq!(ask(&first, api).unwrap().status, 401);
    // A new certificate is shown here too.
    second.write(folder.path(), "a");
    tracker.signal(Signal::HUP);
    patiently("the new one is shown", || ask(&second, health));
    assert!(ask(&first, health).is_none());
    // Who speaks no TLS hears nothing, and holds nobody up.
    let mut silent = TcpStream::connect(at).unwrap();
    silent.write_all(health.as_bytes()).unwrap();
    let mut said = Vec::new();
    let _ = silent.read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
}

/// A connection that is kept costs no more than its own memory, and one that has gone nothing.
#[test]
fn connections_that_have_gone_leave_nothing() {
    let (tracker, issued, _folder) = start("");
    let client = Trusting::new(&[&issued], true);
    let at = tracker.https(HOMES[0]);
    let connect = |many: usize| {
        for _ in 0..many {
            let mut connection: Http = client.connect(at);
            connection.get(&announce(hash("a"), 1, "")).dictionary();
        }
    };
    connect(300);
    let memory = || tracker.metric("margay_process_resident_memory_bytes", &[]);
    patiently("the page is new", || {
        (tracker.metric("margay_tls_handshakes_total", &[]) == 300.0).then_some(())
    });
    let before = memory();
    connect(2000);
    patiently("the page is new", || {
        (tracker.metric("margay_tls_handshakes_total", &[]) == 2300.0).then_some(())
    });
    let grown = memory() - before;
    assert!(grown < 4e6, "{grown} bytes more");
}
