//! What is counted while the population lives, and the tables of it.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::clients::{Class, Mix, Protocol};
use crate::peer::{Peer, Stage};

/// The figures of one run.
pub(crate) struct Figures {
    from: u32,
    until: u32,
    pub classes: Vec<OfClass>,
    /// Requests in each [`BIN_SECONDS`].
    bins: Vec<u32>,
    /// Requests of each client that is never served.
    refused: BTreeMap<u32, u32>,
    /// Peers that the tracker counts in the end, and that are there.
    pub counted: usize,
    pub there: usize,
}

/// Those of one class of clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfClass {
    pub class: Class,
    pub served: Rate,
    /// Those of the requests that an interval alone has brought.
    pub regular: Rate,
    pub refused_seeders: Rate,
    pub refused_leechers: Rate,
    /// Most requests of a single refused client in the time that is counted.
    pub refused_most: [u32; 2],
    pub downloads: Downloads,
    pub magnets: Magnets,
}

/// Requests over the time of those who made them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    pub requests: u64,
    pub seconds: u64,
}

/// Downloads that were completed, by what the tracker made of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Downloads {
    /// All of them.
    pub made: u32,
    /// How often the engine has counted one of them.
    pub counted: u32,
    /// The client has said, and was heard, that something is left, and in the same session that nothing is.
    pub said: u32,
    /// Of these: counted once.
    pub said_once: u32,
    /// It said so after a restart only, from the port that it had before.
    pub later: u32,
    pub later_once: u32,
    /// It has never said so.
    pub unsaid: u32,
    /// Of these: counted all the same.
    pub unsaid_counted: u32,
    /// Counted more than once.
    pub twice: u32,
    /// Counted, and nothing was downloaded.
    pub invented: u32,
}

/// Downloads that began with a magnet link while the tracker knew somebody else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Magnets {
    pub begun: u32,
    /// Told of somebody with the first answer.
    pub told: u32,
}

impl Rate {
    /// Requests an hour of one client.
    pub(crate) fn an_hour(self) -> f64 {
        self.requests as f64 / (self.seconds.max(1) as f64 / 3600.0)
    }
}

impl Figures {
    pub(crate) fn new(mix: &Mix, from: u32, until: u32) -> Self {
        let of = |class: &Class| OfClass {
            class: *class,
            served: Rate::default(),
            regular: Rate::default(),
            refused_seeders: Rate::default(),
            refused_leechers: Rate::default(),
            refused_most: [0; 2],
            downloads: Downloads::default(),
            magnets: Magnets::default(),
        };
        Self {
            from,
            until,
            classes: mix.classes.iter().map(of).collect(),
            bins: vec![0; ((until - from) / BIN_SECONDS) as usize],
            refused: BTreeMap::new(),
            counted: 0,
            there: 0,
        }
    }

    pub(crate) fn request(&mut self, peer: &Peer, index: usize, now: u32, regular: bool) {
        if now < self.from {
            return;
        }
        let bin = ((now - self.from) / BIN_SECONDS) as usize;
        if let Some(bin) = self.bins.get_mut(bin) {
            *bin += 1;
        }
        let of = &mut self.classes[peer.number];
        if !peer.refused {
            of.served.requests += 1;
            of.regular.requests += u64::from(regular);
            return;
        }
        let most = self.refused.entry(index as u32).or_default();
        *most += 1;
        let seeds = peer.stage == Stage::Seeding;
        let rate = if seeds { &mut of.refused_seeders } else { &mut of.refused_leechers };
        rate.requests += 1;
        let of_both = &mut of.refused_most[usize::from(!seeds)];
        *of_both = (*of_both).max(*most);
    }

    /// A client's time ends.
    pub(crate) fn left(&mut self, peer: &Peer, now: u32) {
        let Some(since) = peer.since else { return };
        let seconds = u64::from(now.saturating_sub(since.max(self.from)));
        let of = &mut self.classes[peer.number];
        match (peer.refused, peer.stage) {
            (false, _) => {
                of.served.seconds += seconds;
                of.regular.seconds += seconds;
            }
            (true, Stage::Seeding) => of.refused_seeders.seconds += seconds,
            (true, _) => of.refused_leechers.seconds += seconds,
        }
    }

