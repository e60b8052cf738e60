//! What a run found out, counted while it runs and printed at its end.

use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::process::{self, Process};
use crate::stall::Stalls;

/// Counts of one phase. Latencies are nanoseconds.
pub(crate) struct Tally {
    pub(crate) answers: u64,
    pub(crate) announces: u64,
    pub(crate) reply_bytes: u64,
    pub(crate) peers: u64,
    /// Requests without an answer in time.
    pub(crate) lost: u64,
    /// Answers to requests that were counted as lost already, and second answers.
    pub(crate) late: u64,
    /// Answers that are an error, malformed, or not what was asked for.
    pub(crate) failed: u64,
    pub(crate) stalls: Stalls,
    latency: Histogram<u64>,
    /// The slowest answer of those that no stall of the load generator touched.
    untouched_max: u64,
}

/// Latencies above this count as this.
const LATENCY_MAX: u64 = 60_000_000_000;

impl Tally {
    pub(crate) fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("the bounds are legal");
        Self {
            answers: 0,
            announces: 0,
            reply_bytes: 0,
            peers: 0,
            lost: 0,
            late: 0,
            failed: 0,
            stalls: Stalls::default(),
            latency,
            untouched_max: 0,
        }
    }

    /// Counts one good answer to a request meant to start at `since`.
    pub(crate) fn answer(&mut self, reply_bytes: usize, since: u64, now: u64) {
        let latency = now.saturating_sub(since);
        self.answers += 1;
        self.reply_bytes += reply_bytes as u64;
        self.latency.saturating_record(latency);
        if !self.stalls.touched(since) {
            self.untouched_max = self.untouched_max.max(latency);
        }
    }

    /// Counts one announce among the answers, with the peers it handed out.
    pub(crate) fn announce(&mut self, peers: usize) {
        self.announces += 1;
        self.peers += peers as u64;
    }

    /// Quantiles of the latency in microseconds, by name.
    pub(crate) fn latencies_us(&self) -> [(&'static str, f64); 7] {
        let latency = &self.latency;
        [
            ("p50_us", latency.value_at_quantile(0.5)),
            ("p90_us", latency.value_at_quantile(0.9)),
            ("p99_us", latency.value_at_quantile(0.99)),
            ("p999_us", latency.value_at_quantile(0.999)),
            ("max_us", latency.max()),
            ("untouched_max_us", self.untouched_max),
            ("stall_max_us", self.stalls.longest),
        ]
        .map(|(name, latency)| (name, latency as f64 / 1e3))
    }

    /// The same as a line for people.
    pub(crate) fn latency_text(&self) -> String {
        let mut text = "latency in µs:".to_owned();
        let [quantiles @ .., (_, untouched), (_, stall)] = self.latencies_us();
        for (name, latency) in quantiles {
            let _ = write!(text, " {} {latency:.0}", name.trim_end_matches("_us"));
        }
        let stalls = self.stalls.count;
        if stalls > 0 {
            let _ = write!(
                text,
                "; the load generator stood still {stalls} times, {stall:.0} at most: \
                 max {untouched:.0} without what that touched"
            );
        }
        text
    }
}

/// What a fill took.
pub(crate) struct Filled {
    pub(crate) took: Duration,
    /// Announces sent again because no answer came.
    pub(crate) resent: u64,
    pub(crate) tally: Tally,
}

/// Watches clocks and processes from now until [`Window::close`].
pub(crate) struct Window {
    start: Instant,
    own: Spent,
    processes: Vec<(Process, Spent)>,
}

/// What happened in a window, ready to print.
pub(crate) struct Summary {
    seconds: f64,
    tally: Tally,
    own: Spent,
    processes: Vec<Usage>,
}

/// Time of a process, by what it did with it.
#[derive(Clone, Copy)]
struct Spent {
    cpu: Duration,
    /// Ready to run, without a CPU.
    waited: Duration,
}

struct Usage {
    process: Process,
    spent: Spent,
    rss_bytes: u64,
    rss_peak_bytes: u64,
}

impl Window {
    pub(crate) fn open(processes: &[Process]) -> io::Result<Self> {
        let processes = processes
            .iter()
            .map(|&process| Ok((process, Spent::by(&process)?)))
            .collect::<io::Result<_>>()?;
        Ok(Self { start: Instant::now(), own: Spent::by_self()?, processes })
    }

    pub(crate) fn close(self, tally: Tally) -> io::Result<Summary> {
        let seconds = self.start.elapsed().as_secs_f64();
        let own = Spent::by_self()?.since(self.own);
        // All clocks first: reading memory takes a while.
        let now: Vec<_> = self
            .processes
            .iter()
            .map(|(process, _)| Spent::by(process))
            .collect::<io::Result<_>>()?;
        let mut processes = Vec::new();
        for ((process, before), now) in self.processes.into_iter().zip(now) {
            processes.push(Usage {
                process,
                spent: now.since(before),
                rss_bytes: process.rss_bytes()?,
                rss_peak_bytes: process.rss_peak_bytes()?,
            });
        }
        Ok(Summary { seconds, tally, own, processes })
    }
}

impl Spent {
    fn by(process: &Process) -> io::Result<Self> {
        Ok(Self { cpu: process.cpu()?, waited: process.waited()? })
    }

    fn by_self() -> io::Result<Self> {
        Ok(Self { cpu: process::own_cpu()?, waited: process::own_waited()? })
    }

    fn since(self, before: Self) -> Self {
        let waited = self.waited.saturating_sub(before.waited);
        Self { cpu: self.cpu.saturating_sub(before.cpu), waited }
    }
}

