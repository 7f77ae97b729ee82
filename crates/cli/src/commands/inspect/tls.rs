//! What a TLS server presents, whoever it is.
//!
//! The handshake is made with a verifier that takes any certificate and keeps it; after it the
//! connection is closed, nothing having been sent. A server that wants a client certificate ends
//! the handshake later than it presents its own, which is all that is needed here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use podcert_pki::Certificate;
use podcert_pki::inspect::{self, Kind};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio_rustls::TlsConnector;
use url::Url;

use super::source::{Item, Reading};

/// The chain that the server of this https URL presents.
///
/// # Errors
/// When it cannot be reached, or presents none.
pub(super) async fn presented(url: &str, reading: Reading<'_>) -> Result<Item> {
    let url = Url::parse(url).context("it is not a URL")?;
    let host = url.host_str().context("the URL has no host")?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let name = ServerName::try_from(host.clone()).context("the URL's host is no server name")?;

    let seen = Arc::new(Recorder {
        provider: Arc::new(aws_lc_rs::default_provider()),
        chain: Mutex::new(Vec::new()),
    });
    let config = ClientConfig::builder_with_provider(seen.provider.clone())
        .with_safe_default_protocol_versions()
        .context("TLS cannot be configured")?
        .dangerous()
        .with_custom_certificate_verifier(seen.clone())
        .with_no_client_auth();
    let handshake = async {
        let stream = tokio::net::TcpStream::connect((host.as_str(), port)).await;
        let stream = stream.with_context(|| format!("cannot connect to {host}:{port}"))?;
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
        handshake.await.map(drop).context("no TLS handshake")
    };
    let ended = tokio::time::timeout(TIMEOUT, handshake)
        .await
        .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", TIMEOUT.as_secs())));
    let chain = std::mem::take(&mut *seen.chain.lock().unwrap_or_else(PoisonError::into_inner));
    if chain.is_empty() {
        ended?;
        bail!("the server presented no certificate");
    }
    let chain = chain.into_iter().map(Certificate::from_der);
    let chain = chain
        .collect::<Result<_, _>>()
        .context("a certificate of the server")?;
    Ok(Item {
        source: String::new(),
        name: Some("what the server presents".to_owned()),
        refresh_at: None,
        inspection: inspect::certificates(reading.kind.unwrap_or(Kind::Chain), chain, reading.at),
    })
}

/// Takes every certificate, and keeps it.
#[derive(Debug)]
struct Recorder {
    provider: Arc<CryptoProvider>,
    chain: Mutex<Vec<Vec<u8>>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        *chain = std::iter::once(leaf)
            .chain(intermediates)
            .map(|certificate| certificate.to_vec())
            .collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = &self.provider.signature_verification_algorithms;
        known.supported_schemes()
    }
}

const TIMEOUT: Duration = Duration::from_secs(10);
