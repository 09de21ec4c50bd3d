//! Profiles: those built in, those of the configuration laid over them, all compiled.
//!
//! The built-in ones are TOML as users write it. A profile of a built-in's name is the built-in with the keys that it gives
//! changed; a new one has the defaults of the table of keys, and `signature` and `body` of `posthaste` with the keys
//! that it gives changed. Its headers are its own, or those of `posthaste` if it has no such table.

use std::{collections::BTreeMap, ops::Range, path::PathBuf, sync::Arc, time::Duration};

use zeroize::Zeroizing;

use super::{
    check::Context,
    error::{Problems, Reported},
    keys::Key,
    parse_file,
    raw::{Entry, Node, Table, Value},
    read::{self, Fault, Fields, choice},
    source::{Place, Sources},
};
use crate::{
    model::profile::{
        Algorithm, BodyRule, CloudEventsMode, CloudEventsRule, Encoding, KeyForm, Profile, SignatureRule,
        Success,
    },
    policy::{
        form::{Form, FormError, FormProblem, Part},
        placeholder::{Pattern, PatternError, Placeholder},
        template::{ScanError, TemplateError},
    },
};

/// The profiles that are always there, by name.
pub(super) const BUILT_IN: [(&str, &str); 7] = [
    ("posthaste", include_str!("profiles/posthaste.toml")),
    ("raw", include_str!("profiles/raw.toml")),
    ("cloudglue", include_str!("profiles/cloudglue.toml")),
    ("elai", include_str!("profiles/elai.toml")),
    ("fastpix", include_str!("profiles/fastpix.toml")),
    ("omegastream", include_str!("profiles/omegastream.toml")),
    ("transcodely", include_str!("profiles/transcodely.toml")),
];

/// How Standard Webhooks writes a signature by HMAC-SHA256 …
const SYMMETRIC: &str = "v1,{signature}";
/// … and one by ed25519.
const ASYMMETRIC: &str = "v1a,{signature}";

/// The profile that new ones take from.
const MODEL: &str = "posthaste";

/// The tree of the built-in profiles, by name.
pub(super) fn built_in(sources: &mut Sources) -> BTreeMap<String, Node> {
    let mut profiles = BTreeMap::new();
    for (name, text) in BUILT_IN {
        let file =
            sources.add(PathBuf::from(format!("<built-in profile {name}>")), Zeroizing::new(text.to_owned()));
        let mut document =
            parse_file(sources, file, &mut Problems::default()).expect("built-in profiles are TOML");
        let Some(Entry { node: Node { value: Value::Table(table), .. }, .. }) =
            document.entries.remove("profiles")
        else {
            unreachable!("a built-in profile's file has nothing but [profiles.NAME]");
        };
        profiles.extend(table.entries.into_iter().map(|(name, entry)| (name, entry.node)));
    }
    profiles
}

/// All profiles by name; what is wrong with one is noted.
pub(super) fn compile(
    context: &Context<'_>,
    built_in: &BTreeMap<String, Node>,
    written: Option<&Table>,
    problems: &mut Problems,
) -> BTreeMap<String, Result<Arc<Form>, Reported>> {
    let mut profiles = built_in.clone();
    for (name, Entry { key, node }) in written.into_iter().flat_map(|table| &table.entries) {
        if !read::is_name(name) {
            let help = "a profile's name has 1 to 64 characters of A-Z a-z 0-9 . _ -";
            problems.add(*key, "a profile cannot be named so".to_owned(), help);
        }
        if let Value::Table(table) = &node.value {
            let table = complete(built_in, name, table.clone());
            profiles.insert(name.clone(), Node { place: node.place, value: Value::Table(table) });
        }
    }
    let compiled = profiles.iter().map(|(name, node)| (name.clone(), form(context, name, node, problems)));
    compiled.collect()
}

/// The profile that `written` says, with what it does not say.
fn complete(built_in: &BTreeMap<String, Node>, name: &str, written: Table) -> Table {
    let base = |name| match built_in.get(name) {
        Some(Node { value: Value::Table(table), .. }) => Some(table.clone()),
        _ => None,
    };
    let mut table = base(name).unwrap_or_else(|| {
        let mut table = base(MODEL).unwrap_or_default();
        table.entries.retain(|key, _| match key.as_str() {
            "signature" | "body" => true,
            "headers" => !written.entries.contains_key("headers"),
            _ => false,
        });
        table
    });
    replace_headers(&mut table, &written);
    table.merge(written);
    table
}

