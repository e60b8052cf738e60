//! A connection between two processes of one machine that carries descriptors as well (unix(7), `SCM_RIGHTS`).
//!
//! Its messages have borders (`SOCK_SEQPACKET`), so what was sent together arrives together.

use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};

/// Bytes of a message at most; less than half of what a socket holds unless said otherwise (`net.core.wmem_default`,
/// 212,992).
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Descriptors in a message at most; the kernel takes 253 (`SCM_MAX_FD`).
pub const DESCRIPTORS_MAX: usize = 128;

/// How long the other end may take to make room for a message.
const SEND_PATIENCE: Duration = Duration::from_secs(20);

/// One end of a connection.
#[derive(Debug)]
pub struct Link(OwnedFd);

/// A message that was received.
#[derive(Debug, Default)]
pub struct Letter {
    /// What it says.
    pub bytes: Vec<u8>,
    /// Its descriptors, in the order they were sent in. They close when this process begins another program.
    pub descriptors: Vec<OwnedFd>,
}

impl Link {
    /// Connects to who listens at `path`.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = socket()?;
        let (address, _folder) = address(path)?;
        rustix::net::connect(&socket, &address)?;
        Self::begin(socket)
    }

    fn begin(socket: OwnedFd) -> io::Result<Self> {
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(SEND_PATIENCE))?;
        Ok(Self(socket))
    }

    /// The number of the process at the other end, and of its user, as they were when it connected or listened.
    pub fn other(&self) -> io::Result<(i32, u32)> {
        let other = sockopt::socket_peercred(&self.0)?;
        Ok((other.pid.as_raw_nonzero().get(), other.uid.as_raw()))
    }

    /// How long [`Link::receive`] waits for a message; for ever with `None`.
    pub fn wait_for(&self, time: Option<Duration>) -> io::Result<()> {
        Ok(sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Recv, time)?)
    }

    /// Sends a message of at most [`MESSAGE_BYTES_MAX`] bytes, which are not none, and [`DESCRIPTORS_MAX`]
    /// descriptors. Waits for room, for a while.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        let fits = bytes.len() <= MESSAGE_BYTES_MAX && descriptors.len() <= DESCRIPTORS_MAX;
        if !fits
            || !descriptors.is_empty() && !rights.push(SendAncillaryMessage::ScmRights(descriptors))
        {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        loop {
            let slices = [IoSlice::new(bytes)];
            match rustix::net::sendmsg(&self.0, &slices, &mut rights, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for a message; `None` when the other end is gone.
    pub fn receive(&self) -> io::Result<Option<Letter>> {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let slices = &mut [IoSliceMut::new(&mut bytes)];
            match rustix::net::recvmsg(&self.0, slices, &mut rights, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => continue,
                Err(Errno::CONNRESET) => return Ok(None),
                received => break received?,
            }
        };
        let descriptors = rights
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        if received.bytes == 0 {
            return Ok(None);
        }
        bytes.truncate(received.bytes);
        Ok(Some(Letter { bytes, descriptors }))
    }

    /// Ends the connection for both, though somebody here waits for a message.
    pub fn end(&self) {
        // An error means that it has ended already.
        let _ = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both);
    }

    /// Another handle of the same connection.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }
}

/// Where others connect.
#[derive(Debug)]
pub struct Meeting(OwnedFd);

impl Meeting {
    /// Listens at `path`, which only this user may connect to, in place of whoever did so before.
    pub fn open(path: &Path) -> io::Result<Self> {
        let beside = path.with_extension("new");
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = socket()?;
        let (address, _folder) = address(&beside)?;
        rustix::net::bind(&socket, &address)?;
        rustix::fs::chmod(&beside, Mode::RUSR | Mode::WUSR)?;
        rustix::net::listen(&socket, BACKLOG)?;
        // Whoever connects finds the one or the other.
        fs::rename(&beside, path)?;
        Ok(Self(socket))
    }

    /// Waits for somebody.
    pub fn accept(&self) -> io::Result<Link> {
        loop {
            match rustix::net::accept_with(&self.0, SocketFlags::CLOEXEC) {
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                accepted => return Link::begin(accepted?),
            }
        }
    }
}

/// Who may wait to be heard.
const BACKLOG: i32 = 16;

fn socket() -> io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    Ok(rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?)
}

/// The address of a path of any length (`sun_path` has 108 bytes), and what has to stay open while it is used.
fn address(path: &Path) -> io::Result<(SocketAddrUnix, File)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let folder = File::open(folder)?;
    let short = Path::new("/proc/self/fd").join(folder.as_fd().as_raw_fd().to_string()).join(name);
    Ok((SocketAddrUnix::new(short)?, folder))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom, Write};
    use std::thread;

    use super::*;

    #[test]
    fn messages_keep_their_borders_and_their_descriptors() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a".repeat(120));
        fs::create_dir(&deep).unwrap();
        let path = deep.join("meeting");
        assert_eq!(Link::connect(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        drop(Meeting::open(&path).unwrap());
        assert_eq!(Link::connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let meeting = Meeting::open(&path).unwrap();
        let there = thread::spawn(move || meeting.accept().unwrap());
        let here = Link::connect(&path).unwrap();
        let there = there.join().unwrap();
        assert_eq!(there.other().unwrap().0, std::process::id() as i32);

        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"the same file").unwrap();
        let many = vec![file.as_fd(); DESCRIPTORS_MAX];
        here.send(b"one", &many).unwrap();
        here.send(&vec![7; MESSAGE_BYTES_MAX], &[]).unwrap();
        let too_long = here.send(&vec![7; MESSAGE_BYTES_MAX + 1], &[]).unwrap_err();
        assert_eq!(too_long.kind(), io::ErrorKind::InvalidInput);
        drop(here);
        let letter = there.receive().unwrap().unwrap();
        assert_eq!((&letter.bytes[..], letter.descriptors.len()), (&b"one"[..], DESCRIPTORS_MAX));
        let mut same = File::from(letter.descriptors.into_iter().next().unwrap());
        let mut text = String::new();
        same.seek(SeekFrom::Start(0)).unwrap();
        same.read_to_string(&mut text).unwrap();
        assert_eq!(text, "the same file");
        let letter = there.receive().unwrap().unwrap();
        assert_eq!((letter.bytes.len(), letter.descriptors.len()), (MESSAGE_BYTES_MAX, 0));
        assert!(there.receive().unwrap().is_none());
        assert!(there.send(b"to nobody", &[]).is_err());
    }
}
