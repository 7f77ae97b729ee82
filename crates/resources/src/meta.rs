//! Metadata, read lean: `managedFields` alone can be larger than the rest of an object.
//!
//! `kube::Resource` wants an `ObjectMeta`; these functions fill one with the fields asked for and
//! skip the others while reading.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Deserializer};

/// Name, namespace, UID, resource version, creation and deletion time; no labels.
pub(crate) fn identity<'de, D>(deserializer: D) -> Result<ObjectMeta, D::Error>
where
    D: Deserializer<'de>,
{
    let meta = Identity::deserialize(deserializer)?;
    Ok(ObjectMeta {
        creation_timestamp: meta.creation_timestamp,
        deletion_timestamp: meta.deletion_timestamp,
        name: meta.name,
        namespace: meta.namespace,
        resource_version: meta.resource_version,
        uid: meta.uid,
        ..ObjectMeta::default()
    })
}

/// As [`identity`], and the labels.
pub(crate) fn with_labels<'de, D>(deserializer: D) -> Result<ObjectMeta, D::Error>
where
    D: Deserializer<'de>,
{
    let meta = WithLabels::deserialize(deserializer)?;
    Ok(ObjectMeta {
        deletion_timestamp: meta.deletion_timestamp,
        labels: meta.labels,
        name: meta.name,
        namespace: meta.namespace,
        resource_version: meta.resource_version,
        uid: meta.uid,
        ..ObjectMeta::default()
    })
}

/// An explicit `null` is an absent value: Go writes it for nil maps and slices.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
    uid: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WithLabels {
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
    uid: Option<String>,
}
