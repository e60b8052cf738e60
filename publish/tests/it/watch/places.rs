//! The folder itself: moved, replaced, mounted over, unmounted, out of inotify's limits.

use publish::torrent::Identity;

use super::tools::{Running, run};
use super::*;

/// The folder is lost, and nothing is told of what was in it; then it is back, and what changed meanwhile is told.
fn is_lost_and_back(watched: &mut Watched, away: impl FnOnce(), back: impl FnOnce()) {
    fs::write(watched.path("a"), "whole").unwrap();
    fs::write(watched.path("b"), "whole").unwrap();
    for _ in 0..2 {
        loop {
            if let Event::Name { name, state: State::Settled(look) } = watched.next() {
                watched.watcher().published(&name, look);
                break;
            }
        }
    }
    watched.pass();
    let from = watched.told.len();
    away();
    watched.folder(|folder| matches!(folder, Folder::Lost(_)));
    back();
    watched.folder(|folder| matches!(folder, Folder::Watching { .. }));
    let withdrawn = |event: &&Event| {
        matches!(
            event,
            Event::Name { state: State::Gone | State::Changed(_) | State::Settled(_), .. }
        )
    };
    assert_eq!(watched.told[from..].iter().find(withdrawn), None);

    fs::write(watched.path("c"), "new").unwrap();
    watched.publish("c", b"new");
    fs::remove_file(watched.path("b")).unwrap();
    watched.until("b", |state| *state == State::Gone, |_| false);
    assert!(
        !watched.told[from..]
            .iter()
            .any(|event| matches!(event, Event::Name { name, .. } if name == "a"))
    );
}

#[test]
fn moved_away_and_back() {
    let mut watched = Watched::start();
    let (folder, other) = (watched.path(""), watched.home.path().join("other"));
    let folder = folder.parent().unwrap().join("in");
    is_lost_and_back(
        &mut watched,
        || fs::rename(&folder, &other).unwrap(),
        || fs::rename(&other, &folder).unwrap(),
    );
}

#[test]
fn replaced_by_another_and_put_back() {
    let mut watched = Watched::start();
    let folder = watched.home.path().join("in");
    let other = watched.home.path().join("other");
    let away = || {
        fs::rename(&folder, &other).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("stranger"), "whole").unwrap();
    };
    let back = || {
        fs::remove_dir_all(&folder).unwrap();
        fs::rename(&other, &folder).unwrap();
    };
    is_lost_and_back(&mut watched, away, back);
    assert!(
        !watched
            .told
            .iter()
            .any(|event| matches!(event, Event::Name { name, .. } if name == "stranger"))
    );
}

#[test]
fn a_link_above_it_is_switched() {
    let home = tempfile::tempdir().unwrap();
    let link = home.path().join("link");
    for place in ["one", "two"] {
        fs::create_dir_all(home.path().join(place).join("in")).unwrap();
    }
    let switch = |to: &str| {
        _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(home.path().join(to), &link).unwrap();
    };
    switch("one");
    let folder = link.join("in");
    let mut watched = Watched::with(|options| options.folder = folder.clone());
    fs::remove_dir(watched.home.path().join("in")).unwrap();
    std::os::unix::fs::symlink(home.path().join("one/in"), watched.home.path().join("in")).unwrap();
    is_lost_and_back(&mut watched, || switch("two"), || switch("one"));
}

