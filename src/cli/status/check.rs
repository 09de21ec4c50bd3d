//! `posthaste status --check`: one line and an exit code, as Nagios and those like it read them.
//!
//! `posthaste WARNING: 1 endpoint is disabled (erp: failures) | pending=12 …`. What a person must see to is a warning; that
//! events are not taken, or nothing is delivered, is critical; where it cannot be told, it is unknown. An endpoint whose circuit
//! is open, or that an operator has disabled, is nothing to see to by itself: `--max-age` tells when something has waited too
//! long for either.

use std::{fmt::Write as _, time::Duration};

use crate::{
    api::view::{DaemonState, InsideView, StatusView},
    cli::{error::CliError, exit::Exit, text},
    model::{
        endpoint::DisableReason,
        time::{Timestamp, format_duration},
    },
};

/// What is found, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checked {
    /// For the program that asks.
    pub(super) exit: Exit,
    /// For people, in one line.
    pub(super) line: String,
}

/// What there is to see to; the worst decides.
#[derive(Default)]
struct Findings {
    critical: Vec<String>,
    warnings: Vec<String>,
}

/// Judges what the daemon says of itself; of what has been pending, only that which was accepted more than `max_age` ago.
pub(super) fn check(status: &StatusView, max_age: Option<Duration>, now: Timestamp) -> Checked {
    let mut findings = Findings::default();
    findings.whole(status);
    if let Some(inside) = &status.inside {
        findings.inside(inside);
        findings.age(inside.oldest_pending, max_age, now);
    }
    let Findings { mut critical, warnings } = findings;
    if status.inside.is_none() && critical.is_empty() {
        return unknown("it tells no more to whoever is no operator; let an operator check it");
    }
    let exit = match (critical.is_empty(), warnings.is_empty()) {
        (true, true) => Exit::Success,
        (true, false) => Exit::Warning,
        (false, _) => Exit::Critical,
    };
    critical.extend(warnings);
    let said = if critical.is_empty() { well(status) } else { critical.join("; ") };
    line(exit, &said, &status.inside.as_ref().map(|inside| measured(inside, now)).unwrap_or_default())
}

/// What it means that the daemon did not say how it is doing.
pub(super) fn failed(error: &CliError) -> Checked {
    let text = error.to_string();
    let said = text.lines().map(str::trim).collect::<Vec<_>>().join("; ");
    match error.exit() {
        // Who may not ask has not found out anything, nor has who does not understand the answer.
        Exit::Permission | Exit::Software => unknown(&said),
        _ => line(Exit::Critical, &said, ""),
    }
}

fn unknown(said: &str) -> Checked {
    line(Exit::Unknown, said, "")
}

fn line(exit: Exit, said: &str, measured: &str) -> Checked {
    let word = match exit {
        Exit::Success => "OK",
        Exit::Warning => "WARNING",
        Exit::Critical => "CRITICAL",
        _ => "UNKNOWN",
    };
    // What stands behind a bar is read as numbers.
    let said = text::plain(said).replace('|', "/");
    let line = format!("posthaste {word}: {said}");
    Checked { exit, line: if measured.is_empty() { line } else { format!("{line} | {measured}") } }
}

fn well(status: &StatusView) -> String {
    let pending = status.inside.as_ref().map_or(0, |inside| inside.pending.total);
    format!("running, {pending} pending")
}

/// The numbers, as `name=value`.
fn measured(inside: &InsideView, now: Timestamp) -> String {
    let (pending, store) = (inside.pending, &inside.store);
    let mut text = format!("pending={} in_flight={}", pending.total, pending.in_flight);
    if let Some(oldest) = inside.oldest_pending {
        write!(text, " oldest={}s", now.since(oldest).as_secs()).expect("a String takes all");
    }
    let circuits = inside.open_circuits.len();
    let disabled = inside.disabled_endpoints.len();
    write!(text, " disabled={disabled} open_circuits={circuits} rows={}B;;;0;{}", store.rows, store.max_size)
        .expect("a String takes all");
    text
}

impl Findings {
    /// What everybody is told.
    fn whole(&mut self, status: &StatusView) {
        match status.state {
            DaemonState::Running => {}
            DaemonState::Starting => self.warnings.push("the backlog is being read".to_owned()),
            DaemonState::Stopping => self.critical.push("it is stopping".to_owned()),
        }
        let door = &status.door;
        if !door.open {
            let held = if door.attempts_held { ", and nothing is sent" } else { "" };
            let reason = door.reason.as_deref().unwrap_or("closed");
            self.critical.push(format!("events are refused: {reason}{held}"));
        }
        if status.clock_unset.is_some() {
            self.warnings.push("the clock is not set".to_owned());
        }
    }

