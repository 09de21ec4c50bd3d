//! What follows from an attempt: one total, pure function; the engine has it committed.
//!
//! An attempt that failed because the box itself could not open a connection, or its proxy, says nothing of the endpoint. It is
//! recorded and numbered like any other, but spends no step of the schedule and counts for nothing; the delivery is
//! due again when the schedule says, and within 1 to 10 s, until it succeeds, fails, or expires.

use std::{ops::RangeInclusive, time::Duration};

use super::{retry, retry_after::retry_after, verdict::Verdict};
use crate::model::{
    attempt::{Failure, FailureKind, Outcome},
    delivery::{CancelReason, Delivery, FailReason, State},
    endpoint::DisableReason,
    profile::Profile,
    time::Timestamp,
};

/// How soon an attempt follows one that failed for the box's own trouble: soon, for it passes without the
/// endpoint's doing; not at once, for it does not pass by trying.
const LOCAL_PAUSE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(10);

/// A 410, which means for good.
const GONE: u16 = 410;

/// What an attempt changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The delivery from now on.
    pub delivery: Delivery,
    /// The endpoint's attempts without success in a row from now on.
    pub consecutive_failures: u32,
    /// Why the endpoint is to be disabled, if it is.
    pub disable: Option<DisableReason>,
    /// What it says of the endpoint.
    pub verdict: Verdict,
}

/// Decides what becomes of `delivery`, of which one more attempt has ended at `now` with `outcome`; it is `wall` then by
/// the clock that people read, if that is set.
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
    wall: Option<Timestamp>,
) -> Decision {
    let mut next = *delivery;
    next.attempt = delivery.attempt.saturating_add(1);
    next.last_status = outcome.status();
    (next.asked, next.replayed) = (false, false);
    if outcome.status().is_some_and(|status| profile.is_success(status)) {
        next.state = State::Succeeded;
        next.due = now;
        let verdict = Verdict::Success;
        return Decision { delivery: next, consecutive_failures: 0, disable: None, verdict };
    }
    let step = delivery.step.saturating_add(1);
    let retry = retry::due(profile, step, now, chance);
    let by_expiry = |due: Timestamp| due.min(delivery.expires(profile.expire)).max(now);
    if let Outcome::Failure(Failure { kind: FailureKind::Local | FailureKind::Proxy, .. }) = outcome {
        let (soonest, latest) = (now.plus(*LOCAL_PAUSE.start()), now.plus(*LOCAL_PAUSE.end()));
        next.due = by_expiry(retry.unwrap_or(latest).clamp(soonest, latest));
        let verdict = Verdict::Neutral;
        return Decision { delivery: next, consecutive_failures, disable: None, verdict };
    }
    next.step = step;
    let gone = profile.gone_disables && outcome.status() == Some(GONE);
    match retry {
        Some(scheduled) if !gone => {
            let asked = asked(outcome, profile, wall).map(|delay| now.plus(delay));
            let later = asked.filter(|due| *due > scheduled);
            next.asked = later.is_some();
            next.due = by_expiry(later.unwrap_or(scheduled));
        }
        _ => {
            next.state = State::Failed(if gone { FailReason::Gone } else { FailReason::Exhausted });
            next.due = now;
        }
    }
    let consecutive_failures = consecutive_failures.saturating_add(1);
    let disable = disable(profile, gone, consecutive_failures);
    Decision { delivery: next, consecutive_failures, disable, verdict: Verdict::of_failure(outcome) }
}

/// How long the answer asks to be left alone, where that is heard. No date can be held against a clock that is not set.
fn asked(outcome: &Outcome, profile: &Profile, wall: Option<Timestamp>) -> Option<Duration> {
    let Outcome::Response(answer) = outcome else { return None };
    profile.retry_after.then(|| retry_after(&answer.headers, wall)).flatten()
}

