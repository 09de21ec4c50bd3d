//! The scheduler's rules one by one; against models in [`model`] and [`parking`]; over simulated days in
//! [`simulation`], [`outage`] and [`shared`].

mod model;
mod outage;
mod parking;
mod shared;
mod simulation;

use std::{num::NonZeroU32, time::Duration};

use super::*;
use crate::{model::event::Seq, policy::circuit::Rules};

const NOW: Timestamp = Timestamp::from_millis(1_795_313_820_000);

fn key(seq: u64) -> DeliveryKey {
    DeliveryKey { seq: Seq::new(seq), slot: 0 }
}

fn lane(number: u32) -> EndpointNumber {
    EndpointNumber::new(number)
}

fn later(millis: u64) -> Timestamp {
    NOW.plus(Duration::from_millis(millis))
}

/// Starts all that may start, in order.
fn starts(scheduler: &mut Scheduler) -> Vec<Start> {
    std::iter::from_fn(|| scheduler.poll_start()).collect()
}

fn finish(scheduler: &mut Scheduler, started: &[Start], verdict: Verdict) {
    for start in started {
        scheduler.handle_finished(start.key, verdict, 0.0, NOW);
    }
}

fn lanes(starts: &[Start]) -> Vec<u32> {
    starts.iter().map(|start| start.lane.get()).collect()
}

/// A scheduler with lanes 1 to `count`, each with `keys` due keys; lane n's keys are n × 1,000,000 and on.
fn with_due(in_flight: usize, count: u32, concurrency: u16, keys: u64) -> Scheduler {
    let mut scheduler = Scheduler::new(in_flight, usize::MAX, NOW);
    for number in 1..=count {
        scheduler.set_lane(lane(number), &LaneRules::plain(concurrency));
        for seq in 0..keys {
            scheduler.handle_scheduled(key(u64::from(number) * 1_000_000 + seq), lane(number), NOW, NOW);
        }
    }
    scheduler
}

#[test]
fn a_lane_that_is_retired_goes_with_its_last_key() {
    // Each leaves something that leads to the lane, and then takes it away.
    type Step = fn(&mut Scheduler);
    let minute = NOW.minute();
    let load = |scheduler: &mut Scheduler| scheduler.poll_load().expect("a load").lane;
    let cases: [(&str, Step, Step); 6] = [
        ("nothing", |_| (), |_| ()),
        (
            "a due key",
            |scheduler| scheduler.handle_scheduled(key(1), lane(1), NOW, NOW),
            |scheduler| {
                let started = starts(scheduler);
                finish(scheduler, &started, Verdict::Nothing);
            },
        ),
        (
            "a timer",
            |scheduler| scheduler.handle_scheduled(key(1), lane(1), later(500), NOW),
            |scheduler| {
                scheduler.handle_timeout(later(600));
                let started = starts(scheduler);
                finish(scheduler, &started, Verdict::Nothing);
            },
        ),
        (
            "an attempt",
            |scheduler| {
                scheduler.handle_scheduled(key(1), lane(1), NOW, NOW);
                assert_eq!(starts(scheduler).len(), 1);
            },
            |scheduler| scheduler.handle_finished(key(1), Verdict::Failure, 0.0, NOW),
        ),
        (
            "a held key",
            |scheduler| {
                scheduler.hold(lane(1), Hold::Disabled, true);
                scheduler.hold(lane(1), Hold::Clock, true);
                scheduler.handle_scheduled(key(1), lane(1), NOW, NOW);
            },
            |scheduler| {
                let started = starts(scheduler);
                assert_eq!(started.len(), 1, "it is let go");
                finish(scheduler, &started, Verdict::Nothing);
            },
        ),
        (
            "keys on disk",
            |scheduler| scheduler.handle_parked(lane(1), NOW.minute()),
            |scheduler| {
                assert_eq!(scheduler.poll_load().map(|load| load.lane), Some(lane(1)));
                assert!(scheduler.lane(lane(1)).is_some(), "while they are loaded");
                scheduler.handle_loaded(lane(1), &[], None, NOW);
            },
        ),
    ];
    for (what, leave, take) in cases {
        let mut scheduler = Scheduler::new(4, 1_000, NOW);
        scheduler.handle_timeout(NOW);
        scheduler.set_lane(lane(1), &LaneRules::plain(4));
        scheduler.set_lane(lane(2), &LaneRules::plain(4));
        leave(&mut scheduler);
        scheduler.retire(lane(1));
        assert_eq!(scheduler.lane(lane(1)).is_none(), what == "nothing", "{what}");
        take(&mut scheduler);
        assert_eq!(scheduler.lane(lane(1)), None, "{what}");
        assert!(scheduler.lane(lane(2)).is_some(), "the other stays");
        // What was written to disk meanwhile still finds its way.
        scheduler.handle_parked(lane(1), minute);
        assert_eq!(load(&mut scheduler), lane(1), "{what}");
        let one = Scheduled { key: key(7), endpoint: lane(1), due: NOW };
        scheduler.handle_loaded(lane(1), &[one], None, NOW);
        assert_eq!(lanes(&starts(&mut scheduler)), [1], "{what}");
    }
}

