//! The answers to a change, for cores and for the site.

/// The answer of another core to a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// Done, and on the disk.
    Done,
    /// Done, and not on the disk yet.
    NotOnDisk,
    /// Not done: it is stopping, or too much waits for the journal.
    Refused,
}

/// The outcome of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unconfirmed {
    /// In force on every core, and nobody knows yet whether it would outlive a crash.
    #[error("in force, but not on the disk yet; say it again")]
    NotOnDisk,
    /// Cores that it concerns have not done it.
    #[error("not in force everywhere yet; say it again")]
    Unheard,
    /// Nothing was changed.
    #[error("the journal takes nothing now, and nothing was changed; say it again later")]
    JournalFull,
    /// Nothing was changed.
    #[error("the tracker is stopping, and nothing was changed; say it again")]
    Stopping,
    /// Nothing was changed.
    #[error(
        "the tracker holds as many torrents as it may, and nothing was changed; raise torrents-max"
    )]
    Full,
}
