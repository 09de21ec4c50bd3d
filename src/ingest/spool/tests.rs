//! A real outbox, a real directory, real notifications.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{self, File},
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::{directory::Directory, *};
use crate::{
    clock::Chance,
    ingest::{
        callbacks::Callbacks,
        catalogs::Catalogs,
        intake::{Course, Routes},
    },
    metrics::Metrics,
    model::{
        account::AccountName,
        event::{Event, Seq},
    },
    outbox::{End, Motion, Notice, Options, Outbox, Writer},
};

/// Long enough for a slow machine; no test takes that long unless it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nothing but notifications and the first scan.
const QUIET: Timing = Timing {
    still: Duration::from_secs(3600),
    written: Duration::from_secs(3600),
    rescan: Duration::from_secs(3600),
    pause: Duration::from_millis(1),
    refused: Duration::from_secs(3600),
    silent: PATIENCE,
    slow: PATIENCE,
};

/// Scans find things soon.
const QUICK: Timing = Timing {
    still: Duration::from_millis(50),
    written: Duration::from_secs(3600),
    rescan: Duration::from_millis(50),
    pause: Duration::from_millis(1),
    refused: Duration::from_secs(3600),
    silent: PATIENCE,
    slow: PATIENCE,
};

struct World {
    path: PathBuf,
    outbox: Outbox,
    intake: Intake,
    clock: Clock,
    _writer: Writer,
    _notices: mpsc::UnboundedReceiver<Notice>,
    _place: TempDir,
}

struct Running {
    handle: SpoolHandle,
    stop: channel::Sender<bool>,
    task: JoinHandle<()>,
}

impl World {
    fn new() -> Self {
        Self::with_room(1 << 40)
    }

    /// With a store that holds so many bytes of rows at most.
    fn with_room(max_size: u64) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let options = Options {
            cache: 1 << 20,
            quick_repair: false,
            settle_delay: Duration::from_millis(1),
            dedup_window: Duration::from_secs(3600),
            dedup_entries: 10_000,
            pending_per_endpoint: 1_000,
            max_size,
            reserve: 0,
            in_flight: 1,
        };
        let opened =
            Outbox::open(&place.path().join("outbox.redb"), &options, [7; 16], &Motion::default(), |_| {})
                .expect("a store");
        let limits = config::Limits {
            event_size: 1 << 10,
            batch_size: 1 << 12,
            batch_events: 2,
            file_size: 1 << 16,
            file_events: 4_000,
            connections_per_uid: 1,
            connections_per_address: 64,
            pending_per_endpoint: 1_000,
            in_flight: 1,
            in_flight_bytes: 1 << 20,
            keys_in_memory: 1_000,
        };
        let accounts = ["default", "shop"].map(|name| (account(name), Vec::new()));
        let clock = Clock::start();
        let routes = Routes(HashMap::from(accounts));
        let course = Course {
            routes: Arc::new(routes),
            catalogs: Catalogs::default(),
            callbacks: Callbacks::default(),
            limits,
        };
        let intake = Intake::new(opened.outbox.clone(), course, clock, Chance, Metrics::default());
        let path = place.path().join("in/spool");
        Self {
            path,
            outbox: opened.outbox,
            intake,
            clock,
            _writer: opened.writer,
            _notices: opened.notices,
            _place: place,
        }
    }

    fn made() -> Self {
        let world = Self::new();
        directory::make(&world.path).expect("the directory");
        world
    }

    fn run(&self, timing: Timing) -> Running {
        self.run_as(&config::Spool::by_default(self.path.clone()), &Claims::default(), timing)
    }

    fn run_as(&self, config: &config::Spool, claims: &Claims, timing: Timing) -> Running {
        let (spool, handle) =
            Spool::with_timing(config, self.intake.clone(), claims.clone(), self.clock, timing);
        let (stop, stopping) = channel::channel(false);
        Running { handle, stop, task: tokio::spawn(spool.run(stopping)) }
    }

    /// Runs until the first scan is over.
    async fn watched(&self, timing: Timing) -> Running {
        let running = self.run(timing);
        self.drop_in("first.json", "{\"type\":\"first\"}");
        // Found by the first scan it would wait: handed in again until it is noticed.
        until("the watch", || {
            self.drop_in("first.json", "{\"type\":\"first\"}");
            running.handle.status().taken > 0
        })
        .await;
        // Counted after the removal, so that what is counted from here on is the test's own.
        let all_counted = || running.handle.status().taken == self.count_first();
        until("the last of them", || self.names().is_empty() && all_counted()).await;
        running
    }

    /// Writes under another name and renames.
    fn drop_in(&self, name: &str, text: impl AsRef<[u8]>) {
        let temporary = self.path.join(format!(".{name}"));
        fs::write(&temporary, text).expect("a file");
        fs::rename(temporary, self.path.join(name)).expect("renamed");
    }

    /// Does with a new file what the daemon does, up to the commit.
    async fn accept(&self, name: &str, text: &str) {
        fs::write(self.path.join(name), text).expect("a file");
        let directory = Directory::open(&self.path).expect("the directory");
        let (mut file, stamp) = directory.open_file(name.as_ref()).expect("the file");
        let rules = Rules {
            account: account("default"),
            event_type: None,
            event_size: 99,
            file_size: 99,
            file_events: 9,
        };
        let content = take::read(&mut file, name.as_ref(), stamp, &rules).expect("its content");
        let take::Content::Events(events, _) = content else { panic!("it is a good file") };
        let identity = stamp.identity(&self.path.to_string_lossy());
        let submitted = self.intake.submit_file(events, identity).expect("no refusal");
        submitted.answer().await.expect("the store works").expect("no refusal");
    }

    /// What lies in the directory besides `failed/`.
    fn names(&self) -> Vec<String> {
        let mut names = names(&self.path);
        names.retain(|name| name != "failed");
        names
    }

    fn failed(&self) -> Vec<String> {
        let path = self.path.join("failed");
        if path.exists() { names(&path) } else { Vec::new() }
    }

    fn reason(&self, name: &str) -> Reason {
        let text = fs::read(self.path.join("failed").join(name)).expect("a reason");
        serde_json::from_slice(&text).expect("JSON")
    }

    /// All events but those of [`World::watched`], in the order of acceptance.
    fn events(&self) -> Vec<Event> {
        let mut all = self.all_events();
        all.retain(|event| event.new.event_type.as_str() != "first");
        all
    }

    fn count_first(&self) -> u64 {
        let all = self.all_events().len();
        u64::try_from(all - self.events().len()).expect("a few")
    }

    fn all_events(&self) -> Vec<Event> {
        let reader = self.outbox.read().expect("a reader");
        (1..).map_while(|seq| reader.event(Seq::new(seq)).expect("the store can be read")).collect()
    }

    fn types(&self) -> Vec<String> {
        self.events().iter().map(|event| event.new.event_type.to_string()).collect()
    }
}

