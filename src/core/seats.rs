//! The connections that last: how many, and until when.
//!
//! Most connections are accepted, answered and closed in one go and never come here. One that waits
//! (for the rest of a request, for the next one, for a slow reader) takes a seat with a deadline. Once
//! a second the seats are looked through, and a connection past its deadline is shut down, which ends
//! its task. That costs no timer per read.

use std::cell::RefCell;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::Waker;

use shard::Seconds;

use crate::net::stream;

/// The seats of one core.
#[derive(Debug)]
pub struct Seats {
    seats: Vec<Option<Taken>>,
    free: Vec<usize>,
    seats_max: usize,
}

/// A seat that is taken.
#[derive(Debug)]
struct Taken {
    fd: RawFd,
    deadline: Seconds,
    /// Wakes the connection's task.
    waker: Option<Waker>,
    /// There is something to read.
    arrived: bool,
    /// Reading leads to the end.
    ending: bool,
}

/// A connection's place among the [`Seats`]; dropping it frees the place.
///
/// It must be dropped before its connection is closed, or the deadline could hit another connection
/// that got the same descriptor.
#[derive(Debug)]
pub struct Seat {
    number: usize,
    seats: Rc<RefCell<Seats>>,
}

impl Seats {
    /// Room for `seats_max` connections.
    pub fn new(seats_max: usize) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self { seats: Vec::new(), free: Vec::new(), seats_max }))
    }

    /// Connections seated now.
    pub fn taken(&self) -> usize {
        self.seats.len() - self.free.len()
    }

    /// The connection in a seat, open for as long as the seat is taken; `None` for a free one.
    pub fn descriptor(&self, seat: usize) -> Option<RawFd> {
        Some(self.seats.get(seat)?.as_ref()?.fd)
    }

    /// Wakes the task of the connection in a seat, when that has said how ([`Seat::wake_with`]).
    pub fn wake(&self, seat: usize) {
        if let Some(Some(Taken { waker: Some(waker), .. })) = self.seats.get(seat) {
            waker.wake_by_ref();
        }
    }

    /// Takes note that the connection in a seat has something to read, or, when it is `ending`, will have
    /// for good; and wakes its task.
    pub fn note_arrival(&mut self, seat: usize, ending: bool) {
        if let Some(Some(taken)) = self.seats.get_mut(seat) {
            taken.arrived = true;
            taken.ending |= ending;
            self.wake(seat);
        }
    }

    /// Seats there are, taken and free.
    pub fn all(&self) -> usize {
        self.seats.len()
    }

    /// Shuts down every connection whose deadline has passed; how many.
    pub fn clear(&mut self, now: Seconds) -> usize {
        let mut late = 0;
        for taken in self.seats.iter_mut().flatten() {
            if taken.deadline < now {
                stream::shut_down(taken.fd);
                // Its task frees the seat when it sees the end; until then, not again.
                taken.deadline = Seconds(u32::MAX);
                late += 1;
            }
        }
        late
    }
}

impl Seat {
    /// Takes a seat for the connection `fd`; `None` when all are taken.
    pub fn take(seats: &Rc<RefCell<Seats>>, fd: RawFd, deadline: Seconds) -> Option<Self> {
        let mut all = seats.borrow_mut();
        let number = match all.free.pop() {
            Some(number) => number,
            None if all.seats.len() < all.seats_max => {
                all.seats.push(None);
                all.seats.len() - 1
            }
            None => return None,
        };
        all.seats[number] =
            Some(Taken { fd, deadline, waker: None, arrived: false, ending: false });
        Some(Self { number, seats: seats.clone() })
    }

    /// Its number among the seats.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Gives the connection time until `deadline`.
    pub fn extend(&self, deadline: Seconds) {
        if let Some(taken) = &mut self.seats.borrow_mut().seats[self.number] {
            taken.deadline = deadline;
        }
    }

    /// Whether something arrived since this was asked the last time. True for good when the connection is
    /// ending.
    pub fn take_arrival(&self) -> bool {
        let taken = &mut self.seats.borrow_mut().seats[self.number];
        let taken = taken.as_mut();
        taken.is_some_and(|taken| std::mem::take(&mut taken.arrived) || taken.ending)
    }

    /// Takes note that there is more to read.
    pub fn note_arrival(&self) {
        self.seats.borrow_mut().note_arrival(self.number, false);
    }

    /// Says how the connection's task is woken. The first answer stays: a task keeps its waker.
    pub fn wake_with(&self, waker: &Waker) {
        if let Some(taken) = &mut self.seats.borrow_mut().seats[self.number] {
            taken.waker.get_or_insert_with(|| waker.clone());
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = self.seats.borrow_mut();
        all.seats[self.number] = None;
        all.free.push(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn only_the_late_are_shut_down() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (client, listener.accept().unwrap().0)
        };
        let ((mut slow, slow_here), (quick, quick_here)) = (connect(), connect());
        let seats = Seats::new(2);
        let _slow_seat = Seat::take(&seats, slow_here.as_raw_fd(), Seconds(10)).unwrap();
        let quick_seat = Seat::take(&seats, quick_here.as_raw_fd(), Seconds(10)).unwrap();
        assert!(Seat::take(&seats, quick_here.as_raw_fd(), Seconds(10)).is_none(), "two at most");
        quick_seat.extend(Seconds(20));
        assert_eq!(seats.borrow_mut().clear(Seconds(11)), 1);
        assert_eq!(slow.read(&mut [0; 1]).unwrap(), 0, "the slow one sees the end");
        quick.set_nonblocking(true).unwrap();
        assert!((&quick).read(&mut [0; 1]).is_err(), "the quick one is still waiting");
        drop(quick_seat);
        assert_eq!(seats.borrow().taken(), 1);
    }
}
