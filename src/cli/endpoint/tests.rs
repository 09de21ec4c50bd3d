use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::cli::{exit::Exit, fake::Daemon, testing::Output};

const ID: &str = "ep_01hqr2p1qq8k3v7r5m6n0x9y2z";
const SECRET: &str = "whsec_c2VjcmV0";

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// One made over the API, with `changes`.
fn endpoint(changes: &Value) -> Value {
    let mut endpoint = json!({
        "id": ID, "account": "default", "name": null, "description": "ERP", "url": "https://erp.example/hooks",
        "event_types": ["video.*", "a.b"], "profile": "posthaste", "own_profile": false,
        "headers": {"authorization": "••••••"}, "enabled": true, "disabled_reason": null, "disabled_since": null,
        "created_at": "2026-11-22T02:50:00.000Z", "updated_at": "2026-11-22T02:57:00.000Z",
        "consecutive_failures": 3, "pending": 12, "in_flight": 1, "owner": "api"
    });
    let changes = changes.as_object().expect("an object").clone();
    endpoint.as_object_mut().expect("an object").extend(changes);
    endpoint
}

/// One of the configuration.
fn configured(name: &str, changes: &Value) -> Value {
    let mut one =
        endpoint(&json!({"name": name, "description": null, "headers": {}, "owner": "configuration"}));
    one.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
    one
}

fn page(items: &[Value]) -> Value {
    json!({"items": items, "next_cursor": null})
}

/// What a command line asked and printed.
struct Ran {
    daemon: Daemon,
    output: Output,
    result: Result<(), CliError>,
}

fn run_line(line: &[&str], answers: &[Value], output: Output) -> Ran {
    let mut output = output;
    let daemon = Daemon::start(answers.iter().map(|answer| (200, answer.to_string())).collect());
    let command = Line::try_parse_from([&["endpoint"], line].concat()).expect("a good line").command;
    let result = run(&command, &daemon.paths(), &mut output.screen());
    Ran { daemon, output, result }
}

/// As [`run_line`], for a command that succeeds; its requests, output and remarks.
fn ran(line: &[&str], answers: &[Value]) -> (Vec<String>, String, String) {
    let ran = run_line(line, answers, Output::new());
    ran.result.expect("it prints");
    (ran.daemon.lines(), ran.output.text(), ran.output.notes())
}

#[test]
fn a_list() {
    let old = json!({
        "url": null, "event_types": [], "profile": null, "enabled": false, "disabled_reason": "not_configured",
        "disabled_since": "2026-11-22T02:57:00.000Z", "pending": 0, "consecutive_failures": 0
    });
    let items = page(&[endpoint(&json!({})), configured("old", &old)]);
    let (lines, text, _) = ran(&["list", "--account", "default"], &[items]);
    assert_eq!(lines, ["GET /v1/endpoints?account=default HTTP/1.1"]);
    assert_eq!(
        text,
        "NAME                           STATE                     SINCE                ACCOUNT  URL                        TYPES        PROFILE    PENDING  FAILURES  24H  ID\n\
         ep_01hqr2p1qq8k3v7r5m6n0x9y2z  enabled                   -                    default  https://erp.example/hooks  video.* a.b  posthaste       12         3    -  ep_01hqr2p1qq8k3v7r5m6n0x9y2z\n\
         old                            disabled: not_configured  2026-11-22 02:57:00  default  -                                       -                0         0    -  ep_01hqr2p1qq8k3v7r5m6n0x9y2z\n"
    );
}

#[test]
fn its_health_is_shown() {
    let health = json!({"since": "2026-11-21T04:00:00.000Z", "attempts": 3000, "successes": 2999, "success_rate": 0.9996,
        "last_success_at": "2026-11-22T02:57:00.000Z", "last_failure_at": "2026-11-22T02:00:00.000Z",
        "oldest_pending_at": "2026-11-22T01:00:00.000Z"});
    let (_, text, _) = ran(&["show", ID], &[endpoint(&json!({"health": health}))]);
    let end = "  pending      12, 1 being attempted\n               the oldest since 2026-11-22 01:00:00 (2h ago)\n  failures     3 in a row\n  \
               success      99.9%: 2999 of 3000 attempts since 2026-11-21 04:00:00\n  \
               last success 2026-11-22 02:57:00 (3m ago)\n  last failure 2026-11-22 02:00:00 (60m ago)\n";
    assert!(text.ends_with(end), "{text}");
    for (attempts, successes, rate) in [(0, 0, "-"), (1, 0, "0.0%"), (3, 3, "100%"), (2_000, 1_999, "99.9%")]
    {
        let health = HealthView { attempts, successes, ..HealthView::default() };
        assert_eq!(super::rate(&health), rate);
    }
}

