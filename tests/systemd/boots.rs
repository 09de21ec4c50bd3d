//! The machine as a whole: reboots, and the order in which service and socket are started.

use serde_json::json;

use super::{
    machine::Machine,
    service::Hooks,
    support::{
        config::{endpoint, profile},
        eventually,
    },
};

/// The endpoint's port while nothing listens there, and the schedule that is quick about it.
fn point_to(machine: &Machine, url: &str) {
    let schedule = profile("quick", &["0s", "500ms", "500ms", "1s", "1s", "1s", "1s", "1h"], "");
    machine.configure("50-hooks", &(endpoint("erp", url, &["*"], "quick") + &schedule));
}

/// After a reboot all is back by itself, and goes on with what was pending; the daemon was stopped in order.
pub fn rebooted_it_comes_back_by_itself(machine: &mut Machine) {
    // Port 9 takes nothing.
    point_to(machine, "http://127.0.0.1:9/");
    machine.ok("systemctl reload posthaste");
    let event = machine.emit("a.b", &json!({"before": "the reboot"}));
    machine.reboot();
    assert_eq!(machine.ok("systemctl is-active posthaste.service posthaste.socket"), "active\nactive\n");
    let said = machine.ok("journalctl --boot --unit=posthaste.service --output=cat");
    assert!(!said.contains("was not closed"), "it was stopped in order: {said}");
    let hooks = Hooks::on(machine);
    point_to(machine, &hooks.url("/"));
    machine.ok("systemctl reload posthaste");
    assert_eq!(hooks.wait(1)[0].json(), json!({"before": "the reboot"}));
    machine.settled();
    assert_eq!(machine.get(&format!("/v1/events/{event}"))["id"], json!(event));
}

/// A service that is started before its socket was has it all the same.
pub fn the_service_started_first_has_its_socket(machine: &mut Machine) {
    machine.ok("systemctl disable posthaste.service posthaste.socket");
    machine.reboot();
    let active = machine.run("systemctl is-active posthaste.service posthaste.socket").stdout;
    assert_eq!(active, "inactive\ninactive\n");
    machine.ok("systemctl start posthaste.service");
    assert_eq!(machine.ok("systemctl is-active posthaste.service posthaste.socket"), "active\nactive\n");
    machine.ok("posthaste emit a.b");
    machine.ok("systemctl enable posthaste.service posthaste.socket");
}

/// Stopped, the socket takes the service with it; started again, it starts the service for the first who comes.
pub fn the_socket_stopped_and_started_again(machine: &Machine) {
    machine.ok("systemctl stop posthaste.socket");
    eventually("the service has ended, too", || {
        let active = machine.run("systemctl is-active posthaste.service posthaste.socket").stdout;
        (active == "inactive\ninactive\n").then_some(())
    });
    machine.fails("posthaste emit a.b", 69);
    machine.ok("systemctl start posthaste.socket");
    machine.ok("posthaste emit a.b");
    assert_eq!(machine.ok("systemctl is-active posthaste.service"), "active\n");
}
