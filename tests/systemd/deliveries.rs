//! Where events go from a machine: by its certificates, with its credentials, and what its journal tells.

use rustls::ALL_VERSIONS;
use serde_json::{Value, json};

use super::{
    machine::Machine,
    nameserver::Nameserver,
    service::Hooks,
    support::{
        authority::Authority,
        config::{KEY, endpoint, endpoint_with_secret, profile, secret},
        eventually,
        receiver::{Receiver, Reply},
        sign::check_standard,
    },
};

/// Makes an event for an endpoint alone, and waits until its delivery has ended.
fn ended(machine: &Machine, event_type: &str) -> Value {
    let event = machine.emit(event_type, &json!({}));
    let delivery = eventually("the delivery has ended", || {
        let deliveries = machine.get(&format!("/v1/deliveries?event={event}"));
        deliveries["items"].as_array()?.iter().find(|delivery| delivery["status"] != "pending").cloned()
    });
    machine.get(&format!("/v1/deliveries/{}", delivery["id"].as_str().expect("an id")))
}

/// The receiver for trying things out verifies what comes, and saves it.
pub fn to_posthaste_listen(machine: &Machine) {
    let secret = secret();
    machine.write("/root/secret", &secret);
    machine.ok("systemd-run --quiet --unit=listen --collect --property=StandardOutput=file:/root/seen \
         posthaste listen --json --port 8471 --secret @/root/secret --save /root/hooks");
    eventually("it listens", || {
        machine.run("curl --silent http://127.0.0.1:8471/ -d x").status.success().then_some(())
    });
    machine
        .configure("60-listen", &endpoint("listen", "http://127.0.0.1:8471/", &["to.listen"], "posthaste"));
    machine.ok("systemctl reload posthaste");
    machine.emit("to.listen", &json!({"n": 1}));
    machine.settled();
    let seen = machine.ok("tail -n 1 /root/seen");
    let seen: Value = serde_json::from_str(&seen).expect("a line is JSON");
    assert_eq!((&seen["verified"], &seen["answer"]), (&json!(true), &json!(200)), "{seen}");
    let saved = seen["saved"].as_str().expect("a path");
    assert!(machine.ok(&format!("cat {saved}*")).contains("to.listen"), "{seen}");
    machine.ok("systemctl stop listen.service && rm /etc/posthaste/conf.d/60-listen.toml && systemctl reload posthaste");
}

/// A template's numbers are the event's. The features of the crates that the package is built of are other ones than those of the
/// tests, which would not see it.
pub fn by_a_template(machine: &Machine) {
    const NUMBER: &str = "0.010533735663047241";
    let hooks = Hooks::on(machine);
    let form = "[profiles.form]\nretry = [\"0s\"]\n[profiles.form.body]\nformat = \"template\"\n\
                template = '{\"number\": {{ data.n | tojson }}}'\n";
    machine.configure("60-form", &(endpoint("form", &hooks.url("/"), &["to.form"], "form") + form));
    machine.ok("systemctl reload posthaste");
    machine.ok(&format!("posthaste emit to.form '{{\"n\":{NUMBER}}}'"));
    assert_eq!(hooks.wait(1)[0].text(), format!("{{\"number\": {NUMBER}}}"));
    machine.ok("rm /etc/posthaste/conf.d/60-form.toml && systemctl reload posthaste");
}

/// A name is looked up from within the sandbox at the server that the machine has for it, at each attempt anew.
pub fn to_a_name_that_a_server_knows(machine: &Machine) {
    let hooks = Hooks::on(machine);
    let port = hooks.address().port();
    let url = format!("http://receiver.test:{port}/");
    let often =
        endpoint("named", &url, &["to.named"], "often") + &profile("often", &["0s", "2s", "2s", "2s"], "");
    machine.configure("60-named", &often);
    machine.ok("systemctl reload posthaste");
    // Nothing answers for names yet.
    machine.write("/etc/resolv.conf", "nameserver 127.0.0.53\noptions timeout:1 attempts:1\n");
    let event = machine.emit("to.named", &json!({"n": 1}));
    let attempts = || {
        let deliveries = machine.get(&format!("/v1/deliveries?event={event}"));
        let id = deliveries["items"][0]["id"].as_str().expect("it has one").to_owned();
        machine.get(&format!("/v1/deliveries/{id}"))["attempts"].as_array().map_or(0, Vec::len)
    };
    eventually("the name is not found", || (attempts() == 1).then_some(()));
    let nameserver = Nameserver::on(machine, "127.0.0.53");
    assert_eq!(hooks.wait(1)[0].header("host"), format!("receiver.test:{port}"));
    assert!(nameserver.asked().iter().all(|name| name == "receiver.test"), "{:?}", nameserver.asked());
    machine.settled();
    assert!(attempts() > 1);
    machine.ok("rm /etc/resolv.conf /etc/posthaste/conf.d/60-named.toml && systemctl reload posthaste");
}

