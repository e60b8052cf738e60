use super::*;
use crate::wire::http::HEAD_BYTES_MAX;

/// A passkey, and a password of the same kind.
const KEY: &str = "0123456789abcdefghijklmnopqrstuv";

#[track_caller]
fn head(request: &[u8]) -> Head<'_> {
    match http::parse_head(request, 0) {
        Ok(Parsed::Complete { head, .. }) => head,
        other => panic!("{other:?}"),
    }
}

fn said(target: Target<'_>) -> String {
    let key = |key: Option<Key<'_>>| match key {
        Some(key) => format!(" {}", key.bytes().escape_ascii()),
        None => String::new(),
    };
    match target {
        Target::Announce(passkey) => format!("announce{}", key(passkey)),
        Target::Scrape(passkey) => format!("scrape{}", key(passkey)),
        Target::Update(site) => {
            format!("update {} {}", site.secret.0.escape_ascii(), site.query.escape_ascii())
        }
        Target::Report(site) => {
            format!("report {} {}", site.secret.0.escape_ascii(), site.query.escape_ascii())
        }
        Target::Page => "page".to_owned(),
        Target::Refused(refusal) => format!("{refusal:?}"),
    }
}

/// Checks the target of a request with headers enough to be long.
#[track_caller]
fn check(address: &str, expected: &str) {
    check_of(address, "Host: tracker.example\r\nUser-Agent: a client of some kind\r\n", expected);
}

#[track_caller]
fn check_of(address: &str, headers: &str, expected: &str) {
    let request = format!("GET {address} HTTP/1.1\r\n{headers}\r\n");
    let target = Target::of(&head(request.as_bytes()), request.len());
    assert_eq!(said(target), expected, "{address}");
}

#[test]
fn a31_a_passkey_in_the_path_or_the_query() {
    check(&format!("/{KEY}/announce?a=b"), &format!("announce {KEY}"));
    check(&format!("/announce/{KEY}?a=b"), &format!("announce {KEY}"));
    check(&format!("/{KEY}/announce.php?a=b"), &format!("announce {KEY}"));
    check(&format!("/announce.php/{KEY}/?a=b"), &format!("announce {KEY}"));
    check(&format!("/announce?passkey={KEY}"), "announce");
    check(&format!("/announce.php?passkey={KEY}"), "announce");
    check(&format!("http://tracker.example/{KEY}/announce?a=b"), &format!("announce {KEY}"));
}

#[test]
fn b3_the_same_for_a_scrape() {
    check(&format!("/{KEY}/scrape?a=b"), &format!("scrape {KEY}"));
    check(&format!("/scrape/{KEY}?a=b"), &format!("scrape {KEY}"));
    check(&format!("/{KEY}/scrape.php?a=b"), &format!("scrape {KEY}"));
    check(&format!("/scrape?passkey={KEY}"), "scrape");
}

#[test]
fn ocelot_1_the_first_letter_and_the_length_of_the_word_decide() {
    check(&format!("/{KEY}/axxxxxxx?a"), &format!("announce {KEY}"));
    check(&format!("/{KEY}/sxxxxx?a"), &format!("scrape {KEY}"));
    check(&format!("/{KEY}/uxxxxx?a=b"), &format!("update {KEY} a=b"));
    check(&format!("/{KEY}/rxxxxx?a=b"), &format!("report {KEY} a=b"));
    for word in ["announces", "announc", "a", "scrap", "updates", "reports", "r"] {
        check(&format!("/{KEY}/{word}?a"), "page");
    }
}

#[test]
fn ocelot_1_without_a_question_mark_there_is_a_page() {
    for word in ["announce", "scrape", "update", "report", "", "x"] {
        check(&format!("/{KEY}/{word}"), "page");
    }
    check("/", "page");
    check("/announce", "page");
    check(&format!("/announce/{KEY}"), "page");
    check("http://tracker.example", "page");
}

#[test]
fn ocelot_1_another_word_is_an_invalid_action() {
    check(&format!("/{KEY}/?a"), "InvalidAction");
    check(&format!("/{KEY}/metrics?a"), "InvalidAction");
    check(&format!("/{KEY}/Announce?a"), "InvalidAction");
}

#[test]
fn ocelot_1_without_a_key_it_is_malformed_or_too_short() {
    for address in ["/favicon.ico", "/?a=b", "/x?a", "/a/b/announce?a", "//announce/b/c?a"] {
        check(address, "MalformedAnnounce");
        check_of(address, "", "TooShort");
    }
    let request = |fill: usize| format!("GET /x HTTP/1.1\r\na:{}\r\n\r\n", "b".repeat(fill));
    for (bytes, expected) in [(59, "TooShort"), (60, "MalformedAnnounce")] {
        let request = request(bytes - 23);
        assert_eq!(request.len(), bytes);
        assert_eq!(said(Target::of(&head(request.as_bytes()), bytes)), expected);
    }
}

#[test]
fn ocelot_1_a_key_too_long_for_any_passkey_is_not_found() {
    let long = "k".repeat(65);
    check(&format!("/{long}/announce?a"), "PasskeyNotFound");
    check(&format!("/{long}/scrape?a"), "PasskeyNotFound");
}

#[test]
fn ocelot_1_a_secret_has_any_length_and_any_characters() {
    let long = "s".repeat(500);
    for secret in ["s", &long, KEY, "a/b", "a?b", "?", "a b", "100%", "p@ss:w0rd&=#+~", "é", "//"]
    {
        let printed = secret.as_bytes().escape_ascii();
        check(&format!("/{secret}/update?action=x"), &format!("update {printed} action=x"));
        check(&format!("/{secret}/report?get=x"), &format!("report {printed} get=x"));
    }
}