#[test]
fn one_is_made() {
    let mut made = endpoint(&json!({"enabled": false}));
    made["secret"] = json!(SECRET);
    let line = [
        "add",
        "https://erp.example/hooks",
        "--type",
        "video.*",
        "--type",
        "a.b",
        "--description",
        "ERP",
        "--header",
        "Authorization: Bearer x:y",
        "--disabled",
        "--account",
        "acme",
    ];
    let ran = run_line(&line, &[made.clone()], Output::new());
    ran.result.expect("it is made");
    let request = &ran.daemon.requests()[0];
    assert_eq!(request.line, "POST /v1/endpoints?account=acme HTTP/1.1");
    assert_eq!(
        serde_json::from_slice::<Value>(&request.body).expect("JSON"),
        json!({
            "url": "https://erp.example/hooks", "event_types": ["video.*", "a.b"], "description": "ERP",
            "headers": {"Authorization": "Bearer x:y"}, "enabled": false
        })
    );
    assert_eq!(ran.output.text(), format!("{ID}\n"), "for $(…)");
    assert_eq!(
        ran.output.notes(),
        format!(
            "its secret: `posthaste endpoint secret {ID}`\n\
             disabled until `posthaste endpoint enable {ID}`\n"
        )
    );
    let ran = run_line(&["add", "https://a.example/", "--type", "*"], &[made.clone()], Output::json());
    ran.result.expect("it is made");
    assert_eq!(ran.output.text(), format!("{made}\n"), "byte for byte, with the secret");
}

#[test]
fn a_secret_can_come_from_a_file() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{SECRET}\n")).expect("a file");
    let argument = format!("@{}", file.path().display());
    let line = ["add", "https://a.example/", "--type", "*", "--secret", &argument];
    let ran = run_line(&line, &[endpoint(&json!({"secret": SECRET}))], Output::new());
    ran.result.expect("it is made");
    let body: Value = serde_json::from_slice(&ran.daemon.requests()[0].body).expect("JSON");
    assert_eq!(body["secret"], SECRET);
    let line = ["add", "https://a.example/", "--type", "*", "--header", "A: 1", "--header", "A: 2"];
    let twice = run_line(&line, &[], Output::new()).result.expect_err("twice");
    assert_eq!((twice.to_string().as_str(), twice.exit()), ("the header `A` is there twice", Exit::Usage));
}

#[test]
fn one_is_shown() {
    let (lines, text, _) = ran(&["show", ID], &[endpoint(&json!({}))]);
    assert_eq!(lines, [format!("GET /v1/endpoints/{ID} HTTP/1.1")], "an id costs no look-up");
    assert_eq!(
        text,
        "ep_01hqr2p1qq8k3v7r5m6n0x9y2z\n  \
           state        enabled\n  \
           description  ERP\n  \
           url          https://erp.example/hooks\n  \
           types        video.* a.b\n  \
           profile      posthaste (its account's)\n  \
           headers      authorization: ••••••\n  \
           account      default\n  \
           owner        api: `posthaste endpoint update` changes it\n  \
           made         2026-11-22 02:50:00 (10m ago)\n  \
           changed      2026-11-22 02:57:00 (3m ago)\n  \
           pending      12, 1 being attempted\n  \
           failures     3 in a row\n"
    );
    let disabled = |reason: &str| json!({"enabled": false, "disabled_reason": reason, "disabled_since": "2026-11-22T02:57:00.000Z"});
    for (reason, part) in [
        ("operator", "are held until `posthaste endpoint enable`\n"),
        ("failures", "; `test` tries it"),
        ("no_credential", "`posthaste status` tells what it lacks"),
    ] {
        let (_, text, _) = ran(&["show", ID], &[configured("erp", &disabled(reason))]);
        assert!(text.contains(&format!("  state        disabled: {reason} since")), "{text}");
        assert!(text.contains(part) && text.contains("configuration: it is changed there"), "{text}");
    }
}

