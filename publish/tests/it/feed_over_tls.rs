//! A Master that serves its docroot over TLS, a Seeder that follows it, and curl.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use crate::site::{Site, bytes, publisher, until};

/// A certificate for the loopback address, as `authority.pem`, which is what programs trust, and its key.
fn issue(home: &Path) {
    let (certificate, key) = (home.join("new.pem"), home.join("new.key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "30", "-subj", "/CN=publisher", "-addext", "subjectAltName=IP:127.0.0.1"])
        // Else it is an authority, which rustls takes for nobody (CaUsedAsEndEntity).
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    fs::rename(key, home.join("authority.key")).unwrap();
    fs::rename(certificate, home.join("authority.pem")).unwrap();
}

#[test]
fn a_seeder_follows_a_feed_over_tls_and_the_certificate_is_renewed() {
    let home = tempfile::tempdir().unwrap();
    issue(home.path());
    let path = |name: &str| home.path().join(name).display().to_string();
    let (certificate, key) = (path("authority.pem"), path("authority.key"));
    let options = ["--tls-certificate", &certificate, "--tls-key", &key];
    let mut site = Site::of(home, Ipv4Addr::LOCALHOST.into(), 1, &options);
    let content = bytes(7, 300_000);
    site.put("film", &content);
    site.settles();
    let info_hash = site.published("film").unwrap();
    assert!(fs::read(site.content(0, &info_hash).join("film")).unwrap() == content);

    let curl = |url: &str| {
        let output =
            Command::new("curl").args(["-sS", "--cacert", &certificate, url]).output().unwrap();
        assert!(output.status.success(), "{url}: {output:?}");
        output.stdout
    };
    let at = format!("https://{}", site.served);
    assert!(String::from_utf8(curl(&format!("{at}/feed.xml"))).unwrap().contains("film"));
    assert!(curl(&format!("{at}/files/film")) == content);

    // A new certificate is shown without a restart, and the Seeder's connection goes on.
    issue(site.home.path());
    until("the new certificate is shown", || {
        let mut asked = Command::new("curl");
        asked.args(["-sS", "--cacert", &certificate, &format!("{at}/feed.xml")]);
        asked.output().unwrap().status.success()
    });
    site.put("another", &bytes(8, 200_000));
    site.settles();
    site.seeders[0].stop();
    site.seeders[0].start_again();
    site.seeders[0].is_ready();
    site.settles();
}

#[test]
fn a_certificate_that_cannot_be_used_ends_the_start_with_the_reason() {
    let home = tempfile::tempdir().unwrap();
    for folder in ["in", "docroot"] {
        fs::create_dir(home.path().join(folder)).unwrap();
    }
    let path = |name: &str| home.path().join(name).display().to_string();
    let (watch, docroot, data) = (path("in"), path("docroot"), path("data"));
    let start = |more: &[&str]| {
        let mut words = vec!["publish", "run", "--watch", &watch, "--docroot", &docroot];
        words.extend(["--data", &data, "--feed-url", "https://127.0.0.1/feed.xml"]);
        words.extend(["--control", "none", "--listen", "127.0.0.1:0"]);
        words.extend(["--tracker", "http://127.0.0.1:1/announce"]);
        words.extend(more);
        let ended = publisher(&words);
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    let pem = path("a.pem");
    let (code, said) = start(&["--tls-certificate", &pem]);
    assert!(code == Some(2) && said.contains("belong together"), "{said}");
    let (code, said) = start(&["--tls-certificate", &pem, "--tls-key", &pem]);
    assert!(code == Some(2) && said.contains("add serve"), "{said}");
    let serve = ["--serve", "127.0.0.1:0"];
    let both = ["--tls-certificate", &pem, "--tls-key", &pem];
    let (code, said) = start(&[&both[..], &serve].concat());
    assert!(code != Some(0) && said.contains("cannot read") && said.contains("a.pem"), "{said}");
    fs::write(&pem, "garbage").unwrap();
    let (code, said) = start(&[&both[..], &serve].concat());
    assert!(code != Some(0) && said.contains("no certificate that can be read"), "{said}");
}
