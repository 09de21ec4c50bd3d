//! Forgetting what is old: goes over what has ended, oldest first, and has the writer remove what has been kept for as
//! long as its account wants it ([`policy::retention`](crate::policy::retention)).
//!
//! What is found is a proposal: the writer looks again at each event in the transaction that removes it. So nothing
//! here needs to be right when it is acted on, and an event that has become pending again stays.
//!
//! Every tick (see `Pace`) what has become old since the last time is looked at, or when it is known that something can be, up to
//! `LONGEST_PAUSE` later, so that an idle daemon sleeps: it follows in the order of acceptance. What was
//! passed over then, as it had failed or ended later, is looked at in a pass over all from the oldest on, as
//! often as its `whole` says. A pass ends at the first event that is too young for every account. It reads a page at a time
//! in short transactions, holds no more than one, and rests after each page and each commit as long as that took: outcomes
//! and events, which share these commits, go on meanwhile. Where a pass over all takes long, the next comes later.
//!
//! Nothing is forgotten while the clock is unset, nor while the disk is so full that no attempt begins.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::watch, task, time::sleep};

use crate::{
    clock::Clock,
    ingest::stopped,
    logging::Kind,
    model::time::Timestamp,
    outbox::{Due, Ended, Forgotten, Outbox, Reader, StoreError},
    policy::retention::{Ages, Dated, Dating, Retention},
};

/// Rows that are looked at in one transaction.
const PAGE: usize = 2_000;
/// The longest rest after a page or a commit.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// The longest pause between two looks; a clock that is set forward makes everything older at once.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A pass over all is followed by at least so many times the time that it took.
const SPARE: u32 = 20;
/// What is due for longer than two passes over all and this is late.
const LATE: Duration = Duration::from_secs(60);

/// How often is looked, for events that are kept this long: an eighth of it, or
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    /// 250 ms to a minute: for what has become old.
    tick: Duration,
    /// 250 ms to an hour: for all.
    whole: Duration,
}

impl Pace {
    fn of(rules: &Retention) -> Self {
        let least = Duration::from_millis(250);
        let eighth = (rules.shortest() / 8).max(least);
        Self { tick: eighth.min(Duration::from_secs(60)), whole: eighth.min(Duration::from_secs(3600)) }
    }
}

/// What forgets; clones are the same.
#[derive(Clone, Debug)]
pub struct Forgetter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    outbox: Outbox,
    clock: Clock,
    rules: watch::Sender<Arc<Retention>>,
    report: Mutex<Report>,
}

/// What has been forgotten, and what is next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Since the start, in all.
    pub forgotten: Forgotten,
    /// When the last pass ended.
    pub last_run: Option<Timestamp>,
    /// When the next of those that have ended is due, as far as the last passes have seen.
    pub next: Option<Timestamp>,
    /// Since when is due what the pass that runs is at, if it is late.
    pub late_since: Option<Timestamp>,
    /// Why nothing is forgotten at the moment, if so.
    pub held: Option<Held>,
}

/// Why nothing is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is not known how old anything is.
    ClockUnset,
    /// What room there is is for outcomes.
    DiskFull,
}

impl Held {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClockUnset => "clock_unset",
            Self::DiskFull => "disk_full",
        }
    }
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// The row from which on nothing was old enough.
    front: u64,
    dating: Dating,
    /// When the next pass over all begins; `None`: at once.
    whole_at: Option<Instant>,
    /// When the next is due of those that passes over all have left.
    left: Option<Timestamp>,
    /// Nothing from the front on is due before, if the last pass came to its end.
    young_until: Option<Timestamp>,
}

/// What a look at a page has found.
#[derive(Debug, Default)]
struct Found {
    due: Vec<Due>,
    /// When the first of them was due.
    since: Option<Timestamp>,
    /// When the first of the others will be.
    next: Option<Timestamp>,
    /// Where to go on; `None`: what follows is too young, or there is nothing more.
    on: Option<u64>,
    /// Where that begins, in this case.
    end: u64,
    /// And before when nothing of it is due, if it begins with one that is too young.
    young_until: Option<Timestamp>,
}

