//! Who signs: pools of CAs, which of them is active, which anchors are published, and the back ends
//! that hold keys. Knows nothing of Kubernetes.
//!
//! ```text
//!  pool JSON ──▶ Pool ──▶ Authority ──▶ issue(LeafSpec) ──▶ Chain
//!                 │          │               │
//!             warnings     anchors     SigningBackend (a key in memory; later Vault, PKCS#11)
//! ```
//!
//! A [`Pool`] is meshtool's format, read as Go's `encoding/json` reads it and written byte for byte
//! as it writes it. What can be proven about a pool is proven when it is loaded: each key belongs to a
//! certificate of its CA, each certificate leads to the root. So an [`Authority`] only ever fails
//! for the reasons of its back end.
//!
//! The first CA of a pool signs, the roots of all are published as anchors: that is how a pool is
//! rotated (append, wait, move to the front, wait, remove).

mod authority;
mod backend;
mod error;

mod pool;
#[cfg(test)]
mod testing;

pub use authority::Authority;
pub use backend::{BackendError, KeyInMemory, SigningBackend};
pub use error::{Retry, SignError};
pub use pool::{Ca, CaId, CaOptions, CaPlace, GenerateError, JsonError, Pool, PoolError, Warning};
