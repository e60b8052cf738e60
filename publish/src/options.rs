//! Every option of the publisher, declared once: those of the Master and those of a Seeder.
//!
//! [`Master`] and [`Seeder`] are two tables, as one machine may run both. What they share is in groups: [`File`],
//! [`Peers`], [`Screening`] and [`Log`]. Flags, variables, TOML keys, help and pages are made of them by `ops::options`, as the
//! tracker's are.

mod check;
mod program;
mod value;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ops::log::LogFormat;
use ops::options;
use ops::options::{Bytes, Name, Secret, SecretError};
use ops::screening::lookups::{self, Preset, Provider, RecordKind, Zone};
use ops::screening::{Country, Sources, Verdict};

use crate::feed::{FeedAddress, KEY_FILE, KeyError, KeyPair, PublicKey};
use crate::watch as watching;

pub use value::{
    Fetcher, Filter, Folder, Line, Order, Overwrite, PieceLength, SignedFeed, Tier, WebUrl,
};

options! {
    /// Where the options are.
    pub struct File;

    /// TOML file to read options from; flags and environment variables go before it.
    @NotInFile
    config: Option<PathBuf> = "none";
}

options! {
    /// How other peers are met.
    pub struct Peers;

    /// Address to answer other peers on (BEP 3, TCP); repeatable.
    ///
    /// An IPv6 address takes IPv6 only, so both families need an address each.
    listen: Vec<SocketAddr> = "0.0.0.0:6881", "[::]:6881";

    /// Port that trackers are told, where it is not that of `listen`: behind a router that forwards another one.
    announce_port: Option<u16> = "none" in "1" ..= "65535";

    /// Most bytes a second that are uploaded to all peers together.
    upload_rate: Option<Bytes> = "none" in "1KiB" ..= "1024GiB";
}

options! {
    /// Who gets nothing for its address.
    pub struct Screening;

    /// Country that gets nothing, by its two letters (ISO 3166-1); repeatable. It needs a `screen-database` or `screen-dns`.
    ///
    /// No connection of it is answered and none is made to it, for content, feed and peers. What goes before what is in
    /// docs/screening.md; `margay screen ADDRESS`, with the same options, says what happens to an address and why.
    screen_deny_country: Vec<Country> = "none";

    /// Country that is served, and others are not; repeatable. It needs a `screen-database` or `screen-dns`.
    screen_allow_country: Vec<Country> = "none";

    /// File with networks that get nothing, one a line; repeatable.
    ///
    /// Read again within seconds when it changes, and on SIGHUP; a file with a mistake leaves all rules as they were.
    screen_deny_list: Vec<PathBuf> = "none";

    /// File with networks that are served whatever else is said of them, one a line; repeatable.
    screen_allow_list: Vec<PathBuf> = "none";

    /// Database of countries in MaxMind's format (`.mmdb`), of IPv4, IPv6 or both; repeatable.
    screen_database: Vec<PathBuf> = "none";

    /// What happens to an address whose country is not known, where there are rules about countries: `allow`, `deny` or
    /// `defer`.
    ///
    /// With `screen-dns` that is also while a country is being looked up. Who is deferred waits two seconds for that over
    /// HTTP, and is told to come back in a minute (503) where nobody knows it then; a peer's connection is closed. Without
    /// `screen-dns`, `defer` is `deny`. The default is `deny` with `screen-allow-country`, else `allow`.
    screen_unknown: Option<Verdict> = "none";

    /// Who is asked by DNS for countries that no database names: `cymru` (Team Cymru) or `nerd.dk`.
    ///
    /// It says the zones, records and field of the answer, each of which an option below says otherwise.
    screen_dns: Option<Preset> = "none";

    /// DNS zone that is asked for the countries of IPv4 addresses, as `4.3.2.1.ZONE`.
    screen_dns_zone: Option<Zone> = "none";

    /// DNS zone that is asked for the countries of IPv6 addresses, by its 32 hexadecimal digits.
    screen_dns_zone_v6: Option<Zone> = "none";

    /// What the zones answer with: `txt`, a text that names a country, or `a`, an address 127.0.x.y with its number.
    ///
    /// The default is what `screen-dns` says, else `txt`.
    screen_dns_record: Option<RecordKind> = "none";

    /// Which field of a text is the country, from 1. Fields are parted by `|`, `,` or `;`.
    ///
    /// The default is what `screen-dns` says, else 1.
    screen_dns_field: Option<u16> = "none" in "1" ..= "32";

    /// Name server that is asked, as an address with a port; repeatable. Without one, those of `/etc/resolv.conf`.
    screen_dns_server: Vec<SocketAddr> = "none";

    /// Most questions a second to the name servers.
    screen_dns_rate: usize = "100" in "1" ..= "100000";

    /// Most networks whose countries are remembered: a /24 or /48 each.
    screen_dns_networks: usize = "25000" in "1000" ..= "10000000";
}

