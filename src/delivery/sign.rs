//! Signatures: HMAC-SHA256 (RFC 2104, FIPS 180-4) over what a profile's `signed` says.
//!
//! A [`Signer`] is made once for an endpoint: its keys' schedules are computed then and kept, and wiped when it
//! is dropped. A signature goes over the pattern's parts one by one, so the body is neither copied nor moved.
//! Nothing can fail here once the keys are made.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    model::{
        profile::{Encoding, KeyForm},
        secret::Secret,
    },
    policy::{
        facts::Facts,
        form::Form,
        key::{KeyError, key},
        placeholder::{Part, Pattern, Placeholder},
    },
};

/// An endpoint's keys, ready to sign, and its newest secret where the profile shows it.
pub struct Signer {
    /// One for each secret, newest first, as it is before the first byte of a message.
    keys: Vec<Hmac<Sha256>>,
    secret: Option<Secret>,
}

impl Signer {
    /// A signer for `form` with an endpoint's secrets, newest first. A form that neither signs nor shows a secret
    /// looks at none of them.
    pub fn new(form: &Form, secrets: &[Secret]) -> Result<Self, KeyError> {
        if form.needs_secret() && secrets.is_empty() {
            return Err(KeyError::Missing);
        }
        let key_form = form.profile().signature.key;
        let keys = if form.signs() {
            secrets.iter().map(|secret| keyed(key_form, secret)).collect()
        } else {
            Ok(vec![])
        };
        let secret = secrets.first().filter(|_| form.needs_secret()).cloned();
        Ok(Self { keys: keys?, secret })
    }

    /// The signatures of the attempt that `facts` tell of; empty where the form does not sign.
    pub fn sign(&self, form: &Form, facts: &Facts<'_>, body: &[u8]) -> Signatures {
        let encoding = form.profile().signature.encoding;
        let mut signatures = Signatures::default();
        for (index, key) in self.keys.iter().enumerate() {
            let signature = self.signature(key.clone(), encoding, form.signed(), facts, body);
            if index > 0 {
                signatures.all.push_str(form.join());
            }
            form.each().render(&mut signatures.all, |placeholder, out| match placeholder {
                Placeholder::Signature => out.push_str(&signature),
                fact => facts.write(fact, out),
            });
            if index == 0 {
                signatures.newest = signature;
            }
        }
        signatures
    }

    /// The newest secret as it was given, for `{secret}`; nothing where the form needs none.
    pub fn secret(&self) -> &str {
        self.secret.as_ref().map(Secret::expose).unwrap_or_default()
    }

    fn signature(
        &self,
        mut mac: Hmac<Sha256>,
        encoding: Encoding,
        signed: &Pattern,
        facts: &Facts<'_>,
        body: &[u8],
    ) -> String {
        let mut text = String::new();
        for part in signed.parts() {
            match part {
                Part::Placeholder(Placeholder::Body) => mac.update(body),
                Part::Placeholder(Placeholder::Secret) => mac.update(self.secret().as_bytes()),
                Part::Placeholder(fact) => {
                    text.clear();
                    facts.write(*fact, &mut text);
                    mac.update(text.as_bytes());
                }
                Part::Text(text) => mac.update(text.as_bytes()),
            }
        }
        let signature = mac.finalize().into_bytes();
        match encoding {
            Encoding::Base64 => STANDARD.encode(signature),
            Encoding::Hex => hex::encode(signature),
        }
    }
}

/// How many keys there are, nothing of them.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// The signatures of one attempt, both empty where the profile does not sign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signatures {
    /// The newest secret's, encoded: `{signature}`.
    pub newest: String,
    /// All of them, newest first, each in the form of `each`, joined with `join`: `{signatures}`.
    pub all: String,
}

