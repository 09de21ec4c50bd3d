//! What an attempt that ended says of its endpoint.

use crate::model::attempt::{FailureKind, Outcome};

/// What an attempt that ended says of its endpoint, and so of its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The endpoint itself failed ([`Verdict::of_failure`]): its lane's window becomes one, it is in doubt, and its
    /// circuit counts.
    Failure,
    /// Nothing: the box itself was in trouble.
    Neutral,
    /// Nothing, for no request was made.
    Nothing,
    /// It did not take the delivery, but is there, or is not to be reached: its lane's window becomes one, it is in
    /// doubt, and its circuit does not count.
    Rejected,
    /// It took the delivery: its lane's window grows by one, it is not in doubt, and its circuit is closed.
    Success,
}

impl Verdict {
    /// The verdict on an outcome that is no success. An endpoint's own failures are that it cannot be found, connected
    /// to or spoken with, and that it is overloaded or broken: 408, 429 and 5xx. With any other answer it works, and
    /// does not want this delivery; and what the guard refuses was never tried.
    pub fn of_failure(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Response(answer) => match answer.status {
                408 | 429 | 500..=599 => Self::Failure,
                _ => Self::Rejected,
            },
            Outcome::Failure(failure) => match failure.kind {
                FailureKind::Connect
                | FailureKind::Protocol
                | FailureKind::Resolve
                | FailureKind::Timeout
                | FailureKind::Tls => Self::Failure,
                FailureKind::Local | FailureKind::Proxy => Self::Neutral,
                FailureKind::Refused => Self::Rejected,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::attempt::{Failure, Response};

    #[test]
    fn which_failures_are_the_endpoints_own() {
        for (status, verdict) in [
            (199, Verdict::Rejected),
            (204, Verdict::Rejected),
            (302, Verdict::Rejected),
            (400, Verdict::Rejected),
            (404, Verdict::Rejected),
            (407, Verdict::Rejected),
            (408, Verdict::Failure),
            (410, Verdict::Rejected),
            (429, Verdict::Failure),
            (499, Verdict::Rejected),
            (500, Verdict::Failure),
            (503, Verdict::Failure),
            (599, Verdict::Failure),
            (600, Verdict::Rejected),
        ] {
            let (headers, body) = (Vec::new(), Vec::new());
            let answer = Response { status, headers, body, body_truncated: false, body_error: None };
            assert_eq!(Verdict::of_failure(&Outcome::Response(answer)), verdict, "{status}");
        }
        for (kind, verdict) in [
            (FailureKind::Connect, Verdict::Failure),
            (FailureKind::Local, Verdict::Neutral),
            (FailureKind::Protocol, Verdict::Failure),
            (FailureKind::Proxy, Verdict::Neutral),
            (FailureKind::Refused, Verdict::Rejected),
            (FailureKind::Resolve, Verdict::Failure),
            (FailureKind::Timeout, Verdict::Failure),
            (FailureKind::Tls, Verdict::Failure),
        ] {
            let failure = Outcome::Failure(Failure { kind, message: String::new() });
            assert_eq!(Verdict::of_failure(&failure), verdict, "{kind:?}");
        }
    }
}
