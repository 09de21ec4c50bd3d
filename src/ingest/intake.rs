//! Where all doors lead: events are routed and put into the outbox.
//!
//! An event's deliveries are fixed here, by the subscriptions as they are when it comes ([`Course`]). What is being handed in and not yet
//! answered is bounded in bytes by the [`Budget`], whatever the number of producers.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    access::Verdict,
    answer::{Accepted, Answer, Code, Refusal},
    callbacks::Callbacks,
    catalogs::{Catalogs, Found},
    door,
};
use crate::{
    clock::{Chance, Clock},
    config,
    metrics::Metrics,
    model::{
        account::AccountName,
        endpoint::EndpointNumber,
        event::{Effect, NewEvent},
        time::Timestamp,
    },
    outbox::{
        Acceptance, Accepting, Addressed, Batch, BatchAnswer, Callback, Entry, FileIdentity, Outbox, Routed,
        StoreError,
    },
    policy::{form::Form, later, nearest, retry, route::TypePattern},
};

/// The way into the outbox; clones share it.
#[derive(Clone)]
pub struct Intake(Arc<Inner>);

struct Inner {
    outbox: Outbox,
    /// Replaced as a whole; a batch is routed by what was there when it came.
    course: RwLock<Arc<Course>>,
    /// One replaces it at a time.
    steering: Mutex<()>,
    clock: Clock,
    chance: Chance,
    metrics: Metrics,
    budget: Budget,
}

/// What is to be known of an event to take it: by this it is judged and routed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Course {
    /// Who wants it.
    pub routes: Arc<Routes>,
    /// Of which types it may be.
    pub catalogs: Catalogs,
    /// Where it may be called back.
    pub callbacks: Callbacks,
    /// How large it may be.
    pub limits: config::Limits,
}

/// Who wants what, by account. An account without an endpoint is there all the same.
#[derive(Debug, Default)]
pub struct Routes(pub HashMap<AccountName, Vec<Route>>);

/// One endpoint's subscription.
#[derive(Debug)]
pub struct Route {
    /// Which endpoint.
    pub endpoint: EndpointNumber,
    /// What it wants.
    pub event_types: Vec<TypePattern>,
    /// Its profile: the first delay is in it. `None`: it is not in the configuration, and what is made for it waits.
    pub form: Option<Arc<Form>>,
    /// Whether its deliveries keep the order, by its profile as it was last known.
    pub fifo: bool,
}

/// The bytes that may be on their way into the outbox at once.
#[derive(Clone, Debug)]
pub struct Budget {
    room: Arc<Semaphore>,
    units: usize,
}

/// Part of the budget, given back when dropped.
#[derive(Debug, Default)]
pub struct Permit(Option<OwnedSemaphorePermit>);

const BUDGET_UNIT: usize = 1024;
/// How long one who may hold a part already waits for more room.
const ROOM_TIME: Duration = Duration::from_secs(5);

impl Budget {
    fn new(bytes: usize) -> Self {
        let most = usize::try_from(u32::MAX).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let units = bytes.div_ceil(BUDGET_UNIT).min(most);
        Self { room: Arc::new(Semaphore::new(units)), units }
    }

    /// All of it, in bytes.
    pub const fn size(&self) -> usize {
        self.units * BUDGET_UNIT
    }

    /// Makes `permit` cover `bytes`; waits a little for room.
    ///
    /// # Errors
    /// There is none: were those who hold a part to wait for ever, nobody would come to an end.
    pub async fn cover(&self, permit: &mut Permit, bytes: usize) -> Result<(), Refusal> {
        let have = permit.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = bytes.div_ceil(BUDGET_UNIT).saturating_sub(have);
        if missing == 0 {
            return Ok(());
        }
        let busy =
            || Refusal::new(Code::Busy, "too much is being handed in at this moment; try again in a moment");
        let more = timeout(ROOM_TIME, self.take(missing)).await.map_err(|_| busy())?;
        match &mut permit.0 {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }

    /// A permit for `bytes`, or for all there is if that is less; waits until there is room. Only for those who hold
    /// none.
    pub async fn wait_for(&self, bytes: usize) -> Permit {
        Permit(Some(self.take(bytes.div_ceil(BUDGET_UNIT).min(self.units)).await))
    }

    async fn take(&self, units: usize) -> OwnedSemaphorePermit {
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.room).acquire_many_owned(units).await;
        permit.expect("the semaphore is never closed")
    }
}

