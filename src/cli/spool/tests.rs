//! The commands on real directories.

use std::{
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt as _, fs::symlink},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{list::ListArgs, place::Place, remove::RemoveArgs, retry::RetryArgs, which::Which, *};
use crate::cli::{exit::Exit, fake::Daemon, testing::Output};

const REASON: &str = r#"{"file":"a.ndjson","code":"invalid_event","message":"not valid JSON","line":3,"at":"2026-11-22T02:57:00.000Z"}"#;

const NEEDS_TYPE: &str = "; a file of this kind is taken where the directory has a `type`, else left alone";

/// A spool directory in whose `failed/` these lie.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    fs::create_dir(directory.path().join("failed")).expect("failed/");
    for (name, text) in files {
        fs::write(directory.path().join("failed").join(name), text).expect("a file");
    }
    directory
}

fn at(directory: &TempDir) -> Place {
    Place { directory: Some(directory.path().to_owned()), config: None }
}

fn list(place: Place) -> Command {
    Command::List(ListArgs { place })
}

fn retry(place: Place, names: &[&str]) -> Command {
    let names: Vec<_> = names.iter().map(OsString::from).collect();
    Command::Retry(RetryArgs { which: Which { all: names.is_empty(), names, place } })
}

fn remove(place: Place, names: &[&str]) -> Command {
    let names: Vec<_> = names.iter().map(OsString::from).collect();
    Command::Remove(RemoveArgs { which: Which { all: names.is_empty(), names, place } })
}

fn run_on(command: &Command, output: &mut Output) -> Result<(), CliError> {
    run(command, &[PathBuf::from("/nobody/listens")], &mut output.screen())
}

#[test]
fn what_lies_there() {
    let directory = directory(&[
        ("a.ndjson", "xyz"),
        ("a.ndjson.reason", REASON),
        ("by-hand.json", ""),
        (
            "gone.reason",
            &REASON.replace("a.ndjson", "gone").replace("\"line\":3", "\"line\":null,\"item\":7"),
        ),
        ("odd\u{1b}[2J\n.json", "x"),
    ]);
    fs::write(directory.path().join("failed").join(OsString::from_vec(b"\xff.json".to_vec())), "x")
        .expect("a file");
    symlink("/etc/passwd", directory.path().join("failed/link")).expect("a link");
    let mut output = Output::new();
    run_on(&list(at(&directory)), &mut output).expect("it prints");
    assert_eq!(
        output.text(),
        "NAME                 CODE           WHERE   SIZE  WHEN                 MESSAGE\n\
         a.ndjson             invalid_event  line 3   3 B  2026-11-22 02:57:00  not valid JSON\n\
         by-hand.json         -              -        0 B  -                    no reason lies beside it\n\
         gone                 invalid_event  item 7     -  2026-11-22 02:57:00  the file is gone, its reason was: not valid JSON\n\
         link                 -              -          -  -                    no file, but a link, a directory or the like\n\
         odd\\u{1b}[2J\\n.json  -              -        1 B  -                    no reason lies beside it\n\
         \u{fffd}.json               -              -        1 B  -                    no reason lies beside it\n"
    );
    let mut output = Output::json();
    run_on(&list(at(&directory)), &mut output).expect("it prints");
    let document: Value = serde_json::from_str(&output.text()).expect("JSON");
    let items = document["items"].as_array().expect("a list");
    let path = directory.path().to_str().expect("text");
    let expected = json!({"directory": path, "name": "a.ndjson", "file": "a.ndjson", "code": "invalid_event",
        "message": "not valid JSON", "line": 3, "item": null, "at": "2026-11-22T02:57:00.000Z", "size": 3});
    assert_eq!((items.len(), &items[0]), (6, &expected));
    assert_eq!(
        (&items[1]["code"], &items[1]["at"], &items[1]["size"]),
        (&Value::Null, &Value::Null, &json!(0))
    );
    assert_eq!((&items[2]["code"], &items[2]["size"]), (&json!("invalid_event"), &Value::Null));
    assert_eq!((&items[5]["name"], &items[5]["name_base64"]), (&json!("\u{fffd}.json"), &json!("/y5qc29u")));
}

#[test]
fn nothing_lies_there() {
    let empty = directory(&[]);
    let never = tempfile::tempdir().expect("a directory");
    for place in [&empty, &never] {
        for command in [list(at(place)), retry(at(place), &[]), remove(at(place), &[])] {
            let mut output = Output::new();
            run_on(&command, &mut output).expect("it is no error");
            assert_eq!(
                (output.text(), output.notes()),
                (String::new(), "nothing lies in failed/\n".to_owned())
            );
            let mut output = Output::json();
            run_on(&command, &mut output).expect("it is no error");
            assert_eq!((output.text().as_str(), output.notes().as_str()), ("{\"items\":[]}\n", ""));
        }
    }
}

