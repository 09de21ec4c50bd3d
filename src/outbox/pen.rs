//! Writing: a round becomes a commit, then answers, then notices to the engine.

use std::mem;

use tokio::sync::mpsc;

use super::{
    error::StoreError,
    origins::OriginNews,
    parked::Loaded,
    round::{ChangeTenant, Configure, GROUP_SETTLES, Round},
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

/// Writes it, and returns the room that its settles took.
pub(super) fn write(
    store: &mut Store,
    mut round: Round,
    notices: &mpsc::UnboundedSender<Notice>,
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
    // First of all: a producer that waits should not wait for what its event sets going.
    for (answer, result) in round.answers.into_iter().zip(committed.answers) {
        let _ = answer.send(Ok(result));
    }
    // Few if any, and in the order of the settles.
    let mut not = committed.not_settled.iter().map(|(key, _)| *key).peekable();
    let written = round.group.settles.iter().map(|settle| settle.key);
    let written: Vec<_> = written.filter(|key| not.next_if_eq(key).is_none()).collect();
    if !written.is_empty() {
        let _ = notices.send(Notice::Settled(written));
    }
    if !committed.not_settled.is_empty() {
        let _ = notices.send(Notice::NotSettled(committed.not_settled));
    }
    if !round.group.joins.is_empty() {
        let _ = notices.send(Notice::Joined(round.group.joins.len()));
    }
    if !committed.parked.is_empty() {
        let _ = notices.send(Notice::Parked(round.group.park.len(), committed.parked));
    }
    if let Some(answer) = round.forget {
        let _ = answer.send(Ok(committed.forgotten));
    }
    for loaded in committed.loaded {
        let _ = notices.send(Notice::Loaded(loaded));
    }
    // After what became of the disk: a lane whose last keys have just been loaded takes new ones in memory again.
    if !committed.scheduled.is_empty() {
        let _ = notices.send(Notice::Scheduled(committed.scheduled));
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
