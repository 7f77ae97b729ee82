//! The certificates of a live pod, from its PodCertificateRequests.
//!
//! What a pod's volumes hold only its node sees; the API server keeps what was issued for it, until
//! the requests are deleted (some minutes after they were settled).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use http::Request;
use kube::Client;
use podcert_resources::CERTIFICATES_GROUP;
use podcert_runtime::SharedClock;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::manifest::{self, Object};
use super::source::{Item, Reading};
use crate::kubeconfig;

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
    let is_name = |text: &str| {
        let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.');
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed)
    };
    if !is_name(namespace) || !is_name(pod) {
        bail!("expected pod/NAMESPACE/NAME; a file of that name is ./pod/...");
    }
    let client = kubeconfig::client(reading.kubeconfig, clock).await?;
    let uid = uid(&client, namespace, pod).await?;
    let of_pod = |request: &Object| {
        request.spec.pod_name == pod && uid.as_ref().is_none_or(|uid| request.spec.pod_uid == *uid)
    };
    let mut newest: BTreeMap<String, Object> = BTreeMap::new();
    let mut others = Vec::new();
    for request in requests(&client, namespace)
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
async fn uid(client: &Client, namespace: &str, pod: &str) -> Result<Option<String>> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}");
    match get::<Object>(client, &path).await {
        Ok(pod) => Ok(Some(pod.metadata.uid)),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            bail!("there is no pod {namespace}/{pod}")
        }
        Err(error) => Err(error).context("cannot look at the pod"),
    }
}

async fn requests(client: &Client, namespace: &str) -> Result<Vec<Object>> {
    #[derive(Deserialize)]
    struct List {
        items: Vec<Object>,
    }
    let mut missing = None;
    for version in ["v1", "v1beta1"] {
        let path = format!(
            "/apis/{CERTIFICATES_GROUP}/{version}/namespaces/{namespace}/podcertificaterequests"
        );
        match get::<List>(client, &path).await {
            Ok(list) => return Ok(list.items),
            Err(error @ kube::Error::Api(_)) if is_not_found(&error) => missing = Some(error),
            Err(error) => return Err(error).context("cannot list PodCertificateRequests"),
        }
    }
    match missing {
        Some(error) => Err(error).context("the cluster does not serve PodCertificateRequests"),
        None => Ok(Vec::new()),
    }
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

async fn get<T: DeserializeOwned>(client: &Client, path: &str) -> Result<T, kube::Error> {
    let request = Request::get(path).body(Vec::new());
    client
        .request(request.map_err(kube::Error::HttpError)?)
        .await
}
