//! The options as flags of the command line.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command, Error, ValueHint};

use super::Options;
use super::declare::{Declared, Mark};
use super::value::Bare;

/// What was given of the options, as the command line says it.
pub type Flags = Vec<(&'static Declared, Vec<String>)>;

/// A flag for every option, and `--no-…` for those that are switches.
///
/// Values are taken as they are: whether they are possible is found together with all other mistakes.
pub fn args<O: Options>() -> impl Iterator<Item = Arg> {
    O::TABLE.iter().flat_map(flags)
}

/// The same for the options of these names, whose help stands under `heading` with that of other flags.
pub fn args_of<O: Options>(names: &[&str], heading: &'static str) -> impl Iterator<Item = Arg> {
    let named = O::TABLE.iter().filter(|option| names.contains(&option.name));
    named.flat_map(flags).map(move |flag| flag.help_heading(heading))
}

/// The flags of one option.
fn flags(option: &'static Declared) -> Vec<Arg> {
    let flag = Arg::new(option.name)
        .long(option.name)
        .value_name(option.shape.placeholder)
        .help_heading(option.section)
        .help(help(option, false))
        .long_help(help(option, true));
    let flag = flag.value_hint(match option.shape.placeholder {
        "PATH" => ValueHint::AnyPath,
        // Shells are to offer no files.
        _ => ValueHint::Other,
    });
    let words = option.shape.words;
    let flag = match words.is_empty() {
        true => flag,
        false => flag.value_parser(Offered(words)).hide_possible_values(true),
    };
    if option.shape.bare != Bare::Boolean {
        let action = if option.shape.many { ArgAction::Append } else { ArgAction::Set };
        return vec![flag.action(action)];
    }
    let no = option.negation;
    let switch = flag
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .overrides_with(no);
    let no = Arg::new(no)
        .long(no)
        .help_heading(option.section)
        .help(format!("The same as --{}=false", option.name))
        .hide(option.defaults == ["false"])
        .action(ArgAction::SetTrue)
        .overrides_with(option.name);
    vec![switch, no]
}

/// Any text, and words that a shell offers.
#[derive(Clone)]
struct Offered(&'static [&'static str]);

impl TypedValueParser for Offered {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}

/// The options given on the command line that [`args`] were part of.
pub fn given<O: Options>(matches: &ArgMatches) -> Flags {
    given_among(matches, O::TABLE.iter())
}

/// The same for what [`args_of`] was part of, with the same names.
pub fn given_of<O: Options>(matches: &ArgMatches, names: &[&str]) -> Flags {
    given_among(matches, O::TABLE.iter().filter(|option| names.contains(&option.name)))
}

fn given_among(matches: &ArgMatches, options: impl Iterator<Item = &'static Declared>) -> Flags {
    options
        .filter_map(|option| {
            if option.shape.bare == Bare::Boolean && matches.get_flag(option.negation) {
                return Some((option, vec!["false".to_owned()]));
            }
            let texts = matches.get_many::<String>(option.name)?;
            Some((option, texts.cloned().collect()))
        })
        .collect()
}

/// The first paragraph for `-h`, all of them and the variable for `--help`.
fn help(option: &Declared, long: bool) -> String {
    let mut paragraphs = option.paragraphs();
    let mut facts = match option.is(Mark::Secret) || option.defaults == ["none"] {
        true => Vec::new(),
        false => vec![format!("[default: {}]", option.defaults.join(" "))],
    };
    if !long {
        paragraphs.truncate(1);
        return [paragraphs, facts].concat().join(" ");
    }
    if let Some((low, high)) = option.range {
        facts.push(format!("[from {low} to {high}]"));
    }
    facts.push(format!("[env: {}]", option.variable()));
    paragraphs.push(facts.join(" "));
    paragraphs.join("\n\n")
}
