//! What the store promises of endpoints, and random changes of them.

use std::time::Duration;

use super::Model;
use crate::{
    model::{
        account::AccountName,
        delivery::{CancelReason, Delivery, DeliveryKey, State},
        endpoint::{DisableReason, Disabled, Discard, Endpoint, EndpointNumber, Own, Source},
        event::Seq,
        profile::Lasting,
        secret::{DatedSecret, Secret},
        time::Timestamp,
    },
    outbox::{Change, Changed, Configured, Count, Judged},
};

impl Model {
    pub(in super::super) fn configure(&mut self, wanted: &[Configured], judged: &[Judged], at: Timestamp) {
        for (number, endpoint) in &mut self.endpoints {
            let found = wanted.iter().find(|wanted| is_of(endpoint, wanted));
            let judged = judged.iter().find(|judged| judged.number == *number);
            let reason = match (&mut endpoint.source, found, judged) {
                (Source::Configuration { url, .. }, Some(found), _) => {
                    endpoint.lasting = found.lasting.or(endpoint.lasting);
                    if url.as_ref().is_some_and(|url| *url != found.url) {
                        (endpoint.consecutive_failures, endpoint.updated_at) = (0, at);
                        endpoint.resets = endpoint.resets.wrapping_add(1);
                    }
                    *url = Some(found.url.clone());
                    found.unavailable
                }
                (Source::Configuration { .. }, None, _) => Some(DisableReason::NotConfigured),
                (Source::Api(_) | Source::Callback { .. }, _, Some(judged)) => {
                    endpoint.lasting = judged.lasting.or(endpoint.lasting);
                    judged.unavailable
                }
                (Source::Api(_) | Source::Callback { .. } | Source::Deleted { .. }, ..) => continue,
            };
            if reason == endpoint.unavailable.map(|unavailable| unavailable.reason) {
                continue;
            }
            endpoint.unavailable = reason.map(|reason| Disabled { reason, since: at });
            if reason.is_none() {
                endpoint.consecutive_failures = 0;
                endpoint.resets = endpoint.resets.wrapping_add(1);
            }
        }
        for new in wanted {
            if self.endpoints.values().any(|endpoint| is_of(endpoint, new)) {
                continue;
            }
            let source = Source::Configuration { name: new.name.clone(), url: Some(new.url.clone()) };
            let unavailable = new.unavailable.map(|reason| Disabled { reason, since: at });
            let made = made(&new.account, source, new.lasting, at);
            self.endpoints.insert(self.next_endpoint(), Endpoint { unavailable, ..made });
        }
    }

    /// What an attempt at this endpoint may make of it: it was counted from the endpoint as it is, or as it was.
    pub(in super::super) fn random_count(
        &self,
        number: EndpointNumber,
        at: Timestamp,
        random: &mut fastrand::Rng,
    ) -> Option<Count> {
        // Of one that has been forgotten, by an outcome that comes too late.
        let resets = self.endpoints.get(&number).map_or(0, |endpoint| endpoint.resets);
        random.bool().then(|| random.u32(..9)).map(|consecutive_failures| {
            let (reason, resets) = match consecutive_failures {
                6 => (Some(DisableReason::Failures), resets.wrapping_sub(1)),
                7 => (Some(DisableReason::Gone), resets),
                8 => (Some(DisableReason::Failures), resets),
                _ => (None, resets),
            };
            let disable = reason.map(|reason| Disabled { reason, since: at });
            Count { consecutive_failures, disable, resets }
        })
    }

    /// What an outcome makes of its endpoint, unless that was set to 0 since.
    pub(super) fn count(&mut self, number: EndpointNumber, count: &Count) {
        let endpoint = self.endpoints.get_mut(&number).expect("a known endpoint");
        if endpoint.is_deleted() || count.resets != endpoint.resets {
            return;
        }
        endpoint.consecutive_failures = count.consecutive_failures;
        if let (None, Some(disabled)) = (endpoint.disabled, count.disable) {
            (endpoint.disabled, endpoint.updated_at) = (Some(disabled), disabled.since);
        }
    }

