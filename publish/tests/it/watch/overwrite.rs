//! Uploads over what is published, into the same file.

use super::tools::{Ssh, rsync, run};
use super::*;

/// A published file, and new bytes for it outside.
fn published(overwrite: Overwrite) -> (Watched, Vec<u8>) {
    let mut watched = Watched::with(|options| options.rules.overwrite = overwrite);
    let old = content(1, 8_000_000);
    fs::write(watched.path("a"), &old).unwrap();
    watched.publish("a", &old);
    let new = content(2, 8_000_000);
    fs::write(watched.outside("a"), &new).unwrap();
    (watched, new)
}

fn begins_with(path: &Path, bytes: &[u8]) -> bool {
    fs::read(path).is_ok_and(|now| now.starts_with(&bytes[..400_000]))
}

/// A broken overwrite stops what is seeded and is never told to have settled, nor is the whole one after it: a rename is.
fn is_not_trusted(mut watched: Watched, new: &[u8], upload: impl Fn(&Watched, bool)) {
    upload(&watched, true);
    watched.state("a", is_changed);
    watched.until("a", is_overwritten, is_settled);
    upload(&watched, false);
    watched.state("a", is_changed);
    let State::Overwritten(look) = watched.until("a", is_overwritten, is_settled) else {
        unreachable!()
    };
    watched.has("a", &look, new);
    rsync(&["-I"], &watched.outside("a"), &watched.path("a")).succeeds();
    watched.publish("a", new);
}

#[test]
fn scp_over_it() {
    let (watched, new) = published(Overwrite::Rename);
    let ssh = Ssh::start();
    is_not_trusted(watched, &new, |watched, is_killed| {
        let to = watched.path("a");
        let scp = ssh.scp(is_killed.then_some(6_400), &[], &watched.outside("a"), &to);
        if is_killed { scp.killed(|| begins_with(&to, &new)) } else { scp.succeeds() }
    });
}

#[test]
fn sftp_over_it() {
    let (watched, new) = published(Overwrite::Rename);
    let ssh = Ssh::start();
    is_not_trusted(watched, &new, |watched, is_killed| {
        let to = watched.path("a");
        let sftp = ssh.sftp(
            is_killed.then_some(6_400),
            &format!("put {} {}", watched.outside("a").display(), to.display()),
        );
        if is_killed { sftp.killed(|| begins_with(&to, &new)) } else { sftp.succeeds() }
    });
}

#[test]
fn rsync_into_it() {
    let (watched, new) = published(Overwrite::Rename);
    is_not_trusted(watched, &new, |watched, is_killed| {
        let to = watched.path("a");
        let limit = if is_killed { "--bwlimit=800" } else { "--bwlimit=0" };
        let rsync =
            rsync(&["--inplace", "-I", "--no-whole-file", limit], &watched.outside("a"), &to);
        if is_killed { rsync.killed(|| begins_with(&to, &new)) } else { rsync.succeeds() }
    });
}

#[test]
fn what_is_resumed_onto_another_file() {
    let mut watched = Watched::start();
    fs::write(watched.path("a"), "a foreign head").unwrap();
    watched.publish("a", b"a foreign head");
    let new = content(2, 100_000);
    fs::write(watched.outside("a"), &new).unwrap();
    let ssh = Ssh::start();
    ssh.sftp(
        None,
        &format!("put -a {} {}", watched.outside("a").display(), watched.path("a").display()),
    )
    .succeeds();
    watched.state("a", is_changed);
    watched.until("a", is_overwritten, is_settled);
    assert!(fs::read(watched.path("a")).unwrap() != new);
}

#[test]
fn cp_over_it_with_a_marker() {
    let (mut watched, new) = published(Overwrite::Rename);
    run("cp", [watched.outside("a"), watched.path("a")]);
    watched.state("a", is_changed);
    watched.until("a", is_overwritten, is_settled);
    fs::write(watched.path("a.done"), "").unwrap();
    watched.publish("a", &new);
    // The marker of before says nothing of the next time.
    run("cp", [watched.outside("a"), watched.path("a")]);
    watched.state("a", is_changed);
    watched.until("a", is_overwritten, is_settled);
}

#[test]
fn with_markers_only_a_rename_is_not_enough() {
    let (mut watched, new) = published(Overwrite::Marker);
    rsync(&[], &watched.outside("a"), &watched.path("a")).succeeds();
    watched.state("a", is_changed);
    watched.until("a", is_overwritten, is_settled);
    fs::write(watched.path("a.done"), "").unwrap();
    watched.publish("a", &new);
}

#[test]
fn after_the_longer_time() {
    let (mut watched, new) = published(Overwrite::SettleLonger);
    run("cp", [watched.outside("a"), watched.path("a")]);
    watched.state("a", is_changed);
    watched.publish("a", &new);
}

#[test]
fn removed_and_uploaded_anew() {
    let (mut watched, new) = published(Overwrite::Rename);
    run("rm", [watched.path("a")]);
    run("cp", [watched.outside("a"), watched.path("a")]);
    watched.publish("a", &new);
}

#[test]
fn one_file_of_a_directory() {
    let mut watched = Watched::start();
    fs::create_dir(watched.path("d")).unwrap();
    fs::write(watched.path("d/a"), "old").unwrap();
    fs::write(watched.path("d/b"), "old").unwrap();
    let settled = watched.settled("d");
    watched.watcher().published(OsStr::new("d"), settled);
    fs::write(watched.path("d/a"), "new").unwrap();
    watched.state("d", is_changed);
    watched.until("d", is_overwritten, is_settled);
    fs::write(watched.outside("a"), "new").unwrap();
    run("mv", [watched.outside("a"), watched.path("d/a")]);
    watched.settled("d");
}
