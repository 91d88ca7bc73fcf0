//! Whom to trust: one TLS configuration for the API and for storage.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::Error;

/// A configuration that trusts the platform's certificates (which `SSL_CERT_FILE` replaces on Linux) and those
/// in `cacert`.
///
/// # Errors
/// [`Error::Usage`] when `cacert` cannot be read or holds no certificate, or when there is nothing to trust.
pub fn config(cacert: Option<&Path>) -> Result<Arc<ClientConfig>, Error> {
    let extra = cacert.map(read_certificates).transpose()?.unwrap_or_default();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = verifier(extra, Arc::clone(&provider)).map_err(|error| {
        Error::usage_hint(
            format!("no certificates to trust: {error}"),
            "install the ca-certificates package, or name a PEM file with --cacert or SSL_CERT_FILE",
        )
    })?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Internal(format!("TLS: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // S3 speaks HTTP/1.1 only, and the API needs no more.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn verifier(
    extra: Vec<CertificateDer<'static>>,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<rustls_platform_verifier::Verifier, rustls::Error> {
    #[cfg(target_os = "android")]
    return rustls_platform_verifier::Verifier::new(provider);
    #[cfg(not(target_os = "android"))]
    rustls_platform_verifier::Verifier::new_with_extra_roots(extra, provider)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let shown = path.display();
    let pem = std::fs::read(path)
        .map_err(|error| Error::usage(format!("--cacert {shown} cannot be read: {error}")))?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::usage(format!("--cacert {shown} is no PEM file of certificates: {error}")))?;
    if certificates.is_empty() {
        return Err(Error::usage(format!("--cacert {shown} holds no certificate")));
    }
    Ok(certificates)
}
