//! The keys of the API as texts.
//!
//! ```text
//! phk_ 01k…26 characters 4zq…52 characters 8h2…6 characters
//!      which key         its secret        checksum
//! ```
//!
//! All of it is Crockford's base32 in lower case, in one piece, so that a double click takes it whole and those who look
//! for lost secrets find it: `phk_[0-9a-hjkmnp-tv-z]{84}`. The checksum, the first 30 bits of the SHA-256 of the 82
//! characters before it, tells a key that was copied wrong from one that is not known. What is known of the secret is its
//! SHA-256; the two are compared in constant time.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::model::{
    bearer::KeyHash,
    id::{KeyId, base32, read_base32},
    secret::Secret,
};

/// What every key begins with.
pub const PREFIX: &str = "phk_";
/// The characters of 128 bits.
const PART: usize = 26;
/// Those of the checksum.
const CHECKSUM: usize = 6;
/// Those before the checksum.
const CHECKED: usize = PREFIX.len() + 3 * PART;

/// What a key's text says.
#[derive(Debug)]
pub struct Token {
    /// Which key it says that it is.
    pub id: KeyId,
    hash: KeyHash,
}

/// The key `id` with this secret, as its holder is shown it.
pub fn text(id: KeyId, secret: &[u8; 32]) -> Secret {
    let mut text = String::with_capacity(CHECKED + CHECKSUM);
    let id = id.to_string();
    let (_, id) = id.split_once('_').expect("an id has a prefix");
    text.push_str(PREFIX);
    text.push_str(id);
    let (first, second) = secret.split_at(16);
    for half in [first, second] {
        let part = Zeroizing::new(base32(u128::from_be_bytes(half.try_into().expect("16 bytes"))));
        text.push_str(std::str::from_utf8(&*part).expect("base32 is ASCII"));
    }
    let checksum = checksum(&text);
    text.push_str(&checksum);
    Secret::new(text)
}

/// What is to be kept of a secret.
pub fn hash(secret: &[u8; 32]) -> KeyHash {
    KeyHash(Sha256::digest(secret).into())
}

impl Token {
    /// Reads a key's text.
    ///
    /// # Errors
    /// It is none, or was copied wrong.
    pub fn read(text: &str) -> Result<Self, TokenError> {
        let rest = text.strip_prefix(PREFIX).ok_or(TokenError::NoKey)?;
        if text.len() != CHECKED + CHECKSUM || !text.is_ascii() {
            return Err(TokenError::Typo);
        }
        let (checked, sum) = text.split_at(CHECKED);
        if checksum(checked) != sum {
            return Err(TokenError::Typo);
        }
        let part = |number: usize| rest.get(number * PART..(number + 1) * PART).and_then(read_base32);
        let id = rest.get(..PART).and_then(|id| format!("{}_{id}", KeyId::PREFIX).parse().ok());
        let (Some(id), Some(first), Some(second)) = (id, part(1), part(2)) else {
            return Err(TokenError::Typo);
        };
        let mut secret = Zeroizing::new([0; 32]);
        secret[..16].copy_from_slice(&first.to_be_bytes());
        secret[16..].copy_from_slice(&second.to_be_bytes());
        Ok(Self { id, hash: hash(&secret) })
    }

    /// Whether its secret is the one that is known so; takes the same time whatever it is.
    pub fn is_of(&self, known: &KeyHash) -> bool {
        self.hash.0.ct_eq(&known.0).into()
    }
}

/// A text that is no key. Neither says anything of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// It does not look like one.
    #[error("this is no key of posthaste: one begins with `{PREFIX}`")]
    NoKey,
    /// It looks like one.
    #[error("this key is not whole, or was copied wrong: its checksum does not fit")]
    Typo,
}

fn checksum(text: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let first = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) >> 2;
    let digits = base32(first.into());
    std::str::from_utf8(&digits[PART - CHECKSUM..]).expect("base32 is ASCII").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{bearer::KeyNumber, id::IdKey, time::Timestamp};

    fn made(secret: u8) -> (KeyId, Secret) {
        let id = IdKey::new(*b"sixteen bytes ok").key_id(Timestamp::RELEASED, KeyNumber::new(7));
        (id, text(id, &[secret; 32]))
    }

    #[test]
    fn a_key_reads_back() {
        for secret in [0, 1, 0x80, 0xff] {
            let (id, text) = made(secret);
            assert_eq!(text.expose().len(), 88);
            let token = Token::read(text.expose()).expect("a key");
            assert_eq!(token.id, id);
            assert!(token.is_of(&hash(&[secret; 32])));
            assert!(!token.is_of(&hash(&[secret ^ 1; 32])));
            assert!(!format!("{token:?} {text:?}").contains(&text.expose()[30..]));
        }
    }

    #[test]
    fn every_typo_is_seen() {
        let (_, text) = made(0x5a);
        let text = text.expose();
        for at in PREFIX.len()..text.len() {
            let mut typo = text.as_bytes().to_vec();
            typo[at] = if typo[at] == b'7' { b'8' } else { b'7' };
            let typo = String::from_utf8(typo).expect("ASCII");
            assert_eq!(Token::read(&typo).expect_err("a typo"), TokenError::Typo, "{at}");
            assert_eq!(Token::read(&text[..at]).expect_err("it is cut short"), TokenError::Typo, "{at}");
        }
        for (wrong, error) in [
            ("", TokenError::NoKey),
            ("ghp_0123", TokenError::NoKey),
            ("phk", TokenError::NoKey),
            (&format!("{text}0"), TokenError::Typo),
            (&text.to_uppercase(), TokenError::NoKey),
            (&format!("phk_{}", "ä".repeat(42)), TokenError::Typo),
        ] {
            assert_eq!(Token::read(wrong).expect_err(wrong), error, "{wrong}");
        }
    }
}
