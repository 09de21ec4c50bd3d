//! The stored side of the API's keys: numbers that are never given twice, and what each key is known by.
//!
//! All rows are in the writer's memory besides ([`Keys`]). A change is one commit, like one of endpoints; when a key was last
//! used is written with whatever else there is to write. A key that is revoked leaves nothing, but for the one with the
//! greatest number: its row stays, empty, until another is behind it.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable as _, TableError};

use super::{
    error::StoreError,
    record::{decode_key, encode_key},
    schema::{KEYS, Tables},
    tenants::Tenants,
};
use crate::model::{
    account::AccountName,
    bearer::{KeyNumber, StoredKey},
    time::Timestamp,
};

/// What is to become of a key.
#[derive(Clone, Debug)]
pub enum KeyChange {
    /// It is made.
    Make {
        /// What is kept of it.
        key: Box<StoredKey>,
        /// So many can there be, with this one.
        most: usize,
        /// Whether its account is none of the configuration's: then it must be there as one made over the API, at the moment
        /// of the commit.
        of_tenant: bool,
    },
    /// It lets nobody in any more, for good.
    Revoke {
        /// Which.
        number: KeyNumber,
    },
}

/// What came of a [`KeyChange`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChanged {
    /// It is on disk.
    Done(KeyNumber),
    /// There are as many as there may be: nothing was written.
    Full,
    /// There is none that this could be done to: nothing was written.
    Missing,
    /// There is no account any more that it could be for: nothing was written.
    NoAccount,
}

/// All keys, as they are.
#[derive(Debug, Default)]
pub(super) struct Keys {
    all: BTreeMap<KeyNumber, StoredKey>,
    /// The greatest number that was ever given.
    last: u32,
}

impl Keys {
    /// Reads all of them.
    pub(super) fn read(txn: &ReadTransaction) -> Result<Self, StoreError> {
        let mut keys = Self::default();
        let table = match txn.open_table(KEYS) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(keys),
            Err(error) => return Err(error.into()),
        };
        for entry in table.iter()? {
            let (number, row) = entry?;
            let number = number.value();
            let missing = StoreError::Row { table: "keys", key: u64::from(number) };
            if let Some(key) = decode_key(row.value()).ok_or(missing)? {
                keys.all.insert(KeyNumber::new(number), key);
            }
            keys.last = number;
        }
        Ok(keys)
    }

    /// All of them, by number.
    pub(super) fn into_all(self) -> BTreeMap<KeyNumber, StoredKey> {
        self.all
    }

    /// How many are for this account alone.
    pub(super) fn of(&self, account: &AccountName) -> u64 {
        let is_its = |key: &&StoredKey| key.role.account() == Some(account);
        u64::try_from(self.all.values().filter(is_its).count()).unwrap_or(u64::MAX)
    }

    /// Writes a change into the transaction, where these accounts were made over the API.
    pub(super) fn change(
        &mut self,
        change: KeyChange,
        tenants: &Tenants,
        tables: &mut Tables<'_>,
    ) -> Result<KeyChanged, StoreError> {
        match change {
            KeyChange::Make { most, .. } if self.all.len() >= most => Ok(KeyChanged::Full),
            KeyChange::Make { key, of_tenant: true, .. }
                if key.role.account().is_some_and(|account| !tenants.has(account)) =>
            {
                Ok(KeyChanged::NoAccount)
            }
            KeyChange::Make { key, .. } => {
                let spent = StoreError::Row { table: "keys", key: u64::from(self.last) };
                let number = self.last.checked_add(1).ok_or(spent)?;
                tables.keys()?.insert(number, encode_key(Some(&key)).as_slice())?;
                if self.last > 0 && !self.all.contains_key(&KeyNumber::new(self.last)) {
                    tables.keys()?.remove(self.last)?;
                }
                self.last = number;
                let number = KeyNumber::new(number);
                self.all.insert(number, *key);
                Ok(KeyChanged::Done(number))
            }
            KeyChange::Revoke { number } => {
                if self.all.remove(&number).is_none() {
                    return Ok(KeyChanged::Missing);
                }
                if number.get() == self.last {
                    tables.keys()?.insert(number.get(), encode_key(None).as_slice())?;
                } else {
                    tables.keys()?.remove(number.get())?;
                }
                Ok(KeyChanged::Done(number))
            }
        }
    }

    /// Notes when keys were last used; of one that has been revoked meanwhile nothing is to be noted.
    pub(super) fn used(
        &mut self,
        used: &[(KeyNumber, Timestamp)],
        tables: &mut Tables<'_>,
    ) -> Result<(), StoreError> {
        for (number, at) in used {
            if let Some(key) = self.all.get_mut(number) {
                key.last_used_at = key.last_used_at.max(Some(*at));
                tables.keys()?.insert(number.get(), encode_key(Some(key)).as_slice())?;
            }
        }
        Ok(())
    }
}
