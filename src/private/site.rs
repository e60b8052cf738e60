//! What every core knows of the site: its passwords, and which clients it allows.

pub mod audit;
pub mod calls;
pub mod credits;
pub mod report;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shard::Seconds;
use shard::private::ClientPrefix;

use self::audit::SiteAudit;
use self::credits::Credits;
use super::torrents::hybrids::Hybrids;
use super::torrents::numbers::Numbers;
use super::users::unwritten::Unwritten;
use crate::config::Secret;
use crate::wire::ocelot::Stats;
use crate::wire::private::ClientRules;
use ops::slot::Slot;

/// The site, as every core knows it.
#[derive(Debug, Default)]
pub struct Site {
    update: Option<Secret>,
    report: Option<Secret>,
    rules: Mutex<Rules>,
    slots: Vec<Arc<Slot>>,
    started: Seconds,
    numbers: Numbers,
    hybrids: Hybrids,
    /// Rules that were changed through the tracker, and may not be in the database yet.
    unwritten: Mutex<Unwritten<ClientPrefix>>,
    audit: Option<SiteAudit>,
    credits: Option<Credits>,
}

/// The rules of clients.
#[derive(Debug, Default)]
struct Rules {
    rules: BTreeMap<ClientPrefix, bool>,
    /// Grows with every change.
    version: u64,
}

impl Site {
    /// The site with these passwords of `/update` and `/report`; without one, nobody has it. `slots` have
    /// the counters of each core, since `started`; what the site changes is noted in `audit`, and what users have so
    /// far is asked of `credits`.
    pub fn new(
        update: Option<Secret>,
        report: Option<Secret>,
        slots: Vec<Arc<Slot>>,
        started: Seconds,
        audit: SiteAudit,
        credits: Credits,
    ) -> Self {
        let (audit, credits) = (Some(audit), Some(credits));
        Self { update, report, slots, started, audit, credits, ..Self::default() }
    }

    /// What users were credited; `None` where there is no database, in tests.
    pub fn credits(&self) -> Option<&Credits> {
        self.credits.as_ref()
    }

    /// Who changed what; `None` where nobody asked for it, in tests.
    pub fn audit(&self) -> Option<&SiteAudit> {
        self.audit.as_ref()
    }

    /// Which torrent has which number, on all cores.
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// Which torrent has which second name, on all cores.
    #[inline]
    pub fn hybrids(&self) -> &Hybrids {
        &self.hybrids
    }

    /// What was said of rules of clients and may not be in the database yet.
    pub fn unwritten_rules(&self) -> MutexGuard<'_, Unwritten<ClientPrefix>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the tracker says of itself.
    pub fn stats(&self, interval: Seconds, now: Seconds) -> Stats {
        report::stats(&self.slots, now.since(self.started), interval)
    }

    /// The password of `/update`.
    pub fn update(&self) -> Option<&[u8]> {
        self.update.as_ref().map(|secret| secret.reveal().as_bytes())
    }

    /// The password of `/report`.
    pub fn report(&self) -> Option<&[u8]> {
        self.report.as_ref().map(|secret| secret.reveal().as_bytes())
    }

    /// Shows every rule of clients.
    pub fn for_each_rule(&self, mut visit: impl FnMut(&ClientPrefix, bool)) {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.rules.iter().for_each(|(prefix, allow)| visit(prefix, *allow));
    }

    /// Changes the rules of clients; what they are then.
    pub fn change_rules(
        &self,
        change: impl FnOnce(&mut BTreeMap<ClientPrefix, bool>),
    ) -> Arc<ClientRules> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.change(change)
    }

    /// What there is of a rule.
    pub fn rule(&self, prefix: &ClientPrefix) -> Option<bool> {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.rules.get(prefix).copied()
    }

    /// Which rules there are: another number whenever they have changed.
    pub fn rules_version(&self) -> u64 {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).version
    }

    /// Replaces the rules, if they are of this version still; what differed, and what they are then.
    pub fn replace_rules(
        &self,
        version: u64,
        with: BTreeMap<ClientPrefix, bool>,
    ) -> Option<(usize, Arc<ClientRules>)> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if rules.version != version || rules.rules == with {
            return None;
        }
        let gone = rules.rules.keys().filter(|prefix| !with.contains_key(*prefix)).count();
        let other = with.iter().filter(|(prefix, allow)| rules.rules.get(*prefix) != Some(allow));
        let differed = gone + other.count();
        Some((differed, rules.change(|rules| *rules = with)))
    }
}

impl Rules {
    fn change(
        &mut self,
        change: impl FnOnce(&mut BTreeMap<ClientPrefix, bool>),
    ) -> Arc<ClientRules> {
        change(&mut self.rules);
        self.version += 1;
        let rules = self.rules.iter().map(|(prefix, allow)| (prefix.clone(), *allow));
        Arc::new(ClientRules::new(rules))
    }
}
