//! Which rights a configuration uses, what stops without each, and how that is said. Pure.
//!
//! `deploy/controller/rbac.yaml` grants exactly these; a test here compares them. What happens on a real
//! server without each is shown by the step `rights` of `e2e/suite` and told by `docs/rights.md`.

use std::fmt;

use k8s_openapi::api::authorization::v1::ResourceAttributes;
use podcert_issuance::SignerName;
use podcert_resources::CERTIFICATES_GROUP;

use super::Config;

/// Rights to one resource without which the same thing stops.
#[derive(Clone, Debug)]
pub(crate) struct Right {
    pub(super) group: &'static str,
    /// With its subresource: `podcertificaterequests/status`.
    pub(super) resource: &'static str,
    pub(super) verbs: &'static [&'static str],
    pub(super) scope: Scope,
    pub(super) need: Need,
    /// What stops, and what goes on.
    without: &'static str,
}

/// Where it must be granted.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    Cluster,
    Namespace(String),
    /// In the cluster, for this name.
    Signer(SignerName),
}

/// How much is lost without it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Need {
    Required,
    Optional,
}

/// All rights that a controller of this configuration needs or can use, those first that it needs.
pub(crate) fn all(config: &Config) -> Vec<Right> {
    let cluster = |group, resource, verbs, need, without| Right {
        group,
        resource,
        verbs,
        scope: Scope::Cluster,
        need,
        without,
    };
    let required =
        |group, resource, verbs, without| cluster(group, resource, verbs, Need::Required, without);
    let optional =
        |group, resource, verbs, without| cluster(group, resource, verbs, Need::Optional, without);
    let (requests, bundles) = ("podcertificaterequests", "clustertrustbundles");
    let mut rights = vec![
        required(
            "",
            "pods",
            LOOK,
            "no certificate is issued for a pod that is not seen",
        ),
        required(
            "",
            "services",
            LOOK,
            "no certificate is issued before Services are seen, and none for Services that are not",
        ),
        required(
            CERTIFICATES_GROUP,
            requests,
            LOOK,
            "no request is answered that is not seen",
        ),
        required(
            CERTIFICATES_GROUP,
            "podcertificaterequests/status",
            &["update"],
            "no request is answered",
        ),
        required(
            CERTIFICATES_GROUP,
            bundles,
            LOOK,
            "no trust anchor is published, as it is not seen what is there",
        ),
        required(
            CERTIFICATES_GROUP,
            bundles,
            &["create"],
            "no trust anchor is published where there is no ClusterTrustBundle yet",
        ),
        required(
            CERTIFICATES_GROUP,
            bundles,
            &["update"],
            "a new CA's trust anchor is not published, and it signs all the same after 30 seconds",
        ),
    ];
    for signer in &config.signers {
        let right = |verbs, without| Right {
            group: CERTIFICATES_GROUP,
            resource: "signers",
            verbs,
            scope: Scope::Signer(signer.policy.signer.clone()),
            need: Need::Required,
            without,
        };
        rights.push(right(&["sign"], "no request to this signer is answered"));
        rights.push(right(&["attest"], "its trust anchors are not published"));
    }
    rights.extend([
        optional(
            CERTIFICATES_GROUP,
            requests,
            &["get"],
            "requests of kubelets of 1.35 wait where v1 is served",
        ),
        optional(
            "events.k8s.io",
            "events",
            &["create"],
            "no Event says on a pod why it has no certificate; log and metrics do",
        ),
        optional(
            "",
            "nodes",
            LOOK,
            "their UIDs in requests are not compared with live objects, and certificates that would \
             name them wait",
        ),
        optional(
            "",
            "serviceaccounts",
            LOOK,
            "their UIDs in requests are not compared with live objects, and certificates that would \
             name them wait",
        ),
    ]);
    if let Some(replica) = config.replica() {
        let leases = |verbs, without| Right {
            group: "coordination.k8s.io",
            resource: "leases",
            verbs,
            scope: Scope::Namespace(replica.namespace.clone()),
            need: Need::Optional,
            without,
        };
        rights.extend([
            leases(
                &["get", "list", "watch", "create", "update"],
                "this replica works alone: run no second one",
            ),
            leases(
                &["delete"],
                "other replicas take over only when this one's Lease has run out, 15 seconds after \
                 its end",
            ),
        ]);
    }
    rights
}

