//! What follows from an attempt: one total, pure function; the engine has it committed.
//!
//! An attempt that failed because the box itself could not open a connection says nothing of the endpoint. It is
//! recorded and numbered like any other, but spends no step of the schedule and counts for nothing; the delivery is
//! due again when the schedule says, and within 1 to 10 s, until it succeeds, fails, or expires.

use std::{ops::RangeInclusive, time::Duration};

use super::{retry, verdict::Verdict};
use crate::model::{
    attempt::{Failure, FailureKind, Outcome},
    delivery::{CancelReason, Delivery, FailReason, State},
    profile::Profile,
    time::Timestamp,
};

/// How soon an attempt follows one that failed for the box's own trouble: soon, for it passes without the
/// endpoint's doing; not at once, for it does not pass by trying.
const LOCAL_PAUSE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(10);

/// What an attempt changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The delivery from now on.
    pub delivery: Delivery,
    /// The endpoint's attempts without success in a row from now on.
    pub consecutive_failures: u32,
    /// What it says of the endpoint.
    pub verdict: Verdict,
}

/// Decides what becomes of `delivery`, of which one more attempt has ended at `now` with `outcome`.
///
/// `consecutive_failures` is the endpoint's count before, `chance` in [0, 1) draws the jitter of the next delay.
/// A delivery whose next attempt would come after its expiry stays pending until then: it fails as expired when due.
pub fn decide(
    delivery: &Delivery,
    outcome: &Outcome,
    profile: &Profile,
    consecutive_failures: u32,
    chance: f64,
    now: Timestamp,
) -> Decision {
    let mut next = *delivery;
    next.attempt = delivery.attempt.saturating_add(1);
    next.last_status = outcome.status();
    if outcome.status().is_some_and(|status| profile.is_success(status)) {
        next.state = State::Succeeded;
        next.due = now;
        return Decision { delivery: next, consecutive_failures: 0, verdict: Verdict::Success };
    }
    let step = delivery.step.saturating_add(1);
    let retry = retry::due(profile, step, now, chance);
    let by_expiry = |due: Timestamp| due.min(delivery.expires(profile.expire)).max(now);
    if let Outcome::Failure(Failure { kind: FailureKind::Local, .. }) = outcome {
        let (soonest, latest) = (now.plus(*LOCAL_PAUSE.start()), now.plus(*LOCAL_PAUSE.end()));
        next.due = by_expiry(retry.unwrap_or(latest).clamp(soonest, latest));
        return Decision { delivery: next, consecutive_failures, verdict: Verdict::Neutral };
    }
    next.step = step;
    if let Some(due) = retry {
        next.due = by_expiry(due);
    } else {
        next.state = State::Failed(FailReason::Exhausted);
        next.due = now;
    }
    let consecutive_failures = consecutive_failures.saturating_add(1);
    Decision { delivery: next, consecutive_failures, verdict: Verdict::of_failure(outcome) }
}

/// `delivery`, ended at `now` as failed for `reason` without a further attempt.
pub fn fail(delivery: &Delivery, reason: FailReason, now: Timestamp) -> Delivery {
    Delivery { state: State::Failed(reason), due: now, ..*delivery }
}

