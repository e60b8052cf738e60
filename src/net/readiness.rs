//! Which of many connections have something to read, asked of the kernel all at once (epoll(7)).
//!
//! For connections that are busy: a look costs one call for all of them, where waiting for each by
//! glommio costs a request to the ring, a completion, and an interrupt when that comes from another
//! processor.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use super::batch::BATCH_MAX;

/// The connections that are watched, each with a number.
pub struct Readiness {
    epoll: OwnedFd,
    events: Vec<Event>,
}

/// A connection that has become readable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ready {
    /// The number it is watched by.
    pub number: usize,
    /// Its client sends nothing more, or it failed: reading leads to the end.
    pub ending: bool,
}

impl Readiness {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(BATCH_MAX) })
    }

    /// Watches a connection until it is closed or given up. From now on whatever arrives makes it ready
    /// once, so it must be read until there is nothing left.
    pub fn watch(&self, connection: BorrowedFd<'_>, number: usize) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, connection, EventData::new_u64(number as u64), flags)?)
    }

    /// Gives up a connection that somebody else holds as well, and that closing would not end.
    pub fn give_up(&self, connection: BorrowedFd<'_>) {
        // An error means that it was not watched.
        let _ = epoll::delete(&self.epoll, connection);
    }

    /// The connections that became ready since the last look, at most [`BATCH_MAX`] of them.
    pub fn look(&mut self) -> io::Result<impl ExactSizeIterator<Item = Ready> + '_> {
        self.events.clear();
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&at_once))?;
        Ok(self.events.iter().map(|event| {
            let (flags, number) = (event.flags, event.data.u64() as usize);
            let ends = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
            Ready { number, ending: flags.intersects(ends) }
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// Looks until something is ready; loopback may take a moment.
    fn look(readiness: &mut Readiness) -> Vec<Ready> {
        for _ in 0..1000 {
            let ready: Vec<Ready> = readiness.look().unwrap().collect();
            if !ready.is_empty() {
                return ready;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Vec::new()
    }

    #[test]
    fn each_arrival_makes_ready_once() {
        let mut readiness = Readiness::new().unwrap();
        let ((mut client, mut here), (_other, other_here)) = (pair(), pair());
        readiness.watch(here.as_fd(), 7).unwrap();
        readiness.watch(other_here.as_fd(), 8).unwrap();
        assert_eq!(readiness.look().unwrap().len(), 0);
        for _ in 0..2 {
            client.write_all(b"x").unwrap();
            assert_eq!(look(&mut readiness), [Ready { number: 7, ending: false }]);
            assert_eq!(readiness.look().unwrap().len(), 0, "once, read or not");
        }
        here.read_exact(&mut [0; 2]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(look(&mut readiness), [Ready { number: 7, ending: true }]);
    }

    #[test]
    fn what_was_there_before_counts_and_what_was_given_up_does_not() {
        let mut readiness = Readiness::new().unwrap();
        let (mut client, here) = pair();
        client.write_all(b"x").unwrap();
        readiness.watch(here.as_fd(), 1).unwrap();
        assert_eq!(look(&mut readiness), [Ready { number: 1, ending: false }]);
        readiness.give_up(here.as_fd());
        client.write_all(b"x").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(readiness.look().unwrap().len(), 0);
    }
}
