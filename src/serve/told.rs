//! The line by which the service manager shows how the daemon stands. It is made anew when more is pending, when the door opens or
//! shuts, after a reload, with the watchdog, and when the age in it is another: a box at rest, with whatever it holds, wakes for it
//! once a minute, later once an hour and once a day. That fewer are pending, or an endpoint is disabled, may show as late as that.

use std::{collections::BTreeSet, future, sync::Arc, time::Duration};

use tokio::{task, time::sleep};

use crate::{
    clock::Clock,
    engine::{directory::Directory, reload::Reloader},
    outbox::{Full, Outbox},
    systemd::{Notifier, Standing},
};

/// The least time between two lines, and between two looks for the sake of an age.
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
    /// Tells it for as long as it is let.
    pub(super) async fn tell(self) {
        let (mut door, mut at_work) = (self.outbox.room().door(), false);
        loop {
            let standing = self.standing().await;
            // From this look on, not from the end of the pause.
            let older = standing.changes_in().map(|time| sleep(time.max(PAUSE)));
            if self.notifier.status(&standing.to_string()) || at_work {
                sleep(PAUSE).await;
            }
            let is_older = async {
                match older {
                    Some(older) => older.await,
                    None => future::pending().await,
                }
            };
            at_work = tokio::select! {
                () = self.outbox.depths().more() => true,
                // The room is there as long as this is.
                _ = door.changed() => true,
                () = is_older => false,
                () = self.notifier.stirred() => false,
            };
        }
    }

    /// How the daemon stands now.
    async fn standing(&self) -> Standing {
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
