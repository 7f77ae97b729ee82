//! What the embedded API server reads beside JSON: protobuf bodies, questions for logs, tokens.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::{Request, StatusCode, header};
use http_body_util::Full;
use podcert_apiserver::{ApiServer, PodLogQuery, PodLogSource, User};
use serde_json::json;

use crate::api::{RUNTIME, exchange, is_defect};

/// A body in Kubernetes' protobuf, for any of three resources.
///
/// # Panics
/// When the server fails.
pub fn protobuf(data: &[u8]) {
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let server = ApiServer::builder().seed(1).build();
            let service = server.as_user(User::admin());
            for path in [
                "/api/v1/namespaces/default/pods",
                "/apis/apps/v1/namespaces/default/deployments",
                "/api/v1/namespaces/default/serviceaccounts/default/token",
            ] {
                let request = Request::post(path)
                    .header(header::CONTENT_TYPE, "application/vnd.kubernetes.protobuf")
                    .body(Full::new(Bytes::copy_from_slice(data)))
                    .expect("invariant: a request");
                let (status, answer) = exchange(&service, request).await;
                assert!(!is_defect(status, &answer), "{status}: {answer}");
            }
        });
    });
}

/// The query of a question for the log of a pod.
///
/// # Panics
/// When the server fails, or asks for what nobody may.
pub fn logs(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else {
        return;
    };
    let path = format!("/api/v1/namespaces/default/pods/p/log?{query}");
    let Ok(request) = Request::get(path).body(Full::default()) else {
        return;
    };
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let server = ApiServer::builder()
                .seed(1)
                .pod_logs(Arc::new(Source))
                .build();
            let service = server.as_user(User::admin());
            let pod = json!({
                "metadata": {"name": "p"},
                "spec": {"nodeName": "n", "containers": [{"name": "main", "image": "i"}]},
            });
            let made = Request::post("/api/v1/namespaces/default/pods")
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::from(pod.to_string()))
                .expect("invariant: a request");
            let (status, answer) = exchange(&service, made).await;
            assert_eq!(status, StatusCode::CREATED, "{answer}");
            let (status, answer) = exchange(&service, request).await;
            assert!(!is_defect(status, &answer), "{status}: {answer}");
        });
    });
}

/// Answers with JSON, as [`exchange`] expects of a success.
#[derive(Debug)]
struct Source;

impl PodLogSource for Source {
    fn open(
        &self,
        query: PodLogQuery,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Bytes>, String>> {
        assert_eq!(query.container, "main");
        assert_ne!(query.limit_bytes, Some(0));
        Box::pin(std::future::ready(Ok(stream::iter([Bytes::from_static(
            b"{}",
        )])
        .boxed())))
    }
}

/// A bearer token, as it comes, and as claims or as a signature in a token that the server made. None but
/// that one may open it.
///
/// # Panics
/// When another opens.
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    SIGNED.with(|(server, token)| {
        let parts: Vec<&str> = token.splitn(3, '.').collect();
        let &[header, claims, signature] = parts.as_slice() else {
            unreachable!("invariant: {token} has three parts");
        };
        for forged in [
            text.to_owned(),
            format!("{header}.{text}.{signature}"),
            format!("{header}.{claims}.{text}"),
        ] {
            if forged != *token {
                assert_eq!(server.authenticate(&forged), None, "{forged}");
            }
        }
    });
}

thread_local! {
    /// A server that stays, since its key is new with each, and a token of it that opens it.
    static SIGNED: (ApiServer, String) = RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let server = ApiServer::builder()
                .clock(Arc::new(|| jiff::Timestamp::UNIX_EPOCH))
                .build();
            let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
            let request = Request::post(path)
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::from("{}"))
                .expect("invariant: a request");
            let (_, answer) = exchange(&server.as_user(User::admin()), request).await;
            let token = answer.pointer("/status/token").and_then(|it| it.as_str());
            let token = token.expect("invariant: the account is there").to_owned();
            assert!(server.authenticate(&token).is_some(), "{token}");
            (server, token)
        })
    });
}
