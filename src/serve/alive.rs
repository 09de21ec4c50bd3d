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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        ingest::probe::probes,
        outbox::{End, Motion, Options},
        systemd,
    };

    #[tokio::test]
    async fn each_part_that_does_not_go_round_is_known() {
        let directory = tempfile::tempdir().expect("a directory");
        let options = Options {
            cache: 16 << 20,
            quick_repair: false,
            settle_delay: Duration::ZERO,
            dedup_window: Duration::ZERO,
            dedup_entries: 0,
            pending_per_endpoint: 1,
            max_size: 1 << 40,
            reserve: 0,
            in_flight: 1,
        };
        let path = directory.path().join("store.redb");
        let opened = Outbox::open(&path, &options, [7; 16], &Motion::default(), |_| {}).expect("a store");
        let ((socket, _unheard), (tcp, _unheard_too)) = (probes(), probes());
        let parts = Loops { socket, tcp: Some(tcp) }.parts(opened.outbox.clone(), engine::Handle::of_none());
        assert_eq!(
            systemd::silent(&parts, opened.outbox.probe()).await,
            "the engine of the deliveries, the thread of the socket, the listener of the API over TCP"
        );
        let end = tokio::task::spawn_blocking(|| opened.writer.close(End::Clean)).await.expect("it ends");
        end.expect("it is closed");
        let (socket, _unheard) = probes();
        let parts = Loops { socket, tcp: None }.parts(opened.outbox.clone(), engine::Handle::of_none());
        assert_eq!(
            systemd::silent(&parts, std::future::ready(())).await,
            "the writer of the store, the engine of the deliveries, the thread of the socket"
        );
    }
}
