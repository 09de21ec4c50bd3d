//! A provider's example: its configuration with another address in it, its receivers, its README's commands.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::support::{
    eventually,
    http::Answer,
    program::{Program, is_there, post, split},
    receiver::{Hook, Receiver},
    sign::unix_seconds,
    skip,
    world::{World, stderr, stdout},
};

/// `examples/providers/NAME`.
#[derive(Clone, Copy)]
pub struct Example(pub &'static str);

impl Example {
    /// Where its files are.
    pub fn directory(self) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/providers").join(self.0)
    }

    /// One of its files.
    pub fn file(self, name: &str) -> String {
        let path = self.directory().join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The payload that its README hands in, as the daemon keeps it: without the line break at the file's end.
    pub fn sample(self) -> String {
        self.file("sample.json").trim().to_owned()
    }

    /// The value of the line `key = "…"` of its configuration, or of all of them.
    pub fn value(self, key: &str) -> String {
        let text = self.file("posthaste.toml");
        let start = format!("{key} = \"");
        let found = text.lines().filter_map(|line| line.strip_prefix(&start)?.split('"').next());
        let mut found: Vec<_> = found.collect();
        found.dedup();
        assert_eq!(found.len(), 1, "{key}: {found:?}");
        found[0].to_owned()
    }

    /// The commands of its README, in their order.
    pub fn commands(self) -> Vec<String> {
        let text = self.file("README.md");
        let commands = text.lines().filter_map(|line| line.strip_prefix("    "));
        commands.take(3).map(str::to_owned).collect()
    }

    /// The types of its catalog, in their order.
    pub fn types(self) -> Vec<String> {
        let text = self.file("posthaste.toml");
        let blocks = text.split("[[accounts.default.event_type]]\nname = \"").skip(1);
        blocks.map(|block| block.split('"').next().expect("a name").to_owned()).collect()
    }

    /// A copy of its directory whose configuration has the endpoint at `url` and `more` at its end. Nothing runs yet.
    pub fn world(self, url: &str, more: &str) -> World {
        let world = World::new("");
        for entry in fs::read_dir(self.directory()).expect("an example") {
            let entry = entry.expect("an entry");
            // What a person has tried there stays out.
            if entry.file_type().expect("a type").is_file() {
                fs::copy(entry.path(), world.path(&entry.file_name().to_string_lossy())).expect("a copy");
            }
        }
        let text = self.file("posthaste.toml");
        let text = replaced(&text, "\"posthaste-data/posthaste.sock\"", "\"p.sock\"");
        let text = replaced(&text, "\"posthaste-data/outbox.redb\"", "\"outbox.redb\"");
        let (address, _) = split(url);
        let text = replaced(&text, split(&self.value("url")).0, address);
        fs::write(world.config(), text + more).expect("a configuration");
        world
    }

    /// The daemon with the example's configuration and this receiver, and `more`.
    pub fn running(self, receiver: &Receiver, more: &str) -> World {
        let mut world = self.world(&receiver.url("/"), more);
        world.start();
        world
    }

    /// The example's profile with another schedule, to be written at the end of the configuration.
    pub fn hurried(self, retry: &[&str]) -> String {
        format!("\n[profiles.{}]\nretry = {retry:?}\njitter = 0.0\n", self.0)
    }

    /// Runs the commands of the README, the first with `runner` if it is here, and waits until the receiver has handled
    /// the event: the receiver, the daemon, the delivery.
    pub fn as_it_stands(self, runner: &str) -> Option<(Program, World, Value)> {
        let [_, serve, emit]: [String; 3] = self.commands().try_into().expect("three commands");
        assert_eq!(serve, "posthaste serve --config posthaste.toml");
        let command = runner.split(' ').next().expect("a command");
        if !is_there(command) {
            skip(&format!("there is no {command} here for the receiver of {}", self.0), command != "go");
            return None;
        }
        let program = Program::start(&self.directory(), runner, &["0"]);
        let url = program.url();
        assert_eq!(split(&url).1, split(&self.value("url")).1, "the receiver and the configuration agree");
        let mut world = self.world(&url, "");
        world.start();
        let emit: Vec<_> = emit.strip_prefix("posthaste ").expect("a command").split(' ').collect();
        let output = world.cli(&emit);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let delivery = world.ended(stdout(&output).trim());
        assert_eq!((&delivery["status"], &delivery["attempt"]), (&json!("succeeded"), &json!(1)));
        eventually("the receiver has handled it", || (program.count("handled ") == 1).then_some(()));
        Some((program, world, delivery))
    }

    /// Holds `posthaste verify --profile NAME` to taking a request that came, and to nothing else.
    pub fn verifies(self, world: &World, hook: &Hook, secret: &str) {
        let verify = |secret: &str, body: &[u8]| {
            fs::write(world.path("body"), body).expect("a file");
            let headers = hook.headers.iter().map(|(name, value)| format!("--header={name}: {value}"));
            let mut arguments = vec!["verify".to_owned(), format!("--profile={}", self.0)];
            arguments.extend(headers.chain([format!("--secret={secret}"), "body".to_owned()]));
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            let output = world.cli(&arguments);
            (output.status.code(), stderr(&output))
        };
        let genuine = verify(secret, &hook.body);
        assert_eq!(genuine.0, Some(0), "{}", genuine.1);
        // One character of the secret is another.
        let wrong = secret.replacen(['3', 'f', 'k'], "7", 1);
        assert_eq!(verify(&wrong, &hook.body).0, Some(65));
        let signed = hook.headers.iter().any(|(name, _)| name.ends_with("-signature"));
        assert_eq!(
            verify(secret, &[&hook.body, " ".as_bytes()].concat()).0,
            Some(if signed { 65 } else { 0 })
        );
    }

    /// Emits one event of each type of the catalog, with the type as its payload.
    pub fn emit_all(self, world: &World) -> Vec<(String, String)> {
        self.types().into_iter().map(|name| (world.emit(&name, &json!(name)), name)).collect()
    }

    /// Holds `posthaste listen --profile NAME` to verifying what the daemon sends.
    pub fn listens(self, secret: Option<&str>) {
        let secret: Vec<_> = secret.into_iter().flat_map(|secret| ["--secret", secret]).collect();
        let arguments = [&["--profile", self.0, "--port", "0", "--json"], &*secret].concat();
        let listener = Program::start(
            &self.directory(),
            &format!("{} listen", env!("CARGO_BIN_EXE_posthaste")),
            &arguments,
        );
        let told = |index: usize| -> Value {
            let line = eventually("a line", || listener.lines().into_iter().nth(index));
            serde_json::from_str(&line).expect("JSON")
        };
        let said = told(0);
        let mut world = self.world(said["url"].as_str().expect("a URL"), "");
        world.start();
        let event = world.emit(self.commands()[2].split(' ').nth(2).expect("a type"), &json!({"n": 1}));
        assert_eq!(world.ended(&event)["status"], "succeeded");
        let seen = told(1);
        let expected = if secret.is_empty() { Value::Null } else { json!(true) };
        assert_eq!((&seen["verified"], &seen["reason"]), (&expected, &Value::Null), "{seen}");
    }
}

/// `text` with the only `old` in it replaced.
fn replaced(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "{old}");
    text.replace(old, new)
}

