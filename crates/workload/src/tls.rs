//! TLS that follows its files: one configuration per generation of credential and anchors.
//!
//! [`ServerTls`] and [`ClientTls`] are asked once per handshake. While the generations of their
//! sources stay, they hand out the same configuration; at the first handshake after a change they
//! build a new one, with new anchors and empty session caches (rustls keeps both in the
//! configuration, and a verifier lends out its CA names, so neither can be changed in place).
//! Connections that exist stay as they are; a handshake in flight ends under the configuration it
//! began with.
//!
//! All contact with rustls is in this file and in `tls/config.rs`.

mod config;

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::clock::Clock;
use crate::source::{AnchorSource, CredentialSource, Source, SourceError, in_words};

pub(crate) use self::config::{Identity, Roots};

/// The TLS side of a connection that a server accepted.
pub type ServerStream<IO> = tokio_rustls::server::TlsStream<IO>;

/// The TLS side of a connection that a client opened.
pub type ClientStream<IO> = tokio_rustls::client::TlsStream<IO>;

/// A server's TLS, following its credential and, with mutual TLS, its anchors.
#[derive(Debug)]
pub struct ServerTls {
    credential: CredentialSource,
    client_auth: ClientAuth,
    clock: Clock,
    built: Built<rustls::ServerConfig>,
}

/// What a server asks of its clients.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClientAuth {
    /// No certificate.
    None,
    /// A certificate if the client has one, of any issuer. The handshake proves only that the
    /// client holds the key; whoever handles the request must verify the certificate, for
    /// instance with [`crate::peer::spiffe_id`], against the anchors of that moment.
    Requested,
    /// A certificate for client authentication that chains to these anchors; without one there
    /// is no handshake. Sessions are not resumed, since a resumption would not look at the
    /// certificate's end again.
    Required(AnchorSource),
}

/// A client's TLS, following its anchors and, if it has one, its credential.
///
/// Servers are verified by DNS name or IP address, as on the web, against these anchors alone.
#[derive(Debug)]
pub struct ClientTls {
    anchors: AnchorSource,
    credential: Option<CredentialSource>,
    resumption: Resumption,
    clock: Clock,
    built: Built<rustls::ClientConfig>,
}

/// Whether a client resumes the sessions of earlier connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resumption {
    /// Each connection is a full handshake, in which the server proves its identity anew.
    #[default]
    Never,
    /// Sessions are resumed while neither anchors nor credential change.
    WithinGeneration,
}

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// rustls refuses to be configured so.
    #[error("cannot configure TLS: {why}")]
    Configuration {
        /// In rustls's words.
        why: String,
    },
    /// The handshake failed.
    #[error("TLS handshake failed: {why}")]
    Handshake {
        /// In words.
        why: String,
        /// What kind of failure the transport saw.
        kind: io::ErrorKind,
    },
    /// A source never held anything usable yet.
    #[error("{what} not ready{}", display_cause(.cause.as_ref()))]
    NotReady {
        /// Which source.
        what: &'static str,
        /// What is wrong with its files.
        cause: Option<SourceError>,
    },
    /// What the server is to be verified as is no name a certificate can have.
    #[error("{name:?} is neither a DNS name nor an IP address")]
    ServerName {
        /// The name.
        name: String,
    },
}

/// A key, chain or anchor that is well formed and that rustls cannot use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not usable for TLS: {0}")]
pub struct Unusable(String);

impl ServerTls {
    /// A server that presents what `credential` holds at the moment of each handshake.
    pub fn new(credential: CredentialSource, client_auth: ClientAuth, clock: Clock) -> Self {
        Self {
            credential,
            client_auth,
            clock,
            built: Built::default(),
        }
    }

    /// The configuration for the next handshake: call it for each.
    ///
    /// # Errors
    /// [`TlsError::NotReady`] while a source holds nothing.
    pub fn current(&self) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        let credential = snapshot(&self.credential, "server credential")?;
        let anchors = match &self.client_auth {
            ClientAuth::None | ClientAuth::Requested => None,
            ClientAuth::Required(anchors) => Some(snapshot(anchors, "client trust anchors")?),
        };
        let generations = Generations {
            credential: credential.generation(),
            anchors: anchors.as_ref().map_or(0, |anchors| anchors.generation()),
        };
        self.built.get_or_build(generations, || {
            let clients = match (&self.client_auth, &anchors) {
                (ClientAuth::None, _) => config::Clients::Anonymous,
                (_, Some(anchors)) => config::Clients::Verified(anchors.roots()),
                (_, None) => config::Clients::Unverified,
            };
            config::server(credential.identity(), &clients, &self.clock)
        })
    }

    /// Performs the server's side of a handshake on `io`.
    ///
    /// # Errors
    /// [`TlsError::NotReady`] while a source holds nothing, [`TlsError::Handshake`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection.
    pub async fn accept<IO>(&self, io: IO) -> Result<ServerStream<IO>, TlsError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(self.current()?);
        acceptor.accept(io).await.map_err(handshake_error)
    }
}

