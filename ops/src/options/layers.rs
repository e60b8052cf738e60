//! Flags, environment, file and defaults, laid over each other.

use std::fs;
use std::path::{Path, PathBuf};

use super::declare::{Mark, VARIABLE_PREFIX};
use super::mistake::{ConfigError, Mistake, Origin};
use super::{Config, Declared, OPTIONS, check, file};

/// An option with the values that were written for it, and where.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) option: &'static Declared,
    pub(super) texts: Vec<String>,
    pub(super) origin: Origin,
}

/// The environment variables of the process, names and values.
pub type Environment = Vec<(String, String)>;

/// A configuration that can be used, and what there is to say about it.
#[derive(Debug)]
pub struct Loaded {
    /// The options.
    pub config: Config,
    /// Oddities that are not wrong, for the log.
    pub warnings: Vec<String>,
    /// The setting that holds for each option, in the order of `OPTIONS`.
    pub(super) settings: Vec<Setting>,
}

impl Loaded {
    /// The names of the options that have other values in `now`, without those that follow from others.
    pub fn differing(&self, now: &Self) -> Vec<&'static str> {
        let is_said = |setting: &Setting| !matches!(setting.origin, Origin::Default);
        let both = self.settings.iter().zip(&now.settings);
        let differing = both
            .filter(|(was, is)| was.texts != is.texts)
            .filter(|(was, is)| is_said(was) || is_said(is));
        differing.map(|(was, _)| was.option.name).collect()
    }
}

