//! What the store promises of parked keys.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    model::{
        delivery::{DeliveryKey, Load, Scheduled},
        endpoint::EndpointNumber,
        time::{Minute, Timestamp},
    },
    outbox::Loaded,
};

/// Where a key is parked; in the order in which they come back.
pub(in crate::outbox::tests) type Place = (EndpointNumber, Minute, DeliveryKey);

/// The parked keys.
#[derive(Clone, Debug, Default)]
pub(in crate::outbox::tests) struct Parked {
    /// Each with its due time.
    pub(in crate::outbox::tests) rows: BTreeMap<Place, Timestamp>,
    /// What was taken out and not parked again.
    pub(in crate::outbox::tests) taken: BTreeSet<Place>,
}

impl Parked {
    /// Returns the lanes of the keys, each with their first minute.
    pub(in crate::outbox::tests) fn park(&mut self, keys: &[Scheduled]) -> Vec<(EndpointNumber, Minute)> {
        for one in keys {
            self.taken.remove(&place(one));
            self.rows.insert(place(one), one.due);
        }
        first_minutes(keys.iter().map(place))
    }

    pub(in crate::outbox::tests) fn load(&mut self, load: Load) -> Loaded {
        let Load { lane, until, limit } = load;
        let own = self.rows.iter().filter(|((of, ..), _)| *of == lane);
        let own: Vec<_> = own.map(|(place, due)| (*place, *due)).collect();
        let count = own.iter().take_while(|((_, minute, _), _)| *minute <= until).count().min(limit);
        for (place, _) in &own[..count] {
            self.rows.remove(place);
            self.taken.insert(*place);
        }
        let found = own[..count].iter().map(|(place, due)| scheduled(*place, *due)).collect();
        Loaded { lane, found, next: own.get(count).map(|((_, minute, _), _)| *minute) }
    }

    /// The lanes that have keys here, each with their first minute.
    pub(in crate::outbox::tests) fn lanes(&self) -> Vec<(EndpointNumber, Minute)> {
        first_minutes(self.rows.keys().copied())
    }

    pub(in crate::outbox::tests) fn has(&self, one: &Scheduled) -> bool {
        self.rows.contains_key(&place(one))
    }
}

fn first_minutes(places: impl Iterator<Item = Place>) -> Vec<(EndpointNumber, Minute)> {
    let mut lanes: BTreeMap<EndpointNumber, Minute> = BTreeMap::new();
    for (lane, minute, _) in places {
        let first = lanes.entry(lane).or_insert(minute);
        *first = minute.min(*first);
    }
    lanes.into_iter().collect()
}

pub(in crate::outbox::tests) fn place(one: &Scheduled) -> Place {
    (one.endpoint, minute(one.due), one.key)
}

pub(in crate::outbox::tests) fn scheduled((endpoint, _, key): Place, due: Timestamp) -> Scheduled {
    Scheduled { key, endpoint, due }
}

/// The minute that a key is parked under: that of the first tick of 10 ms at or after its due time.
pub(in crate::outbox::tests) fn minute(due: Timestamp) -> Minute {
    Timestamp::from_millis(due.as_millis().div_ceil(10) * 10).minute()
}
