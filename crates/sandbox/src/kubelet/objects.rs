//! The ConfigMaps and Secrets that a pod refers to.
//!
//! Each is read by name when it is needed, as a kubelet without the watches of newer ones does: what a node may do, and
//! with the same delay, since files change only with the pod's sync. What was read last serves while the API cannot be
//! reached.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use zeroize::Zeroizing;

/// What an object is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum ObjectKind {
    ConfigMap,
    Secret,
}

/// An object's values by their keys; wiped when dropped.
pub(super) type Content = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// What one pod's worker has read.
#[derive(Default)]
pub(super) struct Objects(BTreeMap<(ObjectKind, String), Arc<Content>>);

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl ObjectKind {
    /// As the kubelet's messages about missing keys have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

impl Objects {
    /// The object's content; `None` if there is no such object.
    pub(super) async fn read(
        &mut self,
        client: &Client,
        namespace: &str,
        kind: ObjectKind,
        name: &str,
    ) -> Result<Option<Arc<Content>>, String> {
        let read = match kind {
            ObjectKind::ConfigMap => {
                let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
                api.get_opt(name)
                    .await
                    .map(|found| found.map(of_config_map))
            }
            ObjectKind::Secret => {
                let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
                api.get_opt(name).await.map(|found| found.map(of_secret))
            }
        };
        let key = (kind, name.to_owned());
        match read {
            Ok(Some(content)) => {
                let content = Arc::new(content);
                self.0.insert(key, content.clone());
                Ok(Some(content))
            }
            Ok(None) => {
                self.0.remove(&key);
                Ok(None)
            }
            Err(error) => match self.0.get(&key) {
                Some(last) => Ok(Some(last.clone())),
                None => Err(format!(
                    "cannot read {} {name:?}: {error}",
                    kind.name().to_lowercase()
                )),
            },
        }
    }

    /// The object's content; an empty one for what is missing and may be.
    pub(super) async fn read_present(
        &mut self,
        client: &Client,
        namespace: &str,
        kind: ObjectKind,
        name: &str,
        optional: bool,
    ) -> Result<Arc<Content>, String> {
        match self.read(client, namespace, kind, name).await? {
            Some(content) => Ok(content),
            None if optional => Ok(Arc::default()),
            None => Err(format!("{} {name:?} not found", kind.name().to_lowercase())),
        }
    }
}

fn of_config_map(object: ConfigMap) -> Content {
    let texts = object.data.into_iter().flatten();
    let texts = texts.map(|(key, text)| (key, Zeroizing::new(text.into_bytes())));
    let bytes = object.binary_data.into_iter().flatten();
    texts
        .chain(bytes.map(|(key, bytes)| (key, Zeroizing::new(bytes.0))))
        .collect()
}

fn of_secret(object: Secret) -> Content {
    let bytes = object.data.into_iter().flatten();
    bytes
        .map(|(key, bytes)| (key, Zeroizing::new(bytes.0)))
        .collect()
}