impl Screening {
    /// What the rules are made of; `None` without any.
    pub fn sources(&self) -> Option<Sources> {
        let sources = self.all();
        (!sources.is_empty()).then_some(sources)
    }

    /// Who is asked for countries that no database names, and how; `None` where nobody is, or there are no rules about
    /// countries. They are kept in the folder `data` over a restart.
    pub fn lookups(&self, data: &Path) -> Option<lookups::Options> {
        Some(lookups::Options {
            preset: self.screen_dns,
            provider: self.provider().filter(|_| self.has_countries())?,
            servers: self.screen_dns_server.clone(),
            rate: self.screen_dns_rate as u32,
            networks_max: self.screen_dns_networks,
            folder: data.to_owned(),
        })
    }

    /// Whether there are rules about countries.
    pub(crate) fn has_countries(&self) -> bool {
        !self.screen_deny_country.is_empty() || !self.screen_allow_country.is_empty()
    }

    /// Who is asked, whether or not there are rules about countries.
    pub(crate) fn provider(&self) -> Option<Provider> {
        let zones = (self.screen_dns_zone.clone(), self.screen_dns_zone_v6.clone());
        let field = self.screen_dns_field.map(|field| field as u8);
        Provider::of(self.screen_dns, zones, self.screen_dns_record, field)
    }

    /// What is wrong with these options together, and which ones those are.
    pub(crate) fn mistakes(
        &self,
    ) -> impl Iterator<Item = (&'static [&'static str], String)> + use<> {
        self.all().mistakes()
    }

    fn all(&self) -> Sources {
        let follows = match self.screen_allow_country[..] {
            [] => Verdict::Allow,
            _ => Verdict::Deny,
        };
        Sources {
            deny_countries: self.screen_deny_country.clone(),
            allow_countries: self.screen_allow_country.clone(),
            deny_lists: self.screen_deny_list.clone(),
            allow_lists: self.screen_allow_list.clone(),
            databases: self.screen_database.clone(),
            unknown: self.screen_unknown.unwrap_or(follows),
            has_lookups: self.provider().is_some(),
        }
    }
}

options! {
    /// What is logged.
    pub struct Log;

    /// What is logged: `off`, `error`, `warn`, `info`, `debug` or `trace`.
    ///
    /// Single parts by name after a comma, as in `info,publish::feed=debug`. What librqbit says of its own is off: what
    /// comes of it is said by the Seeder, once. So it is with TLS.
    log: Filter = "info,librqbit=off,librqbit_core=off,librqbit_tracker_comms=off,rustls_platform_verifier=off";

    /// How it is logged: `human` or `json`.
    log_format: LogFormat = "human";
}