#[test]
fn what_is_forgotten_of_a_lane_is_as_at_first() {
    let mut scheduler = Scheduler::new(8, usize::MAX, NOW);
    let circuit = Some(Rules {
        failures: NonZeroU32::new(2).expect("not 0"),
        probe: Box::new([Duration::from_secs(900)]),
        jitter: 0.0,
    });
    scheduler.set_lane(lane(1), &LaneRules { circuit, ..LaneRules::plain(4) });
    for seq in 1..=2 {
        scheduler.handle_scheduled(key(seq), lane(1), NOW, NOW);
        let started = starts(&mut scheduler);
        finish(&mut scheduler, &started, Verdict::Failure);
    }
    scheduler.handle_scheduled(key(3), lane(1), NOW, NOW);
    assert_eq!(scheduler.poll_start(), None, "the circuit is open");
    scheduler.forget(lane(1));
    let status = scheduler.lane(lane(1)).expect("a lane");
    assert_eq!((status.window, status.circuit, status.pause), (2, None, None));
    assert_eq!(scheduler.poll_start().map(|start| (start.key, start.probe)), Some((key(3), false)));
    scheduler.forget(lane(9));
    assert!(scheduler.lane(lane(9)).is_none(), "none is made");
}

#[test]
fn a_key_goes_from_the_wheel_to_its_lane_to_flight() {
    let mut scheduler = Scheduler::new(8, usize::MAX, NOW);
    scheduler.set_lane(lane(1), &LaneRules::plain(4));
    scheduler.handle_scheduled(key(1), lane(1), later(500), NOW);
    assert_eq!((scheduler.scheduled(), scheduler.poll_timeout()), (1, Some(later(500))));
    scheduler.handle_timeout(later(499));
    assert_eq!(scheduler.poll_start(), None, "not due");
    scheduler.handle_timeout(later(500));
    assert_eq!((scheduler.scheduled(), scheduler.queued(), scheduler.poll_timeout()), (0, 1, None));
    assert_eq!(scheduler.poll_start(), Some(Start { key: key(1), lane: lane(1), probe: false }));
    assert!(scheduler.is_in_flight(key(1)) && !scheduler.is_in_flight(key(2)));
    let status = LaneStatus { queued: 0, in_flight: 1, window: 2, pause: None, circuit: None, behind: false };
    assert_eq!((scheduler.in_flight(), scheduler.lane(lane(1))), (1, Some(status)));
    scheduler.handle_finished(key(1), Verdict::Success, 0.0, NOW);
    let status = LaneStatus { queued: 0, in_flight: 0, window: 3, pause: None, circuit: None, behind: false };
    assert_eq!((scheduler.in_flight(), scheduler.lane(lane(1))), (0, Some(status)));
    assert_eq!(scheduler.lane(lane(2)), None);
}

