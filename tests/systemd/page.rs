//! What docs/operations.md tells operators to write and to run: on a machine, as it stands there.

use std::{fs, path::Path};

use super::{machine::Machine, support::eventually};

/// The blocks of the page in this language.
fn blocks(language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs::read_to_string(path).expect("docs/operations.md");
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|block| block.split("```").next().expect("its end").to_owned()).collect()
}

/// Writes each drop-in, and each unit, where its first line says. What they name is made as the text around them says.
fn write_all(machine: &Machine) {
    machine.ok(
        "install -d -o posthaste -g posthaste-producers -m 2770 /srv/scans && \
         useradd --create-home scanner && install -d -o posthaste -g posthaste-producers -m 2770 /home/scanner/drop && \
         install -d -o posthaste -g posthaste -m 750 /data/posthaste /var/backups/posthaste && \
         install -d -m 700 /etc/credstore.encrypted && \
         printf secret | systemd-creds encrypt --quiet --with-key=host --name=erp-secret - /etc/credstore.encrypted/erp-secret",
    );
    let somebody = "[Service]\nType=oneshot\nExecStart=/usr/bin/touch /run/paged-%i\n";
    machine.write("/etc/systemd/system/page-somebody@.service", somebody);
    let blocks = blocks("ini");
    assert!(blocks.len() > 10, "{blocks:?}");
    for (number, block) in blocks.iter().enumerate() {
        let (first, text) = block.split_once('\n').expect("a line that says where it goes");
        match first.strip_prefix("# systemctl edit ") {
            Some(unit) => machine.drop_in(unit, &format!("page-{number}"), text),
            None => machine.write(first.strip_prefix("# ").expect("a path"), text),
        }
    }
    machine.ok("systemctl daemon-reload");
    let units =
        "posthaste.service posthaste.socket posthaste-http.socket page-somebody@posthaste.service.service";
    let said = machine.run(&format!("systemd-analyze verify --man=no {units}"));
    assert_eq!((said.status.code(), said.stderr.as_str()), (Some(0), ""), "{said:?}");
}

/// All drop-ins of the page at once, each seen by what it is for.
pub fn its_drop_ins(machine: &Machine) {
    write_all(machine);
    machine.configure(
        "60-page",
        "store.path = \"/data/posthaste/outbox.redb\"\nlisten.http = \"127.0.0.1:443\"\n\
         [[spool]]\npath = \"/srv/scans\"\n[[spool]]\npath = \"/home/scanner/drop\"\n",
    );
    machine.ok("systemctl stop posthaste.socket posthaste.service && systemctl enable --quiet --now posthaste-http.socket && systemctl start posthaste");
    for spool in ["/srv/scans", "/home/scanner/drop"] {
        machine.write(&format!("{spool}/.1.json"), r#"{"type":"a.b"}"#);
        machine.ok(&format!("mv {spool}/.1.json {spool}/1.json"));
        eventually("the file is taken", || {
            machine.run(&format!("test -e {spool}/1.json")).status.code().filter(|code| *code == 1)
        });
    }
    machine.ok("test -s /data/posthaste/outbox.redb");
    machine.ok("posthaste store backup /var/backups/posthaste/one.redb && posthaste store check --store /var/backups/posthaste/one.redb");
    assert_eq!(machine.ok("stat -c %a /run/posthaste/posthaste.sock"), "666\n");
    assert_eq!(
        machine.ok("curl --silent --show-error http://127.0.0.1:443/healthz -o /dev/null -w '%{http_code}'"),
        "200"
    );
    assert!(machine.log().iter().any(|entry| entry["PRIORITY"] == "7"), "debug is in the log");
    for (property, value) in [("WatchdogUSec", "10min"), ("CPUWeight", "20"), ("MemoryMax", "536870912")] {
        assert_eq!(machine.show(property), value, "{property}");
    }
    let pid = machine.pid();
    machine.ok(&format!("test -s /proc/{pid}/root/run/credentials/posthaste.service/erp-secret"));

    // It is down for good only once nothing starts it any more.
    machine.configure("70-wrong", "wrong = 1\n");
    machine.fails("systemctl restart posthaste", 1);
    eventually("somebody is told", || machine.run("ls /run/paged-*").status.success().then_some(()));
    machine.ok("rm /etc/posthaste/conf.d/70-wrong.toml /etc/posthaste/conf.d/60-page.toml");
    machine.ok("systemctl disable --quiet --now posthaste-http.socket && rm -r /etc/systemd/system/posthaste.*.d && systemctl daemon-reload");
    machine.ok("systemctl restart posthaste.socket posthaste.service");
}

/// A backup, and the store put back by root with the daemon stopped, who then goes on with it.
pub fn its_backup_and_restore(machine: &Machine) {
    let event = machine.emit("a.b", &serde_json::json!({"before": "the backup"}));
    machine.settled();
    let blocks: Vec<_> = blocks("sh").into_iter().filter(|block| block.contains("posthaste store")).collect();
    assert_eq!(blocks.len(), 2, "{blocks:?}");
    for block in blocks {
        machine.write("/root/block", &block);
        machine.ok("sh -eu /root/block");
    }
    assert_eq!(machine.get(&format!("/v1/events/{event}"))["id"], event);
    assert_eq!(
        machine.ok("stat -c '%a %U:%G' /var/lib/posthaste/outbox.redb").trim(),
        "600 posthaste:posthaste"
    );
}

/// The first minute, as the README has it.
pub fn the_first_minute(machine: &Machine) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let page = fs::read_to_string(path).expect("README.md");
    let (_, section) = page.split_once("\n## Installing\n").expect("its section");
    let (_, block) = section.split_once("```sh\n").expect("its block");
    machine.write("/root/block", block.split("```").next().expect("its end"));
    machine.ok("sh -eu /root/block");
    eventually("the first delivery", || {
        let listed = machine.ok("posthaste delivery list --status succeeded --endpoint first --json");
        listed.contains("dlv_").then_some(())
    });
    machine.ok("pkill --full '^posthaste listen' && rm /etc/posthaste/conf.d/first.toml && systemctl reload posthaste");
}
