//! The signer names we answer to unless told otherwise, and the annotations of ours.
//!
//! Both signer names and the pool formats behind them are those of meshtool, whose place we take.

/// Serving certificates named after the Services that select the pod.
pub const SERVICE_DNS: &str = "row-major.net/service-dns";

/// SPIFFE certificates named after the pod's service account.
pub const SPIFFE: &str = "row-major.net/spiffe";

/// On a `podCertificate` projection: comma-separated Service names the certificate is narrowed to.
pub const SERVICES_ANNOTATION: &str = "service-dns.row-major.net/services";