impl Right {
    /// What is asked of the API server about one verb: one yes is enough.
    pub(super) fn questions(&self, verb: &str) -> Vec<ResourceAttributes> {
        let (resource, subresource) = match self.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (self.resource, None),
        };
        let question = ResourceAttributes {
            group: Some(self.group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource,
            verb: Some(verb.to_owned()),
            ..ResourceAttributes::default()
        };
        match &self.scope {
            Scope::Cluster => vec![question],
            Scope::Namespace(namespace) => vec![ResourceAttributes {
                namespace: Some(namespace.clone()),
                ..question
            }],
            // The API server, which asks for both too, knows what the second one means; RBAC compares
            // names as they are.
            Scope::Signer(signer) => [signer.to_string(), all_of_domain(signer)]
                .into_iter()
                .map(|name| ResourceAttributes {
                    name: Some(name),
                    ..question.clone()
                })
                .collect(),
        }
    }

    /// The one object that it is about, if it is about one.
    pub(super) fn name(&self) -> Option<&str> {
        match &self.scope {
            Scope::Signer(signer) => Some(signer.as_str()),
            Scope::Cluster | Scope::Namespace(_) => None,
        }
    }
}

/// A right of which these verbs are missing.
#[derive(Clone, Debug)]
pub(super) struct Missing {
    pub(super) right: Right,
    pub(super) verbs: Vec<&'static str>,
}

impl Missing {
    /// As if all of it were.
    pub(super) fn all_of(right: Right) -> Self {
        Self {
            verbs: right.verbs.to_vec(),
            right,
        }
    }

    /// What may not be done: `list and watch pods`.
    fn what(&self) -> String {
        let Right {
            resource, scope, ..
        } = &self.right;
        let verbs = match self.verbs.as_slice() {
            [] => String::new(),
            [one] => (*one).to_owned(),
            [first @ .., last] => format!("{} and {last}", first.join(", ")),
        };
        match scope {
            Scope::Cluster => format!("{verbs} {resource}"),
            Scope::Namespace(namespace) => format!("{verbs} {resource} in namespace {namespace}"),
            Scope::Signer(signer) => format!("{verbs} for {signer}"),
        }
    }

    /// The rule that grants it, as it stands in a role.
    pub(super) fn rule(&self) -> String {
        let Right {
            group,
            resource,
            scope,
            ..
        } = &self.right;
        let names = match scope {
            Scope::Signer(signer) => format!(", resourceNames: [\"{}\"]", all_of_domain(signer)),
            Scope::Cluster | Scope::Namespace(_) => String::new(),
        };
        let verbs = self.verbs.join("\", \"");
        format!(
            "{{apiGroups: [\"{group}\"], resources: [\"{resource}\"]{names}, verbs: [\"{verbs}\"]}}"
        )
    }
}

/// In a sentence, with what to do.
impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match &self.right.scope {
            Scope::Cluster | Scope::Signer(_) => "ClusterRole".to_owned(),
            Scope::Namespace(namespace) => format!("Role in namespace {namespace}"),
        };
        write!(
            f,
            "the right to {} is missing: {}. To grant it, add to this controller's {role} the rule {}",
            self.what(),
            self.right.without,
            self.rule()
        )
    }
}

/// All that is missing and needed, for an Event; nothing if nothing is.
pub(super) fn note(missing: &[Missing]) -> Option<String> {
    let needed: Vec<String> = missing
        .iter()
        .filter(|missing| missing.right.need == Need::Required)
        .map(Missing::what)
        .collect();
    if needed.is_empty() {
        return None;
    }
    Some(format!(
        "this controller is not allowed to {}. Grant it (docs/rights.md); its log says for each what \
         stops without",
        needed.join("; ")
    ))
}

/// By which a role names all signers of a domain.
fn all_of_domain(signer: &SignerName) -> String {
    format!("{}/*", signer.domain())
}

const LOOK: &[&str] = &["list", "watch"];

#[cfg(test)]
mod tests;
