//! A list for Seeders is read without a panic; what is understood is written and read back the same, leads nowhere out
//! of a folder, and makes a feed that is XML.
//!
//! The input is read as it is, and as what our Master signed: nothing else would get behind the signature.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use publish::feed::{
    FeedAddress, KeyPair, Page, TrustedKeys, check_name, read, rss, sign, unpack, write,
};

#[allow(dead_code, unreachable_pub)]
#[path = "../../../publish/src/durable.rs"]
mod durable;
// Its sources, and not its package: the engine of the publisher would be built with the sanitizer for nothing.
#[allow(dead_code, unused_imports, unreachable_pub)]
#[path = "../../../publish/src"]
mod publish {
    pub mod feed;
}

static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::from_seed(&[1; 32]));

fuzz_target!(|bytes: &[u8]| {
    let keys = TrustedKeys::new(KEY.public());
    if let Ok(signed) = read(bytes, &keys) {
        assert_eq!(signed.key, KEY.public());
    }
    let _ = unpack(bytes);
    if let Ok(address) = str::from_utf8(bytes).unwrap_or_default().parse::<FeedAddress>() {
        assert_eq!(address.to_string().parse(), Ok(address.clone()));
        assert!(address.list_url().path().ends_with(".list"));
    }

    let Ok(signed) = read(&sign(bytes, &KEY), &keys) else { return };
    let list = signed.list;
    let written = write(&list, &KEY).expect("what was read is written");
    assert_eq!(read(&written.bytes, &keys).map(|signed| signed.list).as_ref(), Ok(&list));
    assert_eq!(unpack(&written.gzip).as_deref(), Ok(&written.bytes[..]));
    assert!(list.items.iter().all(|item| check_name(&item.name).is_ok()));
    let link: url::Url = "https://example.org/feed".parse().expect("it is one");
    let page = Page {
        title: "margay".to_owned(),
        description: String::new(),
        list: link.clone(),
        link,
        ttl: 1,
        items_max: 100,
    };
    let feed = rss(&list, &page);
    let channel = ::rss::Channel::read_from(&feed.bytes[..]).expect("the feed is RSS");
    assert_eq!(channel.items().len(), list.items.len().min(100));
});
