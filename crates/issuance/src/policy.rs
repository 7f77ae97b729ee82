//! What a signer is configured to do.

use podcert_pki::IssuerUrl;

use crate::{LifetimePolicy, SignerName, pod_identity, service_dns, spiffe};

/// One signer: its name, what names it gives, for how long, and how strict it is.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The signer this policy answers for.
    pub signer: SignerName,
    /// What names a certificate gets.
    pub names: NamePolicy,
    /// Lifetime, backdating and refresh of certificates.
    pub lifetime: LifetimePolicy,
    /// What to do with annotations that mean nothing to this signer.
    pub unknown_annotations: UnknownAnnotations,
    /// Workloads served although their pods mount no projection of this signer. Empty by default.
    pub unprojected: Vec<Unprojected>,
    /// The issuer of the cluster's service account tokens, if every certificate shall say it.
    pub service_account_issuer: Option<IssuerUrl>,
}

impl Policy {
    /// A policy with the defaults for everything but the names.
    #[must_use]
    pub fn new(signer: SignerName, names: NamePolicy) -> Self {
        Self {
            signer,
            names,
            lifetime: LifetimePolicy::default(),
            unknown_annotations: UnknownAnnotations::default(),
            unprojected: Vec::new(),
            service_account_issuer: None,
        }
    }

    pub(crate) fn serves_unprojected(&self, namespace: &str, service_account: &str) -> bool {
        self.unprojected.iter().any(|exception| {
            exception.namespace == namespace && exception.service_account == service_account
        })
    }
}

/// What names a certificate gets.
#[derive(Debug, Clone)]
pub enum NamePolicy {
    /// The DNS names of the Services that select the pod.
    ServiceDns(service_dns::Policy),
    /// One SPIFFE ID of the pod's service account.
    Spiffe(spiffe::Policy),
    /// One SPIFFE ID of the pod itself.
    PodIdentity(pod_identity::Policy),
}

impl NamePolicy {
    /// The annotations that mean something to this signer.
    #[must_use]
    pub fn known_annotations(&self) -> &'static [&'static str] {
        match self {
            Self::ServiceDns(_) => &[service_dns::SERVICES_ANNOTATION],
            Self::Spiffe(_) | Self::PodIdentity(_) => &[],
        }
    }
}

/// What to do with annotations of a request that mean nothing to the signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownAnnotations {
    /// Leave them and say so in an Event: what meshtool does, but for the Event.
    #[default]
    Ignore,
    /// Deny the request, as the Kubernetes API advises signers to.
    Deny,
}

/// Pods served without a projection of the signer: those of one service account. For requests made
/// on a pod's behalf by a principal with the verb `request-serviceaccounts-podcertificate-signer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unprojected {
    /// The namespace of the pods.
    pub namespace: String,
    /// Their service account.
    pub service_account: String,
}