impl Permit {
    /// Gives back what is beyond `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let Some(held) = &mut self.0 else { return };
        let beyond = held.num_permits().saturating_sub(bytes.div_ceil(BUDGET_UNIT));
        drop(held.split(beyond));
    }
}

/// What who hands in a batch does until it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    /// Nothing: a thread that is theirs [alone](Verdict::is_alone) may wait for the disk.
    Waits,
    /// There may be more to come.
    GoesOn,
}

/// A batch on its way to the disk; dropping it does not call it back.
#[derive(Debug)]
pub struct Submitted {
    /// For each event of the batch, in order: refused before it came to the outbox, or what its catalog says of it.
    items: Vec<Result<Found, Refusal>>,
    accepting: Option<Accepting>,
    written: bool,
    metrics: Metrics,
}

/// A file on its way to the disk; dropping it does not call it back.
#[derive(Debug)]
pub struct SubmittedFile {
    accepting: Accepting,
    /// What the catalog says of each event.
    items: Vec<Found>,
    metrics: Metrics,
}

impl Intake {
    /// The way into `outbox`, on this course.
    pub fn new(outbox: Outbox, course: Course, clock: Clock, chance: Chance, metrics: Metrics) -> Self {
        let budget = Budget::new((64 << 20).max(course.limits.batch_size.saturating_mul(2)));
        Self(Arc::new(Inner {
            outbox,
            course: RwLock::new(Arc::new(course)),
            steering: Mutex::new(()),
            clock,
            chance,
            metrics,
            budget,
        }))
    }

    /// Routes whatever comes from now on along `routes`.
    pub fn set_routes(&self, routes: Routes) {
        let routes = Arc::new(routes);
        self.steer(|course| Course { routes, ..course.clone() });
    }

    /// Takes whatever comes from now on as `change` says of what is, in one step. What it takes to say so holds up nobody who
    /// hands events in: they go on by what is there until the other is.
    pub fn steer(&self, change: impl FnOnce(&Course) -> Course) {
        let _turn = self.0.steering.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Arc::new(change(&self.course()));
        // What is replaced is one pointer: a panic leaves the old one or the new one.
        let mut course = self.0.course.write().unwrap_or_else(PoisonError::into_inner);
        let before = mem::replace(&mut *course, next);
        drop(course);
        // It may be the last of thousands of catalogs.
        drop(before);
    }

