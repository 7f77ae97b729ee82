//! How lists merge: the patch strategies and list types that Kubernetes 1.37 declares on the
//! fields of the types served here (`x-kubernetes-patch-strategy`, `x-kubernetes-list-type`).
//!
//! Fields that are not in the table are replaced as a whole.

/// How one field merges.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Merging {
    /// In a strategic merge patch.
    pub(crate) patch: Strategy,
    /// In a server-side apply.
    pub(crate) list: ListType,
}

/// What a strategic merge patch does with a field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Strategy {
    /// Elements are merged by this key; values without parts, where it is empty, are united.
    Merge(&'static str),
    /// The same, and of each element only the fields in the patch stay.
    MergeRetaining(&'static str),
    /// A list is replaced.
    Replace,
    /// A struct of which only the fields in the patch stay.
    Retain,
}

/// What server-side apply takes a list for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ListType {
    /// One value.
    Atomic,
    /// Elements that are told apart by these fields.
    Map(&'static [&'static str]),
    /// Values that each stand there once.
    Set,
}

impl Merging {
    /// The strategy as OpenAPI spells it, and its key.
    pub(super) fn strategic(self) -> Option<(&'static str, &'static str)> {
        match self.patch {
            Merge(key) => Some(("merge", key)),
            MergeRetaining(key) => Some(("merge,retainKeys", key)),
            Replace => None,
            Retain => Some(("retainKeys", "")),
        }
    }
}

/// How this field of this type merges.
pub(super) fn of(type_name: &str, field: &str) -> Merging {
    let short = type_name.rsplit('.').next().unwrap_or(type_name);
    TABLE
        .iter()
        .find(|(name, named, ..)| *name == short && *named == field)
        .map_or(
            Merging {
                patch: Replace,
                list: Atomic,
            },
            |(_, _, patch, list)| Merging {
                patch: *patch,
                list: *list,
            },
        )
}

use ListType::{Atomic, Map, Set};
use Strategy::{Merge, MergeRetaining, Replace, Retain};

/// Type, field, patch strategy, list type. No two types of different groups that share a name
/// disagree.
pub(super) const TABLE: &[(&str, &str, Strategy, ListType)] = &[
    (
        "DaemonSetStatus",
        "conditions",
        Merge("type"),
        Map(&["type"]),
    ),
    ("DeploymentSpec", "strategy", Retain, Atomic),
    (
        "DeploymentStatus",
        "conditions",
        Merge("type"),
        Map(&["type"]),
    ),
    (
        "ReplicaSetStatus",
        "conditions",
        Merge("type"),
        Map(&["type"]),
    ),
    (
        "PodCertificateRequestStatus",
        "conditions",
        Merge("type"),
        Map(&["type"]),
    ),
    ("Container", "env", Merge("name"), Map(&["name"])),
    (
        "Container",
        "ports",
        Merge("containerPort"),
        Map(&["containerPort", "protocol"]),
    ),
    (
        "Container",
        "volumeDevices",
        Merge("devicePath"),
        Map(&["devicePath"]),
    ),
    (
        "Container",
        "volumeMounts",
        Merge("mountPath"),
        Map(&["mountPath"]),
    ),
    ("ContainerRestartRuleOnExitCodes", "values", Replace, Set),
    (
        "ContainerStatus",
        "allocatedResourcesStatus",
        Merge("name"),
        Map(&["name"]),
    ),
    (
        "ContainerStatus",
        "volumeMounts",
        Merge("mountPath"),
        Map(&["mountPath"]),
    ),
    ("EphemeralContainer", "env", Merge("name"), Map(&["name"])),
    (
        "EphemeralContainer",
        "ports",
        Merge("containerPort"),
        Map(&["containerPort", "protocol"]),
    ),
    (
        "EphemeralContainer",
        "volumeDevices",
        Merge("devicePath"),
        Map(&["devicePath"]),
    ),
    (
        "EphemeralContainer",
        "volumeMounts",
        Merge("mountPath"),
        Map(&["mountPath"]),
    ),
    (
        "NamespaceStatus",
        "conditions",
        Merge("type"),
        Map(&["type"]),
    ),
    (
        "NodeAllocatableResourceClaimStatus",
        "containers",
        Replace,
        Set,
    ),
    (
        "NodeAllocatableResourceClaimStatus",
        "mapping",
        Merge("name"),
        Map(&["name"]),
    ),
    (
        "NodeAllocatableResourceClaimStatus",
        "overhead",
        Merge("name"),
        Map(&["name"]),
    ),
    (
        "NodePodPreemptionPolicy",
        "disableResizePreemption",
        Replace,
        Set,
    ),
    ("NodeSpec", "podCIDRs", Merge(""), Set),
    ("NodeStatus", "addresses", Merge("type"), Map(&["type"])),
    ("NodeStatus", "conditions", Merge("type"), Map(&["type"])),
    ("PodSpec", "containers", Merge("name"), Map(&["name"])),
    (
        "PodSpec",
        "ephemeralContainers",
        Merge("name"),
        Map(&["name"]),
    ),
    (
        "PodSpec",
        "evictionResponders",
        Merge("name"),
        Map(&["name"]),
    ),
    ("PodSpec", "hostAliases", Merge("ip"), Map(&["ip"])),
    ("PodSpec", "imagePullSecrets", Merge("name"), Map(&["name"])),
    ("PodSpec", "initContainers", Merge("name"), Map(&["name"])),
    (
        "PodSpec",
        "resourceClaims",
        MergeRetaining("name"),
        Map(&["name"]),
    ),
    ("PodSpec", "schedulingGates", Merge("name"), Map(&["name"])),
    (
        "PodSpec",
        "topologySpreadConstraints",
        Merge("topologyKey"),
        Map(&["topologyKey", "whenUnsatisfiable"]),
    ),
    ("PodSpec", "volumes", MergeRetaining("name"), Map(&["name"])),
    ("PodStatus", "conditions", Merge("type"), Map(&["type"])),
    ("PodStatus", "hostIPs", Merge("ip"), Atomic),
    (
        "PodStatus",
        "nodeAllocatableResourceClaimStatuses",
        Merge("resourceClaimName"),
        Map(&["resourceClaimName"]),
    ),
    ("PodStatus", "podIPs", Merge("ip"), Map(&["ip"])),
    (
        "PodStatus",
        "resourceClaimStatuses",
        MergeRetaining("name"),
        Map(&["name"]),
    ),
    ("PodStatus", "volumeHealth", Replace, Map(&["name"])),
    (
        "PodVolumeHealth",
        "healthConditions",
        Merge("status"),
        Map(&["status", "reason"]),
    ),
    ("ResourceRequirements", "claims", Replace, Map(&["name"])),
    ("ResourceStatus", "resources", Replace, Map(&["resourceID"])),
    ("ServiceAccount", "secrets", Merge("name"), Map(&["name"])),
    (
        "ServiceSpec",
        "ports",
        Merge("port"),
        Map(&["port", "protocol"]),
    ),
    ("ServiceStatus", "conditions", Merge("type"), Map(&["type"])),
    ("VolumeMount", "bindMountOptions", Replace, Set),
    ("ObjectMeta", "finalizers", Merge(""), Set),
    ("ObjectMeta", "ownerReferences", Merge("uid"), Map(&["uid"])),
];