    /// What operators are told.
    fn inside(&mut self, inside: &InsideView) {
        for outage in &inside.outages {
            self.critical.push(format!("nothing is sent: {} is down", outage.what));
        }
        let disabled = inside.disabled_endpoints.iter();
        let disabled = disabled.filter(|endpoint| endpoint.reason != DisableReason::Operator);
        let named: Vec<_> = disabled
            .map(|endpoint| {
                let id = endpoint.id.to_string();
                format!("{}: {}", endpoint.name.as_deref().unwrap_or(&id), endpoint.reason.as_str())
            })
            .collect();
        if let Some(which) = some(&named) {
            let (count, verb) = counted(named.len(), "endpoint");
            self.warnings.push(format!("{count} {verb} disabled ({which})"));
        }
        for held in &inside.callbacks.held {
            let reason = held.reason.as_str();
            self.warnings.push(format!("the callbacks of the account {} are held: {reason}", held.account));
        }
        for spool in &inside.spools {
            if let Some(problem) = &spool.problem {
                self.warnings.push(format!("nothing is taken from {}: {problem}", spool.path));
            }
        }
        let failed: u64 = inside.spools.iter().map(|spool| spool.in_failed).sum();
        if failed > 0 {
            let (count, verb) = counted(usize::try_from(failed).unwrap_or(usize::MAX), "spool file");
            self.warnings.push(format!("{count} {verb} in failed/ (see `posthaste spool list`)"));
        }
        if inside.ids.cut_short {
            let (held, window) = (&inside.ids.window_held, &inside.ids.window);
            self.warnings.push(format!("ids are known for {held} and not for {window}"));
        }
        // While the door is shut its absence is what is meant.
        let reserve = inside.store.reserve;
        if reserve.size > 0 && !reserve.present && self.critical.is_empty() {
            self.warnings.push("the reserve is not there, the log says why".to_owned());
        }
    }

    fn age(&mut self, oldest: Option<Timestamp>, max_age: Option<Duration>, now: Timestamp) {
        let (Some(oldest), Some(most)) = (oldest, max_age) else { return };
        if now.since(oldest) > most {
            let age = text::relative(oldest, now);
            let most = format_duration(most);
            self.warnings.push(format!("the oldest pending event was accepted {age}, more than {most}"));
        }
    }
}

/// The first of them, so that a line stays one.
fn some(names: &[String]) -> Option<String> {
    const SHOWN: usize = 3;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match more {
        _ if names.is_empty() => None,
        0 => Some(shown),
        more => Some(format!("{shown}, and {more} more")),
    }
}

