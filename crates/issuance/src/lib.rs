//! What a workload gets: the decisions of podcert's signers, as pure functions.
//!
//! [`decide()`] takes a request the API server verified, the live objects that name the workload
//! ([`Facts`]), the signer's [`Policy`], the time and how long the signing CA lasts. It answers
//! with a [`Plan`] for a certificate, with a denial, or with a reason to wait. It does no I/O, takes
//! no lock, reads no clock and draws no random number, so every decision replays in a test.
//!
//! ```text
//!              ┌ request alone ┐   ┌── live objects ──┐   ┌─ signer ──┐   ┌─ clock, CA ┐
//!   Request ──▶ key, annotations ─▶ pod, node, account ─▶ service_dns ─▶ LifetimePolicy ─▶ Plan
//!                     │                    │            spiffe, pod_identity  │
//!                     ▼                    ▼                   ▼               ▼
//!                   Denied                Wait               Wait            Wait
//! ```
//!
//! kubelet takes a denial as final: the pod never gets a certificate, and a pod that had one stops
//! being refreshed. So only the first step denies, as only it looks at nothing but the request, which
//! never changes. Every other obstacle can pass (a cache lags, a Service is applied after its pods, a
//! CA is renewed), so it waits and names the event that can cure it ([`Wake`]).
//!
//! [`status_rules`] holds what kube-apiserver enforces on the answer, to be checked before it is sent.

mod annotations;
mod decide;
mod decision;
mod facts;
mod id_template;
mod identity;
mod lifetime;
mod policy;
mod request;
mod signer_name;
#[cfg(test)]
mod testing;

pub mod pod_identity;
pub mod service_dns;
pub mod spiffe;
pub mod status_rules;

pub use decide::decide;
pub use decision::{
    Decision, Denial, DenialReason, Note, NoteReason, Plan, Wait, WaitReason, Wake,
};
pub use facts::{
    AnnotationsDigest, FactIndex, Facts, Labels, ObservedUid, PodFacts, Projection, ServiceFacts,
    ServiceKind,
};
pub use lifetime::{LifetimePolicy, LifetimePolicyError, Schedule};
pub use policy::{NamePolicy, Policy, UnknownAnnotations, Unprojected};
pub use request::{Request, RequestedKey};
pub use signer_name::{SignerName, SignerNameError};
