//! Torrents of ours in the hands of libtorrent, aria2, Transmission and torf, and theirs in ours.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use crate::prepared;
use publish::torrent::{
    Content, HashError, Metainfo, Options, Progress, TorrentError, WalkError, piece_length_for,
};

const PIECE: usize = 16 * 1024;

/// A folder with contents, each beside its torrent.
struct Contents {
    folder: tempfile::TempDir,
    random: fastrand::Rng,
    made: Vec<Made>,
}

struct Made {
    path: PathBuf,
    torrent: Metainfo,
}

impl Contents {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("content")).unwrap();
        Self { folder, random: fastrand::Rng::with_seed(7), made: Vec::new() }
    }

    fn content(&self) -> PathBuf {
        self.folder.path().join("content")
    }

    fn write(&mut self, path: &str, length: usize) {
        let path = self.content().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut bytes = vec![0; length];
        self.random.fill(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    /// Makes the torrent of what is there by this name.
    fn author(&mut self, name: &str, piece_length: usize) -> &Metainfo {
        let torrent = author(&self.content().join(name), piece_length, &Options::default());
        let path = self.folder.path().join(format!("{}.torrent", self.made.len()));
        fs::write(&path, &torrent.bytes).unwrap();
        self.made.push(Made { path, torrent });
        &self.made.last().unwrap().torrent
    }

    /// Everyone takes each torrent, calls the files what they are called, and finds the content whole.
    fn check(&self) {
        for python in libtorrents() {
            let folder = self.content();
            let said = libtorrent(
                &python,
                self.made.iter().map(|made| (made.path.as_path(), Some(folder.as_path()))),
            );
            assert_eq!(said.len(), self.made.len(), "{}", python.display());
            for (said, made) in said.iter().zip(&self.made) {
                assert_eq!(
                    *said,
                    format!("{}\twhole\t{}", head(&made.torrent), sizes(&made.torrent)),
                    "{}",
                    python.display()
                );
            }
        }
        for made in &self.made {
            let (whole, said) = aria2(&made.path, &self.content());
            assert!(whole, "{}: {said}", made.torrent.name);
            let said = run(Command::new("transmission-show").arg(&made.path), "transmission-cli");
            assert!(said.contains(&format!("Hash: {}", made.torrent.info_hash)), "{said}");
            let count = format!("Piece Count: {}", made.torrent.pieces_count());
            assert!(said.contains(&count), "{said}");
        }
    }
}

fn author(path: &Path, piece_length: usize, options: &Options) -> Metainfo {
    let content = Content::walk(path).unwrap();
    let (progress, stop) = (Progress::default(), AtomicBool::new(false));
    let pieces = content.hash(piece_length as u32, 2, &progress, &stop).unwrap();
    Metainfo::author(&content, &pieces, options).unwrap()
}

fn head(torrent: &Metainfo) -> String {
    format!("{}\t{}", torrent.info_hash, torrent.pieces_count())
}

fn sizes(torrent: &Metainfo) -> String {
    let files = torrent.files.iter().map(|file| format!("{}={}", file.path.display(), file.length));
    files.collect::<Vec<_>>().join("|")
}

/// Runs a program that is of this package, and gives what it prints.
fn run(command: &mut Command, package: &str) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; install {package}"));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
    said
}

/// Debian's libtorrent, and the one of PyPI that the tests of clients bring.
fn libtorrents() -> [PathBuf; 2] {
    ["/usr/bin/python3".into(), prepared::libtorrent()]
}

