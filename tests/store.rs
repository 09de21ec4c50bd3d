//! The store as a file: checked, compacted, copied while the daemon runs, put back, and written out, by the built binary.

mod support;

#[path = "store/golden.rs"]
mod golden;
#[path = "store/packed.rs"]
mod packed;

use std::{
    collections::HashSet,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::{Output, Stdio},
};

use rustix::fs::{FallocateFlags, fallocate};
use serde_json::{Value, json};
use support::{
    api::Api,
    config::{endpoint, profile},
    eventually,
    http::Answer,
    receiver::{Receiver, Reply},
    world::{World, json_of, run_in, stderr, stdin_of, stdout},
};

/// Answers 204 beneath `/ok`, and fails beneath `/fail`.
fn receiver() -> Receiver {
    Receiver::answering(|hook| Reply::Status(if hook.path.starts_with("/ok") { 204 } else { 500 }))
}

/// One endpoint that succeeds, one that keeps an order and fails, and callbacks.
fn config(ok: &str, fail: &str) -> String {
    let secret = support::config::secret();
    format!(
        "network.allow = [\"127.0.0.0/8\"]\nnetwork.require_clock = false\n[accounts.default]\nprofile = \"raw\"\n\
         https_only = false\nsecret = \"{secret}\"\n[[spool]]\npath = \"spool\"\n"
    ) + &profile(
        "patient",
        &["0s"].into_iter().chain(["2s"; 60]).collect::<Vec<_>>(),
        "order = \"fifo\"\nexpire = \"365d\"\ncircuit = 0",
    ) + &endpoint("ok", ok, &["*"], "raw")
        + &endpoint("fail", fail, &["order.*"], "patient")
}

fn world(receiver: &Receiver) -> World {
    let world = World::new(&config(&receiver.url("/ok"), &receiver.url("/fail")));
    fs::create_dir(world.path("spool")).expect("a directory");
    world
}

/// Something of everything that an event can be.
fn fill(world: &World, receiver: &Receiver) {
    for n in 0..20 {
        let event = json!({"type": "order.made", "id": format!("n-{n}"), "key": format!("k-{}", n % 3), "data": {"n": n}});
        world.post(&event.to_string()).expect(202);
    }
    for event in [
        json!({"type": "plain.one", "data": {"text": "two\nlines"}}),
        json!({"type": "plain.late", "delay": "2h", "data": [1, 2]}),
        json!({"type": "plain.back", "url": receiver.url("/ok/callback"), "time": "2026-11-22T02:57:00Z"}),
        json!({"specversion": "1.0", "type": "cloud.text", "source": "/s", "id": "c1", "datacontenttype": "text/plain", "data": "hällo"}),
        json!({"specversion": "1.0", "type": "cloud.bytes", "source": "/s", "id": "c2", "datacontenttype": "application/pdf", "data_base64": "AP8B"}),
    ] {
        world.post(&event.to_string()).expect(202);
    }
    world.post("{\"type\":\"plain.odd\", \"id\": \"odd\", \"data\": {\n  \"n\" : 1.0 }}").expect(202);
    fs::write(world.path("spool/.a"), "{\"type\":\"spool.one\",\"data\":{}}")
        .and_then(|()| fs::rename(world.path("spool/.a"), world.path("spool/a.json")))
        .expect("a file");
    eventually("the file is taken", || (!world.path("spool/a.json").exists()).then_some(()));
    receiver.wait_for("one is delivered to its callback", |hooks| {
        hooks.iter().any(|hook| hook.path == "/ok/callback")
    });
    // Three orders have a head that fails, and all but the late one are delivered to the other.
    world.settled_to(20 + 1);
}

fn store(world: &World, args: &[&str]) -> Output {
    let mut all = vec!["store"];
    all.extend(args);
    world.cli(&all)
}

/// Runs a command on the stopped store of a world.
fn stopped(world: &World, command: &str, more: &[&str]) -> Output {
    let config = world.config().display().to_string();
    let mut args = vec![command];
    args.extend(more);
    args.extend(["--config", &config]);
    store(world, &args)
}

