//! Certificates as people hand them in: a bundle of roots, and what a client or the API shows of itself; from PEM to what TLS takes.
//!
//! What is made here can be used: roots are usable as roots, and a key belongs to its certificate. No error shows
//! anything of a key.

use std::{fmt, sync::Arc};

use rustls::{
    Error as TlsError, RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};
use thiserror::Error;

use crate::model::secret::Secret;

/// The one place that chooses who does the cryptography of TLS.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The least version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// What a client, or a server, shows of itself: a certificate, perhaps with those above it, and the key that belongs to it. Clones
/// share it.
#[derive(Clone)]
pub struct Identity(Arc<CertifiedKey>);

/// The same where the certificates are: a key belongs to its certificate.
impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.0.cert == other.0.cert
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

impl Identity {
    /// An identity out of two texts in PEM: the certificate, with those above it behind it, and its private key.
    ///
    /// # Errors
    /// One of them is not in it, or they do not belong together.
    pub fn new(certificate: &Secret, key: &Secret) -> Result<Self, IdentityError> {
        let chain = certificates(certificate.expose().as_bytes()).map_err(|_| IdentityError::Certificate)?;
        if chain.is_empty() {
            return Err(IdentityError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|error| match error {
            pem::Error::NoItemsFound => IdentityError::NoKey,
            _ => IdentityError::Key,
        })?;
        match CertifiedKey::from_der(chain, key, &provider()) {
            Ok(certified) => Ok(Self(Arc::new(certified))),
            Err(TlsError::InconsistentKeys(_)) => Err(IdentityError::Mismatch),
            Err(TlsError::InvalidCertificate(_)) => Err(IdentityError::Certificate),
            Err(_) => Err(IdentityError::Key),
        }
    }

    /// As TLS takes it.
    pub fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0)
    }
}

/// Texts that make no identity. Each says what to do, and shows nothing of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// A certificate that cannot be read.
    #[error("its certificate cannot be read: write PEM, `-----BEGIN CERTIFICATE-----` and so on")]
    Certificate,
    /// A key that cannot be used.
    #[error("its key cannot be read: write PEM, an RSA, ECDSA or Ed25519 key without a password")]
    Key,
    /// The key is another certificate's.
    #[error(
        "its key does not belong to the first certificate: name the key that the certificate was made for"
    )]
    Mismatch,
    /// No certificate.
    #[error("there is no certificate in it: write PEM, `-----BEGIN CERTIFICATE-----` and so on")]
    NoCertificate,
    /// No key.
    #[error("there is no private key in it: write PEM, `-----BEGIN PRIVATE KEY-----` and so on")]
    NoKey,
}

impl IdentityError {
    /// Whether it is the key that is wrong, rather than the certificate.
    pub const fn is_of_key(self) -> bool {
        matches!(self, Self::Key | Self::Mismatch | Self::NoKey)
    }
}

/// The certificates of a text in PEM, each of which can be a root.
///
/// # Errors
/// There is none, or one that cannot be a root.
pub fn bundle(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    let found = certificates(text).map_err(|_| BundleError::NotPem)?;
    if found.is_empty() {
        return Err(BundleError::Empty);
    }
    let mut roots = RootCertStore::empty();
    for (at, certificate) in found.iter().enumerate() {
        roots.add(certificate.clone()).map_err(|_| BundleError::NoRoot { number: at + 1 })?;
    }
    Ok(found)
}

/// A text that is no bundle of roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BundleError {
    /// No certificate.
    #[error("has no certificate in it")]
    Empty,
    /// A certificate that cannot be a root.
    #[error("has a certificate that cannot be read, number {number} in it")]
    NoRoot {
        /// Which, from 1.
        number: usize,
    },
    /// A block that is not closed, or is no base64.
    #[error("is not PEM")]
    NotPem,
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(text).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pair() -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(vec!["box.example".to_owned()]).expect("parameters");
        (certificate.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
    }

    #[test]
    fn identities() {
        let ((certificate, key), (other, other_key)) = (pair(), pair());
        let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        let hollow = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for (certificate, key, error) in [
            (&*certificate, &*key, None),
            (&format!("{certificate}{other}"), &key, None),
            (&format!("Bag Attributes\n{key}{certificate}"), &format!("{certificate}{key}"), None),
            (&certificate, &other_key, Some(IdentityError::Mismatch)),
            (&format!("{other}{certificate}"), &key, Some(IdentityError::Mismatch)),
            ("", &key, Some(IdentityError::NoCertificate)),
            (&key, &key, Some(IdentityError::NoCertificate)),
            (broken, &key, Some(IdentityError::Certificate)),
            (hollow, &key, Some(IdentityError::Certificate)),
            (&certificate, "", Some(IdentityError::NoKey)),
            (&certificate, &certificate, Some(IdentityError::NoKey)),
            (&certificate, no_key, Some(IdentityError::Key)),
        ] {
            let secret = |text: &str| Secret::new(text.to_owned());
            let made = Identity::new(&secret(certificate), &secret(key));
            assert_eq!(made.as_ref().err().copied(), error, "{certificate}");
            assert!(!format!("{made:?}").contains("PRIVATE"));
        }
    }

    #[test]
    fn bundles() {
        let ((one, key), (two, _)) = (pair(), pair());
        let hollow = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (text, found) in [
            (one.clone(), Ok(1)),
            (format!("# ours\n{one}\n{two}"), Ok(2)),
            (String::new(), Err(BundleError::Empty)),
            (key, Err(BundleError::Empty)),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n".to_owned(), Err(BundleError::NotPem)),
            (format!("{one}{hollow}"), Err(BundleError::NoRoot { number: 2 })),
        ] {
            assert_eq!(bundle(text.as_bytes()).map(|found| found.len()), found, "{text}");
        }
    }
}
