//! The Kubernetes objects podcert reads and writes, their names, labels and annotations.
//!
//! Two habits hold here. What we *watch* is decoded into lean types that keep only the fields a
//! decision needs ([`PodCertificateRequest`], [`Pod`], [`Service`], [`Identity`]): a controller follows every
//! pod of a cluster, and sees each certificate it issued come back once more over the watch, so
//! what is not needed is skipped while it is read and never allocated. What we *write* is a body
//! of its own ([`StatusUpdate`], events), holding no more than the API server looks at.
//!
//! Requests and bundles are one type each whatever [`ApiVersion`] they are spoken in: the version
//! is the `DynamicType` of their `kube::Resource`, and a parameter of what is written.

mod meta;

mod api_version;
pub mod bundle;
pub mod event;
mod identity;
pub mod lease;
mod pod;
mod request;
mod service;
pub mod signers;
mod status;
mod trust_bundle;

pub use crate::api_version::{ApiVersion, CERTIFICATES_GROUP};
pub use crate::identity::Identity;
pub use crate::pod::{Pod, PodCertificateProjection};
pub use crate::request::{
    ConditionType, MalformedBase64, PodCertificateRequest, PodCertificateRequestSpec,
};
pub use crate::service::Service;
pub use crate::status::{Condition, IssuedStatus, RequestRef, StatusUpdate, status_path};
pub use crate::trust_bundle::{ClusterTrustBundle, ClusterTrustBundleSpec};
