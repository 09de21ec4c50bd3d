//! Cloudglue: a webhooks page with ten endpoints at most, each known by the secret in a header; 200 alone confirms; and a
//! page of past events for each.

use serde_json::{Value, json};

use crate::{
    customer::{App, MASKED, Story, id, told},
    example::Example,
    support::receiver::Reply,
};

#[test]
fn a_studio_gets_along_with_ten_webhooks() {
    let retry = ["0s", "15ms", "15ms", "15ms"];
    let app = App::taking(200);
    let story = Story::begin(Example("cloudglue"), app, &retry, &json!({"max_endpoints": 10}));

    // Create Webhook: at least one event is required, and several can be subscribed to.
    let nothing = json!({"url": story.app.receiver.url("/hooks"), "event_types": []});
    story.ask("POST", "/v1/endpoints", &nothing).problem(422, "invalid_endpoint");
    let webhook = story.make(&["transcribe.job.completed", "file.job.*"], &json!({"description": "studio"}));

    // The secret is found on the webhooks page, and comes with every request; no history shows it.
    let secret = webhook.secret();
    assert_eq!(webhook.made["secret"], secret);
    let (request, test) = webhook.is_tried();
    assert_eq!(request.header("x-webhook-secret"), secret);
    assert_eq!(test["request"]["headers"]["x-webhook-secret"], MASKED);
    assert_eq!(test["event_type"], "transcribe.job.completed");

    // A 202 is no receipt: the webhook comes again, until it is a 200.
    let job = json!({"job_id": "j-81", "status": "completed"});
    let (requests, delivery) = webhook.stumbles("transcribe.job.completed", &job, Reply::Status(202));
    assert_eq!(told(&delivery), [("schedule".into(), 202), ("schedule".into(), 200)]);
    assert_eq!(requests[1].json(), job, "the job and nothing around it");
    assert_eq!(requests[0].header("x-webhook-event"), "transcribe.job.completed");
    assert_eq!(
        requests[0].header("x-webhook-delivery-id"),
        requests[1].header("x-webhook-delivery-id"),
        "by this a receiver knows it again"
    );
    assert_eq!(delivery["attempts"][0]["request"]["headers"]["x-webhook-secret"], MASKED);
    assert!(!delivery.to_string().contains(&secret));
    let stumbled = delivery["event_id"].as_str().expect("an id").to_owned();

    // After three retries it is marked as failed, and that is that.
    (0..4).for_each(|_| story.app.once(Reply::Full(500, ("x-why", "tired"), "no room".to_owned())));
    let lost = story.emit("file.job.failed", &json!({"job_id": "j-82"}));
    let failed = story.ended(&lost);
    assert_eq!((&failed["status"], &failed["reason"]), (&json!("failed"), &json!("exhausted")));
    assert_eq!(told(&failed), [(); 4].map(|()| ("schedule".to_owned(), 500)));
    assert_eq!(failed["attempts"][3]["response"]["body"], "no room");

    // An outage: what failed in it is recovered, and what failed before is not.
    let events =
        [("file.job.completed", json!(1)), ("file.job.deleted", json!(2)), ("file.job.failed", json!(3))];
    let recovered = webhook.recovers(&events, 4, 200);
    assert_eq!(story.delivery(&lost)["status"], "failed");

    // The header has the newest secret, from the rotation on: a receiver takes both while the old one is still shown.
    let rotated = webhook.rotate("1h");
    let newest = webhook.secret();
    assert_ne!(newest, secret);
    assert_eq!(rotated["secrets"][1]["secret"], secret);
    assert!(rotated["secrets"][1]["until"].is_string(), "it is shown for an hour");
    let [discarded, delivered] = webhook.pauses("file.job.processing", &json!({}));
    let request = story.app.receiver.hooks().pop().expect("it came");
    assert_eq!(request.header("x-webhook-secret"), newest);
    webhook.rotate("0s");
    assert_eq!(
        webhook.ask("GET", "/secret", &Value::Null).json()["secrets"].as_array().map(Vec::len),
        Some(1)
    );

    // View Events.
    let of_files = |event| (event, "file.job.x", "succeeded");
    let mut accepted =
        vec![(&*stumbled, "transcribe.job.completed", "succeeded"), (&*lost, "file.job.failed", "failed")];
    accepted.extend(recovered.iter().map(|event| of_files(&**event)));
    accepted.extend([(&*discarded, "file.job.processing", "cancelled"), of_files(&*delivered)]);
    webhook.past_events_are(&accepted, "file.job.*", 6);
    webhook.health_is_told();

    // The account has ten of them at most; one that is deleted gives its place.
    let further = || json!({"url": story.app.receiver.url("/other"), "event_types": ["extract.job.failed"]});
    let others: Vec<_> =
        (1..10).map(|_| story.ask("POST", "/v1/endpoints", &further()).expect(201)).collect();
    let detail = story.ask("POST", "/v1/endpoints", &further()).problem(409, "too_many_endpoints");
    assert!(detail.contains("10"), "{detail}");
    story.ask("DELETE", &format!("/v1/endpoints/{}", id(&others[0])), &Value::Null).expect(200);
    story.ask("POST", "/v1/endpoints", &further()).expect(201);
    webhook.ends("file.job.deleted", &json!({}));
}
