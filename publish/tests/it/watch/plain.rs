//! Files that come and go by system calls and by the plain tools.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::tools::{Running, run};
use super::*;

#[test]
fn cp_then_rm() {
    let mut watched = Watched::start();
    let bytes = content(1, 3_000_000);
    fs::write(watched.outside("a"), &bytes).unwrap();
    run("cp", [watched.outside("a"), watched.path("a")]);
    watched.publish("a", &bytes);
    assert_eq!(watched.pass(), []);
    run("rm", [watched.path("a")]);
    watched.until("a", |state| *state == State::Gone, is_changed);
}

#[test]
fn mv_in_then_mv_out() {
    let mut watched = Watched::start();
    fs::write(watched.outside("a"), "whole").unwrap();
    run("mv", [watched.outside("a"), watched.path("a")]);
    watched.publish("a", b"whole");
    run("mv", [watched.path("a"), watched.outside("a")]);
    watched.until("a", |state| *state == State::Gone, is_changed);
}

#[test]
fn mv_of_a_directory_in_and_out() {
    let mut watched = Watched::start();
    fs::create_dir_all(watched.outside("d/e")).unwrap();
    fs::write(watched.outside("d/e/f"), "whole").unwrap();
    run("mv", [watched.outside("d"), watched.path("d")]);
    let settled = watched.settled("d");
    let Look::Directory { files, .. } = &settled else { panic!() };
    assert_eq!(files[0].path, Path::new("e/f"));
    watched.watcher().published(OsStr::new("d"), settled.clone());
    // What is below it is watched, too.
    fs::write(watched.path("d/e/g"), "more").unwrap();
    watched.state("d", is_changed);
    let settled = watched.settled("d");
    assert_eq!(settled, look(&watched.path("d")));
    run("mv", [watched.path("d"), watched.outside("d")]);
    watched.until("d", |state| *state == State::Gone, is_changed);
}

#[test]
fn mv_away_and_back() {
    let mut watched = Watched::start();
    fs::write(watched.path("a"), "whole").unwrap();
    watched.publish("a", b"whole");
    run("mv", [watched.path("a"), watched.path("b")]);
    run("mv", [watched.path("b"), watched.path("a")]);
    watched.until("a", |state| *state == State::Changed(Change::Inode), is_settled);
    watched.publish("a", b"whole");
}

#[test]
fn a_hard_link() {
    let mut watched = Watched::start();
    fs::write(watched.outside("a"), "whole").unwrap();
    run("ln", [watched.outside("a"), watched.path("a")]);
    watched.publish("a", b"whole");
    // A second link changes the inode alone.
    run("ln", [watched.outside("a"), watched.outside("b")]);
    watched.state("a", |state| *state == State::Changed(Change::Inode));
    watched.until("a", is_overwritten, is_settled);
}

#[test]
fn a_write_through_another_link_is_found_by_a_rescan() {
    let mut watched = Watched::start();
    fs::write(watched.outside("a"), "whole").unwrap();
    run("ln", [watched.outside("a"), watched.path("a")]);
    watched.publish("a", b"whole");
    fs::write(watched.outside("a"), "other").unwrap();
    watched.state("a", |state| *state == State::Changed(Change::Content));
}

#[test]
fn a_file_without_a_name_gets_one() {
    use rustix::fs::{AtFlags, CWD, Mode, OFlags};
    let mut watched = Watched::start();
    let file = rustix::fs::open(
        watched.path(""),
        OFlags::TMPFILE | OFlags::WRONLY,
        Mode::RUSR | Mode::WUSR,
    )
    .unwrap();
    rustix::io::write(&file, b"whole").unwrap();
    assert_eq!(watched.pass(), []);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    rustix::fs::linkat(CWD, path, CWD, watched.path("a"), AtFlags::SYMLINK_FOLLOW).unwrap();
    drop(file);
    watched.publish("a", b"whole");
}

#[test]
fn a_mapping_that_is_written_to_keeps_it_from_settling() {
    let mut watched = Watched::start();
    // It writes to a page, waits without a descriptor, and writes again when it is told to.
    let mut writer = Running::python(
        "import mmap,os,sys\n\
         fd=os.open(sys.argv[1],os.O_RDWR|os.O_CREAT); os.ftruncate(fd,4096)\n\
         m=mmap.mmap(fd,4096); os.close(fd); m[0:4]=b'half'; print('ready',flush=True)\n\
         input(); m[4:8]=b'rest'; m.close()\n",
        [watched.path("a")],
    );
    writer.line("ready");
    watched.state("a", |state| *state == State::Uploading(Waits::Open(writer.id())));
    writer.say("go");
    writer.ends();
    let mut bytes = vec![0; 4096];
    bytes[..8].copy_from_slice(b"halfrest");
    watched.publish("a", &bytes);
}

