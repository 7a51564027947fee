//! HTTPS as a job wants it: whom it trusts, who it is, and what it expects of the other side.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, version};

use super::config::{Source, TlsSettings};

/// When each file of the settings changed last: while that is the same, so is what they say.
pub(super) async fn changed(settings: &TlsSettings) -> Vec<Option<SystemTime>> {
    let mut times = Vec::new();
    for path in files(settings) {
        times.push(tokio::fs::metadata(path).await.ok().and_then(|meta| meta.modified().ok()));
    }
    times
}

fn files(settings: &TlsSettings) -> impl Iterator<Item = &PathBuf> {
    let (cert, key) = settings.identity.as_ref().map_or((None, None), |(cert, key)| (Some(cert), Some(key)));
    [settings.ca.as_ref(), cert, key].into_iter().flatten().filter_map(|source| match source {
        Source::File(path) => Some(path),
        Source::Given(_) | Source::Plain(_) => None,
    })
}

/// Reads the files and puts the client's side together.
///
/// # Errors
/// When a file cannot be read, or is not what it should be.
pub(super) async fn client_config(settings: &TlsSettings) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let versions: &[_] = match (settings.only_12, settings.only_13) {
        (true, _) => &[&version::TLS12],
        (_, true) => &[&version::TLS13],
        _ => &[&version::TLS13, &version::TLS12],
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?;
    let builder = if settings.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    } else {
        builder.with_root_certificates(roots(settings.ca.as_ref()).await?)
    };
    let Some((cert, key)) = &settings.identity else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(&cert.read().await?).map_err(|error| format!("client certificate: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key.read().await?.as_bytes())
        .map_err(|_| "client key: there is no private key in PEM form".to_owned())?;
    builder.with_client_auth_cert(chain, key).map_err(|error| format!("client certificate and key: {error}"))
}

/// For connections that never speak TLS: it would trust no certificate.
///
/// # Errors
/// Never, with the protocol versions that are built in.
pub(super) fn trusts_nobody() -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

async fn roots(ca: Option<&Source>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = ca {
        for certificate in certificates(&ca.read().await?).map_err(|error| format!("ca: {error}"))? {
            roots.add(certificate).map_err(|error| format!("ca: {error}"))?;
        }
        return Ok(roots);
    }
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    roots.add_parsable_certificates(found.map_err(io::Error::other).map_err(|error| error.to_string())?.certs);
    if roots.is_empty() {
        // An image without a list of its own: Mozilla's, as of the build.
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Ok(roots)
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = all.map_err(|error| error.to_string())?;
    if all.is_empty() { Err("there is no certificate in PEM form".to_owned()) } else { Ok(all) }
}

/// Trusts every certificate: `insecure_skip_verify`.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
