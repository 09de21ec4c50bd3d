//! Keys of the API: how they are made, what they let their holders do, and when they let nobody in any more.

mod support;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{
    api::Api,
    eventually,
    world::{World, json_of, stderr, stdout},
};

const CONFIGURATION: &str = "listen.http = \"127.0.0.1:0\"\n[accounts.acme]\n[accounts.beta]\n";

/// Makes a key as root does at the socket; the key, and what there is to see of it.
fn make(world: &World, query: &str, document: &Value) -> (String, Value) {
    let made = world.request(
        "POST",
        &format!("/v1/keys{query}"),
        &[("content-type", "application/json")],
        document.to_string().as_bytes(),
    );
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.expect(201);
    (made["key"].as_str().expect("a key").to_owned(), made)
}

fn key(world: &World, role: &str, account: Option<&str>) -> String {
    let query = account.map(|account| format!("?account={account}")).unwrap_or_default();
    make(world, &query, &json!({"role": role})).0
}

#[test]
fn a_key_is_shown_once_and_kept_nowhere() {
    let mut world = World::running(CONFIGURATION);
    let document = json!({"role": "subscriber", "name": "Acme portal", "expires": "90d"});
    let (key, made) = make(&world, "?account=acme", &document);
    let id = made["id"].as_str().expect("an id");
    assert!(key.starts_with("phk_") && key.len() == 88 && id.starts_with("key_"), "{made}");
    let api = Api::of(&world).with_key(&key);
    let you = &api.get("/v1/status").expect(200)["you"];
    assert_eq!(*you, json!({"uid": null, "key": id, "role": "subscriber", "account": "acme", "rule": null}));
    let shown = world.get(&format!("/v1/keys/{id}"));
    for (name, value) in [("role", "subscriber"), ("account", "acme"), ("name", "Acme portal")] {
        assert_eq!(shown[name], value, "{shown}");
    }
    assert!(shown["last_used_at"].is_string() && shown["expired"] == false, "{shown}");
    assert_eq!(world.list("/v1/keys?account=acme"), std::slice::from_ref(&shown));
    assert!(world.list("/v1/keys?account=beta").is_empty());
    // It comes back in no error either.
    for answer in [api.get("/v1/keys"), api.get("/v1/nothing"), api.get("/v1/events?account=beta")] {
        assert!(!answer.text().contains(&key[30..]), "{}", answer.text());
    }
    world.stop();
    let stored = std::fs::read(world.path("outbox.redb")).expect("the store");
    for part in [&key[..], &key[30..82]] {
        assert!(!stored.windows(part.len()).any(|window| window == part.as_bytes()), "it is in the store");
        assert!(!world.log().contains(part), "it is in the log");
    }
    // A start knows it, and when it was used.
    world.start();
    assert_eq!(world.get(&format!("/v1/keys/{id}")), shown);
    Api::of(&world).with_key(&key).get("/v1/status").expect(200);
}

#[test]
fn a_key_that_is_revoked_ends_what_is_open() {
    let mut world = World::running(CONFIGURATION);
    let (key, made) = make(&world, "", &json!({"role": "operator"}));
    let api = Api::of(&world).with_key(&key);
    let mut open = api.connect().expect("it listens");
    api.send(&mut open, "GET", "/v1/keys", &[], b"").expect("an answer").expect(200);
    let path = format!("/v1/keys/{}", made["id"].as_str().expect("an id"));
    assert_eq!(world.request("DELETE", &path, &[], b"").expect(200)["id"], made["id"]);
    let answer = api.send(&mut open, "GET", "/v1/keys", &[], b"").expect("an answer");
    answer.problem(401, "key_unknown");
    assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"posthaste\"");
    world.request("GET", &path, &[], b"").problem(404, "not_found");
    world.request("DELETE", &path, &[], b"").problem(404, "not_found");
    // What was answered is on disk.
    world.kill();
    world.start();
    Api::of(&world).with_key(&key).get("/v1/keys").problem(401, "key_unknown");
    // Its number, and so its id, is nobody's again.
    let (_, next) = make(&world, "", &json!({"role": "operator"}));
    assert_ne!(next["id"], made["id"]);
    assert_eq!(world.list("/v1/keys").len(), 1);
    Api::of(&world).with_key(&key).get("/v1/keys").problem(401, "key_unknown");
}

