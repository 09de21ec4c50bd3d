//! Whether events are taken at all: watches the room that the store and its disk have, and says so.
//!
//! The outbox decides, commit by commit, and shuts the door by itself. Here is looked after free space while the disk is
//! full, once in `LOOK`, so that the door opens by itself; a disk with room is left alone. That the door shuts and that
//! it opens is logged once each.

use std::{
    future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, task, time::sleep};

use super::{
    answer::{Code, Refusal},
    stopped,
};
use crate::{
    clock::Clock,
    logging::Kind,
    model::time::{Timestamp, format_size},
    outbox::{self, Full, Room},
};

/// From look to look at a full disk.
const LOOK: Duration = Duration::from_secs(1);

/// The door's watchman; clones share what he has seen.
#[derive(Clone, Debug)]
pub struct Door {
    room: Room,
    clock: Clock,
    since: Arc<Mutex<Option<Timestamp>>>,
}

/// A door that is shut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shut {
    /// What is full.
    pub full: Full,
    /// Since when; not known in the moment in which it shuts.
    pub since: Option<Timestamp>,
    /// No attempt is begun either.
    pub exhausted: bool,
    /// What to do.
    pub help: String,
}

impl Door {
    /// The door in front of `room`.
    pub fn new(room: Room, clock: Clock) -> Self {
        Self { room, clock, since: Arc::default() }
    }

    /// The room behind it.
    pub const fn room(&self) -> &Room {
        &self.room
    }

    /// How it is, if it is shut. Blocks: it asks the file system.
    pub fn shut(&self) -> Option<Shut> {
        let door = *self.room.door().borrow();
        let full = door.closed()?;
        Some(Shut { full, since: *self.since(), exhausted: door.exhausted, help: help(full, &self.room) })
    }

    /// Watches it until `stopping` says so.
    pub async fn watch(self, mut stopping: watch::Receiver<bool>) {
        let mut door = self.room.door();
        let mut before = outbox::Door::default();
        loop {
            let now = *door.borrow_and_update();
            self.tell(before, now).await;
            before = now;
            let time = async { if now.disk_full { sleep(LOOK).await } else { future::pending().await } };
            tokio::select! {
                // The room is there as long as this is.
                _ = door.changed() => {}
                () = time => self.aside(Room::look).await,
                () = stopped(&mut stopping) => return,
            }
        }
    }

    async fn tell(&self, before: outbox::Door, now: outbox::Door) {
        match (before.closed(), now.closed()) {
            (was, Some(full)) if was != Some(full) => {
                if was.is_none() {
                    *self.since() = Some(self.clock.wall());
                }
                let help = self.aside(move |room| help(full, room)).await;
                let deliveries = if now.exhausted { "" } else { ", deliveries go on" };
                tracing::warn!(
                    kind = Kind::DoorShut.word(),
                    code = code(full).as_str(),
                    "no events are taken{deliveries}: {help}"
                );
            }
            (Some(_), None) => {
                *self.since() = None;
                tracing::info!(kind = Kind::DoorOpen.word(), "there is room again: events are taken");
            }
            _ => {}
        }
        match (before.exhausted, now.exhausted) {
            (false, true) => {
                let help = self.aside(|room| help(Full::Disk, room)).await;
                tracing::warn!(
                    kind = Kind::AttemptsHeld.word(),
                    "no attempt begins any more, for its outcome could not be recorded: {help}"
                );
            }
            (true, false) => tracing::info!(
                kind = Kind::AttemptsGoOn.word(),
                "attempts begin again: there is room for their outcomes"
            ),
            _ => {}
        }
    }

    /// Work that asks the file system, and may wait for it.
    async fn aside<T: Default + Send + 'static>(&self, work: impl FnOnce(&Room) -> T + Send + 'static) -> T {
        let room = self.room.clone();
        // The runtime goes down, or it panicked, which is in the log.
        task::spawn_blocking(move || work(&room)).await.unwrap_or_default()
    }

    fn since(&self) -> std::sync::MutexGuard<'_, Option<Timestamp>> {
        // It is set in one step.
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The word for it.
pub const fn code(full: Full) -> Code {
    match full {
        Full::Disk => Code::DiskFull,
        Full::Store => Code::StoreFull,
    }
}

/// What a producer is told.
pub fn refusal(full: Full) -> Refusal {
    let message = match full {
        Full::Disk => {
            "the disk of the store is full; hand the event in again later, and have room made on it"
        }
        Full::Store => {
            "the store holds as much as it may ([store] max_size); hand the event in again later, or have it raised"
        }
    };
    Refusal::new(code(full), message)
}

/// What the operator is told.
fn help(full: Full, room: &Room) -> String {
    match full {
        Full::Disk => disk_help(room.free(), room.wanted(), room.is_refused()),
        Full::Store => {
            let (held, most) = (mebibytes(room.held() >> 20), format_size(room.max_size()));
            format!(
                "the store holds {held} of rows, and `max_size` under [store] is {most}; raise it, and `posthaste reload`"
            )
        }
    }
}

/// The same of a disk with so many free bytes, if that is known; `refused`: whatever seems to be free is not given.
fn disk_help(free: Option<u64>, wanted: u64, refused: bool) -> String {
    let free = free.map_or_else(|| "too little".to_owned(), |free| mebibytes(free >> 20));
    let wanted = mebibytes(wanted.div_ceil(1 << 20));
    if refused {
        format!(
            "the store's file system says that it has {free} free and gives no space all the same, as under a quota that is used up; make room for {wanted} more: events are taken again, by themselves, about a minute later at most"
        )
    } else {
        format!(
            "the store's file system has {free} free; make room on it: with {wanted} free events are taken again, by themselves"
        )
    }
}

fn mebibytes(count: u64) -> String {
    format!("{count} MiB")
}

#[cfg(test)]
mod tests {
    use super::disk_help;

    #[test]
    fn what_the_operator_is_told_fits_the_disk() {
        for (free, refused, said) in [
            (
                Some(3 << 20),
                false,
                "has 3 MiB free; make room on it: with 96 MiB free events are taken again",
            ),
            (None, false, "has too little free; make room on it: with 96 MiB free events"),
            // More than what is wanted is free already.
            (Some(4096 << 20), true, "has 4096 MiB free and gives no space all the same, as under a quota"),
            (Some(4096 << 20), true, "make room for 96 MiB more: events are taken again"),
        ] {
            let help = disk_help(free, 96 << 20, refused);
            assert!(help.contains(said), "{help}");
            assert_eq!(help.contains("with 96 MiB free"), !refused, "{help}");
        }
    }
}
