//! A store on a disk that remembers, the random work that is done with it, and what it should hold after each step.
//!
//! Drives [`Store`] without its thread, so that a step is one commit, and the same seed does the same.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    super::{
        ID_KEY, mark,
        model::{Model, endpoints::lasting, is_pending, origins::random_callback, parked::minute},
        options, random_report, room, stored_bytes, wall,
    },
    found::Found,
    power::Disk,
};
use crate::{
    model::{
        attempt::Why,
        delivery::{DeliveryKey, FailReason, Load, Scheduled, State},
        endpoint::DisableReason,
        event::NewEvent,
        job::Job,
        time::Timestamp,
    },
    outbox::{
        Acceptance, Addressed, Batch, BatchAnswer, Configured, Entry, FileIdentity, Forgotten, Options,
        Reader, Room, Routed, Settle, Step, StoreError,
        database::Shared,
        depths::Depths,
        forget::most,
        open,
        store::{Group, Store, scan_ids},
    },
};

const ENDPOINTS: u32 = 9;
/// Deliveries are due within so many milliseconds: parked keys are of three or four minutes.
const DUE_WITHIN: u64 = 150_000;

/// What was promised when a step had returned.
#[derive(Clone, Debug)]
pub(super) struct Promise {
    /// How many operations the disk had seen by then.
    pub(super) position: usize,
    pub(super) model: Arc<Model>,
    /// What is to be found in the store then.
    pub(super) found: Arc<Found>,
    /// Whether it says that it was closed.
    pub(super) clean: bool,
}

/// One run of a store, from its opening on.
#[derive(Debug)]
pub(super) struct History {
    pub(super) random: fastrand::Rng,
    pub(super) disk: Disk,
    /// What was on the disk at the beginning.
    pub(super) base: Vec<u8>,
    /// What was promised before the first step and after each.
    pub(super) promises: Vec<Promise>,
    /// Of so many of 8 events the payload is large.
    heavy: u8,
    now: Timestamp,
    room: Room,
    database: Shared,
    store: Option<Store>,
}

/// A commit that failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: StoreError,
    /// What would have been promised.
    pub(super) after: Promise,
}

impl History {
    /// A new store, closed, with its options.
    pub(super) fn create(quick_repair: bool, random: &mut fastrand::Rng) -> (Vec<u8>, Promise) {
        let options = Options {
            // From less than a group needs to more than there is.
            cache: random.choice([128 << 10, 512 << 10, 4 << 20]).expect("one of them"),
            quick_repair,
            dedup_window: Duration::from_secs(2),
            dedup_entries: random.usize(10..60),
            pending_per_endpoint: random.u64(50..600),
            ..options()
        };
        let disk = Disk::new(Vec::new());
        open::make(disk.clone(), Path::new("memory"), &options, ID_KEY).expect("it is made");
        let model = Model::new(options);
        let found = Arc::new(Found::expected(&model));
        (disk.bytes(), Promise { position: 0, model: Arc::new(model), found, clean: true })
    }

    /// Opens what is on a disk, after a cut at which `before` was promised and `after` may have been reached; an error
    /// says what is wrong with it.
    pub(super) fn recover(
        image: Vec<u8>,
        random: fastrand::Rng,
        before: &Promise,
        after: Option<&Promise>,
    ) -> Result<Self, String> {
        Self::recover_in(&room(), image, random, before, after)
    }

    /// The same, in this room.
    pub(super) fn recover_in(
        room: &Room,
        image: Vec<u8>,
        random: fastrand::Rng,
        before: &Promise,
        after: Option<&Promise>,
    ) -> Result<Self, String> {
        let (options, disk) = (before.model.options, Disk::new(image.clone()));
        let (database, unclean) = open(&disk, &options, room)?;
        let promise = kept(&database, unclean, before, after)?;
        let promises = vec![Promise { position: 0, ..promise.clone() }];
        let now =
            promise.model.events.values().last().map_or(Timestamp::from_millis(1_000), |e| e.accepted_at);
        let room = room.clone();
        let mut history =
            Self { random, disk, base: image, promises, heavy: 1, now, room, database, store: None };
        history.start();
        Ok(history)
    }

