//! Requests, answered from watches.
//!
//! One task: it feeds the pure [`queue`] with watch events, results and the time, and executes
//! the answers the queue asks for, some at a time. Everything it needs is in memory, so nothing is
//! read from the API server for a request, and a certificate costs the one write of its status.
//! (The request of a kubelet of 1.35 alone is read once more, where it is spoken of in v1.)
//!
//! Of requests that are shared with other replicas, this one answers its own. When it stood still or
//! had no Lease (a new term, see `sharing`), every watch is begun anew, and nothing is decided or
//! said before its lists are read.

pub(crate) mod convert;
mod execution;
mod queue;
mod reading;
pub(crate) mod signing;
pub(crate) mod world;

use std::{pin::pin, sync::Arc, time::Duration};

use futures::stream::{self, BoxStream, FuturesUnordered, StreamExt as _};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::api::Api;
use kube::runtime::watcher;
use podcert_issuance::{Policy, Request, SignerName};
use podcert_resources::event::{Notice, pod_reference, request_reference};
use podcert_resources::{ApiVersion, Identity, Pod, PodCertificateRequest, Service};
use podcert_runtime::{Check, Clock as _, Health};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use self::queue::{Announcement, Patience, Queue};
use crate::optional::{self, Seen};
use crate::{Context, bundles::Ready, rights::Refusal, versions::Spoken, watching};

/// Answers requests until shutdown, `concurrency` at a time.
pub(crate) async fn answer(
    context: Context,
    checks: Checks,
    policies: Vec<Policy>,
    concurrency: usize,
    listed: watch::Sender<bool>,
    mut authorities: mpsc::Receiver<Ready>,
) {
    let context = Arc::new(context);
    let mut events = watch_all(&context, &policies, &listed);
    let mut queue = Queue::new(
        policies.clone(),
        Patience::default(),
        context.jitter.clone(),
        context.metrics.clone(),
    );
    let mut under_way = FuturesUnordered::new();
    // With slots of their own: however many requests must be read, writes go on.
    let mut reading = FuturesUnordered::new();
    let most_readings = (concurrency / READINGS_SHARE).max(1);
    let mut versions = context.versions.changes();
    let clock = Arc::clone(context.connection.server_clock());
    let mut share = context.sharing.changes();
    let first = share.borrow_and_update().clone();
    let mut term = first.term();
    queue.share(first.owners().clone(), Instant::now());
    loop {
        // Asked again before each write is sent; here, so that nothing is made ready for nothing.
        let may_act = context.sharing.allows(term);
        if may_act {
            // Here too, so that a stream of events without a pause holds up no timer.
            queue.tick(Instant::now());
        }
        while may_act && under_way.len() < concurrency {
            let Some(work) = queue.next(clock.now(), Instant::now()) else {
                break;
            };
            let permit = context.sharing.permit(term);
            under_way.push(execution::execute(Arc::clone(&context), work, permit));
        }
        while may_act && reading.len() < most_readings {
            let Some(unread) = queue.next_unread(Instant::now()) else {
                break;
            };
            reading.push(reading::read(Arc::clone(&context), unread));
        }
        let version = context.versions.now().requests.unwrap_or_default();
        for announcement in queue.announcements() {
            context.recorder.tell(notice(version, announcement));
        }
        let deadline = queue.deadline();
        // Cancel safe: events, results and authorities are taken whole or stay where they are.
        tokio::select! {
            biased;
            () = context.shutdown.cancelled() => break,
            Some(done) = under_way.next(), if !under_way.is_empty() => {
                queue.finish(done, clock.now(), Instant::now());
            }
            Some(done) = reading.next(), if !reading.is_empty() => {
                queue.finish(done, clock.now(), Instant::now());
            }
            Ok(()) = share.changed() => {
                let now = share.borrow_and_update().clone();
                if now.term() != term {
                    term = now.term();
                    queue.distrust();
                    events = watch_all(&context, &policies, &listed);
                }
                queue.share(now.owners().clone(), Instant::now());
            }
            Ok(()) = versions.changed() => queue.speak(*versions.borrow_and_update()),
            Some((index, authority)) = authorities.recv() => {
                queue.sign_with(index, authority);
            }
            Some(observed) = events.next() => {
                checks.note(&context, &observed);
                match observed {
                    Observed::Pod(Ok(event)) => queue.observe_pod(event),
                    Observed::Service(Ok(event)) => queue.observe_service(event),
                    Observed::Request(index, Ok(event)) => {
                        queue.observe_request(index, event, Instant::now());
                    }
                    Observed::Node(Ok(seen)) => queue.observe_node(seen),
                    Observed::ServiceAccount(Ok(seen)) => queue.observe_service_account(seen),
                    Observed::Pod(Err(_))
                    | Observed::Service(Err(_))
                    | Observed::Node(Err(_))
                    | Observed::ServiceAccount(Err(_))
                    | Observed::Request(_, Err(_)) => {}
                }
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)),
                if may_act && deadline.is_some() => {}
            // The rest of what is ready, after everybody else on this thread.
            () = tokio::task::yield_now(), if may_act && queue.paused() => {}
        }
    }
    // What was sent is let through, so that no answer is left half read.
    let mut rest = pin!(under_way.for_each(|_| std::future::ready(())));
    if timeout(LAST_WRITES, &mut rest).await.is_err() {
        tracing::warn!("some answers were still under way at the end; their watch will show them");
    }
}

