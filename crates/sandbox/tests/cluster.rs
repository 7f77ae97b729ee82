//! What the sandbox's controllers do: nodes, scheduling, DaemonSets, rollouts, what every namespace has, what is cleaned
//! up, and logs through the API; in virtual time.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a panic in a test is its report"
)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{World, certificate, deployment, deployment_with, is_ready};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Event, Namespace, Node, NodeCondition, Pod, ServiceAccount,
};
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use podcert_apiserver::{Effect, Matching, Occurrence, Verb};
use serde_json::json;
use tokio::time::sleep;

const MINUTE: Duration = Duration::from_secs(60);

async fn world(nodes: &[&str]) -> World {
    let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
    World::with(|options| options.nodes = nodes).await
}

/// A Pod that waits for its node, with these fields in its spec.
fn bare_pod(name: &str, fields: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{{fields}{} \
           containers: [{{name: main, image: img, command: [serve]}}]}}}}",
        if fields.is_empty() { "" } else { "," },
    )
}

async fn label(world: &World, node: &str, labels: serde_json::Value) {
    let nodes: Api<Node> = Api::all(world.sandbox.admin());
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    nodes
        .patch(node, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

fn node_of(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref().unwrap();
    spec.node_name.as_deref().unwrap_or_default()
}

/// How many pods each node has.
async fn spread(world: &World) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for pod in world.pods().await {
        *found.entry(node_of(&pod).to_owned()).or_default() += 1;
    }
    found
}

fn counts(counts: &[(&str, usize)]) -> BTreeMap<String, usize> {
    let counts = counts.iter();
    counts
        .map(|(node, count)| ((*node).to_owned(), *count))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn pods_are_spread_over_nodes_that_say_they_are_ready() {
    let world = world(&["one", "two", "three"]).await;
    let source = format!("[{}]", certificate("any"));
    world.apply(&deployment(7, &source)).await;
    sleep(MINUTE).await;
    let pods = world.pods().await;
    assert_eq!(pods.iter().filter(|pod| is_ready(pod)).count(), 7);
    assert_eq!(
        spread(&world).await.into_values().max().unwrap(),
        3,
        "seven over three"
    );
    world
        .assert_event("Scheduled", "Successfully assigned default/web-")
        .await;
    let requests = world.requests().await;
    for request in requests {
        let pod = pods
            .iter()
            .find(|pod| pod.name_any() == request.spec.pod_name);
        assert_eq!(
            request.spec.node_name,
            node_of(pod.unwrap()),
            "its own kubelet asks"
        );
    }

    let nodes: Api<Node> = Api::all(world.sandbox.admin());
    let node = nodes.get("two").await.unwrap();
    assert_eq!(node.labels()["kubernetes.io/hostname"], "two");
    let status = node.status.unwrap();
    let ready = status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == "Ready");
    assert_eq!(ready.unwrap().status, "True");
    let addresses = status.addresses.unwrap();
    assert!(addresses.iter().any(|a| a.type_ == "InternalIP"));
    assert_eq!(status.node_info.unwrap().kubelet_version, "v1.37.0");
    let leases: Api<Lease> = Api::namespaced(world.sandbox.admin(), "kube-node-lease");
    let renewed = |lease: Lease| lease.spec.unwrap().renew_time.unwrap().0;
    let first = renewed(leases.get("two").await.unwrap());
    sleep(MINUTE * 10).await;
    assert!(renewed(leases.get("two").await.unwrap()) > first);

    // A kubelet's restart concerns nobody else's pods either.
    world.sandbox.restart_kubelet().await;
    sleep(MINUTE).await;
    assert_eq!(world.tasks.launches.lock().unwrap().len(), 7);
    assert!(world.tasks.stops.lock().unwrap().is_empty());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn selectors_and_cordons_are_heeded() {
    let world = world(&["one", "two"]).await;
    let selecting = deployment_with(2, "[]", "[serve]", "nodeSelector: {disk: fast}");
    world.apply(&selecting).await;
    sleep(MINUTE).await;
    assert_eq!(spread(&world).await, counts(&[("", 2)]));
    let why = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.";
    world.assert_event("FailedScheduling", why).await;
    let pod = &world.pods().await[0];
    let conditions = pod.status.as_ref().unwrap().conditions.clone().unwrap();
    assert_eq!(conditions[0].reason.as_deref(), Some("Unschedulable"));

    label(&world, "two", json!({"disk": "fast"})).await;
    sleep(MINUTE).await;
    assert_eq!(spread(&world).await, counts(&[("two", 2)]));
    assert!(world.pods().await.iter().all(is_ready));

    let nodes: Api<Node> = Api::all(world.sandbox.admin());
    nodes.cordon("two").await.unwrap();
    let three = deployment_with(3, "[]", "[serve]", "nodeSelector: {disk: fast}");
    world.apply(&three).await;
    sleep(MINUTE).await;
    assert_eq!(spread(&world).await, counts(&[("", 1), ("two", 2)]));
    nodes.uncordon("two").await.unwrap();
    sleep(MINUTE).await;
    assert_eq!(spread(&world).await, counts(&[("two", 3)]));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_takes_a_hundred_and_ten_pods() {
    let world = world(&["one"]).await;
    world
        .apply(&deployment_with(112, "[]", "[serve]", ""))
        .await;
    sleep(MINUTE).await;
    assert_eq!(spread(&world).await, counts(&[("", 2), ("one", 110)]));
    let why = "0/1 nodes are available: 1 Too many pods.";
    world.assert_event("FailedScheduling", why).await;
    world
        .apply(&deployment_with(110, "[]", "[serve]", ""))
        .await;
    sleep(MINUTE).await;
    assert_eq!(spread(&world).await, counts(&[("one", 110)]));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_daemon_set_is_on_every_node_and_rolls_out() {
    let world = world(&["one", "two", "three"]).await;
    let set = |command: &str| {
        json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "agent", "namespace": "default"},
            "spec": {
                "selector": {"matchLabels": {"app": "agent"}},
                "template": {
                    "metadata": {"labels": {"app": "agent"}},
                    "spec": {"containers": [
                        {"name": "main", "image": "img", "command": ["serve", command]},
                    ]},
                },
            },
        })
        .to_string()
    };
    world.apply(&set("first")).await;
    sleep(MINUTE).await;
    let everywhere = counts(&[("one", 1), ("three", 1), ("two", 1)]);
    assert_eq!(spread(&world).await, everywhere);
    let sets: Api<DaemonSet> = Api::namespaced(world.sandbox.admin(), "default");
    let status = sets.get("agent").await.unwrap().status.unwrap();
    assert_eq!(
        (status.desired_number_scheduled, status.number_ready),
        (3, 3)
    );
    assert_eq!(status.updated_number_scheduled, Some(3));

    world.apply(&set("second")).await;
    sleep(MINUTE * 2).await;
    assert_eq!(spread(&world).await, everywhere);
    let set = sets.get("agent").await.unwrap();
    let status = set.status.clone().unwrap();
    assert_eq!(status.observed_generation, set.metadata.generation);
    assert_eq!(status.updated_number_scheduled, Some(3));
    assert_eq!(status.number_available, Some(3));
    let commands: Vec<_> = {
        let launches = world.tasks.launches.lock().unwrap();
        launches
            .iter()
            .map(|launch| launch.argv[1].clone())
            .collect()
    };
    assert_eq!(commands[3..], ["second", "second", "second"]);
    sets.delete("agent", &DeleteParams::default())
        .await
        .unwrap();
    sleep(MINUTE).await;
    assert!(world.pods().await.is_empty());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_says_how_far_its_rollout_is() {
    let world = world(&[]).await;
    world.apply(&deployment_with(3, "[]", "[serve]", "")).await;
    sleep(MINUTE).await;
    let api: Api<Deployment> = Api::namespaced(world.sandbox.admin(), "default");
    let condition = |deployment: &Deployment, type_: &str| {
        let status = deployment.status.clone().unwrap();
        let found = status.conditions.into_iter().flatten();
        let mut found = found.filter(|c| c.type_.as_deref() == Some(type_));
        found.next().unwrap().reason.unwrap()
    };
    let found = api.get("web").await.unwrap();
    assert_eq!(condition(&found, "Available"), "MinimumReplicasAvailable");
    assert_eq!(condition(&found, "Progressing"), "NewReplicaSetAvailable");
    // Pods of the new template never start.
    world
        .apply(&deployment_with(3, "[]", "[serve]", "hostNetwork: true"))
        .await;
    sleep(MINUTE).await;
    let found = api.get("web").await.unwrap();
    assert_eq!(condition(&found, "Progressing"), "ReplicaSetUpdated");
    let status = found.status.clone().unwrap();
    assert_eq!(status.observed_generation, found.metadata.generation);
    assert_eq!(status.updated_replicas, Some(1));
    assert_eq!(status.available_replicas, Some(3));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_refused_holds_up_no_other_and_is_tried_ever_later() {
    let world = world(&[]).await;
    world
        .apply("{apiVersion: v1, kind: Namespace, metadata: {name: a-first}}")
        .await;
    let quota = Effect::error(403, "Forbidden", "exceeded quota: few");
    let its = Matching::any().verb(Verb::Create).resource("pods");
    let its = its.namespace("a-first");
    let fault = world
        .sandbox
        .api()
        .faults()
        .inject(its, Occurrence::Always, quota);
    let refused = deployment_with(1, "[]", "[serve]", "").replace("default", "a-first");
    world.apply(&refused).await;
    world.apply(&deployment_with(1, "[]", "[serve]", "")).await;
    sleep(Duration::from_secs(10)).await;
    let [pod] = world.pods().await.try_into().unwrap();
    assert_eq!(pod.namespace().as_deref(), Some("default"));
    sleep(MINUTE * 10).await;
    // After 1, 2, 4, ..., 256 s, and then every 300.
    assert!((9..=11).contains(&fault.hits()), "{} tries", fault.hits());
    let api: Api<Deployment> = Api::namespaced(world.sandbox.admin(), "a-first");
    let failure = |deployment: Deployment| {
        let conditions = deployment.status.unwrap().conditions.unwrap();
        let mut conditions = conditions.into_iter();
        conditions.find(|c| c.type_.as_deref() == Some("ReplicaFailure"))
    };
    let told = failure(api.get("web").await.unwrap()).unwrap();
    assert_eq!(told.reason.as_deref(), Some("FailedCreate"));
    assert!(told.message.unwrap().contains("exceeded quota: few"));
    let events: Api<Event> = Api::namespaced(world.sandbox.admin(), "a-first");
    let [event] = events
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .try_into()
        .unwrap();
    let about = &event.involved_object;
    assert_eq!(about.kind.as_deref(), Some("Deployment"));
    assert_eq!(event.reason.as_deref(), Some("FailedCreate"));
    assert_eq!(event.count, Some(i32::try_from(fault.hits()).unwrap()));

    fault.remove();
    sleep(MINUTE * 6).await;
    assert_eq!(world.pods().await.len(), 2);
    assert_eq!(failure(api.get("web").await.unwrap()), None);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_said_again_is_counted() {
    let world = world(&[]).await;
    let source = "[{configMap: {name: absent}}]";
    world.apply(&deployment(1, source)).await;
    sleep(MINUTE).await;
    let events: Api<Event> = Api::namespaced(world.sandbox.admin(), "default");
    let mounts = ListParams::default().fields("reason=FailedMount");
    let [event] = events
        .list(&mounts)
        .await
        .unwrap()
        .items
        .try_into()
        .unwrap();
    // After 0.5, 1, 2, 4, ..., 32 s.
    assert_eq!(event.count, Some(7));
    assert!(event.last_timestamp > event.first_timestamp);
    let now = DeleteParams::default();
    events.delete(&event.name_any(), &now).await.unwrap();
    sleep(MINUTE * 2).await;
    let [anew] = events
        .list(&mounts)
        .await
        .unwrap()
        .items
        .try_into()
        .unwrap();
    assert!(
        anew.count > event.count,
        "where it is gone there is a new one"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_keeps_what_others_say_of_it_and_when_it_became_ready() {
    let world = world(&["one"]).await;
    sleep(MINUTE).await;
    let nodes: Api<Node> = Api::all(world.sandbox.admin());
    let condition = async |type_: &str| -> NodeCondition {
        let status = nodes.get("one").await.unwrap().status.unwrap();
        let conditions = status.conditions.unwrap();
        conditions.into_iter().find(|c| c.type_ == type_).unwrap()
    };
    let first = condition("Ready").await;
    sleep(MINUTE * 6).await;
    let later = condition("Ready").await;
    assert_eq!(first.last_transition_time, later.last_transition_time);
    assert!(later.last_heartbeat_time > first.last_heartbeat_time);

    let patch = Patch::Strategic(json!({"status": {"conditions": [
        {"type": "Ready", "status": "Unknown"},
        {"type": "KernelDeadlock", "status": "False"},
    ]}}));
    nodes
        .patch_status("one", &PatchParams::default(), &patch)
        .await
        .unwrap();
    sleep(MINUTE * 6).await;
    let again = condition("Ready").await;
    assert_eq!(again.status, "True");
    assert!(again.last_transition_time > later.last_transition_time);
    assert_eq!(condition("KernelDeadlock").await.status, "False");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn requests_do_not_outlive_their_pods_or_twenty_minutes() {
    let world = World::start().await;
    let source = format!(
        "[{}, {}]",
        certificate("any"),
        certificate("mute").replace("creds", "x")
    );
    world.apply(&deployment(1, &source)).await;
    sleep(MINUTE * 2).await;
    assert_eq!(world.requests().await.len(), 2);
    sleep(MINUTE * 19).await;
    let names = |pods: Vec<k8s_openapi::api::certificates::v1::PodCertificateRequest>| {
        let names = pods.into_iter().map(|request| request.spec.signer_name);
        names.collect::<Vec<_>>()
    };
    // The first two are gone; the one that got no answer was asked for once more.
    assert_eq!(names(world.requests().await), ["test.example/mute"]);
    let deployments: Api<Deployment> = Api::namespaced(world.sandbox.admin(), "default");
    deployments
        .delete("web", &DeleteParams::default())
        .await
        .unwrap();
    sleep(MINUTE).await;
    assert!(world.pods().await.is_empty());
    assert!(world.requests().await.is_empty(), "its pod is gone");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn every_namespace_has_what_the_controller_manager_gives_it() {
    let world = World::start().await;
    world
        .apply("{apiVersion: v1, kind: Namespace, metadata: {name: demo}}")
        .await;
    sleep(Duration::from_secs(1)).await;
    let admin = world.sandbox.admin();
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    let all = namespaces.list(&ListParams::default()).await.unwrap();
    let names: Vec<_> = all.iter().map(ResourceExt::name_any).collect();
    let expected = [
        "default",
        "demo",
        "kube-node-lease",
        "kube-public",
        "kube-system",
    ];
    assert_eq!(names, expected);
    for name in names {
        let maps: Api<ConfigMap> = Api::namespaced(admin.clone(), &name);
        maps.get("kube-root-ca.crt").await.unwrap();
    }
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), "demo");
    let maps: Api<ConfigMap> = Api::namespaced(admin.clone(), "demo");
    accounts
        .delete("default", &DeleteParams::default())
        .await
        .unwrap();
    maps.delete("kube-root-ca.crt", &DeleteParams::default())
        .await
        .unwrap();
    sleep(Duration::from_secs(1)).await;
    accounts.get("default").await.unwrap();
    maps.get("kube-root-ca.crt").await.unwrap();
    namespaces
        .delete("demo", &DeleteParams::default())
        .await
        .unwrap();
    sleep(MINUTE).await;
    assert!(
        namespaces.get_opt("demo").await.unwrap().is_none(),
        "it goes with its contents"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn logs_are_the_containers_that_run() {
    let world = World::start().await;
    world.apply(&deployment_with(1, "[]", "[serve]", "")).await;
    let pod = world.ready_pod().await.name_any();
    let pods: Api<Pod> = Api::namespaced(world.sandbox.admin(), "default");
    let empty = pods.logs(&pod, &LogParams::default()).await.unwrap();
    assert_eq!(empty, "", "tasks print nothing");
    let previous = LogParams {
        previous: true,
        ..LogParams::default()
    };
    let refused = pods.logs(&pod, &previous).await.unwrap_err().to_string();
    assert!(
        refused.contains("previous terminated container \"main\""),
        "{refused}"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_be_bound_holds_up_no_other() {
    let world = world(&["one"]).await;
    let faults = world.sandbox.api().faults();
    // Of the two that wait the first is refused, however often it is tried.
    let bindings = Matching::any()
        .verb(Verb::Create)
        .resource("pods/binding")
        .name("a");
    let refused = Effect::error(500, "InternalError", "no");
    let fault = faults.inject(bindings, Occurrence::Always, refused);
    for name in ["a", "b"] {
        world.apply(&bare_pod(name, "")).await;
    }
    sleep(MINUTE).await;
    assert_eq!(spread(&world).await, counts(&[("", 1), ("one", 1)]));
    // After 1, 2, 4 and 8 seconds, then every ten.
    let tries = fault.hits();
    assert!((5..=12).contains(&tries), "{tries} tries in a minute");
    fault.remove();
    sleep(MINUTE).await;
    assert_eq!(spread(&world).await, counts(&[("one", 2)]));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn conditions_of_others_stay_and_gates_hold_a_pod() {
    let world = world(&["one"]).await;
    let pods: Api<Pod> = Api::default_namespaced(world.sandbox.admin());
    world
        .apply(&bare_pod("a", "nodeSelector: {disk: fast}"))
        .await;
    world
        .apply(&bare_pod("gated", "schedulingGates: [{name: later}]"))
        .await;
    let other =
        json!({"status": {"conditions": [{"type": "example.com/other", "status": "True"}]}});
    pods.patch_status("a", &PatchParams::default(), &Patch::Strategic(other))
        .await
        .unwrap();
    sleep(MINUTE).await;
    let condition = |pod: &Pod, kind: &str| {
        let conditions = pod.status.as_ref().unwrap().conditions.clone().unwrap();
        conditions.into_iter().find(|it| it.type_ == kind)
    };
    let pod = pods.get("a").await.unwrap();
    assert!(condition(&pod, "example.com/other").is_some());
    let scheduled = condition(&pod, "PodScheduled").unwrap();
    assert_eq!(scheduled.reason.as_deref(), Some("Unschedulable"));
    let gated = pods.get("gated").await.unwrap();
    let scheduled = condition(&gated, "PodScheduled").unwrap();
    assert_eq!(scheduled.reason.as_deref(), Some("SchedulingGated"));
    assert_eq!(node_of(&gated), "");

    label(&world, "one", json!({"disk": "fast"})).await;
    let open = Patch::Merge(json!({"spec": {"schedulingGates": null}}));
    pods.patch("gated", &PatchParams::default(), &open)
        .await
        .unwrap();
    sleep(MINUTE).await;
    assert_eq!(spread(&world).await, counts(&[("one", 2)]));
    world.end().await;
}
