//! For applications that live on certificates of short life: credentials and trust anchors from
//! files into rustls configurations that follow every change.
//!
//! ```text
//! files ──▶ Source<Credential> ─┐
//!                               ├─▶ ServerTls / ClientTls: one configuration per handshake
//! files ──▶ Source<Anchors> ────┘
//! ```
//!
//! - [`files`] follows a set of files across the kubelet's atomic swap.
//! - [`Source`] parses them at each change, counts the generations, and keeps the last good one.
//! - [`ServerTls`] and [`ClientTls`] hand out a rustls configuration made of the newest
//!   generations. A configuration is never edited: a new one has new anchors and empty session
//!   caches, so nobody resumes a session past the removal of its CA.
//! - [`peer`] says which SPIFFE ID a peer has proven.
//!
//! A server with mutual TLS whose every file may change at any time:
//!
//! ```no_run
//! # async fn serve(listener: tokio::net::TcpListener, clock: podcert_workload::Clock)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! use podcert_workload::files::Options;
//! use podcert_workload::peer::{self, Presented as _};
//! use podcert_workload::{AnchorSource, ClientAuth, CredentialSource, ServerTls};
//! use tokio_util::sync::CancellationToken;
//!
//! let (options, shutdown) = (Options::default(), CancellationToken::new());
//! let credential = CredentialSource::from_bundle_file(
//!     "/run/tls/credential-bundle.pem".into(),
//!     options,
//!     shutdown.clone(),
//! )
//! .await;
//! let anchors =
//!     AnchorSource::from_anchor_files(["/run/tls/trust.pem".into()], options, shutdown).await;
//! let tls = ServerTls::new(credential, ClientAuth::Required(anchors.clone()), clock.clone());
//! loop {
//!     let (tcp, _) = listener.accept().await?;
//!     let Ok(stream) = tls.accept(tcp).await else { continue };
//!     if let Some(anchors) = anchors.current() {
//!         println!("{}", peer::spiffe_id(stream.presented(), &anchors, clock.now())?);
//!     }
//! }
//! # }
//! ```
//!
//! Nothing here knows of Kubernetes' API, installs a process-wide rustls provider, or reads the
//! system's clock: the application passes a [`Clock`].

mod clock;
mod credential;
pub mod files;
pub mod peer;
mod source;
mod tls;

pub use crate::{
    clock::Clock,
    credential::{Anchors, AnchorsError, Credential, CredentialError},
    peer::PeerError,
    source::{AnchorSource, CredentialSource, Snapshot, Source, SourceError, in_words},
    tls::{
        ClientAuth, ClientStream, ClientTls, Resumption, ServerStream, ServerTls, TlsError,
        Unusable,
    },
};

#[cfg(test)]
mod fixtures;
