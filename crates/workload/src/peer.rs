//! Who is at the other end of a connection.

use podcert_pki::verify::{self, Purpose, SvidError, VerifyError};
use podcert_pki::{Certificate, CertificateError, Chain, SpiffeId};
use rustls_pki_types::CertificateDer;

use jiff::Timestamp;

use crate::credential::Anchors;
use crate::tls::{self, ClientStream, ServerStream};

/// Why a peer has no SPIFFE ID that we believe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// It presented no certificate.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// What it presented is no certificate.
    #[error("the peer's certificate cannot be read")]
    Unreadable(#[source] CertificateError),
    /// Its chain does not lead to an anchor, or is not valid now.
    #[error("the peer's certificate cannot be verified")]
    Unverified(#[source] VerifyError),
    /// The leaf is verified and names no workload by SPIFFE.
    #[error("the peer's certificate is no SPIFFE identity")]
    NotSvid(#[source] SvidError),
}

/// The SPIFFE ID that a chain of DER certificates, leaf first, proves under `anchors` at `at`.
///
/// The chain must be valid for client or for server authentication: the X509-SVID profile asks
/// for both in a leaf that restricts its usage at all, and meshtool, which looked for server
/// authentication alone, issues both. Which trust domain the caller serves is the caller's to
/// compare: `anchors` may be those of several.
///
/// # Errors
/// [`PeerError`], in this order: no certificate, unreadable, unverified, no SPIFFE identity.
pub fn spiffe_id(
    presented: &[impl AsRef<[u8]>],
    anchors: &Anchors,
    at: Timestamp,
) -> Result<SpiffeId, PeerError> {
    let mut certificates = presented
        .iter()
        .map(|der| Certificate::from_der(der.as_ref()).map_err(PeerError::Unreadable));
    let leaf = certificates.next().ok_or(PeerError::NoCertificate)??;
    let chain = Chain::new(leaf, certificates.collect::<Result<_, _>>()?);
    verify::verify(&chain, anchors.bundle(), Purpose::Client, at)
        .or_else(|error| {
            // The first error is the one to tell: it is about the common case.
            verify::verify(&chain, anchors.bundle(), Purpose::Server(None), at).or(Err(error))
        })
        .map_err(PeerError::Unverified)?;
    verify::spiffe_id(chain.leaf()).map_err(PeerError::NotSvid)
}

/// A connection that can tell what its peer presented in the handshake.
pub trait Presented {
    /// The peer's certificates, leaf first; empty without any. Verified only as far as the
    /// configuration of the connection says.
    fn presented(&self) -> &[CertificateDer<'static>];
}

impl<IO> Presented for ServerStream<IO> {
    fn presented(&self) -> &[CertificateDer<'static>] {
        tls::presented(self.get_ref().1)
    }
}

impl<IO> Presented for ClientStream<IO> {
    fn presented(&self) -> &[CertificateDer<'static>] {
        tls::presented(self.get_ref().1)
    }
}

#[cfg(test)]
mod tests;
