//! Deletion.
//!
//! Three things can hold an object back: a grace period (pods: the first DELETE sets
//! `deletionTimestamp` and the kubelet's DELETE with grace 0 removes it), finalizers (the last
//! update that leaves none removes it) and preconditions. Deleting a namespace removes at once
//! everything in it, finalizers or not: there is no namespace controller here. Owner references
//! are kept but nobody collects orphans.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::write::is_finished;
use crate::kinds::{self, Feature, KINDS, Kind};
use crate::object::{at, metadata_mut, text};
use crate::request::{DryRun, Query, Target};
use crate::selectors::Selection;
use crate::server::ApiServer;
use crate::service::{ApiBody, json_response};
use crate::status::{self, Failure};
use crate::store::{Compacted, Expect, Key, Stale, Stored};
use crate::verbs::rfc3339;
use crate::versions;
use crate::watch::Representation;

/// `DeleteOptions`, as far as they matter here.
#[derive(Clone, Debug, Default)]
struct Options {
    grace_period: Option<i64>,
    uid: Option<String>,
    resource_version: Option<String>,
    dry_run: DryRun,
}

/// What a deletion led to.
enum Outcome {
    /// Still there, marked or waiting.
    Pending(Arc<Stored>),
    /// Gone.
    Removed(Arc<Stored>),
}

impl ApiServer {
    pub(super) fn delete(
        &self,
        target: &Target,
        query: &Query,
        body: &Bytes,
        representation: Representation,
    ) -> Result<Response<ApiBody>, Failure> {
        let options = Options::parse(query, body)?;
        let kind = target.kind;
        match self.delete_object(kind, &super::key(target), &options)? {
            Outcome::Removed(object) if !kind.has(Feature::ReturnsDeleted) => {
                let uid = text(&object.value, &["metadata", "uid"]);
                let status = status::deleted(kind, &target.name, uid);
                Ok(json_response(StatusCode::OK, status.to_string()))
            }
            Outcome::Pending(object) | Outcome::Removed(object) => Ok(super::object_response(
                target,
                StatusCode::OK,
                &object,
                representation,
            )),
        }
    }

    pub(super) fn delete_collection(
        &self,
        target: &Target,
        query: &Query,
        body: &Bytes,
    ) -> Result<Response<ApiBody>, Failure> {
        let options = Options::parse(query, body)?;
        let selection = query.selection(target)?;
        let page = self
            .inner
            .store
            .list(target.kind, &selection, None, None, usize::MAX)
            .map_err(|Compacted { oldest }| Failure::expired(oldest.to_string()))?;
        let mut items = Vec::new();
        for object in &page.objects {
            match self.delete_object(target.kind, &object.key, &options) {
                Ok(Outcome::Pending(object) | Outcome::Removed(object)) => {
                    items.push(versions::view(target.kind, &object.value));
                }
                // Someone else deleted it meanwhile: that is what was wanted.
                Err(failure) if failure.code == 404 => {}
                Err(failure) => return Err(failure),
            }
        }
        let list = serde_json::json!({
            "kind": format!("{}List", target.kind.kind),
            "apiVersion": target.kind.api_version(),
            "metadata": {"resourceVersion": self.inner.store.revision().to_string()},
            "items": items,
        });
        Ok(json_response(StatusCode::OK, list.to_string()))
    }

    fn delete_object(&self, kind: &Kind, key: &Key, options: &Options) -> Result<Outcome, Failure> {
        let store = &self.inner.store;
        loop {
            let Some(old) = store.get(kind, key) else {
                return Err(Failure::not_found(kind, &key.name));
            };
            options.check(kind, &old)?;
            let Some(value) = self.mark(kind, &old.value, options) else {
                return Ok(Outcome::Pending(old));
            };
            if options.dry_run == DryRun::Yes {
                return Ok(Outcome::Pending(store.unstored(kind, key.clone(), value)));
            }
            if !is_finished(&value) {
                match store.put(kind, key.clone(), value, Expect::Revision(old.revision)) {
                    Ok(stored) => return Ok(Outcome::Pending(stored)),
                    Err(Stale) => continue,
                }
            }
            // An object that leaves at once leaves in its last state, without the mark.
            let last = old.value.clone();
            // Someone else was faster: look again.
            if let Ok(removed) = store.remove(kind, key, last, old.revision) {
                if kind.id == kinds::NAMESPACES {
                    self.empty_namespace(&key.name);
                }
                return Ok(Outcome::Removed(removed));
            }
        }
    }