/// Lays the flags over the environment, over the file that one of the two names, over the defaults.
///
/// Every value of every layer is checked, the hidden ones too, and all mistakes are reported at once.
pub fn load(
    flags: Vec<(&'static Declared, Vec<String>)>,
    environment: &Environment,
) -> Result<Loaded, ConfigError> {
    let (settings, mistakes) = layered(flags, environment);
    let mut loaded = resolve(settings, mistakes, Fits::Together)?;
    loaded.warnings.extend(strangers(environment));
    Ok(loaded)
}

/// The same for a program that needs the options of these names only: whether others are there and fit
/// each other does not matter to it. They have their defaults.
pub fn load_only(
    names: &[&str],
    flags: Vec<(&'static Declared, Vec<String>)>,
    environment: &Environment,
) -> Result<Config, ConfigError> {
    let (mut settings, mistakes) = layered(flags, environment);
    settings.retain(|setting| names.contains(&setting.option.name));
    Ok(resolve(settings, mistakes, Fits::Whatever)?.config)
}

/// All settings, those of higher layers first.
fn layered(
    flags: Vec<(&'static Declared, Vec<String>)>,
    environment: &Environment,
) -> (Vec<Setting>, Vec<Mistake>) {
    let mut settings: Vec<Setting> = flags
        .into_iter()
        .map(|(option, texts)| Setting {
            option,
            texts: separate(option, &texts),
            origin: Origin::Flag,
        })
        .collect();
    settings.extend(variables(environment));
    let mut mistakes = Vec::new();
    if let Some(path) = file_named(&settings) {
        let (from_file, wrong) = open(&path);
        settings.extend(from_file);
        mistakes.extend(wrong);
    }
    settings.extend(surroundings(environment));
    (settings, mistakes)
}

/// Lays the environment over the file at `path`, as a start with that file would.
pub fn check_file(path: &Path, environment: &Environment) -> Result<Loaded, ConfigError> {
    let mut settings: Vec<Setting> =
        variables(environment).filter(|setting| !setting.option.is(Mark::NotInFile)).collect();
    let (from_file, mistakes) = open(path);
    settings.extend(from_file);
    settings.extend(surroundings(environment));
    let mut loaded = resolve(settings, mistakes, Fits::Together)?;
    loaded.warnings.extend(strangers(environment));
    Ok(loaded)
}

/// The options that hold when nothing is said.
pub(super) fn defaults() -> Config {
    resolve(Vec::new(), Vec::new(), Fits::Together).expect("the defaults fit each other").config
}

/// Whether options have to fit each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fits {
    Together,
    Whatever,
}

/// Takes for each option the first of `settings`, in which higher layers stand first.
fn resolve(
    settings: Vec<Setting>,
    mut mistakes: Vec<Mistake>,
    fits: Fits,
) -> Result<Loaded, ConfigError> {
    let mut unusable = Vec::new();
    for setting in &settings {
        let Setting { option, texts, origin } = setting;
        if let Err(text) = (option.check)(option, texts) {
            let text = match option.is(Mark::Secret) {
                true => format!("the value is not {}", option.shape.hint),
                false => text,
            };
            mistakes.push(origin.mistake(option, text));
            unusable.push(option.name);
        }
    }
    let mut holding: Vec<Setting> = OPTIONS
        .iter()
        .map(|option| {
            let written = settings.iter().find(|setting| setting.option.name == option.name);
            match written.filter(|_| !unusable.contains(&option.name)) {
                Some(setting) => setting.clone(),
                None => Setting { option, texts: option.default_texts(), origin: Origin::Default },
            }
        })
        .collect();
    check::give_way(&mut holding);
    let config = assemble(&holding);
    // A conflict with a value that is no value would only confuse.
    mistakes.extend(
        check::conflicts(&config)
            .into_iter()
            .filter(|_| fits == Fits::Together)
            .filter(|conflict| !conflict.between.iter().any(|name| unusable.contains(name)))
            .map(|conflict| conflict.mistake(&holding)),
    );
    mistakes.sort_by_key(|mistake| mistake.line);
    match mistakes.is_empty() {
        true => {
            let warnings = check::idle(&config, &holding);
            Ok(Loaded { config, warnings, settings: holding })
        }
        false => Err(ConfigError { mistakes }),
    }
}

pub(super) fn assemble(settings: &[Setting]) -> Config {
    let mut settings = settings.iter();
    Config::assemble(|_| settings.next().expect("one setting for each option").texts.clone())
}

/// The settings of the environment.
fn variables(environment: &Environment) -> impl Iterator<Item = Setting> {
    OPTIONS.iter().filter_map(|option| {
        let variable = option.variable();
        let (_, text) = environment.iter().find(|(name, _)| *name == variable)?;
        if is_a_service(option, text) {
            return None;
        }
        let texts = separate(option, std::slice::from_ref(text));
        Some(Setting { option, texts, origin: Origin::Variable })
    })
}

/// Kubernetes tells containers of a service that is called `margay` where that is, as in
/// `MARGAY_PORT=tcp://10.0.0.1:6969` ("Discovering services"). It is not what the operator said.
fn is_a_service(option: &Declared, text: &str) -> bool {
    option.name == "port"
        && ["tcp://", "udp://", "sctp://"].iter().any(|kind| text.starts_with(kind))
}

/// The defaults that the surroundings know better.
fn surroundings(environment: &Environment) -> impl Iterator<Item = Setting> {
    OPTIONS.iter().filter_map(|option| {
        let variable = option.fallback?;
        let (_, text) = environment.iter().find(|(name, _)| name == variable)?;
        // systemd.exec(5): several directories are separated by a colon. The first is the service's.
        let first = text.split(':').next().filter(|first| !first.is_empty())?;
        let origin = Origin::Fallback(variable);
        Some(Setting { option, texts: vec![first.to_owned()], origin })
    })
}

/// Variables that look like an option and are none. They may be somebody else's (Kubernetes sets
/// `MARGAY_SERVICE_PORT` for a service of that name), so that they are worth a word and no refusal.
fn strangers(environment: &Environment) -> Vec<String> {
    let known: Vec<String> = OPTIONS.iter().map(Declared::variable).collect();
    environment
        .iter()
        .filter(|(name, _)| !known.contains(name))
        .filter_map(|(name, _)| {
            let rest = name.strip_prefix(VARIABLE_PREFIX)?;
            let option = file::nearest(&rest.to_ascii_lowercase().replace('_', "-"))?;
            Some(format!("{name} is no option; did you mean {}?", option.variable()))
        })
        .collect()
}

/// Splits the values of a repeatable option at commas.
fn separate(option: &Declared, texts: &[String]) -> Vec<String> {
    match option.shape.many {
        true => texts.iter().flat_map(|text| text.split(',')).map(str::to_owned).collect(),
        false => texts.to_vec(),
    }
}

/// The file that a flag or the environment names.
fn file_named(settings: &[Setting]) -> Option<PathBuf> {
    let setting = settings.iter().find(|setting| setting.option.name == "config")?;
    match setting.texts.as_slice() {
        [text] if text != "none" && !text.is_empty() => Some(text.into()),
        _ => None,
    }
}

fn open(path: &Path) -> (Vec<Setting>, Vec<Mistake>) {
    let wrong = |text| Mistake { place: path.display().to_string(), text, line: 0 };
    match fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => file::read(path, &text),
        Ok(Err(_)) => (Vec::new(), vec![wrong("not UTF-8 text".to_owned())]),
        Err(error) => (Vec::new(), vec![wrong(format!("cannot be read: {error}"))]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let settings = (0..random.usize(0..6)).map(|_| {
                let option = random.choice(OPTIONS).unwrap();
                let text = random.choice(TEXTS).unwrap();
                // Half of them the option's own bounds, to get past the reading.
                let own = option.range.filter(|_| random.bool());
                let text = own.map_or(text, |(low, high)| random.choice([low, high]).unwrap());
                let origin = random.choice([Origin::Flag, Origin::Variable]).unwrap();
                Setting { option, texts: separate(option, &[text.to_owned()]), origin }
            });
            match resolve(settings.collect(), Vec::new(), Fits::Together) {
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
