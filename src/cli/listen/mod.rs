//! `posthaste listen`: a receiver for trying things out, in place of the one that is not built yet.
//!
//! It listens on 127.0.0.1 only, prints one line for each request as it comes, and answers as told. With `--secret`
//! it verifies as a receiver must: the signature over the bytes that came, and the timestamp. Programs use
//! [`receiver::Receiver`] itself.

pub mod receiver;

use std::{env, path::PathBuf, sync::Arc, time::Duration};

use clap::Args as ClapArgs;
use http::StatusCode;
use serde::{Deserialize, Serialize};

pub use self::receiver::{Answers, Options, Receiver, Seen, Verdict};
use super::{error::CliError, screen::Screen, secret, text, verify::Verifier};
use crate::{
    clock::Clock,
    model::{
        secret::Secret,
        time::{ParseQuantityError, Timestamp, format_duration, parse_duration},
    },
    policy::{form::Form, placeholder::Placeholder},
};

/// `posthaste listen`.
#[derive(ClapArgs, Debug)]
#[command(
    after_help = "Example:\n  posthaste listen --secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw --fail-first 2\n\n\
                  It receives on this machine only. Ctrl-C ends it.\n\
                  Others on this machine can see what stands on a command line: for a secret that matters write \
                  --secret @FILE, or set POSTHASTE_SECRET."
)]
pub struct Args {
    /// The port on 127.0.0.1; 0 for one that is free
    #[arg(long, value_name = "N", default_value_t = 8471)]
    port: u16,
    /// Verify the requests with this secret, or that in @FILE [env: POSTHASTE_SECRET]
    #[arg(long, value_name = "S", value_parser = secret::parse)]
    secret: Option<Secret>,
    /// How the requests look
    #[arg(long, value_name = "P", default_value = "posthaste")]
    profile: String,
    /// A configuration with profiles of your own, besides those built in
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Answer with this status
    #[arg(long, value_name = "CODE", default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..=599))]
    status: u16,
    /// Answer 500 to the first N requests of each delivery; of all, where the profile's headers name no delivery
    #[arg(long, value_name = "N", default_value_t = 0)]
    fail_first: u32,
    /// Wait this long before each answer, such as 5s
    #[arg(long, value_name = "D", default_value = "0s", value_parser = delay)]
    delay: Duration,
    /// Write headers and body of each request to files in this directory
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
}

fn delay(text: &str) -> Result<Duration, ParseQuantityError> {
    parse_duration(text)
}

/// Receives until it is ended from outside.
pub fn run(args: &Args, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let form = super::profile::named(&args.profile, args.config.as_deref())?;
    listen(args, form, screen)
}

fn listen(args: &Args, form: Arc<Form>, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let options = options(args, form)?;
    let verifies = options.verifier.verifies();
    let mut receiver = Receiver::start(options, Clock::start())
        .map_err(|error| CliError::Io(format!("cannot listen: {error}")))?;
    announce(args, verifies, &receiver, screen)?;
    while let Some(seen) = receiver.next_seen() {
        show(&seen, args, screen)?;
        screen.flush()?;
    }
    Err(CliError::Io("the receiver has ended".to_owned()))
}

fn options(args: &Args, form: Arc<Form>) -> Result<Options, CliError> {
    let secret = secret::find(args.secret.as_ref(), env::var_os(secret::VARIABLE))?;
    let verifier =
        Verifier::new(form, secret.as_ref()).map_err(|error| CliError::Usage(error.to_string()))?;
    let status = StatusCode::from_u16(args.status).map_err(|error| CliError::Usage(error.to_string()))?;
    let answers = Answers { status, fail_first: args.fail_first, delay: args.delay };
    Ok(Options { port: args.port, verifier, answers, save: args.save.clone() })
}

/// The URL comes first, so that a script can read it and go on.
fn announce(
    args: &Args,
    verifies: bool,
    receiver: &Receiver,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let url = receiver.url();
    if screen.json {
        screen.line(&serde_json::json!({ "url": url }).to_string())?;
    } else {
        screen.line(&url)?;
        screen.flush()?;
        let how = if verifies { "verifying" } else { "not verifying (no --secret)" };
        screen.note(&format!("listening, {how} by the profile {}; Ctrl-C ends it", args.profile));
    }
    screen.flush()
}

/// A request as `--json` prints it, a line each.
#[derive(Serialize)]
struct Line<'a> {
    number: u64,
    at: Timestamp,
    method: &'a str,
    path: String,
    /// `null`: there was no secret to verify with.
    verified: Option<bool>,
    reason: Option<&'a str>,
    event_type: Option<&'a str>,
    event_id: Option<&'a str>,
    delivery_id: Option<&'a str>,
    size: usize,
    answer: u16,
    saved: Option<String>,
}

