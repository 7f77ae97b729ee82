//! What the board shows of pods and trust bundles, watched.

use std::fmt::Debug;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::certificates::v1::ClusterTrustBundle;
use k8s_openapi::api::core::v1 as core;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use podcert_pki::TrustBundle;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use super::board::{Bundle, Pod, View};
use super::story::Story;

/// Watches while it lives.
#[derive(Debug)]
pub(super) struct Cluster {
    tasks: [JoinHandle<()>; 2],
}

impl Cluster {
    /// Begins to watch with a client that may read everything.
    pub(super) fn watch(client: &Client, story: &Arc<Story>) -> Self {
        let pods = follow(Api::<core::Pod>::all(client.clone()), story.clone(), pod);
        let bundles = Api::<ClusterTrustBundle>::all(client.clone());
        Self {
            tasks: [
                tokio::spawn(pods),
                tokio::spawn(follow(bundles, story.clone(), bundle)),
            ],
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Whether an object is there, or has gone.
#[derive(Clone, Copy, Debug)]
enum Seen {
    There,
    Gone,
}

async fn follow<K>(api: Api<K>, story: Arc<Story>, show: fn(&K, Seen, &mut View))
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = watcher(api, watcher::Config::default())
        .default_backoff()
        .boxed();
    loop {
        match events.try_next().await {
            Ok(Some(Event::Apply(object) | Event::InitApply(object))) => {
                story
                    .board()
                    .update(|view| show(&object, Seen::There, view));
            }
            Ok(Some(Event::Delete(object))) => {
                story.board().update(|view| show(&object, Seen::Gone, view));
            }
            Ok(Some(Event::Init | Event::InitDone)) => {}
            Ok(None) => return,
            Err(error) => tracing::debug!(%error, "a watch of the demo is interrupted"),
        }
    }
}

fn pod(object: &core::Pod, seen: Seen, view: &mut View) {
    let key = (object.namespace().unwrap_or_default(), object.name_any());
    if let Seen::Gone = seen {
        view.certificates
            .retain(|(namespace, pod, _), _| (namespace, pod) != (&key.0, &key.1));
        view.clients.remove(&key);
        view.pods.remove(&key);
        return;
    }
    let status = object.status.as_ref();
    let containers = || {
        status
            .iter()
            .flat_map(|status| status.container_statuses.iter().flatten())
    };
    let shown = Pod {
        phase: status
            .and_then(|status| status.phase.clone())
            .unwrap_or_else(|| "Pending".to_owned()),
        ready: podcert_sandbox::is_ready(object),
        restarts: containers().map(|container| container.restart_count).sum(),
    };
    view.pods.insert(key, shown);
}

fn bundle(object: &ClusterTrustBundle, seen: Seen, view: &mut View) {
    if let Seen::Gone = seen {
        view.bundles.remove(&object.name_any());
        return;
    }
    let anchors = TrustBundle::from_pem(&object.spec.trust_bundle)
        .map(|bundle| {
            let anchors = bundle.anchors().iter();
            anchors.map(|anchor| anchor.subject().to_string()).collect()
        })
        .unwrap_or_default();
    let stage = object
        .labels()
        .iter()
        .find(|(name, _)| name.ends_with("/canarying"))
        .map(|(_, stage)| stage.clone());
    let shown = Bundle {
        signer: object.spec.signer_name.clone().unwrap_or_default(),
        stage: stage.unwrap_or_default(),
        anchors,
    };
    view.bundles.insert(object.name_any(), shown);
}
