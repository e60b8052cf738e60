//! Rules about addresses: read at the start, again when their files change and at SIGHUP.

use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use ops::counters::Screening as Shown;
use ops::log::ErrorChain;
use ops::screening::{Screening as Read, ScreeningError, Sources, Table};
use ops::watched::Changed;

use super::cores::Cores;
use crate::config::Config;
use crate::control::State;
use crate::core::mesh::message::Command;

/// Rules that are in force, and what is known of their files.
pub(super) struct Screening {
    sources: Sources,
    read: Read,
    /// Networks that get nothing, whatever else is said of them.
    banned: Vec<IpNet>,
    /// What is said by all of that.
    table: Arc<Table>,
    /// How the files were when they were looked at last and were other ones: still being written, or of no use.
    seen: Option<Changed>,
    failures: u64,
    trouble: Option<String>,
}

impl Screening {
    /// Reads what the options name; nothing without rules.
    pub(super) fn open(
        config: &Config,
        banned: Vec<IpNet>,
    ) -> Result<Option<Self>, ScreeningError> {
        let Some(sources) = config.screening() else { return Ok(None) };
        let began = Instant::now();
        let read = sources.read(false)?;
        let table = banning(&read.table, &banned);
        let opened = Self { sources, read, banned, table, seen: None, failures: 0, trouble: None };
        opened.say("addresses are screened", began);
        Ok(Some(opened))
    }

    /// The rules, for those who ask.
    pub(super) fn table(&self) -> Arc<Table> {
        self.table.clone()
    }

    /// Bans these networks from now on, and no others.
    pub(super) fn ban(&mut self, banned: Vec<IpNet>) {
        self.banned = banned;
        self.table = banning(&self.read.table, &self.banned);
    }

    /// Reads the files again when they have changed since and are at rest.
    pub(super) fn look(&mut self, cores: &Cores, state: &State) {
        let changed = self.read.changed();
        let is_at_rest = changed.is_some() && self.seen == changed;
        let was_tried = is_at_rest && self.trouble.is_some();
        if is_at_rest && !was_tried {
            let _ = self.read(cores, state);
        }
        if self.seen != changed {
            // What could not be used may be of use now.
            self.trouble = self.trouble.take().filter(|_| changed.is_none());
        }
        self.seen = changed;
    }

    /// Reads all again.
    ///
    /// # Errors
    /// The reason, in words; the rules from before stay in force.
    pub(super) fn read(&mut self, cores: &Cores, state: &State) -> Result<(), String> {
        let began = Instant::now();
        match self.sources.read(false) {
            Ok(read) => {
                self.read = read;
                self.table = banning(&self.read.table, &self.banned);
                self.trouble = None;
                cores.tell_all(&Command::Screening(self.table()));
                state.screen_by(self.table());
                self.show(state);
                self.say("rules about addresses read again", began);
                Ok(())
            }
            Err(error) => {
                let why = ErrorChain(&error).to_string();
                self.failures += 1;
                self.trouble = Some(why.clone());
                // Whoever reads the line finds the pages to say the same.
                self.show(state);
                tracing::error!(
                    error = why,
                    "rules about addresses not read; the ones from before stay in force"
                );
                Err(why)
            }
        }
    }

    /// Puts what there is to know where the pages find it.
    pub(super) fn show(&self, state: &State) {
        state.show_screening(Shown {
            sizes: Some(self.read.sizes),
            failures: self.failures,
            trouble: self.trouble.clone(),
            bans: self.banned.len(),
        });
    }

    fn say(&self, what: &str, began: Instant) {
        let sizes = self.read.sizes;
        tracing::info!(
            denied_networks = sizes.denied_networks,
            allowed_networks = sizes.allowed_networks,
            ranges_v4 = sizes.ranges_v4,
            ranges_v6 = sizes.ranges_v6,
            bytes = self.read.table.bytes(),
            seconds = (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            "{what}"
        );
        if self.sources.has_countries() && sizes.ranges_v6 <= 1 {
            tracing::warn!(
                "no database says the country of an IPv6 address; screen-unknown decides about all of them"
            );
        }
        if self.sources.has_countries() && sizes.ranges_v4 <= 1 {
            tracing::warn!(
                "no database says the country of an IPv4 address; screen-unknown decides about all of them"
            );
        }
    }
}

/// These rules with bans over them.
fn banning(table: &Arc<Table>, banned: &[IpNet]) -> Arc<Table> {
    if banned.is_empty() { table.clone() } else { Arc::new(table.banning(banned)) }
}
