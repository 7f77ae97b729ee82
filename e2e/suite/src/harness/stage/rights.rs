//! Who may do what on a stage, and the wait until the server's authorizer knows.

use anyhow::{Result, bail};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{Api, Patch, PatchParams};
use podcert_cases::User;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use super::{CONTROLLER, Stage};
use crate::harness::PATIENCE;

impl Stage {
    /// Gives the controller the rights to Leases in its namespace that meshtool's manifests give.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn let_share(&self) -> Result<()> {
        self.grant_own(&json!([{
            "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
            "verbs": ["create", "get", "list", "watch", "update", "delete"],
        }]))
        .await?;
        let lease = json!({
            "group": "coordination.k8s.io", "resource": "leases", "verb": "create",
            "namespace": self.controller_namespace(),
        });
        self.wait_for_rights(&self.controller(), &lease).await
    }

    /// Gives the controller's account a Role of these rules in its own namespace.
    pub(super) async fn grant_own(&self, rules: &Value) -> Result<()> {
        let namespace = self.controller_namespace();
        let roles = Api::<Role>::namespaced(self.admin.clone(), &namespace);
        self.create(&roles, self.role(rules)).await?;
        let bindings = Api::<RoleBinding>::namespaced(self.admin.clone(), &namespace);
        self.create(&bindings, self.binding("Role")).await?;
        Ok(())
    }

    pub(super) fn role(&self, rules: &Value) -> Value {
        json!({"metadata": {"name": self.controller_namespace()}, "rules": rules})
    }

    /// Of that role to the controller's account.
    pub(super) fn binding(&self, kind: &str) -> Value {
        let namespace = self.controller_namespace();
        json!({
            "metadata": {"name": namespace},
            "roleRef": {
                "apiGroup": RBAC, "kind": kind, "name": namespace,
            },
            "subjects": [
                {"kind": "ServiceAccount", "namespace": namespace, "name": CONTROLLER},
            ],
        })
    }

    /// What meshtool's manifests give its controller. No patch anywhere.
    pub(super) fn meshtool_rules(&self) -> Value {
        json!([
            {"apiGroups": [""], "resources": ["services", "pods"],
             "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["certificates.k8s.io"], "resources": ["podcertificaterequests"],
             "verbs": ["get", "list", "watch", "update"]},
            {"apiGroups": ["certificates.k8s.io"], "resources": ["clustertrustbundles"],
             "verbs": ["create", "get", "list", "watch", "update", "delete"]},
            {"apiGroups": ["certificates.k8s.io"], "resources": ["podcertificaterequests/status"],
             "verbs": ["update"]},
            {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"],
             "resourceNames": [format!("{}/*", self.signer_domain())],
             "verbs": ["sign", "attest"]},
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
        ])
    }

    /// Takes the verb `sign` from the controller, or gives it back, and waits until it is so.
    ///
    /// # Errors
    /// When the server refuses, or takes too long.
    pub(crate) async fn let_sign(&self, allowed: bool) -> Result<()> {
        let mut rules = self.meshtool_rules();
        if !allowed {
            for rule in rules.as_array_mut().into_iter().flatten() {
                if let Some(verbs) = rule["verbs"].as_array_mut() {
                    verbs.retain(|verb| verb != "sign");
                }
            }
        }
        let roles: Api<ClusterRole> = Api::all(self.admin.clone());
        let patch = Patch::Merge(json!({"rules": rules}));
        let name = self.scoped("controller");
        roles.patch(&name, &PatchParams::default(), &patch).await?;
        // By the name that the role has: RBAC compares names as they are.
        let sign = json!({
            "group": "certificates.k8s.io", "resource": "signers", "verb": "sign",
            "name": format!("{}/*", self.signer_domain()),
        });
        self.wait_until_rights(&self.controller(), &sign, allowed)
            .await
    }

    /// Gives a user these rights in all namespaces.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn grant(&self, name: &str, user: &User, rules: Value) -> Result<()> {
        let name = self.scoped(name);
        let roles: Api<ClusterRole> = Api::all(self.admin.clone());
        let role = json!({"metadata": {"name": name}, "rules": rules});
        self.create(&roles, role).await?;
        let bindings: Api<ClusterRoleBinding> = Api::all(self.admin.clone());
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
            // A service account is a user too.
            "subjects": [{"kind": "User", "apiGroup": RBAC, "name": user.name}],
        });
        self.create(&bindings, binding).await?;
        Ok(())
    }

    /// Waits until a controller that manifests have just installed has its rights: the last of its
    /// ClusterRole, and of its Role.
    ///
    /// # Errors
    /// When it takes too long.
    pub(crate) async fn wait_for_installed(&self, namespace: &str, account: &str) -> Result<()> {
        let account = User::service_account(namespace, account);
        for last in [
            json!({"group": "events.k8s.io", "resource": "events", "verb": "create",
                   "namespace": "default"}),
            json!({"group": "coordination.k8s.io", "resource": "leases", "verb": "delete",
                   "namespace": namespace}),
        ] {
            self.wait_for_rights(&account, &last).await?;
        }
        Ok(())
    }

    /// Waits until the server's authorizer has seen what was just granted: these
    /// `resourceAttributes` of a SubjectAccessReview.
    ///
    /// # Errors
    /// When it takes too long.
    pub(crate) async fn wait_for_rights(&self, user: &User, attributes: &Value) -> Result<()> {
        self.wait_until_rights(user, attributes, true).await
    }

    async fn wait_until_rights(
        &self,
        user: &User,
        attributes: &Value,
        allowed: bool,
    ) -> Result<()> {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {
                "user": user.name, "groups": user.groups, "resourceAttributes": attributes,
            },
        });
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let request = http::Request::post("/apis/authorization.k8s.io/v1/subjectaccessreviews")
                .header("content-type", "application/json")
                .body(review.to_string().into_bytes())?;
            let answer: Value = self.admin.request(request).await?;
            if answer.pointer("/status/allowed") == Some(&Value::Bool(allowed)) {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!(
            "{} may {}do {attributes} after {PATIENCE:?}",
            user.name,
            if allowed { "not " } else { "" }
        )
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";
