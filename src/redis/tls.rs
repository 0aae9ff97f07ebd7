//! Encrypted connections: the trusted authorities for server certificates, and the client's
//! identity.

use std::io;
use std::sync::Arc;

use redis::TlsCertificates;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
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
    with_identity(authority, Vec::new(), Some(certificates)).map(drop)
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
    let mut pinned = Vec::new();
    if let Some(pem) = certificates.and_then(|given| given.root_cert.as_deref()) {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(io::Error::other)?;
            pinned.push(certificate.clone());
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
    with_identity(authorities, pinned, certificates)
}

fn with_identity(
    authorities: RootCertStore,
    pinned: Vec<CertificateDer<'static>>,
    certificates: Option<&TlsCertificates>,
) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let config = if pinned.is_empty() {
        builder.with_root_certificates(authorities)
    } else {
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(authorities), provider)
            .build()
            .map_err(io::Error::other)?;
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PinnedVerifier { usual, pinned }))
    };
    let Some(identity) = certificates.and_then(|given| given.client_tls.as_ref()) else {
        return Ok(config.with_no_client_auth());
    };
    let chain = CertificateDer::pem_slice_iter(&identity.client_cert)
        .collect::<Result<Vec<_>, _>>()
        .map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(&identity.client_key).map_err(io::Error::other)?;
    config.with_client_auth_cert(chain, key).map_err(io::Error::other)
}

/// Verifies as usual, but also takes a certificate of `tls.ca` itself as the server's own.
///
/// `openssl req -x509` makes certificates that sign themselves and are marked as authorities. The
/// usual verifier takes no authority for a server. Its period is checked before, and the handshake
/// proves the possession of its key.
#[derive(Debug)]
struct PinnedVerifier {
    usual: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.usual.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            Err(error) if is_authority(&error) && self.pinned.contains(end_entity) => {
                // Without alternative names a certificate is for no name that could be checked.
                if has_alternative_names(end_entity) {
                    verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// Whether the only fault of a certificate is that it is marked as an authority.
fn is_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    // rustls passes this error of webpki on without a variant of its own.
    other.0.to_string() == "CaUsedAsEndEntity"
}

/// Whether a certificate has `subjectAltName` (RFC 5280, section 4.2.1.6): its object identifier is
/// somewhere in it.
fn has_alternative_names(certificate: &CertificateDer<'_>) -> bool {
    memchr::memmem::find(certificate, &[0x06, 0x03, 0x55, 0x1d, 0x11]).is_some()
}
