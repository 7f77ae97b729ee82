//! Pools missing, bad, swapped, expired.

use std::sync::Arc;

use jiff::SignedDuration;
use podcert_apiserver::{Effect, Matching, Occurrence, Verb};
use podcert_authority::{CaId, CaOptions, Pool};
use serde_json::{Value, json};

use crate::cluster::{CONTROLLER, Cluster, SPIFFE, Setup};

fn bytes(json: &Value) -> Arc<[u8]> {
    json.to_string().into_bytes().into()
}

fn value(pool: &Arc<[u8]>) -> Value {
    serde_json::from_slice(pool).unwrap()
}

#[tokio::test(start_paused = true)]
async fn without_a_pool_it_is_not_ready_and_says_why() {
    let cluster = Setup::new().start().await;
    cluster.pass(60).await;
    let report = cluster.health.report();
    assert!(
        report.contains("[-]pool of row-major.net/spiffe: the CA pool is not there yet"),
        "{report}"
    );
    assert!(report.contains("[+]watch of pods ok"), "{report}");
    assert!(!cluster.running.is_finished());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn each_bad_pool_is_named_and_stops_only_its_signer() {
    let cluster = Setup::new().start().await;
    cluster
        .service_dns_pool
        .send_replace(Some(cluster.new_pool(&["1"])));
    let (first, second) = (cluster.new_pool(&["1"]), cluster.new_pool(&["2"]));
    let mut mismatched = value(&first);
    mismatched["CAs"][0]["SigningKeyPKCS8"] = value(&second)["CAs"][0]["SigningKeyPKCS8"].clone();
    let twice = Cluster::joined(&[&first, &cluster.new_pool(&["1"])]);
    let half = first.len() / 2;
    let truncated: Arc<[u8]> = first[..half].into();
    for (pool, expected) in [
        (
            bytes(&json!({"CAs": []})),
            "CA pool is empty: CAs must hold at least one CA",
        ),
        (
            bytes(&mismatched),
            r#"CA pool: SigningKeyPKCS8 of CAs[0] (ID "1") is the key of none of its certificates"#,
        ),
        (
            twice,
            r#"CA pool has the ID "1" twice, in CAs[0] and CAs[1]"#,
        ),
        (
            truncated,
            &format!("CA pool is not readable: cut short at line 1 column {half}"),
        ),
    ] {
        cluster.spiffe_pool.send_replace(Some(pool));
        cluster.pass(1).await;
        let failing = cluster.health.failing();
        let (_, why) = failing
            .iter()
            .find(|(name, _)| name == "pool of row-major.net/spiffe")
            .unwrap();
        assert_eq!(why, expected);
    }
    let report = cluster.health.report();
    assert!(
        report.contains("[+]pool of row-major.net/service-dns ok"),
        "{report}"
    );
    cluster.spiffe_pool.send_replace(Some(first));
    cluster.health.ready().await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_new_pool_leaves_the_last_good_one_signing() {
    let cluster = Cluster::ready().await;
    let anchors = cluster.anchors(SPIFFE).await;
    for bad in [Some(b"{".as_slice().into()), None] {
        cluster.spiffe_pool.send_replace(bad);
        cluster.pass(10).await;
        assert!(cluster.health.is_ready());
        let pod = cluster.pods("shop").get_opt("web").await.unwrap();
        let pod = match pod {
            Some(pod) => pod,
            None => cluster.pod("shop", "web").await,
        };
        let asked = cluster.ask(&pod, SPIFFE).await;
        cluster.pass(1).await;
        assert!(cluster.is_issued(&asked).await);
    }
    assert!(cluster.anchors(SPIFFE).await.same_anchors(&anchors));
    assert_eq!(cluster.told("CaPoolRefused").await, 1);
    assert_eq!(cluster.told("CaPoolMissing").await, 1);
    let metrics = cluster.metrics();
    let line = r#"podcert_pool_loads_total{signer="row-major.net/spiffe",outcome="refused"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_swapped_pool_signs_once_its_anchors_are_published() {
    let cluster = Cluster::ready().await;
    let old = cluster.anchors(SPIFFE).await;
    let pod = cluster.pod("shop", "web").await;
    let slow = Matching::any()
        .user(CONTROLLER)
        .verb(Verb::Update)
        .resource("clustertrustbundles");
    cluster.api.faults().inject(
        slow,
        Occurrence::Next(1),
        Effect::delay(std::time::Duration::from_secs(10)),
    );
    let pool = Cluster::joined(&[&cluster.new_pool(&["2"]), &cluster.spiffe_pool_bytes()]);
    cluster.spiffe_pool.send_replace(Some(pool));
    cluster.pass(5).await;

    let issuer = async |asked: &crate::cluster::Asked| {
        cluster.chain(asked).await.leaf().issuer().to_string()
    };
    let before = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(1).await;
    let old_subject = old.anchors()[0].subject().to_string();
    assert_eq!(
        issuer(&before).await,
        old_subject,
        "the new CA is not published yet"
    );
    cluster.pass(10).await;
    let published = cluster.anchors(SPIFFE).await;
    assert_eq!(published.anchors().len(), 2);
    let after = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(1).await;
    assert_eq!(
        issuer(&after).await,
        published.anchors()[0].subject().to_string()
    );
    assert_ne!(issuer(&after).await, old_subject);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_pool_signs_in_the_end_though_nothing_can_be_published() {
    let cluster = Cluster::ready().await;
    let old = cluster.anchors(SPIFFE).await.anchors()[0]
        .subject()
        .to_string();
    let updates = Matching::any()
        .user(CONTROLLER)
        .verb(Verb::Update)
        .resource("clustertrustbundles");
    cluster.api.faults().inject(
        updates,
        Occurrence::Always,
        Effect::error(403, "Forbidden", "may not attest"),
    );
    cluster
        .spiffe_pool
        .send_replace(Some(cluster.new_pool(&["2"])));
    cluster.pass(40).await;
    let pod = cluster.pod("shop", "web").await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(1).await;
    assert_ne!(cluster.chain(&asked).await.leaf().issuer().to_string(), old);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_ca_makes_requests_wait_and_a_new_one_wakes_them() {
    let cluster = Setup::new().start().await;
    let two_years_ago = cluster.now() - SignedDuration::from_hours(24 * 730);
    let expired = Pool::generate(&CaOptions::new(CaId::new("1")), two_years_ago).unwrap();
    cluster
        .spiffe_pool
        .send_replace(Some(expired.to_json().as_slice().into()));
    cluster
        .service_dns_pool
        .send_replace(Some(cluster.new_pool(&["1"])));
    cluster.health.ready().await;
    let pod = cluster.pod("shop", "web").await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(60).await;
    assert_eq!(
        cluster.condition(&asked).await,
        None,
        "waits, neither denied nor failed"
    );
    assert_eq!(cluster.told("CaExpired").await, 1);
    cluster
        .spiffe_pool
        .send_replace(Some(cluster.new_pool(&["2"])));
    cluster.pass(1).await;
    assert!(cluster.is_issued(&asked).await);
    cluster.stop().await;
}

/// Writes `content` as the kubelet writes a projected volume.
fn project(folder: &std::path::Path, generation: &str, content: &[u8]) {
    let data = folder.join(generation);
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("pool.json"), content).unwrap();
    let fresh = folder.join("..data_tmp");
    std::os::unix::fs::symlink(generation, &fresh).unwrap();
    std::fs::rename(fresh, folder.join("..data")).unwrap();
    let file = folder.join("pool.json");
    if !file.exists() {
        std::os::unix::fs::symlink("..data/pool.json", file).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_comes_late_and_is_swapped_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.json");
    let cluster = Setup {
        spiffe_file: Some(path.clone()),
        ..Setup::new()
    }
    .start()
    .await;
    cluster
        .service_dns_pool
        .send_replace(Some(cluster.new_pool(&["1"])));
    cluster.pass(60).await;
    let report = cluster.health.report();
    assert!(
        report.contains(&format!("CA pool file {} is missing", path.display())),
        "{report}"
    );

    project(folder.path(), "..1", &cluster.new_pool(&["1"]));
    cluster.health.ready().await;
    let first = cluster.anchors(SPIFFE).await;
    project(folder.path(), "..2", b"{\"CAs\": [");
    cluster.pass(60).await;
    assert!(cluster.health.is_ready());
    assert_eq!(cluster.told("CaPoolRefused").await, 1);
    project(folder.path(), "..3", &cluster.new_pool(&["2"]));
    cluster.pass(60).await;
    assert!(!cluster.anchors(SPIFFE).await.same_anchors(&first));
    let pod = cluster.pod("shop", "web").await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(1).await;
    assert!(cluster.is_issued(&asked).await);
    cluster.stop().await;
}
