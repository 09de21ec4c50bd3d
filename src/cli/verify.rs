//! Verifying webhooks as a receiver would: from a profile, a secret, the headers and the body that came.
//!
//! Nothing but the request is known: what the profile signs besides the body (`{timestamp}`, `{delivery_id}`, …) is
//! taken back out of the headers that carry it. A header's pattern is matched from the left: its own text must be
//! there, and a placeholder takes what is before the next text of the pattern; so a placeholder can be recovered
//! unless another follows it directly. [`Verifier::new`] refuses a profile whose signature cannot be recomputed.
//!
//! Pure: the time is an argument. A signature and a secret are each compared in constant time.

use std::{str, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName};
use sha2::Sha256;

use crate::{
    model::{
        profile::{Algorithm, Encoding},
        secret::Secret,
        time::{Timestamp, format_duration},
    },
    policy::{
        form::Form,
        key::{self, KeyError},
        placeholder::{Part, Pattern, Placeholder},
    },
};

/// How far a signed timestamp may be from now, either way, as the field has it.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// Verifies the webhooks of one profile.
#[derive(Debug)]
pub struct Verifier {
    form: Arc<Form>,
    check: Check,
}

#[derive(Debug)]
enum Check {
    /// The signature, with this key; the secret may be part of what is signed.
    Hmac { mac: Box<Hmac<Sha256>>, secret: Secret },
    /// There is no secret to verify with.
    Nothing,
    /// A header carries the secret itself.
    Token(Secret),
}

impl Verifier {
    /// A verifier with `secret`; without one it only reads what the headers say.
    pub fn new(form: Arc<Form>, secret: Option<&Secret>) -> Result<Self, VerifierError> {
        let check = match (secret, form.profile().signature.algorithm) {
            (None, _) => Check::Nothing,
            (Some(secret), Algorithm::HmacSha256) => {
                can_recompute(&form)?;
                let key = key::key(form.profile().signature.key, secret)?;
                let mac = Hmac::new_from_slice(&key).expect("HMAC takes keys of any length");
                Check::Hmac { mac: Box::new(mac), secret: secret.clone() }
            }
            (Some(secret), Algorithm::None) => {
                let shown = form.headers().iter().any(|(_, value)| recovers(value, Placeholder::Secret));
                if !shown {
                    return Err(VerifierError::Unsigned);
                }
                Check::Token(secret.clone())
            }
        };
        Ok(Self { form, check })
    }

    /// What the headers say of the webhook, verified or not.
    pub fn read(&self, headers: &HeaderMap) -> Said {
        let mut said = Said::default();
        for (name, value) in self.form.headers() {
            let Some(text) = text_of(headers, name) else { continue };
            for (placeholder, text) in matches(value, text).unwrap_or_default() {
                said.add(placeholder, text);
                if placeholder == Placeholder::Signatures {
                    self.signatures(text)
                        .into_iter()
                        .flatten()
                        .for_each(|(inner, text)| said.add(inner, text));
                }
            }
        }
        said
    }

