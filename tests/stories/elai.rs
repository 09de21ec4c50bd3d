//! Elai: short delivery ids, millisecond timestamps and hex signatures; ten failures disable the webhook, until the
//! customer has put its endpoint right and enables it again.

use serde_json::{Value, json};

use crate::{
    customer::{App, Story, told},
    example::Example,
    support::{
        eventually,
        receiver::{Hook, Reply},
        sign::check_elai,
    },
};

#[test]
fn a_shop_mends_its_webhook_after_ten_failures() {
    let mut retry = vec!["15ms"; 10];
    retry[0] = "0s";
    let story = Story::begin(Example("elai"), App::taking(204), &retry, &json!({}));
    let webhook = story.make(&["video_ready", "video_error"], &json!({}));
    let first = webhook.secret();

    // The guide's way to verify: over the milliseconds and the body.
    let (request, test) = webhook.is_tried();
    check_elai(&request, &first);
    assert_eq!(test["event_type"], "video_ready");
    assert_eq!(test["request"]["headers"]["elai-signature"], request.header("elai-signature"));

    // One stumble is none of the ten; the delivery's short id stays, time and signature are made anew.
    let video =
        json!({"event": "video_ready", "error": null, "video": {"_id": "627e1c5e", "status": "ready"}});
    let (requests, delivery) = webhook.stumbles("video_ready", &video, Reply::Status(500));
    assert_eq!(told(&delivery), [("schedule".into(), 500), ("schedule".into(), 204)]);
    for request in &requests {
        check_elai(request, &first);
        assert_eq!(request.header("delivery-id").len(), 8);
    }
    assert_eq!(requests[0].header("delivery-id"), requests[1].header("delivery-id"));
    assert_ne!(requests[0].header("elai-timestamp"), requests[1].header("elai-timestamp"));
    eventually("none is counted", || (webhook.shown()["consecutive_failures"] == 0).then_some(()));
    let stumbled = delivery["event_id"].as_str().expect("an id").to_owned();

    // Ten failed deliveries disable it: what comes then is held, and nothing is asked of the endpoint.
    story.app.answers(500);
    let lost = story.emit("video_ready", &json!({"n": 1}));
    let failed = story.ended(&lost);
    assert_eq!((&failed["reason"], &failed["attempt"]), (&json!("exhausted"), &json!(10)));
    let shown = eventually("it is disabled", || {
        Some(webhook.shown()).filter(|shown| shown["disabled_reason"] == "failures")
    });
    assert_eq!((&shown["enabled"], &shown["consecutive_failures"]), (&json!(false), &json!(10)));
    assert!(shown["disabled_since"].is_string(), "{shown}");
    let held = story.emit("video_error", &json!({"n": 2}));
    assert_eq!(story.delivery(&held)["waiting"], "disabled");
    assert_eq!(story.app.receiver.hooks().len(), 13, "a test, a stumble, and ten failures");

    // It is enabled too early: the one that waited fails as the first did, and it is disabled once more.
    webhook.ask("POST", "/enable", &json!({"pending": "deliver"})).expect(200);
    assert_eq!(story.ended(&held)["reason"], "exhausted");
    eventually("it is disabled again", || (webhook.shown()["disabled_reason"] == "failures").then_some(()));
    let waiting = story.emit("video_ready", &json!({"n": 3}));

    // The endpoint is put right, and the webhook enabled by subscribing anew: an update of the API.
    story.app.answers(200);
    let again = json!({"event_types": ["video_*", "video_error"], "enabled": true});
    webhook.ask("PATCH", "", &again).problem(422, "invalid_endpoint");
    let again = json!({"event_types": ["video_ready", "video_error", "video_moderation"], "enabled": true});
    let shown = webhook.ask("PATCH", "", &again).expect(200);
    assert_eq!((&shown["enabled"], &shown["consecutive_failures"]), (&json!(true), &json!(0)));
    assert_eq!(story.ended(&waiting)["status"], "succeeded");
    let replayed = story.replayed(&held);
    assert_eq!((&replayed["status"], &replayed["attempt"]), (&json!("succeeded"), &json!(11)));
    assert_eq!(replayed["attempts"][10]["why"], "replay");
    let job = webhook.recovered(failed["ended_at"].as_str().expect("a time"));
    assert_eq!(job["progress"]["replayed"], 1, "the other has been replayed: {job}");
    assert_eq!(story.ended(&lost)["status"], "succeeded");

    // The header has one signature, the newest secret's: a receiver knows both before it is rotated, or takes what fails
    // meanwhile when it comes again.
    webhook.rotate("1s");
    let second = webhook.secret();
    assert_ne!(first, second);
    let signed = |by: &str| {
        let request: std::sync::Arc<Hook> =
            story.app.receives(1, || drop(story.emit("video_moderation", &json!({"n": 4})))).remove(0);
        check_elai(&request, by);
    };
    signed(&second);
    webhook.overlap_is_over();
    signed(&second);

    let [discarded, delivered] = webhook.pauses("video_error", &json!({"n": 5}));
    let moderated: Vec<_> = webhook.past("&type=video_moderation").iter().rev().map(event_of).collect();
    assert_eq!(moderated.len(), 2);
    webhook.past_events_are(
        &[
            (&stumbled, "video_ready", "succeeded"),
            (&lost, "video_ready", "succeeded"),
            (&held, "video_error", "succeeded"),
            (&waiting, "video_ready", "succeeded"),
            (&moderated[0], "video_moderation", "succeeded"),
            (&moderated[1], "video_moderation", "succeeded"),
            (&discarded, "video_error", "cancelled"),
            (&delivered, "video_error", "succeeded"),
        ],
        "video_ready",
        3,
    );
    let health = webhook.health_is_told();
    assert!(health["success_rate"].as_f64() < Some(0.5), "21 failures: {health}");
    webhook.ends("video_ready", &json!({"n": 6}));
}

fn event_of(delivery: &Value) -> String {
    delivery["event_id"].as_str().expect("an id").to_owned()
}
