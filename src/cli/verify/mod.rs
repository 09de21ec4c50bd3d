//! Verifying webhooks as a receiver would: from a profile, a secret, the headers and the body that came.
//!
//! Nothing but the request is known: what the profile signs besides the body (`{timestamp}`, `{delivery_id}`, …) is
//! taken back out of the headers that carry it (`matching`). What is signed and in no header can be said
//! ([`Verifier::knowing`]); [`Verifier::new`] refuses a profile whose signature cannot be recomputed.
//!
//! Pure: the time is an argument. A MAC and a secret are each compared in constant time. The command is in [`command`].

pub mod command;
mod matching;
#[cfg(test)]
mod tests;

use std::{str, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, VerifyingKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName};
use sha2::Sha256;

use self::matching::Matcher;
use crate::{
    model::{
        profile::{Algorithm, Encoding},
        secret::Secret,
        time::{Timestamp, format_duration},
    },
    policy::{
        form::{Form, Header},
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
    matcher: Matcher,
    check: Check,
    known: Said,
}

#[derive(Debug)]
enum Check {
    /// The signature, with this public key; no form has the secret in what is signed.
    Ed25519(Box<VerifyingKey>),
    /// The signature, with this key; the secret may be part of what is signed.
    Hmac { mac: Box<Hmac<Sha256>>, secret: Secret },
    /// There is no secret to verify with.
    Nothing,
    /// A header carries the secret itself.
    Token(Secret),
}

impl Verifier {
    /// A verifier with `secret` (with ed25519 the public key or the private one); without one it only reads what the
    /// headers say.
    pub fn new(form: Arc<Form>, secret: Option<&Secret>) -> Result<Self, VerifierError> {
        Self::knowing(form, secret, Said::default())
    }

    /// The same, for one who knows something of the webhooks besides: this goes before what headers say.
    pub fn knowing(form: Arc<Form>, secret: Option<&Secret>, known: Said) -> Result<Self, VerifierError> {
        let rule = &form.profile().signature;
        let matcher = Matcher::new(rule);
        let check = match secret {
            None => Check::Nothing,
            Some(secret) => check(&form, matcher, secret, &known)?,
        };
        Ok(Self { form, matcher, check, known })
    }

    /// Whether there is something to verify with.
    pub const fn verifies(&self) -> bool {
        !matches!(self.check, Check::Nothing)
    }

    /// What is known of the webhook, and what its headers say, verified or not.
    pub fn read(&self, headers: &HeaderMap) -> Said {
        let mut said = self.known.clone();
        let mut add = |placeholder, text| {
            if self.known.get(placeholder).is_none() {
                said.add(placeholder, text);
            }
        };
        for Header { name, value, .. } in self.form.headers() {
            let Some(text) = text_of(headers, name) else { continue };
            for (placeholder, text) in self.matcher.read(value, text).unwrap_or_default() {
                add(placeholder, text);
                if placeholder == Placeholder::Signatures {
                    let signatures = self.matcher.signatures(self.form.each(), self.form.join(), text);
                    signatures.into_iter().flatten().for_each(|(inner, text)| add(inner, text));
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
            Check::Ed25519(_) | Check::Hmac { .. } => {
                self.check_signature(headers, &said, body).map_err(|reason| match reason {
                    Reason::Unknown(placeholder) => missing(&self.form, headers, placeholder),
                    other => other,
                })?;
                if self.form.signs_time() {
                    check_time(&self.form, &said, now, tolerance)?;
                }
            }
        }
        Ok(Some(said))
    }

    /// Whether one of the signatures is the key's, over what the profile signs.
    fn check_signature(&self, headers: &HeaderMap, said: &Said, body: &[u8]) -> Result<(), Reason> {
        if said.get(Placeholder::Signature).is_none() {
            return Err(missing(&self.form, headers, Placeholder::Signature));
        }
        let mut given = said.all(Placeholder::Signature).filter_map(|text| self.decode(text));
        let good = match &self.check {
            Check::Ed25519(key) => {
                let mut message = Vec::new();
                self.signed(None, said, body, |piece| message.extend_from_slice(piece))?;
                given.any(|given| {
                    Signature::from_slice(&given)
                        .is_ok_and(|given| key.verify_strict(&message, &given).is_ok())
                })
            }
            Check::Hmac { mac, secret } => {
                let mut mac = mac.clone();
                self.signed(Some(secret), said, body, |piece| mac.update(piece))?;
                given.any(|given| mac.clone().verify_slice(&given).is_ok())
            }
            Check::Nothing | Check::Token(_) => false,
        };
        if good { Ok(()) } else { Err(Reason::Mismatch) }
    }

    /// Gives what the profile signs to `take`, piece by piece.
    fn signed(
        &self,
        secret: Option<&Secret>,
        said: &Said,
        body: &[u8],
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), Reason> {
        for part in self.form.signed().parts() {
            match (part, secret) {
                (Part::Placeholder(Placeholder::Body), _) => take(body),
                (Part::Placeholder(Placeholder::Secret), Some(secret)) => take(secret.expose().as_bytes()),
                (Part::Placeholder(placeholder), _) => take(said.one(*placeholder)?.as_bytes()),
                (Part::Text(text), _) => take(text.as_bytes()),
            }
        }
        Ok(())
    }

    fn decode(&self, signature: &str) -> Option<Vec<u8>> {
        match self.form.profile().signature.encoding {
            Encoding::Base64 => STANDARD.decode(signature).ok(),
            Encoding::Hex => hex::decode(signature).ok(),
        }
    }
}

/// What `secret` is good for in `form`.
fn check(form: &Form, matcher: Matcher, secret: &Secret, known: &Said) -> Result<Check, VerifierError> {
    let rule = &form.profile().signature;
    if rule.algorithm == Algorithm::None {
        let shown = form.headers().iter().any(|header| matcher.recovers(&header.value, Placeholder::Secret));
        return if shown { Ok(Check::Token(secret.clone())) } else { Err(VerifierError::Unsigned) };
    }
    can_recompute(form, matcher, known)?;
    if rule.algorithm == Algorithm::Ed25519 {
        return Ok(Check::Ed25519(Box::new(key::verifying_key(rule.key, secret)?)));
    }
    let key = key::key(rule.key, rule.algorithm, secret)?;
    let mac = Hmac::new_from_slice(&key).expect("HMAC takes keys of any length");
    Ok(Check::Hmac { mac: Box::new(mac), secret: secret.clone() })
}

/// What the headers of a webhook say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said(Vec<(Placeholder, String)>);

impl Said {
    /// What is said of `placeholder`; of several things the first.
    pub fn get(&self, placeholder: Placeholder) -> Option<&str> {
        self.all(placeholder).next()
    }

    /// Says `text` of `placeholder`, too.
    pub fn add(&mut self, placeholder: Placeholder, text: &str) {
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

/// Whether all that is signed, and the signature, can be taken back out of the headers, or is known.
fn can_recompute(form: &Form, matcher: Matcher, known: &Said) -> Result<(), VerifierError> {
    let carried = |wanted: Placeholder| {
        form.headers().iter().any(|Header { value, .. }| {
            let within =
                matcher.recovers(value, Placeholder::Signatures) && matcher.recovers(form.each(), wanted);
            matcher.recovers(value, wanted) || within
        })
    };
    let needed = |placeholder: &Placeholder| match placeholder {
        // Who verifies has them.
        Placeholder::Body | Placeholder::Secret => false,
        other => known.get(*other).is_none(),
    };
    let signed = form.signed().placeholders().filter(needed);
    let missing = signed.chain([Placeholder::Signature]).find(|placeholder| !carried(*placeholder));
    missing.map_or(Ok(()), |placeholder| Err(VerifierError::NotCarried(placeholder)))
}

fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| str::from_utf8(value.as_bytes()).ok())
}

/// Why nothing is known of `wanted`: the first header that should carry it is not there, or is of another form.
fn missing(form: &Form, headers: &HeaderMap, wanted: Placeholder) -> Reason {
    let carries = |value: &Pattern| {
        value.holds(wanted) || form.each().holds(wanted) && value.holds(Placeholder::Signatures)
    };
    let name = form.headers().iter().find(|header| carries(&header.value)).map(|header| header.name.clone());
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

/// The attempt's time, as it is signed: what an unsigned header says of it counts for nothing.
fn signed_time(form: &Form, said: &Said) -> Option<Timestamp> {
    let number = |placeholder| {
        let text = form.signed().holds(placeholder).then(|| said.get(placeholder)).flatten();
        text.and_then(|text| text.parse::<u64>().ok())
    };
    let seconds = number(Placeholder::Timestamp).map(|seconds| seconds.saturating_mul(1000));
    seconds.or_else(|| number(Placeholder::TimestampMs)).map(Timestamp::from_millis)
}

fn check_time(form: &Form, said: &Said, now: Timestamp, tolerance: Duration) -> Result<(), Reason> {
    let made = signed_time(form, said).ok_or(Reason::Unknown(Placeholder::Timestamp))?;
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
            retry_after: false,
            gone_disables: false,
            disable_after: 0,
            concurrency: 1,
            circuit: 0,
            probe: vec![Duration::from_secs(10)],
            rate: None,
            fifo: false,
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
