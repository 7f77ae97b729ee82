//! Many requests at once, made and followed through whatever happens to the server.
//!
//! Each request has a name of its own, so a creation whose answer got lost is simply tried again.
//! What is answered is read from lists and watches, begun anew whenever they break, and held
//! against the one rule of this folder: every request that still exists is issued, once, for its
//! own key, and none is ever denied or failed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use http::{Method, Request, StatusCode, header};
use kube::Client;
use kube::client::Body;
use kube::core::WatchEvent;
use podcert_pki::{Chain, PublicKey};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

/// What to make.
#[derive(Clone)]
pub(crate) struct Burst {
    /// Who makes requests: a node.
    pub(crate) node: Client,
    /// Who looks on, and who meddles.
    pub(crate) admin: Client,
    /// The path of the namespace's requests.
    pub(crate) path: String,
    /// Requests, ready but for their names, made by turns.
    pub(crate) requests: Vec<Value>,
    /// The key it is for.
    pub(crate) key: PublicKey,
    /// How many.
    pub(crate) count: usize,
    /// What somebody does to each of them right after it was made.
    pub(crate) meddling: Meddling,
}

/// What somebody does to requests while they are answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Meddling {
    /// Nothing.
    None,
    /// Deletes every other one.
    Delete,
    /// Labels each, again and again.
    Label,
}

/// A burst under way.
#[derive(Debug)]
pub(crate) struct Running {
    tasks: [JoinHandle<Result<()>>; 2],
    progress: watch::Receiver<Progress>,
    shared: Arc<Shared>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    made: usize,
    issued: usize,
    /// Made and neither issued nor deleted.
    open: usize,
    complete: bool,
    wrong: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Default)]
struct State {
    made: HashSet<String>,
    deleted: HashSet<String>,
    /// Names and the chains they were answered with.
    issued: HashMap<String, String>,
    all_made: bool,
    /// What must not happen.
    wrong: Vec<String>,
    /// The last thing that had to be tried again.
    trouble: String,
}

/// What a burst came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Requests that were answered and are still there.
    pub(crate) issued: usize,
    /// Requests that were deleted.
    pub(crate) deleted: usize,
}

impl Burst {
    /// Begins.
    pub(crate) fn start(self) -> Running {
        let (progress, seen) = watch::channel(Progress::default());
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            progress,
        });
        Running {
            tasks: [
                tokio::spawn(make(self.clone(), Arc::clone(&shared))),
                tokio::spawn(follow(self, Arc::clone(&shared))),
            ],
            progress: seen,
            shared,
        }
    }
}

impl Running {
    /// Waits until so many are issued.
    pub(crate) async fn issued(&mut self, count: usize) -> Result<()> {
        self.reached(PATIENCE, |progress| progress.issued >= count)
            .await
            .with_context(|| format!("fewer than {count} were issued"))
    }

    /// Waits until so many are made and not yet answered.
    pub(crate) async fn open(&mut self, count: usize) -> Result<()> {
        self.reached(PATIENCE, |progress| progress.open >= count)
            .await
            .with_context(|| format!("fewer than {count} waited for an answer"))
    }

    /// That it is not over yet: what is done to a cluster at rest proves nothing.
    pub(crate) fn goes_on(&self) -> Result<()> {
        let progress = *self.progress.borrow();
        ensure!(
            !progress.complete,
            "the burst was over before the fault was"
        );
        Ok(())
    }

    /// Waits until all are made and answered, and looks at every answer once more.
    pub(crate) async fn end(mut self, burst: &Burst) -> Result<Outcome> {
        let answered = self
            .reached(PATIENCE, |progress| progress.complete)
            .await
            .context("not every request was answered");
        for task in &self.tasks {
            task.abort();
        }
        answered?;
        let state = std::mem::take(&mut *self.shared.lock());
        ensure!(state.wrong.is_empty(), "{}", state.wrong.join("; "));
        verify(burst, &state).await
    }