    /// The number that none has yet.
    pub(in super::super) fn next_endpoint(&self) -> EndpointNumber {
        EndpointNumber::new(self.endpoints.keys().last().map_or(1, |number| number.get() + 1))
    }

    pub(in super::super) fn change(&mut self, change: &Change) -> Changed {
        let below = self.last_seq().next();
        let number = match change {
            Change::Make { account, own, lasting, disabled, most, at } => {
                let own_ones = self.endpoints.values().filter(|e| e.own().is_some() && e.account == *account);
                if own_ones.count() as u64 >= *most {
                    return Changed::Full;
                }
                let number = self.next_endpoint();
                let mut endpoint = made(account, Source::Api(own.clone()), Some(*lasting), *at);
                endpoint.disabled = disabled.map(|reason| Disabled { reason, since: *at });
                self.endpoints.insert(number, endpoint);
                number
            }
            Change::Discarded { number, below } => {
                let Some(endpoint) = self.endpoints.get_mut(number) else { return Changed::Missing };
                if endpoint.discard.is_some_and(|discard| discard.below == *below) {
                    endpoint.discard = None;
                }
                *number
            }
            Change::Replace { number, .. }
            | Change::Enable { number, .. }
            | Change::Disable { number, .. }
            | Change::Delete { number, .. } => {
                let endpoint = self.endpoints.get_mut(number);
                let endpoint = endpoint.filter(|one| !one.is_deleted() && one.origin().is_none());
                let Some(endpoint) = endpoint else { return Changed::Missing };
                if let Some(not) = alter(endpoint, change, below) {
                    return not;
                }
                if endpoint.is_deleted() {
                    self.healths.remove(number);
                }
                *number
            }
        };
        let pending = self.depths.get(&number).copied().unwrap_or(0);
        Changed::Done { number, endpoint: Box::new(self.endpoints[&number].clone()), pending }
    }

    /// What becomes of a delivery that would be pending.
    pub(super) fn call_off(&self, key: DeliveryKey, delivery: &mut Delivery) {
        let Some(endpoint) = self.endpoints.get(&delivery.endpoint) else { return };
        let (reason, at) = match (&endpoint.source, endpoint.discard) {
            (Source::Deleted { at }, _) => (CancelReason::EndpointDeleted, *at),
            (_, Some(Discard { below, at })) if key.seq < below => (CancelReason::Discarded, at),
            _ => return,
        };
        (delivery.state, delivery.due) = (State::Cancelled(reason), at);
    }

    /// A change of one of the endpoints, some of which are not there.
    pub(in super::super) fn random_change(&self, random: &mut fastrand::Rng, at: Timestamp) -> Change {
        let number = EndpointNumber::new(random.u32(1..=self.next_endpoint().get()));
        let lasting = lasting(random.u64(..9));
        let reasons = [DisableReason::Operator, DisableReason::Failures, DisableReason::Gone];
        let reason = random.choice(reasons).expect("one of them");
        match random.u8(..12) {
            0..3 => Change::Make {
                account: ["default", "other"][random.usize(..2)].parse().expect("an account"),
                own: Box::new(random_own(random, at)),
                lasting,
                disabled: random.bool().then_some(reason),
                most: random.u64(..5),
                at,
            },
            3..5 => {
                let revision = self.endpoints.get(&number).map_or(0, |endpoint| endpoint.revision);
                let draw = random.u8(..12);
                let revision = revision + u32::from(draw.is_multiple_of(4));
                let enabled = [None, Some(false), Some(true)][usize::from(draw / 4)];
                Change::Replace {
                    number,
                    revision,
                    own: Box::new(random_own(random, at)),
                    enabled,
                    lasting,
                    at,
                }
            }
            5..8 => Change::Enable { number, discard: random.bool(), at },
            8 => Change::Disable { number, reason, at },
            9 => Change::Delete { number, at },
            _ => {
                let discard = self.endpoints.get(&number).and_then(|endpoint| endpoint.discard);
                let below = discard.map_or(Seq::ZERO, |discard| discard.below);
                let below = if random.u8(..4) == 0 { below.next() } else { below };
                Change::Discarded { number, below }
            }
        }
    }
}