/// Takes from the headers of `table` those that `written` has in whatever case.
fn replace_headers(table: &mut Table, written: &Table) {
    let Some(Value::Table(new)) = written.get("headers").map(|node| &node.value) else { return };
    if let Some(Entry { node: Node { value: Value::Table(old), .. }, .. }) = table.entries.get_mut("headers")
    {
        old.entries.retain(|name, _| !new.entries.keys().any(|new| new.eq_ignore_ascii_case(name)));
    }
}

fn form(
    context: &Context<'_>,
    name: &str,
    node: &Node,
    problems: &mut Problems,
) -> Result<Arc<Form>, Reported> {
    let (profile, whole) = profile(name, node, problems)?;
    match Form::compile(profile) {
        Ok(form) => whole.map(|()| Arc::new(form)),
        Err(errors) => {
            for error in &errors {
                form_error(context, name, node, error, problems);
            }
            Err(Reported)
        }
    }
}

/// The profile, and whether all of it is as it was written: what is wrong with its flow has a stand-in, so that its
/// texts are looked at all the same.
fn profile(
    name: &str,
    node: &Node,
    problems: &mut Problems,
) -> Result<(Profile, Result<(), Reported>), Reported> {
    let fields = Fields::new("profiles.NAME", Some(node))?.named(name);
    let success = fields.get(problems, "success", read::success);
    let timeout = fields.get(problems, "timeout", read::duration);
    let retry = fields.get(problems, "retry", read::schedule);
    let jitter = fields.get(problems, "jitter", read::fraction);
    let expire = fields.get(problems, "expire", read::duration);
    let concurrency = fields.get(problems, "concurrency", |key, node| {
        read::integer(key, node).map(|n| u16::try_from(n).expect("the table of keys bounds it by 1024"))
    });
    let million = |key: &Key, node: &Node| {
        read::integer(key, node).map(|n| u32::try_from(n).expect("the table of keys bounds it by a million"))
    };
    let retry_after = fields.get(problems, "retry_after", read::boolean);
    let gone_disables = fields.get(problems, "gone_disables", read::boolean);
    let disable_after = fields.get(problems, "disable_after", million);
    let circuit = fields.get(problems, "circuit", million);
    let probe = fields.get(problems, "probe", read::schedule);
    let rate = fields.given(problems, "rate", read::rate);
    let fifo = fields.get(problems, "order", choice(&[("none", false), ("fifo", true)]));
    let signature = signature(name, fields.node("signature"), problems);
    let signs = !matches!(&signature, Ok(SignatureRule { algorithm: Algorithm::None, .. }));
    let headers = headers(name, fields.node("headers"), signs, problems);
    let body = body(name, fields.node("body"), problems);
    let mut whole = Ok(());
    let profile = Profile {
        name: name.to_owned(),
        success: or_stand_in(success, Success::Class2xx, &mut whole),
        timeout: or_stand_in(timeout, Duration::ZERO, &mut whole),
        retry: or_stand_in(retry, vec![Duration::ZERO], &mut whole),
        jitter: or_stand_in(jitter, 0.0, &mut whole),
        expire: or_stand_in(expire, Duration::ZERO, &mut whole),
        retry_after: or_stand_in(retry_after, false, &mut whole),
        gone_disables: or_stand_in(gone_disables, false, &mut whole),
        disable_after: or_stand_in(disable_after, 0, &mut whole),
        concurrency: or_stand_in(concurrency, 1, &mut whole),
        circuit: or_stand_in(circuit, 0, &mut whole),
        probe: or_stand_in(probe, vec![Duration::ZERO], &mut whole),
        rate: or_stand_in(rate, None, &mut whole),
        fifo: or_stand_in(fifo, false, &mut whole),
        signature: signature?,
        headers: headers?,
        body: body?,
    };
    Ok((profile, whole))
}

fn or_stand_in<T>(read: Result<T, Reported>, stand_in: T, whole: &mut Result<(), Reported>) -> T {
    read.unwrap_or_else(|reported| {
        *whole = Err(reported);
        stand_in
    })
}

