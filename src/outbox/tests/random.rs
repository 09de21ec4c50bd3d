//! Random operations on a store in a file, and every answer held against the model.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use redb::{ReadableTable, ReadableTableMetadata, TableError};
use tempfile::TempDir;

use super::{
    mark,
    model::{Model, again, endpoints::lasting, is_pending, origins::random_callback},
    open, options, random_report, stored_bytes, wait, wall,
};
use crate::outbox::End;
use crate::{
    model::{
        attempt::{Attempt, Why},
        delivery::{CancelReason, Delivery, DeliveryKey, FailReason, Group, Order, Scheduled, State},
        endpoint::{DisableReason, Endpoint, EndpointNumber},
        event::{Effect, NewEvent, NotBefore, Seq},
        time::Timestamp,
    },
    outbox::{
        Acceptance, Addressed, Batch, BatchAnswer, Brief, Change, Changed, Configured, Count, Due, Entry,
        FileIdentity, Head, Judged, Notice, Opened, Options, Placed, Reader, Routed, Settle,
        forget::most,
        schema::{ATTEMPTS, FIFO, FILES, IDS, PENDING, unpack},
    },
};

const ENDPOINTS: u32 = 9;
const NOT_BEFORE: [NotBefore; 3] = [
    NotBefore::At(Timestamp::EPOCH),
    NotBefore::At(Timestamp::from_millis(90_000)),
    NotBefore::After(Duration::from_secs(1)),
];

fn kinds(answer: &BatchAnswer) -> Vec<&'static str> {
    match answer {
        BatchAnswer::Events(all) => all.iter().map(kind).collect(),
        BatchAnswer::FileKnown => vec!["known"],
        BatchAnswer::FileRefused { first: Some(_), .. } => vec!["refused"],
        BatchAnswer::FileRefused { first: None, .. } => vec!["refused by itself"],
        BatchAnswer::NoRoom(_) => vec!["no room"],
    }
}

const fn kind(acceptance: &Acceptance) -> &'static str {
    match acceptance {
        Acceptance::Accepted(_) => "accepted",
        Acceptance::Conflict(_) => "conflict",
        Acceptance::Duplicate(_) => "duplicate",
        Acceptance::NoRoom(_) => "no room",
    }
}

const fn kind_of(change: &Change, changed: &Changed) -> &'static str {
    match (change, changed) {
        (_, Changed::Full) => "full",
        (_, Changed::Missing) => "missing",
        (_, Changed::Stale) => "stale",
        (Change::Make { .. }, _) => "made",
        (Change::Replace { .. }, _) => "replaced",
        (Change::Enable { .. }, _) => "enabled",
        (Change::Disable { .. }, _) => "disabled",
        (Change::Delete { .. }, _) => "deleted",
        (Change::Discarded { .. }, _) => "discarded",
    }
}

#[test]
fn the_store_does_what_the_model_does() {
    let mut kinds = BTreeSet::new();
    let all = [
        "accepted",
        "advanced",
        "advanced in between",
        "called again",
        "cancelled",
        "cancelled by deletion",
        "cancelled by discarding",
        "conflict",
        "deleted",
        "disabled",
        "disabled by attempts",
        "discarded",
        "duplicate",
        "enabled",
        "endpoint_full",
        "forgotten",
        "full",
        "joined alone",
        "known",
        "made",
        "missing",
        "no place",
        "origin forgotten",
        "origin made",
        "outdated",
        "refused",
        "refused by itself",
        "replaced",
        "replay: deleted",
        "replay: discarding",
        "replay: full",
        "replay: missing",
        "replay: pending",
        "replay: too early",
        "replayed",
        "replayed in order",
        "stale",
    ];
    // Some are rare: four seeds, and more until each has happened.
    for seed in 1..=20 {
        run(seed, 40, &mut kinds);
        if seed >= 4 && kinds.len() >= all.len() {
            break;
        }
    }
    assert!(kinds.iter().eq(&all), "everything has happened: {kinds:?}");
}