/// What changes of one that is there; or why nothing does.
fn alter(endpoint: &mut Endpoint, change: &Change, below: Seq) -> Option<Changed> {
    let is_own = endpoint.own().is_some();
    match change {
        Change::Replace { own, revision, enabled, lasting, at, .. } => {
            if !is_own {
                return Some(Changed::Missing);
            }
            if *revision != endpoint.revision {
                return Some(Changed::Stale);
            }
            let elsewhere = endpoint.own().is_some_and(|before| before.url != own.url);
            if elsewhere || (endpoint.disabled.is_some() && *enabled == Some(true)) {
                endpoint.consecutive_failures = 0;
                endpoint.resets += 1;
            }
            let operator = Disabled { reason: DisableReason::Operator, since: *at };
            endpoint.disabled = match (endpoint.disabled, enabled) {
                (_, Some(true)) => None,
                (before, Some(false)) => {
                    before.filter(|before| before.reason == DisableReason::Operator).or(Some(operator))
                }
                (before, None) => before,
            };
            endpoint.source = Source::Api(own.clone());
            endpoint.lasting = Some(*lasting);
            endpoint.unavailable = None;
            endpoint.revision += 1;
            endpoint.updated_at = *at;
        }
        Change::Enable { discard, at, .. } => {
            (endpoint.disabled, endpoint.consecutive_failures) = (None, 0);
            endpoint.resets += 1;
            endpoint.updated_at = *at;
            if *discard {
                endpoint.discard = Some(Discard { below, at: *at });
            }
        }
        Change::Disable { reason, at, .. } => {
            if endpoint.disabled.map(|disabled| disabled.reason) != Some(*reason) {
                endpoint.disabled = Some(Disabled { reason: *reason, since: *at });
                endpoint.updated_at = *at;
            }
        }
        Change::Delete { at, .. } => {
            if !is_own {
                return Some(Changed::Missing);
            }
            endpoint.source = Source::Deleted { at: *at };
            (endpoint.disabled, endpoint.unavailable) = (None, None);
            endpoint.consecutive_failures = 0;
            endpoint.discard = Some(Discard { below, at: *at });
            endpoint.updated_at = *at;
        }
        Change::Make { .. } | Change::Discarded { .. } => unreachable!("not of one that must be there"),
    }
    None
}

fn is_of(endpoint: &Endpoint, wanted: &Configured) -> bool {
    endpoint.account == wanted.account && endpoint.name() == Some(wanted.name.as_str())
}

pub(super) fn made(
    account: &AccountName,
    source: Source,
    lasting: Option<Lasting>,
    at: Timestamp,
) -> Endpoint {
    Endpoint {
        account: account.clone(),
        source,
        created_at: at,
        updated_at: at,
        revision: 0,
        disabled: None,
        unavailable: None,
        consecutive_failures: 0,
        resets: 0,
        lasting,
        discard: None,
    }
}

/// What a profile says, as the number has it.
pub(in super::super) fn lasting(number: u64) -> Lasting {
    Lasting { expire: Duration::from_millis(number), fifo: number.is_multiple_of(2) }
}

fn random_own(random: &mut fastrand::Rng, at: Timestamp) -> Own {
    let secret = |text: String| Secret::new(text);
    Own {
        url: format!("https://{}.example/", random.u8(..3)).parse().expect("a URL"),
        description: random.bool().then(|| "x".repeat(random.usize(..300))),
        event_types: vec!["*".parse().expect("a pattern")],
        profile: random.bool().then(|| "raw".to_owned()),
        headers: vec![("x-a".to_owned(), secret("y".repeat(random.usize(..2_000))))],
        secrets: vec![DatedSecret { secret: secret("z".repeat(43)), made_at: at, until: None }],
    }
}