#[test]
fn ocelot_1_the_first_word_of_a_site_counts() {
    check("/s/update?action=x&y=/report?get=stats", "update s action=x&y=/report?get=stats");
    check("/s/report?get=x&y=/update?action=x", "report s get=x&y=/update?action=x");
    check("/update?action=x", "MalformedAnnounce");
    check(&format!("/{KEY}/announce?x=/update?action=x"), &format!("announce {KEY}"));
}

#[test]
fn a_secret_is_the_expected_one_raw_or_encoded_and_never_empty() {
    let is = |found: &str, expected: &str| Secret(found.as_bytes()).is(expected.as_bytes());
    assert!(is(KEY, KEY));
    assert!(is("a%2Fb%3f", "a/b?"));
    assert!(is("100%41", "100%41"), "as it stands");
    assert!(is("100%2541", "100%41"));
    for (found, expected) in [
        ("", ""),
        ("", "x"),
        ("x", ""),
        ("secret", "secre"),
        ("secre", "secret"),
        ("secreT", "secret"),
        ("Secret", "secret"),
        ("secret%00", "secret"),
    ] {
        assert!(!is(found, expected), "{found:?} {expected:?}");
    }
}

#[test]
fn a32_a_target_never_prints_its_secrets() {
    for word in ["announce", "scrape", "update", "report"] {
        let request = format!("GET /verysecret/{word}?a HTTP/1.1\r\n\r\n");
        let printed = format!("{:?}", Target::of(&head(request.as_bytes()), request.len()));
        assert!(!printed.contains("verysecret"), "{printed}");
    }
    let request = format!("GET /s/update?action=add_user&passkey={KEY} HTTP/1.1\r\n\r\n");
    let printed = format!("{:?}", Target::of(&head(request.as_bytes()), request.len()));
    assert_eq!(printed, "Update(FromSite { secret: Secret(of 1 bytes), query_bytes: 56 })");
}

#[test]
fn ocelot_1_a_request_is_refused_beyond_8_kib() {
    let request = format!("GET /{KEY}/announce?{} HTTP/1.1\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
    assert_eq!(parse_head(request.as_bytes(), 0, None), Err(Malformed::TooLarge));
    assert_eq!(parse_head(request.as_bytes(), 0, Some(b"password")), Err(Malformed::TooLarge));
}

/// An update of so many bytes.
fn update(password: &str, bytes: usize) -> Vec<u8> {
    let (start, end) = (format!("GET /{password}/update?action=x&y="), " HTTP/1.1\r\n\r\n");
    let fill = "z".repeat(bytes - start.len() - end.len());
    format!("{start}{fill}{end}").into_bytes()
}

#[test]
fn ocelot_5_an_update_may_have_64_kib() {
    let request = update("pass word/?", UPDATE_BYTES_MAX - 1);
    let password = Some(&b"pass word/?"[..]);
    match parse_head(&request, 0, password) {
        Ok(Parsed::Complete { head, consumed }) => {
            assert_eq!(consumed, request.len());
            let said = said(Target::of(&head, consumed));
            assert!(said.starts_with("update pass word/? action=x&y=zz"));
        }
        other => panic!("{other:?}"),
    }
    for length in [1, 100, HEAD_BYTES_MAX - 1, HEAD_BYTES_MAX, 40_000, request.len() - 1] {
        for seen in [0, length / 2] {
            assert_eq!(parse_head(&request[..length], seen, password), Ok(Parsed::Partial));
        }
    }
    let request = update("pass word/?", UPDATE_BYTES_MAX + 1);
    assert_eq!(parse_head(&request, 0, password), Err(Malformed::TooLarge));
}

#[test]
fn ocelot_5_only_who_knows_the_password_may_send_so_much() {
    let request = update("guessed", HEAD_BYTES_MAX + 1);
    for password in [None, Some(&b"password"[..]), Some(b""), Some(b"guesse")] {
        assert_eq!(parse_head(&request, 0, password), Err(Malformed::TooLarge));
    }
    let report = request.escape_ascii().to_string().replace("update", "report");
    assert_eq!(parse_head(report.as_bytes(), 0, Some(b"guessed")), Err(Malformed::TooLarge));
}

#[test]
fn c12_a_key_in_url_data_is_found_as_in_an_address() {
    let key = Key::new(KEY.as_bytes());
    for url_data in [
        format!("/{KEY}/announce"),
        format!("/announce/{KEY}"),
        format!("/announce.php/{KEY}"),
        format!("{KEY}/announce"),
        format!("/{KEY}/announce?a=b"),
        format!("/announce?passkey={KEY}"),
        format!("/announce?a=b&passkey={KEY}&c=d"),
        format!("/announce.php?passkey={KEY}"),
        format!("/?passkey={KEY}"),
        format!("?passkey={KEY}"),
        format!("/tracker/udp/announce?passkey={KEY}"),
        format!("/{KEY}/announce?passkey=another"),
        format!("/{KEY}/scrape"),
    ] {
        assert_eq!(url_data_key(url_data.as_bytes()), key, "{url_data}");
    }
    for url_data in ["", "/", "/announce", "/announce?passkey=", "/announce?passkey", "/a/b/c"] {
        assert_eq!(url_data_key(url_data.as_bytes()), None, "{url_data}");
    }
}
