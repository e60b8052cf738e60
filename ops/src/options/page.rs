//! The options as text: the sample file, the reference page, and what holds now.

use std::fmt::Write as _;

use super::declare::Mark;
use super::layers::{Loaded, Setting};
use super::mistake::Origin;
use super::value::{Bare, One};
use super::{Declared, Options};

/// The sample file: every key with its text and its default, commented out.
pub fn sample<O: Options>() -> String {
    let mut page = String::from(O::PROGRAM.sample_head);
    for (section, options) in sections::<O>() {
        let _ = write!(page, "\n\n# --- {section} ---\n");
        for option in options.filter(|option| !option.is(Mark::NotInFile)) {
            page.push('\n');
            for paragraph in option.paragraphs() {
                fold(&paragraph, "# ", &mut page);
            }
            if let Some((low, high)) = option.range {
                let _ = writeln!(page, "# From {low} to {high}.");
            }
            let _ = writeln!(page, "#{} = {}", option.name, toml(option, &option.default_texts()));
        }
    }
    page
}

/// The reference page, in Markdown.
pub fn reference<O: Options>() -> String {
    let mut page = String::from(O::PROGRAM.reference_head);
    for (section, options) in sections::<O>() {
        let _ = write!(page, "\n## {section}\n");
        for option in options {
            let _ = write!(page, "\n### {}\n\n", option.name);
            for paragraph in option.paragraphs() {
                fold(&paragraph, "", &mut page);
                page.push('\n');
            }
            facts(option, &mut page);
        }
    }
    page
}

/// The value that holds for each option and where it was said, as a TOML file with comments.
pub fn show<O>(loaded: &Loaded<O>) -> String {
    let mut page = String::new();
    for Setting { option, texts, origin } in &loaded.settings {
        let value = match option.is(Mark::Secret) && *origin != Origin::Default {
            true => "\"…\"".to_owned(),
            false => toml(option, texts),
        };
        let key = if option.is(Mark::NotInFile) { "# " } else { "" };
        let _ = writeln!(page, "{key}{} = {value} # {}", option.name, origin.place(option));
    }
    page
}

fn facts(option: &Declared, page: &mut String) {
    let Declared { name, shape, .. } = option;
    let flag = match shape.bare {
        Bare::Boolean => format!("`--{name}`, `--{}`", option.negation),
        _ => format!("`--{name} {}`", shape.placeholder),
    };
    let repeated = if shape.many { ", repeatable or with commas" } else { "" };
    let _ = writeln!(page, "- Flag: {flag}{repeated}");
    let _ = writeln!(page, "- Environment: `{}`", option.variable());
    let default = toml(option, &option.default_texts());
    if option.is(Mark::NotInFile) {
        let _ = writeln!(page, "- File: not there; default {default}");
    } else {
        let _ = writeln!(page, "- File: `{name} = {default}` is the default");
    }
    if let Some(variable) = option.fallback {
        let _ = writeln!(page, "- Instead of the default, where it is set: `${variable}`");
    }
    let absent = shape.absent.map_or_else(String::new, |word| format!(", or `{word}`"));
    let _ = writeln!(page, "- Value: {}{absent}", shape.hint);
    if let Some((low, high)) = option.range {
        let _ = writeln!(page, "- Range: {low} to {high}");
    }
}

/// The options by section, in the order of their declaration.
fn sections<O: Options>()
-> impl Iterator<Item = (&'static str, impl Iterator<Item = &'static Declared>)> {
    O::TABLE.chunk_by(|a, b| a.section == b.section).map(|group| (group[0].section, group.iter()))
}

/// A value as it stands in a file.
fn toml(option: &Declared, texts: &[String]) -> String {
    let one = |text: &String| {
        let number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match option.shape.bare {
            // A flag or variable may have said `yes`.
            Bare::Boolean => {
                bool::parse(text).map_or_else(|| text.clone(), |truth| truth.to_string())
            }
            Bare::Integer | Bare::Number if number => text.clone(),
            _ => quoted(text),
        }
    };
    match texts {
        [text] if !option.shape.many || text == "none" => one(text),
        texts => format!("[{}]", texts.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// Appends `paragraph` in lines of at most `WIDTH`, each after `prefix`.
fn fold(paragraph: &str, prefix: &str, page: &mut String) {
    let mut line = String::new();
    for word in paragraph.split(' ') {
        if !line.is_empty() && prefix.len() + line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(page, "{prefix}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    let _ = writeln!(page, "{prefix}{line}");
}

const WIDTH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_for_toml() {
        assert_eq!(quoted("a\"b\\c\n"), r#""a\"b\\c\U0000000A""#);
    }
}
