//! The OpenAPI document: that it is served, that its examples are what its schemas say, and that the daemon answers as it says,
//! with every operation and every status that can be brought about.

mod support;

#[path = "openapi/judge.rs"]
mod judge;

use judge::Judge;
use serde_json::{Value, json};
use support::{
    api::Api,
    config::{endpoint, profile, secret},
    http::Answer,
    people::{NOBODY, is_root, open_to_all},
    receiver::{Receiver, Reply},
    world::World,
};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
/// An id of each kind that this store did not give.
const STRANGE: &str = "01hqr2p1qq8k3v7r5m6n0x9y2z";

/// A daemon, and a client that believes nothing which the document does not say.
struct Client {
    world: World,
    judge: Judge,
    /// The configuration.
    text: String,
}

impl Client {
    fn new(text: String) -> Self {
        let world = World::running(&text);
        let judge = Judge::new(world.get("/openapi.json"));
        Self { world, judge, text }
    }

    /// Makes a request: `path` is one of `template`.
    fn call(
        &mut self,
        method: &str,
        template: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let answer = self.world.request(method, path, headers, body);
        self.judge.judge(method, template, &answer);
        answer
    }

    fn get(&mut self, template: &str, path: &str, status: u16) -> Value {
        let answer = self.call("GET", template, path, &[], b"");
        answer.expect(status)
    }

    fn send(&mut self, method: &str, template: &str, path: &str, document: &Value, status: u16) -> Value {
        let answer = self.call(method, template, path, JSON, document.to_string().as_bytes());
        answer.expect(status)
    }

    /// All that is wrong with the body of a `POST` before anybody looks at what it says.
    fn bodies(&mut self, template: &str, path: &str) {
        self.raw(template, path, "application/json", b"[]", "bad_request");
        self.raw(template, path, "application/json", &vec![b' '; 300 << 10], "body_too_large");
        self.raw(template, path, "text/plain", b"{}", "unsupported_media_type");
    }

    /// A request without a body that is refused.
    fn refused(&mut self, method: &str, template: &str, path: &str, status: u16, code: &str) {
        self.call(method, template, path, &[], b"").problem(status, code);
    }

    /// A `POST` of what is no JSON document.
    fn raw(&mut self, template: &str, path: &str, kind: &str, body: &[u8], code: &str) {
        let answer = self.call("POST", template, path, &[("content-type", kind)], body);
        answer.problem(answer.status, code);
    }
}

fn judged(receiver: &Receiver) -> Client {
    let text = format!(
        "[network]\nallow = [\"127.0.0.0/8\"]\n\
         [limits]\nevent_size = \"4KiB\"\nbatch_size = \"8KiB\"\n\
         [accounts.default]\nprofile = \"quick\"\nhttps_only = false\nmax_endpoints = 3\nsecret = \"{}\"\n\
         [accounts.bare]\nprofile = \"quick\"\nhttps_only = false\n\
         [accounts.listed]\nprofile = \"quick\"\n\
         [[accounts.listed.event_type]]\nname = \"scan.finished\"\ngroups = [\"scans\"]\ndescription = \"Done.\"\n\
         [[accounts.listed.event_type]]\nname = \"scan.lost\"\neffect = \"none\"\n{}{}{}\
         [profiles.unsigned]\n[profiles.unsigned.signature]\nalgorithm = \"none\"\n",
        secret(),
        endpoint("good", &receiver.url("/good"), &["*"], "quick"),
        endpoint("bad", &receiver.url("/bad"), &["*"], "quick"),
        profile("quick", &["0s"], ""),
    );
    Client::new(text)
}

#[test]
fn it_is_served_to_whoever_does_not_have_it() {
    let world = World::running("");
    let answer = world.request("GET", "/openapi.json", &[], b"");
    let document = answer.expect(200);
    assert_eq!((&document["openapi"], &document["info"]["title"]), (&json!("3.1.0"), &json!("posthaste")));
    assert_eq!(answer.header("content-type"), "application/json");
    let tag = answer.header("etag").to_owned();
    let again = world.request("GET", "/openapi.json", &[("if-none-match", &tag)], b"");
    assert_eq!((again.status, again.header("etag"), again.body.len()), (304, tag.as_str(), 0));
    assert_eq!(world.request("GET", "/openapi.json", &[("if-none-match", "\"x\"")], b"").status, 200);
    let printed: Value = serde_json::from_slice(&world.cli(&["openapi"]).stdout).expect("JSON");
    assert_eq!(printed, document, "the command and the daemon say the same");
}

