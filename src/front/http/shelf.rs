//! The full scrape as a core hands it out: the newest edition, to a few readers at a time.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::core::NotLent;
use crate::core::mesh::edition::{Body, Edition};
use crate::wire::http::Coding;

/// Readers that one core serves at once; further ones are asked to come back in a minute.
pub const READERS_MAX: usize = 8;

/// The newest edition, and how many read it or one before it.
#[derive(Debug, Default)]
pub struct Shelf {
    newest: Option<Arc<Edition>>,
    readers: Rc<Cell<usize>>,
}

/// An edition in the hands of a reader; dropping it makes room for the next reader.
#[derive(Debug)]
pub struct Loan {
    edition: Arc<Edition>,
    packed: bool,
    readers: Rc<Cell<usize>>,
}

impl Shelf {
    /// Replaces the newest edition. Those who read an older one read on.
    pub fn put(&mut self, edition: Arc<Edition>) {
        self.newest = Some(edition);
    }

    /// The newest edition, for one more reader, who may want it `packed`.
    pub fn lend(&self, packed: bool) -> Result<Loan, NotLent> {
        let edition = self.newest.clone().ok_or(NotLent::NotMade)?;
        if self.readers.get() >= READERS_MAX {
            return Err(NotLent::ReadersMax);
        }
        self.readers.set(self.readers.get() + 1);
        Ok(Loan { edition, packed, readers: self.readers.clone() })
    }
}

impl Loan {
    /// The body that is read.
    pub fn body(&self) -> &Body {
        self.edition.body(self.packed)
    }

    /// How its bytes are to be understood.
    pub fn coding(&self) -> Coding {
        if self.packed { Coding::Gzip } else { Coding::Identity }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.readers.set(self.readers.get() - 1);
    }
}
