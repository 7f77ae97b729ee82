//! What kube-controller-manager puts into each namespace: the ServiceAccount `default`, and the ConfigMap
//! `kube-root-ca.crt` with the CA that pods verify the API server by.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Runs until `stop`; `ca` is the CA's certificate as PEM.
pub(crate) async fn run(client: Client, ca: String, stop: CancellationToken) {
    let (bell, mut rung) = mpsc::channel(1);
    let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
    let maps = watcher(Api::<ConfigMap>::all(client.clone()), named(ROOT_CA));
    let accounts = watcher(Api::<ServiceAccount>::all(client.clone()), named(ACCOUNT));
    let watching = async {
        tokio::join!(
            super::ring::<Namespace>(client.clone(), bell.clone(), stop.clone()),
            super::ring_for(maps.default_backoff(), bell.clone(), stop.clone()),
            super::ring_for(accounts.default_backoff(), bell.clone(), stop.clone()),
        )
    };
    let work = async {
        while rung.recv().await.is_some() {
            while let Err(error) = reconcile(&client, &ca).await {
                tracing::debug!(%error, "namespaces are looked at again");
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        _ = async { tokio::join!(watching, work) } => {}
    }
}

async fn reconcile(client: &Client, ca: &str) -> kube::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for namespace in namespaces.list(&ListParams::default()).await? {
        if namespace.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let done = fill(client, &namespace.name_any(), ca).await;
        match done {
            // It goes, or something of it was made meanwhile.
            Err(kube::Error::Api(status))
                if status.is_not_found() || status.is_forbidden() || status.is_already_exists() => {
            }
            done => done?,
        }
    }
    Ok(())
}

async fn fill(client: &Client, namespace: &str, ca: &str) -> kube::Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    if accounts.get_opt(ACCOUNT).await?.is_none() {
        let account = ServiceAccount {
            metadata: named(ACCOUNT),
            ..ServiceAccount::default()
        };
        accounts.create(&PostParams::default(), &account).await?;
    }
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let data = BTreeMap::from([("ca.crt".to_owned(), ca.to_owned())]);
    match maps.get_opt(ROOT_CA).await? {
        Some(map) if map.data.as_ref() == Some(&data) => {}
        Some(_) => {
            let patch = Patch::Merge(json!({ "data": data }));
            maps.patch(ROOT_CA, &PatchParams::default(), &patch).await?;
        }
        None => {
            let mut metadata = named(ROOT_CA);
            metadata.annotations = Some(BTreeMap::from([(
                "kubernetes.io/description".to_owned(),
                DESCRIPTION.to_owned(),
            )]));
            let map = ConfigMap {
                metadata,
                data: Some(data),
                ..ConfigMap::default()
            };
            maps.create(&PostParams::default(), &map).await?;
        }
    }
    Ok(())
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    }
}

const ACCOUNT: &str = "default";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
                           endpoints such as the internal service IP or kubernetes.default.svc. No other usage is \
                           guaranteed across distributions of Kubernetes clusters.";
const RETRY: Duration = Duration::from_secs(1);
const ROOT_CA: &str = "kube-root-ca.crt";
