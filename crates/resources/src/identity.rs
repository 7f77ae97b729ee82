//! Objects of which nothing but who they are is needed: name, namespace, UID.

use std::{borrow::Cow, marker::PhantomData};

use kube::core::{ObjectMeta, Resource};
use serde::Deserialize;

use crate::meta;

/// Who an object of kind `K` is.
///
/// It is asked for as `PartialObjectMetadata`, so the API server leaves out spec and status: of a
/// node's object that is most.
#[derive(Clone, Debug, Deserialize)]
pub struct Identity<K> {
    /// Name, namespace, UID, resource version, creation and deletion time; nothing else is kept.
    #[serde(deserialize_with = "meta::identity")]
    pub metadata: ObjectMeta,

    #[serde(skip)]
    kind: PhantomData<K>,
}

impl<K: Resource> Resource for Identity<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn metadata_api() -> bool {
        true
    }

    fn kind(version: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(version)
    }

    fn group(version: &Self::DynamicType) -> Cow<'_, str> {
        K::group(version)
    }

    fn version(version: &Self::DynamicType) -> Cow<'_, str> {
        K::version(version)
    }

    fn plural(version: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(version)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;

    use super::*;

    #[test]
    fn only_who_it_is_is_kept() {
        let node: Identity<Node> = serde_json::from_value(serde_json::json!({
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": {"name": "n1", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"},
                "managedFields": [{"manager": "kubelet"}]},
        }))
        .unwrap();
        let ObjectMeta {
            name,
            uid,
            labels,
            managed_fields,
            ..
        } = node.metadata;
        assert_eq!((name.as_deref(), uid.as_deref()), (Some("n1"), Some("u")));
        assert_eq!((labels, managed_fields), (None, None));
        assert!(Identity::<Node>::metadata_api());
        assert_eq!(Identity::<Node>::url_path(&(), None), "/api/v1/nodes");
    }
}
