//! A table as a program declares it, and what follows from its form.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::options;

options! {
    /// Some options of a tracker.
    pub(super) struct Tracker, "TRACKER_";

    ["Start"]

    /// The file.
    @NotInFile
    config: Option<PathBuf> = "none";

    /// Cores.
    cores: Option<usize> = "all" in "1" ..= "1024";

    /// Folder.
    data: PathBuf = "./data" or "STATE_DIRECTORY";

    /// A switch.
    fresh: bool = "false";

    ["Addresses" ..addresses: Addresses]

    /// An address, or none.
    control: Option<SocketAddr> = "127.0.0.1:1";

    ["Announces"]

    /// A duration.
    interval: Duration = "30m" in "5m" ..= "12h";

    /// Another one.
    interval_min: Duration = "15m" in "5m" ..= "12h";

    /// A share.
    load_target: f64 = "70%" in "5%" ..= "100%";

    /// A number.
    numwant_max: u16 = "50" in "1" ..= "1000";
}

options! {
    /// What two tables share.
    pub(super) struct Addresses;

    /// Addresses.
    udp: Vec<SocketAddr> = "127.0.0.1:2";

    /// Addresses too.
    http: Vec<SocketAddr> = "127.0.0.1:3";
}

options! {
    struct Other, "OTHER_";

    ["All" ..addresses: Addresses]
}

impl Options for Tracker {
    const PROGRAM: Program =
        Program { command: "margay", sample_head: "# Sample.\n", reference_head: "# Options\n" };

    fn conflicts(&self) -> Vec<Conflict> {
        match self.interval_min > self.interval {
            true => vec![Conflict::new(&["interval-min", "interval"], "the wrong way round")],
            false => Vec::new(),
        }
    }
}

impl Options for Other {
    const PROGRAM: Program =
        Program { command: "other", sample_head: "# Other.\n", reference_head: "# Other\n" };
}

#[test]
fn a_group_stands_where_a_table_has_it() {
    let of = |table: &[Declared]| -> Vec<String> {
        table.iter().map(|option| format!("{} {}", option.section, option.variable())).collect()
    };
    assert_eq!(of(Other::TABLE), ["All OTHER_UDP", "All OTHER_HTTP"]);
    assert_eq!(
        of(Tracker::TABLE)[4..7],
        ["Addresses TRACKER_UDP", "Addresses TRACKER_HTTP", "Addresses TRACKER_CONTROL"]
    );
    let environment =
        [("TRACKER_UDP", "[::1]:7"), ("OTHER_UDP", "[::1]:8"), ("TRACKER_CORES", "3")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
    let tracker = load::<Tracker>(Vec::new(), &environment).unwrap().config;
    assert_eq!((tracker.addresses.udp, tracker.cores), (vec!["[::1]:7".parse().unwrap()], Some(3)));
    assert_eq!(tracker.control, Some("127.0.0.1:1".parse().unwrap()));
    let other = load::<Other>(Vec::new(), &environment).unwrap().config;
    assert_eq!(other.addresses.udp, ["[::1]:8".parse().unwrap()]);
    assert_eq!(other.addresses.http, ["127.0.0.1:3".parse().unwrap()]);
}

#[test]
fn a_variable_close_to_an_option_is_named() {
    let environment = vec![("OTHER_HTP".to_owned(), "x".to_owned())];
    let loaded = load::<Other>(Vec::new(), &environment).unwrap();
    assert_eq!(loaded.warnings, ["OTHER_HTP is no option; did you mean OTHER_HTTP?"]);
}

#[test]
fn pages_are_those_of_the_table() {
    let page = sample::<Other>();
    let expected = "# Other.\n\n\n# --- All ---\n\n# Addresses.\n#udp = [\"127.0.0.1:2\"]\n\n\
                    # Addresses too.\n#http = [\"127.0.0.1:3\"]\n";
    assert_eq!(page, expected);
    let page = reference::<Other>();
    assert!(
        page.starts_with("# Other\n\n## All\n\n### udp\n\nAddresses.\n\n- Flag: `--udp ADDR`"),
        "{page}"
    );
    assert!(page.contains("- Environment: `OTHER_HTTP`\n"), "{page}");
}

#[test]
fn a_conflict_stands_where_somebody_wrote_it() {
    let flags = vec![(option::<Tracker>("interval").unwrap(), vec!["10m".to_owned()])];
    let error = load::<Tracker>(flags, &Vec::new()).unwrap_err();
    assert_eq!(error.mistakes[0].to_string(), "--interval: the wrong way round");
}
