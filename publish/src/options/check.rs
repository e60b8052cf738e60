//! The meaning of options for each other: what a start needs, values that exclude each other, values that do nothing.

use std::net::SocketAddr;

use ops::options::{Conflict, Setting, overlap, word, written, written_at};

use super::{Fetcher, Master, Overwrite, Peers, Screening, Seeder};

fn screening(options: &Screening, found: &mut Vec<Conflict>) {
    found.extend(options.mistakes().map(|(names, text)| Conflict::new(names, text)));
}

/// What a Master cannot be started with.
pub(super) fn master(options: &Master) -> Vec<Conflict> {
    let mut found = Vec::new();
    screening(&options.screening, &mut found);
    if options.watch.is_none() {
        found.push(Conflict::new(
            &["watch"],
            "give the folder whose files are published: --watch DIR",
        ));
    }
    if options.docroot.is_none() {
        found.push(Conflict::new(
            &["docroot"],
            "give the folder for torrents and feed: --docroot DIR",
        ));
    }
    match &options.feed_url {
        None => found.push(Conflict::new(
            &["feed-url"],
            "give the URL under which the docroot's feed is read: --feed-url https://HOST/feed.xml",
        )),
        Some(url) if url.0.path().ends_with('/') => found.push(Conflict::new(
            &["feed-url"],
            format!(
                "feed-url ({}) is a folder; give the feed's file as well: {}feed.xml",
                url.0, url.0
            ),
        )),
        Some(_) => {}
    }
    if options.tracker.is_empty() {
        found.push(Conflict::new(
            &["tracker"],
            "give the announce URL of a tracker, without which peers find nobody: --tracker URL",
        ));
    }
    if let (Some(watch), Some(docroot)) = (&options.watch, &options.docroot) {
        if docroot.starts_with(watch) {
            found.push(Conflict::new(
                &["docroot", "watch"],
                "docroot lies in watch, so that its torrents would be published; keep them apart",
            ));
        } else if watch.starts_with(docroot) {
            found.push(Conflict::new(
                &["watch", "docroot"],
                "watch lies in docroot, so that half-uploaded files would be served; keep them apart",
            ));
        }
        if options.data.starts_with(watch) || options.data.starts_with(docroot) {
            found.push(Conflict::new(
                &["data", "watch", "docroot"],
                "data lies in watch or docroot, so that the feed's key would be published; keep them apart",
            ));
        }
    }
    if options.overwrite_settle < options.settle {
        found.push(Conflict::new(
            &["overwrite-settle", "settle"],
            format!(
                "overwrite-settle ({}) is shorter than settle ({})",
                written(options.overwrite_settle),
                written(options.settle)
            ),
        ));
    }
    if options.tracker_api_token.is_some() && options.tracker_api_token_file.is_some() {
        found.push(Conflict::new(
            &["tracker-api-token-file", "tracker-api-token"],
            "tracker-api-token and tracker-api-token-file both give the token; leave one out",
        ));
    }
    let has_token = options.tracker_api_token.is_some() || options.tracker_api_token_file.is_some();
    if options.tracker_api.is_some() && !has_token {
        found.push(Conflict::new(
            &["tracker-api", "tracker-api-token-file"],
            "tracker-api needs a token: give tracker-api-token-file, or MARGAY_PUBLISH_TRACKER_API_TOKEN",
        ));
    }
    if options.tracker_api.is_none() && has_token {
        found.push(Conflict::new(
            &["tracker-api-token", "tracker-api-token-file", "tracker-api"],
            "a token is given and no tracker-api that takes it; give --tracker-api http://HOST:PORT",
        ));
    }
    if options.database.is_some() && options.standby_of.is_empty() {
        found.push(Conflict::new(
            &["database", "standby-of"],
            "a lease is for several Masters: give the feed of the other one as --standby-of URL",
        ));
    }
    if options.database_password_file.is_some() && options.database.is_none() {
        found.push(Conflict::new(
            &["database-password-file", "database"],
            "database-password-file is given and no database; add database, or leave it out",
        ));
    }
    peers(&options.peers, &mut found);
    addresses(
        &options.peers,
        &[(&["control", "listen"], options.control), (&["serve", "listen"], options.serve)],
        &mut found,
    );
    let (certificate, key) = (&options.tls_certificate, &options.tls_key);
    if certificate.is_some() != key.is_some() {
        found.push(Conflict::new(
            &["tls-certificate", "tls-key"],
            "tls-certificate and tls-key belong together; give both, or neither",
        ));
    }
    if certificate.is_some() && options.serve.is_none() {
        found.push(Conflict::new(
            &["tls-certificate", "serve"],
            "tls-certificate is for serve, which is none; add serve, or leave it out",
        ));
    }
    if let (Some(serve), Some(control)) = (&options.serve, &options.control)
        && overlap(serve, control)
    {
        found.push(Conflict::new(
            &["serve", "control"],
            format!("serve ({serve}) and control ({control}) want the same port"),
        ));
    }
    found
}

