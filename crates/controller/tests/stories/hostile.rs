//! Input nobody wishes for: each gets its named answer, and none stops the others.

use std::collections::BTreeMap;

use k8s_openapi::api::certificates::v1::PodCertificateRequestStatus;
use podcert_apiserver::{Matching, Verb};
use podcert_pki::DnsName;
use serde_json::{Value, json};

use crate::cluster::{CONTROLLER, Cluster, SERVICE_DNS, SPIFFE, Setup, create, delete};

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
    delete(&cluster.services("shop"), "web-7").await;
    cluster.pass(1).await;
    assert_eq!(cluster.dns_names(&asked).await.len(), 200);
    cluster.stop().await;
}

/// The server refuses such CSRs when a request is made, so only what it shows of those of three
/// pods is changed: as if it had stored what it can read and podcert cannot.
fn with_csrs_out_of_shape(object: &mut Value) {
    let out_of_shape = match object["spec"]["podName"].as_str() {
        Some("no-base64") => "%",
        Some("no-der") => "AAAA",
        Some("no-csr") => "MAA=",
        _ => return,
    };
    object["spec"]["stubPKCS10Request"] = json!(out_of_shape);
}

#[tokio::test(start_paused = true)]
async fn a_csr_that_cannot_be_read_waits_alone() {
    let cluster = Setup {
        shown_as: Some(with_csrs_out_of_shape),
        ..Setup::new()
    }
    .ready()
    .await;
    cluster.pass(1).await;
    cluster.api.reset_stats();
    let mut unreadable = Vec::new();
    for name in ["no-base64", "no-der", "no-csr"] {
        let pod = cluster.pod("shop", name).await;
        unreadable.push(cluster.ask(&pod, SPIFFE).await);
    }
    everything_else_works(&cluster).await;
    cluster.pass(60).await;

    // The next list shows them once more, and tells nobody anything new.
    let requests = Matching::any()
        .user(CONTROLLER)
        .verb(Verb::Watch)
        .resource("podcertificaterequests");
    assert_eq!(cluster.api.faults().drop_watches(&requests), 2);
    cluster.api.faults().compact();
    cluster.pass(60).await;
    let lists = cluster.controller_stats().of_verb(Verb::List);
    assert_eq!(lists.of_resource("podcertificaterequests").total(), 2);
    let pod = cluster.pods("shop").get("bystander").await.unwrap();
    let asked = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(1).await;
    assert!(cluster.is_issued(&asked).await);

    for asked in &unreadable {
        let status = cluster.look(asked).await.status.unwrap_or_default();
        assert_eq!(status, PodCertificateRequestStatus::default());
    }
    let stats = cluster.controller_stats();
    let statuses = stats.of_resource("podcertificaterequests/status");
    assert_eq!(statuses.total(), 2, "those of the bystander");
    assert_eq!(cluster.waiting(), 3);
    let events = cluster.events().await;
    assert_eq!(events.len(), 3, "{events:?}");
    for (reason, note) in &events {
        assert_eq!(reason, "UnreadableRequest");
        assert!(note.starts_with("signer row-major.net/spiffe: "), "{note}");
    }
    assert!(
        events
            .iter()
            .any(|(_, note)| note.contains("is not base64")),
        "{events:?}"
    );
    for asked in &unreadable {
        delete(&cluster.requests("shop"), &asked.name).await;
    }
    cluster.pass(1).await;
    assert_eq!(cluster.waiting(), 0);
    cluster.stop().await;
}

/// Makes a Service without reading what the server makes of it: ten thousand take their time.
async fn post_service(cluster: &Cluster, name: &str) {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 443}]},
    });
    let request = http::Request::post("/api/v1/namespaces/shop/services")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(service.to_string().into_bytes().into())
        .unwrap();
    let response = cluster.client.send(request).await.unwrap();
    assert_eq!(response.status(), http::StatusCode::CREATED);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_services_of_a_namespace_hold_up_nobody() {
    let cluster = Cluster::ready().await;
    let web = cluster.pod("shop", "web").await;
    let lonely = cluster.pod("shop", "lonely").await;
    let bystander = cluster.pod("default", "bystander").await;
    let selected = cluster.ask(&web, SERVICE_DNS).await;
    let unselected = cluster.ask(&lonely, SERVICE_DNS).await;
    for index in 0..10_000 {
        if index == 5_000 {
            cluster.service("shop", "web", "web").await;
        } else {
            post_service(&cluster, &format!("s-{index}")).await;
        }
        if index % 1_000 == 999 {
            let other = cluster.ask(&bystander, SPIFFE).await;
            cluster.pass(1).await;
            assert!(cluster.is_issued(&other).await, "after Service {index}");
            assert_eq!(
                cluster.is_issued(&selected).await,
                index > 5_000,
                "after Service {index}"
            );
        }
    }
    assert_eq!(cluster.dns_names(&selected).await, ["web.shop.svc"]);

    cluster.pass(60).await;
    assert_eq!(cluster.condition(&unselected).await, None);
    assert_eq!(cluster.waiting(), 1);
    let events = cluster.events().await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].0, "NoMatchingService");
    // Those that ask now, with all of them there, fare the same.
    let again = cluster.ask(&web, SERVICE_DNS).await;
    cluster.pass(1).await;
    assert_eq!(cluster.dns_names(&again).await, ["web.shop.svc"]);
    assert_eq!(cluster.condition(&unselected).await, None);
    cluster.stop().await;
}
