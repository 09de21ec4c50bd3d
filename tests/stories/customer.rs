//! A provider's box, one of its customers, and the application that the customer's webhooks go to.
//!
//! [`Story`] is the three together. [`Webhook`] is an endpoint as its customer sees it: every request that it makes goes
//! over TCP with the customer's key. Its last methods are the chapters that all stories have.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};

use crate::{
    example::{Example, call},
    support::{
        api::Api,
        eventually,
        http::Answer,
        receiver::{Hook, Receiver, Reply},
        world::World,
    },
};

/// The customer's account.
pub const ACCOUNT: &str = "acme";
/// What stands in the place of a secret.
pub const MASKED: &str = "••••••";

/// The customer's application. It takes what comes, until it is told otherwise.
pub struct App {
    pub receiver: Receiver,
    mood: Arc<Mutex<Mood>>,
}

struct Mood {
    once: VecDeque<Reply>,
    ever: Reply,
}

impl App {
    /// One that takes what comes by answering with this status.
    pub fn taking(status: u16) -> Self {
        Self::with(status, Receiver::answering)
    }

    /// As [`Self::taking`], with the receiver that is made of what it answers.
    pub fn with(
        status: u16,
        receiver: impl FnOnce(Box<dyn Fn(&Hook) -> Reply + Send + Sync>) -> Receiver,
    ) -> Self {
        let mood = Arc::new(Mutex::new(Mood { once: VecDeque::new(), ever: Reply::Status(status) }));
        let answers = Arc::clone(&mood);
        let answer = move |_: &Hook| {
            let mut mood = lock(&answers);
            mood.once.pop_front().unwrap_or_else(|| mood.ever.clone())
        };
        Self { receiver: receiver(Box::new(answer)), mood }
    }

    /// Answers the next request so, and those after it as before.
    pub fn once(&self, reply: Reply) {
        lock(&self.mood).once.push_back(reply);
    }

    /// Answers with this status from now on.
    pub fn answers(&self, status: u16) {
        lock(&self.mood).ever = Reply::Status(status);
    }

    /// What comes while `act` is done, until there are `count` requests.
    pub fn receives(&self, count: usize, act: impl FnOnce()) -> Vec<Arc<Hook>> {
        let before = self.receiver.hooks().len();
        act();
        self.receiver.wait(before + count).split_off(before)
    }
}

fn lock(mood: &Mutex<Mood>) -> MutexGuard<'_, Mood> {
    mood.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A provider whose daemon runs, and a customer with an account and a key.
pub struct Story {
    pub world: World,
    pub app: App,
    /// The account's answer when it was made.
    pub account: Value,
    api: Api,
}

impl Story {
    /// The operator's part: the daemon runs with the example's configuration, a schedule that no test has to wait for, and
    /// `more`; the account has the provider's catalog and profile, and `further` fields; and there is a key for it.
    pub fn begin(example: Example, app: App, retry: &[&str], further: &Value) -> Self {
        Self::begin_with(example, app, &example.hurried(retry), further, |_| ())
    }

    /// As [`Self::begin`], with what the configuration has besides, and what is put into its directory.
    pub fn begin_with(
        example: Example,
        app: App,
        more: &str,
        further: &Value,
        prepare: impl FnOnce(&World),
    ) -> Self {
        // Nothing goes to the example's own endpoint, which is of another account.
        let mut world = example.world("http://127.0.0.1:9/", more);
        let text = std::fs::read_to_string(world.config()).expect("a configuration");
        let text = text.replacen("[listen]\n", "[listen]\nhttp = \"127.0.0.1:0\"\n", 1);
        std::fs::write(world.config(), text).expect("a configuration");
        prepare(&world);
        world.start();
        let mut types = world.get("/v1/event-types")["items"].clone();
        for one in types.as_array_mut().expect("a catalog") {
            one.as_object_mut().expect("a type").remove("accepted");
        }
        let mut account =
            json!({"name": ACCOUNT, "profile": example.0, "https_only": false, "event_types": types});
        let fields = account.as_object_mut().expect("an object");
        fields.extend(further.as_object().expect("an object").clone());
        let account = call(&world, "POST", "/v1/accounts", &account).expect(201);
        let key = json!({"role": "subscriber", "name": "the customer's dashboard"});
        let key = call(&world, "POST", &format!("/v1/keys?account={ACCOUNT}"), &key).expect(201);
        let api = Api::of(&world).with_key(key["key"].as_str().expect("a key"));
        Self { world, app, account, api }
    }

