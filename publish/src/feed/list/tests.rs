//! What is a list, and what is none.

use shard::InfoHash;

use super::*;

fn key() -> KeyPair {
    KeyPair::from_seed(&[1; 32])
}

fn trusted() -> TrustedKeys {
    TrustedKeys::new(key().public())
}

fn item(number: u8) -> Item {
    let info_hash = InfoHash([number; 20]);
    Item {
        info_hash,
        name: format!("file {number}.iso"),
        title: format!("file {number}.iso (2)"),
        size: 1 << 30,
        files: 1,
        published: 1_760_000_000,
        torrent_url: format!("https://example.org/t/{info_hash}.torrent"),
        torrent_length: 20_000,
        torrent_sha256: [number; 32],
    }
}

fn list(items: u8) -> List {
    List {
        epoch: 3,
        generation: 17,
        made: 1_760_000_100,
        items: (1..=items).map(item).collect(),
        masters: vec!["192.0.2.1:6881".parse().unwrap(), "[2001:db8::1]:6881".parse().unwrap()],
        withdraw: true,
        next_key: Some(KeyPair::from_seed(&[2; 32]).public()),
    }
}

/// What is signed, as text.
fn text(list: &List) -> String {
    String::from_utf8(body(list)).unwrap()
}

/// What comes of a body that our Master signed.
fn read_signed(body: &str) -> Result<Signed, FeedError> {
    read(&sign(body.as_bytes(), &key()), &trusted())
}

#[test]
fn a_list_is_what_was_written() {
    for items in [0, 1, 3] {
        let document = write(&list(items), &key()).unwrap();
        let signed = read(&document.bytes, &trusted()).unwrap();
        assert_eq!((signed.list, signed.key), (list(items), key().public()));
        assert_eq!(
            write(&list(items), &key()).unwrap(),
            document,
            "the same list is the same file"
        );
        assert!(
            document.bytes.starts_with(format!("margay-list 1 {} ", key().public()).as_bytes())
        );
    }
}

#[test]
fn names_of_all_kinds_come_through() {
    let mut list = list(0);
    for (at, name) in ["a b", "a\nb", "\u{1}", "\"", "\\", "é", "e\u{301}", "😀", "-rf", "\u{feff}"]
        .iter()
        .enumerate()
    {
        list.items.push(Item {
            name: (*name).to_owned(),
            title: (*name).to_owned(),
            ..item(at as u8 + 1)
        });
    }
    assert_eq!(read(&write(&list, &key()).unwrap().bytes, &trusted()).unwrap().list, list);
}

#[test]
fn every_cut_is_seen_as_one() {
    let bytes = write(&list(2), &key()).unwrap().bytes;
    assert_eq!(read(b"", &trusted()), Err(FeedError::Empty));
    for end in 1..bytes.len() {
        match read(&bytes[..end], &trusted()).unwrap_err() {
            FeedError::Truncated { .. } => {}
            // Within the signature, or right behind it.
            FeedError::Head { .. } | FeedError::Signature => panic!("cut at {end}"),
            other => panic!("cut at {end}: {other}"),
        }
    }
}

#[test]
fn every_changed_byte_is_seen() {
    let bytes = write(&list(2), &key()).unwrap().bytes.to_vec();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(read(&changed, &trusted()).is_err(), "byte {at}");
        changed[at] ^= 1;
        changed.insert(at, b'0');
        assert!(read(&changed, &trusted()).is_err(), "a byte more at {at}");
    }
    let longer = [&bytes[..], b"\n"].concat();
    assert_eq!(read(&longer, &trusted()), Err(FeedError::Signature));
}

#[test]
fn what_is_no_list_is_refused_in_clear_words() {
    let page = b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>";
    for (bytes, says) in [
        (&page[..], "error page"),
        (b"\x1f\x8b\x08", "no list"),
        (b"<?xml version=\"1.0\"?><rss/>", "no list"),
        (b"margay-list 2 a b\n", "update it"),
        (b"margay-list 1 a b\n", "43 characters"),
        (b"margay-list 1\n", "damaged"),
        (&[&b"margay-list 1 "[..], &[b'a'; 400]].concat(), "no list"),
        (&[0xff; 300], "no list"),
    ] {
        let said = read(bytes, &trusted()).unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
    }
    assert_eq!(read(&vec![b'a'; BYTES_MAX + 1], &trusted()), Err(FeedError::TooLarge));
}

#[test]
fn only_the_key_that_is_trusted_counts() {
    let other = KeyPair::from_seed(&[9; 32]);
    let foreign = write(&list(1), &other).unwrap().bytes;
    let error = read(&foreign, &trusted()).unwrap_err();
    assert!(matches!(error, FeedError::ForeignKey { .. }), "{error}");
    assert!(error.to_string().contains(&other.public().to_string()));
    // With the trusted key's name over another's signature.
    let renamed = String::from_utf8(foreign.to_vec())
        .unwrap()
        .replace(&other.public().to_string(), &key().public().to_string());
    assert_eq!(read(renamed.as_bytes(), &trusted()), Err(FeedError::Signature));
    // A signature of the bare text is none of a list.
    let text = text(&list(1));
    let bare = URL_SAFE_NO_PAD.encode(key().sign(text.as_bytes()));
    let bare = format!("margay-list 1 {} {bare}\n{text}", key().public());
    assert_eq!(read(bare.as_bytes(), &trusted()), Err(FeedError::Signature));
}

