//! Encrypted connections: the trusted authorities for server certificates, and the client's
//! identity.

use std::io;
use std::sync::Arc;

use redis::TlsCertificates;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Checks the certificates and keys, without a connection.
pub(super) fn check(certificates: &TlsCertificates) -> io::Result<()> {
    if certificates.root_cert.is_some() {
        return client(Some(certificates)).map(drop);
    }
    // The system's authorities are read when needed.
    let authority = RootCertStore::empty();
    with_identity(authority, Some(certificates)).map(drop)
}

/// Encrypts a connection to the server of that name.
pub(super) async fn connect(
    host: &str,
    stream: TcpStream,
    certificates: Option<&TlsCertificates>,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(client(certificates)?)).connect(name, stream).await
}

fn client(certificates: Option<&TlsCertificates>) -> io::Result<ClientConfig> {
    let mut authorities = RootCertStore::empty();
    if let Some(pem) = certificates.and_then(|given| given.root_cert.as_deref()) {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(io::Error::other)?;
            authorities.add(certificate).map_err(io::Error::other)?;
        }
        if authorities.is_empty() {
            return Err(io::Error::other("no certificate is there"));
        }
    } else {
        // An unreadable certificate does not rule out the others.
        let found = rustls_native_certs::load_native_certs().certs;
        authorities.add_parsable_certificates(found);
    }
    with_identity(authorities, certificates)
}

fn with_identity(
    authorities: RootCertStore,
    certificates: Option<&TlsCertificates>,
) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(authorities);
    let Some(identity) = certificates.and_then(|given| given.client_tls.as_ref()) else {
        return Ok(config.with_no_client_auth());
    };
    let chain = CertificateDer::pem_slice_iter(&identity.client_cert)
        .collect::<Result<Vec<_>, _>>()
        .map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(&identity.client_key).map_err(io::Error::other)?;
    config.with_client_auth_cert(chain, key).map_err(io::Error::other)
}
