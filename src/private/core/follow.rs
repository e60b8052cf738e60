//! What another process has written into the journal, followed while this one takes over from it.

use persist::journal::{Record, Said};
use persist::restart::{replay_fact, replay_gone};

use super::Private;

impl Private {
    /// Does what these records say, which are all of torrents that this core owns.
    pub(crate) fn follow(&mut self, records: &[Record]) {
        for record in records {
            match record {
                Record::Fact(fact) => {
                    let (was, is) = replay_fact(&mut self.swarms, fact);
                    self.count(fact.user, was, is);
                }
                Record::Gone(gone) => {
                    let was = replay_gone(&mut self.swarms, gone);
                    self.count(gone.user, was, None);
                }
                Record::Said(Said { change, .. }) => self.put(change),
                Record::Tick(_) => {}
            }
        }
    }
}
