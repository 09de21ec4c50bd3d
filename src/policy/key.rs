//! From a secret, as people write it, to the key's bytes, and from 32 strong bytes to a secret.
//!
//! Pure: chance is an argument. What goes by is wiped, and no error shows anything of a secret.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};
use ed25519_dalek::{KEYPAIR_LENGTH, SECRET_KEY_LENGTH, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::model::{
    profile::{Algorithm, KeyForm},
    secret::{DatedSecret, Secret},
};

/// What a secret in the form [`KeyForm::Whsec`] begins with.
pub const WHSEC_PREFIX: &str = "whsec_";
/// What a private key of ed25519 in that form begins with, as Standard Webhooks has it.
pub const WHSK_PREFIX: &str = "whsk_";
/// What a public key begins with.
pub const WHPK_PREFIX: &str = "whpk_";

/// The standard alphabet, padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The key that `secret` stands for; with ed25519 the 32 bytes of the private key (RFC 8032), which may have the public
/// key behind them. Space and line ends around the secret do not count, except in [`KeyForm::Utf8`], where every byte
/// does.
pub fn key(form: KeyForm, algorithm: Algorithm, secret: &Secret) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let text = secret.expose();
    let asymmetric = algorithm == Algorithm::Ed25519;
    if asymmetric && text.trim().starts_with(WHPK_PREFIX) {
        return Err(KeyError::Public);
    }
    let bytes = match form {
        KeyForm::Base64 => base64(text.trim()).ok_or(KeyError::NotBase64)?,
        KeyForm::Hex => hex(text.trim()).ok_or(KeyError::NotHex)?,
        KeyForm::Utf8 => Zeroizing::new(text.as_bytes().to_vec()),
        KeyForm::Whsec => whsec(text.trim(), asymmetric)?,
    };
    match bytes.len() {
        0 => Err(KeyError::Empty),
        _ if asymmetric => private_key(bytes),
        _ => Ok(bytes),
    }
}

/// The public key of ed25519 that `secret` stands for: `whpk_…` itself, or the one that belongs to a private key.
pub fn verifying_key(form: KeyForm, secret: &Secret) -> Result<VerifyingKey, KeyError> {
    if let Some(text) = secret.expose().trim().strip_prefix(WHPK_PREFIX) {
        let bytes = base64(text).and_then(|bytes| <[u8; 32]>::try_from(&bytes[..]).ok());
        return bytes.and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok()).ok_or(KeyError::NotWhpk);
    }
    let private = key(form, Algorithm::Ed25519, secret)?;
    Ok(signing_key(&private)?.verifying_key())
}

/// The public key that belongs to a private one, as receivers are given it: `whpk_` and base64.
pub fn public_key(form: KeyForm, secret: &Secret) -> Result<String, KeyError> {
    let public = verifying_key(form, secret)?;
    Ok(format!("{WHPK_PREFIX}{}", general_purpose::STANDARD.encode(public.as_bytes())))
}

/// The key that signs, of what [`key`] gives for ed25519.
pub fn signing_key(private: &[u8]) -> Result<SigningKey, KeyError> {
    let bytes = <&[u8; SECRET_KEY_LENGTH]>::try_from(private).map_err(|_| KeyError::Length)?;
    Ok(SigningKey::from_bytes(bytes))
}

/// A secret of 32 strong random bytes in the form that a profile's `key` needs; [`key`] reads it back. All of them fit
/// into a header. (`utf8` with ed25519 is a form that no profile can have.)
pub fn make(form: KeyForm, algorithm: Algorithm, strong: &Zeroizing<[u8; 32]>) -> Secret {
    let (prefix, text) = match form {
        KeyForm::Base64 => ("", general_purpose::STANDARD.encode(strong)),
        KeyForm::Hex => ("", hex::encode(strong)),
        KeyForm::Utf8 => ("", general_purpose::URL_SAFE_NO_PAD.encode(strong)),
        KeyForm::Whsec if algorithm == Algorithm::Ed25519 => {
            (WHSK_PREFIX, general_purpose::STANDARD.encode(strong))
        }
        KeyForm::Whsec => (WHSEC_PREFIX, general_purpose::STANDARD.encode(strong)),
    };
    let text = Zeroizing::new(text);
    // With room for all of it: a string that grows leaves its old bytes behind.
    let mut secret = String::with_capacity(prefix.len() + text.len());
    secret.push_str(prefix);
    secret.push_str(&text);
    Secret::new(secret)
}