#[test]
fn what_our_own_master_may_not_say_is_refused() {
    let good = text(&list(2));
    assert!(read_signed(&good).is_ok());
    for (from, to, says) in [
        ("\"items\":2", "\"items\":3", "says 3 items and has 2"),
        ("\"items\":2", "\"items\":1", "says 1 items and has 2"),
        ("\"items\":2", "\"items\":100001", "more than 100000"),
        ("\"items\":2", "\"items\":-1", "damaged"),
        ("\"epoch\":3,", "", "missing field `epoch`"),
        ("file 2.iso\"", "file 1.iso\"", "line 4 of the list is refused: the name"),
        ("file 1.iso\"", "../file 1.iso\"", "has a path in it"),
        ("file 1.iso\"", "..\"", "data folder"),
        ("file 1.iso\"", "a\\u0000b\"", "has a path in it"),
        ("file 1.iso\"", "\"", "a name is empty"),
        ("file 1.iso (2)", "", "title"),
        ("1073741824", "0", "cannot be"),
        ("1073741824", "70368744177665", "cannot be"),
        ("\"files\":1", "\"files\":0", "cannot be"),
        ("20000", "0", "not 1 to"),
        ("https://example.org/", "/", "not absolute"),
        ("https://example.org/", "file:///", "neither http"),
        ("/t/0101", "/t/0102", "does not hold the infohash"),
        ("\"0101", "\"01", "line 3"),
        ("\"0101", "\"zz01", "hex digits"),
        ("}\n{", "}\n\n{", "line 3"),
        ("}\n{", "}{", "second line"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let said = read_signed(&bad).map(|_| ()).unwrap_err().to_string();
        assert!(said.contains(says), "{from} to {to}: {said}");
    }
    let twice = list(2).items[0].info_hash;
    let mut items = list(2).items;
    items[1] = Item { name: "other".to_owned(), ..item(1) };
    assert_eq!(items[1].info_hash, twice);
    let said = write(&List { items, ..list(0) }, &key()).unwrap_err().to_string();
    assert!(said.contains("the infohash of \"other\" is there twice"), "{said}");
    assert!(read_signed(good.trim_end()).is_err());
    assert!(read_signed("").is_err());
}

#[test]
fn what_a_later_version_adds_is_left_out_of_account() {
    let later = text(&list(1))
        .replace("\"epoch\":3", "\"since\":{\"a\":[1]},\"epoch\":3")
        .replace("\"size\"", "\"new\":1,\"size\"");
    assert_eq!(read_signed(&later).unwrap().list, list(1));
}

#[test]
fn the_longest_item_fits_its_line() {
    let name = "\u{1}".repeat(NAME_BYTES_MAX);
    let title = "\u{1}".repeat(TITLE_BYTES_MAX);
    let mut torrent_url = item(1).torrent_url;
    torrent_url.insert_str(20, &"x".repeat(URL_BYTES_MAX - torrent_url.len()));
    let long = Item {
        name,
        title,
        torrent_url,
        size: SIZE_MAX,
        torrent_length: TORRENT_BYTES_MAX,
        ..item(1)
    };
    let list = List { items: vec![long], ..list(0) };
    assert_eq!(read(&write(&list, &key()).unwrap().bytes, &trusted()).unwrap().list, list);
}

#[test]
fn a_rotation_is_followed_by_who_sees_it() {
    let (old, new, third) = (key(), KeyPair::from_seed(&[2; 32]), KeyPair::from_seed(&[3; 32]));
    let says = |next: Option<&KeyPair>, key: &KeyPair| {
        write(&List { next_key: next.map(KeyPair::public), ..list(1) }, key).unwrap().bytes
    };
    let mut keys = trusted();
    let mut learn = |bytes: &[u8]| -> Result<bool, FeedError> {
        let learnt = keys.learn(&read(bytes, &keys)?);
        keys = TrustedKeys::resume(
            old.public(),
            Some(serde_json::from_str(&serde_json::to_string(&keys).unwrap()).unwrap()),
        );
        Ok(learnt)
    };
    let foreign = |result| matches!(result, Err(FeedError::ForeignKey { .. }));
    assert_eq!(learn(&says(None, &old)), Ok(false));
    assert!(foreign(learn(&says(None, &new))), "it was not told of yet");
    assert_eq!(learn(&says(Some(&third), &old)), Ok(true));
    assert_eq!(learn(&says(None, &old)), Ok(true), "given up");
    assert!(foreign(learn(&says(None, &third))));
    assert_eq!(learn(&says(Some(&new), &old)), Ok(true));
    assert_eq!(learn(&says(Some(&new), &old)), Ok(false), "both are trusted");
    assert_eq!(learn(&says(None, &new)), Ok(true));
    assert!(foreign(learn(&says(Some(&third), &old))), "the old one no more");
    assert_eq!(learn(&says(None, &new)), Ok(false));
}

#[test]
fn a_key_that_is_configured_anew_counts_alone() {
    let [old, new, third] = [1, 2, 3].map(|seed| KeyPair::from_seed(&[seed; 32]));
    let mut kept = TrustedKeys::new(old.public());
    let lists = [(&old, Some(new.public())), (&new, Some(third.public()))];
    for (key, next_key) in lists {
        let bytes = write(&List { next_key, ..list(1) }, key).unwrap().bytes;
        kept.learn(&read(&bytes, &kept).unwrap());
    }
    assert_eq!(kept.current(), new.public());
    assert_eq!(
        TrustedKeys::resume(old.public(), Some(kept.clone())),
        kept,
        "the address is still the old one"
    );
    let written_down = TrustedKeys::resume(new.public(), Some(kept.clone()));
    assert!(written_down.trusts(&third.public()) && written_down.trusts(&new.public()));
    let lost = KeyPair::from_seed(&[4; 32]).public();
    assert_eq!(TrustedKeys::resume(lost, Some(kept)), TrustedKeys::new(lost));
}
