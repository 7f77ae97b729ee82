//! Faults on purpose, statistics, and who may do what.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic in a test is its report"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, WatchParams};
use podcert_apiserver::{
    Attributes, Authorizer, Effect, Matching, Occurrence, Permission, User, Verb,
};
use tokio::time::Instant;

async fn codes(maps: &Api<ConfigMap>, requests: usize) -> Vec<u16> {
    let mut codes = Vec::new();
    for _ in 0..requests {
        codes.push(match maps.list(&ListParams::default()).await {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(other) => panic!("{other}"),
        });
    }
    codes
}

#[tokio::test(start_paused = true)]
async fn the_next_so_many_requests_fail() {
    let (api, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let fault = api.faults().inject(
        Matching::any().verb(Verb::List).resource("configmaps"),
        Occurrence::Next(2),
        Effect::error(
            503,
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
    );
    maps.create(&post(), &config_map("a"))
        .await
        .expect("another verb is not hit");
    let status = refusal(maps.list(&ListParams::default()).await);
    assert_eq!(
        (status.code, status.reason.as_str()),
        (503, "ServiceUnavailable")
    );
    assert_eq!(codes(&maps, 3).await, [503, 200, 200]);
    assert_eq!(fault.hits(), 2);
}

#[tokio::test(start_paused = true)]
async fn every_kth_request_fails_until_the_fault_is_removed() {
    let (api, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let fault = api.faults().inject(
        Matching::any(),
        Occurrence::Every(3),
        Effect::error(500, "InternalError", "oops"),
    );
    assert_eq!(codes(&maps, 7).await, [200, 200, 500, 200, 200, 500, 200]);
    fault.remove();
    assert_eq!(codes(&maps, 3).await, [200, 200, 200]);
    api.faults().inject(
        Matching::any(),
        Occurrence::Always,
        Effect::error(429, "TooManyRequests", "slow down"),
    );
    assert_eq!(codes(&maps, 2).await, [429, 429]);
    api.faults().clear();
    assert_eq!(codes(&maps, 1).await, [200]);
}

#[tokio::test(start_paused = true)]
async fn faults_by_chance_repeat_with_the_seed() {
    let run = async |seed| {
        let api = builder().seed(seed).build();
        let maps: Api<ConfigMap> = Api::default_namespaced(client(&api));
        api.faults().inject(
            Matching::any(),
            Occurrence::Probability(0.3),
            Effect::error(500, "InternalError", "oops"),
        );
        codes(&maps, 100).await
    };
    let first = run(7).await;
    assert_eq!(first, run(7).await);
    assert_ne!(first, run(8).await);
    let failures = first.iter().filter(|code| **code == 500).count();
    assert!((15..45).contains(&failures), "{failures}");
}

#[tokio::test(start_paused = true)]
async fn faults_pick_by_name_namespace_and_user() {
    let (api, admin) = world();
    let other = client_of(&api, User::service_account("default", "other"));
    let maps =
        |client: &kube::Client| -> Api<ConfigMap> { Api::default_namespaced(client.clone()) };
    maps(&admin)
        .create(&post(), &config_map("a"))
        .await
        .expect("created");
    maps(&admin)
        .create(&post(), &config_map("b"))
        .await
        .expect("created");
    let error = || Effect::error(500, "InternalError", "oops");
    api.faults().inject(
        Matching::any()
            .user("system:serviceaccount:default:other")
            .namespace("default")
            .name("a"),
        Occurrence::Always,
        error(),
    );
    assert_eq!(refusal(maps(&other).get("a").await).code, 500);
    maps(&other).get("b").await.expect("another name");
    maps(&admin).get("a").await.expect("another user");
}

#[tokio::test(start_paused = true)]
async fn an_injected_conflict_looks_like_a_real_one() {
    let (api, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let mut map = maps
        .create(&post(), &config_map("a"))
        .await
        .expect("created");
    api.faults().inject(
        Matching::any().verb(Verb::Update),
        Occurrence::Next(1),
        Effect::conflict(),
    );
    map.data = None;
    let status = refusal(maps.replace("a", &post(), &map).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert_eq!(
        status.message,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    maps.replace("a", &post(), &map)
        .await
        .expect("nothing had changed");
}

#[tokio::test(start_paused = true)]
async fn slow_answers_take_their_time() {
    let (api, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    api.faults().inject(
        Matching::any(),
        Occurrence::Next(1),
        Effect::delay(Duration::from_secs(30)),
    );
    let begin = Instant::now();
    maps.list(&ListParams::default())
        .await
        .expect("late, but well");
    assert_eq!(begin.elapsed(), Duration::from_secs(30));
    maps.list(&ListParams::default()).await.expect("at once");
    assert_eq!(begin.elapsed(), Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_hides_a_write_that_happened() {
    let (api, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    api.faults().inject(
        Matching::any().verb(Verb::Create),
        Occurrence::Next(1),
        Effect::lost_reply(),
    );
    let status = refusal(maps.create(&post(), &config_map("a")).await);
    assert_eq!((status.code, status.reason.as_str()), (504, "Timeout"));
    let status = refusal(maps.create(&post(), &config_map("a")).await);
    assert_eq!(status.reason, "AlreadyExists");
}

#[tokio::test(start_paused = true)]
async fn watches_are_dropped_by_resource_and_user() {
    let (api, client) = world();
    let other = client_of(&api, User::new("other"));
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let pods: Api<Pod> = Api::default_namespaced(client);
    let their_maps: Api<ConfigMap> = Api::default_namespaced(other);
    let params = WatchParams::default();
    let _maps = maps.watch(&params, "0").await.expect("a watch");
    let _pods = pods.watch(&params, "0").await.expect("a watch");
    let _theirs = their_maps.watch(&params, "0").await.expect("a watch");
    let faults = api.faults();
    assert_eq!(faults.drop_watches(&Matching::any().resource("secrets")), 0);
    assert_eq!(faults.drop_watches(&Matching::any().user("other")), 1);
    assert_eq!(
        faults.drop_watches(&Matching::any().resource("configmaps")),
        1
    );
    assert_eq!(api.open_watches(), 1);
    assert_eq!(faults.drop_watches(&Matching::any()), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_by_verb_resource_and_user() {
    let (api, client) = world();
    let other = client_of(&api, User::new("other"));
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let pods: Api<Pod> = Api::default_namespaced(client);
    maps.create(&post(), &config_map("a"))
        .await
        .expect("created");
    maps.get("a").await.expect("read");
    refusal(maps.get("b").await);
    pods.create(&post(), &pod("p")).await.expect("created");
    let read = pods.get("p").await.expect("read");
    pods.replace_status("p", &post(), &read)
        .await
        .expect("replaced");
    let theirs: Api<ConfigMap> = Api::default_namespaced(other);
    theirs.list(&ListParams::default()).await.expect("listed");
    theirs
        .delete("a", &DeleteParams::default())
        .await
        .expect("deleted");

    let stats = api.stats();
    assert_eq!((stats.reads(), stats.writes(), stats.total()), (4, 4, 8));
    assert_eq!(stats.of_user("other").reads(), 1);
    assert_eq!(stats.of_user("other").writes(), 1);
    assert_eq!(stats.of_resource("pods/status").writes(), 1);
    assert_eq!(
        stats.of_resource("configmaps").of_verb(Verb::Get).total(),
        2
    );
    api.reset_stats();
    assert_eq!(api.stats().total(), 0);
}

/// Reads are for all, writes for the administrator.
#[derive(Debug)]
struct ReadOnly;

impl Authorizer for ReadOnly {
    fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> Permission {
        let reads = matches!(attributes.verb, "get" | "list" | "watch");
        if reads || user.groups.iter().any(|group| group == "system:masters") {
            Permission::Allowed
        } else {
            Permission::Denied
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_authorizer_denies_is_forbidden() {
    let api = builder().authorizer(Arc::new(ReadOnly)).build();
    let admin: Api<ConfigMap> = Api::default_namespaced(client(&api));
    let mallory = client_of(&api, User::service_account("team", "mallory"));
    let maps: Api<ConfigMap> = Api::default_namespaced(mallory.clone());
    admin
        .create(&post(), &config_map("a"))
        .await
        .expect("created");
    maps.get("a").await.expect("read");
    let status = refusal(maps.delete("a", &DeleteParams::default()).await);
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        status.message,
        "configmaps \"a\" is forbidden: User \"system:serviceaccount:team:mallory\" cannot delete resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    let status = refusal(maps.create(&post(), &config_map("b")).await);
    assert!(
        status.message.starts_with("configmaps is forbidden: User"),
        "{}",
        status.message
    );
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(mallory);
    let node = from(serde_json::json!({"metadata": {"name": "n"}}));
    let status = refusal(nodes.create(&post(), &node).await);
    assert!(
        status
            .message
            .ends_with("in API group \"\" at the cluster scope"),
        "{}",
        status.message
    );
    admin.get("a").await.expect("untouched");
}
