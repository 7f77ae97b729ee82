//! Manifests into objects: every document of a YAML stream is created, or replaced where it exists.

use std::fmt;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::Value;

/// What happened to one document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Applied {
    /// The object's kind.
    pub kind: String,
    /// Its namespace, if its kind has one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Whether it is new.
    pub change: Change,
}

/// What applying changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// The object is new.
    Created,
    /// The object was there.
    Replaced,
}

/// Why a manifest was not applied. Documents before the one at fault were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The API server refused the object.
    #[error("document {document}: {kind} {name:?} was refused by the API server")]
    Api {
        /// Counted from 1.
        document: usize,
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
        /// What it said.
        #[source]
        source: Box<kube::Error>,
    },
    /// A document lacks something every object has.
    #[error("document {document}: {field} is missing or no text")]
    Incomplete {
        /// Counted from 1.
        document: usize,
        /// The field's path.
        field: &'static str,
    },
    /// The sandbox does not have such objects.
    #[error("document {document}: the sandbox has no kind {kind:?} of apiVersion {api_version:?}")]
    UnknownKind {
        /// Counted from 1.
        document: usize,
        /// The document's `apiVersion`.
        api_version: String,
        /// The document's `kind`.
        kind: String,
    },
    /// The text is no YAML.
    #[error("the manifest is no YAML")]
    Yaml(#[source] Box<serde_saphyr::Error>),
}

/// Creates or replaces what the YAML stream holds, in its order, with the rights of `client`.
///
/// # Errors
/// The text is no YAML, a document is incomplete or of a kind the sandbox does not have (then nothing was changed), or
/// the API server refused one.
pub async fn apply(client: &Client, yaml: &str) -> Result<Vec<Applied>, ApplyError> {
    // A mistake in a later document is found before an earlier one changes anything.
    let parsed = parse(yaml)?;
    let mut applied = Vec::with_capacity(parsed.len());
    for document in parsed {
        applied.push(document.apply(client).await?);
    }
    Ok(applied)
}

/// Reads a stream of manifests, and answers how many objects are in it. Nothing is applied.
///
/// # Errors
/// The text is no YAML, or a document is no object of a kind that the sandbox has.
pub fn check_manifest(yaml: &str) -> Result<usize, ApplyError> {
    parse(yaml).map(|documents| documents.len())
}

fn parse(yaml: &str) -> Result<Vec<Document>, ApplyError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(yaml).map_err(|error| ApplyError::Yaml(Box::new(error)))?;
    documents
        .into_iter()
        .enumerate()
        .filter(|(_, value)| !value.is_null())
        .map(|(index, value)| Document::parse(index + 1, value))
        .collect()
}

struct Document {
    number: usize,
    kind: &'static Kind,
    namespace: Option<String>,
    name: String,
    object: Value,
}

