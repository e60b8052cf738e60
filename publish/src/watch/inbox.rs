//! What comes for the thread that watches: from inotify, and from the owner.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};

use super::look::Look;
use super::names::is_ignored;
use super::settle::Touch;

#[derive(Debug, Default)]
pub(super) struct Shared {
    inbox: Mutex<Inbox>,
    wake: Condvar,
}

/// What has come for the thread since its last turn.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// At most `TOUCHED_MAX`; beyond, everything is looked at.
    pub(super) touched: HashMap<OsString, Touch>,
    /// In order; as many as the owner gives between two turns.
    pub(super) orders: Vec<Order>,
    pub(super) rescan: bool,
    pub(super) check: bool,
    /// Inotify does not notice everything any more.
    pub(super) blind: Option<String>,
    pub(super) stop: bool,
}

#[derive(Debug)]
pub(super) enum Order {
    Again(OsString),
    Published(OsString, Look),
    Withdrawn(OsString),
    Accept,
}

impl Shared {
    pub(super) fn put(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.inbox.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    /// Takes what is there, or waits for it for at most `wait`.
    pub(super) fn take(&self, wait: Duration) -> Inbox {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        if inbox.is_empty() && !wait.is_zero() {
            inbox = self.wake.wait_timeout(inbox, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut inbox)
    }
}

impl Inbox {
    fn is_empty(&self) -> bool {
        self.touched.is_empty()
            && self.orders.is_empty()
            && !(self.rescan || self.check || self.stop)
            && self.blind.is_none()
    }

    fn touch(&mut self, name: &OsStr, touch: Touch) {
        if self.touched.len() >= TOUCHED_MAX {
            self.touched.clear();
            self.rescan = true;
        }
        let known = self.touched.entry(name.to_owned()).or_insert(touch);
        if touch != Touch::Written {
            *known = touch;
        }
    }
}

/// Takes an event of inotify, on the thread of its reader.
pub(super) fn notice(shared: &Shared, folder: &Path, event: notify::Result<notify::Event>) {
    let event = match event {
        Ok(event) => event,
        Err(error) => return shared.put(|inbox| inbox.blind = Some(limit(&error))),
    };
    if event.need_rescan() {
        return shared.put(|inbox| inbox.rescan = true);
    }
    match event.kind {
        // Reading changes nothing, and a rename is told as two already.
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return,
        _ => {}
    }
    for path in &event.paths {
        let Ok(below) = path.strip_prefix(folder) else { continue };
        let mut parts = below.iter();
        let Some(name) = parts.next() else {
            shared.put(|inbox| inbox.check = true);
            continue;
        };
        if is_ignored(name) {
            continue;
        }
        let touch = match event.kind {
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) if parts.next().is_none() => {
                Touch::Renamed
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_)
                if parts.next().is_none() =>
            {
                Touch::Removed
            }
            _ => Touch::Written,
        };
        shared.put(|inbox| inbox.touch(name, touch));
    }
}

/// What is wrong with inotify, and what to raise.
pub(super) fn limit(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "inotify has no watch left for each directory: raise the sysctl fs.inotify.max_user_watches and restart".to_owned()
        }
        notify::ErrorKind::Io(io) if io.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            "inotify has no instance left, or the process no descriptor: raise the sysctl \
             fs.inotify.max_user_instances or the limit of open files, and restart"
                .to_owned()
        }
        _ => format!("inotify fails: {error}"),
    }
}

/// Names that were touched since the last turn. Beyond, all are looked at.
const TOUCHED_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use notify::event::{CreateKind, DataChange, Flag};

    use super::*;

    fn noticed(kind: EventKind, path: &str) -> Inbox {
        let shared = Shared::default();
        let event = notify::Event::new(kind).add_path(PathBuf::from(path));
        notice(&shared, Path::new("/in"), Ok(event));
        shared.take(Duration::ZERO)
    }

    #[test]
    fn events_touch_top_level_names() {
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let to = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        for (kind, path, name, touch) in [
            (written, "/in/a", "a", Touch::Written),
            (written, "/in/d/e/f", "d", Touch::Written),
            (to, "/in/a", "a", Touch::Renamed),
            (to, "/in/d/a", "d", Touch::Written),
            (EventKind::Create(CreateKind::File), "/in/d/.x.iso.AbCdEf", "d", Touch::Written),
            (EventKind::Modify(ModifyKind::Name(RenameMode::From)), "/in/a", "a", Touch::Removed),
        ] {
            let touched: Vec<_> = noticed(kind, path).touched.into_iter().collect();
            assert_eq!(touched, [(OsString::from(name), touch)], "{kind:?} {path}");
        }
        for path in ["/in/.a.iso.AbCdEf", "/in/a.part", "/elsewhere/a"] {
            assert!(noticed(written, path).is_empty(), "{path}");
        }
        assert!(noticed(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/in/a").is_empty());
        assert!(noticed(written, "/in").check);
    }

    #[test]
    fn what_inotify_loses_is_looked_for() {
        let shared = Shared::default();
        notice(
            &shared,
            Path::new("/in"),
            Ok(notify::Event::new(EventKind::Other).set_flag(Flag::Rescan)),
        );
        assert!(shared.take(Duration::ZERO).rescan);
        let full = notify::Error::new(notify::ErrorKind::MaxFilesWatch);
        notice(&shared, Path::new("/in"), Err(full));
        assert!(shared.take(Duration::ZERO).blind.unwrap().contains("max_user_watches"));
    }

    #[test]
    fn touched_names_are_bounded() {
        let mut inbox = Inbox::default();
        for name in 0..=TOUCHED_MAX {
            inbox.touch(OsStr::new(&name.to_string()), Touch::Written);
        }
        assert!(inbox.rescan);
        assert_eq!(inbox.touched.len(), 1);
        inbox.touch(OsStr::new("a"), Touch::Renamed);
        inbox.touch(OsStr::new("a"), Touch::Written);
        assert_eq!(inbox.touched[OsStr::new("a")], Touch::Renamed);
    }
}