fn show(seen: &Seen, args: &Args, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let saved = match &seen.saved {
        Some(Ok(path)) => Some(path.display().to_string()),
        Some(Err(error)) => {
            screen.note(&format!("cannot save: {error}"));
            None
        }
        None => None,
    };
    if screen.json {
        let line = json(seen, saved);
        return screen.line(&serde_json::to_string(&line).expect("texts and numbers are JSON"));
    }
    let verdict = match &seen.verdict {
        Verdict::NotVerified(reason) => format!("{} ({reason})", screen.paint("NOT verified")),
        Verdict::Unverified if seen.said.get(Placeholder::Signature).is_some() => "not checked".to_owned(),
        Verdict::Unverified => screen.paint("unsigned"),
        Verdict::Verified => screen.paint("verified"),
    };
    screen.line(&line(seen, &verdict, args))
}

fn json(seen: &Seen, saved: Option<String>) -> Line<'_> {
    Line {
        number: seen.number,
        at: seen.at,
        method: seen.method.as_str(),
        path: seen.uri.to_string(),
        verified: match seen.verdict {
            Verdict::NotVerified(_) => Some(false),
            Verdict::Unverified => None,
            Verdict::Verified => Some(true),
        },
        reason: match &seen.verdict {
            Verdict::NotVerified(reason) => Some(reason),
            Verdict::Unverified | Verdict::Verified => None,
        },
        event_type: seen.said.get(Placeholder::EventType),
        event_id: seen.said.get(Placeholder::EventId),
        delivery_id: seen.said.get(Placeholder::DeliveryId),
        size: seen.body.len(),
        answer: seen.answer.as_u16(),
        saved,
    }
}

/// `02:57:00.123  verified  video.media.ready  dlv_…  1.2 KiB  -> 200`.
fn line(seen: &Seen, verdict: &str, args: &Args) -> String {
    let mut parts = vec![text::clock_time(seen.at), verdict.to_owned()];
    let event_type = seen.said.get(Placeholder::EventType).map(str::to_owned);
    let event_type = event_type.or_else(|| type_in_body(&seen.body));
    // Padded, so that ids stand below one another; with an id the line still fits into 80 columns.
    parts.extend(event_type.map(|name| format!("{:<15}", text::plain(&name))));
    for placeholder in [Placeholder::EventId, Placeholder::DeliveryId] {
        parts.extend(seen.said.get(placeholder).map(|id| text::plain(id).into_owned()));
    }
    let after =
        if args.delay.is_zero() { String::new() } else { format!(" after {}", format_duration(args.delay)) };
    parts.push(format!("-> {}{after}", seen.answer.as_u16()));
    parts.join("  ")
}

