//! Patches that only real servers take.
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
        assert_eq!(status.message, "415: Unsupported Media Type");
    }
}