#[test]
fn another_folder_at_the_start() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("a"), "whole").unwrap();
    let published = vec![("a".into(), look(&home.path().join("a")))];
    let known = Some(publish::watch::FolderIdentity { device: 1, inode: 1 });
    let empty = tempfile::tempdir().unwrap();

    let mut options = Options::new(empty.path());
    options.rules = rules();
    options.known = known;
    options.published = published;
    let (watcher, mut events) = Watcher::start(options).unwrap();
    assert!(matches!(events.blocking_recv(), Some(Event::Folder(Folder::Lost(_)))));
    watcher.accept_folder();
    assert!(matches!(events.blocking_recv(), Some(Event::Folder(Folder::Watching { .. }))));
    assert_eq!(events.blocking_recv(), Some(Event::Name { name: "a".into(), state: State::Gone }));
    watcher.stop();

    // Another number of the device, and what is published is there.
    let Look::File(identity) = look(&home.path().join("a")) else { panic!() };
    let folder = home.path().to_owned();
    let mut watched = Watched::with(|options| {
        options.folder = folder;
        options.known = known;
        options.published = vec![("a".into(), Look::File(Identity { device: 1, ..identity }))];
    });
    fs::write(home.path().join("b"), "new").unwrap();
    watched.settled("b");
    let of_a = |event: &Event| matches!(event, Event::Name { name, .. } if name == "a");
    assert!(!watched.told.iter().any(of_a), "{:#?}", watched.told);
}

#[test]
fn no_folder_at_the_start() {
    let home = tempfile::tempdir().unwrap();
    let error = Watcher::start(Options::new(home.path().join("none"))).unwrap_err();
    assert!(error.to_string().contains("make it, mount it"), "{error}");
    fs::write(home.path().join("file"), "").unwrap();
    let error = Watcher::start(Options::new(home.path().join("file"))).unwrap_err();
    assert!(error.to_string().contains("not a directory"), "{error}");
}

/// Runs this test again where it may mount: true there.
fn in_a_namespace(test: &str) -> bool {
    if std::env::var_os("MARGAY_TEST_NAMESPACE").is_some() {
        return true;
    }
    Running::start("unshare", |command| {
        command.args(["--user", "--map-root-user", "--mount", "--propagation", "private"]);
        command.arg(std::env::current_exe().unwrap()).args([
            &format!("watch::places::{test}"),
            "--exact",
            "--nocapture",
        ]);
        command.env("MARGAY_TEST_NAMESPACE", "1");
    })
    .succeeds();
    false
}

fn mount(at: &Path) {
    run("mount", ["-t".as_ref(), "tmpfs".as_ref(), "none".as_ref(), at.as_os_str()]);
}

#[test]
fn mounted_over_and_unmounted() {
    if !in_a_namespace("mounted_over_and_unmounted") {
        return;
    }
    let mut watched = Watched::start();
    let folder = watched.home.path().join("in");
    is_lost_and_back(&mut watched, || mount(&folder), || run("umount", [&folder]));
}

#[test]
fn unmounted_and_mounted() {
    if !in_a_namespace("unmounted_and_mounted") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (folder, disk) = (home.path().join("disk/in"), home.path().join("disk"));
    let kept = home.path().join("kept");
    fs::create_dir(&kept).unwrap();
    fs::create_dir(&disk).unwrap();
    mount(&kept);
    let bind = || run("mount", ["--bind".as_ref(), kept.as_os_str(), disk.as_os_str()]);
    bind();
    fs::create_dir(&folder).unwrap();
    let mut watched = Watched::with(|options| options.folder = folder.clone());
    fs::remove_dir(watched.home.path().join("in")).unwrap();
    std::os::unix::fs::symlink(&folder, watched.home.path().join("in")).unwrap();
    is_lost_and_back(
        &mut watched,
        || {
            // The watcher must not keep it from being unmounted.
            run("umount", [&disk]);
            fs::create_dir(&folder).unwrap();
        },
        || {
            fs::remove_dir(&folder).unwrap();
            bind();
        },
    );
}

#[test]
fn a_directory_in_it_is_unmounted() {
    if !in_a_namespace("a_directory_in_it_is_unmounted") {
        return;
    }
    let mut watched = Watched::start();
    fs::create_dir(watched.path("d")).unwrap();
    mount(&watched.path("d"));
    fs::write(watched.path("d/a"), "whole").unwrap();
    let settled = watched.settled("d");
    watched.watcher().published(OsStr::new("d"), settled);
    run("umount", [watched.path("d")]);
    let State::Failed(reason) =
        watched.until("d", |state| matches!(state, State::Failed(_)), is_changed)
    else {
        unreachable!()
    };
    assert!(reason.contains("mount"), "{reason}");
}