fn signature(name: &str, node: Option<&Node>, problems: &mut Problems) -> Result<SignatureRule, Reported> {
    let fields = Fields::new("profiles.NAME.signature", node)?.named(name);
    let algorithm = fields.get(
        problems,
        "algorithm",
        choice(&[
            ("hmac-sha256", Algorithm::HmacSha256),
            ("ed25519", Algorithm::Ed25519),
            ("none", Algorithm::None),
        ]),
    );
    let key = fields.get(
        problems,
        "key",
        choice(&[
            ("utf8", KeyForm::Utf8),
            ("hex", KeyForm::Hex),
            ("base64", KeyForm::Base64),
            ("whsec", KeyForm::Whsec),
        ]),
    );
    let signed = fields.get(problems, "signed", read::text);
    let encoding =
        fields.get(problems, "encoding", choice(&[("hex", Encoding::Hex), ("base64", Encoding::Base64)]));
    let each = fields.get(problems, "each", read::text);
    let inherited = fields.node("each").is_none_or(|node| is_built_in(node.place));
    let each = match (algorithm.as_ref(), each) {
        // The version of Standard Webhooks goes with the algorithm; one that somebody wrote stays.
        (Ok(Algorithm::Ed25519), Ok(each)) if inherited && each == SYMMETRIC => Ok(ASYMMETRIC.to_owned()),
        (_, each) => each,
    };
    let join = fields.get(problems, "join", read::text);
    Ok(SignatureRule {
        algorithm: algorithm?,
        key: key?,
        signed: signed?,
        encoding: encoding?,
        each: each?,
        join: join?,
    })
}

/// The headers, in the order in which they are written. One that comes from a built-in profile and shows a signature is
/// left out where nothing is signed: there is no other way to be rid of it.
fn headers(
    profile: &str,
    node: Option<&Node>,
    signs: bool,
    problems: &mut Problems,
) -> Result<Vec<(String, String)>, Reported> {
    let fields = Fields::new("profiles.NAME.headers", node)?.named(profile);
    let Some(Node { value: Value::Table(table), .. }) = node else { return Ok(Vec::new()) };
    let mut entries: Vec<_> = table.entries.iter().collect();
    entries.sort_by_key(|(_, entry)| entry.key);
    let mut headers = Vec::new();
    let mut all = Ok(());
    for (name, entry) in entries {
        match fields.get(problems, name, read::text) {
            Ok(value) if !signs && is_built_in(entry.key) && shows_signature(&value) => {}
            Ok(value) => headers.push((name.clone(), value)),
            Err(reported) => all = Err(reported),
        }
    }
    all.map(|()| headers)
}

/// Whether `place` is in the file of a built-in profile; these are read first.
fn is_built_in(place: Place) -> bool {
    place.file < BUILT_IN.len()
}

fn shows_signature(value: &str) -> bool {
    let shown = [Placeholder::Signature, Placeholder::Signatures];
    Pattern::parse(value).is_ok_and(|pattern| shown.into_iter().any(|placeholder| pattern.holds(placeholder)))
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    CloudEvents,
    Envelope,
    Raw,
    Template,
}

const FORMATS: &[(&str, Format)] = &[
    ("cloudevents", Format::CloudEvents),
    ("envelope", Format::Envelope),
    ("raw", Format::Raw),
    ("template", Format::Template),
];
const MODES: &[(&str, CloudEventsMode)] =
    &[("binary", CloudEventsMode::Binary), ("structured", CloudEventsMode::Structured)];

fn body(name: &str, node: Option<&Node>, problems: &mut Problems) -> Result<BodyRule, Reported> {
    let fields = Fields::new("profiles.NAME.body", node)?.named(name);
    let format = fields.get(problems, "format", choice(FORMATS));
    let template = fields.given(problems, "template", read::text);
    let mode = fields.get(problems, "mode", choice(MODES));
    let source = fields.get(problems, "source", read::text);
    let format = format?;
    for (key, user) in
        [("template", Format::Template), ("mode", Format::CloudEvents), ("source", Format::CloudEvents)]
    {
        used(fields, key, (user, format), problems)?;
    }
    match format {
        Format::CloudEvents => Ok(BodyRule::CloudEvents(CloudEventsRule { mode: mode?, source: source? })),
        Format::Envelope => Ok(BodyRule::Envelope),
        Format::Raw => Ok(BodyRule::Raw),
        Format::Template => match template? {
            Some(template) => Ok(BodyRule::Template(template)),
            // Reading it as required says that it is missing.
            None => fields.get(problems, "template", read::text).map(BodyRule::Template),
        },
    }
}

