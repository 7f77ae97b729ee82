//! Deletion.
//!
//! Three things can hold an object back: a grace period (pods: the first DELETE sets
//! `deletionTimestamp` and the kubelet's DELETE with grace 0 removes it), finalizers (the last
//! update that leaves none removes it) and preconditions. Deleting a namespace marks it and deletes
//! everything in it; the last that goes takes it along. Owner references are kept but nobody
//! collects orphans: all deletions are as with the policy `Background` and no dependents.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::type_meta_error;
use super::write::is_finished;
use crate::field::FieldError;
use crate::kinds::{self, Feature, KINDS, Kind};
use crate::object::{at, map_mut, metadata_mut, text};
use crate::representation::Representation;
use crate::request::{DryRun, Query, Target, dry_run_errors, number, refuse_options};
use crate::schema::schemas;
use crate::selectors::Selection;
use crate::server::ApiServer;
use crate::service::{ApiBody, json_response};
use crate::status::{self, Failure};
use crate::store::{Compacted, Expect, Key, Stale, Stored};
use crate::verbs::rfc3339;
use crate::versions;

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
        if kind.id == kinds::NAMESPACES && ETERNAL.contains(&target.name.as_str()) {
            let why = "this namespace may not be deleted";
            return Err(Failure::forbidden(kind, &target.name, why));
        }
        match self.delete_object(kind, &super::key(target), &options)? {
            Outcome::Removed(object) if !kind.has(Feature::ReturnsDeleted) => {
                let uid = text(&object.value, &["metadata", "uid"]);
                let status = status::deleted(kind, &target.name, uid);
                Ok(json_response(StatusCode::OK, status.to_string()))
            }
            Outcome::Pending(object) | Outcome::Removed(object) => {
                Ok(self.answer(target, StatusCode::OK, &object, representation))
            }
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
        let limit = match query.limit {
            0 => usize::MAX,
            limit => limit,
        };
        let page = self
            .inner
            .store
            .list(target.kind, &selection, None, None, limit)
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
            "metadata": super::list::page_metadata(&page, &selection),
            "items": items,
        });
        Ok(json_response(StatusCode::OK, list.to_string()))
    }

    fn delete_object(&self, kind: &Kind, key: &Key, options: &Options) -> Result<Outcome, Failure> {
        if kind.id == kinds::NAMESPACES {
            return self.end_namespace(kind, key, options);
        }
        let store = &self.inner.store;
        loop {
            let Some(old) = store.get(kind, key) else {
                return Err(Failure::not_found(kind, &key.name));
            };
            options.check(kind, &old)?;
            let Some(value) = self.mark(kind, &old.value, options) else {
                return Ok(Outcome::Pending(old));
            };
            let leaves = is_finished(&value);
            if options.dry_run == DryRun::Yes {
                let object = store.unstored(kind, key.clone(), value);
                return Ok(match leaves {
                    true => Outcome::Removed(object),
                    false => Outcome::Pending(object),
                });
            }
            let mut last = old;
            // What may get time is marked even when it gets none.
            if !leaves || kind.has(Feature::GracefulDeletion) {
                match store.put(kind, key.clone(), value, Expect::Revision(last.revision)) {
                    Ok(stored) => last = stored,
                    // Someone else was faster: look again.
                    Err(Stale) => continue,
                }
                if !leaves {
                    return Ok(Outcome::Pending(last));
                }
            }
            // An object that leaves at once leaves in its last state, without the mark.
            if let Ok(removed) = store.remove(kind, key, last.value.clone(), last.revision) {
                self.finish_namespace(kind, &key.namespace);
                return Ok(Outcome::Removed(removed));
            }
        }
    }

    /// Marks a namespace and deletes what is in it; the last object that goes takes it along. This
    /// is what the namespace controller does upstream, at once.
    fn end_namespace(&self, kind: &Kind, key: &Key, options: &Options) -> Result<Outcome, Failure> {
        let store = &self.inner.store;
        loop {
            let Some(old) = store.get(kind, key) else {
                return Err(Failure::not_found(kind, &key.name));
            };
            options.check(kind, &old)?;
            if at(&old.value, &["metadata", "deletionTimestamp"]).is_some() {
                return Ok(Outcome::Pending(old));
            }
            let mut value = old.value.clone();
            metadata_mut(&mut value).insert("deletionTimestamp".into(), rfc3339(self.now()).into());
            map_mut(&mut value, "status").insert("phase".into(), "Terminating".into());
            if options.dry_run == DryRun::Yes {
                return Ok(Outcome::Pending(store.unstored(kind, key.clone(), value)));
            }
            // Someone else was faster: look again.
            let Ok(marked) = store.put(kind, key.clone(), value, Expect::Revision(old.revision))
            else {
                continue;
            };
            for (kind, object) in self.contents(&key.name) {
                // Whoever deletes it meanwhile does what is wanted.
                let _ = self.delete_object(kind, &object.key, &Options::default());
            }
            self.remove_if_empty(&key.name);
            return Ok(Outcome::Pending(marked));
        }
    }

    /// After something of this kind went: a namespace on its way out may be empty now.
    pub(super) fn finish_namespace(&self, kind: &Kind, namespace: &str) {
        if !kind.is_namespaced() {
            return;
        }
        let ending = KINDS
            .get(kinds::NAMESPACES)
            .and_then(|kind| self.inner.store.get(kind, &Key::new("", namespace)))
            .is_some_and(|found| at(&found.value, &["metadata", "deletionTimestamp"]).is_some());
        if ending {
            self.remove_if_empty(namespace);
        }
    }

    fn remove_if_empty(&self, namespace: &str) {
        let Some(kind) = KINDS.get(kinds::NAMESPACES) else {
            return;
        };
        let key = Key::new("", namespace);
        let store = &self.inner.store;
        while self.contents(namespace).is_empty()
            && let Some(last) = store.get(kind, &key)
        {
            // Someone else was faster: look again.
            if store
                .remove(kind, &key, last.value.clone(), last.revision)
                .is_ok()
            {
                return;
            }
        }
    }

    /// Everything in a namespace.
    fn contents(&self, namespace: &str) -> Vec<(&'static Kind, Arc<Stored>)> {
        let everything = Selection {
            namespace: namespace.to_owned(),
            ..Selection::default()
        };
        KINDS
            .iter()
            .filter(|kind| kind.is_namespaced() && kind.is_native())
            .filter_map(|kind| {
                let store = &self.inner.store;
                let page = store.list(kind, &everything, None, None, usize::MAX).ok()?;
                Some(page.objects.into_iter().map(move |object| (kind, object)))
            })
            .flatten()
            .collect()
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
}

