//! What the API is told of the tracker itself, open or private: services.

use ops::service::{Service, Serving};
use serde_json::{Value, json};

use super::answer::Failure;

/// Reads which service is to be on, or off.
///
/// # Errors
/// What is wrong with it.
pub fn read_switch(parts: &[String], body: &Value) -> Result<(Service, bool), Failure> {
    let name = parts.first().map(String::as_str).unwrap_or_default();
    let service = Service::parse(name)
        .ok_or_else(|| Failure::ServiceUnknown(name.chars().take(NAME_SHOWN).collect()))?;
    let Value::Object(fields) = body else {
        return Err(Failure::bad("the body is to be a JSON object"));
    };
    match (fields.len(), fields.get("on").and_then(Value::as_bool)) {
        (1, Some(is_on)) => Ok((service, is_on)),
        _ => Err(Failure::bad("the body is to be {\"on\": true} or {\"on\": false}")),
    }
}

/// Characters of a name that are repeated in an answer.
const NAME_SHOWN: usize = 30;

/// A service and how it is doing.
pub fn service(service: Service, is_on: bool, serving: &Serving) -> Value {
    json!({
        "service": service.label(),
        "on": is_on,
        "shedding": serving.is_shedding,
        "shed": serving.shed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_a_known_service_and_on_or_off() {
        let read = |name: &str, body: Value| {
            read_switch(&[name.to_owned()], &body).map_err(|failure| failure.status().0)
        };
        assert_eq!(read("udp6", json!({"on": false})), Ok((Service::Udp6, false)));
        assert_eq!(read("udp", json!({"on": false})), Err(404));
        for wrong in
            [json!({}), json!({"on": 1}), json!({"on": true, "off": 1}), json!([]), json!(1)]
        {
            assert_eq!(read("https4", wrong), Err(400));
        }
    }
}
