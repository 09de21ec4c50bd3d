//! A certification authority of the tests' own.

use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion, crypto::aws_lc_rs, pki_types::PrivateKeyDer,
    server::WebPkiClientVerifier,
};

use super::receiver::Receiver;

/// Who certifies.
pub struct Authority {
    pub root: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a certificate");
        Self { root, issuer: Issuer::new(params, key) }
    }

    pub fn certify(&self, name: &str, year: i32) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.not_after = date_time_ymd(year, 12, 31);
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    /// A receiver whose certificate is for `name` until the end of `year`; with `clients` it wants one as well.
    pub fn receiver(
        &self,
        of: (&str, i32),
        clients: Option<&Self>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Receiver {
        Receiver::with_tls(self.server(of, clients, versions))
    }

    /// How a server speaks TLS whose certificate is for `name` until the end of `year`.
    pub fn server(
        &self,
        (name, year): (&str, i32),
        clients: Option<&Self>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ServerConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("versions");
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.root.der().clone()).expect("a root");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                config.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let (certificate, key) = self.certify(name, year);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = config.with_single_cert(vec![certificate.der().clone()], key);
        config.expect("they belong together")
    }
}