fn libtorrent<'p>(
    python: &Path,
    torrents: impl Iterator<Item = (&'p Path, Option<&'p Path>)>,
) -> Vec<String> {
    let lines = torrents.map(|(path, folder)| {
        format!("{}\t{}\n", path.display(), folder.unwrap_or(Path::new("")).display())
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/taken_by_libtorrent.py");
    let mut command = Command::new(python);
    command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a Python");
    let (mut stdin, lines) = (child.stdin.take().unwrap(), lines.collect::<String>());
    let writer = thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    let how = "is its libtorrent there (python3-libtorrent, tests/clients/prepare)?";
    assert!(output.status.success(), "{}: {error}; {how}", python.display());
    writer.join().unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Whether aria2 finds the content of a torrent whole in a folder, and what it says.
fn aria2(torrent: &Path, folder: &Path) -> (bool, String) {
    let mut command = Command::new("aria2c");
    command.args([
        "--no-conf",
        "--check-integrity=true",
        "--hash-check-only=true",
        "--enable-dht=false",
    ]);
    command
        .args(["--enable-dht6=false", "--bt-enable-lpd=false", "--seed-time=0", "--dir"])
        .arg(folder)
        .arg(torrent);
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("aria2c: {error}; install aria2"));
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn every_size_of_a_file_is_valid() {
    let mut contents = Contents::new();
    contents.write("0", 0);
    let nothing = Content::walk(&contents.content().join("0"));
    assert!(matches!(nothing, Err(WalkError::NothingYet { .. })), "{nothing:?}");
    for length in [
        1,
        PIECE - 1,
        PIECE,
        PIECE + 1,
        2 * PIECE - 1,
        2 * PIECE,
        2 * PIECE + 1,
        64 * PIECE,
        1000 * PIECE + 7,
    ] {
        let name = length.to_string();
        contents.write(&name, length);
        let torrent = contents.author(&name, PIECE);
        assert_eq!(torrent.pieces_count() as usize, length.div_ceil(PIECE));
    }
    contents.check();
    // Damage is found, so that the tools prove something.
    let last = contents.made.last().unwrap();
    let path = contents.content().join(&last.torrent.name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[1000 * PIECE + 3] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(!aria2(&last.path, &contents.content()).0);
    for python in libtorrents() {
        let said = libtorrent(
            &python,
            [(last.path.as_path(), Some(contents.content().as_path()))].into_iter(),
        );
        assert!(!said[0].contains("\twhole\t"), "{said:?}");
    }
}

#[test]
fn every_shape_of_a_folder_is_valid() {
    let mut contents = Contents::new();
    let shapes: [(&str, &[(&str, usize)]); 8] = [
        ("empty-first", &[("a", 0), ("b", PIECE + 1)]),
        ("empty-last", &[("a", PIECE), ("b", 0)]),
        ("empty-between", &[("a", PIECE / 2), ("b", 0), ("c", 0), ("d", PIECE / 2)]),
        ("small", &[("a", 1), ("b", 2), ("c", 3), ("d", 4)]),
        ("across", &[("a", PIECE - 1), ("b", 3 * PIECE + 5), ("c", 7), ("d", PIECE - 11)]),
        ("exact", &[("a", PIECE), ("b", 2 * PIECE), ("c", PIECE)]),
        ("one", &[("a", PIECE + 5)]),
        ("order", &[("a.txt", 5), ("a/b", 6), ("a-b", 7), ("B", 8), ("a/a/c", 9), ("a b/x", 10)]),
    ];
    for (name, files) in shapes {
        for (file, length) in files {
            contents.write(&format!("{name}/{file}"), *length);
        }
        contents.author(name, PIECE);
    }
    let deep = ["folder"; 99].join("/");
    contents.write(&format!("deep/{deep}/file"), PIECE);
    contents.author("deep", PIECE);
    contents.check();
}

#[test]
fn unusual_names_are_valid() {
    let mut contents = Contents::new();
    let names = [
        "with space",
        " leading",
        "trailing.",
        "trailing ",
        "\u{1f600} emoji",
        "-dash",
        "--help",
        "con",
        "nul.txt",
        "a:b*c?",
        "<x>|\"y\"",
        "quote's",
        "$HOME `id`",
        "%41",
        "~tilde",
        "a..b",
        "e\u{301}",
        "\u{4e2d}\u{6587}",
    ];
    let long = "x".repeat(236) + ".bin";
    for (number, name) in names.into_iter().chain([long.as_str()]).enumerate() {
        contents.write(name, PIECE + number);
        contents.author(name, PIECE);
        contents.write(&format!("folder {number}/{name}/{name}"), PIECE + number);
        contents.author(&format!("folder {number}"), PIECE);
    }
    contents.check();

    // libtorrent calls these otherwise, and takes them.
    for (number, name) in
        ["y".repeat(255).as_str(), "qu\"ote", "\u{200e}mark", "z\u{200d}w"].into_iter().enumerate()
    {
        let name = format!("odd-{number}/{name}");
        contents.write(&name, PIECE);
        let torrent = contents.author(&format!("odd-{number}"), PIECE).clone();
        let path = contents.made.last().unwrap().path.clone();
        for python in libtorrents() {
            let said = libtorrent(&python, [(path.as_path(), None)].into_iter());
            assert!(said[0].starts_with(&head(&torrent)), "{said:?}");
        }
        assert!(aria2(&path, &contents.content()).0);
        run(Command::new("transmission-show").arg(&path), "transmission-cli");
    }
}

/// With `MARGAY_TEST_FILES=10000` in its long form.
#[test]
fn many_mixed_files_are_valid() {
    let count: usize =
        std::env::var("MARGAY_TEST_FILES").map_or(400, |count| count.parse().unwrap());
    let mut contents = Contents::new();
    for number in 0..count {
        let around = PIECE * contents.random.usize(0..4);
        let length = match contents.random.u8(..6) {
            0 => 0,
            1 => around,
            2 => around + 1,
            3 => around.saturating_sub(1),
            _ => contents.random.usize(0..100_000),
        };
        let name =
            ["plain", "with space", "\u{1f600}", "-dash", "a.b.c"][contents.random.usize(..5)];
        // Most of them in one torrent, the rest in ones of their own.
        if number % 20 != 0 {
            contents.write(&format!("all/{}/{name} {number}", number % 37), length);
        } else {
            let name = format!("{name} {number}");
            contents.write(&name, length.max(1));
            contents.author(&name, PIECE);
        }
    }
    contents.author("all", PIECE);
    contents.check();
}

#[test]
fn what_other_programs_write_is_read() {
    let mut contents = Contents::new();
    for (path, length) in [
        ("folder/a", PIECE - 1),
        ("folder/b/c d", 70_000),
        ("folder/b/\u{1f600}", 3),
        ("file", 100_000),
    ] {
        contents.write(path, length);
    }
    let (out, content) = (contents.folder.path().join("out.torrent"), contents.content());
    let trackers = "http://127.0.0.1/announce";
    let read = |what: &str| {
        let torrent = Metainfo::parse(fs::read(&out).unwrap().into())
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(torrent.tiers, [[trackers]], "{what}");
        assert_eq!(
            torrent.total(),
            if torrent.is_single { 100_000 } else { 70_000 + PIECE as u64 + 2 },
            "{what}"
        );
        fs::remove_file(&out).unwrap();
        torrent
    };
    for name in ["folder", "file"] {
        let path = content.join(name);
        run(
            Command::new("mktorrent").args(["-p", "-a", trackers, "-o"]).arg(&out).arg(&path),
            "mktorrent",
        );
        assert!(read("mktorrent").private);
        run(
            Command::new("transmission-create")
                .args(["-p", "-t", trackers, "-o"])
                .arg(&out)
                .arg(&path),
            "transmission-cli",
        );
        assert!(read("transmission-create").private);
        let script = "import sys, libtorrent as lt\n\
            files = lt.file_storage(); lt.add_files(files, sys.argv[1])\n\
            torrent = lt.create_torrent(files, 16384, flags=int(sys.argv[4]))\n\
            torrent.add_tracker(sys.argv[3]); lt.set_piece_hashes(torrent, sys.argv[1].rsplit('/', 1)[0])\n\
            open(sys.argv[2], 'wb').write(lt.bencode(torrent.generate()))";
        for python in libtorrents() {
            let make = |flags: &str| {
                let mut command = Command::new(&python);
                command
                    .args(["-W", "ignore", "-c", script])
                    .arg(&path)
                    .arg(&out)
                    .args([trackers, flags]);
                run(&mut command, "python3-libtorrent");
            };
            make("64"); // v1_only
            read("libtorrent");
            for (flags, kind) in [("0", "a hybrid of versions 1 and 2"), ("32", "of version 2")] {
                make(flags);
                let refused = Metainfo::parse(fs::read(&out).unwrap().into());
                assert_eq!(refused, Err(TorrentError::Version { kind }), "{}", python.display());
                fs::remove_file(&out).unwrap();
            }
        }
    }
}

/// Whoever makes the torrent of the same folder with torf has the same infohash.
#[test]
fn torf_gives_the_same_infohash() {
    let mut contents = Contents::new();
    for (path, length) in [
        ("x/a/b", 5),
        ("x/a.txt", 70_000),
        ("x/a-b", 0),
        ("x/B", PIECE),
        ("x/\u{e9}", 9),
        ("x/a b/c", 3),
        ("y", 99_999),
    ] {
        contents.write(path, length);
    }
    let python = prepared::venv().join("bin/python");
    let options = Options {
        tiers: vec![
            vec!["http://a/announce".into(), "http://b/announce".into()],
            vec!["udp://c:1".into()],
        ],
        private: true,
        source: Some("S".into()),
        comment: Some("\u{e9}".into()),
        web_seeds: vec!["http://w/".into()],
        created: Some(7),
    };
    let script = "import sys, torf\n\
        torrent = torf.Torrent(path=sys.argv[1], piece_size=16384, private=True, source='S'); torrent.generate()\n\
        print(torrent.infohash)\n\
        ours = torf.Torrent.read(sys.argv[2])\n\
        print(ours.infohash, ours.comment, ours.webseeds, [list(tier) for tier in ours.trackers], ours.creation_date.timestamp())\n\
        assert ours.verify(sys.argv[1])";
    for name in ["x", "y"] {
        let path = contents.content().join(name);
        let torrent = author(&path, PIECE, &options);
        let out = contents.folder.path().join("ours.torrent");
        fs::write(&out, &torrent.bytes).unwrap();
        let said = run(Command::new(&python).args(["-c", script]).arg(&path).arg(&out), "torf");
        let hash = torrent.info_hash;
        let rest = "[['http://a/announce', 'http://b/announce'], ['udp://c:1']] 7.0";
        assert_eq!(said, format!("{hash}\n{hash} \u{e9} ['http://w/'] {rest}\n"));
    }
}

/// What somebody does to a file while it is hashed, by real programs: never is there a torrent of it.
#[test]
fn a_file_that_changes_while_it_is_hashed_has_no_torrent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("content");
    let changes = [
        ("truncated", "truncate -s -1 content"),
        ("appended", "echo x >>content"),
        ("replaced", "cp content new && mv new content"),
        (
            "rewritten in place",
            "dd if=/dev/urandom of=content bs=1k count=1 conv=notrunc status=none",
        ),
        (
            "rewritten, time restored",
            "touch -r content when && printf x | dd of=content bs=1 conv=notrunc status=none && touch -r when content",
        ),
        ("removed", "rm content"),
        ("removed and back", "mv content away && mv away content"),
    ];
    for (what, change) in changes {
        // It may be done before the change is: then once more.
        let refused = (0..50).any(|_| {
            fs::File::create(&path).unwrap().set_len(400 << 20).unwrap();
            let content = Content::walk(&path).unwrap();
            let (progress, stop) = (Progress::default(), AtomicBool::new(false));
            thread::scope(|scope| {
                let hashing = scope
                    .spawn(|| content.hash(piece_length_for(content.total()), 1, &progress, &stop));
                while progress.bytes.load(Relaxed) == 0 && !hashing.is_finished() {
                    thread::yield_now();
                }
                run(
                    Command::new("sh").args(["-ec", change]).current_dir(folder.path()),
                    "coreutils",
                );
                let is_late = hashing.is_finished();
                let hashed = hashing.join().unwrap();
                assert!(
                    is_late || matches!(hashed, Err(HashError::Changed { .. })),
                    "{what}: {hashed:?}"
                );
                !is_late
            })
        });
        assert!(refused, "{what}: it was hashed before it could be changed, fifty times");
    }
}
