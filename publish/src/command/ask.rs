//! Commands that ask a Master or a Seeder that is running, over its control listener.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Client, Method};

use crate::feed::FeedAddress;
use crate::options::{Master, Seeder};
use crate::web::Command;
use crate::web::page::bytes;
use crate::web::status::Status;

/// Options that say where the Master or the Seeder is.
pub const PLACE: &[&str] = &["config", "control"];

/// Options that say where the feed's key is, and what its address is.
pub const KEY: &[&str] = &["config", "data", "feed-url", "key-file"];

/// What is asked of a Master or a Seeder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// How it is.
    Status,
    /// What it publishes or holds, name by name.
    List,
    /// To publish these names no longer.
    Withdraw(Vec<String>),
    /// To publish or to fetch these names anew.
    Republish(Vec<String>),
    /// That what has vanished is meant to be gone.
    Confirm,
    /// To be the Master from now on.
    Promote,
}

/// Asks the Master that `options` say the place of, and writes its answer; as JSON where that is wanted.
pub fn master(options: &Master, ask: &Ask, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    asked(options.control, ask, json, out)
}

/// The same for a Seeder.
pub fn seeder(options: &Seeder, ask: &Ask, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    asked(options.control, ask, json, out)
}

/// Writes the address of the feed with its public key, as Seeders are to be given it. The key is made where there is none.
pub fn key(options: &Master, out: &mut dyn Write) -> anyhow::Result<()> {
    crate::durable::folder(&options.data)?;
    let key = options.key()?;
    match &options.feed_url {
        Some(url) => {
            let address = FeedAddress { url: url.0.clone(), key: Some(key.public()) };
            writeln!(out, "{address}")?;
        }
        None => writeln!(out, "{}", key.public())?,
    }
    Ok(())
}

fn asked(
    control: Option<SocketAddr>,
    ask: &Ask,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let control = control.context("there is no control listener to ask: --control is `none`")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let place = Place { client: Client::builder().no_proxy().timeout(PATIENCE).build()?, control };
    runtime.block_on(place.ask(ask, json, out))
}

struct Place {
    client: Client,
    control: SocketAddr,
}

impl Place {
    async fn ask(&self, ask: &Ask, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
        let each = |names: &[String], command: fn(String) -> Command| {
            names.iter().cloned().map(command).collect()
        };
        let commands: Vec<Command> = match ask {
            Ask::Status | Ask::List => {
                let text = self.say(Method::GET, "status.json", None).await?;
                if json {
                    return Ok(writeln!(out, "{text}")?);
                }
                let status: Status = serde_json::from_str(&text)
                    .context("the answer is no status; is another program there?")?;
                return match ask {
                    Ask::List => list(&status, out),
                    _ => summary(&status, out),
                };
            }
            Ask::Withdraw(names) => each(names, |name| Command::Withdraw { name }),
            Ask::Republish(names) => each(names, |name| Command::Republish { name }),
            Ask::Confirm => vec![Command::Confirm],
            Ask::Promote => vec![Command::Promote],
        };
        for command in commands {
            let body = serde_json::to_string(&command)?;
            let done = self.say(Method::POST, "command", Some(body)).await?;
            write!(out, "{done}")?;
        }
        Ok(())
    }

    async fn say(
        &self,
        method: Method,
        page: &str,
        body: Option<String>,
    ) -> anyhow::Result<String> {
        let control = self.control;
        let request = self.client.request(method, format!("http://{control}/{page}"));
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body),
            None => request,
        };
        let answer =
            request.send().await.map_err(reqwest::Error::without_url).with_context(|| {
                format!("nobody answers at {control}; does it run, and is --control the same?")
            })?;
        let status = answer.status();
        let text = answer.text().await.context("the answer broke off")?;
        if !status.is_success() {
            bail!("{}", text.trim_end());
        }
        Ok(text)
    }
}

fn summary(status: &Status, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "{} {}, {}", status.role.word(), status.version, status.folder)?;
    for feed in &status.feeds {
        writeln!(out, "feed       {}", feed.address)?;
        writeln!(
            out,
            "           epoch {}, list {}, {} torrents",
            feed.epoch, feed.generation, feed.items
        )?;
        if let Some(trouble) = &feed.trouble {
            writeln!(out, "           {trouble}")?;
        }
    }
    let mut states: Vec<_> = status.files.iter().map(|file| file.state).collect();
    states.sort_unstable();
    for group in states.chunk_by(|a, b| a == b) {
        writeln!(out, "{:10} {}", group[0].word(), group.len())?;
    }
    if let Some((done, all)) = status.progress {
        writeln!(out, "progress   {} of {}", bytes(done), bytes(all))?;
    }
    writeln!(
        out,
        "uploaded   {}, {} a second, to {} peers",
        bytes(status.uploaded),
        bytes(status.upload_rate),
        status.peers
    )?;
    for seeder in &status.seeders {
        writeln!(
            out,
            "Seeder     {} at {}: {} torrents, {}",
            seeder.name,
            seeder.address,
            seeder.holds,
            bytes(seeder.bytes)
        )?;
    }
    for trouble in &status.troubles {
        writeln!(out, "trouble: {trouble}")?;
    }
    Ok(())
}

fn list(status: &Status, out: &mut dyn Write) -> anyhow::Result<()> {
    for file in &status.files {
        let hash = file.info_hash.as_deref().unwrap_or("-");
        // A name may hold what moves a terminal's cursor.
        write!(
            out,
            "{:11} {:>10} {hash:40} {}",
            file.state.word(),
            bytes(file.size),
            file.name.escape_debug()
        )?;
        match &file.reason {
            Some(reason) => writeln!(out, ": {reason}")?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
