//! A man page for all commands of a program, which have no pages of their own.

use std::io::{self, Write};

use clap::Command;
use roff::{Roff, bold, roman};

/// A section of a page that the command line says nothing of: its title, and names with a text each.
pub type ManSection = (&'static str, &'static [(&'static str, &'static str)]);

/// Writes the page of `program`, in roff.
///
/// `synopsis` follows the program's name. The options of the `served` commands, each named by its words, stand in full
/// behind those of the program; `more` comes last.
pub fn man(
    program: &Command,
    synopsis: &str,
    served: &[&str],
    more: &[ManSection],
    out: &mut dyn Write,
) -> io::Result<()> {
    let page = clap_mangen::Man::new(program.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    let mut rest = Roff::new();
    rest.control("SH", ["SYNOPSIS"]);
    rest.text([bold(program.get_name()), roman(format!(" {synopsis}"))]);
    rest.to_writer(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    for words in served {
        options_of(program, words, out)?;
    }
    let mut rest = Roff::new();
    rest.control("SH", ["COMMANDS"]);
    describe(program, "", &mut rest);
    for (title, entries) in more {
        rest.control("SH", [*title]);
        for (name, text) in *entries {
            rest.control("TP", []);
            rest.text([bold(*name)]);
            rest.text([roman(*text)]);
        }
    }
    rest.to_writer(out)
}

/// The options of the command that `words` name, under a title of their own.
fn options_of(program: &Command, words: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut command = program;
    for word in words.split(' ') {
        command = command.find_subcommand(word).expect("a command of the program");
    }
    let mut section = Vec::new();
    clap_mangen::Man::new(command.clone()).render_options_section(&mut section)?;
    let section = String::from_utf8_lossy(&section);
    let title = format!(".SH \"OPTIONS OF {}\"\n", words.to_uppercase());
    out.write_all(section.replacen(".SH OPTIONS\n", &title, 1).as_bytes())
}

/// Every command that does something, with its arguments.
fn describe(of: &Command, before: &str, page: &mut Roff) {
    for command in of.get_subcommands() {
        let name = format!("{before}{}", command.get_name());
        if command.has_subcommands() {
            describe(command, &format!("{name} "), page);
            continue;
        }
        let arguments = command.get_positionals().map(|argument| {
            let names = argument.get_value_names().unwrap_or_default();
            let shown = names.first().map_or(argument.get_id().as_str(), |name| name.as_str());
            if argument.is_required_set() { format!(" {shown}") } else { format!(" [{shown}]") }
        });
        let arguments: String = arguments.collect();
        page.control("TP", []);
        page.text([bold(&name), roman(arguments)]);
        page.text([roman(command.get_about().map(ToString::to_string).unwrap_or_default())]);
    }
}
