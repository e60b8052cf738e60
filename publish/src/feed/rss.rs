//! The feed: the newest of the list, for those that read RSS 2.0 and BEP 36.
//!
//! What readers do was measured (qBittorrent 4.5.2, FlexGet 3.22.8, feedparser 6.0.14): an enclosure has to be of type
//! `application/x-bittorrent` with an absolute URL, and only one; qBittorrent goes by guid, FlexGet by title and URL;
//! feedparser loses elements of a namespace that have attributes or are repeated; with a `lastBuildDate` that it has
//! seen, qBittorrent skips all that is new. Each reader fetches the whole feed at
//! each poll, so it is short.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use rss::extension::{Extension, ExtensionMap};
use rss::{Channel, Enclosure, Guid};
use url::Url;

use super::document::Document;
use super::item::Item;
use super::list::List;

/// Items in the feed, where nothing else is configured.
pub const ITEMS: usize = 100;

/// The namespace of our own elements, whose prefix is always `margay`. Each is text without attributes, and there once:
/// `epoch`, `generation`, `count` and `list` of the channel, `infohash`, `size` and `files` of an item.
pub const NAMESPACE: &str = "urn:margay:feed:1";

/// What the feed says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// Its title.
    pub title: String,
    /// What it is about.
    pub description: String,
    /// The page for people that it belongs to; the feed itself where there is none.
    pub link: Url,
    /// Where the list is, see `FeedAddress::list_url`.
    pub list: Url,
    /// Minutes between two polls.
    pub ttl: u32,
    /// The newest so many items are in it.
    pub items_max: usize,
}

/// The feed of `list`, as a file.
///
/// Characters that XML 1.0 cannot hold (section 2.2) are shown as their pictures (U+2400 and up). Two items that readers
/// would see under one title are told apart by the beginning of the infohash.
pub fn rss(list: &List, page: &Page) -> Document {
    let mut newest: Vec<&Item> = list.items.iter().collect();
    newest.sort_unstable_by_key(|item| (Reverse(item.published), item.info_hash));
    let titles = titles(&newest);
    let items: Vec<rss::Item> = newest
        .iter()
        .zip(titles)
        .take(page.items_max)
        .map(|(item, title)| entry(item, title))
        .collect();
    let channel = Channel {
        title: printable(&page.title).into_owned(),
        link: page.link.to_string(),
        description: printable(&page.description).into_owned(),
        pub_date: newest.first().map(|item| rfc_2822(item.published)),
        // No `lastBuildDate`: qBittorrent skips a feed whose date it has seen, and within a second much is published.
        ttl: Some(page.ttl.max(1).to_string()),
        generator: Some("margay".to_owned()),
        items,
        extensions: elements(&[
            ("epoch", list.epoch.to_string()),
            ("generation", list.generation.to_string()),
            ("count", list.items.len().to_string()),
            ("list", page.list.to_string()),
        ]),
        namespaces: BTreeMap::from([("margay".to_owned(), NAMESPACE.to_owned())]),
        ..Channel::default()
    };
    let mut bytes = Vec::new();
    channel.write_to(&mut bytes).expect("memory takes what is written");
    bytes.push(b'\n');
    Document::new(bytes)
}

fn entry(item: &Item, title: String) -> rss::Item {
    let files = if item.files == 1 { "1 file".to_owned() } else { format!("{} files", item.files) };
    rss::Item {
        title: Some(title),
        link: Some(item.torrent_url.clone()),
        description: Some(format!("{files}, {} bytes", item.size)),
        enclosure: Some(Enclosure {
            url: item.torrent_url.clone(),
            length: item.torrent_length.to_string(),
            mime_type: "application/x-bittorrent".to_owned(),
        }),
        guid: Some(Guid { value: format!("urn:btih:{}", item.info_hash), permalink: false }),
        pub_date: Some(rfc_2822(item.published)),
        extensions: elements(&[
            ("infohash", item.info_hash.to_string()),
            ("size", item.size.to_string()),
            ("files", item.files.to_string()),
        ]),
        ..rss::Item::default()
    }
}

/// What readers see of each item, given the newest first: of two that look alike the older one keeps its title.
fn titles(newest: &[&Item]) -> Vec<String> {
    let mut seen = HashSet::with_capacity(newest.len());
    let mut titles: Vec<String> = newest
        .iter()
        .rev()
        .map(|item| {
            let title = printable(&item.title);
            // Readers leave out white space at both ends.
            let title = title.trim();
            match seen.insert(title.to_owned()) {
                true if !title.is_empty() => title.to_owned(),
                _ => format!("{title} [{}]", &item.info_hash.to_string()[..8]),
            }
        })
        .collect();
    titles.reverse();
    titles
}

/// The text without what XML 1.0 cannot hold, on one line.
fn printable(text: &str) -> Cow<'_, str> {
    let shown = |char: char| match char {
        '\0'..='\u{1f}' => {
            char::from_u32(0x2400 + char as u32).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        '\u{7f}' => '\u{2421}',
        // Allowed, but line ends and worse for some.
        '\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}' => {
            char::REPLACEMENT_CHARACTER
        }
        _ => char,
    };
    match text.chars().any(|char| shown(char) != char) {
        true => Cow::Owned(text.chars().map(shown).collect()),
        false => Cow::Borrowed(text),
    }
}

