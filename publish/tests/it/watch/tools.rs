//! Uploads by rsync, scp and sftp: whole ones, and such that are killed half-way.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::*;

/// Debian's packages of the programs.
const PACKAGES: [(&str, &str); 6] = [
    ("rsync", "rsync"),
    ("scp", "openssh-client"),
    ("sftp", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("/usr/sbin/sshd", "openssh-server"),
    ("python3", "python3"),
];

/// A program that runs; it is killed when the test ends.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(program: &str, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(program);
        change(command.stdin(Stdio::null()));
        let package = PACKAGES
            .iter()
            .find(|(name, _)| *name == program)
            .map_or(program, |(_, package)| *package);
        match command.spawn() {
            Ok(child) => Running(child),
            Err(error) => {
                panic!("cannot run {program} ({error}): install the Debian package {package}")
            }
        }
    }

    pub(crate) fn piped<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Self {
        Self::start(program, |command| {
            _ = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped())
        })
    }

    pub(crate) fn python(script: &str, args: impl IntoIterator<Item = PathBuf>) -> Self {
        let args = args.into_iter().map(PathBuf::into_os_string);
        Self::piped("python3", ["-c".into(), script.into()].into_iter().chain(args))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn line(&mut self, wanted: &str) {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), wanted);
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_raw(self.id() as i32).unwrap();
        rustix::process::kill_process(process, signal).unwrap();
    }

    pub(crate) fn ends(mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }

    pub(crate) fn succeeds(self) {
        let status = self.ends();
        assert!(status.success(), "{status}");
    }

    /// Kills it once `half` says that enough has been written.
    pub(crate) fn killed(mut self, half: impl Fn() -> bool) {
        let began = Instant::now();
        while !half() {
            assert!(began.elapsed() < BOUND, "it does not get half-way");
            assert!(self.0.try_wait().unwrap().is_none(), "it ended before it was killed");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

pub(crate) fn run<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) {
    Running::start(program, |command| _ = command.args(args)).succeeds();
}

/// A server of ssh on loopback, with keys of its own.
pub(crate) struct Ssh {
    home: TempDir,
    port: u16,
    _server: Running,
}

impl Ssh {
    pub(crate) fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        for key in ["host", "user"] {
            let key = home.path().join(key);
            run(
                "ssh-keygen",
                [
                    OsStr::new("-qt"),
                    "ed25519".as_ref(),
                    "-N".as_ref(),
                    "".as_ref(),
                    "-f".as_ref(),
                    key.as_ref(),
                ],
            );
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = home.path().display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nAuthorizedKeysFile {at}/user.pub\nStrictModes no\n\
             PidFile none\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n"
        );
        fs::write(home.path().join("sshd_config"), config).unwrap();
        if rustix::process::geteuid().is_root() {
            // Where root's sshd separates its privileges.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let log = home.path().join("log");
        let server = Running::start("/usr/sbin/sshd", |command| {
            command.args(["-D", "-f"]).arg(home.path().join("sshd_config")).arg("-E").arg(&log);
        });
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                began.elapsed() < BOUND,
                "sshd does not listen: {}",
                fs::read_to_string(&log).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ssh { home, port, _server: server }
    }

    fn options(&self, command: &mut Command) {
        command.args([
            "-q",
            "-F",
            "none",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ]);
        command
            .args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i"])
            .arg(self.home.path().join("user"));
        command.args(["-P", &self.port.to_string()]);
    }

    /// `scp`, at most `kbit` thousand bits a second.
    pub(crate) fn scp(&self, kbit: Option<u32>, args: &[&str], from: &Path, to: &Path) -> Running {
        Running::start("scp", |command| {
            self.options(command);
            if let Some(kbit) = kbit {
                command.args(["-l", &kbit.to_string()]);
            }
            command.args(args).arg(from).arg(format!("127.0.0.1:{}", to.display()));
        })
    }

    /// `sftp` with one command.
    pub(crate) fn sftp(&self, kbit: Option<u32>, line: &str) -> Running {
        let mut sftp = Running::start("sftp", |command| {
            self.options(command);
            if let Some(kbit) = kbit {
                command.args(["-l", &kbit.to_string()]);
            }
            command.args(["-b", "-", "127.0.0.1"]).stdin(Stdio::piped()).stdout(Stdio::null());
        });
        sftp.say(line);
        drop(sftp.0.stdin.take());
        sftp
    }
}

/// 2 MB at some 800 kB a second.
const SLOW: Option<u32> = Some(6_400);
const SIZE: usize = 2_000_000;

pub(crate) fn rsync(args: &[&str], from: &Path, to: &Path) -> Running {
    Running::start("rsync", |command| _ = command.args(args).arg(from).arg(to))
}

pub(crate) fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn put(watched: &Watched, seed: u8) -> Vec<u8> {
    put_size(watched, seed, SIZE)
}

/// More than is uploaded before a busy machine comes to kill it.
fn put_much(watched: &Watched, seed: u8) -> Vec<u8> {
    put_size(watched, seed, 5 * SIZE)
}

fn put_size(watched: &Watched, seed: u8, size: usize) -> Vec<u8> {
    let bytes = content(seed, size);
    fs::write(watched.outside("a"), &bytes).unwrap();
    bytes
}

/// The size of rsync's temporary file.
fn temporary(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let hidden = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".a."));
    hidden.map(|entry| size(&entry.path())).max().unwrap_or(0)
}

