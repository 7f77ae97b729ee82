//! Replicas that share the work: who answers what, who takes over, who publishes.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use podcert_apiserver::{Effect, Verb};
use podcert_pki::TrustBundle;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::{Asked, Cluster, SPIFFE, Setup, create, delete};
use crate::forged::{grant, meshtool};
use crate::replicas::{APPLICATION, NAMESPACE, cluster, cluster_of, stop_all, user};

const A: &str = "mesh-controller-6d5f9c7b8-x2k4q";
const B: &str = "mesh-controller-6d5f9c7b8-7rm9z";
const C: &str = "mesh-controller-6d5f9c7b8-bq5lw";
const BUNDLE: &str = "row-major.net:spiffe:primary-bundle";

/// Go's `hash/fnv` New64, and meshtool's choice among `holders`, written here once more.
fn owner<'a>(asked: &Asked, holders: &[&'a str]) -> &'a str {
    let weight = |holder: &str| {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in format!("{}/{}{holder}", asked.namespace, asked.name).bytes() {
            hash = hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte);
        }
        hash
    };
    let mut best = holders[0];
    for holder in &holders[1..] {
        let heavier = weight(holder) > weight(best);
        if heavier || weight(holder) == weight(best) && *holder < best {
            best = holder;
        }
    }
    best
}

/// How many of `asked` belong to `me`.
fn part(asked: &[Asked], me: &str, holders: &[&str]) -> u64 {
    let own = asked.iter().filter(|asked| owner(asked, holders) == me);
    u64::try_from(own.count()).unwrap()
}

/// Seconds until all of `asked` are issued.
async fn all_issued(cluster: &Cluster, asked: &[Asked]) -> u64 {
    let begun = Instant::now();
    while cluster.issued(asked).await < asked.len() {
        cluster.pass(1).await;
        assert!(
            begun.elapsed() < Duration::from_secs(900),
            "not all are issued"
        );
    }
    begun.elapsed().as_secs()
}

/// A Lease as a Go replica of this name writes it.
fn go_lease(name: &str, renewed: Timestamp) -> Value {
    let time = format!("{renewed:.6}");
    json!({
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {"rendezvous.row-major.net/application": APPLICATION},
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Pod", "name": name, "uid": "go", "controller": true,
            }],
        },
        "spec": {
            "holderIdentity": name, "leaseDurationSeconds": 15, "acquireTime": time,
            "renewTime": time, "leaseTransitions": 1,
        },
    })
}

