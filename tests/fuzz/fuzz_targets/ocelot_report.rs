//! A report of either flavour is read and answered without a panic, the answer closes and ends as sites
//! expect it; and whatever a site answers is understood as something.

#![no_main]

use libfuzzer_sys::fuzz_target;
use margay::wire::http::Framing;
use margay::wire::ocelot::{
    Flavour, Report, SiteAnswer, Stats, site_answer, write_jemalloc, write_prom_stats, write_stats,
    write_torrent, write_unknown_report, write_user,
};

fuzz_target!(|bytes: &[u8]| {
    for flavour in [Flavour::Whatcd, Flavour::Orpheus] {
        let report = Report::parse(bytes, flavour);
        let (framing, mut out) = (Framing::CLOSE, Vec::new());
        match report {
            Report::Stats => write_stats(&mut out, framing, flavour, &Stats::default()),
            Report::User { passkey } => {
                assert!(passkey.is_none_or(|passkey| !passkey.is_empty()));
                write_user(&mut out, framing, flavour, passkey, None);
            }
            Report::Torrent { info_hash } => write_torrent(&mut out, framing, info_hash, None),
            Report::PromStats => write_prom_stats(&mut out, framing, &Stats::default()),
            Report::Jemalloc => write_jemalloc(&mut out, framing),
            Report::Unknown => write_unknown_report(&mut out, framing, flavour),
        }
        assert!(out.starts_with(b"HTTP/1.1 200 OK\r\n"));
        match flavour {
            Flavour::Whatcd => assert!(out.ends_with(b"\nsuccess")),
            Flavour::Orpheus => assert!(out.ends_with(b"\n") || out.ends_with(b"ee")),
        }
        if let Report::User { passkey: Some(_) } = report {
            assert_eq!(format!("{report:?}"), "User { passkey: Some(()) }");
        }
    }

    let answer = site_answer(bytes, true);
    assert_ne!(answer, SiteAnswer::Partial);
    let early = site_answer(&bytes[..bytes.len() / 2], false);
    assert!(early == SiteAnswer::Partial || early == answer);
});
