//! The replies to a site's questions: lines of text that end in `success`, or JSON.
//!
//! Orpheus' site takes what stands between the head and the last line feed, so its JSON is one line,
//! with a line feed behind it.

use std::fmt::{self, Write as _};
use std::time::Duration;

use shard::private::{Freeleech, TorrentId, UserId};
use shard::{InfoHash, Seconds};

use super::Flavour;
use super::update_reply::{SUCCESS, free, hex};
use crate::wire::http::{Framing, Status, respond};
use crate::wire::private::{FAILURE_INTERVAL, Refusal, write_failure};

/// The tracker's figures. Those of Orpheus' report are not in the other one.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Stats {
    /// The program's version (Orpheus).
    pub version: &'static str,
    /// Since the start.
    pub uptime: Seconds,
    /// Connections accepted since the start.
    pub connections_opened: u64,
    /// Connections that are open now.
    pub connections_open: u64,
    /// The most that were ever open (Orpheus).
    pub connections_peak: u64,
    /// Connections accepted in the last second.
    pub connections_per_second: u64,
    /// Requests since the start.
    pub requests: u64,
    /// Requests in the last second.
    pub requests_per_second: u64,
    /// Announces answered since the start.
    pub announces_answered: u64,
    /// Announces refused since the start.
    pub announces_refused: u64,
    /// Scrapes since the start.
    pub scrapes: u64,
    /// Peers without everything.
    pub leechers: u64,
    /// Peers with everything.
    pub seeders: u64,
    /// Items about users that wait for the database (Orpheus).
    pub users_queued: u64,
    /// Items about torrents that wait for the database (Orpheus).
    pub torrents_queued: u64,
    /// Items about peers that wait for the database (Orpheus).
    pub peers_queued: u64,
    /// Items about snatches that wait for the database (Orpheus).
    pub snatches_queued: u64,
    /// Items about tokens that wait for the database (Orpheus).
    pub tokens_queued: u64,
    /// The longest request so far (Orpheus).
    pub request_bytes_max: u64,
    /// Bytes received since the start.
    pub bytes_read: u64,
    /// Bytes sent since the start.
    pub bytes_written: u64,
    /// Requests with a wrong site password (Orpheus).
    pub wrong_site_passwords: u64,
    /// Requests with a wrong report password (Orpheus).
    pub wrong_report_passwords: u64,
    /// Requests with a passkey that nobody has (Orpheus).
    pub wrong_passkeys: u64,
    /// Requests of clients that were refused for what they are (Orpheus).
    pub refused_clients: u64,
    /// Requests that were none (Orpheus).
    pub malformed_requests: u64,
    /// The announce interval (Orpheus).
    pub interval: Seconds,
    /// By how much it varies (Orpheus).
    pub jitter: Seconds,
    /// The resources the process has used (Orpheus); `None` when that is not known.
    pub usage: Option<Usage>,
}

/// The resources the process has used since its start (getrusage(2)).
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Usage {
    /// CPU time of its own.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// The most memory it had.
    pub resident_bytes_max: u64,
    /// Page faults without a disk.
    pub minor_faults: u64,
    /// Page faults with a disk.
    pub major_faults: u64,
    /// Blocks read.
    pub blocks_in: u64,
    /// Blocks written.
    pub blocks_out: u64,
    /// How often it waited.
    pub switches_voluntary: u64,
    /// How often another was let first.
    pub switches_involuntary: u64,
}

/// A user, and what he has active.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserReport {
    /// Who.
    pub id: UserId,
    /// Peers without everything.
    pub leeching: u64,
    /// Peers with everything.
    pub seeding: u64,
    /// The user's addresses are written nowhere.
    pub hidden: bool,
    /// May download.
    pub can_leech: bool,
    /// The user's announces are logged.
    pub traced: bool,
}

/// A torrent, and who is on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TorrentReport<'a> {
    /// Its number at the site.
    pub id: TorrentId,
    /// Which transfers count.
    pub freeleech: Freeleech,
    /// Downloads completed.
    pub snatches: u64,
    /// Bytes uploaded less bytes downloaded.
    pub balance: i64,
    /// When the database got its figures last, in seconds since 1970.
    pub flushed_at: u64,
    /// Users who have a token.
    pub token_users: &'a [UserId],
    /// Users whose peers have not everything.
    pub leechers: &'a [UserId],
    /// Users whose peers have everything.
    pub seeders: &'a [UserId],
}