#[test]
fn its_examples_are_what_its_schemas_say() {
    let judge = Judge::new(World::running("").get("/openapi.json"));
    let examples = judge.examples();
    assert!(examples.len() > 400, "{}", examples.len());
    for (place, value) in examples {
        let faults = judge.faults(&place, &value);
        assert!(faults.is_empty(), "{place}: {}\n{value}", faults.join("\n"));
    }
    for (path, item) in judge.document()["paths"].as_object().expect("paths") {
        for operation in item.as_object().expect("operations").values().filter(|one| one.is_object()) {
            let contents = operation.pointer("/requestBody/content/application~1json");
            assert!(contents.is_none_or(|content| content["examples"].is_object()), "{path} has no example");
        }
    }
}

#[test]
fn the_daemon_answers_as_it_says() {
    let receiver = Receiver::answering(|hook| match hook.path.as_str() {
        "/bad" => Reply::Full(500, ("x-why", "tired"), "not today".to_owned()),
        _ => Reply::Status(204),
    });
    let mut client = judged(&receiver);
    events(&mut client, &receiver);
    deliveries(&mut client);
    again(&mut client, &receiver);
    jobs(&mut client);
    keys(&mut client);
    accounts(&mut client, &receiver);
    backup(&mut client);
    endpoints(&mut client, &receiver);
    for path in ["/v1/status", "/healthz", "/readyz", "/openapi.json"] {
        client.get(path, path, 200);
    }
    let tag = client.world.request("GET", "/openapi.json", &[], b"").header("etag").to_owned();
    client.call("GET", "/openapi.json", "/openapi.json", &[("if-none-match", &tag)], b"");
    for path in ["/v1/status", "/v1/event-types", "/openapi.json"] {
        client.get(path, &format!("{path}?stauts=1"), 400);
    }
    let lists = ["/v1/events", "/v1/deliveries", "/v1/endpoints", "/v1/jobs", "/v1/keys"];
    for path in lists {
        for wrong in [
            "limit=0",
            "limit=501",
            "cursor=x",
            "cursor=evt_01hqr2p1qq8k3v7r5m6n0x9y2z",
            "fly=1",
            "limit=1&limit=1",
        ] {
            client.get(path, &format!("{path}?{wrong}"), 400);
        }
    }
    // Who cannot be asked for here: another user, one with a key, a slow one, one too many, a daemon that starts, stops or fails.
    let elsewhere = |status: u16| [401, 403, 408, 429, 500, 503, 507].contains(&status);
    // An endpoint that has become unfit, as `endpoints/testing.rs` has one.
    let unfit = ("POST /v1/endpoints/{id}/test".to_owned(), 422);
    // What it takes ten thousand for.
    let many = ("POST /v1/keys".to_owned(), 409);
    let missing: Vec<_> = client.judge.promised().difference(client.judge.seen()).cloned().collect();
    let missing: Vec<_> =
        missing.into_iter().filter(|one| !elsewhere(one.1) && *one != unfit && *one != many).collect();
    assert_eq!(missing, [], "what the document promises was not brought about");
}

