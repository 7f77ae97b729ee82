//! Plain objects of the kinds that podcert touches, and what cases about any of them look for.

use serde_json::{Value, json};

use crate::World;
use crate::material::{KeyType, key, request};

/// What `metadata.name` is told when it is no subdomain.
pub(crate) const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// The names in a list.
pub(crate) fn names(list: &Value) -> Vec<String> {
    list["items"]
        .as_array()
        .expect("a list has items")
        .iter()
        .map(|item| item["metadata"]["name"].as_str().expect("a name").into())
        .collect()
}

/// A ConfigMap.
pub(crate) fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"key": "value"}})
}

/// A pod that a new namespace takes at once: with a service account of its own, without a token.
/// Whoever creates it creates the account `web` before.
pub(crate) fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "containers": [{"name": "main", "image": "none"}],
            "serviceAccountName": "web",
            "automountServiceAccountToken": false,
        },
    })
}

/// Creates the account that [`pod`] names.
pub(crate) async fn pod_account(world: &World) {
    let account = json!({"metadata": {"name": "web"}});
    world
        .admin()
        .post(&world.core("serviceaccounts"), &account)
        .await
        .created();
}

/// Metadata as a number.
pub(crate) fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version")
        .parse()
        .expect("a number")
}

/// Collection, resource as messages name it, and an object called `x`, of each kind that podcert
/// touches in namespaces.
pub(crate) fn samples(world: &World) -> Vec<(String, &'static str, Value)> {
    let leases = format!(
        "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
        world.namespace
    );
    vec![
        (
            world.requests(),
            "podcertificaterequests.certificates.k8s.io",
            request(world, "x", &key(KeyType::P256)),
        ),
        (world.core("pods"), "pods", pod("x")),
        (
            world.core("services"),
            "services",
            json!({"metadata": {"name": "x"}, "spec": {"ports": [{"port": 443}]}}),
        ),
        (world.core("configmaps"), "configmaps", config_map("x")),
        (
            world.core("secrets"),
            "secrets",
            json!({"metadata": {"name": "x"}}),
        ),
        (
            world.core("events"),
            "events",
            json!({
                "metadata": {"name": "x"},
                "involvedObject": {"kind": "Pod", "name": "p", "namespace": world.namespace},
            }),
        ),
        (
            leases,
            "leases.coordination.k8s.io",
            json!({"metadata": {"name": "x"}, "spec": {"holderIdentity": "one"}}),
        ),
        (
            world.core("serviceaccounts"),
            "serviceaccounts",
            json!({"metadata": {"name": "x"}}),
        ),
    ]
}
