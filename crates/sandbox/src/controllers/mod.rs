//! The few loops of kube-controller-manager, scheduler and kube-proxy that a sandbox needs, each as thin as it can be.

mod cache;
pub(crate) mod daemon_sets;
pub(crate) mod deployments;
pub(crate) mod endpoints;
pub(crate) mod namespaces;
mod pods;
pub(crate) mod request_cleaner;
mod retries;
pub(crate) mod scheduler;

pub(crate) use self::cache::Caches;
pub use self::pods::is_ready;

use std::pin::pin;

use futures::{Stream, StreamExt};
use kube::runtime::watcher;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Rings `bell` whenever an object of the kind changes, until `stop`. Errors start the watch again.
async fn ring_for<K>(
    stream: impl Stream<Item = watcher::Result<watcher::Event<K>>>,
    bell: mpsc::Sender<()>,
    stop: CancellationToken,
) {
    let mut stream = pin!(stream);
    loop {
        let event = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            event = stream.next() => event,
        };
        match event {
            None => return,
            Some(Ok(watcher::Event::Init | watcher::Event::InitApply(_))) => {}
            Some(Ok(_)) => {
                // A full bell rings already.
                let _ = bell.try_send(());
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "a controller of the sandbox watches again");
            }
        }
    }
}