impl Running {
    fn status(&self) -> SpoolStatus {
        self.handle.status()
    }

    async fn stop(self) {
        self.stop.send(true).expect("it runs");
        timeout(PATIENCE, self.task).await.expect("it stops").expect("it does not panic");
    }
}

fn account(name: &str) -> AccountName {
    name.parse().expect("a name")
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).expect("the directory");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry.expect("an entry").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}

async fn until(what: &str, condition: impl FnMut() -> bool) {
    let mut condition = condition;
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what} did not come about"));
}

#[tokio::test]
async fn files_that_are_renamed_in() {
    let world = World::new();
    let running = world.run(QUIET);
    until("the directory", || world.path.exists()).await;
    let mode = || fs::metadata(&world.path).expect("the directory").permissions().mode();
    until("its mode", || mode() & 0o7777 == 0o770).await;
    running.stop().await;

    let running = world.watched(QUIET).await;
    let before = running.status().taken;
    world.drop_in("b.json", "{\"type\":\"one\",\"data\":[ 1.0 ]}\n");
    world.drop_in("a.ndjson", "{\"type\":\"two\",\"account\":\"default\"}\n\n{\"type\":\"three\"}");
    world.drop_in("empty.ndjson", "");
    until("all taken", || running.status().taken == before + 3).await;
    assert_eq!(world.names(), [""; 0]);
    let mut types = world.types();
    types.sort();
    assert_eq!(types, ["one", "three", "two"]);
    assert!(world.events().iter().any(|event| event.new.data == "[ 1.0 ]"));
    assert_eq!(running.status().problem, None);
    running.stop().await;
}

#[tokio::test]
async fn a_slow_writer_is_waited_for() {
    let world = World::made();
    // Scans go on all the time, and would take what has been still.
    let running = world.watched(Timing { still: Duration::from_millis(300), ..QUICK }).await;
    let mut file = File::create(world.path.join("slow.ndjson")).expect("a file");
    file.write_all(b"{\"type\":\"one\"}\n{\"type\":").expect("the first half");
    file.sync_all().expect("synced");
    // A file that came later and is found by scans only is taken meanwhile.
    let outside = world.path.with_extension("json");
    fs::write(&outside, "{\"type\":\"link\"}").expect("a file");
    fs::hard_link(&outside, world.path.join("link.json")).expect("a link");
    until("the other file", || world.types() == ["link"]).await;
    file.write_all(b"\"two\"}\n").expect("the second half");
    assert_eq!(world.types(), ["link"]);
    drop(file);
    until("the file", || world.types() == ["link", "one", "two"]).await;
    until("its removal", || world.names().is_empty()).await;
    running.stop().await;
}