/// Appends the reply to [`super::Report::Stats`].
pub fn write_stats(out: &mut Vec<u8>, framing: Framing, flavour: Flavour, stats: &Stats) {
    match flavour {
        Flavour::Whatcd => text(out, framing, |text| stats_lines(text, stats)),
        Flavour::Orpheus => json(out, framing, |text| stats_json(text, stats)),
    }
}

/// Appends the reply to [`super::Report::PromStats`]: Prometheus' text format.
pub fn write_prom_stats(out: &mut Vec<u8>, framing: Framing, stats: &Stats) {
    write(out, framing, Status::Ok, |text| prometheus(text, stats));
}

/// Appends the reply to [`super::Report::User`], who asked for the passkey `asked` and found `user`.
pub fn write_user(
    out: &mut Vec<u8>,
    framing: Framing,
    flavour: Flavour,
    asked: Option<&[u8]>,
    user: Option<&UserReport>,
) {
    match (flavour, asked, user) {
        (Flavour::Whatcd, None, _) => write_unknown_report(out, framing, flavour),
        (Flavour::Whatcd, Some(_), None) => text(out, framing, |_| Ok(())),
        (Flavour::Whatcd, Some(_), Some(user)) => text(out, framing, |text| {
            write!(text, "{} leeching\n{} seeding\n", user.leeching, user.seeding)
        }),
        (Flavour::Orpheus, None, _) => refuse(out, framing, "Announce key missing"),
        (Flavour::Orpheus, Some(_), None) => refuse(out, framing, "Announce key not found"),
        (Flavour::Orpheus, Some(_), Some(user)) => json(out, framing, |text| {
            write!(
                text,
                "{{\"id\":{},\"leeching\":{},\"seeding\":{},\"deleted\":0,\"protected\":{},\
                 \"can_leech\":{},\"traced\":{}}}",
                user.id.0,
                user.leeching,
                user.seeding,
                u8::from(user.hidden),
                u8::from(user.can_leech),
                u8::from(user.traced)
            )
        }),
    }
}

/// Appends the reply to [`super::Report::Torrent`], who asked for `asked` and found `torrent`.
pub fn write_torrent(
    out: &mut Vec<u8>,
    framing: Framing,
    asked: Option<InfoHash>,
    torrent: Option<&TorrentReport<'_>>,
) {
    match (asked, torrent) {
        (None, _) => refuse(out, framing, "Infohash missing"),
        (Some(_), None) => refuse(out, framing, "Infohash not found"),
        (Some(asked), Some(torrent)) => {
            json(out, framing, |text| torrent_json(text, asked, torrent));
        }
    }
}

/// Appends the reply to [`super::Report::Jemalloc`]: there is nothing to say.
pub fn write_jemalloc(out: &mut Vec<u8>, framing: Framing) {
    write(out, framing, Status::Ok, |text| text.write_str("jemalloc is not used here\n"));
}

/// Appends the reply to [`super::Report::Unknown`].
pub fn write_unknown_report(out: &mut Vec<u8>, framing: Framing, flavour: Flavour) {
    match flavour {
        Flavour::Whatcd => text(out, framing, |text| writeln!(text, "{}", Refusal::InvalidAction)),
        Flavour::Orpheus => refuse(out, framing, "unrecognized report query"),
    }
}

/// Lines, then `success`.
fn text(out: &mut Vec<u8>, framing: Framing, lines: impl FnOnce(&mut String) -> fmt::Result) {
    write(out, framing, Status::Ok, |text| {
        lines(text)?;
        text.write_str(str::from_utf8(SUCCESS).expect("a word"))
    });
}

/// Appends a reply of one line of JSON.
fn json(out: &mut Vec<u8>, framing: Framing, line: impl FnOnce(&mut String) -> fmt::Result) {
    write(out, framing, Status::Json, |text| {
        line(text)?;
        text.write_char('\n')
    });
}

