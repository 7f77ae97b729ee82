//! The kinds this server knows: one row per resource.
//!
//! A row says where the resource is served, how its names are checked and which of the common
//! behaviours (status subresource, generation, graceful deletion ...) it has. What goes beyond a
//! row is code in [`crate::strategy`]. To add a plain kind, add a row; everything else follows.

use crate::strategy::names::NameRule;
use crate::versions::Versions;

/// One served resource.
#[derive(Debug)]
pub(crate) struct Kind {
    /// The row's place in [`KINDS`].
    pub(crate) id: usize,
    /// The row whose table in the store holds the objects: another one for a further version of a
    /// resource.
    pub(crate) table: usize,
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    /// `plural/status`, the name under which statistics and faults know the subresource.
    pub(crate) plural_status: &'static str,
    /// `plural/scale`, likewise.
    pub(crate) plural_scale: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) short_names: &'static [&'static str],
    pub(crate) scope: Scope,
    pub(crate) name_rule: NameRule,
    pub(crate) features: &'static [Feature],
    /// Field selectors beyond `metadata.name`. A kind that lists any supports `metadata.namespace`
    /// only if it lists that too; a kind that lists none supports both, as in the real server.
    pub(crate) fields: &'static [&'static str],
    pub(crate) rules: Rules,
}

/// Where objects of a kind live.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scope {
    Cluster,
    Namespaced,
}

/// Behaviour a kind has beside plain storage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Feature {
    /// `kubectl get all` shows it.
    All,
    /// PUT of an absent object creates it.
    CreateOnUpdate,
    /// `metadata.generation` counts changes of the spec.
    Generation,
    /// Deletion first sets `deletionTimestamp` and waits for a second call with no grace.
    GracefulDeletion,
    /// DELETE answers with the object, not with a `Status`.
    ReturnsDeleted,
    /// There is a `scale` subresource.
    Scale,
    /// There is a `status` subresource.
    Status,
    /// A status update may change labels and annotations.
    StatusTouchesMetadata,
    /// PUT without a resource version overwrites.
    UnconditionalUpdate,
}

/// Which built-in rules apply on writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Rules {
    ClusterTrustBundle,
    ConfigMap,
    DaemonSet,
    Event,
    Lease,
    Namespace,
    Plain,
    Pod,
    PodCertificateRequest,
    Secret,
    Service,
    Workload,
}

impl Kind {
    /// `resource.group`, or the bare resource in the core group: as error messages name it.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// `group/version`, or the bare version in the core group.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Whether objects of this row are kept encoded in its own version.
    pub(crate) fn is_native(&self) -> bool {
        self.id == self.table
    }

    pub(crate) fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    pub(crate) fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }
}

/// The kind served at this path, if any.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS
        .iter()
        .find(|kind| kind.plural == plural && kind.group == group && kind.version == version)
}

/// Whether anything is served under this group and version. The first version of a group stays
/// even when nothing that this server knows is served there.
pub(crate) fn serves(group: &str, version: &str, versions: Versions) -> bool {
    KINDS.iter().any(|kind| {
        kind.group == group
            && kind.version == version
            && (kind.is_native() || versions.include(kind))
    })
}

macro_rules! kinds {
    (@table $id:ident) => { Row::$id as usize };
    (@table $id:ident $table:ident) => { Row::$table as usize };
    ($($id:ident {
        $group:literal, $version:literal, $plural:literal, $singular:literal, $kind:literal,
        [$($short:literal),*], $scope:ident, $name:ident, [$($feature:ident),*],
        [$($field:literal),*], $rules:ident $(, stored as $table:ident)?
    })*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "names of table rows")]
        enum Row { $($id),* }
        $(
            #[allow(dead_code, reason = "a row that no rule of ours names is still served")]
            pub(crate) const $id: usize = Row::$id as usize;
        )*
        /// Every kind, in the order of their ids.
        pub(crate) static KINDS: &[Kind] = &[$(Kind {
            id: Row::$id as usize,
            table: kinds!(@table $id $($table)?),
            group: $group,
            version: $version,
            plural: $plural,
            plural_status: concat!($plural, "/status"),
            plural_scale: concat!($plural, "/scale"),
            singular: $singular,
            kind: $kind,
            short_names: &[$($short),*],
            scope: Scope::$scope,
            name_rule: NameRule::$name,
            features: &[$(Feature::$feature),*],
            fields: &[$($field),*],
            rules: Rules::$rules,
        }),*];
    };
}