#[tokio::test]
async fn what_lies_there_at_the_start_is_taken_in_order() {
    let world = World::made();
    for number in 0..2_000 {
        let name = format!("{:04}.json", number * 7 % 2_000);
        let text = format!("{{\"type\":\"t{:04}\"}}", number * 7 % 2_000);
        fs::write(world.path.join(name), text).expect("a file");
    }
    let running = world.run(Timing { still: Duration::from_millis(50), ..QUIET });
    until("all taken", || running.status().taken == 2_000).await;
    let expected: Vec<_> = (0..2_000).map(|number| format!("t{number:04}")).collect();
    assert_eq!(world.types(), expected);
    assert_eq!(world.names(), [""; 0]);
    running.stop().await;
}

#[tokio::test]
async fn more_than_can_be_remembered() {
    let world = World::made();
    let count = scan::PAGE + 100;
    let name = |number: usize| format!("{number:06}.ndjson");
    for number in 0..count {
        fs::write(world.path.join(name(number)), "").expect("a file");
    }
    let running = world.run(Timing { still: Duration::from_millis(50), ..QUIET });
    until("all taken", || running.status().taken == u64::try_from(count).expect("a few")).await;
    assert_eq!(world.names(), [""; 0]);
    running.stop().await;
}

#[tokio::test]
async fn it_stops_between_two_files() {
    let world = World::made();
    for number in 0..2_000 {
        fs::write(world.path.join(format!("{number}.json")), "bad").expect("a file");
    }
    let running = world.run(QUICK);
    until("the first", || running.status().failed > 0).await;
    running.stop().await;
    let (left, failed) = (world.names().len(), world.failed().len());
    assert!(left > 0 && left + failed / 2 == 2_000 && failed % 2 == 0, "{left} left, {failed} in failed/");
}

#[tokio::test]
async fn bad_files_go_to_failed() {
    let world = World::made();
    let running = world.watched(QUIET).await;
    world.drop_in("lines.ndjson", "{\"type\":\"a\"}\n\ngarbage\n");
    world.drop_in("empty.json", "");
    world.drop_in("other.json", "{\"type\":\"a\",\"account\":\"shop\"}");
    world.drop_in("large.json", format!("{{\"type\":\"a\",\"data\":\"{}\"}}", "x".repeat(1 << 16)));
    until("all failed", || running.status().failed == 4).await;
    assert_eq!(world.names(), [""; 0]);
    let names = ["empty.json", "large.json", "lines.ndjson", "other.json"];
    let expected = names.iter().flat_map(|name| [(*name).to_owned(), format!("{name}.reason")]);
    assert_eq!(world.failed(), expected.collect::<Vec<_>>());
    for (name, code, line) in [
        ("empty.json", "invalid_event", None),
        ("large.json", "file_too_large", None),
        ("lines.ndjson", "invalid_event", Some(3)),
        ("other.json", "account_not_allowed", None),
    ] {
        let reason = world.reason(&format!("{name}.reason"));
        assert_eq!((reason.file.as_str(), reason.code.as_str(), reason.line), (name, code, line));
    }
    assert_eq!((world.events().len(), running.status().problem), (0, None));
    running.stop().await;
}

#[tokio::test]
async fn a_file_of_too_many_events() {
    let world = World::made();
    let running = world.watched(QUIET).await;
    let before = running.status().taken;
    world.drop_in("a.ndjson", "{\"type\":\"a\"}\n".repeat(4_001));
    until("its failure", || running.status().failed == 1).await;
    let reason = world.reason("a.ndjson.reason");
    assert_eq!((reason.code.as_str(), reason.line), ("file_too_large", Some(4_001)));
    assert!(reason.message.contains("at most 4000 events"), "{}", reason.message);
    assert_eq!(world.events().len(), 0);
    world.drop_in("a.ndjson", "{\"type\":\"a\"}\n".repeat(4_000));
    until("the smaller one", || running.status().taken == before + 1).await;
    assert_eq!(world.events().len(), 4_000);
    running.stop().await;
}

#[tokio::test]
async fn files_wait_for_room() {
    let world = World::made();
    let budget = world.intake.budget();
    let others = budget.wait_for(budget.size()).await;
    // So large that it is alone, and refused without being read: this needs no room.
    world.drop_in("a.json", vec![b' '; 2 << 20]);
    world.drop_in("b.json", "{\"type\":\"b\"}");
    let running = world.run(QUICK);
    until("the first", || running.status().failed == 1).await;
    running.stop().await;
    assert_eq!((world.names(), world.types().len()), (vec!["b.json".to_owned()], 0));

    drop(others);
    let running = world.run(QUICK);
    until("the second", || running.status().taken == 1).await;
    // All that was taken was given back, when it was answered.
    drop(budget.wait_for(budget.size()).await);
    running.stop().await;
}