#[test]
fn rsync_as_it_is() {
    let mut watched = Watched::start();
    let bytes = put_much(&watched, 1);
    let (from, to) = (watched.outside("a"), watched.path("a"));
    rsync(&["--bwlimit=800"], &from, &to).killed(|| temporary(to.parent().unwrap()) > 400_000);
    let told = watched.pass();
    assert!(told.is_empty(), "{told:#?}");
    rsync(&[], &from, &to).succeeds();
    watched.publish("a", &bytes);

    // Anew, over what is published.
    let bytes = put(&watched, 2);
    rsync(&[], &from, &to).succeeds();
    watched.state("a", is_changed);
    watched.publish("a", &bytes);
}

#[test]
fn rsync_with_a_partial_dir() {
    let mut watched = Watched::start();
    let bytes = put_much(&watched, 1);
    let (from, to) = (watched.outside("a"), watched.path("a"));
    let args = ["--partial-dir=.rsync-partial", "--bwlimit=800"];
    rsync(&args, &from, &to).killed(|| temporary(to.parent().unwrap()) > 400_000);
    assert_eq!(watched.pass(), []);
    rsync(&args, &from, &to).succeeds();
    watched.publish("a", &bytes);
}

#[test]
fn rsync_into_the_file() {
    let mut watched = Watched::with(|options| options.rules.done_marker = true);
    let bytes = put_much(&watched, 1);
    let (from, to) = (watched.outside("a"), watched.path("a"));
    rsync(&["--inplace", "--bwlimit=800"], &from, &to).killed(|| size(&to) > 400_000);
    watched.state("a", |state| *state == State::Uploading(Waits::Marker));
    rsync(&["--inplace"], &from, &to).succeeds();
    watched.pass();
    watched.never_settled("a");
    fs::write(watched.path("a.done"), "").unwrap();
    watched.publish("a", &bytes);
}

#[test]
fn rsync_that_appends() {
    let mut watched = Watched::with(|options| options.rules.done_marker = true);
    let bytes = put_much(&watched, 1);
    let (from, to) = (watched.outside("a"), watched.path("a"));
    rsync(&["--append", "--bwlimit=800"], &from, &to).killed(|| size(&to) > 400_000);
    watched.state("a", |state| *state == State::Uploading(Waits::Marker));
    rsync(&["--append"], &from, &to).succeeds();
    watched.pass();
    watched.never_settled("a");
    fs::write(watched.path("a.done"), "").unwrap();
    watched.publish("a", &bytes);
}

/// The documented case: without markers nothing tells a broken upload under a new name from a whole one.
#[test]
fn what_broke_off_under_a_new_name_is_healed_when_it_is_resumed() {
    let mut watched = Watched::start();
    let bytes = put_much(&watched, 1);
    let (from, to) = (watched.outside("a"), watched.path("a"));
    rsync(&["--inplace", "--bwlimit=800"], &from, &to).killed(|| size(&to) > 400_000);
    let half = watched.settled("a");
    assert!(half.identities().all(|file| file.size < bytes.len() as u64));
    // The owner hashes it, and has not published it yet.
    rsync(&["--inplace"], &from, &to).succeeds();
    watched.state("a", is_changed);
    watched.publish("a", &bytes);
}

#[test]
fn scp_of_a_new_file() {
    let ssh = Ssh::start();
    let mut watched = Watched::start();
    let bytes = put(&watched, 1);
    ssh.scp(SLOW, &[], &watched.outside("a"), &watched.path("a")).succeeds();
    watched.publish("a", &bytes);
}

#[test]
fn scp_that_stalls() {
    let ssh = Ssh::start();
    let mut watched = Watched::start();
    let bytes = put(&watched, 1);
    let to = watched.path("a");
    let scp = ssh.scp(SLOW, &[], &watched.outside("a"), &to);
    let began = Instant::now();
    while size(&to) < 400_000 {
        assert!(began.elapsed() < BOUND, "it does not get half-way");
        std::thread::sleep(Duration::from_millis(5));
    }
    scp.signal(rustix::process::Signal::STOP);
    watched.state("a", |state| matches!(state, State::Uploading(Waits::Open(_))));
    watched.pass();
    watched.never_settled("a");
    scp.signal(rustix::process::Signal::CONT);
    watched.publish("a", &bytes);
    scp.succeeds();
}

