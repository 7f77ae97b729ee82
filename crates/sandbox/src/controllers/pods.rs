//! What the controllers that make pods share.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{
    DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::retries::{Retries, Trouble};
use crate::events::{Events, Severity};

/// A pod and no other that may take its name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct PodId {
    pub(super) name: String,
    uid: Option<String>,
}

impl PodId {
    pub(super) fn of(pod: &Pod) -> Self {
        Self {
            name: pod.name_any(),
            uid: pod.uid(),
        }
    }
}

/// Pods by the UID of their controller, as far as that is of this kind.
pub(super) fn by_owner<K: Resource<DynamicType = ()>>(
    pods: &[Arc<Pod>],
) -> HashMap<&str, Vec<&Pod>> {
    let mut owned: HashMap<&str, Vec<&Pod>> = HashMap::new();
    for pod in pods {
        if let Some(owner) = owner::<K>(pod) {
            owned.entry(&owner.uid).or_default().push(pod);
        }
    }
    owned
}

/// The object's pods as the API server has them now.
pub(super) async fn list_owned<K: Resource<DynamicType = ()>>(
    client: &Client,
    object: &K,
) -> kube::Result<Vec<Pod>> {
    let namespace = object.namespace().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let mut pods = pods.list(&ListParams::default()).await?.items;
    pods.retain(|pod| {
        owner::<K>(pod).is_some_and(|owner| Some(&owner.uid) == object.meta().uid.as_ref())
    });
    Ok(pods)
}

/// Writes an object's status, unless the object went or another of its name came.
pub(super) async fn write_status<K>(
    api: &Api<K>,
    object: &K,
    status: &impl Serialize,
) -> kube::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let patch = json!({ "metadata": { "uid": object.uid() }, "status": status });
    let patch = Patch::Merge(patch);
    let params = PatchParams::default();
    match api.patch_status(&object.name_any(), &params, &patch).await {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        patched => patched.map(|_| ()),
    }
}

/// Deletes these pods of the object, each whatever became of the others, and then makes these; one that is refused ends
/// it, since the next would be.
pub(super) async fn replace<K: Resource<DynamicType = ()>>(
    client: &Client,
    events: &Events,
    object: &K,
    delete: &[PodId],
    create: Vec<Pod>,
) -> Result<(), Trouble> {
    let namespace = object.namespace().unwrap_or_default();
    let mut deleted = Ok(());
    for pod in delete {
        let one = self::delete(client, &namespace, pod).await;
        deleted = deleted.and(one);
    }
    deleted?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    for pod in create {
        match pods.create(&PostParams::default(), &pod).await {
            // It will be again until somebody changes something; 409 and 429 pass by themselves.
            Err(kube::Error::Api(status)) if matches!(status.code, 400..=408 | 410..=428 | 430..=499) =>
            {
                let message = format!("Error creating: {}", status.message);
                events
                    .emit_about(object, Severity::Warning, FAILED_CREATE, &message)
                    .await;
                return Err(Trouble::Refused(message));
            }
            created => drop(created?),
        }
    }
    Ok(())
}

/// Deletes pods of this kind of owner that is gone, as the garbage collector does.
pub(super) async fn collect<'a, K>(
    client: &Client,
    pods: impl Iterator<Item = &'a Pod>,
    retries: &mut Retries,
) where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    for pod in pods {
        if pod.metadata.deletion_timestamp.is_some() || !retries.is_due(pod) {
            continue;
        }
        let collected = collect_one::<K>(client, pod).await.map_err(Trouble::from);
        if let Err(error) = &collected {
            tracing::debug!(%error, pod = pod.name_any(), "it is collected later");
        }
        retries.note(pod, &collected);
    }
}

async fn collect_one<K>(client: &Client, pod: &Pod) -> kube::Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let Some(owner) = owner::<K>(pod) else {
        return Ok(());
    };
    let namespace = pod.namespace().unwrap_or_default();
    let owners: Api<K> = Api::namespaced(client.clone(), &namespace);
    // The caches do not say at the same time what has happened.
    let there = owners.get_opt(&owner.name).await?;
    if there.is_some_and(|there| there.meta().uid.as_ref() == Some(&owner.uid)) {
        return Ok(());
    }
    delete(client, &namespace, &PodId::of(pod)).await
}

/// A pod of this template.
pub(super) fn pod_of<const N: usize>(
    template: &PodTemplateSpec,
    owner: OwnerReference,
    generate_name: &str,
    namespace: Option<String>,
    extra_labels: [(&str, String); N],
) -> Pod {
    let template = template.clone();
    let meta = template.metadata.unwrap_or_default();
    let mut labels = meta.labels.unwrap_or_default();
    labels.extend(extra_labels.map(|(key, value)| (key.to_owned(), value)));
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(generate_name.to_owned()),
            namespace,
            labels: Some(labels),
            annotations: meta.annotations,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec.unwrap_or_default()),
        status: None,
    }
}

/// The reference that makes `object` the controller of what it owns.
pub(super) fn controller_of<K: Resource<DynamicType = ()>>(object: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The pod's controller, if it is of this kind.
pub(super) fn owner<K: Resource<DynamicType = ()>>(pod: &Pod) -> Option<&OwnerReference> {
    pod.owner_references()
        .iter()
        .find(|owner| owner.kind == K::kind(&()) && owner.controller == Some(true))
}

/// Deletes the pod; that it is gone already is as good, whoever has its name now.
async fn delete(client: &Client, namespace: &str, pod: &PodId) -> kube::Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let only_it = DeleteParams {
        preconditions: Some(Preconditions {
            uid: pod.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match pods.delete(&pod.name, &only_it).await {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        deleted => deleted.map(|_| ()),
    }
}

pub(super) fn is_active(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && !is_over(pod)
}

/// Whether the pod's containers have all ended for good.
pub(super) fn is_over(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// Whether the pod's condition `Ready` is true.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Ten characters that change with the template, in the alphabet that Kubernetes uses so that no words come out.
pub(super) fn template_hash(template: &PodTemplateSpec) -> String {
    let text = serde_json::to_string(template).unwrap_or_default();
    // FNV-1a, 64 bits.
    let mut hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut name = String::new();
    for _ in 0..10 {
        let place = usize::try_from(hash % ALPHABET.len() as u64).unwrap_or_default();
        name.extend(ALPHABET.chars().nth(place));
        hash /= ALPHABET.len() as u64;
    }
    name
}

/// The reason of a controller's Event, and of a condition, about a pod that was refused.
pub(super) const FAILED_CREATE: &str = "FailedCreate";
const ALPHABET: &str = "bcdfghjklmnpqrstvwxz2456789";

#[cfg(test)]
mod tests {
    use podcert_apiserver::{ApiServer, User};
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_pod_that_took_the_name_of_one_that_is_gone_is_not_deleted() {
        let api = ApiServer::builder().build();
        let client = Client::new(api.as_user(User::admin()), "default");
        let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
        let pod = json!({
            "metadata": {"name": "web"},
            "spec": {"containers": [{"name": "main", "image": "img"}]},
        });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let there = pods.create(&PostParams::default(), &pod).await.unwrap();
        let gone = PodId {
            name: "web".to_owned(),
            uid: Some("another".to_owned()),
        };
        delete(&client, "default", &gone).await.unwrap();
        assert_eq!(pods.get("web").await.unwrap().uid(), there.uid());
        delete(&client, "default", &PodId::of(&there))
            .await
            .unwrap();
        assert!(pods.get_opt("web").await.unwrap().is_none());
    }
}
