//! The wheel's placing as tables, and the wheel against a sorted map under random operations.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::model::event::Seq;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(24 * 365);

fn start() -> Timestamp {
    Timestamp::from_millis(1_795_313_820_003)
}

fn timer(seq: u64) -> Timer {
    let lane = EndpointNumber::new(u32::try_from(seq % 7).expect("below 7"));
    Timer { key: DeliveryKey { seq: Seq::new(seq), slot: 0 }, lane }
}

fn advance(wheel: &mut Wheel, now: Timestamp) -> Vec<Timer> {
    let mut fired = Vec::new();
    wheel.advance(now, &mut |_, timer| fired.push(timer));
    fired
}

#[test]
fn the_level_is_the_lowest_less_than_a_turn_away() {
    let top = 1_u64 << 32;
    let cases = [
        (0, 0, Some(0)),
        (0, 255, Some(0)),
        (0, 256, Some(1)),
        (255, 510, Some(0)),
        (255, 511, Some(1)),
        (0, 0xffff, Some(1)),
        (0, 0x1_0000, Some(2)),
        (0xff, 0x1_00fe, Some(2)),
        (0x100, 0x1_00ff, Some(1)),
        (0, 0xff_ffff, Some(2)),
        (0, 0x100_0000, Some(3)),
        (0, top - 1, Some(3)),
        (0, top, None),
        (0x100_0000, top, Some(3)),
        (0x100_0000, top + 0xff_ffff, Some(3)),
        (0x1ff_ffff, top + 0x100_0000, None),
        (top - 1, top, Some(0)),
        (top - 1, top + 254, Some(0)),
        (3 * top - 1, LAST_TICK, None),
        (LAST_TICK, LAST_TICK, Some(0)),
    ];
    for (elapsed, due, level) in cases {
        assert_eq!(level_of(elapsed, due), level, "{due:#x} seen from {elapsed:#x}");
    }
}

#[test]
fn the_slot_is_the_byte_of_the_tick() {
    for (level, slot) in [(0, 0x78), (1, 0x56), (2, 0x34), (3, 0x12)] {
        assert_eq!(slot_of(level, 0x99_1234_5678), slot);
    }
}

#[test]
fn the_bitmap_finds_the_next_slot_going_round() {
    let mut random = fastrand::Rng::with_seed(3);
    assert_eq!(Bitmap::default().distance_from(9), None);
    for round in 0..2_000 {
        let mut bitmap = Bitmap::default();
        let slots: Vec<u8> = (0..random.usize(1..6)).map(|_| random.u8(..)).collect();
        let gone = random.u8(..);
        for slot in &slots {
            bitmap.set(*slot);
        }
        bitmap.clear(gone);
        let from = random.u8(..);
        let left = slots.iter().filter(|slot| **slot != gone);
        let expected = left.map(|slot| u64::from(slot.wrapping_sub(from))).min();
        assert_eq!(
            bitmap.distance_from(from),
            expected,
            "round {round}: {slots:?} without {gone} from {from}"
        );
    }
}

#[test]
fn a_timer_fires_at_the_first_advance_at_or_past_its_tick() {
    let at = |millis: u64| Timestamp::from_millis(1_000 + millis);
    // Due, an advance that is too early, one that is not.
    let cases =
        [(1, 9, 10), (10, 9, 10), (11, 19, 20), (2_560, 2_559, 2_560), (2_561, 2_569, 9_999_999), (0, 0, 0)];
    for (due, early, late) in cases {
        let mut wheel = Wheel::new(at(0));
        wheel.insert(at(due), timer(1));
        if due > 0 {
            assert_eq!(advance(&mut wheel, at(early)), [], "due {due}, at {early}");
        }
        assert_eq!(wheel.len(), 1);
        assert_eq!(advance(&mut wheel, at(late)), [timer(1)], "due {due}, at {late}");
        assert!(wheel.is_empty());
        assert_eq!(wheel.next_due(), None);
    }
}

#[test]
fn what_is_due_in_the_past_fires_at_the_next_advance() {
    let mut wheel = Wheel::new(start());
    wheel.insert(Timestamp::EPOCH, timer(1));
    assert!(wheel.next_due().expect("one timer") <= start());
    assert_eq!(advance(&mut wheel, start()), [timer(1)], "even if time stands still");
    wheel.insert(start().plus(HOUR), timer(2));
    wheel.insert(Timestamp::EPOCH.plus(HOUR), timer(3));
    assert_eq!(advance(&mut wheel, Timestamp::EPOCH), [timer(3)], "or goes backwards");
}

