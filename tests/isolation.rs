//! Accounts are apart: with a key of one, nothing is learnt of another, through any route.
//!
//! Every route of the API has its line here. Whoever asks for something of another account is answered as if it had
//! never been: the same status, headers and body but for the id that they sent themselves.

mod support;

use std::collections::BTreeSet;

use posthaste::api::routes::{self, Route};
use serde_json::{Value, json};
use support::{
    api::Api,
    config::secret,
    http::Answer,
    receiver::{Receiver, Reply},
    world::World,
};

/// The roles that a key of an account may have.
const ROLES: [&str; 3] = ["producer", "subscriber", "operator"];

/// From when on something is recovered.
const SINCE: &str = r#"{"since":"2020-01-01T00:00:00Z"}"#;
/// The lists of what is an account's.
const LISTS: [&str; 5] = ["events", "deliveries", "endpoints", "keys", "jobs"];

/// What there is of an account.
struct Account {
    event: String,
    delivery: String,
    endpoint: String,
    key: String,
    /// A recover that waits.
    job: String,
    /// Of its [`LISTS`], one item a page.
    cursors: [String; 5],
}

struct Both {
    world: World,
    _receiver: Receiver,
    api: Api,
    /// Those who ask, with keys of `acme`, one of each role.
    askers: Vec<(&'static str, Api)>,
    own: Account,
    other: Account,
}

impl Both {
    fn new() -> Self {
        // What it says is as much the account's as the rest.
        let receiver =
            Receiver::answering(|hook| Reply::Full(500, ("x-said", "no"), format!("to {}", hook.path)));
        let url = receiver.url("/");
        let endpoint = |account: &str| {
            format!(
                "[[endpoint]]\nname = \"{account}-erp\"\naccount = \"{account}\"\nurl = \"{url}{account}-path\"\nevent_types = [\"*\"]\n\
                 secret = \"{}\"\n",
                secret()
            )
        };
        let account = |name: &str| {
            format!(
                "[accounts.{name}]\nprofile = \"raw\"\nretention = \"8d\"\nhttps_only = false\n[[accounts.{name}.event_type]]\nname = \"{name}.done\"\n[[accounts.{name}.event_type]]\nname = \"both.done\"\n"
            )
        };
        // What is tried again while the routes are asked would be a change that nobody asked for.
        let world = World::running(&format!(
            "listen.http = \"127.0.0.1:0\"\n[network]\nallow = [\"127.0.0.0/8\"]\n[profiles.raw]\nretry = [\"0s\", \"1h\"]\n{}{}{}{}",
            account("acme"),
            account("beta"),
            endpoint("acme"),
            endpoint("beta")
        ));
        let api = Api::of(&world);
        let other = Account::new(&world, "beta", &url);
        let own = Account::new(&world, "acme", &url);
        let askers = ROLES.map(|role| (role, api.with_key(&make_key(&world, "acme", role).0)));
        Self { world, _receiver: receiver, api, askers: askers.to_vec(), own, other }
    }
}

/// A key of an account; the key and its id.
fn make_key(world: &World, account: &str, role: &str) -> (String, String) {
    let document = json!({"role": role, "name": format!("{account}-note")}).to_string();
    let made = post(world, &format!("/v1/keys?account={account}"), &document);
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    (text("key"), text("id"))
}

fn post(world: &World, path: &str, document: &str) -> Value {
    let answer = world.request("POST", path, &[("content-type", "application/json")], document.as_bytes());
    assert!((200..300).contains(&answer.status), "{path}: {}", answer.text());
    answer.json()
}

impl Account {
    fn ids(&self) -> [&String; 5] {
        [&self.event, &self.delivery, &self.endpoint, &self.key, &self.job]
    }