async fn renew_as_go(cluster: &Cluster, name: &str) {
    let leases = cluster.leases();
    let mut lease = leases.get(name).await.unwrap();
    let wanted = go_lease(name, cluster.now());
    lease.spec = serde_json::from_value(wanted["spec"].clone()).unwrap();
    let params = PostParams::default();
    leases.replace(name, &params, &lease).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_request_is_answered_by_the_replica_meshtool_would_choose() {
    let cluster = cluster().await;
    let replicas = cluster.join_all([A, B, C]).await;
    let asked = cluster.ask_often("web", 240).await;
    assert!(all_issued(&cluster, &asked).await <= 2);
    for name in [A, B, C] {
        let own = part(&asked, name, &[A, B, C]);
        assert!(own > 40, "{name}: {own}");
        assert_eq!(cluster.answers_of(name), own, "{name}");
    }
    let shares: f64 = replicas
        .iter()
        .map(|replica| replica.metric("podcert_share_owned_ratio"))
        .sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    for replica in &replicas {
        assert_eq!(replica.count("podcert_double_writes_total"), 0);
        let report = replica.health.report();
        assert!(report.contains("shares the work"), "{report}");
    }
    stop_all(cluster, replicas).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_replicas_requests_are_taken_over_within_half_a_minute() {
    let cluster = cluster().await;
    let [a, b, c] = cluster.join_all([A, B, C]).await;
    let dead = b.name.clone();
    b.die().await;
    let asked = cluster.ask_often("web", 210).await;
    cluster.pass(1).await;
    let left = part(&asked, &dead, &[A, B, C]);
    assert_eq!(cluster.issued(&asked).await as u64, 210 - left);
    let after = all_issued(&cluster, &asked).await;
    assert!((1..30).contains(&after), "{after}");
    assert_eq!(cluster.answers_of(A) + cluster.answers_of(C), 210);
    assert_eq!(a.metric("podcert_replicas_live"), 2.0);
    stop_all(cluster, [a, c]).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_shut_down_leaves_its_share_at_once() {
    let cluster = cluster().await;
    let [a, b] = cluster.join_all([A, B]).await;
    b.stop().await;
    assert!(cluster.leases().get_opt(B).await.unwrap().is_none());
    let asked = cluster.ask_often("web", 50).await;
    assert!(all_issued(&cluster, &asked).await <= 1);
    assert_eq!(cluster.answers_of(A), 50);
    stop_all(cluster, [a]).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_joins_has_its_share_at_once() {
    let cluster = cluster().await;
    let [a] = cluster.join_all([A]).await;
    let before = cluster.ask_often("web", 20).await;
    all_issued(&cluster, &before).await;
    let b = cluster.join(B);
    b.health.ready().await;
    cluster.pass(1).await;
    let asked = cluster.ask_often("other", 200).await;
    assert!(all_issued(&cluster, &asked).await <= 2);
    assert_eq!(cluster.answers_of(B), part(&asked, B, &[A, B]));
    assert_eq!(cluster.answers_of(A), 20 + part(&asked, A, &[A, B]));
    stop_all(cluster, [a, b]).await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_moves_with_its_owner() {
    let cluster = cluster().await;
    let [a, b] = cluster.join_all([A, B]).await;
    let pod = cluster.pod("shop", "web").await;
    let mut asked = Vec::new();
    for _ in 0..40 {
        asked.push(cluster.ask(&pod, crate::cluster::SERVICE_DNS).await);
    }
    cluster.pass(1).await;
    let waiting = |replica: &crate::replicas::Replica| replica.count("podcert_requests_waiting{");
    assert_eq!(waiting(&a), part(&asked, A, &[A, B]));
    assert_eq!(waiting(&b), part(&asked, B, &[A, B]));
    b.die().await;
    cluster.pass(20).await;
    assert_eq!(waiting(&a), 40);
    let c = cluster.join(C);
    cluster.pass(2).await;
    assert_eq!(waiting(&a), part(&asked, A, &[A, C]));
    assert_eq!(waiting(&c), part(&asked, C, &[A, C]));
    cluster.service("shop", "web", "web").await;
    assert!(all_issued(&cluster, &asked).await <= 1);
    stop_all(cluster, [a, c]).await;
}

#[tokio::test(start_paused = true)]
async fn beside_a_go_replica_nothing_is_left_and_nothing_done_twice() {
    const GO: &str = "mesh-controller-58f6c4d5d7-zk8lp";
    let cluster = cluster().await;
    create(&cluster.leases(), go_lease(GO, cluster.now())).await;
    let a = cluster.join(A);
    a.health.ready().await;
    assert_eq!(a.metric("podcert_replicas_live"), 2.0);
    let asked = cluster.ask_often("web", 200).await;
    for _ in 0..4 {
        cluster.pass(10).await;
        renew_as_go(&cluster, GO).await;
    }
    let left = part(&asked, GO, &[A, GO]);
    assert!(left > 50, "{left}");
    assert_eq!(cluster.issued(&asked).await as u64, 200 - left);
    assert_eq!(cluster.answers_of(A), 200 - left);
    // It answers half of its share, and dies.
    let theirs = asked.iter().filter(|asked| owner(asked, &[A, GO]) == GO);
    let answered = left / 2;
    for request in theirs.take(usize::try_from(answered).unwrap()) {
        let mut object = cluster.look(request).await;
        let denied = json!({"conditions": [{
            "type": "Denied", "status": "True", "reason": "Reason", "message": "Go said so",
            "lastTransitionTime": cluster.now().round(jiff::Unit::Second).unwrap(),
        }]});
        object.status = serde_json::from_value(denied).unwrap();
        let requests = cluster.requests(&request.namespace);
        let params = PostParams::default();
        requests
            .replace_status(&request.name, &params, &object)
            .await
            .unwrap();
    }
    cluster.pass(16).await;
    assert_eq!(cluster.answers_of(A), 200 - answered);
    assert_eq!(cluster.issued(&asked).await as u64, 200 - answered);
    assert_eq!(a.count("podcert_double_writes_total"), 0);
    stop_all(cluster, [a]).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_live_replica_lets_lie_is_passed_on() {
    const GO: &str = "mesh-controller-58f6c4d5d7-zk8lp";
    let cluster = cluster().await;
    create(&cluster.leases(), go_lease(GO, cluster.now())).await;
    let [a, b] = [A, B].map(|name| cluster.join(name));
    a.health.ready().await;
    b.health.ready().await;
    // Some of it can be answered, the rest waits, and that is its owner's to say.
    let asked = cluster.ask_often("web", 60).await;
    let pod = cluster.pod("shop", "unnamed").await;
    let mut waits = Vec::new();
    for _ in 0..30 {
        waits.push(cluster.ask(&pod, crate::cluster::SERVICE_DNS).await);
    }
    for _ in 0..7 {
        cluster.pass(10).await;
        renew_as_go(&cluster, GO).await;
    }
    assert_eq!(cluster.issued(&asked).await, 60);
    assert_eq!(cluster.answers_of(A) + cluster.answers_of(B), 60);
    for _ in 0..30 {
        cluster.pass(10).await;
        renew_as_go(&cluster, GO).await;
    }
    for (replica, name) in [(&a, A), (&b, B)] {
        let own = part(&waits, name, &[A, B, GO]);
        assert_eq!(replica.count("podcert_requests_waiting{"), own, "{name}");
    }
    let told = waits.len() as u64 - part(&waits, GO, &[A, B, GO]);
    assert_eq!(cluster.told("NoMatchingService").await as u64, told);
    stop_all(cluster, [a, b]).await;
}

#[tokio::test(start_paused = true)]
async fn go_replicas_see_leases_they_know() {
    let cluster = cluster().await;
    let [a] = cluster.join_all([A]).await;
    for _ in 0..5 {
        let lease = cluster.leases().get(A).await.unwrap();
        let wanted = go_lease(A, cluster.now());
        let mut spec = serde_json::to_value(lease.spec).unwrap();
        let renewed: Timestamp = spec["renewTime"].as_str().unwrap().parse().unwrap();
        let age = cluster.now().duration_since(renewed).as_secs();
        assert!((0..=10).contains(&age), "{age}");
        for field in ["renewTime", "acquireTime"] {
            spec[field] = wanted["spec"][field].clone();
        }
        assert_eq!(spec, wanted["spec"]);
        let labels = serde_json::to_value(lease.metadata.labels).unwrap();
        assert_eq!(labels, wanted["metadata"]["labels"]);
        cluster.pass(7).await;
    }
    stop_all(cluster, [a]).await;
}

#[tokio::test(start_paused = true)]
async fn leases_of_the_past_and_nonsense_hold_nobody_up() {
    let cluster = cluster().await;
    let hours_ago = cluster.now() - Duration::from_secs(7200);
    // Of a replica that is long dead, and of an earlier process under this name.
    create(&cluster.leases(), go_lease(B, hours_ago)).await;
    // With a date that Kubernetes takes, and its types in Rust cannot be read with.
    let mut last = go_lease(A, hours_ago);
    last["spec"]["renewTime"] = json!("9999-12-31T23:59:59.000000Z");
    let leases = ApiResource::erase::<Lease>(&());
    let leases: Api<DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), NAMESPACE, &leases);
    create(&leases, last).await;
    assert!(cluster.leases().get(A).await.is_err());
    for (number, spec) in [
        json!({}),
        json!({"holderIdentity": "nobody"}),
        json!({"holderIdentity": "nobody", "leaseDurationSeconds": 15}),
        json!({"leaseDurationSeconds": 15, "renewTime": "2026-11-21T12:00:00.000000Z"}),
    ]
    .into_iter()
    .enumerate()
    {
        let mut lease = go_lease(&format!("nonsense-{number}"), hours_ago);
        lease["spec"] = spec;
        create(&cluster.leases(), lease).await;
    }
    let [a] = cluster.join_all([A]).await;
    let asked = cluster.ask_often("web", 20).await;
    assert!(all_issued(&cluster, &asked).await <= 1);
    let lease = cluster.leases().get(A).await.unwrap();
    let owner = &lease.metadata.owner_references.unwrap()[0];
    assert_eq!(owner.uid, format!("uid-of-{A}"));
    stop_all(cluster, [a]).await;
}

const LEASE_VERBS: [Verb; 5] = [
    Verb::Get,
    Verb::List,
    Verb::Watch,
    Verb::Create,
    Verb::Update,
];

#[tokio::test(start_paused = true)]
async fn without_rights_to_leases_a_replica_works_alone_and_shares_once_it_may() {
    let cluster = cluster().await;
    let forbidden = Effect::error(403, "Forbidden", "cannot touch leases");
    let faults = cluster.hinder(A, &LEASE_VERBS, "leases", &forbidden);
    let a = cluster.join(A);
    a.health.ready().await;
    let report = a.health.report();
    assert!(
        report.contains("works alone") && report.contains("cannot touch leases"),
        "{report}"
    );
    assert_eq!(a.metric("podcert_replicas_live"), 1.0);
    let asked = cluster.ask_often("web", 20).await;
    assert!(all_issued(&cluster, &asked).await <= 1);
    let tries: u64 = faults.iter().map(podcert_apiserver::Fault::hits).sum();
    cluster.pass(3600).await;
    let later: u64 = faults.iter().map(podcert_apiserver::Fault::hits).sum();
    assert!(later - tries <= 40, "{tries} {later}");
    faults.iter().for_each(podcert_apiserver::Fault::remove);
    let b = cluster.join(B);
    cluster.pass(1200).await;
    for replica in [&a, &b] {
        assert_eq!(replica.metric("podcert_replicas_live"), 2.0);
    }
    stop_all(cluster, [a, b]).await;
}

#[tokio::test(start_paused = true)]
async fn meshtools_roles_are_enough_to_share_the_work() {
    let cluster = cluster_of(Setup::with_rbac()).await;
    for name in [A, B] {
        grant(&cluster.client, &user(name), meshtool()).await;
    }
    let group = "rbac.authorization.k8s.io";
    let rules = json!([{
        "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
        "verbs": ["create", "get", "list", "watch", "update", "delete"],
    }]);
    let roles: Api<Role> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    create(
        &roles,
        json!({"metadata": {"name": "leases"}, "rules": rules}),
    )
    .await;
    let subject = |name| json!({"kind": "User", "apiGroup": group, "name": user(name)});
    let binding = json!({
        "metadata": {"name": "leases"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "leases"},
        "subjects": [subject(A), subject(B)],
    });
    let bindings: Api<RoleBinding> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    create(&bindings, binding).await;

    let [a, b] = cluster.join_all([A, B]).await;
    let asked = cluster.ask_often("web", 40).await;
    assert!(all_issued(&cluster, &asked).await <= 1);
    assert_eq!(cluster.answers_of(A), part(&asked, A, &[A, B]));
    assert_eq!(cluster.answers_of(B), part(&asked, B, &[A, B]));
    b.stop().await;
    assert!(cluster.leases().get_opt(B).await.unwrap().is_none());
    stop_all(cluster, [a]).await;

    // Without the Role, it works as one replica.
    let cluster = cluster_of(Setup::with_rbac()).await;
    grant(&cluster.client, &user(A), meshtool()).await;
    let a = cluster.join(A);
    a.health.ready().await;
    let report = a.health.report();
    assert!(
        report.contains("works alone") && report.contains("leases"),
        "{report}"
    );
    let asked = cluster.ask_often("web", 20).await;
    assert!(all_issued(&cluster, &asked).await <= 1);
    stop_all(cluster, [a]).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_part_of_the_rights_it_works_alone_too() {
    for verbs in [&LEASE_VERBS[..1], &LEASE_VERBS[1..3], &LEASE_VERBS[3..]] {
        let cluster = cluster().await;
        let forbidden = Effect::error(403, "Forbidden", "cannot touch leases");
        cluster.hinder(A, verbs, "leases", &forbidden);
        let a = cluster.join(A);
        a.health.ready().await;
        let asked = cluster.ask_often("web", 20).await;
        assert!(all_issued(&cluster, &asked).await <= 1, "{verbs:?}");
        let report = a.health.report();
        assert!(report.contains("works alone"), "{verbs:?} {report}");
        stop_all(cluster, [a]).await;
    }
    // It may not give its Lease up: that runs out.
    let cluster = cluster().await;
    let forbidden = Effect::error(403, "Forbidden", "cannot delete leases");
    cluster.hinder(B, &[Verb::Delete], "leases", &forbidden);
    let [a, b] = cluster.join_all([A, B]).await;
    b.stop().await;
    let asked = cluster.ask_often("web", 50).await;
    let after = all_issued(&cluster, &asked).await;
    assert!((5..=16).contains(&after), "{after}");
    stop_all(cluster, [a]).await;
}

#[tokio::test(start_paused = true)]
async fn leases_that_are_refused_for_no_good_reason_stop_nobody_for_long() {
    let broken = Effect::error(500, "InternalError", "failed calling webhook");
    stop_nobody_for_long(&broken, 120).await;
}

#[tokio::test(start_paused = true)]
async fn writes_of_leases_that_hang_stop_nobody_for_long() {
    stop_nobody_for_long(&Effect::delay(Duration::from_mins(1)), 150).await;
}

/// While this happens to writes of Leases all is answered, and so many seconds after it the work is shared.
async fn stop_nobody_for_long(effect: &Effect, shared_after: u64) {
    let cluster = cluster().await;
    let [a, b] = cluster.join_all([A, B]).await;
    let writes = [Verb::Create, Verb::Update];
    let faults: Vec<_> = [A, B]
        .into_iter()
        .flat_map(|name| cluster.hinder(name, &writes, "leases", effect))
        .collect();
    cluster.pass(30).await;
    let asked = cluster.ask_often("web", 20).await;
    let after = all_issued(&cluster, &asked).await;
    assert!(after <= 90, "{after}");
    faults.iter().for_each(podcert_apiserver::Fault::remove);
    cluster.pass(shared_after).await;
    for replica in [&a, &b] {
        assert_eq!(replica.metric("podcert_replicas_live"), 2.0);
    }
    stop_all(cluster, [a, b]).await;
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_server_is_not_asked_by_everybody_for_everything() {
    for status in [429, 503, 504] {
        let cluster = cluster().await;
        let [a, b] = cluster.join_all([A, B]).await;
        let overloaded = Effect::error(status, "TooManyRequests", "not now");
        let faults: Vec<_> = [A, B]
            .into_iter()
            .flat_map(|name| cluster.hinder(name, &LEASE_VERBS, "leases", &overloaded))
            .collect();
        cluster.pass(180).await;
        let asked = cluster.ask_often("web", 20).await;
        cluster.pass(10).await;
        assert_eq!(cluster.issued(&asked).await, 0, "{status}");
        for replica in [&a, &b] {
            assert_eq!(replica.metric("podcert_replicas_live"), 0.0, "{status}");
        }
        faults.iter().for_each(podcert_apiserver::Fault::remove);
        assert!(all_issued(&cluster, &asked).await <= 30, "{status}");
        assert_eq!(
            cluster.answers_of(A) + cluster.answers_of(B),
            20,
            "{status}"
        );
        stop_all(cluster, [a, b]).await;

        // Where it is about writes of Leases alone, nobody waits for ever.
        let cluster = cluster_of(Setup::new()).await;
        let [a] = cluster.join_all([A]).await;
        cluster.hinder(A, &LEASE_VERBS[3..], "leases", &overloaded);
        cluster.pass(30).await;
        let asked = cluster.ask_often("web", 20).await;
        assert!(all_issued(&cluster, &asked).await <= 90, "{status}");
        stop_all(cluster, [a]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lost_its_lease_writes_nothing_until_it_has_one() {
    let cluster = cluster().await;
    let [a, b] = cluster.join_all([A, B]).await;
    let away = Effect::error(503, "ServiceUnavailable", "not now");
    let away = cluster.hinder(A, &[Verb::Update], "leases", &away);
    cluster.pass(20).await;
    assert_eq!(a.metric("podcert_replicas_live"), 0.0);
    let asked = cluster.ask_often("web", 60).await;
    assert!(all_issued(&cluster, &asked).await <= 16);
    assert_eq!((cluster.answers_of(A), cluster.answers_of(B)), (0, 60));
    away.iter().for_each(podcert_apiserver::Fault::remove);
    cluster.pass(15).await;
    let asked = cluster.ask_often("other", 60).await;
    assert!(all_issued(&cluster, &asked).await <= 2);
    assert_eq!(cluster.answers_of(A), part(&asked, A, &[A, B]));
    for replica in [&a, &b] {
        assert!(replica.health.report().contains("shares the work"));
        assert_eq!(replica.count("podcert_double_writes_total"), 0);
    }
    stop_all(cluster, [a, b]).await;
}

#[tokio::test(start_paused = true)]
async fn answers_given_twice_are_harmless_and_counted() {
    let cluster = cluster().await;
    let forbidden = Effect::error(403, "Forbidden", "cannot touch leases");
    for name in [A, B] {
        cluster.hinder(name, &LEASE_VERBS, "leases", &forbidden);
    }
    let slow = Effect::delay(Duration::from_millis(300));
    cluster.hinder(B, &[Verb::Update], "podcertificaterequests/status", &slow);
    let (a, b) = (cluster.join(A), cluster.join(B));
    a.health.ready().await;
    b.health.ready().await;
    let asked = cluster.ask_often("web", 30).await;
    all_issued(&cluster, &asked).await;
    cluster.pass(5).await;
    let refused = cluster.answers_of(A) + cluster.answers_of(B) - 30;
    assert!(refused > 0);
    let counted = |replica: &crate::replicas::Replica| replica.count("podcert_double_writes_total");
    assert_eq!(counted(&a) + counted(&b), refused);
    stop_all(cluster, [a, b]).await;
}

#[tokio::test(start_paused = true)]
async fn one_replica_publishes_and_another_takes_over() {
    let cluster = cluster().await;
    // Of the item maintain-trust-bundles, the owner among A and B is B.
    let [a, b] = cluster.join_all([A, B]).await;
    // Whoever was there first published them first.
    let before = cluster.bundle_writes_of(A);
    let report = a.health.report();
    assert!(report.contains(&format!("{B} publishes it")), "{report}");

    // A CA that is new signs, at whoever publishes and at who does not, once its anchor is there.
    let old = cluster.spiffe_pool_bytes();
    let new = Cluster::joined(&[&cluster.new_pool(&["2"]), &old]);
    cluster.spiffe_pool.send_replace(Some(new));
    cluster.pass(1).await;
    let anchors = cluster.anchors(SPIFFE).await;
    assert_eq!(anchors.anchors().len(), 2);
    assert_eq!(cluster.bundle_writes_of(A), before);
    let asked = cluster.ask_often("web", 20).await;
    cluster.pass(1).await;
    for request in &asked {
        let chain = cluster.chain(request).await;
        let issuer = anchors.anchors()[0].subject().to_string();
        assert_eq!(chain.leaf().issuer().to_string(), issuer);
    }

    b.die().await;
    delete(&cluster.bundles(), BUNDLE).await;
    cluster.pass(16).await;
    assert!(cluster.anchors(SPIFFE).await.same_anchors(&anchors));
    // And whoever takes over knows which CA a reload drops.
    cluster.spiffe_pool.send_replace(Some(old));
    cluster.pass(1).await;
    assert_eq!(cluster.anchors(SPIFFE).await.anchors().len(), 1);
    stop_all(cluster, [a]).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_starts_with_a_new_pool_waits_for_its_anchors_too() {
    let cluster = cluster().await;
    let [b] = cluster.join_all([B]).await;
    let old = cluster.anchors(SPIFFE).await;
    // B publishes among A and B, and does not come to it.
    let away = Effect::error(503, "ServiceUnavailable", "not now");
    let faults = cluster.hinder(B, &[Verb::Update], "clustertrustbundles", &away);
    cluster
        .spiffe_pool
        .send_replace(Some(cluster.new_pool(&["2"])));
    let a = cluster.join(A);
    a.health.ready().await;
    cluster.pass(1).await;
    let asked = cluster.ask_often("web", 40).await;
    cluster.pass(15).await;
    let own = part(&asked, A, &[A, B]);
    assert!(own > 5, "{own}");
    assert_eq!(
        (cluster.answers_of(A), cluster.answers_of(B)),
        (0, 40 - own)
    );
    faults.iter().for_each(podcert_apiserver::Fault::remove);
    cluster.pass(30).await;
    assert_eq!(cluster.answers_of(A), own);
    let published = cluster.anchors(SPIFFE).await;
    assert!(!published.same_anchors(&old));
    let new = published.anchors()[0].subject().to_string();
    for request in asked.iter().filter(|asked| owner(asked, &[A, B]) == A) {
        let issuer = cluster.chain(request).await.leaf().issuer().to_string();
        assert_eq!(issuer, new);
    }
    stop_all(cluster, [a, b]).await;
}

/// A loop that never sleeps would let no virtual time pass.
#[tokio::test(start_paused = true)]
async fn a_publisher_without_a_lease_waits_for_it_in_peace() {
    let cluster = cluster().await;
    let [a] = cluster.join_all([A]).await;
    let away = Effect::error(503, "ServiceUnavailable", "not now");
    let writes = [Verb::Create, Verb::Update];
    let bundles = cluster.hinder(A, &writes, "clustertrustbundles", &away);
    let leases = cluster.hinder(A, &writes, "leases", &away);
    delete(&cluster.bundles(), BUNDLE).await;
    cluster.pass(45).await;
    assert_eq!(a.metric("podcert_replicas_live"), 0.0);
    let tried: u64 = bundles.iter().map(podcert_apiserver::Fault::hits).sum();
    assert!((1..40).contains(&tried), "{tried}");
    let faults = bundles.iter().chain(&leases);
    faults.for_each(podcert_apiserver::Fault::remove);
    cluster.pass(30).await;
    assert!(!cluster.anchors(SPIFFE).await.anchors().is_empty());
    stop_all(cluster, [a]).await;
}

#[tokio::test(start_paused = true)]
async fn who_takes_over_takes_no_anchor_it_does_not_know() {
    let cluster = cluster().await;
    let [a, b] = cluster.join_all([A, B]).await;
    let foreign = cluster.anchors(crate::cluster::SERVICE_DNS).await;
    let mut bundle = cluster.bundles().get(BUNDLE).await.unwrap();
    bundle.spec.trust_bundle += &foreign.to_pem();
    let params = PostParams::default();
    let written = cluster.bundles().replace(BUNDLE, &params, &bundle).await;
    let all = TrustBundle::from_pem(written.unwrap().spec.trust_bundle).unwrap();
    cluster.pass(1).await;
    b.die().await;
    cluster.pass(60).await;
    assert!(cluster.anchors(SPIFFE).await.same_anchors(&all));
    assert_eq!(
        cluster.told("UnknownAnchors").await,
        2,
        "once by each publisher"
    );
    assert_eq!(a.count("podcert_bundle_unknown_anchors{"), 1);
    assert!(a.health.report().contains("1 anchors that are in no pool"));
    stop_all(cluster, [a]).await;
}

/// The pool was wrong for a moment. Whoever has seen that, and not yet its correction, must not take
/// away what others put back.
#[tokio::test(start_paused = true)]
async fn an_anchor_that_was_put_back_is_taken_by_nobody_who_comes_late() {
    for gap in [true, false] {
        let cluster = cluster().await;
        let [a, b] = cluster.join_all([A, B]).await;
        let right = cluster.anchors(SPIFFE).await;
        let wrong = cluster.new_pool(&["2"]);
        cluster.spiffe_pool.send_replace(Some(wrong));
        cluster.pass(1).await;
        assert!(!cluster.anchors(SPIFFE).await.same_anchors(&right));
        // Of A and B it is B who publishes: it falls asleep, or A takes over from it.
        let mut gone = Vec::new();
        let mut left = vec![a];
        if gap {
            let away = Effect::error(503, "ServiceUnavailable", "not now");
            let writes = [Verb::Create, Verb::Update];
            gone = cluster.hinder(B, &writes, "leases", &away);
            left.swap_remove(0).die().await;
            cluster.pass(20).await;
            left.push(b);
        } else {
            b.die().await;
        }
        let mut bundle = cluster.bundles().get(BUNDLE).await.unwrap();
        bundle.spec.trust_bundle += &right.to_pem();
        let params = PostParams::default();
        let written = cluster.bundles().replace(BUNDLE, &params, &bundle).await;
        let all = TrustBundle::from_pem(written.unwrap().spec.trust_bundle).unwrap();
        gone.iter().for_each(podcert_apiserver::Fault::remove);
        cluster.pass(60).await;
        assert_eq!(left[0].metric("podcert_replicas_live"), 1.0);
        assert!(cluster.anchors(SPIFFE).await.same_anchors(&all), "{gap}");
        stop_all(cluster, left).await;
    }
}

/// The process stands still, and the world goes on: its own runtime, which nobody drives meanwhile.
#[test]
fn a_paused_replica_writes_nothing_before_it_has_read_everything_anew() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap()
    };
    let (world, sleeper) = (runtime(), runtime());
    let step = Duration::from_millis(200);
    let both_step = || {
        world.block_on(async { tokio::time::sleep(step).await });
        sleeper.block_on(async { tokio::time::sleep(step).await });
    };
    let both = |seconds: u64| (0..seconds * 5).for_each(|_| both_step());
    let (cluster, a) = world.block_on(async {
        let cluster = cluster().await;
        let a = cluster.join(A);
        (cluster, a)
    });
    let (idle, shutdown) = (
        sleeper.block_on(async { cluster.replica(B) }),
        Default::default(),
    );
    let journal = idle.journal;
    let registry = idle.registry;
    let running = sleeper.spawn(
        idle.controller
            .run(tokio_util::sync::CancellationToken::clone(&shutdown)),
    );
    both(20);
    assert_eq!(a.metric("podcert_replicas_live"), 2.0);
    assert!(crate::replicas::metrics(&registry).contains("podcert_replicas_live 2"));

    // It falls asleep between two tries of writes. Nobody else answers meanwhile, so it finds its old
    // share undone when it wakes.
    let away = Effect::error(503, "ServiceUnavailable", "not now");
    let status = "podcertificaterequests/status";
    let tried = cluster.hinder(B, &[Verb::Update], status, &away);
    let away = cluster.hinder(A, &[Verb::Update], status, &away);
    let mut asked = world.block_on(cluster.ask_often("early", 20));
    both_step();
    let tries: u64 = tried.iter().map(podcert_apiserver::Fault::hits).sum();
    assert!(tries > 0);
    tried.iter().for_each(podcert_apiserver::Fault::remove);
    let answers = cluster.answers_of(B);
    asked.extend(world.block_on(cluster.ask_often("web", 60)));
    world.block_on(async { cluster.pass(60).await });
    assert_eq!(world.block_on(cluster.issued(&asked)), 0);
    assert_eq!(a.metric("podcert_replicas_live"), 1.0);
    // And it sees them before it has its Lease again.
    let slow = Effect::delay(Duration::from_secs(1));
    let slow = cluster.hinder(B, &[Verb::Update], "leases", &slow);
    let woken = journal.lock().unwrap().len();
    sleeper.block_on(async {
        tokio::time::advance(Duration::from_secs(60)).await;
        // All that can be done without waiting for a timer is done before this one.
        tokio::time::sleep(Duration::from_millis(1)).await;
    });
    both(4);
    slow.iter().for_each(podcert_apiserver::Fault::remove);

    let asked_for: Vec<_> = journal.lock().unwrap().drain(woken..).collect();
    let first = |what: &dyn Fn(&str, &str) -> bool| {
        let found = asked_for
            .iter()
            .position(|(method, uri)| what(method.as_str(), uri));
        found.unwrap_or_else(|| panic!("{asked_for:#?}"))
    };
    let write = first(&|method, uri| method != "GET" && !uri.contains("/leases/"));
    let renewal = first(&|method, uri| method == "PUT" && uri.contains("/leases/"));
    assert!(renewal < write);
    for list in [
        "/api/v1/pods?",
        "/api/v1/services?",
        "/api/v1/nodes?",
        "/api/v1/serviceaccounts?",
        "row-major.net%2Fspiffe",
        "/leases?",
    ] {
        let listed = first(&|method, uri| {
            method == "GET" && uri.contains(list) && !uri.contains("watch=true")
        });
        assert!(renewal < listed && listed < write, "{list}: {asked_for:#?}");
    }
    let own = part(&asked, B, &[A, B]);
    assert_eq!(cluster.answers_of(B) - answers, own);
    away.iter().for_each(podcert_apiserver::Fault::remove);
    both(90);
    assert_eq!(world.block_on(cluster.issued(&asked)), 80);
    assert_eq!(cluster.answers_of(B) - answers, own);

    shutdown.cancel();
    sleeper.block_on(running).unwrap().unwrap();
    world.block_on(stop_all(cluster, [a]));
}
