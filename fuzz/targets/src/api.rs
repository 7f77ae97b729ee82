//! The embedded API server: paths, queries, selectors, bodies and patches of any shape.
//!
//! An input is a request in lines: method, path with query, media type; the rest is the body. Each
//! is sent to a server of its own that holds an object to meddle with.

use std::cell::LazyCell;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use podcert_apiserver::{ApiServer, ApiService, User};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;

/// A request, and a look at the object after it.
///
/// # Panics
/// When the server fails, says what is no JSON, or loses the object's name.
pub fn api(data: &[u8]) {
    let mut lines = data.splitn(4, |byte| *byte == b'\n');
    let mut line = || std::str::from_utf8(lines.next().unwrap_or_default());
    let (Ok(method), Ok(path), Ok(media)) = (line(), line(), line()) else {
        return;
    };
    // A watch has no end.
    if path.contains("watch") {
        return;
    }
    let body = lines.next().unwrap_or_default();
    let Ok(request) = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, media)
        .body(Full::new(Bytes::copy_from_slice(body)))
    else {
        return;
    };
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let server = ApiServer::builder().seed(1).build();
            let service = server.as_user(User::admin());
            let made = Request::post(MAPS)
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::from(MAP))
                .expect("invariant: a request");
            let (status, _) = exchange(&service, made).await;
            assert_eq!(status, StatusCode::CREATED);

            let (status, answer) = exchange(&service, request).await;
            assert!(!is_defect(status, &answer), "{status}: {answer}");
            let read = Request::get(format!("{MAPS}/a"))
                .body(Full::default())
                .expect("invariant: a request");
            let (status, object) = exchange(&service, read).await;
            match status {
                StatusCode::OK => assert_eq!(object.pointer("/metadata/name"), Some(&"a".into())),
                status => assert_eq!(status, StatusCode::NOT_FOUND),
            }
        });
    });
}

/// Whether the server failed. It answers 500 where upstream does for what is the client's mistake: to a
/// resource version that is no number, or that a new object has.
pub(crate) fn is_defect(status: StatusCode, answer: &Value) -> bool {
    let message = answer.get("message").and_then(Value::as_str).unwrap_or("");
    let upstream = ["strconv.Parse", "resourceVersion should not be set"];
    status.is_server_error() && !upstream.iter().any(|words| message.contains(words))
}

pub(crate) async fn exchange(
    service: &ApiService,
    request: Request<Full<Bytes>>,
) -> (StatusCode, Value) {
    let response = service
        .clone()
        .oneshot(request)
        .await
        .expect("invariant: infallible");
    let (status, body) = (response.status(), response.into_body());
    let body = body.collect().await.expect("a body").to_bytes();
    let answer = serde_json::from_slice(&body).unwrap_or_else(|_| {
        // A path of no API is answered in words.
        assert!(status.is_client_error(), "{status}: {body:?}");
        Value::Null
    });
    (status, answer)
}

thread_local! {
    pub(crate) static RUNTIME: LazyCell<Runtime> = LazyCell::new(|| {
        Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime")
    });
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MAP: &str = r#"{"apiVersion":"v1","kind":"ConfigMap",
    "metadata":{"name":"a","labels":{"app":"web"}},"data":{"k":"v"}}"#;
