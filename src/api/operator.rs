//! What the API is told of the tracker itself, open or private: services, and who is banned.

use std::net::IpAddr;

use ipnet::IpNet;
use ops::screening;
use ops::service::{Service, Serving};
use persist::bans::{self, Ban};
use serde_json::{Value, json};
use shard::Seconds;

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

/// Networks that are to be banned, for how long, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Banned {
    /// Who.
    pub networks: Vec<IpNet>,
    /// For how long; `None` for ever.
    pub time: Option<Seconds>,
    /// Why.
    pub reason: Box<str>,
}

/// Reads who is to be banned.
///
/// # Errors
/// What is wrong with it.
pub fn read_bans(body: Value) -> Result<Banned, Failure> {
    let Value::Object(mut fields) = body else {
        return Err(Failure::bad("the body is to be a JSON object"));
    };
    let Some(Value::Array(networks)) = fields.remove("networks") else {
        return Err(Failure::bad("`networks` is to be an array of networks and addresses"));
    };
    if networks.is_empty() || networks.len() > NETWORKS_MAX {
        return Err(Failure::bad(format!("`networks` is to have 1 to {NETWORKS_MAX} of them")));
    }
    let network = |network: &Value| {
        let text = network.as_str().ok_or_else(|| Failure::bad("a network is to be a string"))?;
        read_network(text)
    };
    let networks = networks.iter().map(network).collect::<Result<_, _>>()?;
    let time = match fields.remove("seconds") {
        None | Some(Value::Null) => None,
        Some(seconds) => {
            let seconds = seconds.as_u64().filter(|seconds| (1..=SECONDS_MAX).contains(seconds));
            let wrong = || Failure::bad(format!("`seconds` is to be 1 to {SECONDS_MAX}, or null"));
            Some(Seconds(seconds.ok_or_else(wrong)? as u32))
        }
    };
    let reason = match fields.remove("reason") {
        None | Some(Value::Null) => "".into(),
        Some(Value::String(reason)) if bans::is_reason(&reason) => reason.into(),
        Some(_) => {
            let most = bans::REASON_BYTES_MAX;
            return Err(Failure::bad(format!("`reason` is to be a line of {most} bytes at most")));
        }
    };
    match fields.keys().next() {
        None => Ok(Banned { networks, time, reason }),
        Some(unknown) => {
            let unknown: String = unknown.chars().take(NAME_SHOWN).collect();
            Err(Failure::bad(format!("{unknown:?} is not known here")))
        }
    }
}

/// Reads a network that may be banned. One that is very wide is a mistake rather than meant.
///
/// # Errors
/// What is wrong with it.
pub fn read_network(text: &str) -> Result<IpNet, Failure> {
    if text.len() > NETWORK_BYTES_MAX {
        return Err(Failure::bad("this is no network"));
    }
    let network = screening::read_network(text).map_err(Failure::bad)?;
    let widest = if network.addr().is_ipv4() { WIDEST.0 } else { WIDEST.1 };
    if network.prefix_len() < widest {
        return Err(Failure::bad(format!(
            "{network} is wider than a /{widest}, which no ban may be; use a screen-deny-list for it"
        )));
    }
    Ok(network)
}

/// A ban.
pub fn ban(ban: &Ban) -> Value {
    let Ban { network, until, since, reason } = ban;
    json!({
        "network": shown(network),
        "until": until.map(|until| until.0),
        "since": since.0,
        "reason": reason,
    })
}

/// A network, and one of a single address as that.
pub fn shown(network: &IpNet) -> String {
    let is_host = network.prefix_len() == network.max_prefix_len();
    let address: IpAddr = network.addr();
    if is_host { address.to_string() } else { network.to_string() }
}

/// Most networks in one request.
const NETWORKS_MAX: usize = 1000;

/// Longest ban that ends: ten years.
const SECONDS_MAX: u64 = 10 * 366 * 86_400;

/// The widest networks of IPv4 and IPv6 that may be banned, by the length of their prefixes.
const WIDEST: (u8, u8) = (8, 16);

/// Longest text of a network.
const NETWORK_BYTES_MAX: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_names_networks_and_maybe_a_time_and_a_reason() {
        let read = |body: Value| read_bans(body);
        let banned = read(json!({
            "networks": ["192.0.2.7", "2001:db8::/32", "::ffff:1.2.3.0/120"], "seconds": 60, "reason": "é",
        }));
        let banned = banned.unwrap();
        let networks: Vec<String> = banned.networks.iter().map(shown).collect();
        assert_eq!(networks, ["192.0.2.7", "2001:db8::/32", "1.2.3.0/24"]);
        assert_eq!((banned.time, &*banned.reason), (Some(Seconds(60)), "é"));
        assert_eq!(read(json!({"networks": ["::1"], "seconds": null})).unwrap().time, None);
        for wrong in [
            json!([]),
            json!({}),
            json!({"networks": []}),
            json!({"networks": "1.2.3.4"}),
            json!({"networks": [1]}),
            json!({"networks": ["1.2.3.4/24"]}),
            json!({"networks": ["1.2.3.4 # mine"]}),
            json!({"networks": [""]}),
            json!({"networks": ["# mine"]}),
            json!({"networks": ["0.0.0.0/0"]}),
            json!({"networks": ["2000::/3"]}),
            json!({"networks": ["example.net"]}),
            json!({"networks": ["1.2.3.4"], "seconds": 0}),
            json!({"networks": ["1.2.3.4"], "seconds": -5}),
            json!({"networks": ["1.2.3.4"], "seconds": 1e12}),
            json!({"networks": ["1.2.3.4"], "seconds": "2h"}),
            json!({"networks": ["1.2.3.4"], "reason": "a\nb"}),
            json!({"networks": ["1.2.3.4"], "reason": "x".repeat(201)}),
            json!({"networks": ["1.2.3.4"], "until": 5}),
            json!({"networks": vec!["1.2.3.4"; 1001]}),
        ] {
            assert_eq!(
                read(wrong.clone()).map_err(|failure| failure.status().0),
                Err(400),
                "{wrong}"
            );
        }
    }

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