#[tokio::test]
async fn room_for_the_largest_files() {
    let world = World::made();
    let config = config::Spool::by_default(world.path.clone());
    let (mut spool, _) =
        Spool::with_timing(&config, world.intake.clone(), Claims::default(), world.clock, QUIET);
    spool.rules.file_size = u64::MAX;
    world.drop_in("a.ndjson", "{\"type\":\"a\"}");
    let mut stamp =
        Directory::open(&world.path).and_then(|d| d.stamp("a.ndjson".as_ref())).expect("its stamp");
    stamp.size = 1 << 40;
    let file = Ready { name: "a.ndjson".into(), stamp };
    let (_stop, stopping) = channel::channel(false);
    let budget = world.intake.budget();
    let room = spool.room_for([&file].into_iter(), &stopping).await.expect("nobody stops it");
    // Half of the budget: the rest is there for others, and no more than that.
    let others = budget.wait_for(budget.size() / 2).await;
    let more = timeout(Duration::ZERO, spool.room_for([&file].into_iter(), &stopping)).await;
    assert!(more.is_err(), "there is room for what is not covered");
    drop((room, others));
}

#[tokio::test]
async fn ids_that_are_known() {
    let world = World::made();
    let running = world.watched(QUIET).await;
    let before = running.status().taken;
    world.drop_in("1.json", "{\"type\":\"a\",\"id\":\"7\"}");
    until("the first", || running.status().taken == before + 1).await;
    world.drop_in("2.json", "{\"type\":\"a\",\"id\":\"7\"}");
    until("its duplicate", || running.status().taken == before + 2).await;
    world.drop_in("3.ndjson", "{\"type\":\"c\"}\n\n{\"type\":\"b\",\"id\":\"7\"}\n");
    until("the conflict", || running.status().failed == 1).await;
    let reason = world.reason("3.ndjson.reason");
    assert_eq!((reason.code.as_str(), reason.line), ("id_conflict", Some(3)));
    assert_eq!((world.types(), world.names()), (vec!["a".to_owned()], Vec::new()));
    running.stop().await;
}

