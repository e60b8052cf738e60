//! The rules by which a name settles, and its done-marker.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

/// What it takes until a name counts as uploaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Nothing below a name has changed for this long.
    pub settle: Duration,
    /// What is asked of a name that is already published and is written to in place.
    pub overwrite: Overwrite,
    /// With `Overwrite::SettleLonger`: nothing has changed for this long.
    pub overwrite_settle: Duration,
    /// A name is published only when its done-marker is there.
    pub done_marker: bool,
    /// What the name of a done-marker ends in: `film.mkv.done` says that `film.mkv` is whole. Names that end so are never
    /// published.
    pub marker_suffix: OsString,
}

/// When a published name whose file was written to in place (the same inode) is published anew.
///
/// scp, `cp`, sftp and `rsync --inplace` write so over a file, and one that is killed half-way leaves a file of full size
/// with a new head and an old tail, which looks like a whole one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overwrite {
    /// When a new file was renamed over it, or a done-marker was made after the last write.
    Rename,
    /// When a done-marker was made after the last write; also of what was renamed over it.
    Marker,
    /// After the longer settle time. An upload that broke off and is not resumed within it is published broken.
    SettleLonger,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(10),
            overwrite: Overwrite::Rename,
            overwrite_settle: Duration::from_secs(600),
            done_marker: false,
            marker_suffix: ".done".into(),
        }
    }
}

/// Rules that cannot be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RulesError {
    /// Without a suffix every name would be a marker.
    #[error("the suffix of done-markers is empty or has a slash; set it to something like .done")]
    Suffix,
    /// No time to settle.
    #[error(
        "the settle time is below 100 ms: a partial upload would be published; the default is 10 s"
    )]
    Settle,
    /// The longer time is the shorter one.
    #[error(
        "the settle time of overwritten names is shorter than that of new ones; make it longer"
    )]
    OverwriteSettle,
}

impl Rules {
    /// Says what of the rules makes no sense.
    pub fn check(&self) -> Result<(), RulesError> {
        if self.marker_suffix.is_empty() || self.marker_suffix.as_bytes().contains(&b'/') {
            return Err(RulesError::Suffix);
        }
        if self.settle < Duration::from_millis(100) {
            return Err(RulesError::Settle);
        }
        if self.overwrite_settle < self.settle {
            return Err(RulesError::OverwriteSettle);
        }
        Ok(())
    }

    /// The name that the done-marker `name` is for; `None` if it is no marker.
    pub fn marked<'a>(&self, name: &'a OsStr) -> Option<&'a OsStr> {
        let marked = name.as_bytes().strip_suffix(self.marker_suffix.as_bytes())?;
        (!marked.is_empty()).then(|| OsStr::from_bytes(marked))
    }

    /// The name of the done-marker of `name`.
    pub fn marker(&self, name: &OsStr) -> OsString {
        OsString::from_vec([name.as_bytes(), self.marker_suffix.as_bytes()].concat())
    }

    /// How long after a change a name is looked at again, before it can have settled.
    pub(super) fn between_looks(&self) -> Duration {
        (self.settle / 4).clamp(Duration::from_millis(50), Duration::from_secs(5))
    }
}
