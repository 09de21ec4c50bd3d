//! Forms: profiles compiled, so that a request is made without reading a pattern again.
//!
//! [`Form::compile`] finds everything about a profile's texts that could go wrong by itself and names the part
//! it is in: unknown placeholders and such as make no sense in their place, names and texts that no header may
//! have, templates that do not compile or fail on a sample event. After that a body can fail only as a template
//! meets a payload that it cannot work on, a header only by what a secret brings in.

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::{
    cloudevents::CloudEvents,
    facts::Facts,
    placeholder::{Pattern, PatternError, Placeholder},
    template::{BodyTemplate, RenderError, TemplateError},
};
use crate::model::{
    content::ContentType,
    profile::{Algorithm, BodyRule, KeyForm, Profile, SignatureRule},
    time::Timestamp,
};

/// A profile with its patterns and its template compiled.
#[derive(Debug)]
pub struct Form {
    profile: Profile,
    signed: Pattern,
    each: Pattern,
    join: String,
    headers: Vec<Header>,
    body: Body,
}

/// A header of a profile.
#[derive(Debug)]
pub struct Header {
    /// Its name; no other of the form's has it.
    pub name: HeaderName,
    /// The value's pattern.
    pub value: Pattern,
    /// Whether nobody may see the value once it is made: it holds the secret, or it has text of its own and the name of
    /// what is kept secret. What consists of placeholders alone tells nothing.
    pub concealed: bool,
}

#[derive(Debug)]
enum Body {
    CloudEvents(CloudEvents),
    Envelope,
    Raw,
    Template(Box<BodyTemplate>),
}

impl Form {
    /// Compiles `profile`.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of its keys.
    pub fn compile(profile: Profile) -> Result<Self, Vec<FormError>> {
        let mut errors = Vec::new();
        let (signed, each, join) = signature(&profile.signature, &mut errors);
        let headers = headers(&profile, &mut errors);
        let body = body(&profile.body).map_err(|(part, why)| errors.push(FormError { part, why })).ok();
        match body {
            Some(body) if errors.is_empty() => Ok(Self { profile, signed, each, join, headers, body }),
            _ => Err(errors),
        }
    }

    /// The profile as it was given.
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// What is signed.
    pub const fn signed(&self) -> &Pattern {
        &self.signed
    }

    /// The form of one signature among several.
    pub const fn each(&self) -> &Pattern {
        &self.each
    }

    /// What stands between several.
    pub fn join(&self) -> &str {
        &self.join
    }

    /// The profile's headers.
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// Whether requests are signed.
    pub fn signs(&self) -> bool {
        self.profile.signature.algorithm != Algorithm::None
    }

    /// Whether the attempt's own time is signed: then an attempt with a wrong clock is worth nothing.
    pub fn signs_time(&self) -> bool {
        let times = [Placeholder::Timestamp, Placeholder::TimestampMs];
        self.signs() && times.into_iter().any(|time| self.signed.holds(time))
    }

    /// Whether requests show this: signed, in a header, or in a signature's form.
    pub fn shows(&self, placeholder: Placeholder) -> bool {
        let headers = self.headers.iter().map(|header| &header.value);
        headers.chain([&self.signed, &self.each]).any(|pattern| pattern.holds(placeholder))
    }

    /// Whether an endpoint of this profile must have a secret: to sign with, or to show.
    pub fn needs_secret(&self) -> bool {
        self.signs() || self.headers.iter().any(|header| header.value.holds(Placeholder::Secret))
    }

    /// What the body is, unless a header of the profile says otherwise.
    pub fn content_type(&self, facts: &Facts<'_>) -> HeaderValue {
        match &self.body {
            Body::CloudEvents(events) => events.content_type(facts),
            Body::Raw => facts.content_type(),
            Body::Envelope | Body::Template(_) => HeaderValue::from_static(ContentType::JSON),
        }
    }

    /// The headers that belong to the body, before those of the profile.
    pub fn body_headers(&self, facts: &Facts<'_>) -> Vec<(HeaderName, String)> {
        match &self.body {
            Body::CloudEvents(events) => events.headers(facts),
            Body::Envelope | Body::Raw | Body::Template(_) => Vec::new(),
        }
    }

    /// Whether making a body of so large a payload may take longer than others should wait for the thread.
    pub fn takes_its_time(&self, payload: usize) -> bool {
        match &self.body {
            Body::CloudEvents(_) | Body::Envelope | Body::Raw => false,
            Body::Template(template) => template.takes_its_time(payload),
        }
    }

