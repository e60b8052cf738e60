//! The feed as files and as what is served: written as a whole, the list before what readers see.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use url::Url;

use super::docroot::{Docroot, LIST};
use crate::durable::FileError;
use crate::feed::{self, FeedError, KeyPair, List, Page};
use crate::web::{Content, Served};

/// Writes lists and feeds.
#[derive(Clone)]
pub(super) struct FeedWriter {
    /// Where they go.
    pub docroot: Docroot,
    /// The data folder.
    pub data: PathBuf,
    /// The key that signs them.
    pub key: Arc<KeyPair>,
    /// What the feed says of itself.
    pub page: Page,
    /// The name of the feed's file; the list's is made of it.
    pub name: String,
    /// What our own listener serves.
    pub served: Arc<Content>,
    /// Where it is said when one is written.
    pub done: UnboundedSender<Result<Written, WriteError>>,
}

/// Why a list is not out.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// No Seeder would take it.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// It cannot be put into the docroot.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A list that is out.
#[derive(Debug)]
pub(super) struct Written {
    /// What it says.
    pub list: List,
    /// How long it took.
    pub took: Duration,
}

impl FeedWriter {
    /// Writes a list and its feed, beside the runtime.
    pub(super) fn write(&self, list: List) {
        let writer = self.clone();
        tokio::task::spawn_blocking(move || {
            let from = Instant::now();
            let written = writer.try_write(&list).map(|()| Written { list, took: from.elapsed() });
            // The Master may have ended.
            let _ = writer.done.send(written);
        });
    }

    fn try_write(&self, list: &List) -> Result<(), WriteError> {
        let signed = feed::write(list, &self.key)?;
        let rss = feed::rss(list, &self.page);
        let name = list_name(&self.name);
        for (name, document, media_type) in
            [(&name, &signed, LIST_TYPE), (&self.name, &rss, "application/rss+xml; charset=utf-8")]
        {
            self.docroot.put_document(name, &document.bytes, &document.gzip)?;
            self.served.put_document(name, Served { media_type, document: document.clone() });
        }
        if let Some(next) = &list.next_key {
            KeyPair::told_next(&self.data, next)?;
        }
        Ok(())
    }
}

/// `feed.xml` → `feed.list`, as `FeedAddress::list_url` has it.
pub(super) fn list_name(name: &str) -> String {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    format!("{stem}{LIST}")
}

/// The name of the feed's file: the last part of its address.
pub(super) fn feed_name(url: &Url) -> String {
    let last = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
    match last {
        "" => "feed.xml".to_owned(),
        last => last.to_owned(),
    }
}

const LIST_TYPE: &str = "application/x-margay-list";