#[test]
fn what_joins_its_order_needs_no_place_and_waits_for_nothing_but_its_time() {
    let mut scheduler = with_due(2, 1, 1, 2);
    assert_eq!(starts(&mut scheduler).len(), 1, "its window is one");
    scheduler.hold(lane(1), Hold::Disabled, true);
    for (seq, millis) in [(1, 30), (2, 20), (3, 10), (4, 0)] {
        scheduler.handle_scheduled(key(seq), EndpointNumber::JOINING, later(millis), NOW);
    }
    assert_eq!(scheduler.poll_start(), None, "it is no attempt");
    scheduler.handle_scheduled(key(5), lane(2), NOW, NOW);
    assert_eq!(lanes(&starts(&mut scheduler)), [2], "no place is free");
    assert_eq!(scheduler.poll_join(9), [key(4)]);
    assert_eq!((scheduler.poll_join(9), scheduler.poll_timeout()), (Vec::new(), Some(later(10))));
    scheduler.handle_timeout(later(25));
    assert_eq!((scheduler.poll_join(0), scheduler.poll_join(1)), (Vec::new(), vec![key(3)]));
    scheduler.handle_timeout(later(30));
    assert_eq!(scheduler.poll_join(9), [key(2), key(1)], "in the order of their times");
    assert_eq!((scheduler.poll_start(), scheduler.in_flight(), scheduler.scheduled()), (None, 2, 0));
}

#[test]
fn what_is_due_goes_at_once_and_in_its_order() {
    let mut scheduler = Scheduler::new(8, usize::MAX, NOW);
    scheduler.set_lane(lane(1), &LaneRules::plain(8));
    for (seq, due) in [(3, NOW), (1, Timestamp::EPOCH), (2, NOW)] {
        scheduler.handle_scheduled(key(seq), lane(1), due, NOW);
    }
    assert_eq!(scheduler.poll_start().map(|start| start.key), Some(key(3)));
    assert_eq!(scheduler.poll_start().map(|start| start.key), Some(key(1)));
    assert_eq!(scheduler.poll_start(), None, "a new lane's window is two");
    scheduler.handle_finished(key(3), Verdict::Success, 0.0, NOW);
    assert_eq!(scheduler.poll_start().map(|start| start.key), Some(key(2)));
}

#[test]
fn a_lane_not_known_is_made_for_one_request_and_keeps_a_hold() {
    let mut scheduler = Scheduler::new(8, usize::MAX, NOW);
    for seq in 0..3 {
        scheduler.handle_scheduled(key(seq), lane(1), NOW, NOW);
        scheduler.handle_scheduled(key(10 + seq), lane(2), later(10), NOW);
    }
    scheduler.hold(lane(2), Hold::Disabled, true);
    scheduler.handle_timeout(later(10));
    assert_eq!(lanes(&starts(&mut scheduler)), [1]);
    scheduler.set_lane(lane(1), &LaneRules::plain(16));
    scheduler.set_lane(lane(2), &LaneRules::plain(16));
    assert_eq!(lanes(&starts(&mut scheduler)), [1], "named, it has a new lane's window");
    let status = LaneStatus {
        queued: 3,
        in_flight: 0,
        window: 2,
        pause: Some(Pause::Held(Hold::Disabled)),
        circuit: None,
        behind: false,
    };
    assert_eq!(scheduler.lane(lane(2)), Some(status));
    scheduler.hold(lane(2), Hold::Disabled, false);
    assert_eq!(lanes(&starts(&mut scheduler)), [2, 2]);
}

/// Of due keys that memory has no room for the lane says so; of timers on disk, whose minute is far, it does not.
#[test]
fn a_lane_says_that_due_keys_of_it_are_on_disk() {
    let mut scheduler = Scheduler::new(1, 4, NOW);
    (1..=2).for_each(|number| scheduler.set_lane(lane(number), &LaneRules::plain(1)));
    let behind = |scheduler: &Scheduler| {
        [1, 2].map(|number| scheduler.lane(lane(number)).expect("it was made").behind)
    };
    scheduler.handle_scheduled(key(1), lane(1), NOW, NOW);
    assert_eq!(behind(&scheduler), [false, false]);
    for seq in 2..5 {
        scheduler.handle_scheduled(key(seq), lane(1), NOW, NOW);
        scheduler.handle_scheduled(key(10 + seq), lane(2), later(600_000), NOW);
    }
    scheduler.handle_parked(lane(2), later(600_000).minute());
    assert_eq!(behind(&scheduler), [true, false]);
    scheduler.handle_timeout(later(600_000));
    assert_eq!(behind(&scheduler), [true, true], "its minute has come");
}

