//! `posthaste verify`, through the binary: what the daemon sends, and what was changed on the way. The signatures are
//! computed here a second time, from what the providers' pages say.

mod support;

use std::{fs, process::Output};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{crypto::aws_lc_rs, pki_types::alg_id};
use serde_json::json;
use support::{
    config::{endpoint, endpoint_with_secret},
    receiver::{Hook, Receiver},
    sign::hmac_sha256,
    world::{World, json_of, posthaste, stderr, stdin_of, stdout},
};

/// Other people's webhooks as profiles, as the page of profiles prints them.
fn recipes() -> &'static str {
    let page = include_str!("../docs/profiles.md");
    let (_, block) = page.split_once("# recipes\n").expect("the recipes are marked");
    block.split_once("```").expect("the block ends").0
}

/// And other forms.
const FURTHER: &str = r#"
[profiles.token.signature]
algorithm = "none"
[profiles.token.headers]
X-Webhook-Secret = "{secret}"

[profiles.bare.signature]
algorithm = "none"
[profiles.bare.headers]

[profiles.tenant.signature]
signed = "{account}.{timestamp}.{body}"

[profiles.asymmetric.signature]
algorithm = "ed25519"
"#;

const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";

/// A private key of ed25519, and its public one as Python's `cryptography` gives it.
const PRIVATE: &str = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const PUBLIC: &str = "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";

/// Has an event delivered under a profile, and gives the request with the world's directory.
fn delivered(profile: &str, secret: &str) -> (World, Hook) {
    let receiver = Receiver::start();
    let secret_line = endpoint_with_secret("one", &receiver.url("/in"), &["*"], profile, secret);
    let world = World::running(&(secret_line + recipes() + FURTHER));
    world.emit("invoice.paid", &json!({"amount": 1.5}));
    receiver.wait(1);
    let hook = receiver.hooks().remove(0);
    drop(receiver);
    let hook = Hook {
        method: hook.method.clone(),
        path: hook.path.clone(),
        headers: hook.headers.clone(),
        body: hook.body.clone(),
        at: hook.at,
        earlier: 0,
        from: 0,
    };
    (world, hook)
}

/// Runs the command on a request; `args` are `--profile`, `--secret` and such.
fn verify(world: &World, hook: &Hook, args: &[&str]) -> Output {
    fs::write(world.path("body"), &hook.body).expect("a file");
    let headers =
        hook.headers.iter().flat_map(|(name, value)| ["--header".into(), format!("{name}: {value}")]);
    let mut command = posthaste();
    command.args(["verify", "--config"]).arg(world.config()).args(headers).args(args);
    command.arg(world.path("body")).output().expect("the binary was built")
}

/// The command's exit code, and all that it said.
fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), stdout(output) + &stderr(output))
}

fn hmac_hex(parts: &[&[u8]]) -> String {
    hex::encode(hmac_sha256(SECRET.as_bytes(), parts))
}

#[test]
fn stripe() {
    let (world, hook) = delivered("stripe", SECRET);
    let header = hook.header("stripe-signature");
    let (time, signature) = header.split_once(',').expect("two elements");
    let time = time.strip_prefix("t=").expect("t=");
    assert_eq!(signature, format!("v1={}", hmac_hex(&[time.as_bytes(), b".", &hook.body])));
    let (code, text) = said(&verify(&world, &hook, &["--profile", "stripe", "--secret", SECRET]));
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.starts_with("verified: hmac-sha256 over {timestamp}.{body} (profile stripe), made "),
        "{text}"
    );
}

#[test]
fn github() {
    let (world, hook) = delivered("github", SECRET);
    assert_eq!(hook.header("x-hub-signature-256"), format!("sha256={}", hmac_hex(&[&hook.body])));
    assert_eq!(hook.header("x-github-event"), "invoice.paid");
    let args = ["--profile", "github", "--secret", SECRET, "--json"];
    let document = json_of(&verify(&world, &hook, &args));
    assert_eq!((&document["verified"], &document["algorithm"]), (&json!(true), &json!("hmac-sha256")));
    assert_eq!(document["delivery_id"], hook.header("x-github-delivery"));
    assert_eq!(document["event_type"], "invoice.paid");
    // No time is signed: a copy is as good at any time.
    let later = ["--profile", "github", "--secret", SECRET, "--at", "2099-01-01T00:00:00Z"];
    let (code, text) = said(&verify(&world, &hook, &later));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("no time is signed"), "{text}");
}

