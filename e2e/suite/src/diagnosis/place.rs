//! What is asked about: an installation whose pod is played by a process, and pods in all states.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod as PodObject;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use podcert_cases::material::KeyType;
use podcert_pki::Chain;
use podcert_pki::inspect::describe;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{
    Ask, CaKind, CaPool, Kubelet, Node, Pod, Program, RequestId, Stage, WorkloadKey, beside_us,
    until,
};
use crate::install::run;

/// The place.
pub(super) struct Place {
    pub(super) stage: Arc<Stage>,
    pub(super) program: PathBuf,
    node: Arc<Node>,
    kubelet: Kubelet,
    key: Arc<WorkloadKey>,
    /// Each namespace's service account.
    accounts: BTreeMap<String, String>,
}

impl Place {
    /// A node, and nothing else.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn new(stage: &Arc<Stage>) -> Result<Self> {
        let node = stage.node("node").await?;
        Ok(Self {
            stage: Arc::clone(stage),
            program: beside_us()?,
            kubelet: Kubelet::of(stage, &node)?,
            node,
            key: WorkloadKey::of(KeyType::P256)?,
            accounts: BTreeMap::new(),
        })
    }

    /// Installs podcert as people do, with one replica, and answers with its pod, which no scheduler
    /// and no kubelet looks at.
    ///
    /// # Errors
    /// When the program or the server refuses.
    pub(super) async fn install(&self) -> Result<PodObject> {
        run(Command::new(&self.program)
            .args(["install", "--replicas=1", "--kubeconfig"])
            .arg(self.stage.administrator()?))
        .await?;
        let pods = self.controllers();
        until(|| async {
            let mut pods = pods.list(&ListParams::default()).await?.items;
            pods.pop().context("the Deployment makes no pod")
        })
        .await
    }

    /// Runs the installation's controller as its pod says it, with its account and on its node, but as a process.
    ///
    /// # Errors
    /// When it does not get ready.
    pub(super) async fn run(&self, pod: &PodObject) -> Result<Program> {
        let name = pod.name_any();
        let pods = self.controllers();
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self.node.name},
        });
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}/binding");
        let binding = http::Request::post(path)
            .header("content-type", "application/json")
            .body(binding.to_string().into_bytes())?;
        self.stage.admin.request::<Value>(binding).await?;

        self.stage.wait_for_installed(NAMESPACE, CONTROLLER).await?;
        let kubeconfig = self.stage.kubeconfig_of(NAMESPACE, CONTROLLER).await?;
        let mount = self.stage.folder.join("ca-state");
        std::fs::create_dir_all(&mount)?;
        let pool = CaPool::of(CaKind::USUAL)?;
        for signer in ["service-dns", "spiffe", "pod-identity"] {
            pool.write(&mount.join(format!("{signer}-pool.json")))?;
        }
        let spec = pod.spec.as_ref().context("a pod without a spec")?;
        let container = spec
            .containers
            .first()
            .context("a pod without containers")?;
        let words = container.command.iter().flatten().skip(1);
        let mut arguments: Vec<String> = words
            .map(|word| {
                word.replace("$(POD_NAMESPACE)", NAMESPACE)
                    .replace("$(POD_NAME)", &name)
                    .replace("$(POD_UID)", &pod.uid().unwrap_or_default())
                    .replace("/run/ca-state", &mount.display().to_string())
                    .replace(
                        "--in-cluster=true",
                        &format!("--kubeconfig={}", kubeconfig.display()),
                    )
            })
            .collect();
        arguments.push("--listen=127.0.0.1:0".to_owned());
        let log = self.stage.folder.join("controller.log");
        let program = Program::launch(&self.program, &arguments, &log).await?;
        program.ready(crate::harness::PATIENCE).await?;
        // As the kubelet would by the probe.
        let ready = json!({"status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{
                "name": container.name, "image": container.image, "imageID": "", "ready": true,
                "restartCount": 0, "state": {"running": {}},
            }],
        }});
        pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(ready))
            .await?;
        Ok(program)
    }

    /// A namespace with a service account; its full name.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn namespace(&mut self, name: &str) -> Result<String> {
        let namespace = self.stage.namespace(name).await?;
        let uid = self.stage.service_account(&namespace, ACCOUNT).await?;
        self.accounts.insert(namespace.clone(), uid);
        Ok(namespace)
    }

    /// A pod on the node labelled `app: web` whose volume `tls` has these sources.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn pod(
        &self,
        namespace: &str,
        name: &str,
        sources: Value,
    ) -> Result<Arc<Pod>> {
        let api: Api<PodObject> = Api::namespaced(self.stage.admin.clone(), namespace);
        let none = sources.as_array().is_some_and(Vec::is_empty);
        let volume = if none {
            json!({"name": "tls", "emptyDir": {}})
        } else {
            json!({"name": "tls", "projected": {"sources": sources}})
        };
        let pod = json!({
            "metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {
                "nodeName": self.node.name,
                "serviceAccountName": ACCOUNT,
                "automountServiceAccountToken": false,
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "main", "image": "example.com/web:1"}],
                "volumes": [volume],
            },
        });
        let pod = self.stage.create(&api, pod).await?;
        let account = self.accounts.get(namespace).context("no service account")?;
        Ok(Arc::new(Pod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: pod.uid().context("a pod without UID")?,
            service_account: ACCOUNT.to_owned(),
            service_account_uid: account.clone(),
            node: Arc::clone(&self.node),
        }))
    }

    /// Asks for a certificate as the pod's kubelet does.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn ask(
        &self,
        pod: &Arc<Pod>,
        signer: &str,
        annotations: &[(&str, &str)],
    ) -> Result<RequestId> {
        let ask = Ask::new(pod, signer, &self.key);
        if annotations.is_empty() {
            return self.kubelet.ask(&ask).await;
        }
        let mut spec = ask.spec(self.stage.skew.kubelets);
        let own = annotations.iter();
        spec.unverified_user_annotations = own
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        // Asked for another pod before, so that the server knows node and account.
        let client = self.kubelet.client();
        Ok(self.stage.request(client, &pod.namespace, spec).await?)
    }

    /// Serial number and end of the certificate that the live request holds, as `podcert explain` writes them.
    ///
    /// # Errors
    /// When it holds none.
    pub(super) async fn issued(&self, id: &RequestId) -> Result<(String, Value)> {
        let requests = self.stage.requests(self.stage.admin.clone(), &id.namespace);
        let status = requests.get(&id.name).await?.status.unwrap_or_default();
        let chain = status.certificate_chain.context("it is not issued")?;
        let chain = Chain::from_pem(&chain)?;
        Ok((
            describe::hex(chain.leaf().serial()),
            json!(status.not_after),
        ))
    }

    /// The name of the node.
    pub(super) fn node(&self) -> &str {
        &self.node.name
    }

    fn controllers(&self) -> Api<PodObject> {
        Api::namespaced(self.stage.admin.clone(), NAMESPACE)
    }
}

/// A source of a volume: a certificate of this signer.
pub(super) fn certificate(signer: &str) -> Value {
    json!({"podCertificate": {
        "signerName": signer, "keyType": "ECDSAP256",
        "credentialBundlePath": format!("{}.pem", signer.rsplit('/').next().unwrap_or_default()),
    }})
}

/// The anchors that a signer of podcert publishes.
pub(super) fn anchors(signer: &str) -> Value {
    json!({"clusterTrustBundle": {
        "signerName": signer, "path": "anchors.pem",
        "labelSelector": {},
    }})
}

/// Where `podcert install` puts the controller, and what it calls it.
pub(super) const NAMESPACE: &str = "podcert";
pub(super) const CONTROLLER: &str = "podcert-controller";
const ACCOUNT: &str = "web";
