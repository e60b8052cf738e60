//! The publisher: reads the command line, does what it says, prints what went wrong.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use ops::log;
use ops::options::{self, ConfigError, Environment, Flags, Loaded, Options};
use publish::command::ask::{self, KEY, PLACE};
use publish::command::cli::{self, ConfigRequest, Request};
use publish::command::serve::{self, Changed};
use publish::options::{Log, Master, Seeder};

fn main() -> ExitCode {
    let request = match cli::parse() {
        Ok(request) => request,
        Err(help_or_mistake) => help_or_mistake.exit(),
    };
    match answer(request) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("margay-publish: error: {error}");
            error.chain().skip(1).for_each(|cause| eprintln!("because: {cause}"));
            // Starting again does not help against a wrong configuration, and systemd is told so.
            ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
        }
    }
}

fn answer(request: Request) -> anyhow::Result<()> {
    let mut text = Vec::new();
    match request {
        Request::Publish(flags) => {
            let (loaded, changed) = load::<Master>(flags)?;
            start_log(&loaded.config.log, &loaded);
            return serve::publish(&loaded.config, changed);
        }
        Request::Seed(flags) => {
            let (loaded, changed) = load::<Seeder>(flags)?;
            start_log(&loaded.config.log, &loaded);
            return serve::seed(&loaded.config, changed);
        }
        Request::PublishConfig(request) => text.extend(config::<Master>(request)?.bytes()),
        Request::SeedConfig(request) => text.extend(config::<Seeder>(request)?.bytes()),
        Request::Ask(flags, asked, json) => {
            let options = options::load_only(PLACE, flags, &environment())?;
            ask::master(&options, &asked, json, &mut text)?;
        }
        Request::Key(flags, task) => {
            ask::key(&options::load_only(KEY, flags, &environment())?, task, &mut text)?;
        }
        Request::AskSeeder(flags, asked, json) => {
            let options = options::load_only(PLACE, flags, &environment())?;
            ask::seeder(&options, &asked, json, &mut text)?;
        }
        Request::Completions(shell) => cli::completions(shell, &mut text),
        Request::Man => cli::man(&mut text)?,
        Request::Metrics => text.extend(publish::web::reference().bytes()),
    }
    match io::stdout().write_all(&text) {
        // Whoever reads has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// The options, and what says later which are others by then.
fn load<O: Options + Send + Sync + 'static>(
    flags: Flags,
) -> Result<(Arc<Loaded<O>>, Changed), ConfigError> {
    let loaded = Arc::new(options::load::<O>(flags.clone(), &environment())?);
    let before = loaded.clone();
    let changed =
        move || options::load::<O>(flags.clone(), &environment()).map(|now| before.differing(&now));
    Ok((loaded, Box::new(changed)))
}

fn config<O: Options>(request: ConfigRequest) -> Result<String, ConfigError> {
    Ok(match request {
        ConfigRequest::Print => options::sample::<O>(),
        ConfigRequest::Reference => options::reference::<O>(),
        ConfigRequest::Show(flags) => options::show(&options::load::<O>(flags, &environment())?),
        ConfigRequest::Check(path) => {
            let loaded = options::check_file::<O>(&path, &environment())?;
            let name = path.display();
            let said = loaded.warnings.iter().map(|warning| {
                match warning.starts_with(&name.to_string()) {
                    // One about a line says of which file.
                    true => format!("{warning}\n"),
                    false => format!("{name}: {warning}\n"),
                }
            });
            said.chain([format!("{name}: no mistakes\n")]).collect()
        }
    })
}

fn start_log<O>(options: &Log, loaded: &Loaded<O>) {
    log::start(&options.log.0, options.log_format);
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
}

fn environment() -> Environment {
    let readable = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (readable(name), readable(value))).collect()
}