    /// The object marked for deletion; `None` when it is marked already and nothing changes.
    fn mark(&self, kind: &Kind, old: &Value, options: &Options) -> Option<Value> {
        let now = self.now();
        let mut object = old.clone();
        let mark = at(old, &["metadata", "deletionTimestamp"]).and_then(Value::as_str);
        let marked = mark.is_some();
        let running = at(old, &["metadata", "deletionGracePeriodSeconds"])
            .and_then(Value::as_i64)
            .unwrap_or(0);
        let mut grace = 0;
        let mut begin = now;
        if kind.has(Feature::GracefulDeletion) {
            grace = grace_period(old, options);
            if marked && running > 0 {
                // A grace period that runs may only be shortened, and only by who says how far.
                if options.grace_period.is_none() || grace >= running {
                    return None;
                }
                begin = mark
                    .and_then(|mark| mark.parse::<Timestamp>().ok())
                    .and_then(|end| end.checked_sub(SignedDuration::from_secs(running)).ok())
                    .unwrap_or(now);
            }
        } else if marked && !is_finished(old) {
            return None;
        }
        let end = begin
            .checked_add(SignedDuration::from_secs(grace))
            .unwrap_or(now)
            .max(now);
        let generation = at(old, &["metadata", "generation"]).and_then(Value::as_i64);
        let metadata = metadata_mut(&mut object);
        metadata.insert("deletionTimestamp".into(), rfc3339(end).into());
        metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
        if let (false, Some(generation)) = (marked, generation) {
            metadata.insert("generation".into(), (generation + 1).into());
        }
        Some(object)
    }

    fn empty_namespace(&self, namespace: &str) {
        let store = &self.inner.store;
        let everything = Selection {
            namespace: namespace.to_owned(),
            ..Selection::default()
        };
        for kind in KINDS.iter().filter(|kind| kind.is_namespaced()) {
            let Ok(page) = store.list(kind, &everything, None, None, usize::MAX) else {
                continue;
            };
            for object in page.objects {
                let mut current = Some(object);
                while let Some(object) = current {
                    let removed =
                        store.remove(kind, &object.key, object.value.clone(), object.revision);
                    current = match removed {
                        Ok(_) => None,
                        Err(Stale) => store.get(kind, &object.key),
                    };
                }
            }
        }
    }
}

impl Options {
    fn parse(query: &Query, body: &[u8]) -> Result<Self, Failure> {
        let value: Value = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body).map_err(|error| {
                Failure::bad_request(format!("the DeleteOptions are not JSON: {error}"))
            })?
        };
        let precondition = |field: &str| {
            at(&value, &["preconditions", field])
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let dry_run = match value.get("dryRun").and_then(Value::as_array) {
            Some(list) if !list.is_empty() => DryRun::Yes,
            _ => query.dry_run,
        };
        Ok(Self {
            grace_period: value
                .get("gracePeriodSeconds")
                .and_then(Value::as_i64)
                .or(query.grace_period),
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            dry_run,
        })
    }

    fn check(&self, kind: &Kind, object: &Stored) -> Result<(), Failure> {
        let current = text(&object.value, &["metadata", "uid"]);
        if let Some(uid) = self.uid.as_deref().filter(|uid| *uid != current) {
            return Err(Failure::conflict(
                kind,
                &object.key.name,
                &format!(
                    "the UID in the precondition ({uid}) does not match the UID in record ({current}). The object might have been deleted and then recreated"
                ),
            ));
        }
        let current = object.revision.to_string();
        if let Some(version) = self.resource_version.as_deref().filter(|it| *it != current) {
            return Err(Failure::conflict(
                kind,
                &object.key.name,
                &format!(
                    "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({current}). The object might have been modified"
                ),
            ));
        }
        Ok(())
    }
}

/// How long a pod gets: what the caller says, else what its spec says; nothing where no kubelet
/// could use the time (`pkg/registry/core/pod/strategy.go`).
fn grace_period(pod: &Value, options: &Options) -> i64 {
    let period = options.grace_period.unwrap_or_else(|| {
        at(pod, &["spec", "terminationGracePeriodSeconds"])
            .and_then(Value::as_i64)
            .unwrap_or(30)
    });
    let unscheduled = text(pod, &["spec", "nodeName"]).is_empty();
    let ended = matches!(text(pod, &["status", "phase"]), "Failed" | "Succeeded");
    if unscheduled || ended {
        return 0;
    }
    if period < 0 { 1 } else { period }
}