fn events(client: &mut Client, receiver: &Receiver) {
    let path = "/v1/events";
    let event = json!({"type": "scan.finished", "data": {"pages": 3}, "id": "mine", "key": "k", "time": "2024-02-28T17:15:42+01:00"});
    let first = client.send("POST", path, path, &event, 202);
    assert_eq!(client.send("POST", path, path, &event, 202)["duplicate"], true);
    client.send("POST", path, path, &json!({"type": "other", "id": "mine"}), 409);
    client.send("POST", path, path, &json!({"type": "a.b", "url": receiver.url("/callback")}), 202);
    client.send("POST", path, path, &json!({"type": "a.b", "delay": "1h"}), 202);
    let cloud = json!({"specversion": "1.0", "id": "A-1", "source": "/s", "type": "a.b", "data_base64": "AQID", "traceparent": "x", "n": 7, "b": true});
    let of_cloud = client
        .call(
            "POST",
            path,
            path,
            &[("content-type", "application/cloudevents+json")],
            cloud.to_string().as_bytes(),
        )
        .expect(202);
    client.send("POST", path, path, &cloud, 202);
    let batch = json!([cloud, {"specversion": "1.0"}]).to_string();
    let kind = [("content-type", "application/cloudevents-batch+json")];
    client.call("POST", path, path, &kind, batch.as_bytes()).expect(202);
    let lines = "{\"type\":\"a.b\"}\nno\n{\"type\":\"a\",\"account\":\"nobody\"}\n{\"type\":\"b\",\"id\":\"mine\"}\n{\"type\":\"scan.lost\",\"account\":\"listed\"}\n";
    let lines = format!(
        "{lines}{{\"type\":\"a\",\"url\":\"ftp://x/\"}}\n{{\"type\":\"a\",\"data\":\"{}\"}}\n",
        "x".repeat(5_000)
    );
    let answers = client
        .call("POST", path, path, &[("content-type", "application/x-ndjson")], lines.as_bytes())
        .expect(202);
    let codes: Vec<_> = answers["items"]
        .as_array()
        .expect("answers")
        .iter()
        .map(|one| one["error"]["code"].as_str().unwrap_or(""))
        .collect();
    assert_eq!(
        codes,
        ["", "invalid_event", "unknown_account", "id_conflict", "", "url_refused", "event_too_large"]
    );
    for (kind, body, code) in [
        ("application/json", &b"{}"[..], "invalid_event"),
        ("application/msgpack", b"\x81\xa4type\xa3a", "invalid_event"),
        ("text/plain", b"{}", "unsupported_media_type"),
        ("application/json", b"{\"type\":\"a\",\"account\":\"nobody\"}", "unknown_account"),
        ("application/json", b"{\"type\":\"b\",\"account\":\"listed\"}", "unknown_event_type"),
        ("application/json", b"{\"type\":\"a\",\"url\":\"http://10.0.0.1/\"}", "url_refused"),
        (
            "application/json",
            b"{\"type\":\"a\",\"account\":\"bare\",\"url\":\"http://127.0.0.1:8080/\"}",
            "secret_missing",
        ),
        ("application/json", &[b' '; 5_000], "event_too_large"),
        ("application/x-ndjson", &[b' '; 9_000], "batch_too_large"),
    ] {
        client.raw(path, path, kind, body, code);
    }
    let keyed = [("content-type", "application/x-ndjson"), ("idempotency-key", "k")];
    client.call("POST", path, path, &keyed, b"").problem(400, "bad_request");
    client
        .call("POST", path, path, &[("content-type", "application/msgpack")], b"\x81\xa4type\xa3a.b")
        .expect(202);

    let page = client.get(path, &format!("{path}?limit=1"), 200);
    let cursor = page["next_cursor"].as_str().expect("there are more").to_owned();
    client.get(
        path,
        &format!("{path}?limit=1&cursor={cursor}&type=*&account=default&since=2020-01-01T00:00:00Z"),
        200,
    );
    let one = "/v1/events/{id}";
    for event in [&first, &of_cloud] {
        client.get(one, &format!("/v1/events/{}", event["id"].as_str().expect("an id")), 200);
    }
    client.get(one, &format!("/v1/events/evt_{STRANGE}"), 404);
    client.get(one, &format!("/v1/events/evt_{STRANGE}?fly=1"), 400);
    let types = client.get("/v1/event-types", "/v1/event-types?account=listed", 200);
    assert_eq!(types["items"].as_array().map(Vec::len), Some(2), "{types}");
    client.get("/v1/event-types", "/v1/event-types", 200);
}

fn deliveries(client: &mut Client) {
    let (path, one) = ("/v1/deliveries", "/v1/deliveries/{id}");
    let ended = || client.world.list("/v1/deliveries?status=failed").len() >= 3;
    support::eventually("some have failed", || ended().then_some(()));
    let page = client.get(path, path, 200);
    for delivery in page["items"].as_array().expect("a list") {
        client.get(one, &format!("/v1/deliveries/{}", delivery["id"].as_str().expect("an id")), 200);
    }
    let failed = client.get(path, &format!("{path}?status=failed&endpoint=bad&type=scan.*&limit=1"), 200);
    assert_eq!(failed["items"][0]["reason"], "exhausted", "{failed}");
    client.get(path, &format!("{path}?endpoint=nobody"), 404);
    client.get(one, &format!("/v1/deliveries/dlv_{STRANGE}"), 404);
    client.get(one, &format!("/v1/deliveries/dlv_{STRANGE}?fly=1"), 400);
}