fn run(seed: u64, steps: usize, kinds: &mut BTreeSet<&'static str>) {
    println!("seed {seed}");
    let mut world = World::new(seed);
    for step in 0..steps {
        println!("step {step} of seed {seed}");
        match world.random.u32(..100) {
            0..40 => world.accept(),
            40..62 => world.settle(),
            62..68 => world.join(),
            68..72 => world.replay(),
            72..76 => world.configure(),
            76..88 => world.change(),
            88..91 => world.forget(),
            91..94 => world.forget_files(),
            clean => world.reopen(clean < 97),
        }
        world.check();
    }
    world.reopen(true);
    world.check();
    kinds.append(&mut world.kinds);
    let tally = world.model.origins.tally;
    for (kind, count) in ["origin made", "origin forgotten", "no place"].into_iter().zip(tally) {
        if count > 0 {
            kinds.insert(kind);
        }
    }
    for delivery in world.model.deliveries.values() {
        match delivery.state {
            State::Failed(FailReason::EndpointFull) => kinds.insert("endpoint_full"),
            State::Cancelled(CancelReason::EndpointDeleted) => kinds.insert("cancelled by deletion"),
            State::Cancelled(CancelReason::Operator) => kinds.insert("cancelled"),
            State::Cancelled(CancelReason::Discarded) => kinds.insert("cancelled by discarding"),
            _ => true,
        };
    }
}