#[test]
fn what_is_begun_for_whoever_hangs_up_comes_to_its_end() {
    let world = World::running(CONFIGURATION);
    let (key, made) = make(&world, "", &json!({"role": "operator"}));
    let (api, path) =
        (Api::of(&world).with_key(&key), format!("/v1/keys/{}", made["id"].as_str().expect("an id")));
    eventually("it is revoked", || {
        world.hang_up("DELETE", &path, "");
        (api.get("/v1/keys").status == 401).then_some(())
    });
    world.request("GET", &path, &[], b"").problem(404, "not_found");
    eventually("all that are made are listed", || {
        world.hang_up("POST", "/v1/keys", r#"{"role":"operator"}"#);
        (world.list("/v1/keys").len() >= 5).then_some(())
    });
}

#[test]
fn a_connection_that_shows_no_good_key_is_hung_up_on() {
    let world = World::running(CONFIGURATION);
    let (api, good) = (Api::of(&world), Api::of(&world).with_key(&key(&world, "operator", None)));
    let mut open = api.connect().expect("it listens");
    for asked in 1..=8 {
        let answer = api.send(&mut open, "GET", "/v1/events", &[], b"").expect("an answer");
        answer.problem(401, "key_required");
        assert_eq!(answer.header("connection"), if asked == 8 { "close" } else { "" }, "{asked}");
    }
    api.send(&mut open, "GET", "/v1/events", &[], b"").expect_err("it is closed");
    let mut open = good.connect().expect("it listens");
    for _ in 0..20 {
        good.send(&mut open, "GET", "/v1/events", &[], b"").expect("an answer").expect(200);
        api.send(&mut open, "GET", "/healthz", &[], b"").expect("an answer").expect(200);
    }
}

#[test]
fn a_key_expires() {
    let world = World::running(CONFIGURATION);
    let (key, made) = make(&world, "", &json!({"role": "producer", "expires": "1s"}));
    let api = Api::of(&world).with_key(&key);
    let expired = eventually("it has expired", || {
        let answer = api.get("/v1/events");
        (answer.status != 200).then_some(answer)
    });
    expired.problem(401, "key_expired");
    assert_eq!(world.get(&format!("/v1/keys/{}", made["id"].as_str().expect("an id")))["expired"], true);
    let listed = stdout(&world.cli(&["key", "list"]));
    assert!(listed.contains("expired"), "{listed}");
}

#[test]
fn who_shows_no_key_learns_nothing() {
    let world = World::running(CONFIGURATION);
    let api = Api::of(&world);
    let key = key(&world, "operator", None);
    let mut typo = key.clone();
    typo.replace_range(50..51, if &key[50..51] == "7" { "8" } else { "7" });
    for path in ["/healthz", "/readyz"] {
        api.get(path).expect(200);
    }
    let refused = |value: &str, code: &str| {
        for path in ["/v1/events", "/v1/status", "/v1/nothing", "/"] {
            let answer = api.request("GET", path, &[("authorization", value)], b"");
            answer.problem(401, code);
            assert!(!answer.text().contains(&key[40..]), "{}", answer.text());
        }
    };
    refused("", "key_required");
    refused("Basic cm9vdDpyb290", "key_required");
    refused("Bearer secret", "key_malformed");
    refused(&format!("Bearer {typo}"), "key_malformed");
    refused(&format!("Bearer {}", &key[..60]), "key_malformed");
    let both = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
    api.request("GET", "/v1/events", &both, b"").problem(400, "bad_request");
    for value in [format!("Bearer {key}"), format!("bearer   {key} ")] {
        api.request("GET", "/v1/events", &[("authorization", &value)], b"").expect(200);
    }
    api.request("POST", "/healthz", &[], b"{}").problem(401, "key_required");
}

/// A key with another secret, as whoever knows its id could write it down.
fn forged(key: &str, secret: &str) -> String {
    let checked = format!("{}{secret}", &key[..30]);
    let digest: [u8; 32] = Sha256::digest(checked.as_bytes()).into();
    let sum = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) >> 2;
    let digit =
        |place: u32| char::from(b"0123456789abcdefghjkmnpqrstvwxyz"[(sum >> (5 * place) & 31) as usize]);
    let sum: String = (0..6).rev().map(digit).collect();
    checked + &sum
}

