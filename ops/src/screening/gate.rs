//! Where a thread asks whether somebody may come in.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use shard::Seconds;

use super::lookups::{Ask, Known, Said};
use super::{Audit, Judgement, Rule, Table, Verdict, stands_for};
use crate::counters::Screened;

/// The rules that a thread has, if any, and what it has written into the log.
#[derive(Debug, Default)]
pub struct Gate {
    table: Option<Arc<Table>>,
    lookups: Option<Lookups>,
    audit: Audit,
}

/// What a thread knows by look-ups, and has asked for.
struct Lookups {
    known: Known,
    ask: Ask,
    /// Of who was judged last, those whose countries are to be asked for.
    due: Vec<IpAddr>,
}

impl Gate {
    /// A gate with these rules, or one that is open to all.
    pub fn new(table: Option<Arc<Table>>) -> Self {
        Self { table, lookups: None, audit: Audit::default() }
    }

    /// The same, and what no database knows is asked for. There is room for about so many networks.
    pub fn with_lookups(mut self, ask: Option<Ask>, networks_max: usize) -> Self {
        let lookups = |ask| Lookups { known: Known::new(networks_max), ask, due: Vec::new() };
        self.lookups = ask.map(lookups);
        self
    }

    /// Has other rules from now on.
    pub fn put(&mut self, table: Arc<Table>) {
        self.table = Some(table);
    }

    /// Whether there are any rules.
    #[inline]
    pub fn has_rules(&self) -> bool {
        self.table.is_some()
    }

    /// Takes in what look-ups have found. Whether somebody is refused since who was not before.
    pub fn take_in(&mut self, said: &[Said]) -> bool {
        let (Some(table), Some(lookups)) = (&self.table, &mut self.lookups) else { return false };
        let refuses = |country| table.judge_country(country).verdict == Verdict::Deny;
        let mut is_stricter = false;
        for said in said {
            let remembered = || lookups.ask.remembered(said.network.addr());
            let before = lookups.known.take_in(said).or_else(remembered);
            is_stricter |= refuses(said.country) && !refuses(before.flatten());
        }
        is_stricter
    }

    /// What happens to who comes from an address, over this protocol. Who gets nothing is counted, and written into the
    /// log as far as there is room.
    #[inline]
    pub fn judge(
        &mut self,
        address: IpAddr,
        protocol: &'static str,
        now: Seconds,
        screened: &mut Screened,
    ) -> Verdict {
        let Some(table) = &self.table else { return Verdict::Allow };
        let mut judgement = table.judge(address);
        if let Some(lookups) = &mut self.lookups {
            lookups.due.clear();
            if judgement.rule == Rule::Unknown {
                judgement = lookups.judge(table, address, now);
            }
        }
        match judgement.verdict {
            Verdict::Allow => {}
            Verdict::Defer => screened.deferred += 1,
            Verdict::Deny => {
                let (rule, country) = (judgement.rule, judgement.country);
                screened.deny(rule, country);
                if let Some(left_out) = self.audit.line(now) {
                    let country = country.map(tracing::field::display);
                    let rule = rule.label();
                    tracing::info!(%address, protocol, rule, country, left_out, "denied");
                }
            }
        }
        judgement.verdict
    }

    /// Whether the country of who was judged last is to be asked for.
    #[inline]
    pub fn is_due(&self) -> bool {
        self.lookups.as_ref().is_some_and(|lookups| !lookups.due.is_empty())
    }

    /// Asks for the country of who was judged last, where it is to be asked for. It does not wait; what cannot be asked
    /// for now is when somebody comes again.
    #[inline]
    pub fn ask(&mut self, now: Seconds) {
        if self.is_due()
            && let Some(lookups) = &mut self.lookups
        {
            lookups.ask(now);
        }
    }

    /// Whether who is at an address gets nothing, by the rules and by what is known, without a word in the log. What is not
    /// known is asked for.
    pub fn refuses_and_asks(&mut self, address: IpAddr, now: Seconds) -> bool {
        let Some(table) = &self.table else { return false };
        let mut judgement = table.judge(address);
        if let Some(lookups) = &mut self.lookups {
            lookups.due.clear();
            if judgement.rule == Rule::Unknown {
                judgement = lookups.judge(table, address, now);
                lookups.ask(now);
            }
        }
        judgement.verdict == Verdict::Deny
    }

    /// Whether who comes from an address gets nothing, by the rules and by what is known. Nothing is asked for.
    #[inline]
    pub fn refuses(&self, address: IpAddr) -> bool {
        let Some(table) = &self.table else { return false };
        match &self.lookups {
            None => table.refuses(address),
            Some(lookups) => {
                let judgement = table.judge(address);
                let judgement = match judgement.rule {
                    Rule::Unknown => lookups.judgement(table, address, Seconds(0), |_| {}),
                    _ => judgement,
                };
                judgement.verdict == Verdict::Deny
            }
        }
    }
}