/// What has ended is delivered again, what is pending is called off.
fn again(client: &mut Client, receiver: &Receiver) {
    let (replay, cancel) = ("/v1/deliveries/{id}/replay", "/v1/deliveries/{id}/cancel");
    let path = |id: &Value, what: &str| format!("/v1/deliveries/{}/{what}", id.as_str().expect("an id"));
    for template in [replay, cancel] {
        let strange = template.replace("{id}", &format!("dlv_{STRANGE}"));
        client.bodies(template, &strange);
        client.refused("POST", template, &strange, 404, "not_found");
        client.refused("POST", template, &format!("{strange}?fly=1"), 400, "bad_request");
    }
    let failed = client.world.list("/v1/deliveries?status=failed")[0]["id"].clone();
    client.send("POST", replay, &path(&failed, "replay"), &json!({}), 200);
    support::eventually("it has failed again", || {
        let delivery = client.world.get(&format!("/v1/deliveries/{}", failed.as_str().expect("an id")));
        (delivery["status"] == "failed").then(|| assert_eq!(delivery["attempts"][1]["why"], "replay"))
    });
    client.get("/v1/deliveries/{id}", &format!("/v1/deliveries/{}", failed.as_str().expect("an id")), 200);
    client.refused("POST", cancel, &path(&failed, "cancel"), 409, "delivery_ended");
    let pending = client.world.list("/v1/deliveries?status=pending")[0]["id"].clone();
    client.refused("POST", replay, &path(&pending, "replay"), 409, "delivery_pending");
    let cancelled = client.send("POST", cancel, &path(&pending, "cancel"), &json!({}), 200);
    assert_eq!(cancelled["reason"], "operator", "{cancelled}");
    // Two things in one: the configuration is read again, and a callback has no secret any more.
    let callback = client.world.list("/v1/deliveries?status=succeeded&type=a.b");
    let callback = callback.iter().find(|one| one["callback"] == receiver.url("/callback").as_str());
    let callback = callback.expect("one has succeeded")["id"].clone();
    let reload = "/v1/reload";
    client.refused("POST", reload, "/v1/reload?fly=1", 400, "bad_request");
    client.world.configure("store.cach = 7\n");
    client.refused("POST", reload, reload, 422, "invalid_configuration");
    let failed = client.get("/v1/status", "/v1/status", 200)["configuration"]["failed"].clone();
    assert!(failed["why"].is_string(), "{failed}");
    // The first is the account's own.
    let without = client.text.replacen(&format!("secret = \"{}\"\n", secret()), "", 1);
    client.world.configure(&without);
    let changed = client.send("POST", reload, reload, &json!({}), 200)["changed"].to_string();
    assert!(changed.contains("accounts.default"), "{changed}");
    client.refused("POST", replay, &path(&callback, "replay"), 422, "secret_missing");
    client.world.configure(&client.text);
    client.send("POST", reload, reload, &json!({}), 200);
}

