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
    nodes: ByName,
    pub(super) pool: BTreeSet<Uid>,
    pub(super) served: BTreeSet<Uid>,
}

#[derive(Debug, Default)]
struct InNamespace {
    pods: ByName,
    service_accounts: ByName,
    services: BTreeSet<Uid>,
}

/// Requests by the name of what they wait for.
type ByName = BTreeMap<String, BTreeSet<Uid>>;

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
            Cure::Node => add(&mut self.nodes, &request.node_name, uid),
            Cure::ServiceAccount => {
                let found = self.namespace_mut(request);
                add(
                    &mut found.service_accounts,
                    &request.service_account_name,
                    uid,
                );
            }
            Cure::Pod | Cure::PodOrServices => {
                let found = self.namespace_mut(request);
                add(&mut found.pods, &request.pod_name, uid);
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
            Cure::Node => remove(&mut self.nodes, &request.node_name, uid),
            Cure::Pod | Cure::PodOrServices | Cure::ServiceAccount => {
                let Some(found) = self.namespaces.get_mut(&request.namespace) else {
                    return;
                };
                if cure == Cure::ServiceAccount {
                    remove(
                        &mut found.service_accounts,
                        &request.service_account_name,
                        uid,
                    );
                } else {
                    remove(&mut found.pods, &request.pod_name, uid);
                    found.services.remove(uid);
                }
                if found.is_empty() {
                    self.namespaces.remove(&request.namespace);
                }
            }
        }
    }

    pub(super) fn by_node(&self, name: &str) -> Vec<Uid> {
        all(self.nodes.get(name))
    }

    pub(super) fn by_pod(&self, namespace: &str, name: &str) -> Vec<Uid> {
        let found = self.namespaces.get(namespace);
        all(found.and_then(|found| found.pods.get(name)))
    }

    pub(super) fn by_service_account(&self, namespace: &str, name: &str) -> Vec<Uid> {
        let found = self.namespaces.get(namespace);
        all(found.and_then(|found| found.service_accounts.get(name)))
    }

    pub(super) fn by_services(&self, namespace: &str) -> Vec<Uid> {
        all(self.namespaces.get(namespace).map(|found| &found.services))
    }

    pub(super) fn all_nodes(&self) -> Vec<Uid> {
        all(self.nodes.values())
    }

    pub(super) fn all_pods(&self) -> Vec<Uid> {
        all(self
            .namespaces
            .values()
            .flat_map(|found| found.pods.values()))
    }

    pub(super) fn all_service_accounts(&self) -> Vec<Uid> {
        let found = self.namespaces.values();
        all(found.flat_map(|found| found.service_accounts.values()))
    }

    pub(super) fn all_services(&self) -> Vec<Uid> {
        all(self.namespaces.values().map(|found| &found.services))
    }

    fn namespace_mut(&mut self, request: &Request) -> &mut InNamespace {
        self.namespaces
            .entry(request.namespace.clone())
            .or_default()
    }
}

impl InNamespace {
    fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.service_accounts.is_empty() && self.services.is_empty()
    }
}

fn add(names: &mut ByName, name: &str, uid: &Uid) {
    let found = names.entry(name.to_owned()).or_default();
    found.insert(Arc::clone(uid));
}

fn remove(names: &mut ByName, name: &str, uid: &Uid) {
    if let Some(found) = names.get_mut(name) {
        found.remove(uid);
        if found.is_empty() {
            names.remove(name);
        }
    }
}

fn all<'a>(found: impl IntoIterator<Item = &'a BTreeSet<Uid>>) -> Vec<Uid> {
    found.into_iter().flatten().cloned().collect()
}
