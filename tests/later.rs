//! Events that are not to go before a time, as producers say it over every door.

mod support;

use std::{fs, time::Duration};

use serde_json::{Value, json};
use support::{
    config::{endpoint, profile},
    eventually, now,
    receiver::Receiver,
    world::{World, json_of, stderr, stdout},
};

const DELAY: Duration = Duration::from_millis(300);
const DAY: Duration = Duration::from_secs(86_400);

/// A daemon whose only endpoint gets everything, a minute after it is due by the type `slow`.
fn world(receiver: &Receiver) -> World {
    let text = profile("quick", &["0s"], "")
        + &profile("slow", &["1m"], "")
        + &endpoint("e", &receiver.url("/"), &["a.*"], "quick")
        + &endpoint("slow", &receiver.url("/slow"), &["slow"], "slow")
        + "[[spool]]\npath = \"spool\"\n";
    let world = World::new(&text);
    fs::create_dir(world.path("spool")).expect("a directory");
    world
}

fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap_or_else(|| panic!("it is not taken: {answer}")).to_owned()
}

/// A time as the daemon writes it.
fn time(value: &Value) -> jiff::Timestamp {
    value.as_str().expect("a time").parse().expect("RFC 3339")
}

fn drop_in(world: &World, name: &str, content: &str) {
    fs::write(world.path("spooled"), content).expect("it can be written");
    fs::rename(world.path("spooled"), world.path("spool").join(name)).expect("it can be renamed");
}

#[test]
fn an_event_with_a_delay_does_not_come_before_it_through_any_door() {
    let receiver = Receiver::start();
    let mut world = world(&receiver);
    world.start();
    let event = |n: u32| json!({"type": "a.b", "data": n, "delay": "300ms"}).to_string();
    // The daemon counts in whole milliseconds.
    let earliest = now() + DELAY;
    id(&world.post(&event(0)).expect(202));
    let ndjson = [("content-type", "application/x-ndjson")];
    let lines = format!("{}\n{}\n", event(1), event(2));
    let answers = world.request("POST", "/v1/events", &ndjson, lines.as_bytes());
    assert!(answers.text().contains("evt_") && !answers.text().contains("error"), "{}", answers.text());
    let mut stream = world.stream();
    stream.send(event(3) + "\n");
    id(&stream.answer().expect("an answer"));
    drop_in(&world, "one.json", &event(4));
    drop_in(&world, "two.ndjson", &(event(5) + "\n"));
    let emitted = json_of(&world.cli(&["emit", "a.b", "6", "--delay", "300ms", "--json"]));

    let hooks = receiver.wait(7);
    let mut numbers: Vec<_> = hooks.iter().map(|hook| hook.json().as_u64().expect("a number")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6]);
    for hook in &hooks {
        let early = earliest.saturating_duration_since(hook.at);
        assert!(early <= Duration::from_millis(1), "{early:?} too early");
    }
    let shown = world.event(&id(&emitted));
    let (accepted, not_before) = (time(&shown["accepted_at"]), time(&shown["not_before"]));
    assert_eq!(not_before.duration_since(accepted).as_millis(), 300, "{shown}");
    world.settled();
}

#[test]
fn one_of_tomorrow_stays_pending_over_a_restart_and_a_kill() {
    let receiver = Receiver::start();
    let mut world = world(&receiver);
    world.start();
    let first = world.emit("a.b", &json!(0));
    let plain = world.event(&first);
    assert_eq!(plain["not_before"], Value::Null);
    let tomorrow = time(&plain["accepted_at"]) + DAY;
    let at = world.post(&json!({"type": "a.b", "id": "mine", "at": tomorrow.to_string()}).to_string());
    let at = id(&at.expect(202));
    let delay = id(&json_of(&world.cli(&["emit", "a.b", "--id", "own", "--delay", "1d", "--json"])));
    let slow = world.post(&json!({"type": "slow", "at": tomorrow.to_string()}).to_string());
    let slow = id(&slow.expect(202));

    let look = |world: &World| {
        [&at, &delay, &slow].map(|event| {
            let delivery = world.delivery(event);
            assert_eq!((&delivery["status"], &delivery["waiting"]), (&json!("pending"), &json!("due")));
            let due = time(&delivery["due_at"]);
            let not_before = time(&world.event(event)["not_before"]);
            (due, not_before)
        })
    };
    let seen = look(&world);
    // The clock of the schedule and the wall's are read one after the other.
    let near =
        |left: jiff::Timestamp, right: jiff::Timestamp| left.duration_since(right).as_secs().abs() < 30;
    let minute = Duration::from_secs(60);
    assert_eq!((seen[0].1, seen[2].1), (tomorrow, tomorrow));
    assert!(seen[1].1 >= tomorrow, "{seen:?}");
    for ((due, not_before), step) in seen.into_iter().zip([Duration::ZERO, Duration::ZERO, minute]) {
        assert!(near(due, not_before + step), "due {due}, not before {not_before}");
    }
    let delivery = world.delivery(&delay);
    let shown = stdout(&world.cli(&["delivery", "show", delivery["id"].as_str().expect("an id")]));
    assert!(
        shown.contains("  next      due 2") && shown.contains("(in 2") && shown.contains("h)"),
        "{shown}"
    );
    let shown = stdout(&world.cli(&["event", "show", &at]));
    assert!(shown.contains("  not before   2"), "{shown}");

    world.stop();
    world.start();
    assert_eq!(look(&world), seen);
    world.kill();
    world.start();
    assert_eq!(look(&world), seen);

    // The same event again is known by its delay; with another one it is another.
    let again = json_of(&world.cli(&["emit", "a.b", "--id", "own", "--delay", "24h", "--json"]));
    assert_eq!((id(&again), &again["duplicate"]), (delay.clone(), &json!(true)));
    for keys in [json!({"delay": "25h"}), json!({}), json!({"at": tomorrow.to_string()})] {
        let mut event = json!({"type": "a.b", "id": "own"});
        event.as_object_mut().expect("an object").extend(keys.as_object().expect("an object").clone());
        world.post(&event.to_string()).problem(409, "id_conflict");
    }
    assert_eq!(world.ended(&first)["status"], "succeeded");
    assert_eq!(receiver.hooks().len(), 1, "nothing goes before its time");
}

