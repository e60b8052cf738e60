//! The margay tracker: reads the command line, does what it says, prints what went wrong.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use margay::api::describe;
use margay::command::checked::CheckError;
use margay::command::cli::{self, Flags, Request};
use margay::command::screen::ScreenError;
use margay::command::site::{self, SiteError};
use margay::command::{books, checked, journal, lists, publisher, screen, snapshot, take_over};
use margay::config::{self, ConfigError, Environment, Loaded};
use margay::process::clock::Clock;
use margay::process::limits;
use margay::process::memory;
use margay::server::{self, ServerError};
use ops::log;

fn main() -> ExitCode {
    let request = match cli::parse() {
        Ok(request) => request,
        Err(help_or_mistake) => help_or_mistake.exit(),
    };
    match answer(request) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A full disk may be what went wrong, and standard error a file on it.
            let mut lines = io::stderr().lock();
            _ = writeln!(lines, "margay: error: {error}");
            error.chain().skip(1).for_each(|cause| _ = writeln!(lines, "because: {cause}"));
            // Starting again does not help against a wrong configuration, and systemd is told so.
            let is_mistake = error.is::<ConfigError>()
                || error.is::<CheckError>()
                || error.downcast_ref().is_some_and(ScreenError::is_mistake)
                || error.downcast_ref().is_some_and(ServerError::is_mistake);
            ExitCode::from(if is_mistake { 2 } else { 1 })
        }
    }
}

fn answer(request: Request) -> anyhow::Result<()> {
    let mut text = Vec::new();
    match request {
        Request::Run(flags, takes_over) => return run(flags, takes_over),
        Request::TakeOver(flags) => {
            let config = config::load_only(take_over::OPTIONS, flags, &environment())?;
            return Ok(take_over::run(&config, &mut io::stdout())?);
        }
        Request::ConfigPrint => text.extend(config::sample().bytes()),
        Request::ConfigReference => text.extend(config::reference().bytes()),
        Request::ConfigShow(flags) => text.extend(config::show(&load(flags)?).bytes()),
        Request::ConfigCheck(path) => {
            checked::check(&path, &environment(), &mut text)?;
        }
        Request::SnapshotInspect(path) => {
            snapshot::inspect(&path, Clock::start().now(), &mut text)?;
        }
        Request::SnapshotVerify(path) => snapshot::verify(&path, &mut text)?,
        Request::JournalInspect(path) => {
            journal::inspect(&path, Clock::start().now(), &mut text)?;
        }
        Request::JournalVerify(path) => journal::verify(&path, &mut text)?,
        Request::JournalAdopt(path) => books::adopt(&path, &mut text)?,
        Request::CheckBooks(flags) => {
            let config = config::load_only(books::OPTIONS, flags, &environment())?;
            // What differs is told in any case.
            return Ok(books::check(&config, &mut io::stdout())?);
        }
        Request::List(flags, which, command) => {
            let config = config::load_only(lists::OPTIONS, flags, &environment())?;
            lists::run(which, &command, &config, &mut text)?;
        }
        Request::Screen(flags, addresses) => {
            let config = config::load_only(screen::OPTIONS, flags, &environment())?;
            return Ok(screen::run(&addresses, &config, Clock::start().now(), &mut io::stdout())?);
        }
        Request::Site(flags, request) => {
            let config = config::load_only(site::OPTIONS, flags, &environment())?;
            let token = std::env::var("MARGAY_API_TOKEN").ok();
            let (now, out) = (Clock::start().now(), &mut io::stdout());
            return match site::run(&request, &config, token, now, out) {
                // Whoever reads has seen enough.
                Err(SiteError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    Ok(())
                }
                answered => Ok(answered?),
            };
        }
        Request::ApiToken(flags, command) => {
            let config = config::load_only(site::OPTIONS, flags, &environment())?;
            site::tokens(&command, &config, Clock::start().now(), &mut text)?;
        }
        Request::Publisher(arguments) => return Err(publisher::run(&arguments).into()),
        Request::ApiDescribe => text.extend(describe::text().bytes()),
        Request::Completions(shell) => cli::completions(shell, &mut text),
        Request::Man => cli::man(&mut text)?,
    }
    match io::stdout().write_all(&text) {
        // Whoever reads has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

fn run(flags: Flags, takes_over: bool) -> anyhow::Result<()> {
    memory::keep_large_blocks_apart();
    let loaded = load(flags.clone())?;
    let config = &loaded.config;
    log::start(&config.log, config.log_format);
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    limits::prepare(config)?;
    let changed = || load(flags.clone()).map(|now| loaded.differing(&now));
    Ok(server::run(config, &changed, takes_over)?)
}

fn load(flags: Flags) -> Result<Loaded, ConfigError> {
    config::load(flags, &environment())
}

fn environment() -> Environment {
    let readable = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (readable(name), readable(value))).collect()
}