#[test]
fn lanes_take_turns_whatever_waits_in_them() {
    let mut scheduler = with_due(100, 4, 100, 20);
    for seq in 0..100_000 {
        scheduler.handle_scheduled(key(1_100_000 + seq), lane(1), NOW, NOW);
    }
    let mut order = Vec::new();
    while order.len() < 60 {
        let started = starts(&mut scheduler);
        order.extend(lanes(&started));
        finish(&mut scheduler, &started, Verdict::Success);
    }
    let turns: Vec<u32> = (0..60).map(|turn| turn % 4 + 1).collect();
    assert_eq!(order[..60], turns);
}

#[test]
fn the_pool_is_not_exceeded_and_a_free_place_goes_to_the_next_in_turn() {
    let mut scheduler = with_due(3, 5, 1, 2);
    let started = starts(&mut scheduler);
    assert_eq!(lanes(&started), [1, 2, 3]);
    scheduler.handle_finished(started[1].key, Verdict::Success, 0.0, NOW);
    assert_eq!(lanes(&starts(&mut scheduler)), [4]);
    scheduler.handle_finished(started[0].key, Verdict::Neutral, 0.0, NOW);
    assert_eq!(lanes(&starts(&mut scheduler)), [5]);
    scheduler.handle_finished(started[2].key, Verdict::Failure, 0.0, NOW);
    assert_eq!(lanes(&starts(&mut scheduler)), [2], "which came free first");
}

#[test]
fn a_held_lane_starts_nothing_keeps_its_keys_and_goes_on() {
    let mut scheduler = with_due(10, 2, 2, 4);
    scheduler.hold(lane(1), Hold::Disabled, true);
    let started = starts(&mut scheduler);
    assert_eq!(lanes(&started), [2, 2]);
    scheduler.handle_scheduled(key(1), lane(1), NOW, NOW);
    assert_eq!(scheduler.poll_start(), None);
    assert_eq!(scheduler.lane(lane(1)).expect("made").queued, 5);
    scheduler.hold(lane(1), Hold::Disabled, false);
    assert_eq!(lanes(&starts(&mut scheduler)), [1, 1]);
    scheduler.hold(lane(1), Hold::Disabled, true);
    scheduler.handle_finished(key(1_000_000), Verdict::Success, 0.0, NOW);
    assert_eq!(scheduler.poll_start(), None, "what was in flight ends as ever");
    assert_eq!(scheduler.lane(lane(1)).expect("made").in_flight, 1);
}

#[test]
fn a_lane_whose_last_attempt_failed_holds_one_request() {
    let mut scheduler = with_due(100, 1, 8, 50);
    for _ in 0..3 {
        let started = starts(&mut scheduler);
        finish(&mut scheduler, &started, Verdict::Success);
    }
    let open = starts(&mut scheduler);
    assert_eq!(open.len(), 8);
    for (start, left) in open.iter().zip((0..8).rev()) {
        scheduler.handle_finished(start.key, Verdict::Failure, 0.0, NOW);
        let next = starts(&mut scheduler).len();
        assert_eq!(
            next,
            usize::from(left == 0),
            "nothing starts while {left} of before the failure are open"
        );
    }
    let probe = *scheduler.in_flight.keys().next().expect("one is open");
    scheduler.handle_finished(probe.into(), Verdict::Success, 0.0, NOW);
    assert_eq!(starts(&mut scheduler).len(), 2, "and success widens it again");
}

