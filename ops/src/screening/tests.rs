//! Rules as a whole: lists, databases and what a table makes of them, beside a naive look through all of them.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tempfile::TempDir;

use super::database;
use super::written::{Form, database};
use super::*;

/// Rules whose files are in a folder of their own.
struct Rules {
    folder: TempDir,
    sources: Sources,
}

impl Rules {
    fn new() -> Self {
        let sources = Sources {
            deny_countries: Vec::new(),
            allow_countries: Vec::new(),
            deny_lists: Vec::new(),
            allow_lists: Vec::new(),
            databases: Vec::new(),
            unknown: Verdict::Allow,
            has_lookups: false,
        };
        Self { folder: tempfile::tempdir().unwrap(), sources }
    }

    fn file(&self, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(fastrand::u64(..).to_string());
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn deny(mut self, networks: &str) -> Self {
        let path = self.file(networks.replace(' ', "\n"));
        self.sources.deny_lists.push(path);
        self
    }

    fn allow(mut self, networks: &str) -> Self {
        let path = self.file(networks.replace(' ', "\n"));
        self.sources.allow_lists.push(path);
        self
    }

    fn deny_countries(mut self, countries: &[&str]) -> Self {
        self.sources.deny_countries =
            countries.iter().map(|country| Country::parse(country).unwrap()).collect();
        self
    }

    fn allow_countries(mut self, countries: &[&str]) -> Self {
        self.sources.allow_countries =
            countries.iter().map(|country| Country::parse(country).unwrap()).collect();
        self
    }

    fn unknown(mut self, unknown: Verdict) -> Self {
        self.sources.unknown = unknown;
        self
    }

    fn database(mut self, form: Form, networks: &[(&str, &str)]) -> Self {
        let networks: Vec<_> = networks
            .iter()
            .map(|(network, country)| (network.parse().unwrap(), *country))
            .collect();
        let path = self.file(database(form, &networks));
        self.sources.databases.push(path);
        self
    }

    fn judge(&self, address: &str) -> Judgement {
        let address = address.parse().unwrap();
        let [bare, explained] = [false, true]
            .map(|is_explained| self.sources.read(is_explained).unwrap().table.judge(address));
        assert_eq!(bare.verdict, explained.verdict, "{address}");
        assert!(bare.verdict == Verdict::Allow || bare == explained, "{address}");
        explained
    }

    /// The verdict of each address: `+` served, `-` refused, `?` deferred.
    fn verdicts(&self, addresses: &[&str]) -> String {
        let verdict = |address: &&str| match self.judge(address).verdict {
            Verdict::Allow => '+',
            Verdict::Deny => '-',
            Verdict::Defer => '?',
        };
        addresses.iter().map(verdict).collect()
    }
}

const WORLD: [(&str, &str); 6] = [
    ("1.0.0.0/8", "US"),
    ("1.2.0.0/16", "CU"),
    ("5.0.0.0/8", "DE"),
    ("2a00::/16", "DE"),
    ("2a00:1::/32", "CU"),
    ("2a00:1:2:3:4::/80", "US"),
];

#[test]
fn the_longest_network_counts_and_goes_before_the_country() {
    let rules = Rules::new()
        .deny("10.0.0.0/8 10.1.2.0/24 2001:db8::/32 5.0.0.0/8 9.9.9.9")
        .allow("10.1.0.0/16 2001:db8:1::/48 1.2.3.4 9.9.9.9")
        .deny_countries(&["CU"])
        .database(Form::default(), &WORLD);
    let asked = ["10.0.0.1", "10.1.0.1", "10.1.2.3", "2001:db8::1", "2001:db8:1::1", "192.168.0.1"];
    assert_eq!(rules.verdicts(&asked), "-+--++");
    // The networks of a list, a country, one that a list excepts, one that both lists name, and nobody's.
    let asked = ["5.1.1.1", "1.2.0.1", "1.2.3.4", "9.9.9.9", "77.1.1.1", "1.1.1.1"];
    assert_eq!(rules.verdicts(&asked), "--+-++");
    let cuba = rules.judge("1.2.0.1");
    assert_eq!((cuba.rule, cuba.country), (Rule::Country, Country::parse("CU")));
    assert_eq!(rules.judge("5.1.1.1").rule, Rule::Network);
    assert_eq!(rules.judge("77.1.1.1").rule, Rule::Unknown);
    let read = rules.sources.read(true).unwrap();
    let named = |address: &str| read.network_of(address.parse().unwrap());
    assert_eq!(named("10.1.2.3").unwrap().network.to_string(), "10.1.2.0/24");
    assert!(!named("9.9.9.9").unwrap().is_allowed && named("77.1.1.1").is_none());
}

#[test]
fn who_names_countries_to_serve_serves_no_others() {
    for (unknown, expected) in
        [(Verdict::Allow, "+--+-++"), (Verdict::Deny, "+-----+"), (Verdict::Defer, "+--?-?+")]
    {
        let rules = Rules::new()
            .allow_countries(&["us"])
            .unknown(unknown)
            .database(Form::default(), &WORLD);
        let asked = ["1.1.1.1", "1.2.0.1", "5.0.0.1", "77.1.1.1", "2a00::1", "2b00::1", "10.0.0.1"];
        assert_eq!(rules.verdicts(&asked), expected, "{unknown:?}");
    }
}

#[test]
fn an_address_is_judged_as_what_it_stands_for() {
    for has_aliases in [true, false] {
        let form = Form { has_aliases, ..Form::default() };
        let rules = Rules::new()
            .deny("8.8.0.0/16 2002:0800::/24")
            .allow("::/0")
            .deny_countries(&["CU"])
            .unknown(Verdict::Deny)
            .database(form, &WORLD);
        let asked = [
            // The one in question mapped, by 6to4, by NAT64, as client and as server of Teredo; and another one.
            "::ffff:1.2.0.1",
            "2002:102:1::1",
            "64:ff9b::1.2.0.1",
            "2001:0:101:101::fefd:fffe",
            "2001:0:102:1::fefe:fefe",
            "::ffff:1.1.1.1",
            "2002:101:101::1",
            "64:ff9b::1.1.1.1",
            "2001:0:101:101::fefe:fefe",
            // A network that is refused, and a network in this form.
            "::ffff:8.8.8.8",
            "2002:808:808::1",
            "2002:0801::1",
            // What a list says of everybody is not said of them.
            "2002:7777:1::1",
            "2b00::1",
        ];
        assert_eq!(rules.verdicts(&asked), "-----++++----+", "aliases {has_aliases}");
    }
}

#[test]
fn files_of_every_form_say_the_same() {
    for ip_version in [4, 6] {
        for record_bits in [24, 28, 32] {
            for is_flat in [false, true] {
                let form = Form { ip_version, record_bits, is_flat, ..Form::default() };
                let world: Vec<_> = WORLD
                    .into_iter()
                    .filter(|(network, _)| ip_version == 6 || !network.contains(':'))
                    .collect();
                let rules = Rules::new()
                    .deny_countries(&["CU"])
                    .unknown(Verdict::Defer)
                    .database(form, &world);
                let asked = ["1.1.1.1", "1.2.0.1", "5.0.0.1", "77.1.1.1", "127.0.0.1", "::1"];
                assert_eq!(rules.verdicts(&asked), "+-+?++", "{form:?}");
                let asked = ["2a00::1", "2a00:1::1", "2a00:1:2:3:4::1", "2a00:1:2:3:5::1", "::2"];
                // A file of IPv4 knows nothing of IPv6.
                let expected = if ip_version == 6 { "+-+-?" } else { "?????" };
                assert_eq!(rules.verdicts(&asked), expected, "{form:?}");
            }
        }
    }
}

#[test]
fn a_file_without_ipv4_knows_nothing_of_it_and_the_next_one_does() {
    let world_v6 = [("2a00:1::/32", "CU")];
    let rules = Rules::new()
        .deny_countries(&["CU"])
        .unknown(Verdict::Defer)
        .database(Form { has_aliases: false, ..Form::default() }, &world_v6);
    assert_eq!(rules.verdicts(&["1.2.0.1", "2a00:1::1", "2a00:2::1"]), "?-?");
    let rules = rules
        .database(Form { ip_version: 4, ..Form::default() }, &WORLD[..3])
        .database(Form::default(), &[("1.2.0.0/16", "US"), ("2a00:2::/32", "US")]);
    assert_eq!(rules.verdicts(&["1.2.0.1", "2a00:1::1", "2a00:2::1", "2a00:3::1"]), "--+?");
}

#[test]
fn who_does_not_know_says_zz() {
    let world = [("1.0.0.0/8", "ZZ"), ("5.0.0.0/8", "-"), ("6.0.0.0/8", "CU")];
    let rules = Rules::new()
        .deny_countries(&["CU", "ZZ"])
        .unknown(Verdict::Defer)
        .database(Form { is_flat: true, ..Form::default() }, &world);
    assert_eq!(rules.verdicts(&["1.0.0.1", "5.0.0.1", "6.0.0.1"]), "??-");
}

#[test]
fn a_database_that_is_none_is_refused() {
    let read = |bytes: Vec<u8>| database::countries(bytes).map(|countries| countries.v4.len());
    let good = database(
        Form::default(),
        &WORLD.map(|(network, country)| (network.parse().unwrap(), country)),
    );
    assert!(read(good.clone()).is_ok());
    assert!(read(Vec::new()).is_err() && read(vec![0; 5000]).is_err());
    let nobody = database(Form::default(), &[("1.0.0.0/8".parse().unwrap(), "ZZ")]);
    assert!(matches!(read(nobody), Err(DatabaseError::NoCountry { .. })));
    // Cut off and damaged anywhere: refused, or read as what it still says, and no panic.
    for len in 0..good.len() {
        assert!(read(good[..len].to_vec()).is_err(), "{len} of {} bytes", good.len());
        for bit in [0x01, 0x80] {
            let mut damaged = good.clone();
            damaged[len] ^= bit;
            let _ = read(damaged);
        }
    }
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..500 {
        let mut damaged = good.clone();
        for _ in 0..random.usize(1..20) {
            let at = random.usize(..good.len());
            damaged[at] = random.u8(..);
        }
        let _ = read(damaged);
    }
    let rules = Rules::new().deny_countries(&["CU"]);
    let path = rules.file("no database");
    let error = Sources { databases: vec![path.clone()], ..rules.sources }.read(false).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

#[test]
fn a_changed_file_is_seen() {
    let rules = Rules::new().deny("10.0.0.0/8");
    let read = rules.sources.read(false).unwrap();
    assert!(read.changed().is_none());
    std::fs::write(&rules.sources.deny_lists[0], "10.0.0.0/8\n11.0.0.0/8\n").unwrap();
    assert!(read.changed().is_some());
    let sizes = rules.sources.read(false).unwrap().sizes;
    assert_eq!((sizes.denied_networks, sizes.allowed_networks), (2, 0));
}

/// The same by looking through everything, rule by rule.
fn naive(
    lists: &[(IpNet, bool)],
    countries: &[(IpNet, &str)],
    denied: &[&str],
    address: IpAddr,
) -> Verdict {
    let longest = |networks: &mut dyn Iterator<Item = (IpNet, bool)>| {
        networks
            .filter(|(network, _)| network.contains(&address))
            .max_by_key(|(network, is_allowed)| (network.prefix_len(), !is_allowed))
    };
    if let Some((_, is_allowed)) = longest(&mut lists.iter().copied()) {
        return if is_allowed { Verdict::Allow } else { Verdict::Deny };
    }
    let country = countries
        .iter()
        .filter(|(network, _)| network.contains(&address))
        .max_by_key(|(network, _)| network.prefix_len());
    match country {
        None => Verdict::Defer,
        Some((_, country)) if denied.contains(country) => Verdict::Deny,
        Some(_) => Verdict::Allow,
    }
}

#[test]
fn a_table_says_what_a_naive_look_says() {
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..150 {
        // Few different addresses, so that networks lie in each other; in some rounds with long prefixes alone.
        let address = |random: &mut fastrand::Rng| -> IpAddr {
            match random.bool() {
                true => {
                    let bits = 0x5000_0000 | random.u32(..) & 0x0103_0307;
                    std::net::Ipv4Addr::from(bits).into()
                }
                false => {
                    let bits = 0x2a01_u128 << 112
                        | random.u128(..)
                            & (0x0103 << 96
                                | 0x3_0000_0000_0000_0000_0000_0000 >> 32
                                | 0x8000_0000_0000_0003);
                    std::net::Ipv6Addr::from(bits).into()
                }
            }
        };
        let network = |random: &mut fastrand::Rng| -> IpNet {
            match address(random) {
                IpAddr::V4(address) => {
                    let len = random.u8(if round % 3 == 0 { 24..=32 } else { 4..=32 });
                    Ipv4Net::new(address, len).unwrap().trunc().into()
                }
                IpAddr::V6(address) => {
                    let len = random.u8(if round % 3 == 0 { 62..=128 } else { 16..=128 });
                    Ipv6Net::new(address, len).unwrap().trunc().into()
                }
            }
        };
        let mut lists: Vec<(IpNet, bool)> =
            (0..random.usize(0..60)).map(|_| (network(&mut random), random.bool())).collect();
        lists.sort_by_key(|(_, is_allowed)| *is_allowed);
        let mut countries: Vec<(IpNet, &str)> = (0..random.usize(1..60))
            .map(|_| (network(&mut random), *random.choice(&["US", "CU", "DE"]).unwrap()))
            .collect();
        countries.sort_by_key(|(network, _)| *network);
        countries.dedup_by_key(|(network, _)| *network);
        let rules = |is_allowed: bool| {
            let names = lists.iter().filter(|(_, allowed)| *allowed == is_allowed);
            names.map(|(network, _)| network.to_string()).collect::<Vec<_>>().join(" ")
        };
        let mut rules = Rules::new()
            .deny(&rules(false))
            .allow(&rules(true))
            .deny_countries(&["CU", "DE"])
            .unknown(Verdict::Defer);
        let path = rules.file(database(Form::default(), &countries));
        rules.sources.databases.push(path);
        let table = rules.sources.read(false).unwrap().table;
        for _ in 0..500 {
            let address = address(&mut random);
            let expected = naive(&lists, &countries, &["CU", "DE"], address);
            assert_eq!(table.judge(address).verdict, expected, "{address} in round {round}");
        }
    }
}
