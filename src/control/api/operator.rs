//! The API about the tracker itself, open or private: its services are switched.

use serde_json::{Value, json};

use super::Api;
use crate::api::audit::Asker;
use crate::api::route::Call;
use crate::api::{Failure, operator};
use crate::control::State;
use crate::core::mesh::message::{Command, Message};

impl Api {
    /// Answers what is asked of the tracker itself; `None` for another call.
    pub(super) async fn hear_operator(
        &self,
        state: &State,
        call: Call,
        parts: &[String],
        body: &Value,
        asker: &Asker,
    ) -> Result<Option<Value>, Failure> {
        match call {
            Call::Services => {
                let services = state.services();
                let services =
                    services.iter().map(|(of, on, how)| operator::service(*of, *on, how));
                Ok(Some(json!({"services": services.collect::<Vec<_>>()})))
            }
            Call::PutService => self.switch(state, parts, body, asker).await.map(Some),
            _ => Ok(None),
        }
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
