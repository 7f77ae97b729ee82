//! Tokens at the door: what [`ApiServer::authenticate`] takes, and for how long.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

mod common;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use podcert_apiserver::{ApiServer, User};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::common::builder;

/// POSTs to the server as an administrator.
async fn post(api: &ApiServer, path: &str, body: &Value) -> Value {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let answer = api.as_user(User::admin()).oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED, "{answer:?}");
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

/// A token of the account `default`.
async fn token(api: &ApiServer, spec: &Value) -> String {
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let answer = post(api, path, &json!({ "spec": spec })).await;
    answer["status"]["token"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_good_until_a_minute_after_its_end() {
    let api = builder().build();
    let token = token(&api, &json!({"expirationSeconds": 600})).await;
    let user = api.authenticate(&token).unwrap();
    assert_eq!(user.name, "system:serviceaccount:default:default");
    assert_eq!(
        user.groups,
        [
            "system:serviceaccounts",
            "system:serviceaccounts:default",
            "system:authenticated"
        ]
    );
    assert!(user.uid.is_some());
    tokio::time::sleep(Duration::from_secs(660)).await;
    assert!(api.authenticate(&token).is_some());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(api.authenticate(&token).is_none());
}

#[tokio::test]
async fn a_token_for_others_or_of_another_server_opens_nothing() {
    let api = builder().build();
    let for_vault = token(&api, &json!({"audiences": ["vault"]})).await;
    assert!(api.authenticate(&for_vault).is_none());
    let other = builder().build();
    let own = token(&other, &json!({})).await;
    assert!(other.authenticate(&own).is_some());
    assert!(api.authenticate(&own).is_none());
    for nonsense in ["", ".", "..", "a.b.c", "Bearer x"] {
        assert!(api.authenticate(nonsense).is_none(), "{nonsense:?}");
    }
}

#[tokio::test]
async fn the_issuer_is_the_one_that_was_named() {
    let api = builder()
        .service_account_issuer("https://issuer.example")
        .build();
    let token = token(&api, &json!({"audiences": ["https://issuer.example"]})).await;
    assert!(api.authenticate(&token).is_some());
    let request = Request::get("/.well-known/openid-configuration")
        .body(Full::new(Bytes::new()))
        .unwrap();
    let answer = api.as_user(User::admin()).oneshot(request).await.unwrap();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let about: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(about["issuer"], "https://issuer.example");
    assert_eq!(about["jwks_uri"], "https://issuer.example/openid/v1/jwks");
}