struct World {
    random: fastrand::Rng,
    model: Model,
    opened: Opened,
    directory: TempDir,
    path: PathBuf,
    now: Timestamp,
    /// Takes part in the names of copies.
    copies: u32,
    /// The kinds of answers that there were.
    kinds: BTreeSet<&'static str>,
    /// The endpoints that the engine knows of.
    known: HashSet<EndpointNumber>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.redb");
        let options = Options {
            quick_repair: random.bool(),
            dedup_window: Duration::from_secs(1),
            dedup_entries: random.usize(5..30),
            pending_per_endpoint: random.u64(20..400),
            ..options()
        };
        let opened = open(&path, &options).expect("a new store opens");
        assert!(!opened.unclean, "a new store was not left by anybody");
        let (model, now) = (Model::new(options), Timestamp::from_millis(1_000));
        let mut world = Self {
            random,
            model,
            opened,
            directory,
            path,
            now,
            copies: 0,
            kinds: BTreeSet::new(),
            known: HashSet::new(),
        };
        world.count(true);
        world.configure();
        world
    }

    /// Says that all that was pending at the start is counted, or leaves that for later.
    fn count(&mut self, whole: bool) {
        if whole {
            self.opened.outbox.backlog_is_counted();
            self.model.origins.whole = true;
        }
    }

    fn accept(&mut self) {
        // Now and then all ids are outside the window.
        let most = if self.random.u8(..4) == 0 { 3_000 } else { 300 };
        self.now = self.now.plus(Duration::from_millis(self.random.u64(..most)));
        let batches: Vec<Batch> = (0..self.random.usize(1..4)).map(|_| self.batch()).collect();
        let mut scheduled = Vec::new();
        let expected: Vec<_> = batches.iter().map(|batch| self.model.accept(batch, &mut scheduled)).collect();
        // First, so that it goes with their commit if not before.
        if let Some(mark) = mark(self.now) {
            self.opened.outbox.mark(mark, self.now.as_millis().is_multiple_of(2));
            self.model.mark = Some(mark);
        }
        let answers: Vec<_> = batches.into_iter().map(|batch| self.opened.outbox.accept(batch)).collect();
        for (answer, expected) in answers.into_iter().zip(expected) {
            let answer = wait(answer.answer()).expect("the store takes it");
            assert_eq!(answer, expected);
            self.kinds.extend(kinds(&answer));
        }
        assert_eq!(self.noticed(scheduled.len()), scheduled, "the engine is told after the answers");
    }

    fn batch(&mut self) -> Batch {
        let events = (0..self.random.usize(..7)).map(|_| self.routed()).collect();
        let file = self.random.u8(..4) == 0;
        let (at, clock_unset) = wall(self.now);
        Batch { at, age: self.now, clock_unset, events, file: file.then(|| self.file()), room: None }
    }

    fn file(&mut self) -> FileIdentity {
        FileIdentity {
            directory: "/spool".to_owned(),
            device: self.random.u64(..2),
            inode: self.random.u64(..3),
            mtime: self.random.i64(-1..2),
            size: 7,
        }
    }

    fn routed(&mut self) -> Routed {
        let random = &mut self.random;
        let routable = self.model.endpoints.iter().filter(|(_, one)| one.origin().is_none());
        let routable: Vec<_> = routable.map(|(number, _)| *number).collect();
        let id = (random.u8(..3) > 0).then(|| format!("id {}", random.u8(..20)));
        let account = ["default", "other"][usize::from(random.u8(..10) == 0)].parse().expect("an account");
        let event_type = ["a.b", "c"][usize::from(random.u8(..10) == 0)].parse().expect("a type");
        // Few contents, so that duplicates are as likely as conflicts.
        let data = Bytes::from(vec![b'7'; random.choice([0, 1, 1, 1, 5_000]).expect("one of them")]);
        // A time, not before a time, both, or neither, as mostly.
        let rare = random.usize(..10);
        let mut event = NewEvent {
            account,
            event_type,
            producer_id: id,
            time: (rare == 0 || rare == 9).then_some(Timestamp::EPOCH),
            not_before: NOT_BEFORE.get(rare).copied(),
            content_type: (rare == 8).then(|| "text/csv".parse().expect("a content type")),
            url: None,
            key: ["", "a", "b"].get(random.usize(..5)).map(|key| (*key).to_owned()),
            effect: [Effect::Live, Effect::Partial, Effect::None][data.len() % 3],
            cloud: (rare == 7).then(|| r#"{"source":"/s","id":"1"}"#.parse().expect("attributes")),
            uid: u32::try_from(rare).ok(),
            data,
        };
        let counts = [0, 1, 1, 2, 3, 3, 127, 128, 129, 256, 300];
        let count = random.choice(counts).expect("one of them");
        let deliver = |_| {
            let due = self.now.plus(Duration::from_millis(random.u64(..10_000)));
            Addressed {
                endpoint: random.choice(&routable).copied().expect("there are some"),
                due,
                entry: [Entry::Never, Entry::AtOnce, Entry::WhenDue][random.usize(..3)],
            }
        };
        let deliveries = (0..count).map(deliver).collect();
        let callback = random_callback(&mut event, self.now, &mut self.random);
        Routed { event, deliveries, callback }
    }

    fn settle(&mut self) {
        self.count(true);
        let keys: Vec<DeliveryKey> = self.model.deliveries.keys().copied().collect();
        let pending: Vec<_> =
            keys.iter().copied().filter(|k| is_pending(&self.model.deliveries[k])).collect();
        let mut settled = Vec::new();
        let mut scheduled = Vec::new();
        // Two groups are two commits at least; how many each of them takes is the writer's affair.
        for _ in 0..self.random.usize(1..3) {
            let group = self.settle_group(&keys, &pending);
            scheduled.extend(self.await_settled(&group));
            settled.extend(group);
        }
        let mut heads = Vec::new();
        self.model.advance(&mut heads);
        self.check_advance(scheduled, &heads, &settled);
    }

    fn settle_group(&mut self, keys: &[DeliveryKey], pending: &[DeliveryKey]) -> Vec<DeliveryKey> {
        let mut group = Vec::new();
        for _ in 0..self.random.usize(1..120) {
            // Mostly pending ones, some twice, some that have ended long ago.
            let from = if self.random.u8(..20) == 0 { keys } else { pending };
            let Some(key) = self.random.choice(from).copied() else { continue };
            let settle = self.outcome(key);
            self.model.settle(&settle);
            group.push(key);
            self.opened.outbox.settle(&mut vec![settle]);
        }
        group
    }

    /// Waits until it is told that these are settled; what that scheduled.
    fn await_settled(&mut self, group: &[DeliveryKey]) -> Vec<Scheduled> {
        let mut told = Vec::new();
        let mut scheduled = Vec::new();
        while told.len() < group.len() {
            match self.opened.notices.blocking_recv().expect("the writer runs") {
                Notice::Settled(keys) => told.extend(keys),
                Notice::Scheduled(heads) => scheduled.extend(heads),
                other => panic!("not now: {other:?}"),
            }
        }
        assert_eq!(told, group);
        scheduled.extend(self.catch_up());
        scheduled
    }

    /// `settled` with several commits: where these have ended one head after the other, those between were told of as
    /// well, and a head that was told of by one commit may have got another due time by a later one.
    fn check_advance(&mut self, told: Vec<Scheduled>, heads: &[Scheduled], settled: &[DeliveryKey]) {
        let mut once = BTreeSet::new();
        assert!(told.iter().all(|one| once.insert(one.key)), "none is told of twice: {told:?}");
        let (pending, ended): (Vec<_>, Vec<_>) =
            told.into_iter().partition(|one| is_pending(&self.model.deliveries[&one.key]));
        let is_told = |head: &Scheduled| {
            let told = pending.iter().find(|one| one.key == head.key);
            told.is_some_and(|one| one == head || settled.contains(&one.key))
        };
        assert!(pending.len() == heads.len() && heads.iter().all(is_told), "{pending:?}, not {heads:?}");
        self.kinds.extend((!pending.is_empty()).then_some("advanced"));
        self.kinds.extend((!ended.is_empty()).then_some("advanced in between"));
    }

    /// Waits until all has been told of what was given so far; the keys that were scheduled since then.
    fn catch_up(&mut self) -> Vec<Scheduled> {
        let mut scheduled = Vec::new();
        // What the first one's commit scheduled besides is told after it, and before the second.
        for _ in 0..2 {
            self.opened.outbox.join(vec![DeliveryKey { seq: Seq::MAX, slot: 0 }]);
            loop {
                match self.opened.notices.blocking_recv().expect("the writer runs") {
                    Notice::Joined(count) => {
                        assert_eq!(count, 1);
                        break;
                    }
                    Notice::Scheduled(heads) => scheduled.extend(heads),
                    other => panic!("not now: {other:?}"),
                }
            }
        }
        scheduled
    }

    fn join(&mut self) {
        let keys = self.model.random_joins(&mut self.random);
        let mut expected = Vec::new();
        self.model.join(&keys, &mut expected);
        self.kinds.extend((!expected.is_empty()).then_some("joined alone"));
        if !keys.is_empty() {
            let count = keys.len();
            self.opened.outbox.join(keys);
            match self.opened.notices.blocking_recv().expect("the writer runs") {
                Notice::Joined(joined) => assert_eq!(joined, count),
                other => panic!("not now: {other:?}"),
            }
        }
        assert_eq!(self.catch_up(), expected);
    }

    fn replay(&mut self) {
        for key in self.model.random_keys(&mut self.random) {
            let expected = self.model.mark_off(key);
            let marked = wait(self.opened.outbox.call_off(key)).expect("the writer runs");
            assert_eq!(marked.expect("the store takes it"), expected);
        }
        if self.random.bool() {
            self.count(true);
        }
        for _ in 0..self.random.usize(1..12) {
            let replay = self.model.random_replay(&mut self.random, self.now);
            let mut scheduled = Vec::new();
            let expected = self.model.replay(&replay, &mut scheduled);
            self.kinds.insert(again::kind(&expected, &replay));
            let replayed = wait(self.opened.outbox.replay(replay)).expect("the store takes it");
            assert_eq!(replayed, expected);
            assert_eq!(self.noticed(scheduled.len()), scheduled);
        }
    }

    fn outcome(&mut self, key: DeliveryKey) -> Settle {
        let mut delivery = self.model.deliveries[&key];
        let attempted = self.random.u8(..5) > 0;
        let scheduled = if delivery.asked { Why::RetryAfter } else { Why::Schedule };
        let why = [Why::AfterCrash, Why::Probe, scheduled][self.random.usize(..3)];
        delivery.attempt += u32::from(attempted);
        delivery.last_status = self.random.bool().then_some(503);
        delivery.due = self.now.plus(Duration::from_secs(9));
        delivery.state = match self.random.u8(..4) {
            0 => State::Failed(FailReason::Exhausted),
            1 | 2 => State::Succeeded,
            _ => {
                delivery.step += 1;
                State::Pending
            }
        };
        // The store knows better which attempt was the last.
        delivery.last_attempt = None;
        (delivery.asked, delivery.replayed) = (delivery.attempt % 2 == 1, false);
        let attempt = attempted.then(|| (why, Box::new(random_report(&mut self.random, self.now, 300))));
        let count = self.model.random_count(delivery.endpoint, self.now, &mut self.random);
        if let Some(Count { disable: Some(_), resets, .. }) = count {
            let holds = resets == self.model.endpoints[&delivery.endpoint].resets;
            self.kinds.insert(if holds { "disabled by attempts" } else { "outdated" });
        }
        Settle { key, delivery, attempt, count }
    }

    fn configure(&mut self) {
        // At first all of them, so that deliveries go to what is there.
        let first = self.model.endpoints.is_empty();
        let mut wanted = Vec::new();
        for number in 1..=ENDPOINTS + u32::from(!first) {
            if first || self.random.u8(..5) > 0 {
                wanted.push(Configured {
                    account: ["default", "other"][usize::from(number == 3)].parse().expect("an account"),
                    name: format!("endpoint {number}"),
                    url: format!("http://{}.example/", self.random.u8(..2)),
                    unavailable: (self.random.u8(..4) == 0).then_some(DisableReason::NoCredential),
                    lasting: Some(lasting(self.now.as_millis() % 3)),
                });
            }
        }
        let judged = self.judged();
        self.model.configure(&wanted, &judged, self.now);
        let all = wait(self.opened.outbox.configure(wanted, judged, self.now)).expect("the store takes it");
        assert_eq!(all, self.model.endpoints.clone().into_iter().collect::<Vec<_>>());
        self.known.extend(self.model.endpoints.keys());
    }

    /// Some of those that were made over the API, and of the origins of callbacks.
    fn judged(&mut self) -> Vec<Judged> {
        let is_judged = |(_, one): &(_, &Endpoint)| one.own().is_some() || one.origin().is_some();
        let own = self.model.endpoints.iter().filter(is_judged);
        let judge = |number| Judged {
            number,
            unavailable: (self.random.u8(..3) == 0).then_some(DisableReason::NoProfile),
            lasting: self.random.bool().then_some(lasting(7)),
        };
        own.map(|(number, _)| *number).map(judge).collect()
    }

    fn change(&mut self) {
        for _ in 0..self.random.usize(1..20) {
            let change = self.model.random_change(&mut self.random, self.now);
            let expected = self.model.change(&change);
            self.kinds.insert(kind_of(&change, &expected));
            let changed = wait(self.opened.outbox.change(change)).expect("the store takes it");
            assert_eq!(changed, expected);
        }
        self.known.extend(self.model.endpoints.keys());
    }

    /// Forgets events, most of which have ended: all of these, now and then.
    fn forget(&mut self) {
        self.now = self.now.plus(Duration::from_millis(1));
        let mut due = self.model.random_due(self.now);
        if self.random.bool() {
            let if_failed = self.random.bool();
            let all = self.model.events.keys();
            due = all.map(|seq| Due { seq: *seq, if_succeeded: true, if_failed }).collect();
        }
        let expected = self.model.forget(&due, most(self.opened.outbox.room(), false));
        let forgotten = wait(self.opened.outbox.forget(due)).expect("the store takes it");
        assert_eq!((forgotten.looked_at, forgotten.events, forgotten.rows), expected);
        self.kinds.extend((forgotten.events > 0).then_some("forgotten"));
    }

    /// Unlinks some files; what comes under the same identity afterwards is another file.
    fn forget_files(&mut self) {
        let known: Vec<FileIdentity> = self.model.files.iter().cloned().collect();
        for file in known {
            self.model.files.remove(&file);
            self.opened.outbox.unlinked(file);
        }
    }

    fn reopen(&mut self, clean: bool) {
        self.forget_files();
        // What was queued before is on disk with the answers to these.
        self.accept();
        let path = if clean { self.path.clone() } else { self.copy() };
        let placeholder = open(&self.directory.path().join("placeholder.redb"), &self.model.options);
        let old = std::mem::replace(&mut self.opened, placeholder.expect("a store opens"));
        old.writer.close(End::Clean).expect("it closes");
        assert!(old.outbox.read().is_err(), "a closed store is not read");
        let new = open(&path, &self.model.options).expect("it opens again");
        std::mem::replace(&mut self.opened, new).writer.close(End::Clean).expect("the placeholder closes");
        self.path = path;
        assert_eq!(self.opened.unclean, !clean);
        assert_eq!(self.opened.last_seq, self.model.last_seq());
        assert_eq!(self.opened.first_attempt, self.model.next_attempt());
        assert_eq!(self.opened.clocks, self.model.clocks());
        let (last, outbox) = (self.opened.last_seq, self.opened.outbox.clone());
        outbox.count_backlog(&self.backlog(last, 7));
        outbox.count_heads(self.heads(last, 5).len());
        self.known = self.model.endpoints.keys().copied().collect();
        self.model.restart(false);
        let whole = self.random.bool();
        self.count(whole);
        self.wait_for_ids();
    }

    /// The file as a crash would leave it: the writer has nothing to do, so all its commits are in it.
    fn copy(&mut self) -> PathBuf {
        self.copies += 1;
        let path = self.directory.path().join(format!("copy {}.redb", self.copies));
        std::fs::copy(&self.path, &path).expect("a copy");
        path
    }

    /// An event with an id is answered when the map of ids is there; from then on all are in order.
    fn wait_for_ids(&mut self) {
        let mut routed = self.routed();
        routed.event.producer_id = Some("first of a run".to_owned());
        let batch = Batch {
            at: self.now,
            age: self.now,
            clock_unset: false,
            events: vec![routed],
            file: None,
            room: None,
        };
        let mut scheduled = Vec::new();
        let expected = self.model.accept(&batch, &mut scheduled);
        assert_eq!(wait(self.opened.outbox.accept(batch).answer()).expect("the store takes it"), expected);
        assert_eq!(self.noticed(scheduled.len()), scheduled);
    }

    /// Waits until the engine has been told of so many deliveries.
    fn noticed(&mut self, count: usize) -> Vec<Scheduled> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.opened.notices.blocking_recv().expect("the writer runs") {
                Notice::Scheduled(scheduled) => {
                    let mut lanes = scheduled.iter().filter(|one| one.endpoint != EndpointNumber::JOINING);
                    let unknown = lanes.find(|one| !self.known.contains(&one.endpoint));
                    assert_eq!(unknown, None, "the engine has been told of it before");
                    all.extend(scheduled);
                }
                Notice::Origins(news) => {
                    for (number, endpoint) in news.made {
                        assert!(endpoint.origin().is_some() && self.known.insert(number), "{number:?}");
                    }
                    for number in news.forgotten {
                        assert!(self.known.remove(&number), "{number:?}");
                    }
                }
                other => panic!("not now: {other:?}"),
            }
        }
        all
    }

    /// Holds every query against the model.
    fn check(&mut self) {
        let reader = self.opened.outbox.read().expect("a reader");
        self.check_events(&reader);
        self.check_deliveries(&reader);
        self.check_rows(&reader);
        let endpoints = reader.endpoints().expect("endpoints");
        assert_eq!(endpoints, self.model.endpoints.clone().into_iter().collect::<Vec<_>>());
        self.check_backlog(&reader);
        self.check_order(&reader);
        self.check_memory();
    }

    /// What is remembered of ids and files, which no query shows.
    fn check_memory(&self) {
        let table = self.opened.outbox.database.begin_read().expect("a reader");
        let ids = table.open_table(IDS).expect("a table");
        let ids = ids.iter().expect("ids are read").map(|row| Seq::new(row.expect("a row").0.value()));
        assert!(ids.eq(self.model.remembered()), "no more and no fewer ids than the window has");
        // Those that are to be forgotten are so with the next commit.
        let files = table.open_table(FILES).expect("a table").len().expect("its length");
        assert!(files >= u64::try_from(self.model.files.len()).expect("fits"));
        let attempts = table.open_table(ATTEMPTS).expect("a table").len().expect("its length");
        let expected = u64::try_from(self.model.attempts.len()).expect("fits");
        assert_eq!(attempts, expected, "none is left of what is forgotten");
        let outbox = &self.opened.outbox;
        assert_eq!(outbox.room().held(), stored_bytes(&outbox.database), "all rows are counted");
        for number in self.model.endpoints.keys() {
            let expected = self.model.healths.get(number).copied().unwrap_or_default();
            assert_eq!(outbox.healths().of(*number), expected, "{number:?}");
        }
    }

    fn check_events(&self, reader: &Reader) {
        for seq in 0..self.model.last_seq().get() + 3 {
            let seq = Seq::new(seq);
            let event = reader.event(seq).expect("events are read");
            assert_eq!(event.as_ref(), self.model.events.get(&seq));
            if event.is_none() {
                assert_eq!(reader.rows_of(seq).expect("rows are read"), []);
                let first = reader.delivery(DeliveryKey { seq, slot: 0 });
                assert_eq!(first.expect("deliveries are read"), None);
            }
        }
    }

    fn check_deliveries(&mut self, reader: &Reader) {
        let mut attempts: HashMap<DeliveryKey, Vec<Attempt>> = HashMap::new();
        for attempt in self.model.attempts.values() {
            attempts.entry(attempt.delivery).or_default().push(attempt.clone());
        }
        let mut next: BTreeMap<Seq, u16> = BTreeMap::new();
        for (key, delivery) in &self.model.deliveries {
            // Of a large event only some; `rows_of` has them all.
            if self.random.u8(..8) == 0 || key.slot % 128 == 0 {
                let found = reader.delivery(*key).expect("deliveries are read");
                let Head { accepted_at, size, .. } = self.model.head(key.seq);
                assert_eq!(found, Some((Brief { accepted_at, size }, *delivery)), "{key:?}");
            }
            next.insert(key.seq, key.slot + 1);
            let Some(made) = attempts.remove(key) else {
                assert_eq!(delivery.last_attempt, None);
                continue;
            };
            let limit = self.random.usize(..4);
            let limit = if limit == 0 { usize::MAX } else { limit };
            let read = reader.attempts(delivery.last_attempt, limit).expect("attempts are read");
            assert_eq!(read, made[made.len().saturating_sub(limit)..], "the newest, oldest first");
        }
        assert!(attempts.is_empty(), "of no other delivery");
        for (seq, slot) in next {
            assert_eq!(reader.delivery(DeliveryKey { seq, slot }).expect("deliveries are read"), None);
        }
        let unknown = DeliveryKey { seq: self.model.last_seq().next(), slot: 0 };
        assert_eq!(reader.delivery(unknown).expect("deliveries are read"), None);
    }

    fn check_rows(&mut self, reader: &Reader) {
        let rows = self.model.rows();
        let mut by_event: BTreeMap<Seq, Vec<Placed>> = BTreeMap::new();
        for row in &rows {
            by_event.entry(row.first.seq).or_default().push(row.clone());
        }
        for (seq, rows) in by_event {
            assert_eq!(reader.rows_of(seq).expect("rows are read"), rows);
            assert_eq!(reader.head(seq).expect("a row is read"), Some(self.model.head(seq)));
        }
        let (mut before, mut paged) = (None, Vec::new());
        loop {
            let limit = self.random.usize(1..50);
            let page = reader.rows_before(before, limit).expect("rows are read");
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            before = Some(last.first);
            paged.extend(page);
        }
        paged.reverse();
        assert_eq!(paged, rows, "newest first, each once");
        assert_eq!(reader.rows_before(None, 0).expect("rows are read"), []);
    }

    fn check_backlog(&mut self, reader: &Reader) {
        let until = Seq::new(self.random.u64(..self.model.last_seq().get() + 2));
        for until in [until, Seq::MAX] {
            let page = self.random.usize(1..9);
            let found = self.backlog(until, page);
            let found: Vec<_> = found.iter().map(|(key, delivery)| Scheduled::of(*key, delivery)).collect();
            assert_eq!(found, self.model.backlog(until));
            assert_eq!(self.heads(until, page), self.model.heads(until));
        }
        let mut rows = self.model.rows();
        rows.retain(|placed| placed.row.deliveries.iter().any(is_pending));
        let table = self.opened.outbox.database.begin_read().expect("a reader");
        let table = table.open_table(PENDING).expect("a table");
        let length = usize::try_from(table.len().expect("its length")).expect("fits");
        assert_eq!(length, rows.len(), "no row that has ended is among the pending");
        let oldest = rows.into_iter().next().map(|placed| placed.row.head);
        assert_eq!(reader.oldest_pending().expect("a row is read"), oldest);
        self.check_depths();
    }

    fn check_depths(&self) {
        let mut counts: HashMap<EndpointNumber, u64> = HashMap::new();
        for Delivery { endpoint, .. } in self.model.deliveries.values().filter(|d| is_pending(d)) {
            *counts.entry(*endpoint).or_default() += 1;
        }
        let depths = self.opened.outbox.depths();
        for number in (0..=self.model.next_endpoint().get()).map(EndpointNumber::new) {
            assert_eq!(depths.of(number), counts.get(&number).copied().unwrap_or(0), "{number:?}");
        }
        assert_eq!(depths.total(), counts.values().sum::<u64>());
    }

    /// Each delivery that keeps an order has its row, in that order, and there are no others.
    fn check_order(&self, reader: &Reader) {
        let txn = self.opened.outbox.database.begin_read().expect("a reader");
        let rows = match txn.open_table(FIFO) {
            Ok(table) => {
                let rows = table.iter().expect("it is read").map(|entry| entry.expect("a row"));
                rows.map(|(row, key)| (row.value(), unpack(key.value()))).collect()
            }
            Err(TableError::TableDoesNotExist(_)) => Vec::new(),
            Err(error) => panic!("the table is there or not: {error}"),
        };
        let mut expected = Vec::new();
        for ((endpoint, group), queue) in &self.model.queues.all {
            for (index, (place, key)) in queue.iter().enumerate() {
                expected.push(((endpoint.get(), group.get(), *place), *key));
                let delivery = &self.model.deliveries[key];
                assert_eq!((delivery.state, delivery.order), (State::Pending, Order::Place(*place)));
                let behind = reader.is_behind(&self.model.head(key.seq), delivery).expect("it is read");
                assert_eq!(behind, index > 0, "{key:?}");
            }
        }
        assert_eq!(rows, expected);
        let placed = self.model.deliveries.values().filter(|one| matches!(one.order, Order::Place(_)));
        assert_eq!(placed.count(), expected.len());
        let behind = usize::try_from(self.opened.outbox.depths().behind()).expect("fits");
        assert_eq!(behind, self.model.queues.behind());
    }

    /// The first of each queue, read in pages of `limit`.
    fn heads(&self, until: Seq, limit: usize) -> Vec<Scheduled> {
        let reader = self.opened.outbox.read().expect("a reader");
        let (mut all, mut from) = (Vec::new(), Some((EndpointNumber::new(0), Group::KEYLESS)));
        while let Some(place) = from {
            let page = reader.heads(place, until, limit).expect("they are read");
            assert!(page.unreadable.is_empty() && page.found.len() <= limit);
            all.extend(page.found);
            from = page.next;
        }
        all
    }

    /// The whole backlog, read in pages of `limit`.
    fn backlog(&self, until: Seq, limit: usize) -> Vec<(DeliveryKey, Delivery)> {
        let reader = self.opened.outbox.read().expect("a reader");
        let (mut all, mut from) = (Vec::new(), Some(0));
        while let Some(place) = from {
            let page = reader.backlog(place, until, limit).expect("the backlog is read");
            assert!(page.unreadable.is_empty() && page.found.len() < limit + 128);
            all.extend(page.found);
            from = page.next;
        }
        all
    }
}
