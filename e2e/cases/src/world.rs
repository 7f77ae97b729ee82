//! Where a case runs: which server, under which API version, in which namespace, as whom.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kube::Client;
use serde_json::json;

use crate::caller::Caller;

/// A server that cases run against.
#[async_trait]
pub trait Server: fmt::Debug + Send + Sync {
    /// A client that speaks for `user`, made inside the runtime that will use it.
    fn client(&self, user: &User) -> Client;

    /// The server's time, or this machine's where they are one.
    fn now(&self) -> Timestamp;

    /// Forgets the history of all objects, as etcd's compaction does: after it, a list that
    /// continues from before and a watch from long ago are gone.
    async fn compact(&self);
}

/// A Kubernetes release.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Release {
    /// 1.35
    V1_35,
    /// 1.36
    V1_36,
    /// 1.37
    V1_37,
}

/// A version of `certificates.k8s.io`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ApiVersion {
    /// v1beta1: 1.35 (public key and proof of possession), 1.36 (those, or a CSR), and 1.37 on request.
    V1beta1,
    /// v1: from 1.37.
    V1,
}

/// What a case runs against.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Target {
    /// The server's release.
    pub release: Release,
    /// The version that PodCertificateRequests and ClusterTrustBundles are spoken in.
    pub api: ApiVersion,
    /// What it does with admission policies.
    pub policies: Policies,
}

/// What a server does with ValidatingAdmissionPolicies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policies {
    /// It holds requests against them, as all real servers do.
    Evaluated,
    /// It does not know them.
    Unknown,
}

/// An identity.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// The user's name.
    pub name: String,
    /// Groups, `system:authenticated` left out: the server adds it unless there is
    /// `system:unauthenticated`.
    pub groups: Vec<String>,
}

/// A namespace of its own on a server.
#[derive(Clone, Debug)]
pub struct World {
    /// Release and API version.
    pub target: Target,
    /// The case's own namespace; names of cluster-scoped objects should contain it.
    pub namespace: String,
    server: Arc<dyn Server>,
}

impl Release {
    /// The release as people write it: `1.37`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_35 => "1.35",
            Self::V1_36 => "1.36",
            Self::V1_37 => "1.37",
        }
    }
}

impl ApiVersion {
    /// `v1` or `v1beta1`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1beta1 => "v1beta1",
        }
    }
}

impl User {
    /// A member of `system:masters`.
    pub fn admin() -> Self {
        Self {
            name: "kubernetes-admin".into(),
            groups: vec!["system:masters".into()],
        }
    }

    /// A user in no group, whom nobody has given any right.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            groups: Vec::new(),
        }
    }

    /// Who calls without a credential.
    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".into(),
            groups: vec!["system:unauthenticated".into()],
        }
    }

    /// The kubelet of a node.
    pub fn node(name: &str) -> Self {
        Self {
            name: format!("system:node:{name}"),
            groups: vec!["system:nodes".into()],
        }
    }

    /// A service account.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{namespace}"),
            ],
        }
    }
}

impl World {
    /// Makes `namespace` on `server` for one case.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn create(server: Arc<dyn Server>, target: Target, namespace: String) -> Self {
        let world = Self {
            target,
            namespace,
            server,
        };
        world
            .admin()
            .post(
                "/api/v1/namespaces",
                &json!({"metadata": {"name": world.namespace}}),
            )
            .await
            .created();
        world
    }

    /// Takes the namespace away again, without waiting for its end.
    pub async fn remove(&self) {
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        self.admin().delete(&path).await;
    }

    /// Calls as the administrator.
    pub fn admin(&self) -> Caller {
        self.as_user(&User::admin())
    }

    /// Calls as this user.
    pub fn as_user(&self, user: &User) -> Caller {
        Caller::new(self.server.client(user))
    }

    /// The server's time.
    pub fn now(&self) -> Timestamp {
        self.server.now()
    }

    /// See [`Server::compact`].
    pub async fn compact(&self) {
        self.server.compact().await;
    }

    /// The API version of `certificates.k8s.io` as objects carry it.
    pub fn certificates_api(&self) -> String {
        format!("certificates.k8s.io/{}", self.target.api.as_str())
    }

    /// The path of the namespace's PodCertificateRequests.
    pub fn requests(&self) -> String {
        format!(
            "/apis/{}/namespaces/{}/podcertificaterequests",
            self.certificates_api(),
            self.namespace
        )
    }

    /// The path of ClusterTrustBundles.
    pub fn bundles(&self) -> String {
        format!("/apis/{}/clustertrustbundles", self.certificates_api())
    }

    /// The path of a core resource in the namespace, for example `pods`.
    pub fn core(&self, plural: &str) -> String {
        format!("/api/v1/namespaces/{}/{plural}", self.namespace)
    }
}