fn elements(named: &[(&str, String)]) -> ExtensionMap {
    let element = |(name, value): &(&str, String)| {
        let element = Extension {
            name: format!("margay:{name}"),
            value: Some(value.clone()),
            ..Extension::default()
        };
        ((*name).to_owned(), vec![element])
    };
    BTreeMap::from([("margay".to_owned(), named.iter().map(element).collect())])
}

/// A time as RSS has it (RFC 2822, section 3.3), UTC.
fn rfc_2822(seconds: u64) -> String {
    let seconds = seconds.min(YEAR_9999_ENDS);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days in eras of 400 years that begin with a March (H. Hinnant, "chrono-compatible low-level date algorithms").
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, year) =
        if month < 10 { (month + 2, 400 * era + year) } else { (month - 10, 400 * era + year + 1) };
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} +0000",
        // 1970 began with a Thursday.
        ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(days % 7) as usize],
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
            [month as usize],
        second / 3600,
        second / 60 % 60,
        second % 60,
    )
}

const YEAR_9999_ENDS: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use shard::InfoHash;

    use super::*;

    fn item(number: u8, title: &str) -> Item {
        let info_hash = InfoHash([number; 20]);
        Item {
            info_hash,
            name: format!("file {number}"),
            title: title.to_owned(),
            size: 1000 + u64::from(number),
            files: u64::from(number),
            published: 1_760_000_000 + u64::from(number),
            torrent_url: format!("https://example.org/t/{info_hash}.torrent?a=1&b=2"),
            torrent_length: 20_000,
            torrent_sha256: [0; 32],
        }
    }

    fn page(items_max: usize) -> Page {
        Page {
            title: "What is <new>".to_owned(),
            description: "All & everything".to_owned(),
            link: "https://example.org/".parse().unwrap(),
            list: "https://example.org/feed.list".parse().unwrap(),
            ttl: 1,
            items_max,
        }
    }

    fn feed(titles: &[&str], items_max: usize) -> (String, Channel) {
        let items = titles.iter().zip(1..).map(|(title, number)| item(number, title)).collect();
        let list = List { epoch: 2, generation: 7, made: 1_760_000_500, items, ..List::default() };
        let document = rss(&list, &page(items_max));
        let text = String::from_utf8(document.bytes.to_vec()).unwrap();
        let channel = Channel::read_from(text.as_bytes()).unwrap();
        (text, channel)
    }

    #[test]
    fn a_feed_has_what_readers_go_by() {
        let (text, channel) = feed(&["a", "b & <c>"], ITEMS);
        assert_eq!((channel.title(), channel.ttl()), ("What is <new>", Some("1")));
        let newest = &channel.items()[0];
        assert_eq!(newest.title(), Some("b & <c>"));
        let hash = "02".repeat(20);
        let url = format!("https://example.org/t/{hash}.torrent?a=1&b=2");
        let enclosure = newest.enclosure().unwrap();
        assert_eq!((enclosure.url(), enclosure.length()), (url.as_str(), "20000"));
        assert_eq!(enclosure.mime_type(), "application/x-bittorrent");
        let guid = newest.guid().unwrap();
        assert_eq!(
            (guid.value(), guid.is_permalink()),
            (format!("urn:btih:{hash}").as_str(), false)
        );
        assert_eq!(newest.pub_date(), Some("Thu, 09 Oct 2025 08:53:22 +0000"));
        for element in [
            "<margay:epoch>2</margay:epoch>",
            "<margay:generation>7</margay:generation>",
            "<margay:count>2</margay:count>",
            "<margay:list>https://example.org/feed.list</margay:list>",
            &format!("<margay:infohash>{hash}</margay:infohash>"),
            "<margay:size>1002</margay:size>",
            "xmlns:margay=\"urn:margay:feed:1\"",
        ] {
            assert_eq!(text.matches(element).count(), 1, "{element} in {text}");
        }
    }

    #[test]
    fn a_feed_is_short_and_says_how_much_there_is() {
        let (text, channel) = feed(&["a", "b", "c"], 2);
        let titles: Vec<_> = channel.items().iter().filter_map(|item| item.title()).collect();
        assert_eq!(titles, ["c", "b"]);
        assert!(text.contains("<margay:count>3<"));
        assert!(feed(&[], 2).1.items().is_empty());
    }

    #[test]
    fn titles_hold_nothing_that_xml_cannot_and_no_two_are_alike() {
        let (_, channel) =
            feed(&["a\u{1}b\u{0}", "a\u{2}b\n", "\u{ffff}", "same", " same ", "same", " "], ITEMS);
        let mut titles: Vec<_> = channel.items().iter().filter_map(|item| item.title()).collect();
        titles.reverse();
        let expected = [
            "a\u{2401}b\u{2400}",
            "a\u{2402}b\u{240a}",
            "\u{fffd}",
            "same",
            "same [05050505]",
            "same [06060606]",
            " [07070707]",
        ];
        // The reader here trims as others do.
        assert_eq!(
            titles.iter().map(|title| title.trim()).collect::<Vec<_>>(),
            expected.map(str::trim)
        );
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 +0000"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 +0000"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 +0000"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 +0000"),
        ] {
            assert_eq!(rfc_2822(seconds), text);
        }
    }
}
