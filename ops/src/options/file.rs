//! The TOML file: keys and values with their lines.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::declare::Mark;
use super::layers::Setting;
use super::mistake::{Mistake, Origin};
use super::value::Bare;
use super::{Declared, Options};

/// Reads `text`, the content of the file at `path`: what it sets, and everything that is wrong with
/// its keys and the types of its values. Whether a value is possible is not looked at here.
pub(super) fn read<O: Options>(path: &Path, text: &str) -> (Vec<Setting>, Vec<Mistake>) {
    let lines = Lines { path, text };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut mistakes = Vec::new();
    for error in &errors {
        let line = lines.at(error.span().map_or(text.len(), |span| span.start));
        // The first word about a line is the one that helps.
        if mistakes.iter().all(|mistake: &Mistake| mistake.line != line) {
            mistakes.push(lines.mistake(line, lines.explain(line, error.message())));
        }
    }
    let broken: Vec<usize> = mistakes.iter().map(|mistake| mistake.line).collect();
    let mut settings = Vec::new();
    for (key, value) in table.get_ref() {
        let line = lines.at(key.span().start);
        // What the parser made of a line that it could not read says nothing.
        if broken.contains(&line) {
            continue;
        }
        match setting::<O>(key.get_ref(), value) {
            Ok((option, texts)) => {
                let origin = Origin::File { path: path.into(), line };
                settings.push(Setting { option, texts, origin });
            }
            Err(text) => mistakes.push(lines.mistake(line, text)),
        }
    }
    (settings, mistakes)
}

/// The option whose name is closest to `name`, when one is close.
pub(super) fn nearest<O: Options>(name: &str) -> Option<&'static Declared> {
    let likeness = |option: &Declared| strsim::jaro_winkler(option.name, name);
    O::TABLE
        .iter()
        .filter(|option| likeness(option) > CLOSE)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

fn setting<O: Options>(
    key: &str,
    value: &Spanned<DeValue<'_>>,
) -> Result<(&'static Declared, Vec<String>), String> {
    let Some(option) = super::option::<O>(key) else {
        let what = if value.get_ref().is_table() { "table" } else { "key" };
        return Err(match nearest::<O>(&key.replace('_', "-")) {
            Some(option) => format!("unknown {what} `{key}`; did you mean `{}`?", option.name),
            None => format!(
                "unknown {what} `{key}`; `{} config print` lists all keys",
                O::PROGRAM.command
            ),
        });
    };
    if option.is(Mark::NotInFile) {
        return Err(format!("`{key}` cannot stand in a file; use --{key}"));
    }
    let texts = match value.get_ref() {
        DeValue::Array(values) if option.shape.many => {
            values.iter().map(|value| text_of(option, value.get_ref())).collect::<Result<_, _>>()
        }
        value => text_of(option, value).map(|text| vec![text]),
    };
    let texts: Vec<String> =
        texts.map_err(|found| format!("{key}: needs {}, not {found}", option.shape.hint))?;
    // In a file an empty array is the natural way to say so.
    let texts = if texts.is_empty() { vec!["none".to_owned()] } else { texts };
    Ok((option, texts))
}

/// The value as it would be written in a flag, or what it is instead.
fn text_of(option: &Declared, value: &DeValue<'_>) -> Result<String, &'static str> {
    let bare = option.shape.bare;
    match value {
        DeValue::String(text) if bare != Bare::Boolean => Ok(text.to_string()),
        DeValue::Integer(number)
            if matches!(bare, Bare::Integer | Bare::Number) && number.radix() == 10 =>
        {
            Ok(number.as_str().replace('_', ""))
        }
        DeValue::Float(number) if bare == Bare::Number => Ok(number.as_str().replace('_', "")),
        DeValue::Boolean(truth) if bare == Bare::Boolean => Ok(truth.to_string()),
        DeValue::String(_) => Err("a string"),
        DeValue::Integer(number) if number.radix() != 10 => Err("a number of another base"),
        DeValue::Integer(_) => Err("an integer"),
        DeValue::Float(_) => Err("a float"),
        DeValue::Boolean(_) => Err("a boolean"),
        DeValue::Datetime(_) => Err("a date or time"),
        DeValue::Array(_) => Err("an array"),
        DeValue::Table(_) => Err("a table"),
    }
}

struct Lines<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Lines<'_> {
    /// The line, from 1, of a byte.
    fn at(&self, byte: usize) -> usize {
        1 + self.text.bytes().take(byte).filter(|byte| *byte == b'\n').count()
    }

    /// The parser's words on a line, and the slip that is the most frequent.
    fn explain(&self, line: usize, message: &str) -> String {
        let bare = self.text.lines().nth(line - 1).is_some_and(|text| !text.contains(['"', '\'']));
        let hint = if bare && !message.contains("quoted") { "; text stands in quotes" } else { "" };
        format!("not TOML: {message}{hint}")
    }

    fn mistake(&self, line: usize, text: String) -> Mistake {
        Mistake { place: format!("{}:{line}", self.path.display()), text, line }
    }
}

/// The likeness (Jaro-Winkler, 0 to 1) from which a name is taken for a slip of the pen.
const CLOSE: f64 = 0.85;

#[cfg(test)]
mod tests {
    use super::super::tests::Tracker;
    use super::*;

    /// Each mistake of a file on a line of its own, without the name of the file.
    fn check(text: &str, mistakes: &str) {
        let (_, mut found) = read::<Tracker>(Path::new("f"), text);
        found.sort_by_key(|mistake| mistake.line);
        let found: Vec<String> =
            found.iter().map(|mistake| mistake.to_string()[2..].to_owned()).collect();
        assert_eq!(found.join("\n"), mistakes);
    }

    #[test]
    fn good_keys_of_every_type_are_taken() {
        check("cores = 2\ncontrol = \"none\"\nudp = [\"127.0.0.1:1\"]\nhttp = []\n", "");
        check("interval = 600\ninterval-min = \"10m\"\nload-target = 0.5\nfresh = true\n", "");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_nearest() {
        check("\n\nintervall = 5\n", "3: unknown key `intervall`; did you mean `interval`?");
        check("interval_min = 5\n", "1: unknown key `interval_min`; did you mean `interval-min`?");
        check(
            "[zebra]\nudp = 1\n",
            "1: unknown table `zebra`; `margay config print` lists all keys",
        );
        check("config = \"x\"\n", "1: `config` cannot stand in a file; use --config");
    }

    #[test]
    fn a_wrong_type_is_named() {
        check("fresh = \"yes\"\n", "1: fresh: needs true or false, not a string");
        check(
            "numwant-max = 0x10\n",
            "1: numwant-max: needs a whole number such as 50, not a number of another base",
        );
        check("data = [\"a\"]\n", "1: data: needs a path, not an array");
    }

    #[test]
    fn what_is_not_toml_does_not_hide_the_rest() {
        let (settings, mistakes) =
            read::<Tracker>(Path::new("f"), "cores = 2\nudp = = 3\nzebra = 1\n");
        assert_eq!(settings.len(), 1);
        assert!(mistakes[0].to_string().starts_with("f:2: not TOML"), "{mistakes:?}");
        assert!(
            mistakes.last().unwrap().to_string().starts_with("f:3: unknown key"),
            "{mistakes:?}"
        );
    }
}
