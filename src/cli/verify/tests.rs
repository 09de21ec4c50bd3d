use http::HeaderValue;

use super::{samples::*, *};
use crate::model::profile::{KeyForm, Profile};

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value")));
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
            let text = if seconds > 0 { "the timestamp is 5m1s old" } else { "the timestamp is 5m1s ahead" };
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
    assert_eq!(verify(&verifier, &with("id:7"), BODY), Err(Reason::Contradiction(Placeholder::DeliveryId)));
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
        ("{account}.{body}", "{account}{signatures}", Placeholder::Account),
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

/// A profile with one header, signed over `signed`.
fn with_header(signed: &str, header: &str) -> Profile {
    let mut profile = standard();
    profile.signature.signed = signed.to_owned();
    profile.headers = pairs(&[("x-signature", header)]);
    profile
}

fn hmac_base64(message: &str) -> String {
    let key = key::key(KeyForm::Whsec, Algorithm::HmacSha256, &secret(SECRET)).expect("a key");
    let mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key").chain_update(message);
    STANDARD.encode(mac.finalize().into_bytes())
}

#[test]
fn what_is_in_no_header_can_be_said() {
    let profile = with_header("{account}/{event_type}.{body}", "{event_type} {signatures}");
    let error = Verifier::new(form(profile.clone()), Some(&secret(SECRET))).expect_err("no account");
    assert_eq!(error, VerifierError::NotCarried(Placeholder::Account));
    let value = format!("a.b v1,{}", hmac_base64("default/a.b.{}"));
    for (account, event_type, result) in [
        ("default", None, Ok(())),
        ("other", None, Err(Reason::Mismatch)),
        ("default", Some("a.b"), Ok(())),
        ("default", Some("a.c"), Err(Reason::Mismatch)),
    ] {
        let mut known = Said::default();
        known.add(Placeholder::Account, account);
        if let Some(text) = event_type {
            known.add(Placeholder::EventType, text);
        }
        let verifier = Verifier::knowing(form(profile.clone()), Some(&secret(SECRET)), known);
        assert_eq!(verify(&verifier.expect("a verifier"), &[("x-signature", &value)], b"{}"), result);
    }
}

/// Two that follow one another directly, and dots of a type before those of the pattern.
#[test]
fn headers_that_hold_several_things() {
    let signature = hmac_base64(&format!("{TIME}.{{}}"));
    for (header, value) in [
        ("{timestamp}{signatures}", format!("{TIME}v1,{signature}")),
        ("{signature}{timestamp}", format!("{signature}{TIME}")),
        ("{event_type}.{timestamp}.{signature}", format!("a.b.c.{TIME}.{signature}")),
    ] {
        let profile = with_header("{timestamp}.{body}", header);
        let verifier = Verifier::new(form(profile), Some(&secret(SECRET))).expect("a verifier");
        assert_eq!(verify(&verifier, &[("x-signature", &value)], b"{}"), Ok(()), "{header}");
    }
}

#[test]
fn only_the_time_that_is_signed_counts() {
    let mut profile = with_header("{timestamp_ms}.{body}", "{timestamp_ms} {signatures}");
    profile.headers.push(("x-time".to_owned(), "{timestamp}".to_owned()));
    let verifier = Verifier::new(form(profile), Some(&secret(SECRET))).expect("a verifier");
    let old = format!("1600000000000 v1,{}", hmac_base64("1600000000000.{}"));
    let result = verify(&verifier, &[("x-signature", &old), ("x-time", TIME)], b"{}");
    assert!(matches!(result, Err(Reason::Time { ahead: false, .. })), "{result:?}");
}

/// The signature was made with Python's `cryptography`.
#[test]
fn ed25519_with_either_key() {
    const SIGNATURE: &str =
        "v1a,yoUrgEkc12aGqm0n4Sydmdz55xJfTz4AsAgieHFjmkR7LJtqVCZOQYzvvHjI5kAey+r4iaBGxTFRrl2iBQxtDQ==";
    let mut profile = standard();
    profile.signature.algorithm = Algorithm::Ed25519;
    profile.signature.each = "v1a,{signature}".to_owned();
    let good =
        |signature| [("webhook-id", ID), ("webhook-timestamp", TIME), ("webhook-signature", signature)];
    let several = format!("v1,AAAA v1a,AAAA {SIGNATURE}");
    for (key, result) in [
        ("whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=", Ok(())),
        ("whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", Ok(())),
        ("whsk_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", Err(Reason::Mismatch)),
    ] {
        let verifier = Verifier::new(form(profile.clone()), Some(&secret(key))).expect("a verifier");
        for signature in [SIGNATURE, &several] {
            assert_eq!(verify(&verifier, &good(signature), BODY), result, "{key}");
        }
        assert_eq!(verify(&verifier, &good(SIGNATURE), b"{}"), Err(Reason::Mismatch));
        assert_eq!(verify(&verifier, &good("v1a,AAAA"), BODY), Err(Reason::Mismatch));
    }
    let error = Verifier::new(form(profile), Some(&secret("whpk_AAAA"))).expect_err("no public key");
    assert_eq!(error, VerifierError::Key(KeyError::NotWhpk));
}

/// Whoever takes a built-in profile can verify what it sends, or is told that there is nothing to verify.
#[test]
fn every_built_in_profile_can_be_verified() {
    for (name, form) in crate::config::defaults(std::path::Path::new("")).forms {
        let rule = &form.profile().signature;
        let secret = key::make(rule.key, rule.algorithm, &zeroize::Zeroizing::new([7; 32]));
        let needs_secret = form.needs_secret();
        match Verifier::new(form, Some(&secret)) {
            Ok(verifier) => assert!(verifier.verifies() && needs_secret, "{name}"),
            Err(error) => assert!(error == VerifierError::Unsigned && !needs_secret, "{name}: {error}"),
        }
    }
}
