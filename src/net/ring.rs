//! Whether this process may have an io_uring.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Bytes of `struct io_uring_params` (io_uring_setup(2)).
const PARAMS_BYTES: usize = 120;

/// Makes a ring of one entry and gives it back; the error of io_uring_setup(2) where that is refused.
pub fn probe() -> io::Result<()> {
    let mut params = [0_u64; PARAMS_BYTES / size_of::<u64>()];
    // SAFETY: the kernel reads and writes `struct io_uring_params` there, which is as large, and all zeros ask
    // for nothing special.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for this process, and nobody else knows of it.
    drop(unsafe { OwnedFd::from_raw_fd(result as RawFd) });
    Ok(())
}