fn jobs(client: &mut Client) {
    let (recover, one, cancel) = ("/v1/endpoints/{id}/recover", "/v1/jobs/{id}", "/v1/jobs/{id}/cancel");
    let id = client.world.endpoint("bad")["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/endpoints/{id}/recover");
    client.bodies(recover, &path);
    client.refused("POST", recover, &format!("/v1/endpoints/ep_{STRANGE}/recover"), 404, "not_found");
    // While its endpoint is disabled it is under way.
    client.world.request("POST", &format!("/v1/endpoints/{id}/disable"), &[], b"").expect(200);
    let since = json!({"since": "2020-01-01T00:00:00Z"});
    let job = client.send("POST", recover, &path, &since, 202)["id"].as_str().expect("an id").to_owned();
    client.call("POST", recover, &path, JSON, since.to_string().as_bytes()).problem(409, "recover_running");
    let shown = client.get(one, &format!("/v1/jobs/{job}"), 200);
    assert_eq!(shown["waiting"], "disabled", "{shown}");
    client.refused("POST", cancel, &format!("/v1/jobs/{job}/cancel?fly=1"), 400, "bad_request");
    client.call("POST", cancel, &format!("/v1/jobs/{job}/cancel"), &[], b"").expect(200);
    client.refused("POST", cancel, &format!("/v1/jobs/{job}/cancel"), 409, "job_ended");
    client.world.request("POST", &format!("/v1/endpoints/{id}/enable"), &[], b"").expect(200);
    client.send(
        "POST",
        recover,
        &path,
        &json!({"since": "2020-01-01T00:00:00Z", "until": "2020-01-02T00:00:00Z"}),
        202,
    );
    let page = client.get("/v1/jobs", "/v1/jobs?limit=1", 200);
    client.get("/v1/jobs", &format!("/v1/jobs?cursor={}", page["next_cursor"].as_str().expect("more")), 200);
    for (method, template, rest) in [("GET", one, ""), ("POST", cancel, "/cancel")] {
        client.refused(method, template, &format!("/v1/jobs/job_{STRANGE}{rest}"), 404, "not_found");
        client.refused(method, template, &format!("/v1/jobs/job_{STRANGE}{rest}?fly=1"), 400, "bad_request");
    }
}

fn keys(client: &mut Client) {
    let (all, one) = ("/v1/keys", "/v1/keys/{id}");
    client.send("POST", all, all, &json!({"role": "producer"}), 201);
    let document = json!({"role": "subscriber", "name": "a portal", "expires": "90d"});
    let made = client.send("POST", all, &format!("{all}?account=default"), &document, 201);
    let path = format!("{all}/{}", made["id"].as_str().expect("an id"));
    client.bodies(all, all);
    client.call("POST", all, all, JSON, document.to_string().as_bytes()).problem(422, "invalid_key");
    let nobody = format!("{all}?account=nobody");
    client.call("POST", all, &nobody, JSON, document.to_string().as_bytes()).problem(422, "unknown_account");
    let page = client.get(all, &format!("{all}?limit=1"), 200);
    client.get(all, &format!("{all}?cursor={}", page["next_cursor"].as_str().expect("more")), 200);
    client.get(one, &path, 200);
    client.call("DELETE", one, &path, &[], b"").expect(200);
    for method in ["GET", "DELETE"] {
        client.refused(method, one, &path, 404, "not_found");
        client.refused(method, one, &format!("{path}?fly=1"), 400, "bad_request");
    }
}

fn accounts(client: &mut Client, receiver: &Receiver) {
    let (all, one, secret) = ("/v1/accounts", "/v1/accounts/{name}", "/v1/accounts/{name}/secret");
    let document = json!({"name": "media", "profile": "quick", "https_only": false, "description": "a note",
        "deny": ["10.0.0.0/8"], "event_types": [{"name": "a.b", "groups": ["as"]}, {"name": "a.c", "effect": "none"}]});
    let made = client.send("POST", all, all, &document, 201);
    assert!(made["secret"].is_string(), "{made}");
    client.call("POST", all, all, JSON, document.to_string().as_bytes()).problem(409, "account_exists");
    client.call("POST", all, all, JSON, b"{\"name\":\"default\"}").problem(409, "owned_by_configuration");
    client
        .call("POST", all, all, JSON, b"{\"name\":\"x\",\"max_endpoints\":-1}")
        .problem(422, "invalid_account");
    client.bodies(all, all);
    let page = client.get(all, &format!("{all}?limit=1"), 200);
    client.get(all, &format!("{all}?cursor={}", page["next_cursor"].as_str().expect("more")), 200);
    client.get(all, &format!("{all}?limit=0"), 400);
    let path = format!("{all}/media");
    client.get(one, &path, 200);
    client.get(one, &format!("{all}/default"), 200);
    client.get(secret, &format!("{path}/secret"), 200);
    let changed = client.send(
        "PATCH",
        one,
        &path,
        &json!({"secret": null, "allow": ["127.0.0.1/32"], "event_types": null}),
        200,
    );
    assert_eq!((&changed["known_types"], &changed["has_secret"]), (&json!(null), &json!(false)));
    client.refused("GET", secret, &format!("{path}/secret"), 404, "no_secret");
    for (body, status, code) in [
        (&b"[]"[..], 400, "bad_request"),
        (b"{\"profile\":\"quik\"}", 422, "invalid_account"),
        (&vec![b' '; 300 << 10], 413, "body_too_large"),
    ] {
        client.call("PATCH", one, &path, JSON, body).problem(status, code);
    }
    let text = [("content-type", "text/plain")];
    client.call("PATCH", one, &path, &text, b"{}").problem(415, "unsupported_media_type");
    for (method, template, rest) in
        [("GET", one, ""), ("PATCH", one, ""), ("DELETE", one, ""), ("GET", secret, "/secret")]
    {
        let (mine, strange) = (format!("{all}/default{rest}"), format!("{all}/nobody{rest}"));
        client.call(method, template, &strange, JSON, b"{}").problem(404, "not_found");
        client.call(method, template, &format!("{mine}?fly=1"), JSON, b"{}").problem(400, "bad_request");
        if (method, rest) != ("GET", "") {
            client.call(method, template, &mine, JSON, b"{}").problem(409, "owned_by_configuration");
        }
    }
    // It has an endpoint, and then it has none.
    let document = json!({"url": receiver.url("/media"), "event_types": ["*"]}).to_string();
    let made =
        client.world.request("POST", "/v1/endpoints?account=media", JSON, document.as_bytes()).expect(201);
    client.refused("DELETE", one, &path, 409, "account_in_use");
    client
        .world
        .request("DELETE", &format!("/v1/endpoints/{}", made["id"].as_str().expect("an id")), &[], b"")
        .expect(200);
    client.call("DELETE", one, &path, &[], b"").expect(200);
}

