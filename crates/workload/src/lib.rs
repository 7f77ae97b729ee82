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
