//! What kubelets may do: the Node authorizer here, what NodeRestriction admits in [`restriction`].
//!
//! A kubelet is a user `system:node:<name>` in the group `system:nodes`. It may read what the pods
//! on its node refer to, and little else; whether what it writes is about its own node is seen
//! only at admission, with the object at hand. The real authorizer keeps a graph of who refers to
//! what; here the pods of the namespace are looked through for each decision.

pub(crate) mod restriction;

use serde_json::{Value, json};

use crate::kinds::{self, KINDS};
use crate::object::{at, list, text};
use crate::rbac;
use crate::selectors::Selection;
use crate::store::{Key, Store};
use crate::user::{Attributes, User};

/// The node whose kubelet this is.
pub(crate) fn identity(user: &User) -> Option<&str> {
    let name = user.name.strip_prefix("system:node:")?;
    user.groups
        .iter()
        .any(|group| group == "system:nodes")
        .then_some(name)
}

/// Whether a kubelet may do this; else why not, where the real server says.
pub(crate) fn authorize(
    store: &Store,
    user: &User,
    attributes: &Attributes<'_>,
) -> Result<(), String> {
    let Some(node) = identity(user) else {
        return Err(String::new());
    };
    if node.is_empty() {
        return Err(format!("unknown node for user {:?}", user.name));
    }
    match (attributes.group, attributes.resource) {
        ("", "secrets") => read_referenced(store, node, attributes, Reference::Secret),
        ("", "configmaps") => read_referenced(store, node, attributes, Reference::ConfigMap),
        ("", "serviceaccounts")
            if attributes.verb == "get" && attributes.subresource.is_empty() =>
        {
            read_referenced(store, node, attributes, Reference::ServiceAccount)
        }
        ("", "serviceaccounts") => create_token(store, node, attributes),
        ("", "nodes") => own_node(node, attributes),
        ("", "pods") => pods(store, node, attributes),
        ("coordination.k8s.io", "leases") => lease(node, attributes),
        ("certificates.k8s.io", "podcertificaterequests") => requests(store, node, attributes),
        _ if static_rules()
            .iter()
            .any(|rule| rbac::allows(rule, attributes)) =>
        {
            Ok(())
        }
        _ => Err(String::new()),
    }
}

/// What pods refer to by name.
#[derive(Clone, Copy, Debug)]
enum Reference {
    ConfigMap,
    Secret,
    ServiceAccount,
}

fn read_referenced(
    store: &Store,
    node: &str,
    attributes: &Attributes<'_>,
    reference: Reference,
) -> Result<(), String> {
    if !matches!(attributes.verb, "get" | "list" | "watch") {
        return Err("can only read resources of this type".into());
    }
    if !attributes.subresource.is_empty() {
        return Err("cannot read subresource".into());
    }
    if attributes.namespace.is_empty() {
        return Err("can only read namespaced object of this type".into());
    }
    if attributes.name.is_empty() {
        return Err("No Object name found".into());
    }
    related(
        node,
        is_referenced(
            store,
            node,
            attributes.namespace,
            attributes.name,
            reference,
        ),
    )
}

fn create_token(store: &Store, node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
    if attributes.verb != "create" || attributes.name.is_empty() {
        return Err("can only create tokens for individual service accounts".into());
    }
    if attributes.subresource != "token" {
        return Err("can only create token subresource of serviceaccount".into());
    }
    let (namespace, name) = (attributes.namespace, attributes.name);
    related(
        node,
        is_referenced(store, node, namespace, name, Reference::ServiceAccount),
    )
}

fn own_node(node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
    match (attributes.subresource, attributes.verb, attributes.name) {
        ("", "create" | "update" | "patch", _) | ("status", "update" | "patch", _) => Ok(()),
        ("", "get" | "list" | "watch", name) if name == node => Ok(()),
        ("", "get" | "list" | "watch", "") => Err(format!(
            "node '{node}' cannot read all nodes, only its own Node object"
        )),
        ("", "get" | "list" | "watch", other) => Err(format!(
            "node '{node}' cannot read '{other}', only its own Node object"
        )),
        _ => Err(String::new()),
    }
}

fn pods(store: &Store, node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
    let on_node = || {
        let pod = find(store, kinds::PODS, attributes.namespace, attributes.name);
        related(
            node,
            pod.is_some_and(|pod| text(&pod, &["spec", "nodeName"]) == node),
        )
    };
    match (attributes.subresource, attributes.verb) {
        ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
            Ok(())
        }
        ("", "get") => on_node(),
        ("", "list" | "watch") if selects_node(node, attributes) => Ok(()),
        ("", "list" | "watch") if !attributes.name.is_empty() => on_node(),
        ("", "list" | "watch") => {
            Err("can only list/watch pods with spec.nodeName field selector".into())
        }
        _ => Err(String::new()),
    }
}