    fn new(world: &World, account: &str, url: &str) -> Self {
        let document = json!({
            "url": format!("{url}{account}-made"), "event_types": ["*"], "description": format!("{account}-words"),
            "headers": {"x-of": format!("{account}-value")},
        });
        let endpoint = post(world, &format!("/v1/endpoints?account={account}"), &document.to_string());
        for id in [format!("{account}-1"), "same".to_owned()] {
            let event = json!({"type": format!("{account}.done"), "id": id, "data": {"of": account}, "account": account});
            let answer = post(world, "/v1/events", &event.to_string());
            assert!(answer.get("duplicate").is_none(), "ids are each account's own: {answer}");
        }
        let list = |kind: &str| world.list(&format!("/v1/{kind}?account={account}"));
        let cursor = |kind: &str| {
            let page = world.get(&format!("/v1/{kind}?account={account}&limit=1"));
            page["next_cursor"].as_str().expect("there are more").to_owned()
        };
        let id = |items: Vec<Value>| items[0]["id"].as_str().expect("an id").to_owned();
        let endpoint = endpoint["id"].as_str().expect("an id").to_owned();
        recover(world, &endpoint);
        let held = json!({"url": url, "event_types": ["both.done"], "enabled": false}).to_string();
        let held = post(world, &format!("/v1/endpoints?account={account}"), &held);
        let job = recover(world, held["id"].as_str().expect("an id"));
        make_key(world, account, "producer");
        let (_, key) = make_key(world, account, "operator");
        Self {
            event: id(list("events")),
            delivery: id(list("deliveries")),
            endpoint,
            key,
            job,
            cursors: LISTS.map(cursor),
        }
    }
}

/// Begins a recover of all that an endpoint has failed; its job's id.
fn recover(world: &World, endpoint: &str) -> String {
    let begun = post(world, &format!("/v1/endpoints/{endpoint}/recover"), SINCE);
    begun["id"].as_str().expect("an id").to_owned()
}

/// An id of the same form that has never been.
fn never(id: &str) -> String {
    let mut text = id.to_owned();
    let last = if text.ends_with('0') { "1" } else { "0" };
    text.replace_range(text.len() - 1.., last);
    text
}

/// What an answer says, but for what always differs; `sent` is what stood in the request.
fn said(answer: &Answer, sent: &str) -> (u16, Vec<(String, String)>, String) {
    let headers = answer.headers.iter().filter(|(name, _)| name != "date").cloned().collect();
    (answer.status, headers, answer.text().replace(sent, "ID"))
}

/// Nothing in an answer is of the other account.
fn is_clean(answer: &Answer, of: &Account, what: &str) {
    let text = answer.text();
    for mark in of.ids().into_iter().map(String::as_str).chain(["beta"]) {
        assert!(!text.contains(mark), "{what} shows {mark}: {text}");
    }
}

impl Both {
    fn ask(asker: &Api, method: &str, path: &str, body: &str) -> Answer {
        asker.request(method, path, &[("x-request-id", "probe")], body.as_bytes())
    }

    /// Asks for what `of` picks of the other account, by `method` at a path with its id in it.
    fn by_id(&self, route: &Route, of: impl Fn(&Account) -> &String, body: &str) {
        for (role, asker) in &self.askers {
            let what = format!("{role}: {} {}", route.method, route.path);
            let ask = |id: &str, query: &str| {
                let path = route.path.replace("{id}", id) + query;
                Self::ask(asker, route.method, &path, body)
            };
            let (theirs, none) = (of(&self.other), never(of(&self.other)));
            for query in ["", "?account=acme", "?account=beta", "?account=nobody", "?x=1"] {
                let (one, other) = (ask(theirs, query), ask(&none, query));
                assert_eq!(said(&one, theirs), said(&other, &none), "{what}{query}");
                assert!(one.status >= 400, "{what}{query}: {}", one.text());
            }
            // Nor does the name of the other account say anything that one does not that was never there.
            let (named, nobody) = (ask(theirs, "?account=beta"), ask(theirs, "?account=nobody"));
            assert_eq!(said(&named, "beta").2, said(&nobody, "nobody").2, "{what}");
        }
    }

    /// The same, where whoever may look sees what is their own.
    fn shown_by_id(&self, route: &Route, of: impl Fn(&Account) -> &String, whom: &[&str]) {
        self.by_id(route, &of, "");
        for (role, asker) in &self.askers {
            let answer = Self::ask(asker, "GET", &route.path.replace("{id}", of(&self.own)), "");
            assert_eq!(answer.status == 200, whom.contains(role), "{role} {}: {}", route.path, answer.text());
            is_clean(&answer, &self.other, route.path);
        }
    }

