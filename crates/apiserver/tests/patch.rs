//! JSON patch and merge patch.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic in a test is its report"
)]

mod common;

use common::*;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

fn params() -> PatchParams {
    PatchParams::default()
}

fn operations(operations: Value) -> Patch<ConfigMap> {
    Patch::Json(from(operations))
}

#[tokio::test(start_paused = true)]
async fn a_merge_patch_sets_and_removes() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let created = maps
        .create(&post(), &config_map("a"))
        .await
        .expect("created");
    let patch = json!({"metadata": {"labels": {"x": "y"}}, "data": {"key": null, "other": "1"}});
    let patched = maps
        .patch("a", &params(), &Patch::Merge(&patch))
        .await
        .expect("patched");
    assert_eq!(patched.labels()["x"], "y");
    let data = patched.data.clone().expect("data");
    assert_eq!(
        data.into_iter().collect::<Vec<_>>(),
        [("other".to_owned(), "1".to_owned())]
    );
    assert_ne!(patched.resource_version(), created.resource_version());
    let again = maps
        .patch("a", &params(), &Patch::Merge(&patch))
        .await
        .expect("patched");
    assert_eq!(
        again, patched,
        "a patch that changes nothing writes nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn a_merge_patch_may_name_the_version_it_means() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let created = maps
        .create(&post(), &config_map("a"))
        .await
        .expect("created");
    let versioned = |version: Option<String>| json!({"metadata": {"resourceVersion": version}, "data": {"key": "new"}});
    let right = versioned(created.resource_version());
    maps.patch("a", &params(), &Patch::Merge(&right))
        .await
        .expect("patched");
    let status = refusal(maps.patch("a", &params(), &Patch::Merge(&right)).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
}

#[tokio::test(start_paused = true)]
async fn a_json_patch_runs_its_operations() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    maps.create(&post(), &config_map("a"))
        .await
        .expect("created");
    let patch = operations(json!([
        {"op": "test", "path": "/data/key", "value": "value"},
        {"op": "replace", "path": "/data/key", "value": "new"},
        {"op": "add", "path": "/data/more", "value": "1"},
    ]));
    let patched = maps.patch("a", &params(), &patch).await.expect("patched");
    assert_eq!(patched.data.expect("data")["key"], "new");
    // The test fails now, and with it everything.
    let status = refusal(maps.patch("a", &params(), &patch).await);
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    assert_eq!(
        status.message,
        "the server rejected our request due to an error in our request"
    );
}

#[tokio::test(start_paused = true)]
async fn patches_obey_the_rules_of_updates() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    maps.create(&post(), &config_map("a"))
        .await
        .expect("created");
    let rename = json!({"metadata": {"name": "b"}});
    let status = refusal(maps.patch("a", &params(), &Patch::Merge(&rename)).await);
    assert_eq!(status.code, 400);
    let label = json!({"metadata": {"labels": {"not a key": "x"}}});
    let status = refusal(maps.patch("a", &params(), &Patch::Merge(&label)).await);
    assert_eq!(causes(&status)[0].0, "metadata.labels");
    let status = refusal(maps.patch("absent", &params(), &Patch::Merge(&label)).await);
    assert_eq!(status.code, 404);

    // A patch of the object leaves the status, one of the status leaves the rest.
    let pods: Api<Pod> = Api::default_namespaced(client);
    pods.create(&post(), &pod("p")).await.expect("created");
    let both = json!({"spec": {"nodeName": "node"}, "status": {"phase": "Running"}});
    let patched = pods
        .patch("p", &params(), &Patch::Merge(&both))
        .await
        .expect("patched");
    assert_eq!(
        patched.spec.expect("spec").node_name.as_deref(),
        Some("node")
    );
    assert_eq!(
        patched.status.expect("status").phase.as_deref(),
        Some("Pending")
    );
    let both = json!({"spec": {"nodeName": "other"}, "status": {"phase": "Running"}});
    let patched = pods
        .patch_status("p", &params(), &Patch::Merge(&both))
        .await
        .expect("patched");
    assert_eq!(
        patched.spec.expect("spec").node_name.as_deref(),
        Some("node")
    );
    assert_eq!(
        patched.status.expect("status").phase.as_deref(),
        Some("Running")
    );
}

#[tokio::test(start_paused = true)]
async fn strategic_merge_and_apply_are_unsupported() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    maps.create(&post(), &config_map("a"))
        .await
        .expect("created");
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    for patch in [Patch::Strategic(&body), Patch::Apply(&body)] {
        let status = refusal(maps.patch("a", &PatchParams::apply("test"), &patch).await);
        assert_eq!(
            (status.code, status.reason.as_str()),
            (415, "UnsupportedMediaType")
        );
        assert_eq!(
            status.message,
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn malformed_and_oversized_patches_are_refused() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    maps.create(&post(), &config_map("a"))
        .await
        .expect("created");
    let send = |kind: &str, body: String| {
        let request = http::Request::patch("/api/v1/namespaces/default/configmaps/a")
            .header("content-type", kind)
            .body(body.into_bytes())
            .expect("a request");
        let client = client.clone();
        async move { refusal(client.request::<Value>(request).await).code }
    };
    assert_eq!(send("application/merge-patch+json", "{".into()).await, 400);
    assert_eq!(send("application/merge-patch+json", "7".into()).await, 400);
    assert_eq!(send("application/json-patch+json", "{}".into()).await, 400);
    assert_eq!(
        send("application/merge-patch+json", r#"{"metadata":7}"#.into()).await,
        422
    );
    let many = vec![json!({"op": "add", "path": "/data/x", "value": "1"}); 10_001];
    assert_eq!(
        send("application/json-patch+json", json!(many).to_string()).await,
        413
    );
}
