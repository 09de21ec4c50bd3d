//! The pen: what it takes to write. A round becomes a commit, then answers, then notices to the engine.
//!
//! There is one, and who has it writes: the writer's thread, or the one who hands an event in while that thread rests
//! ([`super::queue`]).

use std::{mem, time::Duration};

use tokio::sync::mpsc;

use super::{
    error::{StoreError, contain},
    origins::OriginNews,
    parked::Loaded,
    round::{ChangeTenant, Configure, End, GROUP_SETTLES, Round, Stop},
    settle::{NotSettled, Settle},
    store::{Again, Store},
};
use crate::model::{
    delivery::{DeliveryKey, Scheduled},
    endpoint::EndpointNumber,
    time::Minute,
};

/// What the writer tells the engine, after the commit that made it so.
#[derive(Debug)]
pub enum Notice {
    /// Origins of callbacks were made, or forgotten; before anything is scheduled for them.
    Origins(OriginNews),
    /// Deliveries were accepted.
    Scheduled(Vec<Scheduled>),
    /// The outcomes of these deliveries are durable.
    Settled(Vec<DeliveryKey>),
    /// Nothing was written of the outcomes of these deliveries.
    NotSettled(Vec<(DeliveryKey, NotSettled)>),
    /// This many deliveries have joined their order, or ended before.
    Joined(usize),
    /// This many keys have been parked, of these lanes; with each the first minute of its keys.
    Parked(usize, Vec<(EndpointNumber, Minute)>),
    /// Keys have been taken from the disk.
    Loaded(Loaded),
    /// Nothing more will be written.
    Failed(StoreError),
}

/// The store, and what goes with it from round to round.
#[derive(Debug)]
pub(super) struct Pen {
    store: Store,
    /// How long an outcome may wait for company.
    settle_delay: Duration,
    /// A vector whose room the queue goes on with, so that it does not grow it anew with every commit.
    pub(super) spare: Vec<Settle>,
    notices: mpsc::UnboundedSender<Notice>,
    /// What the engine is to be told of the last round.
    untold: Vec<Notice>,
}