    fn course(&self) -> Arc<Course> {
        Arc::clone(&self.0.course.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there is such an account.
    pub fn has_account(&self, account: &AccountName) -> bool {
        self.course().routes.0.contains_key(account)
    }

    /// The limits of what is handed in.
    pub fn limits(&self) -> config::Limits {
        self.course().limits
    }

    /// The accounts' catalogs.
    pub fn catalogs(&self) -> Catalogs {
        self.course().catalogs.clone()
    }

    /// The daemon's clocks.
    pub fn clock(&self) -> Clock {
        self.0.clock
    }

    /// The bytes that may be on their way.
    pub fn budget(&self) -> &Budget {
        &self.0.budget
    }

    /// Puts the events that `who` hands in into the outbox's next commit, at once, each that is theirs to hand in and not too
    /// much at this moment. `permit` covers their bytes and is given back when they are durable. What is refused already
    /// keeps its place among the answers.
    pub fn submit(
        &self,
        items: Vec<Result<NewEvent, Refusal>>,
        permit: Permit,
        who: &Verdict,
        meanwhile: Meanwhile,
    ) -> Submitted {
        let now = self.0.clock.now();
        let take = |item: Result<NewEvent, Refusal>| who.take_one(item?, now);
        let here = who.is_alone() && meanwhile == Meanwhile::Waits;
        self.submit_taken(items.into_iter().map(take).collect(), permit, here)
    }

    /// The same of events that came together, for which somebody waits: either all of them are too much at this moment, or
    /// none is.
    ///
    /// # Errors
    /// They are too much.
    pub fn submit_together(
        &self,
        items: Vec<Result<NewEvent, Refusal>>,
        permit: Permit,
        who: &Verdict,
    ) -> Result<Submitted, Refusal> {
        let count = items.len();
        let taken = who.take_all(items, self.0.clock.now());
        let items = taken.inspect_err(|_| self.0.metrics.refused.add(count))?;
        Ok(self.submit_taken(items, permit, who.is_alone()))
    }

    fn submit_taken(&self, items: Vec<Result<NewEvent, Refusal>>, permit: Permit, here: bool) -> Submitted {
        let course = self.course();
        let mut events = Vec::with_capacity(items.len());
        let take = |item: Result<NewEvent, Refusal>| {
            let (routed, found) = self.route(item?, &course)?;
            events.push(routed);
            Ok(found)
        };
        let items = items.into_iter().map(take).collect();
        let metrics = self.0.metrics.clone();
        if events.is_empty() {
            return Submitted { items, accepting: None, written: false, metrics };
        }
        let batch = self.batch(events, None, permit);
        let (accepting, written) =
            if here { self.accept_here(batch) } else { (self.0.outbox.accept(batch), false) };
        Submitted { items, accepting: Some(accepting), written, metrics }
    }

    /// Puts a file's events into the outbox's next commit, all or none, at once: files submitted one after the other
    /// share commits, and keep their order.
    ///
    /// # Errors
    /// One of the events is refused for good, with its place among them.
    pub fn submit_file(
        &self,
        events: Vec<NewEvent>,
        file: FileIdentity,
    ) -> Result<SubmittedFile, (usize, Refusal)> {
        let course = self.course();
        let (mut routed, mut items) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
        for (index, event) in events.into_iter().enumerate() {
            let (event, found) = self.route(event, &course).map_err(|refusal| (index, refusal))?;
            routed.push(event);
            items.push(found);
        }
        Ok(SubmittedFile {
            accepting: self.0.outbox.accept(self.batch(routed, Some(file), Permit::default())),
            items,
            metrics: self.0.metrics.clone(),
        })
    }

    /// Why no event is taken at this moment, if none is.
    pub fn shut(&self) -> Option<Refusal> {
        self.0.outbox.room().door().borrow().closed().map(door::refusal)
    }

    /// Waits until what was refused for now may be taken: until the door is open, or the refusal's time has passed.
    pub async fn wait_for_room(&self, refusal: &Refusal) {
        if self.shut().is_none() {
            tokio::time::sleep(refusal.retry_after.unwrap_or_default()).await;
        }
        let mut door = self.0.outbox.room().door();
        // The room is there as long as this is.
        let _ = door.wait_for(|door| door.closed().is_none()).await;
    }

    /// Accepted files of `directory` of which the store was not told that they are unlinked; at most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn known_files(&self, directory: &str, limit: usize) -> Result<Vec<FileIdentity>, StoreError> {
        self.0.outbox.read()?.files(directory, limit)
    }

    /// Forgets an accepted file that has been unlinked.
    pub fn unlinked(&self, file: FileIdentity) {
        self.0.outbox.unlinked(file);
    }

    /// Waits for the disk, if nobody else is writing, and says whether it has. What is left to do then is done in this thread
    /// when whoever asked has been answered.
    fn accept_here(&self, batch: Batch) -> (Accepting, bool) {
        let (accepting, rest) = self.0.outbox.accept_here(batch);
        let written = rest.is_some();
        if let Some(rest) = rest {
            tokio::spawn(async move { drop(rest) });
        }
        (accepting, written)
    }

    fn batch(&self, events: Vec<Routed>, file: Option<FileIdentity>, permit: Permit) -> Batch {
        let mark = self.0.clock.mark();
        let (at, age, clock_unset) = (mark.wall, mark.greatest, mark.is_unset());
        Batch { at, age, clock_unset, events, file, room: permit.0 }
    }

    /// Says who gets an event, and what its account's catalog says of it.
    fn route(&self, mut event: NewEvent, course: &Course) -> Result<(Routed, Found), Refusal> {
        let Some(routes) = course.routes.0.get(&event.account) else {
            return Err(self.unknown_account(&event, course));
        };
        let found = course.catalogs.find(&event, self.0.clock.now())?;
        event.effect = found.effect;
        let routes: &[Route] = if event.effect == Effect::None { &[] } else { routes };
        let (from, delayed) = self.first(&event)?;
        let wanted =
            routes.iter().filter(|route| route.event_types.iter().any(|p| p.matches(&event.event_type)));
        let deliveries = wanted.map(|route| {
            let profile = route.form.as_deref().map(Form::profile);
            let due = profile.and_then(|profile| retry::due(profile, 0, from, self.0.chance.fraction()));
            let entry = entry(route.fifo, delayed);
            Addressed { endpoint: route.endpoint, due: due.unwrap_or(from), entry }
        });
        let deliveries = deliveries.collect();
        let callback = self.callback(&mut event, course, (from, delayed))?;
        Ok((Routed { event, deliveries, callback }, found))
    }

    /// Judges an event's URL, which is written from then on as it was judged, and says what is made of it.
    fn callback(
        &self,
        event: &mut NewEvent,
        course: &Course,
        (from, delayed): (Timestamp, bool),
    ) -> Result<Option<Callback>, Refusal> {
        let Some(text) = &event.url else { return Ok(None) };
        let (url, rule) = course.callbacks.judge(&event.account, text)?;
        let profile = rule.form.profile();
        let due = retry::due(profile, 0, from, self.0.chance.fraction());
        let callback = Callback {
            origin: url.origin().ascii_serialization().into(),
            due: due.unwrap_or(from),
            entry: entry(profile.fifo, delayed),
            lasting: profile.lasting(),
            unavailable: rule.unavailable(),
            most: rule.max_origins,
        };
        event.url = Some(String::from(url).into());
        Ok((event.effect != Effect::None).then_some(callback))
    }

    /// What is made of a callback that is to be called again at `at`, by the rules of today.
    ///
    /// # Errors
    /// It may not go there any more, or could not be signed.
    pub fn call_again(&self, account: &AccountName, url: &str, at: Timestamp) -> Result<Callback, Refusal> {
        let course = self.course();
        let (url, rule) = course.callbacks.judge(account, url)?;
        let profile = rule.form.profile();
        Ok(Callback {
            origin: url.origin().ascii_serialization().into(),
            due: at,
            entry: Entry::Never,
            lasting: profile.lasting(),
            unavailable: rule.unavailable(),
            most: rule.max_origins,
        })
    }

    /// From when an event's schedule counts: the time that it is not to go before, else this moment; and whether it is
    /// delayed by that.
    fn first(&self, event: &NewEvent) -> Result<(Timestamp, bool), Refusal> {
        let now = self.0.clock.now();
        let Some(not_before) = event.not_before else { return Ok((now, false)) };
        let first = later::first(not_before, now, &self.0.clock.mark());
        let first = first.map_err(|error| Refusal::new(Code::InvalidEvent, format!("`at`: {error}")))?;
        Ok((first, first > now))
    }

    fn unknown_account(&self, event: &NewEvent, course: &Course) -> Refusal {
        let account = &event.account;
        let known = course.routes.0.keys().map(AccountName::as_str);
        let may_search = course.catalogs.may_search(self.0.clock.now());
        let near = may_search.then(|| nearest(account.as_str(), known)).flatten();
        let near = near.map(|near| format!(" did you mean `{near}`?")).unwrap_or_default();
        let message = format!(
            "there is no account `{account}`:{near} accounts are made in the configuration, [accounts.{account}], or with `posthaste account add {account}`"
        );
        Refusal::new(Code::UnknownAccount, message)
    }
}

/// From when on a delivery keeps the order, if it is to.
const fn entry(fifo: bool, delayed: bool) -> Entry {
    match (fifo, delayed) {
        (false, _) => Entry::Never,
        (true, false) => Entry::AtOnce,
        (true, true) => Entry::WhenDue,
    }
}

impl Submitted {
    /// Whether it was written by the thread that submitted it: the answers are there.
    pub const fn is_written(&self) -> bool {
        self.written
    }

