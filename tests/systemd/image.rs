//! The package in the image of an appliance: installed where no systemd runs, and booted later.

use serde_json::json;

use super::{life::its_files_are_guarded, machine::Machine, prepared::Prepared};

/// Installed in the image, by a dpkg within it; the image is booted as a machine that has been booted before.
pub fn within(prepared: &Prepared) -> String {
    let deb = prepared.debs[1].display();
    format!(
        "cp '{deb}' \"$machine/root/it.deb\"; chroot \"$machine\" dpkg --install /root/it.deb; rm \"$machine/root/it.deb\""
    )
}

/// Installed by the dpkg of whoever builds it, with the image as another root; the machine is booted for the first time.
pub fn from_outside(prepared: &Prepared) -> String {
    let deb = prepared.debs[1].display();
    format!(
        "dpkg --log=/dev/null --root=\"$machine\" --force-script-chrootless --install '{deb}'; {FIRST_BOOT}"
    )
}

/// As images are shipped: the machine gets its number when it is booted first, and units are enabled by their presets.
const FIRST_BOOT: &str = "echo uninitialized >\"$machine/etc/machine-id\"";

/// The first boot brings the service up, as an installation on the machine would have.
pub fn booted_it_is_active(machine: &Machine) {
    for asked in ["is-active", "is-enabled"] {
        let word = asked.strip_prefix("is-").expect("it begins so");
        assert_eq!(machine.units(asked), [word, word].map(str::to_owned));
    }
    machine.emit("a.b", &json!({}));
    its_files_are_guarded(machine);
}
