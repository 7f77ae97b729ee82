//! Create, get, list, update, delete: what every kind has in common.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic in a test is its report"
)]

mod common;

use std::time::Duration;

use common::*;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt};
use podcert_apiserver::{ApiServer, User};
use serde_json::json;

fn version<K: kube::Resource>(object: &K) -> u64 {
    object
        .meta()
        .resource_version
        .as_ref()
        .expect("a version")
        .parse()
        .expect("a number")
}

#[tokio::test(start_paused = true)]
async fn a_new_object_gets_uid_version_and_date() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let created = maps
        .create(&post(), &config_map("a"))
        .await
        .expect("created");
    assert_eq!(created.uid().expect("uid").len(), 36);
    assert_eq!(
        created.creation_timestamp().expect("date").0.to_string(),
        START
    );
    assert_eq!(created.namespace().as_deref(), Some("default"));
    assert_eq!(maps.get("a").await.expect("read"), created);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let second = maps
        .create(&post(), &config_map("b"))
        .await
        .expect("created");
    assert!(version(&second) > version(&created));
    assert_eq!(
        second.creation_timestamp().expect("date").0.to_string(),
        "2026-11-21T12:01:00Z"
    );
}

#[tokio::test(start_paused = true)]
async fn generated_names_have_five_letters_of_the_kubernetes_alphabet() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let map: ConfigMap = from(json!({"metadata": {"generateName": "req-"}}));
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let name = maps
            .create(&post(), &map)
            .await
            .expect("created")
            .name_any();
        let suffix = name.strip_prefix("req-").expect("the prefix");
        assert_eq!(suffix.len(), 5, "{name}");
        assert!(
            suffix
                .chars()
                .all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c)),
            "{name}"
        );
        names.insert(name);
    }
    assert_eq!(names.len(), 200);
    let long: ConfigMap = from(json!({"metadata": {"generateName": "x".repeat(100)}}));
    let name = maps
        .create(&post(), &long)
        .await
        .expect("created")
        .name_any();
    assert_eq!(name.len(), 63);
}

#[tokio::test(start_paused = true)]
async fn a_seed_repeats_names_and_uids() {
    let run = || async {
        let (_, client) = world();
        let maps: Api<ConfigMap> = Api::default_namespaced(client);
        let map: ConfigMap = from(json!({"metadata": {"generateName": "req-"}}));
        let created = maps.create(&post(), &map).await.expect("created");
        (created.name_any(), created.uid())
    };
    assert_eq!(run().await, run().await);
}

#[tokio::test(start_paused = true)]
async fn an_update_that_changes_nothing_writes_nothing() {
    let (api, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let first = maps
        .create(&post(), &config_map("a"))
        .await
        .expect("created");
    let before = api.resource_version();
    let again = maps.replace("a", &post(), &first).await.expect("replaced");
    assert_eq!(again, first);
    let mut unversioned = config_map("a");
    unversioned.metadata.labels = Some([].into());
    let again = maps
        .replace("a", &post(), &unversioned)
        .await
        .expect("replaced");
    assert_eq!(again, first);
    assert_eq!(api.resource_version(), before);
}

#[tokio::test(start_paused = true)]
async fn status_and_spec_are_written_apart() {
    let (_, client) = world();
    let deployments: Api<Deployment> = Api::default_namespaced(client);
    let deployment: Deployment = from(json!({
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": "none"}]},
            },
        },
        "status": {"replicas": 9},
    }));
    let created = deployments
        .create(&post(), &deployment)
        .await
        .expect("created");
    assert_eq!(created.status, None, "status is dropped on create");
    assert_eq!(created.metadata.generation, Some(1));
    assert_eq!(created.spec.replicas, Some(1));

    let mut change: Deployment = created.clone();
    change.status = from(json!({"replicas": 3}));
    change.spec.replicas = Some(3);
    change.metadata.labels = Some([("from".to_owned(), "status".to_owned())].into());
    let after = deployments
        .replace_status("web", &post(), &change)
        .await
        .expect("replaced");
    assert_eq!(after.status.as_ref().and_then(|it| it.replicas), Some(3));
    assert_eq!(after.spec, created.spec, "a status update leaves the spec");
    assert_eq!(after.metadata.labels, None, "... and the metadata");
    assert_eq!(after.metadata.generation, Some(1));

    let mut change = after.clone();
    change.status = None;
    change.spec.replicas = Some(5);
    let after = deployments
        .replace("web", &post(), &change)
        .await
        .expect("replaced");
    assert_eq!(after.status.as_ref().and_then(|it| it.replicas), Some(3));
    assert_eq!(after.metadata.generation, Some(2));

    let mut change = after.clone();
    change.spec.selector.match_labels = Some([("app".to_owned(), "db".to_owned())].into());
    let fields: Vec<String> = causes(&refusal(deployments.replace("web", &post(), &change).await))
        .into_iter()
        .map(|(field, _)| field)
        .collect();
    assert_eq!(fields, ["spec.template.metadata.labels", "spec.selector"]);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_comes_with_a_service_account_and_takes_all_with_it() {
    let (_, client) = world();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let names: Vec<String> = namespaces
        .list(&ListParams::default())
        .await
        .expect("listed")
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    assert_eq!(names, ["default", "kube-system"]);

    let made = namespaces
        .create(&post(), &from(json!({"metadata": {"name": "team"}})))
        .await
        .expect("created");
    assert_eq!(
        made.labels()
            .get("kubernetes.io/metadata.name")
            .map(String::as_str),
        Some("team")
    );
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "team");
    accounts
        .get("default")
        .await
        .expect("made with the namespace");
    let maps: Api<ConfigMap> = Api::namespaced(client, "team");
    maps.create(&post(), &config_map("a"))
        .await
        .expect("created");
    namespaces
        .delete("team", &DeleteParams::default())
        .await
        .expect("deleted");
    assert_eq!(refusal(maps.get("a").await).code, 404);
    assert_eq!(refusal(accounts.get("default").await).code, 404);
    assert_eq!(refusal(namespaces.get("team").await).code, 404);
}