#[test]
fn open_write_close_append() {
    let mut watched = Watched::start();
    fs::write(watched.path("a"), "half").unwrap();
    let half = watched.settled("a");
    watched.has("a", &half, b"half");
    // It is being hashed.
    run("sh", ["-c".to_owned(), format!("printf rest >> {}", watched.path("a").display())]);
    watched.state("a", is_changed);
    watched.publish("a", b"halfrest");
}

#[test]
fn a_slow_writer() {
    let mut watched = Watched::start();
    let script = format!("exec > {}; echo half; read _; echo rest", watched.path("a").display());
    let mut writer = Running::piped("sh", ["-c".into(), OsString::from(script)]);
    watched.state("a", |state| *state == State::Uploading(Waits::Open(writer.id())));
    writer.say("go");
    writer.ends();
    watched.publish("a", b"half\nrest\n");
}

#[test]
fn touch_changes_no_content() {
    let mut watched = Watched::start();
    fs::write(watched.path("a"), "whole").unwrap();
    watched.publish("a", b"whole");
    run("touch", [watched.path("a")]);
    watched.state("a", is_changed);
    let State::Overwritten(look) = watched.until("a", is_overwritten, is_settled) else {
        unreachable!()
    };
    // The infohash is the same, says the owner.
    watched.watcher().published(OsStr::new("a"), look);
    assert_eq!(watched.pass(), []);
}

#[test]
fn times_from_the_past_and_the_future() {
    let mut watched = Watched::start();
    for (name, date) in [("past", "1970-01-02"), ("future", "2400-01-01")] {
        fs::write(watched.path(name), "whole").unwrap();
        run("touch", ["-d".into(), PathBuf::from(date), watched.path(name)]);
    }
    watched.publish("past", b"whole");
    let mut watched = Watched::start();
    fs::write(watched.path("future"), "whole").unwrap();
    run("touch", ["-d".into(), PathBuf::from("2400-01-01"), watched.path("future")]);
    watched.publish("future", b"whole");
}

#[test]
fn renamed_over() {
    let mut watched = Watched::start();
    fs::write(watched.path("a"), "old").unwrap();
    watched.publish("a", b"old");
    fs::write(watched.outside("a"), "new").unwrap();
    run("mv", [watched.outside("a"), watched.path("a")]);
    watched.state("a", is_changed);
    watched.publish("a", b"new");
}

#[test]
fn renamed_over_while_it_is_hashed() {
    let mut watched = Watched::start();
    fs::write(watched.path("a"), "old").unwrap();
    let old = watched.settled("a");
    fs::write(watched.outside("a"), "new").unwrap();
    run("mv", [watched.outside("a"), watched.path("a")]);
    // The owner has not looked before it says so.
    watched.watcher().published(OsStr::new("a"), old);
    watched.state("a", is_changed);
    watched.publish("a", b"new");
}

#[test]
fn nothing_to_publish_yet() {
    let mut watched = Watched::start();
    fs::write(watched.path("a"), "").unwrap();
    fs::create_dir_all(watched.path("d/e")).unwrap();
    fs::write(watched.path("d/e/f"), "").unwrap();
    watched.pass();
    watched.never_settled("a");
    watched.never_settled("d");
    fs::write(watched.path("a"), "whole").unwrap();
    watched.publish("a", b"whole");
    fs::write(watched.path("d/e/g"), "whole").unwrap();
    watched.settled("d");
}

#[test]
fn temporary_names_are_nothing() {
    let mut watched = Watched::start();
    for name in [
        ".a.k3XyZ9",
        "a.part",
        "a.filepart",
        "a.tmp",
        "a~",
        "a.crdownload",
        "a.!qB",
        "#12",
        ".hidden",
    ] {
        fs::write(watched.path(name), "half").unwrap();
    }
    fs::create_dir(watched.path("lost+found")).unwrap();
    fs::create_dir(watched.path("d")).unwrap();
    fs::write(watched.path("d/a"), "whole").unwrap();
    fs::write(watched.path("d/b.part"), "half").unwrap();
    let told = watched.pass();
    let strangers =
        told.iter().filter(|event| !matches!(event, Event::Name { name, .. } if name == "d"));
    assert_eq!(strangers.count(), 0, "{told:#?}");
    watched.never_settled("d");
    fs::rename(watched.path("d/b.part"), watched.path("d/b")).unwrap();
    fs::rename(watched.path("a.part"), watched.path("a")).unwrap();
    watched.settled("d");
    let mut watched = Watched::start();
    fs::write(watched.path("a.part"), "whole").unwrap();
    fs::rename(watched.path("a.part"), watched.path("a")).unwrap();
    watched.publish("a", b"whole");
}