    /// Whether this is a webhook of the profile's, made with the secret at most `tolerance` from `now`.
    ///
    /// `Ok(None)`: there was no secret to verify with.
    pub fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
        tolerance: Duration,
    ) -> Result<Option<Said>, Reason> {
        let said = self.read(headers);
        match &self.check {
            Check::Nothing => return Ok(None),
            Check::Token(secret) => {
                let given = said.get(Placeholder::Secret);
                let given = given.ok_or_else(|| missing(&self.form, headers, Placeholder::Secret))?;
                check_token(secret, given)?;
            }
            Check::Hmac { mac, secret } => {
                if said.get(Placeholder::Signature).is_none() {
                    return Err(missing(&self.form, headers, Placeholder::Signature));
                }
                let mac = self.sign(mac, secret, &said, body).map_err(|reason| match reason {
                    Reason::Unknown(placeholder) => missing(&self.form, headers, placeholder),
                    other => other,
                })?;
                let mut given = said.all(Placeholder::Signature).filter_map(|text| self.decode(text));
                if !given.any(|given| mac.clone().verify_slice(&given).is_ok()) {
                    return Err(Reason::Mismatch);
                }
                if self.form.signs_time() {
                    check_time(&said, now, tolerance)?;
                }
            }
        }
        Ok(Some(said))
    }

    /// The signature over what the profile signs, not yet finished.
    fn sign(
        &self,
        mac: &Hmac<Sha256>,
        secret: &Secret,
        said: &Said,
        body: &[u8],
    ) -> Result<Hmac<Sha256>, Reason> {
        let mut mac = mac.clone();
        for part in self.form.signed().parts() {
            match part {
                Part::Placeholder(Placeholder::Body) => mac.update(body),
                Part::Placeholder(Placeholder::Secret) => mac.update(secret.expose().as_bytes()),
                Part::Placeholder(placeholder) => mac.update(said.one(*placeholder)?.as_bytes()),
                Part::Text(text) => mac.update(text.as_bytes()),
            }
        }
        Ok(mac)
    }

    /// Each of several signatures in the form of `each`; `each` may contain `join`, so the whole is tried, too.
    fn signatures<'a>(&self, text: &'a str) -> Vec<Vec<(Placeholder, &'a str)>> {
        let join = self.form.join();
        let pieces = text.split(if join.is_empty() { "\0" } else { join });
        pieces.chain([text]).filter_map(|piece| matches(self.form.each(), piece)).collect()
    }

    fn decode(&self, signature: &str) -> Option<Vec<u8>> {
        match self.form.profile().signature.encoding {
            Encoding::Base64 => STANDARD.decode(signature).ok(),
            Encoding::Hex => hex::decode(signature).ok(),
        }
    }
}

/// What the headers of a webhook say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said(Vec<(Placeholder, String)>);

impl Said {
    /// What is said of `placeholder`; of several things the first.
    pub fn get(&self, placeholder: Placeholder) -> Option<&str> {
        self.all(placeholder).next()
    }

    fn add(&mut self, placeholder: Placeholder, text: &str) {
        if !self.all(placeholder).any(|known| known == text) {
            self.0.push((placeholder, text.to_owned()));
        }
    }

    fn all(&self, placeholder: Placeholder) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| *known == placeholder).map(|(_, text)| text.as_str())
    }

    fn one(&self, placeholder: Placeholder) -> Result<&str, Reason> {
        let mut all = self.all(placeholder);
        let first = all.next().ok_or(Reason::Unknown(placeholder))?;
        if all.next().is_some() { Err(Reason::Contradiction(placeholder)) } else { Ok(first) }
    }
}

/// Why a profile's webhooks cannot be verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifierError {
    /// The secret is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Something signed, or the signature, is in no header from which it can be read.
    #[error(
        "the profile's requests cannot be verified: none of its headers carries {0} in a way that can be read back"
    )]
    NotCarried(Placeholder),
    /// The profile does not sign.
    #[error(
        "the profile does not sign and sends no {{secret}}: there is nothing to verify; leave --secret out"
    )]
    Unsigned,
}

/// Why a webhook is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Two headers say different things.
    #[error("its headers say different things of {0}")]
    Contradiction(Placeholder),
    /// The signature is not the one that the secret makes.
    #[error("the signature is another: wrong secret, or body or headers were changed on the way")]
    Mismatch,
    /// A header is not there.
    #[error("the header {0} is missing")]
    Missing(HeaderName),
    /// The timestamp is too far from now.
    #[error("the timestamp is {} {}", format_duration(*.by), if *.ahead { "ahead" } else { "old" })]
    Time {
        /// By how much.
        by: Duration,
        /// It is in the future.
        ahead: bool,
    },
    /// No header that is there says it.
    #[error("no header says {0}, which is signed")]
    Unknown(Placeholder),
    /// A header is there, in another form.
    #[error("the header {0} is not of the profile's form")]
    Unreadable(HeaderName),
    /// The token is another.
    #[error("the secret in the header is another")]
    WrongToken,
}

/// Whether all that is signed, and the signature, can be taken back out of the headers.
fn can_recompute(form: &Form) -> Result<(), VerifierError> {
    let carried = |wanted: Placeholder| {
        form.headers().iter().any(|(_, value)| {
            let within = recovers(value, Placeholder::Signatures) && recovers(form.each(), wanted);
            recovers(value, wanted) || within
        })
    };
    let signed = form.signed().placeholders();
    let signed = signed.filter(|placeholder| !matches!(placeholder, Placeholder::Body | Placeholder::Secret));
    let missing = signed.chain([Placeholder::Signature]).find(|placeholder| !carried(*placeholder));
    missing.map_or(Ok(()), |placeholder| Err(VerifierError::NotCarried(placeholder)))
}

