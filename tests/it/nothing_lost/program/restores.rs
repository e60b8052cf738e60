//! The database and the data folder go back to what they were, as after a restore or a fail-over to a copy
//! that lacks the last seconds.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::{Staff, World};

/// An older state of the database.
pub(super) struct DatabaseCopy {
    /// What staff had done by SQL until then.
    staff: Staff,
    /// What had been said until then.
    words: usize,
}

/// An older state of the data folder.
pub(super) struct FolderCopy {
    folder: TempDir,
    /// It has a snapshot.
    snapshot: bool,
}

impl World<'_> {
    pub(super) fn hang_database(&mut self) -> bool {
        if !self.server.up || self.server.hangs {
            return false;
        }
        self.server.hang();
        self.done.count("database hung", 1);
        true
    }

    /// The database is put back under the running tracker.
    pub(super) fn fail_over(&mut self) -> bool {
        // The site has to say things again, which is not heard for good while the disk is full.
        if self.full && !self.said_by_sql.is_empty() || !self.has_copy() {
            return false;
        }
        self.server.put_back();
        self.done.count("database failed over", 1);
        self.is_put_back();
        self.say_torrents_again();
        true
    }

    /// The database is put back while no tracker runs.
    pub(super) fn restore_stopped(&mut self) -> bool {
        if self.full || !self.has_copy() {
            return false;
        }
        self.die();
        self.server.put_back();
        self.done.count("database restored", 1);
        self.is_put_back();
        self.start();
        self.say_torrents_again();
        true
    }

    /// Whether there is a copy of the database to go back to. Where there is none, one is made.
    fn has_copy(&mut self) -> bool {
        if self.database_copy.is_none() {
            if self.server.up {
                self.server.stop();
            }
            self.server.copy();
            self.server.come_back();
            let (staff, words) = (self.staff.clone(), self.words.number());
            self.database_copy = Some(DatabaseCopy { staff, words });
            return false;
        }
        true
    }

    /// What SQL did since the copy was made is gone with the database.
    fn is_put_back(&mut self) {
        let copy = self.database_copy.as_ref().unwrap();
        self.staff = copy.staff.clone();
        self.words.forget_sql_since(copy.words);
        if self.staff.spoilt {
            self.mend_row();
        }
    }

    /// The data folder is put back to what it was, while the database has everything. What happened since then
    /// is in the database alone, so that must not go back to a copy from before any more.
    pub(super) fn restore_folder(&mut self) -> bool {
        if self.full || !self.server.up || self.server.hangs {
            return false;
        }
        if self.folder_copy.is_none() {
            self.die();
            let folder = TempDir::new().unwrap();
            replace(self.data.path(), folder.path());
            self.folder_copy = Some(FolderCopy { folder, snapshot: self.snapshot });
            self.start();
            return false;
        }
        let tracker = self.tracker.take().unwrap();
        tracker.signal(Signal::TERM);
        tracker.logged("the books are closed");
        let whole = tracker.times_logged("everything is in the database") == 1;
        tracker.await_exit();
        if whole {
            let copy = self.folder_copy.take().unwrap();
            replace(copy.folder.path(), self.data.path());
            self.snapshot = copy.snapshot;
            self.database_copy = None;
            self.gaps += 1;
            // Who has left since the copy was made is believed to be there, until it is silent for too long.
            self.unsure.extend(0..self.site.torrents.len());
            self.done.count("folder restored", 1);
        }
        self.start();
        whole
    }
}

/// One folder becomes a copy of the other.
fn replace(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(to).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => std::fs::remove_dir_all(path).unwrap(),
            false => std::fs::remove_file(path).unwrap(),
        }
    }
    let mut copy = Command::new("cp");
    assert!(copy.arg("-a").arg(from.join(".")).arg(to).status().unwrap().success());
}