#[test]
fn scp_of_the_old_protocol() {
    let ssh = Ssh::start();
    let mut watched = Watched::start();
    let bytes = put(&watched, 1);
    ssh.scp(SLOW, &["-O"], &watched.outside("a"), &watched.path("a")).succeeds();
    watched.publish("a", &bytes);
}

#[test]
fn scp_that_is_killed_and_begun_again() {
    let ssh = Ssh::start();
    let mut watched = Watched::with(|options| options.rules.done_marker = true);
    let bytes = put_much(&watched, 1);
    let (from, to) = (watched.outside("a"), watched.path("a"));
    ssh.scp(SLOW, &[], &from, &to).killed(|| size(&to) > 400_000);
    watched.state("a", |state| *state == State::Uploading(Waits::Marker));
    ssh.scp(None, &[], &from, &to).succeeds();
    watched.pass();
    watched.never_settled("a");
    fs::write(watched.path("a.done"), "").unwrap();
    watched.publish("a", &bytes);
}

#[test]
fn sftp_of_a_new_file() {
    let ssh = Ssh::start();
    let mut watched = Watched::start();
    let bytes = put(&watched, 1);
    ssh.sftp(
        SLOW,
        &format!("put {} {}", watched.outside("a").display(), watched.path("a").display()),
    )
    .succeeds();
    watched.publish("a", &bytes);
}

#[test]
fn sftp_that_is_killed_and_resumed() {
    let ssh = Ssh::start();
    let mut watched = Watched::with(|options| options.rules.done_marker = true);
    let bytes = put_much(&watched, 1);
    let (from, to) = (watched.outside("a"), watched.path("a"));
    ssh.sftp(SLOW, &format!("put {} {}", from.display(), to.display()))
        .killed(|| size(&to) > 400_000);
    watched.state("a", |state| *state == State::Uploading(Waits::Marker));
    ssh.sftp(None, &format!("put -a {} {}", from.display(), to.display())).succeeds();
    watched.pass();
    watched.never_settled("a");
    fs::write(watched.path("a.done"), "").unwrap();
    watched.publish("a", &bytes);
}

/// Three files that come one after the other settle as one directory.
fn directory(upload: impl FnOnce(&Path, &Path)) {
    // Between two files nothing is open: a busy machine must not take longer there.
    let mut watched = Watched::with(|options| options.rules.settle = Duration::from_secs(3));
    fs::create_dir_all(watched.outside("d/e")).unwrap();
    for (seed, file) in ["1", "2", "e/3"].into_iter().enumerate() {
        fs::write(watched.outside("d").join(file), content(seed as u8, 1_000_000)).unwrap();
    }
    upload(&watched.outside("d"), &watched.path(""));
    let settled = watched.settled("d");
    assert_eq!(settled, look(&watched.path("d")));
    for file in ["1", "2", "e/3"] {
        assert!(
            fs::read(watched.outside("d").join(file)).unwrap()
                == fs::read(watched.path("d").join(file)).unwrap()
        );
    }
}

#[test]
fn rsync_of_a_directory() {
    directory(|from, to| rsync(&["-r", "--bwlimit=800"], from, to).succeeds());
}

#[test]
fn rsync_of_a_directory_into_the_files() {
    directory(|from, to| rsync(&["-r", "--inplace", "--bwlimit=800"], from, to).succeeds());
}

#[test]
fn scp_of_a_directory() {
    let ssh = Ssh::start();
    directory(|from, to| ssh.scp(SLOW, &["-r"], from, to).succeeds());
}

#[test]
fn two_uploads_at_once() {
    let ssh = Ssh::start();
    let mut watched = Watched::start();
    let first = content(1, SIZE);
    let second = content(2, SIZE);
    fs::write(watched.outside("a"), &first).unwrap();
    fs::write(watched.outside("b"), &second).unwrap();
    let one = ssh.scp(SLOW, &[], &watched.outside("a"), &watched.path("a"));
    let two = rsync(&["--bwlimit=400"], &watched.outside("b"), &watched.path("b"));
    let mut whole = [("a", first), ("b", second)].to_vec();
    while !whole.is_empty() {
        if let Event::Name { name, state: State::Settled(settled) } = watched.next() {
            let at = whole.iter().position(|(of, _)| name == **of).unwrap();
            let (of, bytes) = whole.swap_remove(at);
            watched.has(of, &settled, &bytes);
        }
    }
    one.succeeds();
    two.succeeds();
}

#[test]
fn two_uploads_to_one_name() {
    let ssh = Ssh::start();
    let mut watched = Watched::start();
    let bytes = put(&watched, 1);
    let one = ssh.scp(SLOW, &[], &watched.outside("a"), &watched.path("a"));
    let two = ssh.scp(Some(3_200), &[], &watched.outside("a"), &watched.path("a"));
    watched.publish("a", &bytes);
    assert_eq!(watched.pass(), []);
    one.succeeds();
    two.succeeds();
}
