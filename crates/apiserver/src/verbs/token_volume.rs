//! The volume `kube-api-access-…` that the admission plugin ServiceAccount adds to new pods: a token
//! of the pod's service account, the CA to verify this server by, and the namespace
//! (`plugin/pkg/admission/serviceaccount`).

use serde_json::{Value, json};

use crate::kinds::{self, KINDS};
use crate::node::restriction::MIRROR;
use crate::object::{as_map_mut, at, list, map_mut, text};
use crate::server::ApiServer;
use crate::store::Key;

impl ApiServer {
    /// Adds the volume, and its mount to every container that has nothing in its place.
    pub(super) fn add_token_volume(&self, pod: &mut Value) {
        if at(pod, &["metadata", "annotations", MIRROR]).is_some() || !self.automounts(pod) {
            return;
        }
        let existing = list(pod.get("spec").unwrap_or(&Value::Null), "volumes")
            .map(|volume| text(volume, &["name"]))
            .find(|name| name.starts_with(PREFIX))
            .map(str::to_owned);
        let name = existing
            .clone()
            .unwrap_or_else(|| self.inner.random.generated_name(PREFIX));
        let spec = map_mut(pod, "spec");
        let mut mounted = false;
        for kind in ["initContainers", "containers"] {
            let containers = spec.get_mut(kind).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                if list(container, "volumeMounts").any(|it| text(it, &["mountPath"]) == PATH) {
                    continue;
                }
                let mounts = as_map_mut(container)
                    .entry("volumeMounts")
                    .or_insert_with(|| json!([]));
                if let Some(mounts) = mounts.as_array_mut() {
                    mounts.push(json!({"name": name, "readOnly": true, "mountPath": PATH}));
                    mounted = true;
                }
            }
        }
        if existing.is_some() || !mounted {
            return;
        }
        let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
        if let Some(volumes) = volumes.as_array_mut() {
            volumes.push(
                json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
                    {"serviceAccountToken": {"expirationSeconds": SECONDS, "path": "token"}},
                    {"configMap": {
                        "name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}],
                    }},
                    {"downwardAPI": {"items": [{
                        "path": "namespace",
                        "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                    }]}},
                ]}}),
            );
        }
    }

    /// The pod decides, else its service account; else yes.
    fn automounts(&self, pod: &Value) -> bool {
        let own = at(pod, &["spec", "automountServiceAccountToken"]).and_then(Value::as_bool);
        own.unwrap_or_else(|| {
            let namespace = text(pod, &["metadata", "namespace"]);
            let account = match text(pod, &["spec", "serviceAccountName"]) {
                "" => "default",
                account => account,
            };
            let found = KINDS.get(kinds::SERVICE_ACCOUNTS).and_then(|kind| {
                let store = &self.inner.store;
                store.get(kind, &Key::new(namespace, account))
            });
            let says = found.and_then(|account| {
                let says = account.value.get("automountServiceAccountToken");
                says.and_then(Value::as_bool)
            });
            says.unwrap_or(true)
        })
    }
}

const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const PREFIX: &str = "kube-api-access-";
/// An hour and some, by which upstream knows tokens of this volume from others.
const SECONDS: i64 = 3607;
