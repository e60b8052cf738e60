//! The connections that last: how many, and until when.
//!
//! Most connections are accepted, answered and closed in one go and never come here. One that waits
//! (for the rest of a request, for the next one, for a slow reader) takes a seat with a deadline. Seats are
//! listed by a second in which they may be late; that is not listed anew each time a deadline moves away, but
//! when that second has come. Once a second those are looked at whose second it is, and a connection past its
//! deadline is shut down, which ends its task. That costs no timer per read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::Waker;

use shard::Seconds;

use crate::net::stream::Lent;

/// The seats of one core.
#[derive(Debug)]
pub struct Seats {
    seats: Vec<Place>,
    free: Vec<usize>,
    seats_max: usize,
    /// The seats to look at when a deadline has passed.
    due: BTreeMap<Seconds, Vec<usize>>,
}

/// A seat.
#[derive(Debug, Default)]
struct Place {
    taken: Option<Taken>,
    /// Under which deadline it is listed; not after its own.
    listed: Option<Seconds>,
}

/// A seat that is taken.
#[derive(Debug)]
struct Taken {
    connection: Lent,
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
/// It is dropped before its connection is closed, or the deadline could hit another connection that got
/// the same descriptor.
#[derive(Debug)]
pub struct Seat {
    number: usize,
    seats: Rc<RefCell<Seats>>,
}

impl Seats {
    /// Room for `seats_max` connections.
    pub fn new(seats_max: usize) -> Rc<RefCell<Self>> {
        let due = BTreeMap::new();
        Rc::new(RefCell::new(Self { seats: Vec::new(), free: Vec::new(), seats_max, due }))
    }

    /// Connections seated now.
    pub fn taken(&self) -> usize {
        self.seats.len() - self.free.len()
    }

    /// The connection in a seat; `None` for a free one.
    pub fn descriptor(&self, seat: usize) -> Option<BorrowedFd<'_>> {
        Some(self.taken_at(seat)?.connection.borrow())
    }

    fn taken_at(&self, seat: usize) -> Option<&Taken> {
        self.seats.get(seat)?.taken.as_ref()
    }

    /// Wakes the task of the connection in a seat, when that has said how ([`Seat::wake_with`]).
    pub fn wake(&self, seat: usize) {
        if let Some(Taken { waker: Some(waker), .. }) = self.taken_at(seat) {
            waker.wake_by_ref();
        }
    }

    /// Takes note that the connection in a seat has something to read, or, when it is `ending`, will have
    /// for good; and wakes its task.
    pub fn note_arrival(&mut self, seat: usize, ending: bool) {
        if let Some(taken) = self.seats.get_mut(seat).and_then(|place| place.taken.as_mut()) {
            taken.arrived = true;
            taken.ending |= ending;
            self.wake(seat);
        }
    }

    /// Seats there are, taken and free.
    pub fn all(&self) -> usize {
        self.seats.len()
    }

    /// Shuts down every connection whose deadline has passed; how many. Looks at each about as often as its
    /// deadline passes, not at all of them.
    pub fn clear(&mut self, now: Seconds) -> usize {
        let mut late = 0;
        while let Some(entry) = self.due.first_entry().filter(|entry| *entry.key() < now) {
            let (listed, seats) = entry.remove_entry();
            for seat in seats {
                let place = &mut self.seats[seat];
                if place.listed != Some(listed) {
                    // Listed again, for sooner.
                    continue;
                }
                place.listed = None;
                let Some(taken) = &mut place.taken else { continue };
                if taken.deadline < now {
                    taken.connection.shut_down();
                    // Its task frees the seat when it sees the end.
                    late += 1;
                } else {
                    self.list(seat);
                }
            }
        }
        late
    }

    /// Lists a seat by its deadline, unless it is looked at before that anyway.
    fn list(&mut self, seat: usize) {
        let place = &mut self.seats[seat];
        let Some(Taken { deadline, .. }) = place.taken else { return };
        if place.listed.is_none_or(|listed| listed > deadline) {
            place.listed = Some(deadline);
            self.due.entry(deadline).or_default().push(seat);
        }
    }
}