fn check(world: &World, file: &Path) -> Value {
    json_of(&store(world, &["check", "--json", "--store", file.to_str().expect("UTF-8")]))
}

fn export(world: &World, file: &Path, more: &[&str]) -> Vec<Value> {
    let mut args = vec!["export", "--store", file.to_str().expect("UTF-8")];
    args.extend(more);
    let output = store(world, &args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn of_kind<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["kind"] == kind).collect()
}

#[track_caller]
fn refused(output: &Output, code: i32, words: &str) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(words), "{text}");
}

#[test]
fn a_stopped_store_is_checked_compacted_and_written_out() {
    let receiver = receiver();
    let mut world = world(&receiver);
    world.start();
    fill(&world, &receiver);
    for command in ["check", "compact", "export"] {
        refused(&stopped(&world, command, &[]), 75, "stop its daemon first");
    }
    refused(&stopped(&world, "restore", &["x"]), 75, "stop its daemon first");
    refused(&store(&world, &["check", "--socket", "p.sock"]), 64, "leave --socket out");

    // After `kill -9` too; and nothing of the file is changed by those who look.
    world.kill();
    let path = world.path("outbox.redb");
    let before = fs::read(&path).expect("a file");
    let report = check(&world, &path);
    assert_eq!((&report["ok"], &report["closed"]), (&json!(true), &json!(false)), "{report}");
    assert_eq!(of_kind(&export(&world, &path, &[]), "event").len(), 27);
    assert!(fs::read(&path).expect("a file") == before);
    world.start();
    world.stop();

    let output = stopped(&world, "check", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("nothing is wrong") && text.contains("closed by its daemon"), "{text}");
    let length = fs::metadata(&path).expect("a file").len();
    let sizes = json_of(&stopped(&world, "compact", &["--json"]));
    let after = fs::metadata(&path).expect("a file").len();
    assert_eq!((&sizes["size_before"], &sizes["size"]), (&json!(length), &json!(after)));
    assert!(after <= length, "{after} after {length}");
    let report = check(&world, &path);
    assert_eq!((&report["ok"], &report["closed"]), (&json!(true), &json!(true)), "{report}");
    world.start();
    world.settled_to(21);
    world.stop();
    refused(&store(&world, &["check", "--store", "p.toml"]), 65, "no such file");
    refused(&store(&world, &["check", "--store", "posthaste.toml"]), 65, "is no posthaste store");
}

/// A store with other bytes in its events, wherever they stand: nothing but a checksum tells.
fn damaged(store: &[u8]) -> Vec<u8> {
    let mut damaged = store.to_vec();
    let places = store.windows(6).enumerate().filter(|(_, bytes)| *bytes == b"plain.");
    places.for_each(|(place, _)| damaged[place] ^= 1);
    assert!(damaged != store, "there is something to damage");
    damaged
}

#[test]
fn damage_is_found() {
    let receiver = receiver();
    let mut world = world(&receiver);
    world.start();
    fill(&world, &receiver);
    world.stop();
    let path = world.path("outbox.redb");
    let whole = fs::read(&path).expect("a file");
    fs::write(&path, damaged(&whole)).expect("a file");
    let output = stopped(&world, "check", &["--json"]);
    refused(&output, 65, "restore a backup");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["ok"], &report["findings"][0]["table"]), (&json!(false), &json!("redb")), "{report}");
    refused(&stopped(&world, "check", &[]), 65, "1 finding");
    fs::write(&path, whole).expect("a file");
    assert_eq!(check(&world, &path)["ok"], true);
}

