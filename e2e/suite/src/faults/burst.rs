//! Many requests at once, made and followed through whatever happens to the server.
//!
//! Each request has a name of its own, so a creation whose answer got lost is simply tried again.
//! What is answered is read from lists and watches, begun anew whenever they break, and held
//! against the one rule of this folder: every request that still exists is issued, once, for its
//! own key, and none is ever denied or failed.

mod wire;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use http::{Method, Request, StatusCode};
use kube::Client;
use kube::core::WatchEvent;
use podcert_cases::ApiVersion;
use podcert_pki::{Chain, PublicKey};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use self::wire::{Asked, listed, send};

/// What to make.
#[derive(Clone)]
pub(crate) struct Burst {
    /// Who makes requests: a node.
    pub(crate) node: Client,
    /// Who looks on, and who meddles.
    pub(crate) admin: Client,
    /// Their namespace.
    pub(crate) namespace: String,
    /// What their names begin with.
    pub(crate) name: &'static str,
    /// The versions to make them in: the next one when one is not served (any more).
    pub(crate) apis: Vec<ApiVersion>,
    /// Requests, ready but for version and name, made by turns.
    pub(crate) requests: Vec<Value>,
    /// The key it is for.
    pub(crate) key: PublicKey,
    /// How many.
    pub(crate) count: usize,
    /// How long to wait before each.
    pub(crate) pace: Duration,
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
    deleted: usize,
    /// Made and neither issued nor deleted.
    open: usize,
    complete: bool,
    wrong: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
    /// Counts versions that were not served.
    unserved: AtomicUsize,
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

/// A version, and how many were not served before it.
#[derive(Clone, Copy, Debug)]
struct Spoken {
    turn: usize,
    api: ApiVersion,
}

impl Burst {
    /// The path of the namespace's requests.
    fn path(&self, spoken: Spoken) -> String {
        format!(
            "/apis/certificates.k8s.io/{}/namespaces/{}/podcertificaterequests",
            spoken.api.as_str(),
            self.namespace
        )
    }

    /// Begins.
    pub(crate) fn start(self) -> Running {
        let (progress, seen) = watch::channel(Progress::default());
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            progress,
            unserved: AtomicUsize::new(0),
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
        self.reached(|progress| progress.issued >= count)
            .await
            .with_context(|| format!("fewer than {count} were issued"))
    }

    /// Waits until so many are made and not yet answered.
    pub(crate) async fn open(&mut self, count: usize) -> Result<()> {
        self.reached(|progress| progress.open >= count)
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
            .reached(|progress| progress.complete)
            .await
            .context("not every request was answered");
        for task in &self.tasks {
            task.abort();
        }
        answered?;
        let state = std::mem::take(&mut *self.shared.lock());
        ensure!(state.wrong.is_empty(), "{}", state.wrong.join("; "));
        verify(burst, self.shared.spoken(burst)?, &state).await
    }

