//! A file for which there is no room holds up none for which there is.

use std::fs;

use super::{event, gone};
use crate::support::{config::endpoint, eventually, receiver::Receiver, world::World};

fn renamed_in(world: &World, name: &str, content: &str) {
    let temporary = world.path("spool/.x.tmp");
    fs::write(&temporary, content).expect("it can be written");
    fs::rename(temporary, world.path("spool").join(name)).expect("it can be renamed");
}

fn problem(world: &World) -> Option<String> {
    world.get("/v1/status")["spools"][0]["problem"].as_str().map(str::to_owned)
}

#[test]
fn a_file_that_is_refused_alone_does_not_hold_up_the_rest() {
    let receiver = Receiver::start();
    let text =
        "store.reserve = \"1MiB\"\nlimits.in_flight = 16\n[[spool]]\npath = \"spool\"\nrescan = \"1s\"\n"
            .to_owned()
            + &endpoint("erp", &receiver.url("/"), &["small"], "raw");
    let Some(mut world) = World::on_disk(24, &text) else { return };
    fs::create_dir(world.path("spool")).expect("a directory");
    // Twice its bytes are more than the disk has.
    let pad = "x".repeat(100_000);
    let large = format!("{{\"type\":\"large\",\"data\":\"{pad}\"}}\n").repeat(120);
    let small = |n: u64| event(n).replace("a.b", "small");
    renamed_in(&world, "a-large.ndjson", &large);
    renamed_in(&world, "b.json", &small(0));
    world.start();
    let spool = |name: &str| world.path("spool").join(name);
    gone(&spool("b.json"));
    // A hard link is found by the scans alone.
    let outside = world.path("outside.json");
    fs::write(&outside, small(1)).expect("it can be written");
    fs::hard_link(&outside, spool("c.json")).expect("a link");
    gone(&spool("c.json"));
    let told = problem(&world).expect("it lies there");
    assert!(told.starts_with("a-large.ndjson does not fit into the room"), "{told}");
    assert_eq!(world.get("/v1/status")["door"]["open"], true);
    world.logs(1, "file=a-large.ndjson");
    // Made smaller it is tried at once.
    let half = &large[..large.len() / 4];
    let half = &half[..=half.rfind('\n').expect("a line")];
    assert!(spool("a-large.ndjson").exists());
    renamed_in(&world, "a-large.ndjson", half);
    gone(&spool("a-large.ndjson"));
    eventually("no problem", || problem(&world).is_none().then_some(()));
    receiver.wait(2);
    world.stop();
}