#[test]
fn a_backup_under_load_has_what_was_acknowledged_before_its_moment() {
    let receiver = receiver();
    let mut world = world(&receiver);
    world.start();
    fill(&world, &receiver);
    let backup = world.path("backup.redb");
    let mut stream = world.stream();
    let mut acknowledged: Vec<String> = Vec::new();
    let line = |n: usize| {
        json!({"type": "load.one", "data": {"n": n, "pad": "x".repeat(20_000)}}).to_string() + "\n"
    };
    let mut take = |count: usize, acknowledged: &mut Vec<String>| {
        for n in 0..count {
            stream.send(line(n));
        }
        let ids =
            stream.answers(count).into_iter().map(|answer| answer["id"].as_str().expect("an id").to_owned());
        acknowledged.extend(ids);
    };
    take(200, &mut acknowledged);
    let before = acknowledged.len();
    let answer =
        world.request("POST", "/v1/store/backup", &[], json!({"file": backup}).to_string().as_bytes());
    let job = answer.expect(202)["id"].as_str().expect("an id").to_owned();
    assert_eq!(answer.header("location"), format!("/v1/jobs/{job}"));
    let ended = loop {
        take(20, &mut acknowledged);
        let job = world.get(&format!("/v1/jobs/{job}"));
        if job["state"] != "running" {
            break job;
        }
    };
    assert_eq!((&ended["state"], &ended["error"]), (&json!("done"), &Value::Null), "{ended}");
    let metadata = fs::metadata(&backup).expect("it is there");
    assert_eq!((metadata.permissions().mode() & 0o777, &ended["size"]), (0o600, &json!(metadata.len())));
    assert!(ended["store_growth"].is_u64(), "{ended}");
    take(20, &mut acknowledged);

    assert_eq!(check(&world, &backup)["ok"], true);
    let lines = export(&world, &backup, &["--events"]);
    let ids: Vec<_> = lines
        .iter()
        .filter(|line| line["type"] == "load.one")
        .map(|line| line["id"].as_str().expect("an id"))
        .collect();
    assert!((before..acknowledged.len()).contains(&ids.len()), "{} of {}", ids.len(), acknowledged.len());
    assert_eq!(ids, acknowledged[..ids.len()], "the first that were acknowledged, without a gap");

    // Put back, it goes on: with its events, with attempts that are marked, and with new ids. Marked is what was due by
    // then, as the three are that have been attempted again since.
    let count = ids.len();
    let attempted = receiver.hooks_at("/fail").len();
    eventually("what failed when the backup was made has been due again", || {
        let hooks = receiver.hooks_at("/fail");
        let again: HashSet<_> = hooks[attempted..].iter().map(|hook| &hook.body).collect();
        (again.len() == 3).then_some(())
    });
    world.stop();
    let output = stopped(&world, "restore", &[backup.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("the store that was there is "), "{}", stdout(&output));
    let kept = fs::read_dir(world.path("")).expect("a list").filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().contains(".before-restore-"))
    });
    assert_eq!(kept.count(), 1);
    world.start();
    assert_eq!(world.list("/v1/events").len(), 27 + count);
    assert_eq!(world.get("/v1/status")["store"]["unclean_start"], true);
    let id = world.emit("load.new", &json!({}));
    assert!(!acknowledged.contains(&id));
    let jobs = world.list("/v1/jobs");
    assert!(jobs.is_empty(), "the backup's own job is not one that has failed: {jobs:?}");
    world.settled_to(21);
    let delivery = world.list("/v1/deliveries?status=pending&type=order.*").pop().expect("one is pending");
    eventually("what was being attempted is marked", || {
        let delivery = world.get(&format!("/v1/deliveries/{}", delivery["id"].as_str().expect("an id")));
        let attempts = delivery["attempts"].as_array().expect("a list");
        attempts.iter().any(|attempt| attempt["why"] == "after_crash").then_some(())
    });
    world.stop();
}

#[test]
fn a_backup_is_made_without_whoever_asked_for_it() {
    let world = World::running("");
    let mut number = 0;
    eventually("three have come to their end", || {
        number += 1;
        let file = json!({"file": world.path(&format!("backup-{number}.redb"))});
        world.hang_up("POST", "/v1/store/backup", &file.to_string());
        let jobs = world.list("/v1/jobs");
        (jobs.iter().filter(|job| job["state"] == "done").count() >= 3).then_some(())
    });
}

