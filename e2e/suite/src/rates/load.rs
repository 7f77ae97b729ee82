//! What is asked of both servers alike: writes, and watches of them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use futures::future::{join_all, try_join_all};
use http::{Method, Request, header};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::faults::connect;

/// A namespace on a server, to be written to.
pub(super) struct Load {
    /// Connections of their own, for writers and watchers.
    clients: Vec<Client>,
    /// The path of the namespace's ConfigMaps.
    maps: String,
    namespace: String,
}

/// Counts while it is open.
#[derive(Debug, Default)]
struct Window {
    open: AtomicBool,
    over: AtomicBool,
    counted: AtomicU64,
}

impl Window {
    fn count(&self, events: u64) {
        if self.open.load(Ordering::Relaxed) {
            self.counted.fetch_add(events, Ordering::Relaxed);
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Warms up, counts, and answers with what was counted in a second.
    async fn rate(&self) -> f64 {
        sleep(WARM_UP).await;
        let began = Instant::now();
        self.open.store(true, Ordering::Relaxed);
        sleep(MEASURED).await;
        self.open.store(false, Ordering::Relaxed);
        let took = began.elapsed();
        self.over.store(true, Ordering::Relaxed);
        self.counted.load(Ordering::Relaxed) as f64 / took.as_secs_f64()
    }
}

impl Load {
    /// Makes the namespace on the server of an administrator's kubeconfig.
    pub(super) async fn open(kubeconfig: &Path, namespace: &str) -> Result<Self> {
        let user = podcert_cases::User::admin();
        let clients = (0..CLIENTS).map(|_| connect(kubeconfig, &user));
        let load = Self {
            clients: try_join_all(clients).await?,
            maps: format!("/api/v1/namespaces/{namespace}/configmaps"),
            namespace: namespace.to_owned(),
        };
        let object = json!({"metadata": {"name": namespace}});
        send(load.client(0), Method::POST, "/api/v1/namespaces", &object).await?;
        Ok(load)
    }

    /// Takes the namespace away again.
    pub(super) async fn close(self) -> Result<()> {
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        send(self.client(0), Method::DELETE, &path, &Value::Null).await
    }

    fn client(&self, number: usize) -> &Client {
        // There is one at least.
        &self.clients[number % self.clients.len()]
    }

    /// Writes in a second: objects are created, replaced and deleted.
    pub(super) async fn writes(&self) -> Result<f64> {
        let window = Arc::new(Window::default());
        let mut writers = JoinSet::new();
        for slot in 0..WRITERS {
            let (client, maps) = (self.client(slot).clone(), self.maps.clone());
            let window = Arc::clone(&window);
            writers.spawn(async move {
                let one = format!("{maps}/writer-{slot}");
                let mut object = config_map(&format!("writer-{slot}"));
                while !window.is_over() {
                    send(&client, Method::POST, &maps, &object).await?;
                    window.count(1);
                    object["data"]["color"] = "green".into();
                    send(&client, Method::PUT, &one, &object).await?;
                    window.count(1);
                    send(&client, Method::DELETE, &one, &Value::Null).await?;
                    window.count(1);
                }
                anyhow::Ok(())
            });
        }
        let rate = window.rate().await;
        join(writers).await?;
        Ok(rate)
    }

    /// Events in a second that this many watchers get, all together, while objects are replaced as
    /// fast as they may be.
    pub(super) async fn events(&self, watchers: usize) -> Result<f64> {
        let window = Arc::new(Window::default());
        let mut tasks = JoinSet::new();
        let opened = (0..watchers).map(|number| self.watch(number));
        for (watch, number) in join_all(opened).await.into_iter().zip(0..) {
            let mut watch = watch?;
            let (client, maps) = (self.client(number).clone(), self.maps.clone());
            let window = Arc::clone(&window);
            tasks.spawn(async move {
                while !window.is_over() {
                    match timeout(TICK, watch.next()).await {
                        Err(_) => {}
                        Ok(Some(Ok(bytes))) => {
                            let events = bytes.iter().filter(|byte| **byte == b'\n').count();
                            window.count(events as u64);
                        }
                        // Too slow for the server: it goes on from now.
                        Ok(_) => watch = open(&client, &maps).await?,
                    }
                }
                anyhow::Ok(())
            });
        }
        for slot in 0..REPLACERS {
            let (client, maps) = (self.client(slot).clone(), self.maps.clone());
            let window = Arc::clone(&window);
            tasks.spawn(async move {
                let one = format!("{maps}/watched-{slot}");
                let mut object = config_map(&format!("watched-{slot}"));
                send(&client, Method::POST, &maps, &object).await?;
                let mut number = 0_u64;
                while !window.is_over() {
                    number += 1;
                    object["data"]["number"] = number.to_string().into();
                    send(&client, Method::PUT, &one, &object).await?;
                }
                send(&client, Method::DELETE, &one, &Value::Null).await
            });
        }
        let rate = window.rate().await;
        join(tasks).await?;
        Ok(rate)
    }

    async fn watch(&self, number: usize) -> Result<Stream> {
        open(self.client(number), &self.maps).await
    }
}

type Stream = futures::stream::BoxStream<'static, Result<bytes::Bytes>>;

/// Opens a watch that begins with what there is.
async fn open(client: &Client, maps: &str) -> Result<Stream> {
    let path = format!("{maps}?watch=true&timeoutSeconds=600");
    let response = client.send(Request::get(path).body(Body::empty())?).await?;
    if !response.status().is_success() {
        bail!("a watch is answered {}", response.status());
    }
    let stream = http_body_util::BodyExt::into_data_stream(response.into_body());
    Ok(stream.map(|piece| Ok(piece?)).boxed())
}

async fn join(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, all)
        .await
        .context("the load does not end")?
}

async fn send(client: &Client, method: Method, path: &str, body: &Value) -> Result<()> {
    let bytes = match body {
        Value::Null => Vec::new(),
        body => body.to_string().into_bytes(),
    };
    let request = Request::builder()
        .method(&method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(bytes))?;
    let response = client.send(request).await?;
    let code = response.status();
    let answer = response.into_body().collect_bytes().await?;
    if !code.is_success() {
        let said = String::from_utf8_lossy(&answer);
        bail!("{method} {path}: {code}: {said}");
    }
    Ok(())
}

fn config_map(name: &str) -> Value {
    json!({
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": {"app": "rates"}},
        "data": {"color": "blue", "text": "x".repeat(200)},
    })
}

const CLIENTS: usize = 8;
const WRITERS: usize = 32;
const REPLACERS: usize = 8;
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);