#[test]
fn whoever_knows_of_a_key_does_not_have_it() {
    let world = World::running(CONFIGURATION);
    let (api, known, own) = (Api::of(&world), key(&world, "operator", None), key(&world, "producer", None));
    assert_eq!(forged(&known, &known[30..82]), known, "this is how keys are written");
    for secret in [&own[30..82], &"0".repeat(52)] {
        api.with_key(&forged(&known, secret)).get("/v1/keys").problem(401, "key_unknown");
    }
    // Nor does an id that has never been lead anywhere.
    let mut other = own.clone();
    other.replace_range(20..24, if &own[20..24] == "0000" { "1111" } else { "0000" });
    api.with_key(&forged(&other, &own[30..82])).get("/v1/events").problem(401, "key_unknown");
    api.with_key(&own).get("/v1/events").expect(200);
}

#[test]
fn who_fails_too_often_is_told_to_wait_and_others_are_not() {
    let world = World::running(CONFIGURATION);
    let (api, key) = (Api::of(&world), key(&world, "operator", None));
    let wrong = api.with_key("phk_none");
    let told = eventually("it is too much", || {
        let answer = wrong.get("/v1/events");
        (answer.status != 401).then_some(answer)
    });
    told.problem(429, "too_many_failures");
    let wait: u64 = told.header("retry-after").parse().expect("seconds");
    assert!((1..=3).contains(&wait), "{wait}");
    // Whoever has a key is not kept out by whoever has none, nor who only asks whether it is well.
    api.with_key(&key).get("/v1/events").expect(200);
    api.get("/healthz").expect(200);
    world.logs(1, "many requests with keys that are none");
}

#[test]
fn each_role_reaches_what_is_its_own() {
    let world = World::running(CONFIGURATION);
    let api = Api::of(&world);
    let event = r#"{"type":"a.b"}"#;
    let hand_in = |role: &str, account| api.with_key(&key(&world, role, account)).post("/v1/events", event);
    hand_in("producer", Some("acme")).expect(202);
    hand_in("producer", None).expect(202);
    hand_in("operator", Some("acme")).expect(202);
    hand_in("operator", None).expect(202);
    let detail = hand_in("subscriber", Some("acme")).problem(403, "not_allowed");
    assert!(detail.starts_with("this is for producers and operators alone: you are a subscriber of `acme`"));
    // What names no account is of the key's.
    let of = |account: &str| world.list(&format!("/v1/events?account={account}")).len();
    assert_eq!((of("acme"), of("default")), (2, 2));
    let statuses = |role: &str, account: Option<&str>| {
        let api = api.with_key(&key(&world, role, account));
        ["/v1/endpoints", "/v1/keys", "/v1/events", "/v1/event-types", "/v1/status"]
            .map(|path| api.get(path).status)
    };
    assert_eq!(statuses("producer", Some("acme")), [403, 403, 200, 200, 200]);
    assert_eq!(statuses("subscriber", Some("acme")), [200, 403, 200, 200, 200]);
    assert_eq!(statuses("operator", Some("acme")), [200; 5]);
    assert_eq!(statuses("operator", None), [200; 5]);
    // The box's inside is for operators of all of it.
    for (role, account, inside) in
        [("operator", None, true), ("operator", Some("acme"), false), ("subscriber", Some("acme"), false)]
    {
        let status = api.with_key(&key(&world, role, account)).get("/v1/status").expect(200);
        assert_eq!(status.get("store").is_some(), inside, "{status}");
    }
}

