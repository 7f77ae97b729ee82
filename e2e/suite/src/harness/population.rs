//! Nodes, namespaces and pods for which certificates are asked.
//!
//! No kubelet runs: the pods are bound when they are made and never start, which no rule of the
//! API server or of the program looks at. They tolerate every taint, so nobody evicts them from a
//! node that never reports.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{
    Namespace, Node as NodeObject, Pod as PodObject, Service, ServiceAccount,
};
use kube::ResourceExt as _;
use kube::api::Api;
use serde_json::{Value, json};

use super::Stage;

/// How many of what.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) namespaces: usize,
    pub(crate) pods_per_namespace: usize,
    /// What each pod mounts.
    pub(crate) sources: Vec<Source>,
}

/// A `podCertificate` projection.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) signer: String,
    pub(crate) key_type: &'static str,
}

/// A node nobody plays.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// A pod as a request names it.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) service_account: String,
    pub(crate) service_account_uid: String,
    pub(crate) node: Arc<Node>,
}

/// One node, and pods on it.
#[derive(Clone, Debug)]
pub(crate) struct Population {
    pub(crate) node: Arc<Node>,
    pub(crate) pods: Vec<Arc<Pod>>,
}

impl Source {
    /// A projection as anyone writes it.
    pub(crate) fn of(signer: String) -> Self {
        Self {
            signer,
            key_type: "ECDSAP256",
        }
    }
}

impl Population {
    /// Makes what is planned: namespaces `<stage>-0` and on, pods `web-0` and on labelled
    /// `app: web`, service account `web`, Service `web`.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn create(stage: &Stage, plan: &Plan) -> Result<Self> {
        let node = stage.node("node").await?;
        let mut places = Vec::new();
        for number in 0..plan.namespaces {
            let namespace = stage.namespace(&number.to_string()).await?;
            let account_uid = stage.service_account(&namespace, "web").await?;
            stage.service(&namespace, "web", "web").await?;
            for pod in 0..plan.pods_per_namespace {
                places.push((namespace.clone(), account_uid.clone(), format!("web-{pod}")));
            }
        }
        let pods = stream::iter(places)
            .map(|(namespace, account_uid, name)| {
                let node = Arc::clone(&node);
                async move {
                    let account = ("web", account_uid.as_str());
                    stage
                        .pod(&namespace, &name, account, node, &plan.sources)
                        .await
                }
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(Self { node, pods })
    }
}

impl Stage {
    /// Makes a node.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn node(&self, name: &str) -> Result<Arc<Node>> {
        let api: Api<NodeObject> = Api::all(self.admin.clone());
        let node = json!({"metadata": {"name": self.scoped(name)}});
        let node = self.create(&api, node).await?;
        Ok(Arc::new(Node {
            name: node.name_any(),
            uid: node.uid().context("a node without UID")?,
        }))
    }

    /// Makes a namespace; its full name.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn namespace(&self, name: &str) -> Result<String> {
        let api: Api<Namespace> = Api::all(self.admin.clone());
        let name = self.scoped(name);
        self.create(&api, json!({"metadata": {"name": name}}))
            .await?;
        Ok(name)
    }

    /// Makes a service account; its UID.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn service_account(&self, namespace: &str, name: &str) -> Result<String> {
        let api: Api<ServiceAccount> = Api::namespaced(self.admin.clone(), namespace);
        let account = self
            .create(&api, json!({"metadata": {"name": name}}))
            .await?;
        account.uid().context("a service account without UID")
    }

    /// Makes a Service that selects pods labelled `app: <app>`.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn service(&self, namespace: &str, name: &str, app: &str) -> Result<()> {
        let api: Api<Service> = Api::namespaced(self.admin.clone(), namespace);
        let service = json!({
            "metadata": {"name": name},
            "spec": {"selector": {"app": app}, "ports": [{"port": 443}], "clusterIP": "None"},
        });
        self.create(&api, service).await.map(drop)
    }

    /// Makes a pod labelled `app: web` of a service account (name and UID) on a node.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn pod(
        &self,
        namespace: &str,
        name: &str,
        account: (&str, &str),
        node: Arc<Node>,
        sources: &[Source],
    ) -> Result<Arc<Pod>> {
        let api: Api<PodObject> = Api::namespaced(self.admin.clone(), namespace);
        let volumes: Vec<Value> = sources
            .iter()
            .enumerate()
            .map(|(number, source)| {
                let projection = json!({
                    "signerName": source.signer,
                    "keyType": source.key_type,
                    "credentialBundlePath": "bundle.pem",
                });
                json!({
                    "name": format!("certificate-{number}"),
                    "projected": {"sources": [{"podCertificate": projection}]},
                })
            })
            .collect();
        let pod = json!({
            "metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {
                "nodeName": node.name,
                "serviceAccountName": account.0,
                "automountServiceAccountToken": false,
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "main", "image": "example.com/web:1"}],
                "volumes": volumes,
            },
        });
        let pod = self.create(&api, pod).await?;
        Ok(Arc::new(Pod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: pod.uid().context("a pod without UID")?,
            service_account: account.0.to_owned(),
            service_account_uid: account.1.to_owned(),
            node,
        }))
    }
}

/// Pods that are made side by side.
const AT_ONCE: usize = 16;
