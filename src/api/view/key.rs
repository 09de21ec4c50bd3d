//! What the API shows of its keys.

use serde::{Deserialize, Serialize};

use super::ShownSecret;
use crate::model::{account::AccountName, id::KeyId, time::Timestamp};

/// A key, without what it takes to be let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Its id.
    pub id: KeyId,
    /// `producer`, `subscriber` or `operator`.
    pub role: String,
    /// The only account that its holder may touch; `null`: any.
    pub account: Option<AccountName>,
    /// A note for people.
    pub name: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it lets nobody in; `null`: never.
    pub expires_at: Option<Timestamp>,
    /// Its time is over.
    pub expired: bool,
    /// When it was last used; `null`: never. After a crash it may be up to a minute behind.
    pub last_used_at: Option<Timestamp>,
}

/// `POST /v1/keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeKey {
    /// What there is to see of it later.
    #[serde(flatten)]
    pub view: KeyView,
    /// The key itself, which is never shown again.
    pub key: ShownSecret,
}

/// `DELETE /v1/keys/{id}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedKey {
    /// The key, which lets nobody in any more.
    pub id: KeyId,
}
