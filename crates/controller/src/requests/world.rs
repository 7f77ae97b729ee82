//! Pods and Services in memory, and the UIDs of nodes and service accounts, as the watches show
//! them.
//!
//! The index itself is issuance's ([`FactIndex`]), so that what a decision reads and what its
//! tests read are the same code. Here it is kept from watch events, one index per kind: a watch
//! that starts over lists its kind again, and the new list is built beside the old one and takes
//! its place whole. So a decision never sees half a list, and what vanished while the watch was
//! broken is gone without being looked for.
//!
//! Nodes and service accounts may not be shown at all. Then nothing is known of them, which is
//! something else than that there are none.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::runtime::watcher::Event;
use podcert_issuance::{
    AnnotationsDigest, FactIndex, Facts, Labels, ObservedUid, PodFacts, Projection, ServiceFacts,
    ServiceKind, SignerName,
};
use podcert_resources::{Identity, Pod, Service};

use crate::optional::Seen;

/// What the watches say.
#[derive(Debug)]
pub(crate) struct World {
    signers: Vec<SignerName>,
    keep: Keep,
    pods: Watched,
    services: Watched,
    nodes: Watched,
    service_accounts: Watched,
}

/// Of which pods labels are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Keep {
    /// Of those that mount a projection of ours: nobody else can be served.
    Projected,
    /// Of all, because configuration names workloads that are served without a projection.
    All,
}

/// What a watch event changed, as far as a waiting request may care.
#[derive(Debug, PartialEq)]
pub(crate) enum Change {
    /// Nothing a decision looks at.
    Nothing,
    /// One pod.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Every pod may have changed.
    Pods,
    /// One Service.
    Service {
        /// Its namespace.
        namespace: String,
        /// What it was, if it was.
        before: Option<ServiceFacts>,
        /// What it is, if it is.
        after: Option<ServiceFacts>,
    },
    /// Every Service may have changed.
    Services,
    /// One node is another one, or there or gone.
    Node {
        /// Its name.
        name: String,
    },
    /// Every node may have changed, and whether they are known.
    Nodes,
    /// One service account is another one, or there or gone.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Every service account may have changed, and whether they are known.
    ServiceAccounts,
}

#[derive(Debug, Default)]
struct Watched {
    current: FactIndex,
    next: Option<FactIndex>,
    // Once, or refused.
    listed: bool,
}

impl Watched {
    fn begin(&mut self) {
        self.next = Some(FactIndex::new());
    }

    fn finish(&mut self) {
        if let Some(next) = self.next.take() {
            self.current = next;
            self.listed = true;
        }
    }

    /// Nothing is known any more.
    fn refuse(&mut self) {
        self.begin();
        self.finish();
    }
}

impl World {
    /// Knows of nothing yet. Projections of other signers than `signers` are not kept.
    pub(crate) fn new(signers: Vec<SignerName>, keep: Keep) -> Self {
        Self {
            signers,
            keep,
            pods: Watched::default(),
            services: Watched::default(),
            nodes: Watched::default(),
            service_accounts: Watched::default(),
        }
    }

    /// Whether everything was listed whole once, as far as it is shown: before, nothing may be
    /// decided.
    pub(crate) fn is_listed(&self) -> bool {
        self.pods.listed
            && self.services.listed
            && self.nodes.listed
            && self.service_accounts.listed
    }

    /// Believes nothing of what it knows until each watch has listed everything anew.
    pub(crate) fn distrust(&mut self) {
        for listed in [
            &mut self.pods.listed,
            &mut self.services.listed,
            &mut self.nodes.listed,
            &mut self.service_accounts.listed,
        ] {
            *listed = false;
        }
    }

