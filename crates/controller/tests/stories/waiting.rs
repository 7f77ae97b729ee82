//! What a request waits for, and what wakes it.

use std::collections::BTreeMap;

use podcert_apiserver::{Effect, Matching, Occurrence, Verb};
use serde_json::json;

use crate::cluster::{Asked, CONTROLLER, Cluster, SERVICE_DNS, SPIFFE, create, delete};

const NARROWED: &str = "service-dns.row-major.net/services";

fn narrowed(to: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(NARROWED.to_owned(), to.to_owned())])
}

async fn waits(cluster: &Cluster, asked: &Asked) {
    cluster.pass(60).await;
    assert_eq!(cluster.condition(asked).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_service_made_after_its_pods_wakes_them() {
    let cluster = Cluster::ready().await;
    let pod = cluster.pod("shop", "web").await;
    let asked = cluster.ask(&pod, SERVICE_DNS).await;
    waits(&cluster, &asked).await;
    assert_eq!(cluster.told("NoMatchingService").await, 1);
    assert_eq!(cluster.waiting(), 1);

    cluster.service("shop", "elsewhere", "elsewhere").await;
    waits(&cluster, &asked).await;
    assert_eq!(cluster.told("NoMatchingService").await, 1, "told once");

    cluster.service("shop", "web", "web").await;
    cluster.pass(1).await;
    assert_eq!(cluster.dns_names(&asked).await, ["web.shop.svc"]);
    assert_eq!(cluster.waiting(), 0);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_short_wait_is_not_worth_an_event() {
    let cluster = Cluster::ready().await;
    cluster.pass(1).await;
    cluster.api.reset_stats();
    let pod = cluster.pod("shop", "web").await;
    let asked = cluster.ask(&pod, SERVICE_DNS).await;
    cluster.pass(5).await;
    cluster.service("shop", "web", "web").await;
    cluster.pass(60).await;
    assert!(cluster.is_issued(&asked).await);
    assert_eq!(cluster.controller_stats().writes(), 1);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_the_watch_shows_late_is_waited_for() {
    let cluster = Cluster::ready().await;
    let pods = Matching::any()
        .user(CONTROLLER)
        .verb(Verb::Watch)
        .resource("pods");
    let broken = cluster.api.faults().inject(
        pods.clone(),
        Occurrence::Always,
        Effect::error(500, "InternalError", "no watches now"),
    );
    assert_eq!(cluster.api.faults().drop_watches(&pods), 1);
    let pod = cluster.pod("shop", "web").await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    waits(&cluster, &asked).await;
    assert_eq!(cluster.told("PodNotFound").await, 1);
    broken.remove();
    cluster.pass(60).await;
    assert!(cluster.is_issued(&asked).await);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_annotation_narrows_the_names() {
    let cluster = Cluster::ready().await;
    let sources = json!([{"signerName": SERVICE_DNS, "userAnnotations": {NARROWED: "web, late"}}]);
    let pod = cluster.pod_with("shop", "web", &sources).await;
    cluster.service("shop", "web", "web").await;
    cluster.service("shop", "unwanted", "web").await;
    let asked = cluster
        .ask_with(&pod, SERVICE_DNS, narrowed("web, late"))
        .await;
    waits(&cluster, &asked).await;
    let events = cluster.events().await;
    let (reason, note) = &events[0];
    assert_eq!(reason, "RequestedServiceNotMatching");
    assert!(note.contains("Service shop/late does not exist"), "{note}");

    cluster.service("shop", "late", "web").await;
    cluster.pass(1).await;
    assert_eq!(
        cluster.dns_names(&asked).await,
        ["late.shop.svc", "web.shop.svc"]
    );
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_the_pods_own_waits() {
    let cluster = Cluster::ready().await;
    let pod = cluster.pod("shop", "web").await;
    cluster.service("shop", "web", "web").await;

    // Annotations no projection has.
    let annotated = cluster.ask_with(&pod, SERVICE_DNS, narrowed("web")).await;
    // A pod without any projection of the signer.
    let plain = cluster.pod_with("shop", "plain", &json!([])).await;
    let unprojected = cluster.ask(&plain, SPIFFE).await;
    // A pod on another node, and one with another service account.
    let move_to = |field: &str, value: &str| {
        let mut pod = serde_json::to_value(&pod).unwrap();
        pod["metadata"] =
            json!({"name": format!("other-{}", field.to_lowercase()), "namespace": "shop"});
        pod["spec"][field] = json!(value);
        pod
    };
    let elsewhere = create(&cluster.pods("shop"), move_to("nodeName", "node-2")).await;
    let elsewhere = cluster.ask(&elsewhere, SPIFFE).await;
    let accounts: kube::Api<k8s_openapi::api::core::v1::ServiceAccount> =
        kube::Api::namespaced(cluster.client.clone(), "shop");
    create(
        &accounts,
        json!({"metadata": {"name": "root", "namespace": "shop"}}),
    )
    .await;
    let stranger = create(&cluster.pods("shop"), move_to("serviceAccountName", "root")).await;
    let stranger = cluster.ask(&stranger, SPIFFE).await;

    waits(&cluster, &annotated).await;
    for asked in [&unprojected, &elsewhere, &stranger] {
        assert_eq!(cluster.condition(asked).await, None);
    }
    for reason in [
        "AnnotationsMismatch",
        "NoProjection",
        "PodNodeMismatch",
        "PodServiceAccountMismatch",
    ] {
        assert_eq!(cluster.told(reason).await, 1, "{reason}");
    }
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_replaced_pods_request_waits_until_it_is_cleaned_away() {
    let cluster = Cluster::ready().await;
    let old = cluster.pod("shop", "web").await;
    delete(&cluster.pods("shop"), "web").await;
    let gone = cluster.ask(&old, SPIFFE).await;
    waits(&cluster, &gone).await;
    assert_eq!(cluster.told("PodNotFound").await, 1);

    let new = cluster.pod("shop", "web").await;
    waits(&cluster, &gone).await;
    assert_eq!(cluster.told("PodReplaced").await, 1);
    let asked = cluster.ask(&new, SPIFFE).await;
    cluster.pass(1).await;
    assert!(cluster.is_issued(&asked).await);
    assert_eq!(cluster.waiting(), 1);

    delete(&cluster.requests("shop"), &gone.name).await;
    cluster.pass(1).await;
    assert_eq!(cluster.waiting(), 0);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_without_selector_hurts_nobody() {
    let cluster = Cluster::ready().await;
    let kubernetes = json!({
        "metadata": {"name": "kubernetes", "namespace": "default"},
        "spec": {"ports": [{"port": 443}]},
    });
    // The server may bring its own.
    if cluster
        .services("default")
        .get_opt("kubernetes")
        .await
        .unwrap()
        .is_none()
    {
        create(&cluster.services("default"), kubernetes).await;
    }
    let pod = cluster.pod("default", "web").await;
    cluster.service("default", "web", "web").await;
    let asked = cluster.ask(&pod, SERVICE_DNS).await;
    cluster.pass(1).await;
    assert_eq!(cluster.dns_names(&asked).await, ["web.default.svc"]);
    cluster.stop().await;
}
