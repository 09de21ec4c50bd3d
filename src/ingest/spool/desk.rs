//! What is done with the directory and its files: all that blocks.
//!
//! A look goes `begin` → (`named`, and `page` until there is none) → `end`; what the two give goes through `load` and
//! `finish`, in between the events become durable. Nothing here waits for anything but the disk.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    ffi::{OsStr, OsString},
    fs::File,
    io,
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use super::{
    Shared, Timing,
    aside::{self, Aside},
    claims::Claims,
    digest::Digest,
    directory::{self, Directory, Stamp},
    done,
    failed::{self, PutAway},
    known::Known,
    memory::Memory,
    scan,
    take::{self, Bad, Content, Places, Rules},
    watch::{Hints, Watch},
};
use crate::{
    clock::Clock,
    config::After,
    ingest::{answer::Refusal, intake::Intake},
    logging::Kind,
    model::event::NewEvent,
    outbox::FileIdentity,
    sandbox,
};

/// Files that are handed in together at most.
const GROUP_FILES: usize = 256;
/// Bytes of files that are handed in together; a larger file goes alone.
const GROUP_BYTES: u64 = 1 << 20;
/// Files that a look reports one by one.
const REPORTED: usize = 16;

const NO_ROOM: &str = "does not fit into the room that is left on the store's disk, smaller ones may: have room made there, or split \
                       it; it is tried again when a minute has passed, or at once when it is renamed in again";

/// Which directory it is.
#[derive(Debug)]
pub(super) struct Site {
    /// Its path.
    pub(super) path: PathBuf,
    /// What becomes of files that are taken.
    pub(super) after: After,
    /// The other spools' directories.
    pub(super) claims: Claims,
}

/// The directory's clerk.
#[derive(Debug)]
pub(super) struct Desk {
    site: Site,
    rules: Rules,
    timing: Timing,
    clock: Clock,
    status: Arc<Shared>,
    hints: Arc<Hints>,
    watch: Watch,
    /// Open during a look.
    directory: Option<Arc<Directory>>,
    /// Its `failed/`, open during a look that scans, where it can be used.
    failed: Option<Directory>,
    /// Why `failed/` or `done/` cannot be used.
    unusable: Option<String>,
    /// Files that nobody said are complete.
    waiting: Memory<Waiting>,
    /// Files that cannot be taken, removed or moved; tried again by scans.
    stuck: Memory<Stuck>,
    /// What the files of the group hold that is being taken.
    in_hand: HashMap<OsString, Digest>,
    /// Names that files were given back under: the notification of it does not say that they are complete.
    given_back: BTreeSet<OsString>,
    /// Files that the store knew at the start.
    known: Known,
    /// How far the scan has come.
    scan: Scan,
    /// There were more files than can be remembered as waiting.
    overflowed: bool,
    /// How `failed/` was when its files were counted.
    counted: Option<failed::Seen>,
    /// The first problem of the last scan and of what came after it.
    problem: Option<String>,
    reported: usize,
    told_unknown: bool,
    told_special: bool,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Since when the file is as it is.
    since: Instant,
    /// When it has been still for long enough.
    until: Instant,
}

/// What is to be done with a file that lies where it is.
#[derive(Clone, Debug)]
enum Stuck {
    /// It is to be moved to `failed/`.
    Bad(Bad),
    /// There was no room for it: nothing, before this moment.
    Refused(Instant),
    /// All that is done with any other file.
    Other,
}

#[derive(Debug)]
enum Scan {
    /// After this name.
    At(Option<OsString>),
    /// Not to its end, or there was none.
    Off,
    /// The whole directory was seen.
    Whole,
}

/// A file that is complete, and how it was when that was found.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) name: OsString,
    pub(super) stamp: Stamp,
}

/// A file's events.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) file: Ready,
    pub(super) places: Places,
    pub(super) events: Vec<NewEvent>,
}

/// What became of a file: taken, or one of its events is refused for good.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) file: Ready,
    pub(super) places: Places,
    pub(super) result: Result<(), (usize, Refusal)>,
}

/// What to look at.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Files that are complete.
    pub(super) names: BTreeSet<OsString>,
    /// Files that are new, complete or not.
    pub(super) new: BTreeSet<OsString>,
    /// The whole directory.
    pub(super) scan: bool,
    /// Make the directory if it is not there.
    pub(super) make: bool,
    /// The directory may be another than before.
    pub(super) lost: bool,
}

