//! From a secret, as people write it, to the key's bytes.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

use crate::model::{profile::KeyForm, secret::Secret};

/// What a secret in the form [`KeyForm::Whsec`] begins with.
pub const WHSEC_PREFIX: &str = "whsec_";

/// The standard alphabet, padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The key that `secret` stands for. Space and line ends around the secret do not count, except in
/// [`KeyForm::Utf8`], where every byte does.
pub fn key(form: KeyForm, secret: &Secret) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let text = secret.expose();
    let bytes = match form {
        KeyForm::Base64 => base64(text.trim()).ok_or(KeyError::NotBase64)?,
        KeyForm::Hex => hex(text.trim()).ok_or(KeyError::NotHex)?,
        KeyForm::Utf8 => Zeroizing::new(text.as_bytes().to_vec()),
        KeyForm::Whsec => {
            let text = text.trim().strip_prefix(WHSEC_PREFIX).ok_or(KeyError::NoPrefix)?;
            base64(text).ok_or(KeyError::NotWhsec)?
        }
    };
    if bytes.is_empty() { Err(KeyError::Empty) } else { Ok(bytes) }
}

/// Why a secret is no key in the form that its profile needs. Shows nothing of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing is left of it.
    #[error("the secret is empty")]
    Empty,
    /// There is no secret.
    #[error("the profile needs a secret, and there is none")]
    Missing,
    /// `whsec_` is missing.
    #[error("the secret does not begin with whsec_, as key = \"whsec\" wants it")]
    NoPrefix,
    /// Not base64.
    #[error("the secret is not base64 (A-Z a-z 0-9 + /), as key = \"base64\" wants it")]
    NotBase64,
    /// Not hex.
    #[error("the secret is not hex (an even number of 0-9 a-f), as key = \"hex\" wants it")]
    NotHex,
    /// No base64 after `whsec_`.
    #[error("what follows whsec_ in the secret is not base64 (A-Z a-z 0-9 + /)")]
    NotWhsec,
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
        key(form, &Secret::new(text.to_owned())).map(|key| key.to_vec())
    }

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
}
