//! What `ops::options` asks of the tracker: its words, and what its options mean for each other.

use ops::options::{Conflict, Declared, Options, Program, Range, Setting};

use super::{Config, check};

impl Options for Config {
    const PROGRAM: Program =
        Program { command: "margay", sample_head: SAMPLE_HEAD, reference_head: REFERENCE_HEAD };

    fn range(option: &Declared) -> Range {
        option.range.map(|(low, high)| (least(low), high))
    }

    /// Kubernetes tells containers of a service that is called `margay` where that is, as in
    /// `MARGAY_PORT=tcp://10.0.0.1:6969` ("Discovering services"). It is not what the operator said. Nor is it what
    /// was said to the publisher.
    fn is_foreign(variable: &str, text: &str) -> bool {
        let is_service = ["tcp://", "udp://", "sctp://"].iter().any(|kind| text.starts_with(kind));
        variable == "MARGAY_PORT" && is_service
            || ["MARGAY_PUBLISH_", "MARGAY_SEED_"].iter().any(|other| variable.starts_with(other))
    }

    fn give_way(settings: &mut [Setting]) {
        check::give_way(settings);
    }

    fn conflicts(&self) -> Vec<Conflict> {
        check::conflicts(self)
    }

    fn idle(&self, settings: &[Setting]) -> Vec<String> {
        check::idle(self, settings)
    }
}

/// The least value of a range. Tests of what follows an interval would wait for five minutes: builds with debug
/// assertions take one from a second on where `TEST_SHORT_INTERVALS` is set.
fn least(low: &'static str) -> &'static str {
    let is_short =
        cfg!(debug_assertions) && low == "5m" && std::env::var_os("TEST_SHORT_INTERVALS").is_some();
    if is_short { "1s" } else { low }
}

const SAMPLE_HEAD: &str = "\
# margay: a sample configuration with every option and its default.
#
# Take the mark away in front of what you change, and look at the file with `margay config check FILE`.
# A flag `--interval 20m` and a variable `MARGAY_INTERVAL=20m` go before `interval` here.
";

const REFERENCE_HEAD: &str = "\
# Options

Made from the declarations in `src/config.rs` by `margay config reference`.

Every option is a flag, an environment variable and a key of the TOML file that `--config` names. A flag
goes before the variable, the variable before the file, the file before the default. `margay config
print` writes a sample file, `margay config check FILE` explains every mistake in a file, and `margay
config show` says what holds and where it was said.
";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ops::options::Environment;

    use super::super::{OPTIONS, check_file, load, sample};
    use super::*;

    #[test]
    fn a_sample_without_its_marks_gives_the_defaults() {
        let keys: String = sample()
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(keys.lines().count(), OPTIONS.len() - 1, "every option but `config`");
        let path = std::env::temp_dir().join(format!("margay-sample-{}", std::process::id()));
        std::fs::write(&path, keys).unwrap();
        let loaded = check_file(&path, &Vec::new());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(loaded.unwrap().config, Config::default());
    }

    /// Values that are right for one option or another, wrong for the rest, or wrong for all.
    const TEXTS: [&str; 20] = [
        "",
        "none",
        "off",
        "all",
        "true",
        "0",
        "1",
        "50",
        "16k",
        "12h",
        "24h",
        "1s",
        "90%",
        "50%",
        "info",
        "json",
        "[::]:6969",
        "10.0.0.0/8",
        "1GiB",
        "é,",
    ];

    #[test]
    fn any_mixture_of_values_is_loaded_or_explained() {
        let mut random = fastrand::Rng::with_seed(11);
        let (mut loaded, mut explained) = (0, 0);
        for _ in 0..3_000 {
            let (mut flags, mut environment) = (Vec::new(), Environment::new());
            for _ in 0..random.usize(0..6) {
                let option = random.choice(OPTIONS).unwrap();
                let text = random.choice(TEXTS).unwrap();
                // Half of them the option's own bounds, to get past the reading.
                let own = option.range.filter(|_| random.bool());
                let text = own.map_or(text, |(low, high)| random.choice([low, high]).unwrap());
                match random.bool() {
                    true => flags.push((option, vec![text.to_owned()])),
                    false => environment.push((option.variable(), text.to_owned())),
                }
            }
            match load(flags, &environment) {
                Ok(_) => loaded += 1,
                Err(error) => {
                    assert!(!error.mistakes.is_empty());
                    explained += 1;
                }
            }
        }
        assert!(loaded > 100 && explained > 100, "{loaded} loaded, {explained} explained");
    }

    #[test]
    fn a_written_value_never_hides_behind_a_default_of_the_surroundings() {
        let environment: Environment = [("STATE_DIRECTORY", ":"), ("MARGAY_DATA", "kept")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let config = load(Vec::new(), &environment).unwrap().config;
        assert_eq!(config.data, Path::new("kept"));
        let config = load(Vec::new(), &environment[..1].to_vec()).unwrap().config;
        assert_eq!(config.data, Path::new("./margay-data"), "an empty state directory is none");
    }
}
