//! The certificates of `https` and `control-https`, and who is shown them.

use std::sync::Arc;

use ops::tls::{Kept, KeptError};
use persist::DataDir;

use super::ServerError;
use super::cores::Cores;
use crate::config::Config;
use crate::control::State;
use crate::core::mesh::message::Command;

/// Certificates that are served.
pub(super) struct Certificates(Kept);

impl Certificates {
    /// Reads what the options name; nothing where nobody is shown any.
    pub(super) fn open(config: &Config, data: &DataDir) -> Result<Option<Self>, ServerError> {
        let files = config.tls_files().map_err(KeptError::Tls)?;
        if files.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self(Kept::open(files, data.path().join("tls-tickets"))?)))
    }

    /// What new connections are shown.
    pub(super) fn config(&self) -> Arc<rustls::ServerConfig> {
        self.0.config()
    }

    /// Looks whether something has changed, and shows it.
    pub(super) fn look(&mut self, cores: &Cores, state: &State) {
        if self.0.look() {
            self.tell(cores, state);
        }
    }

    /// Reads all again, as somebody asked for it. What cannot be used is said, and what was shown before stays.
    pub(super) fn read(&mut self, cores: &Cores, state: &State) {
        // It has been said.
        let _ = self.0.read(true);
        self.tell(cores, state);
    }

    fn tell(&self, cores: &Cores, state: &State) {
        cores.tell_all(&Command::Certificates(self.config()));
        self.show(state);
    }

    /// Puts what there is to know where the pages find it.
    pub(super) fn show(&self, state: &State) {
        state.show_certificates(self.config());
        state.show_tls(self.0.figures());
    }
}