fn write(
    out: &mut Vec<u8>,
    framing: Framing,
    status: Status,
    body: impl FnOnce(&mut String) -> fmt::Result,
) {
    let mut text = String::new();
    body(&mut text).expect("a string takes everything");
    respond(out, framing.closing(), status, text.len(), |out| {
        out.extend_from_slice(text.as_bytes());
    });
}

fn refuse(out: &mut Vec<u8>, framing: Framing, reason: &str) {
    write_failure(out, framing.closing(), &reason, FAILURE_INTERVAL, FAILURE_INTERVAL);
}

/// Sites cut each line at its first space.
fn stats_lines(text: &mut String, stats: &Stats) -> fmt::Result {
    let uptime = stats.uptime.0;
    let (days, hours) = (uptime / 86_400, uptime / 3600 % 24);
    writeln!(text, "Uptime: {days} days, {hours:02}:{:02}:{:02}", uptime / 60 % 60, uptime % 60)?;
    for (value, label) in [
        (stats.connections_opened, "connections opened"),
        (stats.connections_open, "open connections"),
        (stats.connections_per_second, "connections/s"),
        (stats.requests, "requests handled"),
        (stats.requests_per_second, "requests/s"),
        (stats.announces_answered, "successful announcements"),
        (stats.announces_refused, "failed announcements"),
        (stats.scrapes, "scrapes"),
        (stats.leechers, "leechers tracked"),
        (stats.seeders, "seeders tracked"),
        (stats.bytes_read, "bytes read"),
        (stats.bytes_written, "bytes written"),
    ] {
        writeln!(text, "{value} {label}")?;
    }
    Ok(())
}

/// An object of objects. Each says its label once more: sites have looked for it in both places.
fn stats_json(text: &mut String, stats: &Stats) -> fmt::Result {
    // The version is written by us, and needs no escapes.
    let version = stats.version;
    write!(
        text,
        "{{\"version\":{{\"label\":\"version\",\"type\":\"string\",\"value\":\"{version}\"}}"
    )?;
    let mut figure = |label: &str, kind: &str, value: &dyn fmt::Display| {
        write!(text, ",\"{label}\":{{\"label\":\"{label}\",\"type\":\"{kind}\",\"value\":{value}}}")
    };
    for (label, kind, value) in [
        ("connections opened", "number", stats.connections_opened),
        ("open connections", "number", stats.connections_open),
        ("peak connections", "number", stats.connections_peak),
        ("connections/s", "number", stats.connections_per_second),
        ("requests handled", "number", stats.requests),
        ("requests/s", "number", stats.requests_per_second),
        ("successful announcements", "number", stats.announces_answered),
        ("failed announcements", "number", stats.announces_refused),
        ("scrapes", "number", stats.scrapes),
        ("leechers tracked", "number", stats.leechers),
        ("seeders tracked", "number", stats.seeders),
        ("items in user queue", "number", stats.users_queued),
        ("items in torrent queue", "number", stats.torrents_queued),
        ("items in peer queue", "number", stats.peers_queued),
        ("items in snatch queue", "number", stats.snatches_queued),
        ("items in token queue", "number", stats.tokens_queued),
        ("max client request length", "byte", stats.request_bytes_max),
        ("bytes read", "byte", stats.bytes_read),
        ("bytes written", "byte", stats.bytes_written),
        ("bad tracker secret received", "number", stats.wrong_site_passwords),
        ("bad report secret received", "number", stats.wrong_report_passwords),
        ("bad announce key received", "number", stats.wrong_passkeys),
        ("bad client configuration", "number", stats.refused_clients),
        ("bad http request", "number", stats.malformed_requests),
        ("announce interval", "number", stats.interval.0.into()),
        ("announce jitter", "number", stats.jitter.0.into()),
        ("uptime", "elapsed", stats.uptime.0.into()),
    ] {
        figure(label, kind, &value)?;
    }
    if let Some(usage) = &stats.usage {
        figure("user time", "elapsed", &seconds(usage.user))?;
        figure("system time", "elapsed", &seconds(usage.system))?;
        for (label, kind, value) in [
            ("maximum resident set size", "byte", usage.resident_bytes_max),
            ("minor page faults", "number", usage.minor_faults),
            ("major page faults", "number", usage.major_faults),
            ("blocks in", "number", usage.blocks_in),
            ("blocks out", "number", usage.blocks_out),
            ("voluntary context switches", "number", usage.switches_voluntary),
            ("involuntary context switches", "number", usage.switches_involuntary),
        ] {
            figure(label, kind, &value)?;
        }
    }
    text.write_char('}')
}

