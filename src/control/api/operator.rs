//! The API about the tracker itself, open or private: its services are switched, and networks are banned.

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::look::limit;
use super::{ANSWER_TIME, Api, add};
use crate::api::audit::Asker;
use crate::api::operator::Banned;
use crate::api::route::{Call, parameter};
use crate::api::{Failure, operator};
use crate::control::state::{self, BansAnswer, BansAsked, State};
use crate::core::mesh::message::{Command, Message};

impl Api {
    /// Answers what is asked of the tracker itself.
    pub(super) async fn hear_operator(
        &self,
        state: &State,
        call: Call,
        parts: &[String],
        query: &str,
        body: Value,
        asker: &Asker,
    ) -> Result<Value, Failure> {
        match call {
            Call::Services => {
                let services = state.services();
                let services =
                    services.iter().map(|(of, on, how)| operator::service(*of, *on, how));
                Ok(json!({"services": services.collect::<Vec<_>>()}))
            }
            Call::Bans => {
                let limit = limit(query)?;
                let after = parameter(query, "after");
                let after = after.map(|after| operator::read_network(&after)).transpose()?;
                let BansAnswer::Bans(bans) =
                    self.bans(state, BansAsked::Page(after, limit)).await?
                else {
                    return Err(Failure::Late);
                };
                let next = bans.last().filter(|_| bans.len() == limit);
                let next = next.map(|ban| operator::shown(&ban.network));
                let bans: Vec<Value> = bans.iter().map(operator::ban).collect();
                Ok(json!({"bans": bans, "next": next}))
            }
            Call::PutBans => {
                let Banned { networks, time, reason } = operator::read_bans(body)?;
                let named: Vec<String> =
                    networks.iter().take(NAMED_MAX).map(operator::shown).collect();
                let said = json!({
                    "op": "put_bans", "networks": named, "in_all": networks.len(),
                    "seconds": time.map(|time| time.0), "reason": reason,
                });
                let done = self.bans(state, BansAsked::Put { networks, time, reason }).await;
                self.note_bans(said, &done, asker);
                match done? {
                    BansAnswer::Bans(bans) => {
                        let bans: Vec<Value> = bans.iter().map(operator::ban).collect();
                        Ok(json!({"bans": bans}))
                    }
                    BansAnswer::Removed(..) => Err(Failure::Late),
                }
            }
            Call::RemoveBan => {
                let network = operator::read_network(&parts[0])?;
                let said = json!({"op": "remove_ban", "network": operator::shown(&network)});
                let done = self.bans(state, BansAsked::Remove(network)).await;
                self.note_bans(said, &done, asker);
                match done? {
                    BansAnswer::Removed(was_there, around) => {
                        let around = around.as_ref().map(operator::shown);
                        Ok(json!({"removed": was_there, "still_banned_by": around}))
                    }
                    BansAnswer::Bans(_) => Err(Failure::Late),
                }
            }
            Call::PutService => self.switch(state, parts, &body, asker).await,
            _ => Err(Failure::NotPrivate),
        }
    }

    /// Asks the main thread about bans; what it changes is on the disk, and in force on all cores, when it answers.
    async fn bans(&self, state: &State, asked: BansAsked) -> Result<BansAnswer, Failure> {
        let is_change = !matches!(asked, BansAsked::Page(..));
        let (reply, answer) = oneshot::channel();
        state.command(state::Command::Bans(asked, reply)).map_err(|_| Failure::Busy)?;
        let answer = match timeout(ANSWER_TIME, answer).await {
            Ok(Ok(answer)) => answer?,
            Ok(Err(_)) => return Err(Failure::Unavailable("stopping")),
            Err(_) => return Err(Failure::Late),
        };
        if is_change {
            // The main thread has told the cores, and does not wait for them.
            self.settle().await?;
        }
        Ok(answer)
    }

    fn note_bans(&self, said: Value, done: &Result<BansAnswer, Failure>, asker: &Asker) {
        let became = done.as_ref().map_or_else(|failure| failure.status().1, |_| "done");
        self.audit.note(asker, &[(said, became)], self.clock.now());
        add(&self.counts.changes, u64::from(done.is_ok()));
    }

    /// Switches a service; answered when all cores have done so.
    async fn switch(
        &self,
        state: &State,
        parts: &[String],
        body: &Value,
        asker: &Asker,
    ) -> Result<Value, Failure> {
        let (service, is_on) = operator::read_switch(parts, body)?;
        let listens = |state: &State| state.services().into_iter().find(|(of, ..)| *of == service);
        if listens(state).is_none() {
            return Err(Failure::ServiceUnknown(service.to_string()));
        }
        let done = self.switch_cores(Command::Switch(service, is_on)).await;
        let became = done.as_ref().map_or_else(|failure| failure.status().1, |()| "done");
        let said = json!({"op": "put_service", "service": service.label(), "on": is_on});
        self.audit.note(asker, &[(said, became)], self.clock.now());
        add(&self.counts.changes, u64::from(done.is_ok()));
        done?;
        state.switch(service, is_on);
        let service_is = if is_on { "on" } else { "off until it is switched on, or restarted" };
        tracing::warn!(service = service.label(), service_is, "a service was switched");
        let (service, is_on, serving) = listens(state).expect("it was there a moment ago");
        Ok(operator::service(service, is_on, &serving))
    }

    async fn switch_cores(&self, command: Command) -> Result<(), Failure> {
        for core in 0..self.cores.len() {
            self.send(core, Message::Command(command.clone())).await?;
        }
        self.settle().await
    }
}

/// Networks of one request that stand in the log by name.
const NAMED_MAX: usize = 100;
