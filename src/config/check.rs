//! The meaning of options for each other: defaults that follow another option, and values that exclude each other.

use std::time::Duration;

use ops::options::{self, Conflict, Declared, Origin, Setting, overlap, written};

use ops::screening::lookups::{Preset, RecordKind};

use super::{Config, ForwardedHeader, HttpAddress, OPTIONS};

/// Lets the defaults that nobody wrote over follow the options they depend on.
///
/// `settings` hold one setting for each option, in order; all of them can be read.
pub(super) fn give_way(settings: &mut [Setting]) {
    let mut follow_all = |name: &str, values: &dyn Fn(&Config) -> Vec<String>| {
        let config = options::assemble(settings);
        let at = OPTIONS.iter().position(|option| option.name == name).expect("an option");
        if settings[at].origin == Origin::Default {
            settings[at].texts = values(&config);
        }
    };
    let everywhere = |config: &Config| {
        ["0.0.0.0", "[::]"].map(|address| format!("{address}:{}", config.port)).to_vec()
    };
    follow_all("udp", &everywhere);
    follow_all("http", &everywhere);
    let mut follow = |name: &str, value: &dyn Fn(&Config) -> String| {
        follow_all(name, &|config| vec![value(config)]);
    };
    let seconds = |seconds| written(Duration::from_secs(seconds));
    follow("interval-min", &|config| seconds((config.interval.as_secs() / 2).max(300)));
    follow("interval-max", &|config| {
        seconds((config.interval.as_secs() * 4).min(INTERVAL_MAX.as_secs()))
    });
    follow("peer-timeout", &|config| {
        let stretch = config.interval_max.saturating_sub(config.interval);
        let room = PEER_TIMEOUT_MAX.saturating_sub(stretch);
        seconds((config.interval * 5 / 2).min(room).as_secs().max(2))
    });
    follow("screen-unknown", &|config| {
        if config.screen_allow_country.is_empty() { "allow" } else { "deny" }.to_owned()
    });
    let preset = |value: fn(Preset) -> String, other: &str| {
        let other = other.to_owned();
        move |config: &Config| config.screen_dns.map_or(other.clone(), value)
    };
    follow("screen-dns-zone", &preset(|preset| preset.zone_v4().to_owned(), "none"));
    let zone_v6 = |preset: Preset| preset.zone_v6().unwrap_or("none").to_owned();
    follow("screen-dns-zone-v6", &preset(zone_v6, "none"));
    let record = |preset: Preset| RecordKind::WORDS[preset.record() as usize].to_owned();
    follow("screen-dns-record", &preset(record, "txt"));
    follow("screen-dns-field", &preset(|preset| preset.field().to_string(), "1"));
    follow("listed", &|config| config.allow_list.is_some().to_string());
    follow("numwant-default", &|config| config.numwant_max.min(50).to_string());
}

/// All pairs of options that exclude each other.
pub(super) fn conflicts(config: &Config) -> Vec<Conflict> {
    let mut found = Vec::new();
    intervals(config, &mut found);
    addresses(config, &mut found);
    let Config { numwant_default, numwant_max, .. } = config;
    if numwant_default > numwant_max {
        found.push(Conflict::new(
            &["numwant-default", "numwant-max"],
            format!("numwant-default ({numwant_default}) is above numwant-max ({numwant_max})"),
        ));
    }
    if config.connection_id_key.is_some() && config.connection_id_key_file.is_some() {
        found.push(Conflict::new(
            &["connection-id-key-file", "connection-id-key"],
            "connection-id-key and connection-id-key-file both give the key; leave one out"
                .to_owned(),
        ));
    }
    if config.ip_parameter && config.trusted_network.is_empty() {
        found.push(Conflict::new(
            &["ip-parameter", "trusted-network"],
            "ip-parameter needs a trusted-network; nobody's word is taken without one".to_owned(),
        ));
    }
    proxies(config, &mut found);
    if config.allow_list.is_some() && !config.listed {
        found.push(Conflict::new(
            &["listed", "allow-list"],
            "an allow-list has only what it and the API name served; leave listed = false out, or the allow-list"
                .to_owned(),
        ));
    }
    if let Err(error) = config.tls_files() {
        found.push(Conflict::new(&["https", "tls-certificate", "tls-key"], error.to_string()));
    }
    found.extend(config.screening_mistakes().map(|(names, text)| Conflict::new(names, text)));
    found.extend(config.flood_mistakes().map(|(names, text)| Conflict::new(names, text)));
    private(config, &mut found);
    open(config, &mut found);
    let (header, request) = (config.http_header_timeout, config.http_request_timeout);
    if header > request {
        found.push(Conflict::new(
            &["http-header-timeout", "http-request-timeout"],
            format!(
                "http-header-timeout ({}) is longer than http-request-timeout ({}), of which it is \
                 a part",
                written(header),
                written(request)
            ),
        ));
    }
    found
}