fn counted(count: usize, noun: &str) -> (String, &'static str) {
    if count == 1 { (format!("1 {noun}"), "is") } else { (format!("{count} {noun}s"), "are") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-11-22T03:00:00Z";

    /// A daemon that is well, but for `changes`: values by where they stand.
    fn checked(changes: &[(&str, Value)], max_age: Option<Duration>) -> (u8, String) {
        let mut status = json!({
            "version": "0.1.0", "started_at": "2026-11-22T01:00:00.000Z", "state": "running",
            "since_start": {"accepted": 1, "duplicates": 0, "refused": 0, "attempts": 0, "succeeded": 0, "failed": 0},
            "pending": {"total": 12, "due": 4, "turn": 6, "parked": 0, "in_flight": 2},
            "oldest_pending": "2026-11-22T02:57:00.000Z", "disabled_endpoints": [], "open_circuits": [],
            "store": {"path": "s", "size": 9, "rows": 7, "max_size": 100, "reserve": {"size": 5, "present": true}, "unclean_start": false},
            "door": {"open": true, "reason": null, "since": null, "attempts_held": false, "help": null},
            "ids": {"remembered": 0, "window": "1d", "window_held": "1d", "cut_short": false},
            "spools": [{"path": "/in", "taken": 0, "failed": 0, "in_failed": 0, "watching": true, "problem": null}]
        });
        for (place, value) in changes {
            match status.pointer_mut(place) {
                Some(found) => *found = value.clone(),
                None => status[&place[1..]] = value.clone(),
            }
        }
        let status = serde_json::from_value(status).expect("a status");
        let checked = check(&status, max_age, NOW.parse().expect("a time"));
        (checked.exit.code(), checked.line)
    }

    #[test]
    fn what_is_seen_to_by_whom() {
        let id = "ep_01hqr2p1qq8k3v7r5m6n0x9y2z";
        let since = "2026-11-22T02:00:00.000Z";
        let disabled = |name: Option<&str>, reason: &str| json!({"id": id, "name": name, "reason": reason, "since": since, "help": ""});
        let circuit = json!({"open_since": since, "failed_probes": 1, "next_probe_at": since});
        let outage = json!({"what": "proxy", "help": "", "open_since": since, "failed_probes": 1, "next_probe_at": since});
        let mut open = circuit;
        open["id"] = id.into();
        open["name"] = "shop".into();
        let held = json!({"origins": 1, "open_circuits": 0, "pending": 1, "held": [{"account": "acme", "reason": "no_credential", "pending": 1, "help": ""}]});
        let unset = json!({"time": since, "known": since, "help": ""});
        for (changes, code, said) in [
            (
                vec![],
                0,
                "posthaste OK: running, 12 pending | pending=12 in_flight=2 oldest=180s disabled=0 open_circuits=0 rows=7B;;;0;100",
            ),
            (vec![("/open_circuits", json!([open]))], 0, "open_circuits=1"),
            (vec![("/disabled_endpoints", json!([disabled(Some("erp"), "operator")]))], 0, "disabled=1"),
            (
                vec![("/disabled_endpoints", json!([disabled(Some("e|p\n"), "failures")]))],
                1,
                "WARNING: 1 endpoint is disabled (e/p\\n: failures) |",
            ),
            (
                vec![("/disabled_endpoints", json!(vec![disabled(None, "gone"); 5]))],
                1,
                "5 endpoints are disabled (ep_01hqr2p1qq8k3v7r5m6n0x9y2z: gone, ",
            ),
            (vec![("/disabled_endpoints", json!(vec![disabled(None, "gone"); 5]))], 1, ", and 2 more)"),
            (vec![("/callbacks", held)], 1, "the callbacks of the account acme are held: no_credential"),
            (
                vec![("/spools/0/problem", json!("no permission"))],
                1,
                "nothing is taken from /in: no permission",
            ),
            (vec![("/spools/0/in_failed", json!(2))], 1, "2 spool files are in failed/"),
            (
                vec![("/ids/cut_short", json!(true)), ("/ids/window_held", json!("3h"))],
                1,
                "ids are known for 3h and not for 1d",
            ),
            (vec![("/store/reserve/present", json!(false))], 1, "the reserve is not there"),
            (vec![("/clock_unset", unset)], 1, "the clock is not set"),
            (vec![("/state", json!("starting"))], 1, "the backlog is being read"),
            (vec![("/state", json!("stopping"))], 2, "CRITICAL: it is stopping"),
            (vec![("/outages", json!([outage]))], 2, "nothing is sent: proxy is down"),
            (
                vec![("/door/open", json!(false)), ("/door/reason", json!("store_full"))],
                2,
                "CRITICAL: events are refused: store_full |",
            ),
            (
                vec![
                    ("/door/open", json!(false)),
                    ("/door/reason", json!("disk_full")),
                    ("/door/attempts_held", json!(true)),
                    ("/store/reserve/present", json!(false)),
                    ("/spools/0/in_failed", json!(1)),
                ],
                2,
                "CRITICAL: events are refused: disk_full, and nothing is sent; 1 spool file is in failed/ (see `posthaste spool list`) |",
            ),
        ] {
            let (found, line) = checked(&changes, None);
            assert_eq!(found, code, "{line}");
            assert!(line.contains(said) && line.lines().count() == 1, "{line}\nand not {said}");
        }
    }

    #[test]
    fn what_has_waited_for_too_long() {
        for (most, code) in [(None, 0), (Some(180), 0), (Some(179), 1)] {
            let (found, line) = checked(&[], most.map(Duration::from_secs));
            assert_eq!(found, code, "{line}");
            assert_eq!(
                line.contains("the oldest pending event was accepted 3m ago, more than 2m59s"),
                code == 1,
                "{line}"
            );
        }
        let (found, line) = checked(&[("/oldest_pending", Value::Null)], Some(Duration::ZERO));
        assert_eq!((found, line.contains("oldest")), (0, false), "{line}");
    }

    #[test]
    fn what_cannot_be_told() {
        let mut status =
            json!({"version": "0.1.0", "started_at": "2026-11-22T01:00:00.000Z", "state": "running"});
        let now = NOW.parse().expect("a time");
        let said =
            |status: &Value| check(&serde_json::from_value(status.clone()).expect("a status"), None, now);
        assert_eq!(said(&status).exit.code(), 3);
        status["door"] = json!({"open": false, "reason": "store_full", "since": null, "help": null});
        assert_eq!(said(&status).line, "posthaste CRITICAL: events are refused: store_full");
        for (error, code) in [
            (CliError::Timeout { seconds: 60 }, 2),
            (CliError::Io("the connection broke\nat once".to_owned()), 2),
            (CliError::Answer("no JSON".to_owned()), 3),
        ] {
            let checked = failed(&error);
            assert_eq!((checked.exit.code(), checked.line.lines().count()), (code, 1), "{}", checked.line);
        }
    }
}