#[test]
fn what_is_no_content_of_a_directory_is_left_out() {
    let mut watched = Watched::start();
    fs::create_dir_all(watched.path("d/.git")).unwrap();
    for file in ["d/a", "d/.DS_Store", "d/.git/config", "d/a~"] {
        fs::write(watched.path(file), file).unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", watched.path("d/l")).unwrap();
    let Look::Directory { files, .. } = watched.settled("d") else { panic!() };
    let paths: Vec<_> = files.iter().map(|file| file.path.to_str().unwrap()).collect();
    assert_eq!(paths, ["a"]);
}

#[test]
fn names_and_files_that_cannot_be_published_say_why() {
    let mut watched = Watched::start();
    let name = OsString::from_vec(b"b\xff".to_vec());
    fs::write(watched.path("").join(&name), "whole").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", watched.path("l")).unwrap();
    let State::Failed(reason) = watched.state("l", |state| matches!(state, State::Failed(_)))
    else {
        unreachable!()
    };
    assert!(reason.contains("symbolic link"), "{reason}");
    watched.pass();
    let failed = |event: &Event| matches!(event, Event::Name { name: of, state: State::Failed(reason) } if *of == name && reason.contains("UTF-8"));
    assert!(watched.told.iter().any(failed), "{:#?}", watched.told);
}

#[test]
fn a_done_marker() {
    let mut watched = Watched::with(|options| options.rules.done_marker = true);
    fs::write(watched.path("a"), "whole").unwrap();
    watched.state("a", |state| *state == State::Uploading(Waits::Marker));
    fs::write(watched.path("a.done"), "").unwrap();
    watched.publish("a", b"whole");
    watched.never_settled("a.done");
    // It says nothing of what is written after it.
    run("sh", ["-c".to_owned(), format!("printf more >> {}", watched.path("a").display())]);
    watched.state("a", is_changed);
    watched.until("a", is_overwritten, is_settled);
    run("touch", [watched.path("a.done")]);
    watched.publish("a", b"wholemore");
}

#[test]
fn names_of_before_the_start() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("same"), "whole").unwrap();
    fs::write(home.path().join("other"), "old").unwrap();
    let mut published: Vec<_> =
        ["same", "other"].map(|name| (OsString::from(name), look(&home.path().join(name)))).into();
    published.push(("gone".into(), published[0].1.clone()));
    fs::write(home.path().join("new.tmp"), "new").unwrap();
    fs::rename(home.path().join("new.tmp"), home.path().join("other")).unwrap();
    let folder = home.path().to_owned();
    let mut watched = Watched::with(|options| {
        options.folder = folder;
        options.published = published;
    });
    watched.until("gone", |state| *state == State::Gone, |_| true);
    watched.until("other", is_settled, |_| false);
    assert!(
        !watched
            .told
            .iter()
            .any(|event| matches!(event, Event::Name { name, .. } if name == "same"))
    );
}

#[test]
fn without_inotify() {
    let mut watched = Watched::with(|options| {
        options.inotify = false;
        options.poll = Duration::from_millis(200);
    });
    fs::write(watched.path("a"), "whole").unwrap();
    watched.publish("a", b"whole");
    fs::remove_file(watched.path("a")).unwrap();
    watched.until("a", |state| *state == State::Gone, is_changed);
}

#[test]
fn an_owner_that_takes_nothing_stops_nothing() {
    let mut watched = Watched::start();
    for file in 0..3_000 {
        fs::write(watched.path(&format!("{file:05}")), "whole").unwrap();
    }
    // More is to be told than is kept; orders are taken all the same.
    std::thread::sleep(Duration::from_secs(3));
    watched.watcher().again(OsStr::new("00000"));
    let mut settled = std::collections::BTreeSet::new();
    while settled.len() < 3_000 {
        if let Event::Name { name, state: State::Settled(_) } = watched.next() {
            settled.insert(name);
        }
    }
}

/// How much a large folder costs: `cargo test --release … -- --ignored --nocapture hundred_thousand`.
#[test]
#[ignore = "for figures"]
fn a_hundred_thousand_names() {
    let seconds = || {
        let times = fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<_> = times.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    };
    let memory = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_owned()
    };
    let home = tempfile::tempdir().unwrap();
    for file in 0..100_000 {
        fs::write(home.path().join(format!("a-file-of-some-name-{file:06}.bin")), "whole").unwrap();
    }
    println!("before: {}", memory());
    let (began, used) = (Instant::now(), seconds());
    let folder = home.path().to_owned();
    let mut watched = Watched::with(|options| {
        options.folder = folder;
        options.rules = Rules::default();
        options.rescan = Duration::from_secs(2);
    });
    let mut settled = 0;
    while settled < 100_000 {
        if let Event::Name { name, state: State::Settled(look) } = watched.next() {
            watched.watcher().published(&name, look);
            settled += 1;
            watched.told.clear();
        }
    }
    println!(
        "all settled after {:?}, {:.2} s of CPU, {}",
        began.elapsed(),
        seconds() - used,
        memory()
    );
    std::thread::sleep(Duration::from_secs(5));
    let (began, used) = (Instant::now(), seconds());
    std::thread::sleep(Duration::from_secs(30));
    println!("30 s of rescans each 2 s: {:.2} s of CPU in {:?}", seconds() - used, began.elapsed());
}
