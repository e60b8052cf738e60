//! Where a thread asks whether somebody may come in.

use std::net::IpAddr;
use std::sync::Arc;

use shard::Seconds;

use super::{Audit, Table, Verdict};
use crate::counters::Screened;

/// The rules that a thread has, if any, and what it has written into the log.
#[derive(Debug, Default)]
pub struct Gate {
    table: Option<Arc<Table>>,
    audit: Audit,
}

impl Gate {
    /// A gate with these rules, or one that is open to all.
    pub fn new(table: Option<Arc<Table>>) -> Self {
        Self { table, audit: Audit::default() }
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

    /// The rules, where there are any.
    pub fn table(&self) -> Option<&Table> {
        self.table.as_deref()
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
        let judgement = table.judge(address);
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
}
