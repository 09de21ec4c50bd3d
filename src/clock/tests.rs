use super::*;

const HOUR: i64 = 3_600_000;
const DAYS: i64 = 300 * 24 * HOUR;

fn at(millis: i64) -> Timestamp {
    Timestamp::RELEASED.moved(millis)
}

#[test]
fn where_the_schedule_goes_on() {
    let mark = |schedule, wall, greatest| {
        Some(Mark { schedule: at(schedule), wall: at(wall), greatest: at(greatest) })
    };
    for (mark, seen, wall, schedule, case) in [
        (None, -9, 70, 70, "a store that nobody has had"),
        (None, 50, 70, 70, "one without a mark"),
        (None, 90_000, 70, 90_000, "one without a mark, and the clock is behind"),
        (None, -9, -DAYS, 0, "a new store, and the clock was never set"),
        (mark(5, 70, 70), 60, 100, 35, "it was stopped for a while"),
        (mark(5, 70, 70), 60, DAYS, DAYS - 65, "it was stopped for long"),
        (mark(5, 70, 70), 60, 70 - 900, 5, "a little behind"),
        (mark(5, 70, 70), 60, 70 - HOUR, 5, "behind by an hour: it stood still"),
        (mark(5, DAYS, DAYS), 60, 70, 5, "behind by days"),
        (mark(5, 70, 70), 60, -DAYS, 5, "before the release"),
        (mark(5, 70, 70), HOUR, 100, 5, "behind what was accepted after the mark"),
        (mark(5, -DAYS, 70), 60, 100, 5, "it was unset then, so nobody knows how long"),
        (mark(5, 70, HOUR), 60, HOUR + 9, 5, "likewise"),
        (mark(900, 70, 70), 60, 100, 930, "the schedule is ahead of the wall clock"),
    ] {
        let now = resumed(mark, at(seen), at(wall));
        assert_eq!(now.schedule, at(schedule), "{case}");
        let most = mark.map_or(seen, |mark| {
            i64::try_from(mark.greatest.since(Timestamp::RELEASED).as_millis()).expect("fits").max(seen)
        });
        assert_eq!(now.greatest, at(most), "{case}");
    }
}

#[test]
fn when_it_is_unset() {
    for (wall, greatest, unset) in [
        (0, 0, false),
        (-1, 0, true),
        (-1, -1, true),
        (5_000, 6_000, false),
        (5_000, 6_001, true),
        (6_001, 5_000, false),
    ] {
        let mark = Mark { schedule: at(0), wall: at(wall), greatest: at(greatest) };
        assert_eq!(mark.is_unset(), unset, "{wall} {greatest}");
    }
}

#[test]
fn a_step_moves_what_is_shown_and_nothing_else() {
    for step in [HOUR, -HOUR, DAYS, -DAYS, 3] {
        let clock = Clock::start();
        let due = clock.now().moved(300_000);
        assert_eq!(clock.wall_of(due), due, "nothing was set yet");
        clock.step(step);
        assert!(due.since(clock.now()) > Duration::from_secs(200), "it is due in five minutes all the same");
        let left = clock.wall_of(due).since(clock.wall());
        assert!(left > Duration::from_secs(200) && left < Duration::from_secs(301), "{step}: {left:?}");
        assert_eq!(clock.is_unset(), step < -1_000, "{step}");
        assert_eq!(clock.wall_of(due), clock.wall_of(due), "what is shown does not tremble");
        assert!(clock.age() >= at(step), "ages do not go back");
    }
}

/// A daemon during which the clock is set, and the next.
#[test]
fn over_a_restart_what_is_due_in_five_minutes_is_due_in_five_minutes() {
    for step in [HOUR, -HOUR, DAYS, -DAYS] {
        let before = Clock::start();
        let due = before.now().moved(300_000);
        before.step(step);
        let mark = before.mark();
        let next = Clock::ahead(step);
        next.resume(Some(mark), Timestamp::EPOCH);
        let left = due.since(next.now());
        assert!(left > Duration::from_secs(200) && left <= Duration::from_secs(300), "{step}: {left:?}");
        assert_eq!(next.is_unset(), step < 0, "the first one saw a greater time");
        let shown = next.wall_of(due).since(next.wall());
        assert!(shown > Duration::from_secs(200) && shown < Duration::from_secs(301), "{step}: {shown:?}");
        assert!(next.age() >= before.age(), "ages do not go back");
    }
}

/// While nothing ran, the clock was set back: nobody knows how long that was.
#[test]
fn set_back_while_nothing_ran() {
    let before = Clock::start();
    let due = before.now().moved(300_000);
    let next = Clock::ahead(-DAYS);
    next.resume(Some(before.mark()), Timestamp::EPOCH);
    assert!(next.is_unset());
    let left = due.since(next.now());
    assert!(left > Duration::from_secs(200) && left <= Duration::from_secs(300), "{left:?}");
    next.step(DAYS);
    assert!(!next.is_unset(), "it was set right again");
    let after = due.since(next.now());
    assert!(after <= left && after > Duration::from_secs(200), "and nothing has moved: {after:?}");
}
