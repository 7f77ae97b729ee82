//! Manifests as `kubectl apply --server-side` takes them.

use anyhow::{Context as _, Result};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client, ResourceExt as _};

/// Applies every document of `text`, in its order.
pub(crate) async fn apply(client: &Client, text: &str) -> Result<()> {
    let documents: Vec<serde_json::Value> =
        serde_saphyr::from_multiple(text).context("the manifest is no YAML")?;
    for document in documents {
        let object: DynamicObject =
            serde_json::from_value(document).context("a document is no Kubernetes object")?;
        let types = object.types.clone().context("a document has no kind")?;
        let kind = kube::core::GroupVersionKind::try_from(&types)?;
        let (resource, capabilities) = pinned_kind(client, &kind).await?;
        let api: Api<DynamicObject> = match (capabilities.scope, object.namespace()) {
            (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
            (Scope::Namespaced, Some(namespace)) => {
                Api::namespaced_with(client.clone(), &namespace, &resource)
            }
            (Scope::Namespaced, None) => Api::default_namespaced_with(client.clone(), &resource),
        };
        let name = object.name_any();
        api.patch(
            &name,
            &PatchParams::apply(MANAGER).force(),
            &Patch::Apply(&object),
        )
        .await
        .with_context(|| format!("{} {name} cannot be applied", types.kind))?;
    }
    Ok(())
}

/// Who the API server says it was.
const MANAGER: &str = "podcert-e2e";
