//! `posthaste emit`: hands in one event and prints its id once it is on disk.
//!
//! The payload's bytes go to the daemon as they are: they are checked to be JSON, never written anew.

use std::{io, path::PathBuf, time::Duration};

use clap::Args as ClapArgs;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    client::{self, Client},
    error::CliError,
    input,
    screen::Screen,
    when::When,
};
use crate::{
    api::view::Accepted,
    model::{
        account::AccountName,
        event::{Effect, EventType},
        time::{Timestamp, format_duration, parse_duration},
    },
};

/// `posthaste emit`.
#[derive(ClapArgs, Debug)]
#[command(
    after_help = "Example:\n  posthaste emit video.media.ready '{\"media\":\"m-17\"}' --id m-17-ready\n  \
                  posthaste emit scan.finished @scan.json\n  \
                  make-report | posthaste emit report.made -\n  \
                  posthaste emit trial.ending '{\"user\":7}' --delay 13d\n\n\
                  Exit code 75 means that the event was not taken for now: keep it and try again.\n\
                  With --id an event that is handed in twice is taken once."
)]
pub struct Args {
    /// What happened: a dotted name, such as video.media.ready
    #[arg(value_name = "TYPE")]
    event_type: EventType,
    /// The payload: JSON, @FILE to read it from a file, or - for standard input
    #[arg(value_name = "DATA|@FILE|-", default_value = "{}", allow_negative_numbers = true)]
    data: String,
    /// An id of your own: a second event with the same one is not taken again
    #[arg(long)]
    id: Option<String>,
    /// Whose event it is [default: default]
    #[arg(long)]
    account: Option<AccountName>,
    /// A URL that it goes to besides the endpoints that match, signed with the account's secret
    #[arg(long)]
    url: Option<String>,
    /// When it happened: RFC 3339, or how long ago (5m) [default: now]
    #[arg(long)]
    time: Option<When>,
    /// Nothing is sent before then: RFC 3339, at most 365 days ahead; in the past: at once
    #[arg(long, value_name = "TIME", conflicts_with = "delay")]
    at: Option<Timestamp>,
    /// Nothing is sent for so long: 30s, 5m, 2h, at most 365d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    delay: Option<Duration>,
    /// Where an endpoint keeps the order (order = "fifo"), it keeps it among events with the same KEY
    #[arg(long)]
    key: Option<String>,
}

/// An event as it goes to the daemon.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    name: &'a EventType,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a AccountName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    data: &'a RawValue,
}

/// Hands the event in.
pub fn run(args: &Args, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    let data = input::read(&args.data, io::stdin)?;
    let event = encode(args, &data, screen.now)?;
    let answer = Client::connect(sockets)?.post("/v1/events", &event);
    if matches!(answer, Err(CliError::Disconnected(_) | CliError::Timeout { .. })) {
        screen.note(
            "it is not known whether the event was taken; one that carries --id can be handed in again without harm",
        );
    }
    let answer = answer?;
    let accepted: Accepted = client::parse(&answer)?;
    if screen.json {
        return screen.json(&answer);
    }
    screen.line(&accepted.id.to_string())?;
    if accepted.duplicate {
        screen.flush()?;
        screen.note("an event with this --id is known already: nothing new was taken");
    }
    if accepted.effect == Effect::None {
        screen.flush()?;
        screen.note("it is kept and goes to nobody: the account's catalog gives this type no effect");
    }
    Ok(())
}

/// The event's JSON, with `data` in it byte for byte.
fn encode(args: &Args, data: &[u8], now: Timestamp) -> Result<Vec<u8>, CliError> {
    let data: &RawValue = serde_json::from_slice(data).map_err(|error| not_json(&args.data, &error))?;
    let event = Event {
        name: &args.event_type,
        id: args.id.as_deref(),
        account: args.account.as_ref(),
        url: args.url.as_deref(),
        time: args.time.map(|when| when.resolve(now)),
        at: args.at,
        delay: args.delay.map(format_duration),
        key: args.key.as_deref(),
        data,
    };
    Ok(serde_json::to_vec(&event).expect("names, times and JSON are JSON"))
}