#[tokio::test(start_paused = true)]
async fn every_response_carries_the_servers_date() {
    let api = common::builder().build();
    let client = Client::new(api.as_user(User::admin()), "default");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    for path in ["/api/v1/nodes", "/api/v1/nonsense", "/version"] {
        let request = http::Request::get(path)
            .body(kube::client::Body::empty())
            .expect("a request");
        let response = client.send(request).await.expect("a response");
        assert_eq!(
            response.headers()["date"],
            "Sat, 21 Nov 2026 13:00:00 GMT",
            "{path}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn discovery_lists_what_is_served() {
    let (_, client) = world();
    assert_eq!(
        client.apiserver_version().await.expect("version").minor,
        "37"
    );
    let groups = client.list_api_groups().await.expect("groups");
    let names: Vec<&str> = groups
        .groups
        .iter()
        .map(|group| group.name.as_str())
        .collect();
    assert!(names.contains(&"certificates.k8s.io"), "{names:?}");
    assert_eq!(
        client
            .list_core_api_versions()
            .await
            .expect("versions")
            .versions,
        ["v1"]
    );
    let certificates = client
        .list_api_group_resources("certificates.k8s.io/v1")
        .await
        .expect("resources");
    let names: Vec<&str> = certificates
        .resources
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "clustertrustbundles",
            "podcertificaterequests",
            "podcertificaterequests/status",
        ]
    );
    let discovery = kube::Discovery::new(client)
        .run()
        .await
        .expect("discovered");
    assert!(discovery.has_group("coordination.k8s.io"));
}

#[tokio::test(start_paused = true)]
async fn a_server_without_a_clock_follows_tokios() {
    let api = ApiServer::builder().build();
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&api));
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    let created = maps
        .create(&post(), &config_map("a"))
        .await
        .expect("created");
    assert_eq!(
        created.creation_timestamp().expect("date").0.to_string(),
        "2026-01-02T00:00:00Z"
    );
}

#[tokio::test(start_paused = true)]
async fn kubes_recorder_publishes_and_counts_events() {
    use kube::runtime::events::{Event, EventType, Recorder, Reporter};
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let map = maps
        .create(&post(), &config_map("a"))
        .await
        .expect("created");
    let reporter = Reporter {
        controller: "example.com/test".into(),
        instance: Some("test-0".into()),
    };
    let recorder = Recorder::new(client.clone(), reporter);
    let event = Event {
        type_: EventType::Warning,
        reason: "Waiting".into(),
        note: Some("for better times".into()),
        action: "Waiting".into(),
        secondary: None,
    };
    let about = kube::Resource::object_ref(&map, &());
    for _ in 0..2 {
        recorder.publish(&event, &about).await.expect("published");
    }
    let events: Api<k8s_openapi::api::events::v1::Event> = Api::default_namespaced(client);
    let about = ListParams::default().fields("regarding.name=a,reason=Waiting");
    let list = events.list(&about).await.expect("listed");
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.items[0].series.as_ref().expect("a series").count, 2);
}
