//! Whose turn it is: a Master alone always has it; of several one has it, and the others stand by.
//!
//! The turn has a number, the epoch, which grows with each Master that takes over, and Seeders follow the highest. It is
//! given by a lease in PostgreSQL, or by an operator (`margay publish promote`). A standby is a Seeder of the Master: it
//! holds content and torrents. When its turn comes, all that the last list has is published by it as it was, whether its
//! content is here whole or not: nothing is withdrawn by the change.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use persist::{DataDir, Database, Lease, LeaseOptions, Tenure};
use shard::InfoHash;
use tokio::sync::watch;
use tokio::task::block_in_place;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::BATCH;
use super::claim;
use super::docroot::Docroot;
use super::manifest::{Files, Item, Known, Manifest, ManifestError, Step};
use super::start::{StartError, Turn, folders, publish};
use crate::durable::{self, FileError, Readers};
use crate::feed::{FeedAddress, List, PublicKey, RemovalRules, TrustedKeys};
use crate::node::NodeOptions;
use crate::options::{self, Order};
use crate::screening::Screening;
use crate::seeder::{self, CONTENT, Ended, Held, HeldState, ITEMS, Own, Poller, Settings};
use crate::shelf::Shelf;
use crate::torrent::Metainfo;
use crate::watch::look;
use crate::web::status::Role;

/// Runs a Master until `stop`: at work, or standing by.
pub async fn run(options: &options::Master, stop: CancellationToken) -> Result<(), StartError> {
    let (data, folder) = folders(options)?;
    let _alone = DataDir::open(&data)?;
    let key = claim::key(options)?.public();
    let site = Site { options, data, folder, key };
    if let Some((lease, changes)) = site.lease()? {
        let lease = Arc::new(lease);
        let ended = site.by_lease(&lease, changes, &stop).await;
        // It is given back, so that the next one has it at once.
        if let Some(lease) = Arc::into_inner(lease) {
            block_in_place(|| lease.stop(GIVE_BACK_TIME));
        }
        return ended;
    }
    if options.standby_of.is_empty() {
        let epoch = site.epoch()?.unwrap_or(1);
        return publish(options, Turn { epoch, holds: Box::new(|| true) }, stop).await;
    }
    site.by_hand(&stop).await
}

/// A Master that may stand by.
struct Site<'o> {
    options: &'o options::Master,
    data: PathBuf,
    folder: PathBuf,
    key: PublicKey,
}