/// Says what is wrong with the payload without showing it, and how one is written.
fn not_json(argument: &str, error: &serde_json::Error) -> CliError {
    let help = match argument.strip_prefix('@') {
        Some(path) => return CliError::Data(format!("{path} is not JSON: {error}")),
        None if argument == "-" => return CliError::Data(format!("standard input is not JSON: {error}")),
        None => {
            "put JSON between single quotes, so that the shell leaves it alone:\n  \
             an object: '{\"pages\":3}'   a text: '\"done\"'   from a file: @FILE   from standard input: -"
        }
    };
    CliError::Data(format!("DATA is not JSON: {error}\n{help}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{exit::Exit, fake::Daemon, testing::Output};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &[&str]) -> Args {
        Line::try_parse_from([&["emit"], line].concat()).map(|line| line.args).expect("a good line")
    }

    fn encoded(line: &[&str], data: &str) -> String {
        let bytes = encode(&args(line), data.as_bytes(), Output::now()).expect("JSON");
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn the_payload_goes_byte_for_byte() {
        for data in [
            "{ \"b\": 1.0,\n\t\"a\" : 1e2, \"a\":\"\\u00e9\" }",
            "123456789012345678901234567890.10",
            "\"ü\"",
            "null",
            "[1 , 2]",
        ] {
            assert_eq!(encoded(&["a.b"], data), format!("{{\"type\":\"a.b\",\"data\":{data}}}"));
        }
        let all = [
            "a.b",
            "--id",
            "x\"y",
            "--account",
            "acme",
            "--url",
            "https://x.example/",
            "--time",
            "1h",
            "--key",
            "k\"1",
        ];
        assert_eq!(
            encoded(&all, "{}"),
            r#"{"type":"a.b","id":"x\"y","account":"acme","url":"https://x.example/","time":"2026-11-22T02:00:00.000Z","key":"k\"1","data":{}}"#
        );
    }

    #[test]
    fn it_may_go_later() {
        for (line, key) in [
            (["--at", "2026-11-23T04:00:00+01:00"], r#""at":"2026-11-23T03:00:00.000Z""#),
            (["--delay", "90m"], r#""delay":"1h30m""#),
        ] {
            let line = [&["a.b"], &line[..]].concat();
            assert_eq!(encoded(&line, "{}"), format!("{{\"type\":\"a.b\",{key},\"data\":{{}}}}"));
        }
        for (line, part) in [
            (&["--at", "noon"][..], "not an RFC 3339 time"),
            (&["--delay", "1.5h"], "not a duration"),
            (&["--at", "2026-11-23T03:00:00Z", "--delay", "1h"], "cannot be used with"),
        ] {
            let parsed = Line::try_parse_from([&["emit", "a.b"], line].concat());
            let error = parsed.err().expect("no such line").to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_payload_comes_from_where_it_is_said_to() {
        let read = |argument: &str| input::read(argument, || b" [1] ".as_slice());
        assert_eq!(read("-").expect("standard input"), b" [1] ");
        assert_eq!(read("-1").expect("a number"), b"-1");
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("data.json");
        std::fs::write(&file, "{\"n\":1}").expect("a file");
        assert_eq!(read(&format!("@{}", file.display())).expect("a file"), b"{\"n\":1}");
        let error = read("@/not/there").expect_err("no such file");
        assert_eq!(error.exit(), Exit::Io);
        assert!(error.to_string().starts_with("/not/there: "), "{error}");
        assert_eq!(args(&["a.b"]).data, "{}", "without a payload it is empty");
        assert_eq!(args(&["a.b", "-1"]).data, "-1");
    }

    #[test]
    fn what_is_no_json_is_bad_input_and_is_not_shown() {
        for (argument, data) in [("{pages:3}", "{pages:3}"), ("-", "hunter2"), ("@f", ""), ("{} {}", "{} {}")]
        {
            let error =
                encode(&args(&["a.b", argument]), data.as_bytes(), Output::now()).expect_err("no JSON");
            assert_eq!(error.exit(), Exit::Data);
            let text = error.to_string();
            assert!(text.contains("not JSON") && !text.contains("hunter2"), "{text}");
        }
        let bad = encode(&args(&["a.b"]), b"\"\xff\"", Output::now()).expect_err("no UTF-8");
        assert_eq!(bad.exit(), Exit::Data);
    }

    #[test]
    fn the_id_is_printed_once_it_is_there() {
        let id = "evt_01hqr2p1qq8k3v7r5m6n0x9y2z";
        let answer = format!("{{\"id\":\"{id}\"}}");
        let duplicate = format!("{{\"id\":\"{id}\",\"duplicate\":true}}\n");
        let daemon = Daemon::start(vec![(202, answer), (202, duplicate.clone())]);
        let mut output = Output::new();
        run(&args(&["a.b", "[ 1 ]"]), &daemon.paths(), &mut output.screen()).expect("it is taken");
        assert_eq!((output.text(), output.notes()), (format!("{id}\n"), String::new()));
        assert_eq!(daemon.requests()[0].body, b"{\"type\":\"a.b\",\"data\":[ 1 ]}");
        let mut output = Output::json();
        run(&args(&["a.b"]), &daemon.paths(), &mut output.screen()).expect("it is taken");
        assert_eq!(output.text(), duplicate);
    }

    #[test]
    fn a_refusal_is_passed_on() {
        let problem = r#"{"type":"urn:posthaste:problem:starting","title":"Service Unavailable","status":503,"detail":"the store is being repaired","code":"starting"}"#;
        let daemon = Daemon::start(vec![(503, problem.to_owned())]);
        let mut output = Output::new();
        let error = run(&args(&["a.b"]), &daemon.paths(), &mut output.screen()).expect_err("refused");
        assert_eq!(output.notes(), "");
        assert_eq!(
            (error.to_string().as_str(), error.exit()),
            ("the store is being repaired", Exit::TryAgain)
        );
    }

    #[test]
    fn without_an_answer_nobody_knows_whether_it_was_taken() {
        let daemon = Daemon::start(vec![]);
        let mut output = Output::new();
        let error = run(&args(&["a.b"]), &daemon.paths(), &mut output.screen()).expect_err("it hangs up");
        assert_eq!(error.exit(), Exit::Io);
        assert!(output.notes().starts_with("it is not known whether"), "{}", output.notes());
    }
}