impl Summary {
    /// One figure a line, for people.
    pub(crate) fn text(&self, title: &str) -> String {
        let tally = &self.tally;
        let mut text = String::new();
        let answers_per_second = per(tally.answers as f64, self.seconds);
        let _ = writeln!(
            text,
            "{title}: {} answers in {:.2} s, {answers_per_second:.0}/s; lost {}, late {}, failed {}",
            tally.answers, self.seconds, tally.lost, tally.late, tally.failed
        );
        let _ = writeln!(
            text,
            "  reply {:.1} bytes, {:.2} peers handed out to an announce",
            per(tally.reply_bytes as f64, tally.answers as f64),
            per(tally.peers as f64, tally.announces as f64)
        );
        let _ = writeln!(text, "  {}", tally.latency_text());
        let _ = writeln!(
            text,
            "  load generator: {:.1}% of a core, {:.1}% waiting for one",
            100.0 * per(self.own.cpu.as_secs_f64(), self.seconds),
            100.0 * per(self.own.waited.as_secs_f64(), self.seconds)
        );
        for usage in &self.processes {
            let _ = writeln!(
                text,
                "  process {}: {:.3} µs CPU an answer, {:.2}% of a core, {:.1}% waiting for \
                 one, RSS {:.1} MiB (peak {:.1})",
                usage.process.pid(),
                per(usage.spent.cpu.as_secs_f64() * 1e6, tally.answers as f64),
                100.0 * per(usage.spent.cpu.as_secs_f64(), self.seconds),
                100.0 * per(usage.spent.waited.as_secs_f64(), self.seconds),
                mebibytes(usage.rss_bytes),
                mebibytes(usage.rss_peak_bytes)
            );
        }
        text
    }

    /// The same as one flat JSON object, for scripts. CPU time and memory of several processes are
    /// added up.
    pub(crate) fn json(&self, title: &str) -> String {
        let tally = &self.tally;
        let cpu: f64 = self.processes.iter().map(|usage| usage.spent.cpu.as_secs_f64()).sum();
        let waited: f64 = self.processes.iter().map(|usage| usage.spent.waited.as_secs_f64()).sum();
        let mut fields = vec![
            ("seconds", self.seconds),
            ("answers", tally.answers as f64),
            ("answers_per_s", per(tally.answers as f64, self.seconds)),
            ("announces", tally.announces as f64),
            ("reply_bytes", per(tally.reply_bytes as f64, tally.answers as f64)),
            ("peers", per(tally.peers as f64, tally.announces as f64)),
            ("lost", tally.lost as f64),
            ("late", tally.late as f64),
            ("failed", tally.failed as f64),
            ("load_core_percent", 100.0 * per(self.own.cpu.as_secs_f64(), self.seconds)),
            ("load_waited_percent", 100.0 * per(self.own.waited.as_secs_f64(), self.seconds)),
        ];
        fields.extend(tally.latencies_us());
        if !self.processes.is_empty() {
            let rss: u64 = self.processes.iter().map(|usage| usage.rss_bytes).sum();
            let peak: u64 = self.processes.iter().map(|usage| usage.rss_peak_bytes).sum();
            fields.push(("cpu_us_per_answer", per(cpu * 1e6, tally.answers as f64)));
            fields.push(("core_percent", 100.0 * per(cpu, self.seconds)));
            fields.push(("waited_percent", 100.0 * per(waited, self.seconds)));
            fields.push(("rss_mib", mebibytes(rss)));
            fields.push(("rss_peak_mib", mebibytes(peak)));
        }
        json(title, &fields)
    }
}

/// A flat JSON object of numbers, its first key `run` with `title`, a plain word.
pub(crate) fn json(title: &str, fields: &[(&str, f64)]) -> String {
    let mut line = format!("{{\"run\":\"{title}\"");
    for (name, value) in fields {
        let _ = write!(line, ",\"{name}\":{value:.3}");
    }
    line + "}"
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A ratio; of nothing, zero.
fn per(amount: f64, of: f64) -> f64 {
    if of == 0.0 { 0.0 } else { amount / of }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPENT: Spent = Spent { cpu: Duration::from_millis(500), waited: Duration::ZERO };

    fn summary() -> Summary {
        let mut tally = Tally::new();
        for step in 1..=1000 {
            tally.answer(100, 0, step * 1_000);
            tally.announce(7);
        }
        tally.lost = 3;
        Summary { seconds: 2.0, tally, own: SPENT, processes: Vec::new() }
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let latencies = summary().tally.latencies_us().map(|(_, latency)| latency as u64);
        assert_eq!(latencies, [500, 900, 990, 999, 1000, 1000, 0]);
    }

    #[test]
    fn a_latency_beyond_all_bounds_is_still_counted() {
        let mut tally = Tally::new();
        tally.answer(1, 0, u64::MAX);
        assert!(tally.latency.max() >= LATENCY_MAX);
        assert_eq!(tally.latency.len(), 1);
    }

    #[test]
    fn text_and_json_say_the_same() {
        let text = summary().text("udp");
        assert!(
            text.starts_with("udp: 1000 answers in 2.00 s, 500/s; lost 3, late 0, failed 0\n"),
            "{text}"
        );
        assert!(text.contains("reply 100.0 bytes, 7.00 peers"), "{text}");
        let json = summary().json("udp");
        assert!(json.starts_with(r#"{"run":"udp","seconds":2.000,"answers":1000.000,"#), "{json}");
        assert!(json.contains(r#""p99_us":990."#) && json.ends_with('}'), "{json}");
    }

    #[test]
    fn nothing_answered_is_zero_and_not_a_division() {
        let summary =
            Summary { seconds: 0.0, tally: Tally::new(), own: SPENT, processes: Vec::new() };
        assert!(!summary.json("udp").contains("NaN"));
    }
}
