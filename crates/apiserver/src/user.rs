//! Who is calling, and what they may do.
//!
//! Each service made by [`crate::ApiServer::as_user`] speaks for one [`User`]; authentication is
//! the business of whoever hands the service out. What a user may do is asked of an
//! [`Authorizer`], for each request and for the two extra verbs of the certificates API: `sign`
//! and `attest` on `signers`.

use std::collections::BTreeMap;
use std::fmt;

/// The identity a request is made under.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct User {
    /// The user's name, for example `system:serviceaccount:podcert:controller`.
    pub name: String,
    /// The groups the user is in.
    pub groups: Vec<String>,
    /// A stable identifier, where the authenticator knows one.
    pub uid: Option<String>,
    /// Whatever else the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user in the group `system:authenticated` and no other.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            groups: vec!["system:authenticated".into()],
            ..Self::default()
        }
    }

    /// Who calls without a credential: `system:anonymous` in `system:unauthenticated`.
    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".into(),
            groups: vec!["system:unauthenticated".into()],
            ..Self::default()
        }
    }

    /// The administrator kubeadm makes: a member of `system:masters`.
    pub fn admin() -> Self {
        let mut user = Self::new("kubernetes-admin");
        user.groups.insert(0, "system:masters".into());
        user
    }

    /// The kubelet of a node: `system:node:<name>` in `system:nodes`.
    pub fn node(name: &str) -> Self {
        let mut user = Self::new(format!("system:node:{name}"));
        user.groups.insert(0, "system:nodes".into());
        user
    }

    /// A pod's identity: `system:serviceaccount:<namespace>:<name>` in its two groups.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        let mut user = Self::new(format!("system:serviceaccount:{namespace}:{name}"));
        user.groups.insert(0, "system:serviceaccounts".into());
        user.groups
            .insert(1, format!("system:serviceaccounts:{namespace}"));
        user
    }
}

/// What a user wants to do, as RBAC sees it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Attributes<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for `signers`
    /// also `sign` and `attest`, for users, groups and service accounts `impersonate`, and for
    /// kubelets what `request-serviceaccounts-…` names.
    pub verb: &'a str,
    /// The API group; empty for the core group.
    pub group: &'a str,
    /// The plural resource name, for example `pods`.
    pub resource: &'a str,
    /// `status`, `scale`, `log`, `token`, `binding`, or empty.
    pub subresource: &'a str,
    /// The namespace, or empty for cluster-scoped resources and requests across all namespaces.
    pub namespace: &'a str,
    /// The object's name, or empty. For `signers` the signer name, or `<domain>/*`.
    pub name: &'a str,
    /// The path of a request for no resource, for example `/version`; else empty, as all the
    /// others are here.
    pub path: &'a str,
    /// What the field selector of a list, watch or deletecollection demands to be equal.
    pub fields: &'a [(String, String)],
}

/// Whether a user may do what they ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Permission {
    /// The request goes on.
    Allowed,
    /// The request ends with `403 Forbidden` (or, for `sign`, with the real server's `422`).
    Denied,
}

/// Decides what users may do. Asked for every request; must not block.
pub trait Authorizer: fmt::Debug + Send + Sync {
    /// Whether `user` may do this.
    fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> Permission;

    /// What a refused user is told beside what they asked for; asked after a denial alone.
    fn reason(&self, user: &User, attributes: &Attributes<'_>) -> String {
        let _ = (user, attributes);
        String::new()
    }

    /// All that `user` may do in a namespace, as the `rules` of Roles and ClusterRoles (JSON of
    /// `rbac.authorization.k8s.io/v1` `PolicyRule`); `None` if this authorizer cannot tell.
    fn rules(&self, user: &User, namespace: &str) -> Option<Vec<serde_json::Value>> {
        let _ = (user, namespace);
        None
    }
}

/// Allows everything: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Authorizer for AllowAll {
    fn authorize(&self, _user: &User, _attributes: &Attributes<'_>) -> Permission {
        Permission::Allowed
    }

    fn rules(&self, _user: &User, _namespace: &str) -> Option<Vec<serde_json::Value>> {
        Some(everything())
    }
}

/// Whether `user` may `sign` or `attest` for a signer: under its full name, or under
/// `<domain>/*` (`pkg/certauthorization`).
pub(crate) fn may_use_signer(
    authorizer: &dyn Authorizer,
    user: &User,
    verb: &str,
    signer: &str,
) -> bool {
    let ask = |name: &str| {
        let attributes = Attributes {
            verb,
            group: "certificates.k8s.io",
            resource: "signers",
            subresource: "",
            namespace: "",
            name,
            path: "",
            fields: &[],
        };
        authorizer.authorize(user, &attributes) == Permission::Allowed
    };
    if ask(signer) {
        return true;
    }
    let domain = signer.split('/').next().unwrap_or_default();
    ask(&format!("{domain}/*"))
}

/// The rules of whoever may do everything.
pub(crate) fn everything() -> Vec<serde_json::Value> {
    vec![
        serde_json::json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
        serde_json::json!({"verbs": ["*"], "nonResourceURLs": ["*"]}),
    ]
}
