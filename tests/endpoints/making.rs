//! `POST /v1/endpoints`, and how endpoints are shown.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{call, configuration, id, make, path, running, shown};
use crate::support::{config::endpoint, world::World};

#[test]
fn one_is_made_and_shown() {
    let world = running();
    let document = json!({
        "url": "https://erp.example/hooks?a=b", "description": "the ERP", "event_types": ["video.*", "a.b"],
        "profile": "quick", "headers": {"Authorization": "Bearer hushhush"}
    });
    let answer = call(&world, "POST", "/v1/endpoints", &document);
    let made = answer.expect(201);
    assert_eq!(answer.header("location"), path(&made));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(id(&made).starts_with("ep_"), "{made}");
    assert!(made["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")), "{made}");
    let expected = json!({
        "account": "default", "name": null, "description": "the ERP", "url": "https://erp.example/hooks?a=b",
        "event_types": ["video.*", "a.b"], "profile": "quick", "own_profile": true,
        "headers": {"authorization": "••••••"}, "enabled": true, "disabled_reason": null, "disabled_since": null,
        "circuit": null, "consecutive_failures": 0, "pending": 0, "in_flight": 0, "owner": "api"
    });
    let show = shown(&world, &made);
    let fields =
        |document: &Value| document.as_object().expect("an object").keys().cloned().collect::<BTreeSet<_>>();
    let others = ["id", "created_at", "updated_at", "health"].map(str::to_owned);
    assert_eq!(fields(&show), fields(&expected).into_iter().chain(others).collect(), "no more and no less");
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!((&made[field], &show[field]), (value, value), "{field}");
    }
    assert_eq!(show["created_at"], show["updated_at"]);
    assert_eq!(show.get("secret"), None, "it is shown where it is asked for: {show}");
    let list = world.get("/v1/endpoints");
    assert_eq!(list, json!({"items": [show], "next_cursor": null}));
    assert!(!list.to_string().contains("hushhush"), "{list}");
}

#[test]
fn what_is_not_said_is_as_the_account_has_it() {
    let world = running();
    let made =
        make(&world, "https://a.example/", &json!({"enabled": false, "description": null, "headers": {}}));
    for (field, value) in [
        ("profile", json!("raw")),
        ("own_profile", json!(false)),
        ("description", Value::Null),
        ("headers", json!({})),
        ("enabled", json!(false)),
        ("disabled_reason", json!("operator")),
    ] {
        assert_eq!(made[field], value, "{field}");
    }
    assert_eq!(made["disabled_since"], made["created_at"]);
    let unsigned = make(&world, "https://a.example/", &json!({"profile": "unsigned"}));
    assert_eq!(unsigned["secret"], Value::Null, "its profile needs none");
}

#[test]
fn a_secret_that_a_receiver_has_already_is_taken() {
    let world = running();
    let secret = crate::support::config::secret();
    let made = make(&world, "https://a.example/", &json!({"secret": secret}));
    assert_eq!(made["secret"], secret);
    assert_eq!(world.get(&format!("{}/secret", path(&made)))["secret"], secret);
}

