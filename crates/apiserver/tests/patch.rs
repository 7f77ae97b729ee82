//! Server-side apply where it knowingly differs from the real server's.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic in a test is its report"
)]

mod common;

use common::*;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn applying_has_no_owners_so_nothing_conflicts_and_nothing_goes() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let body = |data| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    let apply = async |manager, data| {
        let params = PatchParams::apply(manager);
        let applied = maps.patch("a", &params, &Patch::Apply(body(data))).await;
        applied.expect("applied").data.expect("data")
    };
    apply("one", json!({"a": "1", "b": "1"})).await;
    let data = apply("two", json!({"a": "2"})).await;
    assert_eq!((&*data["a"], &*data["b"]), ("2", "1"));
    let found = maps.get("a").await.expect("found");
    assert_eq!(found.metadata.managed_fields, None);
}
