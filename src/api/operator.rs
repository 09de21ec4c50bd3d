//! Who may do everything: root, and the user that the daemon runs as.
//!
//! A handler that takes an [`Operator`] is reached by nobody else; its request's body is not even read.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};

use super::problem::Problem;
use crate::ingest::socket::Peer;

/// Proof that the request comes from root or from the daemon's own user.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operator(());

impl<S: Sync> FromRequestParts<S> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let own = rustix::process::geteuid().as_raw();
        judge(parts.extensions.get().copied(), own)
    }
}

/// Who asks, where an answer tells operators more than others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// Root, or the daemon's own user.
    Operator,
    /// Somebody else, who sees what becomes of events, and neither where they go nor with what.
    Producer,
}

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let operator = Operator::from_request_parts(parts, state).await;
        Ok(if operator.is_ok() { Self::Operator } else { Self::Producer })
    }
}

/// Without a peer nobody is an operator.
fn judge(peer: Option<Peer>, own: u32) -> Result<Operator, Problem> {
    if peer.is_some_and(|peer| peer.uid == 0 || peer.uid == own) {
        return Ok(Operator(()));
    }
    let who =
        if own == 0 { "root".to_owned() } else { format!("root and the daemon's own user (uid {own})") };
    let asks = peer.map(|peer| format!("; you are uid {}", peer.uid)).unwrap_or_default();
    let detail = format!("endpoints are for {who} alone{asks}");
    Err(Problem::new(StatusCode::FORBIDDEN, "not_allowed", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_daemons_own_user_and_nobody_else() {
        for (uid, own, allowed) in
            [(Some(0), 0, true), (Some(0), 900, true), (Some(900), 900, true), (Some(901), 900, false)]
        {
            let judged = judge(uid.map(|uid| Peer { uid }), own);
            assert_eq!(judged.is_ok(), allowed, "{uid:?} {own}");
        }
        let problem = judge(Some(Peer { uid: 901 }), 900).expect_err("another");
        assert_eq!((problem.status, problem.code), (StatusCode::FORBIDDEN, "not_allowed"));
        assert_eq!(
            problem.detail,
            "endpoints are for root and the daemon's own user (uid 900) alone; you are uid 901"
        );
        let problem = judge(None, 0).expect_err("nobody");
        assert_eq!(problem.detail, "endpoints are for root alone");
    }
}
