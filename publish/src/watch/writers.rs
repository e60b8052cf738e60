//! Who has a file open for writing, as `/proc` tells it.
//!
//! A lease (`F_SETLEASE`) would tell the same, but takes a raw fcntl(2) and makes the writer wait. `/proc` tells of
//! processes of the same user, and of all to root (or with `CAP_SYS_PTRACE`); of others, of other hosts and of other PID
//! namespaces it tells nothing, and then the settle time is all there is.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The processes that have one of `files`, (device, inode), open or mapped for writing; one of them for each file.
///
/// Costs one lstat(2) for each descriptor of each process that can be seen, and reads their memory maps: 170 ms with 500
/// processes on a busy machine (`how_long_it_takes`, not optimized). So it is called once for all files that are ripe,
/// and takes at most a tenth of the time.
pub(super) fn writers(files: &HashSet<(u64, u64)>) -> HashMap<(u64, u64), u32> {
    let mut found = HashMap::new();
    if files.is_empty() {
        return found;
    }
    let inodes: HashSet<u64> = files.iter().map(|(_, inode)| *inode).collect();
    let own = std::process::id();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if process != own {
            descriptors(&entry.path(), files, &inodes, &mut |file| _ = found.insert(file, process));
            maps(&entry.path(), files, &mut |file| _ = found.insert(file, process));
        }
    }
    found
}

fn descriptors(
    process: &Path,
    files: &HashSet<(u64, u64)>,
    inodes: &HashSet<u64>,
    found: &mut dyn FnMut((u64, u64)),
) {
    for entry in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
        // The link's own mode says how it was opened (proc_pid_fd(5)).
        let opened_for_writing = entry.metadata().is_ok_and(|link| link.mode() & 0o200 != 0);
        if !opened_for_writing {
            continue;
        }
        // Following the link could wait for a dead NFS server: only where the inode is one that is asked for. Linux before
        // 5.14 does not tell it there.
        let inode = fs::read_to_string(process.join("fdinfo").join(entry.file_name()))
            .ok()
            .and_then(|info| {
                info.lines().find_map(|line| line.strip_prefix("ino:")?.trim().parse::<u64>().ok())
            });
        if inode.is_some_and(|inode| !inodes.contains(&inode)) {
            continue;
        }
        if let Ok(metadata) = fs::metadata(entry.path()) {
            let file = (metadata.dev(), metadata.ino());
            if files.contains(&file) {
                found(file);
            }
        }
    }
}

/// Shared mappings that can be written to outlive their descriptor. btrfs and overlayfs tell another device here: there a
/// mapping is not noticed.
fn maps(process: &Path, files: &HashSet<(u64, u64)>, found: &mut dyn FnMut((u64, u64))) {
    let Ok(maps) = fs::read(process.join("maps")) else { return };
    for line in maps.split(|byte| *byte == b'\n') {
        let Some(file) = mapping(line) else { continue };
        if files.contains(&file) {
            found(file);
        }
    }
}

/// The (device, inode) of a line of `/proc/PID/maps` (proc_pid_maps(5)) that is shared and writable.
fn mapping(line: &[u8]) -> Option<(u64, u64)> {
    let mut fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    let modes = fields.nth(1)?;
    if modes.get(1) != Some(&b'w') || modes.get(3) != Some(&b's') {
        return None;
    }
    let device = std::str::from_utf8(fields.nth(1)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let device = rustix::fs::makedev(
        u32::from_str_radix(major, 16).ok()?,
        u32::from_str_radix(minor, 16).ok()?,
    );
    let inode = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    Some((device, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_maps() {
        let line = b"7f1c0000-7f1c2000 rw-s 00000000 fe:00 1234                   /srv/a b";
        assert_eq!(mapping(line), Some((rustix::fs::makedev(0xfe, 0), 1234)));
        assert_eq!(mapping(b"7f1c0000-7f1c2000 rw-p 00000000 fe:00 1234 /srv/a"), None);
        assert_eq!(mapping(b"7f1c0000-7f1c2000 r--s 00000000 fe:00 1234 /srv/a"), None);
        assert_eq!(mapping(b""), None);
    }

    /// How long asking takes: `cargo test -p margay-publish --lib -- --ignored --nocapture how_long`.
    #[test]
    #[ignore = "for figures"]
    fn how_long_it_takes() {
        let mut processes: Vec<_> = (0..300)
            .map(|_| std::process::Command::new("sleep").arg("1000").spawn().unwrap())
            .collect();
        let began = std::time::Instant::now();
        for _ in 0..10 {
            writers(&HashSet::from([(1, 1)]));
        }
        println!(
            "{:?} of {} processes",
            began.elapsed() / 10,
            fs::read_dir("/proc").unwrap().count()
        );
        for process in &mut processes {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}