/// Whether `wanted` can be read back from a text that the pattern made.
fn recovers(pattern: &Pattern, wanted: Placeholder) -> bool {
    let adjacent =
        pattern.parts().windows(2).any(|pair| matches!(pair, [Part::Placeholder(_), Part::Placeholder(_)]));
    pattern.holds(wanted) && !adjacent
}

/// What the pattern's placeholders stand for in `text`; `None` if the pattern did not make it.
fn matches<'a>(pattern: &Pattern, text: &'a str) -> Option<Vec<(Placeholder, &'a str)>> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut open = None;
    for part in pattern.parts() {
        match (part, open.take()) {
            (Part::Placeholder(placeholder), None) => open = Some(*placeholder),
            (Part::Placeholder(_), Some(_)) => return None,
            (Part::Text(text), None) => rest = rest.strip_prefix(text.as_str())?,
            (Part::Text(text), Some(placeholder)) => {
                let (value, after) = rest.split_once(text.as_str())?;
                found.push((placeholder, value));
                rest = after;
            }
        }
    }
    match open {
        Some(placeholder) => found.push((placeholder, rest)),
        None if !rest.is_empty() => return None,
        None => {}
    }
    Some(found)
}

fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| str::from_utf8(value.as_bytes()).ok())
}

/// Why nothing is known of `wanted`: the first header that should carry it is not there, or is of another form.
fn missing(form: &Form, headers: &HeaderMap, wanted: Placeholder) -> Reason {
    let carries = |value: &Pattern| {
        value.holds(wanted) || form.each().holds(wanted) && value.holds(Placeholder::Signatures)
    };
    let name = form.headers().iter().find(|(_, value)| carries(value)).map(|(name, _)| name.clone());
    match name {
        Some(name) if headers.contains_key(&name) => Reason::Unreadable(name),
        Some(name) => Reason::Missing(name),
        None => Reason::Unknown(wanted),
    }
}

fn check_token(secret: &Secret, given: &str) -> Result<(), Reason> {
    // Comparing MACs takes the same time whatever the texts have in common.
    let key = secret.expose().as_bytes();
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    let expected = mac.clone().chain_update(key).finalize().into_bytes();
    mac.chain_update(given.as_bytes()).verify_slice(&expected).map_err(|_| Reason::WrongToken)
}