fn backup(client: &mut Client) {
    let path = "/v1/store/backup";
    let file = client.world.path("backup.redb");
    let job = client.send("POST", path, path, &json!({"file": file}), 202);
    let job = format!("/v1/jobs/{}", job["id"].as_str().expect("an id"));
    support::eventually("it is made", || (client.world.get(&job)["state"] != "running").then_some(()));
    let made = client.get("/v1/jobs/{id}", &job, 200);
    assert!(made["size"].is_u64() && made["store_growth"].is_u64(), "{made}");
    client.send("POST", path, path, &json!({"file": file}), 409);
    client.send("POST", path, path, &json!({"file": "backup.redb"}), 422);
    client.bodies(path, path);
}

fn endpoints(client: &mut Client, receiver: &Receiver) {
    let (all, one) = ("/v1/endpoints", "/v1/endpoints/{id}");
    let url = receiver.url("/made");
    let document = json!({"url": url, "event_types": ["*"], "description": "a\nb", "headers": {"X-A": "b"}, "enabled": false});
    let made = client.send("POST", all, all, &document, 201);
    let id = made["id"].as_str().expect("an id").to_owned();
    client.get(all, &format!("{all}?limit=1"), 200);
    client.get(one, &format!("{all}/{id}"), 200);
    client.get(one, &format!("{all}/{id}?fly=1"), 400);
    client.send("PATCH", one, &format!("{all}/{id}"), &json!({"headers": null, "description": null}), 200);
    for (change, code) in [
        (json!({"url": 7}), "bad_request"),
        (json!({"event_types": []}), "invalid_endpoint"),
        (json!({"profile": "quik"}), "unknown_profile"),
        (json!({"url": "ftp://x/"}), "url_refused"),
    ] {
        let answer = client.call("PATCH", one, &format!("{all}/{id}"), JSON, change.to_string().as_bytes());
        answer.problem(answer.status, code);
        let mut new = json!({"url": url, "event_types": ["*"]});
        new.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        let answer = client.call("POST", all, all, JSON, new.to_string().as_bytes());
        answer.problem(answer.status, code);
    }
    client.send("POST", all, all, &json!({"url": url, "event_types": ["*"], "secret": ""}), 422);
    client.send(
        "POST",
        all,
        &format!("{all}?account=nobody"),
        &json!({"url": url, "event_types": ["*"]}),
        422,
    );
    beneath(client, &id);
    let unsigned =
        client.send("POST", all, all, &json!({"url": url, "event_types": ["*"], "profile": "unsigned"}), 201);
    let unsigned = unsigned["id"].as_str().expect("an id");
    client.get("/v1/endpoints/{id}/secret", &format!("{all}/{unsigned}/secret"), 404);
    client.send("POST", all, all, &json!({"url": url, "event_types": ["*"]}), 201);
    client.send("POST", all, all, &json!({"url": url, "event_types": ["*"]}), 409);
    configured(client);
    client.call("DELETE", one, &format!("{all}/{id}?fly=1"), &[], b"").problem(400, "bad_request");
    client.call("DELETE", one, &format!("{all}/{id}"), &[], b"").expect(200);
    client.get("/v1/endpoints/{id}/deliveries", &format!("{all}/{id}/deliveries"), 200);
    for (method, path) in [("GET", one), ("PATCH", one), ("DELETE", one)] {
        client.call(method, path, &format!("{all}/{id}"), JSON, b"{}").problem(404, "not_found");
    }
}

