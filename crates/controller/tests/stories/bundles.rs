//! ClusterTrustBundles published, kept and never written for nothing.

use kube::api::PostParams;
use podcert_apiserver::{Effect, Matching, Occurrence, Verb};
use podcert_controller::UnknownAnchors;
use podcert_pki::TrustBundle;

use crate::cluster::{CONTROLLER, Cluster, SERVICE_DNS, SPIFFE, Setup, delete};

const BUNDLE: &str = "row-major.net:spiffe:primary-bundle";

fn bundle_writes(cluster: &Cluster) -> u64 {
    cluster
        .controller_stats()
        .of_resource("clustertrustbundles")
        .writes()
}

fn both(one: &TrustBundle, other: &TrustBundle) -> TrustBundle {
    TrustBundle::from_pem(one.to_pem() + &other.to_pem()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn bundles_are_meshtools() {
    let cluster = Cluster::ready().await;
    let spiffe = cluster.bundles().get(BUNDLE).await.unwrap();
    assert_eq!(spiffe.spec.signer_name.as_deref(), Some(SPIFFE));
    let labels = spiffe.metadata.labels.unwrap();
    assert_eq!(labels["spiffe.row-major.net/canarying"], "live");
    assert_eq!(labels["spiffe.row-major.net/trust-domain"], "cluster.local");
    let dns = cluster
        .bundles()
        .get("row-major.net:service-dns:primary-bundle")
        .await
        .unwrap();
    assert_eq!(
        dns.metadata.labels.unwrap()["service-dns.row-major.net/canarying"],
        "live"
    );
    assert_eq!(cluster.anchors(SERVICE_DNS).await.anchors().len(), 1);
    assert_eq!(bundle_writes(&cluster), 2);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_bundle_is_put_back() {
    let cluster = Cluster::ready().await;
    let before = cluster.anchors(SPIFFE).await;
    delete(&cluster.bundles(), BUNDLE).await;
    cluster.pass(1).await;
    assert!(cluster.anchors(SPIFFE).await.same_anchors(&before));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_edited_bundle_is_put_right_and_foreign_labels_are_kept() {
    let cluster = Cluster::ready().await;
    let right = cluster.anchors(SPIFFE).await;
    let other = cluster.anchors(SERVICE_DNS).await;

    let mut bundle = cluster.bundles().get(BUNDLE).await.unwrap();
    bundle
        .metadata
        .labels
        .as_mut()
        .unwrap()
        .insert("team".into(), "mesh".into());
    bundle = cluster
        .bundles()
        .replace(BUNDLE, &PostParams::default(), &bundle)
        .await
        .unwrap();
    cluster.pass(60).await;
    assert_eq!(
        bundle_writes(&cluster),
        2,
        "a foreign label is no difference"
    );

    bundle.spec.trust_bundle = other.to_pem();
    bundle
        .metadata
        .labels
        .as_mut()
        .unwrap()
        .remove("spiffe.row-major.net/canarying");
    cluster
        .bundles()
        .replace(BUNDLE, &PostParams::default(), &bundle)
        .await
        .unwrap();
    cluster.pass(1).await;
    let bundle = cluster.bundles().get(BUNDLE).await.unwrap();
    let anchors = TrustBundle::from_pem(&bundle.spec.trust_bundle).unwrap();
    assert!(anchors.same_anchors(&both(&right, &other)), "none is taken");
    let labels = bundle.metadata.labels.unwrap();
    assert_eq!((labels.len(), labels["team"].as_str()), (3, "mesh"));
    assert_eq!(bundle_writes(&cluster), 3);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_bundle_that_may_not_be_written_is_told_and_stops_no_request() {
    let setup = Setup::new();
    let creates = Matching::any()
        .user(CONTROLLER)
        .verb(Verb::Create)
        .resource("clustertrustbundles");
    let forbidden = setup.api.faults().inject(
        creates,
        Occurrence::Always,
        Effect::error(403, "Forbidden", "may not attest"),
    );
    let cluster = setup.start().await;
    cluster
        .spiffe_pool
        .send_replace(Some(cluster.new_pool(&["1"])));
    cluster
        .service_dns_pool
        .send_replace(Some(cluster.new_pool(&["1"])));
    cluster.pass(60).await;
    let failing = cluster.health.report();
    assert!(failing.contains("may not attest"), "{failing}");
    let pod = cluster.pod("shop", "web").await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(1).await;
    assert!(cluster.is_issued(&asked).await);
    forbidden.remove();
    cluster.pass(120).await;
    assert!(cluster.health.is_ready(), "{}", cluster.health.report());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_settled_by_comparing_again() {
    let cluster = Cluster::ready().await;
    let updates = Matching::any()
        .user(CONTROLLER)
        .verb(Verb::Update)
        .resource("clustertrustbundles");
    cluster
        .api
        .faults()
        .inject(updates, Occurrence::Next(3), Effect::conflict());
    let pool = cluster.new_pool(&["2"]);
    cluster.spiffe_pool.send_replace(Some(pool));
    let before = cluster.anchors(SPIFFE).await;
    cluster.pass(60).await;
    assert!(!cluster.anchors(SPIFFE).await.same_anchors(&before));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_writers_who_disagree_do_not_wear_out_the_server() {
    let cluster = Cluster::ready().await;
    let right = cluster.anchors(SPIFFE).await;
    let other = cluster.anchors(SERVICE_DNS).await;
    let before = bundle_writes(&cluster);
    for _ in 0..600 {
        let mut bundle = cluster.bundles().get(BUNDLE).await.unwrap();
        bundle.spec.trust_bundle = other.to_pem();
        // Between the two the bundle may have changed: then it is the next turn's.
        let _ = cluster
            .bundles()
            .replace(BUNDLE, &PostParams::default(), &bundle)
            .await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let writes = bundle_writes(&cluster) - before;
    assert!((3..=10).contains(&writes), "{writes}");
    assert_eq!(cluster.told("BundleContested").await, 1);
    cluster.pass(60).await;
    let anchors = cluster.anchors(SPIFFE).await;
    assert!(anchors.same_anchors(&both(&right, &other)));
    cluster.stop().await;
}

/// Puts another anchor into the bundle, which no pool has.
async fn add_foreign(cluster: &Cluster) -> TrustBundle {
    let foreign = cluster.anchors(SERVICE_DNS).await;
    let mut bundle = cluster.bundles().get(BUNDLE).await.unwrap();
    bundle.spec.trust_bundle += &foreign.to_pem();
    let params = PostParams::default();
    let written = cluster.bundles().replace(BUNDLE, &params, &bundle).await;
    TrustBundle::from_pem(written.unwrap().spec.trust_bundle).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_line_that_cannot_be_read_costs_nobody_an_anchor() {
    let cluster = Cluster::ready().await;
    let first = cluster.spiffe_pool_bytes();
    let foreign = cluster.anchors(SERVICE_DNS).await;
    let mut bundle = cluster.bundles().get(BUNDLE).await.unwrap();
    bundle.spec.trust_bundle += &format!("---\n{}", foreign.to_pem());
    let params = PostParams::default();
    let written = cluster.bundles().replace(BUNDLE, &params, &bundle).await;
    let before = written.unwrap().spec.trust_bundle;
    let writes = bundle_writes(&cluster);
    cluster.pass(60).await;
    assert_eq!(bundle_writes(&cluster), writes);
    // Once of the anchor, once of the rest.
    assert_eq!(cluster.told("UnknownAnchors").await, 2);
    let report = cluster.health.report();
    assert!(report.contains("holds what cannot be read"), "{report}");
    assert!(
        cluster
            .metrics()
            .contains("podcert_bundle_unknown_anchors{signer=\"row-major.net/spiffe\"} 1")
    );

    let second = cluster.new_pool(&["2"]);
    let joined = Cluster::joined(&[&second, &first]);
    cluster.spiffe_pool.send_replace(Some(joined));
    cluster.pass(60).await;
    let after = cluster.bundles().get(BUNDLE).await.unwrap();
    let added = after.spec.trust_bundle.strip_suffix(&before).unwrap();
    assert_eq!(TrustBundle::from_pem(added).unwrap().anchors().len(), 1);
    assert_eq!(bundle_writes(&cluster), writes + 1);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn anchors_nobody_knows_stay_are_told_of_once_and_leave_by_an_operators_word() {
    let cluster = Cluster::ready().await;
    let first = cluster.spiffe_pool_bytes();
    let with_foreign = add_foreign(&cluster).await;
    cluster.pass(600).await;
    assert!(cluster.anchors(SPIFFE).await.same_anchors(&with_foreign));
    assert_eq!(cluster.told("UnknownAnchors").await, 1);
    let unknown = "podcert_bundle_unknown_anchors{signer=\"row-major.net/spiffe\"} 1";
    assert!(cluster.metrics().contains(unknown));
    let report = cluster.health.report();
    assert!(report.contains("1 anchors that are in no pool"), "{report}");

    // A bad reload drops nothing, a good one what it dropped and no more.
    let second = cluster.new_pool(&["2"]);
    let both = Cluster::joined(&[&second, &first]);
    cluster.spiffe_pool.send_replace(Some(both));
    cluster.pass(60).await;
    for bad in [Some(b"{".to_vec().into()), None] {
        cluster.spiffe_pool.send_replace(bad);
        cluster.pass(60).await;
        assert_eq!(cluster.anchors(SPIFFE).await.anchors().len(), 3);
    }
    cluster.spiffe_pool.send_replace(Some(second));
    cluster.pass(60).await;
    assert_eq!(cluster.anchors(SPIFFE).await.anchors().len(), 2);
    assert_eq!(cluster.told("UnknownAnchors").await, 1);
    cluster.stop().await;

    let setup = Setup {
        unknown_anchors: UnknownAnchors::Remove,
        ..Setup::new()
    };
    let cluster = setup.ready().await;
    let own = cluster.anchors(SPIFFE).await;
    add_foreign(&cluster).await;
    cluster.pass(5).await;
    assert!(cluster.anchors(SPIFFE).await.same_anchors(&own));
    cluster.stop().await;
}
