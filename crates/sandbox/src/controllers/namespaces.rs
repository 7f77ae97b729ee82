//! What kube-controller-manager puts into each namespace: the ServiceAccount `default`, and the ConfigMap
//! `kube-root-ca.crt` with the CA that pods verify the API server by.

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cache::Cache;
use super::retries::Retries;

/// Runs until `stop`; `ca` is the CA's certificate as PEM.
pub(crate) async fn run(client: Client, ca: String, tasks: TaskTracker, stop: CancellationToken) {
    let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
    let (maps, accounts) = (Api::all(client.clone()), Api::all(client.clone()));
    let all = Api::all(client.clone());
    let mut controller = Controller {
        maps: Cache::follow(maps, named(ROOT_CA), &tasks, stop.clone()),
        accounts: Cache::follow(accounts, named(ACCOUNT), &tasks, stop.clone()),
        namespaces: Cache::follow(all, watcher::Config::default(), &tasks, stop.clone()),
        data: BTreeMap::from([("ca.crt".to_owned(), ca)]),
        client,
        retries: Retries::default(),
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = controller.run() => {}
    }
}

struct Controller {
    client: Client,
    namespaces: Cache<Namespace>,
    accounts: Cache<ServiceAccount>,
    maps: Cache<ConfigMap>,
    /// What the ConfigMap holds.
    data: BTreeMap<String, String>,
    retries: Retries,
}

impl Controller {
    async fn run(&mut self) {
        tokio::join!(
            self.namespaces.ready(),
            self.accounts.ready(),
            self.maps.ready()
        );
        loop {
            self.pass().await;
            tokio::select! {
                () = self.namespaces.changed() => {}
                () = self.accounts.changed() => {}
                () = self.maps.changed() => {}
                () = self.retries.next() => {}
            }
        }
    }

    async fn pass(&mut self) {
        let (namespaces, accounts) = (self.namespaces.look(), self.accounts.look());
        let maps = self.maps.look();
        let accounts: HashSet<_> = accounts.iter().map(|it| it.namespace()).collect();
        let whole = maps
            .iter()
            .filter(|map| map.data.as_ref() == Some(&self.data));
        let whole: HashSet<_> = whole.map(|map| map.namespace()).collect();
        let uids: HashSet<_> = namespaces.iter().filter_map(|it| it.uid()).collect();
        self.retries.retain(|uid| uids.contains(uid));
        for namespace in &namespaces {
            let name = Some(namespace.name_any());
            let complete = accounts.contains(&name) && whole.contains(&name);
            let going = namespace.metadata.deletion_timestamp.is_some();
            if going || complete || !self.retries.is_due(namespace.as_ref()) {
                continue;
            }
            let filled = match fill(&self.client, &namespace.name_any(), &self.data).await {
                // It goes, or something of it was made meanwhile.
                Err(kube::Error::Api(status))
                    if status.is_not_found()
                        || status.is_forbidden()
                        || status.is_already_exists() =>
                {
                    Ok(())
                }
                Err(error) => {
                    tracing::debug!(%error, namespace = name, "it is filled later");
                    Err(error.into())
                }
                Ok(()) => Ok(()),
            };
            self.retries.note(namespace.as_ref(), &filled);
        }
    }
}

/// Makes what is not there.
async fn fill(
    client: &Client,
    namespace: &str,
    data: &BTreeMap<String, String>,
) -> kube::Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    if accounts.get_opt(ACCOUNT).await?.is_none() {
        let account = ServiceAccount {
            metadata: named(ACCOUNT),
            ..ServiceAccount::default()
        };
        accounts.create(&PostParams::default(), &account).await?;
    }
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    match maps.get_opt(ROOT_CA).await? {
        Some(map) if map.data.as_ref() == Some(data) => {}
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
                data: Some(data.clone()),
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
const ROOT_CA: &str = "kube-root-ca.crt";
