//! The tarball, on a machine without the package.

use serde_json::json;

use super::machine::Machine;

/// Installed by its script it is what the package is; installed again it keeps the configuration.
pub fn installed_by_its_script(machine: &Machine) {
    let tarball = machine.copy(&machine.prepared.tarball);
    machine.ok(&format!("mkdir /root/tarball && tar -C /root/tarball --strip-components=1 -xf {tarball}"));
    machine.ok("/root/tarball/install.sh");
    for asked in ["is-active", "is-enabled"] {
        machine.ok(&format!("systemctl {asked} posthaste.service posthaste.socket"));
    }
    machine.emit("a.b", &json!({}));
    machine.ok("echo '# mine' >> /etc/posthaste/posthaste.toml && /root/tarball/install.sh");
    machine.ok("grep -q '^# mine' /etc/posthaste/posthaste.toml");
    machine.emit("a.b", &json!({}));
}

/// Taken away, it is gone, and leaves the configuration and the store.
pub fn removed_by_its_script(machine: &Machine) {
    machine.ok("/root/tarball/install.sh --uninstall");
    assert_eq!(machine.run("systemctl list-units --all --no-legend 'posthaste*'").stdout, "");
    machine.ok("test -s /var/lib/posthaste/outbox.redb && grep -q '^# mine' /etc/posthaste/posthaste.toml");
    assert_eq!(machine.run("find /etc/systemd /usr -xdev -name '*posthaste*'").stdout, "");
}
