//! How the private side of a core begins: with the torrents of the database and the peers of the journal.

use persist::journal::{JournalError, Reader, Record};
use shard::private::{Facts, Limits, Swarms};
use shard::{InfoHash, Seconds};

use super::books::{Beginning, PrivateOutfit};
use crate::config::Config;
use crate::core::message::Message;
use crate::core::outgoing::Outgoing;
use crate::core::private::Private;
use crate::mesh::Address;
use crate::route;

/// Records of the journal that are read at a time.
const RECORDS: usize = 4096;

/// Deletion reasons that all cores keep together.
const DELETIONS_MAX: usize = 100_000;

/// The private side of core `number` of `cores`.
pub(super) fn private(
    number: usize,
    cores: usize,
    settings: &Config,
    outfit: PrivateOutfit,
    home: Address<Message>,
    seed: u64,
    now: Seconds,
) -> Result<Private, JournalError> {
    let beginning = outfit.beginning(number);
    let mut swarms = Swarms::new(seed, limits(settings, cores));
    begin(&mut swarms, beginning);
    let mut private = Private {
        facts: swarms.limits().facts,
        swarms,
        accounts: outfit.accounts,
        rules: outfit.rules,
        outgoing: Outgoing::new(outfit.journal, home),
        site: outfit.site,
        gone: Vec::new(),
    };
    let owns = |info_hash: &InfoHash| route::owner(info_hash, cores) == number;
    let mut reader = Reader::open(outfit.journal_dir, outfit.journal_from)?;
    let mut records = Vec::new();
    while reader.position() < outfit.journal_to {
        records.clear();
        reader.read_into(RECORDS, &mut records)?;
        if records.is_empty() {
            break;
        }
        for record in &records {
            if let Record::Fact(fact) = record
                && owns(&fact.info_hash)
            {
                let (was, is) = private.swarms.replay(fact);
                private.count(fact.user, was, is);
            }
        }
    }
    private.swarms.believe_from(now);
    Ok(private)
}

fn begin(swarms: &mut Swarms, beginning: Beginning) {
    for (info_hash, terms, figures) in beginning.torrents {
        if let Err(refusal) = swarms.register(info_hash, terms) {
            tracing::error!(%refusal, "not all torrents of the database fit; raise torrents-max");
            break;
        }
        swarms.set_figures(&info_hash, figures.snatches, figures.balance);
    }
    for (user, info_hash, expires_at) in beginning.tokens {
        swarms.set_token(user, &info_hash, expires_at);
    }
    for (info_hash, reason, at) in beginning.deletions {
        swarms.set_deletion(info_hash, &reason, at);
    }
}

/// Each core's equal part of what the operator allows.
fn limits(settings: &Config, cores: usize) -> Limits {
    Limits {
        torrents_max: settings.torrents_max.div_ceil(cores),
        peers_max: settings.peers_max.div_ceil(cores),
        clients_max: settings.clients_per_torrent_max,
        peer_timeout: Seconds(settings.peer_timeout.as_secs() as u32),
        deletions_max: DELETIONS_MAX.div_ceil(cores),
        facts: if settings.database_peers { Facts::All } else { Facts::Changed },
    }
}
