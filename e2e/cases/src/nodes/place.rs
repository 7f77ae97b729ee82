//! What the cases need in place: Node objects, service accounts, and pods bound to nodes.

use serde_json::{Value, json};

use crate::material::{KeyType, SIGNER, key, request, set_key};
use crate::rights::{eventually, owned};
use crate::{Answer, User, World};

/// A node with a pod on it.
pub(crate) struct Place {
    world: World,
    pub(crate) node: String,
    pub(super) node_uid: String,
    pub(super) account_uid: String,
    pub(super) pod_uid: String,
}

impl Place {
    /// A node, a service account `web` and a pod `web-0` that mounts a certificate of [`SIGNER`];
    /// ready when the server admits a true request.
    pub(crate) async fn prepare(world: &World) -> Self {
        let node = format!("{}-a", world.namespace);
        let place = Self {
            node_uid: add_node(world, &node).await,
            account_uid: add_account(world, "web").await,
            pod_uid: add_pod(world, "web-0", &node, |_| ()).await,
            world: world.clone(),
            node,
        };
        place.settle("web-0", &place.pod_uid).await;
        place
    }

    /// Waits until the server admits a request for this pod of the node.
    pub(super) async fn settle(&self, pod: &str, uid: &str) {
        let object = self.request("settled", |spec| {
            spec["podName"] = pod.into();
            spec["podUID"] = uid.into();
        });
        let path = format!("{}?dryRun=All", self.world.requests());
        let caller = self.world.as_user(&self.user());
        eventually(
            || async { caller.post(&path, &object).await },
            |answer| answer.code == 201,
        )
        .await;
    }

    pub(crate) fn user(&self) -> User {
        User::node(&self.node)
    }

    /// A true request, spoilt.
    pub(crate) fn request(&self, name: &str, spoil: impl Fn(&mut Value)) -> Value {
        let key = key(KeyType::Ed25519);
        let mut object = request(&self.world, name, &key);
        let spec = &mut object["spec"];
        spec["podUID"] = self.pod_uid.clone().into();
        spec["serviceAccountUID"] = self.account_uid.clone().into();
        spec["nodeName"] = self.node.clone().into();
        spec["nodeUID"] = self.node_uid.clone().into();
        spoil(spec);
        let uid = object["spec"]["podUID"].as_str().unwrap().to_owned();
        set_key(&self.world, &mut object, &key, &uid);
        object
    }

    /// What the node's kubelet is told when it makes such a request.
    pub(crate) async fn ask(&self, name: &str, spoil: impl Fn(&mut Value)) -> Answer {
        let object = self.request(name, spoil);
        self.world
            .as_user(&self.user())
            .post(&self.world.requests(), &object)
            .await
    }

    /// Namespace and name of the pod.
    pub(super) fn pod(&self) -> String {
        format!("{}/web-0", self.world.namespace)
    }
}

pub(super) async fn add_node(world: &World, name: &str) -> String {
    let node = json!({"metadata": {"name": name, "ownerReferences": owned(world).await}});
    let node = world.admin().post("/api/v1/nodes", &node).await.created();
    uid(&node)
}

pub(super) async fn add_account(world: &World, name: &str) -> String {
    let account = json!({"metadata": {"name": name}});
    let path = world.core("serviceaccounts");
    uid(&world.admin().post(&path, &account).await.created())
}

/// A pod on this node that mounts a certificate of [`SIGNER`], changed.
pub(super) async fn add_pod(
    world: &World,
    name: &str,
    node: &str,
    change: impl Fn(&mut Value),
) -> String {
    let mut pod = json!({
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {
            "nodeName": node,
            "serviceAccountName": "web",
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "example.com/web:1"}],
            "volumes": [volume(SIGNER)],
        },
    });
    change(&mut pod);
    uid(&world
        .admin()
        .post(&world.core("pods"), &pod)
        .await
        .created())
}

pub(super) fn volume(signer: &str) -> Value {
    json!({"name": "identity", "projected": {"sources": [{"podCertificate": {
        "signerName": signer, "keyType": "ED25519", "credentialBundlePath": "credentials.pem",
    }}]}})
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap().to_owned()
}
