//! `docs/receivers.md`: the programs that it prints are those of `examples/receivers`, and they tell what the daemon
//! sends from what somebody else made, changed, or kept for later.
//!
//! `POSTHASTE_BLESS=1 cargo test --test receivers` writes the programs into the page. A language that is not here is
//! skipped, and the test says so.

mod support;

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use support::{
    config::{KEY, endpoint, secret},
    program::is_there,
    receiver::Receiver,
    sign::{hmac_sha256, unix_seconds},
    skip,
    world::World,
};

/// Each program, with what runs it and what needs to be there for it.
const PROGRAMS: [(&str, &[&str], &[&str]); 4] = [
    ("verify.py", &["python3"], &[]),
    ("verify.mjs", &["node"], &[]),
    ("verify.go", &["go", "run"], &[]),
    ("verify.sh", &["sh"], &["openssl", "od"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_page_prints_the_programs() {
    let path = root().join("docs/receivers.md");
    let committed = fs::read_to_string(&path).expect("docs/receivers.md");
    let mut page = committed.clone();
    for (name, _, _) in PROGRAMS {
        let file = format!("examples/receivers/{name}");
        let text = fs::read_to_string(root().join(&file)).expect("a program");
        let marker = format!("<!-- {file} -->\n```");
        let (before, rest) = page.split_once(&marker).unwrap_or_else(|| panic!("no {marker}"));
        let (language, rest) = rest.split_once('\n').expect("a block");
        let end = if rest.starts_with("```") { 0 } else { rest.find("\n```\n").expect("its end") + 1 };
        page = format!("{before}{marker}{language}\n{text}{}", &rest[end..]);
    }
    if env::var_os("POSTHASTE_BLESS").is_some() {
        fs::write(&path, &page).expect("written");
    }
    assert!(
        page == committed || env::var_os("POSTHASTE_BLESS").is_some(),
        "docs/receivers.md does not print what examples/receivers has: run POSTHASTE_BLESS=1 cargo test --test receivers"
    );
}

/// A webhook as a receiver has it before it.
#[derive(Clone)]
struct Webhook {
    id: String,
    timestamp: String,
    signatures: String,
    body: Vec<u8>,
}

impl Webhook {
    /// One that was made so long after now, with this key.
    fn made(key: &[u8], after: i64) -> Self {
        let (id, timestamp) = ("dlv_1".to_owned(), (unix_seconds() + after).to_string());
        let body = "{\"a\": 1.50, \"b\": \"é\\u0000\"}\n".as_bytes().to_vec();
        let mac = hmac_sha256(key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", &body]);
        Self { id, timestamp, signatures: format!("v1,{}", STANDARD.encode(mac)), body }
    }

    /// Why the program does not take it; nothing if it does.
    fn judged(&self, runner: &[&str], program: &Path) -> String {
        let mut child = Command::new(runner[0])
            .args(&runner[1..])
            .arg(program)
            .args([&self.id, &self.timestamp, &self.signatures])
            .env("WEBHOOK_SECRET", secret())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it is there");
        // One that has seen enough does not read the body.
        let _ = child.stdin.take().expect("it is piped").write_all(&self.body);
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.success(), said.is_empty(), "{}: {said}", program.display());
        said
    }
}

/// What no program may take, and why.
fn forgeries(genuine: &Webhook) -> Vec<(&'static str, Webhook, &'static str)> {
    let with = |change: fn(&mut Webhook)| {
        let mut webhook = genuine.clone();
        change(&mut webhook);
        webhook
    };
    vec![
        ("another body", with(|webhook| webhook.body.push(b' ')), "signature"),
        ("another id", with(|webhook| webhook.id.push('x')), "signature"),
        ("no signature", with(|webhook| webhook.signatures.clear()), "signature"),
        ("a signature cut short", with(|webhook| webhook.signatures.truncate(20)), "signature"),
        ("a pattern", with(|webhook| "v1,* *".clone_into(&mut webhook.signatures)), "signature"),
        ("another version", with(|webhook| webhook.signatures.replace_range(..2, "v2")), "signature"),
        ("another secret", Webhook::made(b"somebody else's", 0), "signature"),
        ("old", Webhook::made(KEY, -310), "timestamp"),
        ("early", Webhook::made(KEY, 310), "timestamp"),
        ("no timestamp", with(|webhook| webhook.timestamp.clear()), "timestamp"),
        ("no number", with(|webhook| "a[$(id)]".clone_into(&mut webhook.timestamp)), "timestamp"),
    ]
}

#[test]
fn the_programs_tell_genuine_webhooks_from_others() {
    let receiver = Receiver::start();
    let world = World::running(&endpoint("erp", &receiver.url("/"), &["*"], "posthaste"));
    world.emit("scan.finished", &json!({"pages": 3, "name": "é"}));
    let hook = receiver.wait(1).remove(0);
    let sent = Webhook {
        id: hook.header("webhook-id").to_owned(),
        timestamp: hook.header("webhook-timestamp").to_owned(),
        signatures: hook.header("webhook-signature").to_owned(),
        body: hook.body.clone(),
    };
    let mut rotating = sent.clone();
    rotating.signatures = format!("v1,{} {}", STANDARD.encode("a secret of tomorrow"), sent.signatures);
    for (name, runner, needed) in PROGRAMS {
        if let Some(missing) = [&runner[..1], needed].concat().into_iter().find(|command| !is_there(command))
        {
            skip(&format!("there is no {missing} here for {name}"), missing != "go");
            continue;
        }
        let program = root().join("examples/receivers").join(name);
        let genuine = [&sent, &rotating, &Webhook::made(KEY, -290), &Webhook::made(KEY, 290)];
        for (index, webhook) in genuine.into_iter().enumerate() {
            assert_eq!(webhook.judged(runner, &program), "", "{name}, {index}");
        }
        for (what, webhook, why) in forgeries(&sent) {
            let said = webhook.judged(runner, &program);
            assert!(said.contains(why), "{name}, {what}: {said}");
        }
    }
}
