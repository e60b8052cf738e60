//! What is read again while the tracker serves: lists, rules about addresses, certificates.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;

use ops::lists::{ListError, TorrentLists};
use ops::log::ErrorChain;

use super::Server;
use crate::config::Config;
use crate::control;
use crate::core::mesh::message::Command;

impl Server<'_> {
    /// Reads lists, rules about addresses and certificates again.
    pub(super) fn read_again(&mut self) {
        let _ = self.reload_lists();
        if let Some(screening) = &mut self.screening {
            let _ = screening.read(&self.cores, &self.state);
        }
        if let Some(certificates) = &mut self.certificates {
            certificates.read(&self.cores, &self.state);
        }
        if let Some(successors) = &mut self.successors {
            successors.reload();
        }
    }

    /// Reads the lists again; with a mistake in them, the old ones stay. What they are, for people.
    pub(super) fn reload_lists(&mut self) -> Result<String, String> {
        let Config { allow_list, deny_list, private, .. } = self.config;
        if *private {
            return Err(
                "a private tracker serves what is registered, and has no lists\n".to_owned()
            );
        }
        match read_lists(self.config) {
            Ok(lists) => {
                let (allowed, denied) = lists.sizes();
                say_sizes(&lists, &self.state);
                let allowed = allowed.map_or("all".to_owned(), |allowed| allowed.to_string());
                tracing::info!(allowed, denied, "lists reloaded");
                let refused = lists.refused_since(&self.lists).copied().collect();
                self.lists = Arc::new(lists);
                self.cores.tell_all(&Command::Lists(self.lists.clone()));
                self.cores.tell_all(&Command::Forget(Arc::new(refused)));
                let said = |name: &str, path: &Option<PathBuf>, torrents: &dyn Display| match path {
                    Some(path) => {
                        let path = path.canonicalize().unwrap_or_else(|_| path.clone());
                        format!("{name} {}: {torrents} torrents\n", path.display())
                    }
                    None => format!("{name} none\n"),
                };
                Ok(said("allow-list", allow_list, &allowed)
                    + &said("deny-list", deny_list, &denied))
            }
            Err(error) => {
                self.state.update_lists(|known| known.reloads_failed += 1);
                tracing::error!(
                    error = %ErrorChain(&error),
                    "lists not reloaded; the ones from before stay in force"
                );
                Err(format!("{}\nthe lists from before stay in force\n", ErrorChain(&error)))
            }
        }
    }

    /// Options other than what is in the lists count from the next start.
    pub(super) fn say_what_changed(&self) {
        match (self.changed)() {
            Ok(names) if names.is_empty() => {}
            Ok(names) => tracing::warn!(
                options = names.join(", "),
                "the configuration has changed in these; they count from the next start"
            ),
            Err(error) => tracing::error!(
                error = %ErrorChain(&error),
                "the configuration has a mistake by now; the tracker goes on as it was started, and would not start \
                 with it"
            ),
        }
    }
}

pub(super) fn read_lists(config: &Config) -> Result<TorrentLists, ListError> {
    let Config { allow_list, deny_list, listed, .. } = config;
    let lists = TorrentLists::load(allow_list.as_deref(), deny_list.as_deref())?;
    Ok(if *listed { lists.listed() } else { lists })
}

/// Tells the metrics how many torrents the lists name.
pub(super) fn say_sizes(lists: &TorrentLists, state: &control::State) {
    let (allowed, denied) = lists.sizes();
    state.update_lists(|known| {
        known.allowed = allowed.map(|allowed| allowed as u64);
        known.denied = denied as u64;
    });
}
