//! Pods and Services in memory, as the watches show them.
//!
//! The index itself is issuance's ([`FactIndex`]), so that what a decision reads and what its
//! tests read are the same code. Here it is kept from watch events, one index per kind: a watch
//! that starts over lists its kind again, and the new list is built beside the old one and takes
//! its place whole. So a decision never sees half a list, and what vanished while the watch was
//! broken is gone without being looked for.

use std::collections::BTreeMap;

use kube::runtime::watcher::Event;
use podcert_issuance::{
    FactIndex, Facts, Labels, PodFacts, Projection, ServiceFacts, ServiceKind, SignerName,
};
use podcert_resources::{Pod, Service};

/// What the watches say about pods and Services.
#[derive(Debug)]
pub(crate) struct World {
    signers: Vec<SignerName>,
    keep: Keep,
    pods: Watched,
    services: Watched,
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
}

#[derive(Debug, Default)]
struct Watched {
    current: FactIndex,
    next: Option<FactIndex>,
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
}

impl World {
    /// Knows of nothing yet. Projections of other signers than `signers` are not kept.
    pub(crate) fn new(signers: Vec<SignerName>, keep: Keep) -> Self {
        Self {
            signers,
            keep,
            pods: Watched::default(),
            services: Watched::default(),
        }
    }

    /// Whether pods and Services were both listed whole once: before, nothing may be decided.
    pub(crate) fn is_listed(&self) -> bool {
        self.pods.listed && self.services.listed
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
                    annotations: projection.user_annotations.clone(),
                })
            })
            .collect();
        let labels_count = self.keep == Keep::All || !projections.is_empty();
        let node_name = pod.node_name().map(str::to_owned);
        let service_account_name = pod.service_account_name().to_owned();
        let mut metadata = pod.metadata;
        let uid = metadata.uid.take()?;
        let labels = match metadata.labels.take() {
            Some(labels) if labels_count => labels,
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
}

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
            selector: service.into_selector(),
        },
    ))
}

fn names(metadata: kube::core::ObjectMeta) -> Option<(String, String)> {
    Some((metadata.namespace?, metadata.name?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(keep: Keep) -> World {
        World::new(vec!["row-major.net/spiffe".parse().unwrap()], keep)
    }

    fn pod(name: &str, signer: &str) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "shop", "name": name, "uid": name, "labels": {"app": name}},
            "spec": {"serviceAccountName": "default", "volumes": [
                {"projected": {"sources": [{"podCertificate": {"signerName": signer}}]}},
            ]},
        }))
        .unwrap()
    }

    fn service(name: &str, type_: &str) -> Service {
        serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "shop", "name": name},
            "spec": {"type": type_, "selector": {"app": "web"}},
        }))
        .unwrap()
    }

    #[test]
    fn of_other_peoples_pods_little_is_kept() {
        let mut world = world(Keep::Projected);
        world.observe_pod(Event::Apply(pod("ours", "row-major.net/spiffe")));
        world.observe_pod(Event::Apply(pod("theirs", "example.com/x")));
        let ours = world.pod("shop", "ours").unwrap();
        assert_eq!((ours.projections.len(), ours.labels.len()), (1, 1));
        let theirs = world.pod("shop", "theirs").unwrap();
        assert_eq!((theirs.projections.len(), theirs.labels.len()), (0, 0));
        let mut all = self::world(Keep::All);
        all.observe_pod(Event::Apply(pod("theirs", "example.com/x")));
        assert_eq!(all.pod("shop", "theirs").unwrap().labels.len(), 1);
    }

    #[test]
    fn a_new_list_takes_the_old_ones_place_whole() {
        let mut world = world(Keep::Projected);
        assert!(!world.is_listed());
        world.observe_pod(Event::Init);
        world.observe_pod(Event::InitApply(pod("a", "row-major.net/spiffe")));
        assert!(world.pod("shop", "a").is_none());
        assert_eq!(world.observe_pod(Event::InitDone), Change::Pods);
        assert!(world.pod("shop", "a").is_some());
        assert!(!world.is_listed());
        world.observe_service(Event::Init);
        assert_eq!(world.observe_service(Event::InitDone), Change::Services);
        assert!(world.is_listed());

        // The watch broke; `a` was deleted meanwhile and `b` made.
        world.observe_pod(Event::Init);
        world.observe_pod(Event::InitApply(pod("b", "row-major.net/spiffe")));
        assert!(
            world.pod("shop", "a").is_some(),
            "decisions go on from the old list"
        );
        world.observe_pod(Event::InitDone);
        assert!(world.pod("shop", "a").is_none());
        assert!(world.pod("shop", "b").is_some());
    }

    #[test]
    fn what_no_decision_looks_at_is_no_change() {
        let mut world = world(Keep::Projected);
        let web = || pod("web", "row-major.net/spiffe");
        let changed = Change::Pod {
            namespace: "shop".into(),
            name: "web".into(),
        };
        assert_eq!(world.observe_pod(Event::Apply(web())), changed);
        assert_eq!(world.observe_pod(Event::Apply(web())), Change::Nothing);
        assert_eq!(world.observe_pod(Event::Delete(web())), changed);

        let change = world.observe_service(Event::Apply(service("web", "ClusterIP")));
        assert!(matches!(
            change,
            Change::Service {
                before: None,
                after: Some(_),
                ..
            }
        ));
        let change = world.observe_service(Event::Apply(service("web", "ClusterIP")));
        assert_eq!(change, Change::Nothing);
        let change = world.observe_service(Event::Apply(service("web", "ExternalName")));
        assert!(matches!(
            change,
            Change::Service {
                before: Some(_),
                after: Some(_),
                ..
            }
        ));
        let change = world.observe_service(Event::Delete(service("web", "ExternalName")));
        assert!(matches!(
            change,
            Change::Service {
                before: Some(_),
                after: None,
                ..
            }
        ));
    }

    #[test]
    fn a_type_nobody_knows_gives_no_names() {
        for (type_, kind) in [
            ("", ServiceKind::ClusterIp),
            ("NodePort", ServiceKind::NodePort),
            ("LoadBalancer", ServiceKind::LoadBalancer),
            ("ExternalName", ServiceKind::ExternalName),
            ("Teleport", ServiceKind::ExternalName),
        ] {
            assert_eq!(
                service_facts(service("web", type_)).unwrap().1.kind,
                kind,
                "{type_}"
            );
        }
    }
}
