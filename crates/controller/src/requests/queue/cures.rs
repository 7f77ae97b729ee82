//! Waiting requests, filed under what can cure their wait, so that a change wakes those it can
//! help and no others. Pure bookkeeping: whoever moves a request files and unfiles it here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use podcert_issuance::Request;

use super::{Uid, entry::Cure};

/// Requests filed under what can cure their wait. Sorted, so that a replay wakes in one order.
#[derive(Debug, Default)]
pub(super) struct Cures {
    namespaces: BTreeMap<String, InNamespace>,
    pub(super) pool: BTreeSet<Uid>,
    pub(super) served: BTreeSet<Uid>,
}

#[derive(Debug, Default)]
struct InNamespace {
    pods: BTreeMap<String, BTreeSet<Uid>>,
    services: BTreeSet<Uid>,
}

impl Cures {
    pub(super) fn file(&mut self, uid: &Uid, cure: Cure, request: &Request) {
        match cure {
            Cure::Other | Cure::Version => {}
            Cure::Pool => {
                self.pool.insert(Arc::clone(uid));
            }
            Cure::Served => {
                self.served.insert(Arc::clone(uid));
            }
            Cure::Pod | Cure::PodOrServices => {
                let found = self
                    .namespaces
                    .entry(request.namespace.clone())
                    .or_default();
                let pod = found.pods.entry(request.pod_name.clone()).or_default();
                pod.insert(Arc::clone(uid));
                if cure == Cure::PodOrServices {
                    found.services.insert(Arc::clone(uid));
                }
            }
        }
    }

    pub(super) fn unfile(&mut self, uid: &Uid, cure: Cure, request: &Request) {
        match cure {
            Cure::Other | Cure::Version => {}
            Cure::Pool => {
                self.pool.remove(uid);
            }
            Cure::Served => {
                self.served.remove(uid);
            }
            Cure::Pod | Cure::PodOrServices => {
                let Some(found) = self.namespaces.get_mut(&request.namespace) else {
                    return;
                };
                if let Some(pod) = found.pods.get_mut(&request.pod_name) {
                    pod.remove(uid);
                    if pod.is_empty() {
                        found.pods.remove(&request.pod_name);
                    }
                }
                found.services.remove(uid);
                if found.pods.is_empty() && found.services.is_empty() {
                    self.namespaces.remove(&request.namespace);
                }
            }
        }
    }

    pub(super) fn by_pod(&self, namespace: &str, name: &str) -> Vec<Uid> {
        let found = self
            .namespaces
            .get(namespace)
            .and_then(|found| found.pods.get(name));
        found.into_iter().flatten().cloned().collect()
    }

    pub(super) fn by_services(&self, namespace: &str) -> Vec<Uid> {
        self.namespaces
            .get(namespace)
            .map(|found| &found.services)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    pub(super) fn all_pods(&self) -> Vec<Uid> {
        self.namespaces
            .values()
            .flat_map(|found| found.pods.values())
            .flatten()
            .cloned()
            .collect()
    }

    pub(super) fn all_services(&self) -> Vec<Uid> {
        self.namespaces
            .values()
            .flat_map(|found| &found.services)
            .cloned()
            .collect()
    }
}
