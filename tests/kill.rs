//! The kill test: SIGKILL at random moments, while producers hand in over every door and receivers answer, fail and
//! dawdle; and a ledger in the end.
//!
//! ```sh
//! cargo test --test kill                                 # 30 rounds
//! POSTHASTE_ROUNDS=1000 POSTHASTE_SEED=7 cargo test --release --test kill -- --nocapture
//! ```
//!
//! What it holds the daemon to:
//!
//! - what was acknowledged (a 2xx, an answered line of a stream, a spool file that is gone) is on disk at every kill from
//!   then on, and is delivered to every endpoint that subscribed to it;
//! - nothing is taken twice, or by half: no event that carries an id, no spool file, no event for one endpoint only;
//! - an attempt comes again only if its outcome was not on disk at the kill, as a copy of the file shows; it is marked
//!   so in history; and at each kill these are the requests that were open, `in_flight` at most, and what had been
//!   answered within `settle_delay` and a commit;
//! - history tells of each attempt what the receiver answered.
//!
//! The daemon's runs are told apart by a header that the configuration of each run says, so that nothing hangs on when
//! a request is read. The journal says what was seen from outside, the record what was on disk, the ledger judges.
//! After [`ROUNDS_OF_A_WORLD`] rounds the daemon comes to rest, is judged, and another begins with an empty store.

#![allow(
    unreachable_pub,
    reason = "a test program has no outside; `pub` says what its modules offer each other"
)]

#[path = "kill/journal.rs"]
mod journal;
#[path = "kill/ledger.rs"]
mod ledger;
#[path = "kill/producers.rs"]
mod producers;
#[path = "kill/record.rs"]
mod record;
mod support;

use std::{fmt::Write as _, fs, sync::Arc, thread, time::Duration};

use journal::{Journal, ROUTES};
use ledger::{Kill, Ledger};
use producers::{Dropper, Producer};
use record::Record;
use support::{
    DEADLINE,
    config::{endpoint, profile},
    eventually, now,
    receiver::Receiver,
    world::World,
};

/// Kills in the suite.
const ROUNDS: usize = 30;
/// Kills of one daemon with one store.
const ROUNDS_OF_A_WORLD: usize = 50;
/// Requests open at once.
const IN_FLIGHT: usize = 8;
/// How long an outcome may wait for company.
const SETTLE_DELAY: Duration = Duration::from_millis(20);

/// When the daemon is killed.
#[derive(Debug)]
enum Moment {
    /// So long after it was started, whether it is ready or not.
    Starting(Duration),
    /// So long after it was ready.
    Ready(Duration),
    /// After so many further acknowledgements.
    Acknowledged(usize),
    /// After so many further requests.
    Requested(usize),
}

impl Moment {
    /// A moment by chance; a start takes about `start`.
    fn draw(random: &mut fastrand::Rng, start: Duration) -> Self {
        let kind = random.u8(0..12);
        let mut within = |most: Duration| most.mul_f64(random.f64());
        match kind {
            0..2 => Self::Starting(within(start.mul_f64(1.3))),
            2 => Self::Ready(within(Duration::from_millis(20))),
            3..6 => Self::Ready(within(Duration::from_millis(600))),
            // Long enough for files that only a scan finds.
            6..8 => Self::Ready(Duration::from_millis(2_100) + within(Duration::from_millis(500))),
            8..10 => Self::Acknowledged(random.usize(1..150)),
            _ => Self::Requested(random.usize(1..250)),
        }
    }
}

/// A daemon in its directory, and all that is known of it.
struct Round<'a> {
    world: World,
    receiver: &'a Receiver,
    journal: Arc<Journal>,
    record: Record,
    kills: Vec<Kill>,
    /// Files that lay in the directory at a kill although their events were on disk.
    taken: usize,
    /// How long the last start took.
    start: Duration,
}