/// Finds the PROXY protocol where nobody listens, and where nobody is believed.
fn proxies(config: &Config, found: &mut Vec<Conflict>) {
    let of_udp_and_https = || config.udp.iter().chain(&config.https);
    let unknown = |address: &&HttpAddress| {
        let is_at = address.at().is_some_and(|at| of_udp_and_https().any(|other| *other == at));
        !is_at && !config.http.contains(address)
    };
    for address in config.proxy_protocol.iter().filter(unknown) {
        found.push(Conflict::new(
            &["proxy-protocol", "udp", "http", "https"],
            format!("proxy-protocol {address} is no address of udp, http or https; write it as it stands there"),
        ));
    }
    let is_over_unix = |address: &HttpAddress| address.at().is_none();
    if !config.proxy_protocol.iter().all(is_over_unix) && config.trusted_proxy.is_empty() {
        found.push(Conflict::new(
            &["proxy-protocol", "trusted-proxy"],
            "proxy-protocol needs a trusted-proxy; nobody's word is taken without one".to_owned(),
        ));
    }
}

fn private(config: &Config, found: &mut Vec<Conflict>) {
    if config.private && config.database.is_none() {
        found.push(Conflict::new(
            &["private", "database"],
            "private needs a database with users and torrents; give it as MARGAY_DATABASE"
                .to_owned(),
        ));
    }
    if config.ocelot_site_password.is_some() && config.ocelot_site_password_file.is_some() {
        found.push(Conflict::new(
            &["ocelot-site-password-file", "ocelot-site-password"],
            "ocelot-site-password and ocelot-site-password-file both give the password; leave one out"
                .to_owned(),
        ));
    }
    if config.ocelot_report_password.is_some() && config.ocelot_report_password_file.is_some() {
        found.push(Conflict::new(
            &["ocelot-report-password-file", "ocelot-report-password"],
            "ocelot-report-password and ocelot-report-password-file both give the password; leave one \
             out"
            .to_owned(),
        ));
    }
    if config.ocelot_site_url.is_some()
        && config.ocelot_site_password.is_none()
        && config.ocelot_site_password_file.is_none()
    {
        found.push(Conflict::new(
            &["ocelot-site-url", "ocelot-site-password"],
            "ocelot-site-url needs ocelot-site-password, by which the site knows the tracker"
                .to_owned(),
        ));
    }
    if config.private && (config.allow_list.is_some() || config.deny_list.is_some()) {
        found.push(Conflict::new(
            &["allow-list", "deny-list", "private"],
            "a private tracker serves registered torrents; leave allow-list and deny-list out"
                .to_owned(),
        ));
    }
}

/// Finds options that say that a private tracker is meant, of one that would serve everybody.
fn open(config: &Config, found: &mut Vec<Conflict>) {
    if config.private {
        return;
    }
    let given = [
        ("database", config.database.is_some()),
        ("database-password-file", config.database_password_file.is_some()),
        ("ocelot-site-password", config.ocelot_site_password.is_some()),
        ("ocelot-site-password-file", config.ocelot_site_password_file.is_some()),
        ("ocelot-report-password", config.ocelot_report_password.is_some()),
        ("ocelot-report-password-file", config.ocelot_report_password_file.is_some()),
        ("ocelot-site-url", config.ocelot_site_url.is_some()),
    ];
    for (name, _) in given.into_iter().filter(|(_, given)| *given) {
        let between = match OPTIONS.iter().find(|option| option.name == name) {
            Some(option) => std::slice::from_ref(&option.name),
            None => continue,
        };
        found.push(Conflict::new(
            between,
            format!(
                "{name} is of a private tracker, and without private this one serves everybody; add \
                 private, or leave {name} out"
            ),
        ));
    }
}