const TYPE: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

impl Options {
    fn parse(query: &Query, body: &[u8]) -> Result<Self, Failure> {
        let value: Value = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body).map_err(|error| {
                Failure::bad_request(format!(
                    "couldn't get version/kind; json parse error: {error}"
                ))
            })?
        };
        if !matches!(value, Value::Null | Value::Object(_)) {
            return Err(Failure::bad_request(format!(
                "couldn't get version/kind; json parse error: {}",
                type_meta_error(&value)
            )));
        }
        let precondition = |field: &str| {
            at(&value, &["preconditions", field])
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let given = text(&value, &["kind"]);
        if !matches!(given, "" | "DeleteOptions") {
            return Err(Failure::bad_request(format!(
                "no kind {given:?} is registered for version {:?} in scheme \"pkg/runtime/scheme.go:111\"",
                text(&value, &["apiVersion"])
            )));
        }
        if let Some(why) = schemas().misfit_of(TYPE, &value) {
            return Err(Failure::bad_request(why));
        }
        query.check_write("DeleteOptions")?;
        let dry_runs: Vec<String> = value
            .get("dryRun")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|value| value.as_str().unwrap_or_default().to_owned())
            .collect();
        let mut errors = dry_run_errors(&dry_runs);
        let policy = value
            .get("propagationPolicy")
            .and_then(Value::as_str)
            .or(query.propagation_policy.as_deref());
        if let Some(policy) = policy {
            if value.get("orphanDependents").is_some_and(Value::is_boolean) {
                errors.push(FieldError::invalid(
                    "propagationPolicy",
                    policy,
                    "orphanDependents and deletionPropagation cannot be both set",
                ));
            } else if !matches!(policy, "Background" | "Foreground" | "Orphan") {
                errors.push(FieldError::not_supported(
                    "propagationPolicy",
                    policy,
                    &["Foreground", "Background", "Orphan", "nil"],
                ));
            }
        }
        refuse_options("DeleteOptions", &errors)?;
        let dry_run = match dry_runs.as_slice() {
            [] => query.dry_run,
            _ => DryRun::Yes,
        };
        let asked = query.grace_period.as_deref().map(number).transpose()?;
        Ok(Self {
            grace_period: value
                .get("gracePeriodSeconds")
                .and_then(Value::as_i64)
                .or(asked),
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            dry_run,
        })
    }

    fn check(&self, kind: &Kind, object: &Stored) -> Result<(), Failure> {
        let current = text(&object.value, &["metadata", "uid"]);
        if let Some(uid) = self.uid.as_deref().filter(|uid| *uid != current) {
            return Err(Failure::deletion_conflict(
                kind,
                &object.key.name,
                &format!(
                    "the UID in the precondition ({uid}) does not match the UID in record ({current}). The object might have been deleted and then recreated"
                ),
            ));
        }
        let current = object.revision.to_string();
        if let Some(version) = self.resource_version.as_deref().filter(|it| *it != current) {
            return Err(Failure::deletion_conflict(
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

/// Namespaces that upstream never lets go.
const ETERNAL: [&str; 3] = ["default", "kube-public", "kube-system"];