kinds! {
    NAMESPACES { "", "v1", "namespaces", "namespace", "Namespace", ["ns"], Cluster, Label,
        [ReturnsDeleted, Status, UnconditionalUpdate], ["status.phase"], Namespace }
    NODES { "", "v1", "nodes", "node", "Node", ["no"], Cluster, Subdomain,
        [Status, StatusTouchesMetadata, UnconditionalUpdate], ["spec.unschedulable"], Plain }
    PODS { "", "v1", "pods", "pod", "Pod", ["po"], Namespaced, Subdomain,
        [All, Generation, GracefulDeletion, ReturnsDeleted, Status, StatusTouchesMetadata,
         UnconditionalUpdate],
        ["metadata.namespace", "spec.nodeName", "spec.restartPolicy", "spec.schedulerName",
         "spec.serviceAccountName", "spec.hostNetwork", "status.phase", "status.podIP",
         "status.nominatedNodeName"], Pod }
    SERVICES { "", "v1", "services", "service", "Service", ["svc"], Namespaced, Label,
        [All, CreateOnUpdate, ReturnsDeleted, Status, UnconditionalUpdate],
        ["metadata.namespace", "spec.clusterIP", "spec.type"], Service }
    SERVICE_ACCOUNTS { "", "v1", "serviceaccounts", "serviceaccount", "ServiceAccount", ["sa"],
        Namespaced, Subdomain, [ReturnsDeleted, UnconditionalUpdate], [], Plain }
    SECRETS { "", "v1", "secrets", "secret", "Secret", [], Namespaced, Subdomain,
        [UnconditionalUpdate], ["metadata.namespace", "type"], Secret }
    CONFIG_MAPS { "", "v1", "configmaps", "configmap", "ConfigMap", ["cm"], Namespaced, Subdomain,
        [UnconditionalUpdate], [], ConfigMap }
    EVENTS { "", "v1", "events", "event", "Event", ["ev"], Namespaced, Subdomain,
        [CreateOnUpdate, UnconditionalUpdate],
        ["metadata.namespace", "involvedObject.kind", "involvedObject.namespace", "involvedObject.name",
         "involvedObject.uid", "involvedObject.apiVersion", "involvedObject.resourceVersion",
         "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type"], Event }
    EVENTS_V1 { "events.k8s.io", "v1", "events", "event", "Event", ["ev"], Namespaced, Subdomain,
        [CreateOnUpdate, UnconditionalUpdate],
        ["metadata.namespace", "regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid",
         "regarding.apiVersion", "regarding.resourceVersion", "regarding.fieldPath", "reason",
         "reportingController", "type"], Event }
    DAEMON_SETS { "apps", "v1", "daemonsets", "daemonset", "DaemonSet", ["ds"], Namespaced,
        Subdomain, [All, Generation, Status, UnconditionalUpdate], [], DaemonSet }
    DEPLOYMENTS { "apps", "v1", "deployments", "deployment", "Deployment", ["deploy"], Namespaced,
        Subdomain, [All, Generation, Scale, Status, UnconditionalUpdate], [], Workload }
    REPLICA_SETS { "apps", "v1", "replicasets", "replicaset", "ReplicaSet", ["rs"], Namespaced,
        Subdomain, [All, Generation, Scale, Status, UnconditionalUpdate], [], Workload }
    LEASES { "coordination.k8s.io", "v1", "leases", "lease", "Lease", [], Namespaced, Subdomain,
        [CreateOnUpdate], [], Lease }
    POD_CERTIFICATE_REQUESTS { "certificates.k8s.io", "v1", "podcertificaterequests",
        "podcertificaterequest", "PodCertificateRequest", [], Namespaced, Subdomain, [Status],
        ["spec.signerName", "spec.podName", "spec.nodeName"], PodCertificateRequest }
    CLUSTER_TRUST_BUNDLES { "certificates.k8s.io", "v1", "clustertrustbundles",
        "clustertrustbundle", "ClusterTrustBundle", [], Cluster, TrustBundle, [],
        ["spec.signerName"], ClusterTrustBundle }
    POD_CERTIFICATE_REQUESTS_V1BETA1 { "certificates.k8s.io", "v1beta1", "podcertificaterequests",
        "podcertificaterequest", "PodCertificateRequest", [], Namespaced, Subdomain, [Status],
        ["spec.signerName", "spec.podName", "spec.nodeName"], PodCertificateRequest,
        stored as POD_CERTIFICATE_REQUESTS }
    CLUSTER_TRUST_BUNDLES_V1BETA1 { "certificates.k8s.io", "v1beta1", "clustertrustbundles",
        "clustertrustbundle", "ClusterTrustBundle", [], Cluster, TrustBundle, [],
        ["spec.signerName"], ClusterTrustBundle, stored as CLUSTER_TRUST_BUNDLES }
    ROLES { "rbac.authorization.k8s.io", "v1", "roles", "role", "Role", [], Namespaced,
        PathSegment, [UnconditionalUpdate], [], Plain }
    ROLE_BINDINGS { "rbac.authorization.k8s.io", "v1", "rolebindings", "rolebinding",
        "RoleBinding", [], Namespaced, PathSegment, [UnconditionalUpdate], [], Plain }
    CLUSTER_ROLES { "rbac.authorization.k8s.io", "v1", "clusterroles", "clusterrole",
        "ClusterRole", [], Cluster, PathSegment, [UnconditionalUpdate], [], Plain }
    CLUSTER_ROLE_BINDINGS { "rbac.authorization.k8s.io", "v1", "clusterrolebindings",
        "clusterrolebinding", "ClusterRoleBinding", [], Cluster, PathSegment,
        [UnconditionalUpdate], [], Plain }
}
