//! Facts in memory, kept up to date object by object.
//!
//! Services are indexed by one label of their selector, so that a decision looks at those whose
//! label the pod has, not at all 10 000 of a namespace.

use super::{BTreeMap, BTreeSet, Facts, HashMap, Labels, ObservedUid, PodFacts, ServiceFacts};

/// Pods, Services and, where they are watched, the UIDs of nodes and service accounts.
///
/// A caller applies each watch event as it comes; the last write of an object wins.
#[derive(Debug, Clone, Default)]
pub struct FactIndex {
    namespaces: HashMap<String, Namespace>,
    nodes: Option<Uids>,
    service_accounts_watched: bool,
}

impl FactIndex {
    /// An index of nothing, which knows of neither nodes nor service accounts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that nodes are watched from now on: one that is not in the index does not exist.
    pub fn watch_nodes(&mut self) {
        self.nodes.get_or_insert_default();
    }

    /// Says that service accounts are watched from now on: one that is not in the index does not
    /// exist.
    pub fn watch_service_accounts(&mut self) {
        self.service_accounts_watched = true;
    }

    /// Adds or replaces a pod. Returns whether anything changed.
    pub fn apply_pod(&mut self, namespace: &str, name: &str, pod: PodFacts) -> bool {
        let pods = &mut self.namespace_mut(namespace).pods;
        if pods.get(name) == Some(&pod) {
            return false;
        }
        pods.insert(name.to_owned(), pod);
        true
    }

    /// Forgets a pod.
    pub fn delete_pod(&mut self, namespace: &str, name: &str) {
        self.prune(namespace, |found| {
            found.pods.remove(name);
        });
    }

    /// Adds or replaces a Service. Returns whether anything changed.
    pub fn apply_service(&mut self, namespace: &str, service: ServiceFacts) -> bool {
        let found = self.namespace_mut(namespace);
        match found.services.get(&service.name) {
            Some(known) if *known == service => return false,
            Some(known) => unindex(&mut found.by_label, known),
            None => {}
        }
        index(&mut found.by_label, &service);
        found.services.insert(service.name.clone(), service);
        true
    }

    /// Forgets a Service.
    pub fn delete_service(&mut self, namespace: &str, name: &str) {
        self.prune(namespace, |found| {
            if let Some(service) = found.services.remove(name) {
                unindex(&mut found.by_label, &service);
            }
        });
    }

    /// Adds or replaces a node, which means that nodes are watched. Returns whether its UID is
    /// new.
    pub fn apply_node(&mut self, name: &str, uid: &str) -> bool {
        apply_uid(self.nodes.get_or_insert_default(), name, uid)
    }

    /// Forgets a node.
    pub fn delete_node(&mut self, name: &str) {
        if let Some(nodes) = &mut self.nodes {
            nodes.remove(name);
        }
    }

    /// Adds or replaces a service account, which means that they are watched. Returns whether its
    /// UID is new.
    pub fn apply_service_account(&mut self, namespace: &str, name: &str, uid: &str) -> bool {
        self.service_accounts_watched = true;
        let accounts = &mut self.namespace_mut(namespace).service_accounts;
        apply_uid(accounts, name, uid)
    }

    /// Forgets a service account.
    pub fn delete_service_account(&mut self, namespace: &str, name: &str) {
        self.prune(namespace, |found| {
            found.service_accounts.remove(name);
        });
    }

    /// How many pods are known.
    #[must_use]
    pub fn pod_count(&self) -> usize {
        self.namespaces
            .values()
            .map(|namespace| namespace.pods.len())
            .sum()
    }

    /// How many Services are known.
    #[must_use]
    pub fn service_count(&self) -> usize {
        self.namespaces
            .values()
            .map(|namespace| namespace.services.len())
            .sum()
    }

    fn namespace_mut(&mut self, namespace: &str) -> &mut Namespace {
        self.namespaces.entry(namespace.to_owned()).or_default()
    }

    /// Removes from a namespace, and the namespace itself when nothing is left of it.
    fn prune(&mut self, namespace: &str, remove: impl FnOnce(&mut Namespace)) {
        let Some(found) = self.namespaces.get_mut(namespace) else {
            return;
        };
        remove(found);
        if found.pods.is_empty() && found.services.is_empty() && found.service_accounts.is_empty() {
            self.namespaces.remove(namespace);
        }
    }
}

impl Facts for FactIndex {
    fn pod(&self, namespace: &str, name: &str) -> Option<&PodFacts> {
        self.namespaces.get(namespace)?.pods.get(name)
    }

    fn services_selecting(&self, namespace: &str, labels: &Labels) -> Vec<&ServiceFacts> {
        let Some(found) = self.namespaces.get(namespace) else {
            return Vec::new();
        };
        labels
            .iter()
            .filter_map(|(key, value)| found.by_label.get(key)?.get(value))
            .flatten()
            .filter_map(|name| found.services.get(name))
            .filter(|service| service.selects(labels))
            .collect()
    }

    fn service(&self, namespace: &str, name: &str) -> Option<&ServiceFacts> {
        self.namespaces.get(namespace)?.services.get(name)
    }

    fn node_uid(&self, name: &str) -> ObservedUid<'_> {
        self.nodes
            .as_ref()
            .map_or(ObservedUid::Unknown, |nodes| observed(Some(nodes), name))
    }

    fn service_account_uid(&self, namespace: &str, name: &str) -> ObservedUid<'_> {
        if !self.service_accounts_watched {
            return ObservedUid::Unknown;
        }
        let found = self.namespaces.get(namespace);
        observed(found.map(|found| &found.service_accounts), name)
    }
}

#[derive(Debug, Clone, Default)]
struct Namespace {
    pods: HashMap<String, PodFacts>,
    services: HashMap<String, ServiceFacts>,
    /// Label, value, names of the Services filed under it.
    by_label: ByLabel,
    service_accounts: Uids,
}

/// UIDs by name.
type Uids = HashMap<Box<str>, Box<str>>;

type ByLabel = HashMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Under which label of its selector a Service is filed. One is enough, since a match needs all of
/// them. The last one in order, because the first is often one that many Services share
/// (`app.kubernetes.io/instance`).
fn filed_under(service: &ServiceFacts) -> Option<(&String, &String)> {
    service.selector.last_key_value()
}

fn index(by_label: &mut ByLabel, service: &ServiceFacts) {
    if let Some((key, value)) = filed_under(service) {
        let values = by_label.entry(key.clone()).or_default();
        values
            .entry(value.clone())
            .or_default()
            .insert(service.name.clone());
    }
}

fn unindex(by_label: &mut ByLabel, service: &ServiceFacts) {
    let Some((key, value)) = filed_under(service) else {
        return;
    };
    let Some(values) = by_label.get_mut(key) else {
        return;
    };
    if let Some(names) = values.get_mut(value) {
        names.remove(&service.name);
        if names.is_empty() {
            values.remove(value);
        }
    }
    if values.is_empty() {
        by_label.remove(key);
    }
}

fn apply_uid(uids: &mut Uids, name: &str, uid: &str) -> bool {
    match uids.get_mut(name) {
        Some(known) if **known == *uid => false,
        Some(known) => {
            *known = uid.into();
            true
        }
        None => {
            uids.insert(name.into(), uid.into());
            true
        }
    }
}

fn observed<'a>(uids: Option<&'a Uids>, name: &str) -> ObservedUid<'a> {
    let uid = uids.and_then(|uids| uids.get(name));
    uid.map_or(ObservedUid::Absent, |uid| ObservedUid::Uid(uid))
}