/// Finds what was written and does nothing as things are, or more than was meant.
pub(super) fn idle(config: &Config, settings: &[Setting]) -> Vec<String> {
    let mut found = Vec::new();
    let written = |name: &str| options::written_at(settings, name);
    let mut say = |name: &str, why: &str| found.extend(options::word(settings, name, why));
    if !config.private {
        let of_private = |option: &&Declared| OF_PRIVATE.contains(&option.section);
        for option in OPTIONS.iter().filter(of_private) {
            // The API of an open tracker is audited, too.
            if ["private", "audit-keep"].contains(&option.name) {
                continue;
            }
            say(option.name, "does nothing on an open tracker");
        }
        if !config.ip_parameter {
            say("trusted-network", "does nothing on an open tracker without ip-parameter");
        }
    } else {
        for name in
            ["full-scrape", "full-scrape-interval", "torrent-retention", "ip-parameter", "listed"]
        {
            say(name, "does nothing on a private tracker");
        }
    }
    if config.screen_deny_country.is_empty() && config.screen_allow_country.is_empty() {
        for name in ["screen-database", "screen-unknown", "screen-dns"] {
            say(name, "does nothing without screen-deny-country or screen-allow-country");
        }
    }
    if config.lookups().is_none() {
        for name in ["screen-dns-server", "screen-dns-rate", "screen-dns-networks"] {
            say(name, "does nothing without screen-dns or a zone");
        }
    }
    if config.rate_requests.is_none() && config.rate_connections.is_none() {
        for name in ["rate-network-v4", "rate-network-v6", "rate-exempt"] {
            say(name, "does nothing without rate-requests or rate-connections");
        }
    }
    if !config.full_scrape {
        say("full-scrape-interval", "does nothing without full-scrape");
    }
    if config.snapshot_interval.is_none() {
        say(
            "snapshots-kept",
            "counts for snapshots on demand and at a stop alone: snapshot-interval is off",
        );
    }
    if config.https.is_empty() && config.control_https.is_none() {
        for name in ["tls-certificate", "tls-key"] {
            say(name, "does nothing without https or control-https");
        }
    }
    let has_http = !config.http.is_empty() || !config.https.is_empty();
    let reads_headers = config.forwarded_header != ForwardedHeader::None && has_http;
    if !config.trusted_proxy.is_empty() && config.proxy_protocol.is_empty() && !reads_headers {
        say("trusted-proxy", "does nothing without proxy-protocol or a forwarded-header over HTTP");
    }
    let has_unix = config.http.iter().any(|address| address.at().is_none());
    if config.trusted_proxy.is_empty() && !has_unix {
        say("forwarded-header", "does nothing without trusted-proxy or a Unix socket");
    }
    if !has_unix {
        say("http-unix-mode", "does nothing without a Unix socket in http");
    }
    if !config.http_keep_alive || config.http.is_empty() && config.https.is_empty() {
        say("http-idle-timeout", "does nothing without connections that are kept alive");
    }
    if written("udp").is_some() && written("http").is_some() {
        say("port", "does nothing: udp and http are given");
    }
    if config.fresh && written("fresh").is_some_and(|place| place != "--fresh") {
        say("fresh", "forgets all swarms at every start; give --fresh once instead");
    }
    if config.control.is_some_and(|control| !control.ip().is_loopback()) {
        say(
            "control",
            "lets others than this machine ask: what is asked there, tokens of the API as well, goes over \
             the network as it is; keep it to a network that nobody else is on",
        );
    }
    found
}

/// The sections of options that an open tracker has no use for.
const OF_PRIVATE: [&str; 3] = ["Private tracker", "Suspicions", "Ocelot interface"];

