//! Signatures: HMAC-SHA256 (RFC 2104, FIPS 180-4) or ed25519 (RFC 8032) over what a profile's `signed` says.
//!
//! A [`Signer`] is made once for an endpoint: its keys' schedules are computed then and kept, and wiped when it
//! is dropped. A signature goes over the pattern's parts one by one, so the body is neither copied nor moved.
//! Nothing can fail here once the keys are made.

use std::{borrow::Cow, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{SigningKey, ed25519::signature::MultipartSigner as _};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    model::{
        profile::{Algorithm, Encoding, SignatureRule},
        secret::{DatedSecret, Secret},
        time::Timestamp,
    },
    policy::{
        facts::Facts,
        form::Form,
        key::{KeyError, key, signing_key},
        placeholder::{Part, Pattern, Placeholder},
    },
};

/// An endpoint's keys, ready to sign, and its newest secret where the profile shows it.
pub struct Signer {
    /// One for each secret, newest first.
    keys: Vec<DatedKey>,
    secret: Option<Secret>,
}

/// A key and from when on it does not sign any more.
struct DatedKey {
    key: Key,
    until: Option<Timestamp>,
}

enum Key {
    Ed25519(Box<SigningKey>),
    /// As it is before the first byte of a message.
    Hmac(Hmac<Sha256>),
}

impl Signer {
    /// A signer for `form` with an endpoint's secrets, newest first. A form that neither signs nor shows a secret
    /// looks at none of them.
    pub fn new(form: &Form, secrets: &[DatedSecret]) -> Result<Self, KeyError> {
        if form.needs_secret() && secrets.is_empty() {
            return Err(KeyError::Missing);
        }
        if secrets.len() > DatedSecret::MOST {
            return Err(KeyError::TooMany);
        }
        let rule = &form.profile().signature;
        let keys =
            if form.signs() { secrets.iter().map(|one| keyed(rule, one)).collect() } else { Ok(vec![]) };
        let secret = secrets.first().filter(|_| form.needs_secret()).map(|newest| newest.secret.clone());
        Ok(Self { keys: keys?, secret })
    }

    /// The signatures of the attempt that `facts` tell of, by the secrets whose time is not over then; empty where the
    /// form does not sign. The newest secret always signs.
    pub fn sign(&self, form: &Form, facts: &Facts<'_>, body: &[u8]) -> Signatures {
        let encoding = form.profile().signature.encoding;
        let mut signatures = Signatures::default();
        for (index, DatedKey { key, until }) in self.keys.iter().enumerate() {
            if index > 0 {
                if until.is_some_and(|until| until <= facts.age) {
                    continue;
                }
                signatures.all.push_str(form.join());
            }
            let signature = self.signature(key, encoding, form.signed(), facts, body);
            // With room for what else there is in a signature's form, as a rule.
            signatures.all.reserve(signature.len() + 16);
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
        key: &Key,
        encoding: Encoding,
        signed: &Pattern,
        facts: &Facts<'_>,
        body: &[u8],
    ) -> String {
        match key {
            Key::Ed25519(key) => {
                let signature = key.multipart_sign(&self.message(signed, facts, body).each_slice());
                encode(encoding, &signature.to_bytes())
            }
            Key::Hmac(mac) => {
                encode(encoding, &self.mac(mac.clone(), signed, facts, body).finalize().into_bytes())
            }
        }
    }

    /// The HMAC over what is signed, not yet finished.
    fn mac(&self, mut mac: Hmac<Sha256>, signed: &Pattern, facts: &Facts<'_>, body: &[u8]) -> Hmac<Sha256> {
        // An id or a time, as a rule.
        let mut text = String::with_capacity(32);
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
        mac
    }

    /// What is signed, in pieces: ed25519 reads its message twice.
    fn message<'a>(&'a self, signed: &'a Pattern, facts: &Facts<'_>, body: &'a [u8]) -> Message<'a> {
        let piece = |part: &'a Part| match part {
            Part::Placeholder(Placeholder::Body) => Cow::Borrowed(body),
            Part::Placeholder(Placeholder::Secret) => Cow::Borrowed(self.secret().as_bytes()),
            Part::Placeholder(fact) => {
                let mut text = String::new();
                facts.write(*fact, &mut text);
                Cow::Owned(text.into_bytes())
            }
            Part::Text(text) => Cow::Borrowed(text.as_bytes()),
        };
        Message(signed.parts().iter().map(piece).collect())
    }
}

/// How many keys there are, nothing of them.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// The pieces of what is signed.
struct Message<'a>(Vec<Cow<'a, [u8]>>);