#[test]
fn names_are_looked_up() {
    let mut first = page(&[configured("dms", &json!({"id": "ep_01hqr2p1qq8k3v7r5m6n0x9y30"}))]);
    first["next_cursor"] = json!("x");
    let second = page(&[endpoint(&json!({})), configured("erp", &json!({}))]);
    let (lines, ..) = ran(&["show", "erp"], &[first, second.clone(), configured("erp", &json!({}))]);
    assert_eq!(
        lines,
        [
            "GET /v1/endpoints?limit=500 HTTP/1.1".to_owned(),
            "GET /v1/endpoints?limit=500&cursor=x HTTP/1.1".to_owned(),
            format!("GET /v1/endpoints/{ID} HTTP/1.1")
        ]
    );
    let unknown = run_line(&["show", "epr"], &[second], Output::new()).result.expect_err("no such name");
    assert_eq!(unknown.exit(), Exit::Data);
    assert_eq!(
        unknown.to_string(),
        "no endpoint is called `epr`: did you mean `erp`? `posthaste endpoint list` shows all, with their ids"
    );
    let several = page(&[configured("erp", &json!({})), configured("erp", &json!({"account": "acme"}))]);
    let several = run_line(&["show", "erp"], &[several], Output::new()).result.expect_err("two");
    assert_eq!(several.exit(), Exit::Usage);
    assert!(several.to_string().contains("default, acme; say which with --account"), "{several}");
}

#[test]
fn one_is_changed() {
    for (line, body) in [
        (&["--url", "https://b.example/"][..], json!({"url": "https://b.example/"})),
        (&["--type", "*", "--profile", "raw"], json!({"event_types": ["*"], "profile": "raw"})),
        (&["--header", "A: b", "--description", ""], json!({"headers": {"A": "b"}, "description": ""})),
        (
            &["--no-headers", "--no-profile", "--no-description"],
            json!({"headers": null, "profile": null, "description": null}),
        ),
    ] {
        let ran = run_line(&[&["update", ID], line].concat(), &[endpoint(&json!({}))], Output::new());
        ran.result.expect("it is changed");
        let request = &ran.daemon.requests()[0];
        assert_eq!(request.line, format!("PATCH /v1/endpoints/{ID} HTTP/1.1"));
        assert_eq!(serde_json::from_slice::<Value>(&request.body).expect("JSON"), body);
        assert!(ran.output.text().starts_with(ID), "{}", ran.output.text());
    }
}

#[test]
fn one_is_enabled_disabled_and_removed() {
    let enabled =
        |resumed: u64, discarded: u64| endpoint(&json!({"resumed": resumed, "discarded": discarded}));
    let lacking = json!({"enabled": false, "disabled_reason": "no_profile", "resumed": 0, "discarded": 0});
    for (line, answer, verb, text) in [
        (&["enable", ID][..], enabled(2, 0), "POST /enable", "enabled, 2 deliveries go on"),
        (
            &["enable", ID, "--pending", "discard"],
            enabled(0, 1),
            "POST /enable",
            "enabled, 1 delivery is cancelled",
        ),
        (
            &["enable", ID],
            endpoint(&lacking),
            "POST /enable",
            "enabled, 0 deliveries go on; but it stays disabled: no_profile",
        ),
        (
            &["disable", ID],
            endpoint(&json!({"enabled": false, "disabled_reason": "operator"})),
            "POST /disable",
            "disabled, 12 deliveries are held until it is enabled",
        ),
        (
            &["remove", ID],
            json!({"id": ID, "cancelled": 12}),
            "DELETE ",
            "removed, 12 deliveries are cancelled",
        ),
    ] {
        let (lines, shown, _) = ran(line, &[answer]);
        let (method, verb) = verb.split_once(' ').expect("a method");
        assert_eq!(lines, [format!("{method} /v1/endpoints/{ID}{verb} HTTP/1.1")]);
        assert_eq!(shown, format!("{ID}: {text}\n"));
    }
    let ran = run_line(&["enable", ID, "--pending", "discard"], &[enabled(0, 1)], Output::new());
    assert_eq!(ran.daemon.requests()[0].body, b"{\"pending\":\"discard\"}");
}

#[test]
fn secrets_are_printed_alone() {
    let view = json!({"secret": SECRET, "secrets": [
        {"secret": SECRET, "created_at": "2026-11-22T02:57:00.000Z", "until": null},
        {"secret": "whsec_b2xk", "created_at": null, "until": "2026-11-22T04:00:00.000Z"}
    ]});
    let (lines, text, notes) = ran(&["secret", ID], std::slice::from_ref(&view));
    assert_eq!(lines, [format!("GET /v1/endpoints/{ID}/secret HTTP/1.1")]);
    assert_eq!(
        (text, notes),
        (format!("{SECRET}\n"), "1 before it signs too: --all shows them\n".to_owned())
    );
    let (_, text, _) = ran(&["secret", ID, "--all"], std::slice::from_ref(&view));
    assert_eq!(
        text,
        "SECRET OR PUBLIC KEY  MADE                 SIGNS UNTIL\n\
         whsec_c2VjcmV0        2026-11-22 02:57:00  -\n\
         whsec_b2xk            -                    2026-11-22 04:00:00\n"
    );
    let ran = run_line(&["rotate-secret", ID, "--overlap", "1h30m"], &[view], Output::new());
    ran.result.expect("it is rotated");
    assert_eq!(ran.daemon.requests()[0].body, b"{\"overlap\":\"1h30m\"}");
    assert_eq!(ran.output.text(), format!("{SECRET}\n"));
    assert_eq!(ran.output.notes(), "the secret before signs too until 2026-11-22 04:00:00 (in 60m)\n");
}