/// Why a secret is no key in the form that its profile needs. Shows nothing of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing is left of it.
    #[error("the secret is empty")]
    Empty,
    /// Not 32 bytes, nor these and the public key's.
    #[error(
        "a private key of ed25519 has 32 bytes, or 64 with the public key behind it: the secret has another length"
    )]
    Length,
    /// There is no secret.
    #[error("the profile needs a secret, and there is none")]
    Missing,
    /// `whsec_` is missing.
    #[error("the secret does not begin with whsec_, as key = \"whsec\" wants it")]
    NoPrefix,
    /// `whsk_` is missing.
    #[error("the secret does not begin with whsk_, as key = \"whsec\" wants it with ed25519")]
    NoPrivatePrefix,
    /// Not base64.
    #[error("the secret is not base64 (A-Z a-z 0-9 + /), as key = \"base64\" wants it")]
    NotBase64,
    /// Not hex.
    #[error("the secret is not hex (an even number of 0-9 a-f), as key = \"hex\" wants it")]
    NotHex,
    /// No key after `whpk_`.
    #[error("what follows whpk_ is not the base64 of a public key of ed25519")]
    NotWhpk,
    /// No base64 after `whsec_`.
    #[error("what follows whsec_ in the secret is not base64 (A-Z a-z 0-9 + /)")]
    NotWhsec,
    /// No base64 after `whsk_`.
    #[error("what follows whsk_ in the secret is not base64 (A-Z a-z 0-9 + /)")]
    NotWhsk,
    /// The second half of 64 bytes belongs to another private key.
    #[error(
        "the public key in the second half of the secret does not belong to the private key in the first"
    )]
    OtherHalf,
    /// A public key where something is to be signed.
    #[error("this is the public key, for receivers; what signs is the private one, whsk_…")]
    Public,
    /// More secrets than an endpoint can have.
    #[error("an endpoint has at most {} secrets at once", DatedSecret::MOST)]
    TooMany,
}

/// What is behind the prefix; with ed25519 `whsec_` will do, too.
fn whsec(text: &str, asymmetric: bool) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    match (text.strip_prefix(WHSEC_PREFIX), text.strip_prefix(WHSK_PREFIX)) {
        (Some(text), _) => base64(text).ok_or(KeyError::NotWhsec),
        (None, Some(text)) if asymmetric => base64(text).ok_or(KeyError::NotWhsk),
        (None, _) if asymmetric => Err(KeyError::NoPrivatePrefix),
        (None, _) => Err(KeyError::NoPrefix),
    }
}

/// The private key alone, of bytes that may have the public key behind it.
fn private_key(mut bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    if let Ok(both) = <&[u8; KEYPAIR_LENGTH]>::try_from(&bytes[..]) {
        SigningKey::from_keypair_bytes(both).map_err(|_| KeyError::OtherHalf)?;
        bytes.truncate(SECRET_KEY_LENGTH);
    }
    if bytes.len() == SECRET_KEY_LENGTH { Ok(bytes) } else { Err(KeyError::Length) }
}

