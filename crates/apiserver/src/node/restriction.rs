//! The NodeRestriction admission plugin: what a kubelet writes must be about its own node.
//!
//! It runs before the rules of [`crate::strategy`], on the object as the client sent it (with
//! defaults). For PodCertificateRequests the request must tell the truth about pod, service account
//! and node: what could be the fault of a cache that lags is refused with `500`, after which
//! kubelets try again, the rest with `403`.

use serde_json::Value;

use super::{find, identity, list};
use crate::kinds::{self, KINDS, Rules};
use crate::object::{at, text};
use crate::request::{Part, Target};
use crate::status::Failure;
use crate::store::Store;
use crate::user::{Attributes, Authorizer, Permission, User};

/// The annotation that marks a pod as the mirror of a static one.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
/// Where kubelets have their leases.
pub(crate) const LEASES: &str = "kube-node-lease";

/// What is about to happen to an object.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation<'a> {
    Create(&'a Value),
    Delete,
    Update { old: &'a Value, new: &'a Value },
}

/// Admits what a user is about to write, or refuses it. Users that are no nodes are not
/// restricted.
pub(crate) fn admit(
    store: &Store,
    authorizer: &dyn Authorizer,
    user: &User,
    target: &Target,
    operation: Operation<'_>,
) -> Result<(), Failure> {
    let Some(node) = identity(user) else {
        return Ok(());
    };
    let admission = Admission {
        store,
        user,
        target,
        node,
        operation,
    };
    if node.is_empty() {
        let user = &user.name;
        return Err(admission.forbidden(&format!("could not determine node from user {user:?}")));
    }
    match (target.kind.rules, target.kind.group, target.kind.plural) {
        (Rules::Pod, ..) => admission.pod(),
        (Rules::PodCertificateRequest, ..) => admission.certificate_request(authorizer),
        (_, "", "nodes") => admission.own_node(),
        (_, "coordination.k8s.io", "leases") => admission.lease(),
        _ => Ok(()),
    }
}

/// Admits a request for a token: a node gets one for a pod of its own alone, and for an audience
/// that the pod mounts a token for.
pub(crate) fn admit_token(
    store: &Store,
    authorizer: &dyn Authorizer,
    user: &User,
    target: &Target,
    request: &Value,
) -> Result<(), Failure> {
    let Some(node) = identity(user) else {
        return Ok(());
    };
    let forbidden = |why: &str| Err(Failure::forbidden(target.kind, &target.name, why));
    let bound = |field: &str| text(request, &["spec", "boundObjectRef", field]);
    if (bound("apiVersion"), bound("kind")) != ("v1", "Pod") || bound("name").is_empty() {
        return forbidden("node requested token not bound to a pod");
    }
    if bound("uid").is_empty() {
        return forbidden("node requested token with a pod binding without a uid");
    }
    let Some(pod) = find(store, kinds::PODS, &target.namespace, bound("name")) else {
        return Err(match KINDS.get(kinds::PODS) {
            Some(pods) => Failure::not_found(pods, bound("name")),
            None => Failure::no_such_resource(),
        });
    };
    if bound("uid") != text(&pod, &["metadata", "uid"]) {
        return forbidden(&format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
            bound("uid")
        ));
    }
    if text(&pod, &["spec", "nodeName"]) != node {
        return forbidden("node requested token bound to a pod scheduled on a different node");
    }
    let spec = request.get("spec").unwrap_or(&Value::Null);
    let audiences: Vec<&str> = list(spec, "audiences").filter_map(Value::as_str).collect();
    let audience = match audiences.as_slice() {
        [] => "",
        [one] => one,
        _ => return forbidden("node may only request 0 or 1 audiences"),
    };
    let attributes = Attributes {
        verb: "request-serviceaccounts-token-audience",
        group: "",
        resource: audience,
        subresource: "",
        namespace: &target.namespace,
        name: &target.name,
        path: "",
        fields: &[],
    };
    let mounted = sources(&pod)
        .filter_map(|source| source.get("serviceAccountToken"))
        .any(|token| text(token, &["audience"]) == audience);
    if mounted || authorizer.authorize(user, &attributes) == Permission::Allowed {
        return Ok(());
    }
    forbidden(&format!(
        "{} is not authorized to request tokens for audience {audience:?}",
        user.name
    ))
}

struct Admission<'a> {
    store: &'a Store,
    user: &'a User,
    target: &'a Target,
    node: &'a str,
    operation: Operation<'a>,
}

