//! Every option of the tracker, declared once: type, name, default, range and text.
//!
//! The table below is a struct and a list. The struct, [`Config`], is what the program reads; the
//! list, [`OPTIONS`], is what flags, `MARGAY_…` variables, TOML keys, help, completions, the man page,
//! the sample file and the reference page are made of, by `ops::options`. Whatever is wrong is found
//! before anything is bound.

mod check;
mod database;
mod floods;
mod key;
mod program;
mod screening;
mod site_url;
mod tls;
mod value;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, ArgMatches};
use ipnet::IpNet;
use ops::log::{LogFilter, LogFormat};
use ops::options;
use ops::options::{Flags, Table};
use ops::rates::Rate;
use ops::screening::lookups::{Preset, RecordKind, Zone};
use ops::screening::{Country, Verdict};
use ops::service::Bound;

pub use database::GivenDatabaseError;
pub use key::{ConnectionIdKey, KeyError};
pub use ops::options::{
    Bytes, ConfigError, Declared, Environment, Mistake, Name, Secret, SecretError, duration, show,
};
pub use site_url::SiteUrl;
pub use value::{FileMode, ForwardedHeader, HttpAddress, OcelotFlavour, Refusals};

/// The tracker's options as they were found, and what there is to say about them.
pub type Loaded = options::Loaded<Config>;

/// All options, in the order of the reference page.
pub static OPTIONS: &[Declared] = Config::TABLE;

