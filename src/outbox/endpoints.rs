//! The stored side of endpoints: numbers that stay, whatever becomes of the configuration.

use std::{collections::HashMap, time::Duration};

use redb::ReadableTable;

use super::{
    error::StoreError,
    record::{decode_endpoint, encode_endpoint},
    schema::Tables,
};
use crate::model::{
    account::AccountName,
    endpoint::{DisableReason, Disabled, Endpoint, EndpointNumber},
    time::Timestamp,
};

/// An endpoint as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// Whose it is.
    pub account: AccountName,
    /// With the account, its identity.
    pub name: String,
    /// Why it cannot be used now, if so.
    pub disabled: Option<DisableReason>,
    /// The `expire` of its profile: kept, because it holds on when the endpoint has disappeared.
    pub expire: Duration,
}

/// Makes the stored endpoints agree with the configuration (each name once): new ones get a number, those that disappeared are
/// disabled (`not_configured`) and keep the `expire` that they had, those that came back are enabled, with a count of
/// failures of 0. Returns all, by number.
pub(super) fn reconcile(
    wanted: &[Configured],
    at: Timestamp,
    tables: &mut Tables<'_>,
) -> Result<Vec<(EndpointNumber, Endpoint)>, StoreError> {
    let mut stored = read_all(tables)?;
    let places = wanted.iter().enumerate();
    let places: HashMap<_, _> =
        places.map(|(at, one)| ((one.account.as_str(), one.name.as_str()), at)).collect();
    let mut is_new = vec![true; wanted.len()];
    for (number, endpoint) in &mut stored {
        let before = endpoint.clone();
        let reason = match places.get(&(endpoint.account.as_str(), endpoint.name.as_str())) {
            Some(place) => {
                is_new[*place] = false;
                endpoint.expire_ms = Some(millis(wanted[*place].expire));
                wanted[*place].disabled
            }
            None => Some(DisableReason::NotConfigured),
        };
        if endpoint.disabled.map(|disabled| disabled.reason) != reason {
            endpoint.disabled = reason.map(|reason| Disabled { reason, since: at });
            if reason.is_none() {
                endpoint.consecutive_failures = 0;
            }
        }
        if *endpoint != before {
            tables.endpoints()?.insert(number.get(), encode_endpoint(endpoint).as_slice())?;
        }
    }
    for (new, _) in wanted.iter().zip(is_new).filter(|(_, is_new)| *is_new) {
        let number = EndpointNumber::new(stored.last().map_or(0, |(number, _)| number.get()) + 1);
        let endpoint = Endpoint {
            account: new.account.clone(),
            name: new.name.clone(),
            created_at: at,
            disabled: new.disabled.map(|reason| Disabled { reason, since: at }),
            consecutive_failures: 0,
            expire_ms: Some(millis(new.expire)),
        };
        tables.endpoints()?.insert(number.get(), encode_endpoint(&endpoint).as_slice())?;
        stored.push((number, endpoint));
    }
    Ok(stored)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn read_all(tables: &mut Tables<'_>) -> Result<Vec<(EndpointNumber, Endpoint)>, StoreError> {
    let endpoints = tables.endpoints()?;
    let mut all = Vec::new();
    for entry in endpoints.iter()? {
        let (number, row) = entry?;
        let number = number.value();
        let endpoint = decode_endpoint(row.value())
            .ok_or(StoreError::Row { table: "endpoints", key: u64::from(number) })?;
        all.push((EndpointNumber::new(number), endpoint));
    }
    Ok(all)
}