impl Seat {
    /// Takes a seat for a connection; `None` when all are taken.
    pub fn take(seats: &Rc<RefCell<Seats>>, connection: Lent, deadline: Seconds) -> Option<Self> {
        let mut all = seats.borrow_mut();
        let number = match all.free.pop() {
            Some(number) => number,
            None if all.seats.len() < all.seats_max => {
                all.seats.push(Place::default());
                all.seats.len() - 1
            }
            None => return None,
        };
        all.seats[number].taken =
            Some(Taken { connection, deadline, waker: None, arrived: false, ending: false });
        all.list(number);
        Some(Self { number, seats: seats.clone() })
    }

    /// Its number among the seats.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Gives the connection time until `deadline`.
    pub fn extend(&self, deadline: Seconds) {
        let mut all = self.seats.borrow_mut();
        if let Some(taken) = &mut all.seats[self.number].taken {
            taken.deadline = deadline;
            all.list(self.number);
        }
    }

    /// Whether something arrived since this was asked the last time. True for good when the connection is
    /// ending.
    pub fn take_arrival(&self) -> bool {
        let taken = &mut self.seats.borrow_mut().seats[self.number].taken;
        taken.as_mut().is_some_and(|taken| std::mem::take(&mut taken.arrived) || taken.ending)
    }

    /// Takes note that there is more to read.
    pub fn note_arrival(&self) {
        self.seats.borrow_mut().note_arrival(self.number, false);
    }

    /// Says how the connection's task is woken. The first answer stays: a task keeps its waker.
    pub fn wake_with(&self, waker: &Waker) {
        if let Some(taken) = &mut self.seats.borrow_mut().seats[self.number].taken {
            taken.waker.get_or_insert_with(|| waker.clone());
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = self.seats.borrow_mut();
        all.seats[self.number].taken = None;
        all.free.push(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

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
        let take = |socket: &TcpStream| {
            // SAFETY: the sockets are closed at the end of the test, after the seats.
            let lent = unsafe { Lent::new(socket.as_fd()) };
            Seat::take(&seats, lent, Seconds(10))
        };
        let _slow_seat = take(&slow_here).unwrap();
        let quick_seat = take(&quick_here).unwrap();
        assert!(take(&quick_here).is_none(), "two at most");
        quick_seat.extend(Seconds(20));
        assert_eq!(seats.borrow_mut().clear(Seconds(11)), 1);
        assert_eq!(slow.read(&mut [0; 1]).unwrap(), 0, "the slow one sees the end");
        quick.set_nonblocking(true).unwrap();
        assert!((&quick).read(&mut [0; 1]).is_err(), "the quick one is still waiting");
        drop(quick_seat);
        assert_eq!(seats.borrow().taken(), 1);
    }

    #[test]
    fn whoever_is_late_is_found_however_deadlines_moved() {
        let mut random = fastrand::Rng::with_seed(4);
        let seats = Seats::new(300);
        // It is not connected, and cannot be shut down.
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let take = |deadline| {
            // SAFETY: the socket is closed at the end of the test, after the seats.
            let lent = unsafe { Lent::new(socket.as_fd()) };
            Seat::take(&seats, lent, deadline)
        };
        let mut sitting: Vec<(Seat, Seconds, bool)> = Vec::new();
        for now in 0..3000 {
            let now = Seconds(now);
            for _ in 0..20 {
                let deadline = now + Seconds(random.u32(..60));
                match random.u8(..4) {
                    0 => sitting.extend(take(deadline).map(|seat| (seat, deadline, false))),
                    1 if !sitting.is_empty() => {
                        drop(sitting.swap_remove(random.usize(..sitting.len())));
                    }
                    _ if !sitting.is_empty() => {
                        let at = random.usize(..sitting.len());
                        let (seat, until, late) = &mut sitting[at];
                        seat.extend(deadline);
                        (*until, *late) = (deadline, false);
                    }
                    _ => {}
                }
            }
            let mut expected = 0;
            for (_, until, late) in &mut sitting {
                if *until < now && !*late {
                    (*late, expected) = (true, expected + 1);
                }
            }
            assert_eq!(seats.borrow_mut().clear(now), expected, "{now:?}");
        }
        let listed: usize = seats.borrow().due.values().map(Vec::len).sum();
        assert!(listed < 3000, "{listed} are listed");
    }
}
