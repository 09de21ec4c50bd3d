//! The stored side of accounts that were made over the API: a row for each, `accounts`, by its name.
//!
//! A change is one commit, with what it makes of the account's endpoints and origins. Nothing is in it of the configuration's
//! accounts.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable, TableError};

use super::{
    endpoints::{Judged, judge},
    error::StoreError,
    record::{decode_tenant, encode_tenant},
    schema::{ACCOUNTS, Tables},
    store::State,
};
use crate::model::{
    account::AccountName,
    endpoint::{Endpoint, EndpointNumber},
    tenant::Tenant,
    time::Timestamp,
};

/// So many accounts can be made over the API.
pub const MAX_ACCOUNTS: usize = 10_000;
/// Bytes of all their rows.
const MAX_ACCOUNTS_BYTES: usize = 64 << 20;

/// What is to become of an account that was, or is to be, made over the API.
#[derive(Clone, Debug)]
pub enum TenantChange {
    /// It is made, or has other settings.
    Put(Box<Tenant>),
    /// It is deleted, if no endpoint, no key and nothing pending is left of it.
    Delete,
}

/// What came of a [`TenantChange`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantChanged {
    /// It is on disk. All that there are of the account, endpoints and origins.
    Done(Vec<(EndpointNumber, Endpoint)>),
    /// There are as many accounts as there may be, or their rows are too large together: nothing was written.
    Full,
    /// It has these, and cannot be deleted: nothing was written.
    InUse {
        /// Endpoints that were made over the API.
        endpoints: u64,
        /// Pending deliveries.
        pending: u64,
        /// Keys that are for it alone.
        keys: u64,
    },
    /// What is pending is not counted yet: nothing was written.
    Counting,
}

/// How large each account's row is.
#[derive(Debug, Default)]
pub(super) struct Tenants(BTreeMap<AccountName, usize>);

impl Tenants {
    pub(super) fn read(txn: &ReadTransaction) -> Result<Self, StoreError> {
        let rows = read_rows(txn, |row| Some(row.len()))?;
        Ok(Self(rows.into_iter().collect()))
    }

    /// Whether there is such an account.
    pub(super) fn has(&self, name: &AccountName) -> bool {
        self.0.contains_key(name)
    }

    fn has_room(&self, name: &AccountName, bytes: usize) -> bool {
        let others = || self.0.iter().filter(|(other, _)| *other != name);
        others().count() < MAX_ACCOUNTS
            && others().map(|(_, bytes)| bytes).sum::<usize>() + bytes <= MAX_ACCOUNTS_BYTES
    }
}

/// All accounts that were made over the API.
pub(super) fn read_all(txn: &ReadTransaction) -> Result<Vec<(AccountName, Tenant)>, StoreError> {
    read_rows(txn, decode_tenant)
}

fn read_rows<T>(
    txn: &ReadTransaction,
    decode: impl Fn(&[u8]) -> Option<T>,
) -> Result<Vec<(AccountName, T)>, StoreError> {
    let table = match txn.open_table(ACCOUNTS) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut all = Vec::new();
    for (index, entry) in table.iter()?.enumerate() {
        let (name, row) = entry?;
        let missing = || StoreError::Row { table: "accounts", key: u64::try_from(index).unwrap_or(u64::MAX) };
        let name = name.value().parse().map_err(|_| missing())?;
        all.push((name, decode(row.value()).ok_or_else(missing)?));
    }
    Ok(all)
}

/// Writes a change of the account `name` into the transaction, and how its endpoints and origins are `judged` under it.
pub(super) fn change(
    (name, change): (AccountName, TenantChange),
    judged: &[Judged],
    at: Timestamp,
    state: &mut State,
    tables: &mut Tables<'_>,
) -> Result<TenantChanged, StoreError> {
    match change {
        TenantChange::Put(tenant) => {
            let row = encode_tenant(&tenant);
            if !state.tenants.has_room(&name, row.len()) {
                return Ok(TenantChanged::Full);
            }
            tables.accounts()?.insert(name.as_str(), row.as_slice())?;
            state.tenants.0.insert(name.clone(), row.len());
        }
        TenantChange::Delete => {
            if let Some(not) = in_use(&name, state) {
                return Ok(not);
            }
            tables.accounts()?.remove(name.as_str())?;
            state.tenants.0.remove(&name);
        }
    }
    judge(judged, at, &mut state.endpoints, tables)?;
    let of_it = state.endpoints.all.iter().filter(|(_, endpoint)| endpoint.account == name);
    Ok(TenantChanged::Done(of_it.map(|(number, endpoint)| (*number, endpoint.clone())).collect()))
}

fn in_use(name: &AccountName, state: &State) -> Option<TenantChanged> {
    if !state.depths.are_whole() {
        return Some(TenantChanged::Counting);
    }
    let (mut endpoints, mut pending) = (0, 0);
    for (number, endpoint) in state.endpoints.all.iter().filter(|(_, one)| one.account == *name) {
        endpoints += u64::from(endpoint.own().is_some());
        pending += state.depths.of(*number);
    }
    // Whoever makes an account of this name anew does not know of them.
    let keys = state.keys.of(name);
    (endpoints + pending + keys > 0).then_some(TenantChanged::InUse { endpoints, pending, keys })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many() {
        let name = |number: usize| -> AccountName { format!("a{number}").parse().expect("a name") };
        let of =
            |count: usize, bytes: usize| Tenants((0..count).map(|number| (name(number), bytes)).collect());
        assert!(of(MAX_ACCOUNTS - 1, 1).has_room(&name(MAX_ACCOUNTS), 1));
        assert!(!of(MAX_ACCOUNTS, 1).has_room(&name(MAX_ACCOUNTS), 1), "one too many");
        assert!(of(MAX_ACCOUNTS, 1).has_room(&name(3), 1), "it is there already");
        let half = MAX_ACCOUNTS_BYTES / 2;
        assert!(of(1, half).has_room(&name(1), half) && !of(1, half).has_room(&name(1), half + 1));
        assert!(of(2, half).has_room(&name(1), half));
    }
}