/// An https receiver is trusted by a bundle of the configuration's, or by the system's roots, and else not.
pub fn over_tls(machine: &Machine) {
    let authority = Authority::new("the house's own");
    let hooks = Hooks::made(machine, || authority.receiver(("localhost", 2040), None, ALL_VERSIONS));
    // By a name, which is looked up from within the sandbox.
    let url = format!("https://localhost:{}/", hooks.address().port());
    let once = endpoint("tls", &url, &["to.tls"], "once") + &profile("once", &["0s"], "");
    machine.configure("60-tls", &once);
    machine.ok("systemctl reload posthaste");
    let refused = ended(machine, "to.tls");
    assert_eq!(refused["attempts"][0]["response"]["failure"], "tls", "{refused}");

    machine.write("/etc/posthaste/ca.pem", &authority.root.pem());
    machine.configure("60-tls", &format!("network.ca_bundle = \"/etc/posthaste/ca.pem\"\n{once}"));
    machine.ok("systemctl reload posthaste");
    assert_eq!(ended(machine, "to.tls")["status"], "succeeded", "by the bundle");

    machine.configure("60-tls", &once);
    machine.write("/usr/local/share/ca-certificates/house.crt", &authority.root.pem());
    machine.ok("rm /etc/posthaste/ca.pem && update-ca-certificates && systemctl reload posthaste");
    assert_eq!(ended(machine, "to.tls")["status"], "succeeded", "by the system's roots");
    machine.ok("rm /etc/posthaste/conf.d/60-tls.toml && systemctl reload posthaste");
}

/// A credential that is not there holds an endpoint, and nothing else; there, as a file or encrypted, it signs.
pub fn with_credentials(machine: &Machine) {
    let hooks = Hooks::on(machine);
    let text = endpoint_with_secret("vault", &hooks.url("/"), &["to.vault"], "raw", "@credential:vault-key");
    machine.configure("60-vault", &text);
    machine.ok("systemctl restart posthaste");
    machine.wait_for_status("credential");
    machine.wait_for_log("vault-key");
    machine.emit("to.vault", &json!({"n": 1}));
    let endpoints = machine.list("/v1/endpoints");
    let vault = endpoints.iter().find(|endpoint| endpoint["name"] == "vault").expect("it is configured");
    assert_eq!(vault["disabled_reason"], "no_credential");
    let status = machine.ok("posthaste status");
    assert!(status.contains("vault-key") && status.contains("/etc/posthaste/credentials"), "{status}");

    machine.write("/etc/posthaste/credentials/vault-key", &format!("{}\n", secret()));
    machine.ok("chmod 600 /etc/posthaste/credentials/vault-key && systemctl restart posthaste");
    check_standard(&hooks.wait(1)[0], KEY);

    machine.ok(
        "install -d -m 700 /etc/credstore.encrypted && systemd-creds encrypt --quiet --with-key=host --name=vault-key \
         /etc/posthaste/credentials/vault-key /etc/credstore.encrypted/vault-key && rm /etc/posthaste/credentials/vault-key",
    );
    machine.drop_in("posthaste.service", "vault", "[Service]\nLoadCredentialEncrypted=vault-key\n");
    machine.ok("systemctl restart posthaste");
    machine.emit("to.vault", &json!({"n": 2}));
    check_standard(&hooks.wait(2)[1], KEY);
    machine.without_drop_in("posthaste.service", "vault");
    machine.ok("rm /etc/posthaste/conf.d/60-vault.toml /etc/credstore.encrypted/vault-key && systemctl restart posthaste");
}

