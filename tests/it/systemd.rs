//! What the service manager is told, and the sockets that it passes (sd_notify(3), sd_listen_fds(3)): a socket of the
//! test's own takes its place.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::tracker::udp::{Announce, Udp};
use crate::tracker::{HOMES, PATIENCE, Tracker, hash, http};

/// A service manager.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

/// A message to it: its lines, and the descriptors in it.
struct Told {
    lines: Vec<String>,
    descriptors: Vec<OwnedFd>,
}

impl Manager {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, folder }
    }

    /// A command that runs its arguments under this service manager, with these sockets passed.
    fn run(&self, passed: &[(&str, &dyn AsFd)]) -> Command {
        let names: Vec<&str> = passed.iter().map(|(name, _)| *name).collect();
        let mut command = Command::new("sh");
        command.args(["-c", "export LISTEN_PID=$$; exec \"$@\"", "sh"]);
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        command.env("LISTEN_FDS", passed.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        // Above those that they are moved to.
        let copies: Vec<OwnedFd> = passed
            .iter()
            .map(|(_, socket)| fcntl_dupfd_cloexec(socket.as_fd(), 100).unwrap())
            .collect();
        let place = move || {
            for (at, copy) in copies.iter().enumerate() {
                // SAFETY: dup2(2) between fork and exec; the numbers are of this child alone.
                if unsafe { dup2(copy.as_raw_fd(), 3 + at as i32) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: what is called between fork and exec are system calls.
        unsafe { command.pre_exec(place) };
        command
    }

    fn told(&self) -> Told {
        let mut bytes = [0; 4096];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let slices = &mut [std::io::IoSliceMut::new(&mut bytes)];
        let received = recvmsg(&self.socket, slices, &mut rights, RecvFlags::CMSG_CLOEXEC).unwrap();
        let descriptors = rights
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        let text = String::from_utf8(bytes[..received.bytes].to_vec()).unwrap();
        Told { lines: text.lines().map(str::to_owned).collect(), descriptors }
    }

    /// Waits until a message has this line; the sockets that were given to be kept until then.
    fn told_until(&self, line: &str) -> Vec<(String, OwnedFd)> {
        let mut kept = Vec::new();
        loop {
            let Told { lines, descriptors } = self.told();
            if let Some(name) = lines.iter().find_map(|line| line.strip_prefix("FDNAME=")) {
                assert!(lines.contains(&"FDSTORE=1".to_owned()), "{lines:?}");
                kept.extend(descriptors.into_iter().map(|socket| (name.to_owned(), socket)));
            }
            if lines.iter().any(|told| told == line) {
                return kept;
            }
        }
    }
}

unsafe extern "C" {
    fn dup2(from: i32, to: i32) -> i32;
}

#[test]
fn it_is_told_of_start_take_over_and_stop() {
    let manager = Manager::new();
    let data = TempDir::new().unwrap();
    let tracker = Tracker::start_by(&mut manager.run(&[]), data.path(), "--cores 2");
    manager.told_until("READY=1");
    let next = Tracker::start_by(&mut manager.run(&[]), data.path(), "--cores 2 --take-over");
    manager.told_until(&format!("MAINPID={}", next.pid().as_raw_nonzero()));
    tracker.await_exit();
    next.signal(Signal::TERM);
    manager.told_until("STOPPING=1");
    next.await_exit();
}

#[test]
fn sockets_that_it_has_bound_are_served() {
    let manager = Manager::new();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let http = TcpListener::bind("[::1]:0").unwrap();
    let stray = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (udp_at, http_at) = (udp.local_addr().unwrap(), http.local_addr().unwrap());
    // It came before there was a tracker.
    let early = Udp::new(udp_at);
    early.send(&early.connect_request());
    let passed: [(&str, &dyn AsFd); 3] =
        [("margay.socket", &udp), ("http", &http), ("stray", &stray)];
    let mut command = manager.run(&passed);
    let args = format!("--udp {udp_at},[::1]:0 --http 127.0.0.1:0,{http_at} --cores 2");
    let data = TempDir::new().unwrap();
    let tracker = Tracker::start_by(&mut command, data.path(), &args);
    drop((udp, http, stray));
    assert_eq!(early.receive()[..4], [0; 4]);
    tracker.logged("the service manager has passed a socket of an address that no option names");
    let torrents: Vec<_> = (0..20).map(|number| hash(&format!("passed {number}"))).collect();
    let client = Udp::connect(udp_at);
    for torrent in torrents {
        assert_eq!(client.announce(&Announce::new(torrent, 1)).leechers, 1);
        let answer = http::answer(http_at, http::announce(torrent, 2, "&left=0"));
        assert_eq!(http::counts(&answer)[..2], [1, 1]);
    }
    tracker.stop();
}

#[test]
fn sockets_that_it_keeps_survive_a_crash_and_what_waits_in_them_is_answered() {
    let manager = Manager::new();
    let data = TempDir::new().unwrap();
    let args = "--cores 2";
    let tracker = Tracker::start_by(&mut manager.run(&[]), data.path(), args);
    let at: SocketAddr = tracker.udp(HOMES[0]);
    let kept = manager.told_until("READY=1");
    let mut names: Vec<_> = kept.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["control-0", "http-0", "http-0", "http-1", "http-1", "udp-0", "udp-0", "udp-1", "udp-1"]
    );
    let client = Udp::connect(at);
    tracker.kill();
    // Nobody is there, and nothing is refused.
    let torrents: Vec<_> = (0..20).map(|number| hash(&format!("kept {number}"))).collect();
    for torrent in &torrents {
        client.send(&client.announce_request(&Announce::new(*torrent, 1)));
    }
    let passed: Vec<(&str, &dyn AsFd)> =
        kept.iter().map(|(name, socket)| (name.as_str(), socket as &dyn AsFd)).collect();
    let wanted = |kind: &str| -> String {
        let mut of_kind: Vec<String> = kept
            .iter()
            .filter(|(name, _)| *name == format!("{kind}-0"))
            .map(|(_, socket)| {
                socket2::SockRef::from(socket)
                    .local_addr()
                    .unwrap()
                    .as_socket()
                    .unwrap()
                    .to_string()
            })
            .collect();
        of_kind.sort();
        of_kind.join(",")
    };
    let args = format!("{args} --udp {} --http {}", wanted("udp"), wanted("http"));
    let next = Tracker::start_by(&mut manager.run(&passed), data.path(), &args);
    assert_eq!(next.udp(HOMES[0]), at);
    for _ in &torrents {
        assert_eq!(client.announced(&client.receive()).leechers, 1);
    }
    next.stop();
}