/// Decodes into memory that is wiped, of its full size from the start so that no copy is left behind.
fn base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; text.len().div_ceil(4) * 3]);
    let length = BASE64.decode_slice(text, &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

fn hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; text.len() / 2]);
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(form: KeyForm, text: &str) -> Result<Vec<u8>, KeyError> {
        key(form, Algorithm::HmacSha256, &Secret::new(text.to_owned())).map(|key| key.to_vec())
    }

    fn private(form: KeyForm, text: &str) -> Result<Vec<u8>, KeyError> {
        key(form, Algorithm::Ed25519, &Secret::new(text.to_owned())).map(|key| key.to_vec())
    }

    /// The bytes 0 to 31.
    fn bytes() -> Zeroizing<[u8; 32]> {
        Zeroizing::new(std::array::from_fn(|at| u8::try_from(at).expect("at most 31")))
    }

    /// [`bytes`] as base64, and the public key that Python's `cryptography` gives for them.
    const PRIVATE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const PUBLIC: &str = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
    const BOTH: &str =
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA==";

    #[test]
    fn the_forms() {
        for (form, text, bytes) in [
            (KeyForm::Utf8, "hello ", &b"hello "[..]),
            (KeyForm::Utf8, "whsec_aGVsbG8=", b"whsec_aGVsbG8="),
            (KeyForm::Hex, "68656c6C6F", b"hello"),
            (KeyForm::Hex, "68656c6c6f\n", b"hello"),
            (KeyForm::Base64, "aGVsbG8=", b"hello"),
            (KeyForm::Base64, "aGVsbG8", b"hello"),
            (KeyForm::Base64, "+/8=", &[0xfb, 0xff]),
            (KeyForm::Whsec, "whsec_aGVsbG8=", b"hello"),
            (KeyForm::Whsec, "whsec_aGVsbG8\n", b"hello"),
        ] {
            assert_eq!(of(form, text).as_deref(), Ok(bytes), "{form:?} {text}");
        }
        let published = of(KeyForm::Whsec, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a key");
        assert_eq!(hex::encode(published), "31f290f6bf06298aab4f08d43c3f082cf648a362da2da4b0");
    }

    #[test]
    fn what_is_no_key() {
        for (form, text, why) in [
            (KeyForm::Utf8, "", KeyError::Empty),
            (KeyForm::Hex, "", KeyError::Empty),
            (KeyForm::Base64, " ", KeyError::Empty),
            (KeyForm::Whsec, "whsec_", KeyError::Empty),
            (KeyForm::Hex, "abc", KeyError::NotHex),
            (KeyForm::Hex, "zz", KeyError::NotHex),
            (KeyForm::Hex, "ää", KeyError::NotHex),
            (KeyForm::Base64, "a-_b", KeyError::NotBase64),
            (KeyForm::Base64, "a", KeyError::NotBase64),
            (KeyForm::Base64, "aGVs bG8=", KeyError::NotBase64),
            (KeyForm::Whsec, "aGVsbG8=", KeyError::NoPrefix),
            (KeyForm::Whsec, "WHSEC_aGVsbG8=", KeyError::NoPrefix),
            (KeyForm::Whsec, "whsec_%%%%", KeyError::NotWhsec),
        ] {
            assert_eq!(of(form, text), Err(why), "{form:?} {text}");
            assert!(text.len() < 3 || !why.to_string().contains(text), "{why}");
        }
    }

    #[test]
    fn private_keys() {
        let digits = hex::encode(*bytes());
        for (form, text) in [
            (KeyForm::Hex, digits.clone()),
            (KeyForm::Base64, PRIVATE.to_owned()),
            (KeyForm::Base64, BOTH.to_owned()),
            (KeyForm::Whsec, format!("whsk_{PRIVATE}")),
            (KeyForm::Whsec, format!("whsk_{BOTH}\n")),
            (KeyForm::Whsec, format!("whsec_{PRIVATE}")),
        ] {
            assert_eq!(private(form, &text).as_deref(), Ok(&bytes()[..]), "{form:?} {text}");
            let public = public_key(form, &Secret::new(text));
            assert_eq!(public, Ok(format!("whpk_{PUBLIC}")));
        }
        let public = Secret::new(format!("whpk_{PUBLIC}"));
        assert_eq!(public_key(KeyForm::Hex, &public), Ok(format!("whpk_{PUBLIC}")), "it is its own");
    }

    #[test]
    fn what_is_no_private_key() {
        let other = BOTH.replace("uA==", "uQ==");
        for (form, text, why) in [
            (KeyForm::Hex, "00ff", KeyError::Length),
            (KeyForm::Hex, "", KeyError::Empty),
            (KeyForm::Base64, "aGVsbG8=", KeyError::Length),
            (KeyForm::Base64, &other, KeyError::OtherHalf),
            (KeyForm::Utf8, "s3cr3t", KeyError::Length),
            (KeyForm::Whsec, PRIVATE, KeyError::NoPrivatePrefix),
            (KeyForm::Whsec, "whsk_%%%%", KeyError::NotWhsk),
            (KeyForm::Whsec, "whsec_aGVsbG8=", KeyError::Length),
            (KeyForm::Whsec, "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=", KeyError::Public),
        ] {
            assert_eq!(private(form, text), Err(why), "{form:?} {text}");
            assert!(text.len() < 3 || !why.to_string().contains(text), "{why}");
        }
        for text in ["whpk_", "whpk_aGVsbG8=", "whpk_%"] {
            let public = verifying_key(KeyForm::Whsec, &Secret::new(text.to_owned()));
            assert_eq!(public.err(), Some(KeyError::NotWhpk), "{text}");
        }
    }

    #[test]
    fn made_secrets_fit_their_form() {
        use Algorithm::{Ed25519, HmacSha256};
        for (form, algorithm, text) in [
            (KeyForm::Utf8, HmacSha256, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8".to_owned()),
            (KeyForm::Utf8, Algorithm::None, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8".to_owned()),
            (KeyForm::Hex, HmacSha256, hex::encode(*bytes())),
            (KeyForm::Hex, Ed25519, hex::encode(*bytes())),
            (KeyForm::Base64, HmacSha256, PRIVATE.to_owned()),
            (KeyForm::Base64, Ed25519, PRIVATE.to_owned()),
            (KeyForm::Whsec, HmacSha256, format!("whsec_{PRIVATE}")),
            (KeyForm::Whsec, Ed25519, format!("whsk_{PRIVATE}")),
        ] {
            let made = make(form, algorithm, &bytes());
            assert_eq!(made.expose(), text, "{form:?} {algorithm:?}");
            let read = key(form, algorithm, &made).expect("it reads its own");
            let read = if form == KeyForm::Utf8 {
                general_purpose::URL_SAFE_NO_PAD.decode(&*read).expect("base64url")
            } else {
                read.to_vec()
            };
            assert_eq!(read, bytes()[..], "all 32 bytes are in it");
        }
        // Bytes that base64 writes with + and /.
        let made = make(KeyForm::Utf8, HmacSha256, &Zeroizing::new([0xff; 32]));
        assert!(made.expose().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    }
}