    /// Takes an opened database over: as [`crate::outbox::Outbox`] does, and a little more at once.
    fn start(&mut self) {
        let depths = Depths::default();
        let model = Arc::clone(&self.last().model);
        let mut store = Store::new(self.database.clone(), &model.options, depths.clone(), self.room.clone())
            .expect("it starts");
        assert_eq!(store.state().next_seq, model.last_seq().next(), "no sequence number is given twice");
        assert_eq!(store.state().next_attempt, model.next_attempt(), "no row of an attempt is given twice");
        assert_eq!(store.state().held.bytes(), stored_bytes(&self.database), "all rows are counted");
        assert_eq!(store.state().tally.all(), model.healths, "all attempts are counted, and once");
        scan_ids(&self.database, 7, |page| store.fill_dedup(&page)).expect("ids are read");
        depths.found(model.deliveries.values().filter(|d| is_pending(d)).map(|d| d.endpoint));
        depths.went_behind(model.queues.behind());
        self.store = Some(store);
        // Some begin before all is counted, and never hear that it is.
        let whole = self.random.u8(..4) > 0;
        if whole {
            depths.set_whole();
        }
        let mut model = Model::clone(&model);
        model.restart(whole);
        self.promises.last_mut().expect("there is one from the beginning").model = Arc::new(model);
        self.say_clean(false);
    }

    /// Closes the store and opens it again.
    pub(super) fn reopen(&mut self) {
        self.close();
        let (database, unclean) =
            open(&self.disk, &self.last().model.options, &self.room).expect("it opens again");
        assert!(!unclean, "it was closed");
        self.database = database;
        self.start();
    }

    pub(super) fn close(&mut self) {
        self.store.take().expect("it is open").close().expect("it closes");
        self.say_clean(true);
    }

    /// What was promised after `position` operations, and what would have been next.
    pub(super) fn promised_at(&self, position: usize) -> (&Promise, Option<&Promise>) {
        let next = self.promises.partition_point(|promise| promise.position <= position);
        (&self.promises[next - 1], self.promises.get(next))
    }

    pub(super) fn last(&self) -> &Promise {
        self.promises.last().expect("there is one from the beginning")
    }

    fn promise(&mut self, model: Model) {
        let found = Arc::new(Found::expected(&model));
        let position = self.disk.position();
        self.promises.push(Promise { position, model: Arc::new(model), found, clean: false });
    }

    fn say_clean(&mut self, clean: bool) {
        let position = self.disk.position();
        self.promises.push(Promise { position, clean, ..self.last().clone() });
    }

    /// Holds what is there now against the promise.
    pub(super) fn check(&self) {
        let found = Found::read(&self.database);
        found.is_in_order().expect("all is in its place");
        let differences = found.differences(&self.last().found);
        assert!(differences.is_empty(), "it differs in {differences:?}");
    }

    /// The first step of a new store: endpoints to deliver to. Then `steps` of all kinds; `heavy` of 8 events are large.
    pub(super) fn go(&mut self, steps: usize, heavy: u8) {
        self.heavy = heavy;
        self.configure();
        for _ in 0..steps {
            match self.random.u8(..20) {
                0 => self.configure(),
                1..4 => self.reopen(),
                4..8 => {
                    self.change();
                    self.work();
                }
                8 => {
                    self.replay();
                    self.work();
                }
                9 => {
                    self.replay_failures();
                    self.work();
                }
                _ => self.work(),
            }
        }
    }

    /// One group of everything, or of parked keys alone.
    pub(super) fn work(&mut self) {
        self.try_work().expect("it commits");
    }

    /// The same, on a disk that may fail.
    pub(super) fn try_work(&mut self) -> Result<(), Box<Failed>> {
        self.now = self.now.plus(Duration::from_millis(self.random.u64(..800)));
        let mut model = Model::clone(&self.last().model);
        let group = if self.random.u8(..6) > 0 { self.news(&mut model) } else { Group::default() };
        let park = if self.random.bool() { self.keys_to_park() } else { Vec::new() };
        let loads = self.loads(&park);
        let forget = self.last().model.random_due(self.now);
        self.try_commit(&Group { park, loads, forget, ..group }, model).map(drop)
    }

    /// Outcomes, files that are gone, and events.
    fn news(&mut self, model: &mut Model) -> Group {
        let settles = if self.random.u8(..4) > 0 { self.settles(model) } else { Vec::new() };
        let joins = if self.random.bool() { model.random_joins(&mut self.random) } else { Vec::new() };
        let mut unlinked: Vec<_> = model.files.iter().cloned().collect();
        unlinked.sort_by_key(|file| file.inode);
        unlinked.retain(|_| self.random.u8(..4) == 0);
        let batches = if self.random.u8(..4) > 0 { self.random.usize(1..4) } else { 0 };
        let batches = (0..batches).map(|_| self.batch()).collect();
        Group { settles, joins, batches, unlinked, ..Group::default() }
    }