fn intervals(config: &Config, found: &mut Vec<Conflict>) {
    let &Config { interval, interval_min, interval_max, peer_timeout, .. } = config;
    if interval_min > interval {
        found.push(Conflict::new(
            &["interval-min", "interval"],
            format!(
                "interval-min ({}) is longer than interval ({})",
                written(interval_min),
                written(interval)
            ),
        ));
    }
    if interval_max < interval {
        found.push(Conflict::new(
            &["interval-max", "interval"],
            format!(
                "interval-max ({}) is shorter than interval ({})",
                written(interval_max),
                written(interval)
            ),
        ));
    }
    let longest = interval.mul_f64(1.0 + config.interval_jitter);
    if peer_timeout <= longest {
        found.push(Conflict::new(
            &["peer-timeout", "interval", "interval-jitter"],
            format!(
                "peer-timeout ({}) is not longer than interval with its jitter ({}): peers would \
                 leave before they announce again",
                written(peer_timeout),
                written(longest)
            ),
        ));
    }
    if config.peer_timeout_at(interval_max) > PEER_TIMEOUT_MAX {
        found.push(Conflict::new(
            &["peer-timeout", "interval-max"],
            format!(
                "peer-timeout ({}) and the stretch from interval to interval-max ({}) are more \
                 than 24h together",
                written(peer_timeout),
                written(interval_max - interval)
            ),
        ));
    }
}

fn addresses(config: &Config, found: &mut Vec<Conflict>) {
    let Config { udp, http, control, metrics, .. } = config;
    let mut unix: Vec<_> = http.iter().filter(|address| address.at().is_none()).collect();
    let count = unix.len();
    unix.sort_unstable();
    unix.dedup();
    if unix.len() < count {
        found.push(Conflict::new(&["http"], "http names a Unix socket twice".to_owned()));
    }
    if udp.is_empty() && http.is_empty() {
        found.push(Conflict::new(
            &["udp", "http"],
            "udp and http are both `none`; there is nothing to answer on".to_owned(),
        ));
    }
    let http = &http.iter().filter_map(HttpAddress::at).collect::<Vec<_>>();
    for (between, addresses) in [(&["udp"], udp), (&["http"], http)] {
        for (count, address) in addresses.iter().enumerate() {
            if addresses[..count].iter().any(|other| overlap(other, address)) {
                found.push(Conflict::new(
                    between,
                    format!(
                        "{} {address} is already taken by another of its addresses",
                        between[0]
                    ),
                ));
            }
        }
    }
    for (between, wanted) in
        [(&["control", "http", "port"], control), (&["metrics", "http", "port"], metrics)]
    {
        if let Some(wanted) = wanted
            && let Some(address) = http.iter().find(|address| overlap(address, wanted))
        {
            let name = between[0];
            found.push(Conflict::new(
                between,
                format!("{name} ({wanted}) and http ({address}) want the same port"),
            ));
        }
    }
    if let (Some(control), Some(metrics)) = (control, metrics)
        && overlap(control, metrics)
    {
        found.push(Conflict::new(
            &["metrics", "control"],
            format!("metrics ({metrics}) and control ({control}) want the same port"),
        ));
    }
}