#[test]
fn read_only() {
    if !in_a_namespace("read_only") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    mount(home.path());
    fs::write(home.path().join("a"), "whole").unwrap();
    run("mount", ["-o".as_ref(), "remount,bind,ro".as_ref(), home.path().as_os_str()]);
    let folder = home.path().to_owned();
    let mut watched = Watched::with(|options| options.folder = folder);
    watched.settled("a");
}

#[test]
fn inotify_has_no_watch_left() {
    if !in_a_namespace("inotify_has_no_watch_left") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    for directory in 0..5 {
        fs::create_dir(home.path().join(directory.to_string())).unwrap();
    }
    // Of this user namespace alone.
    fs::write("/proc/sys/user/max_inotify_watches", "3").unwrap();
    let mut options = Options::new(home.path());
    options.rules = rules();
    options.poll = Duration::from_millis(200);
    let (watcher, mut events) = Watcher::start(options).unwrap();
    let Some(Event::Folder(Folder::Watching { how: How::Polling(reason), .. })) =
        events.blocking_recv()
    else {
        panic!()
    };
    assert!(reason.contains("fs.inotify.max_user_watches"), "{reason}");
    fs::write(home.path().join("a"), "whole").unwrap();
    while !matches!(events.blocking_recv(), Some(Event::Name { name, state: State::Settled(_) }) if name == "a")
    {
    }
    watcher.stop();
}

#[test]
fn inotify_runs_out_of_watches_later() {
    if !in_a_namespace("inotify_runs_out_of_watches_later") {
        return;
    }
    fs::write("/proc/sys/user/max_inotify_watches", "3").unwrap();
    let mut watched = Watched::with(|options| options.poll = Duration::from_millis(200));
    for directory in 0..5 {
        fs::create_dir(watched.path(&directory.to_string())).unwrap();
    }
    watched.folder(|folder| matches!(folder, Folder::Watching { how: How::Polling(_), .. }));
    fs::write(watched.path("4/a"), "whole").unwrap();
    watched.settled("4");
}

#[test]
fn inotify_has_no_instance_left() {
    if !in_a_namespace("inotify_has_no_instance_left") {
        return;
    }
    fs::write("/proc/sys/user/max_inotify_instances", "0").unwrap();
    let home = tempfile::tempdir().unwrap();
    let (watcher, mut events) = Watcher::start(Options::new(home.path())).unwrap();
    let Some(Event::Folder(Folder::Watching { how: How::Polling(reason), .. })) =
        events.blocking_recv()
    else {
        panic!()
    };
    assert!(reason.contains("fs.inotify.max_user_instances"), "{reason}");
    watcher.stop();
}

#[test]
fn unreadable_and_readable_again() {
    use std::os::unix::fs::PermissionsExt;
    // Root reads whatever the mode says, but for these.
    let drops = "--bounding-set=-dac_override,-dac_read_search";
    if std::env::var_os("MARGAY_TEST_NAMESPACE").is_none() {
        Running::start("setpriv", |command| {
            if rustix::process::geteuid().is_root() {
                command.arg(drops);
            }
            command.arg(std::env::current_exe().unwrap());
            command.args([
                "watch::places::unreadable_and_readable_again",
                "--exact",
                "--nocapture",
            ]);
            command.env("MARGAY_TEST_NAMESPACE", "1");
        })
        .succeeds();
        return;
    }
    let mut watched = Watched::with(|options| options.rescan = Duration::from_millis(200));
    let folder = watched.home.path().join("in");
    let mode = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    is_lost_and_back(&mut watched, || mode(0o000), || mode(0o755));
}
