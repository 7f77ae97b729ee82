use super::super::pods::owner;
use super::*;

use proptest::prelude::*;
use serde_json::{Value, json};

fn deployment(replicas: i32, strategy: &Value, image: &str) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "demo", "uid": "d1"},
        "spec": {
            "replicas": replicas,
            "strategy": strategy,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
        },
    }))
    .unwrap()
}

fn playing(deployment: &Deployment, name: &str, ready: bool) -> Pod {
    let mut made = pod(deployment);
    made.metadata.name = Some(name.to_owned());
    let status = if ready { "True" } else { "False" };
    let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": status}]});
    made.status = Some(serde_json::from_value(status).unwrap());
    made
}

/// The names of pods that are to be deleted.
fn deleted(plan: &Plan) -> Vec<&str> {
    plan.delete.iter().map(|pod| pod.name.as_str()).collect()
}

#[test]
fn a_pod_looks_as_in_a_cluster() {
    let deployment = deployment(3, &json!({}), "a");
    let made = pod(&deployment);
    let hash = template_hash(&deployment.spec.template);
    assert_eq!(
        made.metadata.generate_name.as_deref(),
        Some(format!("web-{hash}-").as_str())
    );
    assert_eq!(made.labels()["app"], "web");
    assert_eq!(made.labels()["pod-template-hash"], hash);
    let node = made.spec.as_ref().unwrap().node_name.as_ref();
    assert_eq!(node, None, "the scheduler's business");
    assert_eq!(owner::<Deployment>(&made).unwrap().uid, "d1");
}

#[test]
fn no_manifest_floods_the_sandbox_with_pods() {
    let flood = deployment(
        i32::MAX,
        &json!({"rollingUpdate": {"maxSurge": i32::MAX}}),
        "a",
    );
    assert_eq!(plan(&flood, &[]).create, 2000);
    let pods: Vec<Pod> = (0..2000)
        .map(|n| playing(&flood, &format!("p{n}"), true))
        .collect();
    let owned: Vec<&Pod> = pods.iter().collect();
    assert_eq!(plan(&flood, &owned).create, 0);
}

#[test]
fn replicas_are_made_and_taken_away() {
    let three = deployment(3, &json!({}), "a");
    assert_eq!(
        plan(&three, &[]),
        Plan {
            create: 3,
            delete: vec![]
        }
    );
    let pods: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|name| playing(&three, name, *name != "b"))
        .collect();
    let pods: Vec<_> = pods.iter().collect();
    assert_eq!(plan(&three, &pods), Plan::default());
    let one = deployment(1, &json!({}), "a");
    let down = plan(&one, &pods);
    assert_eq!(down.create, 0);
    assert_eq!(down.delete.len(), 2);
    assert!(
        deleted(&down).contains(&"b"),
        "what is not Ready goes first"
    );
}

#[test]
fn recreate_waits_until_the_old_ones_are_gone() {
    let old = deployment(2, &json!({"type": "Recreate"}), "a");
    let new = deployment(2, &json!({"type": "Recreate"}), "b");
    let mut pod = playing(&old, "x", true);
    let first = plan(&new, &[&pod]);
    assert_eq!((first.create, deleted(&first)), (0, vec!["x"]));
    pod.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    assert_eq!(plan(&new, &[&pod]), Plan::default());
    assert_eq!(
        plan(&new, &[]),
        Plan {
            create: 2,
            delete: vec![]
        }
    );
}

proptest! {
    /// However slowly pods become Ready: an update ends with exactly the new pods, never more than replicas + surge,
    /// never fewer Ready than replicas - unavailable.
    #[test]
    fn an_update_rolls_within_its_limits(
        replicas in 1i32..8,
        surge in 0i32..3,
        unavailable in 0i32..3,
        broken in any::<u8>(),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 200),
    ) {
        let strategy = json!({
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
        });
        let old = deployment(replicas, &strategy, "a");
        let new = deployment(replicas, &strategy, "b");
        let hash = template_hash(&new.spec.template);
        let mut pods: Vec<Pod> = (0..replicas)
            .map(|n| playing(&old, &format!("o{n}"), broken & (1 << n) == 0))
            .collect();
        let wanted = usize::try_from(replicas).unwrap();
        let surge_limit = wanted + usize::try_from(surge).unwrap();
        let slack = if surge == 0 { unavailable.max(1) } else { unavailable };
        let floor = wanted.saturating_sub(usize::try_from(slack).unwrap());
        let mut made = 0;
        for index in order {
            let step = plan(&new, &pods.iter().collect::<Vec<_>>());
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            pods.retain(|pod| !step.delete.contains(&PodId::of(pod)));
            prop_assert!(pods.len() >= floor, "some may become Ready");
            for _ in 0..step.create {
                made += 1;
                pods.push(playing(&new, &format!("n{made}"), false));
            }
            prop_assert!(pods.len() <= surge_limit);
            prop_assert!(pods.iter().filter(|pod| is_ready(pod)).count() >= floor.min(ready));
            // One of those that are not Ready becomes it.
            let unready: Vec<usize> =
                (0..pods.len()).filter(|n| !is_ready(&pods[*n])).collect();
            if unready.is_empty() {
                if pods.len() == wanted && pods.iter().all(|pod| pod.labels()[HASH_LABEL] == hash) {
                    return Ok(());
                }
            } else {
                let chosen = unready[index.index(unready.len())];
                pods[chosen].status = playing(&new, "", true).status;
            }
        }
        prop_assert!(false, "the update did not end: {} pods", pods.len());
    }
}