/// Whether an endpoint of which so many attempts have failed in a row, the last with a 410 that counts if `gone`, is
/// disabled, and why.
fn disable(profile: &Profile, gone: bool, consecutive_failures: u32) -> Option<DisableReason> {
    let enough = profile.disable_after > 0 && consecutive_failures >= profile.disable_after;
    match (gone, enough) {
        (true, _) => Some(DisableReason::Gone),
        (false, true) => Some(DisableReason::Failures),
        (false, false) => None,
    }
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
            retry_after: false,
            gone_disables: false,
            disable_after: 0,
            concurrency: 1,
            circuit: 0,
            probe: vec![Duration::from_secs(10)],
            rate: None,
            fifo: false,
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
            let decision = decide(&delivery, &outcome, &profile(), 7, chance, at, Some(at));
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
        for kind in [FailureKind::Local, FailureKind::Proxy] {
            spends_nothing(kind);
        }
    }

    fn spends_nothing(kind: FailureKind) {
        let at = Timestamp::RELEASED;
        let local = Outcome::Failure(Failure { kind, message: String::new() });
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
            let decision = decide(&delivery, &local, &profile, 7, chance, at, Some(at));
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
        let next = decide(&delivery, &local, &profile, 7, 0.0, at, Some(at)).delivery;
        assert_eq!(next.due, at.plus(profile.expire), "it does not outlast its expiry");
    }

    fn asking(status: u16, headers: &[(&str, &str)]) -> Outcome {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Outcome::Response(Response {
            status,
            headers,
            body: Vec::new(),
            body_truncated: false,
            body_error: None,
        })
    }

    #[test]
    fn an_endpoint_can_ask_for_more_time() {
        const DAY: u64 = 86_400_000;
        // 2026-01-01 00:00:00 UTC by the people's clock, whatever the timeline of the schedule says.
        let (now, wall) = (Timestamp::RELEASED.plus(Duration::from_secs(777)), Timestamp::RELEASED);
        let mut profile = profile();
        profile.expire = Duration::from_millis(10 * DAY);
        let at = "Thu, 01 Jan 2026 00:02:30 GMT";
        for (heard, step, status, value, wait, by_request) in [
            (true, 0, 503, "120", 120_000, true),
            (true, 0, 429, at, 150_000, true),
            // Any answer that is no success may ask; one that is, has nothing to wait for.
            (true, 0, 301, "64", 64_000, true),
            (true, 0, 200, "120", 0, false),
            // Never earlier than the schedule, which has jitter on it.
            (true, 0, 503, "30", 63_000, false),
            (true, 0, 503, "63", 63_000, false),
            (true, 1, 503, "120", 315_000, false),
            (true, 0, 503, "99999999", DAY, true),
            (true, 0, 503, "soon", 63_000, false),
            (false, 0, 503, "120", 63_000, false),
            // It has no attempt left to ask for.
            (true, 2, 503, "120", 0, false),
        ] {
            profile.retry_after = heard;
            let mut delivery = Delivery::pending(EndpointNumber::new(1), now);
            (delivery.step, delivery.asked) = (step, true);
            let outcome = asking(status, &[("retry-after", value)]);
            let next = decide(&delivery, &outcome, &profile, 0, 0.5, now, Some(wall)).delivery;
            let case = format!("{heard} {step} {status} {value}");
            assert_eq!(next.due, now.plus(Duration::from_millis(wait)), "{case}");
            assert_eq!(next.asked, by_request, "{case}");
            assert_eq!(next.state == State::Failed(FailReason::Exhausted), step == 2, "{case}");
        }
        profile.retry_after = true;
        let delivery = Delivery::pending(EndpointNumber::new(1), now);
        let of = |profile: &Profile, wall| {
            decide(&delivery, &asking(503, &[("retry-after", at)]), profile, 0, 0.0, now, wall).delivery
        };
        assert!(!of(&profile, None).asked, "no clock to hold the date against");
        profile.expire = Duration::from_secs(100);
        assert_eq!(of(&profile, Some(wall)).due, now.plus(profile.expire), "it does not outlast its expiry");
    }

    #[test]
    fn what_disables_an_endpoint() {
        let at = Timestamp::RELEASED;
        let (gone, failures) = (Some(DisableReason::Gone), Some(DisableReason::Failures));
        let local = Outcome::Failure(Failure { kind: FailureKind::Local, message: String::new() });
        let connect = Outcome::Failure(Failure { kind: FailureKind::Connect, message: String::new() });
        let (ended, exhausted) = (State::Failed(FailReason::Gone), State::Failed(FailReason::Exhausted));
        for (gone_disables, disable_after, before, step, outcome, disable, state) in [
            (true, 0, 0, 0, status(410), gone, ended),
            (true, 3, 2, 2, status(410), gone, ended),
            (true, 0, 7, 0, status(404), None, State::Pending),
            (false, 0, 7, 0, status(410), None, State::Pending),
            (false, 3, 2, 0, status(410), failures, State::Pending),
            (false, 10, 8, 0, status(500), None, State::Pending),
            (false, 10, 9, 0, status(500), failures, State::Pending),
            (false, 10, 9, 2, status(302), failures, exhausted),
            (false, 10, 9, 0, connect, failures, State::Pending),
            // A configuration may have lowered it.
            (false, 10, 4_000, 0, status(500), failures, State::Pending),
            (false, 10, 9, 0, status(200), None, State::Succeeded),
            (false, 10, 9, 0, local.clone(), None, State::Pending),
            (false, 1, 4_000, 0, local, None, State::Pending),
            (false, 1, 0, 0, status(500), failures, State::Pending),
            (false, 0, u32::MAX, 0, status(500), None, State::Pending),
        ] {
            let profile = Profile { gone_disables, disable_after, ..profile() };
            let mut delivery = Delivery::pending(EndpointNumber::new(1), at);
            delivery.step = step;
            let decision = decide(&delivery, &outcome, &profile, before, 0.0, at, Some(at));
            let case = format!("{gone_disables} {disable_after} {before} {step} {outcome:?}");
            assert_eq!((decision.disable, decision.delivery.state), (disable, state), "{case}");
        }
        let profile = Profile { gone_disables: true, success: Success::Codes(vec![410]), ..profile() };
        let delivery = Delivery::pending(EndpointNumber::new(1), at);
        let decision = decide(&delivery, &status(410), &profile, 0, 0.0, at, Some(at));
        assert_eq!((decision.disable, decision.delivery.state), (None, State::Succeeded));
    }

    #[test]
    fn a_list_of_codes_is_the_whole_truth() {
        let mut profile = profile();
        profile.success = Success::Codes(vec![200]);
        let delivery = Delivery::pending(EndpointNumber::new(1), Timestamp::EPOCH);
        for (code, verdict) in [(200, Verdict::Success), (202, Verdict::Rejected)] {
            let decision = decide(&delivery, &status(code), &profile, 0, 0.0, Timestamp::EPOCH, None);
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
        let next = decide(&delivery, &status(500), &profile, 0, 0.0, now, None).delivery;
        assert_eq!((next.state, next.due), (State::Pending, start.plus(profile.expire)));
        let late = start.plus(Duration::from_secs(40));
        assert_eq!(decide(&delivery, &status(500), &profile, 0, 0.0, late, None).delivery.due, late);
    }

    #[test]
    fn what_a_clock_that_was_not_set_began_does_not_expire() {
        let delivery = Delivery::pending(EndpointNumber::new(1), Timestamp::from_millis(7_000));
        let now = Timestamp::RELEASED;
        let next = decide(&delivery, &status(500), &profile(), 0, 0.0, now, None).delivery;
        assert_eq!(next.due, Timestamp::RELEASED.plus(Duration::from_secs(60)), "by the schedule");
        assert_eq!(delivery.expires(Duration::from_secs(1)), Timestamp::MAX);
    }
}