impl Forgetter {
    /// For the events of `outbox`, with these rules. Nothing is forgotten before it runs.
    pub fn new(outbox: Outbox, clock: Clock, rules: Retention) -> Self {
        let rules = watch::Sender::new(Arc::new(rules));
        Self(Arc::new(Inner { outbox, clock, rules, report: Mutex::default() }))
    }

    /// Goes by these rules from now on; all is looked at anew if they are others.
    pub fn set_rules(&self, rules: Retention) {
        self.0.rules.send_if_modified(|now| {
            let others = **now != rules;
            if others {
                *now = Arc::new(rules);
            }
            others
        });
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<Retention> {
        Arc::clone(&self.0.rules.borrow())
    }

    /// What has been forgotten, and what is next.
    pub fn report(&self) -> Report {
        *self.lock()
    }

    /// Forgets what is old until `stopping` says so.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        let mut rules = self.0.rules.subscribe();
        let mut progress = Progress::default();
        loop {
            let now = Arc::clone(&rules.borrow_and_update());
            let passed = tokio::select! {
                passed = self.pass(&now, &mut progress) => passed,
                () = stopped(&mut stopping) => return,
            };
            match passed {
                Ok(()) => {}
                Err(error @ StoreError::Row { .. }) => {
                    tracing::warn!(kind = Kind::PassFailed.word(), %error, "what is old cannot be looked for: it is tried again in an hour");
                    progress.whole_at = Some(self.0.clock.instant() + Duration::from_secs(3600));
                }
                // The engine says why, and ends the daemon.
                Err(_) => return stopped(&mut stopping).await,
            }
            tokio::select! {
                () = sleep(self.pause(&now, &progress)) => {}
                // The sender is there as long as this is.
                _ = rules.changed() => progress = Progress::default(),
                () = stopped(&mut stopping) => return,
            }
        }
    }

    /// How long nothing needs to be looked at, and a tick at least.
    fn pause(&self, rules: &Retention, progress: &Progress) -> Duration {
        let Pace { tick, whole } = Pace::of(rules);
        let young = progress.young_until.map_or(Duration::ZERO, |until| until.since(self.0.clock.age()));
        young.clamp(tick, whole.min(LONGEST_PAUSE).max(tick))
    }

    /// Goes once over all that has ended, or over what may have become old since.
    async fn pass(&self, rules: &Arc<Retention>, progress: &mut Progress) -> Result<(), StoreError> {
        let held = self.held();
        self.lock().held = held;
        progress.young_until = None;
        if held.is_some() {
            return Ok(());
        }
        let started = self.0.clock.instant();
        let is_whole = progress.whole_at.is_none_or(|at| at <= started);
        if is_whole {
            *progress = Progress::default();
        }
        // What comes later is younger than now; what is pending is not, and may end at any time.
        let depths = self.0.outbox.depths();
        let all_ended = depths.are_whole() && depths.total() == 0;
        let none_left = all_ended.then(|| self.0.clock.age().plus(rules.shortest()));
        let (mut next, mut young_until) = (None, None);
        let (mut place, mut dating) = (Some(progress.front), progress.dating);
        while let Some(from) = place {
            let asked = self.0.clock.instant();
            let (found, after) = self.look(from, dating, rules).await?;
            dating = after;
            self.rest(asked).await;
            self.lock().late_since = found.since.filter(|since| self.is_late(*since, rules));
            if !self.forget(found.due).await? {
                self.lock().held = self.held();
                // All that is left is looked at again.
                progress.whole_at = None;
                return Ok(());
            }
            next = earlier(next, found.next);
            (place, young_until) = (found.on, found.young_until.or(none_left));
            progress.front = dating.open().unwrap_or(found.end);
        }
        (progress.dating, progress.young_until) = (dating, young_until);
        let now = self.0.clock.instant();
        if is_whole {
            let pause = Pace::of(rules).whole.max((now - started) * SPARE);
            progress.whole_at = Some(now + pause);
            progress.left = next;
        }
        let mut report = self.lock();
        // What has become due since then has gone, or goes with the next pass over all.
        let age = self.0.clock.age();
        report.next = earlier(progress.left.filter(|left| *left > age), next);
        (report.late_since, report.last_run) = (None, Some(self.0.clock.wall()));
        Ok(())
    }

