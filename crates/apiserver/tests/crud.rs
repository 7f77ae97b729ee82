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
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Preconditions};
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
async fn clients_choose_neither_uid_nor_dates() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let map: ConfigMap = from(json!({
        "metadata": {
            "name": "a", "uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z",
            "deletionTimestamp": "2001-01-01T00:00:00Z", "generation": 9,
            "managedFields": [{"manager": "me"}],
        },
    }));
    let created = maps.create(&post(), &map).await.expect("created");
    assert_ne!(created.uid().as_deref(), Some("mine"));
    assert_eq!(
        created.creation_timestamp().expect("date").0.to_string(),
        START
    );
    assert_eq!(created.metadata.deletion_timestamp, None);
    assert_eq!(created.metadata.generation, None);
    assert_eq!(created.metadata.managed_fields, None);
}

#[tokio::test(start_paused = true)]
async fn a_resource_version_on_create_is_refused() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let map: ConfigMap = from(json!({"metadata": {"name": "a", "resourceVersion": "7"}}));
    let status = refusal(maps.create(&post(), &map).await);
    assert_eq!(status.code, 500);
    assert_eq!(
        status.message,
        "resourceVersion should not be set on objects to be created"
    );
}

#[tokio::test(start_paused = true)]
async fn refusals_are_worded_as_upstream_words_them() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    maps.create(&post(), &config_map("a"))
        .await
        .expect("created");

    let status = refusal(maps.create(&post(), &config_map("a")).await);
    assert_eq!(
        (status.code, status.reason.as_str()),
        (409, "AlreadyExists")
    );
    assert_eq!(status.message, "configmaps \"a\" already exists");

    let status = refusal(maps.get("b").await);
    assert_eq!((status.code, status.reason.as_str()), (404, "NotFound"));
    assert_eq!(status.message, "configmaps \"b\" not found");
    let details = status.details.expect("details");
    assert_eq!(
        (details.kind.as_str(), details.name.as_str()),
        ("configmaps", "b")
    );

    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let status = refusal(deployments.get("b").await);
    assert_eq!(status.message, "deployments.apps \"b\" not found");
    assert_eq!(status.details.expect("details").group, "apps");

    let elsewhere: Api<ConfigMap> = Api::namespaced(client, "nowhere");
    let status = refusal(elsewhere.create(&post(), &config_map("a")).await);
    assert_eq!((status.code, status.reason.as_str()), (404, "NotFound"));
    assert_eq!(status.message, "namespaces \"nowhere\" not found");

    let status = refusal(maps.create(&post(), &config_map("Not_A_Name")).await);
    assert_eq!(
        causes(&status),
        [(
            "metadata.name".to_owned(),
            "Invalid value: \"Not_A_Name\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')".to_owned()
        )]
    );
    assert!(
        status
            .message
            .starts_with("ConfigMap \"Not_A_Name\" is invalid: metadata.name: Invalid value:"),
        "{}",
        status.message
    );
}

#[tokio::test(start_paused = true)]
async fn unknown_resources_and_versions_are_not_found() {
    let (_, client) = world();
    let get = |path: &str| {
        let request = http::Request::get(path)
            .body(Vec::new())
            .expect("a request");
        let client = client.clone();
        async move { refusal(client.request::<serde_json::Value>(request).await) }
    };
    // A served version without such a resource answers with a Status ...
    let status = get("/apis/certificates.k8s.io/v1/nonsense").await;
    assert_eq!((status.code, status.reason.as_str()), (404, "NotFound"));
    assert_eq!(
        status.message,
        "the server could not find the requested resource"
    );
    // ... a version that is not served with the mux's plain text.
    let status = get("/apis/certificates.k8s.io/v1beta1/podcertificaterequests").await;
    // (kube's `is_not_found` does not see that: it wants the reason.)
    assert_eq!(
        (status.code, status.message.as_str()),
        (404, "404 page not found")
    );
    // A cluster-scoped resource has no place in a namespace, nor the other way round.
    assert_eq!(get("/api/v1/namespaces/default/nodes").await.code, 404);
    assert_eq!(get("/api/v1/pods/name").await.code, 404);
    assert_eq!(
        get("/api/v1/namespaces/default/configmaps/a/status")
            .await
            .code,
        404
    );
}

