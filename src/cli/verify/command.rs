//! `posthaste verify`: says whether a webhook that came is what it should be, and if not, what to look at.
//!
//! It judges as a receiver has to: by a profile, a secret, the headers and the very bytes of the body.

use std::{
    env,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args as ClapArgs;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::{Reason, Said, Verifier, VerifierError, signed_time};
use crate::{
    cli::{error::CliError, profile, screen::Screen, secret, when::When},
    model::{
        profile::Algorithm,
        secret::Secret,
        time::{ParseQuantityError, Timestamp, format_duration, parse_duration},
    },
    policy::{form::Form, placeholder::Placeholder},
};

/// The longest body: the daemon sends none that is longer.
const BODY_LIMIT: u64 = 64 << 20;

/// `posthaste verify`.
#[derive(ClapArgs, Debug)]
#[command(after_help = "Example:\n  posthaste verify --profile transcodely --secret @secret.txt \\\n      \
                  --header 'X-Transcodely-Signature: sha256=…' --header 'X-Transcodely-Timestamp: 1772274942' body.json\n\n\
                  Others on this machine can see what stands on a command line: better write --secret @FILE, or set \
                  POSTHASTE_SECRET.\n\
                  With ed25519 the secret is the public key (whpk_…) or the private one.\n\
                  Exit code 65 means that the webhook is not what it should be, and the reason is printed.")]
pub struct Args {
    /// How the webhook should look
    #[arg(long, value_name = "P")]
    profile: String,
    /// The secret, or @FILE to read it from a file [env: POSTHASTE_SECRET]
    #[arg(long, value_name = "S", value_parser = secret::parse)]
    secret: Option<Secret>,
    /// A header as it came; give each that the profile sends
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What is signed and in no header, such as account=default
    #[arg(long = "fact", value_name = "NAME=VALUE", value_parser = fact)]
    facts: Vec<(Placeholder, String)>,
    /// A configuration with profiles of your own, besides those built in
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How far a signed timestamp may be from now, either way
    #[arg(long, value_name = "D", default_value = "5m", value_parser = tolerance)]
    tolerance: Duration,
    /// When it came, for one that is judged later: RFC 3339, or how long ago (2h) [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<When>,
    /// The body's very bytes; - for standard input
    #[arg(value_name = "BODYFILE")]
    body: PathBuf,
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it as 'NAME: VALUE'")?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| "this is not a header's name")?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| "no header can have this value")?;
    Ok((name, value))
}

fn fact(text: &str) -> Result<(Placeholder, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    let mut facts = Placeholder::ALL.into_iter().filter(|placeholder| is_sayable(*placeholder));
    let names = facts.clone().map(Placeholder::name).collect::<Vec<_>>().join(", ");
    let found = facts.find(|placeholder| placeholder.name() == name);
    found.map(|placeholder| (placeholder, value.to_owned())).ok_or_else(|| format!("there are {names}"))
}

/// Whether it is a fact that a receiver may know of a webhook without a header.
const fn is_sayable(placeholder: Placeholder) -> bool {
    use Placeholder::{Body, Secret, Signature, Signatures};
    !matches!(placeholder, Body | Secret | Signature | Signatures)
}

fn tolerance(text: &str) -> Result<Duration, ParseQuantityError> {
    parse_duration(text)
}

/// Verifies one webhook.
pub fn run(args: &Args, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let form = profile::named(&args.profile, args.config.as_deref())?;
    let secret = secret::find(args.secret.as_ref(), env::var_os(secret::VARIABLE))?;
    if secret.is_none() && form.needs_secret() {
        let missing = format!("--secret is missing: write it, or @FILE, or set {}", secret::VARIABLE);
        return Err(CliError::Usage(missing));
    }
    if !form.needs_secret() {
        return Err(CliError::Usage(format!(
            "the profile {} neither signs nor sends a secret: there is nothing to verify",
            args.profile
        )));
    }
    let mut known = Said::default();
    for (placeholder, text) in &args.facts {
        known.add(*placeholder, text);
    }
    let verifier = Verifier::knowing(form, secret.as_ref(), known).map_err(|error| unusable(&error))?;
    let body = read_body(&args.body, io::stdin)?;
    let now = args.at.map_or(screen.now, |at| at.resolve(screen.now));
    judge(args, &verifier, &body, now, screen)
}

fn unusable(error: &VerifierError) -> CliError {
    let help = match error {
        VerifierError::NotCarried(placeholder) if is_sayable(*placeholder) => {
            format!("; say it: --fact {}=…", placeholder.name())
        }
        VerifierError::Key(_) | VerifierError::NotCarried(_) | VerifierError::Unsigned => String::new(),
    };
    CliError::Usage(format!("{error}{help}"))
}

fn judge(
    args: &Args,
    verifier: &Verifier,
    body: &[u8],
    now: Timestamp,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let headers: HeaderMap = args.headers.iter().cloned().collect();
    match verifier.verify(&headers, body, now, args.tolerance) {
        Ok(said) => good(verifier, &said.unwrap_or_default(), now, screen),
        Err(reason) => {
            let trimmed = body.strip_suffix(b"\n").map(|body| body.strip_suffix(b"\r").unwrap_or(body));
            let would = |body: &[u8]| verifier.verify(&headers, body, now, args.tolerance).is_ok();
            let help = match trimmed {
                Some(trimmed) if reason == Reason::Mismatch && would(trimmed) => {
                    "without the line end at the end of the body it is right: that was not sent".to_owned()
                }
                _ => look_at(&reason, &verifier.form),
            };
            if screen.json {
                let document = json!({ "verified": false, "reason": reason.to_string(), "help": help });
                screen.line(&document.to_string())?;
                screen.flush()?;
            }
            Err(CliError::Data(format!("not verified: {reason}\n{help}")))
        }
    }
}

fn good(verifier: &Verifier, said: &Said, now: Timestamp, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let profile = verifier.form.profile();
    let algorithm = match profile.signature.algorithm {
        Algorithm::Ed25519 => Some("ed25519"),
        Algorithm::HmacSha256 => Some("hmac-sha256"),
        Algorithm::None => None,
    };
    let signed = algorithm.map(|_| profile.signature.signed.as_str());
    let made = signed_time(&verifier.form, said).filter(|_| algorithm.is_some());
    if screen.json {
        let document = json!({
            "verified": true,
            "profile": profile.name,
            "algorithm": algorithm,
            "signed": signed,
            "made_at": made,
            "event_type": said.get(Placeholder::EventType),
            "event_id": said.get(Placeholder::EventId),
            "delivery_id": said.get(Placeholder::DeliveryId),
        });
        return screen.line(&document.to_string());
    }
    let (Some(algorithm), Some(signed)) = (algorithm, signed) else {
        let name = &profile.name;
        return screen.line(&format!(
            "verified: the secret is in its header (profile {name}); nothing is signed, the body may be anybody's"
        ));
    };
    let age = match made {
        Some(made) if made > now => format!("made {} ahead of now", format_duration(made.since(now))),
        Some(made) => format!("made {} ago", format_duration(whole_seconds(now.since(made)))),
        None => "no time is signed, so a copy is as good at any time".to_owned(),
    };
    screen.line(&format!("verified: {algorithm} over {signed} (profile {}), {age}", profile.name))
}

fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

/// What to look at, where a webhook is not what it should be.
fn look_at(reason: &Reason, form: &Form) -> String {
    match reason {
        Reason::Contradiction(_) => "a header was changed on the way, or is of another request".to_owned(),
        Reason::Mismatch => {
            "look at the secret (is it this endpoint's?), at the body (its very bytes as they came, not parsed and \
             written anew) and at the profile"
                .to_owned()
        }
        Reason::Missing(name) => format!(
            "give it as --header '{name}: …'; if it did not come, a proxy took it out, or the profile is another"
        ),
        Reason::Time { .. } => {
            "the signature is right: this is an old request sent again, or one of the clocks is wrong; --at TIME \
             judges it as of when it came"
                .to_owned()
        }
        Reason::Unknown(placeholder) => format!("say it: --fact {}=…", placeholder.name()),
        Reason::Unreadable(name) => match written(form, name) {
            Some(value) => format!("the profile {} writes it as `{value}`", form.profile().name),
            None => "the profile may be another".to_owned(),
        },
        Reason::WrongToken => "look at the secret (is it this endpoint's?) and at the profile".to_owned(),
    }
}

/// A header's value as the profile has it; `{signatures}` in the form of one of them.
fn written(form: &Form, name: &HeaderName) -> Option<String> {
    let headers = &form.profile().headers;
    let (_, value) = headers.iter().find(|(written, _)| written.eq_ignore_ascii_case(name.as_str()))?;
    Some(value.replace("{signatures}", &form.profile().signature.each))
}

fn read_body<R: Read>(path: &Path, stdin: impl FnOnce() -> R) -> Result<Vec<u8>, CliError> {
    let error = |error| CliError::File { path: path.to_owned(), error };
    let mut body = Vec::new();
    if path == Path::new("-") {
        stdin().take(BODY_LIMIT + 1).read_to_end(&mut body).map_err(error)?;
    } else {
        File::open(path).map_err(error)?.take(BODY_LIMIT + 1).read_to_end(&mut body).map_err(error)?;
    }
    if body.len() as u64 > BODY_LIMIT {
        return Err(error(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_as_they_are_typed() {
        for (text, name, value) in [
            ("X-Signature: sha256=00", "x-signature", "sha256=00"),
            ("a:b:c", "a", "b:c"),
            ("webhook-id:  x ", "webhook-id", "x"),
        ] {
            let (got_name, got_value) = header(text).expect("a header");
            assert_eq!((got_name.as_str(), got_value.to_str().ok()), (name, Some(value)));
        }
        for text in ["x", "a b: c", ": c", "a: b\nc"] {
            assert!(header(text).is_err(), "{text}");
        }
    }

    #[test]
    fn facts_as_they_are_typed() {
        assert_eq!(fact("account=a=b"), Ok((Placeholder::Account, "a=b".to_owned())));
        for text in ["account", "body={}", "signature=x", "secret=x", "acount=x"] {
            let error = fact(text).expect_err(text);
            assert!(error.contains("account") || error.contains("NAME=VALUE"), "{error}");
        }
    }
}
