//! Unix sockets, whose files stay behind when a process is killed.

use std::fs::{self, File, Permissions};
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// Connections that may wait to be accepted; the kernel cuts it to `somaxconn`.
const BACKLOG: i32 = 4096;

/// A Unix socket that is listened on. Its file goes when this is dropped.
#[derive(Debug)]
pub struct UnixSocket {
    path: PathBuf,
    socket: Socket,
    /// Held for as long as the socket is: who has it may take the path.
    lock: File,
    /// Another process listens by now.
    is_left: bool,
}

impl UnixSocket {
    /// Listens at `path`, for those whom the mode of its file lets connect. A file that a process has left there which is
    /// gone is replaced; one that is no socket is not.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] where another process listens there.
    pub fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(beside)?;
        // Between looking whether somebody is there and taking the path, two could come.
        lock.try_lock().map_err(|_| io::Error::from(io::ErrorKind::AddrInUse))?;
        let address = SockAddr::unix(path)?;
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => {
                let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                if probe.connect(&address).is_ok() {
                    return Err(io::ErrorKind::AddrInUse.into());
                }
                fs::remove_file(path)?;
            }
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "there is a file that is no socket",
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
        socket.bind(&address)?;
        let bound = Self { path: path.to_owned(), socket, lock, is_left: false };
        // Nobody can connect before somebody listens.
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        bound.socket.listen(BACKLOG)?;
        Ok(bound)
    }

    /// Goes on with a socket of another process, and its lock; those come back when it is not at this path.
    pub fn adopt(
        path: &Path,
        mode: u32,
        (socket, lock): (OwnedFd, OwnedFd),
    ) -> Result<Self, (OwnedFd, OwnedFd)> {
        let socket = Socket::from(socket);
        let at = socket.local_addr().ok();
        if at.as_ref().and_then(SockAddr::as_pathname) != Some(path) {
            return Err((socket.into(), lock));
        }
        // Whoever could connect still can, where that fails.
        let _ = fs::set_permissions(path, Permissions::from_mode(mode));
        Ok(Self { path: path.to_owned(), socket, lock: lock.into(), is_left: false })
    }

    /// Copies of the socket and its lock, for a process that goes on with it.
    pub fn copies(&self) -> io::Result<[OwnedFd; 2]> {
        Ok([self.socket.try_clone()?.into(), self.lock.try_clone()?.into()])
    }

    /// Another process listens: the file is its own.
    pub fn leave(mut self) {
        self.is_left = true;
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same socket once more, for another core: all take connections out of one queue. What is done with a listener of
    /// TCP is done with it alike.
    pub fn listener(&self) -> io::Result<TcpListener> {
        Ok(self.socket.try_clone()?.into())
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if !self.is_left {
            // It may be gone, with its folder.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::net::stream;

    #[test]
    fn one_process_listens_and_what_is_left_behind_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let kind = |path: &Path| UnixSocket::bind(path, 0o600).map_err(|error| error.kind()).err();
        let bound = UnixSocket::bind(&path, 0o640).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"a").unwrap();
        let listener = bound.listener().unwrap();
        let (accepted, address) = stream::accept(stream::borrow(&listener)).unwrap().unwrap();
        assert_eq!(address, None);
        let mut said = [0];
        (&accepted).read_exact(&mut said).unwrap();
        assert_eq!(said, *b"a");
        assert_eq!(kind(&path), Some(io::ErrorKind::AddrInUse));
        // It goes to another process, which has the file then.
        let copies = |bound: &UnixSocket| <(OwnedFd, OwnedFd)>::from(bound.copies().unwrap());
        assert!(UnixSocket::adopt(&folder.path().join("b"), 0o600, copies(&bound)).is_err());
        let adopted = UnixSocket::adopt(&path, 0o600, copies(&bound)).unwrap();
        bound.leave();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(kind(&path), Some(io::ErrorKind::AddrInUse));
        let _client = UnixStream::connect(&path).unwrap();
        let listener = adopted.listener().unwrap();
        assert!(stream::accept(stream::borrow(&listener)).unwrap().is_some());
        drop(adopted);
        assert!(!path.exists());
        // A process that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(UnixSocket::bind(&path, 0o600).unwrap());
        // Another program.
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(kind(&path), Some(io::ErrorKind::AddrInUse));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        assert_eq!(kind(&path), Some(io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }
}
