//! The connections themselves.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::Files;
use crate::files::Reread;

/// A secured stream over another one.
pub type Stream<S> = tokio_rustls::client::TlsStream<S>;

/// Secures connections to one server. A clone is another handle.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Reads the files. What cannot be used is an error that names the file and not what is in it.
    pub fn new(files: &Files) -> Result<Self, String> {
        Self::speaking(files, &[])
    }

    /// The same for a server that wants to be told which protocol follows.
    pub fn speaking(files: &Files, protocols: &[&str]) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let authorities = Authorities::read(files, Arc::clone(&provider))?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3");
        // "Dangerous" is whoever verifies otherwise than rustls. Authorities asks rustls.
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(authorities));
        let mut config = match Identity::read(files, provider)? {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(identity)),
            None => builder.with_no_client_auth(),
        };
        // A session that is resumed would show the certificates of the one before.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(Self { config: Arc::new(config) })
    }

    /// For a driver that shakes hands itself.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// Shakes hands with the server that a host's name or address belongs to.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<Stream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the host's name cannot be verified"))?;
        TlsConnector::from(self.config()).connect(name, stream).await
    }
}

/// Who may vouch for the server. It verifies as rustls does, by the authorities that the file holds now.
#[derive(Debug)]
struct Authorities(Reread<WebPkiServerVerifier>);

impl Authorities {
    fn read(files: &Files, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let is_the_systems = files.authority.is_none();
        let make = move |bytes: &[Vec<u8>]| {
            let roots = if is_the_systems { of_the_system()? } else { roots(&bytes[0])? };
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
            // It is made in an `Arc` of its own, which nobody else holds yet.
            let verifier = verifier.map_err(|error| error.to_string())?;
            Arc::into_inner(verifier).ok_or_else(|| "the verifier is in use".to_owned())
        };
        Ok(Self(Reread::new(files.authority.iter().cloned().collect(), make)?))
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    store(certificates, "it holds no certificate of an authority")
}

fn of_the_system() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    store(found.certs, "the system trusts no authority: name the server's, sslrootcert=FILE")
}

/// Public bundles hold certificates that rustls cannot use; one that it can is enough.
fn store(certificates: Vec<CertificateDer<'static>>, none: &str) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates);
    if store.is_empty() { Err(none.to_owned()) } else { Ok(store) }
}

impl ServerCertVerifier for Authorities {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verifier = self.0.current();
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.current().verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.current().verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.current().supported_verify_schemes()
    }
}

/// Who we are.
#[derive(Debug)]
struct Identity(Reread<Arc<CertifiedKey>>);

impl Identity {
    fn read(files: &Files, provider: Arc<CryptoProvider>) -> Result<Option<Self>, String> {
        let Some((certificate, key)) = &files.identity else { return Ok(None) };
        let make = move |bytes: &[Vec<u8>]| {
            let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&bytes[0])
                .collect::<Result<_, _>>()
                .map_err(|error| error.to_string())?;
            if chain.is_empty() {
                return Err("the first holds no certificate".to_owned());
            }
            let key = PrivateKeyDer::from_pem_slice(&bytes[1])
                .map_err(|_| "the second holds no key that is not encrypted".to_owned())?;
            let identity = CertifiedKey::from_der(chain, key, &provider);
            identity.map(Arc::new).map_err(|_| "the key is not that of the certificate".to_owned())
        };
        Ok(Some(Self(Reread::new(vec![certificate.clone(), key.clone()], make)?)))
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current()))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
