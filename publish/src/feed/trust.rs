//! Which keys a Seeder follows, through a rotation.

use serde::{Deserialize, Serialize};

use super::key::PublicKey;
use super::list::Signed;

/// The keys of one feed that a Seeder trusts: one, and during a rotation the one that is to follow.
///
/// The caller keeps it (serde) beside the rest of what it knows of the feed, and gives it each list that was accepted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrustedKeys {
    configured: PublicKey,
    current: PublicKey,
    #[serde(default)]
    next: Option<PublicKey>,
}

impl TrustedKeys {
    /// Trusts `configured`, the key in the feed's address or configuration, alone.
    pub fn new(configured: PublicKey) -> Self {
        Self { configured, current: configured, next: None }
    }

    /// What was kept is gone on with, unless the operator has configured another key since: that one alone counts then.
    pub fn resume(configured: PublicKey, kept: Option<Self>) -> Self {
        match kept {
            Some(kept) if kept.configured == configured => kept,
            // The operator has written down what a rotation led to.
            Some(kept) if kept.current == configured => Self { configured, ..kept },
            _ => Self::new(configured),
        }
    }

    /// The key in the configuration when this was kept, where a rotation led from it to `configured`.
    pub fn led_to(&self, configured: &PublicKey) -> Option<PublicKey> {
        (self.configured != *configured && self.current == *configured).then_some(self.configured)
    }

    /// The key that signs now, as far as is known here.
    pub fn current(&self) -> PublicKey {
        self.current
    }

    /// Whether a list signed by `key` is followed.
    pub fn trusts(&self, key: &PublicKey) -> bool {
        self.current == *key || self.next == Some(*key)
    }

    /// Learns from a list that was read with these keys and accepted (not replayed). Says whether anything changed, and
    /// has to be kept before the list is acted on.
    ///
    /// A list of the key that was to follow ends the trust in the one before. A list of the current key names the one
    /// to follow, or none: then a rotation that was begun was given up.
    pub fn learn(&mut self, accepted: &Signed) -> bool {
        let before = self.clone();
        if self.trusts(&accepted.key) {
            self.current = accepted.key;
            self.next = accepted.list.next_key.filter(|next| *next != accepted.key);
        }
        *self != before
    }

    /// All of them, as text for a message.
    pub(super) fn text(&self) -> String {
        match self.next {
            Some(next) => format!("{} and {next}", self.current),
            None => self.current.to_string(),
        }
    }
}
