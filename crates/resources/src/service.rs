//! Services as names are made from them: their type and their selector.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::NamespaceResourceScope;
use kube::core::{ObjectMeta, Resource};
use serde::Deserialize;

use crate::meta;

/// A Service, lean.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Service {
    /// Name, namespace, UID and resource version; nothing else is kept.
    #[serde(deserialize_with = "meta::identity")]
    pub metadata: ObjectMeta,

    #[serde(default)]
    spec: ServiceSpec,
}

impl Service {
    /// `spec.type` as written: `ClusterIP`, `NodePort`, `LoadBalancer`, `ExternalName`. The API
    /// server defaults it, so it is empty only where that was bypassed.
    pub fn type_(&self) -> &str {
        &self.spec.type_
    }

    /// The labels a pod needs; empty for a Service whose endpoints somebody else writes.
    pub fn selector(&self) -> &BTreeMap<String, String> {
        &self.spec.selector
    }

    /// The selector, given away.
    pub fn into_selector(self) -> BTreeMap<String, String> {
        self.spec.selector
    }
}

impl Resource for Service {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Service".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "services".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ServiceSpec {
    #[serde(rename = "type")]
    type_: String,
    #[serde(deserialize_with = "meta::null_as_default")]
    selector: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_may_be_missing_or_null() {
        for text in [
            r#"{"metadata":{"name":"kubernetes"},"spec":{"type":"ClusterIP"}}"#,
            r#"{"metadata":{"name":"kubernetes"},"spec":{"type":"ClusterIP","selector":null}}"#,
        ] {
            let service: Service = serde_json::from_str(text).unwrap();
            assert_eq!(service.type_(), "ClusterIP");
            assert!(service.selector().is_empty());
        }
    }
}