impl Lookups {
    #[cold]
    fn judge(&mut self, table: &Table, address: IpAddr, now: Seconds) -> Judgement {
        let mut due = std::mem::take(&mut self.due);
        let judgement = self.judgement(table, address, now, |address| due.push(address));
        self.due = due;
        judgement
    }

    /// What is said of an address whose country the table does not know: the strictest of what is said of those that it
    /// stands for.
    fn judgement(
        &self,
        table: &Table,
        address: IpAddr,
        now: Seconds,
        mut is_due: impl FnMut(IpAddr),
    ) -> Judgement {
        let others = stands_for(address);
        let all = if others.is_empty() { vec![address] } else { others };
        let judged = all.into_iter().map(|address| {
            let judgement = table.judge(address);
            if judgement.rule != Rule::Unknown {
                return judgement;
            }
            let (found, due) = self.known.find(address, now);
            if due {
                is_due(address);
            }
            let found = found.or_else(|| self.ask.remembered(address));
            found.map_or(judgement, |country| table.judge_country(country))
        });
        judged.max_by_key(|judgement| judgement.verdict).unwrap_or(Judgement::SERVED)
    }

    #[cold]
    fn ask(&mut self, now: Seconds) {
        for address in self.due.drain(..) {
            if self.ask.ask(address) {
                self.known.note_asked(address, now + ASKED_AGAIN);
            }
        }
    }
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookups").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

/// What was asked for is asked for again after so long, if it is not known then.
const ASKED_AGAIN: Seconds = Seconds(10);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::{Country, Sources};
    use super::*;

    #[test]
    fn who_is_unknown_is_asked_for_once_and_judged_by_what_is_said() {
        let sources = |unknown| Sources {
            deny_countries: vec![Country::parse("CU").unwrap()],
            allow_countries: Vec::new(),
            deny_lists: Vec::new(),
            allow_lists: Vec::new(),
            databases: Vec::new(),
            unknown,
            has_lookups: true,
        };
        for unknown in [Verdict::Allow, Verdict::Defer, Verdict::Deny] {
            let asked = Arc::new(Mutex::new(Vec::new()));
            let table = sources(unknown).read(false).unwrap().table;
            let note = asked.clone();
            let ask = Ask::new(
                move |address| {
                    note.lock().unwrap().push(address.to_string());
                    true
                },
                None,
            );
            let mut gate = Gate::new(Some(table)).with_lookups(Some(ask), 100);
            let judge = |gate: &mut Gate, address: &str, now| {
                let verdict = gate.judge(
                    address.parse().unwrap(),
                    "udp",
                    Seconds(now),
                    &mut Screened::default(),
                );
                gate.ask(Seconds(now));
                verdict
            };
            let said = |network: &str, country: &str| {
                let (network, country) = (network.parse().unwrap(), Country::parse(country));
                [Said { network, country, until: Seconds(100) }]
            };
            for address in ["5.1.1.1", "5.1.1.2", "2002:501:101::1", "10.0.0.1", "2a01::1"] {
                let expected = if address == "10.0.0.1" { Verdict::Allow } else { unknown };
                assert_eq!(judge(&mut gate, address, 1), expected, "{address}");
            }
            // Of a Teredo address both are asked for.
            assert_eq!(judge(&mut gate, "2001:0:101:101::fafa:fafa", 1), unknown);
            assert_eq!(*asked.lock().unwrap(), ["5.1.1.1", "2a01::1", "5.5.5.5", "1.1.1.1"]);
            assert_eq!(gate.take_in(&said("5.1.1.0/24", "CU")), unknown != Verdict::Deny);
            assert!(!gate.take_in(&said("5.1.1.0/24", "CU")));
            assert!(!gate.take_in(&said("2a01::/48", "DE")));
            assert!(!gate.take_in(&said("5.5.5.0/24", "DE")));
            gate.take_in(&said("1.1.1.0/24", "CU"));
            for address in ["5.1.1.1", "5.1.1.77", "2002:501:101::1", "2001:0:101:101::fafa:fafa"] {
                assert_eq!(judge(&mut gate, address, 50), Verdict::Deny, "{address}");
                assert!(gate.refuses(address.parse().unwrap()));
            }
            assert_eq!(judge(&mut gate, "2a01::9", 50), Verdict::Allow);
            assert!(!gate.refuses("2a01::9".parse().unwrap()));
            assert_eq!(asked.lock().unwrap().len(), 4);
            // It counts until something else is said, and is asked for again.
            assert_eq!(judge(&mut gate, "5.1.1.77", 100), Verdict::Deny);
            assert_eq!(asked.lock().unwrap().len(), 5);
            assert_eq!(judge(&mut gate, "5.1.1.78", 101), Verdict::Deny);
            assert_eq!(asked.lock().unwrap().len(), 5);
        }
    }
}
