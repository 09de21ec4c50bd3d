//! FastPix: some forty types in five groups, subscribed to by pattern; Standard Webhooks, so that both secrets sign while
//! a rotation overlaps, and a 410 says that nobody is there any more.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    customer::{App, Story, told},
    example::Example,
    support::{
        eventually,
        receiver::{Hook, Reply},
        sign::{check_standard, hmac_sha256},
    },
};

/// How many of the signatures of a request are this secret's.
fn signatures(hook: &Hook, secret: &str) -> usize {
    let (id, timestamp) = (hook.header("webhook-id"), hook.header("webhook-timestamp"));
    let mac = hmac_sha256(&key(secret), &[id.as_bytes(), b".", timestamp.as_bytes(), b".", &hook.body]);
    let expected = format!("v1,{}", STANDARD.encode(mac));
    hook.header("webhook-signature").split(' ').filter(|one| *one == expected).count()
}

fn key(secret: &str) -> Vec<u8> {
    STANDARD.decode(secret.strip_prefix("whsec_").expect("its form")).expect("base64")
}

#[test]
fn a_player_follows_its_media() {
    let more = "\n[network]\nallow = [\"127.0.0.0/8\"]\n".to_owned()
        + &Example("fastpix").hurried(&["0s", "15ms", "15ms"]);
    let story = Story::begin_with(Example("fastpix"), App::taking(204), &more, &json!({}), |_| ());

    // The collection of events, by their groups; one of them stands in two.
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    let types = story.see("/v1/event-types")["items"].clone();
    for one in types.as_array().expect("a list") {
        for group in one["groups"].as_array().expect("groups") {
            *groups.entry(group.as_str().expect("a word").to_owned()).or_default() += 1;
        }
    }
    assert_eq!(groups.keys().collect::<Vec<_>>(), ["ai", "live_stream", "media", "simulcast", "transform"]);
    assert_eq!((types.as_array().map(Vec::len), groups.values().sum::<usize>()), (Some(37), 38));

    // A pattern that means none of them is a mistake.
    let url = story.app.receiver.url("/hooks");
    let wrong = json!({"url": url, "event_types": ["video.medai.*"]});
    story.ask("POST", "/v1/endpoints", &wrong).problem(422, "invalid_endpoint");
    let webhook = story.make(&["video.media.*", "video.mediaAI.*.ready"], &json!({"description": "player"}));
    let first = webhook.secret();
    let (request, _) = webhook.is_tried();
    check_standard(&request, &key(&first));

    // Of four events two are its own.
    let ready = story.emit("video.media.ready", &json!({"playbackId": "p-1"}));
    let live = story.emit("video.live_stream.active", &json!({}));
    let chapters = story.emit("video.mediaAI.chapters.ready", &json!({"chapters": 3}));
    let uploaded = story.emit("video.upload.media_created", &json!({}));
    for event in [&ready, &chapters] {
        assert_eq!(story.ended(event)["status"], "succeeded");
    }
    for event in [&live, &uploaded] {
        assert_eq!(story.see(&format!("/v1/deliveries?event={event}"))["items"], json!([]));
    }
    let known = story.see("/v1/event-types")["items"].clone();
    let active =
        known.as_array().expect("a list").iter().find(|one| one["name"] == "video.live_stream.active");
    assert_eq!(active.expect("it is there")["accepted"], 1, "it is counted all the same");

    // One fails, and comes again under the same id.
    let busy = Reply::Full(503, ("x-why", "deploying"), "back soon".to_owned());
    let (requests, delivery) = webhook.stumbles("video.media.failed", &json!({"mediaId": "m-2"}), busy);
    assert_eq!(told(&delivery), [("schedule".into(), 503), ("schedule".into(), 204)]);
    assert_eq!(delivery["attempts"][0]["response"]["body"], "back soon");
    assert_eq!(requests[0].header("webhook-id"), delivery["id"]);
    for request in &requests {
        check_standard(request, &key(&first));
        assert_eq!(
            (&request.json()["type"], &request.json()["data"]["mediaId"]),
            (&json!("video.media.failed"), &json!("m-2"))
        );
    }
    let stumbled = delivery["event_id"].as_str().expect("an id").to_owned();

    // While the rotation overlaps both secrets sign, so that the player can change over at any time; then one.
    webhook.rotate("1s");
    let second = webhook.secret();
    let next = || {
        let mut event = String::new();
        let hook = story.app.receives(1, || event = story.emit("video.media.updated", &json!({}))).remove(0);
        story.ended(&event);
        (event, hook)
    };
    let (both, request) = next();
    assert_eq!((signatures(&request, &first), signatures(&request, &second)), (1, 1));
    webhook.overlap_is_over();
    let (one, request) = next();
    assert_eq!((signatures(&request, &first), signatures(&request, &second)), (0, 1));
    check_standard(&request, &key(&second));

    // An outage.
    let events = [
        ("video.media.created", json!({"n": 1})),
        ("video.media.track.ready", json!({"n": 2})),
        ("video.mediaAI.summary.ready", json!({"n": 3})),
    ];
    let recovered = webhook.recovers(&events, 3, 204);

    // 410: the player was taken down. Nothing is tried again, and the endpoint is disabled, until it is back elsewhere.
    story.app.once(Reply::Status(410));
    let gone = story.emit("video.media.deleted", &json!({}));
    let delivery = story.ended(&gone);
    assert_eq!((&delivery["status"], &delivery["reason"]), (&json!("failed"), &json!("gone")));
    eventually("it is disabled", || (webhook.shown()["disabled_reason"] == "gone").then_some(()));
    let elsewhere = json!({"url": story.app.receiver.url("/elsewhere"), "enabled": true});
    assert_eq!(webhook.ask("PATCH", "", &elsewhere).expect(200)["enabled"], true);
    assert_eq!(story.replayed(&gone)["status"], "succeeded");
    assert_eq!(story.app.receiver.hooks_at("/elsewhere").len(), 1);
    assert_eq!(
        story.delivery(&ready)["attempts"][0]["request"],
        Value::Null,
        "another URL: it is not guessed at"
    );

    let [discarded, delivered] = webhook.pauses("video.media.upload", &json!({}));
    let accepted: Vec<(&str, &str, &str)> = [
        (&*ready, "video.media.ready", "succeeded"),
        (&*chapters, "video.mediaAI.chapters.ready", "succeeded"),
        (&*stumbled, "video.media.failed", "succeeded"),
        (&*both, "video.media.updated", "succeeded"),
        (&*one, "video.media.updated", "succeeded"),
    ]
    .into_iter()
    .chain(recovered.iter().zip(&events).map(|(event, (name, _))| (&**event, *name, "succeeded")))
    .chain([
        (&*gone, "video.media.deleted", "succeeded"),
        (&*discarded, "video.media.upload", "cancelled"),
        (&*delivered, "video.media.upload", "succeeded"),
    ])
    .collect();
    webhook.past_events_are(&accepted, "video.mediaAI.*", 2);
    webhook.health_is_told();
    webhook.ends("video.media.ready", &json!({}));
}