#[test]
fn a_backup_says_no_at_once_and_waits_for_no_other() {
    let receiver = receiver();
    let mut world = world(&receiver);
    world.start();
    fill(&world, &receiver);
    let there = world.path("there");
    fs::write(&there, "mine").expect("a file");
    let ask = |body: Value| world.request("POST", "/v1/store/backup", &[], body.to_string().as_bytes());
    ask(json!({"file": there})).problem(409, "file_exists");
    ask(json!({"file": "there"})).problem(422, "file_unusable");
    ask(json!({"file": world.path("no/such/directory")})).problem(422, "file_unusable");
    ask(json!({"file": 5})).problem(400, "bad_request");
    ask(json!({})).problem(400, "bad_request");
    refused(&store(&world, &["backup", "there"]), 65, "is there already");
    assert_eq!(fs::read_to_string(&there).expect("a file"), "mine");
    assert!(world.list("/v1/jobs").is_empty(), "none was made for these");

    let output = store(&world, &["backup", "one.redb"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(text.contains("done") && text.contains("the store grew by"), "{text}");
    let output = store(&world, &["backup", "two.redb", "--no-wait", "--json"]);
    let job = json_of(&output);
    eventually("it is made", || {
        let job = world.get(&format!("/v1/jobs/{}", job["id"].as_str().expect("an id")));
        (job["state"] == "done").then_some(())
    });
    for name in ["one.redb", "two.redb"] {
        assert_eq!(check(&world, &world.path(name))["ok"], true);
    }
    world.stop();
}

/// So many events of 100,000 bytes each.
fn large(world: &World, count: usize) {
    let mut stream = world.stream();
    for n in 0..count {
        stream.send(
            json!({"type": "big.one", "data": {"n": n, "pad": "x".repeat(100_000)}}).to_string() + "\n",
        );
    }
    assert!(stream.answers(count).iter().all(|answer| answer["id"].is_string()));
}

/// Begins a backup, and waits until it is under way; again, where it is made before that is seen.
fn under_way(world: &World, partial: &Path, file: &Path) -> String {
    loop {
        let job = begin_backup(world, file).expect(202);
        let is_under_way = eventually("it is under way", || {
            if file.exists() {
                return Some(false);
            }
            fs::metadata(partial).is_ok_and(|found| found.blocks() > 0).then_some(true)
        });
        if is_under_way {
            return job["id"].as_str().expect("an id").to_owned();
        }
        ended(world, job["id"].as_str().expect("an id"));
        fs::remove_file(file).expect("it was made");
    }
}

fn begin_backup(world: &World, file: &Path) -> Answer {
    world.request("POST", "/v1/store/backup", &[], json!({"file": file}).to_string().as_bytes())
}

/// The job when it has ended.
fn ended(world: &World, job: &str) -> Value {
    eventually("it ends", || {
        let job = world.get(&format!("/v1/jobs/{job}"));
        (job["state"] != "running").then_some(job)
    })
}

#[test]
fn a_daemon_that_is_killed_or_stopped_leaves_no_half_backup() {
    let receiver = receiver();
    let mut world = world(&receiver);
    world.start();
    large(&world, 300);
    let (backup, partial) = (world.path("backup.redb"), world.path("backup.redb.partial"));
    let job = under_way(&world, &partial, &backup);
    world.kill();
    assert!(!backup.exists() && partial.exists());
    world.start();
    eventually("the next start takes what is left away", || (!partial.exists()).then_some(()));
    let job = world.get(&format!("/v1/jobs/{job}"));
    assert_eq!((&job["state"], &job["error"]), (&json!("failed"), &json!("the daemon was stopped")));
    assert!(!backup.exists());

    // Stopped in its midst, unless it was quicker: then it is whole.
    loop {
        let job = under_way(&world, &partial, &backup);
        world.stop();
        world.start();
        eventually("nothing half is left", || (!partial.exists()).then_some(()));
        let job = world.get(&format!("/v1/jobs/{job}"));
        if job["state"] == "failed" {
            let error = job["error"].as_str().expect("it says why");
            assert!(error.starts_with("the daemon was stopped"), "{job}");
            assert!(!backup.exists());
            break;
        }
        assert_eq!(job["state"], "done", "{job}");
        fs::remove_file(&backup).expect("it is there");
    }
    world.stop();
}

#[test]
fn of_a_backup_that_is_cancelled_nothing_is_left_and_there_is_one_at_a_time() {
    let receiver = receiver();
    let mut world = world(&receiver);
    world.start();
    large(&world, 100);
    let (mut cancelled, mut number) = (0, 0);
    while cancelled < 3 {
        number += 1;
        let [one, other] = ["one", "other"].map(|name| world.path(&format!("{name}-{number}.redb")));
        let job = begin_backup(&world, &one).expect(202);
        let job = job["id"].as_str().expect("an id").to_owned();
        let answer = world.request("POST", &format!("/v1/jobs/{job}/cancel"), &[], b"");
        if answer.status == 409 {
            answer.problem(409, "job_ended");
            assert_eq!((&ended(&world, &job)["state"], one.exists()), (&json!("done"), true));
            continue;
        }
        assert_eq!(answer.expect(200)["state"], "cancelled");
        cancelled += 1;
        // The next waits until nothing is left of it.
        let next = begin_backup(&world, &other).expect(202);
        let left = fs::read_dir(world.path("")).expect("a list").flatten().map(|entry| entry.file_name());
        let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("one-")).collect();
        let of_this =
            |name: &std::ffi::OsString| name.to_string_lossy().starts_with(&format!("one-{number}."));
        assert!(!left.iter().any(of_this), "{left:?}");
        let next = ended(&world, next["id"].as_str().expect("an id"));
        assert_eq!(next["state"], "done", "{next}");
        assert!(!one.exists() && other.exists());
        let job = world.get(&format!("/v1/jobs/{job}"));
        assert_eq!((&job["state"], &job["error"]), (&json!("cancelled"), &Value::Null));
    }
    let log = world.log();
    assert_eq!(log.matches("was cancelled: nothing of it is left").count(), 3, "{log}");
    assert!(!log.contains("the daemon was stopped"), "{log}");
    world.stop();
}

#[test]
fn a_disk_that_fills_up_during_a_backup_harms_nobody() {
    let receiver = receiver();
    let text = config(&receiver.url("/ok"), &receiver.url("/fail"));
    let text = text.replace("[[spool]]\npath = \"spool\"\n", "");
    let text = format!("store.reserve = \"1MiB\"\nlimits.in_flight = 16\n{text}");
    let Some(mut world) = World::on_disk(160, &text) else { return };
    world.start();
    large(&world, 300);
    let (backup, partial) = (world.path("disk/backup.redb"), world.on_its_disk("backup.redb.partial"));
    let job = under_way(&world, &partial, &backup);
    // All that is free at once.
    let ballast = world.on_its_disk("ballast");
    let file = File::create(&ballast).expect("a file");
    let (mut taken, mut piece) = (0, 64 << 20);
    while piece >= 4096 {
        match fallocate(&file, FallocateFlags::empty(), taken, piece) {
            Ok(()) => taken += piece,
            Err(_) => piece /= 2,
        }
    }
    let ended = eventually("it is given up", || {
        let job = world.get(&format!("/v1/jobs/{job}"));
        (job["state"] != "running").then_some(job)
    });
    let error = ended["error"].as_str().expect("it says why");
    assert!(ended["state"] == "failed" && error.contains("make room"), "{ended}");
    assert!(!partial.exists() && !world.on_its_disk("backup.redb").exists(), "nothing is left of it");
    let body = json!({"file": backup}).to_string();
    let words = world.request("POST", "/v1/store/backup", &[], body.as_bytes()).problem(507, "no_room");
    assert!(words.contains("name a file on another disk"), "{words}");
    fs::remove_file(ballast).expect("room is made");
    drop(file);
    eventually("events are taken again", || {
        (world.post(r#"{"type":"a.b","data":{}}"#).status == 202).then_some(())
    });
    world.stop();
}

#[test]
fn events_that_are_exported_can_be_handed_in_again() {
    let receiver = receiver();
    let mut one = world(&receiver);
    one.start();
    fill(&one, &receiver);
    one.stop();
    let (from, lines) = (one.path("outbox.redb"), one.path("events.ndjson"));
    let output = stopped(&one, "export", &["--format", "events", lines.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("27 lines"), "{}", stderr(&output));
    assert_eq!(fs::metadata(&lines).expect("a file").permissions().mode() & 0o777, 0o600);
    refused(&stopped(&one, "export", &["--format", "events", "events.ndjson"]), 65, "is there already");
    refused(&stopped(&one, "export", &["--format", "events", "--attempts"]), 64, "has events alone");

    let mut other = world(&receiver);
    other.start();
    let emit = || other.cli_with(&["emit", "--lines", "--json"], stdin_of(&lines));
    let output = emit();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let again = emit();
    let known = stdout(&again).lines().filter(|line| line.contains("\"duplicate\":true")).count();
    assert_eq!(known, 27, "each has an id, so that nothing is taken twice");
    other.stop();
    let content = |world: &World, file: &Path| {
        let lines = export(world, file, &["--events"]);
        let mut all: Vec<_> = lines
            .into_iter()
            .map(|line| {
                ["type", "data", "data_base64", "content_type", "time", "key", "url", "account", "cloudevent"]
                    .map(|name| line[name].clone())
            })
            .collect();
        all.sort_by_key(|one| one.iter().map(ToString::to_string).collect::<String>());
        all
    };
    assert_eq!(content(&one, &from), content(&other, &other.path("outbox.redb")));

    // What nobody asked for is not there, and no secret is.
    let all = export(&one, &from, &[]);
    assert_eq!(of_kind(&all, "delivery").len(), 27 + 20 + 1);
    assert!(of_kind(&all, "attempt").len() >= 27 - 1 + 3);
    let text = all.iter().map(ToString::to_string).collect::<String>();
    let secret = support::config::secret();
    assert!(!text.contains(secret.trim_start_matches("whsec_").trim_end_matches('=')), "a secret");
    let late: Vec<_> = export(&one, &from, &["--deliveries", "--since", "2999-01-01T00:00:00Z"]);
    assert!(late.is_empty());
    let other_account = export(&one, &from, &["--account", "nobody"]);
    assert!(other_account.is_empty());
    // Whoever reads no further ends it quietly.
    let mut child = support::world::posthaste();
    child.args(["store", "export", "--store"]).arg(&from).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("the binary was built");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.stderr.is_empty(), "{}", stderr(&output));
}

/// Keys, accounts, jobs, how endpoints have done and what was delivered again are in a backup, and are there as they were when
/// it is put back.
#[test]
fn what_was_made_over_the_api_is_restored() {
    let receiver = receiver();
    let text = "listen.http = \"127.0.0.1:0\"\n".to_owned();
    let mut world = World::new(&(text + &config(&receiver.url("/ok"), &receiver.url("/fail"))));
    fs::create_dir(world.path("spool")).expect("a directory");
    world.start();
    let post = |world: &World, path: &str, document: &Value| {
        let answer = world.request(
            "POST",
            path,
            &[("content-type", "application/json")],
            document.to_string().as_bytes(),
        );
        assert!((200..300).contains(&answer.status), "{path}: {}", answer.text());
        answer.json()
    };
    let shop = json!({"name": "shop", "profile": "raw", "https_only": false, "retention": "3d", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"});
    post(&world, "/v1/accounts", &shop);
    let made = json!({"url": receiver.url("/ok/shop"), "event_types": ["*"]});
    let endpoint =
        post(&world, "/v1/endpoints?account=shop", &made)["id"].as_str().expect("an id").to_owned();
    let [kept, revoked] = ["kept", "revoked"].map(|name| {
        let key = post(&world, "/v1/keys?account=shop", &json!({"role": "subscriber", "name": name}));
        (key["key"].as_str().expect("a key").to_owned(), key["id"].as_str().expect("an id").to_owned())
    });
    world.request("DELETE", &format!("/v1/keys/{}", revoked.1), &[], b"").expect(200);
    let event = json!({"type": "a.b", "account": "shop"}).to_string();
    let event = world.post(&event).expect(202)["id"].as_str().expect("an id").to_owned();
    let delivery = world.ended(&event)["id"].as_str().expect("an id").to_owned();
    post(&world, &format!("/v1/deliveries/{delivery}/replay"), &json!({}));
    eventually("it is delivered again", || (world.ended(&event)["attempt"] == 2).then_some(()));
    let since = json!({"since": "2020-01-01T00:00:00Z"});
    let job = post(&world, &format!("/v1/endpoints/{endpoint}/recover"), &since);
    let job = format!("/v1/jobs/{}", job["id"].as_str().expect("an id"));
    eventually("the recover ends", || (world.get(&job)["state"] == "done").then_some(()));

    let subscriber = |world: &World| Api::of(world).with_key(&kept.0);
    let all = |world: &World| {
        let mut endpoint = subscriber(world).get(&format!("/v1/endpoints/{endpoint}")).expect(200);
        let health = endpoint["health"].as_object_mut().expect("how it does");
        assert_eq!(health["attempts"], 2, "{health:?}");
        // Another hour may begin.
        health.remove("since");
        let paths =
            ["/v1/accounts/shop", "/v1/accounts/shop/secret", &job, &format!("/v1/deliveries/{delivery}")];
        let mut all: Vec<_> = paths.into_iter().map(|path| world.get(path)).collect();
        all.push(endpoint);
        all.push(world.get("/v1/status")["store"]["retention"]["accounts"].clone());
        all
    };
    let before = all(&world);
    assert_eq!(store(&world, &["backup", "backup.redb"]).status.code(), Some(0));
    // What comes after it is not in it.
    world.request("DELETE", &format!("/v1/keys/{}", kept.1), &[], b"").expect(200);
    post(&world, "/v1/accounts", &json!({"name": "late"}));
    world.stop();
    let report = check(&world, &world.path("backup.redb"));
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!(check(&world, &world.path("outbox.redb"))["ok"], true);
    assert_eq!(stopped(&world, "restore", &["backup.redb"]).status.code(), Some(0));
    world.start();
    assert_eq!(all(&world), before);
    world.request("GET", "/v1/accounts/late", &[], b"").problem(404, "not_found");
    Api::of(&world).with_key(&revoked.0).get("/v1/status").problem(401, "key_unknown");
    // And it goes on.
    let event = json!({"type": "a.b", "account": "shop"}).to_string();
    let event = world.post(&event).expect(202)["id"].as_str().expect("an id").to_owned();
    assert_eq!(world.ended(&event)["status"], "succeeded");
    let made = post(&world, "/v1/keys?account=shop", &json!({"role": "subscriber"}));
    assert_ne!(made["id"], revoked.1, "no number is given twice");
    world.stop();
}

#[test]
fn a_restore_says_what_it_does_not_do() {
    let receiver = receiver();
    let mut world = world(&receiver);
    world.start();
    fill(&world, &receiver);
    assert_eq!(store(&world, &["backup", "backup.redb"]).status.code(), Some(0));
    world.stop();
    let path = world.path("outbox.redb");
    let before = fs::read(&path).expect("a file");
    refused(&stopped(&world, "restore", &["nothing"]), 65, "no such file");
    refused(&stopped(&world, "restore", &["posthaste.toml"]), 65, "is no posthaste store");
    refused(&stopped(&world, "restore", &["outbox.redb"]), 65, "is the store itself");
    let backup = fs::read(world.path("backup.redb")).expect("a file");
    fs::write(world.path("damaged.redb"), damaged(&backup)).expect("a file");
    for anyway in [&["damaged.redb"] as &[&str], &["damaged.redb", "--anyway"]] {
        refused(&stopped(&world, "restore", anyway), 65, "the store is as it was; take another backup");
    }
    assert!(fs::read(&path).expect("a file") == before);
    let done = json_of(&stopped(&world, "restore", &["backup.redb", "--discard", "--json"]));
    assert_eq!((&done["kept"], &done["backup"]["ok"]), (&Value::Null, &json!(true)));
    let names = fs::read_dir(world.path("")).expect("a list");
    assert!(names.flatten().all(|entry| !entry.file_name().to_string_lossy().contains("restor")));
    // A store of a later version's is no business of this one.
    let output = run_in(&world.path(""), &["store", "restore", "--help"]);
    assert!(stdout(&output).contains("Example"), "{}", stdout(&output));
    std::io::stdout().flush().expect("it is open");
}