    /// A request of the customer's.
    pub fn ask(&self, method: &str, path: &str, document: &Value) -> Answer {
        let body = if document.is_null() { String::new() } else { document.to_string() };
        self.api.request(method, path, &[], body.as_bytes())
    }

    /// What the customer sees at a path.
    pub fn see(&self, path: &str) -> Value {
        self.ask("GET", path, &Value::Null).expect(200)
    }

    /// The customer makes an endpoint at the application, for these types, with `further` fields.
    pub fn make(&self, types: &[&str], further: &Value) -> Webhook<'_> {
        let mut document = json!({"url": self.app.receiver.url("/hooks"), "event_types": types});
        let fields = document.as_object_mut().expect("an object");
        fields.extend(further.as_object().expect("an object").clone());
        let answer = self.ask("POST", "/v1/endpoints", &document);
        let made = answer.expect(201);
        let id = made["id"].as_str().expect("an id").to_owned();
        assert_eq!(answer.header("location"), format!("/v1/endpoints/{id}"));
        assert_eq!((&made["account"], &made["enabled"]), (&json!(ACCOUNT), &json!(true)));
        Webhook { story: self, id, made }
    }

    /// The producer hands an event of the customer's in, on the socket; its id.
    pub fn emit(&self, event_type: &str, data: &Value) -> String {
        self.emit_with(event_type, data, &json!({}))
    }

    /// As [`Self::emit`], with `further` keys.
    pub fn emit_with(&self, event_type: &str, data: &Value, further: &Value) -> String {
        let mut event = json!({"type": event_type, "account": ACCOUNT, "data": data});
        let fields = event.as_object_mut().expect("an object");
        fields.extend(further.as_object().expect("an object").clone());
        let taken = self.world.post(&event.to_string()).expect(202);
        taken["id"].as_str().expect("an id").to_owned()
    }

    /// The only delivery of an event that the customer sees, whole.
    pub fn delivery(&self, event: &str) -> Value {
        let list = self.see(&format!("/v1/deliveries?event={event}"));
        let items = list["items"].as_array().expect("a list");
        assert_eq!(items.len(), 1, "{list}");
        self.see(&format!("/v1/deliveries/{}", id(&items[0])))
    }

    /// The same, once it is no longer pending.
    pub fn ended(&self, event: &str) -> Value {
        eventually("the delivery has ended", || {
            let delivery = self.delivery(event);
            (delivery["status"] != "pending").then_some(delivery)
        })
    }

    /// The customer has one delivery made again, and waits for its end.
    pub fn replayed(&self, event: &str) -> Value {
        let delivery = self.delivery(event);
        self.ask("POST", &format!("/v1/deliveries/{}/replay", id(&delivery)), &Value::Null).expect(200);
        let again = self.ended(event);
        assert_eq!(again["id"], delivery["id"], "it is the same delivery");
        again
    }
}

/// An endpoint of the customer's.
pub struct Webhook<'a> {
    story: &'a Story,
    pub id: String,
    /// The answer when it was made.
    pub made: Value,
}

