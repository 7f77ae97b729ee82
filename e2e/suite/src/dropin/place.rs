//! meshtool's installation: its names, roles and service account, and its pools in Secrets.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::process::Command;
use tokio::time::{Duration, Instant, sleep};

use super::{Kind, bundles};
use crate::cluster::checkout;
use crate::harness::{Node, PATIENCE, Pod, Program, Stage, beside_us};
use crate::manifests;

/// The installation, and what stands for its pods and mounts.
pub(super) struct Place {
    pub(super) stage: Arc<Stage>,
    /// podcert under meshtool's name.
    meshtool: PathBuf,
    /// The service account's.
    kubeconfig: PathBuf,
    /// Where the pools are mounted.
    mount: PathBuf,
    pub(super) log: PathBuf,
    pools: Pools,
    account_uid: String,
    node: Arc<Node>,
}

/// What makes pools, and reads them, as meshtool does.
pub(crate) struct Pools(PathBuf);

impl Place {
    /// Installs all of meshtool but its program, on a server where it is not.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn install(stage: &Arc<Stage>) -> Result<Self> {
        let pools = Pools::build(&stage.folder).await?;
        install(&stage.admin, &pools).await?;
        let account_uid = account_uid(&stage.admin, NAMESPACE).await?;
        stage.wait_for_installed(NAMESPACE, ACCOUNT).await?;
        let kubeconfig = stage.kubeconfig_of(NAMESPACE, ACCOUNT).await?;
        let meshtool = stage.folder.join("meshtool");
        std::os::unix::fs::symlink(beside_us()?, &meshtool)?;
        let mount = stage.folder.join("ca-state");
        std::fs::create_dir(&mount)?;
        let place = Self {
            stage: Arc::clone(stage),
            meshtool,
            kubeconfig,
            mount,
            log: stage.folder.join("controller.log"),
            pools,
            account_uid,
            node: stage.node("controllers").await?,
        };
        place.mount().await?;
        Ok(place)
    }

    /// A pod of the controller's Deployment, as far as Leases need one.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn pod(&self, name: &str) -> Result<Arc<Pod>> {
        let account = (ACCOUNT, self.account_uid.as_str());
        self.stage
            .pod(NAMESPACE, name, account, Arc::clone(&self.node), &[])
            .await
    }

    /// Starts the program in `pod`, with the words of meshtool's manifest and one that did nothing
    /// there, but for the cluster, which is that of a kubeconfig.
    ///
    /// # Errors
    /// When it does not get ready; with its log.
    pub(super) async fn start(&self, pod: &Pod) -> Result<Program> {
        let file = |name: &str| self.mount.join(name).display().to_string();
        let arguments = [
            "controller".to_owned(),
            "--kubeconfig".to_owned(),
            self.kubeconfig.display().to_string(),
            format!("--sharding-pod-namespace={NAMESPACE}"),
            format!("--sharding-pod-name={}", pod.name),
            format!("--sharding-pod-uid={}", pod.uid),
            format!("--sharding-application-name={APPLICATION}"),
            "--enable-service-dns-signer=true".to_owned(),
            format!("--service-dns-ca-pool={}", file(Kind::ServiceDns.file())),
            "--enable-spiffe-signer=true".to_owned(),
            format!("--spiffe-trust-domain={TRUST_DOMAIN}"),
            format!("--spiffe-ca-pool={}", file(Kind::Spiffe.file())),
            "-enable-pod-identity-signer".to_owned(),
        ];
        let program = Program::launch(&self.meshtool, &arguments, &self.log).await?;
        program.ready(PATIENCE).await?;
        Ok(program)
    }

    /// Makes another CA as the documentation says, in a Secret of its own; its pool.
    ///
    /// # Errors
    /// When the program does not make it, or Go cannot read it.
    pub(super) async fn make_pool(&self, id: &str, name: &str) -> Result<String> {
        let made = Command::new(&self.meshtool)
            .arg("make-ca-pool-secret")
            .arg(format!(
                "--kubeconfig={}",
                self.stage.administrator()?.display()
            ))
            .args(["--ca-id", id, "--namespace", NAMESPACE, "--name", name])
            .kill_on_drop(true)
            .output()
            .await?;
        ensure!(
            made.status.success(),
            "meshtool make-ca-pool-secret: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let pool = self.pool(name).await?;
        self.pools.read_by_go(&pool).await?;
        Ok(pool)
    }

    /// The pool of a Secret.
    ///
    /// # Errors
    /// When there is none.
    pub(super) async fn pool(&self, secret: &str) -> Result<String> {
        let secret = self.secrets().get(secret).await?;
        let pool = secret.data.and_then(|mut data| data.remove("pool"));
        Ok(String::from_utf8(
            pool.context("a Secret without a pool")?.0,
        )?)
    }

    /// Puts a pool into the Secret of a signer, and where that is mounted; Go must be able to read it.
    ///
    /// # Errors
    /// When the server refuses, or Go.
    pub(super) async fn set_pool(&self, kind: Kind, pool: &str) -> Result<()> {
        self.pools.read_by_go(pool).await?;
        let mut secret = self.secrets().get(kind.secret()).await?;
        let bytes = k8s_openapi::ByteString(pool.as_bytes().to_vec());
        secret.data = Some([("pool".to_owned(), bytes)].into());
        self.secrets()
            .replace(kind.secret(), &PostParams::default(), &secret)
            .await?;
        self.mount().await
    }

    /// A new pool that Go made.
    ///
    /// # Errors
    /// When Go does not.
    pub(super) async fn gos_pool(&self, id: &str) -> Result<String> {
        self.pools.new_pool(id).await
    }

    /// Takes everything away.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn remove(&self) -> Result<()> {
        let admin = &self.stage.admin;
        let now = DeleteParams::default().grace_period(0);
        let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(admin.clone(), NAMESPACE);
        pods.delete_collection(&now, &ListParams::default()).await?;
        let namespaces: Api<Namespace> = Api::all(admin.clone());
        namespaces.delete(NAMESPACE, &now).await?;
        let bindings: Api<ClusterRoleBinding> = Api::all(admin.clone());
        bindings
            .delete("meshtool-is-a-meshtool-signer", &now)
            .await?;
        let roles: Api<ClusterRole> = Api::all(admin.clone());
        roles.delete("meshtool-signer", &now).await?;
        for kind in Kind::ALL {
            bundles(&self.stage).delete(&kind.bundle(), &now).await?;
        }
        Ok(())
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.stage.admin.clone(), NAMESPACE)
    }

    /// Projects the Secrets, as a kubelet does into a pod.
    async fn mount(&self) -> Result<()> {
        for kind in Kind::ALL {
            let pool = self.pool(kind.secret()).await?;
            let new = self.mount.join("new");
            std::fs::write(&new, pool)?;
            std::fs::rename(&new, self.mount.join(kind.file()))?;
        }
        Ok(())
    }
}