#[test]
fn time_that_goes_backwards_is_ignored() {
    let mut wheel = Wheel::new(start());
    wheel.insert(start().plus(HOUR), timer(1));
    assert_eq!(advance(&mut wheel, start().plus(HOUR / 2)), []);
    assert_eq!(advance(&mut wheel, Timestamp::EPOCH), []);
    wheel.insert(start().plus(HOUR / 4), timer(2));
    assert_eq!(advance(&mut wheel, start()), [timer(2)], "due before what the wheel has seen");
    assert_eq!(advance(&mut wheel, start().plus(HOUR).plus(Duration::from_millis(10))), [timer(1)]);
}

/// An entry a full turn away lies in the slot that is also the present one's, if the top level is allowed to wrap:
/// a published bug of another wheel, where such an entry hid nearer ones for two years.
#[test]
fn an_entry_a_full_turn_away_does_not_hide_a_nearer_one() {
    let tick = Duration::from_millis(TICK_MILLIS);
    for level in 0..LEVELS {
        let block = tick * u32::try_from(1_u64 << shift(level)).expect("a block is less than 2^32 ticks");
        for offset in [Duration::ZERO, tick, block / 2, block.saturating_sub(tick)] {
            let now = start().plus(offset);
            let turn = block * 256;
            let far = [turn.saturating_sub(tick), turn, turn + tick, turn + block / 2, turn + turn];
            for (far, near) in
                far.into_iter().flat_map(|far| [(far, block), (far, block * 3), (far, turn / 2)])
            {
                let mut wheel = Wheel::new(now);
                wheel.insert(now.plus(far), timer(1));
                wheel.insert(now.plus(near), timer(2));
                let said = wheel.next_due().expect("two timers");
                assert!(said.since(now.plus(near)) < tick, "level {level}, {far:?} beside {near:?}: {said}");
                assert_eq!(advance(&mut wheel, said), [timer(2)], "level {level}, {far:?} beside {near:?}");
                let said = wheel.next_due().expect("one timer");
                assert!(said.since(now.plus(far)) < tick && said >= now.plus(far), "{far:?}: {said}");
                assert_eq!(advance(&mut wheel, said), [timer(1)]);
            }
        }
    }
}

#[test]
fn a_lone_timer_costs_one_wake_up_however_far_it_is() {
    for delay in [Duration::from_millis(1), HOUR, DAY, 300 * DAY, YEAR, 2 * YEAR, 80 * YEAR] {
        let mut wheel = Wheel::new(start());
        wheel.insert(start().plus(delay), timer(1));
        let mut wake_ups = 0;
        while let Some(at) = wheel.next_due() {
            advance(&mut wheel, at);
            wake_ups += 1;
        }
        assert_eq!(wake_ups, 1, "after {delay:?}");
    }
}

#[test]
fn a_jump_of_centuries_costs_by_timers_and_keeps_their_order() {
    let mut wheel = Wheel::new(start());
    let delays: Vec<Duration> = (0..2_000).map(|n| HOUR * (n * n % 1_999) * 4).collect();
    for (seq, delay) in (0..).zip(&delays) {
        wheel.insert(start().plus(*delay), timer(seq));
    }
    let mut turns = 0;
    let mut due = Vec::new();
    while let Some(at) = wheel.next_turn() {
        wheel
            .turn(at, &mut |_, fired| due.push(delays[usize::try_from(fired.key.seq.get()).expect("small")]));
        turns += 1;
    }
    assert!(due.is_sorted() && due.len() == delays.len());
    assert!(turns <= 4 * delays.len(), "{turns} turns: each timer makes at most one slot a level occupied");
    assert_eq!(advance(&mut wheel, Timestamp::MAX), []);
}

#[test]
fn what_is_due_at_the_end_of_time_fires_there() {
    let mut wheel = Wheel::new(start());
    wheel.insert(Timestamp::MAX, timer(1));
    let at = wheel.next_due().expect("one timer");
    assert_eq!(advance(&mut wheel, at), [timer(1)]);
}

#[test]
fn memory_is_given_back_after_a_burst() {
    const TIMERS: usize = 200_000;
    let mut random = fastrand::Rng::with_seed(11);
    let mut wheel = Wheel::new(start());
    let idle = allocated(&wheel);
    for seq in 0..TIMERS as u64 {
        let delay = [HOUR, 3 * DAY, 3 * YEAR][random.usize(..3)];
        wheel.insert(start().plus(Duration::from_millis(random.u64(..) % 1_000) + delay), timer(seq));
    }
    let full = allocated(&wheel) - idle;
    assert!((TIMERS * 16..=TIMERS * 24 * 9 / 8).contains(&full), "{full} bytes for {TIMERS} timers");
    let mut fired = 0;
    for hours in [1, 2, 73, 24 * 365 * 4] {
        wheel.advance(start().plus(HOUR * hours), &mut |_, _| fired += 1);
    }
    assert_eq!(fired, TIMERS);
    let most = LEVELS * 256 * crate::scheduler::pieces::KEPT_ROOM * size_of::<Entry>();
    let left = allocated(&wheel);
    assert!(left <= most && wheel.far.entries.capacity() == 0, "{left} bytes left, {most} may be");
}