/// What comes after a look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Next {
    /// When the next file that waits may be ready.
    pub(super) due: Option<Instant>,
    /// There is more to scan.
    pub(super) again: bool,
    /// Files that the store knew at the start are there still, or may be.
    pub(super) known: bool,
}

/// The first of `files`, as many as are handed in together; at least one, if there is one.
pub(super) fn group(files: &VecDeque<Ready>) -> impl Iterator<Item = &Ready> {
    let mut bytes: u64 = 0;
    let fits = move |(index, file): &(usize, &Ready)| {
        bytes = bytes.saturating_add(file.stamp.size);
        *index == 0 || bytes <= GROUP_BYTES
    };
    files.iter().take(GROUP_FILES).enumerate().take_while(fits).map(|(_, file)| file)
}

impl Desk {
    pub(super) fn new(
        site: Site,
        rules: Rules,
        timing: Timing,
        clock: Clock,
        status: Arc<Shared>,
        hints: Arc<Hints>,
    ) -> Self {
        Self {
            site,
            rules,
            timing,
            clock,
            status,
            hints,
            watch: Watch::default(),
            directory: None,
            failed: None,
            unusable: None,
            waiting: Memory::new(),
            stuck: Memory::new(),
            in_hand: HashMap::new(),
            given_back: BTreeSet::new(),
            known: Known::default(),
            scan: Scan::Off,
            overflowed: false,
            counted: None,
            problem: None,
            reported: 0,
            told_unknown: false,
            told_special: false,
        }
    }

    /// Before the first look: the directory's files that the store knows.
    pub(super) fn expect(&mut self, known: Vec<FileIdentity>) {
        self.known = Known::new(known);
    }

    /// Opens the directory, and sees to it that it is watched; false when it cannot be looked at.
    pub(super) fn begin(&mut self, look: &Look) -> bool {
        self.reported = 0;
        self.scan = Scan::Off;
        if look.scan {
            self.problem = None;
        }
        match self.open(look.make) {
            Ok(directory) => {
                self.opened(directory, look);
                true
            }
            Err(problem) => {
                self.watch.disarm();
                self.status.set_watching(false);
                self.trouble(problem);
                false
            }
        }
    }

