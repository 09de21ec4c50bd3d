//! The line by which the service manager shows how the daemon stands. It is made anew when more is pending, when the door opens or
//! shuts, after a reload, with the watchdog, and now and then while it says that something is pending; not while nothing happens.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{task, time::sleep};

use crate::{
    clock::Clock,
    engine::{directory::Directory, reload::Reloader},
    outbox::{Full, Outbox},
    systemd::{Notifier, Standing},
};

/// The least time between two lines, and from look to look while something is pending.
const PAUSE: Duration = Duration::from_secs(3);

/// Tells the manager.
#[derive(Clone)]
pub(super) struct Teller {
    pub(super) outbox: Outbox,
    pub(super) directory: Arc<Directory>,
    pub(super) reloader: Reloader,
    pub(super) clock: Clock,
    pub(super) notifier: Notifier,
}

impl Teller {
    /// Tells it for as long as it is let; `told` is what it has heard last.
    pub(super) async fn tell(self, mut told: Standing) {
        let mut door = self.outbox.room().door();
        loop {
            // Not whether something is: what it has heard of may have ended meanwhile.
            let pending = told.pending > 0;
            let at_work = tokio::select! {
                () = self.outbox.depths().more() => true,
                // The room is there as long as this is.
                _ = door.changed() => true,
                () = sleep(PAUSE), if pending => false,
                () = self.notifier.stirred() => false,
            };
            told = self.standing().await;
            if self.notifier.status(&told.to_string()) || at_work {
                sleep(PAUSE).await;
            }
        }
    }

    /// What the line says now.
    pub(super) async fn standing(&self) -> Standing {
        let pending = self.outbox.depths().total();
        let targets = self.directory.targets();
        let settings = targets.iter().filter_map(|target| target.settings.as_ref());
        let mut missing: BTreeSet<String> =
            settings.flat_map(|settings| settings.missing_credentials.iter().cloned()).collect();
        let workshop = self.directory.workshop();
        missing.extend(workshop.missing_for_callbacks().map(|(_, name)| name.to_owned()));
        let door = *self.outbox.room().door().borrow();
        Standing {
            shut: door.closed().map(why),
            pending,
            oldest: if pending > 0 { self.oldest().await } else { None },
            disabled: targets.iter().filter(|target| target.disabled().is_some()).count(),
            missing: missing.len(),
            refused: self.reloader.last().failed.is_some(),
        }
    }

    /// The age of what has been pending for longest, as far as the store can be asked.
    async fn oldest(&self) -> Option<Duration> {
        let outbox = self.outbox.clone();
        let read = move || outbox.read()?.oldest_pending();
        let oldest = task::spawn_blocking(read).await.ok()?.ok()??;
        Some(self.clock.wall().since(oldest.accepted_at))
    }
}

/// Why no events are taken.
const fn why(full: Full) -> &'static str {
    match full {
        Full::Disk => "the disk of the store is full",
        Full::Store => "the store holds what `max_size` allows",
    }
}
