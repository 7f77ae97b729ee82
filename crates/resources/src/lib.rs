//! The Kubernetes objects podcert reads and writes, their names, labels and annotations.
//!
//! Two habits hold here. What we *watch* is decoded into lean types that keep only the fields a
//! decision needs ([`PodCertificateRequest`], [`Pod`], [`Service`]): a controller follows every
//! pod of a cluster, and sees each certificate it issued come back once more over the watch, so
//! what is not needed is skipped while it is read and never allocated. What we *write* is a body
//! of its own ([`StatusUpdate`], events), holding no more than the API server looks at.
//! ClusterTrustBundles are few and compared whole, so they keep the type of `k8s-openapi`.
//!
//! To follow another API version, give the lean type a second `kube::Resource` face here: the
//! rest of the house only sees these types.

mod meta;

pub mod bundle;
pub mod event;
mod pod;
mod request;
mod service;
pub mod signers;
mod status;

pub use k8s_openapi::api::certificates::v1::ClusterTrustBundle;

pub use crate::pod::{Pod, PodCertificateProjection};
pub use crate::request::{
    ConditionType, MalformedBase64, PodCertificateRequest, PodCertificateRequestSpec,
};
pub use crate::service::Service;
pub use crate::status::{Condition, IssuedStatus, RequestRef, StatusUpdate, status_path};
