//! A spool directory: the door for programs that can only write files.
//!
//! A file is atomic: all its events are accepted in one transaction together with the file's identity, then it is
//! removed, or moved to `done/` inside the directory where that was asked for, then the identity is forgotten. Or it is
//! bad, and goes whole to `failed/`, with its [`Reason`] beside it.
//!
//! | a crash after | leaves | the next start |
//! | --- | --- | --- |
//! | nothing durable | the file | takes it |
//! | the commit | the file, its identity in the store | hands it in again, hears that it is known, removes it |
//! | the loss of its name | the file, under a private name | gives it back; then as above |
//! | the removal or the move, synced | an identity of no file | forgets it, when the directory has been seen whole |
//!
//! A file is complete when it is renamed in or closed by its writer, as the kernel's notifications say;
//! one that is found by a scan alone, or that got its name when it was written already, when it was the same at two looks,
//! some time apart. Notifications are hints: the directory is scanned at the start, every half a minute (`rescan`), and
//! whenever some were lost. Small files that lie there
//! together are handed in together, in the order of their names, and share commits.
//!
//! Where the directory has a type, a file of any other kind is one event of this type, its bytes the payload.
//!
//! What cannot be read, moved or removed is left where it is, reported once, and tried again by every scan, as is
//! everything when the directory itself is not there; the daemon runs on. One that does not answer (a network file system without its
//! server) keeps its own task waiting, and nobody else. A store that fails leaves all files. So does one
//! that has no room: then nothing is taken until it has, but for what it knows already, and what is still to be removed. A
//! file that alone finds no room, while the door is open for smaller ones, is left like one that cannot be read.

mod aside;
mod claims;
mod desk;
mod digest;
mod directory;
mod done;
mod extension;
mod failed;
mod known;
mod memory;
mod own;
mod rejects;
mod scan;
mod take;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    collections::VecDeque,
    mem,
    path::{self, Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::watch as channel,
    task::{self, JoinError, JoinHandle},
    time::{sleep, timeout, timeout_at},
};

pub use self::{
    claims::Claims,
    failed::{NAME as FAILED, Reason},
    rejects::{Lies, Reject, RejectError, Rejects},
    take::{Bad, Places, Rules, events_of},
};
use self::{
    desk::{Desk, Loaded, Look, Next, Outcome, Ready, Site},
    watch::Hints,
};
use crate::{
    clock::Clock,
    config,
    ingest::{
        answer::Refusal,
        intake::{Intake, Permit},
    },
    logging::Kind,
    metrics::Counter,
    outbox::StoreError,
};

/// What is wrong with a directory whose file system keeps a look waiting.
const SILENT: &str = "the directory does not answer: its files are taken when it does";
/// Files that the store knows, and that are looked for at the start: at most so many are handed in at a time.
const KNOWN_FILES: usize = 1 << 14;

/// A spool directory, before it is looked at.
pub struct Spool {
    name: String,
    intake: Intake,
    clock: Clock,
    timing: Timing,
    rules: Rules,
    hints: Arc<Hints>,
    desk: Arc<Mutex<Desk>>,
    shared: Arc<Shared>,
    /// It was told that the directory does not answer, and since then it was not opened in time.
    told_silent: AtomicBool,
}

/// Asks how a spool directory is; clones share it.
#[derive(Clone, Debug)]
pub struct SpoolHandle {
    path: PathBuf,
    shared: Arc<Shared>,
}

/// How a spool directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolStatus {
    /// Where it is.
    pub path: PathBuf,
    /// Files taken since the start.
    pub taken: u64,
    /// Files moved to `failed/` since the start.
    pub failed: u64,
    /// Files in `failed/`, as they were counted by the last scan, and those moved there since.
    pub in_failed: u64,
    /// The system tells of new files; if not, they are found by scans alone. Before the first look nothing is known to the
    /// contrary.
    pub watching: bool,
    /// What keeps files from being taken, or from being taken at once.
    pub problem: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    taken: Counter,
    failed: Counter,
    in_failed: AtomicU64,
    watching: AtomicBool,
    problem: Mutex<Option<String>>,
    /// Work at the directory is waited for, for longer than it may take.
    silent: AtomicBool,
    /// The directory has been opened, and made where it was not there; or that has failed.
    looked: channel::Sender<bool>,
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// A file that was found by a scan is taken when it has been still for so long.
    still: Duration,
    /// One to which somebody is known to write, and whose end was not heard.
    written: Duration,
    /// From scan to scan.
    rescan: Duration,
    /// Scans that are asked for have at least this between them.
    pause: Duration,
    /// A file for which alone there is no room is not read again before.
    refused: Duration,
    /// A directory that is not opened in this time does not answer.
    silent: Duration,
    /// Nor does one where other work takes longer, which may be thousands of files.
    slow: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            still: Duration::from_secs(2),
            written: Duration::from_secs(600),
            rescan: Duration::from_secs(30),
            pause: Duration::from_secs(1),
            refused: Duration::from_secs(60),
            silent: Duration::from_secs(5),
            slow: Duration::from_secs(60),
        }
    }
}