#[test]
fn endpoints_are_listed_by_account_and_page() {
    let world = World::running(&format!(
        "{}{}",
        configuration(),
        endpoint("erp", "https://erp.example/", &["*"], "raw")
    ));
    let first = make(&world, "https://a.example/1", &json!({}));
    let document = json!({"url": "https://a.example/2", "event_types": ["*"]});
    let second = call(&world, "POST", "/v1/endpoints?account=acme", &document).expect(201);
    assert_eq!(second["account"], "acme");
    let ids = |items: &Value| -> Vec<String> {
        items.as_array().expect("a list").iter().map(|one| id(one).to_owned()).collect()
    };
    let erp = world.endpoint("erp");
    assert_eq!((&erp["owner"], &erp["own_profile"]), (&json!("configuration"), &json!(true)));
    assert_eq!(
        ids(&world.get("/v1/endpoints")["items"]),
        [id(&second), id(&first), id(&erp)],
        "newest first"
    );
    assert_eq!(ids(&world.get("/v1/endpoints?account=acme")["items"]), [id(&second)]);
    let page = world.get("/v1/endpoints?limit=2");
    assert_eq!(ids(&page["items"]), [id(&second), id(&first)]);
    let rest = world.get(&format!("/v1/endpoints?cursor={}", page["next_cursor"].as_str().expect("more")));
    assert_eq!((ids(&rest["items"]), &rest["next_cursor"]), (vec![id(&erp).to_owned()], &Value::Null));
    // Another account's endpoint is not there for who names an account.
    let theirs = format!("{}?account=default", path(&second));
    world.request("GET", &theirs, &[], b"").problem(404, "not_found");
    assert_eq!(id(&world.get(&format!("{}?account=acme", path(&second)))), id(&second));
    world.request("GET", "/v1/endpoints/ep_0", &[], b"").problem(404, "not_found");
    world.request("GET", "/v1/endpoints/ep_01hqr2p1qq8k3v7r5m6n0x9y2z", &[], b"").problem(404, "not_found");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let world = running();
    let good = json!({"url": "https://a.example/", "event_types": ["*"]});
    let with = |field: &str, value: Value| {
        let mut document = good.clone();
        document[field] = value;
        document
    };
    let hush = "hushhush";
    for (document, status, code, part) in [
        (json!({}), 400, "bad_request", "`url` is missing"),
        (json!({"url": "https://a.example/"}), 400, "bad_request", "`event_types` is missing"),
        (json!([hush]), 400, "bad_request", "must be an object, and is a list"),
        (with("urll", json!(hush)), 400, "bad_request", "unknown field `urll`: did you mean `url`?"),
        (with("account", json!(hush)), 400, "bad_request", "?account=NAME"),
        (with("event_types", json!(["a", 5])), 400, "bad_request", "`event_types[1]` must be a text"),
        (with("headers", json!({"X-A": {"n": hush}})), 400, "bad_request", "`headers.X-A` must be a text"),
        (with("secret", json!(5_555)), 400, "bad_request", "`secret` must be a text, and is a number"),
        (with("enabled", json!("no")), 400, "bad_request", "`enabled` must be true or false"),
        (with("event_types", json!([])), 422, "invalid_endpoint", "`event_types` is empty"),
        (with("event_types", json!(["vid*"])), 422, "invalid_endpoint", "`event_types`"),
        (with("headers", json!({"Content-Length": hush})), 422, "invalid_endpoint", "`headers`"),
        (with("headers", json!({"X-A": "hushhush\n"})), 422, "invalid_endpoint", "`headers`"),
        (with("profile", json!("quik")), 422, "unknown_profile", "did you mean `quick`?"),
        (with("url", json!("ftp://a.example/")), 422, "url_refused", "http"),
        (with("url", json!("https://u:hushhush@a.example/")), 422, "url_refused", "Authorization"),
        (with("secret", json!("whsec_hushhush!")), 422, "secret_unfit", ""),
    ] {
        let detail = call(&world, "POST", "/v1/endpoints", &document).problem(status, code);
        assert!(detail.contains(part), "{document}: {detail}");
        assert!(!detail.contains(hush) && !detail.contains("5555"), "{detail}");
    }
    call(&world, "POST", "/v1/endpoints?account=nobody", &good).problem(422, "invalid_endpoint");
    call(&world, "POST", "/v1/endpoints?acount=default", &good).problem(400, "bad_request");
    let text = good.to_string();
    let twice = format!("{},\"url\":\"https://b.example/\"}}", text.trim_end_matches('}'));
    let detail = world.request("POST", "/v1/endpoints", &[], twice.as_bytes()).problem(400, "bad_request");
    assert!(detail.contains("`url` is there twice"), "{detail}");
    world.request("POST", "/v1/endpoints", &[], b"{\"url\":").problem(400, "bad_request");
    let xml = [("content-type", "text/xml")];
    world.request("POST", "/v1/endpoints", &xml, b"<url/>").problem(415, "unsupported_media_type");
    let long = with("description", json!("x".repeat(300 << 10)));
    call(&world, "POST", "/v1/endpoints", &long).problem(413, "body_too_large");
    call(&world, "PUT", "/v1/endpoints", &good).problem(405, "method_not_allowed");
    assert_eq!(world.list("/v1/endpoints"), [] as [Value; 0], "nothing was made");
    // curl's own content type counts as JSON.
    let form = [("content-type", "application/x-www-form-urlencoded")];
    world.request("POST", "/v1/endpoints", &form, text.as_bytes()).expect(201);
    assert!(!world.log().contains(hush), "{}", world.log());
}

#[test]
fn an_account_has_ten_at_most() {
    let world = running();
    let good = json!({"url": "https://a.example/", "event_types": ["*"]});
    let made: Vec<_> = (0..10).map(|_| make(&world, "https://a.example/", &json!({}))).collect();
    let detail = call(&world, "POST", "/v1/endpoints", &good).problem(409, "too_many_endpoints");
    assert!(detail.contains("10") && detail.contains("max_endpoints"), "{detail}");
    call(&world, "POST", "/v1/endpoints?account=acme", &good).expect(201);
    call(&world, "DELETE", &path(&made[3]), &json!({})).expect(200);
    call(&world, "POST", "/v1/endpoints", &good).expect(201);
    call(&world, "POST", "/v1/endpoints", &good).problem(409, "too_many_endpoints");
}

#[test]
fn those_who_ask_at_once_share_the_ten() {
    let world = running();
    let good = json!({"url": "https://a.example/", "event_types": ["*"]});
    let ask = || call(&world, "POST", "/v1/endpoints", &good).status;
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..25).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    let count = |status: u16| statuses.iter().filter(|have| **have == status).count();
    assert_eq!((count(201), count(409)), (10, 15), "{statuses:?}");
    assert_eq!(world.list("/v1/endpoints").len(), 10);
}