    /// The body; the same for every attempt of a delivery. A raw one shares `data`'s memory.
    pub fn body(&self, facts: &Facts<'_>) -> Result<Bytes, RenderError> {
        match &self.body {
            Body::CloudEvents(events) => Ok(events.body(facts)),
            Body::Envelope => Ok(envelope(facts)),
            Body::Raw => Ok(facts.data.clone()),
            Body::Template(template) => template.render(facts).map(Bytes::from),
        }
    }
}

/// Whether a header is the connection's own business, so that neither profiles nor endpoints may set it.
pub fn is_reserved(name: &HeaderName) -> bool {
    const RESERVED: [&str; 9] = [
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    RESERVED.contains(&name.as_str()) || name.as_str().starts_with("proxy-")
}

/// See [`Header::concealed`].
fn is_concealed(name: &HeaderName, value: &Pattern) -> bool {
    const ALWAYS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];
    const ENDS: [&str; 7] = ["token", "key", "secret", "password", "passwd", "credential", "credentials"];
    let name = name.as_str();
    let secret =
        ALWAYS.contains(&name) || ENDS.iter().any(|end| name.ends_with(end)) || name.ends_with("-auth");
    value.holds(Placeholder::Secret) || value.texts().next().is_some() && secret && name != "idempotency-key"
}

/// What is wrong with a profile, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct FormError {
    /// In which of the profile's texts.
    pub part: Part,
    /// What.
    pub why: FormProblem,
}

/// One of a profile's texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// `signature.each`
    Each,
    /// The value of the header that is written so in `headers`.
    Header(String),
    /// The name of that header.
    HeaderName(String),
    /// `signature.join`
    Join,
    /// `signature.key`
    Key,
    /// `signature.signed`
    Signed,
    /// `body.source`
    Source,
    /// `body.template`
    Template,
}

/// What is wrong with one of a profile's texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormProblem {
    /// Text that no header may carry.
    #[error("a header's value has no line end and no other control character")]
    ControlCharacter,
    /// The same name in another spelling.
    #[error("the header is there twice (case does not count in names); leave one of them")]
    Duplicate,
    /// No text.
    #[error("nothing would be signed; write for example {{timestamp}}.{{body}}, or set algorithm = \"none\"")]
    Empty,
    /// A key that text cannot be.
    #[error(
        "a key of ed25519 is 32 bytes, not text; write key = \"whsec\" (whsk_ and base64), \"base64\" or \"hex\""
    )]
    KeyForm,
    /// No header's name.
    #[error("not a header's name: one has the characters A-Z a-z 0-9 and !#$%&'*+-.^_`|~")]
    Name,
    /// `each` without a signature.
    #[error("{{signature}} is missing: this is the form of one signature")]
    NoSignature,
    /// A placeholder where it makes no sense.
    #[error("{placeholder} cannot stand here; {instead}")]
    NotHere {
        /// Which.
        placeholder: Placeholder,
        /// What can.
        instead: &'static str,
    },
    /// Not a pattern at all.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A header that is the connection's business.
    #[error("posthaste sets this header itself, or the connection would break; leave it out")]
    Reserved,
    /// No attribute `source` of a CloudEvent.
    #[error(
        "a source is a URI reference such as /posthaste/{{account}}: printable ASCII without spaces, quotes, % and \\ ^ ` < > |"
    )]
    Source,
    /// Not a template that could work.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A header shows a signature, and the profile does not sign.
    #[error("{placeholder} is never there with algorithm = \"none\"; leave the header out, or sign")]
    Unsigned {
        /// Which.
        placeholder: Placeholder,
    },
}

/// The patterns of the signature; what is wrong goes to `errors` and leaves an empty pattern behind.
fn signature(rule: &SignatureRule, errors: &mut Vec<FormError>) -> (Pattern, Pattern, String) {
    let signs = rule.algorithm != Algorithm::None;
    if (rule.algorithm, rule.key) == (Algorithm::Ed25519, KeyForm::Utf8) {
        errors.push(FormError { part: Part::Key, why: FormProblem::KeyForm });
    }
    let mut checked = |part: Part, pattern: Result<Pattern, FormProblem>| {
        pattern.unwrap_or_else(|why| {
            errors.push(FormError { part, why });
            Pattern::default()
        })
    };
    let signed = checked(Part::Signed, signed(&rule.signed, rule.algorithm));
    let each = checked(Part::Each, each(&rule.each, signs));
    let join = checked(Part::Join, join(&rule.join));
    let join = join.texts().collect();
    (signed, each, join)
}