fn torrent_json(
    text: &mut String,
    info_hash: InfoHash,
    torrent: &TorrentReport<'_>,
) -> fmt::Result {
    let mut digits = Vec::with_capacity(40);
    hex(&mut digits, info_hash);
    write!(
        text,
        "{{\"id\":{},\"info_hash\":\"{}\",\"free\":{},\"snatched\":{},\"balance\":{},\
         \"last_flushed\":{}",
        torrent.id.0,
        str::from_utf8(&digits).expect("hex digits"),
        free(torrent.freeleech),
        torrent.snatches,
        torrent.balance,
        torrent.flushed_at
    )?;
    for (name, users) in [
        ("fltoken_list", torrent.token_users),
        ("leecher_list", torrent.leechers),
        ("seeder_list", torrent.seeders),
    ] {
        write!(text, ",\"{name}\":[")?;
        for (number, user) in users.iter().enumerate() {
            write!(text, "{}{}", if number == 0 { "" } else { "," }, user.0)?;
        }
        text.write_char(']')?;
    }
    text.write_char('}')
}

fn prometheus(text: &mut String, stats: &Stats) -> fmt::Result {
    for (name, kind, value) in [
        ("uptime", "gauge", stats.uptime.0.into()),
        ("open_connections", "gauge", stats.connections_open),
        ("peak_connections", "gauge", stats.connections_peak),
        ("connection_rate", "gauge", stats.connections_per_second),
        ("requests", "counter", stats.requests),
        ("request_rate", "gauge", stats.requests_per_second),
        ("succ_announcements", "counter", stats.announces_answered),
        ("total_announcements", "counter", stats.announces_answered + stats.announces_refused),
        ("scrapes", "counter", stats.scrapes),
        ("leechers", "gauge", stats.leechers),
        ("seeders", "gauge", stats.seeders),
        ("user_queue", "gauge", stats.users_queued),
        ("torrent_queue", "gauge", stats.torrents_queued),
        ("peer_queue", "gauge", stats.peers_queued),
        ("snatch_queue", "gauge", stats.snatches_queued),
        ("token_queue", "gauge", stats.tokens_queued),
        ("bytes_read", "counter", stats.bytes_read),
        ("bytes_written", "counter", stats.bytes_written),
        ("max_client_request_len", "gauge", stats.request_bytes_max),
    ] {
        write!(text, "# TYPE ocelot_{name} {kind}\nocelot_{name} {value}\n")?;
    }
    writeln!(text, "# TYPE ocelot_error counter")?;
    for (kind, value) in [
        ("secret", stats.wrong_site_passwords),
        ("report", stats.wrong_report_passwords),
        ("announce", stats.wrong_passkeys),
        ("client", stats.refused_clients),
        ("http", stats.malformed_requests),
    ] {
        writeln!(text, "ocelot_error{{kind=\"{kind}\"}} {value}")?;
    }
    let Some(usage) = &stats.usage else { return Ok(()) };
    for (name, value) in [("time_user", usage.user), ("time_system", usage.system)] {
        write!(text, "# TYPE ocelot_{name} counter\nocelot_{name} {}\n", seconds(value))?;
    }
    for (name, kind, value) in [
        ("max_rss", "gauge", usage.resident_bytes_max / 1024),
        ("minor_fault", "counter", usage.minor_faults),
        ("major_fault", "counter", usage.major_faults),
        ("nvcsw", "counter", usage.switches_voluntary),
        ("nivcsw", "counter", usage.switches_involuntary),
    ] {
        write!(text, "# TYPE ocelot_{name} {kind}\nocelot_{name} {value}\n")?;
    }
    writeln!(text, "# TYPE ocelot_block counter")?;
    writeln!(text, "ocelot_block{{op=\"in\"}} {}", usage.blocks_in)?;
    writeln!(text, "ocelot_block{{op=\"out\"}} {}", usage.blocks_out)
}

fn seconds(time: Duration) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "{}.{:06}", time.as_secs(), time.subsec_micros()))
}

#[cfg(test)]
mod tests;
