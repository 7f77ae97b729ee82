//! Requests and answers as they go over the wire: codes and bodies, which a fault may make anything.

use anyhow::{Result, ensure};
use http::{Method, Request, StatusCode, header};
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde_json::Value;

/// The requests in the answer to a list.
pub(super) fn listed(code: StatusCode, body: &str) -> Result<List> {
    ensure!(
        code.is_success(),
        "the requests are not listed: {code}: {body}"
    );
    Ok(serde_json::from_str(body)?)
}

/// Sends a request of any kind; its answer's code and body.
pub(super) async fn send(
    client: &Client,
    method: Method,
    path: &str,
    media: &str,
    body: Option<Value>,
) -> Result<(StatusCode, String)> {
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, format!("application/{media}"))
        .body(Body::from(body.into_bytes()))?;
    let response = client.send(request).await?;
    let code = response.status();
    let body = response.into_body().collect_bytes().await?;
    Ok((code, String::from_utf8_lossy(&body).into_owned()))
}

/// A list of requests.
#[derive(Debug, Deserialize)]
pub(super) struct List {
    pub(super) metadata: ListMetadata,
    pub(super) items: Vec<Asked>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListMetadata {
    pub(super) resource_version: String,
}

/// As much of a request as is looked at.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Asked {
    pub(super) metadata: Name,
    #[serde(default)]
    pub(super) status: Status,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Name {
    pub(super) name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) conditions: Vec<Condition>,
    pub(super) certificate_chain: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) type_: String,
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) message: String,
}