/// Why a look ended early; what was not taken lies where it was.
#[derive(Debug, thiserror::Error)]
enum Halt {
    /// The work panicked, or the runtime goes down.
    #[error("the work on the directory broke off")]
    Broken,
    /// Not now: it is a matter of time.
    #[error("{0}; files are left where they are")]
    Later(Refusal),
    /// The daemon stops.
    #[error("the daemon is stopping")]
    Stopping,
    /// The store failed.
    #[error("the store cannot be written; files are left where they are")]
    Store(#[from] StoreError),
}

impl Spool {
    /// The spool directory of `config`, whose files go to `intake`, and which no other of `claims` may have; and who to
    /// ask how it is.
    pub fn new(config: &config::Spool, intake: Intake, claims: Claims, clock: Clock) -> (Self, SpoolHandle) {
        let timing = Timing { rescan: config.rescan, ..Timing::default() };
        Self::with_timing(config, intake, claims, clock, timing)
    }

    fn with_timing(
        config: &config::Spool,
        intake: Intake,
        claims: Claims,
        clock: Clock,
        timing: Timing,
    ) -> (Self, SpoolHandle) {
        // Notifications come with absolute paths.
        let path = path::absolute(&config.path).unwrap_or_else(|_| config.path.clone());
        let limits = intake.limits();
        let rules = Rules {
            account: config.account.clone(),
            event_type: config.event_type.clone(),
            event_size: limits.event_size,
            file_size: limits.file_size,
            file_events: limits.file_events,
        };
        let (shared, hints) = (Arc::new(Shared::default()), Arc::new(Hints::new(rules.event_type.is_some())));
        shared.set_watching(true);
        let site = Site { path: path.clone(), after: config.after, claims };
        let desk = Desk::new(site, rules.clone(), timing, clock, Arc::clone(&shared), Arc::clone(&hints));
        let name = path.to_string_lossy().into_owned();
        let spool = Self {
            name,
            intake,
            clock,
            timing,
            rules,
            hints,
            desk: Arc::new(Mutex::new(desk)),
            shared: Arc::clone(&shared),
            told_silent: AtomicBool::new(false),
        };
        (spool, SpoolHandle { path, shared })
    }

    /// Takes files until `stopping` says so; then it brings those that it has in hand to their end.
    pub async fn run(self, mut stopping: channel::Receiver<bool>) {
        self.expect_known().await;
        let start = self.clock.instant();
        let mut plan = Plan { rescan: start, pause: start, due: None, wanted: false, lost: false };
        while !*stopping.borrow() {
            let news = self.hints.take();
            plan.wanted |= news.scan || news.lost;
            plan.lost |= news.lost;
            let now = self.clock.instant();
            let look = Look { names: news.names, new: news.new, ..plan.look(now) };
            if look.scan
                || !look.names.is_empty()
                || !look.new.is_empty()
                || plan.due.is_some_and(|due| due <= now)
            {
                let scanned = look.scan;
                let (next, later) = self.look(look, &stopping).await;
                plan.looked(scanned, next, self.clock.instant(), &self.timing);
                if let Some(refusal) = later {
                    tokio::select! {
                        () = self.intake.wait_for_room(&refusal) => {}
                        // What the store knows needs no room, and may not all have been reached.
                        () = sleep(self.timing.rescan), if next.known => {}
                        _ = stopping.wait_for(|stopping| *stopping) => break,
                    }
                    // What the look did not come to is found by a scan alone.
                    plan.rescan = self.clock.instant();
                    continue;
                }
            }
            tokio::select! {
                () = self.hints.heard_something() => {}
                () = tokio::time::sleep_until(plan.wake().into()) => {}
                _ = stopping.wait_for(|stopping| *stopping) => break,
            }
        }
    }

    /// Tells the desk which files the store knows. Where that fails nothing is forgotten, and the first file that is
    /// handed in says that the store fails.
    async fn expect_known(&self) {
        let (intake, name) = (self.intake.clone(), self.name.clone());
        let expect = move |desk: &mut Desk| match intake.known_files(&name, KNOWN_FILES) {
            Ok(known) => desk.expect(known),
            Err(error) => tracing::debug!(spool = %name, "cannot read which files are known: {error}"),
        };
        let _ = self.desk(expect).await;
    }

