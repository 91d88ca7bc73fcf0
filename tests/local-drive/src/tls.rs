//! TLS: a new CA for each drive, and a certificate signed by it.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// TLS configuration of the servers, and the CA that clients must trust.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) ca_pem: String,
}

impl Tls {
    /// Creates a CA and a certificate for `localhost` and `address`. It is valid from yesterday for a month, shifted
    /// by a number of days.
    pub(crate) fn new(address: std::net::Ipv4Addr, shifted_days: i32) -> anyhow::Result<Self> {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        ca.distinguished_name.push(DnType::CommonName, "Local drive CA");
        let ca_key = KeyPair::generate()?;
        let ca_pem = ca.self_signed(&ca_key)?.pem();

        let key = KeyPair::generate()?;
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned(), address.to_string()];
        let mut leaf = CertificateParams::new(names)?;
        leaf.distinguished_name.push(DnType::CommonName, "Local drive");
        leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        // macOS refuses certificates that are valid for more than 825 days.
        let day = std::time::Duration::from_secs(24 * 60 * 60);
        let shift = day * shifted_days.unsigned_abs();
        let now = std::time::SystemTime::now();
        let now = if shifted_days < 0 { now - shift } else { now + shift };
        leaf.not_before = (now - day).into();
        leaf.not_after = (now + day * 30).into();
        let certificate = leaf.signed_by(&key, &Issuer::from_params(&ca, &ca_key))?;

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        Ok(Self { acceptor: TlsAcceptor::from(Arc::clone(&config)), config, ca_pem })
    }
}