options! {
    /// The operator's options. Every value is within its range, and they fit each other.
    pub struct Config, "MARGAY_";

    ["Start"]

    /// TOML file to read options from; flags and environment variables go before it.
    @NotInFile
    config: Option<PathBuf> = "none";

    /// How many CPU cores to use.
    ///
    /// Each core is a thread of its own, pinned to a CPU, and owns a part of all torrents. `all` takes
    /// every CPU the process may run on.
    cores: Option<usize> = "all" in "1" ..= "1024";

    /// Folder for snapshots and the connection-id key, made when it is not there.
    ///
    /// Under systemd the default is the service's state directory.
    data: PathBuf = "./margay-data" or "STATE_DIRECTORY";

    /// Start with empty swarms; the snapshots stay where they are.
    fresh: bool = "false";

    /// Let the kernel hand each UDP datagram to the core that owns its torrent.
    ///
    /// Switched off, or refused by the kernel, cores pass datagrams on themselves: the answers are the
    /// same and cost more.
    steering: bool = "true";

    ["Addresses"]

    /// Port of `udp` and `http` where those are not given: on all addresses of both families.
    port: u16 = "6969" in "1" ..= "65535";

    /// Address to answer UDP announces and scrapes on (BEP 15); repeatable, or `none`.
    ///
    /// An IPv6 address takes IPv6 only, so both families need an address each.
    udp: Vec<SocketAddr> = "0.0.0.0:6969", "[::]:6969";

    /// Address to answer HTTP announces and scrapes on (BEP 3); repeatable, or `none`.
    ///
    /// An IPv6 address takes IPv6 only, so both families need an address each. `unix:/PATH` is a Unix socket for a proxy on
    /// this machine, which is believed as a `trusted-proxy` is (docs/proxies.md).
    http: Vec<HttpAddress> = "0.0.0.0:6969", "[::]:6969";

    /// Who may connect to Unix sockets of `http`, as the mode of a file.
    ///
    /// Whoever can connect can say that requests come from anybody: keep it to the group of the proxy.
    http_unix_mode: FileMode = "0660";

    /// Address to answer HTTPS announces and scrapes on; repeatable, or `none`. It needs `tls-certificate` and `tls-key`.
    ///
    /// An IPv6 address takes IPv6 only, so both families need an address each.
    https: Vec<SocketAddr> = "none";

    /// Certificate of `https` and `control-https` with those that lead to its authority (PEM); repeatable, each with its `tls-key`.
    ///
    /// Clients are shown the one that has the name they ask for, else the first. Files that change are read again within
    /// seconds, and at SIGHUP.
    tls_certificate: Vec<PathBuf> = "none";

    /// Private key of a `tls-certificate` (PEM), in the same order.
    tls_key: Vec<PathBuf> = "none";

    /// Address of metrics, health and commands, or `none`. Keep it away from the public.
    ///
    /// It is asked by an address or as `localhost`, so that no web page can point a name of its own at it.
    control: Option<SocketAddr> = "127.0.0.1:6980";

    /// Address of metrics, health and commands over TLS, or `none`, with the certificates of `tls-certificate`.
    ///
    /// For other machines, as `control` itself is for this one. It is asked by a name that is in a certificate.
    control_https: Option<SocketAddr> = "none";

    /// Address of metrics and health alone, or `none`: for a network that may see them, under any name.
    metrics: Option<SocketAddr> = "none";

    ["Behind a proxy"]

    /// Network of proxies whose word is taken on where a request came from; repeatable. See docs/proxies.md.
    ///
    /// They say it in `forwarded-header`, or by the PROXY protocol at an address of `proxy-protocol`. What others say is not
    /// looked at. Keep out of it whatever a client can connect from, or send through.
    trusted_proxy: Vec<IpNet> = "none";

    /// Header in which a `trusted-proxy` says it: `x-forwarded-for`, `forwarded` (RFC 7239), `x-real-ip`, or `none`.
    ///
    /// It is read from the right, past further trusted proxies, to the first address that is not one of theirs. Take the one
    /// that the proxy sets: another may come from the client.
    forwarded_header: ForwardedHeader = "x-forwarded-for";

    /// Address of `udp`, `http` or `https` where each connection and each datagram begins with the PROXY protocol;
    /// repeatable.
    ///
    /// Versions 1 and 2 over TCP, before TLS; version 2 and Cloudflare's simple form over UDP. Without its header, and from
    /// others than a `trusted-proxy`, nothing is answered there. The address is written as in `udp`, `http` or `https`; one
    /// that stands in several is meant in all.
    proxy_protocol: Vec<HttpAddress> = "none";

    ["Announce interval"]

    /// How long clients are asked to wait between two announces.
    ///
    /// Answers spread around it by `interval-jitter`, and under load they go up to `interval-max`.
    interval: Duration = "30m" in "5m" ..= "12h";

    /// The shortest interval of any answer.
    ///
    /// It is also `min interval`, before which a user's "announce now" does nothing, but not of clients that come then by
    /// themselves (aria2, rTorrent, librqbit): to them `min interval` is the same number as `interval`. The default is
    /// half of `interval`, and at least five minutes.
    interval_min: Duration = "15m" in "5m" ..= "12h";

    /// How far the interval stretches under load; no answer's interval is longer.
    ///
    /// The default is four times `interval`.
    interval_max: Duration = "2h" in "5m" ..= "12h";

    /// How far an answer's interval is spread at random to both sides, as a share of it.
    ///
    /// It keeps clients that once came together, as after a restart, from coming together again. Where
    /// more than their share are due at the same moment, answers spread by up to half of the interval.
    interval_jitter: f64 = "10%" in "0%" ..= "50%";

    /// Share of the busiest core's time above which the interval stretches.
    load_target: f64 = "70%" in "5%" ..= "100%";

    ["Swarms"]

    /// How long a peer may be silent before it leaves its swarms, when it was told to wait for `interval`.
    ///
    /// One that was told to wait longer or shorter may be silent for as much longer or shorter, so that nobody is dropped
    /// for waiting as long as asked: with the defaults 60 to 165 minutes. It has to be longer than `interval` with its
    /// jitter, and with the full stretch at most 24 hours. The default is two and a half times `interval`.
    ///
    /// Counts are too high by those who left without a word, for so long: killed clients, and those that say `stopped` to
    /// nobody when they end (docs/clients.md).
    peer_timeout: Duration = "75m" in "2s" ..= "24h";

    /// Count `completed` of a client that is not known as a download.
    ///
    /// A download is counted when a client that is known as a leecher is heard of with nothing left, whatever it says of
    /// it. Some clients say `completed` at every start of a seeder.
    count_unknown: bool = "false";

    /// Most peers in one answer. Over UDP an answer also stays within one safe datagram.
    numwant_max: u16 = "50" in "1" ..= "1000";

    /// Peers in an answer to a client that does not say how many it wants.
    ///
    /// The default gives way to a smaller `numwant-max`.
    numwant_default: u16 = "50" in "0" ..= "1000";

    /// Most torrents in memory; an announce that would add one more is refused.
    ///
    /// Each core takes an equal part. A torrent costs up to 80 bytes with its first peers.
    torrents_max: usize = "10M" in "1" ..= "1G";

    /// Most peers in memory; an announce that would add one more is refused.
    ///
    /// Each core takes an equal part. A further peer of a torrent costs 12 bytes over IPv4 and 24 over
    /// IPv6, and half as much again in a swarm that is growing.
    peers_max: usize = "50M" in "1" ..= "4G";

    /// How long a torrent without peers is remembered for its count of downloads.
    torrent_retention: Duration = "24h" in "0s" ..= "365d";

    /// Serve only torrents that the allow-list or the API names.
    ///
    /// An allow-list switches it on by itself. `PUT /api/v1/torrents/INFOHASH` names a torrent, and `DELETE` withdraws it;
    /// both are kept in the data folder, and SIGHUP does not change them. What the API withdrew is refused for 30 days with
    /// the reason that was given, also where everything else is served and where the allow-list names it; the deny-list
    /// goes before both.
    listed: bool = "false";

    /// File with the infohashes that are served, one in hex a line; `none` serves all, or with `listed` what the API names.
    ///
    /// Read again on SIGHUP; a file with a mistake leaves the list as it was.
    allow_list: Option<PathBuf> = "none";

    /// File with infohashes that are refused, one in hex a line; it goes before the allow-list and the API.
    ///
    /// Read again on SIGHUP; a file with a mistake leaves the list as it was.
    deny_list: Option<PathBuf> = "none";

    ["Screening"]

    /// Country that gets nothing, by its two letters (ISO 3166-1); repeatable. It needs a `screen-database` or `screen-dns`.
    ///
    /// Over UDP that is silence, over HTTP the connection is closed at once. What goes before what is in docs/screening.md;
    /// `margay screen ADDRESS` says what happens to an address and why.
    screen_deny_country: Vec<Country> = "none";

    /// Country that is served, and others are not; repeatable. It needs a `screen-database` or `screen-dns`.
    screen_allow_country: Vec<Country> = "none";

    /// File with networks that get nothing, one a line; repeatable.
    ///
    /// The longest network that is on a list counts, and goes before countries. Read again within seconds when it
    /// changes, and on SIGHUP; a file with a mistake leaves all rules as they were.
    screen_deny_list: Vec<PathBuf> = "none";

    /// File with networks that are served whatever else is said of them, one a line; repeatable.
    screen_allow_list: Vec<PathBuf> = "none";

    /// Database of countries in MaxMind's format (`.mmdb`), of IPv4, IPv6 or both; repeatable.
    ///
    /// The country is `country.iso_code` or `country_code`; of an address the first file that names one counts. Read again
    /// as the lists are.
    screen_database: Vec<PathBuf> = "none";

    /// What happens to an address whose country is not known, where there are rules about countries: `allow`, `deny` or
    /// `defer`.
    ///
    /// With `screen-dns` that is also while a country is being looked up.
    /// Who is deferred is told nobody, and to come back in a minute or two. The default is `deny` with
    /// `screen-allow-country`, else `allow`; give `deny` where a country must not be served in any case. Private
    /// addresses are in no country, and are served unless a list names them.
    screen_unknown: Verdict = "allow";

    /// Who is asked by DNS for countries that no database names: `cymru` (Team Cymru) or `nerd.dk`.
    ///
    /// It says the zones, records and field of the answer, each of which an option below says otherwise. Look-ups go on
    /// beside the answers to clients, which never wait for them: `screen-unknown` says what happens meanwhile.
    screen_dns: Option<Preset> = "none";

    /// DNS zone that is asked for the countries of IPv4 addresses, as `4.3.2.1.ZONE`.
    screen_dns_zone: Option<Zone> = "none";

    /// DNS zone that is asked for the countries of IPv6 addresses, by its 32 hexadecimal digits.
    screen_dns_zone_v6: Option<Zone> = "none";

    /// What the zones answer with: `txt`, a text that names a country, or `a`, an address 127.0.x.y with its number.
    screen_dns_record: RecordKind = "txt";

    /// Which field of a text is the country, from 1. Fields are parted by `|`, `,` or `;`.
    screen_dns_field: usize = "1" in "1" ..= "32";

    /// Name server that is asked, as an address with a port; repeatable. Without one, those of `/etc/resolv.conf`.
    screen_dns_server: Vec<SocketAddr> = "none";

    /// Most questions a second to the name servers.
    screen_dns_rate: usize = "100" in "1" ..= "100000";

    /// Most networks whose countries are remembered: a /24 or /48 each, about 40 bytes on each core.
    screen_dns_networks: usize = "250000" in "1000" ..= "10000000";

    ["Floods"]

    /// How often a network may ask, as in `5/s:50`: so many a second (`/m` a minute, `/h` an hour), and how many may come at
    /// once.
    ///
    /// An announce, a scrape and any other request over HTTP count as one each. Those over UDP count once their connection
    /// id is good, so that nobody is shut out by who asks in his name. Over the limit UDP is met with silence, and HTTP is
    /// told nobody and to come back after one to two intervals; a private tracker closes the connection. All cores together
    /// keep to the rate, each with its part of it; what may come at once, each lets through by itself. Without a number
    /// behind the colon that is ten seconds' worth. See docs/floods.md.
    rate_requests: Option<Rate> = "none";

    /// How often a network may connect over HTTP and HTTPS, in the same form. Connections over the limit are closed at once.
    ///
    /// Those of a `trusted-proxy` are not counted, as they are many people's.
    rate_connections: Option<Rate> = "none";

    /// Addresses of IPv4 that begin with so many equal bits are one network for these limits.
    rate_network_v4: u16 = "32" in "8" ..= "32";

    /// Addresses of IPv6 that begin with so many equal bits are one network for these limits.
    ///
    /// A customer has 64 at least, and often 56 or 48.
    rate_network_v6: u16 = "64" in "16" ..= "128";

    /// Network that these limits do not hold for; repeatable.
    rate_exempt: Vec<IpNet> = "none";

    /// How many requests a second a service answers, as in `udp4=20000`; repeatable, one for each of `udp4`, `udp6`, `http4`,
    /// `http6`, `https4`, `https6`.
    ///
    /// Each core answers its part of it. What comes beyond it is shed: over UDP by silence, over HTTP as with
    /// `rate-requests`; and a listener accepts no more than twice as many connections a second, the others wait in the
    /// kernel. Connects and what is no request do not count.
    shed_above: Vec<Bound> = "none";

    ["Answers"]

    /// How clients are told that they will not be served: `failure` or `quiet`.
    ///
    /// That is for torrents that are not allowed or not registered, and at a private tracker for passkeys, clients and
    /// rights as well. A failure shows its text in every client, and sites' tools match it; but five of nine clients
    /// that were measured come back after it as often as 2 to 230 times an hour, whatever it says. Quiet is a success with
    /// nobody, an interval of 90 minutes and the text as `warning message`, which all of them obey and most show; over UDP
    /// 20 bytes without a text.
    refusals: Refusals = "failure";

    /// Tell HTTP clients the address they came from (`external ip`, BEP 24).
    external_ip: bool = "true";

    /// Take a peer's address from the `ip` parameter of its announce, from `trusted-network` only.
    ip_parameter: bool = "false";

    /// Network of clients whose word about another address of theirs is taken (`ip`); repeatable. Proxies are `trusted-proxy`.
    trusted_network: Vec<IpNet> = "none";

    /// Answer `GET /scrape` without an infohash with the counts of all torrents.
    ///
    /// The answer is made in the background and kept in the data folder: about 100 bytes for each
    /// torrent, and a third as much again packed, for clients that accept gzip. While it is made, a torrent
    /// takes 36 bytes of memory. Each core serves eight readers at a time, and cuts off those who take
    /// less than 256 KiB a second.
    full_scrape: bool = "false";

    /// How often the answer to a full scrape is made anew.
    full_scrape_interval: Duration = "5m" in "1s" ..= "24h";

    ["UDP"]

    /// Receive buffer of each UDP socket. The kernel grants at most `net.core.rmem_max`.
    udp_receive_buffer: Bytes = "1MiB" in "4KiB" ..= "1GiB";

    /// Key of UDP connection ids, 64 hex digits, for trackers that share their clients.
    ///
    /// Without one, a key is made at the first start and kept in the data folder. Other users of the
    /// machine can read flags: prefer `connection-id-key-file` or the environment.
    @Secret
    connection_id_key: Option<ConnectionIdKey> = "none";

    /// File with the key of UDP connection ids, 64 hex digits.
    connection_id_key_file: Option<PathBuf> = "none";

    /// How much longer than two minutes a UDP connection id stays good.
    ///
    /// BEP 15 lets a client use its id for one minute. Some clients use it for five and more.
    connection_id_grace: Duration = "0s" in "0s" ..= "1h";

    ["HTTP"]

    /// Most HTTP connections at a time; further ones are closed at once.
    http_connections_max: usize = "16k" in "1" ..= "10M";

    /// How long a request's head may take to arrive.
    http_header_timeout: Duration = "10s" in "100ms" ..= "1h";

    /// How long a connection may take from a request's first byte to its answer's last.
    http_request_timeout: Duration = "30s" in "100ms" ..= "1h";

    /// How long a kept connection may wait for its next request.
    http_idle_timeout: Duration = "60s" in "100ms" ..= "1h";

    /// Keep a connection open after an answer when its client wants that.
    http_keep_alive: bool = "true";

    ["Snapshots"]

    /// How often the swarms are written to the data folder, or `off`. A stop writes them in any case.
    snapshot_interval: Option<Duration> = "5m" in "1s" ..= "24h";

    /// How many snapshots are kept, the newest included.
    snapshots_kept: usize = "3" in "1" ..= "1000";

    ["Private tracker"]

    /// Serve registered torrents to known users only, and credit what they transfer.
    ///
    /// Announce URLs then carry a passkey, and `database` says where users and torrents are kept.
    private: bool = "false";

    /// PostgreSQL with users and torrents: `postgres://USER@HOST/DATABASE`.
    ///
    /// Other users of the machine can read flags: give it as `MARGAY_DATABASE`, or leave the password out
    /// and name `database-password-file`. With `?sslmode=require` the connection is encrypted.
    ///
    /// A pooler in between has to give each session a connection of its own, as PgBouncer does with `pool_mode =
    /// session`. In `transaction` and `statement` mode locks and notices do not last: nothing that SQL changes is
    /// heard, which the tracker finds out and says, and nobody knows who writes.
    @Secret
    database: Option<Secret> = "none";

    /// File with the password for `database`.
    database_password_file: Option<PathBuf> = "none";

    /// Schema of the tracker's tables in `database`, made when it is not there.
    database_schema: Name = "margay";

    /// How long it is kept who changed what, from where, by API, command, Ocelot's interface or SQL: `audit-DAY.jsonl` in the data folder.
    audit_keep: Duration = "90d" in "1d" ..= "3650d";

    /// Name of this tracker in `database`; trackers that share one need a name each.
    database_node: Name = "main";

    /// Keep a row for each peer in `database`, for sites that show them, and for the day on which the data folder is
    /// lost: without them nobody knows then what clients have moved since their last announces.
    ///
    /// Switched off, the rows that are there go.
    database_peers: bool = "true";

    /// How often users, torrents, tokens and client rules are compared with `database`, or `off`; after a
    /// lost connection they are in any case.
    ///
    /// What the site changes there by SQL works at once. This is for what was not heard.
    database_reconcile: Option<Duration> = "10m" in "1s" ..= "24h";

    /// How often what happened is synced to the disk; `0s` after each batch.
    ///
    /// After a crash, what is younger is credited with the client's next announce.
    journal_sync: Duration = "1s" in "0s" ..= "1m";

    /// How much is kept for a database that is away. Beyond it credit is postponed, not lost.
    journal_bytes_max: Bytes = "8GiB" in "64MiB" ..= "1024GiB";

    /// How long the journal is kept after the database has it: longer than between two of its backups.
    ///
    /// A database that is restored from a backup, or fails over to a copy that lacks the last seconds, is
    /// caught up from what is kept, to the byte and without a hand. A record takes some 105 bytes: at 100
    /// records a second a day is 0.9 GB, at 1000 it is 9 GB, at 3500 it is 32 GB. With `database-peers` each
    /// announce makes one, otherwise each that changes something.
    journal_keep: Duration = "26h" in "0s" ..= "365d";

    /// How much of it is kept at most. It also gives way before `journal-bytes-max` refuses anything.
    journal_keep_bytes: Bytes = "4GiB" in "0B" ..= "1024GiB";

    /// Clients that a user may have on one torrent at a time; 0 for any number.
    clients_per_torrent_max: u16 = "0" in "0" ..= "1000";

    /// Share of the interval it was told that a client has to wait before it is told peers again; 0% tells all.
    ///
    /// Who announces sooner is credited and counted as always, and told the counts but no peers. What must
    /// be said at once is never too soon (a start, a stop, a completed download), nor is what comes within a
    /// few seconds: clients announce over two address families and to several URLs at once.
    interval_enforce: f64 = "0%" in "0%" ..= "100%";

    /// When a client is asked back whose torrent is not registered, or not yet.
    ///
    /// A name that is asked for again and again and not registered is asked for less and less often: each time after a
    /// quarter of the time since it was asked for first, up to 90 minutes. One that was registered and is no
    /// longer is asked for each 90 minutes. The same goes for a passkey that nobody has.
    unregistered_interval: Duration = "1m" in "30s" ..= "12h";

    ["Suspicions"]

    /// Report clients that say they moved more bytes a second than this, up or down.
    ///
    /// What is reported goes to the table `suspicions` and is counted in the metrics; it is credited and
    /// answered as ever. Each rule can hit an honest user.
    suspect_rate: Option<Bytes> = "none" in "1KiB" ..= "1024GiB";

    /// Report uploads of this many bytes or more while nobody else had anything to download.
    ///
    /// Costs 24 bytes of memory a torrent. For some minutes after a start nothing is known, and nothing
    /// is reported.
    suspect_upload_alone: Option<Bytes> = "none" in "1KiB" ..= "1024GiB";

    /// Report users whose clients tell the same upload on this many torrents within an hour.
    ///
    /// Programs that make figures up do that. Figures below 1 MiB are left out.
    suspect_same_counters: Option<u16> = "none" in "2" ..= "32";

    /// Report users whose clients come from more networks than this within an hour.
    ///
    /// A network is a /24 over IPv4 and a /48 over IPv6; a client with both counts once.
    suspect_networks: Option<u16> = "none" in "1" ..= "255";

    ["Ocelot interface"]

    /// Password of `/PASSWORD/update`, by which a Gazelle site tells of users and torrents.
    ///
    /// `success` is answered when the change is in force on every core and on the disk. Otherwise the status is
    /// 503 and the text says which of the two is not so yet, or that nothing was changed; a site says it again,
    /// which does no harm.
    @Secret
    ocelot_site_password: Option<Secret> = "none";

    /// File with that password.
    ocelot_site_password_file: Option<PathBuf> = "none";

    /// Password of `/PASSWORD/report`.
    @Secret
    ocelot_report_password: Option<Secret> = "none";

    /// File with that password.
    ocelot_report_password_file: Option<PathBuf> = "none";

    /// Where the site is told of tokens that are used up: `http://HOST[:PORT][/PATH]`, where its
    /// `tools.php` is.
    ///
    /// The call carries `ocelot-site-password`. It is made again, at growing distances, until the site
    /// answers with status 200, also after a restart.
    ocelot_site_url: Option<SiteUrl> = "none";

    /// Whose answers are given: those of `whatcd` or of `orpheus`.
    ocelot_flavour: OcelotFlavour = "orpheus";

    ["Log"]

    /// What is logged: `off`, `error`, `warn`, `info`, `debug` or `trace`.
    ///
    /// Single parts by name after a comma, as in `info,margay::net=debug`.
    log: LogFilter = "info";

    /// How it is logged: `human` or `json`.
    log_format: LogFormat = "human";
}