#[test]
fn an_operator_of_an_account_makes_keys_for_it_alone() {
    let world = World::running(CONFIGURATION);
    let api = Api::of(&world).with_key(&key(&world, "operator", Some("acme")));
    let made = api.post("/v1/keys", r#"{"role":"operator"}"#).expect(201);
    assert_eq!(made["account"], "acme", "it is bound as its maker is");
    api.post("/v1/keys?account=acme", r#"{"role":"subscriber"}"#).expect(201);
    api.post("/v1/keys?account=beta", r#"{"role":"producer"}"#).problem(403, "account_not_allowed");
    let (_, of_all) = make(&world, "", &json!({"role": "producer"}));
    let path = format!("/v1/keys/{}", of_all["id"].as_str().expect("an id"));
    api.get(&path).problem(404, "not_found");
    api.request("DELETE", &path, &[], b"").problem(404, "not_found");
    let seen = api.get("/v1/keys").expect(200);
    assert_eq!(seen["items"].as_array().expect("a list").len(), 3, "{seen}");
    assert!(seen["items"].as_array().expect("a list").iter().all(|key| key["account"] == "acme"), "{seen}");
}

#[test]
fn what_is_wrong_with_a_key_to_be_made_is_said() {
    let world = World::running(CONFIGURATION);
    let refused = |query: &str, document: &Value, status, code: &str, part: &str| {
        let answer = world.request(
            "POST",
            &format!("/v1/keys{query}"),
            &[("content-type", "application/json")],
            document.to_string().as_bytes(),
        );
        let detail = answer.problem(status, code);
        assert!(detail.contains(part), "{detail}");
    };
    refused("", &json!({}), 400, "bad_request", "`role` is missing");
    refused("", &json!({"role": "root"}), 400, "bad_request", "one of producer, subscriber, operator");
    refused("", &json!({"role": "subscriber"}), 422, "invalid_key", "?account=NAME");
    refused("?account=acne", &json!({"role": "subscriber"}), 422, "unknown_account", "`acne`");
    refused("", &json!({"role": "producer", "expires": "soon"}), 400, "bad_request", "neither a duration");
    refused("", &json!({"role": "producer", "expires": "0s"}), 422, "invalid_key", "in the future");
    let past = json!({"role": "producer", "expires": "2026-01-01T00:00:00Z"});
    refused("", &past, 422, "invalid_key", "in the future");
    refused("", &json!({"role": "producer", "name": "a\nb"}), 400, "bad_request", "1 to 128 characters");
    refused("", &json!({"role": "producer", "account": "a"}), 400, "bad_request", "?account=NAME");
    assert!(world.list("/v1/keys").is_empty());
}

#[test]
fn the_commands() {
    let world = World::running(CONFIGURATION);
    let added = world.cli(&["key", "add", "--role", "subscriber", "--account", "acme", "--expires", "1h"]);
    let key = stdout(&added).trim_end().to_owned();
    assert!(key.starts_with("phk_"), "{}", stderr(&added));
    assert!(stderr(&added).contains("it is not shown again"), "{}", stderr(&added));
    let api = Api::of(&world).with_key(&key);
    api.get("/v1/endpoints").expect(200);
    let list = json_of(&world.cli(&["key", "list", "--json"]));
    let id = list["items"][0]["id"].as_str().expect("an id").to_owned();
    let table = stdout(&world.cli(&["key", "list"]));
    assert!(table.contains(&id) && table.contains("subscriber"), "{table}");
    let revoked = world.cli(&["key", "revoke", &id]);
    assert_eq!(stdout(&revoked), format!("{id} is revoked: it lets nobody in any more\n"));
    api.get("/v1/endpoints").problem(401, "key_unknown");
    let again = world.cli(&["key", "revoke", &id]);
    assert!(stderr(&again).contains(&format!("there is no key {id}")), "{}", stderr(&again));
}