impl Site<'_> {
    /// The lease, where there is a database, and how it is.
    fn lease(&self) -> Result<Option<(Lease, watch::Receiver<Tenure>)>, StartError> {
        let Some(url) = &self.options.database else { return Ok(None) };
        let password = self.options.given_database_password()?;
        let password = password.as_ref().map(|password| password.reveal());
        let database = Database::new(url.reveal(), password, &self.options.database_schema.0)?;
        let wanted = LeaseOptions {
            name: self.options.lease_name.0.clone(),
            holder: self.options.lease_holder.0.clone(),
            time: self.options.lease_time,
        };
        let unknown = Tenure::Unknown { why: "it has not been asked yet".to_owned() };
        let (changed, changes) = watch::channel(unknown);
        let told = move |tenure| _ = changed.send(tenure);
        let lease = Lease::start(database, wanted, told).map_err(StartError::Thread)?;
        Ok(Some((lease, changes)))
    }

    /// The Master while the lease is held, and a standby otherwise.
    async fn by_lease(
        &self,
        lease: &Arc<Lease>,
        mut changes: watch::Receiver<Tenure>,
        stop: &CancellationToken,
    ) -> Result<(), StartError> {
        let mut list = None;
        // The first answer is there at once, unless the database is away.
        let asked = changes.wait_for(|tenure| !matches!(tenure, Tenure::Unknown { .. }));
        let _ = timeout(FIRST_ANSWER_TIME, asked).await;
        while !stop.is_cancelled() {
            let tenure = changes.borrow_and_update().clone();
            let over = stop.child_token();
            let watching =
                tokio::spawn(until_another(changes.clone(), tenure.clone(), over.clone()));
            match tenure {
                Tenure::Held(epoch) => {
                    tracing::info!(epoch, "the lease is ours: this is the Master");
                    self.take_over(epoch, list.take()).await?;
                    let lease = lease.clone();
                    let holds = Box::new(move || lease.tenure() == Tenure::Held(epoch));
                    publish(self.options, Turn { epoch, holds }, over).await?;
                }
                Tenure::Other { holder } => {
                    tracing::info!(holder, "the lease is another one's: this is a standby");
                    list = self.stand_by(over, false).await?.list.or(list);
                }
                Tenure::Unknown { why } => {
                    tracing::warn!(
                        why,
                        "nobody knows whose turn it is: this is a standby until the database answers"
                    );
                    list = self.stand_by(over, false).await?.list.or(list);
                }
            }
            watching.abort();
        }
        Ok(())
    }

    /// The Master when it was the last time and nobody has taken over since, and a standby until it is promoted.
    async fn by_hand(&self, stop: &CancellationToken) -> Result<(), StartError> {
        let mut epoch = self.epoch()?;
        let newest = self.newest_of_others().await?;
        if let (Some(own), Some(other)) = (epoch, &newest)
            && other.epoch > own
        {
            tracing::warn!(
                own,
                other = other.epoch,
                "another Master has taken over since: this is a standby"
            );
            epoch = None;
        }
        if epoch.is_none() {
            let ended = self.stand_by(stop.child_token(), true).await?;
            if !ended.promoted {
                return Ok(());
            }
            let list = ended.list.or(newest.map(Arc::new));
            let next =
                1 + list.as_ref().map_or(0, |list| list.epoch).max(self.epoch()?.unwrap_or(0));
            tracing::info!(epoch = next, "promoted: this is the Master");
            self.take_over(next, list).await?;
            epoch = Some(next);
        }
        let epoch = epoch.unwrap_or(1);
        publish(self.options, Turn { epoch, holds: Box::new(|| true) }, stop.clone()).await
    }

    /// Follows the others as a Seeder until `over`, or until it is promoted.
    async fn stand_by(&self, over: CancellationToken, by_hand: bool) -> Result<Ended, StartError> {
        let options = self.options;
        let settings = Settings {
            data: self.data.join(STANDBY),
            control: options.control,
            feeds: self.feeds(),
            rules: RemovalRules::default(),
            poll: POLL,
            node: NodeOptions {
                listen: options.peers.listen.clone(),
                announce_port: options.peers.announce_port,
                upload_rate: options.peers.upload_rate.map(|rate| rate.0 as u64),
                tiers: options.tracker_override.iter().map(|tier| tier.0.clone()).collect(),
                screening: Screening::open(
                    options.screening.sources(),
                    options.screening.lookups(&self.data.join(STANDBY)),
                )?,
            },
            download_rate: None,
            bytes_max: None,
            order: Order::Newest,
            fetches_max: FETCHES_MAX,
            fetcher: seeder::By::Rqbit,
            role: Role::Standby,
            may_be_promoted: by_hand,
            own: self.own()?,
        };
        Ok(seeder::follow(settings, over).await?)
    }

    /// What this one has published and still has, so that a standby does not fetch it.
    fn own(&self) -> Result<Vec<Own>, StartError> {
        let manifest = Manifest::open(&self.data)?;
        let mut own = Vec::new();
        for item in manifest.items().filter(|item| item.root == self.folder) {
            if Files::of(&look(&item.root.join(&item.name))).as_ref() != Some(&item.files_were) {
                continue;
            }
            if let Ok(metainfo) = Metainfo::parse(manifest.torrent(&item.info_hash)?) {
                let identities = item.files_were.identities();
                own.push(Own { metainfo: Arc::new(metainfo), root: item.root.clone(), identities });
            }
        }
        Ok(own)
    }

    /// Makes the manifest what the last list says: what this one had and the list has not was withdrawn meanwhile, and
    /// what the list has more is published from what the standby holds.
    async fn take_over(&self, epoch: u64, list: Option<Arc<List>>) -> Result<(), StartError> {
        let path = self.data.join(EPOCH);
        durable::write(&path, epoch.to_string().as_bytes(), Readers::All)?;
        // Nobody has published anything that was heard of: what is known here goes on.
        let list = match list {
            Some(list) => Some(list),
            None => self.newest_of_others().await?.map(Arc::new),
        };
        let Some(list) = list else { return Ok(()) };
        let mut manifest = Manifest::open(&self.data)?;
        manifest.is_behind(list.generation)?;
        let known: Vec<Item> = manifest.items().cloned().collect();
        let told: HashSet<InfoHash> = list.items.iter().map(|listed| listed.info_hash).collect();
        for item in known {
            if !told.contains(&item.info_hash) {
                tracing::info!(name = item.name, torrent = %item.info_hash, "it was withdrawn meanwhile, and stays out until it changes");
                let known = manifest.known(&item.name).cloned().unwrap_or_default();
                manifest.know(Known {
                    name: item.name,
                    withdrawn: Some(item.files_were),
                    ..known
                })?;
                manifest.forget(&item.info_hash)?;
            }
        }
        let standby = self.data.join(STANDBY);
        let shelf: Shelf<Held> = Shelf::open(&standby.join(ITEMS)).map_err(ManifestError::from)?;
        let poller = Poller::new()?;
        let content = standby.join(CONTENT);
        let docroot = Docroot::open(self.options.docroot())?;
        let mut new: Vec<(Item, Bytes)> = Vec::new();
        for listed in &list.items {
            if manifest.item(&listed.info_hash).is_some() {
                continue;
            }
            let torrent = match shelf.torrent(&listed.info_hash) {
                Ok(torrent) => Some(torrent),
                Err(_) => match url::Url::parse(&listed.torrent_url) {
                    Ok(url) => poller
                        .torrent(&url, listed.torrent_length, &listed.torrent_sha256)
                        .await
                        .ok(),
                    Err(_) => None,
                },
            };
            let Some(torrent) = torrent else {
                tracing::error!(name = listed.name, torrent = %listed.info_hash, "its torrent is nowhere to be had: it leaves the feed until its Master is back");
                continue;
            };
            let root = content.join(listed.info_hash.to_string());
            let is_whole = shelf
                .get(&listed.info_hash)
                .is_some_and(|held| matches!(held.state, HeldState::Complete(_)));
            // What is not whole is published all the same, as others have it.
            let files_were = Files::of(&look(&root.join(&listed.name))).filter(|_| is_whole);
            let item = Item {
                info_hash: listed.info_hash,
                name: listed.name.clone(),
                title: listed.title.clone(),
                size: listed.size,
                files: listed.files,
                files_were: files_were.unwrap_or(Files::Directory { device: 0, files: Vec::new() }),
                published: listed.published,
                root,
                // The last list told of it, and so does the first one of this turn.
                step: Step::Published,
            };
            block_in_place(|| docroot.put_torrent(&item.info_hash, &torrent))?;
            new.push((item, torrent));
            if new.len() >= BATCH {
                manifest.begin_all(&std::mem::take(&mut new))?;
            }
        }
        Ok(manifest.begin_all(&new)?)
    }

    /// The newest list of the others, where one answers.
    async fn newest_of_others(&self) -> Result<Option<List>, StartError> {
        let poller = Poller::new()?;
        let mut newest: Option<List> = None;
        for (address, key) in self.feeds() {
            let Ok(list) = poller.signed(&address.list_url(), &TrustedKeys::new(key)).await else {
                continue;
            };
            if newest.as_ref().is_none_or(|newest| {
                (newest.epoch, newest.generation) < (list.epoch, list.generation)
            }) {
                newest = Some(list);
            }
        }
        Ok(newest)
    }

    fn feeds(&self) -> Vec<(FeedAddress, PublicKey)> {
        let with_key = |url: &options::WebUrl| {
            (FeedAddress { url: url.0.clone(), key: Some(self.key) }, self.key)
        };
        self.options.standby_of.iter().map(with_key).collect()
    }

    /// The epoch in which this was the Master last.
    fn epoch(&self) -> Result<Option<u64>, StartError> {
        let path = self.data.join(EPOCH);
        match fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse() {
                Ok(epoch) => Ok(Some(epoch)),
                Err(_) => Err(StartError::Epoch { path }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::of("read", &path)(error).into()),
        }
    }
}

/// Ends `over` when the lease is not what it was.
async fn until_another(mut changes: watch::Receiver<Tenure>, was: Tenure, over: CancellationToken) {
    let _ = changes.wait_for(|now| *now != was).await;
    over.cancel();
}

/// Folder of what a standby holds, in the data folder.
const STANDBY: &str = "standby";

/// The epoch of the last turn, in the data folder.
const EPOCH: &str = "epoch";

/// How often a standby asks: what it has not heard of when it takes over, it cannot publish.
const POLL: Duration = Duration::from_secs(5);

/// Torrents that a standby fetches at a time.
const FETCHES_MAX: usize = 8;

/// How long the database is waited for at the start.
const FIRST_ANSWER_TIME: Duration = Duration::from_secs(5);

/// How long the lease is given back.
const GIVE_BACK_TIME: Duration = Duration::from_secs(3);
