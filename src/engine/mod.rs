//! The engine: the loop that joins the stages.
//!
//! ```text
//! notices of the writer ──▶ ┌────────┐ ──▶ attempts, a task each
//! backlog at the start  ──▶ │ engine │ ◀── what came of them
//! timers, commands      ──▶ └────────┘ ──▶ outbox.settle
//! ```
//!
//! It owns the [`Scheduler`] and the endpoints' counts of failures. Attempts read their rows themselves, and the
//! writer writes. A delivery is in one place at a time: in the scheduler or parked, in an attempt, or on
//! its way to the disk (`settling`); its next attempt is scheduled only when the outcome of the last is durable. So
//! no two attempts of one delivery are made at once, and none whose outcome could not be recorded.

pub mod attempt;
mod backlog;
pub mod directory;
pub mod endpoints;
mod fingerprint;
mod flights;
mod given;
mod memory;
mod recover;
pub mod reload;
pub mod retention;
pub mod settings;
mod standing;
mod tell;
#[cfg(test)]
mod tests;
mod timeline;

use std::{
    collections::HashMap, convert::Infallible, future::poll_fn, mem, pin::pin, sync::Arc, task::Poll,
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinSet,
};

use self::{
    attempt::{Crash, Ended, How, Kitchen, Surroundings, attempt},
    directory::{Directory, Swap, Target},
    flights::{Flights, Landed},
    memory::Memory,
    standing::Standing,
    timeline::Timeline,
};
use crate::{
    clock::{Chance, Clock},
    config,
    logging::{Kind, seldom::Seldom},
    metrics::Metrics,
    model::{
        attempt::{Report, Why},
        delivery::{CancelReason, Delivery, DeliveryKey, FailReason, Scheduled, State},
        endpoint::EndpointNumber,
        numbers::BuildNumberHasher,
        profile::Profile,
        time::{Minute, Timestamp},
    },
    outbox::{self, Count, Door, Loaded, NotSettled, Notice, OriginNews, Reader, Settle, StoreError},
    policy::{decide, outage::Shared},
    scheduler::{Hold, LaneRules, LaneStatus, Open, Pause, Scheduler, Start, Verdict},
};

/// With so many outcomes on their way to the disk, no further attempt starts.
const MAX_SETTLING: usize = 4096;
/// With so many keys on their way to the disk, no more of the backlog is read.
const MAX_PARKING: usize = 65_536;
/// With so many deliveries on their way to their place in an order, no further one joins.
const MAX_JOINING: usize = 4096;
/// No sleep is longer: tokio's 1.53 line has a timer bug with sleeps of years.
const MAX_SLEEP: Duration = Duration::from_secs(6 * 3600);
/// What is on its way to the disk when its turn comes is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// When so many attempts in a row were over one at a time, none waits for company.
const ALONE: u8 = 8;
/// After a panic in an attempt (a bug), its delivery waits so long.
const PANIC_PAUSE: Duration = Duration::from_secs(60);

/// Asks the engine; clones ask the same.
#[derive(Clone, Debug)]
pub struct Handle(mpsc::UnboundedSender<Command>);

enum Command {
    Waiting(Vec<(DeliveryKey, EndpointNumber)>, oneshot::Sender<Vec<Waits>>),
    Lanes(oneshot::Sender<HashMap<EndpointNumber, LaneView>>),
    Lane(EndpointNumber, oneshot::Sender<Option<LaneView>>),
    Overview(oneshot::Sender<Overview>),
    /// Whether the loop goes round.
    Probe(oneshot::Sender<bool>),
    /// What the loop looks at each time has changed.
    Look,
    /// The wall clock may stand otherwise.
    Clock,
    /// An endpoint is another.
    Changed(EndpointNumber, oneshot::Sender<()>),
    /// Endpoints are others, all of them or those of an account; and whether the clock has to be set, if that is said.
    Swap(Box<Swap>, Option<bool>, oneshot::Sender<()>),
    /// Deliveries as they are to end.
    End(Vec<(DeliveryKey, Delivery)>, Pass),
    /// There may be another recover.
    Recover,
    /// A delivery, as it was read, that is called off.
    Cancel(DeliveryKey, Delivery, Pass, oneshot::Sender<Option<Cancelling>>),
}

/// What becomes of a delivery that is called off.
#[derive(Debug)]
enum Cancelling {
    /// Its end is on its way to the disk.
    Ends,
    /// It is being attempted: that it is called off is on its way to the disk, and will be before the outcome is.
    Marked(oneshot::Receiver<Result<bool, StoreError>>),
}

/// Goes with what a pass over the backlog has ended; when the last copy is gone, all of it is on disk.
type Pass = mpsc::Sender<Infallible>;

/// What the engine says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overview {
    /// The backlog is read.
    pub running: bool,
    /// Deliveries that wait for their time. These two count keys in memory: what expired while it was held is among
    /// them until its turn comes.
    pub due: usize,
    /// Deliveries that wait for their turn.
    pub turn: usize,
    /// Attempts being made. Outcomes on their way to the disk are in none of the three.
    pub in_flight: usize,
    /// What attempts share and is down, in the order of [`Shared::ALL`].
    pub down: [Option<Open>; Shared::ALL.len()],
}