#[test]
fn some_go_back_and_some_go_away() {
    let place = directory(&[
        ("a.ndjson.1", "x"),
        ("a.ndjson.1.reason", REASON),
        ("b", "b"),
        ("c", "c"),
        ("d.tmp", "d"),
    ]);
    let path = place.path().display();
    let mut output = Output::new();
    let error = run_on(&retry(at(&place), &["a.ndjson.1", "no\nsuch", "b", "d.tmp"]), &mut output)
        .expect_err("two are wrong");
    assert_eq!(
        output.text(),
        format!("a.ndjson.1: moved back to {path}, as a.ndjson\nb: moved back to {path}{NEEDS_TYPE}\n")
    );
    assert_eq!(
        error.to_string(),
        format!(
            "{path}/failed/d.tmp: the daemon does not look at files of such names; rename it, then try again"
        )
    );
    assert_eq!(
        output.notes(),
        format!(
            "posthaste: there is no no\\nsuch in {path}/failed; `posthaste spool list` shows what there is\n"
        )
    );
    assert_eq!(error.exit(), Exit::Data);
    assert!(
        place.path().join("a.ndjson").exists() && !place.path().join("failed/a.ndjson.1.reason").exists()
    );
    let odd = OsString::from_vec(b"\xff.json".to_vec());
    fs::write(place.path().join("failed").join(&odd), "x").expect("a file");
    let args = RetryArgs { which: Which { all: false, names: vec![odd], place: at(&place) } };
    let mut output = Output::json();
    run_on(&Command::Retry(args), &mut output).expect("it goes back");
    let items: Value = serde_json::from_str(&output.text()).expect("JSON");
    let (item, bytes) = (&items["items"][0], json!("/y5qc29u"));
    assert_eq!((&item["name_base64"], &item["file_base64"]), (&bytes, &bytes));
    let mut output = Output::json();
    run_on(&remove(at(&place), &[]), &mut output).expect("all go");
    let items: Value = serde_json::from_str(&output.text()).expect("JSON");
    let directory = path.to_string();
    assert_eq!(
        items["items"],
        json!([{"directory": directory, "name": "c"}, {"directory": directory, "name": "d.tmp"}])
    );
    assert_eq!(fs::read_dir(place.path().join("failed")).expect("failed/").count(), 0);
}

#[test]
fn the_daemon_says_where() {
    let (one, two) = (directory(&[("a", "x"), ("b", "x")]), directory(&[("a", "y")]));
    let never = tempfile::tempdir().expect("a directory");
    let spool = |path: &std::path::Path| {
        format!(
            "{{\"path\":\"{}\",\"taken\":0,\"failed\":0,\"in_failed\":0,\"watching\":true,\"problem\":null}}",
            path.display()
        )
    };
    let spools =
        [one.path(), two.path(), never.path(), std::path::Path::new("/not/there")].map(spool).join(",");
    let status = format!(
        r#"{{"version":"0.1.0","started_at":"2026-11-22T01:00:00.000Z","state":"running",
        "since_start":{{"accepted":0,"duplicates":0,"refused":0,"attempts":0,"succeeded":0,"failed":0}},
        "pending":{{"total":0,"due":0,"turn":0,"order":0,"parked":0,"in_flight":0}},"oldest_pending":null,
        "disabled_endpoints":[],"open_circuits":[],"outages":[],
        "callbacks":{{"origins":0,"open_circuits":0,"pending":0,"held":[]}},"clock_unset":null,
        "store":{{"path":"/o","size":0,"unclean_start":false}},"spools":[{spools}]}}"#
    );
    let daemon = Daemon::start(vec![(200, status.clone()), (200, status.clone()), (200, status)]);
    let run_at = |command: &Command, output: &mut Output| run(command, &daemon.paths(), &mut output.screen());
    let mut output = Output::new();
    run_at(&list(Place::default()), &mut output).expect("it prints");
    let lines: Vec<_> = output.text().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 4);
    assert!(
        lines[0].starts_with("DIRECTORY") && lines[3].starts_with(two.path().to_str().expect("text")),
        "{lines:?}"
    );
    let mut output = Output::new();
    let error = run_at(&retry(Place::default(), &["a", "b"]), &mut output).expect_err("which a?");
    assert!(
        error.to_string().starts_with("a lies in the failed/ of several directories: say --directory"),
        "{error}"
    );
    assert_eq!(output.text(), format!("b: moved back to {}{NEEDS_TYPE}\n", one.path().display()));
    run_at(&remove(Place::default(), &[]), &mut Output::new()).expect("all go");
    for place in [&one, &two] {
        assert_eq!(fs::read_dir(place.path().join("failed")).expect("failed/").count(), 0);
    }
    let error = run_on(&list(Place::default()), &mut Output::new()).expect_err("nobody listens");
    assert_eq!(error.exit(), Exit::Unavailable, "{error}");
}

#[test]
fn a_configuration_says_where() {
    let place = directory(&[("a", "x")]);
    let config = place.path().join("p.toml");
    fs::write(&config, "[[spool]]\npath = '.'\n[[spool]]\npath = 'none'\n").expect("a file");
    let of = |config: &std::path::Path| Place { directory: None, config: Some(config.to_owned()) };
    let mut output = Output::new();
    run_on(&list(of(&config)), &mut output).expect("it prints");
    assert_eq!((output.text().lines().count(), output.notes().as_str()), (2, ""));
    fs::write(&config, "[[spool]]\n").expect("a file");
    assert_eq!(run_on(&list(of(&config)), &mut output).expect_err("no path").exit(), Exit::Config);
}

#[test]
fn what_is_no_spool_directory() {
    let place = tempfile::tempdir().expect("a directory");
    let other = directory(&[("a", "x")]);
    symlink(other.path().join("failed"), place.path().join("failed")).expect("a link");
    for command in [list(at(&place)), retry(at(&place), &["a"]), remove(at(&place), &[])] {
        let error = run_on(&command, &mut Output::new()).expect_err("a link");
        assert!(error.to_string().ends_with("is no directory; links are not followed"), "{error}");
        assert_eq!(error.exit(), Exit::Data);
    }
    assert!(other.path().join("failed/a").exists());
    let nowhere = Place { directory: Some("/not/there".into()), config: None };
    let error = run_on(&list(nowhere), &mut Output::new()).expect_err("nothing is there");
    assert_eq!(
        (error.to_string().as_str(), error.exit()),
        ("/not/there: there is no such directory", Exit::Data)
    );
}
