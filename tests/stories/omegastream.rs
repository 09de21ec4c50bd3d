//! OmegaStream: endpoints over an API with a bearer key, an envelope that names the endpoint, types that are live, partly
//! live or without effect; nothing is signed, and the event list shows what the endpoint answered.

use serde_json::{Value, json};

use crate::{
    customer::{App, MASKED, Story, told},
    example::Example,
    support::receiver::Reply,
};

#[test]
fn a_portal_reads_what_its_endpoint_answered() {
    let story = Story::begin(Example("omegastream"), App::taking(200), &["0s", "15ms"], &json!({}));

    // Without the key nobody makes an endpoint; with it a list of events is all that is needed.
    let keyless = crate::support::api::Api::of(&story.world);
    keyless.post("/v1/endpoints", "{}").problem(401, "key_required");
    let types = ["video.process_failed", "video.process_succeeded", "video.uploaded", "video.ready_to_watch"];
    let token = "Bearer hV5nXc2mQs8tWk4rYb7j";
    let webhook = story.make(&types, &json!({"headers": {"Authorization": token}}));
    assert_eq!(webhook.made["description"], Value::Null);
    assert_eq!(webhook.made["event_types"], json!(types));
    assert_eq!(webhook.made["headers"]["authorization"], MASKED, "{}", webhook.made);

    // There is no secret: the endpoint knows the sender by the header that it was given.
    assert_eq!(webhook.made["secret"], Value::Null);
    webhook.ask("GET", "/secret", &Value::Null).problem(404, "no_secret");
    webhook.ask("POST", "/rotate-secret", &json!({})).problem(404, "no_secret");
    let (request, test) = webhook.is_tried();
    assert_eq!(request.header("authorization"), token);
    assert_eq!(test["request"]["headers"]["authorization"], MASKED);

    // An event, as the document shows it, with the response that the endpoint gave.
    story.app.once(Reply::Full(200, ("x-portal", "1"), "webhook received\n".to_owned()));
    let processed = story.emit("video.process_failed", &json!({"video": "v-1"}));
    let delivery = story.ended(&processed);
    let request = story.app.receiver.hooks().pop().expect("it came");
    let envelope = request.json();
    assert_eq!((&envelope["id"], &envelope["coid"]), (&json!(processed), &json!("acme")));
    assert_eq!((&envelope["api_version"], &envelope["type"]), (&json!("v1"), &json!("video.process_failed")));
    assert_eq!((&envelope["endpoint_id"], &envelope["data"]), (&json!(webhook.id), &json!({"video": "v-1"})));
    assert!(envelope["created"].is_u64());
    let response = &delivery["attempts"][0]["response"];
    for (name, value) in [
        ("status_code", json!(200)),
        ("status", json!("200 OK")),
        ("body", json!("webhook received\n")),
        ("message", json!("the endpoint took it: 200 OK")),
    ] {
        assert_eq!(response[name], value, "{response}");
    }

    // Of the types in the subscription one is partly live, and is delivered; one has no effect, and is only kept.
    let uploaded = story.emit("video.uploaded", &json!({"video": "v-2"}));
    assert_eq!(story.ended(&uploaded)["status"], "succeeded");
    let watchable = story.emit("video.ready_to_watch", &json!({}));
    assert_eq!(story.see(&format!("/v1/deliveries?event={watchable}"))["items"], json!([]));
    assert_eq!(story.see(&format!("/v1/events/{watchable}"))["effect"], "none");

    // The portal asks for a moment, and gets it.
    let busy = Reply::Full(503, ("retry-after", "1"), "in a second".to_owned());
    let (requests, delivery) = webhook.stumbles("video.process_succeeded", &json!({"video": "v-3"}), busy);
    assert_eq!(told(&delivery), [("schedule".into(), 503), ("retry_after".into(), 200)]);
    assert!((requests[1].at - requests[0].at).as_millis() >= 990, "never earlier than it was asked for");
    assert_eq!(delivery["attempts"][0]["request"]["headers"]["authorization"], MASKED);
    assert_eq!(delivery["attempts"][0]["response"]["body"], "in a second");
    let stumbled = delivery["event_id"].as_str().expect("an id").to_owned();

    // The token is exchanged, as a secret would be: what comes then has the new one.
    let other = "Bearer kB8wZs3nVt6yLq1xPd5m";
    webhook.ask("PATCH", "", &json!({"headers": {"Authorization": other}})).expect(200);
    let events = [
        ("video.process_failed", json!(1)),
        ("video.uploaded", json!(2)),
        ("video.process_failed", json!(3)),
    ];
    let recovered = webhook.recovers(&events, 2, 200);
    let request = story.app.receiver.hooks().pop().expect("it came");
    assert_eq!(request.header("authorization"), other);
    let history = webhook.past("").iter().map(Value::to_string).collect::<String>() + &story.world.log();
    assert!(!history.contains(&token[7..]) && !history.contains(&other[7..]), "{history}");

    // `active`: false holds what comes.
    let [discarded, delivered] = webhook.pauses("video.process_succeeded", &json!({}));
    webhook.past_events_are(
        &[
            (&processed, "video.process_failed", "succeeded"),
            (&uploaded, "video.uploaded", "succeeded"),
            (&stumbled, "video.process_succeeded", "succeeded"),
            (&recovered[0], "video.process_failed", "succeeded"),
            (&recovered[1], "video.uploaded", "succeeded"),
            (&recovered[2], "video.process_failed", "succeeded"),
            (&discarded, "video.process_succeeded", "cancelled"),
            (&delivered, "video.process_succeeded", "succeeded"),
        ],
        "video.process_failed",
        3,
    );
    webhook.health_is_told();
    webhook.ends("video.uploaded", &json!({}));
}