    /// What comes next; and why nothing is taken for now, if so.
    async fn look(&self, look: Look, stopping: &channel::Receiver<bool>) -> (Next, Option<Refusal>) {
        let scanned = look.scan;
        let halt = self.take_ready(look, stopping).await.err();
        let problem = match &halt {
            Some(Halt::Stopping) => None,
            Some(halt) => Some(halt.to_string()),
            // What lies there is not complete, and would not be taken if it were.
            None => self.intake.shut().map(|refusal| Halt::Later(refusal).to_string()),
        };
        let (intake, halted) = (self.intake.clone(), halt.is_some());
        let end = move |desk: &mut Desk| {
            if let Some(problem) = problem.filter(|_| halted || desk.waits()) {
                desk.trouble(problem);
            }
            desk.end(scanned, &intake)
        };
        let next = self.desk(end).await.unwrap_or_default();
        match halt {
            Some(Halt::Later(refusal)) => (next, Some(refusal)),
            _ => (next, None),
        }
    }

    async fn take_ready(&self, look: Look, stopping: &channel::Receiver<bool>) -> Result<(), Halt> {
        let begin = move |desk: &mut Desk| if desk.begin(&look) { desk.named(&look) } else { Vec::new() };
        let opened = self.desk_within(self.timing.silent, begin).await;
        self.shared.looked.send_replace(true);
        let (named, in_time) = opened?;
        if in_time {
            self.told_silent.store(false, Ordering::Relaxed);
        }
        let mut shut = None;
        self.take(named, &mut shut, stopping).await?;
        while let Some(ready) = self.desk(Desk::page).await? {
            self.take(ready, &mut shut, stopping).await?;
        }
        shut.map_or(Ok(()), |refusal| Err(Halt::Later(refusal)))
    }

    /// Takes the files in their order, a group at a time. Once the door is `shut`, only those that the store knows: what
    /// comes behind a file that was left is left, too, whatever the door does.
    async fn take(
        &self,
        files: Vec<Ready>,
        shut: &mut Option<Refusal>,
        stopping: &channel::Receiver<bool>,
    ) -> Result<(), Halt> {
        let mut files = VecDeque::from(files);
        while !files.is_empty() {
            *shut = shut.take().or_else(|| self.intake.shut());
            if let Some(refusal) = shut {
                let known = self.desk(move |desk| desk.only_known(files)).await?;
                files = known.ok_or_else(|| Halt::Later(refusal.clone()))?;
            }
            let permit = self.room_for(desk::group(&files), stopping).await?;
            let group;
            (files, group) = self
                .desk(move |desk| {
                    let group = desk.load(&mut files);
                    (files, group)
                })
                .await?;
            if !group.is_empty() {
                let (outcomes, left) = self.hand_in(group).await?;
                // While the door is open they are what has no room, and not the others.
                let now_shut = if left.is_empty() { None } else { self.intake.shut() };
                let alone = if now_shut.is_none() { left } else { Vec::new() };
                *shut = shut.take().or(now_shut);
                let intake = self.intake.clone();
                self.desk(move |desk| {
                    desk.finish(outcomes, &intake);
                    for file in &alone {
                        desk.refuse(file);
                    }
                })
                .await?;
            }
            drop(permit);
        }
        Ok(())
    }

