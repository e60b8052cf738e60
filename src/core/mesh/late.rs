//! A value that one task of a core waits for and another brings.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Empty until [`Late::bring`]; for one waiting task.
#[derive(Debug)]
pub struct Late<T> {
    state: RefCell<(Option<T>, Option<Waker>)>,
}

impl<T> Late<T> {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { state: RefCell::new((None, None)) }
    }

    /// Brings the value and wakes the task that waits for it.
    pub fn bring(&self, value: T) {
        let waker = {
            let mut state = self.state.borrow_mut();
            state.0 = Some(value);
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for the value.
    pub async fn wait(&self) -> T {
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            match state.0.take() {
                Some(value) => Poll::Ready(value),
                None => {
                    state.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl<T> Default for Late<T> {
    fn default() -> Self {
        Self::new()
    }
}
