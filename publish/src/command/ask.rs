//! Commands that ask a Master or a Seeder that is running, over its control listener.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use reqwest::{Client, Method};

use crate::feed::{FeedAddress, KeyPair, OLD_KEY_FILE};
use crate::master;
use crate::options::{Master, Seeder};
use crate::web::Command;
use crate::web::page::bytes;
use crate::web::status::{File, FileState, Status};

/// Options that say where the Master or the Seeder is.
pub const PLACE: &[&str] = &["config", "control"];

/// Options that say where the feed's key is, and what its address is.
pub const KEY: &[&str] = &["config", "data", "feed-url", "key-file"];

/// What is asked of a Master or a Seeder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// How it is.
    Status,
    /// How it is, again and again, as bars.
    Follow,
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
    /// To remove what is held for a feed of this key, which is not followed any more.
    Drop(String),
}

/// Asks the Master that `options` say the place of, and writes its answer; as JSON where that is wanted.
pub fn master(options: &Master, ask: &Ask, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    asked(options.control, ask, json, out)
}

/// The same for a Seeder.
pub fn seeder(options: &Seeder, ask: &Ask, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    asked(options.control, ask, json, out)
}

/// What is to be done with the key of the feed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyTask {
    /// It is shown; made where there is none.
    Show,
    /// The one that is to follow is made, and shown.
    Next,
    /// The one that was to follow is the key from now on.
    Switch,
}

/// Writes the address of the feed with its public key, as Seeders are to be given it.
pub fn key(options: &Master, task: KeyTask, out: &mut dyn Write) -> anyhow::Result<()> {
    crate::durable::folder(&options.data)?;
    if task != KeyTask::Show && options.key_file.is_some() {
        bail!(
            "a key of --key-file is changed by whoever brings it to all Masters: put the new one there, and start them again"
        );
    }
    let was_there = options.key_path().exists();
    let key = match task {
        KeyTask::Show => options.key()?,
        KeyTask::Next => {
            writeln!(
                out,
                "start the Master again: its lists name this key from then on; wait until all Seeders have asked, then \
                 `margay publish key --switch`"
            )?;
            KeyPair::begin_rotation(&options.data)?
        }
        KeyTask::Switch => {
            let key = KeyPair::end_rotation(&options.data)?;
            writeln!(
                out,
                "start the Master again: this key signs from then on, and new Seeders are given it; the old one is kept as \
                 {OLD_KEY_FILE}"
            )?;
            key
        }
    };
    match &options.feed_url {
        Some(url) => {
            let address = FeedAddress { url: url.0.clone(), key: Some(key.public()) };
            writeln!(out, "{address}")?;
        }
        None => {
            writeln!(out, "{}", key.public())?;
            eprintln!(
                "this is the key alone: with --feed-url, or with --config, it is the address that `margay seed --feed` takes"
            );
        }
    }
    if !was_there && master::has_published(&options.data) {
        eprintln!("{}", master::NEW_KEY);
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
            Ask::Follow => return self.follow().await,
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
            Ask::Drop(key) => vec![Command::Drop { key: key.clone() }],
        };
        for command in commands {
            let body = serde_json::to_string(&command)?;
            let done = self.say(Method::POST, "command", Some(body)).await?;
            write!(out, "{done}")?;
        }
        Ok(())
    }

    /// Draws a bar for all that is hashed or fetched, and one for each file, until it is ended.
    async fn follow(&self) -> anyhow::Result<()> {
        let bars = MultiProgress::new();
        let style =
            |template: &str| ProgressStyle::with_template(template).expect("it is a template");
        let whole = bars.add(ProgressBar::new(0));
        whole.set_style(style("{msg}\n{wide_bar} {bytes} of {total_bytes} {bytes_per_sec} {eta}"));
        let mut files: HashMap<String, ProgressBar> = HashMap::new();
        loop {
            let text = self.say(Method::GET, "status.json", None).await?;
            let status: Status = serde_json::from_str(&text).context("the answer is no status")?;
            whole.set_message(headline(&status));
            let (done, all) = status.progress.unwrap_or_default();
            whole.set_length(all);
            whole.set_position(done);
            let moves =
                |file: &&File| matches!(file.state, FileState::Hashing | FileState::Fetching);
            let now: Vec<&File> = status.files.iter().filter(moves).take(BARS_MAX).collect();
            files.retain(|name, bar| {
                let stays = now.iter().any(|file| file.name == *name);
                if !stays {
                    bar.finish_and_clear();
                }
                stays
            });
            for file in now {
                let bar = files.entry(file.name.clone()).or_insert_with(|| {
                    let bar = bars.add(ProgressBar::new(file.size));
                    bar.set_style(style("{wide_bar} {percent:>3}% {msg}"));
                    bar
                });
                bar.set_length(file.size);
                bar.set_position(file.done);
                bar.set_message(format!("{} {}", file.state.word(), file.name.escape_debug()));
            }
            tokio::time::sleep(FOLLOW_PERIOD).await;
        }
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

/// The line above the bars.
fn headline(status: &Status) -> String {
    let count = |state| status.files.iter().filter(|file| file.state == state).count();
    let trouble = status.troubles.first().map(|trouble| format!("\ntrouble: {trouble}"));
    format!(
        "{}: {} seeding, {} failed, {} a second uploaded to {} peers{}",
        status.role.word(),
        count(FileState::Seeding),
        count(FileState::Failed),
        bytes(status.upload_rate),
        status.peers,
        trouble.unwrap_or_default(),
    )
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

/// Files with a bar of their own.
const BARS_MAX: usize = 10;

/// How often a bar moves.
const FOLLOW_PERIOD: Duration = Duration::from_millis(500);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
