//! The live objects a decision looks at, and an index of them.
//!
//! [`Facts`] is a view: `decide` asks it for one pod and for the Services that select a set of
//! labels. [`FactIndex`] is the view podcert's controller keeps up to date from its watches; tests
//! use the same. `decide` checks again every Service it is given, so an index that answers too much
//! costs time but never a wrong name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use podcert_pki::sha256;

use crate::SignerName;

mod index;

pub use index::FactIndex;

/// Labels of a pod, or the equality selector of a Service.
pub type Labels = BTreeMap<String, String>;

/// What is known of the cluster at the moment of a decision.
pub trait Facts {
    /// The pod, or `None` if no such pod is known.
    fn pod(&self, namespace: &str, name: &str) -> Option<&PodFacts>;

    /// At least every Service of the namespace whose non-empty selector matches the labels, in any
    /// order. An implementation without an index may return all Services of the namespace.
    fn services_selecting(&self, namespace: &str, labels: &Labels) -> Vec<&ServiceFacts>;

    /// The Service of that name, so that a wait can say what is the matter with it.
    fn service(&self, namespace: &str, name: &str) -> Option<&ServiceFacts>;

    /// The UID of a node. [`ObservedUid::Unknown`] where nodes are not watched, as under meshtool's
    /// RBAC.
    fn node_uid(&self, _name: &str) -> ObservedUid<'_> {
        ObservedUid::Unknown
    }

    /// The UID of a service account. [`ObservedUid::Unknown`] where they are not watched.
    fn service_account_uid(&self, _namespace: &str, _name: &str) -> ObservedUid<'_> {
        ObservedUid::Unknown
    }
}

/// What is known of an object that need not be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObservedUid<'a> {
    /// Objects of this kind are not watched: nothing can be said.
    Unknown,
    /// They are watched, and there is none of that name.
    Absent,
    /// The object's UID.
    Uid(&'a str),
}

/// What decisions need of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFacts {
    /// `metadata.uid`.
    pub uid: String,
    /// `spec.nodeName`, once the pod is bound.
    pub node_name: Option<String>,
    /// `spec.serviceAccountName`.
    pub service_account_name: String,
    /// `metadata.labels`.
    pub labels: Labels,
    /// The `podCertificate` sources of its projected volumes. Those of signers podcert does not
    /// answer for may be left out.
    pub projections: Vec<Projection>,
}

/// A `podCertificate` source of a projected volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// `signerName`.
    pub signer: SignerName,
    /// `userAnnotations`, as far as they are needed.
    pub annotations: AnnotationsDigest,
}

/// Annotations of which only is asked whether others are the same: a pod may have a megabyte of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AnnotationsDigest([u8; 32]);

impl AnnotationsDigest {
    /// Of these.
    #[must_use]
    pub fn of(annotations: &BTreeMap<String, String>) -> Self {
        let texts = annotations.iter().flat_map(|(key, value)| [key, value]);
        // Each behind its length, so that no two texts can be taken for two others.
        let lengths: Vec<[u8; 8]> = texts
            .clone()
            .map(|text| (text.len() as u64).to_be_bytes())
            .collect();
        let parts = lengths
            .iter()
            .zip(texts)
            .flat_map(|(length, text)| [length.as_slice(), text.as_bytes()]);
        Self(sha256(parts))
    }
}

/// What decisions need of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFacts {
    /// `metadata.name`.
    pub name: String,
    /// `spec.type`.
    pub kind: ServiceKind,
    /// `spec.selector`; empty if there is none.
    pub selector: Labels,
}

impl ServiceFacts {
    /// Whether the Service leads to pods with these labels: it has a selector, the selector matches,
    /// and the cluster's DNS answers its name with the pods or an address in front of them.
    #[must_use]
    pub fn selects(&self, labels: &Labels) -> bool {
        self.kind != ServiceKind::ExternalName
            && !self.selector.is_empty()
            && self
                .selector
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// The type of a Service. Headless Services are `ClusterIp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    /// `ClusterIP`, the default, with or without an address.
    ClusterIp,
    /// `NodePort`.
    NodePort,
    /// `LoadBalancer`.
    LoadBalancer,
    /// `ExternalName`: an alias of a name elsewhere, which says nothing about pods here.
    ExternalName,
}