    async fn reached(
        &mut self,
        patience: Duration,
        enough: impl Fn(&Progress) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + patience;
        let reached = self
            .progress
            .wait_for(|progress| progress.wrong || enough(progress));
        let reached = timeout_at(deadline, reached).await;
        let state = self.shared.lock();
        ensure!(state.wrong.is_empty(), "{}", state.wrong.join("; "));
        if !matches!(reached, Ok(Ok(_))) {
            bail!(
                "{} made, {} issued, {} deleted after {} s; last trouble: {}; open: {:?}",
                state.made.len(),
                state.issued.len(),
                state.deleted.len(),
                patience.as_secs(),
                state.trouble,
                state.open().take(5).collect::<Vec<_>>()
            );
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl State {
    fn open(&self) -> impl Iterator<Item = &String> {
        self.made
            .iter()
            .filter(|name| !self.issued.contains_key(*name) && !self.deleted.contains(*name))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let open = state.open().count();
        self.progress.send_replace(Progress {
            made: state.made.len(),
            issued: state.issued.len(),
            open,
            complete: state.all_made && open == 0,
            wrong: !state.wrong.is_empty(),
        });
    }

    fn trouble(&self, error: &anyhow::Error) {
        self.change(|state| state.trouble = format!("{error:#}"));
    }

    /// Takes in one sight of a request.
    fn observe(&self, asked: Asked) {
        let name = asked.metadata.name;
        let Some(condition) = asked.status.conditions.into_iter().next() else {
            return;
        };
        let chain = asked.status.certificate_chain.unwrap_or_default();
        self.change(|state| {
            if condition.type_ != "Issued" {
                state.wrong.push(format!(
                    "{name} was answered {}: {} ({})",
                    condition.type_, condition.message, condition.reason
                ));
            }
            let first = state
                .issued
                .entry(name.clone())
                .or_insert_with(|| chain.clone());
            if *first != chain {
                state.wrong.push(format!("{name} was answered twice"));
            }
        });
    }
}

/// Makes all requests, as many at a time as a cluster's kubelets would.
async fn make(burst: Burst, shared: Arc<Shared>) -> Result<()> {
    futures::stream::iter(0..burst.count)
        .for_each_concurrent(AT_ONCE, |number| {
            let (burst, shared) = (&burst, &shared);
            async move {
                let name = format!("burst-{number}");
                while let Err(error) = create(burst, number, &name).await {
                    shared.trouble(&error);
                    sleep(PAUSE).await;
                }
                shared.change(|state| {
                    state.made.insert(name.clone());
                });
                meddle(burst, shared, number, &name).await;
            }
        })
        .await;
    shared.change(|state| state.all_made = true);
    Ok(())
}

async fn create(burst: &Burst, number: usize, name: &str) -> Result<()> {
    let turn = burst.requests.iter().cycle().nth(number);
    let mut request = turn.context("there is nothing to make")?.clone();
    request["metadata"]["name"] = name.into();
    let (code, body) = send(
        &burst.node,
        Method::POST,
        &burst.path,
        "json",
        Some(request),
    )
    .await?;
    // A try whose answer got lost made it.
    ensure!(
        code.is_success() || code == StatusCode::CONFLICT,
        "{name} is not created: {code}: {body}"
    );
    Ok(())
}

async fn meddle(burst: &Burst, shared: &Shared, number: usize, name: &str) {
    let path = format!("{}/{name}", burst.path);
    match burst.meddling {
        Meddling::None => {}
        Meddling::Delete if number.is_multiple_of(2) => {
            // At once, or after a few others were made: before, while and after it is answered.
            for _ in 0..number % 7 {
                tokio::task::yield_now().await;
            }
            let gone = |code: StatusCode| code.is_success() || code == StatusCode::NOT_FOUND;
            insist(shared, gone, || {
                send(&burst.admin, Method::DELETE, &path, "json", None)
            })
            .await;
            shared.change(|state| {
                state.deleted.insert(name.to_owned());
            });
        }
        Meddling::Delete => {}
        Meddling::Label => {
            for step in 0..5 {
                let labels = json!({"metadata": {"labels": {"step": step.to_string()}}});
                insist(
                    shared,
                    |code| code.is_success(),
                    || {
                        let labels = Some(labels.clone());
                        send(
                            &burst.admin,
                            Method::PATCH,
                            &path,
                            "merge-patch+json",
                            labels,
                        )
                    },
                )
                .await;
            }
        }
    }
}

/// Sends until the answer is as it should be.
async fn insist<F, R>(shared: &Shared, good: impl Fn(StatusCode) -> bool, attempt: F)
where
    F: Fn() -> R,
    R: Future<Output = Result<(StatusCode, String)>>,
{
    loop {
        match attempt().await {
            Ok((code, _)) if good(code) => return,
            Ok((code, body)) => shared.trouble(&anyhow::anyhow!("{code}: {body}")),
            Err(error) => shared.trouble(&error),
        }
        sleep(PAUSE).await;
    }
}

/// Looks on until it is stopped.
async fn follow(burst: Burst, shared: Arc<Shared>) -> Result<()> {
    loop {
        if let Err(error) = look(&burst, &shared).await {
            shared.trouble(&error);
        }
        sleep(PAUSE).await;
    }
}

/// One list, and the watch that follows from it.
async fn look(burst: &Burst, shared: &Shared) -> Result<()> {
    let list = list(burst).await?;
    for asked in list.items {
        shared.observe(asked);
    }
    let path = format!(
        "{}?watch=true&timeoutSeconds=300&resourceVersion={}",
        burst.path, list.metadata.resource_version
    );
    let events = burst
        .admin
        .request_events::<Asked>(Request::get(path).body(Vec::new())?)
        .await?;
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Added(asked) | WatchEvent::Modified(asked) => shared.observe(asked),
            WatchEvent::Error(status) => bail!("the watch broke: {}", status.message),
            WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
        }
    }
    Ok(())
}

/// Reads all requests once more, from etcd, and compares them with what was seen and asked.
async fn verify(burst: &Burst, state: &State) -> Result<Outcome> {
    let State {
        made,
        deleted,
        issued,
        ..
    } = state;
    let mut there = HashMap::new();
    for asked in list(burst).await?.items {
        there.insert(asked.metadata.name, asked.status);
    }
    for name in made.difference(deleted) {
        let status = there
            .get(name)
            .with_context(|| format!("{name} has vanished"))?;
        let types: Vec<_> = status
            .conditions
            .iter()
            .map(|it| it.type_.as_str())
            .collect();
        ensure!(types == ["Issued"], "{name} is {types:?} in the end");
        let chain = status.certificate_chain.as_deref().unwrap_or_default();
        ensure!(
            issued.get(name).map(String::as_str) == Some(chain),
            "{name} has another certificate in the end"
        );
        let chain = Chain::from_pem(chain).with_context(|| format!("the chain of {name}"))?;
        ensure!(
            chain.leaf().public_key()? == burst.key,
            "{name} is certified for another key"
        );
    }
    Ok(Outcome {
        issued: made.difference(deleted).count(),
        deleted: deleted.len(),
    })
}

async fn list(burst: &Burst) -> Result<List> {
    let (code, body) = send(&burst.admin, Method::GET, &burst.path, "json", None).await?;
    ensure!(
        code.is_success(),
        "the requests are not listed: {code}: {body}"
    );
    Ok(serde_json::from_str(&body)?)
}

async fn send(
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

#[derive(Debug, Deserialize)]
struct List {
    metadata: ListMetadata,
    items: Vec<Asked>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Asked {
    metadata: Name,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Deserialize)]
struct Name {
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    conditions: Vec<Condition>,
    certificate_chain: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

const AT_ONCE: usize = 32;
/// Before a failed call is made again.
const PAUSE: Duration = Duration::from_millis(100);
/// Longer than any fault lasts, with what podcert waits after it.
const PATIENCE: Duration = Duration::from_secs(90);