impl Round<'_> {
    /// The configuration of the run that comes next.
    fn configure(&self) {
        let settle = SETTLE_DELAY.as_millis();
        let headers = "concurrency = 4\n[profiles.quick.headers]\nwebhook-id = \"{delivery_id}\"\nx-attempt = \"{attempt}\"";
        let schedule = ["0s", "30ms", "60ms", "1s", "1s", "1s", "1s"];
        let mut text = format!(
            "store.settle_delay = \"{settle}ms\"\nlimits.in_flight = {IN_FLIGHT}\n[[spool]]\npath = \"spool\"\n{}",
            profile("quick", &schedule, headers)
        );
        for name in ["flaky", "good", "slow"] {
            let types: Vec<_> = ROUTES.iter().filter(|(_, to)| to.contains(&name)).map(|(t, _)| *t).collect();
            text += &endpoint(name, &self.receiver.url(&format!("/{name}")), &types, "quick");
            write!(text, "[endpoint.headers]\nx-run = \"{}\"\n", self.kills.len() + 1).expect("a String");
        }
        self.world.configure(&text);
    }

    /// Starts the daemon, and waits until it is ready.
    fn start(&mut self) {
        self.configure();
        let before = now();
        self.world.start();
        self.start = before.elapsed();
        let unclean = self.world.get("/v1/status")["store"]["unclean_start"] == true;
        assert!(unclean || !self.record.has_events(), "the daemon does not know that it was killed");
    }

    /// One run up to its kill, and a look at what it left.
    fn run(&mut self, moment: &Moment) {
        let starting = matches!(moment, Moment::Starting(_));
        if let Moment::Starting(time) = moment {
            self.configure();
            self.world.spawn();
            self.journal.wait(*time, |_| false);
        } else {
            self.start();
            self.wait_for(moment);
        }
        let at = now();
        self.world.kill();
        self.kills.push(Kill { at, dead: now(), starting });
        self.look();
    }

    fn wait_for(&self, moment: &Moment) {
        let (acknowledged, requested) = {
            let notes = self.journal.lock();
            (notes.acknowledged, notes.arrivals.len())
        };
        let come = match *moment {
            Moment::Starting(time) | Moment::Ready(time) => {
                self.journal.wait(time, |_| false);
                true
            }
            Moment::Acknowledged(more) => {
                self.journal.wait(DEADLINE, |notes| notes.acknowledged >= acknowledged + more)
            }
            Moment::Requested(more) => {
                self.journal.wait(DEADLINE, |notes| notes.arrivals.len() >= requested + more)
            }
        };
        assert!(come, "the moment did not come: {moment:?}");
    }

    /// Looks at what is on disk, while nobody writes to it.
    fn look(&mut self) {
        let directory = self.world.path("");
        self.record.look(&directory, self.kills.len());
        self.taken += self.record.check(&self.journal.lock(), &directory);
    }

    /// Hands in over all doors while the daemon is killed `rounds` times.
    fn rounds(&mut self, rounds: usize, random: &mut fastrand::Rng) {
        let journal = &*Arc::clone(&self.journal);
        let (socket, spool) = (&self.world.socket(), self.world.path("spool"));
        let mut producer = || Producer { journal, socket, random: random.fork() };
        let producers = [producer(), producer(), producer(), producer()];
        let dropper = Dropper { journal, directory: spool, random: random.fork() };
        thread::scope(|scope| {
            let over = Over(journal);
            let [first, second, third, fourth] = producers;
            scope.spawn(|| first.over_streams());
            scope.spawn(|| second.over_http());
            scope.spawn(|| third.over_batches());
            scope.spawn(|| fourth.over_messages());
            scope.spawn(|| dropper.drop_files());
            for _ in 0..rounds {
                let moment = Moment::draw(random, self.start);
                self.run(&moment);
            }
            self.start();
            drop(over);
        });
    }

    /// Lets the last daemon bring all to its end, and judges.
    fn finish(mut self, ledger: &mut Ledger) {
        eventually("all files are taken", || (self.journal.look_for_files() == 0).then_some(()));
        self.world.settled();
        self.world.stop();
        // One more run than kills.
        let directory = self.world.path("");
        self.record.look(&directory, self.kills.len() + 1);
        let notes = self.journal.lock();
        let left = self.record.check(&notes, &directory);
        assert_eq!(left, 0, "files that were taken and not removed");
        ledger.judge(&notes, &self.record, &self.kills);
        ledger.taken += self.taken;
    }
}

/// Ends the producers when it is dropped, also by a panic.
struct Over<'a>(&'a Journal);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |given| given.parse().unwrap_or_else(|_| panic!("{name} is no number: {given}")))
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9_and_only_what_was_open_is_repeated() {
    let seed = setting("POSTHASTE_SEED", 20_261_122);
    let mut rounds = usize::try_from(setting("POSTHASTE_ROUNDS", ROUNDS as u64)).expect("a count");
    eprintln!("seed {seed}, {rounds} rounds");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut ledger, began) = (Ledger::default(), now());
    while rounds > 0 {
        let some = rounds.min(ROUNDS_OF_A_WORLD);
        rounds -= some;
        let journal = Arc::new(Journal::default());
        let receiver = Receiver::answering({
            let journal = Arc::clone(&journal);
            move |hook| journal.arrived(hook)
        });
        let world = World::new("");
        fs::create_dir(world.path("spool")).expect("a directory");
        let (record, kills) = (Record::default(), Vec::new());
        let start = Duration::from_millis(300);
        let mut round = Round { world, receiver: &receiver, journal, record, kills, taken: 0, start };
        round.rounds(some, &mut random);
        round.finish(&mut ledger);
    }
    ledger.print(began.elapsed());
    ledger.assert_sound(seed);
}
