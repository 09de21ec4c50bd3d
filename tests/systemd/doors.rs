//! How events come in on a machine, and who may hand them in.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{machine::Machine, service::Hooks, support::eventually};

/// So many that what there is to say of them is more than the log and journald's socket have room for.
const REFUSALS: usize = 4_000;
/// What must come in and go out all the same.
const EVENTS: usize = 50;

/// Waits until an event of this type has come, and gives back its data.
fn delivered(hooks: &Hooks, data: &Value) {
    let came = |hooks: &Hooks| hooks.hooks().iter().any(|hook| hook.json() == *data);
    eventually(&format!("{data} is delivered"), || came(hooks).then_some(()));
}

/// Over the socket: with the command, with curl, as root.
pub fn over_the_socket(machine: &Machine, hooks: &Hooks) {
    let id = machine.ok(r#"posthaste emit a.b '{"by":"emit"}'"#);
    assert!(id.trim().starts_with("evt_"), "{id}");
    let curl = "curl --silent --show-error --fail --unix-socket /run/posthaste/posthaste.sock";
    machine.ok(&format!(r#"{curl} http://localhost/v1/events -d '{{"type":"a.b","data":{{"by":"curl"}}}}'"#));
    for by in ["emit", "curl"] {
        delivered(hooks, &json!({"by": by}));
    }
}

/// As files: renamed, copied, linked, each taken and removed.
pub fn as_files(machine: &Machine, hooks: &Hooks) {
    for by in ["mv", "cp", "ln"] {
        machine.write(&format!("/var/tmp/{by}.json"), &format!(r#"{{"type":"a.b","data":{{"by":"{by}"}}}}"#));
        machine.ok(&format!("cd /var/spool/posthaste && {by} /var/tmp/{by}.json {by}.json"));
    }
    for by in ["mv", "cp", "ln"] {
        delivered(hooks, &json!({"by": by}));
    }
    let left = || machine.ok("find /var/spool/posthaste -type f");
    eventually("what was taken is removed", || left().is_empty().then_some(()));
}

/// A member of the group hands in, over the socket and as a file, and is no operator.
pub fn by_a_member_of_the_producers(machine: &Machine, hooks: &Hooks) {
    machine.ok("useradd --create-home --groups posthaste-producers member");
    let member = "runuser --user member --";
    machine.ok(&format!(r#"{member} posthaste emit a.b '{{"by":"member"}}'"#));
    machine.write("/home/member/file", r#"{"type":"a.b","data":{"by":"member's file"}}"#);
    machine.ok(&format!("{member} sh -c 'umask 027; cp /home/member/file /var/spool/posthaste/member.json'"));
    for by in ["member", "member's file"] {
        delivered(hooks, &json!({"by": by}));
    }
    let refused = machine.fails(&format!("{member} posthaste reload"), 77);
    assert!(refused.contains(r#"[[access]] rule 1 (group = "posthaste-producers")"#), "{refused}");
    // Neither the configuration nor the store are a producer's to read.
    for path in ["/etc/posthaste/posthaste.toml", "/var/lib/posthaste/outbox.redb"] {
        machine.fails(&format!("{member} cat {path}"), 1);
    }
}

/// Who is outside of the group does not reach the socket; let to it, they are told which rule they would need.
pub fn by_somebody_else(machine: &Machine) {
    machine.ok("useradd --create-home outsider");
    let emit = "runuser --user outsider -- posthaste emit a.b";
    let refused = machine.fails(emit, 77);
    assert!(refused.contains("ermission"), "{refused}");
    machine.fails("runuser --user outsider -- touch /var/spool/posthaste/outsider.json", 1);

    machine.drop_in("posthaste.socket", "open", "[Socket]\nSocketMode=0666\n");
    machine.ok("systemctl restart posthaste.socket posthaste.service");
    let uid = machine.ok("id --user outsider");
    let refused = machine.fails(emit, 77);
    assert!(refused.contains(&format!("no [[access]] rule matches uid {}", uid.trim())), "{refused}");
    machine.without_drop_in("posthaste.socket", "open");
    machine.ok("systemctl restart posthaste.socket posthaste.service");
    assert_eq!(machine.ok("stat -c %a /run/posthaste/posthaste.sock"), "660\n");
}

/// A spool directory of the operator's is read-only in the sandbox: the daemon says which drop-in to write, and with it
/// takes what lies there.
pub fn from_a_directory_elsewhere(machine: &Machine, hooks: &Hooks) {
    machine.ok("install -d -o posthaste -g posthaste-producers -m 2770 /srv/drop");
    machine.write("/srv/drop/1.json", r#"{"type":"a.b","data":{"by":"elsewhere"}}"#);
    machine.configure("60-spool", "[[spool]]\npath = \"/srv/drop\"\n");
    machine.ok("systemctl restart posthaste");
    let problem = eventually("the status names the directory", || {
        let status = machine.get("/v1/status");
        let spools = status["spools"].as_array().expect("a list");
        spools.iter().find(|spool| spool["path"] == "/srv/drop")?["problem"].as_str().map(str::to_owned)
    });
    for told in ["systemctl edit posthaste", "[Service]", "ReadWritePaths=/srv/drop"] {
        assert!(problem.contains(told), "{problem}");
    }
    machine.wait_for_log("ReadWritePaths=/srv/drop");
    machine.drop_in("posthaste.service", "spool", "[Service]\nReadWritePaths=/srv/drop\n");
    machine.ok("systemctl restart posthaste");
    delivered(hooks, &json!({"by": "elsewhere"}));
    machine.ok("rm /etc/posthaste/conf.d/60-spool.toml");
    machine.without_drop_in("posthaste.service", "spool");
    machine.ok("systemctl restart posthaste");
}

/// Over TCP, with a key and not without.
pub fn over_tcp_with_a_key(machine: &Machine, hooks: &Hooks) {
    machine.configure("60-http", "[listen]\nhttp = \"127.0.0.1:8470\"\n");
    machine.ok("systemctl restart posthaste");
    machine.ok("posthaste key add --role producer > /root/key");
    let post = r#"http://127.0.0.1:8470/v1/events -H 'Content-Type: application/json' -d '{"type":"a.b","data":{"by":"tcp"}}'"#;
    let curl = "curl --silent --show-error --fail";
    machine.ok(&format!(r#"{curl} -H "Authorization: Bearer $(cat /root/key)" {post}"#));
    let refused = machine.fails(&format!("{curl} {post}"), 22);
    assert!(refused.contains("401"), "{refused}");
    delivered(hooks, &json!({"by": "tcp"}));
    machine.ok("rm /etc/posthaste/conf.d/60-http.toml");
    machine.ok("systemctl restart posthaste");
}

/// A journald that stands still holds up nothing, however much there is to say; later it is told what it has missed.
pub fn with_a_journald_that_stands_still(machine: &Machine, hooks: &Hooks) {
    machine.drop_in("posthaste.service", "debug", "[Service]\nEnvironment=POSTHASTE_LOG=debug\n");
    machine.ok("systemctl restart posthaste");
    let journald = machine.ok("systemctl show systemd-journald.service --value --property=MainPID");
    let journald: u32 = journald.trim().parse().expect("a number");
    assert!(journald > 1);
    machine.ok(&format!("kill -STOP {journald}"));
    // Each refusal is a line with its path.
    let path = format!("/v1/{}", "x".repeat(200));
    for _ in 0..REFUSALS {
        machine.request("GET", &path, "").problem(404, "not_found");
    }
    for number in 0..EVENTS {
        machine.emit("a.b", &json!({"still": number}));
    }
    let came = || -> BTreeSet<i64> {
        hooks.hooks().iter().filter_map(|hook| hook.json()["still"].as_i64()).collect()
    };
    eventually("all are delivered", || (came().len() == EVENTS).then_some(()));
    machine.ok(&format!("kill -CONT {journald}"));
    machine.wait_for_log("lines of the log are lost here");
    machine.without_drop_in("posthaste.service", "debug");
    machine.ok("systemctl restart posthaste");
}