impl Pen {
    pub(super) const fn new(
        store: Store,
        settle_delay: Duration,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> Self {
        Self { store, settle_delay, spare: Vec::new(), notices, untold: Vec::new() }
    }

    pub(super) const fn settle_delay(&self) -> Duration {
        self.settle_delay
    }

    /// Writes the round and answers its askers; [`Self::finish`] does the rest. After an error nothing more must be written.
    pub(super) fn write(&mut self, mut round: Round) -> Result<(), StoreError> {
        if let Some(mark) = round.mark {
            self.store.set_mark(mark);
        }
        if let Some(tuning) = round.tuning {
            self.settle_delay = tuning.settle_delay;
            self.store.tune(tuning);
        }
        let probes = mem::take(&mut round.probes);
        let Self { store, notices, untold, .. } = self;
        self.spare =
            contain(|| write(store, round, (notices, untold))).map_err(StoreError::from).flatten()?;
        // With the round behind it the store has shown that it goes on. Who asked may have gone.
        for asked in probes {
            let _ = asked.send(());
        }
        Ok(())
    }

    /// Looks whether the disk has become full by the round, and tells the engine what came of it: nobody who waits for an
    /// answer is to wait for that.
    pub(super) fn finish(&mut self) -> Result<(), StoreError> {
        // First: the engine begins no attempt for whose outcome there is no room.
        contain(|| self.store.look_at_disk())?;
        for notice in self.untold.drain(..) {
            // The engine may have gone.
            let _ = self.notices.send(notice);
        }
        Ok(())
    }

    /// Closes the store as the last round says.
    pub(super) fn end(mut self, last: &Round) -> Result<(), StoreError> {
        if let Some(mark) = last.mark {
            self.store.set_mark(mark);
        }
        if last.stop == Stop::Close(End::Clean) { self.store.close() } else { self.store.abandon() }
    }

    /// Tells the engine that nothing more is written, and why, and closes the store.
    pub(super) fn fail(self, why: StoreError) {
        // The engine may have gone before us; then nobody needs to be told.
        let _ = self.notices.send(Notice::Failed(why));
        // Closed all the same: of what redb can still put in order, nothing is left to the next start. That
        // this may fail as well says nothing new.
        let _ = self.store.abandon();
    }
}

/// Writes it, and returns the room that its settles took.
fn write(
    store: &mut Store,
    mut round: Round,
    (notices, untold): (&mpsc::UnboundedSender<Notice>, &mut Vec<Notice>),
) -> Result<Vec<Settle>, StoreError> {
    store.fill_dedup(&round.ids);
    for Configure { wanted, judged, at, answer } in round.configure {
        // An asker that has gone needs no answer, here and below.
        let _ = answer.send(Ok(store.configure(&wanted, &judged, at)?));
    }
    for (change, answer) in round.changes {
        let _ = answer.send(Ok(store.change(change)?));
    }
    for (change, answer) in round.key_changes {
        let _ = answer.send(Ok(store.change_key(change)?));
    }
    for (change, answer) in round.jobs {
        let _ = answer.send(Ok(store.change_job(change)?));
    }
    if !round.called_off.is_empty() {
        let (keys, askers): (Vec<_>, Vec<_>) = mem::take(&mut round.called_off).into_iter().unzip();
        for (asker, answer) in askers.into_iter().zip(store.call_off(&keys)?) {
            let _ = asker.send(Ok(answer));
        }
    }
    if !round.replays.is_empty() {
        let (replays, askers): (Vec<_>, Vec<_>) = mem::take(&mut round.replays).into_iter().unzip();
        let Again { answers, origins, scheduled } = store.replay(&replays)?;
        tell(origins, scheduled, notices);
        for (asker, answer) in askers.into_iter().zip(answers) {
            let _ = asker.send(Ok(answer));
        }
    }
    for (step, asker) in mem::take(&mut round.steps) {
        let Again { answers, origins, scheduled } = store.step(&step)?;
        tell(origins, scheduled, notices);
        let _ = asker.send(Ok(answers));
    }
    for ChangeTenant { change, judged, at, answer } in round.tenants {
        let _ = answer.send(Ok(store.change_tenant(change, &judged, at)?));
    }
    if round.group.is_empty() && !round.mark_now {
        return Ok(round.group.settles);
    }
    let committed = store.commit(&round.group)?;
    if !committed.origins.is_empty() {
        // Whoever has his answer may ask for his delivery at once.
        let _ = notices.send(Notice::Origins(committed.origins));
    }
    for (answer, result) in round.answers.into_iter().zip(committed.answers) {
        let _ = answer.send(Ok(result));
    }
    // Few if any, and in the order of the settles.
    let mut not = committed.not_settled.iter().map(|(key, _)| *key).peekable();
    let written = round.group.settles.iter().map(|settle| settle.key);
    let written: Vec<_> = written.filter(|key| not.next_if_eq(key).is_none()).collect();
    if !written.is_empty() {
        untold.push(Notice::Settled(written));
    }
    if !committed.not_settled.is_empty() {
        untold.push(Notice::NotSettled(committed.not_settled));
    }
    if !round.group.joins.is_empty() {
        untold.push(Notice::Joined(round.group.joins.len()));
    }
    if !committed.parked.is_empty() {
        untold.push(Notice::Parked(round.group.park.len(), committed.parked));
    }
    if let Some(answer) = round.forget {
        let _ = answer.send(Ok(committed.forgotten));
    }
    for loaded in committed.loaded {
        untold.push(Notice::Loaded(loaded));
    }
    // After what became of the disk: a lane whose last keys have just been loaded takes new ones in memory again.
    if !committed.scheduled.is_empty() {
        untold.push(Notice::Scheduled(committed.scheduled));
    }
    let mut emptied = mem::take(&mut round.group.settles);
    emptied.clear();
    emptied.shrink_to(2 * GROUP_SETTLES);
    Ok(emptied)
}

/// Tells the engine of what is pending again: before who asked is, who may ask for it then.
fn tell(origins: OriginNews, scheduled: Vec<Scheduled>, notices: &mpsc::UnboundedSender<Notice>) {
    if !origins.is_empty() {
        let _ = notices.send(Notice::Origins(origins));
    }
    if !scheduled.is_empty() {
        let _ = notices.send(Notice::Scheduled(scheduled));
    }
}
