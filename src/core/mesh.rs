//! The way from core to core: one bounded inbox a core, and a bell beside it.
//!
//! A message is a request on its way to the core that owns its infohash, a part of a scrape, or a
//! command from the control side. Sending never waits: a full inbox hands the message back, and the
//! sender answers as cheaply as the protocol allows (UDP: silence; HTTP: a failure that asks the
//! client to come back) and counts it.

pub mod ask;
pub mod barrier;
pub mod edition;
pub mod gather;
pub mod late;
pub mod message;
pub mod succession;
pub mod told;
pub mod tracer;
pub mod unheard;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use atomic_waker::AtomicWaker;
use crossbeam_channel::{Receiver, Sender, TrySendError};

/// Messages that wait for one core at most. At 100,000 requests a second that is 40 ms of work.
pub const INBOX_MESSAGES_MAX: usize = 4096;

/// Wakes a core that sleeps; ringing at one that is awake costs one load.
#[derive(Debug, Default)]
struct Bell {
    asleep: AtomicBool,
    waker: AtomicWaker,
    /// The inbox is gone: nobody takes anything out of it any more.
    ended: AtomicBool,
}

impl Bell {
    fn ring(&self) {
        // Pairs with the fence in `Inbox::wait`: either this load sees a sleeper, or the sleeper's
        // last look at its channel sees the message.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            self.waker.wake();
        }
    }
}

/// Where messages for one core are put.
#[derive(Debug)]
pub struct Address<M> {
    sender: Sender<M>,
    bell: Arc<Bell>,
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), bell: self.bell.clone() }
    }
}

impl<M> Address<M> {
    /// Puts `message` into the core's inbox and wakes it if it sleeps; hands the message back when
    /// the inbox is full or the core has ended.
    pub fn send(&self, message: M) -> Result<(), M> {
        match self.sender.try_send(message) {
            Ok(()) => {
                self.bell.ring();
                Ok(())
            }
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => Err(message),
        }
    }

    /// True when the core has ended: no message arrives any more.
    pub fn has_ended(&self) -> bool {
        self.bell.ended.load(Ordering::Acquire)
    }

    /// Messages waiting now.
    pub fn depth(&self) -> usize {
        self.sender.len()
    }
}

/// A core's own end.
#[derive(Debug)]
pub struct Inbox<M> {
    receiver: Receiver<M>,
    bell: Arc<Bell>,
}

impl<M> Inbox<M> {
    /// The next message that is there.
    pub fn take(&self) -> Option<M> {
        self.receiver.try_recv().ok()
    }

    /// Returns when a message is there. Polls, says that it sleeps, and polls again, so that no
    /// message comes between the look and the sleep.
    pub async fn wait(&self) {
        poll_fn(|context| {
            if !self.receiver.is_empty() {
                return Poll::Ready(());
            }
            self.bell.waker.register(context.waker());
            self.bell.asleep.store(true, Ordering::Release);
            std::sync::atomic::fence(Ordering::SeqCst);
            if self.receiver.is_empty() {
                return Poll::Pending;
            }
            self.bell.asleep.store(false, Ordering::Release);
            Poll::Ready(())
        })
        .await
    }
}

impl<M> Drop for Inbox<M> {
    fn drop(&mut self) {
        self.bell.ended.store(true, Ordering::Release);
    }
}

/// An inbox for each of `cores` cores, and the addresses that everybody gets a copy of.
pub fn inboxes<M>(cores: usize) -> (Vec<Address<M>>, Vec<Inbox<M>>) {
    (0..cores)
        .map(|_| {
            let (sender, receiver) = crossbeam_channel::bounded(INBOX_MESSAGES_MAX);
            let bell = Arc::new(Bell::default());
            (Address { sender, bell: bell.clone() }, Inbox { receiver, bell })
        })
        .unzip()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use futures_lite::future::block_on;

    use super::*;

    #[test]
    fn no_message_is_slept_through() {
        let (mut addresses, mut inboxes) = inboxes::<u32>(1);
        let (address, inbox) = (addresses.remove(0), inboxes.remove(0));
        let sender = thread::spawn(move || {
            for number in 0..20_000 {
                let mut message = number;
                while let Err(back) = address.send(message) {
                    message = back;
                    thread::yield_now();
                }
                if number % 7 == 0 {
                    // Now and then the receiver falls asleep.
                    thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while next < 20_000 {
            block_on(inbox.wait());
            while let Some(number) = inbox.take() {
                assert_eq!(number, next);
                next += 1;
            }
        }
        sender.join().unwrap();
    }

    #[test]
    fn a_full_inbox_hands_the_message_back() {
        let (addresses, inboxes) = inboxes::<usize>(2);
        for number in 0..INBOX_MESSAGES_MAX {
            addresses[1].send(number).unwrap();
        }
        assert_eq!(addresses[1].send(7), Err(7));
        assert_eq!(addresses[1].depth(), INBOX_MESSAGES_MAX);
        assert_eq!(inboxes[1].take(), Some(0));
        assert_eq!(inboxes[0].take(), None);
        assert!(!addresses[1].has_ended());
        drop(inboxes);
        assert!(addresses[1].has_ended());
        assert_eq!(addresses[0].send(7), Err(7));
    }
}