/// What a Seeder cannot be started with.
pub(super) fn seeder(options: &Seeder) -> Vec<Conflict> {
    let mut found = Vec::new();
    screening(&options.screening, &mut found);
    if options.feed.is_empty() {
        found.push(Conflict::new(
            &["feed"],
            "give the address of a Master's feed with its key: --feed https://HOST/feed.xml#ed25519=KEY",
        ));
    }
    for (count, feed) in options.feed.iter().enumerate() {
        if options.feed[..count].iter().any(|other| other.url == feed.url) {
            found.push(Conflict::new(&["feed"], format!("feed {} is there twice", feed.url)));
        }
    }
    let url = &options.transmission_url.0;
    if !url.username().is_empty() || url.password().is_some() {
        found.push(Conflict::new(
            &["transmission-url"],
            "transmission-url has a user or password, which others can read there; give transmission-user and transmission-password-file",
        ));
    }
    if options.transmission_password.is_some() && options.transmission_password_file.is_some() {
        found.push(Conflict::new(
            &["transmission-password-file", "transmission-password"],
            "transmission-password and transmission-password-file both give the password; leave one out",
        ));
    }
    let has_password =
        options.transmission_password.is_some() || options.transmission_password_file.is_some();
    if has_password && options.transmission_user.is_none() {
        found.push(Conflict::new(
            &["transmission-password", "transmission-password-file", "transmission-user"],
            "a password is given and no user; give transmission-user as well",
        ));
    }
    peers(&options.peers, &mut found);
    addresses(&options.peers, &[(&["control", "listen"], options.control)], &mut found);
    found
}

/// What does nothing of the options of screening.
fn idle_screening(options: &Screening, settings: &[Setting], found: &mut Vec<String>) {
    let mut say = |name: &str, why: &str| found.extend(word(settings, name, why));
    if !options.has_countries() {
        for name in ["screen-database", "screen-unknown", "screen-dns"] {
            say(name, "does nothing without screen-deny-country or screen-allow-country");
        }
    }
    if options.provider().is_none() {
        for name in [
            "screen-dns-record",
            "screen-dns-field",
            "screen-dns-server",
            "screen-dns-rate",
            "screen-dns-networks",
        ] {
            say(name, "does nothing without screen-dns or a zone");
        }
    }
}

/// What was written for a Master and does nothing as things are, or more than was meant.
pub(super) fn idle_master(options: &Master, settings: &[Setting]) -> Vec<String> {
    let mut found = Vec::new();
    let mut say = |name: &str, why: &str| found.extend(word(settings, name, why));
    if options.overwrite != Overwrite::Settle {
        say("overwrite-settle", "does nothing: overwrite is not `settle`");
    }
    if options.database.is_none() {
        for name in ["database-schema", "lease-name", "lease-holder", "lease-time"] {
            say(name, "does nothing without database");
        }
    } else if written_at(settings, "lease-holder").is_none() {
        say("database", "is there for several Masters: give each a lease-holder of its own");
    }
    idle_screening(&options.screening, settings, &mut found);
    exposed(options.control, settings, &mut found);
    found
}