/// What the engine says of an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct LaneView {
    /// Its lane.
    pub status: LaneStatus,
    /// Attempts without success in a row.
    pub consecutive_failures: u32,
}

/// What a pending delivery waits for once it is due, as far as the engine knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Waits {
    /// The end of the attempt that is being made.
    InFlight,
    /// Its endpoint is disabled, or not configured.
    Disabled,
    /// The clock is not set.
    Clock,
    /// Its endpoint's circuit is open, or the box or the proxy is down.
    Circuit,
    /// Its endpoint's rate.
    Rate,
    /// A free place.
    #[default]
    Turn,
}

impl From<Option<Pause>> for Waits {
    fn from(pause: Option<Pause>) -> Self {
        match pause {
            Some(Pause::Held(Hold::Disabled)) => Self::Disabled,
            Some(Pause::Held(Hold::Clock)) => Self::Clock,
            Some(Pause::Circuit) => Self::Circuit,
            Some(Pause::Rate) => Self::Rate,
            None => Self::Turn,
        }
    }
}

#[cfg(test)]
impl Handle {
    /// That of an engine which has ended.
    pub(crate) fn of_none() -> Self {
        Self(mpsc::unbounded_channel().0)
    }
}

impl Handle {
    /// What these deliveries wait for.
    pub async fn waiting(&self, keys: Vec<(DeliveryKey, EndpointNumber)>) -> Vec<Waits> {
        self.ask(|answer| Command::Waiting(keys, answer)).await
    }

    /// How the lanes are.
    pub async fn lanes(&self) -> HashMap<EndpointNumber, LaneView> {
        self.ask(Command::Lanes).await
    }

    /// How one of them is, if it is there.
    pub async fn lane(&self, number: EndpointNumber) -> Option<LaneView> {
        self.ask(|answer| Command::Lane(number, answer)).await
    }

    /// How things are.
    pub async fn overview(&self) -> Overview {
        self.ask(Command::Overview).await
    }

    /// Waits until the engine has come to this in its turn; false: it has ended.
    pub async fn probe(&self) -> bool {
        self.ask(Command::Probe).await
    }

    /// Says that the directory has another endpoint under this number; waits until it is taken in.
    pub async fn changed(&self, number: EndpointNumber) {
        self.ask(|answer| Command::Changed(number, answer)).await;
    }

    /// Has these put into the directory, and taken in, in one step; waits for it. With `require_clock` attempts that sign
    /// their time wait, from now on or no longer, while the clock is unset.
    async fn swap(&self, swap: Swap, require_clock: Option<bool>) {
        self.ask(|answer| Command::Swap(Box::new(swap), require_clock, answer)).await;
    }

    /// Has these deliveries ended as they are; waits until that is on disk. Those that are being attempted are
    /// left to their attempts.
    async fn end(&self, found: Vec<(DeliveryKey, Delivery)>) {
        let (pass, mut done) = mpsc::channel(1);
        // After the engine's end nobody has it, and nobody needs to.
        let _ = self.0.send(Command::End(found, pass));
        done.recv().await;
    }

    /// Says that a recover was made.
    pub fn recover(&self) {
        // After the engine's end the next one finds it.
        let _ = self.0.send(Command::Recover);
    }

    /// Calls a pending delivery off, which was read as `delivery`; waits until that is on disk. Whoever asks looks whether it
    /// is: an attempt may have ended since it was read. Says whether anything could be done: not before the backlog is read,
    /// and not after the engine's end.
    ///
    /// # Errors
    /// The store failed.
    pub async fn cancel(&self, key: DeliveryKey, delivery: Delivery) -> Result<bool, StoreError> {
        let (pass, mut done) = mpsc::channel(1);
        match self.ask(|answer| Command::Cancel(key, delivery, pass, answer)).await {
            None => return Ok(false),
            Some(Cancelling::Ends) => drop(done.recv().await),
            Some(Cancelling::Marked(marked)) => {
                marked.await.unwrap_or(Err(StoreError::Stopped))?;
            }
        }
        Ok(true)
    }

    /// Asks; after the engine's end the answer is an empty one.
    async fn ask<T: Default>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> T {
        let (sender, receiver) = oneshot::channel();
        if self.0.send(command(sender)).is_err() {
            return T::default();
        }
        receiver.await.unwrap_or_default()
    }
}

/// The reason why the store has stopped, where the writer has given it: others may see the end before they hear why.
pub fn first_cause(error: StoreError, notices: &mut mpsc::UnboundedReceiver<Notice>) -> StoreError {
    let mut heard = std::iter::from_fn(|| notices.try_recv().ok());
    let cause = |notice| match notice {
        Notice::Failed(cause) => Some(cause),
        _ => None,
    };
    heard.find_map(cause).unwrap_or(error)
}

