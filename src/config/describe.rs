//! A short summary of a configuration, for people; nothing secret in it.

use std::fmt::Write as _;

use super::{After, Config, Endpoint, Http};
use crate::{
    model::{quota::Quota, time::format_size},
    policy::{
        access::Who,
        address::{Rules, Stance},
        destination::judge_literal,
    },
};

/// Socket, store, spools, networks and endpoints, a line or two each; credentials that are missing are named, and
/// addresses in URLs where nothing may be delivered.
pub fn describe(config: &Config) -> String {
    let mut lines = vec![
        format!("socket    {} (mode {:04o})", config.listen.socket.display(), config.listen.socket_mode),
        format!("store     {} (cache {})", config.store.path.display(), format_size(config.store.cache)),
    ];
    if let Some(Http { address, identity, .. }) = &config.listen.http {
        let tls = if identity.is_some() { "https, with keys" } else { "http, with keys" };
        lines.insert(1, format!("tcp       {address} ({tls})"));
    }
    for (index, rule) in config.access.iter().enumerate() {
        lines.push(format!(
            "access    {}. {} is {}{}",
            index + 1,
            whom(&rule.who),
            rule.role,
            quota(&rule.quota)
        ));
    }
    for spool in &config.spools {
        let of =
            spool.event_type.as_ref().map(|of| format!(", files of any kind as {of}")).unwrap_or_default();
        let kept = if spool.after == After::Keep { ", files are kept in done/" } else { "" };
        lines.push(format!("spool     {} (account {}{of}{kept})", spool.path.display(), spool.account));
    }
    for (name, networks) in [("allow", &config.network.allow), ("deny", &config.network.deny)] {
        if !networks.is_empty() {
            let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
            lines.push(format!("{name:<9} {}", networks.join(", ")));
        }
    }
    if let Some(proxy) = &config.network.proxy {
        lines.push(format!("proxy     {proxy}"));
    }
    for (name, account) in &config.accounts {
        let profile = account.form.as_ref().map_or("-", |form| &form.profile().name);
        lines.push(format!("account   {name} (profile {profile})"));
        if let Some(credential) = &account.missing_credential {
            lines.push(format!("          callbacks held, credential missing: {credential}"));
        }
    }
    let rules = config.rules();
    lines.extend(config.endpoints.iter().map(|listed| endpoint(listed, &rules)));
    if config.endpoints.is_empty() {
        lines.push("endpoints none: events are accepted and kept, and go nowhere".to_owned());
    }
    lines.join("\n") + "\n"
}

/// With the number that a name leads to today.
fn whom(who: &Who) -> String {
    match who {
        Who::Group(gid, Some(_)) => format!("{who} (gid {gid})"),
        Who::User(uid, Some(_)) => format!("{who} (uid {uid})"),
        Who::Group(_, None) | Who::User(_, None) => who.to_string(),
    }
}

fn quota(quota: &Quota) -> String {
    let Quota { connections, rate, bytes } = quota;
    let mut parts = String::new();
    if let Some(connections) = connections {
        write!(parts, ", {connections} connections").expect("a String takes all");
    }
    if let Some(rate) = rate {
        write!(parts, ", {rate}").expect("a String takes all");
    }
    if let Some(bytes) = bytes {
        write!(parts, ", {bytes}").expect("a String takes all");
    }
    parts
}

fn endpoint(endpoint: &Endpoint, rules: &Rules) -> String {
    let Endpoint { account, name, url, event_types, form, missing_credentials, .. } = endpoint;
    let patterns = match event_types.len() {
        1 => "1 pattern".to_owned(),
        n => format!("{n} patterns"),
    };
    let profile = &form.profile().name;
    let mut line = format!("endpoint  {account}/{name} {url} (profile {profile}, {patterns})");
    if !missing_credentials.is_empty() {
        write!(line, "\n          disabled, credentials missing: {}", missing_credentials.join(", "))
            .expect("a String takes all");
    }
    if let Err(refusals) = judge_literal(url, &rules.scope(Stance::Configuration, account)) {
        write!(line, "\n          closed: {refusals}").expect("a String takes all");
    }
    line
}
