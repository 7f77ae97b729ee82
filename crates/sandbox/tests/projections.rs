//! What the kubelet does with projections, over days of virtual time.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a panic in a test is its report"
)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use common::{World, certificate, deployment, is_ready, trust_bundle};
use jiff::SignedDuration;
use k8s_openapi::api::certificates::v1::PodCertificateRequest;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use podcert_apiserver::{Effect, Matching, Occurrence, Verb};
use podcert_pki::{CertificationRequest, TrustBundle};
use tokio::time::{Instant, sleep};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_pod_starts_with_its_certificate_and_the_request_is_the_kubelets() {
    let world = World::start().await;
    let source = "[{podCertificate: {signerName: test.example/any, keyType: RSA3072, \
        credentialBundlePath: creds.pem, keyPath: deep/key.pem, certificateChainPath: chain.pem, \
        maxExpirationSeconds: 86400, userAnnotations: {test.example/a: b}}}]";
    world.apply(&deployment(1, source)).await;
    let pod = world.ready_pod().await;

    let [request] = world.requests().await.try_into().unwrap();
    assert_eq!(request.metadata.generate_name.as_deref(), Some("req-"));
    let [owner] = request.owner_references() else {
        panic!("{request:?}")
    };
    assert_eq!(
        (owner.kind.as_str(), &owner.uid),
        ("Pod", &pod.uid().unwrap())
    );
    let spec = &request.spec;
    assert_eq!(spec.pod_name, pod.name_any());
    assert_eq!(spec.pod_uid, pod.uid().unwrap());
    assert_eq!(spec.service_account_name, "default");
    assert!(!spec.service_account_uid.is_empty() && !spec.node_uid.is_empty());
    assert_eq!(spec.max_expiration_seconds, Some(86400));
    assert_eq!(
        spec.unverified_user_annotations.as_ref().unwrap()["test.example/a"],
        "b"
    );
    let csr = CertificationRequest::from_der(&spec.stub_pkc_s10_request.0).unwrap();
    assert_eq!(csr.public_key().key_type().to_string(), "RSA3072");
    assert!(spec.stub_pkc_s10_request.0.len() < 1000, "an empty CSR");

    let bundle = world.bundle(&pod);
    assert_eq!(bundle.key().public_key(), csr.public_key());
    let (key, chain) = (
        world.read(&pod, "deep/key.pem").unwrap(),
        world.read(&pod, "chain.pem").unwrap(),
    );
    assert_eq!(
        world.read(&pod, "creds.pem").unwrap(),
        format!("{key}{chain}")
    );
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        mode(world.file(&pod, "tls", "creds.pem")),
        0o644,
        "the kubelet's default"
    );
    assert_eq!(
        mode(world.file(&pod, "tls", "")),
        0o700,
        "and a folder nobody else enters"
    );
    world.assert_event("Started", "main").await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn certificates_are_refreshed_at_half_life_for_days() {
    let world = World::start().await;
    world
        .apply(&deployment(2, &format!("[{}]", certificate("any"))))
        .await;
    sleep(MINUTE).await;
    let pods = world.pods().await;
    assert!(pods.len() == 2 && pods.iter().all(is_ready));

    let mut changes = vec![Vec::new(); 2];
    let mut last = pods.iter().map(|pod| world.bundle(pod)).collect::<Vec<_>>();
    let end = Instant::now() + HOUR * 24 * 3;
    while Instant::now() < end {
        sleep(MINUTE * 6).await;
        for (n, pod) in pods.iter().enumerate() {
            let bundle = world.bundle(pod);
            let validity = bundle.chain().leaf().validity().unwrap();
            assert!(
                validity.contains(world.now()),
                "an expired certificate at {}",
                world.now()
            );
            let left = validity.not_after().duration_since(world.now());
            // Refresh at 12 h + U(0, 5 min), seen by a pass within 2 min, written within 1.5 min, read within 6.
            assert!(
                left > SignedDuration::from_mins(12 * 60 - 5 - 2 - 2 - 6),
                "{left:?} left"
            );
            if bundle.key().public_key() != last[n].key().public_key() {
                changes[n].push(world.now());
                last[n] = bundle;
            }
        }
    }
    for times in &changes {
        assert!(
            (5..=6).contains(&times.len()),
            "{} refreshes in 3 days",
            times.len()
        );
    }
    assert_ne!(changes[0], changes[1], "jitter keeps the pods apart");
    let requests = world.sandbox.report().requests;
    assert_eq!(
        requests,
        2 + changes.iter().map(Vec::len).sum::<usize>() as u64
    );
    assert_eq!(
        world.tasks.launches.lock().unwrap().len(),
        2,
        "no restart for a new certificate"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_kubelet_makes_every_key_anew_while_containers_run() {
    let world = World::start().await;
    world
        .apply(&deployment(3, &format!("[{}]", certificate("any"))))
        .await;
    sleep(MINUTE).await;
    let pods = world.pods().await;
    let keys = |world: &World| -> Vec<Vec<u8>> {
        let of = |pod| world.bundle(pod).key().public_key().spki_der().to_vec();
        pods.iter().map(of).collect()
    };
    let before = keys(&world);
    let starts: Vec<_> = pods.iter().map(|pod| pod.status.clone()).collect();

    world.sandbox.restart_kubelet().await;
    assert_eq!(
        keys(&world),
        before,
        "the old files stay until the new ones are there"
    );
    sleep(Duration::from_secs(5)).await;
    let after = keys(&world);
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(before, after);
    }
    assert_eq!(world.requests().await.len(), 6);
    assert_eq!(
        world.tasks.launches.lock().unwrap().len(),
        3,
        "nothing was started again"
    );
    let now: Vec<_> = world
        .pods()
        .await
        .iter()
        .map(|pod| pod.status.clone())
        .collect();
    assert_eq!(now, starts, "nor does any pod look different");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_trust_bundle_reaches_the_file_with_the_pods_next_sync() {
    let world = World::start().await;
    let source = "[{clusterTrustBundle: {name: anchors, path: trust.pem}}]";
    world.apply(&deployment(1, source)).await;
    sleep(Duration::from_secs(30)).await;
    let pods = world.pods().await;
    assert!(!is_ready(&pods[0]), "the mount waits");
    world
        .assert_event("FailedMount", "clustertrustbundle \"anchors\" not found")
        .await;
    assert!(world.tasks.launches.lock().unwrap().is_empty());

    let (yaml, first) = trust_bundle("anchors");
    world.apply(&yaml).await;
    let pod = world.ready_pod().await;
    let anchors = |pod: &Pod| TrustBundle::from_pem(world.read(pod, "trust.pem").unwrap()).unwrap();
    assert_eq!(anchors(&pod).anchors(), std::slice::from_ref(&first));

    let (yaml, second) = trust_bundle("anchors");
    world.apply(&yaml).await;
    sleep(Duration::from_millis(90_100)).await;
    assert_eq!(anchors(&pod).anchors(), std::slice::from_ref(&second));

    let bundles: Api<k8s_openapi::api::certificates::v1::ClusterTrustBundle> =
        Api::all(world.sandbox.admin());
    bundles
        .delete("anchors", &DeleteParams::default())
        .await
        .unwrap();
    sleep(HOUR).await;
    assert_eq!(
        anchors(&pod).anchors(),
        [second],
        "a bundle that is gone leaves its last content"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_optional_bundle_is_an_empty_file_until_there_is_one() {
    let world = World::start().await;
    let source = format!(
        "[{}, {{clusterTrustBundle: {{name: anchors, path: trust.pem, optional: true}}}}]",
        certificate("any"),
    );
    world.apply(&deployment(1, &source)).await;
    let pod = world.ready_pod().await;
    assert_eq!(world.read(&pod, "trust.pem").unwrap(), "");
    let key = world.bundle(&pod).key().public_key().clone();
    let (yaml, anchor) = trust_bundle("anchors");
    world.apply(&yaml).await;
    sleep(MINUTE * 2).await;
    assert_eq!(world.read(&pod, "trust.pem").unwrap(), anchor.to_pem());
    assert_eq!(
        *world.bundle(&pod).key().public_key(),
        key,
        "the certificate is not touched"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_denied_request_is_final_for_its_pod() {
    let world = World::start().await;
    world
        .apply(&deployment(1, &format!("[{}]", certificate("deny"))))
        .await;
    sleep(HOUR * 2).await;
    let [pod] = world.pods().await.try_into().unwrap();
    assert!(!is_ready(&pod));
    assert_eq!(world.sandbox.report().requests, 1, "nothing is asked twice");
    assert!(
        world.requests().await.is_empty(),
        "nobody keeps a request for more than twenty minutes"
    );
    assert_eq!(world.events("Denied").await, ["Test: by the test"]);
    world
        .assert_event("FailedMount", "permanently denied")
        .await;

    let pods: Api<Pod> = Api::namespaced(world.sandbox.admin(), "default");
    pods.delete(&pod.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    sleep(MINUTE).await;
    assert_eq!(world.requests().await.len(), 1, "a new pod asks anew");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_vanished_is_made_again_after_ten_to_fifteen_minutes() {
    let world = World::start().await;
    world
        .apply(&deployment(1, &format!("[{}]", certificate("mute"))))
        .await;
    sleep(MINUTE).await;
    let [first] = world.requests().await.try_into().unwrap();
    let requests: Api<PodCertificateRequest> = Api::namespaced(world.sandbox.admin(), "default");
    requests
        .delete(&first.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    sleep(MINUTE * 9 - Duration::from_secs(5)).await;
    assert!(world.requests().await.is_empty(), "not before ten minutes");
    // Ten minutes, jitter of five, a pass of at most two.
    sleep(MINUTE * 8).await;
    let [second] = world.requests().await.try_into().unwrap();
    let key = |request: &PodCertificateRequest| request.spec.stub_pkc_s10_request.0.clone();
    assert_ne!(key(&first), key(&second));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_fails_delays_a_certificate_and_no_more() {
    let world = World::start().await;
    let unavailable = Effect::error(503, "ServiceUnavailable", "no");
    let creates = Matching::any()
        .verb(Verb::Create)
        .resource("podcertificaterequests");
    let faults = world.sandbox.api().faults();
    let fault = faults.inject(creates, Occurrence::Next(3), unavailable);
    world
        .apply(&deployment(1, &format!("[{}]", certificate("any"))))
        .await;
    let pod = world.ready_pod().await;
    world
        .assert_event("FailedCertificateRequest", "test.example/any")
        .await;
    assert_eq!(world.requests().await.len(), 1);
    assert_eq!(fault.hits(), 3);
    assert!(faults.drop_watches(&Matching::any()) > 0);
    sleep(HOUR * 13).await;
    assert_eq!(world.sandbox.report().requests, 2, "the watches are back");
    assert!(world.bundle(&pod).chain().leaf().not_before() > common::START.parse().unwrap());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn two_signers_in_one_volume_arrive_as_one_generation() {
    let world = World::start().await;
    let other = certificate("mute").replace("creds.pem", "other.pem");
    world
        .apply(&deployment(
            1,
            &format!("[{}, {other}]", certificate("any")),
        ))
        .await;
    sleep(MINUTE).await;
    let [pod] = world.pods().await.try_into().unwrap();
    assert!(!is_ready(&pod));
    assert!(
        world.read(&pod, "creds.pem").is_none(),
        "a volume is written whole or not at all"
    );
    assert!(!world.file(&pod, "tls", "..data").exists());
    world.end().await;
}
