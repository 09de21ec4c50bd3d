//! FastPix: a catalog of types in five groups. The document lists each type with what it tells, and says nothing of the
//! form; that is Standard Webhooks here.

use std::{collections::BTreeSet, fs};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::{
    example::{Example, attempted, call, catalog, judges, make, refuses, waits},
    support::{
        config::ODD,
        receiver::{Receiver, Reply},
        sign::{check_standard, hmac_sha256},
        world::{run_in, stderr},
    },
};

const FASTPIX: Example = Example("fastpix");

const MEDIA: [&str; 8] = [
    "video.media.created",
    "video.media.upload",
    "video.upload.media_created",
    "video.media.ready",
    "video.media.failed",
    "video.media.deleted",
    "video.media.updated",
    "video.media.live_stream.created",
];
const TRANSFORM: [&str; 13] = [
    "video.media.intro.ready",
    "video.media.outro.ready",
    "video.media.expunge.ready",
    "video.media.splicing.ready",
    "video.media.imposeAudio.ready",
    "video.media.swapAudio.ready",
    "video.media.watermark.ready",
    "video.media.optimize_audio.ready",
    "video.media.mp4Support.ready",
    "video.media.subtitle.generated.ready",
    "video.media.track.created",
    "video.media.track.ready",
    "video.media.track.failed",
];
const AI: [&str; 4] = [
    "video.mediaAI.chapters.ready",
    "video.mediaAI.namedEntities.ready",
    "video.mediaAI.summary.ready",
    "video.mediaAI.moderation.ready",
];
const LIVE_STREAM: [&str; 10] = [
    "video.live_stream.created",
    "video.live_stream.preparing",
    "video.live_stream.connected",
    "video.live_stream.recording",
    "video.live_stream.active",
    "video.live_stream.disconnected",
    "video.live_stream.idle",
    "video.media.live_stream.created",
    "video.live_stream.updated",
    "video.live_stream.deleted",
];
const SIMULCAST: [&str; 3] = [
    "video.live_stream.simulcast_target.created",
    "video.live_stream.simulcast_target.deleted",
    "video.live_stream.simulcast_target.updated",
];
const GROUPS: [(&str, &[&str]); 5] = [
    ("media", &MEDIA),
    ("transform", &TRANSFORM),
    ("ai", &AI),
    ("live_stream", &LIVE_STREAM),
    ("simulcast", &SIMULCAST),
];

fn all() -> BTreeSet<&'static str> {
    GROUPS.iter().flat_map(|(_, types)| *types).copied().collect()
}

fn key() -> Vec<u8> {
    STANDARD.decode(FASTPIX.value("secret").strip_prefix("whsec_").expect("a prefix")).expect("base64")
}

/// A further endpoint, at a path of the receiver's that has its name.
fn endpoint(receiver: &Receiver, name: &str, patterns: &[&str]) -> String {
    format!(
        "\n[[endpoint]]\nname = \"{name}\"\nurl = \"{}\"\nevent_types = {patterns:?}\nsecret = \"{}\"\n",
        receiver.url(&format!("/{name}")),
        FASTPIX.value("secret")
    )
}

#[test]
fn five_groups_list_thirty_eight_rows_of_thirty_seven_types() {
    let receiver = Receiver::start();
    let world = FASTPIX.running(&receiver, "");
    let types = world.get("/v1/event-types")["items"].as_array().expect("a list").clone();
    assert_eq!((types.len(), all().len()), (37, 37));
    assert_eq!(catalog(&world, "live").len(), 37, "each is live");
    for (group, rows) in GROUPS {
        let within =
            |one: &&serde_json::Value| one["groups"].as_array().expect("a list").contains(&json!(group));
        let names: BTreeSet<_> =
            types.iter().filter(within).map(|one| one["name"].as_str().expect("a name")).collect();
        assert_eq!(names, rows.iter().copied().collect(), "{group}");
    }
    let rows = types.iter().map(|one| one["groups"].as_array().map_or(0, Vec::len)).sum::<usize>();
    assert_eq!(rows, 38, "one type stands in two groups");
    assert!(types.iter().all(|one| one["description"].as_str().is_some_and(|text| !text.is_empty())));
}

#[test]
fn each_type_notifies_who_subscribed_to_it() {
    let receiver = Receiver::start();
    let world = FASTPIX.running(&receiver, &endpoint(&receiver, "all", &["*"]));
    FASTPIX.emit_all(&world);
    let hooks = receiver.wait_at("/all", 37);
    let came: BTreeSet<_> =
        hooks.iter().map(|hook| hook.json()["type"].as_str().expect("a type").to_owned()).collect();
    assert_eq!(came.iter().map(String::as_str).collect::<BTreeSet<_>>(), all());
    for hook in &hooks {
        check_standard(hook, &key());
    }
    world.settled();
    assert_eq!(receiver.hooks_at("/hooks").len(), 20 + 4, "the example's own endpoint wants these");
}

