//! What the engine says in the log of endpoints and what goes to them.
//!
//! A receiver that is down makes many attempts fail. So each is a line for debugging alone; what operators are told is that
//! its circuit opens, once, and that deliveries failed for good: once a minute for each endpoint and reason, and how many more.

use super::{Engine, Start, directory::Target};
use crate::{
    logging::Kind,
    model::{
        attempt::Outcome,
        delivery::{Delivery, DeliveryKey, FailReason},
        endpoint::{DisableReason, Disabled, EndpointNumber},
        id::{DeliveryId, EventId},
        time::Timestamp,
    },
    policy::{outage::Shared, template::RenderError},
    scheduler::Open,
};

/// Says that attempts have disabled an endpoint, and what to do.
pub(super) fn of_disabled(target: &Target, disabled: Disabled, failures: u32) {
    let (name, id) = (target.label(), target.id);
    let cause = match disabled.reason {
        DisableReason::Gone => "it answered 410".to_owned(),
        _ => format!("{failures} attempts in a row without success"),
    };
    tracing::warn!(
        kind = Kind::EndpointDisabled.word(),
        endpoint = %id,
        account = %target.stored.account,
        reason = disabled.reason.as_str(),
        "endpoint `{name}` is disabled ({cause}): its deliveries are held until `posthaste endpoint enable {id}`"
    );
}

/// Says that what attempts share has fallen, and why, or is back; nothing of the probes in between.
pub(super) fn of_shared(before: [Option<Open>; 2], after: [Option<Open>; 2], outcome: &Outcome) {
    for (shared, (before, after)) in Shared::ALL.into_iter().zip(before.into_iter().zip(after)) {
        let what = shared.as_str();
        match (before, after) {
            (None, Some(_)) => tracing::warn!(
                kind = Kind::Outage.word(),
                what,
                "nothing that needs it is attempted but one probe at a time, until one comes through: {}",
                cause(outcome)
            ),
            (Some(_), None) => tracing::info!(
                kind = Kind::OutageOver.word(),
                what,
                "a probe came through: deliveries go on, slowly at first"
            ),
            _ => {}
        }
    }
}

/// Why an attempt was none, in words.
fn cause(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Failure(failure) => failure.message.clone(),
        Outcome::Response(response) => format!("it answered {}", response.status),
    }
}

impl Engine {
    /// The circuit of a lane while it is open.
    pub(super) fn circuit(&self, lane: EndpointNumber) -> Option<Open> {
        self.scheduler.lane(lane)?.circuit
    }

    /// Says that a circuit has opened or closed, which was so `before` an attempt.
    pub(super) fn tell_circuit(&self, lane: EndpointNumber, before: Option<Open>, outcome: &Outcome) {
        let after = self.circuit(lane);
        if before.is_some() == after.is_some() {
            return;
        }
        let Some(target) = self.directory.target(lane) else { return };
        let name = target.label();
        if after.is_some() {
            tracing::warn!(
                kind = Kind::CircuitOpened.word(),
                endpoint = %target.id,
                account = %target.stored.account,
                "endpoint `{name}` does not answer as it should: but for one probe at a time its deliveries wait, until one succeeds: {}",
                cause(outcome)
            );
        } else {
            tracing::info!(
                kind = Kind::CircuitClosed.word(),
                endpoint = %target.id,
                account = %target.stored.account,
                "endpoint `{name}` answers again: its deliveries go on"
            );
        }
    }

    /// Says that an attempt failed, after which the delivery is as `after`.
    pub(super) fn tell_attempt(&mut self, start: Start, after: &Delivery, outcome: &Outcome) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let (Some((delivery, event)), Some(target)) =
            (self.ids(start.key), self.directory.target(start.lane))
        else {
            return;
        };
        let name = target.label();
        tracing::debug!(
            kind = Kind::AttemptFailed.word(),
            %delivery,
            %event,
            endpoint = %target.id,
            account = %target.stored.account,
            attempt = after.attempt,
            "an attempt at endpoint `{name}` failed: {}",
            cause(outcome)
        );
    }

    /// Says that a delivery has failed for good, if none has of this endpoint for this reason within a minute.
    pub(super) fn tell_failed(
        &mut self,
        key: DeliveryKey,
        lane: EndpointNumber,
        reason: FailReason,
        now: Timestamp,
    ) {
        // What the template said is known where it was tried.
        if reason == FailReason::Template || !self.failures.may_say((lane, reason), now) {
            return;
        }
        let (Some((delivery, event)), Some(target)) = (self.ids(key), self.directory.target(lane)) else {
            return;
        };
        let (name, reason) = (target.label(), reason.as_str());
        tracing::warn!(
            kind = Kind::DeliveryFailed.word(),
            %delivery,
            %event,
            endpoint = %target.id,
            account = %target.stored.account,
            reason,
            "a delivery to endpoint `{name}` has failed for good"
        );
    }

    /// The same of one whose body's template cannot take its event.
    pub(super) fn tell_template(
        &mut self,
        start: Start,
        accepted_at: Timestamp,
        error: &RenderError,
        now: Timestamp,
    ) {
        if !self.failures.may_say((start.lane, FailReason::Template), now) {
            return;
        }
        let Some(target) = self.directory.target(start.lane) else { return };
        let id_key = self.around.outbox.id_key();
        let name = target.label();
        tracing::warn!(
            kind = Kind::TemplateFailed.word(),
            delivery = %id_key.delivery_id(accepted_at, start.key),
            event = %id_key.event_id(accepted_at, start.key.seq),
            endpoint = %target.id,
            account = %target.stored.account,
            %error,
            "a delivery to endpoint `{name}` has failed for good: its body's template cannot take this event"
        );
    }

    /// Says how many more have failed since it was said that one had.
    pub(super) fn tell_again(&self, again: &[((EndpointNumber, FailReason), u64)]) {
        for ((lane, reason), count) in again {
            let Some(target) = self.directory.target(*lane) else { continue };
            let (name, reason) = (target.label(), reason.as_str());
            tracing::warn!(
                kind = Kind::DeliveryFailed.word(),
                endpoint = %target.id,
                account = %target.stored.account,
                reason,
                count,
                "{count} more deliveries to endpoint `{name}` have failed for good"
            );
        }
    }

    /// The public ids of a delivery and its event, where they can be read.
    fn ids(&mut self, key: DeliveryKey) -> Option<(DeliveryId, EventId)> {
        let (brief, _) = self.view().ok()?.delivery(key).ok()??;
        let id_key = self.around.outbox.id_key();
        Some((id_key.delivery_id(brief.accepted_at, key), id_key.event_id(brief.accepted_at, key.seq)))
    }
}
