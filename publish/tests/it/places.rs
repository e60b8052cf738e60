//! The folders of Master and Seeders: moved, unmounted, read-only, full. Nothing is withdrawn by that, nothing partial is
//! published, and `/health` says what is wrong.

use std::fs;
use std::path::Path;
use std::process::Command;

use publish::web::status::FileState;

use crate::site::{Site, bytes, tree, until};
use crate::watch::tools::run;

#[test]
fn a_watched_folder_that_is_another_one_withdraws_nothing() {
    let mut site = Site::start(1);
    let (folder, aside) = (site.home.path().join("in"), site.home.path().join("aside"));
    ["a", "b"].iter().for_each(|name| site.put(name, &bytes(1, 100_000)));
    site.settles();
    let list = site.list().unwrap();

    fs::rename(&folder, &aside).unwrap();
    site.master.says("trouble: the watched folder is lost, and nothing is withdrawn");
    fs::create_dir(&folder).unwrap();
    // Also when it is so at a start.
    site.master.stop();
    site.master.start_again();
    site.master.says("has 0 of 2 published names as they were");
    until("the start has a list", || site.list().unwrap().generation > list.generation);
    assert_eq!(site.list().unwrap().items, list.items);

    fs::remove_dir(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    site.master.says("no trouble");
    site.settles();
    assert_eq!(site.list().unwrap().items, list.items);

    // On purpose.
    site.master.stop();
    fs::rename(&folder, &aside).unwrap();
    fs::create_dir(&folder).unwrap();
    site.put("c", &bytes(3, 1000));
    site.master.start_again();
    site.master.says("say `margay publish confirm`");
    site.master.order(&["publish", "confirm"]);
    site.settles();
    assert!(site.published("a").is_none() && site.published("c").is_some());
}

#[test]
fn mounts_come_and_go() {
    if !in_a_namespace("mounts_come_and_go") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (disk, kept) = (home.path().join("in"), home.path().join("kept"));
    [&disk, &kept].iter().for_each(|folder| fs::create_dir(folder).unwrap());
    mount(&kept, "8m");
    let bind = || run("mount", ["--bind".as_ref(), kept.as_os_str(), disk.as_os_str()]);
    bind();
    fs::write(kept.join("a"), bytes(1, 100_000)).unwrap();
    fs::write(kept.join("b"), bytes(2, 100_000)).unwrap();
    let mut site = Site::of(home, std::net::Ipv4Addr::LOCALHOST.into(), 1, &[]);
    site.settles();
    let list = site.list().unwrap();

    // What was uploaded a moment ago is open for some seconds.
    until("it is unmounted", || {
        Command::new("umount").arg(&disk).output().unwrap().status.success()
    });
    site.master.says("unmounted or mounted over");
    site.master.stop();
    site.master.start_again();
    site.master.says("has 0 of 2 published names as they were");
    assert_eq!(site.list().unwrap().items, list.items);
    bind();
    site.master.says("no trouble");
    site.settles();

    // What cannot be written to is published as it is.
    fs::write(kept.join("c"), bytes(3, 100_000)).unwrap();
    run("mount", ["-o".as_ref(), "remount,bind,ro".as_ref(), disk.as_os_str()]);
    site.settles();
    assert_eq!(site.list().unwrap().items.len(), 3);
    assert!(list.items.iter().all(|item| site.published(&item.name) == Some(item.info_hash)));
}

#[test]
fn a_full_docroot_delays_and_nothing_else() {
    if !in_a_namespace("a_full_docroot_delays_and_nothing_else") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let docroot = home.path().join("docroot");
    fs::create_dir(&docroot).unwrap();
    mount(&docroot, "1m");
    let site = Site::of(home, std::net::Ipv4Addr::LOCALHOST.into(), 1, &[]);
    site.put("a", &bytes(1, 100_000));
    site.put("b", &bytes(2, 100_000));
    site.settles();
    let list = site.list().unwrap();

    fill(&docroot.join(".filler"));
    // More than are written at a time.
    (0..20).for_each(|number| site.put(&format!("new {number}"), &bytes(number, 1000)));
    site.master.says("wait for their next step");
    site.master.says("No space left on device");
    // What is withdrawn meanwhile is not kept from it, and does not come back.
    fs::remove_file(site.watched("new 7")).unwrap();
    fs::remove_file(site.watched("a")).unwrap();
    until("it is on its way out", || site.master.state("a") == Some(FileState::Withdrawing));
    assert_eq!(site.list().unwrap(), list);
    fs::remove_file(docroot.join(".filler")).unwrap();
    site.settles();
    site.master.says("no trouble");
    assert_eq!(site.list().unwrap().items.len(), 20);
}

#[test]
fn full_data_folders_delay_and_nothing_else() {
    if !in_a_namespace("full_data_folders_delay_and_nothing_else") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    for name in ["master", "seeder-1"] {
        fs::create_dir(home.path().join(name)).unwrap();
        mount(&home.path().join(name), "2m");
    }
    let mut site = Site::of(home, std::net::Ipv4Addr::LOCALHOST.into(), 1, &[]);
    site.put("a", &bytes(1, 100_000));
    site.put("b", &bytes(2, 100_000));
    site.settles();
    let items = site.list().unwrap().items;

    // The Master's.
    let filler = site.home.path().join("master/filler");
    fill(&filler);
    site.put("c", &bytes(3, 100_000));
    site.put("a", &bytes(4, 100_000));
    fs::remove_file(site.watched("b")).unwrap();
    // Many at a time, of which some have room later.
    let many: Vec<String> = (0..20).map(|number| format!("many {number}")).collect();
    many.iter().for_each(|name| site.put(name, &bytes(8, 1000)));
    site.master.says("the data folder cannot be written to, and nothing is published or withdrawn");
    assert_eq!(site.list().unwrap().items, items);
    site.master.kill();
    site.master.start_again();
    site.master.is_ready();
    site.master.says("No space left on device");
    assert_eq!(site.list().unwrap().items, items);
    fs::remove_file(&filler).unwrap();
    site.settles();
    site.master.says("no trouble");
    let list = site.list().unwrap();
    assert_eq!(list.items.len(), 22);
    assert!(list.items.iter().all(|item| item.name == "a" || item.title == item.name));

    // The Seeder's, by what is published, and then whole.
    let held = tree(&site.home.path().join("seeder-1/content"));
    site.put("large", &bytes(5, 3_000_000));
    site.seeders[0].says("there is no room on the disk for it");
    site.put("small", &bytes(6, 1000));
    until("a small one has room", || site.seeders[0].state("small") == Some(FileState::Seeding));
    let filler = site.home.path().join("seeder-1/filler");
    fill(&filler);
    site.put("d", &bytes(7, 1000));
    site.seeders[0].says("what the feed says cannot be kept, and it is not followed");
    let now = tree(&site.home.path().join("seeder-1/content"));
    assert!(held.iter().all(|(path, bytes)| now.get(path) == Some(bytes)));
    fs::remove_file(&filler).unwrap();
    fs::remove_file(site.watched("large")).unwrap();
    site.settles();
    site.seeders[0].says("no trouble");
}

#[test]
fn a_full_disk_of_a_seeder_is_said_once_of_each_torrent() {
    if !in_a_namespace("a_full_disk_of_a_seeder_is_said_once_of_each_torrent") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("seeder-1")).unwrap();
    mount(&home.path().join("seeder-1"), "2m");
    let site = Site::of(home, std::net::Ipv4Addr::LOCALHOST.into(), 1, &[]);
    let folder = |name: &str, seed| {
        fs::create_dir(site.outside(name)).unwrap();
        for number in 0..300 {
            let file = site.outside(name).join(format!("a file of quite a long name {number}"));
            fs::write(file, bytes(seed, 20_000)).unwrap();
        }
        fs::rename(site.outside(name), site.watched(name)).unwrap();
    };
    let seeder = &site.seeders[0];
    // The `.torrent` file of one has no place: it is in the list too, and counted.
    seeder.signal(rustix::process::Signal::STOP);
    folder("more", 2);
    until("it is published", || site.published("more").is_some());
    let place = format!("seeder-1/items/{}.torrent", site.published("more").unwrap());
    fs::create_dir(site.home.path().join(place)).unwrap();
    seeder.signal(rustix::process::Signal::CONT);
    until("it has failed", || seeder.state("more") == Some(FileState::Failed));
    folder("many", 1);
    seeder.says("trouble: 2 torrents have failed and are tried again");
    let tries = || seeder.log().matches("fetching name=\"many\"").count();
    until("it is tried again", || tries() >= 4);
    until("the last try has failed", || seeder.state("many") == Some(FileState::Failed));
    let log = seeder.log();
    let complaints: Vec<&str> =
        log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
    let of = |name: &str| complaints.iter().filter(|line| line.contains(name)).count();
    assert!(of("cannot be fetched") == 2 && of("librqbit") == 0, "{complaints:#?}");
    assert!(complaints.len() < 10, "{complaints:#?}");
}

/// Leaves not a byte.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
}

fn mount(at: &Path, size: &str) {
    let size = format!("size={size}");
    run(
        "mount",
        [
            "-t".as_ref(),
            "tmpfs".as_ref(),
            "-o".as_ref(),
            size.as_ref(),
            "none".as_ref(),
            at.as_os_str(),
        ],
    );
}

/// Runs this test again where it may mount: true there.
fn in_a_namespace(test: &str) -> bool {
    if std::env::var_os("MARGAY_TEST_NAMESPACE").is_some() {
        return true;
    }
    let exe = std::env::current_exe().unwrap().display().to_string();
    let test = format!("places::{test}");
    let script = "export MARGAY_TEST_NAMESPACE=1; exec \"$0\" --exact \"$1\" --nocapture";
    let args =
        ["--user", "--map-root-user", "--mount", "--propagation", "private", "sh", "-c", script];
    run("unshare", args.into_iter().chain([exe.as_str(), test.as_str()]));
    false
}