/// Forty lanes that failed, with much due in each, and one that works.
#[test]
fn forty_lanes_in_doubt_leave_half_the_pool_to_a_good_one() {
    const GOOD: u32 = 41;
    let mut scheduler = with_due(32, 40, 16, 50);
    // Every dead lane is tried and fails.
    let mut failed = std::collections::BTreeSet::new();
    while failed.len() < 40 {
        let started = starts(&mut scheduler);
        failed.extend(lanes(&started));
        finish(&mut scheduler, &started, Verdict::Failure);
    }
    assert_eq!(starts(&mut scheduler).len(), 16, "half the pool");
    scheduler.set_lane(lane(GOOD), &LaneRules::plain(100));
    (0..500).for_each(|seq| scheduler.handle_scheduled(key(seq), lane(GOOD), NOW, NOW));
    for _ in 0..8 {
        let started = starts(&mut scheduler);
        assert!(started.iter().all(|start| start.lane == lane(GOOD)), "{started:?}");
        finish(&mut scheduler, &started, Verdict::Success);
    }
    assert_eq!(starts(&mut scheduler).len(), 8, "of the other half it leaves as much free as it takes");

    // With their half used up, places of lanes in doubt go round among them.
    let mut tried = std::collections::BTreeMap::new();
    for _ in 0..400 {
        let doubtful = scheduler.in_flight.iter().filter(|(_, flight)| flight.lane.get() != GOOD);
        let oldest = doubtful.map(|(key, _)| *key).min().expect("sixteen are open");
        scheduler.handle_finished(oldest.into(), Verdict::Failure, 0.0, NOW);
        let started = starts(&mut scheduler);
        let good = scheduler.lane(lane(GOOD)).expect("made").in_flight;
        assert!(scheduler.in_flight() == 16 + good && (8..=9).contains(&good), "{good}, {started:?}");
        for start in started.iter().filter(|start| start.lane != lane(GOOD)) {
            *tried.entry(start.lane.get()).or_insert(0) += 1;
        }
    }
    assert!(tried.values().sum::<i32>() == 400 && tried.len() > 1, "{tried:?}");
}

/// Lanes with more due than they can take, and windows as wide as they can be; nothing is open.
fn widened(in_flight: usize, count: u32, concurrency: u16) -> Scheduler {
    let mut scheduler = with_due(in_flight, count, concurrency, 200_000 / u64::from(count));
    for _ in 0..16 {
        let started = starts(&mut scheduler);
        finish(&mut scheduler, &started, Verdict::Success);
    }
    scheduler
}

#[test]
fn greedy_lanes_leave_places_to_those_that_have_none() {
    for (in_flight, lanes, concurrency, opened) in [
        // Alone: half, rounded up.
        (1, 1, 16, 1),
        (2, 1, 16, 1),
        (3, 1, 16, 2),
        (512, 1, 1_000, 256),
        // What they have is bounded by their concurrency while there is room.
        (512, 20, 16, 320),
        // 20 of them with 13, 20 with 12: no one has fewer open than the 12 that are free.
        (512, 40, 16, 500),
        (512, 600, 16, 512),
    ] {
        let mut scheduler = widened(in_flight, lanes, concurrency);
        starts(&mut scheduler);
        let place = format!("{lanes} lanes of {concurrency} in {in_flight}");
        assert_eq!(scheduler.in_flight(), opened, "{place}");
        let most_and_least = |scheduler: &Scheduler| {
            let open = (1..=lanes).map(|number| scheduler.lane(lane(number)).expect("made").in_flight);
            (open.clone().max().expect("a lane"), open.min().expect("a lane"))
        };
        let (most, least) = most_and_least(&scheduler);
        assert!(most - least <= 1, "{place}: from {least} to {most}");
        // Whoever comes with nothing open has the next place.
        scheduler.set_lane(lane(1_000), &LaneRules::plain(16));
        scheduler.handle_scheduled(key(1), lane(1_000), NOW, NOW);
        let next = starts(&mut scheduler);
        assert_eq!(next.len(), usize::from(opened < in_flight), "{place}");
    }
}