impl Config {
    /// How long a peer may be silent when `longest` is the longest interval that was answered in the
    /// last `interval_max`: `peer_timeout` and the stretch. At most 24 hours, by the check at start.
    ///
    /// With `longest = interval_max` it is the bound that holds at all times.
    pub fn peer_timeout_at(&self, longest: Duration) -> Duration {
        self.peer_timeout + longest.saturating_sub(self.interval)
    }

    /// The password of `/PASSWORD/update`, if there is one.
    pub fn given_ocelot_site_password(&self) -> Result<Option<Secret>, SecretError> {
        let file = self.ocelot_site_password_file.as_deref();
        Secret::given(self.ocelot_site_password.as_ref(), file)
    }

    /// The password of `/PASSWORD/report`, if there is one.
    pub fn given_ocelot_report_password(&self) -> Result<Option<Secret>, SecretError> {
        let file = self.ocelot_report_password_file.as_deref();
        Secret::given(self.ocelot_report_password.as_ref(), file)
    }

    /// The key of UDP connection ids that the operator gave, from the option or from its file.
    pub fn given_connection_id_key(&self) -> Result<Option<ConnectionIdKey>, KeyError> {
        match &self.connection_id_key_file {
            Some(path) => key::read(path).map(Some),
            None => Ok(self.connection_id_key.clone()),
        }
    }
}