    /// Commits a group whose outcomes the model knows already, and holds the answers against the model's.
    fn commit(&mut self, group: &Group, model: Model) -> Vec<BatchAnswer> {
        self.try_commit(group, model).expect("it commits")
    }

    fn try_commit(&mut self, group: &Group, mut model: Model) -> Result<Vec<BatchAnswer>, Box<Failed>> {
        for file in &group.unlinked {
            model.files.remove(file);
        }
        let mut scheduled = Vec::new();
        model.advance(&mut scheduled);
        model.join(&group.joins, &mut scheduled);
        let answers: Vec<_> = group.batches.iter().map(|batch| model.accept(batch, &mut scheduled)).collect();
        let parked = model.parked.park(&group.park);
        let loaded: Vec<_> = group.loads.iter().map(|load| model.parked.load(*load)).collect();
        let gone = model.forget(&group.forget, most(&self.room, group.is_waited_for()));
        let store = self.store.as_mut().expect("it is open");
        if let Some(mark) = mark(self.now) {
            store.set_mark(mark);
            model.mark = Some(mark);
        }
        let done = match store.commit(group) {
            Ok(done) => done,
            Err(error) => {
                let found = Arc::new(Found::expected(&model));
                let position = self.disk.position();
                let after = Promise { position, model: Arc::new(model), found, clean: false };
                return Err(Box::new(Failed { error, after }));
            }
        };
        assert_eq!((&done.answers, done.scheduled), (&answers, scheduled));
        assert_eq!((done.parked, done.loaded), (parked, loaded));
        let Forgotten { looked_at, events, rows, bytes: _ } = done.forgotten;
        assert_eq!((looked_at, events, rows), gone);
        assert!(done.not_settled.is_empty(), "{:?}", done.not_settled);
        assert_eq!(store.state().depths.behind(), u64::try_from(model.queues.behind()).expect("fits"));
        self.promise(model);
        Ok(answers)
    }

    /// Hands in again what the store should know, as producers do that had no answer; says how many ids and files.
    pub(super) fn hand_in_again(&mut self) -> (usize, usize) {
        let model = Arc::clone(&self.last().model);
        // An id may be known for longer than its event.
        let known = model.remembered().filter_map(|seq| model.events.get(&seq));
        let in_window = known.filter(|event| self.now.since(event.accepted_at) <= model.options.dedup_window);
        let events: Vec<_> = in_window.collect();
        let routed = events.iter().map(|event| Routed {
            event: event.new.clone(),
            deliveries: Vec::new(),
            callback: None,
        });
        let mut batches = vec![Batch {
            at: self.now,
            age: self.now,
            clock_unset: false,
            events: routed.collect(),
            file: None,
            room: None,
        }];
        batches.extend(model.files.iter().map(|file| Batch { file: Some(file.clone()), ..self.batch() }));
        let (ids, files) = (events.len(), model.files.len());
        let before = model.last_seq();
        let answers = self.commit(&Group { batches, ..Group::default() }, Model::clone(&model));
        let BatchAnswer::Events(first) = &answers[0] else { panic!("no file was given") };
        assert!(
            first.iter().all(|one| matches!(one, Acceptance::Duplicate(_))),
            "all ids are known: {first:?}"
        );
        assert!(
            answers[1..].iter().all(|one| *one == BatchAnswer::FileKnown),
            "all files are known: {answers:?}"
        );
        assert_eq!(self.last().model.last_seq(), before, "nothing was taken twice");
        (ids, files)
    }

    pub(super) fn configure(&mut self) {
        let first = self.last().model.endpoints.is_empty();
        let mut wanted = Vec::new();
        for number in 1..=ENDPOINTS {
            if first || self.random.u8(..5) > 0 {
                wanted.push(Configured {
                    account: "default".parse().expect("an account"),
                    name: format!("endpoint {number}"),
                    url: format!("http://{}.example/", self.random.u8(..2)),
                    unavailable: (self.random.u8(..4) == 0).then_some(DisableReason::NoCredential),
                    lasting: Some(lasting(self.now.as_millis() % 3)),
                });
            }
        }
        let mut model = Model::clone(&self.last().model);
        model.configure(&wanted, &[], self.now);
        let store = self.store.as_mut().expect("it is open");
        let all = store.configure(&wanted, &[], self.now).expect("it commits");
        assert!(all.iter().map(|(number, one)| (number, one)).eq(&model.endpoints));
        self.promise(model);
    }

