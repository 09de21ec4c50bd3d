//! What goes wrong on a machine, and that nothing is lost by it.

use std::time::Duration;

use serde_json::json;

use super::{
    ledger::under_load,
    machine::Machine,
    service::Hooks,
    support::{
        config::{endpoint, profile},
        eventually,
        receiver::{Receiver, Reply},
    },
};

/// A receiver that takes its time, so that there is always something in flight, and more behind it.
pub fn receiver(machine: &Machine) -> Hooks {
    let hooks = Hooks::answering(machine, |_| Reply::After(Duration::from_millis(30), 204));
    let schedule = profile("quick", &["0s", "1s", "1s", "1s"], "concurrency = 2");
    machine.configure("50-hooks", &(endpoint("erp", &hooks.url("/"), &["*"], "quick") + &schedule));
    machine.ok("systemctl reload posthaste");
    hooks
}

/// Killed with work in flight it is back at once, without a connection refused; the store is repaired, nothing is lost, and
/// what comes twice is marked.
pub fn killed(machine: &Machine, hooks: &Receiver) {
    let ledger = under_load(machine, "killed", |load| {
        load.wait(30);
        eventually("there is a backlog", || {
            (machine.get("/v1/status")["pending"]["total"].as_u64() >= Some(20)).then_some(())
        });
        let pid = machine.pid();
        machine.signal("KILL");
        machine.wait_for_another(pid);
        load.wait(30);
    });
    ledger.assert_never_refused();
    ledger.judge(machine, hooks);
    machine.wait_for_log("was not closed");
}

/// Killed again and again it is always back, and never taken for one that cannot be started.
pub fn killed_ten_times_in_a_row(machine: &Machine, hooks: &Receiver) {
    let ledger = under_load(machine, "ten", |load| {
        for _ in 0..10 {
            let pid = machine.pid();
            machine.signal("KILL");
            machine.wait_for_another(pid);
            load.wait(5);
        }
    });
    ledger.assert_never_refused();
    ledger.judge(machine, hooks);
    assert_eq!(machine.show("ActiveState"), "active");
    let said = machine.ok("journalctl --boot --unit=posthaste.service --unit=posthaste.socket --output=cat");
    assert!(!said.contains("repeated too quickly"), "{said}");
}

/// A daemon that does not get on is ended by the watchdog, and another goes on.
pub fn standing_still(machine: &Machine, hooks: &Receiver) {
    machine.drop_in("posthaste.service", "watchdog", "[Service]\nWatchdogSec=2\n");
    machine.ok("systemctl restart posthaste");
    let ledger = under_load(machine, "stopped", |load| {
        load.wait(30);
        let pid = machine.pid();
        machine.signal("STOP");
        machine.wait_for_another(pid);
        load.wait(30);
    });
    ledger.assert_never_refused();
    ledger.judge(machine, hooks);
    machine.wait_for_log("Watchdog timeout");
    machine.without_drop_in("posthaste.service", "watchdog");
    machine.ok("systemctl restart posthaste");
}

/// Restarted while it is used: none is refused, nothing is lost, nothing comes twice.
pub fn restarted_under_load(machine: &Machine, hooks: &Receiver) {
    let ledger = under_load(machine, "restart", |load| {
        for _ in 0..2 {
            load.wait(30);
            machine.ok("systemctl restart posthaste");
        }
        load.wait(30);
    });
    ledger.assert_never_refused();
    assert_eq!(ledger.judge(machine, hooks), 0, "it was stopped in order");
}

/// Stopped with its socket while it is used: it ends in order, and what was acknowledged is delivered when it is back.
pub fn stopped_under_load(machine: &Machine, hooks: &Receiver) {
    let ledger = under_load(machine, "stop", |load| {
        load.wait(60);
        machine.ok("systemctl stop posthaste.socket posthaste.service");
    });
    let shown = machine.ok("systemctl show posthaste.service --property=Result,ExecMainStatus,ActiveState");
    assert_eq!(shown, "Result=success\nExecMainStatus=0\nActiveState=inactive\n");
    machine.ok("systemctl start posthaste");
    assert_eq!(ledger.judge(machine, hooks), 0, "it was stopped in order");
}

const WRONG: &str = "[limits]\nevent_sise = \"1MiB\"\n";

/// A wrong configuration is refused by a reload, and the one before goes on.
pub fn a_wrong_configuration_reloaded(machine: &Machine, hooks: &Receiver) {
    let pid = machine.pid();
    machine.configure("70-wrong", WRONG);
    machine.fails("systemctl reload posthaste", 1);
    assert_eq!((machine.show("ActiveState"), machine.pid()), ("active".to_owned(), pid));
    machine.wait_for_log("/etc/posthaste/conf.d/70-wrong.toml:2");
    let before = hooks.hooks().len();
    machine.emit("a.b", &json!({"after": "a reload that was refused"}));
    hooks.wait(before + 1);
    machine.ok("rm /etc/posthaste/conf.d/70-wrong.toml && systemctl reload posthaste");
}

/// A start with a wrong configuration fails once, however many producers knock, and says where it is wrong; corrected, a start
/// is enough.
pub fn a_wrong_configuration_started(machine: &Machine, hooks: &Receiver) {
    let starts = || {
        let said = machine.ok("journalctl --boot --unit=posthaste.service --output=cat");
        said.matches("Main process exited, code=exited, status=78/CONFIG").count()
    };
    let ledger = under_load(machine, "wrong", |load| {
        load.wait(30);
        machine.configure("70-wrong", WRONG);
        machine.fails("systemctl restart posthaste", 1);
        load.knock(200);
        let shown = machine
            .ok("systemctl show posthaste.service --property=ExecMainStatus,NRestarts,ActiveState,SubState");
        // One that is to be restarted would be `activating`.
        assert_eq!(shown, "NRestarts=0\nExecMainStatus=78\nActiveState=failed\nSubState=failed\n");
        assert_eq!(starts(), 1, "nobody who knocks starts it again");
        let said = machine.ok("journalctl --boot --unit=posthaste.service --output=cat --lines=20");
        assert!(said.contains("/etc/posthaste/conf.d/70-wrong.toml:2"), "{said}");
        assert!(said.contains("event_size"), "what to write instead: {said}");
        machine.ok("rm /etc/posthaste/conf.d/70-wrong.toml && systemctl start posthaste");
        assert_eq!(machine.ok("systemctl is-active posthaste.service posthaste.socket"), "active\nactive\n");
        load.wait(30);
    });
    assert_eq!(ledger.judge(machine, hooks), 0, "it was stopped in order");
}
