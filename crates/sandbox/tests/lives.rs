//! The lives of pods with projections, from the first container to the last file, in virtual time.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a panic in a test is its report"
)]

mod common;

use std::time::Duration;

use common::{World, certificate, deployment, deployment_with, is_ready};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use podcert_apiserver::{Effect, Matching, Occurrence};
use tokio::time::sleep;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn what_cannot_be_honoured_does_not_run_and_says_so() {
    let world = World::start().await;
    let source = format!("[{}]", certificate("any"));
    world
        .apply(&deployment_with(1, &source, "[serve]", "hostNetwork: true"))
        .await;
    let refused = |pod: &Pod| {
        pod.status.as_ref().and_then(|s| s.reason.as_deref()) == Some("CannotBeHonoured")
    };
    let pod = world.pod_when("refused", refused).await;
    let sentence = pod.status.as_ref().unwrap().message.as_deref().unwrap();
    assert!(sentence.contains("spec.hostNetwork"), "{sentence}");
    assert_eq!(world.events("CannotBeHonoured").await, [sentence]);
    let [remark] = world
        .sandbox
        .report()
        .refusals
        .into_iter()
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    assert_eq!(remark.pod, pod.name_any());
    assert!(
        world.requests().await.is_empty(),
        "nothing is asked for a pod that cannot run"
    );

    world.apply(&deployment(1, &source)).await;
    let pod = world.ready_pod().await;
    assert_ne!(
        remark.pod,
        pod.name_any(),
        "the corrected Deployment replaces it"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_container_that_ends_is_restarted_with_backoff_and_keeps_its_certificate() {
    let world = World::start().await;
    let source = format!("[{}]", certificate("any"));
    world
        .apply(&deployment_with(1, &source, "[crash-after, '5']", ""))
        .await;
    // Starts at 0, 5, 5+5+10, 20+5+20, 45+5+40, 90+5+80, 175+5+160, and from then on every 305 s.
    sleep(Duration::from_secs(345)).await;
    assert_eq!(world.tasks.launches.lock().unwrap().len(), 7);
    let [pod] = world.pods().await.try_into().unwrap();
    let status = pod.status.unwrap();
    let [container] = status.container_statuses.unwrap().try_into().unwrap();
    assert_eq!(container.restart_count, 6);
    let ended = container.last_state.unwrap().terminated.unwrap();
    assert_eq!(
        (ended.exit_code, ended.reason.as_deref()),
        (1, Some("Error"))
    );
    assert_eq!(world.sandbox.report().container_restarts, 6);
    assert_eq!(world.requests().await.len(), 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn scaling_down_and_deleting_takes_containers_and_files_away() {
    let world = World::start().await;
    let source = format!("[{}]", certificate("any"));
    world
        .apply(&deployment_with(
            3,
            &source,
            "[serve]",
            "terminationGracePeriodSeconds: 7",
        ))
        .await;
    sleep(MINUTE).await;
    let three = world.pods().await;
    assert_eq!(three.iter().filter(|pod| is_ready(pod)).count(), 3);
    let name = three[0].name_any();
    let parts: Vec<_> = name.split('-').collect();
    assert_eq!(
        (parts[0], parts[1].len(), parts[2].len()),
        ("web", 10, 5),
        "{name}"
    );

    world
        .apply(&deployment_with(
            1,
            &source,
            "[serve]",
            "terminationGracePeriodSeconds: 7",
        ))
        .await;
    sleep(MINUTE).await;
    let one = world.pods().await;
    assert_eq!(one.len(), 1);
    for pod in &three {
        let there = world.sandbox.volume(&pod.uid().unwrap(), "tls").is_some();
        assert_eq!(there, pod.uid() == one[0].uid(), "{}", pod.name_any());
    }
    assert_eq!(
        *world.tasks.stops.lock().unwrap(),
        [Duration::from_secs(7); 2]
    );

    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
        Api::namespaced(world.sandbox.admin(), "default");
    let status = deployments.get("web").await.unwrap().status.unwrap();
    assert_eq!((status.replicas, status.ready_replicas), (Some(1), Some(1)));
    deployments
        .delete("web", &DeleteParams::default())
        .await
        .unwrap();
    sleep(MINUTE).await;
    assert!(world.pods().await.is_empty());
    let pods = world.sandbox.state_dir().join("p");
    assert_eq!(std::fs::read_dir(pods).unwrap().count(), 0);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_vanishes_between_two_kubelets_leaves_nothing() {
    let world = World::start().await;
    world
        .apply(&deployment(1, &format!("[{}]", certificate("any"))))
        .await;
    let pod = world.ready_pod().await;
    // The kubelet goes blind, then the pod goes away, then there is a new kubelet.
    let faults = world.sandbox.api().faults();
    let its = Matching::any().user("system:node:sandbox").resource("pods");
    let blind = Effect::error(503, "ServiceUnavailable", "no");
    let fault = faults.inject(its.clone(), Occurrence::Always, blind);
    assert!(faults.drop_watches(&its) > 0);
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
        Api::namespaced(world.sandbox.admin(), "default");
    let now = DeleteParams::default().grace_period(0);
    deployments.delete("web", &now).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(world.sandbox.admin(), "default");
    pods.delete(&pod.name_any(), &now).await.unwrap();
    sleep(MINUTE).await;
    assert!(world.tasks.stops.lock().unwrap().is_empty());
    fault.remove();
    world.sandbox.restart_kubelet().await;
    sleep(MINUTE).await;
    assert!(world.pods().await.is_empty());
    assert!(world.sandbox.volume(&pod.uid().unwrap(), "tls").is_none());
    assert_eq!(world.tasks.stops.lock().unwrap().len(), 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_done_is_left_alone() {
    let world = World::start().await;
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: once}}\nspec:\n  restartPolicy: Never\n  \
         containers: [{{name: main, image: img, command: [crash-after, '5'], \
         volumeMounts: [{{name: tls, mountPath: /run/tls}}]}}]\n  \
         volumes: [{{name: tls, projected: {{sources: [{}]}}}}]\n",
        certificate("any"),
    );
    world.apply(&pod).await;
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
    world
        .pod_when("Failed", |pod| phase(pod).as_deref() == Some("Failed"))
        .await;
    sleep(HOUR * 24).await;
    world.sandbox.restart_kubelet().await;
    sleep(HOUR).await;
    assert_eq!(
        world.sandbox.report().requests,
        1,
        "no certificate for a pod that is done"
    );
    assert_eq!(world.tasks.launches.lock().unwrap().len(), 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_leaves_no_file() {
    let world = World::start().await;
    world
        .apply(&deployment(2, &format!("[{}]", certificate("any"))))
        .await;
    sleep(MINUTE).await;
    let state = world.sandbox.state_dir().to_path_buf();
    assert!(state.exists());
    world.end().await;
    assert!(!state.exists());
}