    /// Goes through a list, also by the other account's cursor, and by filters that name what is the other's.
    fn list(&self, path: &str, cursor: Option<&str>, filters: &[(&str, &str)], whom: &[&str]) {
        for (role, asker) in &self.askers {
            let what = format!("{role}: {path}");
            let all = Self::ask(asker, "GET", path, "");
            assert_eq!(all.status == 200, whom.contains(role), "{what}: {}", all.text());
            is_clean(&all, &self.other, &what);
            if all.status != 200 {
                continue;
            }
            assert!(!all.json()["items"].as_array().expect("a list").is_empty(), "{what}: it sees its own");
            let named = Self::ask(asker, "GET", &format!("{path}?account=beta"), "");
            let nobody = Self::ask(asker, "GET", &format!("{path}?account=nobody"), "");
            named.problem(403, "account_not_allowed");
            assert_eq!(said(&named, "beta").2, said(&nobody, "nobody").2, "{what}");
            if let Some(cursor) = cursor {
                let page = Self::ask(asker, "GET", &format!("{path}?cursor={cursor}"), "");
                is_clean(&page, &self.other, &what);
                assert_eq!(page.status, 200, "a place is a place: {}", page.text());
            }
            for (filter, value) in filters {
                let none = never(value);
                let ask = |value: &str| Self::ask(asker, "GET", &format!("{path}?{filter}={value}"), "");
                assert_eq!(said(&ask(value), value), said(&ask(&none), &none), "{what} by {filter}");
            }
        }
    }

