//! TLS of the deliveries: rustls on aws-lc-rs, TLS 1.2 and 1.3, HTTP/1.1 by ALPN, the machine's trusted roots.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::ServerName,
};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::failure;
use crate::model::attempt::{Failure, FailureKind};

/// The roots that the machine trusts, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name. A machine may have
/// none: then every `https` delivery fails, and says why.
pub fn native_roots() -> Result<RootCertStore, RootsError> {
    let found = rustls_native_certs::load_native_certs();
    if let (true, Some(error)) = (found.certs.is_empty(), found.errors.into_iter().next()) {
        return Err(RootsError { source: error });
    }
    let mut roots = RootCertStore::empty();
    // Distributions ship roots that webpki cannot use; the others are as good as ever.
    roots.add_parsable_certificates(found.certs);
    Ok(roots)
}

/// Trusted root certificates are there, but not one could be read.
#[derive(Debug, Error)]
#[error(
    "the trusted root certificates cannot be read: make them readable, or name a PEM file in SSL_CERT_FILE"
)]
pub struct RootsError {
    source: rustls_native_certs::Error,
}

/// Whom we trust, and how we speak to them.
pub(super) struct Trust {
    connector: TlsConnector,
    is_empty: bool,
}

impl Trust {
    pub(super) fn new(roots: RootCertStore) -> Self {
        let is_empty = roots.is_empty();
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { connector: TlsConnector::from(Arc::new(config)), is_empty }
    }

    /// Fails where no certificate could ever be trusted: asked before anything is dialled for nothing.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.is_empty {
            return Err(failure::new(
                FailureKind::Tls,
                "this machine has no trusted root certificates: install its ca-certificates package, or name a PEM file in SSL_CERT_FILE",
            ));
        }
        Ok(())
    }

    /// The handshake, as a client of `name`.
    pub(super) async fn handshake(
        &self,
        name: ServerName<'static>,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(name, stream).await
    }
}

/// The one place that chooses who does the cryptography.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