options! {
    /// The options of the Master. Every value is within its range, and they fit each other.
    pub struct Master, "MARGAY_PUBLISH_";

    ["Start" ..file: File]

    /// Folder for the manifest, the torrents and the feed's key, made when it is not there.
    ///
    /// Under systemd the default is the service's state directory.
    data: PathBuf = "./margay-publish-data" or "STATE_DIRECTORY";

    /// Address of status, metrics, health and commands, or `none`. Keep it away from the public.
    control: Option<SocketAddr> = "127.0.0.1:6981";

    ["Content"]

    /// Folder whose files are published, each as a torrent; a folder in it is a torrent of several files. Needed.
    ///
    /// Nothing is ever written to it.
    watch: Option<PathBuf> = "none";

    /// How long nothing of a new name may change before it counts as uploaded.
    ///
    /// It has to be longer than uploads pause.
    settle: Duration = "10s" in "100ms" ..= "1h";

    /// When a name that is published is published anew after it was written to in place: `rename`, `marker` or `settle`.
    ///
    /// scp, `cp` and `rsync --inplace` write over the old file, and one that breaks off leaves a file of full size with a
    /// new head and an old tail. `rename` waits for a file that is renamed over it, as rsync does of itself, or for a
    /// done-marker that is newer than the last write. `marker` waits for that marker in any case. `settle` waits for
    /// `overwrite-settle`: an upload that breaks off and is not resumed within it is published broken.
    overwrite: Overwrite = "rename";

    /// With `overwrite` at `settle`: how long nothing of a name that was written over may change.
    overwrite_settle: Duration = "10m" in "100ms" ..= "24h";

    /// Publish a name only when its done-marker is there: `film.mkv.done` says that `film.mkv` is whole.
    done_marker: bool = "false";

    /// How many threads hash. `all` takes every CPU the process may run on.
    hash_threads: Option<usize> = "all" in "1" ..= "1024";

    ["Torrents"]

    /// Announce URL that is written into torrents; repeatable. Needed.
    ///
    /// Each is a tier of its own (BEP 12), in this order: clients ask the next one when the one before does not answer.
    /// Several URLs in one value, with blanks between them, share a tier. A comma begins the next tier.
    tracker: Vec<Tier> = "none";

    /// Announce URL that the Master itself announces to, instead of `tracker`; repeatable, with the same tiers.
    ///
    /// So it announces with a passkey of its own at a private tracker, and nobody else learns it.
    tracker_override: Vec<Tier> = "none";

    /// URL under which the folder `watch` can be read, such as `https://host/files/`: a web seed in each torrent (BEP 19).
    ///
    /// `serve` serves it under `/files/`.
    files_url: Option<Folder> = "none";

    /// Have clients ask for peers at these trackers only (BEP 27). It changes the infohash.
    private: bool = "false";

    /// Name of the site in each torrent, so that its infohash is not that of another site's.
    source: Option<Line> = "none";

    /// What users are told in each torrent.
    comment: Option<Line> = "none";

    /// Bytes in a piece, a power of two; `auto` takes the least that makes at most 2,000 pieces, from 256 KiB to 16 MiB.
    piece_length: Option<PieceLength> = "auto" in "16KiB" ..= "16MiB";

    ["Feed"]

    /// Folder for torrents and feed, as a web server serves them. Needed.
    docroot: Option<PathBuf> = "none";

    /// URL of the feed in `docroot`, such as `https://host/feed.xml`; the torrents are beside it. Needed.
    feed_url: Option<WebUrl> = "none";

    /// Title of the feed.
    feed_title: Line = "margay";

    /// Most torrents in the feed, the newest. Seeders follow the list beside it, which has them all.
    feed_items: u16 = "100" in "1" ..= "1000";

    /// Address to serve the docroot and `/files/` on over HTTP, or `none` where a web server does.
    serve: Option<SocketAddr> = "none";

    /// Certificate that `serve` is spoken to with over TLS, with those that lead to its authority (PEM), or `none`.
    ///
    /// It is read again within seconds of a change.
    tls_certificate: Option<PathBuf> = "none";

    /// Private key of `tls-certificate` (PEM).
    tls_key: Option<PathBuf> = "none";

    /// File with the key that the feed is signed with; `none` takes `feed.key` in the data folder, made at the first start.
    key_file: Option<PathBuf> = "none";

    ["Peers" ..peers: Peers]

    ["Screening" ..screening: Screening]

    ["Tracker"]

    /// Control listener of a margay that is told which torrents it serves: `http://HOST:PORT`.
    ///
    /// A private tracker, and one with an allow-list, have to be told; one that is open to all needs nothing.
    tracker_api: Option<WebUrl> = "none";

    /// Token of its API, as `margay api-token create` prints it.
    ///
    /// Other users of the machine can read flags: prefer `tracker-api-token-file` or the environment.
    @Secret
    tracker_api_token: Option<Secret> = "none";

    /// File with that token.
    tracker_api_token_file: Option<PathBuf> = "none";

    ["Fail-over"]

    /// URL of the feed of another Master that this one stands by for, or that stands by for this one; repeatable.
    ///
    /// Both have the same `key-file`, each has a `feed-url` of its own, and Seeders are given both. A standby holds what
    /// the Master publishes, and becomes the Master when the lease in `database` is free, or by `margay publish promote`.
    standby_of: Vec<WebUrl> = "none";

    /// PostgreSQL with the lease, for several Masters of which one works: `postgres://USER@HOST/DATABASE`.
    ///
    /// Other users of the machine can read flags: give it as `MARGAY_PUBLISH_DATABASE`, or leave the password out and
    /// name `database-password-file`. With `?sslmode=require` the connection is encrypted.
    @Secret
    database: Option<Secret> = "none";

    /// File with the password for `database`.
    database_password_file: Option<PathBuf> = "none";

    /// Schema of the lease's table in `database`, made when it is not there.
    database_schema: Name = "margay";

    /// Name of the lease: Masters that stand in for each other have the same one.
    lease_name: Name = "publish";

    /// Name of this Master; each has one of its own.
    lease_holder: Name = "main";

    /// How long the lease lasts when its holder is gone.
    lease_time: Duration = "15s" in "2s" ..= "1h";

    ["Log" ..log: Log]
}

