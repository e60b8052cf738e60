//! By which name the control listener is asked: what takes commands, by an address or as `localhost`.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ops::host::is_asked_by_address;

use super::Transport;

/// Passes on what is asked for by an address, and by who says nothing (HTTP/1.0). Over TLS the client has checked the
/// name: one that somebody points here is in no certificate.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let is_tls = request.extensions().get() == Some(&Transport::Tls);
    if is_tls || is_asked_by_address(request.headers(), request.uri()) {
        return next.run(request).await;
    }
    (StatusCode::MISDIRECTED_REQUEST, MISDIRECTED).into_response()
}

const MISDIRECTED: &str = "\
this listener is asked by its address or as localhost, so that no web page can point a name at it;
metrics and health under any name are on the listener of --metrics
";

#[cfg(test)]
mod tests {
    use axum::http::uri::Authority;
    use ops::host::is_own;

    #[test]
    fn an_address_or_localhost_is_no_name_that_can_be_pointed_here() {
        for (host, own) in [
            ("127.0.0.1:6980", true),
            ("[::1]:6980", true),
            ("192.0.2.7", true),
            ("localhost:6980", true),
            ("LOCALHOST", true),
            ("localhost.", true),
            ("margay:6980", false),
            ("localhost.example.org", false),
            ("127.0.0.1.example.org", false),
            ("rebound.example.org:6980", false),
        ] {
            let authority: Authority = host.parse().unwrap();
            assert_eq!(is_own(authority.host()), own, "{host}");
        }
        let uri: axum::http::Uri = "http://evil.example/api".parse().unwrap();
        assert!(!is_own(uri.host().unwrap()));
    }
}
