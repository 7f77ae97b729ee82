//! How rustls is configured: pure functions from what was parsed to its types.
//!
//! aws-lc-rs is named wherever a provider is, so nothing depends on (or sets) the process-wide
//! default.

use std::io;
use std::sync::{Arc, OnceLock};

use podcert_pki::{CredentialBundle, TrustBundle};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::{Resumption as RustlsResumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};

use super::{Resumption, Unusable};
use crate::clock::Clock;

/// A key and chain as rustls presents them.
#[derive(Clone, Debug)]
pub(crate) struct Identity(Arc<CertifiedKey>);

impl Identity {
    /// Proves on the way that rustls can sign with the key and that it is the leaf's.
    pub(crate) fn new(bundle: &CredentialBundle) -> Result<Self, Unusable> {
        let unwritable = |error: podcert_pki::KeyError| Unusable(error.to_string());
        let der = bundle.key().to_pkcs8_der().map_err(unwritable)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.as_slice()));
        let key = aws_lc_rs::sign::any_supported_type(&key)?;
        let chain = bundle
            .chain()
            .certificates()
            .map(|certificate| CertificateDer::from(certificate.der().to_vec()))
            .collect();
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match()?;
        Ok(Self(Arc::new(certified)))
    }
}

/// Trust anchors as rustls verifies with them.
#[derive(Clone, Debug)]
pub(crate) struct Roots(Arc<RootCertStore>);

impl Roots {
    pub(crate) fn new(bundle: &TrustBundle) -> Result<Self, Unusable> {
        let mut roots = RootCertStore::empty();
        let mut refusal = None;
        for anchor in bundle.anchors() {
            // One that cannot be used must not keep the others from being used.
            if let Err(error) = roots.add(CertificateDer::from(anchor.der())) {
                tracing::warn!(subject = %anchor.subject(), %error, "trust anchor not usable");
                refusal = Some(error);
            }
        }
        match refusal {
            Some(error) if roots.is_empty() => Err(error.into()),
            _ => Ok(Self(Arc::new(roots))),
        }
    }
}

/// What a server does about its clients' certificates.
pub(super) enum Clients<'a> {
    Anonymous,
    Unverified,
    Verified(&'a Roots),
}

pub(super) fn server(
    identity: &Identity,
    clients: &Clients<'_>,
    clock: &Clock,
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_details(provider(), time(clock))
        .with_safe_default_protocol_versions()?;
    let builder = match clients {
        Clients::Anonymous => builder.with_no_client_auth(),
        Clients::Unverified => builder.with_client_cert_verifier(Arc::new(AnyClientCert)),
        Clients::Verified(roots) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots.0), provider())
                    .build()
                    .map_err(|error| Error::General(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let resolver = SingleCertAndKey::from(Arc::clone(&identity.0));
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    if let Clients::Verified(_) = clients {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

pub(super) fn client(
    roots: &Roots,
    identity: Option<&Identity>,
    resumption: Resumption,
    clock: &Clock,
) -> Result<ClientConfig, Error> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots.0), provider())
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
    let builder = ClientConfig::builder_with_details(provider(), time(clock))
        .with_safe_default_protocol_versions()?
        .with_webpki_verifier(verifier);
    let mut config = match identity {
        Some(identity) => {
            let resolver = SingleCertAndKey::from(Arc::clone(&identity.0));
            builder.with_client_cert_resolver(Arc::new(resolver))
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = match resumption {
        Resumption::Never => RustlsResumption::disabled(),
        Resumption::WithinGeneration => RustlsResumption::in_memory_sessions(256),
    };
    Ok(config)
}

/// What a handshake's error means, for people who do not read rustls's source.
pub(super) fn explain(error: &io::Error) -> String {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "the peer's certificate was not issued under any of our trust anchors".to_owned()
        }
        Some(Error::NoCertificatesPresented) => "the peer presented no certificate".to_owned(),
        Some(Error::AlertReceived(alert)) => format!("the peer refused us with alert {alert:?}"),
        Some(error) => error.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the peer closed the connection".to_owned()
        }
        None => error.to_string(),
    }
}

/// Accepts a client certificate of any issuer, or none, as Go's `RequestClientCert` does; see
/// [`super::ClientAuth::Requested`]. The proof that the client holds the key is still checked.
#[derive(Debug)]
struct AnyClientCert;

impl ClientCertVerifier for AnyClientCert {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// No hints: a client that minds them would hold back a certificate that a newer bundle, read
    /// when the request is handled, accepts.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl From<Error> for Unusable {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

/// rustls's view of our clock.
#[derive(Debug)]
struct ClockTime(Clock);

impl TimeProvider for ClockTime {
    /// No time, and with it no handshake, before 1970.
    fn current_time(&self) -> Option<UnixTime> {
        let since_epoch = self.0.now().as_duration();
        since_epoch.try_into().ok().map(UnixTime::since_unix_epoch)
    }
}

fn time(clock: &Clock) -> Arc<dyn TimeProvider> {
    Arc::new(ClockTime(clock.clone()))
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}