    /// The answers, in the order of the events, when all of them are durable or refused.
    pub async fn answers(self) -> Vec<Result<Accepted, Refusal>> {
        let accepted = match self.accepting {
            Some(accepting) => accepting.answer().await,
            None => Ok(BatchAnswer::Events(Vec::new())),
        };
        let mut accepted = match accepted {
            Ok(BatchAnswer::Events(answers)) => answers,
            // Only a batch with a file can be answered otherwise.
            Ok(_) | Err(_) => Vec::new(),
        }
        .into_iter();
        let next = |item: Result<Found, Refusal>| {
            let found = item?;
            accepted.next().map_or_else(|| Err(Refusal::store_failed()), |done| answer(done, &found))
        };
        let answers: Vec<_> = self.items.into_iter().map(next).collect();
        let duplicates =
            answers.iter().filter(|answer| matches!(answer, Ok(accepted) if accepted.duplicate)).count();
        let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
        self.metrics.duplicates.add(duplicates);
        self.metrics.accepted.add(accepted - duplicates);
        self.metrics.refused.add(answers.len() - accepted);
        answers
    }
}

impl SubmittedFile {
    /// Waits until the file's events are durable; those of a file that was accepted before are.
    ///
    /// # Errors
    /// `Ok(Err(…))`: one of the events is refused, with its place among them, or the file [for
    /// now](Refusal::is_for_now). `Err(…)`: the store failed.
    pub async fn answer(self) -> Result<Result<(), (usize, Refusal)>, StoreError> {
        match self.accepting.answer().await? {
            BatchAnswer::Events(answers) => {
                let mut known = 0;
                for (acceptance, found) in answers.iter().zip(&self.items) {
                    match acceptance {
                        Acceptance::Duplicate(_) => known += 1,
                        _ => found.count(),
                    }
                }
                self.metrics.duplicates.add(known);
                self.metrics.accepted.add(self.items.len() - known);
                Ok(Ok(()))
            }
            BatchAnswer::FileKnown => Ok(Ok(())),
            BatchAnswer::NoRoom(full) => Ok(Err((0, door::refusal(full)))),
            BatchAnswer::FileRefused { index, first } => Ok(Err((index, conflict(first)))),
        }
    }
}

/// An answer as it goes over the wire.
pub fn wire(answer: Result<Accepted, Refusal>) -> Answer {
    answer.map_or_else(Answer::from, Answer::Accepted)
}

fn answer(acceptance: Acceptance, found: &Found) -> Result<Accepted, Refusal> {
    let effect = found.effect;
    match acceptance {
        Acceptance::Accepted(id) => {
            found.count();
            Ok(Accepted { id, duplicate: false, effect })
        }
        Acceptance::Duplicate(id) => Ok(Accepted { id, duplicate: true, effect }),
        Acceptance::Conflict(first) => Err(conflict(Some(first))),
        Acceptance::NoRoom(full) => Err(door::refusal(full)),
    }
}

fn conflict(first: Option<crate::model::id::EventId>) -> Refusal {
    let first = first.map_or_else(|| "another event of the same file".to_owned(), |first| first.to_string());
    let message =
        format!("this id was given to {first} with other content; give each event an id of its own");
    Refusal::new(Code::IdConflict, message)
}
