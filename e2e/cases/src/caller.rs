//! Requests as one user, and what came back: raw enough to compare code, reason and fields.

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use crate::{Release, Target};

/// Someone who calls the server.
#[derive(Clone)]
pub struct Caller {
    client: Client,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Caller")
    }
}

/// What the server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status code.
    pub code: u16,
    /// The body as JSON; a string when it is not JSON.
    pub body: Value,
    request: String,
}

impl Caller {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, "application/json").await
    }

    /// GET that accepts `media`.
    pub async fn get_as(&self, path: &str, media: &str) -> Answer {
        self.exchange(Method::GET, path, None, "", media).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(
            Method::POST,
            path,
            Some(body.to_string()),
            "application/json",
        )
        .await
    }

    /// PUT of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(
            Method::PUT,
            path,
            Some(body.to_string()),
            "application/json",
        )
        .await
    }

    /// PUT of JSON that accepts `media`.
    pub async fn put_as(&self, path: &str, body: &Value, media: &str) -> Answer {
        let body = Some(body.to_string());
        self.exchange(Method::PUT, path, body, "application/json", media)
            .await
    }

    /// PATCH; `kind` is `merge`, `json`, `strategic-merge` or `apply`.
    pub async fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        let media = match kind {
            "json" => "application/json-patch+json".to_owned(),
            "apply" => "application/apply-patch+yaml".to_owned(),
            kind => format!("application/{kind}-patch+json"),
        };
        self.send(Method::PATCH, path, Some(body.to_string()), &media)
            .await
    }

    /// DELETE without options.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None, "application/json")
            .await
    }

    /// DELETE with these options.
    pub async fn delete_with(&self, path: &str, options: &Value) -> Answer {
        let body = Some(options.to_string());
        self.send(Method::DELETE, path, body, "application/json")
            .await
    }

    /// Any request.
    ///
    /// # Panics
    /// When no answer came.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        media: &str,
    ) -> Answer {
        self.exchange(method, path, body, media, "application/json")
            .await
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        media: &str,
        accept: &str,
    ) -> Answer {
        let line = format!("{method} {path}");
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", media)
            .header("accept", accept)
            .body(Body::from(body.unwrap_or_default().into_bytes()))
            .expect("a path of ours");
        let response = self
            .client
            .send(request)
            .await
            .unwrap_or_else(|error| panic!("{line}: {error:?}"));
        let code = response.status().as_u16();
        let body = response
            .into_body()
            .collect()
            .await
            .unwrap_or_else(|error| panic!("{line}: {error:?}"))
            .to_bytes();
        let body = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
        Answer {
            code,
            body,
            request: line,
        }
    }

    /// Opens a watch; `path` has the whole query but `watch=true`.
    ///
    /// # Panics
    /// When no answer came.
    pub async fn watch(&self, path: &str) -> Result<Changes, Answer> {
        self.watch_as(path, "application/json").await
    }

    /// As [`Caller::watch`], of objects as `media` says.
    ///
    /// # Panics
    /// When no answer came.
    pub async fn watch_as(&self, path: &str, media: &str) -> Result<Changes, Answer> {
        let mark = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{mark}watch=true");
        let request = Request::get(&path)
            .header("accept", media)
            .body(Body::empty())
            .expect("a path of ours");
        let response = self
            .client
            .send(request)
            .await
            .unwrap_or_else(|error| panic!("GET {path}: {error:?}"));
        let code = response.status().as_u16();
        if code == 200 {
            return Ok(Changes {
                chunks: response
                    .into_body()
                    .into_data_stream()
                    .map(|chunk| chunk.expect("the watch goes on"))
                    .boxed(),
                rest: Vec::new(),
            });
        }
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        Err(Answer {
            code,
            body: serde_json::from_slice(&body)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned())),
            request: format!("GET {path}"),
        })
    }
}

/// An open watch.
pub struct Changes {
    chunks: BoxStream<'static, Bytes>,
    rest: Vec<u8>,
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Changes")
    }
}

impl Changes {
    /// The next event as `(type, object)`; nothing when the server ended the watch.
    ///
    /// # Panics
    /// When nothing comes for 30 seconds.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        let silence = std::time::Duration::from_secs(30);
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let mut event: Value = serde_json::from_slice(&line).expect("an event is JSON");
                let kind = event["type"].as_str().expect("an event has a type").into();
                return Some((kind, event["object"].take()));
            }
            let chunk = tokio::time::timeout(silence, self.chunks.next())
                .await
                .expect("the watch is silent for 30 s");
            self.rest.extend_from_slice(&chunk?);
        }
    }
}

impl Answer {
    /// The object of a `200`.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.code, 200, "{}: {}", self.request, self.body);
        self.body
    }

    /// The object of a `201`.
    #[track_caller]
    pub fn created(self) -> Value {
        assert_eq!(self.code, 201, "{}: {}", self.request, self.body);
        self.body
    }

    /// The message of a refusal with this code and reason.
    #[track_caller]
    pub fn refused(&self, code: u16, reason: &str) -> &str {
        assert_eq!(
            (self.code, self.body["reason"].as_str().unwrap_or_default()),
            (code, reason),
            "{}: {}",
            self.request,
            self.body
        );
        self.body["message"].as_str().unwrap_or_default()
    }

    /// As [`Answer::invalid`] of an update: before 1.37 each rule of the metadata was applied, and
    /// told, more than once.
    #[track_caller]
    pub fn invalid_update(mut self, target: Target, causes: &[(&str, &str)]) {
        if target.release < Release::V1_37
            && let Some(found) = self.body["details"]["causes"].as_array_mut()
        {
            let mut seen = Vec::new();
            found.retain(|cause| {
                let new = !seen.contains(cause);
                seen.push(cause.clone());
                new
            });
        }
        self.invalid(causes);
    }

    /// The fields of a `422`, one for each cause, in order.
    #[track_caller]
    pub(crate) fn invalid_fields(&self) -> Vec<&str> {
        self.refused(422, "Invalid");
        self.body["details"]["causes"]
            .as_array()
            .expect("an Invalid has causes")
            .iter()
            .map(|cause| cause["field"].as_str().expect("a field"))
            .collect()
    }

    /// A `422` with exactly these causes, each a field and a message, in any order.
    #[track_caller]
    pub fn invalid(&self, causes: &[(&str, &str)]) {
        self.refused(422, "Invalid");
        let mut found: Vec<(&str, &str)> = self.body["details"]["causes"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|cause| {
                (
                    cause["field"].as_str().unwrap_or_default(),
                    cause["message"].as_str().unwrap_or_default(),
                )
            })
            .collect();
        let mut expected = causes.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{}: {}", self.request, self.body);
    }
}
