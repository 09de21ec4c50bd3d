//! The service on a machine, as an operator sees it, and its socket and its receivers from outside.

use std::{ops::Deref, path::PathBuf};

use serde_json::{Value, json};

use super::{
    machine::{Machine, Network},
    support::{
        eventually,
        http::{self, Answer},
        receiver::{Hook, Receiver, Reply},
    },
};

/// Receives on the network of a machine.
pub struct Hooks {
    /// Always there, until it is dropped.
    receiver: Option<Receiver>,
    network: Network,
}

impl Hooks {
    /// A receiver that takes everything.
    pub fn on(machine: &Machine) -> Self {
        Self::answering(machine, |_| Reply::Status(204))
    }

    /// One that answers as `script` says.
    pub fn answering(machine: &Machine, script: impl Fn(&Hook) -> Reply + Send + Sync + 'static) -> Self {
        Self::made(machine, || Receiver::answering(script))
    }

    /// One that `make` makes there.
    pub fn made(machine: &Machine, make: impl FnOnce() -> Receiver + Send) -> Self {
        let network = machine.network();
        Self { receiver: Some(network.does(make)), network }
    }
}

impl Deref for Hooks {
    type Target = Receiver;

    fn deref(&self) -> &Receiver {
        self.receiver.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        // It wakes its listener by a connection, which it makes where that listens.
        let receiver = self.receiver.take();
        self.network.does(|| drop(receiver));
    }
}

impl Machine {
    /// Installs a package, without asking for any other.
    pub fn install(&self, deb: &std::path::Path) {
        let inside = self.copy(deb);
        self.ok(&format!("apt-get -q install --yes --no-install-recommends {inside}"));
    }

    /// Has dpkg alone install a package, an older one than what is there, too; a changed configuration stays.
    pub fn dpkg_install(&self, deb: &std::path::Path) {
        let inside = self.copy(deb);
        self.ok(&format!("dpkg --force-confold --install {inside}"));
    }

    /// Whether the service and its socket are what `asked` asks of them, a word each.
    pub fn units(&self, asked: &str) -> [String; 2] {
        let said = self.run(&format!("systemctl {asked} posthaste.service posthaste.socket")).stdout;
        let mut words = said.lines().map(str::to_owned);
        [(); 2].map(|()| words.next().unwrap_or_else(|| panic!("a line for each unit: {said}")))
    }

    /// A property of the service.
    pub fn show(&self, property: &str) -> String {
        self.ok(&format!("systemctl show posthaste.service --value --property={property}")).trim().to_owned()
    }

    /// The daemon's number inside; it runs.
    pub fn pid(&self) -> u32 {
        let pid = self.show("MainPID").parse().expect("a number");
        // Signalled, 0 would be this whole group, and 1 the machine.
        assert!(pid > 1, "it does not run: {}", self.run("systemctl status posthaste").stdout);
        pid
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, name: &str) {
        self.ok(&format!("kill -{name} {}", self.pid()));
    }

    /// Waits until the daemon is another than that of number `before`, and ready.
    pub fn wait_for_another(&self, before: u32) {
        eventually("another daemon is ready", || {
            let shown = self.ok("systemctl show posthaste.service --property=MainPID,ActiveState");
            let is = |line: &str| shown.lines().any(|have| have == line);
            let another = !is(&format!("MainPID={before}")) && !is("MainPID=0");
            (another && is("ActiveState=active")).then_some(())
        });
    }

    /// Writes a file of the configuration, besides the package's.
    pub fn configure(&self, name: &str, text: &str) {
        self.write(&format!("/etc/posthaste/conf.d/{name}.toml"), text);
    }

    /// Writes a drop-in of a unit, which holds from its next start on.
    pub fn drop_in(&self, unit: &str, name: &str, text: &str) {
        self.write(&format!("/etc/systemd/system/{unit}.d/{name}.conf"), text);
        self.ok("systemctl daemon-reload");
    }

    /// Takes such a drop-in away again.
    pub fn without_drop_in(&self, unit: &str, name: &str) {
        self.ok(&format!("rm /etc/systemd/system/{unit}.d/{name}.conf && systemctl daemon-reload"));
    }

    pub fn socket(&self) -> PathBuf {
        self.path("/run/posthaste/posthaste.sock")
    }

    /// Makes a request as root.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Answer {
        let headers = [("content-type", "application/json")];
        let answer = http::request(&self.socket(), method, path, &headers, body.as_bytes());
        answer.expect("the daemon answers")
    }

    pub fn get(&self, path: &str) -> Value {
        self.request("GET", path, "").expect(200)
    }

    /// All items of a list, page after page.
    pub fn list(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("{path}?limit=500{cursor}"));
            items.extend(page["items"].as_array().expect("a list").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// Hands in an event that must be taken; its id.
    pub fn emit(&self, event_type: &str, data: &Value) -> String {
        let event = json!({"type": event_type, "data": data}).to_string();
        let answer = self.request("POST", "/v1/events", &event).expect(202);
        answer["id"].as_str().expect("an id").to_owned()
    }

    /// Waits until nothing is pending.
    pub fn settled(&self) {
        eventually("nothing is pending", || {
            let status = self.get("/v1/status");
            (status["state"] == "running" && status["pending"]["total"] == 0).then_some(())
        });
    }

    /// Waits until the service's STATUS has a text, and gives it back.
    pub fn wait_for_status(&self, text: &str) -> String {
        eventually(&format!("STATUS says {text}"), || {
            Some(self.show("StatusText")).filter(|status| status.contains(text))
        })
    }

    /// What the service has said in this boot.
    pub fn log(&self) -> Vec<Value> {
        self.journal("--unit=posthaste.service")
    }

    /// Waits until the service has said something with this text; the entry.
    pub fn wait_for_log(&self, text: &str) -> Value {
        eventually(&format!("the journal says {text}"), || {
            let says =
                |entry: &Value| entry["MESSAGE"].as_str().is_some_and(|message| message.contains(text));
            self.log().into_iter().find(says)
        })
    }
}
