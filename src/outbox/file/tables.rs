//! The tables of a store, by name, for whoever goes through all of them.

use redb::{Key, ReadOnlyTable, ReadTransaction, TableDefinition, TableError, Value};

use super::super::{
    error::StoreError,
    record::{Head, Row, decode_delivery, decode_head, decode_row, delivery_bytes},
    schema::{HISTORY, PENDING, row_key, row_slot},
};
use crate::model::delivery::{Delivery, DeliveryKey};

/// A table, if it is there: some are made with their first row.
pub(super) fn open<K: Key + 'static, V: Value + 'static>(
    txn: &ReadTransaction,
    table: TableDefinition<K, V>,
) -> Result<Option<ReadOnlyTable<K, V>>, StoreError> {
    match txn.open_table(table) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The two tables of deliveries.
pub(super) struct Deliveries {
    pub(super) pending: ReadOnlyTable<u64, &'static [u8]>,
    pub(super) history: ReadOnlyTable<u64, &'static [u8]>,
}

impl Deliveries {
    pub(super) fn open(txn: &ReadTransaction) -> Result<Self, StoreError> {
        Ok(Self { pending: txn.open_table(PENDING)?, history: txn.open_table(HISTORY)? })
    }

    /// A delivery with its row's head, if both are there and can be read.
    pub(super) fn get(&self, key: DeliveryKey) -> Result<Option<(Head, Delivery)>, StoreError> {
        let place = row_key(key);
        let index = usize::from(key.slot - row_slot(place));
        let row = match self.pending.get(place)? {
            Some(row) => Some(row),
            None => self.history.get(place)?,
        };
        Ok(row.and_then(|row| {
            let row = row.value();
            decode_head(row).zip(delivery_bytes(row, index).and_then(decode_delivery))
        }))
    }
}

/// A row of one of them.
pub(super) fn decode(row: &[u8]) -> Option<Row> {
    decode_row(row)
}