/// Texts in order.
pub fn sorted<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut texts: Vec<String> = texts.into_iter().map(Into::into).collect();
    texts.sort_unstable();
    texts
}

/// The names of a catalog as `GET /v1/event-types` lists it, of one effect, in their order.
pub fn catalog(world: &World, effect: &str) -> Vec<String> {
    let types = world.get("/v1/event-types")["items"].clone();
    let types = types.as_array().expect("a list").iter().filter(|one| one["effect"] == effect);
    types.map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
}

/// Holds every door to refusing `wrong`, and naming `nearest`.
pub fn refuses(world: &World, wrong: &str, nearest: &str) {
    let answer = world.post(&json!({"type": wrong, "data": {}}).to_string());
    let detail = answer.problem(422, "unknown_event_type");
    assert!(detail.contains(&format!("did you mean `{nearest}`?")), "{detail}");
    let output = world.cli(&["emit", wrong]);
    assert_eq!(output.status.code(), Some(65));
    assert!(stderr(&output).contains(&format!("`{nearest}`")), "{}", stderr(&output));
}

/// Milliseconds since 1970 of a time as the API writes it.
pub fn millis(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("no time: {time}"));
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().expect("digits");
    assert!(text.len() == 24 && text.ends_with('Z'), "{text}");
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    // Years begin in March here: the day that a leap year has more is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + number(11, 13) * 3_600 + number(14, 16) * 60 + number(17, 19);
    seconds * 1_000 + number(20, 23)
}