/// How the daemon wants attempts to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Not at all.
    #[default]
    Run,
    /// No further attempt starts; those in flight may come to their end.
    Drain,
    /// At once: what is in flight is cut off, and will be attempted again.
    Now,
}

/// Rouses the engine when it is to stop, and when an attempt may begin again; who says so outlives it. It hears of that as of
/// anything else: to listen for these itself would make each of its rounds a tenth dearer.
async fn rouse(engine: Handle, mut stop: watch::Receiver<Stop>, mut door: watch::Receiver<Door>) {
    loop {
        let changed = tokio::select! {
            changed = stop.changed() => changed,
            changed = door.changed() => changed,
        };
        if changed.is_err() || engine.0.send(Command::Look).is_err() {
            return;
        }
    }
}

/// Lets those that can go on do so first. The runtime's own `yield_now` is not for this: it looks for answers and at the
/// timers besides.
async fn step_back() {
    let mut stepped = false;
    poll_fn(|context| {
        if mem::replace(&mut stepped, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// An outcome on its way to the disk: what follows when it is there.
struct Settling {
    lane: EndpointNumber,
    /// What the delivery is then.
    state: State,
    due: Timestamp,
    /// What its endpoint has then.
    count: Option<Count>,
    /// A pass over the backlog waits for it.
    _pass: Option<Pass>,
}

/// The engine, before it runs.
pub struct Engine {
    scheduler: Scheduler,
    directory: Arc<Directory>,
    /// Those that have not been deleted.
    standings: HashMap<EndpointNumber, Standing, BuildNumberHasher>,
    around: Arc<Surroundings>,
    timeline: Timeline,
    chance: Chance,
    metrics: Metrics,
    flights: Flights,
    /// How often in a row one attempt was over and no other with it.
    alone: u8,
    /// The store as of the last commit that was heard of: attempts that start between two commits share it. Given up
    /// with the next, so that it keeps no pages from being used again for longer.
    view: Option<Arc<Reader>>,
    /// Outcomes that the writer is about to be given.
    outcomes: Vec<Settle>,
    /// Outcomes on their way to the disk, these among them.
    settling: HashMap<DeliveryKey, Settling, BuildNumberHasher>,
    /// What was replayed while an earlier start of it was still to find that it had ended.
    replayed: HashMap<DeliveryKey, Scheduled, BuildNumberHasher>,
    /// Who wants deliveries called off whose outcomes are on their way to the disk.
    cancels: HashMap<DeliveryKey, Vec<Command>, BuildNumberHasher>,
    /// What the backlog has that was called off during an attempt which was cut off.
    cut_off: Vec<(DeliveryKey, Delivery)>,
    /// Which endpoint's deliveries have failed for good lately, and why, as far as the log has said it.
    failures: Seldom<(EndpointNumber, FailReason)>,
    /// Keys on their way to the disk because memory has no room for them.
    parking: usize,
    /// Deliveries on their way to their place in an order.
    joining: usize,
    running: bool,
    /// Told when an endpoint may have called deliveries off.
    called_off: Arc<Notify>,
    /// Told when there may be a recover.
    recovers: Arc<Notify>,
    commands: mpsc::UnboundedReceiver<Command>,
    handle: Handle,
}

impl Engine {
    /// An engine for the store just opened, whose clock goes on where the one before left off. With `require_clock`
    /// attempts that sign their time wait while the clock is unset.
    pub fn new(
        opened: &outbox::Opened,
        directory: Arc<Directory>,
        limits: &config::Limits,
        (clock, require_clock): (Clock, bool),
        chance: Chance,
        metrics: Metrics,
    ) -> Self {
        let crash = Crash {
            unclean: opened.unclean,
            started_at: clock.started_at(),
            last_seq: opened.last_seq,
            first_attempt: opened.first_attempt,
        };
        let (sender, commands) = mpsc::unbounded_channel();
        let mut engine = Self {
            scheduler: Scheduler::new(limits.in_flight, limits.keys_in_memory, clock.now()),
            directory,
            standings: HashMap::default(),
            around: Arc::new(Surroundings {
                outbox: opened.outbox.clone(),
                clock,
                crash,
                memory: Memory::new(limits.in_flight_bytes),
                kitchen: Kitchen::default(),
            }),
            timeline: Timeline::new(clock, require_clock),
            chance,
            metrics,
            flights: Flights::new(),
            alone: ALONE,
            view: None,
            outcomes: Vec::new(),
            settling: HashMap::default(),
            replayed: HashMap::default(),
            cancels: HashMap::default(),
            cut_off: Vec::new(),
            failures: Seldom::default(),
            parking: 0,
            joining: 0,
            running: false,
            called_off: Arc::default(),
            recovers: Arc::default(),
            commands,
            handle: Handle(sender),
        };
        engine.make_lanes();
        engine
    }

    /// Asks this engine.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until `stop` says so and nothing is in flight.
    ///
    /// # Errors
    /// The store failed.
    pub async fn run(
        mut self,
        mut notices: mpsc::UnboundedReceiver<Notice>,
        stop: watch::Receiver<Stop>,
    ) -> Result<(), StoreError> {
        let mut backlog = backlog::read(self.around.outbox.clone(), self.around.crash.last_seq);
        let passes = self.start_passes(&stop);
        self.begin_clock();
        // Attempts share a receiver: each with one of its own would count itself in and out.
        let shared_stop = Arc::new(stop.clone());
        let (mut heard, mut landed) = (Vec::new(), Vec::new());
        // Set anew only when the time has changed for which it is set.
        let mut alarm = pin!(tokio::time::sleep(Duration::ZERO));
        let mut armed = None;
        let result = loop {
            let stopping = *stop.borrow();
            if stopping == Stop::Now || (stopping == Stop::Drain && self.flights.is_empty()) {
                break Ok(());
            }
            if stopping == Stop::Run
                && let Err(error) = self.start_attempts(&shared_stop)
            {
                break Err(error);
            }
            if self.flights.is_empty() {
                // Nobody reads in it, and no outcome may come for a long time, at which it would be made anew.
                self.view = None;
            }
            self.move_keys(stopping);
            let wake = self.scheduler.poll_timeout().into_iter().chain(self.failures.next()).min();
            if wake != armed
                && let Some(at) = wake
            {
                alarm.as_mut().reset(self.alarm_at(at).into());
            }
            armed = wake;
            let result = tokio::select! {
                count = notices.recv_many(&mut heard, 64) => self.hear(count, &mut heard),
                () = self.flights.wait(&mut landed) => {
                    if self.is_crowded() || landed.len() > 1 {
                        // Others that can go on do so first. What ends by that is seen to together, and what begins then
                        // begins together: answers, rounds and requests in turn, one at a time, would push each
                        // other's code and data out of the processor's caches.
                        step_back().await;
                    }
                    self.flights.take(&mut landed);
                    self.alone = if landed.len() > 1 { 0 } else { self.alone.saturating_add(1) };
                    self.finish_all(&mut landed)
                }
                page = backlog.recv(), if !self.running && self.parking < MAX_PARKING => self.take_backlog(page),
                Some(command) = self.commands.recv() => self.take(command, &mut notices, &mut heard),
                () = &mut alarm, if armed.is_some() => { armed = None; Ok(()) }
            };
            self.hand_over();
            if let Err(error) = result {
                break Err(error);
            }
            let now = self.around.clock.now();
            self.scheduler.handle_timeout(now);
            let again = self.failures.take_due(now);
            self.tell_again(&again);
        };
        drop(passes);
        let again = self.failures.take_all();
        self.tell_again(&again);
        self.flights.cut_off().await;
        result.map_err(|error| first_cause(error, &mut notices))
    }

    /// Starts what goes over the backlog now and then, what looks at the clock, and what rouses the engine; it ends when this
    /// is dropped.
    fn start_passes(&self, stop: &watch::Receiver<Stop>) -> JoinSet<()> {
        let (outbox, directory, handle) =
            (&self.around.outbox, Arc::clone(&self.directory), self.handle.clone());
        let mut passes = JoinSet::new();
        passes.spawn(rouse(handle.clone(), stop.clone(), outbox.room().door()));
        passes.spawn(timeline::watch(self.around.clock, handle.clone()));
        passes.spawn(backlog::sweep(outbox.clone(), directory, self.around.clock, handle));
        let (directory, handle) = (Arc::clone(&self.directory), self.handle.clone());
        passes.spawn(backlog::discard(outbox.clone(), directory, handle, Arc::clone(&self.called_off)));
        let (directory, handle) = (Arc::clone(&self.directory), self.handle.clone());
        let told = Arc::clone(&self.recovers);
        passes.spawn(recover::recover(outbox.clone(), directory, self.around.clock, handle, told));
        passes
    }

    fn make_lanes(&mut self) {
        for target in self.directory.all() {
            if !target.stored.is_deleted() {
                self.standings.insert(target.number, Standing::of(&target.stored));
                self.set_lane(&target);
            }
        }
    }

    fn set_lane(&mut self, target: &Target) {
        let rules = target.profile().map_or(LaneRules::plain(1), LaneRules::of);
        let rules = LaneRules { proxied: target.is_proxied(), ..rules };
        self.scheduler.set_lane(target.number, &rules);
        self.scheduler.hold(target.number, Hold::Disabled, self.is_held(target.number));
        self.hold_for_clock(target);
    }

    /// Takes in which origins callbacks go to, and which none goes to any more.
    fn take_origins(&mut self, news: OriginNews) {
        for (number, stored) in news.made {
            let target = self.directory.make(number, stored);
            self.standings.insert(number, Standing::of(&target.stored));
            self.set_lane(&target);
        }
        for number in news.forgotten {
            self.directory.forget(number);
            self.standings.remove(&number);
            self.scheduler.retire(number);
        }
    }

    /// Whether what is due in a lane waits, as the directory has its endpoint at this moment, or will have it.
    fn is_held(&self, lane: EndpointNumber) -> bool {
        let disabled = self.standings.get(&lane).is_some_and(Standing::is_disabled);
        disabled || self.directory.target(lane).is_none_or(|target| target.is_held())
    }

    /// Takes in that an endpoint is another.
    fn changed(&mut self, number: EndpointNumber) {
        let Some(target) = self.directory.target(number) else { return };
        if target.stored.is_deleted() {
            self.standings.remove(&number);
        } else {
            let standing = self.standings.entry(number).or_insert_with(|| Standing::of(&target.stored));
            if standing.is_reset(&target.stored) {
                self.scheduler.forget(number);
            }
            if let Some(disabled) = standing.changed(&target.stored) {
                // The change was put into the directory over it.
                self.directory.disable(number, target.stored.resets, disabled);
            }
        }
        self.set_lane(&target);
        self.called_off.notify_one();
    }

    fn alarm_at(&self, at: Timestamp) -> std::time::Instant {
        let clock = self.around.clock;
        clock.instant_of(at).min(clock.instant() + MAX_SLEEP)
    }

    fn start_attempts(&mut self, stop: &Arc<watch::Receiver<Stop>>) -> Result<(), StoreError> {
        while self.settling.len() < MAX_SETTLING
            && self.around.outbox.room().may_begin(self.settling.len() + self.scheduler.in_flight())
            && let Some(start) = self.scheduler.poll_start()
        {
            let Some(target) = self.directory.target(start.lane) else {
                self.without_target(start)?;
                continue;
            };
            // What a pass has ended out of its turn is on its way to the disk: it is looked at again when that is known.
            if self.settling.contains_key(&start.key) {
                let now = self.around.clock.now();
                self.put_back(start, now.plus(LOOK_AGAIN), now);
                continue;
            }
            let view = self.view()?;
            let around = Arc::clone(&self.around);
            let doubtful = self.standings.get(&start.lane).is_some_and(|one| one.consecutive_failures > 0);
            let stop = Arc::clone(stop);
            let how = How { doubtful, crowded: self.is_crowded() };
            self.flights.begin(start, Box::pin(attempt(start, view, target, how, around, stop)));
        }
        Ok(())
    }

    /// Sees to a key of a lane that the directory has nothing for. As a rule it is left of a delivery that has ended, and
    /// its origin was forgotten since. Where something is pending the store is damaged, for what it goes to is in the
    /// directory before it is scheduled: then its keys are kept.
    fn without_target(&mut self, start: Start) -> Result<(), StoreError> {
        let now = self.around.clock.now();
        let pending = match self.view()?.delivery(start.key) {
            Ok(found) => found.is_some_and(|(_, delivery)| delivery.state == State::Pending),
            Err(StoreError::Row { .. }) => false,
            Err(error) => return Err(error),
        };
        if pending {
            self.scheduler.hold(start.lane, Hold::Disabled, true);
            self.put_back(start, now, now);
        } else {
            self.came_to_nothing(start, now);
            self.scheduler.retire(start.lane);
        }
        Ok(())
    }

    fn view(&mut self) -> Result<Arc<Reader>, StoreError> {
        if let Some(view) = &self.view {
            return Ok(Arc::clone(view));
        }
        let view = Arc::new(self.around.outbox.read()?);
        self.view = Some(Arc::clone(&view));
        Ok(view)
    }

    /// Has keys written to the disk for which memory has no room, and others taken from it when their turn comes; has
    /// those join their order that are due, whatever their endpoint waits for.
    fn move_keys(&mut self, stopping: Stop) {
        while let Some(keys) = self.scheduler.poll_park() {
            self.parking += keys.len();
            self.around.outbox.park(keys);
        }
        // A load before the end of the backlog would bring what its scan is still to find; a delivery that has joined
        // would be found twice.
        if !self.running || stopping != Stop::Run {
            return;
        }
        while let Some(load) = self.scheduler.poll_load() {
            self.around.outbox.load(load);
        }
        let keys = self.scheduler.poll_join(MAX_JOINING - self.joining);
        if !keys.is_empty() {
            self.joining += keys.len();
            self.around.outbox.join(keys);
        }
    }

    fn parked(&mut self, count: usize, lanes: &[(EndpointNumber, Minute)]) {
        self.parking = self.parking.saturating_sub(count);
        for (lane, minute) in lanes {
            self.scheduler.handle_parked(*lane, *minute);
        }
    }

    /// Takes in what the writer says; `count` 0 means that it has ended.
    fn hear(&mut self, count: usize, heard: &mut Vec<Notice>) -> Result<(), StoreError> {
        if count == 0 {
            return Err(StoreError::Stopped);
        }
        self.view = None;
        let now = self.around.clock.now();
        self.keep_mark(now);
        for notice in heard.drain(..) {
            match notice {
                Notice::Origins(news) => self.take_origins(news),
                Notice::Scheduled(scheduled) => self.schedule(&scheduled, now),
                Notice::Settled(keys) => keys.into_iter().for_each(|key| self.settled(key, now)),
                Notice::NotSettled(all) => all.into_iter().for_each(|(key, why)| self.not_settled(key, &why)),
                Notice::Joined(count) => self.joining = self.joining.saturating_sub(count),
                Notice::Parked(count, lanes) => self.parked(count, &lanes),
                Notice::Loaded(Loaded { lane, found, next }) => {
                    self.scheduler.handle_loaded(lane, &found, next, now);
                }
                Notice::Failed(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn schedule(&mut self, scheduled: &[Scheduled], now: Timestamp) {
        for one in scheduled {
            if self.scheduler.is_in_flight(one.key) {
                self.replayed.insert(one.key, *one);
                continue;
            }
            self.scheduler.handle_scheduled(one.key, one.endpoint, one.due, now);
        }
    }

    fn settled(&mut self, key: DeliveryKey, now: Timestamp) {
        let Some(settling) = self.settling.remove(&key) else { return };
        if let Some(count) = settling.count {
            self.counted(settling.lane, &count, true);
        }
        match settling.state {
            State::Pending => self.scheduler.handle_scheduled(key, settling.lane, settling.due, now),
            State::Succeeded => self.metrics.succeeded.add(1),
            State::Failed(reason) => {
                self.metrics.failed.add(1);
                self.tell_failed(key, settling.lane, reason, now);
            }
            State::Cancelled(_) => {}
        }
        self.obey_later(key);
    }

    fn not_settled(&mut self, key: DeliveryKey, why: &NotSettled) {
        let settling = self.settling.remove(&key);
        self.obey_later(key);
        if let Some(Settling { lane, count: Some(count), .. }) = settling {
            self.counted(lane, &count, false);
        }
        match why {
            // A pass looked before an attempt ended: its key is where it was.
            NotSettled::Stale => {}
            NotSettled::Unreadable(error) => {
                let (event, slot) = (key.seq.get(), key.slot);
                tracing::error!(kind = Kind::RowUnreadable.word(), event, slot, %error, "an outcome is lost: its delivery cannot be read, and is left alone");
            }
        }
    }

    /// Does what was put off until the outcome of this delivery was on disk.
    fn obey_later(&mut self, key: DeliveryKey) {
        for command in self.cancels.remove(&key).into_iter().flatten() {
            self.obey(command);
        }
    }

    /// Calls a delivery off: at once, or with the end of its attempt.
    fn cancel(
        &mut self,
        key: DeliveryKey,
        delivery: Delivery,
        pass: Pass,
        answer: oneshot::Sender<Option<Cancelling>>,
    ) {
        if self.settling.contains_key(&key) {
            self.cancels.entry(key).or_default().push(Command::Cancel(key, delivery, pass, answer));
            return;
        }
        let cancelling = if !self.running {
            None
        } else if self.scheduler.is_in_flight(key) {
            Some(Cancelling::Marked(self.around.outbox.call_off(key)))
        } else {
            self.call_off(key, delivery, Some(pass));
            Some(Cancelling::Ends)
        };
        // Who asked may have gone.
        let _ = answer.send(cancelling);
    }

    fn call_off(&mut self, key: DeliveryKey, delivery: Delivery, pass: Option<Pass>) {
        let start = Start { key, lane: delivery.endpoint, probe: false };
        let ended = decide::call_off(&delivery, CancelReason::Operator, self.around.clock.wall());
        self.end(start, ended, pass);
    }

    /// Takes in that a count is on disk, or cannot be written.
    fn counted(&mut self, lane: EndpointNumber, count: &Count, written: bool) {
        let Some(disabled) = count.disable else { return };
        let Some(standing) = self.standings.get_mut(&lane) else { return };
        if standing.settled(count, written) {
            self.directory.disable(lane, count.resets, disabled);
            if let Some(target) = self.directory.target(lane) {
                tell::of_disabled(&target, disabled, count.consecutive_failures);
            }
        } else {
            self.scheduler.hold(lane, Hold::Disabled, self.is_held(lane));
        }
    }

    /// Takes in a page of the backlog; its reader has broken down if there is none before the last.
    fn take_backlog(&mut self, page: Option<Result<backlog::Page, StoreError>>) -> Result<(), StoreError> {
        let page = page.unwrap_or(Err(StoreError::Stopped))?;
        self.around.outbox.count_backlog(&page.found);
        self.around.outbox.count_heads(page.heads);
        if !page.stuck.is_empty() {
            self.around.outbox.pass_over(page.stuck);
        }
        self.cut_off.extend(page.found.iter().filter(|(_, delivery)| delivery.called_off));
        self.schedule(&page.unparked, self.around.clock.now());
        self.parked(0, &page.parked);
        self.running = page.last;
        if self.running {
            self.around.outbox.backlog_is_counted();
            for (key, delivery) in mem::take(&mut self.cut_off) {
                if !self.scheduler.is_in_flight(key) && !self.settling.contains_key(&key) {
                    self.call_off(key, delivery, None);
                }
            }
            // What was called off before the last end, and did not say so itself then.
            self.called_off.notify_one();
        }
        Ok(())
    }

    /// Whether attempts end several at a time, as they do when there is much to do. To wait for company where none comes
    /// costs more than an attempt.
    const fn is_crowded(&self) -> bool {
        self.alone < ALONE
    }

    /// Takes in attempts that are over.
    fn finish_all(&mut self, landed: &mut Vec<Landed>) -> Result<(), StoreError> {
        for (start, ended) in landed.drain(..) {
            if let Some(ended) = ended {
                self.follow(start, ended)?;
            } else {
                let (event, slot) = (start.key.seq.get(), start.key.slot);
                tracing::error!(
                    kind = Kind::Panicked.word(),
                    event,
                    slot,
                    "an attempt panicked; its delivery is tried again in a minute"
                );
                let now = self.around.clock.now();
                self.put_back(start, now.plus(PANIC_PAUSE), now);
            }
            self.go_again(start.key);
        }
        Ok(())
    }

    /// Does what follows from an attempt.
    fn follow(&mut self, start: Start, ended: Ended) -> Result<(), StoreError> {
        let now = self.around.clock.now();
        match ended {
            Ended::Attempted { before, why, report, form } => {
                self.attempted(start, &before, (why, report), form.profile(), now);
                return Ok(());
            }
            Ended::CalledOff { before, reason, at } => {
                self.end(start, decide::call_off(&before, reason, at), None);
            }
            Ended::Expired { before } => {
                self.end(start, decide::fail(&before, FailReason::Expired, now), None);
            }
            Ended::Template { before, accepted_at, error } => {
                self.tell_template(start, accepted_at, &error, now);
                self.end(start, decide::fail(&before, FailReason::Template, now), None);
            }
            Ended::NotPending => {}
            Ended::NotDue { due } => {
                self.put_back(start, due, now);
                return Ok(());
            }
            Ended::NoTarget { due } => {
                // It may have become another meanwhile, and its lane been let go already.
                self.scheduler.hold(start.lane, Hold::Disabled, self.is_held(start.lane));
                self.put_back(start, due, now);
                return Ok(());
            }
            Ended::Store { accepted_at, error: error @ StoreError::Row { .. } } => {
                let id =
                    accepted_at.map(|at| self.around.outbox.id_key().delivery_id(at, start.key).to_string());
                let (event, slot) = (start.key.seq.get(), start.key.slot);
                tracing::error!(kind = Kind::RowUnreadable.word(), delivery = id, event, slot, %error, "a delivery cannot be read: it is left alone");
            }
            Ended::Store { error, .. } => return Err(error),
        }
        self.came_to_nothing(start, now);
        Ok(())
    }

    /// Schedules what was replayed during a start that has come to nothing. Where it was put back or attempted after all,
    /// that is seen to; a key too many does no harm.
    fn go_again(&mut self, key: DeliveryKey) {
        if let Some(one) = self.replayed.remove(&key) {
            self.scheduler.handle_scheduled(one.key, one.endpoint, one.due, self.around.clock.now());
        }
    }

    /// Ends a start of which no request came.
    fn came_to_nothing(&mut self, start: Start, now: Timestamp) {
        self.scheduler.handle_finished(start.key, Verdict::Nothing, 0.0, now);
    }

    /// Ends a start that came to nothing, to come again at `due`.
    fn put_back(&mut self, start: Start, due: Timestamp, now: Timestamp) {
        self.came_to_nothing(start, now);
        self.scheduler.handle_scheduled(start.key, start.lane, due, now);
    }

    /// Does what follows from an attempt that was made under `profile`: its endpoint may have another by now.
    fn attempted(
        &mut self,
        start: Start,
        before: &Delivery,
        (why, report): (Why, Box<Report>),
        profile: &Profile,
        now: Timestamp,
    ) {
        self.metrics.attempts.add(1);
        let failures = self.standings.get(&start.lane).map_or(0, |one| one.consecutive_failures);
        // `now` is a whole millisecond, rounded down: counted from the next one, no delay is shortened.
        let end = now.plus(Duration::from_millis(1));
        let chance = self.chance.fraction();
        let (wall, unset) = self.around.clock.wall_and_unset();
        let set = (!unset).then_some(wall);
        let decision = decide::decide(before, &report.outcome, profile, failures, chance, end, set);
        let (down, circuit) = (self.down(), self.circuit(start.lane));
        self.scheduler.handle_sign(start.key, |shared| shared.sign(&report.outcome));
        self.scheduler.handle_finished(start.key, decision.verdict, chance, end);
        tell::of_shared(down, self.down(), &report.outcome);
        self.tell_circuit(start.lane, circuit, &report.outcome);
        if !report.success {
            self.tell_attempt(start, &decision.delivery, &report.outcome);
        }
        // Of an endpoint that has been deleted nothing is counted.
        let standing = self.standings.get_mut(&start.lane);
        let count = standing.and_then(|standing| standing.decided(&decision, wall));
        if count.is_some_and(|count| count.disable.is_some()) {
            self.scheduler.hold(start.lane, Hold::Disabled, true);
        }
        let attempt = Some((why, report));
        let settle = Settle { key: start.key, delivery: decision.delivery, attempt, count };
        self.settle(start, settle, wall, None);
    }

    /// Ends a delivery without an attempt, as `delivery` is.
    fn end(&mut self, start: Start, delivery: Delivery, pass: Option<Pass>) {
        let settle = Settle { key: start.key, delivery, attempt: None, count: None };
        self.settle(start, settle, self.around.clock.wall(), pass);
    }

    fn settle(&mut self, start: Start, mut settle: Settle, wall: Timestamp, pass: Option<Pass>) {
        // What is to come is planned on the schedule's time; an end is a fact, for people to read.
        if matches!(settle.delivery.state, State::Succeeded | State::Failed(_)) {
            settle.delivery.due = wall;
        }
        let (state, due) = (settle.delivery.state, settle.delivery.due);
        self.settling
            .insert(settle.key, Settling { lane: start.lane, state, due, count: settle.count, _pass: pass });
        self.outcomes.push(settle);
    }

    /// Gives what has been decided since the last time to the writer, all of it at once.
    fn hand_over(&mut self) {
        if !self.outcomes.is_empty() {
            self.around.outbox.settle(&mut self.outcomes);
        }
    }

    /// Does what it is told. What the writer said before the commit that a swap comes from is heard before it: of that hangs
    /// which origins there are.
    fn take(
        &mut self,
        command: Command,
        notices: &mut mpsc::UnboundedReceiver<Notice>,
        heard: &mut Vec<Notice>,
    ) -> Result<(), StoreError> {
        let mut heard_all = Ok(());
        if matches!(command, Command::Swap(..)) {
            heard.extend(std::iter::from_fn(|| notices.try_recv().ok()));
            if !heard.is_empty() {
                heard_all = self.hear(heard.len(), heard);
            }
        }
        self.obey(command);
        heard_all
    }

    fn lane(&self, number: EndpointNumber) -> Option<LaneView> {
        let consecutive_failures = self.standings.get(&number)?.consecutive_failures;
        Some(LaneView { status: self.scheduler.lane(number)?, consecutive_failures })
    }

    fn obey(&mut self, command: Command) {
        // Who asked may have gone: then nobody needs the answer.
        match command {
            Command::Waiting(keys, answer) => {
                let waits = |(key, lane)| self.waits(key, lane);
                let _ = answer.send(keys.into_iter().map(waits).collect());
            }
            Command::Lanes(answer) => {
                let numbers = self.standings.keys();
                let _ = answer.send(numbers.filter_map(|one| Some((*one, self.lane(*one)?))).collect());
            }
            Command::Lane(number, answer) => {
                let _ = answer.send(self.lane(number));
            }
            Command::Overview(answer) => {
                let _ = answer.send(Overview {
                    running: self.running,
                    due: self.scheduler.scheduled(),
                    turn: self.scheduler.queued(),
                    in_flight: self.scheduler.in_flight(),
                    down: self.down(),
                });
            }
            Command::Probe(answer) => {
                let _ = answer.send(true);
            }
            Command::Look => {}
            Command::Recover => self.recovers.notify_one(),
            Command::Clock => self.mind_clock(),
            Command::Changed(number, answer) => {
                self.changed(number);
                let _ = answer.send(());
            }
            Command::Cancel(key, delivery, pass, answer) => self.cancel(key, delivery, pass, answer),
            Command::Swap(swap, require_clock, answer) => {
                if let Some(require) = require_clock {
                    self.timeline.set_require(require);
                }
                for number in self.directory.swap(*swap) {
                    self.changed(number);
                }
                let _ = answer.send(());
            }
            Command::End(found, pass) => {
                for (key, delivery) in found {
                    self.end_unless_busy(key, delivery, &pass);
                }
            }
        }
    }

    fn down(&self) -> [Option<Open>; Shared::ALL.len()] {
        Shared::ALL.map(|shared| self.scheduler.down(shared))
    }

    fn waits(&self, key: DeliveryKey, lane: EndpointNumber) -> Waits {
        if self.scheduler.is_in_flight(key) || self.settling.contains_key(&key) {
            return Waits::InFlight;
        }
        self.scheduler.lane(lane).and_then(|lane| lane.pause).into()
    }

    /// Ends a delivery that a pass over the backlog has found, unless an attempt has it: that will see for itself. The
    /// pass read it a while ago; if it has been attempted since, the writer sees that, and writes nothing.
    fn end_unless_busy(&mut self, key: DeliveryKey, delivery: Delivery, pass: &Pass) {
        let start = Start { key, lane: delivery.endpoint, probe: false };
        // What the backlog has not brought yet is not counted as pending either.
        if !self.running || self.scheduler.is_in_flight(key) || self.settling.contains_key(&key) {
            return;
        }
        self.end(start, delivery, Some(pass.clone()));
    }
}