#[test]
fn a_place_that_comes_free_goes_to_the_greedy_lane_with_the_fewest_open() {
    let mut scheduler = widened(10, 3, 8);
    let open = starts(&mut scheduler);
    assert_eq!(lanes(&open), [1, 2, 3, 1, 2, 3, 1, 2], "3, 3 and 2, and as many free as the last has");
    let ended = |scheduler: &mut Scheduler, number: u32, nth: usize| {
        let start = open.iter().filter(|start| start.lane == lane(number)).nth(nth);
        scheduler.handle_finished(start.expect("it was opened").key, Verdict::Success, 0.0, NOW);
    };
    ended(&mut scheduler, 1, 0);
    assert_eq!(lanes(&starts(&mut scheduler)), [3], "of those with two the one that waited longer");
    scheduler.hold(lane(1), Hold::Disabled, true);
    ended(&mut scheduler, 3, 0);
    assert_eq!(lanes(&starts(&mut scheduler)), [3], "the other one with two is held");
    scheduler.hold(lane(1), Hold::Disabled, false);
    assert_eq!(scheduler.poll_start(), None, "it has two, and two are free");
    ended(&mut scheduler, 2, 0);
    ended(&mut scheduler, 2, 1);
    assert_eq!(lanes(&starts(&mut scheduler)), [2, 1]);
    let open = (1..=3).map(|number| scheduler.lane(lane(number)).expect("made").in_flight);
    assert_eq!(open.collect::<Vec<_>>(), [3, 2, 3]);
}

#[test]
fn places_of_lanes_in_doubt_go_round_among_them() {
    let mut scheduler = with_due(4, 10, 1, 100);
    let mut open = std::collections::VecDeque::new();
    let mut order = Vec::new();
    while order.len() < 110 {
        let started = starts(&mut scheduler);
        order.extend(lanes(&started));
        open.extend(started);
        let oldest = open.pop_front().expect("something is open");
        scheduler.handle_finished(oldest.key, Verdict::Failure, 0.0, NOW);
    }
    assert!(open.len() <= 2, "half the pool, all being in doubt");
    let round: Vec<u32> = (0..90).map(|turn| turn % 10 + 1).collect();
    let from = order.iter().rposition(|lane| *lane == 1).expect("lane 1 had a turn") - 90;
    assert_eq!(order[from..from + 90], round, "in the end each in its turn: {order:?}");
}

#[test]
fn a_pool_of_one_still_serves_lanes_in_doubt() {
    for in_flight in [0, 1] {
        let mut scheduler = with_due(in_flight, 2, 5, 10);
        let mut order = Vec::new();
        while let Some(start) = scheduler.poll_start() {
            assert_eq!((scheduler.in_flight(), scheduler.poll_start()), (1, None));
            order.push(start.lane.get());
            scheduler.handle_finished(start.key, Verdict::Failure, 0.0, NOW);
        }
        assert_eq!(order, [1, 2].repeat(10));
    }
}

#[test]
fn a_second_turn_of_a_key_during_its_attempt_is_dropped() {
    let mut scheduler = Scheduler::new(8, usize::MAX, NOW);
    scheduler.set_lane(lane(1), &LaneRules::plain(8));
    scheduler.handle_scheduled(key(1), lane(1), later(1_000), NOW);
    scheduler.handle_scheduled(key(1), lane(1), NOW, NOW);
    scheduler.handle_scheduled(key(2), lane(1), later(2_000), NOW);
    assert_eq!(starts(&mut scheduler).len(), 1);
    scheduler.handle_timeout(later(2_000));
    let started = starts(&mut scheduler);
    assert_eq!(
        started,
        [Start { key: key(2), lane: lane(1), probe: false }],
        "the old timer of 1 comes to nothing"
    );
    assert_eq!(scheduler.queued(), 0);
    scheduler.handle_finished(key(1), Verdict::Failure, 0.0, NOW);
    scheduler.handle_scheduled(key(1), lane(1), later(3_000), later(2_000));
    scheduler.handle_finished(key(2), Verdict::Success, 0.0, NOW);
    scheduler.handle_timeout(later(3_000));
    assert_eq!(starts(&mut scheduler), [Start { key: key(1), lane: lane(1), probe: false }]);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "is in flight")]
fn to_schedule_what_is_in_flight_is_a_mistake() {
    let mut scheduler = with_due(1, 1, 1, 1);
    let start = scheduler.poll_start().expect("one is due");
    scheduler.handle_scheduled(start.key, start.lane, NOW, NOW);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "is not in flight")]
fn to_finish_what_is_not_in_flight_is_a_mistake() {
    with_due(1, 1, 1, 1).handle_finished(key(1_000_000), Verdict::Success, 0.0, NOW);
}
