//! Deletes PodCertificateRequests that are old, whatever became of them, as kube-controller-manager's cleaner does
//! (`pkg/controller/certificates/cleaner`, `pcrcleaner.go`): those of 15 minutes, looked for every five (as [`crate::KubeletTiming`] says); and those of
//! pods that are gone, as its garbage collector does.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use jiff::SignedDuration;
use k8s_openapi::api::certificates::v1::PodCertificateRequest;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use podcert_runtime::SharedClock;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Runs until `stop`; `poll` is how often old ones are looked for.
pub(crate) async fn run(
    client: Client,
    clock: SharedClock,
    poll: Duration,
    stop: CancellationToken,
) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        ((), ()) = async { tokio::join!(clean(&client, &clock, poll), collect(&client)) } => {}
    }
}

/// Deletes what is old.
async fn clean(client: &Client, clock: &SharedClock, poll: Duration) {
    let mut ticks = interval(poll);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = clock.now();
        let old = |request: &PodCertificateRequest| {
            let created = request.creation_timestamp();
            created.is_some_and(|created| now.duration_since(created.0) > THRESHOLD)
        };
        let all = ListParams::default();
        if let Err(error) = delete(client, Api::all(client.clone()), &all, old).await {
            tracing::debug!(%error, "old PodCertificateRequests are looked at again");
        }
    }
}

/// Deletes what pods that go have left.
async fn collect(client: &Client) {
    let pods = watcher(Api::<Pod>::all(client.clone()), watcher::Config::default());
    let mut pods = pin!(pods.default_backoff());
    while let Some(event) = pods.next().await {
        let Ok(watcher::Event::Delete(pod)) = event else {
            continue;
        };
        let uid = pod.uid().unwrap_or_default();
        let requests = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        let its = |request: &PodCertificateRequest| {
            let mut owners = request.owner_references().iter();
            owners.any(|owner| owner.uid == uid)
        };
        // What somebody made for another pod, and gave to this one, is left to the cleaner.
        let named = ListParams::default().fields(&format!("spec.podName={}", pod.name_any()));
        if let Err(error) = delete(client, requests, &named, its).await {
            tracing::debug!(%error, pod = pod.name_any(), "its requests are left to the cleaner");
        }
    }
}

async fn delete(
    client: &Client,
    requests: Api<PodCertificateRequest>,
    among: &ListParams,
    wanted: impl Fn(&PodCertificateRequest) -> bool,
) -> kube::Result<()> {
    for request in requests.list(among).await? {
        if !wanted(&request) {
            continue;
        }
        let only_it = DeleteParams {
            preconditions: Some(Preconditions {
                uid: request.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let namespace = request.namespace().unwrap_or_default();
        let requests: Api<PodCertificateRequest> = Api::namespaced(client.clone(), &namespace);
        match requests.delete(&request.name_any(), &only_it).await {
            // Somebody else was faster.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            deleted => drop(deleted?),
        }
    }
    Ok(())
}

const THRESHOLD: SignedDuration = SignedDuration::from_mins(15);
