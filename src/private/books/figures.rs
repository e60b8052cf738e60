//! How the books are, for the metrics.

use std::sync::atomic::Ordering::Relaxed;
use std::time::UNIX_EPOCH;

use ops::counters;
use persist::LedgerStatus;
use persist::books::State;
use persist::journal;
use persist::postgres::WatchStatus;

use super::Books;
use crate::private::site::calls::Calls;

impl Books {
    /// How the books are, for whoever asks. Nothing of it waits.
    pub(crate) fn figures(&self) -> impl Fn() -> counters::Books + Send + Sync + use<> {
        let (accounts, journal) = (self.accounts.clone(), self.journal.status().clone());
        let (ledger, watch) = (self.ledger.watch_status(), self.watch.watch_status());
        let calls = self.calls.as_ref().map(Calls::watch_status);
        let (opened_at, bytes_max) = (self.opened_at.clone(), self.journal_bytes_max);
        move || counters::Books {
            accounts: accounts.len() as u64,
            journal: journal_figures(&journal, opened_at.load(Relaxed), bytes_max),
            ledger: ledger_figures(&ledger(), &watch()),
            calls: calls.as_ref().map(|calls| calls()).unwrap_or_default(),
            // The control listener knows.
        }
    }
}

fn journal_figures(status: &journal::Status, opened_at: u64, bytes_max: u64) -> counters::Journal {
    let (end, damaged) = (status.end(), status.found_damage());
    counters::Journal {
        records: end.saturating_sub(opened_at),
        begin: status.begin(),
        end,
        durable: status.durable(),
        bytes: status.bytes(),
        bytes_max,
        kept_bytes: status.kept_bytes(),
        accepting: status.accepting(),
        refused_batches: status.refused_batches(),
        refused_records: status.refused_records(),
        syncs: status.syncs(),
        synced_at: status
            .last_sync_at()
            .map(|at| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()),
        sync_nanos: status.last_sync_time().as_nanos() as u64,
        damaged: damaged.len() as u64,
        damage: damaged
            .into_iter()
            .next()
            .map(|found| format!("{}: {}", found.path.display(), found.text)),
    }
}

fn ledger_figures(status: &LedgerStatus, watch: &WatchStatus) -> counters::Ledger {
    counters::Ledger {
        state: status.state.name(),
        states: &State::NAMES,
        state_text: status.state.text(),
        gaps: (status.gaps.count, status.gaps.records),
        set_aside: watch.set_aside,
        connected: status.connected,
        watching: watch.connected,
        unheard: watch.unheard,
        position: status.position,
        oldest_at: status.oldest_at.map(|at| f64::from(at.0)),
        facts: status.facts,
        changes: status.changes,
        batches: status.batches,
        batch_records: status.batch_records,
        batch_max: status.batch_max,
        batch_nanos: status.batch_time.as_nanos() as u64,
        batches_nanos: status.batches_time.as_nanos() as u64,
        retries: status.retries,
        rejected: status.rejected,
        unknown_users: status.unknown_users,
        unknown_torrents: status.unknown_torrents,
        unknown_tokens: status.unknown_tokens,
        suspected: status.suspected,
        notices: watch.notices,
        reloads: watch.reloads,
    }
}

#[cfg(test)]
mod tests {
    use persist::suspicion::Kind;

    use super::*;

    #[test]
    fn the_metrics_name_the_rules_as_the_table_does() {
        assert_eq!(counters::SUSPICION_KINDS, Kind::ALL.map(Kind::name));
    }
}
