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

fn nodes() -> [Node; 3] {
    ["a", "b", "c"].map(|name| {
        let node = json!({"metadata": {"name": name, "labels": {"name": name}}});
        serde_json::from_value(node).unwrap()
    })
}

/// What is made on which nodes, and which pods are taken away.
fn planned(set: &DaemonSet, owned: &[&Pod]) -> (Vec<String>, Vec<String>) {
    let nodes = nodes();
    let plan = plan(set, &nodes.each_ref(), owned);
    let names = plan.delete.into_iter().map(|pod| pod.name).collect();
    (plan.create, names)
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
    let (create, delete) = planned(&everywhere, &[&there]);
    assert_eq!(create, ["a", "c"]);
    assert!(delete.is_empty());

    let there_alone = set(&json!({"name": "a"}), "x");
    let (create, delete) = planned(&there_alone, &[&there]);
    assert_eq!(create, ["a"]);
    assert_eq!(delete, ["agent-b"], "it is not selected any more");
}

#[test]
fn an_update_takes_one_node_at_a_time() {
    let (old, new) = (set(&json!({}), "old"), set(&json!({}), "new"));
    let pods = ["a", "b", "c"].map(|node| made(&old, node, true));
    let refs: Vec<&Pod> = pods.iter().collect();
    let (create, delete) = planned(&new, &refs);
    assert_eq!((create.len(), delete.len()), (0, 1));
    // While the first is being replaced the others stay.
    let mut going = pods[0].clone();
    going.metadata.deletion_timestamp =
        Some(serde_json::from_value(json!("2027-01-01T00:00:00Z")).unwrap());
    let nothing = (vec![], vec![]);
    assert_eq!(planned(&new, &[&going, refs[1], refs[2]]), nothing);
    let replaced = made(&new, "a", false);
    assert_eq!(planned(&new, &[&replaced, refs[1], refs[2]]), nothing);
    let replaced = made(&new, "a", true);
    let (_, delete) = planned(&new, &[&replaced, refs[1], refs[2]]);
    assert_eq!(delete, ["agent-b"]);
}

#[test]
fn a_surge_takes_no_pod_before_the_new_one_is_ready() {
    let surging = |image: &str| {
        let mut set = set(&json!({}), image);
        let strategy = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
        set.spec.update_strategy = Some(serde_json::from_value(strategy).unwrap());
        set
    };
    let (old, new) = (surging("old"), surging("new"));
    let fresh = |node: &str, ready: bool| {
        let mut pod = made(&new, node, ready);
        pod.metadata.name = Some(format!("new-{node}"));
        pod
    };
    let pods = ["a", "b", "c"].map(|node| made(&old, node, true));
    let [a, b, c] = pods.each_ref();
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(planned(&new, &[a, b, c]), (names(&["a"]), vec![]));
    let starting = fresh("a", false);
    assert_eq!(planned(&new, &[a, &starting, b, c]), (vec![], vec![]));
    let ready = fresh("a", true);
    let step = planned(&new, &[a, &ready, b, c]);
    assert_eq!(step, (names(&["b"]), names(&["agent-a"])));
    // One that does not work anyway is replaced beside the one that surges.
    let broken = made(&old, "c", false);
    let step = planned(&new, &[a, b, &broken]);
    assert_eq!(step, (names(&["c", "a"]), vec![]));
    // A node without one gets it at once.
    let step = planned(&new, &[a, &starting, b]);
    assert_eq!(step, (names(&["c"]), vec![]));
}

#[test]
fn of_two_pods_on_a_node_the_oldest_counts() {
    let (old, new) = (set(&json!({}), "old"), set(&json!({}), "new"));
    let mut pods = [
        made(&old, "a", true),
        made(&new, "a", false),
        made(&new, "b", true),
    ];
    for (pod, second) in pods.iter_mut().zip(0..) {
        let time = format!("2027-01-01T00:00:0{second}Z");
        pod.metadata.creation_timestamp = Some(serde_json::from_value(json!(time)).unwrap());
    }
    let nodes = nodes();
    let status = status(&new, &nodes.each_ref(), &pods.each_ref());
    assert_eq!(status.desired_number_scheduled, 3);
    assert_eq!(status.current_number_scheduled, 2);
    assert_eq!(
        (status.number_ready, status.updated_number_scheduled),
        (2, Some(1))
    );
    assert_eq!(status.number_unavailable, Some(1));
}
