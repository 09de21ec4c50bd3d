//! What the log says of endpoints that are others: by hand, or by another configuration.

use crate::{engine::directory::Target, logging::Kind};

/// Says what was done with an endpoint over the API.
pub(super) fn of_change(before: Option<&Target>, after: &Target) {
    let what = match before {
        None => Some("made"),
        Some(_) if after.stored.is_deleted() => Some("deleted: what was pending for it is cancelled"),
        Some(before) => (before.stored.revision != after.stored.revision).then_some("changed"),
    };
    if let Some(what) = what {
        let name = after.label();
        tracing::info!(
            kind = Kind::EndpointChanged.word(),
            endpoint = %after.id,
            account = %after.stored.account,
            "endpoint `{name}` is {what}"
        );
    }
    if !after.stored.is_deleted() {
        of_state(before, after);
    }
}

/// Says whether it is disabled from now on, or goes on. Origins are many, and what they lack is their accounts'.
pub(super) fn of_state(before: Option<&Target>, after: &Target) {
    if after.stored.origin().is_some() {
        return;
    }
    let name = after.label();
    match (before.and_then(Target::disabled), after.disabled()) {
        (was, Some(disabled)) if was.is_none_or(|was| was.reason != disabled.reason) => {
            tracing::warn!(
                kind = Kind::EndpointDisabled.word(),
                endpoint = %after.id,
                account = %after.stored.account,
                reason = disabled.reason.as_str(),
                "endpoint `{name}` is disabled: its deliveries are held{}",
                after.lacking()
            );
        }
        (Some(_), None) => {
            tracing::info!(
                kind = Kind::EndpointEnabled.word(),
                endpoint = %after.id,
                account = %after.stored.account,
                "endpoint `{name}` is enabled: its deliveries go on"
            );
        }
        _ => {}
    }
}
