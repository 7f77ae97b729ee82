//! What is added to pods when they are admitted.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a test reports"
)]

mod common;

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::common::{builder, client, from, post};

async fn create(api: &Api<Pod>, spec: Value) -> Value {
    let pod: Pod = from(json!({"metadata": {"generateName": "web-"}, "spec": spec}));
    serde_json::to_value(api.create(&post(), &pod).await.unwrap()).unwrap()
}

fn two_containers() -> Value {
    json!({
        "initContainers": [{"name": "first", "image": "none"}],
        "containers": [
            {"name": "main", "image": "none", "volumeMounts": [{"name": "own", "mountPath": "/own"}]},
            {"name": "apart", "image": "none", "volumeMounts": [
                {"name": "own", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
            ]},
        ],
        "volumes": [{"name": "own", "emptyDir": {}}],
    })
}

#[tokio::test(start_paused = true)]
async fn a_pod_gets_its_accounts_token_where_nothing_else_is() {
    let server = builder().token_volumes().build();
    let pods: Api<Pod> = Api::default_namespaced(client(&server));
    let pod = create(&pods, two_containers()).await;
    let volume = &pod["spec"]["volumes"][1];
    let name = volume["name"].as_str().unwrap();
    assert!(
        name.starts_with("kube-api-access-") && name.len() == 21,
        "{name}"
    );
    assert_eq!(
        volume["projected"],
        json!({"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {
                "apiVersion": "v1", "fieldPath": "metadata.namespace",
            }}]}},
        ]})
    );
    let mount = json!({
        "name": name, "readOnly": true,
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
    });
    let spec = &pod["spec"];
    assert_eq!(spec["initContainers"][0]["volumeMounts"], json!([mount]));
    assert_eq!(spec["containers"][0]["volumeMounts"][1], mount);
    assert_eq!(
        spec["containers"][1]["volumeMounts"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn pod_and_account_may_decline() {
    let server = builder().token_volumes().build();
    let pods: Api<Pod> = Api::default_namespaced(client(&server));
    let volumes = |pod: &Value| pod["spec"]["volumes"].as_array().unwrap().len();
    let declining = |with: Option<bool>| {
        let mut spec = two_containers();
        spec["automountServiceAccountToken"] = json!(with);
        spec
    };
    assert_eq!(volumes(&create(&pods, declining(Some(false))).await), 1);
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client(&server));
    let patch = Patch::Merge(json!({"automountServiceAccountToken": false}));
    accounts
        .patch("default", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(volumes(&create(&pods, declining(None)).await), 1);
    assert_eq!(volumes(&create(&pods, declining(Some(true))).await), 2);

    let plain = builder().build();
    let pods: Api<Pod> = Api::default_namespaced(client(&plain));
    assert_eq!(volumes(&create(&pods, declining(Some(true))).await), 1);
}
