//! The TLS configuration for the API and storage.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;

use crate::dial::Connector;
use crate::error::Error;
use crate::event::Reporter;
use crate::proxy::Proxies;

/// Opens connections that trust the platform's certificates and those in `cacert`. The platform's are loaded when the
/// first connection needs them.
/// Fails with [`Error::usage`] if `cacert` cannot be read, even if no connection would need it.
pub fn connector(
    proxies: Proxies,
    cacert: Option<PathBuf>,
    connect_timeout: Duration,
    reporter: &Arc<dyn Reporter>,
) -> Result<Arc<Connector>, Error> {
    let has_cacert = cacert.is_some();
    let trust_reporter = Arc::clone(reporter);
    let trust = Box::new(move || config(cacert.as_deref(), &*trust_reporter));
    let connector = Connector::new(proxies, connect_timeout, trust, Arc::clone(reporter));
    if has_cacert {
        connector.tls()?;
    }
    Ok(Arc::new(connector))
}

/// Trusts the platform's certificates (on Linux, `SSL_CERT_FILE` and `SSL_CERT_DIR` replace them) and those in
/// `cacert`. If Linux has none, as in small containers, Mozilla's are built in.
/// Fails with [`Error::usage`] if `cacert` or `SSL_CERT_FILE` cannot be read or has no certificate, or if nothing is
/// trusted.
fn config(cacert: Option<&Path>, reporter: &dyn Reporter) -> Result<Arc<ClientConfig>, Error> {
    let extra = cacert.map(|path| read_certificates("--cacert", path)).transpose()?.unwrap_or_default();
    if let (Some(path), true) = (path_in("SSL_CERT_FILE"), cfg!(target_os = "linux")) {
        // The platform's reader ignores files that it cannot read, and would then trust nothing or something else.
        let path = Path::new(&path);
        if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            let shown = path.display();
            return Err(Error::usage(format!(
                "SSL_CERT_FILE {shown} cannot be read: it is not a regular file"
            )));
        }
        read_certificates("SSL_CERT_FILE", path)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = verifier(extra, &provider, reporter).map_err(|error| {
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
    // S3 only speaks HTTP/1.1, and the API needs no more.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Mozilla's whole bundle has about 200 KiB.
const MAX_BUNDLE: u64 = 16 * 1024 * 1024;

/// The path in a variable. An empty one counts as unset.
fn path_in(variable: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(variable).filter(|path| !path.is_empty())
}

#[cfg(target_os = "linux")]
fn verifier(
    mut extra: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
    reporter: &dyn Reporter,
) -> Result<Verifier, rustls::Error> {
    // With extra certificates, an empty platform store would not be an error, and public hosts would not be trusted.
    let platform = Verifier::new(Arc::clone(provider));
    let chosen = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().any(|name| path_in(name).is_some());
    match platform {
        Ok(platform) if extra.is_empty() => return Ok(platform),
        Err(error) if chosen && extra.is_empty() => return Err(error),
        Err(_) if !chosen => {
            let message = "this system has no certificate store: using Mozilla's built-in certificates";
            reporter.event(&crate::event::Event::Verbose { message });
            extra.extend_from_slice(webpki_root_certs::TLS_SERVER_ROOT_CERTS);
        }
        _ => {}
    }
    Verifier::new_with_extra_roots(extra, Arc::clone(provider))
}

#[cfg(not(target_os = "linux"))]
fn verifier(
    extra: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
    _: &dyn Reporter,
) -> Result<Verifier, rustls::Error> {
    #[cfg(target_os = "android")]
    return Verifier::new(Arc::clone(provider));
    #[cfg(not(target_os = "android"))]
    Verifier::new_with_extra_roots(extra, Arc::clone(provider))
}

/// Reads the certificates of a PEM file. `named` is the option or variable that names it.
fn read_certificates(named: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let shown = path.display();
    let (pem, _) = crate::limited::read_file(path, MAX_BUNDLE)
        .map_err(|error| Error::usage(format!("{named} {shown} cannot be read: {error}")))?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::usage(format!("{named} {shown} is no PEM file of certificates: {error}")))?;
    if certificates.is_empty() {
        return Err(Error::usage(format!("{named} {shown} holds no certificate")));
    }
    Ok(certificates)
}
