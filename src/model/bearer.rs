//! The keys of the API: what the store keeps of one. The key itself is shown once and kept nowhere.

use std::fmt;

use super::{role::Role, time::Timestamp};

/// A key's number in the store, from 1, never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyNumber(u32);

impl KeyNumber {
    /// A key's number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// The SHA-256 of a key's secret. The secret is 32 random bytes: nobody finds it by trying, so nothing slower is needed to
/// keep it from those who read the store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(pub [u8; 32]);

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// What the store keeps of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// What its holder may do, and with whose.
    pub role: Role,
    /// What its secret is known by.
    pub hash: KeyHash,
    /// A note for people.
    pub name: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it lets nobody in.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to a minute.
    pub last_used_at: Option<Timestamp>,
}

impl StoredKey {
    /// Whether its time is over at `at`.
    pub fn is_over(&self, at: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires| expires <= at)
    }
}