/// As long as the engine can tell how long a peer has been silent.
const PEER_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// The greatest value of `interval-max`.
const INTERVAL_MAX: Duration = Duration::from_secs(12 * 3600);

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::*;

    /// Loads flags written `name=value …`; the mistakes, one a line.
    fn check(flags: &str, mistakes: &str) {
        let flags = flags.split_whitespace().map(|flag| {
            let (name, value) = flag.split_once('=').unwrap();
            let option = OPTIONS.iter().find(|option| option.name == name).unwrap();
            (option, vec![value.to_owned()])
        });
        let found = match load(flags.collect(), &Vec::new()) {
            Ok(_) => String::new(),
            Err(error) => {
                let lines: Vec<String> = error.mistakes.iter().map(ToString::to_string).collect();
                lines.join("\n")
            }
        };
        assert_eq!(found, mistakes);
    }

    /// Checks what is said of flags that are no mistake, one a line.
    fn check_idle(flags: &str, said: &str) {
        let flags = flags.split_whitespace().map(|flag| {
            let (name, value) = flag.split_once('=').unwrap();
            let option = OPTIONS.iter().find(|option| option.name == name).unwrap();
            (option, vec![value.to_owned()])
        });
        let loaded = load(flags.collect(), &Vec::new()).unwrap();
        assert_eq!(loaded.warnings.join("\n"), said);
    }

    #[test]
    fn what_means_a_private_tracker_is_no_open_one() {
        check(
            "database=postgres://margay@localhost/margay",
            "--database: database is of a private tracker, and without private this one serves everybody; \
             add private, or leave database out",
        );
        check(
            "ocelot-report-password=0123456789",
            "--ocelot-report-password: ocelot-report-password is of a private tracker, and without private \
             this one serves everybody; add private, or leave ocelot-report-password out",
        );
    }

    #[test]
    fn what_does_nothing_is_said() {
        check_idle("", "");
        check_idle("interval-enforce=50%", "--interval-enforce does nothing on an open tracker");
        check_idle(
            "suspect-networks=4 trusted-network=10.0.0.0/8",
            "--suspect-networks does nothing on an open tracker\n--trusted-network does nothing on an open \
             tracker without ip-parameter",
        );
        check_idle("trusted-network=10.0.0.0/8 ip-parameter=true", "");
        let private = "private=true database=postgres://margay@localhost/margay";
        check_idle(&format!("{private} interval-enforce=50% suspect-networks=4"), "");
        check_idle(
            &format!("{private} torrent-retention=3h"),
            "--torrent-retention does nothing on a private tracker",
        );
        check_idle(
            "full-scrape-interval=1m",
            "--full-scrape-interval does nothing without full-scrape",
        );
        check_idle("fresh=true", "");
        check_idle("port=7000 udp=none", "");
        check_idle(
            "port=7000 udp=none http=127.0.0.1:7001",
            "--port does nothing: udp and http are given",
        );
    }

    #[test]
    fn a_port_is_that_of_all_addresses_that_are_not_given() {
        let option = |name: &str| OPTIONS.iter().find(|option| option.name == name).unwrap();
        let flags = vec![(option("port"), vec!["7000".to_owned()])];
        let Config { udp, http, .. } = load(flags.clone(), &Vec::new()).unwrap().config;
        let everywhere = ["0.0.0.0:7000", "[::]:7000"].map(|text| text.parse().unwrap());
        let http: Vec<_> = http.iter().filter_map(HttpAddress::at).collect();
        assert_eq!((&udp[..], &http[..]), (&everywhere[..], &everywhere[..]));
        let more = [&flags[..], &[(option("udp"), vec!["127.0.0.1:1".to_owned()])]].concat();
        let Config { udp, http, .. } = load(more, &Vec::new()).unwrap().config;
        let http: Vec<_> = http.iter().filter_map(HttpAddress::at).collect();
        assert_eq!((udp, &http[..]), (vec!["127.0.0.1:1".parse().unwrap()], &everywhere[..]));
        check(
            "port=6980",
            "--port: control (127.0.0.1:6980) and http (0.0.0.0:6980) want the same port",
        );
    }

    #[test]
    fn a_proxy_is_believed_where_it_is_named() {
        check("trusted-proxy=10.0.0.1/32", "");
        check("trusted-proxy=10.0.0.1/32 proxy-protocol=0.0.0.0:6969", "");
        check(
            "proxy-protocol=0.0.0.0:6969",
            "--proxy-protocol: proxy-protocol needs a trusted-proxy; nobody's word is taken without one",
        );
        check(
            "trusted-proxy=10.0.0.1/32 proxy-protocol=127.0.0.1:6969,[::]:6969",
            "--proxy-protocol: proxy-protocol 127.0.0.1:6969 is no address of udp, http or https; write it as it \
             stands there",
        );
        check_idle(
            "forwarded-header=forwarded",
            "--forwarded-header does nothing without trusted-proxy or a Unix socket",
        );
        check_idle("forwarded-header=forwarded http=unix:/a http-unix-mode=0600", "");
        check_idle(
            "http-unix-mode=0600",
            "--http-unix-mode does nothing without a Unix socket in http",
        );
        check("http=unix:/a proxy-protocol=unix:/a", "");
        check("http=unix:/a,unix:/a", "--http: http names a Unix socket twice");
        check(
            "proxy-protocol=unix:/a",
            "--proxy-protocol: proxy-protocol unix:/a is no address of udp, http or https; write it as it stands there",
        );
        check_idle("trusted-proxy=10.0.0.1/32 forwarded-header=forwarded", "");
        let silent = "trusted-proxy=10.0.0.1/32 forwarded-header=none";
        check_idle(
            silent,
            "--trusted-proxy does nothing without proxy-protocol or a forwarded-header over HTTP",
        );
        check_idle(&format!("{silent} proxy-protocol=0.0.0.0:6969"), "");
    }

    fn config(interval: &str) -> Config {
        let option = OPTIONS.iter().find(|option| option.name == "interval").unwrap();
        load(vec![(option, vec![interval.to_owned()])], &Vec::new()).unwrap().config
    }

    #[test]
    fn the_defaults_follow_the_interval() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let short = config("10m");
        assert_eq!(short.interval_min, minutes(5));
        assert_eq!(short.interval_max, minutes(40));
        assert_eq!(short.peer_timeout, minutes(25));
        for interval in ["5m", "6m", "1h", "3h", "6h", "10h", "12h"] {
            let config = config(interval);
            assert!(config.peer_timeout_at(config.interval_max) <= PEER_TIMEOUT_MAX, "{interval}");
        }
    }

    #[test]
    fn declared_defaults_are_what_they_follow() {
        let config = Config::default();
        for (name, holds) in [
            ("interval-min", config.interval_min),
            ("interval-max", config.interval_max),
            ("peer-timeout", config.peer_timeout),
        ] {
            let option = OPTIONS.iter().find(|option| option.name == name).unwrap();
            assert_eq!(option.defaults, [written(holds).replace("1h15m", "75m")]);
        }
    }

    #[test]
    fn intervals_stand_in_order() {
        check(
            "interval=20m interval-min=30m",
            "--interval-min: interval-min (30m) is longer than interval (20m)",
        );
        check(
            "interval=20m interval-max=10m",
            "--interval-max: interval-max (10m) is shorter than interval (20m)",
        );
        check(
            "peer-timeout=33m",
            "--peer-timeout: peer-timeout (33m) is not longer than interval with its jitter (33m): \
             peers would leave before they announce again",
        );
        check("peer-timeout=34m", "");
    }

    #[test]
    fn a_timeout_stays_within_a_day_when_stretched() {
        check(
            "interval=1h interval-max=12h peer-timeout=14h",
            "--peer-timeout: peer-timeout (14h) and the stretch from interval to interval-max (11h) \
             are more than 24h together",
        );
    }

    #[test]
    fn a_port_is_bound_once() {
        check(
            "control=[::1]:6969",
            "--control: control ([::1]:6969) and http ([::]:6969) want the same port",
        );
        check("control=127.0.0.1:7000 http=127.0.0.2:7000", "");
        check(
            "metrics=[::1]:6969",
            "--metrics: metrics ([::1]:6969) and http ([::]:6969) want the same port",
        );
        check(
            "metrics=0.0.0.0:6980",
            "--metrics: metrics (0.0.0.0:6980) and control (127.0.0.1:6980) want the same port",
        );
        check(
            "udp=127.0.0.1:7,127.0.0.1:7",
            "--udp: udp 127.0.0.1:7 is already taken by another of its addresses",
        );
        check("udp=127.0.0.1:0,127.0.0.1:0", "");
        check(
            "udp=none http=none",
            "--udp: udp and http are both `none`; there is nothing to answer on",
        );
    }

    #[test]
    fn a_conflict_with_an_impossible_value_is_left_out() {
        check(
            "interval=never interval-min=30m",
            "--interval: \"never\" is not a duration such as 90s, 30m or 1h30m; a number alone is \
             seconds",
        );
    }
}