    /// Waits as long as there is progress.
    async fn reached(&mut self, enough: impl Fn(&Progress) -> bool) -> Result<()> {
        loop {
            let progress = *self.progress.borrow_and_update();
            let wrong = self.shared.lock().wrong.join("; ");
            ensure!(wrong.is_empty(), "{wrong}");
            if enough(&progress) {
                return Ok(());
            }
            let moved = |now: &Progress| {
                now.wrong || now.complete != progress.complete || now.count() != progress.count()
            };
            if !matches!(
                timeout(PATIENCE, self.progress.wait_for(moved)).await,
                Ok(Ok(_))
            ) {
                let state = self.shared.lock();
                let open: Vec<_> = state.open().take(5).collect();
                bail!(
                    "{} made, {} issued, {} deleted, and nothing moves for {} s; last trouble: \
                     {:?}; open: {open:?}",
                    state.made.len(),
                    state.issued.len(),
                    state.deleted.len(),
                    PATIENCE.as_secs(),
                    state.trouble,
                );
            }
        }
    }
}

impl Progress {
    /// It grows, or nothing happens.
    fn count(&self) -> usize {
        self.made + self.issued + self.deleted
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
            deleted: state.deleted.len(),
            open,
            complete: state.all_made && open == 0,
            wrong: !state.wrong.is_empty(),
        });
    }

    fn trouble(&self, error: &anyhow::Error) {
        self.change(|state| state.trouble = format!("{error:#}"));
    }

    /// The version to speak now.
    fn spoken(&self, burst: &Burst) -> Result<Spoken> {
        let turn = self.unserved.load(Ordering::Relaxed);
        let api = burst.apis.iter().cycle().nth(turn);
        let api = *api.context("there is no version to speak")?;
        Ok(Spoken { turn, api })
    }

    /// Takes the next version if this code says that the one spoken is not served.
    fn heed(&self, spoken: Spoken, code: StatusCode) {
        if code == StatusCode::NOT_FOUND {
            let Spoken { turn, .. } = spoken;
            // Others may have heard it too.
            let _ = self.unserved.compare_exchange(
                turn,
                turn + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    /// Takes in one sight of a request.
    fn observe(&self, burst: &Burst, asked: Asked) {
        let name = asked.metadata.name;
        if !name.starts_with(burst.name) {
            return;
        }
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
    let pace = burst.pace;
    futures::stream::iter(0..burst.count)
        .then(|number| async move {
            if !pace.is_zero() {
                sleep(pace).await;
            }
            number
        })
        .for_each_concurrent(AT_ONCE, |number| {
            let (burst, shared) = (&burst, &shared);
            async move {
                let name = format!("{}-{number}", burst.name);
                while let Err(error) = create(burst, shared, number, &name).await {
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

async fn create(burst: &Burst, shared: &Shared, number: usize, name: &str) -> Result<()> {
    let spoken = shared.spoken(burst)?;
    let turn = burst.requests.iter().cycle().nth(number);
    let mut request = turn.context("there is nothing to make")?.clone();
    request["apiVersion"] = format!("certificates.k8s.io/{}", spoken.api.as_str()).into();
    request["metadata"]["name"] = name.into();
    let (code, body) = send(
        &burst.node,
        Method::POST,
        &burst.path(spoken),
        "json",
        Some(request),
    )
    .await?;
    shared.heed(spoken, code);
    // A try whose answer got lost made it.
    ensure!(
        code.is_success() || code == StatusCode::CONFLICT,
        "{name} is not created: {code}: {body}"
    );
    Ok(())
}

async fn meddle(burst: &Burst, shared: &Shared, number: usize, name: &str) {
    let Ok(spoken) = shared.spoken(burst) else {
        return;
    };
    let path = format!("{}/{name}", burst.path(spoken));
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
    let spoken = shared.spoken(burst)?;
    let (code, body) = list(burst, spoken).await?;
    shared.heed(spoken, code);
    let list = listed(code, &body)?;
    for asked in list.items {
        shared.observe(burst, asked);
    }
    let path = format!(
        "{}?watch=true&timeoutSeconds=300&resourceVersion={}",
        burst.path(spoken),
        list.metadata.resource_version
    );
    let events = burst
        .admin
        .request_events::<Asked>(Request::get(path).body(Vec::new())?)
        .await?;
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Added(asked) | WatchEvent::Modified(asked) => {
                shared.observe(burst, asked);
            }
            WatchEvent::Error(status) => bail!("the watch broke: {}", status.message),
            WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
        }
    }
    Ok(())
}

/// Reads all requests once more, from etcd, and compares them with what was seen and asked.
async fn verify(burst: &Burst, spoken: Spoken, state: &State) -> Result<Outcome> {
    let State {
        made,
        deleted,
        issued,
        ..
    } = state;
    let mut there = HashMap::new();
    let (code, body) = list(burst, spoken).await?;
    for asked in listed(code, &body)?.items {
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

async fn list(burst: &Burst, spoken: Spoken) -> Result<(StatusCode, String)> {
    send(&burst.admin, Method::GET, &burst.path(spoken), "json", None).await
}

const AT_ONCE: usize = 32;
/// Before a failed call is made again.
const PAUSE: Duration = Duration::from_millis(100);
/// Longer than any fault lasts, with what podcert waits after it.
const PATIENCE: Duration = Duration::from_secs(90);
