//! `posthaste emit`: hands in one event and prints its id once it is on disk; with `--lines` many ([`flow`]).
//!
//! The payload's bytes go to the daemon as they are: they are checked to be JSON, never written anew.

pub mod flow;
pub mod link;
pub mod patience;
pub mod progress;
pub mod recipe;
pub mod room;
pub mod source;
pub mod window;

use std::{io, path::PathBuf, time::Duration};

use clap::Args as ClapArgs;

use self::{
    flow::Plan,
    recipe::{Head, MAX_RESUME, Recipe},
    source::Input,
};
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
    override_usage = "posthaste emit [OPTIONS] <TYPE> [DATA|@FILE|-]\n       \
                      posthaste emit [OPTIONS] [TYPE] --lines [FILE|-]...",
    after_help = "Example:\n  posthaste emit video.media.ready '{\"media\":\"m-17\"}' --id m-17-ready\n  \
                  posthaste emit scan.finished @scan.json\n  \
                  make-report | posthaste emit report.made -\n  \
                  posthaste emit trial.ending '{\"user\":7}' --delay 13d\n  \
                  make-events | posthaste emit --lines\n  \
                  posthaste emit meter.read --lines 2026-11-22.ndjson --resume meter-2026-11-22\n\n\
                  Exit code 75 means that the event was not taken for now: keep it and try again.\n\
                  With --id an event that is handed in twice is taken once.\n\n\
                  With --lines each line is an event, {\"type\":…,\"data\":…,\"id\":…}, or with TYPE the data of one. Lines \
                  that are refused are named on standard error, and the others are taken; --json prints an answer for \
                  each line, in order. Exit codes: 0 all were taken or known, 65 some were refused, 77 all of these for \
                  want of rights; 69 and 75 not now, 74 the connection or a file failed: run it again. Events that carry \
                  an id are handed in again without harm, and after a lost connection they are; where one carries none, \
                  the run ends and says of which lines nothing is known.\n\n\
                  --resume NAME gives the lines without an id NAME:LINE for one, so that the same command can be run \
                  again until it is done. Take a NAME for one content alone, and never again for another: a line that \
                  has changed meanwhile is refused (id_conflict), but one that is the same counts as known. Ids are \
                  known for a day, and 500000 of them, unless the configuration says otherwise: past that go on with \
                  --from LINE."
)]
pub struct Args {
    /// What happened: a dotted name, such as video.media.ready
    #[arg(value_name = "TYPE", required_unless_present = "lines")]
    event_type: Option<EventType>,
    /// The payload: JSON, @FILE to read it from a file, or - for standard input [default: {}]
    #[arg(value_name = "DATA|@FILE|-", conflicts_with = "lines", allow_negative_numbers = true)]
    data: Option<String>,
    /// An id of your own: a second event with the same one is not taken again
    #[arg(long, conflicts_with = "lines")]
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
    /// Hand in many: each line of the files, or of standard input (-), is an event; with TYPE the data of one
    #[arg(long, value_name = "FILE", num_args = 0..)]
    lines: Option<Vec<PathBuf>>,
    /// Lines without an id get NAME:LINE, so that the same command can be run again (below)
    #[arg(long, value_name = "NAME", requires = "lines")]
    resume: Option<String>,
    /// Pass over the lines before this one
    #[arg(long, value_name = "LINE", requires = "lines", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
    /// While lines are refused for now, or the daemon is gone, try again for so long [default: 1m]
    #[arg(long, value_name = "DURATION", requires = "lines", value_parser = parse_duration)]
    wait: Option<Duration>,
}

/// For how long a run without progress goes on trying.
const WAIT: Duration = Duration::from_secs(60);

/// Hands in the event, or the lines.
pub fn run(args: &Args, sockets: &[PathBuf], screen: &mut Screen<'_>) -> Result<(), CliError> {
    match (&args.lines, &args.event_type) {
        (Some(files), _) => flow::run(plan(args, files, screen.now)?, sockets, screen),
        (None, Some(event_type)) => one(args, event_type, sockets, screen),
        (None, None) => unreachable!("clap wants a type where there is no --lines"),
    }
}

