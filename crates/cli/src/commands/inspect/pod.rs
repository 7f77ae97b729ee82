//! The certificates of a live pod, from its PodCertificateRequests.
//!
//! What a pod's volumes hold only its node sees; the API server keeps what was issued for it, until
//! the requests are deleted (some minutes after they were settled).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use podcert_runtime::SharedClock;

use super::manifest::{self, Object};
use super::source::{Item, Reading};
use crate::observed::{Reader, is_name};

/// Of each signer the newest certificate that was issued to the pod.
///
/// # Errors
/// When there is no such pod, or none of its certificates is known any more.
pub(super) async fn certificates(
    namespace: &str,
    pod: &str,
    reading: Reading<'_>,
    clock: SharedClock,
) -> Result<Vec<Item>> {
    if !is_name(namespace) || !is_name(pod) {
        bail!("expected pod/NAMESPACE/NAME; a file of that name is ./pod/...");
    }
    let reader = Reader::connect(reading.kubeconfig, clock).await?;
    let uid = uid(&reader, namespace, pod).await?;
    let of_pod = |request: &Object| {
        request.spec.pod_name == pod && uid.as_ref().is_none_or(|uid| request.spec.pod_uid == *uid)
    };
    let mut newest: BTreeMap<String, Object> = BTreeMap::new();
    let mut others = Vec::new();
    for request in requests(&reader, namespace)
        .await?
        .into_iter()
        .filter(of_pod)
    {
        if request.status.certificate_chain.is_none() {
            others.push(format!("{}: {}", request.metadata.name, request.state()));
            continue;
        }
        let signer = request.spec.signer_name.clone();
        let age = |request: &Object| request.metadata.creation_timestamp.clone();
        if newest
            .get(&signer)
            .is_none_or(|known| age(known) <= age(&request))
        {
            newest.insert(signer, request);
        }
    }
    if newest.is_empty() {
        match others.as_slice() {
            [] => bail!(
                "it has no PodCertificateRequest (any more: Kubernetes deletes them some minutes \
                 after they were issued); look at the file in the pod instead"
            ),
            _ => bail!("no certificate was issued: {}", others.join("; ")),
        }
    }
    let items = newest.into_iter().map(|(signer, request)| {
        let name = format!("{signer}, request {}", request.metadata.name);
        let mut item = manifest::issued(&request, name, reading)
            .with_context(|| format!("request {}", request.metadata.name))?;
        manifest::overdue(&mut item, reading.at);
        Ok(item)
    });
    items.collect()
}

/// The pod's UID, which tells its requests from those of another pod of that name before it; none
/// if we may not look.
async fn uid(reader: &Reader, namespace: &str, pod: &str) -> Result<Option<String>> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}");
    match reader.object::<Object>(&path, "the pod").await? {
        Ok(Some(pod)) => Ok(Some(pod.metadata.uid)),
        Ok(None) => bail!("there is no pod {namespace}/{pod}"),
        Err(_) => Ok(None),
    }
}

async fn requests(reader: &Reader, namespace: &str) -> Result<Vec<Object>> {
    let what = "PodCertificateRequests";
    let served = reader
        .certificates(Some(namespace), "podcertificaterequests", what)
        .await
        .with_context(|| format!("cannot list {what}"))?;
    for unread in reader.unread() {
        tracing::warn!("{unread}");
    }
    match served {
        Some((_, Ok(requests))) => Ok(requests),
        Some((_, Err(not_shown))) => bail!("cannot list {what}: {}", not_shown.why),
        None => bail!("the cluster does not serve {what}"),
    }
}
