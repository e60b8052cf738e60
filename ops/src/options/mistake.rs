//! Mistakes of a configuration, and where they are.

use std::fmt;
use std::path::PathBuf;

use super::Declared;

/// Where a value was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// On the command line.
    Flag,
    /// In the environment.
    Variable,
    /// In the file, on this line (from 1).
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// In a variable of the surroundings, such as systemd's `STATE_DIRECTORY`.
    Fallback(&'static str),
    /// Nowhere.
    Default,
}

/// A mistake, and the place to change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// `margay.toml:3`, `--interval` or `MARGAY_INTERVAL`.
    pub place: String,
    /// The mistake there, and what would be right.
    pub text: String,
    /// The line in the file, from 1; 0 elsewhere. Mistakes are reported in this order.
    pub(super) line: usize,
}

/// A configuration that cannot be used, with everything that is wrong with it.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    /// At least one.
    pub mistakes: Vec<Mistake>,
}

impl Origin {
    /// How `option` is called there.
    pub(super) fn place(&self, option: &Declared) -> String {
        match self {
            Origin::Flag => format!("--{}", option.name),
            Origin::Variable => option.variable(),
            Origin::File { path, line } => format!("{}:{line}", path.display()),
            Origin::Fallback(variable) => (*variable).to_owned(),
            Origin::Default => "default".to_owned(),
        }
    }

    /// The mistake `text` about `option`, which was written here.
    pub(super) fn mistake(&self, option: &Declared, text: impl fmt::Display) -> Mistake {
        let (line, text) = match self {
            Origin::File { line, .. } => (*line, format!("{}: {text}", option.name)),
            _ => (0, text.to_string()),
        };
        Mistake { place: self.place(option), text, line }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.len() {
            1 => write!(f, "the configuration has a mistake")?,
            count => write!(f, "the configuration has {count} mistakes")?,
        }
        self.mistakes.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}
