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
        self.with(writer, engine)
    }

    /// These, and the parts that are asked so.
    fn with<W, E>(
        self,
        writer: impl Fn() -> W + Send + Sync + 'static,
        engine: impl Fn() -> E + Send + Sync + 'static,
    ) -> Vec<Part>
    where
        W: Future<Output = bool> + Send + 'static,
        E: Future<Output = bool> + Send + 'static,
    {
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

    use tokio::time::timeout;

    use super::*;
    use crate::{
        ingest::probe::probes,
        systemd::{Notifier, watch},
    };

    #[tokio::test]
    async fn each_part_is_asked() {
        const MINUTE: Duration = Duration::from_secs(60);
        let (probers, asked): (Vec<_>, Vec<_>) = (0..4).map(|_| probes()).unzip();
        let [writer, engine, socket, tcp] = probers.try_into().expect("four");
        let loops = Loops { socket, tcp: Some(tcp) };
        let parts = loops.with(move || writer.clone().ask(), move || engine.clone().ask());
        let notifier = Notifier::default();
        let all = async {
            for (part, mut asked) in
                ["the writer", "the engine", "the socket", "the API"].into_iter().zip(asked)
            {
                timeout(MINUTE, asked.next()).await.unwrap_or_else(|_| panic!("nobody asks {part}"));
            }
        };
        tokio::select! {
            never = watch(MINUTE, &parts, &notifier) => match never {},
            () = all => {}
        }
    }
}
