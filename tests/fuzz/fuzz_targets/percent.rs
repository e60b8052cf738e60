//! Decoding agrees with a plain reading of its rules, and undoes encoding.

#![no_main]

use libfuzzer_sys::fuzz_target;
use margay::wire::percent;

fuzz_target!(|raw: &[u8]| {
    let expected = plain(raw);
    let mut buffer = vec![0; raw.len()];
    assert_eq!(percent::decode(raw, &mut buffer), Some(&expected[..]));
    let mut exact = vec![0; expected.len()];
    assert_eq!(percent::decode(raw, &mut exact), Some(&expected[..]));
    if let Some((_, smaller)) = exact.split_first_mut() {
        assert_eq!(percent::decode(raw, smaller), None);
    }

    let twenty = <[u8; 20]>::try_from(&expected[..]).ok();
    assert_eq!(percent::decode_exact::<20>(raw), twenty);

    let mut encoded = Vec::new();
    percent::encode(raw, &mut encoded);
    assert!(encoded.len() <= 3 * raw.len());
    assert_eq!(plain(&encoded), raw);
    assert_eq!(percent::decode(&encoded, &mut buffer), Some(raw));
});

fn plain(raw: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        let digit = |at: usize| raw.get(at).and_then(|&byte| char::from(byte).to_digit(16));
        match (raw[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}