#[test]
fn slack() {
    let (world, hook) = delivered("slack", SECRET);
    let time = hook.header("x-slack-request-timestamp");
    let signature = hmac_hex(&[b"v0:", time.as_bytes(), b":", &hook.body]);
    assert_eq!(hook.header("x-slack-signature"), format!("v0={signature}"));
    let (code, text) = said(&verify(&world, &hook, &["--profile", "slack", "--secret", SECRET]));
    assert_eq!(code, Some(0), "{text}");
}

/// aws-lc's ed25519 judges the signature, besides our own.
#[test]
fn standard_webhooks_with_ed25519() {
    let (world, hook) = delivered("asymmetric", PRIVATE);
    let (id, time) = (hook.header("webhook-id"), hook.header("webhook-timestamp"));
    let signature = hook.header("webhook-signature").strip_prefix("v1a,").expect("the asymmetric version");
    let message = [id.as_bytes(), b".", time.as_bytes(), b".", &hook.body].concat();
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let ed25519 =
        algorithms.iter().find(|one| one.public_key_alg_id() == alg_id::ED25519).expect("it has it");
    let key = STANDARD.decode(&PUBLIC["whpk_".len()..]).expect("base64");
    let bytes = STANDARD.decode(signature).expect("base64");
    assert!(ed25519.verify_signature(&key, &message, &bytes).is_ok());
    for key in [PUBLIC, PRIVATE] {
        let (code, text) = said(&verify(&world, &hook, &["--profile", "asymmetric", "--secret", key]));
        assert_eq!(code, Some(0), "{text}");
        assert!(text.starts_with("verified: ed25519 over"), "{text}");
    }
    let mut changed = hook;
    changed.body.push(b' ');
    let (code, text) = said(&verify(&world, &changed, &["--profile", "asymmetric", "--secret", PUBLIC]));
    assert_eq!(code, Some(65), "{text}");
}

#[test]
fn what_is_wrong_is_told() {
    let (world, mut hook) = delivered("stripe", SECRET);
    let stripe = |hook: &Hook, args: &[&str]| {
        let (code, text) = said(&verify(&world, hook, &[&["--profile", "stripe"], args].concat()));
        assert_eq!(code, Some(65), "{text}");
        assert!(text.starts_with("posthaste: not verified: "), "{text}");
        text
    };
    let right = ["--secret", SECRET];
    assert!(stripe(&hook, &["--secret", "another"]).contains("wrong secret"));
    let old = stripe(&hook, &["--secret", SECRET, "--at", "2099-01-01T00:00:00Z"]);
    assert!(old.contains(" old\n") && old.contains("--at TIME"), "{old}");
    let early = stripe(&hook, &["--secret", SECRET, "--at", "1h", "--tolerance", "59m"]);
    assert!(early.contains(" ahead\n"), "{early}");
    let wide = ["--profile", "stripe", "--secret", SECRET, "--at", "1h", "--tolerance", "61m"];
    assert_eq!(said(&verify(&world, &hook, &wide)).0, Some(0));

    let body = hook.body.clone();
    hook.body = [&body[..], b"\n"].concat();
    assert!(stripe(&hook, &right).contains("without the line end"), "{}", stripe(&hook, &right));
    hook.body = b"{\"amount\":1.6}".to_vec();
    assert!(stripe(&hook, &right).contains("body or headers were changed"));
    hook.body = body;
    let signature =
        hook.headers.iter_mut().find(|(name, _)| name == "stripe-signature").expect("it is there");
    "v1=00".clone_into(&mut signature.1);
    let form = stripe(&hook, &right);
    assert!(form.contains("header stripe-signature is not of the profile's form"), "{form}");
    assert!(form.contains("`t={timestamp},v1={signature}`"), "{form}");
    hook.headers.retain(|(name, _)| name != "stripe-signature");
    assert!(stripe(&hook, &right).contains("the header stripe-signature is missing"));
    let document = verify(&world, &hook, &["--profile", "stripe", "--secret", SECRET, "--json"]);
    assert_eq!(document.status.code(), Some(65));
    let document: serde_json::Value = serde_json::from_slice(&document.stdout).expect("JSON");
    assert_eq!(document["verified"], json!(false), "{document}");
}