#[tokio::test(start_paused = true)]
async fn methods_and_bodies_that_make_no_sense_are_refused() {
    let (_, client) = world();
    let send = |request: http::Request<Vec<u8>>| {
        let client = client.clone();
        async move { refusal(client.request::<serde_json::Value>(request).await) }
    };
    let post = |path: &str, kind: &str, body: &[u8]| {
        http::Request::post(path)
            .header("content-type", kind)
            .body(body.to_vec())
            .expect("a request")
    };
    let maps = "/api/v1/namespaces/default/configmaps";
    let json = "application/json";
    assert_eq!(
        send(post("/api/v1/configmaps", json, b"{}")).await.code,
        405
    );
    assert_eq!(send(post(maps, json, b"{")).await.code, 400);
    assert_eq!(send(post(maps, json, b"[]")).await.code, 400);
    assert_eq!(
        send(post(maps, "application/yaml", b"a: b")).await.code,
        415
    );
    assert_eq!(
        send(post(maps, json, br#"{"metadata": 7}"#)).await.code,
        400
    );
    let status = send(post(
        maps,
        json,
        br#"{"apiVersion":"v2","kind":"ConfigMap"}"#,
    ))
    .await;
    assert_eq!(status.code, 400);
    assert_eq!(
        status.message,
        "ConfigMap in version \"v2\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is registered for version \"v2\" in scheme \"pkg/runtime/scheme.go:111\""
    );
    assert_eq!(
        send(post(maps, json, br#"{"kind":"Secret"}"#)).await.code,
        400
    );
    let status = send(post(
        maps,
        json,
        br#"{"metadata":{"name":"a","namespace":"x"}}"#,
    ))
    .await;
    assert_eq!(
        status.message,
        "the namespace of the provided object does not match the namespace sent on the request"
    );
    let huge = vec![b' '; 3 * 1024 * 1024 + 1];
    let status = send(post(maps, json, &huge)).await;
    assert_eq!(
        (status.code, status.reason.as_str()),
        (413, "RequestEntityTooLarge")
    );
    let status = send(post(maps, json, br#"{"metadata":{}}"#)).await;
    assert_eq!(
        causes(&status),
        [(
            "metadata.name".to_owned(),
            "Required value: name or generateName is required".to_owned()
        )]
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
async fn an_update_needs_the_newest_version() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let first = maps
        .create(&post(), &config_map("a"))
        .await
        .expect("created");
    let mut changed = first.clone();
    changed.data = Some([("key".to_owned(), "new".to_owned())].into());
    let second = maps
        .replace("a", &post(), &changed)
        .await
        .expect("replaced");
    assert!(version(&second) > version(&first));
    assert_eq!(second.uid(), first.uid());

    let status = refusal(maps.replace("a", &post(), &changed).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert_eq!(
        status.message,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );

    // ConfigMaps may be overwritten without a version.
    changed.metadata.resource_version = None;
    changed.data = None;
    let third = maps
        .replace("a", &post(), &changed)
        .await
        .expect("replaced");
    assert_eq!(third.data, None);

    let mut other = changed.clone();
    other.metadata.uid = Some("another".into());
    let status = refusal(maps.replace("a", &post(), &other).await);
    assert_eq!(status.code, 409);
    assert!(
        status
            .message
            .contains("Precondition failed: UID in precondition: another")
    );

    let status = refusal(maps.replace("b", &post(), &config_map("b")).await);
    assert_eq!(status.code, 404);
    let status = refusal(maps.replace("b", &post(), &config_map("a")).await);
    assert_eq!(
        status.message,
        "the name of the object (a) does not match the name on the URL (b)"
    );
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
            "template": {"metadata": {"labels": {"app": "web"}}},
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
async fn deletion_checks_its_preconditions() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let created = maps
        .create(&post(), &config_map("a"))
        .await
        .expect("created");
    let wrong = DeleteParams::default().preconditions(Preconditions {
        uid: Some("another".into()),
        resource_version: None,
    });
    let status = refusal(maps.delete("a", &wrong).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    let right = DeleteParams::default().preconditions(Preconditions {
        uid: created.uid(),
        resource_version: created.resource_version(),
    });
    let status = maps
        .delete("a", &right)
        .await
        .expect("deleted")
        .right()
        .expect("a Status");
    assert!(status.is_success());
    assert_eq!(
        status.details.expect("details").uid,
        created.uid().expect("uid")
    );
    assert_eq!(refusal(maps.get("a").await).code, 404);
    assert_eq!(refusal(maps.delete("a", &right).await).code, 404);
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let mut map = config_map("a");
    map.metadata.finalizers = Some(vec!["example.com/hold".into()]);
    maps.create(&post(), &map).await.expect("created");
    let marked = maps
        .delete("a", &DeleteParams::default())
        .await
        .expect("marked")
        .left()
        .expect("the object");
    assert!(marked.metadata.deletion_timestamp.is_some());

    let mut more = marked.clone();
    more.finalizers_mut().push("example.com/more".into());
    let status = refusal(maps.replace("a", &post(), &more).await);
    assert_eq!(
        causes(&status),
        [(
            "metadata.finalizers".to_owned(),
            "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"example.com/more\"}".to_owned()
        )]
    );

    // A second DELETE changes nothing; removing the finalizer removes the object.
    maps.delete("a", &DeleteParams::default())
        .await
        .expect("still marked");
    let mut freed = maps.get("a").await.expect("still there");
    assert_eq!(freed.resource_version(), marked.resource_version());
    freed.finalizers_mut().clear();
    maps.replace("a", &post(), &freed).await.expect("freed");
    assert_eq!(refusal(maps.get("a").await).code, 404);
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_pod_is_marked_first_and_removed_by_grace_zero() {
    let (_, client) = world();
    let pods: Api<Pod> = Api::default_namespaced(client);
    let mut scheduled = pod("a");
    scheduled.spec.as_mut().expect("spec").node_name = Some("node".into());
    let created = pods.create(&post(), &scheduled).await.expect("created");
    assert_eq!(
        created.status.as_ref().and_then(|it| it.phase.as_deref()),
        Some("Pending")
    );
    let spec = created.spec.as_ref().expect("spec");
    assert_eq!(spec.service_account_name.as_deref(), Some("default"));

    pods.delete("a", &DeleteParams::default())
        .await
        .expect("marked");
    let marked = pods.get("a").await.expect("still there");
    assert_eq!(marked.metadata.deletion_grace_period_seconds, Some(30));
    assert_eq!(
        marked
            .metadata
            .deletion_timestamp
            .as_ref()
            .expect("mark")
            .0
            .to_string(),
        "2026-11-21T12:00:30Z"
    );
    assert_eq!(marked.metadata.generation, Some(2));
    // Asking again with a longer grace period changes nothing.
    pods.delete("a", &DeleteParams::default().grace_period(60))
        .await
        .expect("marked");
    assert_eq!(
        pods.get("a").await.expect("there").resource_version(),
        marked.resource_version()
    );
    // A shorter one counts from the first deletion.
    tokio::time::sleep(Duration::from_secs(5)).await;
    pods.delete("a", &DeleteParams::default().grace_period(10))
        .await
        .expect("shortened");
    let shortened = pods.get("a").await.expect("still there").metadata;
    assert_eq!(shortened.deletion_grace_period_seconds, Some(10));
    assert_eq!(
        shortened.deletion_timestamp.expect("mark").0.to_string(),
        "2026-11-21T12:00:10Z"
    );
    pods.delete("a", &DeleteParams::default().grace_period(0))
        .await
        .expect("removed");
    assert_eq!(refusal(pods.get("a").await).code, 404);

    // A pod on no node goes at once.
    pods.create(&post(), &pod("b")).await.expect("created");
    pods.delete("b", &DeleteParams::default())
        .await
        .expect("removed");
    assert_eq!(refusal(pods.get("b").await).code, 404);
}

#[tokio::test(start_paused = true)]
async fn a_pod_needs_its_service_account() {
    let (_, client) = world();
    let pods: Api<Pod> = Api::default_namespaced(client);
    let mut wanting = pod("a");
    wanting.spec.as_mut().expect("spec").service_account_name = Some("absent".into());
    let status = refusal(pods.create(&post(), &wanting).await);
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        status.message,
        "pods \"a\" is forbidden: error looking up service account default/absent: serviceaccount \"absent\" not found"
    );
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
async fn services_and_secrets_get_their_defaults() {
    let (_, client) = world();
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let service: Service = from(json!({
        "metadata": {"name": "web"}, "spec": {"ports": [{"port": 443}]},
    }));
    let spec = services
        .create(&post(), &service)
        .await
        .expect("created")
        .spec
        .expect("spec");
    assert_eq!(spec.type_.as_deref(), Some("ClusterIP"));
    assert!(spec.cluster_ip.expect("an address").starts_with("10.96."));
    let port = &spec.ports.expect("ports")[0];
    assert_eq!(port.protocol.as_deref(), Some("TCP"));
    assert_eq!(
        serde_json::to_value(&port.target_port).expect("json"),
        json!(443)
    );
    let headless: Service = from(json!({
        "metadata": {"name": "headless"}, "spec": {"clusterIP": "None"},
    }));
    let spec = services
        .create(&post(), &headless)
        .await
        .expect("created")
        .spec
        .expect("spec");
    assert_eq!(spec.cluster_ip.as_deref(), Some("None"));

    let secrets: Api<Secret> = Api::default_namespaced(client);
    let secret: Secret = from(json!({
        "metadata": {"name": "s"}, "stringData": {"a": "b"}, "immutable": true,
    }));
    let mut created = secrets.create(&post(), &secret).await.expect("created");
    assert_eq!(created.type_.as_deref(), Some("Opaque"));
    assert_eq!(created.data.as_ref().expect("data")["a"].0, b"b");
    created.data = None;
    let status = refusal(secrets.replace("s", &post(), &created).await);
    assert_eq!(causes(&status)[0].0, "data");
}

#[tokio::test(start_paused = true)]
async fn dry_runs_check_everything_and_store_nothing() {
    let (api, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let mut dry = post();
    dry.dry_run = true;
    let before = api.resource_version();
    maps.create(&dry, &config_map("a"))
        .await
        .expect("would be created");
    assert_eq!(refusal(maps.get("a").await).code, 404);
    assert_eq!(api.resource_version(), before);
    let created = maps
        .create(&post(), &config_map("a"))
        .await
        .expect("created");
    assert_eq!(refusal(maps.create(&dry, &config_map("a")).await).code, 409);
    let mut changed = created.clone();
    changed.data = None;
    let dried = maps
        .replace("a", &dry, &changed)
        .await
        .expect("would be replaced");
    assert_eq!(dried.data, None);
    maps.delete("a", &DeleteParams::default().dry_run())
        .await
        .expect("would be deleted");
    assert_eq!(maps.get("a").await.expect("untouched"), created);
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_deleted_by_selector() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    for (name, app) in [("a", "web"), ("b", "db"), ("c", "web")] {
        let mut map = config_map(name);
        map.labels_mut().insert("app".into(), app.into());
        maps.create(&post(), &map).await.expect("created");
    }
    let gone = maps
        .delete_collection(
            &DeleteParams::default(),
            &ListParams::default().labels("app=web"),
        )
        .await
        .expect("deleted")
        .left()
        .expect("the list");
    assert_eq!(gone.items.len(), 2);
    let left = maps.list(&ListParams::default()).await.expect("listed");
    assert_eq!(
        left.items
            .iter()
            .map(ResourceExt::name_any)
            .collect::<Vec<_>>(),
        ["b"]
    );
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages_of_one_snapshot() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    for index in 0..7 {
        maps.create(&post(), &config_map(&format!("m{index}")))
            .await
            .expect("created");
    }
    let first = maps
        .list(&ListParams::default().limit(3))
        .await
        .expect("listed");
    assert_eq!(first.items.len(), 3);
    assert_eq!(first.metadata.remaining_item_count, Some(4));
    let token = first.metadata.continue_.clone().expect("more");
    // What happens between pages is not in them.
    maps.delete("m4", &DeleteParams::default())
        .await
        .expect("deleted");
    maps.create(&post(), &config_map("m35"))
        .await
        .expect("created");
    let mut names: Vec<String> = first.items.iter().map(ResourceExt::name_any).collect();
    let mut token = Some(token);
    while let Some(next) = token {
        let page = maps
            .list(&ListParams::default().limit(3).continue_token(&next))
            .await
            .expect("listed");
        assert_eq!(
            page.metadata.resource_version,
            first.metadata.resource_version
        );
        names.extend(page.items.iter().map(ResourceExt::name_any));
        token = page.metadata.continue_;
    }
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4", "m5", "m6"]);
    let now = maps.list(&ListParams::default()).await.expect("listed");
    let names: Vec<String> = now.items.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m35", "m5", "m6"]);
    // The old snapshot can be asked for by its version, too.
    let exact = ListParams::default()
        .at(&first.metadata.resource_version.expect("a version"))
        .matching(kube::api::VersionMatch::Exact);
    let then = maps.list(&exact).await.expect("listed");
    assert_eq!(then.items.len(), 7);
    assert!(then.items.iter().any(|map| map.name_any() == "m4"));
}

#[tokio::test(start_paused = true)]
async fn a_continued_list_whose_snapshot_is_gone_expires() {
    let (api, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    for name in ["a", "b", "c"] {
        maps.create(&post(), &config_map(name))
            .await
            .expect("created");
    }
    let page = maps
        .list(&ListParams::default().limit(1))
        .await
        .expect("listed");
    api.faults().compact();
    let token = page.metadata.continue_.expect("more");
    let status = refusal(
        maps.list(&ListParams::default().continue_token(&token))
            .await,
    );
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    let nonsense = ListParams::default().continue_token("nonsense");
    assert_eq!(refusal(maps.list(&nonsense).await).code, 400);
}

#[tokio::test(start_paused = true)]
async fn reads_from_the_future_time_out() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let future = ListParams::default()
        .at("1000000")
        .matching(kube::api::VersionMatch::NotOlderThan);
    let status = refusal(maps.list(&future).await);
    assert_eq!((status.code, status.reason.as_str()), (504, "Timeout"));
    assert!(
        status
            .message
            .contains("Too large resource version: 1000000")
    );
}

#[tokio::test(start_paused = true)]
async fn metadata_can_be_read_alone() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    maps.create(&post(), &config_map("a"))
        .await
        .expect("created");
    let meta = maps.get_metadata("a").await.expect("read");
    assert_eq!(
        meta.types.as_ref().map(|it| it.kind.as_str()),
        Some("PartialObjectMetadata")
    );
    assert_eq!(meta.metadata.name.as_deref(), Some("a"));
    let list = maps
        .list_metadata(&ListParams::default())
        .await
        .expect("listed");
    assert_eq!(list.items.len(), 1);
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
            "podcertificaterequests",
            "podcertificaterequests/status",
            "clustertrustbundles"
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

#[tokio::test(start_paused = true)]
async fn a_lease_is_created_by_its_first_update_and_guarded_by_versions() {
    let (_, client) = world();
    let leases: Api<Lease> = Api::default_namespaced(client);
    let lease: Lease = from(json!({
        "metadata": {"name": "l"}, "spec": {"holderIdentity": "one", "leaseDurationSeconds": 15},
    }));
    let created = leases
        .replace("l", &post(), &lease)
        .await
        .expect("created by PUT");
    let mut renewed = created.clone();
    renewed.spec.as_mut().expect("spec").holder_identity = Some("two".into());
    leases
        .replace("l", &post(), &renewed)
        .await
        .expect("renewed");
    assert_eq!(
        refusal(leases.replace("l", &post(), &renewed).await).code,
        409
    );
    let causes = causes(&refusal(leases.replace("l", &post(), &lease).await));
    assert_eq!(causes[0].0, "metadata.resourceVersion");
}
