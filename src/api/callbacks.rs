//! What there is to say of callbacks, all of them together: their origins are too many to be listed, and nobody's to change.

use std::collections::{BTreeMap, HashMap};

use super::{
    Open,
    view::{CallbacksView, HeldCallbacksView},
};
use crate::{
    engine::{LaneView, directory::Target},
    model::{
        account::AccountName,
        endpoint::{DisableReason, EndpointNumber},
    },
    sandbox,
};

/// How many there are, and whose are held.
pub(super) fn view(open: &Open, lanes: &HashMap<EndpointNumber, LaneView>) -> CallbacksView {
    let mut view = CallbacksView::default();
    let mut held = Held::default();
    // Also where no callback has come yet.
    for (account, credential) in open.directory.workshop().missing_for_callbacks() {
        held.add(account, DisableReason::NoCredential, 0, || missing(&[credential]));
    }
    for origin in open.directory.origins() {
        let pending = open.outbox.depths().of(origin.number);
        view.origins += 1;
        view.pending += pending;
        let is_open = lanes.get(&origin.number).is_some_and(|lane| lane.status.circuit.is_some());
        view.open_circuits += u64::from(is_open);
        if let Some(disabled) = origin.disabled() {
            let reason = disabled.reason;
            held.add(&origin.stored.account, reason, pending, || help(&origin, reason));
        }
    }
    view.held = held.0.into_values().collect();
    view
}

/// By account and reason.
#[derive(Default)]
struct Held(BTreeMap<(AccountName, &'static str), HeldCallbacksView>);

impl Held {
    fn add(&mut self, account: &AccountName, reason: DisableReason, pending: u64, help: impl Fn() -> String) {
        let one = self.0.entry((account.clone(), reason.as_str())).or_insert_with(|| HeldCallbacksView {
            account: account.clone(),
            reason,
            pending: 0,
            help: help(),
        });
        one.pending += pending;
    }
}

fn help(origin: &Target, reason: DisableReason) -> String {
    match reason {
        DisableReason::NotConfigured => {
            "there is no account of that name any more, neither in the configuration nor made over the API; they are held until there is".to_owned()
        }
        DisableReason::NoCredential => {
            let names = origin.settings.iter().flat_map(|settings| &settings.missing_credentials);
            missing(&names.map(String::as_str).collect::<Vec<_>>())
        }
        _ => {
            "the account has no secret that fits its profile, `https_only` where they go to http, or no `allow` for their address; change that"
                .to_owned()
        }
    }
}

/// What to do about credentials that are not there.
pub(super) fn missing(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    format!(
        "the credential {} is not in $CREDENTIALS_DIRECTORY; {}",
        names.join(", "),
        sandbox::provide_credentials()
    )
}
