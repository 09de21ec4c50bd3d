//! Load, and the ledger of it: what was acknowledged while something was done to the machine, and what came of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    machine::Machine,
    support::{eventually, http, receiver::Receiver},
};

/// Programs that hand in at the same time.
const PRODUCERS: usize = 3;
/// Between two events of one.
const REST: Duration = Duration::from_millis(4);
/// Between two connections of the probe.
const PROBE: Duration = Duration::from_millis(5);

/// What was seen.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By what stands in an event: its id, when it was acknowledged.
    pub acknowledged: BTreeMap<String, String>,
    /// How often the probe was let in.
    pub connected: usize,
    /// What it was told else.
    pub refused: Vec<String>,
}

/// What goes on meanwhile, for those who wait until it has got so far.
#[derive(Default)]
pub struct Load {
    acknowledged: AtomicUsize,
    knocked: AtomicUsize,
}

impl Load {
    /// Waits until so many more events are acknowledged.
    pub fn wait(&self, more: usize) {
        wait("events are acknowledged", &self.acknowledged, more);
    }

    /// Waits until the probe has tried to connect so many times more, whatever it was told.
    pub fn knock(&self, more: usize) {
        wait("the probe goes on", &self.knocked, more);
    }
}

fn wait(what: &str, count: &AtomicUsize, more: usize) {
    let until = count.load(Ordering::Relaxed) + more;
    eventually(what, || (count.load(Ordering::Relaxed) >= until).then_some(()));
}

/// Does something to a machine while producers hand in events of the type `load.NAME`, and a probe connects to the socket
/// every 5 ms. A producer whose connection breaks hands in the same event again, until it is acknowledged or all is over.
pub fn under_load(machine: &Machine, name: &str, act: impl FnOnce(&Load)) -> Ledger {
    let socket = machine.socket();
    let over = AtomicBool::new(false);
    let load = Load::default();
    let ledger = Mutex::new(Ledger::default());
    thread::scope(|scope| {
        // Also by a panic, or the threads would not end.
        let _end = End(&over);
        for number in 0..PRODUCERS {
            let (socket, over, load, ledger) = (&socket, &over, &load, &ledger);
            scope.spawn(move || produce(socket, &format!("{name}-{number}"), over, load, ledger));
        }
        scope.spawn(|| probe(&socket, &over, &load, &ledger));
        act(&load);
    });
    ledger.into_inner().unwrap_or_else(PoisonError::into_inner)
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn produce(socket: &Path, name: &str, over: &AtomicBool, load: &Load, ledger: &Mutex<Ledger>) {
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        let key = format!("{name}-{number}");
        let event = json!({"type": "load.made", "id": key, "data": {"key": key}}).to_string();
        if let Ok(answer) = http::request(socket, "POST", "/v1/events", &[], event.as_bytes())
            && answer.status == 202
        {
            let id = answer.json()["id"].as_str().expect("an id").to_owned();
            ledger.lock().unwrap_or_else(PoisonError::into_inner).acknowledged.insert(key, id);
            load.acknowledged.fetch_add(1, Ordering::Relaxed);
            number += 1;
        }
        thread::park_timeout(REST);
    }
}

fn probe(socket: &Path, over: &AtomicBool, load: &Load, ledger: &Mutex<Ledger>) {
    while !over.load(Ordering::Relaxed) {
        let connected: io::Result<UnixStream> = UnixStream::connect(socket);
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        match connected {
            Ok(_) => ledger.connected += 1,
            Err(error) => ledger.refused.push(error.to_string()),
        }
        drop(ledger);
        load.knocked.fetch_add(1, Ordering::Relaxed);
        thread::park_timeout(PROBE);
    }
}

impl Ledger {
    /// Holds that no connection was refused, and that there were enough to say so.
    pub fn assert_never_refused(&self) {
        assert!(
            self.refused.is_empty(),
            "{} of {}: {:?}",
            self.refused.len(),
            self.connected,
            self.refused[0]
        );
        assert!(self.connected > 50, "only {} connections", self.connected);
    }

    /// Waits until nothing is pending, and holds what has come to the receiver against what was acknowledged: nothing is
    /// lost, nothing was taken twice, and what came twice is marked so. How many these are.
    pub fn judge(&self, machine: &Machine, receiver: &Receiver) -> usize {
        assert!(self.acknowledged.len() > 20, "only {} events", self.acknowledged.len());
        machine.settled();
        let mut came: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for hook in receiver.hooks() {
            let Ok(body) = serde_json::from_slice::<Value>(&hook.body) else { continue };
            let Some(key) = body["key"].as_str() else { continue };
            came.entry(key.to_owned()).or_default().push(hook.header("webhook-id").to_owned());
        }
        let lost: Vec<_> = self.acknowledged.keys().filter(|key| !came.contains_key(*key)).collect();
        assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), self.acknowledged.len());
        let mut doubles = 0;
        for key in self.acknowledged.keys() {
            let deliveries = &came[key];
            let different: BTreeSet<_> = deliveries.iter().collect();
            assert_eq!(different.len(), 1, "{key} was taken twice: {deliveries:?}");
            if deliveries.len() > 1 {
                doubles += 1;
                let delivery = machine.get(&format!("/v1/deliveries/{}", deliveries[0]));
                let attempts = delivery["attempts"].as_array().expect("a list");
                let marked = attempts.iter().any(|attempt| attempt["why"] == "after_crash");
                assert!(marked, "{key} came {} times, and is not marked: {delivery}", deliveries.len());
            }
        }
        doubles
    }
}