impl Document {
    fn parse(number: usize, object: Value) -> Result<Self, ApplyError> {
        let text = |pointer: &str, field: &'static str| {
            let text = object
                .pointer(pointer)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty());
            text.map(str::to_owned).ok_or(ApplyError::Incomplete {
                document: number,
                field,
            })
        };
        let api_version = text("/apiVersion", "apiVersion")?;
        let kind = text("/kind", "kind")?;
        let Some(known) = KINDS.iter().find(|known| known.is(&api_version, &kind)) else {
            return Err(ApplyError::UnknownKind {
                document: number,
                api_version,
                kind,
            });
        };
        let name = text("/metadata/name", "metadata.name")?;
        let namespace = match known.scope {
            Scope::Cluster => None,
            Scope::Namespaced => {
                let named = text("/metadata/namespace", "metadata.namespace");
                Some(named.unwrap_or_else(|_| "default".to_owned()))
            }
        };
        Ok(Self {
            number,
            kind: known,
            namespace,
            name,
            object,
        })
    }

    async fn apply(self, client: &Client) -> Result<Applied, ApplyError> {
        let change = self.put(client).await.map_err(|source| ApplyError::Api {
            document: self.number,
            kind: self.kind.kind.to_owned(),
            name: self.name.clone(),
            source: Box::new(source),
        })?;
        Ok(Applied {
            kind: self.kind.kind.to_owned(),
            namespace: self.namespace,
            name: self.name,
            change,
        })
    }

    async fn put(&self, client: &Client) -> kube::Result<Change> {
        let resource = self.kind.resource();
        let api: Api<DynamicObject> = match &self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let mut object: DynamicObject =
            serde_json::from_value(self.object.clone()).map_err(kube::Error::SerdeError)?;
        let params = PostParams::default();
        loop {
            let Some(there) = api.get_opt(&self.name).await? else {
                match api.create(&params, &object).await {
                    Err(kube::Error::Api(status)) if status.is_already_exists() => continue,
                    created => return created.map(|_| Change::Created),
                }
            };
            if self.kind.kind == "Pod" {
                // Of a pod much is filled in that a manifest does not have: node, service account, its token's volume.
                let merge = PatchParams::apply("podcert-sandbox").force();
                let patch = Patch::Apply(&object);
                return api
                    .patch(&self.name, &merge, &patch)
                    .await
                    .map(|_| Change::Replaced);
            }
            object.metadata.resource_version = there.metadata.resource_version;
            match api.replace(&self.name, &params, &object).await {
                // Somebody else wrote in between; the manifest's will still be done.
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                replaced => return replaced.map(|_| Change::Replaced),
            }
        }
    }
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            namespace,
            name,
            change,
        } = self;
        let change = match change {
            Change::Created => "created",
            Change::Replaced => "replaced",
        };
        match namespace {
            Some(namespace) => write!(f, "{kind} {namespace}/{name} {change}"),
            None => write!(f, "{kind} {name} {change}"),
        }
    }
}

/// A kind that manifests may hold.
struct Kind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    scope: Scope,
}

enum Scope {
    Cluster,
    Namespaced,
}

impl Kind {
    fn is(&self, api_version: &str, kind: &str) -> bool {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        self.group == group && self.version == version && self.kind == kind
    }

    fn resource(&self) -> ApiResource {
        let gvk = GroupVersionKind::gvk(self.group, self.version, self.kind);
        ApiResource::from_gvk_with_plural(&gvk, self.plural)
    }
}

macro_rules! kinds {
    ($($scope:ident $group:literal $version:literal $kind:literal $plural:literal;)*) => {
        const KINDS: &[Kind] = &[$(Kind {
            group: $group, version: $version, kind: $kind, plural: $plural, scope: Scope::$scope,
        }),*];
    };
}

kinds! {
    Cluster "" "v1" "Namespace" "namespaces";
    Cluster "" "v1" "Node" "nodes";
    Cluster "certificates.k8s.io" "v1" "ClusterTrustBundle" "clustertrustbundles";
    Cluster "rbac.authorization.k8s.io" "v1" "ClusterRole" "clusterroles";
    Cluster "rbac.authorization.k8s.io" "v1" "ClusterRoleBinding" "clusterrolebindings";
    Namespaced "" "v1" "ConfigMap" "configmaps";
    Namespaced "" "v1" "Pod" "pods";
    Namespaced "" "v1" "Secret" "secrets";
    Namespaced "" "v1" "Service" "services";
    Namespaced "" "v1" "ServiceAccount" "serviceaccounts";
    Namespaced "apps" "v1" "DaemonSet" "daemonsets";
    Namespaced "apps" "v1" "Deployment" "deployments";
    Namespaced "certificates.k8s.io" "v1" "PodCertificateRequest" "podcertificaterequests";
    Namespaced "coordination.k8s.io" "v1" "Lease" "leases";
    Namespaced "rbac.authorization.k8s.io" "v1" "Role" "roles";
    Namespaced "rbac.authorization.k8s.io" "v1" "RoleBinding" "rolebindings";
}
