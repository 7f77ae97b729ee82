//! The UIDs of nodes and service accounts, which are compared where RBAC shows them.

use std::time::Duration;

use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use podcert_apiserver::{Effect, Fault, Matching, Occurrence, User, Verb};
use serde_json::json;

use crate::cluster::{Asked, CONTROLLER, Cluster, NODE, SPIFFE, Setup, create, delete};
use crate::forged::{grant, meshtool, with_uids};

fn of_controller(verb: Verb, resource: &str) -> Matching {
    let matching = Matching::any().user(CONTROLLER).verb(verb);
    matching.resource(resource)
}

fn away() -> Effect {
    Effect::error(500, "InternalError", "no watches now")
}

fn forbidden() -> Effect {
    Effect::error(403, "Forbidden", "cannot list resource")
}

/// The controller sees no more of a resource until the fault is removed.
fn blind(cluster: &Cluster, resource: &str) -> Fault {
    let faults = cluster.api.faults();
    let watches = of_controller(Verb::Watch, resource);
    let fault = faults.inject(watches.clone(), Occurrence::Always, away());
    assert_eq!(faults.drop_watches(&watches), 1);
    fault
}

/// Not issued, and an Event says why.
async fn waits(cluster: &Cluster, asked: &Asked, reason: &str) {
    cluster.pass(60).await;
    assert_eq!(cluster.condition(asked).await, None);
    assert_eq!(
        cluster.told(reason).await,
        1,
        "{:?}",
        cluster.events().await
    );
    assert_eq!(cluster.waiting(), 1);
}