/// Notes a key that only the format `user` reads, beside another one. Where a later file or the writer's own format
/// overrides it, it is no mistake.
fn used(
    fields: Fields<'_>,
    key: &str,
    (user, format): (Format, Format),
    problems: &mut Problems,
) -> Result<(), Reported> {
    let (Some(at), Some(over)) = (fields.node(key), fields.node("format")) else { return Ok(()) };
    if format == user || at.place.file < over.place.file {
        return Ok(());
    }
    let word = FORMATS.iter().find(|(_, format)| *format == user).map_or("", |(word, _)| word);
    let fault = Fault::new("is not used", format!("it needs `format = \"{word}\"` beside it"));
    Err(fields.wrong(problems, key, at, fault))
}

/// Notes what is wrong with a profile's text at that text's place.
fn form_error(context: &Context<'_>, name: &str, profile: &Node, error: &FormError, problems: &mut Problems) {
    let (table, key) = match &error.part {
        Part::Each => ("signature", "each"),
        Part::Header(header) | Part::HeaderName(header) => ("headers", header.as_str()),
        Part::Join => ("signature", "join"),
        Part::Key => ("signature", "key"),
        Part::Signed => ("signature", "signed"),
        Part::Source => ("body", "source"),
        Part::Template => ("body", "template"),
    };
    let path = format!("profiles.{name}.{table}.{key}");
    let find = |key| entry_of(profile, table).and_then(|entry| entry_of(&entry.node, key));
    let entry = match (find(key), &error.part) {
        // The algorithm is what was written, not the built-in profile's key form.
        (Some(key), Part::Key) if is_built_in(key.key) => find("algorithm"),
        (entry, _) => entry,
    };
    let place = match (entry, &error.part) {
        (Some(entry), Part::HeaderName(_)) => entry.key,
        (Some(entry), _) => match text_place(context.sources, &entry.node, error) {
            Some(place) => place,
            None => entry.node.place,
        },
        (None, _) => profile.place,
    };
    problems.add(place, format!("`{path}` cannot be used"), error.why.to_string());
}

fn entry_of<'a>(node: &'a Node, key: &str) -> Option<&'a Entry> {
    match &node.value {
        Value::Table(table) => table.entries.get(key),
        _ => None,
    }
}

/// Where in `node`, a profile's text, `error` is.
fn text_place(sources: &Sources, node: &Node, error: &FormError) -> Option<Place> {
    let text = read::string(node).ok()?;
    let find = |part: &str| text.find(part).map(|at| at..at + part.len());
    let range = match &error.why {
        FormProblem::Pattern(PatternError::Closed { at } | PatternError::Open { at }) => Some(*at..at + 1),
        FormProblem::Pattern(PatternError::Unknown { at, name, .. }) => Some(*at..at + name.len() + 2),
        FormProblem::NotHere { placeholder, .. } | FormProblem::Unsigned { placeholder } => {
            find(&placeholder.to_string())
        }
        FormProblem::Template(TemplateError::Engine { line, .. }) => line_of(text, *line),
        FormProblem::Template(TemplateError::Variable { name, .. }) => word(text, name),
        FormProblem::Template(TemplateError::Scan(error)) => {
            scan_line(error).and_then(|line| line_of(text, line))
        }
        _ => None,
    };
    Some(read::place_within(sources, node, range?))
}

/// The line of a template that `error` is about, where there is one.
fn scan_line(error: &ScanError) -> Option<usize> {
    match error {
        ScanError::Blocks { line }
        | ScanError::Brackets { line }
        | ScanError::Filter { line, .. }
        | ScanError::ForHead { line, .. }
        | ScanError::Loops { line }
        | ScanError::Pieces { line }
        | ScanError::Star { line }
        | ScanError::Tag { line, .. }
        | ScanError::TagTooLong { line }
        | ScanError::Test { line, .. }
        | ScanError::Unclosed { line, .. } => Some(*line),
        ScanError::TooLong => None,
    }
}

/// The first place of `name` in `text` that is no part of a longer name.
fn word(text: &str, name: &str) -> Option<Range<usize>> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let found = text
        .match_indices(name)
        .find(|(at, _)| !text[..*at].ends_with(part) && !text[at + name.len()..].starts_with(part));
    found.map(|(at, _)| at..at + name.len())
}

/// The bytes of a line, counted from 1, without the blanks around it.
fn line_of(text: &str, number: usize) -> Option<Range<usize>> {
    let line = text.split('\n').nth(number.checked_sub(1)?)?.trim();
    let start = line.as_ptr().addr() - text.as_ptr().addr();
    Some(start..start + line.len())
}
