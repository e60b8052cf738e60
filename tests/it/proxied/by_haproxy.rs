//! Behind haproxy, by the sample of `ops/haproxy`, and behind both in a row.

use tempfile::TempDir;

use super::{
    OPTIONS, PROXIED, STRANGER, haproxy, ip, is_taken_for, local, nginx, port, sample, taken_for,
};
use crate::tracker::http::{Http, announce, stream_from};
use crate::tracker::tls::{Issued, Trusting, issue};
use crate::tracker::{HOMES, Tracker, hash};

const FORGED: [&str; 3] = ["", "X-Forwarded-For: 9.9.9.1\r\n", "X-Forwarded-For: 127.0.0.1, \r\n"];

#[test]
fn clients_have_their_own_addresses_behind_haproxy_by_both_versions() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let issued = issue(&["localhost"]);
    issued.write(at, "a");
    let tls = Issued::options(at, "a").replace("127.0.0.1:0,[::1]:0", "127.0.0.2:0");
    let tracker = Tracker::start(&format!("{OPTIONS} --cores 2 {tls}"));
    let client_tls = Trusting::new(&[&issued], true);
    for version in ["send-proxy-v2", "send-proxy"] {
        let (plain, sealed) = (port(), port());
        let configuration = sample(
            "ops/haproxy/margay.cfg",
            &[
                ("bind :80\n", &format!("bind 127.0.0.1:{plain}\n")),
                ("bind :::80 v6only", &format!("bind ::1:{plain} v6only")),
                ("bind :443\n", &format!("bind 127.0.0.1:{sealed}\n")),
                ("bind :::443 v6only", &format!("bind ::1:{sealed} v6only")),
                (
                    "margay 127.0.0.1:6969",
                    &format!("margay {} source 127.0.0.1", tracker.http_at(PROXIED)),
                ),
                (
                    "margay 127.0.0.1:6943",
                    &format!("margay {} source 127.0.0.1", tracker.https_at(PROXIED)),
                ),
                ("send-proxy-v2", version),
            ],
        );
        let _haproxy = haproxy(at, &configuration, local(plain));
        for source in ["127.0.1.5", "127.0.1.6", "::1"].map(ip) {
            let home = HOMES[usize::from(source.is_ipv6())];
            let mut clients = [
                Http::connect_from(source, (home, plain).into()),
                client_tls.over(stream_from(source, (home, sealed).into()), "localhost").unwrap(),
            ];
            for client in &mut clients {
                for number in 0..10 {
                    let target = announce(hash(&format!("{number}")), 7001, "&left=0");
                    for forged in FORGED {
                        assert_eq!(taken_for(client, &target, forged), Some(source), "{forged}");
                    }
                }
            }
        }
        // A client that begins with a header of its own says that behind haproxy's, where it is no request.
        let mut client = Http::connect_from(STRANGER, local(plain));
        client.send("PROXY TCP4 9.9.9.1 1.1.1.1 1 2\r\n");
        assert!(client.page().failure().contains("neither GET nor HEAD"));
    }
}

/// haproxy in front of nginx in front of the tracker, and the other way round.
#[test]
fn clients_have_their_own_addresses_behind_a_chain_of_both() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let tracker = Tracker::start(&format!("{OPTIONS} --cores 2"));
    let tcp =
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 65s\n timeout server 65s\n";

    // The client, haproxy with the PROXY protocol, nginx that takes the address from it and says it in a header.
    let (first, second) = (port(), port());
    let blocks = format!(
        "set_real_ip_from 127.0.0.1;\nreal_ip_header proxy_protocol;\nserver {{ listen 127.0.0.1:{second} \
         proxy_protocol; location / {{ proxy_pass http://{}; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}\n",
        tracker.http(HOMES[0])
    );
    let _nginx = nginx(at, &blocks, local(second));
    let configuration = format!(
        "{tcp}listen first\n bind 127.0.0.1:{first}\n bind ::1:{first} v6only\n server nginx 127.0.0.1:{second} \
         send-proxy-v2\n"
    );
    let haproxy_first = haproxy(at, &configuration, local(first));
    check(first);
    drop(haproxy_first);

    // The client, nginx with a header, haproxy with the PROXY protocol that says that it is nginx, the tracker. And the
    // client, haproxy with a header, haproxy with the PROXY protocol.
    let folder = TempDir::new().unwrap();
    let (first, second, third) = (port(), port(), port());
    let configuration = format!(
        "{tcp}listen second\n bind 127.0.0.1:{second}\n server margay {} source 127.0.0.1 send-proxy\nlisten third\n \
         mode http\n bind 127.0.0.1:{third}\n bind ::1:{third} v6only\n option forwardfor\n server second \
         127.0.0.1:{second} source 127.0.0.1\n",
        tracker.http_at(PROXIED)
    );
    let _haproxy = haproxy(folder.path(), &configuration, local(second));
    let blocks = format!(
        "server {{ listen 127.0.0.1:{first}; listen [::1]:{first}; location / {{ proxy_pass http://127.0.0.1:{second}; \
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}\n"
    );
    let _nginx = nginx(folder.path(), &blocks, local(first));
    check(first);
    check(third);
    // Past nginx, to haproxy: its own address is what haproxy says, whatever it wrote.
    let mut client = Http::connect_from(STRANGER, local(second));
    for forged in FORGED {
        let target = announce(hash("past"), 7001, "&left=0");
        assert_eq!(taken_for(&mut client, &target, forged), Some(STRANGER), "{forged}");
    }
    assert_eq!(is_taken_for(&mut client, "past"), Some(STRANGER));
}

/// Clients that come to this port are taken for who they are.
#[track_caller]
fn check(port: u16) {
    for source in ["127.0.1.5", "127.0.1.6", "::1"].map(ip) {
        let home = HOMES[usize::from(source.is_ipv6())];
        let mut client = Http::connect_from(source, (home, port).into());
        for number in 0..10 {
            let target = announce(hash(&format!("{number}")), 7001, "&left=0");
            for forged in FORGED {
                assert_eq!(taken_for(&mut client, &target, forged), Some(source), "{forged}");
            }
        }
    }
}
