//! The null signer: what a signer cannot avoid, and nothing more.
//!
//! It watches requests for one signer with the selector that podcert uses, and answers each with
//! the one status that was prepared for it: no key is read, no pod is looked up, nothing is signed,
//! nothing is logged. Its process has one thread and its requests pass podcert's own client stack,
//! as many at a time. So what podcert takes longer is what issuing takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::{Request, StatusCode, header};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::WatchEvent;
use kube::{Client, Config};
use podcert_runtime::SystemClock;
use podcert_runtime::api::{Connection, Options};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Answer every request for a signer with one prepared status
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A kubeconfig with a signer's rights
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: PathBuf,
    /// The signer's name
    #[arg(long, value_name = "DOMAIN/PATH")]
    pub(crate) signer: String,
    /// The API version of requests, v1 or v1beta1
    #[arg(long, value_name = "VERSION")]
    pub(crate) api: String,
    /// The status, JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) status: PathBuf,
    /// How many requests are answered at the same time
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: usize,
}

/// Answers until it is killed.
///
/// # Errors
/// When no watch begins or an answer is refused: then what it would measure is void.
pub(crate) async fn run(args: Args) -> Result<()> {
    let file = Kubeconfig::read_from(&args.kubeconfig)?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    let connection = Connection::from_config(&config, Options::new(Arc::new(SystemClock)))?;
    let client = connection.client();
    let status = prepared(&args.status)?;

    // From now on, with what there is already.
    let path = format!(
        "/apis/certificates.k8s.io/{}/podcertificaterequests?watch=true&allowWatchBookmarks=true\
         &timeoutSeconds=3600&fieldSelector=spec.signerName%3D{}",
        args.api,
        args.signer.replace('/', "%2F"),
    );
    let mut answers = FuturesUnordered::new();
    loop {
        let events = client
            .request_events::<Asked>(Request::get(&path).body(Vec::new())?)
            .await
            .context("the watch does not start")?;
        let mut events = std::pin::pin!(events);
        loop {
            tokio::select! {
                biased;
                Some(answered) = answers.next(), if !answers.is_empty() => answered?,
                event = events.next(), if answers.len() < args.concurrency => match event {
                    Some(Ok(WatchEvent::Added(asked) | WatchEvent::Modified(asked)))
                        if asked.status.conditions.is_empty() =>
                    {
                        answers.push(answer(client, &args.api, asked.metadata, &status));
                    }
                    Some(Ok(WatchEvent::Error(status))) => {
                        bail!("the watch broke: {}", status.message)
                    }
                    Some(Ok(_)) => {}
                    // A server may end a watch at any time. The next begins with what there is.
                    Some(Err(_)) | None => break,
                },
            }
        }
    }
}

/// A request, as little of it as can be answered.
#[derive(Clone, Debug, Deserialize)]
struct Asked {
    metadata: Name,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Name {
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

/// Its content does not matter.
#[derive(Clone, Debug, Deserialize)]
struct Condition {}

async fn answer(client: &Client, api: &str, metadata: Name, status: &str) -> Result<()> {
    let Name {
        namespace, name, ..
    } = &metadata;
    let path = format!(
        "/apis/certificates.k8s.io/{api}/namespaces/{namespace}/podcertificaterequests/{name}/status"
    );
    let names = serde_json::to_string(&metadata)?;
    let body = format!(
        r#"{{"apiVersion":"certificates.k8s.io/{api}","kind":"PodCertificateRequest","metadata":{names},"status":{status}}}"#
    );
    let request = Request::put(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.into_bytes()))?;
    let response = client.send(request).await?;
    let code = response.status();
    let body = response.into_body().collect_bytes().await?;
    // Seen twice, by two watches, and answered already.
    if !code.is_success() && code != StatusCode::CONFLICT {
        bail!(
            "the answer to {name} was refused: {code}: {}",
            String::from_utf8_lossy(&body)
        );
    }
    Ok(())
}

/// The prepared status in as few bytes as podcert writes.
fn prepared(path: &Path) -> Result<String> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let status: Value = serde_json::from_slice(&text).context("the prepared status is no JSON")?;
    Ok(status.to_string())
}