/// The same for a Seeder.
pub(super) fn idle_seeder(options: &Seeder, settings: &[Setting]) -> Vec<String> {
    let mut found = Vec::new();
    if options.disk_max.is_none() {
        found.extend(word(settings, "order", "says what is fetched first alone: disk-max is none"));
    }
    if options.engine != Fetcher::Transmission {
        for name in [
            "transmission-url",
            "transmission-user",
            "transmission-password",
            "transmission-password-file",
        ] {
            found.extend(word(settings, name, "does nothing: engine is not `transmission`"));
        }
    }
    idle_screening(&options.screening, settings, &mut found);
    exposed(options.control, settings, &mut found);
    found
}

fn exposed(control: Option<SocketAddr>, settings: &[Setting], found: &mut Vec<String>) {
    if control.is_some_and(|control| !control.ip().is_loopback()) {
        found.extend(word(
            settings,
            "control",
            "lets others than this machine ask and give commands; keep it to a network that nobody else is on",
        ));
    }
}

fn peers(options: &Peers, found: &mut Vec<Conflict>) {
    if options.listen.is_empty() {
        found.push(Conflict::new(&["listen"], "listen is `none`: nobody could download anything"));
    }
    for (count, address) in options.listen.iter().enumerate() {
        if options.listen[..count].iter().any(|other| overlap(other, address)) {
            found.push(Conflict::new(
                &["listen"],
                format!("listen {address} is already taken by another of its addresses"),
            ));
        }
    }
    let first = options.listen.first().map(SocketAddr::port);
    let differ = options.listen.iter().any(|address| Some(address.port()) != first);
    if differ && options.announce_port.is_none() {
        found.push(Conflict::new(
            &["listen", "announce-port"],
            "listen has several ports, and trackers are told one; give announce-port, or the same port",
        ));
    }
}