impl Message<'_> {
    fn each_slice(&self) -> Vec<&[u8]> {
        self.0.iter().map(AsRef::as_ref).collect()
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

fn keyed(rule: &SignatureRule, dated: &DatedSecret) -> Result<DatedKey, KeyError> {
    let bytes = key(rule.key, rule.algorithm, &dated.secret)?;
    let key = match rule.algorithm {
        Algorithm::Ed25519 => Key::Ed25519(Box::new(signing_key(&bytes)?)),
        Algorithm::HmacSha256 | Algorithm::None => {
            Key::Hmac(Hmac::new_from_slice(&bytes).expect("HMAC takes keys of any length"))
        }
    };
    Ok(DatedKey { key, until: dated.until })
}

fn encode(encoding: Encoding, signature: &[u8]) -> String {
    match encoding {
        Encoding::Base64 => STANDARD.encode(signature),
        Encoding::Hex => hex::encode(signature),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        model::{
            profile::{Algorithm, KeyForm, Profile},
            time::Timestamp,
        },
        policy::{facts, form},
    };

    fn secrets(texts: &[&str]) -> Vec<DatedSecret> {
        texts.iter().map(|text| DatedSecret::lasting(Secret::new((*text).to_owned()))).collect()
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

    /// Standard Webhooks' form with ed25519, the body alone signed.
    fn asymmetric(key: KeyForm, encoding: Encoding, signed: &str) -> Profile {
        let mut profile = form::sample::profile();
        profile.signature.algorithm = Algorithm::Ed25519;
        profile.signature.key = key;
        profile.signature.encoding = encoding;
        profile.signature.each = "v1a,{signature}".to_owned();
        profile.signature.signed = signed.to_owned();
        profile
    }

    /// RFC 8032, 7.1, TEST 1, 2, 3 and SHA(abc): private key, message, signature.
    const RFC_8032: [(&str, &str, &str); 4] = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
        (
            "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
        ),
    ];

    #[test]
    fn the_vectors_of_rfc_8032() {
        for (private, message, signature) in RFC_8032 {
            let data = Bytes::from(hex::decode(message).expect("hex"));
            let profile = asymmetric(KeyForm::Hex, Encoding::Hex, "{body}");
            let signatures = sign(profile, &[private], &facts::sample::facts(&data));
            assert_eq!(signatures.newest, signature);
        }
    }

    /// The values were computed with Python's `cryptography`.
    #[test]
    fn ed25519_while_a_rotation_overlaps() {
        let data = facts::sample::data();
        let profile = asymmetric(KeyForm::Whsec, Encoding::Base64, "{event_id}.{timestamp}.{body}");
        let texts = [
            "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            "whsk_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
        ];
        let signatures = sign(profile, &texts, &facts::sample::facts(&data));
        let newest =
            "NUdSnKg1BOBtsS/gvpxZBYMOC5Td+rAiEW2w/nw74ca5pGCEG5eJXKVmgUi4XJS2b/XniK+3TKu4RzDGN5BZCg==";
        let old = "ZgnvYpro8wAjMBO/LTgSO+knGooogton57zX9ehYWeS6WRnaUjE3A+1qgVa06jaR/buLKFZmL7HTTnzbot3+BQ==";
        assert_eq!(signatures.newest, newest);
        assert_eq!(signatures.all, format!("v1a,{newest} v1a,{old}"));
    }

    #[test]
    fn secrets_whose_time_is_over_do_not_sign() {
        let data = facts::sample::data();
        let form = Form::compile(form::sample::transcodely()).expect("a form");
        let dated = |name: &str, until: Option<u64>| DatedSecret {
            until: until.map(Timestamp::from_millis),
            ..DatedSecret::lasting(Secret::new(name.to_owned()))
        };
        let secrets =
            [dated("a", Some(0)), dated("b", Some(2_000)), dated("c", None), dated("d", Some(1_500))];
        let signer = Signer::new(&form, &secrets).expect("keys");
        let alone = |name| {
            let signer = Signer::new(&form, &[dated(name, None)]).expect("a key");
            move |facts: &Facts<'_>, form: &Form| signer.sign(form, facts, b"{}").all
        };
        for (now, names) in [
            (1_499, &["a", "b", "c", "d"][..]),
            (1_500, &["a", "b", "c"]),
            (1_999, &["a", "b", "c"]),
            (2_000, &["a", "c"]),
        ] {
            let facts = Facts { age: Timestamp::from_millis(now), ..facts::sample::facts(&data) };
            let signatures = signer.sign(&form, &facts, b"{}");
            let expected: Vec<_> = names.iter().map(|name| alone(name)(&facts, &form)).collect();
            assert_eq!(signatures.all, expected.join(","), "{now}");
            assert_eq!(format!("sha256={}", signatures.newest), expected[0], "the newest always signs");
        }
    }

    #[test]
    fn ten_secrets_at_most() {
        let form = Form::compile(form::sample::transcodely()).expect("a form");
        let signer = Signer::new(&form, &secrets(&["x"; 10])).expect("keys");
        assert_eq!(format!("{signer:?}"), "Signer { keys: 10, .. }");
        assert_eq!(Signer::new(&form, &secrets(&["x"; 11])).err(), Some(KeyError::TooMany));
    }
}