fn signed(source: &str, algorithm: Algorithm) -> Result<Pattern, FormProblem> {
    let instead = "a signature is computed over what does not depend on it";
    let fits = |placeholder| !is_signature(placeholder);
    let pattern = pattern(source, fits, instead)?;
    keeps_private(&pattern, algorithm)?;
    let empty = algorithm != Algorithm::None && pattern.parts().is_empty();
    if empty { Err(FormProblem::Empty) } else { Ok(pattern) }
}

fn each(source: &str, signs: bool) -> Result<Pattern, FormProblem> {
    let fits = |placeholder| matches!(placeholder, Placeholder::Signature | Placeholder::Timestamp);
    let pattern = pattern(source, fits, "there are {signature} and {timestamp}")?;
    header_text(&pattern)?;
    let missing = signs && !pattern.holds(Placeholder::Signature);
    if missing { Err(FormProblem::NoSignature) } else { Ok(pattern) }
}

fn join(source: &str) -> Result<Pattern, FormProblem> {
    let pattern = pattern(source, |_| false, "what stands between signatures is plain text")?;
    header_text(&pattern)?;
    Ok(pattern)
}

fn headers(profile: &Profile, errors: &mut Vec<FormError>) -> Vec<Header> {
    let algorithm = profile.signature.algorithm;
    let mut headers: Vec<Header> = Vec::with_capacity(profile.headers.len());
    for (written, value) in &profile.headers {
        let value = header_value(value, algorithm).unwrap_or_else(|why| {
            errors.push(FormError { part: Part::Header(written.clone()), why });
            Pattern::default()
        });
        let name = header_name(written).and_then(|name| {
            let twice = headers.iter().any(|other| other.name == name);
            if twice { Err(FormProblem::Duplicate) } else { Ok(name) }
        });
        match name {
            Ok(name) => headers.push(Header { concealed: is_concealed(&name, &value), name, value }),
            Err(why) => errors.push(FormError { part: Part::HeaderName(written.clone()), why }),
        }
    }
    headers
}

fn header_name(written: &str) -> Result<HeaderName, FormProblem> {
    let name = HeaderName::from_bytes(written.as_bytes()).map_err(|_| FormProblem::Name)?;
    if is_reserved(&name) { Err(FormProblem::Reserved) } else { Ok(name) }
}

fn header_value(source: &str, algorithm: Algorithm) -> Result<Pattern, FormProblem> {
    let fits = |placeholder| placeholder != Placeholder::Body;
    let pattern = pattern(source, fits, "the body does not fit into a header")?;
    header_text(&pattern)?;
    keeps_private(&pattern, algorithm)?;
    let shown = pattern.placeholders().find(|placeholder| is_signature(*placeholder));
    match shown {
        Some(placeholder) if algorithm == Algorithm::None => Err(FormProblem::Unsigned { placeholder }),
        _ => Ok(pattern),
    }
}

/// A private key is neither sent nor signed: no receiver has it.
fn keeps_private(pattern: &Pattern, algorithm: Algorithm) -> Result<(), FormProblem> {
    let placeholder = Placeholder::Secret;
    let instead = "with ed25519 the secret is the private key, which nobody else may see; leave it out";
    let shows = algorithm == Algorithm::Ed25519 && pattern.holds(placeholder);
    if shows { Err(FormProblem::NotHere { placeholder, instead }) } else { Ok(()) }
}

fn is_signature(placeholder: Placeholder) -> bool {
    matches!(placeholder, Placeholder::Signature | Placeholder::Signatures)
}

/// A pattern of placeholders that `fits` lets stand.
fn pattern(
    source: &str,
    fits: impl Fn(Placeholder) -> bool,
    instead: &'static str,
) -> Result<Pattern, FormProblem> {
    let pattern = Pattern::parse(source)?;
    let misfit = pattern.placeholders().find(|placeholder| !fits(*placeholder));
    match misfit {
        Some(placeholder) => Err(FormProblem::NotHere { placeholder, instead }),
        None => Ok(pattern),
    }
}