#[test]
fn what_has_passed_goes_at_once() {
    let receiver = Receiver::start();
    let mut world = world(&receiver);
    world.start();
    for keys in [&["--at", "2001-02-03T04:05:06Z"], &["--at", "1970-01-01T00:00:00Z"], &["--delay", "0s"]] {
        let event = id(&json_of(&world.cli(&[&["emit", "a.b", "--json"], &keys[..]].concat())));
        let delivery = world.ended(&event);
        assert_eq!(delivery["status"], "succeeded", "{delivery}");
    }
    let past = json!({"type": "a.b", "at": "2001-02-03T04:05:06Z"}).to_string();
    let shown = world.event(&id(&world.post(&past).expect(202)));
    assert_eq!(shown["not_before"], "2001-02-03T04:05:06.000Z");
}

#[test]
fn nonsense_is_refused_at_every_door() {
    let receiver = Receiver::start();
    let mut world = world(&receiver);
    world.start();
    let mut stream = world.stream();
    for (index, (keys, part)) in [
        (r#""delay":"soon""#, "`delay`: not a duration"),
        (r#""delay":300"#, "expected `delay` as a duration"),
        (r#""delay":"366d""#, "`delay`: at most 365d ahead"),
        (r#""at":"tomorrow""#, "`at`: not an RFC 3339 time"),
        (r#""at":"9999-01-01T00:00:00Z""#, "`at`: at most 365d ahead"),
        (r#""at":"2027-01-01T00:00:00Z","delay":"1s""#, "write one of them"),
    ]
    .into_iter()
    .enumerate()
    {
        let event = format!("{{\"type\":\"a.b\",{keys}}}");
        let detail = world.post(&event).problem(400, "invalid_event");
        assert!(detail.contains(part), "{keys}: {detail}");
        let lines = format!("{event}\n");
        let ndjson = [("content-type", "application/x-ndjson")];
        let answers = world.request("POST", "/v1/events", &ndjson, lines.as_bytes());
        assert!(answers.text().contains(part), "{keys}: {}", answers.text());
        stream.send(&lines);
        let answer = stream.answer().expect("an answer");
        assert_eq!(answer["error"]["code"], "invalid_event", "{answer}");
        assert!(answer["error"]["message"].as_str().expect("a text").contains(part), "{answer}");
        for name in [format!("{index}.json"), format!("{index}.ndjson")] {
            drop_in(&world, &name, &lines);
            let reason = world.path("spool/failed").join(format!("{name}.reason"));
            let reason = eventually("it is refused", || fs::read_to_string(&reason).ok());
            assert!(reason.contains(part), "{name}: {reason}");
        }
    }
    for (args, exit, part) in [
        (&["--delay", "soon"][..], 64, "not a duration"),
        (&["--delay", "366d"], 65, "`delay`: at most 365d ahead"),
        (&["--at", "noon"], 64, "RFC 3339"),
        (&["--at", "9999-01-01T00:00:00Z"], 65, "`at`: at most 365d ahead"),
        (&["--at", "2027-01-01T00:00:00Z", "--delay", "1s"], 64, "cannot be used with"),
    ] {
        let output = world.cli(&[&["emit", "a.b"], args].concat());
        assert_eq!(output.status.code(), Some(exit), "{}", stderr(&output));
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
    assert_eq!(world.list("/v1/events"), [Value::Null; 0]);
    assert_eq!(receiver.hooks().len(), 0);
}