#[tokio::test]
async fn a_crash_before_the_removal_repeats_nothing() {
    let world = World::made();
    world.accept("a.json", "{\"type\":\"a\"}").await;
    assert_eq!(world.types(), ["a"]);

    let running = world.run(QUICK);
    until("its removal", || running.status().taken == 1).await;
    assert_eq!((world.names().len(), world.types().len()), (0, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_crash_after_the_removal_leaves_nothing_known() {
    let world = World::made();
    let known = || {
        let known = world.intake.known_files(&world.path.to_string_lossy(), 9);
        known.expect("the store can be read").len()
    };
    world.accept("a.json", "{\"type\":\"a\"}").await;
    world.accept("b.json", "{\"type\":\"b\"}").await;
    // What is the same file as far as can be told comes back, as an inode does that is used again.
    let kept = world.path.with_extension("json");
    fs::hard_link(world.path.join("a.json"), &kept).expect("a link");
    fs::remove_file(world.path.join("a.json")).expect("removed");
    assert_eq!((known(), world.types().len()), (2, 2));

    let running = world.run(QUICK);
    until("the file that is there", || running.status().taken == 1).await;
    until("both forgotten", || known() == 0).await;
    assert_eq!((world.names().len(), world.types().len()), (0, 2));
    fs::hard_link(&kept, world.path.join("a.json")).expect("a link");
    until("the new file", || world.types() == ["a", "b", "a"]).await;
    running.stop().await;
}

#[tokio::test]
async fn what_the_store_knows_is_removed_though_it_is_full() {
    let world = World::with_room(20_000);
    directory::make(&world.path).expect("the directory");
    let mut known = 0;
    while world.intake.shut().is_none() {
        known += 1;
        world.accept(&format!("known-{known}.json"), "{\"type\":\"known\"}").await;
    }
    for name in ["a.json", "z.json"] {
        fs::write(world.path.join(name), "{\"type\":\"new\"}").expect("a file");
    }
    let running = world.run(QUICK);
    until("those that are known", || running.status().taken == known).await;
    until("their end", || world.names() == ["a.json", "z.json"]).await;
    until("the problem", || {
        running.status().problem.is_some_and(|problem| problem.contains("holds as much as it may"))
    })
    .await;
    assert!(world.intake.shut().is_some() && world.types().iter().all(|name| name == "known"));
    running.stop().await;
}

fn keeping(world: &World) -> config::Spool {
    config::Spool { after: config::After::Keep, ..config::Spool::by_default(world.path.clone()) }
}

#[tokio::test]
async fn what_is_touched_after_it_was_taken_is_not_taken_again() {
    let world = World::made();
    let rules = Rules {
        account: account("default"),
        event_type: None,
        event_size: 99,
        file_size: 99,
        file_events: 9,
    };
    let site = Site { path: world.path.clone(), after: config::After::Delete, claims: Claims::default() };
    let hints = Arc::new(Hints::new(false));
    let mut desk = Desk::new(site, rules, QUIET, world.clock, Arc::default(), hints);
    assert!(desk.begin(&Look { scan: true, ..Look::default() }));
    let directory = Directory::open(&world.path).expect("the directory");
    let texts = ["{\"type\":\"a\"}", "{\"type\":\"b\"}", "{\"type\":\"a\"}\n"];
    for (name, text) in [("touched.json", texts[0]), ("written.json", texts[1]), ("longer.json", texts[2])] {
        let path = world.path.join(name);
        fs::write(&path, texts[0]).expect("a file");
        let stamp = directory.stamp(name.as_ref()).expect("its stamp");
        let mut files = VecDeque::from([Ready { name: name.into(), stamp }]);
        let loaded = desk.load(&mut files).pop().expect("its event");
        fs::write(&path, text).expect("the same file");
        let file = File::options().append(true).open(&path).expect("the file");
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("another time");
        let outcome = Outcome { file: loaded.file, places: loaded.places, result: Ok(()) };
        desk.finish(vec![outcome], &world.intake);
    }
    assert_eq!(world.names(), ["longer.json", "written.json"]);
    // Touched in the moment between the look at it and the loss of its name.
    let name = OsStr::new("late.json");
    fs::write(world.path.join(name), texts[0]).expect("a file");
    let file = Ready { name: name.into(), stamp: directory.stamp(name).expect("its stamp") };
    let loaded = desk.load(&mut VecDeque::from([file])).pop().expect("its event");
    let open = File::options().append(true).open(world.path.join(name)).expect("the file");
    open.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("another time");
    let aside = aside::take_as_it_is(&directory, name, loaded.file.stamp).expect("it can be tried");
    assert_eq!(aside, aside::Aside::GivenBack(name.into()));
    let aside = desk.take_touched(&directory, &loaded.file, aside).expect("it can be tried");
    assert!(matches!(aside, aside::Aside::Taken(_)), "{aside:?}");
}

#[tokio::test]
async fn what_is_taken_is_kept() {
    let world = World::made();
    let (config, claims, done) = (keeping(&world), Claims::default(), world.path.join("done"));
    let known = || {
        let known = world.intake.known_files(&world.path.to_string_lossy(), 9);
        known.expect("the store can be read").len()
    };
    let first = world.run_as(&config, &claims, QUICK);
    for round in 1..4_u64 {
        world.drop_in("a.json", format!("{{\"type\":\"a{round}\"}}"));
        until("the file", || first.status().taken == round).await;
    }
    world.drop_in("bad.json", "garbage");
    until("the bad one", || first.status().failed == 1).await;
    assert_eq!(
        (world.names(), names(&done)),
        (vec!["done".into()], vec!["a.json".to_owned(), "a.json.1".to_owned(), "a.json.2".to_owned()])
    );
    assert_eq!(fs::read_to_string(done.join("a.json.2")).expect("the last"), "{\"type\":\"a3\"}");
    until("all forgotten", || known() == 0).await;
    // Put back on purpose it is a new file, though it is the same one as far as can be told.
    fs::rename(done.join("a.json.1"), world.path.join("again.json")).expect("moved back");
    until("the file", || first.status().taken == 4).await;
    assert_eq!(names(&done), ["a.json", "a.json.2", "again.json"]);
    assert_eq!(world.types(), ["a1", "a2", "a3", "a2"]);
    first.stop().await;
}

#[tokio::test]
async fn a_crash_around_the_move_repeats_nothing() {
    let world = World::made();
    let (config, claims, done) = (keeping(&world), Claims::default(), world.path.join("done"));
    let known = || {
        let known = world.intake.known_files(&world.path.to_string_lossy(), 9);
        known.expect("the store can be read").len()
    };
    // After the commit; after the loss of its name; after the move.
    for name in ["a.json", "b.json", "c.json"] {
        world.accept(name, &format!("{{\"type\":\"{}\"}}", &name[..1])).await;
    }
    fs::rename(world.path.join("b.json"), world.path.join(".posthaste-taken-0-b.json")).expect("renamed");
    fs::create_dir(&done).expect("done/");
    fs::rename(world.path.join("c.json"), done.join("c.json")).expect("moved");
    assert_eq!(known(), 3);
    let running = world.run_as(&config, &claims, QUICK);
    until("both moves", || running.status().taken == 2).await;
    until("all forgotten", || known() == 0).await;
    assert_eq!((world.types().len(), world.names()), (3, vec!["done".to_owned()]));
    assert_eq!(names(&done), ["a.json", "b.json", "c.json"]);
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_kept_stays() {
    let world = World::made();
    let done = world.path.join("done");
    // Not followed: what is elsewhere is not the daemon's.
    symlink(world.path.parent().expect("a parent"), &done).expect("a link");
    let running = world.run_as(&keeping(&world), &Claims::default(), QUICK);
    world.drop_in("a.json", "{\"type\":\"a\"}");
    until("the problem", || {
        running.status().problem.is_some_and(|problem| problem.starts_with("`done` is no directory"))
    })
    .await;
    until("its event", || world.types() == ["a"]).await;
    world.drop_in("b.json", "{\"type\":\"b\"}");
    until("the other", || world.types() == ["a", "b"]).await;
    assert_eq!(
        (world.names(), running.status().taken),
        (vec!["a.json".into(), "b.json".into(), "done".into()], 0)
    );
    fs::remove_file(&done).expect("out of the way");
    until("both", || running.status().taken == 2).await;
    until("the problem's end", || running.status().problem.is_none()).await;
    assert_eq!((world.types().len(), names(&done)), (2, vec!["a.json".to_owned(), "b.json".to_owned()]));
    running.stop().await;
}

#[tokio::test]
async fn a_link_to_another_s_directory() {
    let world = World::made();
    let link = world.path.with_extension("link");
    let elsewhere = world.path.with_extension("elsewhere");
    directory::make(&elsewhere).expect("made");
    symlink(&elsewhere, &link).expect("a link");
    let claims = Claims::default();
    let first = world.run_as(&config::Spool::by_default(world.path.clone()), &claims, QUICK);
    let second = world.run_as(&config::Spool::by_default(link.clone()), &claims, QUICK);
    let write = |path: &Path, name: &str| {
        fs::write(path.join(name), format!("{{\"type\":\"{}\"}}", &name[..1])).expect("a file");
    };
    write(&link, "a.json");
    until("its file", || second.status().taken == 1).await;
    fs::remove_file(&link).expect("away");
    symlink(&world.path, &link).expect("a link");
    let is_told =
        |status: SpoolStatus| status.problem.is_some_and(|problem| problem.contains("same directory"));
    until("the problem", || is_told(second.status())).await;
    write(&link, "b.json");
    until("the first one's file", || first.status().taken == 1).await;
    until("all of it", || world.names().is_empty()).await;
    assert_eq!((world.types(), second.status().taken), (vec!["a".to_owned(), "b".to_owned()], 1));
    fs::remove_file(&link).expect("away");
    symlink(&elsewhere, &link).expect("a link");
    until("the problem's end", || second.status().problem.is_none()).await;
    write(&link, "c.json");
    until("its file", || second.status().taken == 2).await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_name_for_what_is_written_already() {
    let world = World::made();
    let timing = Timing { still: Duration::from_millis(50), ..QUIET };
    let running = world.watched(timing).await;
    let before = running.status().taken;
    let outside = world.path.with_extension("json");
    fs::write(&outside, "{\"type\":\"linked\"}").expect("a file");
    fs::hard_link(&outside, world.path.join("linked.json")).expect("a link");
    // Somebody made it to write to it, and is not done: empty it is no payload and no event.
    let mut slow = File::create(world.path.join("slow.json")).expect("a file");
    until("the linked file", || running.status().taken == before + 1).await;
    let own = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::TMPFILE;
    match rustix::fs::open(&world.path, own, rustix::fs::Mode::from_raw_mode(0o640)) {
        Ok(fd) => {
            let mut file = File::from(fd);
            file.write_all(b"{\"type\":\"named\"}").expect("it can be written");
            let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
            rustix::fs::linkat(
                rustix::fs::CWD,
                own,
                rustix::fs::CWD,
                world.path.join("named.json"),
                rustix::fs::AtFlags::SYMLINK_FOLLOW,
            )
            .expect("a name");
        }
        // The file system of the test has no such files.
        Err(_) => world.drop_in("named.json", "{\"type\":\"named\"}"),
    }
    until("the named file", || running.status().taken == before + 2).await;
    assert_eq!((world.names(), running.status().failed), (vec!["slow.json".to_owned()], 0));
    slow.write_all(b"{\"type\":\"slow\"}").expect("it can be written");
    drop(slow);
    until("the slow file", || running.status().taken == before + 3).await;
    assert_eq!(world.types(), ["linked", "named", "slow"]);
    running.stop().await;
}

#[tokio::test]
async fn what_lies_in_failed_is_counted() {
    let world = World::made();
    fs::create_dir(world.path.join("failed")).expect("failed/");
    for name in ["old.json", "old.json.reason", "by-hand", ".reason.tmp", "x.reason", "x.reason.reason"] {
        fs::write(world.path.join("failed").join(name), "x").expect("a file");
    }
    let running = world.run(QUICK);
    assert!(running.status().watching, "nobody has looked yet");
    until("those there", || running.status().in_failed == 3).await;
    world.drop_in("bad.json", "garbage");
    until("one more", || running.status().in_failed == 4 && running.status().failed == 1).await;
    fs::remove_file(world.path.join("failed/by-hand")).expect("removed");
    until("one less", || running.status().in_failed == 3).await;
    fs::remove_dir_all(world.path.join("failed")).expect("removed");
    until("it is made again", || world.path.join("failed").is_dir()).await;
    until("none", || running.status().in_failed == 0).await;
    assert!(running.status().watching);
    running.stop().await;
}

#[tokio::test]
async fn a_crash_that_leaves_files_without_their_names() {
    let world = World::made();
    let first = world.run(QUICK);
    world.drop_in("a.json", "{\"type\":\"a\"}");
    until("the file", || first.status().taken == 1).await;
    first.stop().await;
    let private = |number: u32, name: &str| world.path.join(format!(".posthaste-taken-{number}-{name}"));
    // Accepted, and its name taken away to remove it.
    world.accept("b.json", "{\"type\":\"b\"}").await;
    fs::rename(world.path.join("b.json"), private(0, "b.json")).expect("renamed");
    // Another in the place of a file that was to be removed, or to be moved to failed/; and a third came since.
    fs::write(private(0, "c.json"), "{\"type\":\"c\"}").expect("a file");
    fs::write(private(1, "c.json"), "bad").expect("a file");
    fs::create_dir(private(0, "d.json")).expect("a stranger's directory");

    let running = world.run(QUICK);
    until("all of them", || running.status().taken == 2 && running.status().failed == 1).await;
    assert_eq!(world.types(), ["a", "b", "c"]);
    assert_eq!(world.names(), [".posthaste-taken-0-d.json"]);
    assert_eq!(world.failed().len(), 2);
    running.stop().await;
}

#[tokio::test]
async fn a_removed_file_is_forgotten() {
    let world = World::made();
    let running = world.run(QUICK);
    // The same file as far as can be told, handed in again on purpose.
    let kept = world.path.with_extension("json");
    fs::write(&kept, "{\"type\":\"a\"}").expect("a file");
    until("the second event", || {
        // Still there: not yet looked at.
        let _ = fs::hard_link(&kept, world.path.join("a.json"));
        world.types() == ["a", "a"]
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn what_is_left_alone() {
    let world = World::made();
    let left = [".a.json", "a.json.part", "a.json.tmp", "b.pdf", "c.json~", "d.json", "e.json", "f.json"];
    for name in &left[..5] {
        fs::write(world.path.join(name), "{\"type\":\"no\"}").expect("a file");
    }
    let outside = world.path.with_extension("json");
    fs::write(&outside, "{\"type\":\"no\"}").expect("a file");
    symlink(&outside, world.path.join("d.json")).expect("a link");
    let fifo = world.path.join("e.json");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).expect("a FIFO");
    fs::create_dir(world.path.join("f.json")).expect("a directory");

    let running = world.run(QUICK);
    for number in 0..3 {
        world.drop_in("z.json", "{\"type\":\"yes\"}");
        until("the file behind them", || world.types().len() > number).await;
        until("its removal", || !world.path.join("z.json").exists()).await;
    }
    assert!(world.types().iter().all(|name| name == "yes"));
    assert_eq!((world.names(), world.failed().len()), (left.map(str::to_owned).to_vec(), 0));
    running.stop().await;
}

#[tokio::test]
async fn a_directory_that_comes_back() {
    let world = World::made();
    let running = world.watched(QUICK).await;
    for round in 0..3 {
        let before = running.status().taken;
        if round == 1 {
            fs::rename(&world.path, world.path.with_extension("old")).expect("moved away");
        } else {
            fs::remove_dir_all(&world.path).expect("removed");
        }
        directory::make(&world.path).expect("made again");
        until("it is watched", || {
            world.drop_in("a.json", "{\"type\":\"a\"}");
            running.status().taken > before
        })
        .await;
        until("all taken", || world.names().is_empty()).await;
    }
    until("no problem", || running.status().problem.is_none()).await;
    running.stop().await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_made() {
    let world = World::new();
    let parent = world.path.parent().expect("a parent").to_owned();
    fs::write(&parent, "in the way").expect("a file");
    let running = world.run(QUICK);
    until("the problem", || running.status().problem.is_some()).await;
    fs::remove_file(&parent).expect("out of the way");
    until("its end", || running.status().problem.is_none() && world.path.is_dir()).await;
    world.drop_in("a.json", "{\"type\":\"a\"}");
    until("the file", || world.types() == ["a"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_bad_file_that_cannot_be_moved_stays() {
    let world = World::made();
    fs::write(world.path.join("failed"), "in the way").expect("a file");
    let running = world.run(QUICK);
    world.drop_in("bad.json", "garbage");
    world.drop_in("good.json", "{\"type\":\"good\"}");
    let told = |problem: String| problem.starts_with("`failed` is no directory");
    until("the problem", || running.status().problem.is_some_and(told)).await;
    until("the good file", || running.status().taken == 1).await;
    assert_eq!(world.names(), ["bad.json"]);
    fs::remove_file(world.path.join("failed")).expect("out of the way");
    until("the move", || running.status().failed == 1).await;
    until("the problem's end", || running.status().problem.is_none()).await;
    assert_eq!(world.failed(), ["bad.json", "bad.json.reason"]);
    running.stop().await;
}

#[tokio::test]
async fn an_unreadable_file_does_not_hold_up_the_rest() {
    let world = World::made();
    let locked = world.path.join("a.json");
    fs::write(&locked, "{\"type\":\"locked\"}").expect("a file");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).expect("locked");
    if File::open(&locked).is_ok() {
        // Who runs this may read everything.
        return;
    }
    let running = world.run(QUICK);
    until("the problem", || running.status().problem.is_some_and(|problem| problem.contains("a.json"))).await;
    world.drop_in("b.json", "{\"type\":\"free\"}");
    until("the other file", || world.types() == ["free"]).await;
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o600)).expect("unlocked");
    until("the file", || world.types() == ["free", "locked"]).await;
    until("the problem's end", || running.status().problem.is_none()).await;
    assert_eq!((world.names().len(), running.status().failed), (0, 0));
    running.stop().await;
}

#[tokio::test]
async fn a_store_that_fails_leaves_the_files() {
    let world = World::made();
    let World { path, outbox, intake, clock, _writer: writer, _notices: notices, _place: place } = world;
    writer.close(End::Clean).expect("closed");
    fs::write(path.join("a.json"), "{\"type\":\"a\"}").expect("a file");
    let config = config::Spool::by_default(path.clone());
    let (spool, handle) = Spool::with_timing(&config, intake, Claims::default(), clock, QUICK);
    let (stop, stopping) = channel::channel(false);
    let task = tokio::spawn(spool.run(stopping));
    until("the problem", || handle.status().problem.is_some_and(|problem| problem.contains("store"))).await;
    assert_eq!((names(&path), handle.status().taken), (vec!["a.json".to_owned(), "failed".to_owned()], 0));
    drop(stop);
    timeout(PATIENCE, task).await.expect("it ends when nobody can stop it").expect("without a panic");
    drop((outbox, notices, place));
}

#[tokio::test]
async fn the_first_look_is_waited_for_but_not_for_ever() {
    let (world, other) = (World::new(), World::made());
    fs::write(other.path.join("x"), "in its place").expect("a file");
    let inside = config::Spool::by_default(other.path.join("x"));
    let (running, failing) = (world.run(QUIET), other.run_as(&inside, &Claims::default(), QUIET));
    let looked = [running.handle.clone(), failing.handle.clone()];
    timeout(PATIENCE, first_looks(&looked, PATIENCE * 2)).await.expect("that was not over");
    assert!(world.path.is_dir(), "it is made by then");
    // As on a file system that does not answer.
    let config = config::Spool::by_default(world.path.join("never"));
    let (_unlooked, silent) =
        Spool::with_timing(&config, world.intake.clone(), Claims::default(), world.clock, QUIET);
    let all = [silent.clone(), running.handle.clone(), silent];
    timeout(PATIENCE, first_looks(&all, Duration::from_millis(20))).await.expect("it was over");
    running.stop().await;
    failing.stop().await;
}

/// As one on a file system that does not answer: whoever works there waits.
#[tokio::test]
async fn a_directory_that_does_not_answer_is_told_until_it_does() {
    let world = World::made();
    let config = config::Spool::by_default(world.path.clone());
    let soon = Duration::from_millis(20);
    let timing = Timing { silent: soon, slow: soon, ..QUICK };
    let (spool, handle) =
        Spool::with_timing(&config, world.intake.clone(), Claims::default(), world.clock, timing);
    let desk = Arc::clone(&spool.desk);
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (taken, is_taken) = std::sync::mpsc::channel();
    let holder = std::thread::spawn(move || {
        let _desk = desk.lock().expect("nobody has panicked");
        taken.send(()).expect("somebody waits");
        let _ = released.recv();
    });
    is_taken.recv().expect("the desk is taken");
    let (stop, stopping) = channel::channel(false);
    let task = tokio::spawn(spool.run(stopping));
    until("it is told", || handle.status().problem.as_deref() == Some(SILENT)).await;
    assert_eq!(handle.silent(), Some(&*world.path));
    fs::write(world.path.join("a.json"), "{\"type\":\"a\"}").expect("a file");
    drop(release);
    until("the file is taken", || handle.status().taken == 1).await;
    until("nothing is wrong any more", || handle.status().problem.is_none()).await;
    stop.send_replace(true);
    timeout(PATIENCE, task).await.expect("it ends").expect("without a panic");
    holder.join().expect("it has not panicked");
}