/// Whether a header may carry the pattern's own text.
fn header_text(pattern: &Pattern) -> Result<(), FormProblem> {
    let fits = |text: &str| http::HeaderValue::from_bytes(text.as_bytes()).is_ok();
    if pattern.texts().all(fits) { Ok(()) } else { Err(FormProblem::ControlCharacter) }
}

fn body(rule: &BodyRule) -> Result<Body, (Part, FormProblem)> {
    Ok(match rule {
        BodyRule::CloudEvents(rule) => {
            Body::CloudEvents(CloudEvents::compile(rule).map_err(|why| (Part::Source, why))?)
        }
        BodyRule::Envelope => Body::Envelope,
        BodyRule::Raw => Body::Raw,
        BodyRule::Template(source) => {
            let compiled = template(source).map_err(|why| (Part::Template, why.into()))?;
            Body::Template(Box::new(compiled))
        }
    })
}

/// Compiles a template, tried on an event such as there will be.
fn template(source: &str) -> Result<BodyTemplate, TemplateError> {
    let time = Timestamp::from_millis(1_700_000_000_000);
    let data = Bytes::from_static(b"{}");
    let sample = Facts {
        event_id: "evt_00000000000000000000000000",
        delivery_id: "dlv_00000000000000000000000000",
        delivery_short: "00000000",
        endpoint_id: "ep_00000000000000000000000000",
        event_type: "posthaste.test",
        account: "default",
        producer_id: None,
        event_time: time,
        data: &data,
        content_type: None,
        cloud: None,
        attempt: 1,
        timestamp: time,
        age: time,
    };
    BodyTemplate::compile(source, &sample)
}

