//! Secrets: wiped from memory when dropped, never shown; and how long one of several signs.

use std::fmt;

use zeroize::Zeroizing;

use super::time::Timestamp;

/// A signing secret or a header's value that nobody may see. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a secret over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself, to sign or send with.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One of an endpoint's secrets. They stand newest first; the newest has no end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatedSecret {
    /// The secret.
    pub secret: Secret,
    /// When it was made; [`Timestamp::EPOCH`] where nobody said.
    pub made_at: Timestamp,
    /// From when on it does not sign any more: another took its place.
    pub until: Option<Timestamp>,
}

impl DatedSecret {
    /// An endpoint has at most so many at once: each is a signature in every request.
    pub const MOST: usize = 10;

    /// One without an end that somebody wrote down, such as the configuration's.
    pub const fn lasting(secret: Secret) -> Self {
        Self { secret, made_at: Timestamp::EPOCH, until: None }
    }

    /// Whether its time is over at `at`.
    pub fn is_over(&self, at: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= at)
    }
}
