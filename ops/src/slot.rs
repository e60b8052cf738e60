//! Where a core leaves its counters for others to read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::counters::Core;

/// Where a core leaves a copy of its counters, about once a second.
#[derive(Debug, Default)]
pub struct Slot(Mutex<Core>, AtomicBool);

impl Slot {
    /// Stores a copy. Never waits: in the rare moment when the copy is being read, this one is left
    /// out, and the next one comes in a second.
    pub fn store(&self, core: &Core) {
        if let Ok(mut slot) = self.0.try_lock() {
            slot.clone_from(core);
        }
    }

    /// The core has ended.
    pub fn end(&self) {
        self.1.store(true, Ordering::Release);
    }

    /// Whether it has.
    pub fn has_ended(&self) -> bool {
        self.1.load(Ordering::Acquire)
    }

    /// The copy stored last.
    pub fn load(&self) -> Core {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