    fn held(&self) -> Option<Held> {
        if self.0.clock.is_unset() {
            Some(Held::ClockUnset)
        } else if self.0.outbox.room().may_forget() {
            None
        } else {
            Some(Held::DiskFull)
        }
    }

    fn is_late(&self, since: Timestamp, rules: &Retention) -> bool {
        self.0.clock.age().since(since) > Pace::of(rules).whole * 2 + LATE
    }

    /// Looks at a page, on a thread for blocking work.
    async fn look(
        &self,
        from: u64,
        mut dating: Dating,
        rules: &Arc<Retention>,
    ) -> Result<(Found, Dating), StoreError> {
        let (outbox, rules, age) = (self.0.outbox.clone(), Arc::clone(rules), self.0.clock.age());
        let look = move || {
            let found = look(&outbox.read()?, from, &mut dating, &rules, age)?;
            Ok((found, dating))
        };
        task::spawn_blocking(look).await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Has them forgotten, commit by commit; false if that is held from now on.
    async fn forget(&self, mut due: Vec<Due>) -> Result<bool, StoreError> {
        if !due.is_empty() {
            // The latest time that was seen may stand in nothing but what goes.
            self.0.outbox.mark(self.0.clock.mark(), false);
        }
        while !due.is_empty() {
            if self.held().is_some() {
                return Ok(false);
            }
            let asked = self.0.clock.instant();
            let done = self.0.outbox.forget(due.clone()).await?;
            due.drain(..done.looked_at.max(1).min(due.len()));
            self.lock().forgotten.add(&done);
            self.rest(asked).await;
        }
        Ok(true)
    }

    /// Rests as long as it has worked since.
    async fn rest(&self, since: Instant) {
        sleep((self.0.clock.instant() - since).min(LONGEST_REST)).await;
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        // Each change is one of numbers: nothing is half done.
        self.0.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the page of what has ended from the row `from` on, at this age of the world.
fn look(
    reader: &Reader,
    from: u64,
    dating: &mut Dating,
    rules: &Retention,
    age: Timestamp,
) -> Result<Found, StoreError> {
    let newest = reader.newest()?;
    let page = reader.ended(from, PAGE)?;
    let mut found =
        Found { on: page.next, end: page.rows.last().map_or(from, |last| last.row + 1), ..Found::default() };
    for one in &page.rows {
        let since = match dating.date(one.row, one.accepted_at) {
            Dated::At(since) => since,
            Dated::Later => continue,
            Dated::Back(first) => {
                found.on = Some(first);
                return Ok(found);
            }
        };
        if newest != Some(one.seq) {
            found.add(one, since, rules.of(&one.account), age);
        }
        let young_until = since.plus(rules.shortest());
        if young_until > age {
            (found.on, found.end, found.young_until) = (None, one.row, Some(young_until));
            break;
        }
    }
    Ok(found)
}

impl Found {
    /// Takes in an event that is old from `since` on, with the ages of its account.
    fn add(&mut self, one: &Ended, since: Timestamp, ages: Ages, age: Timestamp) {
        let [succeeded, failed] = [ages.succeeded, ages.failed].map(|kept| since.plus(kept));
        let own = if one.succeeded { succeeded } else { failed };
        if own > age {
            self.next = earlier(self.next, Some(own));
        } else if self.due.last().is_none_or(|last| last.seq != one.seq) {
            self.since = self.since.or(Some(own));
            self.due.push(Due { seq: one.seq, if_succeeded: succeeded <= age, if_failed: failed <= age });
        }
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests;