    /// Hands in what names the other account.
    fn hand_in(&self) {
        for (role, asker) in &self.askers {
            let what = format!("{role} hands in");
            let named = |account: &str| {
                let event =
                    json!({"type": "beta.done", "id": "beta-1", "account": account, "data": {"of": "beta"}});
                let body = Self::ask(asker, "POST", "/v1/events", &event.to_string());
                let query =
                    Self::ask(asker, "POST", &format!("/v1/events?account={account}"), r#"{"type":"a"}"#);
                [said(&body, account), said(&query, account)]
            };
            let answers = named("beta");
            assert!(answers.iter().all(|(status, ..)| *status == 403), "{what}: {answers:?}");
            // Its length has the name's in it.
            for (theirs, none) in answers.iter().zip(named("nobody")) {
                assert_eq!(theirs.2, none.2, "{what}");
            }
            if *role == "subscriber" {
                continue;
            }
            // Its own catalog, its own ids: what the other account has is nothing here.
            let unknown = Self::ask(asker, "POST", "/v1/events", r#"{"type":"beta.done"}"#);
            let detail = unknown.problem(422, "unknown_event_type");
            assert!(!detail.contains("account `beta`"), "{detail}");
            let event = format!(r#"{{"type":"both.done","id":"{role}-and-beta-1","data":{{}}}}"#);
            let answer = Self::ask(asker, "POST", "/v1/events", &event).expect(202);
            assert!(answer.get("duplicate").is_none(), "{answer}");
            let event = r#"{"type":"both.done","id":"beta-1","data":{}}"#;
            let answer = Self::ask(asker, "POST", "/v1/events", event).expect(202);
            assert_ne!(answer["id"], self.other.event.as_str(), "{answer}");
        }
    }

    /// Makes something for the other account.
    fn make(&self, path: &str, document: &Value) {
        for (role, asker) in &self.askers {
            let ask = |account: &str| {
                Self::ask(asker, "POST", &format!("{path}?account={account}"), &document.to_string())
            };
            let (named, nobody) = (ask("beta"), ask("nobody"));
            assert_eq!(named.status, 403, "{role}: {}", named.text());
            assert_eq!(said(&named, "beta").2, said(&nobody, "nobody").2, "{role}: {path}");
        }
    }

    /// Asks for what is the box's alone.
    fn refused(&self, route: &Route) {
        for (role, asker) in &self.askers {
            let ask = |name: &str| {
                let path = route.path.replace("{name}", name);
                Self::ask(asker, route.method, &path, &json!({"name": name}).to_string())
            };
            let (theirs, none) = (ask("beta"), ask("nobody"));
            assert_eq!(theirs.status, 403, "{role}: {} {}", route.method, route.path);
            theirs.problem(403, "not_allowed");
            assert_eq!(said(&theirs, "beta"), said(&none, "nobody"), "{role}: {}", route.path);
        }
    }

    /// Asks for what is nobody's in particular.
    fn plain(&self, path: &str) {
        for (role, asker) in &self.askers {
            let answer = Self::ask(asker, "GET", path, "");
            assert_eq!(answer.status, 200, "{role}: {}", answer.text());
            is_clean(&answer, &self.other, path);
        }
    }

    /// Everything of the other account, as the operator of all sees it.
    fn all_of_other(&self) -> Vec<Value> {
        let mut all: Vec<_> = LISTS
            .iter()
            .map(|kind| Value::from(self.world.list(&format!("/v1/{kind}?account=beta"))))
            .collect();
        all.push(self.world.get(&format!("/v1/endpoints/{}/secret", self.other.endpoint)));
        all
    }
}

#[test]
fn every_route_keeps_accounts_apart() {
    let both = Both::new();
    both.world.settled_to(both.world.list("/v1/deliveries?status=pending").len() as u64);
    let unchanging = |values: Vec<Value>| {
        let mut text = Value::from(values).to_string();
        // Deliveries of it go on being attempted.
        for field in ["attempt", "step", "due_at", "waiting", "consecutive_failures", "in_flight", "circuit"]
        {
            text = strip(&text, field);
        }
        text
    };
    let before = unchanging(both.all_of_other());
    let every = &ROLES[..];
    let lookers = &ROLES[1..];
    let operators = &ROLES[2..];
    let [events, deliveries, endpoints, keys, jobs] = &both.other.cursors;
    let endpoint = json!({"url": "http://127.0.0.1:9/", "event_types": ["*"]});
    let (event_id, endpoint_id) = (both.other.event.as_str(), both.other.endpoint.as_str());
    let filters = [("event", event_id), ("endpoint", endpoint_id), ("endpoint", "beta-erp")];
    for route in routes::all() {
        match (route.method, route.path) {
            ("POST", "/v1/events") => both.hand_in(),
            ("GET", path @ "/v1/events") => both.list(path, Some(events), &[], every),
            ("GET", "/v1/events/{id}") => both.shown_by_id(route, |of| &of.event, every),
            ("GET", path @ "/v1/deliveries") => both.list(path, Some(deliveries), &filters, every),
            ("GET", "/v1/deliveries/{id}") => both.shown_by_id(route, |of| &of.delivery, every),
            ("GET", path @ "/v1/event-types") => both.list(path, None, &[], every),
            ("GET", path @ "/v1/endpoints") => both.list(path, Some(endpoints), &[], lookers),
            ("POST", path @ "/v1/endpoints") => both.make(path, &endpoint),
            ("GET", "/v1/endpoints/{id}" | "/v1/endpoints/{id}/secret" | "/v1/endpoints/{id}/deliveries") => {
                both.shown_by_id(route, |of| &of.endpoint, lookers);
            }
            ("PATCH", "/v1/endpoints/{id}") => {
                both.by_id(route, |of| &of.endpoint, r#"{"description":"mine"}"#);
            }
            ("DELETE", "/v1/endpoints/{id}")
            | (
                "POST",
                "/v1/endpoints/{id}/enable"
                | "/v1/endpoints/{id}/disable"
                | "/v1/endpoints/{id}/test"
                | "/v1/endpoints/{id}/rotate-secret",
            ) => both.by_id(route, |of| &of.endpoint, ""),
            ("GET", path @ "/v1/keys") => both.list(path, Some(keys), &[], operators),
            ("POST", path @ "/v1/keys") => both.make(path, &json!({"role": "producer"})),
            ("GET", "/v1/keys/{id}") => both.shown_by_id(route, |of| &of.key, operators),
            ("DELETE", "/v1/keys/{id}") => both.by_id(route, |of| &of.key, ""),
            ("POST", "/v1/deliveries/{id}/replay" | "/v1/deliveries/{id}/cancel") => {
                both.by_id(route, |of| &of.delivery, "");
            }
            ("POST", "/v1/endpoints/{id}/recover") => both.by_id(route, |of| &of.endpoint, SINCE),
            ("GET", path @ "/v1/jobs") => both.list(path, Some(jobs), &[], lookers),
            ("GET", "/v1/jobs/{id}") => both.shown_by_id(route, |of| &of.job, lookers),
            ("POST", "/v1/jobs/{id}/cancel") => both.by_id(route, |of| &of.job, ""),
            (
                _,
                "/v1/accounts"
                | "/v1/accounts/{name}"
                | "/v1/accounts/{name}/secret"
                | "/v1/reload"
                | "/v1/store/backup",
            ) => both.refused(route),
            ("GET", path @ ("/v1/status" | "/healthz" | "/readyz" | "/openapi.json")) => both.plain(path),
            (method, path) => panic!("{method} {path} has no line here: say how it keeps accounts apart"),
        }
    }
    assert_eq!(unchanging(both.all_of_other()), before, "nothing of it has changed");
}

/// A document's text without the values of a field.
fn strip(text: &str, field: &str) -> String {
    let name = format!("\"{field}\":");
    let mut parts = text.split(&name);
    let mut whole = parts.next().expect("there is one").to_owned();
    for part in parts {
        let end = part.find([',', '}']).expect("an object ends");
        whole.push_str(&part[end..]);
    }
    whole
}

#[test]
fn neighbours_of_an_id_are_nobodys() {
    let both = Both::new();
    let (_, asker) = &both.askers[2];
    let mut found = BTreeSet::new();
    for id in both.own.ids() {
        let kind = match &id[..3] {
            "evt" => "events",
            "dlv" => "deliveries",
            "ep_" => "endpoints",
            "job" => "jobs",
            _ => "keys",
        };
        let digits = "0123456789abcdefghjkmnpqrstvwxyz";
        for (at, digit) in
            (id.len() - 8..id.len()).flat_map(|at| digits.chars().map(move |digit| (at, digit)))
        {
            let mut near = id.clone();
            near.replace_range(at..=at, &digit.to_string());
            let mut open = both.api.connect().expect("it listens");
            let headers = [("connection", "close")];
            let path = format!("/v1/{kind}/{near}");
            let answer = asker.send(&mut open, "GET", &path, &headers, b"").expect("an answer");
            if answer.status != 404 {
                found.insert(near);
            }
        }
    }
    assert_eq!(found, both.own.ids().into_iter().cloned().collect(), "one's own ids, and none near them");
}

/// With a subscriber's key, and with that of an account's operator, one does again what is the account's, and follows it.
#[test]
fn what_is_ones_own_is_done_again() {
    let both = Both::new();
    for (role, asker) in &both.askers[1..] {
        let does = |path: &str, body: &str, status: u16| Both::ask(asker, "POST", path, body).expect(status);
        let delivery = format!("/v1/deliveries/{}", both.own.delivery);
        assert_eq!(does(&format!("{delivery}/cancel"), "", 200)["status"], "cancelled", "{role}");
        assert_eq!(does(&format!("{delivery}/replay"), "", 200)["status"], "pending", "{role}");
        let made = json!({"url": "http://127.0.0.1:8999/", "event_types": ["both.done"], "enabled": false});
        let made = does("/v1/endpoints", &made.to_string(), 201);
        let endpoint = format!("/v1/endpoints/{}", made["id"].as_str().expect("an id"));
        let begun = does(&format!("{endpoint}/recover"), SINCE, 202);
        assert_eq!((&begun["account"], &begun["endpoint_id"]), (&json!("acme"), &made["id"]), "{role}");
        let job = format!("/v1/jobs/{}", begun["id"].as_str().expect("an id"));
        assert_eq!(asker.get(&job).expect(200)["state"], "running", "{role}");
        let jobs = asker.get("/v1/jobs").expect(200);
        assert_eq!(jobs["items"][0]["id"], begun["id"], "{role}");
        assert_eq!(does(&format!("{job}/cancel"), "", 200)["state"], "cancelled", "{role}");
    }
    // A backup is the box's own.
    let file = both.world.path("backup");
    let backup = post(&both.world, "/v1/store/backup", &json!({"file": file}).to_string());
    let backup = backup["id"].as_str().expect("an id");
    for (role, asker) in &both.askers[1..] {
        for (method, path) in
            [("GET", format!("/v1/jobs/{backup}")), ("POST", format!("/v1/jobs/{backup}/cancel"))]
        {
            let (one, none) = (Both::ask(asker, method, &path, ""), path.replace(backup, &never(backup)));
            let none = Both::ask(asker, method, &none, "");
            assert_eq!(one.status, 404, "{role}: {method} {path}");
            assert_eq!(said(&one, backup), said(&none, &never(backup)), "{role}: {method} {path}");
        }
        assert!(!asker.get("/v1/jobs").text().contains(backup), "{role}");
    }
    let jobs = both.world.list("/v1/jobs");
    assert!(jobs.iter().any(|job| job["id"] == backup), "and they would see it");
}
