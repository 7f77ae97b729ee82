//! The signer names we answer to unless told otherwise, and the annotations of ours.
//!
//! The signer names and the pool formats behind them are those of meshtool, whose place we take; it
//! named pod-identity and never signed for it.

/// Serving certificates named after the Services that select the pod.
pub const SERVICE_DNS: &str = "row-major.net/service-dns";

/// SPIFFE certificates named after the pod's service account.
pub const SPIFFE: &str = "row-major.net/spiffe";

/// SPIFFE certificates named after the pod itself.
pub const POD_IDENTITY: &str = "row-major.net/pod-identity";

/// On a `podCertificate` projection: comma-separated Service names the certificate is narrowed to.
pub const SERVICES_ANNOTATION: &str = "service-dns.row-major.net/services";