/// `delivery`, called off `at` this time for `reason`.
pub fn call_off(delivery: &Delivery, reason: CancelReason, at: Timestamp) -> Delivery {
    Delivery { state: State::Cancelled(reason), due: at, ..*delivery }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{
        attempt::{Failure, FailureKind, Response},
        endpoint::EndpointNumber,
        profile::{Algorithm, BodyRule, Encoding, KeyForm, SignatureRule, Success},
    };

    fn profile() -> Profile {
        Profile {
            name: "p".to_owned(),
            success: Success::Class2xx,
            timeout: Duration::from_secs(30),
            retry: [0, 60, 300].map(Duration::from_secs).to_vec(),
            jitter: 0.1,
            expire: Duration::from_secs(10_000),
            concurrency: 1,
            circuit: 0,
            probe: vec![Duration::from_secs(10)],
            rate: None,
            signature: SignatureRule {
                algorithm: Algorithm::None,
                key: KeyForm::Utf8,
                signed: String::new(),
                encoding: Encoding::Hex,
                each: String::new(),
                join: String::new(),
            },
            headers: Vec::new(),
            body: BodyRule::Raw,
        }
    }

    fn status(status: u16) -> Outcome {
        Outcome::Response(Response {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            body_truncated: false,
            body_error: None,
        })
    }

    #[test]
    fn what_follows_from_an_attempt() {
        let at = Timestamp::RELEASED;
        let timeout = Outcome::Failure(Failure { kind: FailureKind::Timeout, message: String::new() });
        let exhausted = State::Failed(FailReason::Exhausted);
        for (step, outcome, chance, state, new_step, wait, failures) in [
            (0, status(200), 0.0, State::Succeeded, 0, 0, 0),
            (2, status(299), 0.5, State::Succeeded, 2, 0, 0),
            (0, status(300), 0.0, State::Pending, 1, 60_000, 8),
            (0, status(500), 0.5, State::Pending, 1, 63_000, 8),
            (1, status(404), 1.0, State::Pending, 2, 330_000, 8),
            (0, timeout.clone(), 0.0, State::Pending, 1, 60_000, 8),
            (2, status(503), 0.0, exhausted, 3, 0, 8),
            (2, timeout, 0.9, exhausted, 3, 0, 8),
        ] {
            let mut delivery = Delivery::pending(EndpointNumber::new(1), at);
            (delivery.step, delivery.attempt) = (step, 11);
            let decision = decide(&delivery, &outcome, &profile(), 7, chance, at);
            let case = format!("step {step}, {outcome:?}");
            assert_eq!(decision.delivery.state, state, "{case}");
            assert_eq!((decision.delivery.step, decision.delivery.attempt), (new_step, 12), "{case}");
            assert_eq!(decision.delivery.due, at.plus(Duration::from_millis(wait)), "{case}");
            assert_eq!(decision.consecutive_failures, failures, "{case}");
            assert_eq!(decision.delivery.last_status, outcome.status(), "{case}");
            let verdict = match outcome.status() {
                Some(200 | 299) => Verdict::Success,
                Some(300 | 404) => Verdict::Rejected,
                _ => Verdict::Failure,
            };
            assert_eq!(decision.verdict, verdict, "{case}");
        }
    }

    #[test]
    fn the_boxs_own_trouble_spends_nothing() {
        let at = Timestamp::RELEASED;
        let local = Outcome::Failure(Failure { kind: FailureKind::Local, message: String::new() });
        let mut profile = profile();
        profile.retry = [0, 4_000, 300_000, 0].map(Duration::from_millis).to_vec();
        for (step, chance, wait) in [
            // As the schedule says, jitter and all.
            (0, 0.0, 4_000),
            (0, 0.5, 4_200),
            (1, 0.0, 10_000),
            // Where the schedule has no delay it would be tried without end and pause.
            (2, 0.9, 1_000),
            // Past the last step there is no delay to go by, and the delivery goes on all the same.
            (3, 0.0, 10_000),
            (u8::MAX, 0.0, 10_000),
        ] {
            let mut delivery = Delivery::pending(EndpointNumber::new(1), at);
            (delivery.step, delivery.attempt) = (step, 11);
            let decision = decide(&delivery, &local, &profile, 7, chance, at);
            let expected = Delivery {
                attempt: 12,
                due: at.plus(Duration::from_millis(wait)),
                last_status: None,
                ..delivery
            };
            assert_eq!(decision.delivery, expected, "step {step}");
            assert_eq!((decision.consecutive_failures, decision.verdict), (7, Verdict::Neutral));
        }
        profile.expire = Duration::from_secs(3);
        let delivery = Delivery::pending(EndpointNumber::new(1), at);
        let next = decide(&delivery, &local, &profile, 7, 0.0, at).delivery;
        assert_eq!(next.due, at.plus(profile.expire), "it does not outlast its expiry");
    }

    #[test]
    fn a_list_of_codes_is_the_whole_truth() {
        let mut profile = profile();
        profile.success = Success::Codes(vec![200]);
        let delivery = Delivery::pending(EndpointNumber::new(1), Timestamp::EPOCH);
        for (code, verdict) in [(200, Verdict::Success), (202, Verdict::Rejected)] {
            let decision = decide(&delivery, &status(code), &profile, 0, 0.0, Timestamp::EPOCH);
            assert_eq!(decision.verdict, verdict, "{code}");
        }
    }

    #[test]
    fn no_attempt_is_due_after_expiry() {
        let mut profile = profile();
        profile.expire = Duration::from_secs(30);
        let start = Timestamp::RELEASED;
        let delivery = Delivery::pending(EndpointNumber::new(1), start);
        let now = start.plus(Duration::from_secs(5));
        let next = decide(&delivery, &status(500), &profile, 0, 0.0, now).delivery;
        assert_eq!((next.state, next.due), (State::Pending, start.plus(profile.expire)));
        let late = start.plus(Duration::from_secs(40));
        assert_eq!(decide(&delivery, &status(500), &profile, 0, 0.0, late).delivery.due, late);
    }

    #[test]
    fn what_a_clock_that_was_not_set_began_does_not_expire() {
        let delivery = Delivery::pending(EndpointNumber::new(1), Timestamp::from_millis(7_000));
        let next = decide(&delivery, &status(500), &profile(), 0, 0.0, Timestamp::RELEASED).delivery;
        assert_eq!(next.due, Timestamp::RELEASED.plus(Duration::from_secs(60)), "by the schedule");
        assert_eq!(delivery.expires(Duration::from_secs(1)), Timestamp::MAX);
    }
}