    /// Takes in what the watch of pods says.
    pub(crate) fn observe_pod(&mut self, event: Event<Pod>) -> Change {
        match event {
            Event::Init => {
                self.pods.begin();
                Change::Nothing
            }
            Event::InitApply(pod) => {
                if let Some((namespace, name, facts)) = self.pod_facts(pod)
                    && let Some(next) = &mut self.pods.next
                {
                    next.apply_pod(&namespace, &name, facts);
                }
                Change::Nothing
            }
            Event::InitDone => {
                self.pods.finish();
                Change::Pods
            }
            Event::Apply(pod) => {
                let Some((namespace, name, facts)) = self.pod_facts(pod) else {
                    return Change::Nothing;
                };
                if self.pods.current.apply_pod(&namespace, &name, facts) {
                    Change::Pod { namespace, name }
                } else {
                    Change::Nothing
                }
            }
            Event::Delete(pod) => {
                let Some((namespace, name)) = names(pod.metadata) else {
                    return Change::Nothing;
                };
                self.pods.current.delete_pod(&namespace, &name);
                Change::Pod { namespace, name }
            }
        }
    }

    /// Takes in what the watch of Services says.
    pub(crate) fn observe_service(&mut self, event: Event<Service>) -> Change {
        match event {
            Event::Init => {
                self.services.begin();
                Change::Nothing
            }
            Event::InitApply(service) => {
                if let Some((namespace, facts)) = service_facts(service)
                    && let Some(next) = &mut self.services.next
                {
                    next.apply_service(&namespace, facts);
                }
                Change::Nothing
            }
            Event::InitDone => {
                self.services.finish();
                Change::Services
            }
            Event::Apply(service) => {
                let Some((namespace, facts)) = service_facts(service) else {
                    return Change::Nothing;
                };
                let before = self
                    .services
                    .current
                    .service(&namespace, &facts.name)
                    .cloned();
                let after = facts.clone();
                if self.services.current.apply_service(&namespace, facts) {
                    Change::Service {
                        namespace,
                        before,
                        after: Some(after),
                    }
                } else {
                    Change::Nothing
                }
            }
            Event::Delete(service) => {
                let Some((namespace, name)) = names(service.metadata) else {
                    return Change::Nothing;
                };
                let before = self.services.current.service(&namespace, &name).cloned();
                self.services.current.delete_service(&namespace, &name);
                Change::Service {
                    namespace,
                    before,
                    after: None,
                }
            }
        }
    }

    /// Takes in what the watch of nodes says.
    pub(crate) fn observe_node(&mut self, seen: Seen<Identity<Node>>) -> Change {
        let event = match seen {
            Seen::Event(event) => event,
            Seen::Refused(_) => {
                self.nodes.refuse();
                return Change::Nodes;
            }
        };
        match event {
            Event::Init => {
                self.nodes.begin();
                if let Some(next) = &mut self.nodes.next {
                    next.watch_nodes();
                }
                Change::Nothing
            }
            Event::InitApply(node) => {
                if let Some((name, uid)) = name_and_uid(node.metadata)
                    && let Some(next) = &mut self.nodes.next
                {
                    next.apply_node(&name, &uid);
                }
                Change::Nothing
            }
            Event::InitDone => {
                self.nodes.finish();
                Change::Nodes
            }
            Event::Apply(node) => match name_and_uid(node.metadata) {
                Some((name, uid)) if self.nodes.current.apply_node(&name, &uid) => {
                    Change::Node { name }
                }
                // Its kubelet said that it is well.
                _ => Change::Nothing,
            },
            Event::Delete(node) => {
                let Some(name) = node.metadata.name else {
                    return Change::Nothing;
                };
                self.nodes.current.delete_node(&name);
                Change::Node { name }
            }
        }
    }

    /// Takes in what the watch of service accounts says.
    pub(crate) fn observe_service_account(
        &mut self,
        seen: Seen<Identity<ServiceAccount>>,
    ) -> Change {
        let event = match seen {
            Seen::Event(event) => event,
            Seen::Refused(_) => {
                self.service_accounts.refuse();
                return Change::ServiceAccounts;
            }
        };
        match event {
            Event::Init => {
                self.service_accounts.begin();
                if let Some(next) = &mut self.service_accounts.next {
                    next.watch_service_accounts();
                }
                Change::Nothing
            }
            Event::InitApply(account) => {
                if let Some((namespace, name, uid)) = names_and_uid(account.metadata)
                    && let Some(next) = &mut self.service_accounts.next
                {
                    next.apply_service_account(&namespace, &name, &uid);
                }
                Change::Nothing
            }
            Event::InitDone => {
                self.service_accounts.finish();
                Change::ServiceAccounts
            }
            Event::Apply(account) => {
                let Some((namespace, name, uid)) = names_and_uid(account.metadata) else {
                    return Change::Nothing;
                };
                let known = &mut self.service_accounts.current;
                if known.apply_service_account(&namespace, &name, &uid) {
                    Change::ServiceAccount { namespace, name }
                } else {
                    Change::Nothing
                }
            }
            Event::Delete(account) => {
                let Some((namespace, name)) = names(account.metadata) else {
                    return Change::Nothing;
                };
                let known = &mut self.service_accounts.current;
                known.delete_service_account(&namespace, &name);
                Change::ServiceAccount { namespace, name }
            }
        }
    }