fn keyed(form: KeyForm, secret: &Secret) -> Result<Hmac<Sha256>, KeyError> {
    let key: Zeroizing<Vec<u8>> = key(form, secret)?;
    Ok(Hmac::new_from_slice(&key).expect("HMAC takes keys of any length"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        model::{
            profile::{Algorithm, Profile},
            time::Timestamp,
        },
        policy::{facts, form},
    };

    fn secrets(texts: &[&str]) -> Vec<Secret> {
        texts.iter().map(|text| Secret::new((*text).to_owned())).collect()
    }

    fn sign(profile: Profile, texts: &[&str], facts: &Facts<'_>) -> Signatures {
        let form = Form::compile(profile).expect("a form");
        let signer = Signer::new(&form, &secrets(texts)).expect("keys");
        let body = form.body(facts).expect("a body");
        let signatures = signer.sign(&form, facts, &body);
        assert_eq!(signatures, signer.sign(&form, facts, &body), "a signer keeps its keys as they are");
        signatures
    }

    /// The vector that Standard Webhooks publishes with its reference libraries.
    #[test]
    fn standard_webhooks() {
        let data = Bytes::from_static(br#"{"event_type":"ping","data":{"success":true}}"#);
        let facts = Facts {
            event_id: "msg_loFOjxBNrRLzqYUf",
            timestamp: Timestamp::from_millis(1_731_705_121_999),
            ..facts::sample::facts(&data)
        };
        let signatures = sign(form::sample::profile(), &["whsec_plJ3nmyCDGBKInavdOK15jsl"], &facts);
        assert_eq!(signatures.newest, "rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=");
        assert_eq!(signatures.all, "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=");
    }

    /// The values were computed with Python's `hmac`.
    #[test]
    fn transcodely_while_a_rotation_overlaps() {
        let data = facts::sample::data();
        let texts = ["whsec_your_signing_secret", "old"];
        let signatures = sign(form::sample::transcodely(), &texts, &facts::sample::facts(&data));
        let newest = "52f09d9261f6cbf30be9feacc0d08d5086bace65a1fb3b5bfbd8dedd76b87d5d";
        let old = "e14dda5091d284d9cd27046769495753be7adb65faecf2595c2227febd51a059";
        assert_eq!(signatures.newest, newest);
        assert_eq!(signatures.all, format!("sha256={newest},sha256={old}"));
    }

    /// Signing part by part is signing the whole; whatever the parts, whatever the key's length.
    #[test]
    fn parts_are_signed_in_order() {
        let data = facts::sample::data();
        let facts = facts::sample::facts(&data);
        let long = "k".repeat(200);
        let mut profile = form::sample::profile();
        profile.signature.key = KeyForm::Utf8;
        profile.signature.encoding = Encoding::Hex;
        profile.signature.signed = "{body}".to_owned();
        let signatures = sign(profile.clone(), &[&long], &facts);
        assert_eq!(signatures.newest, "6e1115487471137bc0beb03fa428bc366edfb5726df47a825804f88a935faab4");

        let body = std::str::from_utf8(&data).expect("UTF-8");
        for (signed, message) in [
            ("{{{event_id}}}", "{evt_1}".to_owned()),
            ("{body}{body}", format!("{body}{body}")),
            (
                "{event_type}|{event_time}|{attempt}|{secret}|{body}",
                format!("job.completed|2024-02-28T16:15:42.007Z|3|s3cret|{body}"),
            ),
            (
                "{timestamp_ms}/{account}/{endpoint_id}/{delivery_id}/{delivery_short}",
                "1709136999123/default/ep_1/dlv_1/aB3dE6gH".to_owned(),
            ),
        ] {
            profile.signature.signed = signed.to_owned();
            let mut mac = Hmac::<Sha256>::new_from_slice(b"s3cret").expect("a key");
            mac.update(message.as_bytes());
            let expected = hex::encode(mac.finalize().into_bytes());
            assert_eq!(sign(profile.clone(), &["s3cret"], &facts).newest, expected, "{signed}");
        }
    }

    #[test]
    fn a_signature_s_form_may_hold_the_time() {
        let data = facts::sample::data();
        let mut profile = form::sample::transcodely();
        profile.signature.each = "t={timestamp},v1={signature}".to_owned();
        let signatures = sign(profile, &["whsec_your_signing_secret"], &facts::sample::facts(&data));
        assert_eq!(signatures.all, format!("t=1709136999,v1={}", signatures.newest));
    }

    #[test]
    fn secrets_that_are_needed() {
        let form = Form::compile(form::sample::profile()).expect("a form");
        assert_eq!(Signer::new(&form, &[]).err(), Some(KeyError::Missing));
        let error = Signer::new(&form, &secrets(&["whsec_aGVsbG8=", "hunter2"])).err();
        assert_eq!(error, Some(KeyError::NoPrefix), "the second is looked at too");
        let signer = Signer::new(&form, &secrets(&["whsec_aGVsbG8="])).expect("keys");
        assert_eq!(format!("{signer:?}"), "Signer { keys: 1, .. }");

        let mut profile = form::sample::profile();
        profile.signature.algorithm = Algorithm::None;
        profile.headers.clear();
        let data = facts::sample::data();
        for texts in [&[][..], &["not a key"]] {
            assert_eq!(sign(profile.clone(), texts, &facts::sample::facts(&data)), Signatures::default());
        }
    }
}
