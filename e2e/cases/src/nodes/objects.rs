//! NodeRestriction for the other objects that kubelets write: their pods and their own Node.

use serde_json::{Value, json};

use super::opinion;
use super::place::Place;
use crate::rights::owned;
use crate::{Case, User, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("nodes/pods-are-the-nodes-own", own_pods),
        Case::new("nodes/a-node-writes-its-own-node-object", own_node),
    ]
}

async fn own_pods(world: World) {
    let place = Place::prepare(&world).await;
    let name = format!("{}-b", world.namespace);
    let node = &place.node;
    let (own, other) = (
        world.as_user(&place.user()),
        world.as_user(&User::node(&name)),
    );
    let pod = format!("{}/web-0", world.core("pods"));
    let status = format!("{pod}/status");
    let running = json!({"status": {"phase": "Running"}});
    assert_eq!(
        other
            .patch(&status, "merge", &running)
            .await
            .refused(403, "Forbidden"),
        format!(
            "pods \"web-0\" is forbidden: node \"{name}\" can only update pod status for pods with spec.nodeName set to itself"
        )
    );
    let relabel = json!({"metadata": {"labels": {"app": "other"}}});
    assert_eq!(
        own.patch(&status, "merge", &relabel)
            .await
            .refused(403, "Forbidden"),
        format!(
            "pods \"web-0\" is forbidden: node \"{node}\" cannot update labels through pod status"
        )
    );
    let patched = own.patch(&status, "merge", &running).await.ok();
    assert_eq!(patched["status"]["phase"], "Running");
    own.patch(&pod, "merge", &relabel)
        .await
        .refused(403, "Forbidden");
    let new = json!({"metadata": {"name": "new"}, "spec": {
        "nodeName": node, "containers": [{"name": "main", "image": "example.com/web:1"}],
    }});
    assert_eq!(
        own.post(&world.core("pods"), &new)
            .await
            .refused(403, "Forbidden"),
        format!(
            "pods \"new\" is forbidden: pod does not have \"kubernetes.io/config.mirror\" annotation, node \"{node}\" can only create mirror pods"
        )
    );
    assert_eq!(
        other.delete(&pod).await.refused(403, "Forbidden"),
        format!(
            "pods \"web-0\" is forbidden: node \"{name}\" can only delete pods with spec.nodeName set to itself"
        )
    );
    own.delete(&pod).await.ok();
}

async fn own_node(world: World) {
    let (name, other) = (
        format!("{}-a", world.namespace),
        format!("{}-b", world.namespace),
    );
    let caller = world.as_user(&User::node(&name));
    let owners = owned(&world).await;
    let node = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels, "ownerReferences": owners}});
    assert_eq!(
        caller
            .post("/api/v1/nodes", &node(&other, json!({})))
            .await
            .refused(403, "Forbidden"),
        format!(
            "nodes \"{other}\" is forbidden: node \"{name}\" is not allowed to modify node \"{other}\""
        )
    );
    let reserved = json!({"kubernetes.io/role": "x", "kubernetes.io/os": "linux", "mine": "1"});
    assert_eq!(
        caller
            .post("/api/v1/nodes", &node(&name, reserved))
            .await
            .refused(403, "Forbidden"),
        format!(
            "nodes \"{name}\" is forbidden: node \"{name}\" is not allowed to set the following labels: kubernetes.io/role"
        )
    );
    let allowed = json!({"kubernetes.io/os": "linux", "mine": "1", "a.node.kubernetes.io/b": "c"});
    caller
        .post("/api/v1/nodes", &node(&name, allowed))
        .await
        .created();
    let path = format!("/api/v1/nodes/{name}");
    caller.get(&path).await.ok();
    let status = json!({"status": {"phase": "Running"}});
    caller
        .patch(&format!("{path}/status"), "merge", &status)
        .await
        .ok();
    for (patch, why) in [
        (
            json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}),
            format!("node \"{name}\" is not allowed to modify taints"),
        ),
        (
            json!({"metadata": {"labels": {"node-restriction.kubernetes.io/a": "b",
                                           "k8s.io/x": "y", "mine": "2"}}}),
            "is not allowed to modify labels: k8s.io/x, node-restriction.kubernetes.io/a".into(),
        ),
        (
            json!({"metadata": {"ownerReferences": []}}),
            format!("node \"{name}\" is not allowed to modify ownerReferences"),
        ),
    ] {
        let answer = caller.patch(&path, "merge", &patch).await;
        let expected = format!("nodes \"{name}\" is forbidden: {why}");
        assert_eq!(answer.refused(403, "Forbidden"), expected);
    }
    let answer = world.as_user(&User::node(&other)).get(&path).await;
    assert_eq!(
        answer.refused(403, "Forbidden"),
        format!(
            "nodes \"{name}\" is forbidden: User \"system:node:{other}\" cannot get resource \"nodes\" in API group \"\" at the cluster scope{}",
            opinion(
                &world,
                &format!("node '{other}' cannot read '{name}', only its own Node object")
            )
        )
    );
}
