//! What is to happen in a run beside what clients say: each kind at some moment, in some order.

use fastrand::Rng;

use super::World;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The database's processes are stopped, and go on later.
    Hang,
    /// The database goes back to a copy, under the running tracker.
    FailOver,
    /// The same while no tracker runs.
    RestoreStopped,
    /// The data folder goes back to a copy; the database is ahead of it.
    RestoreFolder,
    /// No file can grow.
    FillDisk,
    /// Staff gives everybody some upload.
    Give,
    /// Staff changes all users in one statement.
    Bulk,
    /// SQL says what is true of a user, and the tracker is told.
    SqlSays,
    TrackerIsTold,
    /// SQL says what counts on a torrent.
    SqlSaysTorrent,
    /// A user's row becomes one that nobody can read, and is mended.
    Unreadable,
    /// A user is deleted whose clients have just moved something.
    Delete,
    /// A user gets nearly all the upload that a column can hold.
    Rich,
    /// Somebody sets the clock.
    SetClock,
}

/// What every set of runs has to have had at least once.
pub(crate) const KINDS: [&str; 20] = [
    "kills",
    "database ended",
    "database hung",
    "database failed over",
    "database restored",
    "folder restored",
    "disk full",
    "upload given",
    "all users changed",
    "sql said",
    "tracker was told",
    "sql said of a torrent",
    "user unreadable",
    "user mended",
    "user deleted",
    "upload near the end",
    "clock set",
    "absurd reports",
    "unanswered",
    "refused announces",
];

/// How a run is, by its seed.
#[derive(Clone, Copy)]
pub(super) struct Habit {
    /// The database has the table of clients.
    pub(super) peers: bool,
    /// The data folder is restored. It is measured from the table of clients.
    pub(super) folder: bool,
    /// The clock is set. Then nobody knows who said something last, or what came after a copy.
    pub(super) clock: bool,
}

impl Habit {
    pub(super) fn of(seed: u64) -> Self {
        let [peers, folder, clock] = match seed % 4 {
            0 => [false, false, false],
            2 => [true, false, true],
            _ => [true, true, false],
        };
        Self { peers, folder, clock }
    }

    /// What happens in the run.
    pub(super) fn plan(self, rng: &mut Rng) -> Vec<Kind> {
        use Kind::{
            Bulk, Delete, FailOver, FillDisk, Give, Hang, RestoreFolder, RestoreStopped, Rich,
            SetClock, SqlSays, SqlSaysTorrent, TrackerIsTold, Unreadable,
        };
        let mut plan = vec![Hang, FailOver, RestoreStopped, FillDisk, Give, Bulk];
        plan.extend([Unreadable, Delete, Rich]);
        match self.clock {
            true => plan.extend([SetClock; 3]),
            false => plan.extend([SqlSays, SqlSays, TrackerIsTold, TrackerIsTold, SqlSaysTorrent]),
        }
        if self.folder {
            plan.push(RestoreFolder);
        }
        rng.shuffle(&mut plan);
        plan
    }
}

impl World<'_> {
    /// The next thing of the plan happens, or later where it cannot be now.
    pub(super) fn go_by_plan(&mut self) {
        let Some(kind) = self.plan.pop() else { return };
        let done = match kind {
            Kind::Hang => self.hang_database(),
            Kind::FailOver => self.fail_over(),
            Kind::RestoreStopped => self.restore_stopped(),
            Kind::RestoreFolder => self.restore_folder(),
            Kind::FillDisk => {
                if !self.full {
                    self.fill_or_free();
                }
                true
            }
            Kind::Give => self.give(),
            Kind::Bulk => self.change_all(),
            Kind::SqlSays => self.sql_says(),
            Kind::TrackerIsTold => self.tracker_is_told(),
            Kind::SqlSaysTorrent => self.sql_says_torrent(),
            Kind::Unreadable => self.spoil_or_mend(),
            Kind::Delete => self.delete_user(),
            Kind::Rich => self.make_rich(),
            Kind::SetClock => self.set_clock(),
        };
        self.tell(&format!("{kind:?}: {done}"));
        if !done {
            self.plan.insert(0, kind);
        }
    }
}
