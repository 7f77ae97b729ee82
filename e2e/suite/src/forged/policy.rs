//! The admission policy that podcert ships, put on a real server as anyone would, and taken away.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{GroupVersionKind, Status};
use kube::discovery::{Scope, pinned_kind};
use podcert_cases::material::KeyType;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::harness::{PATIENCE, Request, Spec, Stage, WorkloadKey};

/// The policy in force.
pub(crate) struct Applied {
    stage: Arc<Stage>,
    objects: Vec<(Api<DynamicObject>, String)>,
}

/// Applies every manifest of the folder, and waits until the server holds to it.
///
/// # Errors
/// When there is none, or the server refuses one.
pub(crate) async fn apply(stage: &Arc<Stage>, folder: &Path) -> Result<Applied> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .with_context(|| format!("manifests in {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    // What kustomize reads is for it alone.
    files.retain(|file| {
        file.extension().is_some_and(|it| it == "yaml") && !file.ends_with("kustomization.yaml")
    });
    files.sort();
    ensure!(!files.is_empty(), "no manifests in {}", folder.display());
    let mut applied = Applied {
        stage: Arc::clone(stage),
        objects: Vec::new(),
    };
    match applied.put_all(&files).await {
        Ok(()) => Ok(applied),
        Err(error) => {
            applied.remove().await?;
            Err(error)
        }
    }
}

/// Writes the annotation that the policy takes its exceptions from, or removes it.
///
/// # Errors
/// When the server refuses.
pub(crate) async fn except(stage: &Stage, exceptions: Option<&str>) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(stage.admin.clone());
    let patch = json!({"metadata": {"annotations": {EXCEPTIONS: exceptions}}});
    let how = PatchParams::default();
    namespaces
        .patch("kube-system", &how, &Patch::Merge(&patch))
        .await?;
    Ok(())
}

/// Whether a request was refused by such a policy.
pub(crate) fn refused(refusal: &Status) -> bool {
    refusal.message.contains("ValidatingAdmissionPolicy")
}

impl Applied {
    async fn put_all(&mut self, files: &[PathBuf]) -> Result<()> {
        for file in files {
            let text = fs::read_to_string(file)?;
            let objects: Vec<Value> = serde_saphyr::from_multiple(&text)
                .with_context(|| format!("{} is no YAML", file.display()))?;
            for object in objects.into_iter().filter(|object| !object.is_null()) {
                let what = object.to_string();
                self.put(object)
                    .await
                    .with_context(|| format!("{}: cannot apply {what}", file.display()))?;
            }
        }
        self.wait(true).await
    }

    async fn put(&mut self, object: Value) -> Result<()> {
        let object: DynamicObject = serde_json::from_value(object)?;
        let types = object.types.clone().context("no apiVersion and kind")?;
        let kind = GroupVersionKind::try_from(&types)?;
        let client = self.stage.admin.clone();
        let (resource, capabilities) = pinned_kind(&client, &kind).await?;
        let name = object.metadata.name.clone().context("no name")?;
        let api = match (capabilities.scope, object.metadata.namespace.as_deref()) {
            (Scope::Namespaced, Some(namespace)) => {
                Api::namespaced_with(client, namespace, &resource)
            }
            (Scope::Namespaced, None) => bail!("no namespace"),
            (Scope::Cluster, _) => Api::all_with(client, &resource),
        };
        let how = PatchParams::apply("podcert-e2e").force();
        api.patch(&name, &how, &Patch::Apply(&object)).await?;
        self.objects.push((api, name));
        Ok(())
    }

    /// Takes everything away again, and waits until the server has forgotten it.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn remove(self) -> Result<()> {
        for (api, name) in self.objects.iter().rev() {
            api.delete(name, &DeleteParams::default()).await?;
        }
        self.wait(false).await
    }

    /// Waits until the server does, or does not, refuse the administrator: a change of policies
    /// takes a moment to arrive.
    async fn wait(&self, in_force: bool) -> Result<()> {
        let mut spec = Spec {
            signer_name: "example.com/nobody".into(),
            pod_name: "nobody".into(),
            pod_uid: "0".into(),
            service_account_name: "nobody".into(),
            service_account_uid: "0".into(),
            node_name: "nobody".into(),
            node_uid: "0".into(),
            ..Spec::default()
        };
        WorkloadKey::of(KeyType::P256)?.show(self.stage.skew.kubelets, &mut spec);
        let request: Request = serde_json::from_value(json!({
            "apiVersion": self.stage.resource("").api_version,
            "kind": "PodCertificateRequest",
            "metadata": {"generateName": "try-"},
            "spec": spec,
        }))?;
        let requests = self.stage.requests(self.stage.admin.clone(), "default");
        let only_try = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let started = Instant::now();
        loop {
            let now = match requests.create(&only_try, &request).await {
                Ok(_) => false,
                Err(kube::Error::Api(refusal)) if refused(&refusal) => true,
                Err(error) => return Err(error).context("a request in the namespace default"),
            };
            if now == in_force {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                bail!("the policy does not take effect, or does not end (in force: {now})");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// See the comment in the manifest.
const EXCEPTIONS: &str = "podcert.dev/may-request-certificates";