impl Default for Config {
    /// The options of an empty command line, environment and file.
    fn default() -> Self {
        load(Vec::new(), &Vec::new()).expect("the defaults fit each other").config
    }
}

/// A flag for every option; see [`options::args`].
pub fn args() -> impl Iterator<Item = Arg> {
    options::args::<Config>()
}

/// The same for the options of these names, whose help stands with that of other flags.
pub fn args_of(names: &[&str]) -> impl Iterator<Item = Arg> {
    options::args_of::<Config>(names, "Where the tracker is")
}

/// The options given on the command line that [`args`] were part of.
pub fn given(matches: &ArgMatches) -> Flags {
    options::given::<Config>(matches)
}

/// The same for what [`args_of`] was part of, with the same names.
pub fn given_of(matches: &ArgMatches, names: &[&str]) -> Flags {
    options::given_of::<Config>(matches, names)
}

/// Lays flags, environment, file and defaults over each other; see [`options::load`].
pub fn load(flags: Flags, environment: &Environment) -> Result<Loaded, ConfigError> {
    options::load(flags, environment)
}

/// The same for a command that needs the options of these names only; see [`options::load_only`].
pub fn load_only(
    names: &[&str],
    flags: Flags,
    environment: &Environment,
) -> Result<Config, ConfigError> {
    options::load_only(names, flags, environment)
}

/// Lays the environment over the file at `path`, as a start with that file would.
pub fn check_file(path: &Path, environment: &Environment) -> Result<Loaded, ConfigError> {
    options::check_file(path, environment)
}

/// The sample file: every key with its text and its default, commented out.
pub fn sample() -> String {
    options::sample::<Config>()
}

/// The reference page, in Markdown.
pub fn reference() -> String {
    options::reference::<Config>()
}