fn check_time(said: &Said, now: Timestamp, tolerance: Duration) -> Result<(), Reason> {
    let number = |placeholder| said.get(placeholder).and_then(|text| text.parse::<u64>().ok());
    let seconds = number(Placeholder::Timestamp).map(|seconds| seconds.saturating_mul(1000));
    let millis = seconds.or_else(|| number(Placeholder::TimestampMs));
    let made = Timestamp::from_millis(millis.ok_or(Reason::Unknown(Placeholder::Timestamp))?);
    let (age, ahead) = (now.since(made), made.since(now));
    if age.max(ahead) <= tolerance {
        Ok(())
    } else {
        Err(Reason::Time { by: age.max(ahead), ahead: ahead > age })
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;
    use crate::model::profile::{BodyRule, KeyForm, Profile, SignatureRule, Success};

    /// A profile with these headers that signs as Standard Webhooks has it.
    pub(crate) fn standard() -> Profile {
        Profile {
            name: "posthaste".to_owned(),
            success: Success::Class2xx,
            timeout: Duration::from_secs(30),
            retry: vec![Duration::ZERO],
            jitter: 0.0,
            expire: Duration::from_secs(60),
            concurrency: 1,
            signature: SignatureRule {
                algorithm: Algorithm::HmacSha256,
                key: KeyForm::Whsec,
                signed: "{delivery_id}.{timestamp}.{body}".to_owned(),
                encoding: Encoding::Base64,
                each: "v1,{signature}".to_owned(),
                join: " ".to_owned(),
            },
            headers: pairs(&[
                ("webhook-id", "{delivery_id}"),
                ("webhook-timestamp", "{timestamp}"),
                ("webhook-signature", "{signatures}"),
            ]),
            body: BodyRule::Raw,
        }
    }

    pub(crate) fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    pub(crate) fn form(profile: Profile) -> Arc<Form> {
        Arc::new(Form::compile(profile).expect("a good profile"))
    }

    /// The example that the Standard Webhooks libraries test themselves with.
    pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    pub(crate) const BODY: &[u8] = br#"{"test": 2432232314}"#;
    pub(crate) const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    pub(crate) const TIME: &str = "1614265330";
    pub(crate) const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::{samples::*, *};
    use crate::model::profile::KeyForm;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        });
        pairs.collect()
    }

    fn now() -> Timestamp {
        Timestamp::from_millis(1_614_265_330_000)
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn verify(verifier: &Verifier, pairs: &[(&'static str, &str)], body: &[u8]) -> Result<(), Reason> {
        let said = verifier.verify(&headers(pairs), body, now(), TOLERANCE)?;
        assert!(said.is_some(), "there is a secret");
        Ok(())
    }

    #[test]
    fn the_published_example_of_standard_webhooks() {
        let verifier = Verifier::new(form(standard()), Some(&secret(SECRET))).expect("a verifier");
        let good =
            |signature| [("webhook-id", ID), ("webhook-timestamp", TIME), ("webhook-signature", signature)];
        assert_eq!(verify(&verifier, &good(SIGNATURE), BODY), Ok(()));
        let several = format!("v1,AAAA v2,x {SIGNATURE}");
        assert_eq!(verify(&verifier, &good(&several), BODY), Ok(()), "one of several is enough");
        assert_eq!(verify(&verifier, &good(SIGNATURE), b"{}"), Err(Reason::Mismatch));
        assert_eq!(verify(&verifier, &good("v1,AAAA"), BODY), Err(Reason::Mismatch));
        assert_eq!(verify(&verifier, &good("v1,%%"), BODY), Err(Reason::Mismatch));
        let name = HeaderName::from_static("webhook-signature");
        assert_eq!(verify(&verifier, &good("v2,x"), BODY), Err(Reason::Unreadable(name.clone())));
        assert_eq!(verify(&verifier, &good(SIGNATURE)[..2], BODY), Err(Reason::Missing(name)));
        assert_eq!(
            verify(&verifier, &good(SIGNATURE)[1..], BODY),
            Err(Reason::Missing(HeaderName::from_static("webhook-id")))
        );
        let other = Verifier::new(form(standard()), Some(&secret("whsec_AAAA"))).expect("a verifier");
        assert_eq!(verify(&other, &good(SIGNATURE), BODY), Err(Reason::Mismatch));
    }

    #[test]
    fn old_and_early_ones_are_refused() {
        let verifier = Verifier::new(form(standard()), Some(&secret(SECRET))).expect("a verifier");
        let headers =
            headers(&[("webhook-id", ID), ("webhook-timestamp", TIME), ("webhook-signature", SIGNATURE)]);
        for (seconds, good) in [(-301, false), (-300, true), (0, true), (300, true), (301, false)] {
            let at = Timestamp::from_millis(now().as_millis().saturating_add_signed(seconds * 1000));
            let result = verifier.verify(&headers, BODY, at, TOLERANCE);
            assert_eq!(result.is_ok(), good, "{seconds}");
            if let Err(reason) = result {
                let text =
                    if seconds > 0 { "the timestamp is 5m1s old" } else { "the timestamp is 5m1s ahead" };
                assert_eq!(reason.to_string(), text);
            }
        }
    }

    /// Hex, a prefix in the header, a key of UTF-8: made with `openssl dgst -sha256 -hmac s3cr3t`.
    #[test]
    fn a_provider_of_another_form() {
        let mut profile = standard();
        profile.signature.key = KeyForm::Utf8;
        profile.signature.signed = "{timestamp}.{body}".to_owned();
        profile.signature.encoding = Encoding::Hex;
        profile.signature.each = "v1={signature}".to_owned();
        profile.signature.join = ",".to_owned();
        profile.headers = pairs(&[
            ("x-signature", "t={timestamp},{signatures}"),
            ("x-event", "{event_type}"),
            ("x-kind", "web"),
        ]);
        let verifier = Verifier::new(form(profile), Some(&secret("s3cr3t"))).expect("a verifier");
        let mut mac = Hmac::<Sha256>::new_from_slice(b"s3cr3t").expect("a key");
        mac.update(b"1614265330.{\"test\": 2432232314}");
        let value = format!("t={TIME},v1=00,v1={}", hex::encode(mac.finalize().into_bytes()));
        let pairs = [("x-signature", value.as_str()), ("x-event", "a.b")];
        assert_eq!(verify(&verifier, &pairs, BODY), Ok(()));
        let said = verifier.read(&headers(&pairs));
        assert_eq!(said.get(Placeholder::EventType), Some("a.b"));
        assert_eq!(said.get(Placeholder::Timestamp), Some(TIME));
        assert_eq!(said.get(Placeholder::EventId), None);
    }

    #[test]
    fn headers_must_agree() {
        let mut profile = standard();
        profile.headers.push(("x-id".to_owned(), "id:{delivery_id}".to_owned()));
        let verifier = Verifier::new(form(profile), Some(&secret(SECRET))).expect("a verifier");
        let with = |id| {
            [("webhook-id", ID), ("webhook-timestamp", TIME), ("webhook-signature", SIGNATURE), ("x-id", id)]
        };
        let same = format!("id:{ID}");
        assert_eq!(verify(&verifier, &with(&same), BODY), Ok(()));
        assert_eq!(
            verify(&verifier, &with("id:7"), BODY),
            Err(Reason::Contradiction(Placeholder::DeliveryId))
        );
    }

    #[test]
    fn a_token_is_compared() {
        let mut profile = standard();
        profile.signature.algorithm = Algorithm::None;
        profile.headers = pairs(&[("x-token", "Bearer {secret}")]);
        let verifier = Verifier::new(form(profile.clone()), Some(&secret("s3cr3t"))).expect("a verifier");
        assert_eq!(verify(&verifier, &[("x-token", "Bearer s3cr3t")], BODY), Ok(()));
        assert_eq!(verify(&verifier, &[("x-token", "Bearer s3cr3")], BODY), Err(Reason::WrongToken));
        assert_eq!(verify(&verifier, &[], BODY), Err(Reason::Missing(HeaderName::from_static("x-token"))));
        profile.headers.clear();
        let error = Verifier::new(form(profile), Some(&secret("s3cr3t"))).expect_err("nothing to verify");
        assert_eq!(error, VerifierError::Unsigned);
    }

    #[test]
    fn what_cannot_be_recomputed_is_refused_at_once() {
        for (signed, header, missing) in [
            ("{event_time}.{body}", "{signatures}", Placeholder::EventTime),
            ("{body}", "{timestamp}", Placeholder::Signature),
            ("{timestamp}.{body}", "{timestamp}{signatures}", Placeholder::Timestamp),
        ] {
            let mut profile = standard();
            profile.signature.signed = signed.to_owned();
            profile.headers = pairs(&[("x-signature", header)]);
            let error = Verifier::new(form(profile), Some(&secret(SECRET))).expect_err(signed);
            assert_eq!(error, VerifierError::NotCarried(missing));
        }
        let error = Verifier::new(form(standard()), Some(&secret("s3cr3t"))).expect_err("no whsec_");
        assert_eq!(error, VerifierError::Key(KeyError::NoPrefix));
    }

    #[test]
    fn patterns_are_matched_backwards() {
        let found = |pattern: &str, text| {
            let pattern = Pattern::parse(pattern).expect("a pattern");
            matches(&pattern, text)
                .map(|found| found.into_iter().map(|(_, value)| value.to_owned()).collect::<Vec<_>>())
        };
        for (pattern, text, values) in [
            ("{event_id}", "x", Some(vec!["x"])),
            ("a={event_id}", "a=x", Some(vec!["x"])),
            ("a={event_id};", "a=x;", Some(vec!["x"])),
            ("a={event_id};", "a=x;y", None),
            ("a={event_id}", "b=x", None),
            ("{timestamp},{event_id}", "1,x,y", Some(vec!["1", "x,y"])),
            ("{timestamp}{event_id}", "1x", None),
            ("web", "web", Some(vec![])),
            ("web", "webs", None),
            ("{{{attempt}}}", "{3}", Some(vec!["3"])),
        ] {
            let values = values.map(|values| values.into_iter().map(str::to_owned).collect());
            assert_eq!(found(pattern, text), values, "{pattern} {text}");
        }
    }
}
