//! What operators' alerts are made of.

use crate::cluster::{Asked, Cluster, SERVICE_DNS, SPIFFE, Setup, delete};

/// The value of the one series of this name and these labels, if it is shown.
fn value(cluster: &Cluster, series: &str) -> Option<i64> {
    let value = |line: &str| {
        let value = line.strip_prefix(series)?.strip_prefix(' ')?;
        Some(value.parse().unwrap())
    };
    cluster.metrics().lines().find_map(value)
}

fn of_signer(cluster: &Cluster, name: &str, signer: &str) -> Option<i64> {
    value(cluster, &format!("{name}{{signer=\"{signer}\"}}"))
}

fn oldest(cluster: &Cluster, reason: &str) -> Option<i64> {
    let name = "podcert_requests_oldest_waiting_timestamp_seconds";
    let labels = format!("{{signer=\"{SERVICE_DNS}\",reason=\"{reason}\"}}");
    value(cluster, &format!("{name}{labels}"))
}

async fn created(cluster: &Cluster, asked: &Asked) -> Option<i64> {
    let created = cluster.look(asked).await.metadata.creation_timestamp;
    Some(created.unwrap().0.as_second())
}

#[tokio::test(start_paused = true)]
async fn the_oldest_request_that_waits_is_as_old_as_its_creation_whatever_it_waited_for() {
    let cluster = Cluster::ready().await;
    let first = cluster.pod("shop", "first").await;
    let first = cluster.ask(&first, SERVICE_DNS).await;
    cluster.pass(100).await;
    let second = cluster.pod("shop", "second").await;
    let second = cluster.ask(&second, SERVICE_DNS).await;
    cluster.pass(100).await;
    let (of_first, of_second) = (
        created(&cluster, &first).await,
        created(&cluster, &second).await,
    );
    assert!(of_first < of_second);
    assert_eq!(oldest(&cluster, "NoMatchingService"), of_first);

    // The elder is answered: the other one is the oldest.
    cluster.service("shop", "first", "first").await;
    cluster.pass(1).await;
    assert!(cluster.is_issued(&first).await);
    assert_eq!(oldest(&cluster, "NoMatchingService"), of_second);

    // It waits for something else, and is no younger for that.
    delete(&cluster.pods("shop"), "second").await;
    cluster.pass(60).await;
    cluster.service("shop", "second", "second").await;
    cluster.pass(1).await;
    assert_eq!(oldest(&cluster, "NoMatchingService"), None);
    assert_eq!(oldest(&cluster, "PodNotFound"), of_second);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn readiness_pools_and_anchors_are_shown_as_they_are() {
    let cluster = Setup::new().start().await;
    cluster.pass(60).await;
    assert_eq!(value(&cluster, "podcert_ready"), Some(0));
    let usable = "podcert_pool_last_load_successful";
    let anchors = "podcert_anchor_expiry_timestamp_seconds";
    assert_eq!(of_signer(&cluster, usable, SPIFFE), Some(0));
    assert_eq!(of_signer(&cluster, anchors, SPIFFE), None);

    cluster.pass(3600).await;
    let (old, new) = (cluster.new_pool(&["1"]), cluster.new_pool(&["2"]));
    cluster
        .service_dns_pool
        .send_replace(Some(cluster.new_pool(&["1"])));
    cluster
        .spiffe_pool
        .send_replace(Some(Cluster::joined(&[&new, &old])));
    cluster.health.ready().await;
    assert_eq!(value(&cluster, "podcert_ready"), Some(1));
    let published = cluster.anchors(SPIFFE).await;
    let ends = published
        .anchors()
        .iter()
        .map(podcert_pki::Certificate::not_after);
    let soonest = ends.min().unwrap().as_second();
    assert_eq!(of_signer(&cluster, anchors, SPIFFE), Some(soonest));
    let loaded = "podcert_pool_last_load_success_timestamp_seconds";
    let at = of_signer(&cluster, loaded, SPIFFE).unwrap();
    assert!(at.abs_diff(cluster.now().as_second()) < 60);

    // A bad one changes nothing but that it is bad.
    cluster
        .spiffe_pool
        .send_replace(Some(b"{".as_slice().into()));
    cluster.pass(60).await;
    assert_eq!(of_signer(&cluster, usable, SPIFFE), Some(0));
    assert_eq!(of_signer(&cluster, loaded, SPIFFE), Some(at));
    assert_eq!(of_signer(&cluster, anchors, SPIFFE), Some(soonest));
    assert_eq!(value(&cluster, "podcert_ready"), Some(1));
    cluster.spiffe_pool.send_replace(Some(old));
    cluster.pass(60).await;
    assert_eq!(of_signer(&cluster, usable, SPIFFE), Some(1));
    assert!(of_signer(&cluster, loaded, SPIFFE) > Some(at));
    cluster.stop().await;
}
