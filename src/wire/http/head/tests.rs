use super::*;

/// The head of `request` and how many bytes it took.
#[track_caller]
fn complete(request: &[u8]) -> (Head<'_>, usize) {
    match parse_head(request, 0) {
        Ok(Parsed::Complete { head, consumed }) => (head, consumed),
        other => panic!("{other:?}: {}", request.escape_ascii()),
    }
}

/// Checks a whole request that ends where `request` ends: `METHOD path?query persistence`.
#[track_caller]
fn check(request: &str, expected: &str) {
    let (head, consumed) = complete(request.as_bytes());
    let query = if head.query.is_empty() { "" } else { "?" };
    let found = format!(
        "{:?} {}{query}{} {:?}",
        head.method,
        head.path.escape_ascii(),
        head.query.escape_ascii(),
        head.persistence
    );
    assert_eq!(found, expected, "{request:?}");
    assert_eq!(consumed, request.len(), "{request:?}");
}

#[track_caller]
fn check_malformed(request: impl AsRef<[u8]>, why: Malformed) {
    let request = request.as_ref();
    assert_eq!(parse_head(request, 0), Err(why), "{}", request.escape_ascii());
}

#[test]
fn a30_versions_and_persistence() {
    check("GET / HTTP/1.1\r\n\r\n", "Get / Keep");
    check("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "Get / Close");
    check("GET / HTTP/1.1\r\nConnection: Keep-Alive\r\n\r\n", "Get / Keep");
    check("GET / HTTP/1.1\r\nConnection: foo, Close\r\n\r\n", "Get / Close");
    check("GET / HTTP/1.1\r\nconnection:close\r\n\r\n", "Get / Close");
    check("GET / HTTP/1.1\r\nConnection: upgrade\r\n\r\n", "Get / Keep");
    check("GET / HTTP/1.0\r\n\r\n", "Get / Close");
    check("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "Get / KeepNamed");
    check("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "Get / Close");
    check("GET / HTTP/1.7\r\n\r\n", "Get / Keep");
    check("HEAD /x HTTP/1.1\r\n\r\n", "Head /x Keep");
}

#[test]
fn a30_a_request_with_a_body_closes() {
    check("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", "Get / CloseLate");
    check("GET / HTTP/1.1\r\nCONTENT-LENGTH: 0\r\n\r\n", "Get / Keep");
    check("GET / HTTP/1.1\r\nContent-Length: what\r\n\r\n", "Get / CloseLate");
    check("GET / HTTP/1.1\r\nContent-Length:\r\n\r\n", "Get / CloseLate");
    check("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "Get / CloseLate");
    check("GET / HTTP/1.0\r\nConnection: close\r\nContent-Length: 5\r\n\r\n", "Get / CloseLate");
    check("GET / HTTP/1.1\r\nTE: trailers\r\nContent-Type: x\r\n\r\n", "Get / Keep");
}

#[test]
fn a30_a_host_is_not_needed_and_absolute_form_is_taken() {
    check("GET /announce?a=b HTTP/1.1\r\n\r\n", "Get /announce?a=b Keep");
    check("GET http://tracker.example:6969/announce?a HTTP/1.1\r\n\r\n", "Get /announce?a Keep");
    check("GET HTTPS://tracker.example/announce HTTP/1.1\r\n\r\n", "Get /announce Keep");
    check("GET http://tracker.example HTTP/1.1\r\n\r\n", "Get  Keep");
    check("GET http://tracker.example?a=/ HTTP/1.1\r\n\r\n", "Get ?a=/ Keep");
    check("GET http://[2001:db8::1]:6969/scrape HTTP/1.1\r\n\r\n", "Get /scrape Keep");
}

#[test]
fn a8_a_query_may_hold_raw_bytes() {
    let request = b"GET /announce?info_hash=\0 \xff#?\x7f HTTP/1.1&peer_id=%20 HTTP/1.0\r\n\r\n";
    let (head, consumed) = complete(request);
    assert_eq!(head.path, b"/announce");
    assert_eq!(head.query, b"info_hash=\0 \xff#?\x7f HTTP/1.1&peer_id=%20");
    assert_eq!(head.persistence, Persistence::Close);
    assert_eq!(consumed, request.len());
}

#[test]
fn a30_odd_line_ends_and_spaces() {
    check("GET / HTTP/1.1\n\n", "Get / Keep");
    check("GET / HTTP/1.1\nConnection: close\n\r\n", "Get / Close");
    check("GET / HTTP/1.1\r\nConnection: close\r\n\n", "Get / Close");
    check("GET   /  HTTP/1.1 \r\n\r\n", "Get /  Keep");
    check("\r\n\r\nGET / HTTP/1.1\r\n\r\n", "Get / Keep");
    check("\n\r\nGET / HTTP/1.1\r\n\r\n", "Get / Keep");
    check("GET / HTTP/1.1\r\nConnection : \t close \t\r\n\r\n", "Get / Close");
    check("GET / HTTP/1.1\r\nno colon\r\n: no name\r\n\tfolded: close\r\n\r\n", "Get / Keep");
}

#[test]
fn a30_any_number_of_headers_in_any_case() {
    let mut request = b"GET / HTTP/1.1\r\n".to_vec();
    for number in 0..300 {
        request.extend_from_slice(format!("X-Header-{number}: value {number}\r\n").as_bytes());
    }
    request
        .extend_from_slice(b"x-fOrWaRdEd-fOr:  192.0.2.1 \r\nX-Forwarded-For: 192.0.2.2\r\n\r\n");
    let (head, consumed) = complete(&request);
    assert_eq!(consumed, request.len());
    assert_eq!(head.headers().count(), 302);
    assert_eq!(head.header("X-Header-299"), Some(&b"value 299"[..]));
    assert_eq!(head.header("x-forwarded-for"), Some(&b"192.0.2.1"[..]));
    assert_eq!(head.last_header("X-Forwarded-For"), Some(&b"192.0.2.2"[..]));
    assert_eq!(head.header("X-Header-300"), None);
    assert_eq!(head.last_header("Host"), None);
}

#[test]
fn a_header_means_the_same_to_whoever_looks() {
    // A CR that ends no line is part of the name behind it.
    let request = b"GET / HTTP/1.1\r\nHost: x\n\rConnection: close\r\n\tConnection: close\r\n\r\n";
    let (head, _) = complete(request);
    assert_eq!(head.persistence, Persistence::Keep);
    assert_eq!(head.header("connection"), None);
    assert_eq!(head.headers().count(), 2);
}

#[test]
fn b6_a_reply_may_be_compressed_only_when_the_client_says_so() {
    for (headers, accepts) in [
        ("", false),
        ("Accept-Encoding:", false),
        ("Accept-Encoding: gzip", true),
        ("accept-encoding: GZIP", true),
        ("Accept-Encoding: deflate, gzip;q=1.0", true),
        ("Accept-Encoding: br,gzip ; q=0.001,zstd", true),
        ("Accept-Encoding: identity\r\nAccept-Encoding: gzip", true),
        ("Accept-Encoding: gzip;q=0", false),
        ("Accept-Encoding: gzip; q=0.000, br", false),
        ("Accept-Encoding: gzip;q=", false),
        ("Accept-Encoding: gzipped, x;gzip, *", false),
        ("Accept: gzip", false),
    ] {
        let request = format!("GET / HTTP/1.1\r\n{headers}\r\n\r\n");
        let request = if headers.is_empty() { "GET / HTTP/1.1\r\n\r\n" } else { &request };
        assert_eq!(complete(request.as_bytes()).0.accepts_gzip(), accepts, "{headers}");
    }
}

#[test]
fn a30_pipelined_requests_stay_apart() {
    let requests = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n\r\nGET /b?q HTTP/1.1\r\n\r\nGET /c";
    let (first, consumed) = complete(requests);
    assert_eq!(first.path, b"/a");
    let rest = &requests[consumed..];
    let (second, consumed) = complete(rest);
    assert_eq!((second.path, second.query), (&b"/b"[..], &b"q"[..]));
    let rest = &rest[consumed..];
    assert_eq!(rest, b"GET /c");
    assert_eq!(parse_head(rest, 0), Ok(Parsed::Partial));
}

#[test]
fn a30_a_request_may_arrive_in_any_pieces() {
    let requests: [&[u8]; 6] = [
        b"GET /announce?info_hash=%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET",
        b"\r\n\nHEAD http://x/scrape HTTP/1.0\n\nmore",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / SPDY/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n",
        b"GET nothing HTTP/1.1\r\n\r\n",
    ];
    for request in requests {
        let whole = parse_head(request, 0);
        for step in 1..=request.len() {
            let mut seen = 0;
            let pieces = (0..request.len()).step_by(step).skip(1).chain([request.len()]);
            let mut found = pieces.map(|length| {
                let found = parse_head(&request[..length], seen);
                seen = length;
                found
            });
            let found = found.find(|found| *found != Ok(Parsed::Partial));
            assert_eq!(found, Some(whole), "{} in {step}s", request.escape_ascii());
        }
    }
}

#[test]
fn a30_what_cannot_become_a_request_is_refused_at_once() {
    for start in ["P", "POST / HTTP/1.1", "get / HTTP/1.1", "GETS", " GET", "\x16\x03\x01", "HEAT"]
    {
        check_malformed(start, Malformed::Method);
    }
    for start in ["", "G", "GET", "GET ", "HEAD", "\r\n", "GET / HTTP/1.1", "GET / HTTP/9"] {
        assert_eq!(parse_head(start.as_bytes(), 0), Ok(Parsed::Partial), "{start:?}");
    }
    check_malformed("GET /\r\n", Malformed::Version);
    check_malformed("GET /announce\n", Malformed::Version);
    check_malformed("GET / HTTP/2.0\r\n", Malformed::Version);
    check_malformed("GET / HTTP/1.\r\n", Malformed::Version);
    check_malformed("GET / http/1.1\r\n", Malformed::Version);
    check_malformed("GET HTTP/1.1\r\n", Malformed::Version);
    check_malformed("GET * HTTP/1.1\r\n", Malformed::Target);
    check_malformed("GET announce HTTP/1.1\r\n", Malformed::Target);
    check_malformed("GET ftp://x/ HTTP/1.1\r\n", Malformed::Target);
    check_malformed("GET  HTTP/1.1\r\n", Malformed::Target);
}

#[test]
fn a30_a_head_has_8_kib_at_most() {
    let request = |bytes: usize| {
        let mut request = b"GET /".to_vec();
        request.resize(bytes - 13, b'x');
        request.extend_from_slice(b" HTTP/1.1\r\n\r\n");
        request
    };
    let longest = request(HEAD_BYTES_MAX);
    let (head, consumed) = complete(&longest);
    assert_eq!((head.path.len(), consumed), (HEAD_BYTES_MAX - 17, HEAD_BYTES_MAX));
    check_malformed(request(HEAD_BYTES_MAX + 1), Malformed::TooLarge);
    assert_eq!(parse_head(&longest[..HEAD_BYTES_MAX - 1], 0), Ok(Parsed::Partial));
    check_malformed([b'\n'; HEAD_BYTES_MAX], Malformed::TooLarge);

    let mut headers = b"GET / HTTP/1.1\r\n".to_vec();
    headers.resize(HEAD_BYTES_MAX - 1, b'\n' - 1);
    assert_eq!(parse_head(&headers, 100), Ok(Parsed::Partial));
    headers.extend_from_slice(b"\r\n\r\n");
    assert_eq!(parse_head(&headers, 100), Err(Malformed::TooLarge));
    assert_eq!(parse_head(&headers, 0), Err(Malformed::TooLarge));
}

#[test]
fn a32_a_head_never_prints_path_query_or_headers() {
    let request = b"GET /secret/announce?passkey=secret HTTP/1.1\r\nCookie: secret\r\n\r\n";
    let (head, _) = complete(request);
    assert!(!format!("{head:?} {:?} {:?}", head.headers(), head.target()).contains("secret"));
}

#[test]
fn a_head_knows_its_target_and_framing() {
    let (head, _) = complete(b"HEAD /announce/0123 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(matches!(head.target(), Target::Announce(Some(key)) if key.bytes() == b"0123"));
    let expected = Framing { persistence: Persistence::KeepNamed, head_only: true };
    assert_eq!(head.framing(), expected);
    assert_eq!(head.framing().closing().persistence, Persistence::Close);
}
