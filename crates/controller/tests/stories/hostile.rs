//! Input nobody wishes for: each gets its named answer, and none stops the others.

use std::collections::BTreeMap;

use podcert_pki::DnsName;
use serde_json::json;

use crate::cluster::{Cluster, SERVICE_DNS, SPIFFE, Setup, create};

async fn everything_else_works(cluster: &Cluster) {
    let pod = cluster.pod("shop", "bystander").await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(1).await;
    assert!(cluster.is_issued(&asked).await);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_of_another_signer_are_not_touched() {
    let cluster = Cluster::ready().await;
    let sources = json!([{"signerName": "example.com/other"}]);
    let pod = cluster.pod_with("shop", "web", &sources).await;
    cluster.api.reset_stats();
    let mut asked = Vec::new();
    for _ in 0..1000 {
        asked.push(cluster.ask(&pod, "example.com/other").await);
    }
    cluster.pass(60).await;
    assert_eq!(cluster.controller_stats().total(), 0);
    for request in &asked {
        assert_eq!(cluster.condition(request).await, None);
    }
    everything_else_works(&cluster).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_malformed_annotation_of_ours_is_denied() {
    let cluster = Cluster::ready().await;
    let annotation = "service-dns.row-major.net/services";
    let sources =
        json!([{"signerName": SERVICE_DNS, "userAnnotations": {annotation: "Not A Name"}}]);
    let pod = cluster.pod_with("shop", "web", &sources).await;
    let annotations = BTreeMap::from([(annotation.to_owned(), "Not A Name".to_owned())]);
    let asked = cluster.ask_with(&pod, SERVICE_DNS, annotations).await;
    cluster.pass(1).await;
    let status = cluster.look(&asked).await.status.unwrap();
    let condition = &status.conditions.unwrap()[0];
    assert_eq!(condition.type_, "Denied");
    assert_eq!(condition.reason, "InvalidUnverifiedUserAnnotations");
    assert!(
        condition.message.contains(annotation),
        "{}",
        condition.message
    );
    assert_eq!(status.certificate_chain, None);
    everything_else_works(&cluster).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn unknown_annotations_are_ignored_aloud_or_denied_if_strict() {
    for (strict, expected) in [(false, "Issued"), (true, "Denied")] {
        let cluster = Setup {
            strict,
            ..Setup::new()
        }
        .ready()
        .await;
        let sources = json!([{"signerName": SPIFFE, "userAnnotations": {"example.com/x": "y"}}]);
        let pod = cluster.pod_with("shop", "web", &sources).await;
        let annotations = BTreeMap::from([("example.com/x".to_owned(), "y".to_owned())]);
        let asked = cluster.ask_with(&pod, SPIFFE, annotations).await;
        cluster.pass(5).await;
        assert_eq!(cluster.condition(&asked).await.unwrap().0, expected);
        assert_eq!(
            cluster.told("IgnoredAnnotations").await,
            usize::from(!strict)
        );
        cluster.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn names_at_their_length_limits_fit() {
    // 253 less the longest "<service>.<namespace>.svc."
    let suffix: DnsName = format!("{}.{}", "d".repeat(59), "e".repeat(61))
        .parse()
        .unwrap();
    let service_dns = podcert_issuance::service_dns::Policy::with_suffixes([suffix]).unwrap();
    let cluster = Setup {
        service_dns,
        ..Setup::new()
    }
    .ready()
    .await;
    let namespace = "n".repeat(63);
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> =
        kube::Api::all(cluster.client.clone());
    create(&namespaces, json!({"metadata": {"name": namespace}})).await;
    let pod = cluster.pod(&namespace, "web").await;
    cluster.service(&namespace, &"s".repeat(63), "web").await;
    let asked = cluster.ask(&pod, SERVICE_DNS).await;
    cluster.pass(1).await;
    let names = cluster.dns_names(&asked).await;
    assert_eq!(names.iter().map(String::len).max(), Some(253), "{names:?}");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_trust_domain_too_long_for_a_label_still_works() {
    let trust_domain = "t".repeat(255);
    let cluster = Setup {
        trust_domain: trust_domain.clone(),
        ..Setup::new()
    }
    .ready()
    .await;
    let bundle = cluster
        .bundles()
        .get("row-major.net:spiffe:primary-bundle")
        .await
        .unwrap();
    let labels = bundle.metadata.labels.unwrap();
    assert_eq!(labels.len(), 1);
    assert_eq!(labels["spiffe.row-major.net/canarying"], "live");
    let pod = cluster.pod("shop", "web").await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(1).await;
    let chain = cluster.chain(&asked).await;
    let expected = format!("spiffe://{trust_domain}/ns/shop/sa/default");
    assert_eq!(chain.leaf().uris().collect::<Vec<_>>(), [expected]);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn more_services_than_a_certificate_holds_wait_with_a_way_out() {
    let cluster = Cluster::ready().await;
    let pod = cluster.pod("shop", "web").await;
    for index in 0..201 {
        cluster
            .service("shop", &format!("web-{index}"), "web")
            .await;
    }
    let asked = cluster.ask(&pod, SERVICE_DNS).await;
    cluster.pass(60).await;
    assert_eq!(cluster.condition(&asked).await, None);
    let events = cluster.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].0, "TooManyNames");
    crate::cluster::delete(&cluster.services("shop"), "web-7").await;
    cluster.pass(1).await;
    assert_eq!(cluster.dns_names(&asked).await.len(), 200);
    cluster.stop().await;
}
