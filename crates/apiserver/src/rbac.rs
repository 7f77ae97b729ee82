//! RBAC: whether a Role or ClusterRole bound to a user allows what they ask.
//!
//! Everything is read from the store for each decision, so a grant holds from its write on (the
//! real server's informers take a moment). [`defaults`] are those of the real server's default
//! roles that matter to controllers and workloads.
//!
//! Nothing keeps a user from granting more than they have (no `bind`, no `escalate`), and nobody
//! fills in aggregated cluster roles: upstream that is a controller's work.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::kinds::{self, KINDS, Kind};
use crate::object::{list, text};
use crate::selectors::Selection;
use crate::store::{Key, Store, Stored};
use crate::user::{Attributes, User};

/// Whether some rule allows this; else what went wrong while looking, if anything.
pub(crate) fn authorize(
    store: &Store,
    user: &User,
    attributes: &Attributes<'_>,
) -> Result<(), String> {
    let mut missing = Vec::new();
    for binding in bindings(store, attributes.namespace) {
        if !list(&binding.value, "subjects").any(|it| is_subject(it, &binding.key.namespace, user))
        {
            continue;
        }
        let role = match role(store, &binding) {
            Ok(role) => role,
            Err(error) if missing.contains(&error) => continue,
            Err(error) => {
                missing.push(error);
                continue;
            }
        };
        if list(&role.value, "rules").any(|rule| allows(rule, attributes)) {
            return Ok(());
        }
    }
    Err(match missing.as_slice() {
        [] => String::new(),
        [one] => format!("RBAC: {one}"),
        many => format!("RBAC: [{}]", many.join(", ")),
    })
}

/// The rules of all roles bound to a user in a namespace, those of the cluster included.
pub(crate) fn rules(store: &Store, user: &User, namespace: &str) -> Vec<Value> {
    bindings(store, namespace)
        .iter()
        .filter(|binding| {
            list(&binding.value, "subjects").any(|it| is_subject(it, &binding.key.namespace, user))
        })
        .filter_map(|binding| role(store, binding).ok())
        .flat_map(|role| list(&role.value, "rules").cloned().collect::<Vec<_>>())
        .collect()
}

/// Whether a rule (`rbac.authorization.k8s.io/v1` `PolicyRule`) allows what is asked.
pub(crate) fn allows(rule: &Value, attributes: &Attributes<'_>) -> bool {
    if !names(rule, "verbs").any(|verb| verb == "*" || verb == attributes.verb) {
        return false;
    }
    if !attributes.path.is_empty() {
        return names(rule, "nonResourceURLs").any(|url| match url.strip_suffix('*') {
            Some(prefix) => attributes.path.starts_with(prefix.trim_end_matches('*')),
            None => attributes.path == url,
        });
    }
    let (resource, subresource) = (attributes.resource, attributes.subresource);
    let resource_matches = |ruled: &str| {
        ruled == "*"
            || match ruled.split_once('/') {
                None => subresource.is_empty() && ruled == resource,
                Some((first, second)) => {
                    !subresource.is_empty()
                        && second == subresource
                        && (first == "*" || first == resource)
                }
            }
    };
    let mut restricted = names(rule, "resourceNames").peekable();
    names(rule, "apiGroups").any(|group| group == "*" || group == attributes.group)
        && names(rule, "resources").any(resource_matches)
        && (restricted.peek().is_none() || restricted.any(|name| name == attributes.name))
}

