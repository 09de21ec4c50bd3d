//! What the store promises of the origins of callbacks.

use std::time::Duration;

use super::Model;
use crate::{
    model::{
        account::AccountName,
        endpoint::{DisableReason, Disabled, Endpoint, EndpointNumber, Source},
        event::NewEvent,
        time::Timestamp,
    },
    outbox::{Callback, Entry},
};

/// So many origins an account may have in these tests.
pub(super) const MOST: u64 = 4;

#[derive(Clone, Debug, Default)]
pub(in super::super) struct Origins {
    /// Those with nothing pending, the one that has had nothing for the longest first.
    idle: Vec<EndpointNumber>,
    /// All that was pending at the start is counted.
    pub(in super::super) whole: bool,
    /// A new origin has come since.
    counted: bool,
    /// No number up to this one is given again.
    greatest: u32,
    /// How many have been made, forgotten, and found no place.
    pub(in super::super) tally: [u64; 3],
}

impl Model {
    /// The store is opened again.
    pub(in super::super) fn restart(&mut self, whole: bool) {
        (self.origins.whole, self.origins.counted) = (whole, false);
        self.origins.idle.clear();
    }

    /// Those of an account, or all that are idle with `None`.
    fn origins_of(&self, account: &AccountName) -> Vec<EndpointNumber> {
        let of = |(_, one): &(&EndpointNumber, &Endpoint)| one.origin().is_some() && one.account == *account;
        self.endpoints.iter().filter(of).map(|(number, _)| *number).collect()
    }

    /// The number of a callback's origin.
    pub(super) fn origin(
        &mut self,
        account: &AccountName,
        callback: &Callback,
        at: Timestamp,
    ) -> EndpointNumber {
        let all = self.origins_of(account);
        let known =
            all.iter().find(|number| self.endpoints[number].origin() == Some(callback.origin.as_ref()));
        if let Some(number) = known {
            self.origins.idle.retain(|idle| idle != number);
            return *number;
        }
        if self.origins.whole && !self.origins.counted {
            self.origins.counted = true;
            let rests = |number: &EndpointNumber| self.depths.get(number).copied().unwrap_or(0) == 0;
            let origins = self.endpoints.iter().filter(|(_, one)| one.origin().is_some());
            self.origins.idle = origins.map(|(number, _)| *number).filter(rests).collect();
        }
        let mut idle = self.origins.idle.clone();
        idle.retain(|number| all.contains(number));
        if self.origins.counted && all.len() as u64 >= callback.most && idle.is_empty() {
            self.origins.tally[2] += 1;
            return EndpointNumber::NONE;
        }
        let number = self.next_endpoint();
        assert!(number.get() > self.origins.greatest, "no number is given twice");
        self.origins.greatest = number.get();
        let unavailable = callback.unavailable.map(|reason| Disabled { reason, since: at });
        let source = Source::Callback { origin: callback.origin.clone() };
        let made = super::endpoints::made(account, source, Some(callback.lasting), at);
        self.endpoints.insert(number, Endpoint { unavailable, ..made });
        self.origins.tally[0] += 1;
        let over = (all.len() as u64 + 1).saturating_sub(callback.most).min(2);
        for gone in idle.into_iter().take(usize::try_from(over).expect("two at most")) {
            self.endpoints.remove(&gone);
            self.origins.idle.retain(|idle| *idle != gone);
            self.origins.tally[1] += 1;
            let pending = self.deliveries.values().any(|one| super::is_pending(one) && one.endpoint == gone);
            assert!(!pending, "nothing that is pending loses its origin");
        }
        number
    }

    /// Nothing is pending for an endpoint any more.
    pub(super) fn rests(&mut self, number: EndpointNumber) {
        if self.origins.counted && self.endpoints[&number].origin().is_some() {
            self.origins.idle.retain(|idle| *idle != number);
            self.origins.idle.push(number);
        }
    }
}

/// A callback for one of some events, whose URL it says; of few origins, so that some come again.
pub(in super::super) fn random_callback(
    event: &mut NewEvent,
    now: Timestamp,
    random: &mut fastrand::Rng,
) -> Option<Callback> {
    if random.u8(..3) > 0 {
        return None;
    }
    let origin = format!("https://{}.example", random.u8(..12));
    event.url = Some(format!("{origin}/{}", random.u8(..2)).into());
    let due = now.plus(Duration::from_millis(random.u64(..10_000)));
    let entries = [Entry::Never, Entry::AtOnce, Entry::WhenDue];
    Some(Callback {
        origin: origin.into(),
        due,
        entry: entries[usize::try_from(due.as_millis() % 3).expect("one of three")],
        lasting: super::endpoints::lasting(random.u64(..3)),
        unavailable: (random.u8(..8) == 0).then_some(DisableReason::NoCredential),
        most: MOST,
    })
}
