//! One watch over all requests, which says how each was answered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{PATIENCE, Request, RequestId, Stage, Status};

/// How a request ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// With a certificate.
    Issued(Arc<Status>),
    /// Refused for good.
    Denied { reason: String, message: String },
    /// Given up for good.
    Failed { reason: String, message: String },
    /// Deleted before it was answered.
    Gone,
}

/// What became of the requests of a stage.
pub(crate) struct Answers {
    state: Arc<Mutex<State>>,
    watching: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// Those not answered yet.
    pending: BTreeSet<RequestId>,
    answered: BTreeMap<RequestId, Outcome>,
    waiting: HashMap<RequestId, Vec<oneshot::Sender<Outcome>>>,
}

impl Outcome {
    /// The status of a request that was issued.
    ///
    /// # Errors
    /// What happened instead.
    pub(crate) fn issued(&self) -> Result<&Status> {
        match self {
            Self::Issued(status) => Ok(status),
            Self::Denied { reason, message } => Err(anyhow!("denied, {reason}: {message}")),
            Self::Failed { reason, message } => Err(anyhow!("failed, {reason}: {message}")),
            Self::Gone => Err(anyhow!("deleted before it was answered")),
        }
    }

    fn of(request: &Request) -> Option<Self> {
        let status = request.status.as_ref()?;
        let condition = status.conditions.first()?;
        let (reason, message) = (condition.reason.clone(), condition.message.clone());
        Some(match condition.type_.as_str() {
            "Issued" => Self::Issued(Arc::new(status.clone())),
            "Denied" => Self::Denied { reason, message },
            _ => Self::Failed { reason, message },
        })
    }
}

impl Answers {
    /// Begins to watch; what is there already is known when this returns.
    ///
    /// # Errors
    /// When the first list takes too long.
    pub(crate) async fn watch(stage: &Stage) -> Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let (listed, first_list) = oneshot::channel();
        let mut listed = Some(listed);
        let mut changes = watcher(stage.all_requests(), watcher::Config::default())
            .default_backoff()
            .boxed();
        let prefix = format!("{}-", stage.name);
        let seen = Arc::clone(&state);
        let watching = tokio::spawn(async move {
            let mut listing = BTreeSet::new();
            loop {
                // The backoff waits; the next try lists anew.
                let Ok(event) = changes.try_next().await else {
                    continue;
                };
                let Some(event) = event else { break };
                let mut state = lock(&seen);
                match event {
                    watcher::Event::Init => listing.clear(),
                    watcher::Event::InitApply(request) | watcher::Event::Apply(request) => {
                        let id = RequestId::of(&request);
                        if id.namespace.starts_with(&prefix) {
                            listing.insert(id.clone());
                            state.show(id, &request);
                        }
                    }
                    watcher::Event::InitDone => {
                        let gone: Vec<_> = state.pending.difference(&listing).cloned().collect();
                        for id in gone {
                            state.answer(id, Outcome::Gone);
                        }
                        listed.take().map(|listed| listed.send(()));
                    }
                    watcher::Event::Delete(request) => {
                        let id = RequestId::of(&request);
                        if state.pending.contains(&id) {
                            // The last state of it may hold an answer that was not seen.
                            let outcome = Outcome::of(&request).unwrap_or(Outcome::Gone);
                            state.answer(id, outcome);
                        }
                    }
                }
            }
        });
        let answers = Self { state, watching };
        tokio::time::timeout(PATIENCE, first_list)
            .await
            .context("requests are not listed")?
            .context("the watch of requests ended")?;
        Ok(answers)
    }

    /// The answer to a request, as soon as there is one.
    ///
    /// # Errors
    /// When there is none after this long.
    pub(crate) async fn of(&self, id: &RequestId, patience: Duration) -> Result<Outcome> {
        let waiting = {
            let mut state = lock(&self.state);
            if let Some(outcome) = state.answered.get(id) {
                return Ok(outcome.clone());
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.entry(id.clone()).or_default().push(sender);
            receiver
        };
        match tokio::time::timeout(patience, waiting).await {
            Ok(outcome) => outcome.context("the watch of requests ended"),
            Err(_) => bail!("request {id} is not answered after {patience:?}"),
        }
    }
}

impl State {
    fn show(&mut self, id: RequestId, request: &Request) {
        match Outcome::of(request) {
            Some(outcome) => self.answer(id, outcome),
            None if !self.answered.contains_key(&id) => {
                self.pending.insert(id);
            }
            None => {}
        }
    }

    fn answer(&mut self, id: RequestId, outcome: Outcome) {
        self.pending.remove(&id);
        for waiting in self.waiting.remove(&id).unwrap_or_default() {
            // Whoever waited may have lost patience.
            let _ = waiting.send(outcome.clone());
        }
        self.answered.entry(id).or_insert(outcome);
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