options! {
    /// The options of a Seeder. Every value is within its range, and they fit each other.
    pub struct Seeder, "MARGAY_SEED_";

    ["Start" ..file: File]

    /// Folder for content and torrents, made when it is not there.
    ///
    /// Under systemd the default is the service's state directory.
    data: PathBuf = "./margay-seed-data" or "STATE_DIRECTORY";

    /// Address of status, metrics, health and commands, or `none`. Keep it away from the public.
    control: Option<SocketAddr> = "127.0.0.1:6982";

    ["Feed"]

    /// URL of a Master's feed with its key, `https://host/feed.xml#ed25519=KEY`; repeatable. Needed.
    ///
    /// `margay-publish publish key` prints it. What is not signed with this key is not followed.
    feed: Vec<SignedFeed> = "none";

    /// How often the feed is asked for, with some chance to both sides.
    poll: Duration = "60s" in "1s" ..= "24h";

    /// How long a torrent has to be gone from the feed, in two answers at least, before it is removed here.
    removal_wait: Duration = "5m" in "0s" ..= "30d";

    /// Largest share of a feed that may go at once. Of more, nothing is removed until the Master says that it is meant.
    removal_share: f64 = "30%" in "0%" ..= "100%";

    ["Content"]

    /// Most bytes of content on the disk.
    ///
    /// Where not everything fits, `order` says what is held.
    disk_max: Option<Bytes> = "none" in "1MiB" ..= "1048576GiB";

    /// What goes first: `newest`, `oldest` or `rarest`.
    ///
    /// With `newest` the oldest give way to new ones. With `oldest` new ones wait for room. With `rarest` those come first
    /// that the fewest seed, and what is held stays.
    order: Order = "newest";

    /// Most torrents that are fetched at a time.
    fetches_max: u16 = "8" in "1" ..= "256";

    ["Peers" ..peers: Peers]

    /// Most bytes a second that are downloaded from all peers together.
    download_rate: Option<Bytes> = "none" in "1KiB" ..= "1024GiB";

    /// Announce URL to use instead of those in the torrents; repeatable, with the same tiers as `tracker` of the Master.
    ///
    /// So a Seeder announces with a passkey of its own at a private tracker.
    tracker_override: Vec<Tier> = "none";

    ["Screening" ..screening: Screening]

    ["Engine"]

    /// What fetches: `rqbit`, within this process, or `transmission`, a transmission-daemon on this machine.
    engine: Fetcher = "rqbit";

    /// RPC of the transmission-daemon.
    transmission_url: WebUrl = "http://127.0.0.1:9091/transmission/rpc";

    /// Its `rpc-username`, where it asks for one.
    transmission_user: Option<Line> = "none";

    /// Its `rpc-password`.
    ///
    /// Other users of the machine can read flags: prefer `transmission-password-file` or the environment.
    @Secret
    transmission_password: Option<Secret> = "none";

    /// File with that password.
    transmission_password_file: Option<PathBuf> = "none";

    ["Log" ..log: Log]
}

impl Master {
    /// The folder whose files are published.
    pub fn watch(&self) -> &Path {
        self.watch.as_deref().expect(NEEDED)
    }

    /// The folder for torrents and feed.
    pub fn docroot(&self) -> &Path {
        self.docroot.as_deref().expect(NEEDED)
    }

    /// Where the feed is.
    pub fn feed_url(&self) -> &WebUrl {
        self.feed_url.as_ref().expect(NEEDED)
    }

    /// The key that the feed is signed with, which is made where there is none.
    pub fn key(&self) -> Result<KeyPair, KeyError> {
        KeyPair::open_file(&self.key_path())
    }

    /// Where the key of the feed is.
    pub fn key_path(&self) -> PathBuf {
        self.key_file.clone().unwrap_or_else(|| self.data.join(KEY_FILE))
    }

    /// The token of the tracker's API, if there is one.
    pub fn given_tracker_api_token(&self) -> Result<Option<Secret>, SecretError> {
        Secret::given(self.tracker_api_token.as_ref(), self.tracker_api_token_file.as_deref())
    }

    /// The password of the database, if a file has one.
    pub fn given_database_password(&self) -> Result<Option<Secret>, SecretError> {
        Secret::given(None, self.database_password_file.as_deref())
    }
}

impl Seeder {
    /// The feeds with their keys.
    pub fn feeds(&self) -> Vec<(FeedAddress, PublicKey)> {
        let parsed = |feed: &SignedFeed| {
            let key = PublicKey::parse(&feed.key).expect("it was looked at when it was read");
            (FeedAddress { url: feed.url.clone(), key: Some(key) }, key)
        };
        self.feed.iter().map(parsed).collect()
    }

    /// The password of the transmission-daemon, if there is one.
    pub fn given_transmission_password(&self) -> Result<Option<Secret>, SecretError> {
        Secret::given(
            self.transmission_password.as_ref(),
            self.transmission_password_file.as_deref(),
        )
    }
}

impl Overwrite {
    /// The same for the watcher.
    pub fn rule(self) -> watching::Overwrite {
        match self {
            Overwrite::Rename => watching::Overwrite::Rename,
            Overwrite::Marker => watching::Overwrite::Marker,
            Overwrite::Settle => watching::Overwrite::SettleLonger,
        }
    }
}

/// Why what a start needs is there: `check` has refused options without it. What is loaded for a command alone may lack it.
const NEEDED: &str = "options without it are refused when they are loaded for a start";
