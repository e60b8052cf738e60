//! A request for the API is read without a panic; what is understood is written and read back the same,
//! and so is the file of tokens.

#![no_main]

use libfuzzer_sys::fuzz_target;
use margay::api::token::Tokens;
use margay::api::{Operation, route, text};

fuzz_target!(|bytes: &[u8]| {
    let Ok(said) = str::from_utf8(bytes) else { return };
    let (line, body) = said.split_once('\n').unwrap_or((said, "{}"));
    let (method, target) = line.split_once(' ').unwrap_or(("GET", line));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let value: Result<serde_json::Value, _> = serde_json::from_str(body);
    if let Ok((call, parts)) = route::find(method, path) {
        assert!(route::methods(path).contains(method));
        if let Ok(value) = &value
            && let Some(Ok(operation)) = Operation::of(call, &parts, query, value.clone())
        {
            assert!(operation.core(3) < 3);
            assert_eq!(Operation::of(call, &parts, query, value.clone()), Some(Ok(operation)));
        }
    }
    if let Ok(value) = value
        && let Err(failure) = Operation::read(value)
    {
        assert_eq!(failure.status().0, 400);
    }
    if let Some(info_hash) = text::info_hash(line) {
        assert_eq!(text::hex(&info_hash), line.to_ascii_lowercase());
    }
    if let Some(prefix) = text::prefix(line) {
        assert_eq!(text::prefix(&text::escaped(prefix.bytes())), Some(prefix));
    }
    if let Ok(tokens) = Tokens::parse(said) {
        let written: String = tokens.entries().iter().map(|entry| format!("{entry}\n")).collect();
        assert_eq!(Tokens::parse(&written), Ok(tokens));
    }
});