    /// A magnet link has had its first answer.
    pub(crate) fn magnet(&mut self, class: usize, now: u32, somebody: bool, told: bool) {
        if now >= self.from && somebody {
            let magnets = &mut self.classes[class].magnets;
            magnets.begun += 1;
            magnets.told += u32::from(told);
        }
    }

    pub(crate) fn invented(&mut self, class: usize) {
        self.classes[class].downloads.invented += 1;
    }

    /// Nothing more will be heard of a client's download.
    pub(crate) fn done(&mut self, peer: &Peer) {
        let Some(download) = peer.download.filter(|download| download.finished) else { return };
        let downloads = &mut self.classes[peer.number].downloads;
        let once = u32::from(download.counted == 1);
        downloads.made += 1;
        downloads.counted += download.counted;
        downloads.twice += u32::from(download.counted > 1);
        if download.said {
            downloads.said += 1;
            downloads.said_once += once;
        } else if download.said_later {
            downloads.later += 1;
            downloads.later_once += once;
        } else {
            downloads.unsaid += 1;
            downloads.unsaid_counted += once;
        }
    }

    /// The highest rate of requests as a multiple of the mean, in the hour of this number, from 0.
    pub(crate) fn peak_over_mean(&self, hour: u32) -> f64 {
        let bins = (3600 / BIN_SECONDS) as usize;
        let hour = &self.bins[hour as usize * bins..][..bins];
        let mean = hour.iter().sum::<u32>() as f64 / bins as f64;
        f64::from(*hour.iter().max().unwrap_or(&0)) / mean
    }

    pub(crate) fn requests(&self) -> u64 {
        self.bins.iter().map(|bin| u64::from(*bin)).sum()
    }

    /// Downloads that were made, and those that the engine has counted.
    pub(crate) fn downloads(&self) -> (u32, u32) {
        let made = self.classes.iter().map(|of| of.downloads.made).sum();
        (made, self.classes.iter().map(|of| of.downloads.counted + of.downloads.invented).sum())
    }

    /// The tables.
    pub(crate) fn tables(&self) -> String {
        let mut out = String::new();
        let hours = (self.until - self.from) / 3600;
        let peaks: Vec<String> =
            (0..hours).map(|hour| format!("{:.2}", self.peak_over_mean(hour))).collect();
        let mut line = |text: String| writeln!(out, "{text}").expect("a string takes everything");
        let (made, counted) = self.downloads();
        line(format!(
            "{} requests in {hours} h; highest rate of {BIN_SECONDS} s over the mean, by hour: {}; \
             {} peers counted, {} there; {made} downloads, {counted} counted\n",
            self.requests(),
            peaks.join(", "),
            self.counted,
            self.there
        ));
        line(
            "| | requests an hour | by the interval alone | refused: seeding, most | leeching, most |"
                .into(),
        );
        line("|---|---|---|---|---|".into());
        for of in &self.classes {
            line(format!(
                "| {} | {:.2} | {:.2} | {:.2}, {} | {:.2}, {} |",
                name(of.class),
                of.served.an_hour(),
                of.regular.an_hour(),
                of.refused_seeders.an_hour(),
                of.refused_most[0],
                of.refused_leechers.an_hour(),
                of.refused_most[1],
            ));
        }
        line(
            "\n| | downloads | said | of these once | said after a restart | of these once | never said \
             | of these counted | more than once | invented | magnets | told at once |"
                .into(),
        );
        line("|---|---|---|---|---|---|---|---|---|---|---|---|".into());
        for of in &self.classes {
            let (d, m) = (of.downloads, of.magnets);
            line(format!(
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                name(of.class),
                d.made,
                d.said,
                d.said_once,
                d.later,
                d.later_once,
                d.unsaid,
                d.unsaid_counted,
                d.twice,
                d.invented,
                m.begun,
                m.told,
            ));
        }
        out
    }
}

fn name(class: Class) -> String {
    let protocol = match class.protocol {
        Protocol::Http => "HTTP",
        Protocol::Udp => "UDP",
    };
    format!("{}, {protocol}", class.kind.name())
}

/// Over so long a rate is taken.
pub(crate) const BIN_SECONDS: u32 = 10;