/// The default roles and bindings, as `(row of the kind, object)`.
pub(crate) fn defaults() -> Vec<(usize, Value)> {
    let roles = [
        (
            "cluster-admin",
            json!([
                {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
                {"nonResourceURLs": ["*"], "verbs": ["*"]},
            ]),
            json!(["system:masters"]),
        ),
        (
            "system:basic-user",
            json!([
                {"apiGroups": ["authorization.k8s.io"], "verbs": ["create"],
                 "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]},
                {"apiGroups": ["authentication.k8s.io"], "verbs": ["create"],
                 "resources": ["selfsubjectreviews"]},
            ]),
            json!(["system:authenticated"]),
        ),
        (
            "system:discovery",
            json!([{"verbs": ["get"], "nonResourceURLs": [
                "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi",
                "/openapi/*", "/readyz", "/version", "/version/",
            ]}]),
            json!(["system:authenticated"]),
        ),
        (
            "system:public-info-viewer",
            json!([{"verbs": ["get"], "nonResourceURLs": [
                "/healthz", "/livez", "/readyz", "/version", "/version/",
            ]}]),
            json!(["system:authenticated", "system:unauthenticated"]),
        ),
        (
            "system:service-account-issuer-discovery",
            json!([{"verbs": ["get"], "nonResourceURLs": [
                "/.well-known/openid-configuration", "/.well-known/openid-configuration/",
                "/openid/v1/jwks", "/openid/v1/jwks/",
            ]}]),
            json!(["system:serviceaccounts"]),
        ),
        (
            "system:cluster-trust-bundle-discovery",
            json!([{"apiGroups": ["certificates.k8s.io"], "resources": ["clustertrustbundles"],
                    "verbs": ["get", "list", "watch"]}]),
            json!(["system:serviceaccounts"]),
        ),
    ];
    let mut objects = Vec::new();
    for (name, rules, groups) in roles {
        let metadata = json!({
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        });
        let subjects: Vec<Value> = groups
            .as_array()
            .into_iter()
            .flatten()
            .map(|group| json!({"apiGroup": GROUP, "kind": "Group", "name": group}))
            .collect();
        objects.push((
            kinds::CLUSTER_ROLES,
            json!({"metadata": metadata, "rules": rules}),
        ));
        objects.push((
            kinds::CLUSTER_ROLE_BINDINGS,
            json!({
                "metadata": metadata,
                "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name},
                "subjects": subjects,
            }),
        ));
    }
    objects
}

/// The bindings that count for a request in this namespace (or in none).
fn bindings(store: &Store, namespace: &str) -> Vec<Arc<Stored>> {
    let mut found = all(store, kinds::CLUSTER_ROLE_BINDINGS, "");
    if !namespace.is_empty() {
        found.extend(all(store, kinds::ROLE_BINDINGS, namespace));
    }
    found
}

fn all(store: &Store, kind: usize, namespace: &str) -> Vec<Arc<Stored>> {
    let everything = Selection {
        namespace: namespace.to_owned(),
        ..Selection::default()
    };
    kind_of(kind)
        .and_then(|kind| store.list(kind, &everything, None, None, usize::MAX).ok())
        .map(|page| page.objects)
        .unwrap_or_default()
}

fn is_subject(subject: &Value, namespace: &str, user: &User) -> bool {
    let name = text(subject, &["name"]);
    match text(subject, &["kind"]) {
        "User" => name == user.name,
        "Group" => user.groups.iter().any(|group| group == name),
        "ServiceAccount" => {
            let namespace = match text(subject, &["namespace"]) {
                "" => namespace,
                namespace => namespace,
            };
            !namespace.is_empty()
                && user.name == format!("system:serviceaccount:{namespace}:{name}")
        }
        _ => false,
    }
}

/// The role a binding names.
fn role(store: &Store, binding: &Stored) -> Result<Arc<Stored>, String> {
    let name = text(&binding.value, &["roleRef", "name"]);
    let (kind, namespace, resource) = match text(&binding.value, &["roleRef", "kind"]) {
        "ClusterRole" => (kinds::CLUSTER_ROLES, "", "clusterrole"),
        "Role" => (kinds::ROLES, binding.key.namespace.as_str(), "role"),
        kind => return Err(format!("unsupported role reference kind: {kind:?}")),
    };
    kind_of(kind)
        .and_then(|kind| store.get(kind, &Key::new(namespace, name)))
        .ok_or_else(|| format!("{resource}.{GROUP} {name:?} not found"))
}

fn names<'a>(rule: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    list(rule, field).filter_map(Value::as_str)
}

fn kind_of(row: usize) -> Option<&'static Kind> {
    KINDS.get(row)
}

const GROUP: &str = "rbac.authorization.k8s.io";