#[test]
fn private_keys_are_not_printed() {
    let one = json!({"secret": "whsk_cHJpdmF0ZQ==", "public_key": "whpk_cHVibGlj", "created_at": null, "until": null});
    let mut view = one.clone();
    view["secrets"] = json!([one]);
    for line in [&["secret", ID][..], &["rotate-secret", ID], &["secret", ID, "--all"]] {
        let (_, text, _) = ran(line, std::slice::from_ref(&view));
        assert!(text.contains("whpk_cHVibGlj") && !text.contains("whsk_"), "{text}");
    }
}

#[test]
fn a_test_is_told_in_full() {
    let answer = |status: u16, success: bool| {
        json!({
            "success": success, "event_id": "evt_01hqr2p1qq8k3v7r5m6n0x9y2z",
            "delivery_id": "dlv_01hqr2p1qq8k3v7r5m6n0x9y2z", "event_type": "a.b",
            "started_at": "2026-11-22T02:57:00.000Z", "address": "10.0.0.7:443", "reconnected": false,
            "phases": {"total": 12.5, "headers": 10.0},
            "request": {"url": "https://erp.example/", "headers": {"webhook-id": "x"}, "body": "{\"n\":1}"},
            "response": {"status_code": status, "status": format!("{status} X"), "headers": [["server", "nginx"]],
                         "body": "hm", "body_truncated": false, "message": "told so", "failure": null}
        })
    };
    let ran = run_line(
        &["test", ID, "--type", "a.b", "--data", "{ \"n\":1.0}"],
        &[answer(200, true)],
        Output::new(),
    );
    ran.result.expect("it was taken");
    assert_eq!(ran.daemon.requests()[0].body, b"{\"type\":\"a.b\",\"data\":{ \"n\":1.0}}", "byte for byte");
    assert_eq!(
        ran.output.text(),
        "Test of ep_01hqr2p1qq8k3v7r5m6n0x9y2z  200 X\n  \
           message   told so\n  \
           event     a.b  evt_01hqr2p1qq8k3v7r5m6n0x9y2z\n  \
           delivery  dlv_01hqr2p1qq8k3v7r5m6n0x9y2z\n  \
           address   10.0.0.7:443\n  \
           phases    total 12 ms: headers 10 ms\n  \
           request   POST https://erp.example/\n            webhook-id: x\n  \
           sent      {\"n\":1}\n  \
           answer    server: nginx\n  \
           body      hm\n"
    );
    let ran = run_line(&["test", ID], &[answer(500, false)], Output::json());
    let error = ran.result.expect_err("it was not taken");
    assert_eq!(
        (error.to_string().as_str(), error.exit()),
        ("the test did not succeed: told so", Exit::TryAgain)
    );
    assert!(ran.output.text().contains("\"success\":false"), "it is told all the same");
    assert_eq!(ran.daemon.requests()[0].body, b"{}");
    let bad = run_line(&["test", ID, "--data", "{n:1}"], &[], Output::new()).result.expect_err("no JSON");
    assert_eq!(bad.exit(), Exit::Data);
}

#[test]
fn an_open_circuit_says_since_when() {
    let circuit = json!({"open_since": "2026-11-22T02:57:00.000Z", "failed_probes": 3,
        "next_probe_at": "2026-11-22T03:02:00.000Z"});
    let open = configured("erp", &json!({"circuit": circuit}));
    let daemon = Daemon::start(vec![(200, page(&[open]).to_string())]);
    let mut output = Output::new();
    let list = Line::try_parse_from(["endpoint", "list"]).expect("a good line").command;
    run(&list, &daemon.paths(), &mut output.screen()).expect("it prints");
    let line = output.text().lines().nth(1).expect("a row").to_owned();
    assert!(line.contains("  enabled, circuit open  2026-11-22 02:57:00  "), "{line}");
}
