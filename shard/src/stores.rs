//! The memory that the swarms of a shard share.

use crate::crowd::Crowd;
use crate::hash::Keys;
use crate::peer::{Peer, V4, V6};
use crate::pool::Pool;
use crate::tags::TagWord;

/// The memory that swarms share.
#[derive(Debug)]
pub(crate) struct Pools {
    pub(crate) keys: Keys,
    pub(crate) v4: Pool<Peer<V4>>,
    pub(crate) v6: Pool<Peer<V6>>,
    pub(crate) tags: Pool<TagWord>,
}

/// The pools, and the crowds by number.
#[derive(Debug)]
pub(crate) struct Stores {
    pub(crate) pools: Pools,
    crowds: Vec<Option<Box<Crowd>>>,
    free: Vec<u32>,
    /// Crowds of swarms that were removed; their memory is given back little by little.
    dead: Vec<Crowd>,
}

impl Stores {
    pub(crate) fn new(keys: Keys) -> Self {
        let pools = Pools { keys, v4: Pool::new(), v6: Pool::new(), tags: Pool::new() };
        Self { pools, crowds: Vec::new(), free: Vec::new(), dead: Vec::new() }
    }

    #[inline]
    pub(crate) fn crowd(&self, number: u32) -> &Crowd {
        self.crowds[number as usize].as_deref().expect("a swarm's crowd is there while it is")
    }

    #[inline]
    pub(crate) fn crowd_mut(&mut self, number: u32) -> (&mut Crowd, &mut Pools) {
        let crowd = self.crowds[number as usize].as_deref_mut();
        (crowd.expect("a swarm's crowd is there while it is"), &mut self.pools)
    }

    pub(crate) fn add_crowd(&mut self, crowd: Crowd) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.crowds.push(None);
            u32::try_from(self.crowds.len() - 1).expect("fewer crowds than swarms")
        });
        self.crowds[number as usize] = Some(Box::new(crowd));
        number
    }

    pub(crate) fn take_crowd(&mut self, number: u32) -> Crowd {
        self.free.push(number);
        *self.crowds[number as usize].take().expect("a swarm's crowd is there while it is")
    }

    /// Takes the crowd of a removed swarm; [`Stores::bury`] gives its memory back.
    pub(crate) fn retire(&mut self, crowd: Crowd) {
        self.dead.push(crowd);
    }

    /// Gives back the memory of removed crowds, at most `buckets` buckets of it; how many it was.
    pub(crate) fn bury(&mut self, buckets: usize) -> usize {
        let mut buried = 0;
        while buried < buckets
            && let Some(crowd) = self.dead.last_mut()
        {
            if crowd.bury_bucket(&mut self.pools) {
                buried += 1;
            } else {
                self.dead.pop();
            }
        }
        buried
    }
}