/// Applies meshtool's roles, and makes its pools where they are not.
///
/// # Errors
/// When the server refuses, or Go makes no pool.
pub(crate) async fn install(client: &Client, pools: &Pools) -> Result<()> {
    manifests::apply(client, include_str!("rights.yaml")).await?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    for kind in Kind::ALL {
        let secret = json!({
            "metadata": {"name": kind.secret()},
            "stringData": {"pool": pools.new_pool("1").await?},
        });
        let secret = serde_json::from_value(secret)?;
        secrets.create(&PostParams::default(), &secret).await?;
    }
    Ok(())
}

impl Pools {
    /// Builds the program into a folder.
    ///
    /// # Errors
    /// When Go is missing.
    pub(crate) async fn build(folder: &Path) -> Result<Self> {
        let program = folder.join("pools");
        let source = checkout().join("crates/authority/testdata/pools.go");
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg(source)
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off")
            .kill_on_drop(true)
            .output()
            .await
            .context("go")?;
        ensure!(
            built.status.success(),
            "go build: {}",
            String::from_utf8_lossy(&built.stderr)
        );
        Ok(Self(program))
    }

    async fn new_pool(&self, id: &str) -> Result<String> {
        let made = Command::new(&self.0)
            .args(["new", id])
            .kill_on_drop(true)
            .output()
            .await?;
        ensure!(made.status.success(), "Go makes no pool");
        let pool = String::from_utf8(made.stdout)?;
        ensure!(
            pool.contains(r#""IntermediateCertificatesDER":null"#),
            "not as meshtool's: {pool}"
        );
        Ok(pool)
    }

    /// Holds a pool against Go: loaded as meshtool does, its CAs sign, and Go would write it so.
    async fn read_by_go(&self, pool: &str) -> Result<()> {
        use tokio::io::AsyncWriteExt as _;
        let mut child = Command::new(&self.0)
            .arg("load")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut input = child.stdin.take().context("a program without input")?;
        input.write_all(pool.as_bytes()).await?;
        drop(input);
        let said = String::from_utf8(child.wait_with_output().await?.stdout)?;
        if said.trim() != "ok" {
            bail!("Go does not take the pool: {said}");
        }
        Ok(())
    }
}

/// Waits for the service account `default` of a namespace, which the cluster makes; its UID.
///
/// # Errors
/// When it is not made.
pub(super) async fn account_uid(client: &Client, namespace: &str) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let started = Instant::now();
    loop {
        if let Some(account) = accounts.get_opt(ACCOUNT).await? {
            return account.uid().context("a service account without UID");
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "no service account {ACCOUNT} in {namespace}"
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// meshtool's Deployment, which runs [`MESHTOOLS_IMAGE`].
pub(crate) const DEPLOYMENT: &str = include_str!("deployment.yaml");
pub(crate) const MESHTOOLS_IMAGE: &str = "ghcr.io/ahmedtd/meshtool:0.0.3";
pub(crate) const NAMESPACE: &str = "mesh-controller";
/// The Deployment, and what its replicas call themselves.
pub(crate) const APPLICATION: &str = "mesh-controller";
pub(super) const TRUST_DOMAIN: &str = "cluster.local";
/// The service account of everything here.
pub(super) const ACCOUNT: &str = "default";
