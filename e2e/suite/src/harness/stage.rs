//! A place on a server: names of its own, and users. What they may do is in `rights`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt as _};
use podcert_cases::{Release, User};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Metrics, Request, now};
use crate::matrix::Policy;
use crate::real::speaking_for;
use crate::release::Skew;

mod rights;

/// A place on a server.
///
/// Ended with [`Stage::close`]; a stage that is dropped leaves its objects behind, which do not
/// disturb others.
pub(crate) struct Stage {
    /// The server's release, and that of the kubelets played here.
    pub(crate) skew: Skew,
    /// The name that everything of this stage bears.
    pub(crate) name: String,
    /// Calls as the administrator.
    pub(crate) admin: Client,
    /// For files: pools, kubeconfigs, logs. Gone with the stage, if nothing failed.
    pub(crate) folder: PathBuf,
    config: Config,
    pub(crate) kubeconfig: Kubeconfig,
}

impl Stage {
    /// Opens a stage named after `label` on the server of an administrator's kubeconfig.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub(crate) async fn open(file: &Path, skew: Skew, label: &str) -> Result<Arc<Self>> {
        let kubeconfig = Kubeconfig::read_from(file)
            .with_context(|| format!("kubeconfig {}", file.display()))?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default())
                .await?;
        let name = format!("{label}-{:x}", now().as_millisecond());
        let folder = std::env::temp_dir().join(format!("podcert-e2e-{name}"));
        // A token and CA keys will lie there.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("folder {}", folder.display()))?;
        Ok(Arc::new(Self {
            skew,
            name,
            admin: Client::try_from(config.clone())?,
            folder,
            config,
            kubeconfig,
        }))
    }

    /// The same stage for kubelets of another release.
    pub(crate) fn for_kubelets(&self, kubelets: Release) -> Arc<Self> {
        Arc::new(Self {
            skew: Skew {
                kubelets,
                ..self.skew
            },
            name: self.name.clone(),
            admin: self.admin.clone(),
            folder: self.folder.clone(),
            config: self.config.clone(),
            kubeconfig: self.kubeconfig.clone(),
        })
    }

    /// The signer of this stage for a policy, such as `spiffe`.
    pub(crate) fn signer(&self, policy: &str) -> String {
        format!("{}/{policy}", self.signer_domain())
    }

    /// The domain of this stage's signers.
    pub(crate) fn signer_domain(&self) -> String {
        format!("{}.example", self.name)
    }

    /// The bundle that a signer's anchors are published in.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) async fn bundle(&self, policy: &str) -> Result<String> {
        let name = bundle_name(&self.signer(policy));
        let bundle = self.bundles().get(&name).await?;
        let text = bundle
            .data
            .pointer("/spec/trustBundle")
            .and_then(Value::as_str);
        Ok(text.context("a bundle without anchors")?.to_owned())
    }

    /// ClusterTrustBundles in the stage's API version.
    pub(crate) fn bundles(&self) -> Api<DynamicObject> {
        Api::all_with(self.admin.clone(), &self.resource("ClusterTrustBundle"))
    }

    /// PodCertificateRequests of a namespace, as `client` sees them.
    pub(crate) fn requests(&self, client: Client, namespace: &str) -> Api<Request> {
        Api::namespaced_with(client, namespace, &self.resource("PodCertificateRequest"))
    }

    /// PodCertificateRequests of all namespaces, other stages' among them.
    pub(crate) fn all_requests(&self) -> Api<Request> {
        Api::all_with(self.admin.clone(), &self.resource("PodCertificateRequest"))
    }

    /// What the API calls a kind of `certificates.k8s.io` here.
    pub(crate) fn resource(&self, kind: &str) -> ApiResource {
        let version = self.skew.api().as_str();
        ApiResource {
            group: "certificates.k8s.io".into(),
            version: version.into(),
            api_version: format!("certificates.k8s.io/{version}"),
            kind: kind.into(),
            plural: format!("{}s", kind.to_lowercase()),
        }
    }

    /// Calls as this user, played by impersonation.
    ///
    /// # Errors
    /// When the configuration makes no client.
    pub(crate) fn client(&self, user: &User) -> Result<Client> {
        Ok(Client::try_from(speaking_for(self.config.clone(), user))?)
    }

    /// The name of an object of this stage that lives in no namespace, or of a namespace.
    pub(crate) fn scoped(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    /// The label by which the stage finds its own again.
    fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(LABEL.to_owned(), self.name.clone())])
    }

    /// What is of this stage.
    pub(crate) fn own(&self) -> ListParams {
        ListParams::default().labels(&format!("{LABEL}={}", self.name))
    }

    /// Makes an object, with the label.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn create<K>(&self, api: &Api<K>, mut object: Value) -> Result<K>
    where
        K: Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
    {
        merge(&mut object, json!({"metadata": {"labels": self.labels()}}));
        let what = object.to_string();
        let object = serde_json::from_value(object)?;
        api.create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("cannot make {what}"))
    }

    /// The kubeconfig of a service account with the rights of meshtool's controller, over the
    /// signers of this stage, and a token for a day.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn controller_kubeconfig(&self) -> Result<PathBuf> {
        let kubeconfig = self.account(self.meshtool_rules(), None).await?;
        let last = json!({
            "group": "events.k8s.io", "resource": "events", "verb": "create",
            "namespace": "default",
        });
        self.wait_for_rights(&self.controller(), &last).await?;
        Ok(kubeconfig)
    }

    /// The kubeconfig of a service account, with a token for a day, that has a ClusterRole of these
    /// rules and, if there are others, a Role of those in its own namespace. The server's authorizer
    /// need not have seen them yet.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn account(&self, rules: Value, own_rules: Option<Value>) -> Result<PathBuf> {
        let namespace = self.controller_namespace();
        self.create(
            &Api::<Namespace>::all(self.admin.clone()),
            json!({"metadata": {"name": namespace}}),
        )
        .await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin.clone(), &namespace);
        self.create(&accounts, json!({"metadata": {"name": CONTROLLER}}))
            .await?;
        let roles = Api::<ClusterRole>::all(self.admin.clone());
        self.create(&roles, self.role(&rules)).await?;
        let bindings = Api::<ClusterRoleBinding>::all(self.admin.clone());
        self.create(&bindings, self.binding("ClusterRole")).await?;
        if let Some(rules) = own_rules {
            self.grant_own(&rules).await?;
        }

        self.kubeconfig_of(&namespace, CONTROLLER).await
    }

    /// The kubeconfig of a service account, with a token for a day.
    ///
    /// # Errors
    /// When there is no such account, or the server refuses.
    pub(crate) async fn kubeconfig_of(&self, namespace: &str, account: &str) -> Result<PathBuf> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin.clone(), namespace);
        let wanted = serde_json::from_value::<TokenRequest>(
            json!({"metadata": {}, "spec": {"audiences": [], "expirationSeconds": 86_400}}),
        )?;
        let token = accounts
            .create_token_request(account, &PostParams::default(), &wanted)
            .await?;
        let token = token.status.context("no token")?.token;
        let cluster = self.kubeconfig.clusters.first().context("no cluster")?;
        let config = json!({
            "apiVersion": "v1", "kind": "Config",
            "clusters": [cluster],
            "users": [{"name": account, "user": {"token": token}}],
            "contexts": [
                {"name": "e2e", "context": {"cluster": cluster.name, "user": account}},
            ],
            "current-context": "e2e",
        });
        let path = self.folder.join("controller.kubeconfig");
        fs::write(&path, config.to_string())?;
        Ok(path)
    }

    /// The namespace that [`Self::controller_kubeconfig`] makes.
    pub(crate) fn controller_namespace(&self) -> String {
        self.scoped(CONTROLLER)
    }

    /// The UID of the controller's account.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn account_uid(&self) -> Result<String> {
        let accounts: Api<ServiceAccount> =
            Api::namespaced(self.admin.clone(), &self.controller_namespace());
        accounts.get(CONTROLLER).await?.uid().context("no UID")
    }

    /// Who the controller is.
    pub(crate) fn controller(&self) -> User {
        User::service_account(&self.controller_namespace(), CONTROLLER)
    }

    /// The administrator's kubeconfig, as a file for a program.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn administrator(&self) -> Result<PathBuf> {
        let path = self.folder.join("administrator.kubeconfig");
        if !path.exists() {
            fs::write(&path, serde_json::to_string(&self.kubeconfig)?)?;
        }
        Ok(path)
    }

    /// What the API server counts.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub(crate) async fn server_metrics(&self) -> Result<Metrics> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        Metrics::parse(&self.admin.request_text(request).await?)
    }

    /// Takes everything of the stage away. Namespaces end by and by.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn close(&self) -> Result<()> {
        let mine = self.own();
        // Without a kubelet nobody else ends a pod.
        let now = DeleteParams::default().grace_period(0);
        let namespaces: Api<Namespace> = Api::all(self.admin.clone());
        for namespace in namespaces.list(&mine).await? {
            let namespace = namespace.name_any();
            let pods: Api<Pod> = Api::namespaced(self.admin.clone(), &namespace);
            pods.delete_collection(&now, &ListParams::default()).await?;
            namespaces
                .delete(&namespace, &DeleteParams::default())
                .await?;
        }
        let nodes: Api<Node> = Api::all(self.admin.clone());
        nodes.delete_collection(&now, &mine).await?;
        let bindings: Api<ClusterRoleBinding> = Api::all(self.admin.clone());
        bindings.delete_collection(&now, &mine).await?;
        let roles: Api<ClusterRole> = Api::all(self.admin.clone());
        roles.delete_collection(&now, &mine).await?;
        for policy in Policy::ALL {
            let signer = format!("spec.signerName={}", self.signer(policy.as_str()));
            let published = ListParams::default().fields(&signer);
            self.bundles().delete_collection(&now, &published).await?;
        }
        fs::remove_dir_all(&self.folder)?;
        Ok(())
    }
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage")
            .field("skew", &self.skew)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Puts what is in `more` into `object`, deeply.
pub(super) fn merge(object: &mut Value, more: Value) {
    match (object, more) {
        (Value::Object(object), Value::Object(more)) => {
            for (key, value) in more {
                merge(object.entry(key).or_insert(Value::Null), value);
            }
        }
        (object, more) => *object = more,
    }
}

/// The bundle that podcert publishes a signer's anchors in.
pub(crate) fn bundle_name(signer: &str) -> String {
    format!("{}:primary-bundle", signer.replace('/', ":"))
}

/// On everything a stage makes.
const LABEL: &str = "e2e.podcert.example/stage";
/// The controller's service account.
const CONTROLLER: &str = "controller";
