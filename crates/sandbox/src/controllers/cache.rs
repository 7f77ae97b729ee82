//! What the controllers look at: the objects of a kind as one watch shows them to all of them.
//!
//! A cache is a moment behind the API server. So it tells a controller *that* something is to do; before anything is
//! made or taken away, what is to do is read from the API itself ([`fresh`]). That way a pod that was just created is
//! never created twice, and while nothing happens nothing is read.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The caches that several controllers look at.
pub(crate) struct Caches {
    pub(crate) daemon_sets: Cache<DaemonSet>,
    pub(crate) deployments: Cache<Deployment>,
    pub(crate) nodes: Cache<Node>,
    pub(crate) pods: Cache<Pod>,
    pub(crate) services: Cache<Service>,
}

impl Caches {
    /// Follows everything as `client` until `stop`.
    pub(crate) fn follow(client: &Client, tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        fn all<K>(client: &Client, tasks: &TaskTracker, stop: &CancellationToken) -> Cache<K>
        where
            K: Resource<DynamicType = ()>
                + Clone
                + DeserializeOwned
                + std::fmt::Debug
                + Send
                + Sync
                + 'static,
        {
            let everything = watcher::Config::default();
            Cache::follow(Api::all(client.clone()), everything, tasks, stop.clone())
        }
        Self {
            daemon_sets: all(client, tasks, stop),
            deployments: all(client, tasks, stop),
            nodes: all(client, tasks, stop),
            pods: all(client, tasks, stop),
            services: all(client, tasks, stop),
        }
    }
}

/// The objects of a kind, and whether they have changed since its owner last looked.
pub(crate) struct Cache<K: Resource<DynamicType = ()> + Clone + 'static> {
    store: Store<K>,
    changes: watch::Receiver<()>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            changes: self.changes.clone(),
        }
    }
}

impl<K> Cache<K>
where
    K: Resource<DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    /// Follows the objects that `config` selects, in a task of its own, until `stop`. Errors start the watch again.
    pub(crate) fn follow(
        api: Api<K>,
        config: watcher::Config,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (store, writer) = reflector::store();
        let (changed, changes) = watch::channel(());
        let stream = reflector::reflector(writer, watcher(api, config).default_backoff());
        tasks.spawn(async move {
            let mut stream = pin!(stream);
            loop {
                let event = tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    event = stream.next() => event,
                };
                match event {
                    None => return,
                    // Not in the store before all of them are.
                    Some(Ok(watcher::Event::Init | watcher::Event::InitApply(_))) => {}
                    Some(Ok(_)) => {
                        changed.send_replace(());
                    }
                    Some(Err(error)) => {
                        tracing::debug!(%error, kind = %K::kind(&()), "the sandbox's controllers watch again");
                    }
                }
            }
        });
        Self { store, changes }
    }

    /// Waits until the objects are known. With the sandbox's end this may never be.
    pub(super) async fn ready(&self) {
        if self.store.wait_until_ready().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The objects, by namespace and name.
    pub(super) fn look(&mut self) -> Vec<Arc<K>> {
        self.changes.mark_unchanged();
        let mut objects = self.store.state();
        objects.sort_unstable_by(|one, other| {
            let (one, other) = (one.meta(), other.meta());
            (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name))
        });
        objects
    }

    /// Whether there is something new to look at.
    pub(super) fn has_changed(&self) -> bool {
        self.changes.has_changed().unwrap_or_default()
    }

    /// Waits until there is something new to look at. Cancel safe: it is new until somebody looks.
    pub(super) async fn changed(&self) {
        if self.changes.clone().changed().await.is_err() {
            // The watch has ended, and so does the sandbox.
            std::future::pending::<()>().await;
        }
        // What belongs together comes one by one: a look at each would be a look at everything for each pod.
        sleep(GATHERING).await;
    }
}

/// The object as the API server has it now, if it is still the same one.
pub(super) async fn fresh<K>(api: &Api<K>, object: &K) -> kube::Result<Option<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let found = api.get_opt(&object.name_any()).await?;
    Ok(found.filter(|found| found.meta().uid == object.meta().uid))
}

/// How long changes are gathered before somebody looks at them.
const GATHERING: Duration = Duration::from_millis(10);
