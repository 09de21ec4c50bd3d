//! TLS of the deliveries: rustls on aws-lc-rs, TLS 1.2 and 1.3, HTTP/1.1 by ALPN, the machine's trusted roots and those
//! of a bundle.
//!
//! Who shows a certificate of its own has a connector of its own, so that no session is taken up again by another. A
//! lane's connections are its own anyway.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    client::ResolvesClientCert,
    pki_types::{CertificateDer, ServerName},
    sign::SingleCertAndKey,
};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::failure;
use crate::{
    model::attempt::{Failure, FailureKind},
    policy::certificate::{Identity, TlsVersion, provider},
};

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

/// What an endpoint wants of TLS besides; the default: nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    /// What is shown to a server that asks for a certificate.
    pub identity: Option<Identity>,
    /// The name that is asked for, and that the certificate has to have; `None`: the URL's host.
    pub server_name: Option<ServerName<'static>>,
}

/// Whom we trust, and how we speak to them.
pub(super) struct Trust {
    roots: Arc<RootCertStore>,
    least: TlsVersion,
    /// Of those that show nothing of themselves.
    connector: TlsConnector,
}

impl Trust {
    /// Trusts `roots` and what is in `bundle`, of which each can be a root, and speaks no version before `least`.
    pub(super) fn new(
        mut roots: RootCertStore,
        bundle: Vec<CertificateDer<'static>>,
        least: TlsVersion,
    ) -> Self {
        roots.add_parsable_certificates(bundle);
        let roots = Arc::new(roots);
        let connector = connector(&roots, least, None);
        Self { roots, least, connector }
    }

    /// What speaks TLS as `identity`, or as nobody.
    pub(super) fn connector(&self, identity: Option<&Identity>) -> TlsConnector {
        match identity {
            Some(_) => connector(&self.roots, self.least, identity),
            None => self.connector.clone(),
        }
    }

    /// Fails where no certificate could ever be trusted: asked before anything is dialled for nothing.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.roots.is_empty() {
            return Err(failure::new(
                FailureKind::Tls,
                "this machine has no trusted root certificates: install its ca-certificates package, or name a PEM file in SSL_CERT_FILE or as `ca_bundle` under [network]",
            ));
        }
        Ok(())
    }
}

/// The handshake, as a client of `name`.
pub(super) async fn handshake(
    connector: &TlsConnector,
    name: ServerName<'static>,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    connector.connect(name, stream).await
}

fn connector(roots: &Arc<RootCertStore>, least: TlsVersion, identity: Option<&Identity>) -> TlsConnector {
    let versions: &[_] = match least {
        TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
    };
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("the provider has suites for TLS 1.2 and 1.3")
        .with_root_certificates(Arc::clone(roots));
    let mut config = match identity {
        Some(identity) => {
            let shown: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(identity.certified()));
            config.with_client_cert_resolver(shown)
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}