fn compared(cluster: &Cluster, resource: &str) -> Option<bool> {
    let metrics = cluster.metrics();
    let name = format!("podcert_uids_compared{{resource=\"{resource}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&name))?;
    Some(value == "1")
}

#[tokio::test(start_paused = true)]
async fn a_node_the_watch_shows_late_is_waited_for() {
    let cluster = Cluster::ready().await;
    let pod = cluster.pod("shop", "web").await;
    for _ in 0..2 {
        // Made anew: it has another UID, which its kubelet knows before we do.
        let blind = blind(&cluster, "nodes");
        delete(&cluster.nodes(), NODE).await;
        create(&cluster.nodes(), json!({"metadata": {"name": NODE}})).await;
        let asked = cluster.ask(&pod, SPIFFE).await;
        cluster.pass(30).await;
        assert_eq!(cluster.condition(&asked).await, None);
        assert_eq!(cluster.waiting(), 1);
        blind.remove();
        cluster.pass(60).await;
        assert!(cluster.is_issued(&asked).await);
    }
    assert_eq!(cluster.told("NodeReplaced").await, 2);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_request_of_a_node_that_is_gone_waits_for_it() {
    let cluster = Cluster::ready().await;
    let pod = cluster.pod("shop", "web").await;
    let old = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(1).await;
    assert!(cluster.is_issued(&old).await);
    delete(&cluster.nodes(), NODE).await;
    cluster.pass(1).await;
    let blind = blind(&cluster, "nodes");
    create(&cluster.nodes(), json!({"metadata": {"name": NODE}})).await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    waits(&cluster, &asked, "NodeNotFound").await;
    blind.remove();
    cluster.pass(60).await;
    assert!(cluster.is_issued(&asked).await);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_account_the_watch_shows_late_is_waited_for() {
    let cluster = Cluster::ready().await;
    let pod = cluster.pod("shop", "web").await;
    let accounts = cluster.service_accounts("shop");
    for reason in ["ServiceAccountReplaced", "ServiceAccountNotFound"] {
        if reason == "ServiceAccountNotFound" {
            delete(&accounts, "default").await;
            cluster.pass(1).await;
        }
        let blind = blind(&cluster, "serviceaccounts");
        if reason == "ServiceAccountReplaced" {
            delete(&accounts, "default").await;
        }
        create(&accounts, json!({"metadata": {"name": "default"}})).await;
        let asked = cluster.ask(&pod, SPIFFE).await;
        waits(&cluster, &asked, reason).await;
        blind.remove();
        cluster.pass(60).await;
        assert!(cluster.is_issued(&asked).await);
        assert_eq!(cluster.waiting(), 0);
    }
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_says_it_is_well_costs_nothing() {
    let cluster = Cluster::ready().await;
    let pod = cluster.pod("shop", "web").await;
    cluster.pass(1).await;
    cluster.api.reset_stats();
    for beat in 0..20 {
        let status = json!({"metadata": {"annotations": {"beat": beat.to_string()}}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(status));
        cluster.nodes().patch(NODE, &params, &patch).await.unwrap();
        cluster.pass(10).await;
    }
    let asked = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(1).await;
    assert!(cluster.is_issued(&asked).await);
    let stats = cluster.controller_stats();
    assert_eq!(stats.of_verb(Verb::List).total(), 0);
    assert_eq!(stats.of_verb(Verb::Get).of_resource("nodes").total(), 0);
    assert_eq!(stats.writes(), 1);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_decided_before_the_uids_are_listed() {
    for resource in ["nodes", "serviceaccounts"] {
        let setup = Setup::new();
        let lists = || of_controller(Verb::List, resource);
        let faults = setup.api.faults();
        // A server that starts forbids everything for a moment; then it is slow.
        let pods = || of_controller(Verb::List, "pods");
        let starting = faults.inject(pods(), Occurrence::Next(2), forbidden());
        let slow = Effect::delay(Duration::from_secs(20));
        let slow = faults.inject(lists(), Occurrence::Always, slow);
        let cluster = setup.start().await;
        for pool in [&cluster.service_dns_pool, &cluster.spiffe_pool] {
            pool.send_replace(Some(cluster.new_pool(&["1"])));
        }
        let pod = cluster.pod("shop", "web").await;
        let asked = cluster.ask(&pod, SPIFFE).await;
        cluster.pass(15).await;
        assert_eq!((starting.hits(), slow.hits()), (2, 1));
        assert_eq!(cluster.condition(&asked).await, None);
        assert!(!cluster.health.is_ready());
        assert_eq!(compared(&cluster, resource), None);
        cluster.pass(60).await;
        assert!(cluster.is_issued(&asked).await);
        assert!(cluster.health.is_ready());
        assert_eq!(compared(&cluster, resource), Some(true));
        cluster.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_rbac_does_not_show_is_not_compared_until_it_is() {
    let setup = Setup::with_rbac();
    let admin = Client::new(setup.api.as_user(User::admin()), "default");
    grant(&admin, CONTROLLER, meshtool()).await;
    let cluster = setup.ready().await;
    let pod = cluster.pod("shop", "web").await;
    let replace_node = async || {
        let asked = cluster.ask(&pod, SPIFFE).await;
        delete(&cluster.requests("shop"), &asked.name).await;
        delete(&cluster.nodes(), NODE).await;
        create(&cluster.nodes(), json!({"metadata": {"name": NODE}})).await;
    };
    let both = |expected| {
        for resource in ["nodes", "serviceaccounts"] {
            assert_eq!(compared(&cluster, resource), Some(expected));
        }
    };
    let lists = || {
        let stats = cluster.controller_stats();
        let stats = stats.of_verb(Verb::List);
        stats.of_resource("nodes").total()
    };

    // Neither is shown: it is ready all the same, and says so, and asks seldom.
    both(false);
    let report = cluster.health.report();
    assert!(report.contains("watch of nodes ok: not shown"), "{report}");
    let asked = cluster.ask(&pod, SPIFFE).await;
    cluster.pass(1).await;
    assert!(cluster.is_issued(&asked).await);
    let before = lists();
    cluster.pass(3600).await;
    let asked_again = lists() - before;
    assert!((6..=12).contains(&asked_again), "{asked_again} in an hour");
    let metrics = cluster.metrics();
    let mut failures = metrics
        .lines()
        .filter(|line| line.starts_with("podcert_watch_failures_total"));
    assert!(failures.all(|line| line.ends_with(" 0")), "{metrics}");

    // The right is granted, and taken up within ten minutes.
    let roles: Api<ClusterRole> = Api::all(admin);
    let role = CONTROLLER.replace(':', "-");
    let allow = async |rules| {
        let (params, patch) = (
            PatchParams::default(),
            Patch::Merge(json!({"rules": rules})),
        );
        roles.patch(&role, &params, &patch).await.unwrap();
    };
    allow(with_uids()).await;
    cluster.pass(610).await;
    both(true);
    let report = cluster.health.report();
    assert!(!report.contains("not shown"), "{report}");
    let blind = blind(&cluster, "nodes");
    replace_node().await;
    let asked = cluster.ask(&pod, SPIFFE).await;
    waits(&cluster, &asked, "NodeReplaced").await;

    // And withdrawn: what was seen counts no longer, so that nothing waits for it for ever.
    allow(meshtool()).await;
    blind.remove();
    cluster.pass(120).await;
    assert_eq!(compared(&cluster, "nodes"), Some(false));
    assert!(cluster.is_issued(&asked).await);
    // A watch that stands is not cut off; the next one is refused.
    cluster.pass(600).await;
    both(false);
    cluster.stop().await;
}