impl Admission<'_> {
    fn forbidden(&self, why: &str) -> Failure {
        Failure::forbidden(self.target.kind, self.name(), why)
    }

    /// The name the object has or is to have; a prefix where the server will complete it.
    fn name(&self) -> &str {
        let given = match self.operation {
            Operation::Create(object) => match text(object, &["metadata", "name"]) {
                "" => text(object, &["metadata", "generateName"]),
                name => name,
            },
            Operation::Delete | Operation::Update { .. } => &self.target.name,
        };
        if given.is_empty() { "Unknown" } else { given }
    }

    fn pod(&self) -> Result<(), Failure> {
        let node = self.node;
        match (self.target.part, self.operation) {
            (Part::Binding, _) => Err(self.forbidden(
                "unexpected pod subresource \"binding\", only 'status' and 'eviction' are allowed",
            )),
            (Part::Main, Operation::Create(pod)) => self.mirror_pod(pod),
            (Part::Main, Operation::Delete) => {
                let Target { namespace, name, .. } = self.target;
                let Some(pod) = find(self.store, kinds::PODS, namespace, name) else {
                    return Err(Failure::not_found(self.target.kind, name));
                };
                if text(&pod, &["spec", "nodeName"]) == node {
                    return Ok(());
                }
                Err(self.forbidden(&format!(
                    "node {node:?} can only delete pods with spec.nodeName set to itself"
                )))
            }
            (Part::Status, Operation::Update { old, new }) => {
                if text(old, &["spec", "nodeName"]) != node {
                    return Err(self.forbidden(&format!(
                        "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
                    )));
                }
                if at(old, &["metadata", "labels"]) != at(new, &["metadata", "labels"]) {
                    return Err(self.forbidden(&format!(
                        "node {node:?} cannot update labels through pod status"
                    )));
                }
                Ok(())
            }
            _ => Err(self.forbidden(&format!(
                "unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"
            ))),
        }
    }

    fn mirror_pod(&self, pod: &Value) -> Result<(), Failure> {
        let node = self.node;
        if at(pod, &["metadata", "annotations", MIRROR]).is_none() {
            return Err(self.forbidden(&format!(
                "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
            )));
        }
        if text(pod, &["spec", "nodeName"]) != node {
            return Err(self.forbidden(&format!(
                "node {node:?} can only create pods with spec.nodeName set to itself"
            )));
        }
        let owners: Vec<&Value> = at(pod, &["metadata", "ownerReferences"])
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .collect();
        let [owner] = owners.as_slice() else {
            let which = if owners.is_empty() {
                "an owner reference"
            } else {
                "a single owner reference"
            };
            return Err(self.forbidden(&format!(
                "node {node:?} can only create pods with {which} set to itself"
            )));
        };
        let flag = |field: &str| owner.get(field) == Some(&Value::Bool(true));
        let own = text(owner, &["apiVersion"]) == "v1"
            && text(owner, &["kind"]) == "Node"
            && text(owner, &["name"]) == node;
        let complaint = if !own {
            format!("node {node:?} can only create pods with an owner reference set to itself")
        } else if !flag("controller") {
            format!(
                "node {node:?} can only create pods with a controller owner reference set to itself"
            )
        } else if flag("blockOwnerDeletion") {
            format!("node {node:?} must not set blockOwnerDeletion on an owner reference")
        } else {
            return Ok(());
        };
        Err(self.forbidden(&complaint))
    }

    fn own_node(&self) -> Result<(), Failure> {
        let node = self.node;
        if self.name() != node {
            return Err(self.forbidden(&format!(
                "node {node:?} is not allowed to modify node {:?}",
                self.name()
            )));
        }
        match self.operation {
            Operation::Delete => Ok(()),
            Operation::Create(object) => match forbidden_labels(object, &Value::Null) {
                labels if labels.is_empty() => Ok(()),
                labels => Err(self.forbidden(&format!(
                    "node {node:?} is not allowed to set the following labels: {labels}"
                ))),
            },
            Operation::Update { old, new } => {
                for (field, path) in [
                    ("taints", ["spec", "taints"]),
                    ("ownerReferences", ["metadata", "ownerReferences"]),
                ] {
                    if at(old, &path) != at(new, &path) {
                        return Err(self.forbidden(&format!(
                            "node {node:?} is not allowed to modify {field}"
                        )));
                    }
                }
                match forbidden_labels(new, old) {
                    labels if labels.is_empty() => Ok(()),
                    labels => {
                        Err(self.forbidden(&format!("is not allowed to modify labels: {labels}")))
                    }
                }
            }
        }
    }

    fn lease(&self) -> Result<(), Failure> {
        if self.target.namespace != LEASES {
            return Err(self.forbidden(&format!(
                "can only access leases in the {LEASES:?} system namespace"
            )));
        }
        if self.name() != self.node {
            return Err(self.forbidden(
                "can only access node lease with the same name as the requesting node",
            ));
        }
        Ok(())
    }

    fn certificate_request(&self, authorizer: &dyn Authorizer) -> Result<(), Failure> {
        let request = match self.operation {
            Operation::Create(request) => request,
            Operation::Delete => return Err(self.forbidden("unexpected operation DELETE")),
            Operation::Update { .. } => return Err(self.forbidden("unexpected operation UPDATE")),
        };
        let field = |name: &str| text(request, &["spec", name]);
        let uid = |object: &Value| text(object, &["metadata", "uid"]).to_owned();
        let namespace = &self.target.namespace;
        let (node_name, account) = (field("nodeName"), field("serviceAccountName"));
        let pod_name = format!("{namespace}/{}", field("podName"));
        if node_name != self.node {
            return Err(self.forbidden(&format!(
                "PodCertificateRequest.Spec.NodeName={node_name:?}, which is not the requesting node {:?}",
                self.node
            )));
        }
        let node = find(self.store, kinds::NODES, "", node_name)
            .ok_or_else(|| missing("node", node_name, node_name))?;
        if uid(&node) != field("nodeUID") {
            return Err(lagging(format!(
                "PodCertificateRequest for pod {pod_name:?} names node UID {:?}, inconsistent with the running node ({:?})",
                field("nodeUID"),
                uid(&node)
            )));
        }
        let pod = find(self.store, kinds::PODS, namespace, field("podName"))
            .ok_or_else(|| missing("pod", &pod_name, field("podName")))?;
        if uid(&pod) != field("podUID") {
            return Err(lagging(format!(
                "PodCertificateRequest for pod {pod_name:?} contains pod UID ({:?}) which differs from running pod {:?}",
                field("podUID"),
                uid(&pod)
            )));
        }
        if text(&pod, &["spec", "nodeName"]) != node_name {
            return Err(self.forbidden(&format!(
                "pod {pod_name:?} is not running on node {node_name:?} named in the PodCertificateRequest"
            )));
        }
        if at(&pod, &["metadata", "annotations", MIRROR]).is_some() {
            return Err(self.forbidden(&format!("pod {pod_name:?} is a mirror pod")));
        }
        let pods_account = text(&pod, &["spec", "serviceAccountName"]);
        if account != pods_account {
            return Err(self.forbidden(&format!(
                "PodCertificateRequest for pod {pod_name:?} contains serviceAccountName ({account:?}) that differs from running pod ({pods_account:?})"
            )));
        }
        let live =
            find(self.store, kinds::SERVICE_ACCOUNTS, namespace, account).ok_or_else(|| {
                missing(
                    "service account",
                    &format!("{namespace}/{account}"),
                    account,
                )
            })?;
        if uid(&live) != field("serviceAccountUID") {
            return Err(lagging(format!(
                "PodCertificateRequest for pod {pod_name:?} names service account UID {:?}, which differs from the running service account ({:?})",
                field("serviceAccountUID"),
                uid(&live)
            )));
        }
        let signer = field("signerName");
        if mounts(&pod, signer) || self.may_request(authorizer, signer, account) {
            return Ok(());
        }
        Err(self.forbidden(&format!(
            "pod {pod_name:?} does not mount a podCertificate projected volume for signer {signer:?}"
        )))
    }

    /// Whether someone has allowed the node to ask this signer for certificates of this service
    /// account, whatever the pod mounts (from 1.37 on).
    fn may_request(&self, authorizer: &dyn Authorizer, signer: &str, account: &str) -> bool {
        let attributes = Attributes {
            verb: "request-serviceaccounts-podcertificate-signer",
            group: "certificates.k8s.io",
            resource: &signer.replace('/', ":"),
            subresource: "",
            namespace: &self.target.namespace,
            name: account,
            path: "",
            fields: &[],
        };
        authorizer.authorize(self.user, &attributes) == Permission::Allowed
    }
}