    /// An endpoint is made, or becomes another.
    fn change(&mut self) {
        let mut model = Model::clone(&self.last().model);
        let change = model.random_change(&mut self.random, self.now);
        let expected = model.change(&change);
        let changed = self.store.as_mut().expect("it is open").change(change).expect("it commits");
        assert_eq!(changed, expected);
        self.promise(model);
    }

    /// Some deliveries are called off during their attempts, and some of what has ended is delivered again.
    fn replay(&mut self) {
        let mut model = Model::clone(&self.last().model);
        let keys = model.random_keys(&mut self.random);
        let expected: Vec<_> = keys.iter().map(|key| model.mark_off(*key)).collect();
        let marked = self.store.as_mut().expect("it is open").call_off(&keys).expect("it commits");
        assert_eq!(marked, expected);
        self.promise(model.clone());
        let count = self.random.usize(1..40);
        let replays: Vec<_> = (0..count).map(|_| model.random_replay(&mut self.random, self.now)).collect();
        let mut scheduled = Vec::new();
        let expected: Vec<_> = replays.iter().map(|one| model.replay(one, &mut scheduled)).collect();
        let again = self.store.as_mut().expect("it is open").replay(&replays).expect("it commits");
        assert_eq!((again.answers, again.scheduled), (expected, scheduled));
        self.promise(model);
    }

    /// Some steps of a recover, the one that runs or another.
    fn replay_failures(&mut self) {
        let mut model = Model::clone(&self.last().model);
        if !model.jobs.values().any(Job::is_running) {
            let make = model.random_recover(&mut self.random, self.now);
            let expected = model.make_job(&make);
            let changed = self.store.as_mut().expect("it is open").change_job(make).expect("it commits");
            assert_eq!(changed, expected);
            self.promise(model.clone());
        }
        for _ in 0..self.random.usize(1..4) {
            let Some((number, recover)) = model.running_recover() else { break };
            let most = self.random.usize(1..30);
            let read = Reader::new(&self.database).expect("a reader");
            let failures = read.failures(&recover, usize::MAX, most).expect("they are read");
            drop(read);
            assert_eq!(failures, model.failures(&recover, most));
            let (at, wall) = (self.now, Timestamp::from_millis(self.now.as_millis() + 5));
            let step = Step { number, from: recover.next, failures, at, wall };
            let mut scheduled = Vec::new();
            let expected = model.step(&step, &mut scheduled);
            let again = self.store.as_mut().expect("it is open").step(&step).expect("it commits");
            assert_eq!((again.answers, again.scheduled), (expected, scheduled));
            self.promise(model.clone());
        }
    }

    fn batch(&mut self) -> Batch {
        let events = (0..self.random.usize(usize::from(self.heavy / 3)..6)).map(|_| self.routed()).collect();
        let file = self.random.bool().then(|| FileIdentity {
            directory: "/spool".to_owned(),
            device: 1,
            inode: self.random.u64(..40),
            mtime: -1,
            size: 7,
        });
        let (at, clock_unset) = wall(self.now);
        Batch { at, age: self.now, clock_unset, events, file, room: None }
    }

    fn routed(&mut self) -> Routed {
        let random = &mut self.random;
        let endpoints = &self.promises.last().expect("there is one from the beginning").model.endpoints;
        let routable: Vec<_> =
            endpoints.iter().filter(|(_, one)| one.origin().is_none()).map(|(number, _)| *number).collect();
        let id = (random.u8(..3) > 0).then(|| format!("id {}", random.u8(..60)));
        let size = match random.u8(..8) {
            large if large < self.heavy => random.usize(30_000..110_000),
            7 => random.usize(..3_000),
            _ => random.usize(..300),
        };
        let data = Bytes::from(vec![random.u8(..); size]);
        let mut event =
            NewEvent::new("default".parse().expect("an account"), "a.b".parse().expect("a type"), data);
        event.producer_id = id;
        event.key = ["a", "b"].get(random.usize(..5)).map(|key| (*key).to_owned());
        let counts = [0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 4, 5, 9, 9, 127, 129, 300];
        let count = random.choice(counts).expect("one of them");
        let deliver = |_| {
            let due = self.now.plus(Duration::from_millis(random.u64(..DUE_WITHIN)));
            Addressed {
                endpoint: random.choice(&routable).copied().expect("there are some"),
                due,
                entry: [Entry::Never, Entry::AtOnce, Entry::AtOnce, Entry::WhenDue][random.usize(..4)],
            }
        };
        let deliveries = (0..count).map(deliver).collect();
        let callback = random_callback(&mut event, self.now, &mut self.random);
        Routed { event, deliveries, callback }
    }

