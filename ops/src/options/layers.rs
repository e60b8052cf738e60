//! Flags, environment, file and defaults, laid over each other.

use std::fs;
use std::path::{Path, PathBuf};

use super::declare::Mark;
use super::flags::Flags;
use super::mistake::{ConfigError, Mistake, Origin};
use super::{Declared, Options, file};

/// An option with the values that were written for it, and where.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The option.
    pub option: &'static Declared,
    /// Its values as they would be written.
    pub texts: Vec<String>,
    /// Where they were written.
    pub origin: Origin,
}

/// The environment variables of the process, names and values.
pub type Environment = Vec<(String, String)>;

/// A configuration that can be used, and what there is to say about it.
#[derive(Debug)]
pub struct Loaded<O> {
    /// The options.
    pub config: O,
    /// Oddities that are not wrong, for the log.
    pub warnings: Vec<String>,
    /// The setting that holds for each option, in the order of the table.
    pub(super) settings: Vec<Setting>,
}

impl<O> Loaded<O> {
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
pub fn load<O: Options>(flags: Flags, environment: &Environment) -> Result<Loaded<O>, ConfigError> {
    let (settings, mistakes) = layered::<O>(flags, environment);
    let mut loaded = resolve::<O>(settings, mistakes, Fits::Together)?;
    loaded.warnings.extend(strangers::<O>(environment));
    Ok(loaded)
}

/// The same for a program that needs the options of these names only: whether others are there and fit
/// each other does not matter to it. They have their defaults.
pub fn load_only<O: Options>(
    names: &[&str],
    flags: Flags,
    environment: &Environment,
) -> Result<O, ConfigError> {
    let (mut settings, mistakes) = layered::<O>(flags, environment);
    settings.retain(|setting| names.contains(&setting.option.name));
    Ok(resolve(settings, mistakes, Fits::Whatever)?.config)
}

/// All settings, those of higher layers first.
fn layered<O: Options>(flags: Flags, environment: &Environment) -> (Vec<Setting>, Vec<Mistake>) {
    let mut settings: Vec<Setting> = flags
        .into_iter()
        .map(|(option, texts)| Setting {
            option,
            texts: separate(option, &texts),
            origin: Origin::Flag,
        })
        .collect();
    settings.extend(variables::<O>(environment));
    let mut mistakes = Vec::new();
    if let Some(path) = file_named(&settings) {
        let (from_file, wrong) = open::<O>(&path);
        settings.extend(from_file);
        mistakes.extend(wrong);
    }
    settings.extend(surroundings::<O>(environment));
    (settings, mistakes)
}

/// Lays the environment over the file at `path`, as a start with that file would.
pub fn check_file<O: Options>(
    path: &Path,
    environment: &Environment,
) -> Result<Loaded<O>, ConfigError> {
    let mut settings: Vec<Setting> =
        variables::<O>(environment).filter(|setting| !setting.option.is(Mark::NotInFile)).collect();
    let (from_file, mistakes) = open::<O>(path);
    settings.extend(from_file);
    settings.extend(surroundings::<O>(environment));
    let mut loaded = resolve::<O>(settings, mistakes, Fits::Together)?;
    loaded.warnings.extend(strangers::<O>(environment));
    Ok(loaded)
}

/// Whether options have to fit each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fits {
    Together,
    Whatever,
}

/// Takes for each option the first of `settings`, in which higher layers stand first.
fn resolve<O: Options>(
    settings: Vec<Setting>,
    mut mistakes: Vec<Mistake>,
    fits: Fits,
) -> Result<Loaded<O>, ConfigError> {
    let mut unusable = Vec::new();
    for setting in &settings {
        let Setting { option, texts, origin } = setting;
        if let Err(text) = (option.check)(texts, O::range(option)) {
            let text = match option.is(Mark::Secret) {
                true => format!("the value is not {}", option.shape.hint),
                false => text,
            };
            mistakes.push(origin.mistake(option, text));
            unusable.push(option.name);
        }
    }
    let mut holding: Vec<Setting> = O::TABLE
        .iter()
        .map(|option| {
            let written = settings.iter().find(|setting| setting.option.name == option.name);
            match written.filter(|_| !unusable.contains(&option.name)) {
                Some(setting) => setting.clone(),
                None => Setting { option, texts: option.default_texts(), origin: Origin::Default },
            }
        })
        .collect();
    O::give_way(&mut holding);
    let config: O = assemble(&holding);
    // A conflict with a value that is no value would only confuse.
    mistakes.extend(
        config
            .conflicts()
            .into_iter()
            .filter(|_| fits == Fits::Together)
            .filter(|conflict| !conflict.between.iter().any(|name| unusable.contains(name)))
            .map(|conflict| conflict.mistake(&holding)),
    );
    mistakes.sort_by_key(|mistake| mistake.line);
    match mistakes.is_empty() {
        true => {
            let warnings = config.idle(&holding);
            Ok(Loaded { config, warnings, settings: holding })
        }
        false => Err(ConfigError { mistakes }),
    }
}

/// The options that `settings` say: one for each option, in order, all of which can be read.
pub fn assemble<O: Options>(settings: &[Setting]) -> O {
    let mut settings = settings.iter();
    O::assemble(&mut || {
        let Setting { option, texts, .. } = settings.next().expect("one setting for each option");
        (texts.clone(), O::range(option))
    })
}

/// The settings of the environment.
fn variables<O: Options>(environment: &Environment) -> impl Iterator<Item = Setting> {
    O::TABLE.iter().filter_map(|option| {
        let variable = option.variable();
        let (_, text) = environment.iter().find(|(name, _)| *name == variable)?;
        if O::is_foreign(&variable, text) {
            return None;
        }
        let texts = separate(option, std::slice::from_ref(text));
        Some(Setting { option, texts, origin: Origin::Variable })
    })
}

/// The defaults that the surroundings know better.
fn surroundings<O: Options>(environment: &Environment) -> impl Iterator<Item = Setting> {
    O::TABLE.iter().filter_map(|option| {
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
fn strangers<O: Options>(environment: &Environment) -> Vec<String> {
    let known: Vec<String> = O::TABLE.iter().map(Declared::variable).collect();
    environment
        .iter()
        .filter(|(name, text)| !known.contains(name) && !O::is_foreign(name, text))
        .filter_map(|(name, _)| {
            let rest = name.strip_prefix(O::VARIABLES)?;
            let option = file::nearest::<O>(&rest.to_ascii_lowercase().replace('_', "-"))?;
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

fn open<O: Options>(path: &Path) -> (Vec<Setting>, Vec<Mistake>) {
    let wrong = |text| Mistake { place: path.display().to_string(), text, line: 0 };
    match fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => file::read::<O>(path, &text),
        Ok(Err(_)) => (Vec::new(), vec![wrong("not UTF-8 text".to_owned())]),
        Err(error) => (Vec::new(), vec![wrong(format!("cannot be read: {error}"))]),
    }
}