impl Webhook<'_> {
    /// A request about it.
    pub fn ask(&self, method: &str, beneath: &str, document: &Value) -> Answer {
        self.story.ask(method, &format!("/v1/endpoints/{}{beneath}", self.id), document)
    }

    /// How it stands.
    pub fn shown(&self) -> Value {
        self.ask("GET", "", &Value::Null).expect(200)
    }

    /// Its newest secret, from where the dashboard shows it.
    pub fn secret(&self) -> String {
        let answer = self.ask("GET", "/secret", &Value::Null);
        assert_eq!(answer.header("cache-control"), "no-store");
        answer.expect(200)["secret"].as_str().expect("a secret").to_owned()
    }

    /// Makes another secret; the secrets before sign for so long as well.
    pub fn rotate(&self, overlap: &str) -> Value {
        self.ask("POST", "/rotate-secret", &json!({"overlap": overlap})).expect(200)
    }

    /// Waits until only the newest secret is in force.
    pub fn overlap_is_over(&self) {
        eventually("the overlap is over", || {
            let secrets = self.ask("GET", "/secret", &Value::Null).expect(200);
            (secrets["secrets"].as_array().map(Vec::len) == Some(1)).then_some(())
        });
    }

    /// Its past events that the filters leave, page after page of two.
    pub fn past(&self, filters: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.ask("GET", &format!("/deliveries?limit=2{filters}{cursor}"), &Value::Null);
            let page = page.expect(200);
            let more = page["items"].as_array().expect("a list");
            assert!(more.len() <= 2, "{page}");
            items.extend(more.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// *A test*: it is told in full, comes to the application, and is no past event. The request that came, and what the
    /// customer was told.
    pub fn is_tried(&self) -> (Arc<Hook>, Value) {
        let mut told = Value::Null;
        let hook = self
            .story
            .app
            .receives(1, || {
                told = self.ask("POST", "/test", &json!({"data": {"test": true}})).expect(200);
            })
            .remove(0);
        assert_eq!(told["success"], true, "{told}");
        assert_eq!(told["request"]["body"], hook.text());
        assert_eq!(told["request"]["url"], self.story.app.receiver.url("/hooks"));
        assert_eq!(told["address"], self.story.app.receiver.address().to_string());
        assert!(told["phases"]["total"].as_f64() > Some(0.0), "{told}");
        assert!(told["response"]["status_code"].is_u64() && told["response"]["status"].is_string(), "{told}");
        assert!(self.past("").is_empty());
        (hook, told)
    }

    /// *A mishap*: the application fails at one event with this answer, and takes it when it comes again. The two requests
    /// that came, and the delivery with both attempts.
    pub fn stumbles(&self, event_type: &str, data: &Value, reply: Reply) -> (Vec<Arc<Hook>>, Value) {
        self.story.app.once(reply);
        let mut event = String::new();
        let hooks = self.story.app.receives(2, || event = self.story.emit(event_type, data));
        let delivery = self.story.ended(&event);
        assert_eq!(
            (&delivery["status"], &delivery["attempt"]),
            (&json!("succeeded"), &json!(2)),
            "{delivery}"
        );
        let attempts = delivery["attempts"].as_array().expect("a list");
        assert_eq!((attempts.len(), hooks.len()), (2, 2), "each is in the history");
        for (attempt, (hook, number)) in attempts.iter().zip(hooks.iter().zip(1..)) {
            assert_eq!(attempt["number"], number);
            assert_eq!(attempt["request"]["body"], hook.text());
            for (name, value) in attempt["request"]["headers"].as_object().expect("headers") {
                assert!(*value == MASKED || value == hook.header(name), "{name}: {value}");
            }
        }
        assert_eq!(hooks[0].body, hooks[1].body, "the same is sent again");
        (hooks, delivery)
    }

    /// *Past events*: what was accepted for it, as (event, type, status) in its order, is found newest first, by status, by
    /// type and by time.
    pub fn past_events_are(&self, accepted: &[(&str, &str, &str)], pattern: &str, of_pattern: usize) {
        let newest_first = |keep: &dyn Fn(&(&str, &str, &str)) -> bool| -> Vec<String> {
            accepted.iter().rev().filter(|one| keep(one)).map(|one| one.0.to_owned()).collect()
        };
        let found = |filters: &str| -> Vec<String> {
            self.past(filters).iter().map(|one| one["event_id"].as_str().expect("an id").to_owned()).collect()
        };
        assert_eq!(found(""), newest_first(&|_| true));
        for status in ["pending", "succeeded", "failed", "cancelled"] {
            assert_eq!(found(&format!("&status={status}")), newest_first(&|one| one.2 == status), "{status}");
        }
        let prefix = pattern.strip_suffix('*').unwrap_or(pattern);
        let of_type = newest_first(&|one| one.1.starts_with(prefix));
        assert_eq!(of_type.len(), of_pattern, "the story says how many {pattern} are");
        assert_eq!(found(&format!("&type={pattern}")), of_type, "{pattern}");
        // Several may have been accepted in one millisecond.
        let all = self.past("");
        let middle = all[all.len() / 2]["accepted_at"].as_str().expect("a time").to_owned();
        let later = all.iter().filter(|one| one["accepted_at"].as_str() >= Some(&middle)).count();
        assert!(later > 0, "at least the one in the middle");
        assert_eq!(found(&format!("&since={middle}")), newest_first(&|_| true)[..later]);
        assert_eq!(found(&format!("&until={middle}")), newest_first(&|_| true)[later..]);
    }

    /// *An outage*: the application is down while these events come, and all of them fail after `attempts`. When it is up
    /// again the customer has one of them made again, and then recovers the rest, which is followed to its end.
    pub fn recovers(&self, events: &[(&str, Value)], attempts: usize, status: u16) -> Vec<String> {
        let story = self.story;
        story.app.answers(500);
        let events: Vec<_> = events.iter().map(|(event_type, data)| story.emit(event_type, data)).collect();
        let failed: Vec<_> = events.iter().map(|event| story.ended(event)).collect();
        for delivery in &failed {
            assert_eq!(
                (&delivery["status"], &delivery["reason"], &delivery["attempt"]),
                (&json!("failed"), &json!("exhausted"), &json!(attempts)),
                "{delivery}"
            );
        }
        story.app.answers(status);
        let again = story.replayed(&events[0]);
        assert_eq!((&again["status"], &again["attempt"]), (&json!("succeeded"), &json!(attempts + 1)));
        let ended = failed.iter().map(|one| one["ended_at"].as_str().expect("a time")).min();
        let job = self.recovered(ended.expect("there are some"));
        assert_eq!(job["progress"]["replayed"], events.len() - 1, "all but the one that was replayed: {job}");
        for event in &events {
            let delivery = story.ended(event);
            assert_eq!(delivery["status"], "succeeded", "{delivery}");
            let last = delivery["attempts"].as_array().expect("a list").last().expect("an attempt");
            assert_eq!((&last["why"], &last["number"]), (&json!("replay"), &json!(attempts + 1)));
        }
        events
    }

    /// Has all replayed that has failed since a time, follows the job to its end, and gives it back.
    pub fn recovered(&self, since: &str) -> Value {
        let answer = self.ask("POST", "/recover", &json!({"since": since}));
        let job = answer.expect(202);
        assert_eq!((&job["kind"], &job["endpoint_id"]), (&json!("recover"), &json!(self.id)));
        let job = eventually("the job has ended", || {
            let job = self.story.see(answer.header("location"));
            (job["state"] != "running").then_some(job)
        });
        assert_eq!((&job["state"], &job["error"]), (&json!("done"), &Value::Null), "{job}");
        job
    }

    /// *A pause*: while it is disabled nothing comes; what came for it is discarded at the first, and delivered at the
    /// second. The events, the discarded one first.
    pub fn pauses(&self, event_type: &str, data: &Value) -> [String; 2] {
        let held = || {
            let paused = self.ask("POST", "/disable", &Value::Null).expect(200);
            assert_eq!((&paused["enabled"], &paused["disabled_reason"]), (&json!(false), &json!("operator")));
            let event = self.story.emit(event_type, data);
            let delivery = self.story.delivery(&event);
            assert_eq!(
                (&delivery["status"], &delivery["waiting"], &delivery["attempt"]),
                (&json!("pending"), &json!("disabled"), &json!(0))
            );
            eventually("it is counted", || (self.shown()["pending"] == 1).then_some(()));
            event
        };
        let before = self.story.app.receiver.hooks().len();
        let first = held();
        let enabled = self.ask("POST", "/enable", &json!({"pending": "discard"})).expect(200);
        assert_eq!((&enabled["enabled"], &enabled["discarded"]), (&json!(true), &json!(1)), "{enabled}");
        let discarded = self.story.ended(&first);
        assert_eq!((&discarded["status"], &discarded["reason"]), (&json!("cancelled"), &json!("discarded")));
        self.is_found_as_cancelled("discarded");
        let second = held();
        assert_eq!(self.story.app.receiver.hooks().len(), before, "nothing came meanwhile");
        let enabled = self.ask("POST", "/enable", &json!({"pending": "deliver"})).expect(200);
        assert_eq!((&enabled["resumed"], &enabled["discarded"]), (&json!(1), &json!(0)), "{enabled}");
        assert_eq!(self.story.ended(&second)["status"], "succeeded");
        [first, second]
    }

    /// Waits until the newest that is found by the status `cancelled` is so for this reason: it is shown as cancelled at once,
    /// and found so when its row says it, too.
    fn is_found_as_cancelled(&self, reason: &str) {
        eventually("it is found as cancelled", || {
            (self.past("&status=cancelled").first()?["reason"] == reason).then_some(())
        });
    }

    /// *Health*: the numbers are those of its past events.
    pub fn health_is_told(&self) -> Value {
        let (mut attempts, mut successes) = (0, 0);
        for item in self.past("") {
            let delivery = self.story.see(&format!("/v1/deliveries/{}", id(&item)));
            attempts += delivery["attempts"].as_array().expect("a list").len();
            // A success ends a delivery; one that was made again had not succeeded before.
            successes += usize::from(delivery["status"] == "succeeded");
        }
        // What is on disk is counted a moment later.
        let health = eventually("the numbers are those of its past events", || {
            let health = self.shown()["health"].clone();
            (health["attempts"] == attempts && health["successes"] == successes).then_some(health)
        });
        assert!(attempts > successes && successes > 0, "the story has both: {health}");
        let rate = health["success_rate"].as_f64().expect("a number");
        let [attempts, successes] =
            [attempts, successes].map(|count| f64::from(u32::try_from(count).expect("few")));
        assert!((rate * attempts - successes).abs() < 0.01, "{health}");
        assert!(health["last_success_at"].is_string() && health["last_failure_at"].is_string(), "{health}");
        assert_eq!(health["oldest_pending_at"], Value::Null, "nothing is pending");
        health
    }

    /// *The end*: deleted while two deliveries wait, it says that these are cancelled; nobody finds it any more, and its
    /// past events are still there.
    pub fn ends(self, event_type: &str, data: &Value) {
        let before = self.past("").len();
        self.ask("PATCH", "", &json!({"enabled": false})).expect(200);
        let waiting = [(); 2].map(|()| self.story.emit(event_type, data));
        let answer = self.ask("DELETE", "", &Value::Null).expect(200);
        assert_eq!(answer, json!({"id": self.id, "cancelled": 2}));
        self.ask("GET", "", &Value::Null).problem(404, "not_found");
        for event in waiting {
            let delivery = self.story.ended(&event);
            assert_eq!(
                (&delivery["status"], &delivery["reason"]),
                (&json!("cancelled"), &json!("endpoint_deleted"))
            );
        }
        assert_eq!(self.past("").len(), before + 2, "the history stays");
        self.is_found_as_cancelled("endpoint_deleted");
    }
}

/// The id of what the API shows.
pub fn id(document: &Value) -> &str {
    document["id"].as_str().unwrap_or_else(|| panic!("no id: {document}"))
}

/// Each attempt's reason, and the status that came back.
pub fn told(delivery: &Value) -> Vec<(String, u64)> {
    let attempts = delivery["attempts"].as_array().expect("a list");
    let one = |attempt: &Value| {
        let status = attempt["response"]["status_code"].as_u64().expect("it was answered");
        (attempt["why"].as_str().expect("a word").to_owned(), status)
    };
    attempts.iter().map(one).collect()
}