    /// Outcomes of what is pending, each in the model at once: a delivery may come more than once.
    fn settles(&mut self, model: &mut Model) -> Vec<Settle> {
        let pending = model.deliveries.iter().filter(|(_, delivery)| is_pending(delivery));
        let mut keys: Vec<_> = pending.map(|(key, _)| *key).collect();
        // Of some events all deliveries, so that rows end.
        if self.random.bool() {
            self.random.shuffle(&mut keys);
        }
        keys.truncate(self.random.usize(1..160));
        let settle = |key| {
            let settle = self.outcome(key, model);
            model.settle(&settle);
            settle
        };
        keys.into_iter().map(settle).collect()
    }

    /// Keys as the last commit left them: the outcomes of this one may have their rows come to nothing.
    fn keys_to_park(&mut self) -> Vec<Scheduled> {
        let mut keys = self.last().model.starts();
        self.random.shuffle(&mut keys);
        keys.truncate(self.random.usize(1..50));
        keys
    }

    /// Of some lanes that have parked keys, or get some with `park`.
    fn loads(&mut self, park: &[Scheduled]) -> Vec<Load> {
        let parked = self.last().model.parked.lanes().into_iter().map(|(lane, _)| lane);
        let lanes: BTreeSet<_> = parked.chain(park.iter().map(|one| one.endpoint)).collect();
        let count = self.random.usize(..4);
        let lanes = self.random.choose_multiple(lanes, count);
        let load = |lane| Load {
            lane,
            until: minute(self.now.plus(Duration::from_millis(self.random.u64(..DUE_WITHIN)))),
            limit: self.random.usize(1..60),
        };
        lanes.into_iter().map(load).collect()
    }

    fn outcome(&mut self, key: DeliveryKey, model: &Model) -> Settle {
        let mut delivery = model.deliveries[&key];
        let attempted = self.random.u8(..5) > 0;
        delivery.attempt += u32::from(attempted);
        delivery.last_status = self.random.bool().then_some(503);
        delivery.due = self.now.plus(Duration::from_millis(self.random.u64(..DUE_WITHIN)));
        delivery.state = match self.random.u8(..4) {
            0 => State::Failed(FailReason::Exhausted),
            1 | 2 => State::Succeeded,
            _ => State::Pending,
        };
        // The store knows better which attempt was the last.
        delivery.last_attempt = None;
        (delivery.asked, delivery.replayed) = (delivery.attempt % 2 == 1, false);
        let scheduled = if delivery.asked { Why::RetryAfter } else { Why::Schedule };
        let why = [Why::AfterCrash, Why::Probe, scheduled][self.random.usize(..3)];
        Settle {
            key,
            delivery,
            attempt: attempted.then(|| (why, Box::new(random_report(&mut self.random, self.now, 900)))),
            count: model.random_count(delivery.endpoint, self.now, &mut self.random),
        }
    }
}

impl Drop for History {
    /// Nobody needs what redb would write in closing it.
    fn drop(&mut self) {
        self.disk.turn_off();
    }
}

/// Which of two promises an opened store keeps. One that is kept in part only is none.
pub(super) fn kept<'a>(
    database: &Shared,
    unclean: bool,
    before: &'a Promise,
    after: Option<&'a Promise>,
) -> Result<&'a Promise, String> {
    let found = Found::read(database);
    found.is_in_order()?;
    found.keeps(&before.found, after.map(|after| &*after.found))?;
    found.parked.follows(&before.model, after.map(|after| &*after.model))?;
    if ![Some(before), after].into_iter().flatten().any(|one| one.clean != unclean) {
        return Err("its clean mark says what was promised at no time".to_owned());
    }
    let from = |one: &Promise| {
        let mark = (one.clean == unclean).then_some("the clean mark");
        found.differences(&one.found).into_iter().chain(mark).collect::<Vec<_>>()
    };
    let both = [Some(before), after].into_iter().flatten();
    both.into_iter().find(|one| from(one).is_empty()).ok_or_else(|| {
        format!(
            "it is neither as promised nor as it was to be next: from the one it differs in {:?}, from the other in {:?}",
            from(before),
            after.map(from),
        )
    })
}

/// As the product opens a store that is there.
pub(super) fn open(disk: &Disk, options: &Options, room: &Room) -> Result<(Shared, bool), String> {
    let database = disk.database(options, room).map_err(|error| format!("it does not open: {error}"))?;
    let unclean = open::take_clean_mark(&database, options.quick_repair);
    let unclean = unclean.map_err(|error| format!("its mark is not taken: {error}"))?;
    Ok((Shared::new(database), unclean))
}
