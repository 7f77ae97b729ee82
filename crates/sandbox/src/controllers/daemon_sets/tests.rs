use serde_json::{Value, json};

use super::*;

fn set(selector: &Value, image: &str) -> DaemonSet {
    serde_json::from_value(json!({
        "metadata": {"name": "agent", "namespace": "demo", "uid": "d1"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"nodeSelector": selector, "containers": [{"name": "main", "image": image}]},
            },
        },
    }))
    .unwrap()
}

fn nodes() -> Vec<Node> {
    ["a", "b", "c"]
        .map(|name| {
            let node = json!({"metadata": {"name": name, "labels": {"name": name}}});
            serde_json::from_value(node).unwrap()
        })
        .into()
}

fn made(set: &DaemonSet, node: &str, ready: bool) -> Pod {
    let mut made = pod(set, node);
    made.metadata.name = Some(format!("agent-{node}"));
    let ready = if ready { "True" } else { "False" };
    let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]});
    made.status = Some(serde_json::from_value(status).unwrap());
    made
}

#[test]
fn each_node_that_is_selected_gets_a_pod() {
    let everywhere = set(&json!({}), "x");
    let there = made(&everywhere, "b", true);
    let found = plan(&everywhere, &nodes(), &[&there]);
    assert_eq!(found.create, ["a", "c"]);
    assert!(found.delete.is_empty());

    let there_alone = set(&json!({"name": "a"}), "x");
    let found = plan(&there_alone, &nodes(), &[&there]);
    assert_eq!(found.create, ["a"]);
    assert_eq!(found.delete, ["agent-b"], "it is not selected any more");
}

#[test]
fn an_update_takes_one_node_at_a_time() {
    let (old, new) = (set(&json!({}), "old"), set(&json!({}), "new"));
    let pods = ["a", "b", "c"].map(|node| made(&old, node, true));
    let refs: Vec<&Pod> = pods.iter().collect();
    let first = plan(&new, &nodes(), &refs);
    assert_eq!((first.create.len(), first.delete.len()), (0, 1));
    // While the first is being replaced the others stay.
    let mut going = pods[0].clone();
    going.metadata.deletion_timestamp =
        Some(serde_json::from_value(json!("2027-01-01T00:00:00Z")).unwrap());
    let second = plan(&new, &nodes(), &[&going, refs[1], refs[2]]);
    assert_eq!(second, Plan::default());
    let replaced = made(&new, "a", false);
    assert_eq!(
        plan(&new, &nodes(), &[&replaced, refs[1], refs[2]]),
        Plan::default()
    );
    let replaced = made(&new, "a", true);
    let third = plan(&new, &nodes(), &[&replaced, refs[1], refs[2]]);
    assert_eq!(third.delete, ["agent-b"]);
}
