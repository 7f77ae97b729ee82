//! podcert's own API server behind a port, for kubectl.
//!
//! Plain HTTP on the loopback interface, every caller an administrator: the sandbox's real door,
//! with TLS and client certificates, has tests of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use podcert_apiserver::{ApiServer, PodLogQuery, PodLogSource, User};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// A server that ends when it is dropped.
#[derive(Debug)]
pub(super) struct Embedded {
    address: SocketAddr,
    serving: AbortHandle,
}

impl Embedded {
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let api = ApiServer::builder()
            .rbac()
            .clock(Arc::new(crate::harness::now))
            .pod_logs(Arc::new(Written))
            .build();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(api.as_user(User::admin()));
                tokio::spawn(async move {
                    // A connection that breaks is kubectl's to complain about.
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(Self {
            address,
            serving: serving.abort_handle(),
        })
    }

    /// Writes a kubeconfig that leads here.
    pub(super) fn write_kubeconfig(&self, path: &Path) -> Result<()> {
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "embedded",
            "clusters": [{
                "name": "embedded",
                "cluster": {"server": format!("http://{}", self.address)},
            }],
            "contexts": [{
                "name": "embedded",
                "context": {"cluster": "embedded", "user": "nobody"},
            }],
            "users": [{"name": "nobody", "user": {}}],
        });
        Ok(std::fs::write(path, config.to_string())?)
    }
}

/// Plays the kubelet of pods that have all written the same and ended.
#[derive(Debug)]
struct Written;

impl PodLogSource for Written {
    fn open(
        &self,
        query: PodLogQuery,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Bytes>, String>> {
        let opened = if query.previous {
            Err(format!(
                "previous terminated container {:?} in pod {:?} not found",
                query.container, query.pod
            ))
        } else {
            let lines = ["begun\n", "working\n", "done\n"];
            let wanted = query
                .tail_lines
                .and_then(|lines| usize::try_from(lines).ok());
            let skipped = wanted.map_or(0, |wanted| lines.len().saturating_sub(wanted));
            let lines = lines.into_iter().skip(skipped).map(Bytes::from);
            Ok(futures::stream::iter(lines).boxed())
        };
        Box::pin(std::future::ready(opened))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