impl ClientTls {
    /// A client that trusts what `anchors` holds, and presents what `credential` holds, at the
    /// moment of each handshake.
    pub fn new(
        anchors: AnchorSource,
        credential: Option<CredentialSource>,
        resumption: Resumption,
        clock: Clock,
    ) -> Self {
        Self {
            anchors,
            credential,
            resumption,
            clock,
            built: Built::default(),
        }
    }

    /// The configuration for the next handshake: call it for each.
    ///
    /// # Errors
    /// [`TlsError::NotReady`] while a source holds nothing.
    pub fn current(&self) -> Result<Arc<rustls::ClientConfig>, TlsError> {
        let anchors = snapshot(&self.anchors, "trust anchors")?;
        let credential = match &self.credential {
            Some(credential) => Some(snapshot(credential, "client credential")?),
            None => None,
        };
        let generations = Generations {
            credential: credential
                .as_ref()
                .map_or(0, |credential| credential.generation()),
            anchors: anchors.generation(),
        };
        self.built.get_or_build(generations, || {
            let identity = credential.as_ref().map(|credential| credential.identity());
            config::client(anchors.roots(), identity, self.resumption, &self.clock)
        })
    }

    /// Performs the client's side of a handshake on `io` with the server of this DNS name or IP
    /// address.
    ///
    /// # Errors
    /// [`TlsError::NotReady`] while a source holds nothing, [`TlsError::ServerName`],
    /// [`TlsError::Handshake`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection.
    pub async fn connect<IO>(&self, server: &str, io: IO) -> Result<ClientStream<IO>, TlsError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = TlsConnector::from(self.current()?);
        let name = ServerName::try_from(server).map_err(|_invalid| TlsError::ServerName {
            name: server.to_owned(),
        })?;
        connector
            .connect(name.to_owned(), io)
            .await
            .map_err(handshake_error)
    }
}

/// The certificates a connection's peer presented, leaf first; empty without any.
pub(crate) fn presented<S>(connection: &rustls::ConnectionCommon<S>) -> &[CertificateDer<'static>] {
    connection.peer_certificates().unwrap_or_default()
}

/// A configuration and the generations it was made of.
#[derive(Debug)]
struct Built<C>(ArcSwapOption<(Generations, Arc<C>)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Generations {
    credential: u64,
    anchors: u64,
}

impl<C> Built<C> {
    /// The configuration of these generations.
    ///
    /// Two threads that meet a change together may each build one; the later stays. Each of the
    /// two is of the right generations, they only do not share sessions.
    fn get_or_build(
        &self,
        generations: Generations,
        build: impl FnOnce() -> Result<C, rustls::Error>,
    ) -> Result<Arc<C>, TlsError> {
        if let Some(built) = self.0.load().as_deref()
            && built.0 == generations
        {
            return Ok(Arc::clone(&built.1));
        }
        let config = build().map_err(|error| TlsError::Configuration {
            why: error.to_string(),
        })?;
        let config = Arc::new(config);
        self.0
            .store(Some(Arc::new((generations, Arc::clone(&config)))));
        Ok(config)
    }
}

impl<C> Default for Built<C> {
    fn default() -> Self {
        Self(ArcSwapOption::empty())
    }
}

fn snapshot<T>(
    source: &Source<T>,
    what: &'static str,
) -> Result<Arc<crate::source::Snapshot<T>>, TlsError> {
    source.current().ok_or_else(|| TlsError::NotReady {
        what,
        cause: source.last_error(),
    })
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what map_err hands over"
)]
fn handshake_error(error: io::Error) -> TlsError {
    TlsError::Handshake {
        why: config::explain(&error),
        kind: error.kind(),
    }
}

fn display_cause(cause: Option<&SourceError>) -> String {
    cause.map_or_else(String::new, |cause| {
        let cause: &dyn StdError = cause;
        format!(": {}", in_words(cause))
    })
}

#[cfg(test)]
mod tests;