fn allocated(wheel: &Wheel) -> usize {
    let slots = wheel.levels.iter().flat_map(|level| level.slots.iter());
    let entries: usize = slots.map(|slot| slot.entries.capacity()).sum();
    entries * size_of::<Entry>() + wheel.far.entries.capacity() * size_of::<(u64, Entry)>()
}

/// The wheel as a sorted map from ticks: what it promises, without how.
struct Model {
    timers: BTreeMap<u64, Vec<Timer>>,
    elapsed: u64,
}

impl Model {
    fn insert(&mut self, due: Timestamp, timer: Timer) {
        let tick = due.as_millis().div_ceil(TICK_MILLIS).max(self.elapsed);
        self.timers.entry(tick).or_default().push(timer);
    }

    fn advance(&mut self, now: Timestamp) -> Vec<Vec<Timer>> {
        self.elapsed = self.elapsed.max(now.as_millis() / TICK_MILLIS);
        let later = self.timers.split_off(&(self.elapsed + 1));
        std::mem::replace(&mut self.timers, later).into_values().collect()
    }

    fn len(&self) -> usize {
        self.timers.values().map(Vec::len).sum()
    }
}

/// A time of any magnitude up to two and a half years, so that every level and the far list take part.
fn delay(random: &mut fastrand::Rng) -> Duration {
    let magnitude = [20, 3_000, 700_000, 200_000_000, 44_000_000_000, 80_000_000_000][random.usize(..6)];
    Duration::from_millis(random.u64(..magnitude))
}

fn run_against_model(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    // Anywhere, and often just before the lower half of the tick wraps.
    let wrap = (random.u64(400..450) << 32) * TICK_MILLIS;
    let before = 1 << random.u32(1..42);
    let mut now = Timestamp::from_millis(wrap - random.u64(..before));
    let mut wheel = Wheel::new(now);
    let mut model = Model { timers: BTreeMap::new(), elapsed: now.as_millis() / TICK_MILLIS };
    let mut seq = 0;
    for step in 0..60 {
        for _ in 0..random.usize(..4) {
            let due = match random.u8(..10) {
                0 => Timestamp::from_millis(now.as_millis().saturating_sub(random.u64(..5_000))),
                _ => now.plus(delay(&mut random)),
            };
            seq += 1;
            wheel.insert(due, timer(seq));
            model.insert(due, timer(seq));
        }
        let at = match random.u8(..10) {
            0 => Timestamp::from_millis(now.as_millis().saturating_sub(random.u64(..100_000))),
            1..=4 => wheel.next_due().unwrap_or(now),
            5 => {
                let next = wheel.next_due().unwrap_or(now);
                Timestamp::from_millis(next.as_millis() - 1)
            }
            _ => now.plus(delay(&mut random)),
        };
        check_advance(&mut wheel, &mut model, at, &format!("seed {seed}, step {step}"));
        now = now.max(at);
    }
    check_advance(&mut wheel, &mut model, now.plus(4 * YEAR), &format!("seed {seed}, at the end"));
    assert!(wheel.is_empty(), "seed {seed}: all have fired");
}

fn check_advance(wheel: &mut Wheel, model: &mut Model, at: Timestamp, place: &str) {
    let mut fired = advance(wheel, at).into_iter();
    for mut expected in model.advance(at) {
        let mut tick: Vec<Timer> = fired.by_ref().take(expected.len()).collect();
        tick.sort_unstable();
        expected.sort_unstable();
        assert_eq!(tick, expected, "{place}: fired by {at}");
    }
    assert_eq!(fired.next(), None, "{place}: nothing fires too early");
    assert_eq!(wheel.len(), model.len(), "{place}");
    let next = model.timers.first_key_value();
    let next = next.map(|(tick, _)| Timestamp::from_millis(tick * TICK_MILLIS));
    assert_eq!(wheel.next_due(), next, "{place}: what is next");
}

#[test]
fn it_does_what_a_sorted_map_does() {
    (0..4_000).for_each(run_against_model);
}

#[test]
fn it_does_what_a_sorted_map_does_when_crowded() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut now = start();
        let mut wheel = Wheel::new(now);
        let mut model = Model { timers: BTreeMap::new(), elapsed: now.as_millis() / TICK_MILLIS };
        for seq in 0..3_000 {
            let due = now.plus(Duration::from_millis(random.u64(..200_000)));
            wheel.insert(due, timer(seq));
            model.insert(due, timer(seq));
            if random.u8(..50) == 0 {
                now = now.plus(Duration::from_millis(random.u64(..8_000)));
                check_advance(&mut wheel, &mut model, now, &format!("seed {seed}, timer {seq}"));
            }
        }
        check_advance(&mut wheel, &mut model, now.plus(HOUR), &format!("seed {seed}, at the end"));
    }
}