/// Objects of a list asked for at a time.
const PAGE: u32 = 50;

enum Observed {
    Node(optional::Observed<Identity<Node>>),
    Pod(watching::Observed<Pod>),
    Request(usize, watching::Observed<PodCertificateRequest>),
    Service(watching::Observed<Service>),
    ServiceAccount(optional::Observed<Identity<ServiceAccount>>),
}

/// The watches of everything a decision needs.
fn watch_all(
    context: &Context,
    policies: &[Policy],
    listed: &watch::Sender<bool>,
) -> stream::SelectAll<BoxStream<'static, Observed>> {
    let client = context.connection.client();
    // Lists come in pages, of which one is held whole: of objects of a megabyte and more, which any namespace may
    // have, the usual 500 are more than the memory a controller is given.
    let follow_all = || watcher::Config::default().page_size(PAGE);
    let jitter = || context.jitter.clone();
    let (listed, known) = (listed.clone(), listed.subscribe());
    let pods = watching::follow(Api::<Pod>::all(client.clone()), follow_all(), jitter());
    let pods = pods.inspect(move |event| {
        if matches!(event, Ok(watcher::Event::InitDone)) {
            listed.send_replace(true);
        }
    });
    let services = watching::follow(Api::<Service>::all(client.clone()), follow_all(), jitter());
    let nodes = Api::<Identity<Node>>::all(client.clone());
    let nodes = optional::follow(nodes, follow_all(), known.clone(), jitter());
    let accounts = Api::<Identity<ServiceAccount>>::all(client.clone());
    let accounts = optional::follow(accounts, follow_all(), known, jitter());
    let mut events = stream::SelectAll::new();
    events.push(pods.map(Observed::Pod).boxed());
    events.push(services.map(Observed::Service).boxed());
    events.push(nodes.map(Observed::Node).boxed());
    events.push(accounts.map(Observed::ServiceAccount).boxed());
    for (index, policy) in policies.iter().enumerate() {
        let selector = format!("spec.signerName={}", policy.signer);
        let requests = context.versions.watch::<PodCertificateRequest>(
            context,
            Spoken::Requests,
            follow_all().fields(&selector),
        );
        events.push(
            requests
                .map(move |event| Observed::Request(index, event))
                .boxed(),
        );
    }
    events
}

