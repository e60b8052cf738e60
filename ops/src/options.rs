//! Options of a program, declared once: flags, variables, keys of a TOML file, help and pages.
//!
//! [`options!`](crate::options!) makes a struct and a list out of one declaration. The struct is what the program
//! reads; the list is what flags, variables, TOML keys, help, completions, the man page, the sample file and the
//! reference page are made of. [`Options`] adds how the program is called, and what its options mean for each other.

mod conflict;
mod declare;
mod file;
mod flags;
mod layers;
mod man;
mod mistake;
mod page;
mod secret;
#[cfg(test)]
mod tests;
mod value;

pub use conflict::{Conflict, overlap, word, written_at};
pub use declare::{Declared, Mark, Table};
#[doc(hidden)]
pub use declare::{Section, count, join, kebab, text};
pub use flags::{Flags, args, args_of, given, given_of};
pub use layers::{Environment, Loaded, Setting, assemble, check_file, load, load_only};
pub use man::{ManSection, man};
pub use mistake::{ConfigError, Mistake, Origin};
pub use page::{reference, sample, show};
pub use secret::{Secret, SecretError};
pub use value::{Bare, Bytes, Name, One, Range, Shape, Value, duration, written};

/// A program that is told by options what to do.
pub trait Options: Table {
    /// Its words in help, mistakes and pages.
    const PROGRAM: Program;

    /// The least and the greatest value of an option of the table.
    fn range(option: &Declared) -> Range {
        option.range
    }

    /// True for a variable with the prefix of the program that somebody else has set, so that it says nothing.
    fn is_foreign(_variable: &str, _text: &str) -> bool {
        false
    }

    /// Lets the defaults that nobody wrote over follow the options they depend on.
    ///
    /// `settings` hold one setting for each option, in order; all of them can be read.
    fn give_way(_settings: &mut [Setting]) {}

    /// All options that exclude each other.
    fn conflicts(&self) -> Vec<Conflict> {
        Vec::new()
    }

    /// What was written and does nothing as things are, or more than was meant.
    fn idle(&self, _settings: &[Setting]) -> Vec<String> {
        Vec::new()
    }
}

/// How a program is called.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// What is typed before `config`: `margay`.
    pub command: &'static str,
    /// The top of the sample file: comments, ending with a line.
    pub sample_head: &'static str,
    /// The top of the reference page: Markdown, ending with a line.
    pub reference_head: &'static str,
}

/// The option of that name.
pub fn option<O: Options>(name: &str) -> Option<&'static Declared> {
    O::TABLE.iter().find(|option| option.name == name)
}