fn lease(node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
    if !matches!(
        attributes.verb,
        "get" | "create" | "update" | "patch" | "delete"
    ) {
        return Err("can only get, create, update, patch, or delete a node lease".into());
    }
    if attributes.namespace != restriction::LEASES {
        return Err(format!(
            "can only access leases in the {:?} system namespace",
            restriction::LEASES
        ));
    }
    if attributes.verb != "create" && attributes.name != node {
        return Err("can only access node lease with the same name as the requesting node".into());
    }
    Ok(())
}

fn requests(store: &Store, node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
    if !attributes.subresource.is_empty() {
        return Err("nodes may not access the status subresource of PodCertificateRequests".into());
    }
    match attributes.verb {
        "create" => Ok(()),
        "get" => {
            let request = find(
                store,
                kinds::POD_CERTIFICATE_REQUESTS,
                attributes.namespace,
                attributes.name,
            );
            related(
                node,
                request.is_some_and(|request| text(&request, &["spec", "nodeName"]) == node),
            )
        }
        "list" | "watch" if selects_node(node, attributes) => Ok(()),
        "list" | "watch" => {
            Err("can only list/watch podcertificaterequests with nodeName field selector".into())
        }
        verb => Err(format!("nodes may not {verb} podcertificaterequests")),
    }
}

/// Whether the field selector admits nothing but what is on this node.
fn selects_node(node: &str, attributes: &Attributes<'_>) -> bool {
    attributes
        .fields
        .iter()
        .any(|(field, value)| field == "spec.nodeName" && value == node)
}

fn related(node: &str, found: bool) -> Result<(), String> {
    if found {
        return Ok(());
    }
    Err(format!(
        "no relationship found between node '{node}' and this object"
    ))
}

/// Whether a pod on the node refers to this object of its namespace. Mirror pods refer to nothing.
fn is_referenced(
    store: &Store,
    node: &str,
    namespace: &str,
    name: &str,
    reference: Reference,
) -> bool {
    let all = Selection {
        namespace: namespace.to_owned(),
        ..Selection::default()
    };
    let Some(pods) = KINDS.get(kinds::PODS) else {
        return false;
    };
    let Ok(page) = store.list(pods, &all, None, None, usize::MAX) else {
        return false;
    };
    page.objects.iter().any(|pod| {
        let pod = &pod.value;
        let spec = pod.get("spec").unwrap_or(&Value::Null);
        text(spec, &["nodeName"]) == node
            && at(pod, &["metadata", "annotations", restriction::MIRROR]).is_none()
            && match reference {
                Reference::ServiceAccount => text(spec, &["serviceAccountName"]) == name,
                Reference::ConfigMap => refers(
                    spec,
                    name,
                    &["configMap", "configMapRef", "configMapKeyRef"],
                ),
                Reference::Secret => {
                    refers(spec, name, &["secret", "secretRef", "secretKeyRef"])
                        || list(spec, "imagePullSecrets").any(|it| text(it, &["name"]) == name)
                }
            }
    })
}

/// Whether anywhere in a pod's spec one of these fields names the object.
fn refers(value: &Value, name: &str, fields: &[&str]) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(field, inner)| {
            let names_it =
                || [text(inner, &["name"]), text(inner, &["secretName"])].contains(&name);
            (fields.contains(&field.as_str()) && names_it()) || refers(inner, name, fields)
        }),
        Value::Array(list) => list.iter().any(|inner| refers(inner, name, fields)),
        _ => false,
    }
}

fn find(store: &Store, row: usize, namespace: &str, name: &str) -> Option<Value> {
    let stored = store.get(KINDS.get(row)?, &Key::new(namespace, name))?;
    Some(stored.value.clone())
}

/// What all kubelets may do alike (`NodeRules`), as far as its resources are served here.
fn static_rules() -> Vec<Value> {
    let rule = |group: &str, resource: &str, verbs: &[&str]| json!({"apiGroups": [group], "resources": [resource], "verbs": verbs});
    let read = ["get", "list", "watch"];
    vec![
        rule("authentication.k8s.io", "tokenreviews", &["create"]),
        rule("authorization.k8s.io", "subjectaccessreviews", &["create"]),
        rule("", "services", &read),
        rule("", "events", &["create", "update", "patch"]),
        rule("events.k8s.io", "events", &["create", "update", "patch"]),
        rule("certificates.k8s.io", "clustertrustbundles", &read),
    ]
}
