//! What the tests of this crate share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Client;
use kube::api::PostParams;
use kube::core::Status;
use podcert_apiserver::{ApiServer, Builder, User};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// When the tests' worlds begin.
pub const START: &str = "2026-11-21T12:00:00Z";

pub fn start() -> Timestamp {
    START.parse().expect("a date")
}

/// A builder with a clock that follows tokio's, and a seed.
pub fn builder() -> Builder {
    let begin = tokio::time::Instant::now();
    ApiServer::builder().seed(1).clock(Arc::new(move || {
        start() + (tokio::time::Instant::now() - begin)
    }))
}

pub fn world() -> (ApiServer, Client) {
    let api = builder().build();
    let client = client(&api);
    (api, client)
}

pub fn client(api: &ApiServer) -> Client {
    Client::new(api.as_user(User::admin()), "default")
}

pub fn client_of(api: &ApiServer, user: User) -> Client {
    Client::new(api.as_user(user), "default")
}

/// Reads a typed object from JSON.
pub fn from<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("the fixture fits its type")
}

pub fn config_map(name: &str) -> ConfigMap {
    from(serde_json::json!({"metadata": {"name": name}, "data": {"key": "value"}}))
}

pub fn pod(name: &str) -> Pod {
    from(serde_json::json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": "none"}]},
    }))
}

pub fn post() -> PostParams {
    PostParams::default()
}

/// The status of a refusal.
pub fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> Status {
    match result {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Field and message of each cause of a `422`.
pub fn causes(status: &Status) -> Vec<(String, String)> {
    assert_eq!(
        (status.code, status.reason.as_str()),
        (422, "Invalid"),
        "{status:?}"
    );
    status
        .details
        .as_ref()
        .expect("an Invalid has details")
        .causes
        .iter()
        .map(|cause| (cause.field.clone(), cause.message.clone()))
        .collect()
}
