//! Answers of a DNS provider about countries: texts and addresses, read for an address of either family.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use ops::screening::lookups::{Answer, Provider, RecordKind, Zone};

fuzz_target!(|bytes: &[u8]| {
    let [field, which, rest @ ..] = bytes else { return };
    let address: IpAddr = match which & 1 {
        0 => Ipv4Addr::new(5, 1, 2, 3).into(),
        _ => Ipv6Addr::from(0x2a00_0001_u128 << 96 | 7).into(),
    };
    let provider = Provider {
        zone_v4: Zone::parse("a.test"),
        zone_v6: None,
        record: RecordKind::Txt,
        field: *field,
    };
    let check = |answer: Answer| assert!(answer.network.contains(&address), "{answer:?}");
    let text = String::from_utf8_lossy(rest);
    _ = provider.read_texts(address, text.lines()).map(check);
    let said = rest.chunks_exact(4).map(|four| Ipv4Addr::new(four[0], four[1], four[2], four[3]));
    _ = provider.read_addresses(address, said).map(check);
    if let Some(zone) = Zone::parse(&text) {
        let provider = Provider { zone_v4: Some(zone.clone()), zone_v6: Some(zone), ..provider };
        let name = provider.question(address).expect("it has both zones");
        assert!(name.len() <= 254 && name.ends_with('.'), "{name}");
    }
});