/// `{"id","type","timestamp","data"}`, the last the very bytes of `data`. Where that is no JSON, its `content_type` and its
/// base64 as `data_base64` stand there instead: nobody takes a text for what it is not.
fn envelope(facts: &Facts<'_>) -> Bytes {
    let quote = |text: &str, body: &mut Vec<u8>| {
        serde_json::to_writer(body, text).expect("a str is JSON, and a Vec takes all");
    };
    // Two names of at most 128 characters, a time, and what stands between them.
    let mut body = Vec::with_capacity(facts.data.len() + 384);
    body.extend_from_slice(br#"{"id":"#);
    quote(facts.event_id, &mut body);
    body.extend_from_slice(br#","type":"#);
    quote(facts.event_type, &mut body);
    write!(body, r#","timestamp":"{}""#, facts.event_time).expect("a Vec takes all");
    match facts.content_type {
        Some(content_type) if !facts.is_json() => {
            body.extend_from_slice(br#","content_type":"#);
            quote(content_type.as_str(), &mut body);
            push_base64(&mut body, facts.data);
        }
        _ => {
            body.extend_from_slice(br#","data":"#);
            body.extend_from_slice(facts.data);
        }
    }
    body.push(b'}');
    Bytes::from(body)
}

/// Adds a member `data_base64` to a JSON object that has others.
pub(super) fn push_base64(body: &mut Vec<u8>, data: &[u8]) {
    let text = STANDARD.encode(data);
    body.reserve(text.len() + 20);
    body.extend_from_slice(br#","data_base64":""#);
    body.extend_from_slice(text.as_bytes());
    body.push(b'"');
}

/// A profile as good as any, for tests.
#[cfg(test)]
pub(crate) mod sample {
    use std::time::Duration;

    use super::*;
    use crate::model::profile::{Encoding, KeyForm, Success};

    /// A profile of Standard Webhooks' form with the raw body.
    pub(crate) fn profile() -> Profile {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Profile {
            name: "sample".to_owned(),
            success: Success::Class2xx,
            timeout: Duration::from_secs(30),
            retry: vec![Duration::ZERO],
            jitter: 0.0,
            expire: Duration::from_secs(86_400),
            retry_after: false,
            gone_disables: false,
            disable_after: 0,
            concurrency: 16,
            circuit: 0,
            probe: vec![Duration::from_secs(10)],
            rate: None,
            fifo: false,
            signature: SignatureRule {
                algorithm: Algorithm::HmacSha256,
                key: KeyForm::Whsec,
                signed: "{event_id}.{timestamp}.{body}".to_owned(),
                encoding: Encoding::Base64,
                each: "v1,{signature}".to_owned(),
                join: " ".to_owned(),
            },
            headers: vec![
                header("webhook-id", "{event_id}"),
                header("webhook-timestamp", "{timestamp}"),
                header("webhook-signature", "{signatures}"),
            ],
            body: BodyRule::Raw,
        }
    }

    /// What Transcodely's documentation shows.
    pub(crate) fn transcodely() -> Profile {
        let mut profile = profile();
        profile.signature.key = KeyForm::Utf8;
        profile.signature.signed = "{timestamp}.{body}".to_owned();
        profile.signature.encoding = Encoding::Hex;
        profile.signature.each = "sha256={signature}".to_owned();
        profile.signature.join = ",".to_owned();
        let headers = [
            ("X-Transcodely-Signature", "sha256={signature}"),
            ("X-Transcodely-Timestamp", "{timestamp}"),
            ("X-Transcodely-Delivery-ID", "{delivery_id}"),
        ];
        profile.headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let template =
            r#"{"event": {{ type | tojson }}, "job": {{ data_json }}, "timestamp": {{ time | tojson }}}"#;
        profile.body = BodyRule::Template(template.to_owned());
        profile
    }
}

#[cfg(test)]
mod tests {
    use super::{super::facts, *};
    use crate::model::profile::{CloudEventsMode, CloudEventsRule};

    fn errors(profile: Profile) -> Vec<FormError> {
        Form::compile(profile).err().unwrap_or_default()
    }

    fn body_of(rule: BodyRule, data: &[u8]) -> Bytes {
        let profile = Profile { body: rule, ..sample::profile() };
        let form = Form::compile(profile).expect("a form");
        let data = Bytes::copy_from_slice(data);
        form.body(&facts::sample::facts(&data)).expect("a body")
    }

    #[test]
    fn which_placeholder_may_stand_where() {
        for placeholder in Placeholder::ALL {
            for (part, refused) in [
                (Part::Signed, is_signature(placeholder)),
                (Part::Each, !matches!(placeholder, Placeholder::Signature | Placeholder::Timestamp)),
                (Part::Join, true),
                (Part::Header("X".to_owned()), placeholder == Placeholder::Body),
            ] {
                let mut profile = sample::profile();
                let text = format!("{placeholder};{{signature}}");
                match part {
                    Part::Signed => profile.signature.signed = placeholder.to_string(),
                    Part::Each => profile.signature.each = text,
                    Part::Join => profile.signature.join = placeholder.to_string(),
                    _ => profile.headers.push(("X".to_owned(), text)),
                }
                let errors = errors(profile);
                assert_eq!(!errors.is_empty(), refused, "{placeholder} in {part:?}: {errors:?}");
                if let [error] = &errors[..] {
                    assert_eq!(error.part, part);
                    assert!(
                        matches!(error.why, FormProblem::NotHere { placeholder: it, .. } if it == placeholder)
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_concealed() {
        for (name, value, concealed) in [
            ("authorization", "Bearer hush", true),
            ("authorization", "Bearer {event_id}", true),
            ("authorization", "{event_id}", false),
            ("cookie", "a=b", true),
            ("x-api-key", "hush", true),
            ("x-apikey", "hush", true),
            ("api-token", "hush", true),
            ("token", "hush", true),
            ("x-shared-secret", "hush", true),
            ("x-auth", "hush", true),
            ("x-anything", "{secret}", true),
            ("x-request-token", "{delivery_id}", false),
            ("x-signing-key", "{attempt}{signature}", false),
            ("idempotency-key", "box-{delivery_id}", false),
            ("x-author", "hush", false),
            ("x-keyboard", "hush", false),
            ("webhook-signature", "v1={signature}", false),
        ] {
            let pattern = Pattern::parse(value).expect("a pattern");
            assert_eq!(is_concealed(&HeaderName::from_static(name), &pattern), concealed, "{name}: {value}");
        }
    }

    #[test]
    fn errors_name_their_part() {
        type Change = fn(&mut Profile);
        let header = |name: &str| Part::Header(name.to_owned());
        let name = |name: &str| Part::HeaderName(name.to_owned());
        let cases: [(Change, Part, FormProblem); 13] = [
            (|p| p.signature.signed = String::new(), Part::Signed, FormProblem::Empty),
            (|p| p.signature.signed = "}".into(), Part::Signed, PatternError::Closed { at: 0 }.into()),
            (|p| p.signature.each = "v1".into(), Part::Each, FormProblem::NoSignature),
            (|p| p.signature.each = "{signature}\n".into(), Part::Each, FormProblem::ControlCharacter),
            (|p| p.signature.join = "\r\n".into(), Part::Join, FormProblem::ControlCharacter),
            (|p| p.headers[0].1 = "a\nb".into(), header("webhook-id"), FormProblem::ControlCharacter),
            (|p| p.headers[0].1 = "{".into(), header("webhook-id"), PatternError::Open { at: 0 }.into()),
            (|p| p.headers[0].0 = "a b".into(), name("a b"), FormProblem::Name),
            (|p| p.headers[0].0 = String::new(), name(""), FormProblem::Name),
            (|p| p.headers[0].0 = "HOST".into(), name("HOST"), FormProblem::Reserved),
            (
                |p| p.headers[0].0 = "Proxy-Authorization".into(),
                name("Proxy-Authorization"),
                FormProblem::Reserved,
            ),
            (|p| p.headers[2].0 = "Webhook-ID".into(), name("Webhook-ID"), FormProblem::Duplicate),
            (
                |p| p.body = BodyRule::Template("{{ idd }}".into()),
                Part::Template,
                TemplateError::Variable { name: "idd".into(), nearest: Some("id") }.into(),
            ),
        ];
        for (change, part, why) in cases {
            let mut profile = sample::profile();
            change(&mut profile);
            assert_eq!(errors(profile), [FormError { part, why }]);
        }
        for reserved in
            ["content-length", "connection", "te", "upgrade", "trailer", "keep-alive", "transfer-encoding"]
        {
            assert!(is_reserved(&HeaderName::from_static(reserved)), "{reserved}");
        }
    }

    #[test]
    fn all_errors_are_found_at_once() {
        let mut profile = sample::profile();
        profile.signature.signed = "{bdy}".into();
        profile.signature.each = "x".into();
        profile.headers[1].1 = "{x}".into();
        profile.headers[2].0 = "Host".into();
        profile.body = BodyRule::Template("{{".into());
        assert_eq!(errors(profile).len(), 5);
    }

    #[test]
    fn a_key_of_ed25519_is_no_text() {
        use crate::model::profile::KeyForm;
        let mut profile = sample::profile();
        profile.signature.algorithm = Algorithm::Ed25519;
        for (key, good) in
            [(KeyForm::Utf8, false), (KeyForm::Hex, true), (KeyForm::Base64, true), (KeyForm::Whsec, true)]
        {
            profile.signature.key = key;
            let errors = errors(profile.clone());
            let expected = FormError { part: Part::Key, why: FormProblem::KeyForm };
            assert_eq!(errors.first(), (!good).then_some(&expected), "{key:?}");
        }
        let form = Form::compile(profile.clone()).expect("a form");
        assert!(form.signs() && form.signs_time() && form.needs_secret());
        profile.headers.push(("Authorization".to_owned(), "Bearer {secret}".to_owned()));
        profile.signature.signed = "{secret}{body}".to_owned();
        let errors = errors(profile);
        assert_eq!(errors.len(), 2, "the private key is kept: {errors:?}");
        assert!(errors.iter().all(|error| error.to_string().contains("private key")), "{errors:?}");
    }

    #[test]
    fn who_does_not_sign_shows_no_signature() {
        let mut profile = sample::profile();
        profile.signature.algorithm = Algorithm::None;
        let why = FormProblem::Unsigned { placeholder: Placeholder::Signatures };
        assert_eq!(
            errors(profile.clone()),
            [FormError { part: Part::Header("webhook-signature".to_owned()), why }]
        );
        profile.headers.pop();
        profile.signature.signed = String::new();
        let form = Form::compile(profile.clone()).expect("a form");
        assert!(!form.signs() && !form.signs_time() && !form.needs_secret());
        profile.headers.push(("Authorization".to_owned(), "Bearer {secret}".to_owned()));
        assert!(Form::compile(profile).expect("a form").needs_secret());
        let signing = Form::compile(sample::profile()).expect("a form");
        assert!(signing.signs() && signing.signs_time() && signing.needs_secret());
    }

    #[test]
    fn raw_bodies_are_the_very_bytes() {
        for data in [
            &br#"{ "b":1,"a" : 1.10, "a":2 }"#[..],
            b"12345678901234567890123456789.000e-0",
            b" [ ] ",
            b"\"\\u0041\xf0\x9f\x93\xaf\"",
            b"null",
            b"\xff\x00",
        ] {
            let form = Form::compile(sample::profile()).expect("a form");
            let data = Bytes::copy_from_slice(data);
            let body = form.body(&facts::sample::facts(&data)).expect("a body");
            assert_eq!(body, data);
            assert_eq!(body.as_ptr(), data.as_ptr(), "shared, not copied");
        }
    }

    #[test]
    fn envelopes_hold_the_very_bytes() {
        let data = br#"{ "b":1.10,"a" : 12345678901234567890123456789 }"#;
        let body = body_of(BodyRule::Envelope, data);
        let expected = format!(
            r#"{{"id":"evt_1","type":"job.completed","timestamp":"2024-02-28T16:15:42.007Z","data":{}}}"#,
            String::from_utf8_lossy(data)
        );
        assert_eq!(body, expected);
        serde_json::from_slice::<serde_json::Value>(&body).expect("JSON");
    }

    /// What is sent of a payload of another kind.
    #[test]
    fn payloads_that_are_no_json() {
        let events =
            |mode| BodyRule::CloudEvents(CloudEventsRule { mode, source: "/posthaste/{account}".to_owned() });
        let (binary, structured) = (events(CloudEventsMode::Binary), events(CloudEventsMode::Structured));
        let template = BodyRule::Template("{{ content_type }}".to_owned());
        let event = r#""id":"evt_1","source":"/posthaste/default","type":"job.completed","time":"2024-02-28T16:15:42.007Z""#;
        let envelope = r#"{"id":"evt_1","type":"job.completed","timestamp":"2024-02-28T16:15:42.007Z""#;
        let json = "application/json";
        let pdf = (&b"%PDF\xff\0"[..], "application/pdf");
        let csv = (&b"\"a\",b\n"[..], "text/csv; charset=utf-8");
        let geo = (&br#"{"x": 1.0}"#[..], "application/geo+json");
        for (rule, (data, content_type), header, body) in [
            (BodyRule::Raw, pdf, "application/pdf", pdf.0.to_vec()),
            (BodyRule::Raw, csv, "text/csv; charset=utf-8", csv.0.to_vec()),
            (BodyRule::Raw, geo, "application/geo+json", geo.0.to_vec()),
            (binary.clone(), pdf, "application/pdf", pdf.0.to_vec()),
            (
                structured.clone(),
                pdf,
                "application/cloudevents+json; charset=utf-8",
                format!(r#"{{"specversion":"1.0",{event},"datacontenttype":"application/pdf","data_base64":"JVBERv8A"}}"#)
                    .into(),
            ),
            (
                structured,
                geo,
                "application/cloudevents+json; charset=utf-8",
                format!(r#"{{"specversion":"1.0",{event},"datacontenttype":"application/geo+json","data":{{"x": 1.0}}}}"#)
                    .into(),
            ),
            (
                BodyRule::Envelope,
                csv,
                json,
                format!(r#"{envelope},"content_type":"text/csv; charset=utf-8","data_base64":"ImEiLGIK"}}"#).into(),
            ),
            (BodyRule::Envelope, geo, json, format!(r#"{envelope},"data":{{"x": 1.0}}}}"#).into()),
            (template, pdf, json, b"application/pdf".to_vec()),
        ] {
            let form = Form::compile(Profile { body: rule, ..sample::profile() }).expect("a form");
            let (data, content_type) = (Bytes::from_static(data), content_type.parse().expect("a content type"));
            let facts = Facts { content_type: Some(&content_type), ..facts::sample::facts(&data) };
            let made = form.body(&facts).expect("a body");
            assert_eq!((form.content_type(&facts), &made[..]), (HeaderValue::from_static(header), &body[..]));
        }
    }

    #[test]
    fn bodies_are_the_same_at_every_attempt() {
        let template =
            BodyRule::Template("{{ id }} {{ time }} {{ delivery_id }} {{ data | tojson }}".to_owned());
        for rule in [BodyRule::Raw, BodyRule::Envelope, template] {
            let form = Form::compile(Profile { body: rule, ..sample::profile() }).expect("a form");
            let data = facts::sample::data();
            let first = facts::sample::facts(&data);
            let later = Facts { attempt: 9, timestamp: Timestamp::from_millis(1_999_999_999_999), ..first };
            assert_eq!(form.body(&first), form.body(&later));
        }
    }
}
