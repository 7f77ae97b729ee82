//! What happens to PodCertificateRequests, told and counted: who asked, what was issued.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::certificates::v1::PodCertificateRequest;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use podcert_pki::{CertificationRequest, Chain};
use tokio::task::JoinHandle;

use super::board::{self, Life};
use super::story::Story;

/// Watches requests while it lives.
#[derive(Debug)]
pub(super) struct Requests {
    seen: Arc<Mutex<HashMap<String, State>>>,
    task: JoinHandle<()>,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Pending,
    Issued,
    /// Denied or Failed: final, and wrong in a demo.
    Refused,
}

impl Requests {
    /// Begins to watch with a client that may read all requests.
    pub(super) fn watch(client: Client, story: Arc<Story>) -> Self {
        let seen = Arc::new(Mutex::new(HashMap::new()));
        let shared = seen.clone();
        let task = tokio::spawn(async move {
            let requests: Api<PodCertificateRequest> = Api::all(client);
            let mut changes = watcher(requests, watcher::Config::default())
                .default_backoff()
                .applied_objects()
                .boxed();
            loop {
                match changes.try_next().await {
                    Ok(Some(request)) => tell(&request, &shared, &story),
                    Ok(None) => return,
                    Err(error) => story.line("watch", &format!("interrupted, goes on: {error}")),
                }
            }
        });
        Self { seen, task }
    }

    /// All requests so far.
    pub(super) fn made(&self) -> usize {
        lock(&self.seen).len()
    }

    /// How many of them have a certificate.
    pub(super) fn issued(&self) -> usize {
        self.count(State::Issued)
    }

    /// How many were denied or failed.
    pub(super) fn refused(&self) -> usize {
        self.count(State::Refused)
    }

    fn count(&self, state: State) -> usize {
        lock(&self.seen)
            .values()
            .filter(|seen| **seen == state)
            .count()
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tells what is new about a request.
fn tell(request: &PodCertificateRequest, seen: &Mutex<HashMap<String, State>>, story: &Story) {
    let condition = request
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .find(|condition| condition.status == "True");
    let state = match condition.map(|condition| condition.type_.as_str()) {
        None => State::Pending,
        Some("Issued") => State::Issued,
        Some(_) => State::Refused,
    };
    let before = lock(seen).insert(request.uid().unwrap_or_default(), state);
    let who = format!(
        "{}/{}",
        request.namespace().unwrap_or_default(),
        request.spec.pod_name
    );
    if before.is_none() {
        let key = CertificationRequest::from_der(&request.spec.stub_pkc_s10_request.0).map_or_else(
            |_| "unknown".to_owned(),
            |csr| csr.public_key().key_type().to_string(),
        );
        story.line(
            "request",
            &format!(
                "{who} asks {} with a new {key} key",
                request.spec.signer_name
            ),
        );
    }
    if before == Some(state) {
        return;
    }
    show(request, before.is_none(), story);
    match (state, condition) {
        (State::Issued, _) => story.line("issued", &format!("{who}: {}", issued(request))),
        (State::Refused, Some(condition)) => story.line(
            "refused",
            &format!(
                "{who}: {} {}: {}",
                condition.type_, condition.reason, condition.message
            ),
        ),
        _ => {}
    }
}

/// Puts the request on the board. Of several of a pod and signer the last one counts.
fn show(request: &PodCertificateRequest, is_new: bool, story: &Story) {
    let status = request.status.as_ref();
    let condition = status
        .and_then(|status| status.conditions.as_ref())
        .and_then(|conditions| {
            conditions
                .iter()
                .find(|condition| condition.status == "True")
        });
    let life = match condition {
        None => Life::Waiting {
            since: request
                .metadata
                .creation_timestamp
                .as_ref()
                .map_or(jiff::Timestamp::UNIX_EPOCH, |time| time.0),
        },
        Some(condition) if condition.type_ == "Issued" => {
            let date = |time: Option<&Time>| time.map(|time| time.0);
            let dates = status.and_then(|status| {
                Some((
                    date(status.not_before.as_ref())?,
                    date(status.begin_refresh_at.as_ref())?,
                    date(status.not_after.as_ref())?,
                ))
            });
            let pem = status.and_then(|status| status.certificate_chain.as_deref());
            match (dates, Chain::from_pem(pem.unwrap_or_default())) {
                (Some((not_before, refresh, not_after)), Ok(chain)) => Life::Issued {
                    not_before,
                    refresh,
                    not_after,
                    names: names(&chain),
                },
                _ => Life::Refused("a chain that cannot be read".to_owned()),
            }
        }
        Some(condition) => Life::Refused(format!("{}: {}", condition.type_, condition.message)),
    };
    let key = (
        request.namespace().unwrap_or_default(),
        request.spec.pod_name.clone(),
        request.spec.signer_name.clone(),
    );
    story.board().update(|view| {
        let requests = view
            .certificates
            .get(&key)
            .map_or(0, |before| before.requests);
        let requests = requests + u32::from(is_new);
        view.certificates
            .insert(key, board::Certificate { requests, life });
    });
}

fn names(chain: &Chain) -> Vec<String> {
    let leaf = chain.leaf();
    leaf.dns_names()
        .map(str::to_owned)
        .chain(leaf.uris().map(str::to_owned))
        .collect()
}

/// What the certificate says, read from the chain itself.
fn issued(request: &PodCertificateRequest) -> String {
    let status = request.status.as_ref();
    let pem = status
        .and_then(|status| status.certificate_chain.as_deref())
        .unwrap_or_default();
    let Ok(chain) = Chain::from_pem(pem) else {
        return "a chain that cannot be read".to_owned();
    };
    let (leaf, names) = (chain.leaf(), names(&chain));
    let refresh = status
        .and_then(|status| status.begin_refresh_at.as_ref())
        .map_or_else(String::new, |time| {
            format!(", refresh from {}", hour(&time.0))
        });
    format!(
        "{} until {}{refresh}",
        names.join(", "),
        hour(&leaf.not_after())
    )
}

/// Date and hour, which is what one compares.
fn hour(time: &jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%MZ").to_string()
}

fn lock(seen: &Mutex<HashMap<String, State>>) -> MutexGuard<'_, HashMap<String, State>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