#[test]
fn a_secret_in_a_header_is_compared() {
    let (world, hook) = delivered("token", SECRET);
    assert_eq!(hook.header("x-webhook-secret"), SECRET);
    let (code, text) = said(&verify(&world, &hook, &["--profile", "token", "--secret", SECRET]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("nothing is signed"), "{text}");
    let (code, text) = said(&verify(&world, &hook, &["--profile", "token", "--secret", "another"]));
    assert_eq!(code, Some(65), "{text}");
    assert!(!text.contains(SECRET), "{text}");
}

#[test]
fn what_is_signed_and_in_no_header_is_said() {
    let secret = support::config::secret();
    let (world, hook) = delivered("tenant", &secret);
    let tenant = ["--profile", "tenant", "--secret", &secret];
    let (code, text) = said(&verify(&world, &hook, &tenant));
    assert_eq!(code, Some(64), "{text}");
    assert!(text.contains("--fact account="), "{text}");
    for (fact, code) in [("account=default", 0), ("account=other", 65)] {
        let output = verify(&world, &hook, &[&tenant[..], &["--fact", fact]].concat());
        assert_eq!(said(&output).0, Some(code), "{fact}: {}", said(&output).1);
    }
}

#[test]
fn a_secret_need_not_stand_on_the_command_line() {
    let (world, hook) = delivered("github", SECRET);
    fs::write(world.path("secret.txt"), format!("{SECRET}\n")).expect("a file");
    let file = format!("@{}", world.path("secret.txt").display());
    let (code, text) = said(&verify(&world, &hook, &["--profile", "github", "--secret", &file]));
    assert_eq!(code, Some(0), "{text}");
    fs::write(world.path("body"), &hook.body).expect("a file");
    for (secret, code) in [(SECRET, 0), ("another", 65)] {
        let mut command = posthaste();
        command.env("POSTHASTE_SECRET", secret).args(["verify", "--profile", "github", "--config"]);
        command.arg(world.config()).stdin(stdin_of(&world.path("body")));
        let header = format!("X-Hub-Signature-256: {}", hook.header("x-hub-signature-256"));
        let output = command.args(["--header", &header, "-"]).output().expect("the binary was built");
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    }
}

#[test]
fn wrong_usage_is_told_from_a_wrong_webhook() {
    let receiver = Receiver::start();
    let world = World::new(&(endpoint("one", &receiver.url("/"), &["*"], "raw") + recipes() + FURTHER));
    fs::write(world.path("body"), "{}").expect("a file");
    fs::write(world.path("bad.toml"), "[profiles.x]\ntimeot = '1s'\n").expect("a file");
    let secret = support::config::secret();
    for (args, code, part) in [
        (&["--profile", "nobody", "body"][..], 64, "there is no profile nobody"),
        (&["--profile", "raw", "body"], 64, "--secret is missing"),
        (&["--profile", "raw", "--secret", "s3cr3t", "body"], 64, "whsec_"),
        (&["--profile", "bare", "--config", "posthaste.toml", "body"], 64, "nothing to verify"),
        (&["--profile", "raw", "--config", "bad.toml", "body"], 78, "timeot"),
        (&["--profile", "raw", "--secret", &secret, "gone"], 74, "gone"),
        (&["--profile", "raw", "--secret", "@gone", "body"], 74, "gone"),
        (&["--profile", "raw", "--secret", &secret, "body"], 65, "webhook-signature is missing"),
    ] {
        let output = world.cli(&[&["verify"], args].concat());
        let (got, text) = said(&output);
        assert_eq!(got, Some(code), "{args:?}: {text}");
        assert!(text.contains(part), "{args:?}: {text}");
        assert!(!text.contains(&secret) && !text.contains("s3cr3t"), "{text}");
    }
}