/// Without the directory of credentials the unit starts all the same; one that a drop-in names comes from the credstore.
pub fn with_a_credential_of_the_credstore(machine: &Machine) {
    let hooks = Hooks::on(machine);
    let text = endpoint_with_secret("store", &hooks.url("/"), &["to.store"], "raw", "@credential:store-key");
    machine.configure("60-store", &text);
    machine.ok("mv /etc/posthaste/credentials /root/credentials && systemctl restart posthaste");
    machine.wait_for_status("credential");
    machine.emit("to.store", &json!({"n": 1}));
    machine.write("/etc/credstore/store-key", &secret());
    machine.ok("chmod 600 /etc/credstore/store-key");
    machine.drop_in("posthaste.service", "store", "[Service]\nLoadCredential=store-key\n");
    machine.ok("systemctl restart posthaste");
    check_standard(&hooks.wait(1)[0], KEY);

    // The directory is there again: what a drop-in names wins.
    machine.ok("mv /root/credentials /etc/posthaste/credentials && echo another >/etc/posthaste/credentials/store-key");
    machine.ok("systemctl restart posthaste");
    machine.emit("to.store", &json!({"n": 2}));
    check_standard(&hooks.wait(2)[1], KEY);
    machine.without_drop_in("posthaste.service", "store");
    machine.ok(
        "rm /etc/posthaste/conf.d/60-store.toml /etc/credstore/store-key /etc/posthaste/credentials/store-key && \
         systemctl restart posthaste",
    );
}

/// A delivery is found in the journal by its id, and its kind by that, with what the catalog says of it.
pub fn told_by_the_journal(machine: &Machine) {
    let hooks = Hooks::answering(machine, |_| Reply::Status(500));
    let once = endpoint("journal", &hooks.url("/"), &["to.journal"], "once") + &profile("once", &["0s"], "");
    machine.configure("60-journal", &once);
    machine.ok("systemctl reload posthaste");
    let failed = ended(machine, "to.journal");
    assert_eq!(failed["status"], "failed", "{failed}");
    let field = format!("POSTHASTE_DELIVERY={}", failed["id"].as_str().expect("an id"));
    let entries = machine.journal(&field);
    assert!(!entries.is_empty(), "nothing has {field}");
    for entry in &entries {
        assert_eq!(entry["SYSLOG_IDENTIFIER"], "posthaste", "{entry}");
        assert_eq!(entry["_SYSTEMD_UNIT"], "posthaste.service", "{entry}");
        for name in ["MESSAGE", "MESSAGE_ID", "PRIORITY", "POSTHASTE_ENDPOINT", "POSTHASTE_EVENT"] {
            assert!(entry[name].is_string(), "no {name}: {entry}");
        }
    }
    let kind = format!("MESSAGE_ID={}", entries[0]["MESSAGE_ID"].as_str().expect("a text"));
    assert!(machine.journal(&kind).contains(&entries[0]), "{kind}");
    let explained = machine.ok(&format!("journalctl --boot --catalog {kind}"));
    assert!(explained.contains("Subject: A delivery failed for good"), "{explained}");
    machine.ok("rm /etc/posthaste/conf.d/60-journal.toml && systemctl reload posthaste");
}

/// A reload has done all of it when it returns.
pub fn to_where_a_reload_has_just_said(machine: &Machine) {
    let (first, second) = (Hooks::on(machine), Hooks::on(machine));
    for round in 0..10 {
        let (here, there): (&Receiver, &Receiver) =
            if round % 2 == 0 { (&first, &second) } else { (&second, &first) };
        machine.configure("60-turn", &endpoint("turn", &here.url("/"), &["to.turn"], "raw"));
        machine.ok("systemctl reload posthaste");
        assert_eq!(machine.show("ActiveState"), "active", "not `reloading` any more");
        let before = (here.hooks().len(), there.hooks().len());
        machine.emit("to.turn", &json!({"round": round}));
        here.wait(before.0 + 1);
        assert_eq!(there.hooks().len(), before.1, "nothing goes where it went before");
    }
    machine.ok("rm /etc/posthaste/conf.d/60-turn.toml && systemctl reload posthaste");
}
