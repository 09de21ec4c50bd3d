//! What a producer of one account may touch, and what it sees of the others: nothing.

use serde_json::{Value, json};

use super::{error, get, id, post, post_many, stream};
use crate::support::{
    config::endpoint,
    people::{Somebody, is_root, open_world},
    world::World,
};

/// A producer of `acme`.
const ACME: Somebody = Somebody::new(2_001);
/// A producer of any account.
const ANY: Somebody = Somebody::new(2_002);

/// Both accounts have an endpoint of the same name that nobody listens at, and a catalog.
fn running() -> World {
    let of = |account: &str, name: &str| {
        endpoint(name, &format!("http://127.0.0.1:9/{account}"), &["*"], "raw").replacen(
            "[[endpoint]]",
            &format!("[[endpoint]]\naccount = \"{account}\""),
            1,
        )
    };
    open_world(&format!(
        "{}{}{}[[accounts.acme.event_type]]\nname = \"a.b\"\n[[accounts.default.event_type]]\nname = \"a.b\"\n\
         [[access]]\nuid = 2001\nrole = \"producer\"\naccount = \"acme\"\n\
         [[access]]\nuid = 2002\nrole = \"producer\"\n",
        of("acme", "erp"),
        of("default", "erp"),
        of("default", "hushhush"),
    ))
}

#[test]
fn what_it_hands_in_is_its_account_s() {
    if !is_root() {
        return;
    }
    let world = running();
    let account = |answer: &Value| world.event(id(answer))["account"].clone();
    for event in ["{\"type\":\"a.b\"}", "{\"type\":\"a.b\",\"account\":\"acme\"}"] {
        assert_eq!(account(&post(ACME, &world, event).expect(202)), "acme", "{event}");
    }
    assert_eq!(account(&post(ANY, &world, "{\"type\":\"a.b\"}").expect(202)), "default");
    assert_eq!(account(&post(ANY, &world, "{\"type\":\"a.b\",\"account\":\"acme\"}").expect(202)), "acme");
    let expected = "the account `default` is not yours to touch: you are uid 2001, a producer of `acme` by the [[access]] rule 1 (uid = 2001); leave `account` out";
    let other = "{\"type\":\"a.b\",\"account\":\"default\"}";
    assert_eq!(post(ACME, &world, other).problem(403, "account_not_allowed"), expected);
    // Also one that is not there: what there is is not told.
    let none = "{\"type\":\"a.b\",\"account\":\"nowhere\"}";
    post(ACME, &world, none).problem(403, "account_not_allowed");
    let named = super::request(ACME, &world, "POST", "/v1/events?account=default", "{\"type\":\"a.b\"}");
    assert_eq!(named.problem(403, "account_not_allowed"), expected);
    let (mut lines, mine) = (stream(ACME, &world), "{\"type\":\"a.b\"}");
    lines.send(format!("{mine}\n{other}\n{mine}\n"));
    let batch = post_many(ACME, &world, &format!("{mine}\n{other}\n{mine}")).expect(202);
    let batch = batch["items"].as_array().expect("a list").clone();
    for answers in [lines.answers(3), batch] {
        assert_eq!([account(&answers[0]), account(&answers[2])], ["acme", "acme"]);
        assert_eq!(error(&answers[1]), ("account_not_allowed", expected));
    }
    assert_eq!(world.list("/v1/events?account=default").len(), 1, "that of whom it was theirs to touch");
}

#[test]
fn of_other_accounts_it_sees_nothing() {
    if !is_root() {
        return;
    }
    let world = running();
    let mine = id(&post(ACME, &world, "{\"type\":\"a.b\"}").expect(202)).to_owned();
    let other = id(&post(ANY, &world, "{\"type\":\"a.b\"}").expect(202)).to_owned();
    let delivery = |event: &str| {
        let list = world.list(&format!("/v1/deliveries?event={event}"));
        id(&list[0]).to_owned()
    };
    let seen =
        |who, path: &str| get(who, &world, path).expect(200)["items"].as_array().expect("a list").clone();
    for path in ["/v1/events", "/v1/deliveries", "/v1/deliveries?endpoint=erp"] {
        let (one, all) = (seen(ACME, path), seen(ANY, path));
        assert!(one.len() == 1 && all.len() >= 2, "{path}: {one:?} {all:?}");
        assert_eq!(one[0]["account"], "acme", "{path}");
    }
    for (kind, mine, other) in
        [("events", mine.clone(), other.clone()), ("deliveries", delivery(&mine), delivery(&other))]
    {
        let at = |id: &str| format!("/v1/{kind}/{id}");
        get(ACME, &world, &at(&mine)).expect(200);
        get(ANY, &world, &at(&other)).expect(200);
        let detail = get(ACME, &world, &at(&other)).problem(404, "not_found");
        assert!(detail.starts_with("there is no "), "{detail}");
    }
    get(ACME, &world, &format!("/v1/deliveries?event={mine}")).expect(200);
    get(ACME, &world, &format!("/v1/deliveries?event={other}")).problem(404, "not_found");
    let foreign = world.endpoint("hushhush");
    for endpoint in ["hushhush", id(&foreign)] {
        get(ANY, &world, &format!("/v1/deliveries?endpoint={endpoint}")).expect(200);
        get(ACME, &world, &format!("/v1/deliveries?endpoint={endpoint}")).problem(404, "not_found");
    }
    for path in ["/v1/events", "/v1/deliveries", "/v1/event-types"] {
        get(ACME, &world, &format!("{path}?account=acme")).expect(200);
        get(ACME, &world, &format!("{path}?account=default")).problem(403, "account_not_allowed");
        get(ANY, &world, &format!("{path}?account=default")).expect(200);
    }
    // One event of each account has been taken: of which it is shown hangs on who asks.
    for who in [ACME, ANY] {
        post(who, &world, "{\"type\":\"a.b\",\"account\":\"acme\"}").expect(202);
    }
    assert_eq!(seen(ACME, "/v1/event-types")[0]["accepted"], 3);
    assert_eq!(seen(ANY, "/v1/event-types")[0]["accepted"], 1);
}

#[test]
fn of_the_daemon_it_sees_whether_events_are_taken() {
    if !is_root() {
        return;
    }
    let world = running();
    post(ANY, &world, "{\"type\":\"a.b\"}").expect(202);
    for who in [ACME, ANY] {
        let status = get(who, &world, "/v1/status").expect(200);
        let names: Vec<_> = status.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(names, ["clock_unset", "door", "started_at", "state", "version", "you"]);
        assert_eq!(status["door"]["open"], true);
        assert_eq!(status["you"]["uid"], who.uid);
    }
    let whole = world.get("/v1/status");
    assert_eq!(whole["since_start"]["accepted"], json!(1));
}