#[test]
fn patterns_stand_for_what_is_beneath_them_and_no_more() {
    let beneath: BTreeSet<&str> =
        MEDIA.into_iter().chain(TRANSFORM).filter(|name| *name != "video.upload.media_created").collect();
    let live: BTreeSet<&str> = LIVE_STREAM
        .into_iter()
        .chain(SIMULCAST)
        .filter(|name| *name != "video.media.live_stream.created")
        .collect();
    let expected: [(&str, &str, BTreeSet<&str>); 7] = [
        ("media", "video.media.*", beneath),
        ("ai", "video.mediaAI.*", AI.into_iter().collect()),
        ("live", "video.live_stream.*", live),
        ("simulcast", "video.live_stream.simulcast_target.*", SIMULCAST.into_iter().collect()),
        ("upload", "video.upload.*", ["video.upload.media_created"].into()),
        ("one-level", "video.*.ready", ["video.media.ready"].into()),
        ("everything", "*", all()),
    ];
    assert_eq!(
        expected.iter().map(|(_, _, types)| types.len()).collect::<Vec<_>>(),
        [20, 4, 12, 3, 1, 1, 37]
    );
    let receiver = Receiver::start();
    let more: String =
        expected.iter().map(|(name, pattern, _)| endpoint(&receiver, name, &[pattern])).collect();
    let mut world = FASTPIX.world(&receiver.url("/"), &more);
    fs::create_dir(world.path("conf.d")).expect("a directory");
    let here = "accounts.default.https_only = false\nnetwork.allow = [\"127.0.0.0/8\"]\n";
    fs::write(world.path("conf.d/here.toml"), here).expect("a file");
    world.start();
    make(&world, &receiver.url("/made"), &["video.media.*", "video.mediaAI.summary.ready"]);
    FASTPIX.emit_all(&world);
    world.settled();
    assert_eq!(receiver.hooks_at("/made").len(), 20 + 1, "one that was made over the API");
    for (name, pattern, types) in &expected {
        let hooks = receiver.hooks_at(&format!("/{name}"));
        let came: Vec<_> =
            hooks.iter().map(|hook| hook.json()["type"].as_str().expect("a type").to_owned()).collect();
        assert_eq!(came.len(), types.len(), "{pattern}: {came:?}");
        assert_eq!(&came.iter().map(String::as_str).collect::<BTreeSet<_>>(), types, "{pattern}");
    }
}

#[test]
fn what_the_list_does_not_have_is_refused_and_the_nearest_named() {
    let receiver = Receiver::start();
    let world = FASTPIX.running(&receiver, "");
    refuses(&world, "video.mediaai.summary.ready", "video.mediaAI.summary.ready");
    refuses(&world, "video.media.imposeaudio.ready", "video.media.imposeAudio.ready");
    refuses(&world, "video.media.redy", "video.media.ready");
    assert!(world.list("/v1/events").is_empty(), "nothing of it was taken");

    let document = json!({"url": "https://app.example/", "event_types": ["video.medai.*"]});
    let detail = call(&world, "POST", "/v1/endpoints", &document).problem(422, "invalid_endpoint");
    assert!(detail.contains("did you mean `video.media.*`?"), "{detail}");

    let receiver_url = receiver.url("/");
    let wrong = FASTPIX.world(&receiver_url, &endpoint(&receiver, "typo", &["video.medai.*"]));
    let output = run_in(&wrong.path(""), &["check", "--config", "posthaste.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("did you mean `video.media.*`?"), "{}", stderr(&output));

    let twice = "\n[[accounts.default.event_type]]\nname = \"video.media.live_stream.created\"\n";
    let wrong = FASTPIX.world(&receiver_url, twice);
    let output = run_in(&wrong.path(""), &["check", "--config", "posthaste.toml"]);
    let first = fs::read_to_string(wrong.config()).expect("a file");
    let first = first.lines().position(|line| line == "name = \"video.media.live_stream.created\"");
    let place = format!("the first is at posthaste.toml:{}:", first.expect("it is there") + 1);
    assert!(stderr(&output).contains(&place), "{}", stderr(&output));
}

#[test]
fn the_form_is_that_of_standard_webhooks() {
    let receiver = Receiver::answering(|_| Reply::Status(500));
    let world = FASTPIX.running(&receiver, "");
    let data = ODD[1];
    let event =
        world.post(&format!(r#"{{"type":"video.media.ready","data":{data}}}"#)).expect(202)["id"].clone();
    let hook = receiver.wait(1).remove(0);
    check_standard(&hook, &key());
    FASTPIX.verifies(&world, &hook, &FASTPIX.value("secret"));
    assert_eq!((hook.method.as_str(), hook.path.as_str()), ("POST", "/hooks"));
    assert!(hook.text().contains(data), "the payload's very bytes: {}", hook.text());
    let body = hook.json();
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(4), "{body}");
    assert_eq!((&body["id"], &body["type"]), (&event, &json!("video.media.ready")));
    let delivery = attempted(&world, event.as_str().expect("an id"), 1);
    assert_eq!(hook.header("webhook-id"), delivery["id"].as_str().expect("an id"));
    let waits = waits(&delivery);
    assert!((5_000..15_000).contains(&waits), "the first retry comes after some 5 s: {waits} ms");
}

#[test]
fn the_example_runs_as_it_stands() {
    let Some((program, _world, delivery)) = FASTPIX.as_it_stands(&FASTPIX.commands()[0]) else { return };
    let id = delivery["id"].as_str().expect("an id");
    assert_eq!(program.line("handled "), format!("{id} video.media.ready m-17"));
    let body = br#"{"id":"evt_1","type":"video.media.ready","timestamp":"x","data":{}}"#;
    judges(&program, body, |at, delivery, body| {
        let at = at.to_string();
        let mac = hmac_sha256(&key(), &[delivery.as_bytes(), b".", at.as_bytes(), b".", body]);
        // The first is that of a secret of yesterday.
        let signature = format!("v1,AAAA v1,{}", STANDARD.encode(mac));
        vec![("Webhook-Id", delivery.to_owned()), ("Webhook-Timestamp", at), ("Webhook-Signature", signature)]
    });
}

#[test]
fn listen_verifies_it() {
    FASTPIX.listens(Some(&FASTPIX.value("secret")));
}
