//! Behind nginx, by the sample of `ops/nginx`.

use tempfile::TempDir;

use super::{PROXY, STRANGER, ip, is_taken_for, local, nginx, port, sample, taken_for};
use crate::tracker::http::{Http, announce, scrape, stream_from};
use crate::tracker::tls::{Trusting, issue};
use crate::tracker::{HOMES, Tracker, hash};

#[test]
fn clients_have_their_own_addresses_behind_nginx_over_http_and_tls() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let issued = issue(&["localhost"]);
    issued.write(at, "a");
    let tracker = Tracker::start("--cores 2 --trusted-proxy 127.0.0.1/32");
    let (plain, sealed) = (port(), port());
    let blocks = sample(
        "ops/nginx/margay.conf",
        &[
            ("server 127.0.0.1:6969;", &format!("server {};", tracker.http(HOMES[0]))),
            ("listen 80;", &format!("listen 127.0.0.1:{plain};")),
            ("listen [::]:80;", &format!("listen [::1]:{plain};")),
            ("listen 443 ssl;", &format!("listen 127.0.0.1:{sealed} ssl;")),
            ("listen [::]:443 ssl;", &format!("listen [::1]:{sealed} ssl;")),
            ("/etc/ssl/tracker.example.org/fullchain.pem", at.join("a.pem").to_str().unwrap()),
            ("/etc/ssl/tracker.example.org/privkey.pem", at.join("a.key").to_str().unwrap()),
        ],
    );
    let _nginx = nginx(at, &blocks, local(plain));
    let tls = Trusting::new(&[&issued], true);
    for source in ["127.0.1.5", "127.0.1.6", "::1"].map(ip) {
        let home = HOMES[usize::from(source.is_ipv6())];
        let mut clients = [
            Http::connect_from(source, (home, plain).into()),
            tls.over(stream_from(source, (home, sealed).into()), "localhost").unwrap(),
        ];
        for client in &mut clients {
            for number in 0..10 {
                let target = announce(hash(&format!("{number}")), 7001, "&left=0");
                for forged in [
                    "",
                    "X-Forwarded-For: 9.9.9.1\r\n",
                    "X-Forwarded-For: 127.0.0.1\r\n",
                    "X-Forwarded-For: 9.9.9.1, \r\nX-Forwarded-For: 127.0.0.1,\r\n",
                    "X-Real-IP: 9.9.9.1\r\nForwarded: for=9.9.9.1\r\n",
                ] {
                    assert_eq!(taken_for(client, &target, forged), Some(source), "{forged}");
                }
            }
            let torrents: Vec<_> = (0..10).map(|number| hash(&format!("{number}"))).collect();
            client.get(&scrape(&torrents)).dictionary();
        }
    }
    // Beside nginx, which is no way around it.
    let mut direct = Http::connect_from(STRANGER, tracker.http(HOMES[0]));
    let forged = "X-Forwarded-For: 9.9.9.1\r\n";
    let target = announce(hash("direct"), 7001, "");
    assert_eq!(taken_for(&mut direct, &target, forged), Some(STRANGER));
    tracker.await_metric("margay_proxies_silent_total", &[], 0.0);
    // Counted by the family of the client.
    let v6 = ["protocol=\"http\"", "family=\"ipv6\""];
    tracker.await_metric("margay_responses_total", &v6, 2.0 * 51.0);

    // One that is not trusted is a client like others.
    let other = Tracker::start("--trusted-proxy 10.0.0.0/8");
    let folder = TempDir::new().unwrap();
    let at = port();
    let blocks = format!(
        "server {{ listen 127.0.0.1:{at}; location / {{ proxy_pass http://{}; proxy_set_header X-Forwarded-For \
         $proxy_add_x_forwarded_for; }} }}",
        other.http(HOMES[0])
    );
    let _nginx = nginx(folder.path(), &blocks, local(at));
    let mut client = Http::connect_from(STRANGER, local(at));
    assert_eq!(is_taken_for(&mut client, "untrusted"), Some(PROXY));
}