    /// What is kept of a pod.
    fn pod_facts(&self, pod: Pod) -> Option<(String, String, PodFacts)> {
        let projections: Vec<Projection> = pod
            .pod_certificates()
            .filter_map(|projection| {
                let signer = self
                    .signers
                    .iter()
                    .find(|signer| signer.as_str() == projection.signer_name)?;
                Some(Projection {
                    signer: signer.clone(),
                    annotations: AnnotationsDigest::of(&projection.user_annotations),
                })
            })
            .collect();
        let labels_count = self.keep == Keep::All || !projections.is_empty();
        let node_name = pod.node_name().map(str::to_owned);
        let service_account_name = pod.service_account_name().to_owned();
        let mut metadata = pod.metadata;
        let uid = metadata.uid.take()?;
        let labels = match metadata.labels.take() {
            Some(labels) if labels_count => moderate(labels),
            _ => BTreeMap::new(),
        };
        let (namespace, name) = names(metadata)?;
        let facts = PodFacts {
            uid,
            node_name,
            service_account_name,
            labels,
            projections,
        };
        Some((namespace, name, facts))
    }
}

impl Facts for World {
    fn pod(&self, namespace: &str, name: &str) -> Option<&PodFacts> {
        self.pods.current.pod(namespace, name)
    }

    fn services_selecting(&self, namespace: &str, labels: &Labels) -> Vec<&ServiceFacts> {
        self.services.current.services_selecting(namespace, labels)
    }

    fn service(&self, namespace: &str, name: &str) -> Option<&ServiceFacts> {
        self.services.current.service(namespace, name)
    }

    fn node_uid(&self, name: &str) -> ObservedUid<'_> {
        self.nodes.current.node_uid(name)
    }

    fn service_account_uid(&self, namespace: &str, name: &str) -> ObservedUid<'_> {
        let known = &self.service_accounts.current;
        known.service_account_uid(namespace, name)
    }
}

/// `labels`, or none if nobody means them: an object may have a megabyte of them, and all are kept in memory. A pod
/// without labels is selected by no Service, and a Service without a selector selects none.
fn moderate(labels: Labels) -> Labels {
    let bytes: usize = labels
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if bytes > MOST_LABELS {
        return Labels::new();
    }
    labels
}

/// Bytes: some hundred labels of the longest.
const MOST_LABELS: usize = 64 * 1024;

fn service_facts(mut service: Service) -> Option<(String, ServiceFacts)> {
    let kind = match service.type_() {
        "ClusterIP" | "" => ServiceKind::ClusterIp,
        "NodePort" => ServiceKind::NodePort,
        "LoadBalancer" => ServiceKind::LoadBalancer,
        // ExternalName, and any type yet to be invented: no names of pods are made from it.
        _ => ServiceKind::ExternalName,
    };
    let (namespace, name) = names(std::mem::take(&mut service.metadata))?;
    Some((
        namespace,
        ServiceFacts {
            name,
            kind,
            selector: moderate(service.into_selector()),
        },
    ))
}

fn names(metadata: kube::core::ObjectMeta) -> Option<(String, String)> {
    Some((metadata.namespace?, metadata.name?))
}

fn name_and_uid(metadata: kube::core::ObjectMeta) -> Option<(String, String)> {
    Some((metadata.name?, metadata.uid?))
}

fn names_and_uid(metadata: kube::core::ObjectMeta) -> Option<(String, String, String)> {
    Some((metadata.namespace?, metadata.name?, metadata.uid?))
}

#[cfg(test)]
mod tests;
