//! Which parts of the daemon have to be at work for the service manager to hear that it is.

use crate::{engine, ingest::probe::Prober, outbox::Outbox, systemd::Part};

/// The loops that take connections.
pub(super) struct Loops {
    /// The Unix socket's.
    pub(super) socket: Prober,
    /// That of the API over TCP, if there is one.
    pub(super) tcp: Option<Prober>,
}

impl Loops {
    /// These, the writer of the store, and the engine.
    pub(super) fn parts(self, outbox: Outbox, engine: engine::Handle) -> Vec<Part> {
        let writer = move || {
            let outbox = outbox.clone();
            async move { outbox.probe().await }
        };
        let engine = move || {
            let engine = engine.clone();
            async move { engine.probe().await }
        };
        let accepting = |name, prober: Prober| Part::new(name, move || prober.clone().ask());
        let mut parts = vec![
            Part::new("the writer of the store", writer),
            Part::new("the engine of the deliveries", engine),
            accepting("the thread of the socket", self.socket),
        ];
        parts.extend(self.tcp.map(|tcp| accepting("the listener of the API over TCP", tcp)));
        parts
    }
}
