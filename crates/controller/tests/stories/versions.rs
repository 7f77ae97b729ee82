//! API servers of several releases, one after the other and side by side: every request is
//! answered once, in the version that is served.

use std::time::Duration;

use http::Method;
use k8s_openapi::api::core::v1::Pod;
use podcert_apiserver::{Effect, Fault, Matching, Occurrence, Verb, Versions};

use crate::cluster::{Asked, CONTROLLER, Cluster, Form, SERVICE_DNS, SPIFFE, Setup};

const REQUESTS: &str = "podcertificaterequests";
const STATUS: &str = "podcertificaterequests/status";
const ISSUED: &str =
    r#"podcert_requests_total{signer="row-major.net/spiffe",outcome="issued",reason="Issued"}"#;

fn serving(versions: Versions) -> Setup {
    let setup = Setup::new();
    setup.api.serve_certificates(versions);
    setup
}

/// The value of a line of the metrics, zero if it is not there.
fn metric(cluster: &Cluster, line: &str) -> u64 {
    let metrics = cluster.metrics();
    let found = metrics.lines().find_map(|text| text.strip_prefix(line));
    found.map_or(0, |value| value.trim().parse().unwrap())
}

fn in_use(cluster: &Cluster, resource: &str, version: &str) -> bool {
    let labels = format!(r#"{{resource="{resource}",version="{version}"}}"#);
    metric(cluster, &format!("podcert_api_version{labels}")) == 1
}

async fn assert_issued(cluster: &Cluster, asked: &[Asked]) {
    for asked in asked {
        let condition = cluster.condition(asked).await;
        let condition = condition.as_ref().map(|(type_, _)| type_.as_str());
        assert_eq!(condition, Some("Issued"), "{}", asked.name);
        let chain = cluster.chain(asked).await;
        assert_eq!(chain.leaf().spki_der(), asked.key.public_key().spki_der());
    }
}

/// The certificates written, which must be as many as were asked for.
fn assert_answered_once(cluster: &Cluster, asked: &[Asked]) {
    assert_eq!(metric(cluster, ISSUED), asked.len() as u64);
    let metrics = cluster.metrics();
    let mut denied = metrics
        .lines()
        .filter(|line| line.contains(r#"outcome="denied""#));
    assert!(denied.all(|line| line.ends_with(" 0")), "{metrics}");
    assert_eq!(cluster.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn each_form_of_each_release_is_issued() {
    for (served, form, speaks, reads) in [
        (Versions::V1, Form::Csr("v1"), "v1", 0),
        (Versions::Both, Form::Csr("v1"), "v1", 0),
        (Versions::Both, Form::Csr("v1beta1"), "v1", 0),
        (Versions::Both, Form::Key, "v1", 1),
        (Versions::V1beta1, Form::Csr("v1beta1"), "v1beta1", 0),
        (Versions::V1beta1, Form::Key, "v1beta1", 0),
    ] {
        let cluster = serving(served).ready().await;
        let pod = cluster.pod("shop", "web").await;
        cluster.pass(1).await;
        cluster.api.reset_stats();
        let asked = [cluster.ask_as(&pod, SPIFFE, form).await];
        cluster.pass(30).await;
        assert_issued(&cluster, &asked).await;
        assert_answered_once(&cluster, &asked);
        let stats = cluster.controller_stats();
        let found = (stats.writes(), stats.reads());
        assert_eq!(found, (1, reads), "{served:?} {form:?}");
        assert_eq!(cluster.anchors(SPIFFE).await.anchors().len(), 1);
        for resource in [REQUESTS, "clustertrustbundles"] {
            assert!(in_use(&cluster, resource, speaks), "{}", cluster.metrics());
        }
        let report = cluster.health.report();
        let words = format!("ok: podcertificaterequests {speaks}, clustertrustbundles {speaks}");
        assert!(report.contains(&words), "{report}");
        cluster.stop().await;
    }
}

/// Asks five times a second, in the forms the API server takes at the time.
async fn load(cluster: &Cluster, pod: &Pod, seconds: u64, forms: &[Form], asked: &mut Vec<Asked>) {
    for index in 0..seconds * 5 {
        let form = forms[index as usize % forms.len()];
        asked.push(cluster.ask_as(pod, SPIFFE, form).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_and_a_rollback_under_load_lose_nothing() {
    let cluster = serving(Versions::V1beta1).ready().await;
    let pod = cluster.pod("shop", "web").await;
    // So that some are under way at each change.
    cluster.trouble_writing(
        Occurrence::Always,
        Effect::delay(Duration::from_millis(700)),
    );
    let (csr, beta, key) = (Form::Csr("v1"), Form::Csr("v1beta1"), Form::Key);
    let mut asked = Vec::new();
    load(&cluster, &pod, 10, &[beta, key], &mut asked).await;
    for (served, forms, speaks) in [
        // 1.36 to 1.37 without v1beta1, and back.
        (Versions::V1, &[csr][..], "v1"),
        (Versions::V1beta1, &[beta, key], "v1beta1"),
        // With both meanwhile.
        (Versions::Both, &[csr, beta, key], ""),
        (Versions::V1, &[csr], "v1"),
        (Versions::Both, &[csr, beta, key], "v1"),
        (Versions::V1beta1, &[beta, key], "v1beta1"),
    ] {
        cluster.api.serve_certificates(served);
        load(&cluster, &pod, 10, forms, &mut asked).await;
        cluster.pass(2).await;
        if !speaks.is_empty() {
            assert!(in_use(&cluster, REQUESTS, speaks), "{served:?}");
        }
    }
    cluster.pass(60).await;
    assert_issued(&cluster, &asked).await;
    assert_answered_once(&cluster, &asked);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_in_the_moment_of_the_change_is_answered() {
    for (before, after, form) in [
        (Versions::V1beta1, Versions::V1, Form::Csr("v1beta1")),
        (Versions::V1, Versions::V1beta1, Form::Csr("v1")),
    ] {
        let cluster = serving(before).ready().await;
        let pod = cluster.pod("shop", "web").await;
        cluster.pass(1).await;
        let mut asked = Vec::new();
        for _ in 0..200 {
            asked.push(cluster.ask_as(&pod, SPIFFE, form).await);
        }
        cluster.api.serve_certificates(after);
        cluster.pass(60).await;
        assert_issued(&cluster, &asked).await;
        assert_answered_once(&cluster, &asked);
        cluster.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn v1_is_spoken_soon_after_it_is_served_beside_v1beta1() {
    let cluster = serving(Versions::V1beta1).ready().await;
    let pod = cluster.pod("shop", "web").await;
    cluster.api.serve_certificates(Versions::Both);
    cluster.pass(11 * 60).await;
    assert!(in_use(&cluster, REQUESTS, "v1"), "{}", cluster.metrics());
    assert!(in_use(&cluster, "clustertrustbundles", "v1"));
    assert!(!in_use(&cluster, REQUESTS, "v1beta1"));
    let asked = [cluster.ask(&pod, SPIFFE).await];
    cluster.pass(1).await;
    assert_issued(&cluster, &asked).await;
    // Nothing was written for the change alone.
    let bundles = cluster
        .controller_stats()
        .of_resource("clustertrustbundles");
    assert_eq!(bundles.writes(), 2);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_v1_does_not_show_waits_by_name_until_v1beta1_is_served() {
    // Asked of 1.36, which was replaced by 1.37 without v1beta1 before anybody answered.
    let setup = serving(Versions::V1beta1);
    let (api, clock) = (setup.api.clone(), setup.clock.clone());
    let before = setup.start().await;
    let pod = before.pod("shop", "web").await;
    let asked = [before.ask_as(&pod, SPIFFE, Form::Key).await];
    before.stop().await;

    api.serve_certificates(Versions::V1);
    let cluster = Setup {
        api,
        clock,
        ..Setup::new()
    }
    .ready()
    .await;
    let bystander = [cluster.ask(&pod, SPIFFE).await];
    cluster.pass(30).await;
    assert_issued(&cluster, &bystander).await;
    assert_eq!(cluster.condition(&asked[0]).await, None);
    let waits = r#"podcert_requests_waiting{signer="row-major.net/spiffe",reason="KeyNotShown"}"#;
    assert_eq!(metric(&cluster, waits), 1);
    let events = cluster.events().await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].0, "KeyNotShown");
    assert!(events[0].1.contains("v1beta1"), "{events:?}");

    cluster.api.serve_certificates(Versions::Both);
    cluster.pass(11 * 60).await;
    assert_issued(&cluster, &asked).await;
    assert_eq!(cluster.waiting(), 0);
    cluster.stop().await;
}

/// Troubles every reading of a single request.
fn trouble_reading(cluster: &Cluster, effect: Effect) -> Fault {
    let gets = Matching::any()
        .user(CONTROLLER)
        .verb(Verb::Get)
        .resource(REQUESTS);
    cluster
        .api
        .faults()
        .inject(gets, Occurrence::Always, effect)
}

#[tokio::test(start_paused = true)]
async fn however_many_must_be_read_again_the_others_do_not_wait() {
    let cluster = serving(Versions::Both).ready().await;
    let pod = cluster.pod("shop", "web").await;
    trouble_reading(&cluster, Effect::delay(Duration::from_secs(1)));
    cluster.api.reset_stats();
    let mut old = Vec::new();
    for _ in 0..300 {
        old.push(cluster.ask_as(&pod, SPIFFE, Form::Key).await);
    }
    let mut new = Vec::new();
    for _ in 0..100 {
        new.push(cluster.ask(&pod, SPIFFE).await);
    }
    cluster.pass(1).await;
    assert_issued(&cluster, &new).await;
    // Eight at a time.
    cluster.pass(40).await;
    assert_issued(&cluster, &old).await;
    old.append(&mut new);
    assert_answered_once(&cluster, &old);
    let stats = cluster.controller_stats().of_resource(REQUESTS);
    assert_eq!(stats.of_verb(Verb::Get).total(), 300);
    let shown =
        r#"podcert_requests_read_again_total{signer="row-major.net/spiffe",outcome="shown"}"#;
    assert_eq!(metric(&cluster, shown), 300);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_fails_is_repeated() {
    for (code, reason, told) in [
        (503, "ServiceUnavailable", "ApiUnavailable"),
        (403, "Forbidden", "Forbidden"),
    ] {
        let cluster = serving(Versions::Both).ready().await;
        let pod = cluster.pod("shop", "web").await;
        let fault = trouble_reading(&cluster, Effect::error(code, reason, "not now"));
        let asked = [cluster.ask_as(&pod, SPIFFE, Form::Key).await];
        cluster.pass(120).await;
        assert_eq!(cluster.condition(&asked[0]).await, None);
        assert!((2..=40).contains(&fault.hits()), "{code}: {}", fault.hits());
        assert_eq!(cluster.told(told).await, 1);
        fault.remove();
        cluster.pass(300).await;
        assert_issued(&cluster, &asked).await;
        assert_answered_once(&cluster, &asked);
        cluster.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_deleted_before_it_could_be_read_is_forgotten() {
    let cluster = serving(Versions::Both).ready().await;
    let pod = cluster.pod("shop", "web").await;
    trouble_reading(&cluster, Effect::delay(Duration::from_secs(2)));
    let asked = cluster.ask_as(&pod, SPIFFE, Form::Key).await;
    cluster.pass(1).await;
    crate::cluster::delete(&cluster.requests("shop"), &asked.name).await;
    cluster.pass(60).await;
    assert_eq!(cluster.waiting(), 0);
    let stats = cluster.controller_stats();
    assert_eq!(stats.of_resource(STATUS).total(), 0);
    assert_eq!(stats.of_resource(REQUESTS).of_verb(Verb::Get).total(), 1);
    cluster.stop().await;
}

fn discovery(_: &Method, path: &str) -> bool {
    matches!(
        path,
        "/apis/certificates.k8s.io/v1" | "/apis/certificates.k8s.io/v1beta1"
    )
}

#[tokio::test(start_paused = true)]
async fn what_is_served_may_take_a_while_to_find_out() {
    let setup = serving(Versions::V1beta1);
    let gate = setup.gate.clone();
    gate.close(discovery, 503);
    let cluster = setup.start().await;
    for pool in [&cluster.spiffe_pool, &cluster.service_dns_pool] {
        pool.send_replace(Some(cluster.new_pool(&["1"])));
    }
    let pod = cluster.pod("shop", "web").await;
    let asked = [cluster.ask_as(&pod, SPIFFE, Form::Key).await];
    cluster.pass(120).await;
    assert!(!cluster.health.is_ready());
    let report = cluster.health.report();
    assert!(report.contains("cannot be found out"), "{report}");
    let stats = cluster.controller_stats();
    assert_eq!(stats.of_resource(REQUESTS).total(), 0, "nothing is guessed");
    gate.open();
    cluster.pass(31).await;
    assert!(cluster.health.is_ready(), "{}", cluster.health.report());
    assert_issued(&cluster, &asked).await;

    // Later, it does no harm any more.
    gate.close(discovery, 503);
    cluster.pass(3600).await;
    assert!(cluster.health.is_ready(), "{}", cluster.health.report());
    let asked = [cluster.ask_as(&pod, SPIFFE, Form::Key).await];
    cluster.pass(1).await;
    assert_issued(&cluster, &asked).await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_may_not_see_what_is_served_tries() {
    for served in [Versions::V1, Versions::V1beta1] {
        let setup = serving(served);
        setup.gate.close(discovery, 403);
        let cluster = setup.ready().await;
        let pod = cluster.pod("shop", "web").await;
        let form = match served {
            Versions::V1beta1 => Form::Key,
            _ => Form::Csr("v1"),
        };
        let asked = [cluster.ask_as(&pod, SPIFFE, form).await];
        cluster.pass(1).await;
        assert_issued(&cluster, &asked).await;
        cluster.stop().await;
    }
}

fn without_requests(object: &mut serde_json::Value) {
    hide(object, REQUESTS);
}

fn without_bundles(object: &mut serde_json::Value) {
    hide(object, "clustertrustbundles");
}

/// Hides a resource from discovery.
fn hide(object: &mut serde_json::Value, plural: &str) {
    if let Some(resources) = object["resources"].as_array_mut() {
        resources.retain(|found| !found["name"].as_str().unwrap().starts_with(plural));
    }
}

#[tokio::test(start_paused = true)]
async fn one_resource_does_not_wait_for_the_other() {
    let cluster = Setup {
        shown_as: Some(without_bundles),
        ..serving(Versions::V1beta1)
    }
    .start()
    .await;
    for pool in [&cluster.spiffe_pool, &cluster.service_dns_pool] {
        pool.send_replace(Some(cluster.new_pool(&["1"])));
    }
    let pod = cluster.pod("shop", "web").await;
    let asked = [cluster.ask_as(&pod, SPIFFE, Form::Key).await];
    cluster.pass(60).await;
    assert_issued(&cluster, &asked).await;
    assert!(!cluster.health.is_ready());
    let report = cluster.health.report();
    assert!(
        report.contains("serves clustertrustbundles neither"),
        "{report}"
    );
    assert!(
        report.contains("--feature-gates=ClusterTrustBundle=true"),
        "{report}"
    );
    cluster.stop().await;

    let cluster = Setup {
        shown_as: Some(without_requests),
        ..serving(Versions::V1beta1)
    }
    .start()
    .await;
    for pool in [&cluster.spiffe_pool, &cluster.service_dns_pool] {
        pool.send_replace(Some(cluster.new_pool(&["1"])));
    }
    cluster.pass(60).await;
    assert_eq!(cluster.anchors(SERVICE_DNS).await.anchors().len(), 1);
    let report = cluster.health.report();
    assert!(
        report.contains("serves podcertificaterequests neither"),
        "{report}"
    );
    cluster.stop().await;
}

/// A server of 1.36 behind the same address as one of 1.37: it takes the writes, the other one
/// answers discovery and watches.
fn writes_at_v1(method: &Method, path: &str) -> bool {
    *method == Method::PUT && path.starts_with("/apis/certificates.k8s.io/v1/")
}

#[tokio::test(start_paused = true)]
async fn behind_one_address_the_version_of_both_releases_is_spoken() {
    let setup = serving(Versions::Both);
    let gate = setup.gate.clone();
    gate.close(writes_at_v1, 404);
    let cluster = setup.ready().await;
    let pod = cluster.pod("shop", "web").await;
    let mut asked = Vec::new();
    load(&cluster, &pod, 60, &[Form::Csr("v1beta1")], &mut asked).await;
    cluster.pass(10).await;
    assert_issued(&cluster, &asked).await;
    assert_answered_once(&cluster, &asked);
    let lists = cluster.controller_stats().of_resource(REQUESTS);
    let lists = lists.of_verb(Verb::List).total();
    assert_eq!(lists, 4, "one of each signer at v1, and at v1beta1");
    // The upgrade is over.
    gate.open();
    cluster.pass(20 * 60).await;
    assert!(in_use(&cluster, REQUESTS, "v1"), "{}", cluster.metrics());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn bundles_are_kept_through_an_upgrade() {
    let cluster = serving(Versions::V1beta1).ready().await;
    cluster.api.serve_certificates(Versions::V1);
    let (old, new) = (cluster.spiffe_pool_bytes(), cluster.new_pool(&["2"]));
    cluster
        .spiffe_pool
        .send_replace(Some(Cluster::joined(&[&old, &new])));
    cluster.pass(60).await;
    assert_eq!(cluster.anchors(SPIFFE).await.anchors().len(), 2);
    assert!(in_use(&cluster, "clustertrustbundles", "v1"));
    crate::cluster::delete(&cluster.bundles(), "row-major.net:spiffe:primary-bundle").await;
    cluster.pass(1).await;
    assert_eq!(cluster.anchors(SPIFFE).await.anchors().len(), 2);
    cluster.stop().await;
}