/// How long a pending delivery waits from the end of its last attempt, in milliseconds.
pub fn waits(delivery: &Value) -> i64 {
    let attempts = delivery["attempts"].as_array().expect("a list");
    let last = attempts.last().expect("an attempt");
    millis(&delivery["due_at"]) - millis(&last["started_at"])
}

/// Waits until the only delivery of an event has had so many attempts.
pub fn attempted(world: &World, event: &str, count: usize) -> Value {
    eventually("it was attempted", || {
        let delivery = world.delivery(event);
        (delivery["attempts"].as_array().map(Vec::len) == Some(count)).then_some(delivery)
    })
}

/// Makes a request of the API with a document.
pub fn call(world: &World, method: &str, path: &str, document: &Value) -> Answer {
    world.request(method, path, &[("content-type", "application/json")], document.to_string().as_bytes())
}

/// Makes an endpoint over the API.
pub fn make(world: &World, url: &str, event_types: &[&str]) -> Value {
    call(world, "POST", "/v1/endpoints", &json!({"url": url, "event_types": event_types})).expect(201)
}

/// The path of an endpoint in the API.
pub fn path(endpoint: &Value) -> String {
    format!("/v1/endpoints/{}", endpoint["id"].as_str().unwrap_or_else(|| panic!("no id: {endpoint}")))
}

/// Sends a request with owned values.
pub fn send(program: &Program, headers: &[(&'static str, String)], body: &[u8]) -> (u16, String) {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    post(&program.url(), &headers, body)
}

/// Holds a receiver of signed requests to refusing what is old, early, changed or unsigned, and to handling each
/// delivery once. `sign` makes the headers of a request from its time, its delivery and its body.
pub fn judges(
    program: &Program,
    body: &[u8],
    sign: impl Fn(i64, &str, &[u8]) -> Vec<(&'static str, String)>,
) {
    let handled = program.count("handled ");
    let now = unix_seconds();
    for off in [-310, 310] {
        assert_eq!(send(program, &sign(now + off, "one", body), body).0, 401, "{off} s from now");
    }
    assert_eq!(send(program, &[], body).0, 401, "nothing is signed");
    let headers = sign(now, "one", body);
    let mut changed = body.to_vec();
    changed.push(b' ');
    assert_eq!(send(program, &headers, &changed).0, 401, "the body was changed");
    for missing in 0..headers.len() {
        let mut rest = headers.clone();
        let (name, _) = rest.remove(missing);
        assert!([400, 401].contains(&send(program, &rest, body).0), "without {name}");
    }
    for off in [-290, 290] {
        let delivery = format!("at{off}");
        let (status, text) = send(program, &sign(now + off, &delivery, body), body);
        assert_eq!((status, text.as_str()), (200, "OK\n"), "{off} s from now");
        let (status, text) = send(program, &sign(now, &delivery, body), body);
        assert_eq!((status, text.as_str()), (200, "Already processed\n"));
    }
    // What a program prints comes later than what it answers.
    eventually("two are handled, and two known again", || {
        let counts = (program.count("handled "), program.count("repeated "));
        (counts == (handled + 2, 2)).then_some(())
    });
}
