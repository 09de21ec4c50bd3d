//! The life of the package: installed, upgraded while it is used, removed, installed again, purged.

use std::{
    collections::BTreeSet,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::{Value, json};

use super::{
    ledger::under_load,
    machine::Machine,
    service::Hooks,
    support::{
        config::{KEY, endpoint},
        receiver::Reply,
        sign::check_standard,
    },
};

/// The service is up as soon as the package is, under its own user, and a second start is nothing.
pub fn installed_it_is_active(machine: &Machine) {
    machine.install(&machine.prepared.debs[0]);
    assert_eq!(machine.ok("systemctl is-active posthaste.service posthaste.socket"), "active\nactive\n");
    assert_eq!(machine.ok("systemctl is-enabled posthaste.service posthaste.socket"), "enabled\nenabled\n");
    let pid = machine.pid();
    machine.ok("systemctl start posthaste.service posthaste.socket");
    assert_eq!(machine.pid(), pid, "a second start is nothing");
    assert_eq!(machine.ok(&format!("stat -c %U:%G /proc/{pid}")), "posthaste:posthaste\n");
    machine.wait_for_status("accepting events");
    let says = machine.ok("systemctl status posthaste.service");
    assert!(says.contains("Status: \"accepting events"), "{says}");
    machine.ok("posthaste status");
}

/// Who owns what, and who may.
pub fn its_files_are_guarded(machine: &Machine) {
    for (path, wanted) in [
        ("/etc/posthaste", "750 root:posthaste"),
        ("/etc/posthaste/conf.d", "750 root:posthaste"),
        ("/etc/posthaste/posthaste.toml", "640 root:posthaste"),
        ("/run/posthaste/posthaste.sock", "660 root:posthaste-producers"),
        ("/var/lib/posthaste", "750 posthaste:posthaste"),
        ("/var/lib/posthaste/outbox.redb", "600 posthaste:posthaste"),
        ("/var/spool/posthaste", "2770 posthaste:posthaste-producers"),
    ] {
        assert_eq!(machine.ok(&format!("stat -c '%a %U:%G' {path}")).trim(), wanted, "{path}");
    }
    let groups = machine.ok("id --name --groups posthaste");
    assert_eq!(groups.trim(), "posthaste", "the unit gives it the other group");
    assert_eq!(machine.ok("getent group posthaste | cut -d: -f4"), "\n", "nobody else is in its group");
}

/// systemd finds nothing wrong with the units, and the running one tight.
pub fn systemd_thinks_well_of_it(machine: &Machine) {
    let said = machine.run("systemd-analyze verify --man=no posthaste.service posthaste.socket");
    assert_eq!((said.status.code(), said.stderr.as_str()), (Some(0), ""), "{said:?}");
    // 15 is 1.5.
    machine.ok("systemd-analyze security --threshold=15 posthaste.service");
}

/// A delivery comes signed, from within the sandbox, and STATUS tells of what waits.
pub fn it_delivers_and_says_what_waits(machine: &Machine) {
    let well = Arc::new(AtomicBool::new(false));
    let hooks = Hooks::answering(machine, {
        let well = Arc::clone(&well);
        move |_| if well.load(Ordering::Relaxed) { Reply::Status(204) } else { Reply::Held(204) }
    });
    machine.configure("50-hooks", &endpoint("erp", &hooks.url("/"), &["a.*"], "raw"));
    machine.ok("systemctl reload posthaste");
    for number in 0..3 {
        machine.emit("a.b", &json!({"n": number}));
    }
    hooks.wait(1);
    machine.wait_for_status("3 pending");
    well.store(true, Ordering::Relaxed);
    hooks.release();
    machine.settled();
    for hook in hooks.wait(3) {
        check_standard(&hook, KEY);
    }
    machine.wait_for_status("nothing pending");
}

/// While producers hand in and a probe connects, the package is replaced: none is refused, nothing is lost.
pub fn upgraded_under_load_it_loses_nothing(machine: &Machine) {
    let hooks = Hooks::on(machine);
    machine.configure("50-hooks", &endpoint("erp", &hooks.url("/"), &["*"], "raw"));
    machine.ok("systemctl reload posthaste");
    let version = || machine.ok("dpkg-query --show --showformat='${Version}' posthaste");
    // A socket that is made anew would refuse for a moment that a probe may miss, and forget who waits in it.
    let listening = || machine.ok("systemctl show posthaste.socket --property=ActiveEnterTimestampMonotonic");
    let since = listening();
    let before = (machine.pid(), version());
    let ledger = under_load(machine, "upgrade", |load| {
        load.wait(30);
        machine.install(&machine.prepared.debs[1]);
        load.wait(30);
    });
    assert_ne!(machine.pid(), before.0);
    assert_ne!(version(), before.1);
    assert_eq!(listening(), since);
    ledger.assert_never_refused();
    assert_eq!(ledger.judge(machine, &hooks), 0, "it was stopped in order");
    assert!(
        machine.run("cat /etc/posthaste/conf.d/50-hooks.toml").status.success(),
        "the configuration stays"
    );
}

/// Nothing that a healthy service says is an error.
pub fn it_has_said_nothing_at_the_priority_of_an_error(machine: &Machine) {
    let errors: Vec<Value> =
        machine.journal("--unit=posthaste.service --unit=posthaste.socket --priority=err");
    assert!(errors.is_empty(), "{errors:#?}");
}

/// Removed, it leaves what is the operator's and the producers'; installed again, it goes on with that.
pub fn removed_and_installed_again_it_goes_on(machine: &Machine) {
    let hooks = Hooks::answering(machine, |hook| Reply::Status(if hook.earlier == 0 { 500 } else { 204 }));
    machine.configure("50-hooks", &endpoint("erp", &hooks.url("/"), &["*"], "raw"));
    machine.ok("systemctl reload posthaste");
    let event = machine.emit("a.b", &json!({"kept": true}));
    hooks.wait(1);
    machine.ok("apt-get -q remove --yes posthaste");
    assert_eq!(
        machine.run("systemctl is-active posthaste.service posthaste.socket").stdout,
        "inactive\ninactive\n"
    );
    machine.fails("pgrep --exact posthaste", 1);
    machine.fails("test -e /usr/bin/posthaste", 1);
    machine.ok("test -s /var/lib/posthaste/outbox.redb && test -e /etc/posthaste/posthaste.toml");
    machine.ok("test -e /etc/posthaste/conf.d/50-hooks.toml && test -d /var/spool/posthaste");

    machine.install(&machine.prepared.debs[1]);
    assert_eq!(machine.ok("systemctl is-active posthaste.service posthaste.socket"), "active\nactive\n");
    let came = hooks.wait(2);
    assert_eq!(came[0].header("webhook-id"), came[1].header("webhook-id"), "the same delivery");
    assert_eq!(machine.get(&format!("/v1/events/{event}"))["id"], json!(event));
    machine.settled();
}

/// All paths of the machine that a package could leave behind.
pub fn paths(machine: &Machine) -> BTreeSet<String> {
    let found = machine.ok("find /etc /run /usr /var /home /opt /srv -xdev");
    found.lines().map(str::to_owned).collect()
}

/// Purged, it leaves nothing but its users.
pub fn purged_it_leaves_nothing_but_its_users(machine: &Machine, before: &BTreeSet<String>) {
    machine.ok("apt-get -q purge --yes posthaste");
    // What the system's own programs keep of what was once done.
    let own = |path: &&String| {
        let kept = [
            "/var/log/",
            "/var/cache/",
            "/var/lib/dpkg/",
            "/var/lib/apt/",
            "/run/systemd/",
            "/run/log/",
            "/run/user/",
        ];
        kept.iter().any(|kept| path.starts_with(kept))
            || ["/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-"].contains(&path.as_str())
    };
    let left: Vec<_> =
        paths(machine).into_iter().filter(|path| !before.contains(path) && !own(&path)).collect();
    assert!(left.is_empty(), "{left:#?}");
    machine.ok("getent passwd posthaste && getent group posthaste-producers");
    let listed = machine.run("systemctl list-units --all --no-legend 'posthaste*'").stdout;
    assert_eq!(listed, "");
}
