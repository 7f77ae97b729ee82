//! Certificates issued, and what they cost.

use jiff::SignedDuration;
use podcert_apiserver::Verb;
use podcert_pki::{DnsName, verify};
use podcert_runtime::Clock as _;

use crate::cluster::{Cluster, SERVICE_DNS, SPIFFE, Setup};

#[tokio::test(start_paused = true)]
async fn a_certificate_costs_one_write_and_no_read() {
    let cluster = Cluster::ready().await;
    let pod = cluster.pod("shop", "web").await;
    cluster.service("shop", "web", "web").await;
    cluster.pass(1).await;
    cluster.api.reset_stats();

    let dns = cluster.ask(&pod, SERVICE_DNS).await;
    let id = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(30).await;
    let stats = cluster.controller_stats();
    assert_eq!((stats.writes(), stats.reads()), (2, 0), "{stats:?}");
    let status = stats.of_resource("podcertificaterequests/status");
    assert_eq!(status.of_verb(Verb::Update).total(), 2);

    // What was issued is what was asked for, and clients who mount the bundle accept it.
    let chain = cluster.chain(&dns).await;
    assert_eq!(cluster.dns_names(&dns).await, ["web.shop.svc"]);
    assert_eq!(chain.leaf().spki_der(), dns.key.public_key().spki_der());
    let name: DnsName = "web.shop.svc".parse().unwrap();
    let anchors = cluster.anchors(SERVICE_DNS).await;
    verify::verify(
        &chain,
        &anchors,
        verify::Purpose::Server(Some(&name)),
        cluster.now(),
    )
    .unwrap();
    let chain = cluster.chain(&id).await;
    let ids: Vec<_> = chain.leaf().uris().collect();
    assert_eq!(ids, ["spiffe://cluster.local/ns/shop/sa/default"]);
    let anchors = cluster.anchors(SPIFFE).await;
    verify::verify(&chain, &anchors, verify::Purpose::Client, cluster.now()).unwrap();

    let status = cluster.look(&id).await.status.unwrap();
    let not_before = status.not_before.unwrap().0;
    let age = cluster.now().duration_since(not_before);
    assert!(
        age >= SignedDuration::from_mins(2) && age < SignedDuration::from_mins(3),
        "{age}"
    );
    assert_eq!(
        status.not_after.unwrap().0.duration_since(not_before),
        SignedDuration::from_hours(24)
    );
    let condition = &status.conditions.unwrap()[0];
    assert_eq!(
        (condition.type_.as_str(), condition.reason.as_str()),
        ("Issued", "Issued")
    );

    let metrics = cluster.metrics();
    let line = r#"podcert_requests_total{signer="row-major.net/spiffe",outcome="issued",reason="Issued"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
    assert!(
        metrics.contains(r#"podcert_api_requests_total{verb="update",answer="ok"} 2"#),
        "{metrics}"
    );
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_at_once_are_all_answered() {
    let cluster = Cluster::ready().await;
    let mut asked = Vec::new();
    for index in 0..1000 {
        let pod = cluster.pod("shop", &format!("web-{index}")).await;
        asked.push(cluster.ask(&pod, SPIFFE).await);
    }
    cluster.pass(5).await;
    for request in &asked {
        assert!(cluster.is_issued(request).await);
    }
    let status = cluster
        .controller_stats()
        .of_resource("podcertificaterequests/status");
    assert_eq!(status.total(), 1000);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_while_nobody_listened_is_answered_at_the_start() {
    let setup = Setup::new();
    let cluster = setup.start().await;
    // No pools yet: nothing can be answered.
    let pod = cluster.pod("shop", "web").await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(60).await;
    assert_eq!(cluster.condition(&asked).await, None);
    cluster
        .spiffe_pool
        .send_replace(Some(cluster.new_pool(&["1"])));
    cluster.pass(1).await;
    assert!(cluster.is_issued(&asked).await);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_skewed_controller_issues_by_the_servers_clock() {
    for minutes in [-30, 30] {
        let skew = SignedDuration::from_mins(minutes);
        let cluster = Setup {
            skew,
            ..Setup::new()
        }
        .ready()
        .await;
        let pod = cluster.pod("shop", "web").await;
        let asked = cluster.ask(&pod, SPIFFE).await;
        cluster.pass(1).await;
        assert!(cluster.is_issued(&asked).await, "{minutes} minutes off");
        // It is said soon after the start, not when the next look is due.
        cluster.pass(10).await;
        let events = cluster.events().await;
        assert!(
            events.iter().any(|(reason, _)| reason == "ClockSkew"),
            "{events:?}"
        );
        cluster.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn suffixes_give_longer_names_and_never_shorter_ones() {
    let suffix: DnsName = "cluster.local".parse().unwrap();
    let service_dns = podcert_issuance::service_dns::Policy::with_suffixes([suffix]).unwrap();
    let cluster = Setup {
        service_dns,
        ..Setup::new()
    }
    .ready()
    .await;
    let pod = cluster.pod("shop", "web").await;
    cluster.service("shop", "web", "web").await;
    cluster.service("shop", "other", "other").await;
    let asked = cluster.ask(&pod, SERVICE_DNS).await;
    cluster.pass(1).await;
    assert_eq!(
        cluster.dns_names(&asked).await,
        ["web.shop.svc", "web.shop.svc.cluster.local"]
    );
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_to_do_is_nothing_done() {
    let cluster = Cluster::ready().await;
    cluster.pass(60).await;
    cluster.api.reset_stats();
    cluster.pass(3600).await;
    let stats = cluster.controller_stats();
    assert_eq!(stats.writes(), 0, "{stats:?}");
    // Watches are begun again every five minutes; nothing is listed or read.
    assert_eq!(
        stats.reads(),
        stats.of_verb(Verb::Watch).total(),
        "{stats:?}"
    );
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_writes_nothing() {
    let cluster = Cluster::ready().await;
    let pod = cluster.pod("shop", "web").await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(1).await;
    assert!(cluster.is_issued(&asked).await);
    let (api, clock) = (cluster.api.clone(), cluster.clock.clone());
    let pools = (
        cluster.service_dns_pool.borrow().clone(),
        cluster.spiffe_pool.borrow().clone(),
    );
    cluster.stop().await;

    api.reset_stats();
    let cluster = Setup {
        api,
        clock,
        ..Setup::new()
    }
    .start()
    .await;
    cluster.service_dns_pool.send_replace(pools.0);
    cluster.spiffe_pool.send_replace(pools.1);
    cluster.health.ready().await;
    cluster.pass(60).await;
    assert_eq!(cluster.controller_stats().writes(), 0);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn it_stops_when_told_to() {
    let cluster = Cluster::ready().await;
    let pod = cluster.pod("shop", "web").await;
    for _ in 0..50 {
        cluster.ask(&pod, SPIFFE).await;
    }
    cluster.shutdown.cancel();
    let begun = cluster.clock.now();
    cluster.running.await.unwrap().unwrap();
    let took = cluster.clock.now().duration_since(begun);
    assert!(took <= SignedDuration::from_secs(1), "{took}");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(cluster.api.open_watches(), 0);
}
