//! Writes databases in MaxMind's format (its specification, version 2.0), for tests.

#![allow(unreachable_pub, reason = "other programs' tests include this file")]

use std::collections::BTreeMap;

use ipnet::IpNet;

/// How a database is written.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// 6, or 4 for a file that has IPv4 alone.
    pub ip_version: u16,
    /// 24, 28 or 32 bits.
    pub record_bits: u16,
    /// IPv4 is also there as 6to4, Teredo and mapped, by the same nodes.
    pub has_aliases: bool,
    /// `country_code`, and not `country.iso_code`.
    pub is_flat: bool,
}

impl Default for Form {
    fn default() -> Self {
        Self { ip_version: 6, record_bits: 28, has_aliases: true, is_flat: false }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Child {
    Nothing,
    Node(usize),
    /// What stands at this place among the records.
    Record(usize),
}

/// The bytes of a database that says these countries; wide networks may stand before or behind those in them.
pub fn database(form: Form, networks: &[(IpNet, &str)]) -> Vec<u8> {
    let (mut records, mut places) = (Vec::new(), BTreeMap::new());
    for (_, country) in networks {
        places.entry(*country).or_insert_with(|| {
            let at = records.len();
            match form.is_flat {
                true => map(&mut records, &["country_code"]),
                false => map(&mut records, &["country", "iso_code"]),
            }
            text(&mut records, country);
            at
        });
    }
    let mut nodes = vec![[Child::Nothing; 2]];
    let mut networks = networks.to_vec();
    networks.sort_by_key(|(network, _)| network.prefix_len());
    for (network, country) in networks {
        let (bits, len) = match (network, form.ip_version) {
            (IpNet::V4(network), 4) => {
                (u128::from(u32::from(network.addr())) << 96, network.prefix_len())
            }
            (IpNet::V4(network), _) => {
                (u32::from(network.addr()).into(), network.prefix_len() + 96)
            }
            (IpNet::V6(network), _) => (network.addr().into(), network.prefix_len()),
        };
        put(&mut nodes, bits, len, Child::Record(places[country]));
    }
    if form.ip_version == 6 && form.has_aliases {
        let down = |node: usize, _| match nodes[node][0] {
            Child::Node(next) => Some(next),
            _ => None,
        };
        if let Some(node) = (0..96).try_fold(0, down) {
            for (bits, len) in [(0xffff << 32, 96), (0x2002 << 112, 16), (0x2001_0000 << 96, 32)] {
                put(&mut nodes, bits, len, Child::Node(node));
            }
        }
    }
    let mut bytes = Vec::new();
    for node in &nodes {
        let value = |child: Child| match child {
            Child::Nothing => nodes.len() as u32,
            Child::Node(node) => node as u32,
            Child::Record(at) => (nodes.len() + 16 + at) as u32,
        };
        let [left, right] = node.map(|child| value(child).to_be_bytes());
        match form.record_bits {
            24 => bytes.extend([&left[1..], &right[1..]].concat()),
            28 => {
                bytes.extend(&left[1..]);
                bytes.push(left[0] << 4 | right[0]);
                bytes.extend(&right[1..]);
            }
            _ => bytes.extend([left, right].concat()),
        }
    }
    bytes.extend([0; 16]);
    bytes.extend(records);
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    bytes.push(0xe0 | 9);
    text(&mut bytes, "binary_format_major_version");
    bytes.extend([0xa0 | 1, 2]);
    text(&mut bytes, "build_epoch");
    bytes.extend([0x04, 0x02, 0x66, 0, 0, 0]);
    text(&mut bytes, "database_type");
    text(&mut bytes, "margay-test-Country");
    text(&mut bytes, "description");
    map(&mut bytes, &["en"]);
    text(&mut bytes, "made by a test");
    text(&mut bytes, "languages");
    bytes.extend([0x01, 0x04]);
    text(&mut bytes, "en");
    text(&mut bytes, "binary_format_minor_version");
    bytes.extend([0xa0 | 1, 0]);
    for (name, value) in [
        ("ip_version", u32::from(form.ip_version)),
        ("node_count", nodes.len() as u32),
        ("record_size", form.record_bits.into()),
    ] {
        text(&mut bytes, name);
        match name {
            "node_count" => bytes.push(0xc0 | 4),
            _ => bytes.push(0xa0 | 2),
        }
        let value = value.to_be_bytes();
        bytes.extend(if name == "node_count" { &value[..] } else { &value[2..] });
    }
    bytes
}

/// Puts something at a prefix; what was said of a wider one stays said of the rest of it.
fn put(nodes: &mut Vec<[Child; 2]>, bits: u128, len: u8, what: Child) {
    let mut node = 0;
    for depth in 0..len {
        let side = (bits >> (127 - depth) & 1) as usize;
        if depth + 1 == len {
            nodes[node][side] = what;
            return;
        }
        node = match nodes[node][side] {
            Child::Node(next) => next,
            before => {
                nodes.push([before; 2]);
                nodes[node][side] = Child::Node(nodes.len() - 1);
                nodes.len() - 1
            }
        };
    }
    nodes[0] = [what; 2];
}

/// Maps with one key each, one in the other.
fn map(bytes: &mut Vec<u8>, keys: &[&str]) {
    for key in keys {
        bytes.push(0xe0 | 1);
        text(bytes, key);
    }
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    assert!(text.len() < 29, "longer ones are written in another way");
    bytes.push(0x40 | text.len() as u8);
    bytes.extend(text.bytes());
}
