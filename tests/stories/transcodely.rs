//! Transcodely: a URL for each job, over https alone; the whole job in the body, signed over time and body; six attempts
//! under one delivery id.

use std::fs;

use rustls::ALL_VERSIONS;
use serde_json::{Value, json};

use crate::{
    customer::{App, Story, id, told},
    example::Example,
    support::{
        authority::Authority,
        eventually,
        receiver::{Receiver, Reply},
        sign::check_transcodely,
    },
};

#[test]
fn an_application_has_its_jobs_reported() {
    let example = Example("transcodely");
    let authority = Authority::new("authority");
    let server = || authority.server(("127.0.0.1", 2999), None, ALL_VERSIONS);
    let app = App::with(200, |answer| Receiver::answering_over_tls(server(), answer));
    let more = "\n[network]\nallow = [\"127.0.0.1/32\"]\nca_bundle = \"ca.pem\"\n".to_owned()
        + &example.hurried(&["0s", "15ms", "15ms", "15ms", "15ms", "15ms"]);
    let story = Story::begin_with(example, app, &more, &json!({"https_only": true}), |world| {
        fs::write(world.path("ca.pem"), authority.root.pem()).expect("a file");
    });

    // HTTPS endpoints only.
    let plain = json!({"url": "http://yourapp.example/webhooks", "event_types": ["job.*"]});
    let detail = story.ask("POST", "/v1/endpoints", &plain).problem(422, "url_refused");
    assert!(detail.contains("https"), "{detail}");
    let webhook = story.make(&["job.completed", "job.failed", "job.partial"], &json!({}));
    let first = webhook.secret();
    let (request, test) = webhook.is_tried();
    check_transcodely(&request, &first);
    assert_eq!(
        test["request"]["headers"]["x-transcodely-signature"],
        request.header("x-transcodely-signature")
    );

    // A job: tried again under the same delivery id, signed anew.
    let job = json!({"id": "job_a1b2", "status": "completed", "outputs": [{"id": "out_1"}]});
    let failing = Reply::Full(502, ("x-via", "proxy"), "bad gateway".to_owned());
    let (requests, delivery) = webhook.stumbles("job.completed", &job, failing);
    assert_eq!(told(&delivery), [("schedule".into(), 502), ("schedule".into(), 200)]);
    for request in &requests {
        check_transcodely(request, &first);
        assert_eq!(delivery["id"], request.header("x-transcodely-delivery-id"));
        assert_eq!((&request.json()["event"], &request.json()["job"]), (&json!("job.completed"), &job));
    }
    assert_eq!(delivery["attempts"][0]["response"]["body"], "bad gateway");
    let stumbled = delivery["event_id"].as_str().expect("an id").to_owned();

    // A job with a URL of its own goes there besides, signed with the account's secret, which the operator has handed over.
    let account_secret = story.account["secret"].as_str().expect("a secret").to_owned();
    let other = Receiver::answering_over_tls(server(), |hook| {
        Reply::Status(if hook.earlier < 6 { 500 } else { 200 })
    });
    let url = other.url("/jobs/7");
    let reported = story.emit_with("job.canceled", &json!({"id": "job_7"}), &json!({"url": url}));
    let failed = story.ended(&reported);
    assert_eq!((&failed["status"], &failed["reason"]), (&json!("failed"), &json!("exhausted")));
    assert_eq!((&failed["callback"], &failed["endpoint_id"]), (&json!(url), &Value::Null));
    assert_eq!(told(&failed).len(), 6, "after six attempts it is marked as failed");
    let again = story.replayed(&reported);
    assert_eq!((&again["status"], &again["attempt"]), (&json!("succeeded"), &json!(7)));
    for hook in other.wait(7) {
        check_transcodely(&hook, &account_secret);
        assert_eq!(again["id"], hook.header("x-transcodely-delivery-id"));
    }
    assert!(
        webhook.past("").iter().all(|one| one["event_id"] != json!(reported)),
        "it is no past event of the endpoint"
    );
    for (url, part) in [("http://yourapp.example/x", "https"), ("https://10.1.2.3/x", "10.1.2.3")] {
        let event = json!({"type": "job.failed", "account": "acme", "data": {}, "url": url});
        let detail = story.world.post(&event.to_string()).problem(422, "url_refused");
        assert!(detail.contains(part), "{detail}");
    }

    // An outage; each attempt is logged and kept.
    let events = [
        ("job.completed", json!({"n": 1})),
        ("job.failed", json!({"n": 2})),
        ("job.partial", json!({"n": 3})),
    ];
    let recovered = webhook.recovers(&events, 6, 200);

    // The header has one signature, the newest secret's.
    let rotated = webhook.rotate("1s");
    let second = webhook.secret();
    assert_eq!(rotated["secrets"][1]["secret"], first);
    let [discarded, delivered] = webhook.pauses("job.partial", &json!({"n": 4}));
    check_transcodely(&story.app.receiver.hooks().pop().expect("it came"), &second);
    webhook.overlap_is_over();
    let mut last = String::new();
    let request = story.app.receives(1, || last = story.emit("job.failed", &json!({"n": 5}))).remove(0);
    check_transcodely(&request, &second);
    eventually("its outcome is on disk", || (story.delivery(&last)["status"] == "succeeded").then_some(()));

    webhook.past_events_are(
        &[
            (&stumbled, "job.completed", "succeeded"),
            (&recovered[0], "job.completed", "succeeded"),
            (&recovered[1], "job.failed", "succeeded"),
            (&recovered[2], "job.partial", "succeeded"),
            (&discarded, "job.partial", "cancelled"),
            (&delivered, "job.partial", "succeeded"),
            (&last, "job.failed", "succeeded"),
        ],
        "job.failed",
        2,
    );
    webhook.health_is_told();
    let stored = story.see(&format!("/v1/events/{stumbled}"));
    assert_eq!(stored["data"], job, "raw payloads are kept");
    assert_eq!(id(&stored["deliveries"][0]), id(&delivery));
    webhook.ends("job.completed", &json!({}));
}