/// The type in an enveloped body, where no header says it.
fn type_in_body(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Envelope {
        #[serde(rename = "type", alias = "event")]
        event_type: String,
    }
    serde_json::from_slice::<Envelope>(body).ok().map(|envelope| envelope.event_type)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Read as _, Write as _},
        net::TcpStream,
        os::unix::fs::PermissionsExt as _,
    };

    use clap::Parser;

    use super::*;
    use crate::cli::{
        exit::Exit,
        testing::Output,
        verify::samples::{self, form, standard},
    };

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        let line = format!("listen --port 0 {line}");
        CommandLine::try_parse_from(line.split_whitespace()).map(|line| line.args).expect("a good line")
    }

    fn start(args: &Args) -> Receiver {
        Receiver::start(options(args, form(standard())).expect("options"), Clock::start())
            .expect("a receiver")
    }

    /// Posts and returns the whole answer.
    fn post(receiver: &Receiver, headers: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(receiver.address()).expect("it listens");
        let head = format!(
            "POST /hooks?x=1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("it reads");
        stream.write_all(body).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    fn status(answer: &str) -> u16 {
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }

    fn signed(id: &str, at: Timestamp, body: &[u8]) -> String {
        use base64::Engine as _;
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let engine = base64::engine::general_purpose::STANDARD;
        let key = engine.decode(&samples::SECRET["whsec_".len()..]).expect("base64");
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).expect("a key");
        mac.update(format!("{id}.{}.", at.as_secs()).as_bytes());
        mac.update(body);
        let signature = engine.encode(mac.finalize().into_bytes());
        format!(
            "webhook-id: {id}\r\nwebhook-timestamp: {}\r\nwebhook-signature: v1,{signature}\r\n",
            at.as_secs()
        )
    }

    #[test]
    fn a_signed_request_is_verified_and_a_changed_one_is_not() {
        let args = args(&format!("--secret {}", samples::SECRET));
        let mut receiver = start(&args);
        let body = br#"{"type":"video.media.ready","data":{}}"#;
        let headers = signed("dlv_1", Clock::start().wall(), body);
        assert_eq!(status(&post(&receiver, &headers, body)), 200);
        let seen = receiver.next_seen().expect("it came");
        assert_eq!((seen.number, &seen.verdict, &seen.body[..]), (1, &Verdict::Verified, &body[..]));
        assert_eq!(seen.uri, "/hooks?x=1");
        let mut output = Output::new();
        show(&seen, &args, &mut output.screen()).expect("it prints");
        let time = text::clock_time(seen.at);
        assert_eq!(output.text(), format!("{time}  verified  video.media.ready  dlv_1  -> 200\n"));

        assert_eq!(status(&post(&receiver, &headers, b"{}")), 200, "it answers as told all the same");
        let seen = receiver.next_seen().expect("it came");
        let Verdict::NotVerified(reason) = &seen.verdict else { panic!("{:?}", seen.verdict) };
        assert!(reason.starts_with("the signature is another"), "{reason}");
        let mut output = Output::json();
        show(&seen, &args, &mut output.screen()).expect("it prints");
        let line: serde_json::Value = serde_json::from_str(&output.text()).expect("JSON");
        assert_eq!((&line["verified"], &line["delivery_id"]), (&false.into(), &"dlv_1".into()));
        assert_eq!((&line["answer"], &line["size"]), (&200.into(), &2.into()));

        post(&receiver, &signed("dlv_1", Timestamp::from_millis(1_614_265_330_000), body), body);
        let seen = receiver.next_seen().expect("it came");
        assert!(matches!(seen.verdict, Verdict::NotVerified(reason) if reason.ends_with(" old")));
    }

    #[test]
    fn the_first_requests_of_each_delivery_fail() {
        let receiver = start(&args("--fail-first 2 --status 204"));
        let mut answers = Vec::new();
        for id in ["a", "a", "b", "a", "b", "b"] {
            answers.push(status(&post(&receiver, &format!("webhook-id: {id}\r\n"), b"{}")));
        }
        assert_eq!(answers, [500, 500, 500, 204, 500, 204]);
    }

    #[test]
    fn without_a_delivery_id_the_first_of_all_fail() {
        let mut receiver = start(&args("--fail-first 2"));
        let answers: Vec<u16> = (0..3).map(|_| status(&post(&receiver, "", b"{}"))).collect();
        assert_eq!(answers, [500, 500, 200]);
        assert_eq!(receiver.next_seen().map(|seen| seen.verdict), Some(Verdict::Unverified));
    }

    #[test]
    fn a_body_over_the_limit_is_refused() {
        let mut receiver = start(&args(""));
        let mut stream = TcpStream::connect(receiver.address()).expect("it listens");
        let head =
            format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", receiver::BODY_LIMIT + 1);
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("it answers");
        assert_eq!(&answer, b"HTTP/1.1 413");
        let seen = receiver.next_seen().expect("it came");
        assert_eq!(seen.verdict, Verdict::NotVerified("the body has more than 16 MiB".to_owned()));
    }

    #[test]
    fn requests_are_saved_under_names_of_our_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let save = dir.path().join("in/here");
        let mut receiver = start(&args(&format!("--save {}", save.display())));
        post(&receiver, "webhook-id: ../../x\r\n", b"\x00\xff");
        let seen = receiver.next_seen().expect("it came");
        let base = seen.saved.expect("it is to be saved").expect("it was saved");
        assert_eq!(base.parent(), Some(save.as_path()));
        assert_eq!(fs::read(base.with_extension("body")).expect("a file"), b"\x00\xff");
        let headers = fs::read_to_string(base.with_extension("headers")).expect("a file");
        assert!(
            headers.starts_with("POST /hooks?x=1\n") && headers.contains("webhook-id: ../../x\n"),
            "{headers}"
        );
        let mode = fs::metadata(base.with_extension("body")).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_url_comes_first() {
        let args = args("");
        let receiver = start(&args);
        let url = format!("http://127.0.0.1:{}/", receiver.address().port());
        let mut output = Output::new();
        announce(&args, false, &receiver, &mut output.screen()).expect("it prints");
        assert_eq!(output.text(), format!("{url}\n"));
        let mut output = Output::json();
        announce(&args, false, &receiver, &mut output.screen()).expect("it prints");
        assert_eq!(output.text(), format!("{{\"url\":\"{url}\"}}\n"));
    }

    #[test]
    fn what_cannot_work_is_told_at_once() {
        let error = options(&args("--secret s3cr3t"), form(standard())).expect_err("no whsec_");
        assert_eq!(error.exit(), Exit::Usage);
        let receiver = start(&args(""));
        let taken = Args { port: receiver.address().port(), ..args("") };
        let error = listen(&taken, form(standard()), &mut Output::new().screen()).expect_err("it is taken");
        assert_eq!(error.exit(), Exit::Io);
        assert!(error.to_string().contains(&receiver.address().to_string()), "{error}");
    }
}
