//! Upgrades as they are found by an operator who has changed the configuration, stopped, disabled or masked the service; and a
//! purge with files that nobody has taken.

use serde_json::json;

use super::{machine::Machine, support::eventually};

const CONFIGURATION: &str = "/etc/posthaste/posthaste.toml";

/// A configuration that the operator has changed, and the package as well: without an answer the package waits, and what runs goes
/// on; with it the operator's stays, and the package's lies beside it, where nothing reads it.
pub fn of_a_configuration_that_both_have_changed(machine: &Machine) {
    machine.dpkg_install(&machine.prepared.debs[0]);
    machine.ok(&format!("echo '# mine' >> {CONFIGURATION}"));
    let deb = machine.copy(&machine.prepared.debs[1]);
    machine.ok(&format!(
        "dpkg-deb --raw-extract {deb} /root/other && echo '# a new default' >> /root/other{CONFIGURATION} && \
         dpkg-deb --build /root/other /root/other.deb"
    ));
    let daemon = machine.pid();
    let unanswered = machine.fails("apt-get -q install --yes /root/other.deb >&2", 100);
    assert!(unanswered.contains("conffile"), "{unanswered}");
    assert_eq!(machine.pid(), daemon, "what runs goes on");
    machine.emit("a.b", &json!({}));

    machine.ok("dpkg --force-confold --configure posthaste");
    assert_ne!(machine.pid(), daemon);
    machine.ok(&format!("grep -q '^# mine' {CONFIGURATION} && ! grep -q '^# a new default' {CONFIGURATION}"));
    machine.ok(&format!("grep -q '^# a new default' {CONFIGURATION}.dpkg-dist && posthaste check"));
    machine.emit("a.b", &json!({}));
}

/// What the operator has stopped is started by an upgrade only where it is started with the machine; disabled and masked units
/// stay what they are.
pub fn of_units_that_the_operator_has_switched_off(machine: &Machine) {
    let both = |word: &str| [word, word].map(str::to_owned);
    machine.ok("systemctl stop posthaste.socket posthaste.service");
    machine.dpkg_install(&machine.prepared.debs[1]);
    assert_eq!(machine.units("is-active"), both("active"), "as is the custom with Debian's services");

    machine.ok("systemctl disable --now posthaste.service posthaste.socket");
    machine.dpkg_install(&machine.prepared.debs[0]);
    assert_eq!(
        (machine.units("is-enabled"), machine.units("is-active")),
        (both("disabled"), both("inactive"))
    );
    machine.ok("systemctl enable --now posthaste.service");
    assert_eq!((machine.units("is-enabled"), machine.units("is-active")), (both("enabled"), both("active")));

    machine.ok("systemctl mask --now posthaste.service posthaste.socket");
    machine.dpkg_install(&machine.prepared.debs[1]);
    assert_eq!((machine.units("is-enabled"), machine.units("is-active")), (both("masked"), both("inactive")));
    machine.ok("systemctl unmask posthaste.service posthaste.socket && systemctl start posthaste.service");
    assert_eq!((machine.units("is-enabled"), machine.units("is-active")), (both("enabled"), both("active")));
}

/// A purge leaves files that nobody has taken, and the next installation takes them.
pub fn purged_over_files_that_nobody_has_taken(machine: &Machine) {
    machine.ok("systemctl stop posthaste.socket posthaste.service");
    machine.write("/var/spool/posthaste/1.json", r#"{"type":"a.b"}"#);
    machine.ok("apt-get -q purge --yes posthaste");
    machine.ok(
        "test -e /var/spool/posthaste/1.json && ! test -e /etc/posthaste && ! test -e /var/lib/posthaste",
    );
    machine.dpkg_install(&machine.prepared.debs[1]);
    eventually("the file is taken", || {
        machine.run("test -e /var/spool/posthaste/1.json").status.code().filter(|code| *code == 1)
    });
    assert_eq!(machine.list("/v1/events").len(), 1);
    assert_eq!(machine.ok("stat -c '%a %U:%G' /var/spool/posthaste"), "2770 posthaste:posthaste-producers\n");
}