/// What is beneath an endpoint, in all that can be said of it.
fn beneath(client: &mut Client, id: &str) {
    for (what, document) in [
        ("disable", json!({})),
        ("enable", json!({"pending": "discard"})),
        ("test", json!({"type": "a.b", "data": [1]})),
        ("rotate-secret", json!({"overlap": "1h"})),
    ] {
        let (template, path) = (format!("/v1/endpoints/{{id}}/{what}"), format!("/v1/endpoints/{id}/{what}"));
        client.send("POST", &template, &path, &document, 200);
        client.call("POST", &template, &path, JSON, b"").expect(200);
        client.raw(&template, &path, "application/json", b"[]", "bad_request");
        client.raw(&template, &path, "text/plain", b"{}", "unsupported_media_type");
        client.raw(&template, &path, "application/json", &vec![b' '; 300 << 10], "body_too_large");
        let missing = format!("/v1/endpoints/ep_{STRANGE}/{what}");
        client.raw(&template, &missing, "application/json", b"{}", "not_found");
    }
    let secrets = client.get("/v1/endpoints/{id}/secret", &format!("/v1/endpoints/{id}/secret"), 200);
    assert!(secrets["secrets"].as_array().map(Vec::len) >= Some(2), "{secrets}");
    for what in ["secret", "deliveries"] {
        let template = format!("/v1/endpoints/{{id}}/{what}");
        client.get(&template, &format!("/v1/endpoints/{id}/{what}?fly=1"), 400);
        client.get(&template, &format!("/v1/endpoints/ep_{STRANGE}/{what}"), 404);
    }
    client.get("/v1/endpoints/{id}/deliveries", &format!("/v1/endpoints/{id}/deliveries"), 200);
    for (method, template, path) in [
        ("POST", "/v1/endpoints", "/v1/endpoints".to_owned()),
        ("PATCH", "/v1/endpoints/{id}", format!("/v1/endpoints/{id}")),
    ] {
        client
            .call(method, template, &path, &[("content-type", "text/plain")], b"{}")
            .problem(415, "unsupported_media_type");
        client.call(method, template, &path, JSON, &vec![b' '; 300 << 10]).problem(413, "body_too_large");
    }
    let overlap = json!({"overlap": "8d"});
    client.send(
        "POST",
        "/v1/endpoints/{id}/rotate-secret",
        &format!("/v1/endpoints/{id}/rotate-secret"),
        &overlap,
        422,
    );
    let unknown = json!({"type": "a..b"});
    client.send("POST", "/v1/endpoints/{id}/test", &format!("/v1/endpoints/{id}/test"), &unknown, 400);
}

/// What is refused of an endpoint that stands in the configuration.
fn configured(client: &mut Client) {
    let id = client.world.endpoint("good")["id"].as_str().expect("an id").to_owned();
    for (method, rest) in [("PATCH", ""), ("DELETE", ""), ("GET", "/secret"), ("POST", "/rotate-secret")] {
        let template = format!("/v1/endpoints/{{id}}{rest}");
        let answer = client.call(method, &template, &format!("/v1/endpoints/{id}{rest}"), JSON, b"{}");
        answer.problem(409, "owned_by_configuration");
    }
}