    fn open(&self, make: bool) -> Result<Directory, String> {
        let Site { path, claims, .. } = &self.site;
        let opened = match Directory::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && make => {
                directory::make(path).and_then(|()| Directory::open(path))
            }
            opened => opened,
        };
        let directory = opened.map_err(|error| {
            claims.release(path);
            format!("cannot open the directory: {error}{}", sandbox::advice(path, &error))
        })?;
        match claims.claim(path, directory.inode()) {
            Ok(()) => Ok(directory),
            Err(other) => Err(format!(
                "this is the same directory as {}, which takes its files; leave one of the two [[spool]] out",
                other.display()
            )),
        }
    }

    fn opened(&mut self, directory: Directory, look: &Look) {
        if look.scan {
            // Watched first, scanned then: nothing falls between.
            let armed = self.watch.arm(&self.site.path, directory.inode(), look.lost, &self.hints);
            self.status.set_watching(armed.is_ok() && directory.is_told());
            if let Err(error) = armed {
                self.trouble(format!(
                    "the directory cannot be watched, files are only found by scans ({error}); \
                     see the limits fs.inotify.max_user_watches and fs.inotify.max_user_instances"
                ));
            }
            self.open_own(&directory);
            self.overflowed = false;
            self.waiting.begin_pass();
            self.stuck.begin_pass();
            self.scan = Scan::At(None);
        }
        self.directory = Some(Arc::new(directory));
    }

    /// Makes `failed/` and `done/`, before a producer does; whether they can be used is known before they are.
    fn open_own(&mut self, directory: &Directory) {
        let failed = failed::open(directory);
        let done = (self.site.after == After::Keep).then(|| done::open(directory));
        let errors = [failed.as_ref().err(), done.as_ref().and_then(|done| done.as_ref().err())];
        let unusable = errors
            .into_iter()
            .flatten()
            .map(|error| format!("{error}{}", sandbox::advice(&self.site.path, error)))
            .reduce(|one, two| one + "; " + &two);
        self.failed = failed.ok();
        if let Some(problem) = unusable.clone() {
            if self.unusable != unusable {
                tracing::warn!(kind = Kind::SpoolProblem.word(), spool = %self.site.path.display(), "{problem}");
            }
            self.note(problem);
        }
        self.unusable = unusable;
    }

    /// Which of the files that are complete are there, and which of the others are ready; in order.
    pub(super) fn named(&mut self, look: &Look) -> Vec<Ready> {
        let complete = &look.names;
        let Some(directory) = self.directory.clone() else { return Vec::new() };
        let now = self.clock.instant();
        let due = self.waiting.iter().filter(|(_, waiting)| waiting.value.until <= now);
        let mut names: BTreeSet<OsString> = due.map(|(name, _)| name.clone()).collect();
        names.extend(complete.union(&look.new).cloned());
        let mut ready = Vec::new();
        for name in names {
            let Some(stamp) = self.look_at(&directory, &name) else {
                self.waiting.remove(&name);
                continue;
            };
            let said = complete.contains(&name);
            let own = said && self.given_back.remove(&name);
            if said && !own {
                self.waiting.remove(&name);
                ready.push(Ready { name, stamp });
            } else if own && self.stuck.see(&name, stamp).is_some() {
                // Scans try again; to try at once would go on without end.
            } else if self.is_still(&name, stamp, now) {
                ready.push(Ready { name, stamp });
            }
        }
        ready
    }

    /// Which files of the scan's next page are ready, in order; `None` at its end.
    pub(super) fn page(&mut self) -> Option<Vec<Ready>> {
        let Scan::At(after) = &self.scan else { return None };
        let directory = self.directory.clone()?;
        let page = match scan::page(&directory, after.as_deref(), self.rules.event_type.is_some()) {
            Ok(page) => page,
            Err(error) => {
                self.scan = Scan::Off;
                self.trouble(format!("cannot read the directory: {error}"));
                return None;
            }
        };
        if let Some(name) = page.unknown.filter(|_| !self.told_unknown) {
            self.told_unknown = true;
            tracing::info!(kind = Kind::SpoolIgnored.word(), spool = %self.site.path.display(), file = %name.display(),
                "files of this kind are left alone: events are in .json, .ndjson and .msgpack files, and with `type` under [[spool]] all others are payloads");
        }
        self.scan = match page.names.last() {
            Some(last) if page.more => Scan::At(Some(last.clone())),
            _ => Scan::Whole,
        };
        for private in page.aside {
            self.give_back(&directory, &private);
        }
        Some(self.ready_of(&directory, page.names))
    }

    /// Gives back what a crash, or a problem, has left under a private name.
    fn give_back(&mut self, directory: &Directory, private: &OsStr) {
        let given = match directory.stamp(private) {
            Ok(stamp) if stamp.regular => {
                self.see(stamp);
                aside::give_back(directory, private)
            }
            _ => Ok(None),
        };
        match given {
            Ok(Some(name)) => self.wait_again(directory, name),
            Ok(None) => {}
            Err(error) => self.trouble(format!("cannot rename {}: {error}", private.display())),
        }
    }

    /// The file was given back under this name, and is taken when it has been still.
    fn wait_again(&mut self, directory: &Directory, name: OsString) {
        if let Some(stamp) = self.look_at(directory, &name) {
            self.wait(&name, stamp, self.clock.instant());
            self.expect_own(name);
        }
    }

    fn expect_own(&mut self, name: OsString) {
        if self.given_back.len() < Memory::<Waiting>::BOUND {
            self.given_back.insert(name);
        }
    }

    fn ready_of(&mut self, directory: &Directory, names: BTreeSet<OsString>) -> Vec<Ready> {
        let now = self.clock.instant();
        let mut ready = Vec::new();
        for name in names {
            let Some(stamp) = self.look_at(directory, &name) else { continue };
            let is_ready = match self.stuck.see(&name, stamp) {
                Some(Stuck::Refused(until)) if *until > now => {
                    self.note(format!("{} {NO_ROOM}", name.display()));
                    false
                }
                Some(_) => true,
                None => self.is_still(&name, stamp, now),
            };
            if is_ready {
                ready.push(Ready { name, stamp });
            }
            if self.overflowed {
                // The rest has its turn when there is room to remember it.
                self.scan = Scan::Off;
                break;
            }
        }
        ready
    }

    /// How the file is; `None` when it is gone, or no regular file.
    fn look_at(&mut self, directory: &Directory, name: &OsStr) -> Option<Stamp> {
        match directory.stamp(name) {
            Ok(stamp) if stamp.regular => {
                self.see(stamp);
                Some(stamp)
            }
            Ok(_) => {
                if !self.told_special {
                    self.told_special = true;
                    tracing::info!(kind = Kind::SpoolIgnored.word(), spool = %self.site.path.display(), file = %name.display(),
                        "links, directories, FIFOs and devices are left alone");
                }
                None
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.known.see_all();
                self.trouble(format!("cannot look at {}: {error}", name.display()));
                None
            }
        }
    }

    fn see(&mut self, stamp: Stamp) {
        if !self.known.is_empty() {
            self.known.see(&stamp.identity(&self.site.path.to_string_lossy()));
        }
    }

    /// Whether a file that nobody said is complete has been still for long enough; if not, it waits.
    fn is_still(&mut self, name: &OsStr, stamp: Stamp, now: Instant) -> bool {
        // Of a file that somebody writes to, the notification is still to come.
        let written = self.hints.is_written(name, stamp.size);
        let wait = if written { self.timing.written } else { self.timing.still };
        let Some(waiting) = self.waiting.see(name, stamp) else {
            self.wait(name, stamp, now);
            return false;
        };
        waiting.until = waiting.since + wait;
        let still = waiting.until <= now;
        if still {
            self.waiting.remove(name);
        }
        still
    }

    fn wait(&mut self, name: &OsStr, stamp: Stamp, now: Instant) {
        let waiting = Waiting { since: now, until: now + self.timing.still };
        self.overflowed |= !self.waiting.insert(name.to_owned(), stamp, waiting);
    }

    /// Of the files those that the store knew at the start, if there are any in the directory.
    pub(super) fn only_known(&self, mut files: VecDeque<Ready>) -> Option<VecDeque<Ready>> {
        if self.known.is_empty() {
            return None;
        }
        let directory = self.site.path.to_string_lossy();
        files.retain(|file| self.known.has(&file.stamp.identity(&directory)));
        Some(files)
    }

    /// Whether there are files that nobody said are complete.
    pub(super) fn waits(&self) -> bool {
        self.waiting.len() > 0
    }

    /// Reads the next [`group`] of `files`; those that are bad go to `failed/`. Empty groups are possible.
    pub(super) fn load(&mut self, files: &mut VecDeque<Ready>) -> Vec<Loaded> {
        let mut loaded = Vec::new();
        self.in_hand.clear();
        for _ in 0..group(files).count() {
            let Some(file) = files.pop_front() else { break };
            match self.load_one(file) {
                Some(one) => loaded.push(one),
                // A bad file costs several writes: between two of them it must be possible to stop.
                None => break,
            }
        }
        loaded
    }

    fn load_one(&mut self, file: Ready) -> Option<Loaded> {
        let directory = self.directory.clone()?;
        if let Some(Stuck::Bad(bad)) = self.stuck.see(&file.name, file.stamp) {
            let bad = bad.clone();
            self.put_away(&file, bad);
            return None;
        }
        let content = match directory.open_file(&file.name) {
            Ok((mut open, stamp)) if stamp == file.stamp => {
                take::read(&mut open, &file.name, stamp, &self.rules)
                    .and_then(|content| self.remember(&file, &mut open, content))
            }
            Ok((_, stamp)) => Ok(Content::Changed(stamp)),
            Err(error) => Err(error),
        };
        match content {
            Ok(Content::Events(events, places)) => return Some(Loaded { file, places, events }),
            Ok(Content::Bad(bad)) => self.put_away(&file, bad),
            Ok(Content::Changed(now)) => self.wait(&file.name, now, self.clock.instant()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.leave(&file, Stuck::Other, &format!("cannot be read: {error}")),
        }
        None
    }

    /// Remembers what the file holds, if it is to be taken and was read as it is.
    fn remember(&mut self, file: &Ready, open: &mut File, content: Content) -> io::Result<Content> {
        if !matches!(content, Content::Events(..)) {
            return Ok(content);
        }
        let digest = Digest::of(open)?;
        let now = Stamp::of_file(open)?;
        if now != file.stamp {
            return Ok(Content::Changed(now));
        }
        self.in_hand.insert(file.name.clone(), digest);
        Ok(content)
    }

    /// Takes the name away once more, if only the times of what has it now have changed.
    pub(super) fn take_touched(
        &self,
        directory: &Directory,
        file: &Ready,
        aside: Aside,
    ) -> io::Result<Aside> {
        let name = match &aside {
            Aside::Changed => &file.name,
            Aside::GivenBack(name) => name,
            Aside::Taken(_) | Aside::Gone => return Ok(aside),
        };
        match self.touched(directory, file, name) {
            Some(now) => aside::take(directory, name, now),
            None => Ok(aside),
        }
    }

    /// How the file is that was taken, and has the name `name` now, if only its times have changed since.
    fn touched(&self, directory: &Directory, file: &Ready, name: &OsStr) -> Option<Stamp> {
        let (mut open, now) = directory.open_file(name).ok()?;
        let held = *self.in_hand.get(&file.name)?;
        let same = now.is_file_of(file.stamp) && Digest::of(&mut open).is_ok_and(|holds| holds == held);
        same.then_some(now)
    }

    /// Removes or keeps what was taken and puts away what was refused; then the outbox may forget the taken files.
    pub(super) fn finish(&mut self, outcomes: Vec<Outcome>, intake: &Intake) {
        let Some(directory) = self.directory.clone() else { return };
        // Opened once for all of them.
        let done = (self.site.after == After::Keep).then(|| done::open(&directory));
        let mut ended = Vec::new();
        for Outcome { file, places, result } in outcomes {
            match result {
                Ok(()) if self.clear_away(&directory, done.as_ref(), &file) => ended.push(file),
                Ok(()) => {}
                Err((index, refusal)) => {
                    self.put_away(&file, Bad { refusal, place: places.place(index) });
                }
            }
        }
        if ended.is_empty() {
            return;
        }
        // A file that comes back after a power cut must still be known; one that is moved must be somewhere.
        let synced = match &done {
            Some(Ok(done)) => done.sync().and_then(|()| directory.sync()),
            _ => directory.sync(),
        };
        match synced {
            Ok(()) => {
                let name = self.site.path.to_string_lossy();
                for file in ended {
                    let identity = file.stamp.identity(&name);
                    self.known.remove(&identity);
                    intake.unlinked(identity);
                }
            }
            Err(error) => self.trouble(format!("cannot sync the directory: {error}")),
        }
    }

    /// Removes the taken file, or moves it to `done`; false when it is still there.
    fn clear_away(
        &mut self,
        directory: &Directory,
        done: Option<&io::Result<Directory>>,
        file: &Ready,
    ) -> bool {
        let what = if done.is_some() { "moved to done/" } else { "removed" };
        let stays = |error: &io::Error| format!("is taken, but cannot be {what}: {error}");
        let done = match done {
            // With its name: nothing was begun.
            Some(Err(error)) => {
                self.leave(file, Stuck::Other, &stays(error));
                return false;
            }
            Some(Ok(done)) => Some(done),
            None => None,
        };
        let aside = aside::take(directory, &file.name, file.stamp);
        match aside.and_then(|aside| self.take_touched(directory, file, aside)) {
            Ok(Aside::Taken(private)) => {
                let cleared = match done {
                    Some(done) => done::keep(directory, &private, done, &file.name).map(drop),
                    None => directory.unlink(&private),
                };
                if let Err(error) = cleared {
                    self.give_back_taken(directory, &private, file, &stays(&error));
                    return false;
                }
            }
            Ok(Aside::GivenBack(name)) => self.wait_again(directory, name),
            // What lies there now is another file, or was written to: a later look is for it.
            Ok(Aside::Changed | Aside::Gone) => {}
            Err(error) => {
                self.leave(file, Stuck::Other, &stays(&error));
                return false;
            }
        }
        self.stuck.remove(&file.name);
        self.status.taken.add(1);
        true
    }

    /// Gives the taken file its name back, under which it lies until the next scan.
    fn give_back_taken(&mut self, directory: &Directory, private: &OsStr, file: &Ready, problem: &str) {
        match aside::give_back(directory, private) {
            Ok(Some(name)) => {
                self.expect_own(name.clone());
                self.leave(&Ready { name, stamp: file.stamp }, Stuck::Other, problem);
            }
            Ok(None) => {}
            Err(_) => self.leave(file, Stuck::Other, problem),
        }
    }

    fn put_away(&mut self, file: &Ready, bad: Bad) {
        let Some(directory) = self.directory.clone() else { return };
        match failed::put_away(&directory, &file.name, file.stamp, &bad, self.clock.wall()) {
            Ok(PutAway::Moved { target, synced }) => {
                self.stuck.remove(&file.name);
                self.status.add_failed();
                // Not the message: it may quote the file.
                tracing::warn!(kind = Kind::SpoolRejected.word(), spool = %self.site.path.display(), file = %file.name.display(),
                    moved_to = %target.display(), code = bad.refusal.code.as_str(), place = bad.place.map(tracing::field::display),
                    "a file was not taken; it lies in failed/ with its reason");
                if let Err(error) = synced {
                    self.trouble(format!("cannot sync the directory: {error}"));
                }
            }
            Ok(PutAway::Changed { given_back }) => {
                self.stuck.remove(&file.name);
                if let Some(name) = given_back {
                    self.wait_again(&directory, name);
                }
            }
            Ok(PutAway::Stuck { given_back: None, .. }) => {}
            Ok(PutAway::Stuck { given_back: Some(name), error }) => {
                self.expect_own(name.clone());
                self.leave_bad(&Ready { name, stamp: file.stamp }, bad, &error);
            }
            Err(error) => self.leave_bad(file, bad, &error),
        }
    }

    fn leave_bad(&mut self, file: &Ready, bad: Bad, error: &io::Error) {
        let code = bad.refusal.code.as_str();
        self.leave(
            file,
            Stuck::Bad(bad),
            &format!("is bad ({code}), but cannot be moved to failed/: {error}"),
        );
    }

    /// There is no room for the file, though the door is open.
    pub(super) fn refuse(&mut self, file: &Ready) {
        let until = self.clock.instant() + self.timing.refused;
        self.leave(file, Stuck::Refused(until), NO_ROOM);
    }

    /// Leaves the file where it is until the next scan; reported once.
    fn leave(&mut self, file: &Ready, stuck: Stuck, problem: &str) {
        let known = self.stuck.see(&file.name, file.stamp).is_some();
        let remembered = self.stuck.insert(file.name.clone(), file.stamp, stuck);
        let (spool, name) = (self.site.path.display(), file.name.display());
        if !known && remembered && self.reported < REPORTED {
            self.reported += 1;
            tracing::warn!(kind = Kind::SpoolLeft.word(), %spool, file = %name, "the file {problem}; it is left where it is");
        } else {
            tracing::debug!(%spool, file = %name, "the file {problem}");
        }
        self.note(format!("{name} {problem}"));
    }

    /// Something is wrong with the directory as a whole; logged when it is new.
    pub(super) fn trouble(&mut self, problem: String) {
        if self.status.problem().as_ref() != Some(&problem) {
            tracing::warn!(kind = Kind::SpoolProblem.word(), spool = %self.site.path.display(), "{problem}");
        }
        self.note(problem);
    }

    fn note(&mut self, problem: String) {
        if self.problem.is_none() {
            self.status.set_problem(Some(problem.clone()));
            self.problem = Some(problem);
        }
    }

    /// The look is over.
    pub(super) fn end(&mut self, look_scanned: bool, intake: &Intake) -> Next {
        let directory = self.directory.take();
        if let Some(failed) = self.failed.take() {
            self.count_failed(&failed);
        }
        if matches!(self.scan, Scan::Whole) {
            // Removed before a crash that came before they were forgotten: another file may become what they were.
            let device = directory.as_ref().map(|directory| directory.inode().device);
            self.known.end_pass(device).into_iter().for_each(|file| intake.unlinked(file));
            self.waiting.end_pass();
            self.stuck.end_pass();
        }
        self.scan = Scan::Off;
        if look_scanned {
            self.status.set_problem(self.problem.clone());
        }
        let again = self.overflowed && self.waiting.len() < Memory::<Waiting>::BOUND / 2;
        self.overflowed &= !again;
        let due = self.waiting.iter().map(|(_, waiting)| waiting.value.until).min();
        Next { due, again, known: !self.known.is_empty() }
    }

    /// How many files lie in `failed/`, when that may have changed.
    fn count_failed(&mut self, failed: &Directory) {
        match failed::count(failed, self.counted, self.clock.wall()) {
            Ok((seen, Some(count))) => {
                self.counted = Some(seen);
                self.status.set_in_failed(count);
            }
            Ok((_, None)) => {}
            Err(error) => self.trouble(format!("cannot read failed/: {error}")),
        }
    }
}