    /// Waits until there is room for what the files and their events take in memory, before they are read.
    async fn room_for<'a>(
        &self,
        files: impl Iterator<Item = &'a Ready>,
        stopping: &channel::Receiver<bool>,
    ) -> Result<Permit, Halt> {
        let cost =
            files.fold(0, |sum: u64, file| sum.saturating_add(self.rules.cost(&file.name, file.stamp.size)));
        let budget = self.intake.budget();
        // A file may be larger than the budget. Half of it is for the other doors, however large the files are.
        let bytes = usize::try_from(cost).unwrap_or(usize::MAX).min(budget.size() / 2);
        let mut stopping = stopping.clone();
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => Err(Halt::Stopping),
            permit = budget.wait_for(bytes) => Ok(permit),
        }
    }

    /// Has the files' events accepted; they queue up in their order before the first answer is waited for. Files for which
    /// there is no room come back without an outcome.
    async fn hand_in(&self, group: Vec<Loaded>) -> Result<(Vec<Outcome>, Vec<Ready>), StoreError> {
        let submit = |Loaded { file, places, events }| {
            let submitted = self.intake.submit_file(events, file.stamp.identity(&self.name));
            (file, places, submitted)
        };
        let submitted: Vec<_> = group.into_iter().map(submit).collect();
        let (mut outcomes, mut left) = (Vec::with_capacity(submitted.len()), Vec::new());
        for (file, places, submitted) in submitted {
            let result = match submitted {
                Ok(submitted) => submitted.answer().await?,
                Err(refused) => Err(refused),
            };
            match result {
                Err((_, refusal)) if refusal.is_for_now() => left.push(file),
                result => outcomes.push(Outcome { file, places, result }),
            }
        }
        Ok((outcomes, left))
    }

    /// Works at the desk, where it may block.
    async fn desk<T, F>(&self, work: F) -> Result<T, Halt>
    where
        T: Send + 'static,
        F: FnOnce(&mut Desk) -> T + Send + 'static,
    {
        self.desk_within(self.timing.slow, work).await.map(|(done, _)| done)
    }

    /// As [`Self::desk`], and whether it was done in time; if not, the directory is said not to answer until it is done.
    async fn desk_within<T, F>(&self, time: Duration, work: F) -> Result<(T, bool), Halt>
    where
        T: Send + 'static,
        F: FnOnce(&mut Desk) -> T + Send + 'static,
    {
        let desk = Arc::clone(&self.desk);
        // What the desk remembers is a hint itself: after a panic the next scan puts it right.
        let work = move || work(&mut desk.lock().unwrap_or_else(PoisonError::into_inner));
        let mut working = task::spawn_blocking(work);
        let (done, in_time) = match timeout(time, &mut working).await {
            Ok(done) => (done, true),
            Err(_) => (self.wait_long(working).await, false),
        };
        done.map(|done| (done, in_time)).map_err(|_| Halt::Broken)
    }

    /// Waits on for work that takes long: for ever, where a network file system has lost its server.
    async fn wait_long<T>(&self, working: JoinHandle<T>) -> Result<T, JoinError> {
        self.shared.silent.store(true, Ordering::Relaxed);
        if !self.told_silent.swap(true, Ordering::Relaxed) {
            tracing::warn!(kind = Kind::SpoolProblem.word(), spool = %self.name, "{SILENT}");
        }
        let done = working.await;
        self.shared.silent.store(false, Ordering::Relaxed);
        done
    }
}

/// Waits until each of these directories has been looked at for the first time, or `time` is over: a file system that does
/// not answer may keep a look for ever.
pub async fn first_looks(spools: &[SpoolHandle], time: Duration) {
    let end = sleep(time).deadline();
    for spool in spools {
        let _ = timeout_at(end, spool.first_look()).await;
    }
}

/// When what is looked at next.
struct Plan {
    /// The next scan for its own sake.
    rescan: Instant,
    /// Before this no scan that is only asked for.
    pause: Instant,
    /// When the next file that waits may be ready.
    due: Option<Instant>,
    /// A scan is asked for.
    wanted: bool,
    /// The directory was removed or moved.
    lost: bool,
}

impl Plan {
    fn look(&mut self, now: Instant) -> Look {
        let make = self.rescan <= now;
        let scan = make || (self.wanted && self.pause <= now);
        if scan {
            self.wanted = false;
        }
        let lost = scan && mem::take(&mut self.lost);
        Look { scan, make, lost, ..Look::default() }
    }

    fn looked(&mut self, scanned: bool, next: Next, now: Instant, timing: &Timing) {
        self.due = next.due;
        self.wanted |= next.again;
        if scanned {
            self.rescan = now + timing.rescan;
            self.pause = now + timing.pause;
        }
    }

    fn wake(&self) -> Instant {
        let wanted = self.wanted.then_some(self.pause);
        [self.due, wanted].into_iter().flatten().fold(self.rescan, Instant::min)
    }
}

impl SpoolHandle {
    /// Waits until the directory has been looked at for the first time: it is there then, and watched, or it is known why not.
    async fn first_look(&self) {
        // It is shared with this handle, so the sender is there.
        let _ = self.shared.looked.subscribe().wait_for(|looked| *looked).await;
    }

    /// Where it is, if it does not answer.
    pub fn silent(&self) -> Option<&Path> {
        self.shared.silent.load(Ordering::Relaxed).then_some(&*self.path)
    }

    /// How it is now.
    pub fn status(&self) -> SpoolStatus {
        SpoolStatus {
            path: self.path.clone(),
            taken: self.shared.taken.get(),
            failed: self.shared.failed.get(),
            in_failed: self.shared.in_failed.load(Ordering::Relaxed),
            watching: self.shared.watching.load(Ordering::Relaxed),
            problem: self.silent().map(|_| SILENT.to_owned()).or_else(|| self.shared.problem()),
        }
    }
}

impl Shared {
    // Relaxed: nothing is ordered by what people are shown.
    fn set_in_failed(&self, count: u64) {
        self.in_failed.store(count, Ordering::Relaxed);
    }

    fn add_failed(&self) {
        self.failed.add(1);
        self.in_failed.fetch_add(1, Ordering::Relaxed);
    }

    fn set_watching(&self, watching: bool) {
        self.watching.store(watching, Ordering::Relaxed);
    }

    fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}