#[test]
fn a_stranger_and_a_producer_are_answered_as_it_says() {
    if !is_root() {
        return;
    }
    let mut world = World::new("");
    open_to_all(
        &mut world,
        "[[access]]\nuid = 65533\nrole = \"producer\"\naccount = \"default\"\nrate = \"1/h\"\n",
    );
    world.start();
    let judge = Judge::new(world.get("/openapi.json"));
    let mut client = Client { world, judge, text: String::new() };
    let socket = client.world.socket();
    let promised = client.judge.promised();
    let routes: Vec<_> =
        promised.iter().filter(|(_, status)| *status == 403).map(|(route, _)| route.clone()).collect();
    assert_eq!(routes.len(), 39, "every operation: {routes:?}");
    for route in &routes {
        let (method, template) = route.split_once(' ').expect("a route");
        let path = template.replace("{id}", &format!("ep_{STRANGE}")).replace("{name}", "default");
        let answer =
            NOBODY.does(|| support::http::request(&socket, method, &path, JSON, b"{}")).expect("an answer");
        answer.problem(403, "not_allowed");
        client.judge.judge(method, template, &answer);
    }
    let producer = support::people::Somebody::new(65_533);
    for (method, template, body, status) in [
        ("GET", "/v1/status", "", 200),
        ("GET", "/v1/endpoints", "", 403),
        ("POST", "/v1/events", "{\"type\":\"a\"}", 202),
        ("POST", "/v1/events", "{\"type\":\"a\"}", 429),
        ("GET", "/v1/events", "", 200),
        ("GET", "/openapi.json", "", 200),
    ] {
        let ask = || support::http::request(&socket, method, template, JSON, body.as_bytes());
        let answer = producer.does(ask).expect("an answer");
        assert_eq!(answer.status, status, "{}", answer.text());
        client.judge.judge(method, template, &answer);
    }
}

#[test]
fn over_tcp_it_is_answered_as_it_says() {
    let mut client = Client::new("listen.http = \"127.0.0.1:0\"\n".to_owned());
    let key = client.send("POST", "/v1/keys", "/v1/keys", &json!({"role": "operator"}), 201);
    let api = Api::of(&client.world);
    let promised = client.judge.promised();
    let with_key = |route: &str| promised.contains(&(route.to_owned(), 401));
    let routes: std::collections::BTreeSet<_> = promised.iter().map(|(route, _)| route.clone()).collect();
    for route in &routes {
        let (method, template) = route.split_once(' ').expect("a route");
        let path = template.replace("{id}", &format!("ep_{STRANGE}")).replace("{name}", "default");
        let answer = api.request(method, &path, &[], b"");
        if with_key(route) {
            answer.problem(401, "key_required");
        } else {
            answer.expect(200);
        }
        client.judge.judge(method, template, &answer);
        let answer = api.request(method, &path, &[("host", "evil.example")], b"");
        answer.problem(403, "host_not_allowed");
        client.judge.judge(method, template, &answer);
    }
    let without: Vec<_> = routes.iter().filter(|route| !with_key(route)).collect();
    assert_eq!(without, ["GET /healthz", "GET /openapi.json", "GET /readyz"]);
    let api = api.with_key(key["key"].as_str().expect("a key"));
    let status = api.get("/v1/status");
    assert_eq!(status.expect(200)["you"]["key"], key["id"]);
    client.judge.judge("GET", "/v1/status", &status);
    for path in ["/v1/reload", "/v1/store/backup"] {
        let answer = api.post(path, "{}");
        answer.problem(403, "socket_only");
        client.judge.judge("POST", path, &answer);
    }
    let answer = api.request("POST", "/v1/events", &[("content-type", "")], b"{}");
    answer.problem(415, "unsupported_media_type");
    client.judge.judge("POST", "/v1/events", &answer);
    let wrong = api.with_key("phk_none");
    support::eventually("it is too much", || {
        let answer = wrong.get("/v1/jobs");
        client.judge.judge("GET", "/v1/jobs", &answer);
        (answer.status == 429).then(|| answer.problem(429, "too_many_failures"))
    });
}

#[test]
fn a_full_store_is_answered_as_it_says() {
    let mut client = Client::new("store.max_size = \"1MiB\"\n".to_owned());
    let event = json!({"type": "a.b", "data": "x".repeat(200_000)}).to_string();
    support::eventually("the store is full", || {
        let answer = client.call("POST", "/v1/events", "/v1/events", JSON, event.as_bytes());
        (answer.status == 507).then(|| answer.problem(507, "store_full"))
    });
    let status = client.get("/v1/status", "/v1/status", 200);
    assert_eq!(status["door"]["reason"], "store_full");
    assert_eq!(client.get("/readyz", "/readyz", 200)["refusing"], "store_full");
}