/// One readiness check a watch: it passes with the first whole list, or once it is sure that what
/// need not be shown is not.
///
/// A watch that breaks later begins again by itself and does not make the controller unready: what
/// breaks a watch here mostly breaks those of other replicas too, and nothing is sent elsewhere.
#[derive(Debug)]
pub(crate) struct Checks {
    pods: Check,
    services: Check,
    nodes: Check,
    service_accounts: Check,
    requests: Vec<Check>,
}

impl Checks {
    pub(crate) fn new<'a>(health: &Health, signers: impl Iterator<Item = &'a SignerName>) -> Self {
        Self {
            pods: health.check("watch of pods"),
            services: health.check("watch of services"),
            nodes: health.check("watch of nodes"),
            service_accounts: health.check("watch of service accounts"),
            requests: signers
                .map(|signer| health.check(format!("watch of requests for {signer}")))
                .collect(),
        }
    }

    fn note(&self, context: &Context, observed: &Observed) {
        match observed {
            Observed::Pod(event) => note(context, "pods", &self.pods, event),
            Observed::Service(event) => note(context, "services", &self.services, event),
            Observed::Node(seen) => note_optional(context, "nodes", &self.nodes, seen),
            Observed::ServiceAccount(seen) => {
                note_optional(context, "serviceaccounts", &self.service_accounts, seen);
            }
            Observed::Request(index, event) => {
                if let Some(check) = self.requests.get(*index) {
                    note(context, "podcertificaterequests", check, event);
                }
            }
        }
    }
}

fn note<K>(
    context: &Context,
    resource: &'static str,
    check: &Check,
    event: &watching::Observed<K>,
) {
    match event {
        Ok(watcher::Event::InitDone) => {
            context.rights.listed(resource);
            check.pass();
        }
        Ok(_) => {}
        Err(failure) => {
            context.metrics.watch_failed(resource);
            failure.log(&context.rights, resource);
            check.fail_unless_passing(&failure.why);
        }
    }
}

/// As [`note`], for what RBAC need not show.
fn note_optional<K>(
    context: &Context,
    resource: &'static str,
    check: &Check,
    observed: &optional::Observed<K>,
) {
    match observed {
        Ok(Seen::Event(watcher::Event::InitDone)) => {
            context.rights.listed(resource);
            if context.metrics.uids_compared(resource, true) {
                tracing::info!(
                    resource,
                    "their UIDs in requests are compared with live objects"
                );
            }
            check.pass();
        }
        Ok(Seen::Event(_)) => {}
        Ok(Seen::Refused(why)) => {
            context.metrics.uids_compared(resource, false);
            context.rights.refused(Refusal {
                resource,
                why: why.clone(),
                lost: "their UIDs in requests are not compared with live objects, as the rights to \
                       list and watch them are missing; podcert looks every few minutes whether \
                       they were granted",
            });
            check.pass_saying("not shown, so not compared: the rights list and watch are missing");
        }
        Err(failure) => {
            context.metrics.watch_failed(resource);
            failure.log(&context.rights, resource);
            check.fail_unless_passing(&failure.why);
        }
    }
}

/// The Event of an announcement: on the pod, where its owner looks.
fn notice(version: ApiVersion, announcement: Announcement) -> Notice {
    let Announcement {
        request,
        severity,
        reason,
        message,
    } = announcement;
    let Request {
        namespace,
        name,
        uid,
        pod_name,
        pod_uid,
        ..
    } = request.as_ref();
    Notice {
        regarding: pod_reference(namespace, pod_name, pod_uid),
        related: Some(request_reference(version, namespace, name, uid)),
        severity,
        reason,
        action: "IssueCertificate",
        note: format!("signer {}: {message}", request.signer),
    }
}

/// Of the answers under way at a time, this part more may be readings.
const READINGS_SHARE: usize = 4;
/// How long writes under way may take at the end.
const LAST_WRITES: Duration = Duration::from_secs(10);