/// Hands one event in.
fn one(
    args: &Args,
    event_type: &EventType,
    sockets: &[PathBuf],
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let argument = args.data.as_deref().unwrap_or("{}");
    let data = input::read(argument, io::stdin)?;
    let event = recipe::encode(&head(args, event_type, screen.now), &data);
    let event = event.map_err(|error| not_json(argument, &error))?;
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

fn head(args: &Args, event_type: &EventType, now: Timestamp) -> Head {
    Head {
        name: event_type.clone(),
        id: args.id.clone(),
        account: args.account.clone(),
        url: args.url.clone(),
        time: args.time.map(|when| when.resolve(now)),
        at: args.at,
        delay: args.delay.map(format_duration),
        key: args.key.clone(),
    }
}

/// What `--lines` with these files comes to.
fn plan(args: &Args, files: &[PathBuf], now: Timestamp) -> Result<Plan, CliError> {
    let usage = |text: &str| Err(CliError::Usage(text.to_owned()));
    let input = |path: &PathBuf| match path.as_os_str() {
        name if name == "-" => Input::Standard,
        _ => Input::File(path.clone()),
    };
    let mut inputs: Vec<_> = files.iter().map(input).collect();
    if inputs.is_empty() {
        inputs.push(Input::Standard);
    }
    if inputs.len() > 1 && (args.resume.is_some() || args.from.is_some()) {
        return usage("--resume and --from are for one file: run it for each, with a NAME of its own");
    }
    if args.resume.as_ref().is_some_and(|name| name.is_empty() || name.chars().count() > MAX_RESUME) {
        return usage("the NAME of --resume has 1 to 200 characters");
    }
    if args.resume.is_some() && matches!(args.time, Some(When::Ago(_))) {
        return usage(
            "with --resume write --time as RFC 3339: how long ago is another time at each run, and so another event",
        );
    }
    let of_one = args.account.is_some()
        || args.url.is_some()
        || args.time.is_some()
        || args.at.is_some()
        || args.delay.is_some()
        || args.key.is_some();
    if of_one && args.event_type.is_none() {
        return usage(
            "without TYPE each line is a whole event, and says by itself whose it is, when it goes and where: write it there",
        );
    }
    let head = args.event_type.as_ref().map(|event_type| head(args, event_type, now));
    Ok(Plan {
        inputs,
        first: args.from.unwrap_or(1),
        recipe: Recipe { head, resume: args.resume.clone() },
        wait: args.wait.unwrap_or(WAIT),
    })
}

/// Says what is wrong with the payload without showing it, and how one is written.
fn not_json(argument: &str, error: &serde_json::Error) -> CliError {
    let lines = "\nif each line is a payload of its own, hand them in with --lines";
    let lines = if error.to_string().starts_with("trailing characters") { lines } else { "" };
    let help = match argument.strip_prefix('@') {
        Some(path) => return CliError::Data(format!("{path} is not JSON: {error}{lines}")),
        None if argument == "-" => {
            return CliError::Data(format!("standard input is not JSON: {error}{lines}"));
        }
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

    fn encode(line: &[&str], data: &[u8]) -> Result<Vec<u8>, CliError> {
        let args = args(line);
        let event_type = args.event_type.as_ref().expect("a type");
        recipe::encode(&head(&args, event_type, Output::now()), data)
            .map_err(|error| not_json(args.data.as_deref().unwrap_or("{}"), &error))
    }

    fn encoded(line: &[&str], data: &str) -> String {
        String::from_utf8(encode(line, data.as_bytes()).expect("JSON")).expect("text")
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
        assert_eq!(args(&["a.b", "-1"]).data.as_deref(), Some("-1"));
    }

    #[test]
    fn what_is_no_json_is_bad_input_and_is_not_shown() {
        for (argument, data) in [("{pages:3}", "{pages:3}"), ("-", "hunter2"), ("@f", ""), ("{} {}", "{} {}")]
        {
            let error = encode(&["a.b", argument], data.as_bytes()).expect_err("no JSON");
            assert_eq!(error.exit(), Exit::Data);
            let text = error.to_string();
            assert!(text.contains("not JSON") && !text.contains("hunter2"), "{text}");
        }
        let bad = encode(&["a.b"], b"\"\xff\"").expect_err("no UTF-8");
        assert_eq!(bad.exit(), Exit::Data);
        let lines = encode(&["a.b", "-"], b"{}\n{}\n").expect_err("two of them").to_string();
        assert!(lines.contains("--lines"), "{lines}");
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

    #[test]
    fn lines_come_from_files_or_from_standard_input() {
        let plan = |line: &[&str]| {
            let args = args(line);
            plan(&args, args.lines.as_ref().expect("lines"), Output::now())
        };
        let file = |name: &str| Input::File(PathBuf::from(name));
        for (line, inputs) in [
            (&["--lines"][..], vec![Input::Standard]),
            (&["--lines", "-", "--wait", "0s"], vec![Input::Standard]),
            (&["--lines", "a", "-", "b"], vec![file("a"), Input::Standard, file("b")]),
            (&["a.b", "--lines", "a"], vec![file("a")]),
        ] {
            let plan = plan(line).expect("a plan");
            assert_eq!((&plan.inputs, plan.first), (&inputs, 1), "{line:?}");
            assert_eq!(plan.recipe.head.is_some(), line[0] == "a.b");
        }
        let whole = plan(&["a.b", "--lines", "--resume", "n", "--from", "7", "--key", "k"]).expect("a plan");
        assert_eq!((whole.first, whole.recipe.resume.as_deref()), (7, Some("n")));
        assert_eq!(whole.recipe.head.and_then(|head| head.key).as_deref(), Some("k"));
        let long = "x".repeat(MAX_RESUME + 1);
        for (line, part) in [
            (&["--lines", "a", "b", "--resume", "n"][..], "for one file"),
            (&["--lines", "a", "b", "--from", "2"], "for one file"),
            (&["--lines", "--resume", ""], "1 to 200 characters"),
            (&["--lines", "--resume", &long], "1 to 200 characters"),
            (&["a.b", "--lines", "--resume", "n", "--time", "5m"], "RFC 3339"),
            (&["--lines", "--account", "x"], "without TYPE"),
            (&["--lines", "--delay", "5m"], "without TYPE"),
        ] {
            let error = plan(line).expect_err("no such plan");
            assert_eq!(error.exit(), Exit::Usage);
            assert!(error.to_string().contains(part), "{line:?}: {error}");
        }
    }
}