/// Addresses that want the port of the peers.
fn addresses(
    peers: &Peers,
    others: &[(&'static [&'static str], Option<SocketAddr>)],
    found: &mut Vec<Conflict>,
) {
    for (between, wanted) in others {
        if let Some(wanted) = wanted
            && let Some(address) = peers.listen.iter().find(|address| overlap(address, wanted))
        {
            found.push(Conflict::new(
                between,
                format!("{} ({wanted}) and listen ({address}) want the same port", between[0]),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use ops::options::{Options, load, option};

    use super::*;

    /// Loads flags `name=value`, one a line; the mistakes or else the warnings, one a line.
    fn said<O: Options>(flags: &str) -> String {
        let flags = flags.lines().filter(|line| !line.trim().is_empty()).map(|flag| {
            let (name, value) = flag.trim().split_once('=').unwrap();
            (option::<O>(name).unwrap(), vec![value.to_owned()])
        });
        match load::<O>(flags.collect(), &Vec::new()) {
            Ok(loaded) => loaded.warnings.join("\n"),
            Err(error) => {
                let lines: Vec<String> = error.mistakes.iter().map(ToString::to_string).collect();
                lines.join("\n")
            }
        }
    }

    /// What a Master needs.
    const MASTER: &str = "watch=/in\ndocroot=/out\nfeed-url=https://h.example/feed.xml\n\
                          tracker=udp://h.example:6969\ndata=/data\n";

    fn check_master(flags: &str, expected: &str) {
        assert_eq!(said::<Master>(&format!("{MASTER}{flags}")), expected);
    }

    fn check_seeder(flags: &str, expected: &str) {
        let feed = format!("feed=https://h.example/feed.xml#ed25519={}\n", "A".repeat(43));
        assert_eq!(said::<Seeder>(&format!("{feed}{flags}")), expected);
    }

    #[test]
    fn what_a_start_needs_is_asked_for() {
        let mistakes = said::<Master>("");
        for name in ["watch: give", "docroot: give", "feed-url: give", "tracker: give"] {
            assert!(mistakes.contains(name), "{name} in {mistakes}");
        }
        check_master("", "");
        assert!(said::<Seeder>("").contains("give the address of a Master's feed"));
        check_seeder("", "");
    }

    #[test]
    fn folders_are_kept_apart() {
        let said_of = |watch, docroot, data| {
            said::<Master>(&format!(
                "watch={watch}\ndocroot={docroot}\ndata={data}\nfeed-url=http://h/f.xml\ntracker=http://h/a"
            ))
        };
        assert_eq!(said_of("/a", "/ab", "/d"), "");
        assert!(said_of("/a", "/a/b", "/d").starts_with("--docroot: docroot lies in watch"));
        assert!(said_of("/a/b", "/a", "/d").starts_with("--watch: watch lies in docroot"));
        assert!(said_of("/a", "/b", "/b/d").starts_with("--data: data lies in watch or docroot"));
    }

    #[test]
    fn a_token_and_the_api_belong_together() {
        check_master(
            "tracker-api=http://127.0.0.1:6980",
            "--tracker-api: tracker-api needs a token: give tracker-api-token-file, or \
             MARGAY_PUBLISH_TRACKER_API_TOKEN",
        );
        check_master(
            "tracker-api-token=0123",
            "--tracker-api-token: a token is given and no tracker-api that takes it; give --tracker-api \
             http://HOST:PORT",
        );
        check_master("tracker-api=http://127.0.0.1:6980\ntracker-api-token=0123", "");
        check_master(
            "tracker-api=http://127.0.0.1:6980\ntracker-api-token=0123\ntracker-api-token-file=t",
            "--tracker-api-token-file: tracker-api-token and tracker-api-token-file both give the token; leave \
             one out",
        );
    }

    #[test]
    fn who_asks_transmission_is_said_apart_from_its_url() {
        check_seeder("engine=transmission\ntransmission-user=a\ntransmission-password-file=p", "");
        check_seeder(
            "engine=transmission\ntransmission-url=http://a:b@127.0.0.1:9091/",
            "--transmission-url: transmission-url has a user or password, which others can read there; give \
             transmission-user and transmission-password-file",
        );
        check_seeder(
            "engine=transmission\ntransmission-password-file=p",
            "--transmission-password-file: a password is given and no user; give transmission-user as well",
        );
        check_seeder(
            "transmission-user=a",
            "--transmission-user does nothing: engine is not `transmission`",
        );
    }

    #[test]
    fn a_port_is_bound_once() {
        check_master(
            "control=127.0.0.1:6881",
            "--control: control (127.0.0.1:6881) and listen (0.0.0.0:6881) want the same port",
        );
        check_master(
            "serve=127.0.0.1:6981",
            "--serve: serve (127.0.0.1:6981) and control (127.0.0.1:6981) want the same port",
        );
        check_seeder(
            "listen=127.0.0.1:1,127.0.0.1:2",
            "--listen: listen has several ports, and trackers are told one; give announce-port, or the same \
             port",
        );
        check_seeder("listen=127.0.0.1:1,127.0.0.1:2\nannounce-port=7", "");
        check_seeder("listen=none", "--listen: listen is `none`: nobody could download anything");
    }

    #[test]
    fn what_does_nothing_is_said() {
        check_master(
            "overwrite-settle=1h",
            "--overwrite-settle does nothing: overwrite is not `settle`",
        );
        check_master("overwrite-settle=1h\noverwrite=settle", "");
        check_master("lease-name=other", "--lease-name does nothing without database");
        check_seeder("order=rarest", "--order says what is fetched first alone: disk-max is none");
        check_seeder("order=rarest\ndisk-max=10GiB", "");
    }

    #[test]
    fn each_tracker_is_a_tier() {
        let flags = [("tracker", "udp://a.example:1 udp://b.example:2,http://c.example/announce")];
        let flags =
            flags.map(|(name, text)| (option::<Master>(name).unwrap(), vec![text.to_owned()]));
        let names = ["tracker"];
        let options: Master = ops::options::load_only(&names, flags.to_vec(), &Vec::new()).unwrap();
        let tiers: Vec<usize> = options.tracker.iter().map(|tier| tier.0.len()).collect();
        assert_eq!(tiers, [2, 1]);
    }
}