/// Whether a volume of the pod asks this signer for a certificate.
fn mounts(pod: &Value, signer: &str) -> bool {
    sources(pod)
        .filter_map(|source| source.get("podCertificate"))
        .any(|source| text(source, &["signerName"]) == signer)
}

/// What the pod's projected volumes are made of.
fn sources(pod: &Value) -> impl Iterator<Item = &Value> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    list(spec, "volumes")
        .filter_map(|volume| volume.get("projected"))
        .flat_map(|projected| list(projected, "sources"))
}

/// What a cache that lags might be to blame for: an error without a reason, to be tried again.
fn lagging(message: String) -> Failure {
    Failure::new(500, "", message)
}

fn missing(what: &str, path: &str, name: &str) -> Failure {
    let resource = what.replace(' ', "");
    lagging(format!(
        "while retrieving {what} {path:?} named in the PodCertificateRequest: {resource} {name:?} not found"
    ))
}

/// The labels that differ and that no kubelet may set, in order.
fn forbidden_labels(new: &Value, old: &Value) -> String {
    let labels = |object| at(object, &["metadata", "labels"]).and_then(Value::as_object);
    let (new, old) = (labels(new), labels(old));
    let keys = new.into_iter().chain(old).flat_map(|labels| labels.keys());
    let mut changed: Vec<&str> = keys
        .filter(|key| new.and_then(|it| it.get(*key)) != old.and_then(|it| it.get(*key)))
        .map(String::as_str)
        .filter(|key| is_reserved(key))
        .collect();
    changed.sort_unstable();
    changed.dedup();
    changed.join(", ")
}

fn is_reserved(label: &str) -> bool {
    let Some((domain, _)) = label.split_once('/') else {
        return false;
    };
    let within = |parent: &str| {
        domain
            .strip_suffix(parent)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if within("node-restriction.kubernetes.io") {
        return true;
    }
    (within("kubernetes.io") || within("k8s.io"))
        && !within("kubelet.kubernetes.io")
        && !within("node.kubernetes.io")
        && !KUBELET_LABELS.contains(&label)
}

const KUBELET_LABELS: &[&str] = &[
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
