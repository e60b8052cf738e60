//! Networks that the operator bans while the tracker runs.

use std::sync::Arc;

use ipnet::IpNet;
use ops::counters::Screening as Shown;
use ops::log::ErrorChain;
use ops::screening::Table;
use persist::DataDir;
use persist::bans::{Ban, Bans as Kept, BansError};
use shard::Seconds;

use super::cores::Cores;
use super::screening::Screening;
use crate::api::Failure;
use crate::control::{BansAnswer, BansAsked, State};
use crate::core::mesh::message::Command;

/// The bans that are in force.
pub(super) struct Bans {
    kept: Kept,
}

impl Bans {
    /// Those that are kept in the data folder.
    pub(super) fn open(data: &DataDir, now: Seconds) -> Result<Self, BansError> {
        let kept = Kept::open(data.path(), now)?;
        if !kept.is_empty() {
            tracing::info!(bans = kept.len(), "networks are banned; `margay bans` lists them");
        }
        Ok(Self { kept })
    }

    /// Their networks.
    pub(super) fn networks(&self) -> Vec<IpNet> {
        self.kept.after(None).map(|ban| ban.network).collect()
    }

    /// The rules where there are no others; `None` without bans.
    pub(super) fn alone(&self) -> Option<Arc<Table>> {
        let networks = self.networks();
        (!networks.is_empty()).then(|| Arc::new(Table::open().banning(&networks)))
    }

    /// Does what is asked; with it, whether there are other bans now.
    pub(super) fn hear(
        &mut self,
        asked: BansAsked,
        now: Seconds,
    ) -> (Result<BansAnswer, Failure>, bool) {
        let not_written = |error: BansError| match error {
            BansError::TooMany => Failure::bad(error.to_string()),
            error => Failure::NotWritten(ErrorChain(&error).to_string()),
        };
        match asked {
            BansAsked::Page(after, limit) => {
                let page = self.kept.after(after).take(limit).cloned().collect();
                (Ok(BansAnswer::Bans(page)), false)
            }
            BansAsked::Put { networks, time, reason } => {
                let until = time.map(|time| now + time);
                let ban = |network| Ban { network, until, since: now, reason: reason.clone() };
                let bans: Vec<Ban> = networks.into_iter().map(ban).collect();
                match self.kept.put(bans.clone()) {
                    Ok(()) => (Ok(BansAnswer::Bans(bans)), true),
                    Err(error) => (Err(not_written(error)), false),
                }
            }
            BansAsked::Remove(network) => match self.kept.remove(&network) {
                Ok(was_there) => {
                    let around = self.kept.around(&network).map(|ban| ban.network);
                    (Ok(BansAnswer::Removed(was_there, around)), was_there)
                }
                Err(error) => (Err(not_written(error)), false),
            },
        }
    }

    /// Ends those that are over; whether there were any.
    pub(super) fn expire(&mut self, now: Seconds) -> bool {
        let over = self.kept.expire(now);
        for ban in over.iter().take(LINES_MAX) {
            tracing::info!(network = %ban.network, reason = &*ban.reason, "a ban is over");
        }
        if over.len() > LINES_MAX {
            tracing::info!(others = over.len() - LINES_MAX, "bans are over");
        }
        !over.is_empty()
    }

    /// Has all cores keep to them, beside the other rules.
    pub(super) fn tell(&self, screening: Option<&mut Screening>, cores: &Cores, state: &State) {
        let table = match screening {
            Some(screening) => {
                screening.ban(self.networks());
                screening.show(state);
                screening.table()
            }
            None => {
                state.show_screening(Shown { bans: self.kept.len(), ..Shown::default() });
                self.alone().unwrap_or_else(|| Arc::new(Table::open()))
            }
        };
        cores.tell_all(&Command::Screening(table.clone()));
        state.screen_by(table);
    }
}

/// Bans that are over at once and are written into the log one by one.
const LINES_MAX: usize = 20;
