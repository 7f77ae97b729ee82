//! Create and update.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::authorization::Asked;
use crate::field::FieldError;
use crate::kinds::{self, Feature, KINDS, Kind, Rules};
use crate::node::restriction::Operation;
use crate::object::{as_map_mut, at, map_mut, metadata_mut, text};
use crate::request::{DryRun, Part, Query, Target, go_parse_error};
use crate::server::ApiServer;
use crate::status::Failure;
use crate::store::{Expect, Key, Stored};
use crate::strategy::{self, Context};
use crate::user::{Permission, User};

impl ApiServer {
    pub(super) fn create(
        &self,
        user: &User,
        target: &Target,
        query: &Query,
        mut object: Value,
    ) -> Result<Arc<Stored>, Failure> {
        let kind = target.kind;
        query.check_write("CreateOptions")?;
        set_namespace(target, &mut object)?;
        if !matches!(text(&object, &["metadata", "resourceVersion"]), "" | "0") {
            return Err(Failure::new(
                500,
                "",
                "resourceVersion should not be set on objects to be created",
            ));
        }
        let generate_name = text(&object, &["metadata", "generateName"]).to_owned();
        let generates =
            text(&object, &["metadata", "name"]).is_empty() && !generate_name.is_empty();
        // Upstream tries a generated name this often before it gives up, too.
        let attempts = if generates {
            GENERATED_NAME_ATTEMPTS
        } else {
            1
        };
        let mut name = text(&object, &["metadata", "name"]).to_owned();
        // Admission comes before a name is made up: it calls the object by the prefix.
        let wanted = if generates { &generate_name } else { &name };
        self.check_namespace(target, wanted)?;
        self.admit(kind, &object, wanted)?;
        if kind.rules == Rules::Pod {
            strategy::admission::admit_pod(&mut object, wanted)?;
            let node = text(&object, &["spec", "nodeName"]);
            let labels = self.topology_labels(node);
            if !labels.is_empty() {
                add_labels(&mut object, labels);
            }
        }
        if kind.rules == Rules::Pod && self.inner.token_volumes {
            self.add_token_volume(&mut object);
        }
        self.restrict(user, target, Operation::Create(&object))?;
        for _ in 0..attempts {
            let mut object = object.clone();
            if generates {
                let generated = self.inner.random.generated_name(&generate_name);
                metadata_mut(&mut object).insert("name".into(), generated.into());
            }
            text(&object, &["metadata", "name"]).clone_into(&mut name);
            self.fill_system_fields(&mut object);
            strategy::prepare_create(kind, &mut object)?;
            if kind.rules == Rules::Service {
                self.allocate_cluster_ip(&mut object);
            }
            strategy::check_create(kind, &object, &self.context(user))?;
            let key = Key::new(&target.namespace, &name);
            if query.dry_run == DryRun::Yes {
                if self.inner.store.get(kind, &key).is_some() {
                    continue;
                }
                return Ok(self.inner.store.unstored(kind, key, object));
            }
            if let Ok(stored) = self.inner.store.put(kind, key, object, Expect::Absent) {
                if kind.id == kinds::NAMESPACES {
                    self.add_default_service_account(&name);
                }
                return Ok(stored);
            }
        }
        Err(if generate_name.is_empty() {
            Failure::already_exists(kind, &name)
        } else {
            Failure::generated_name_exists(kind, &name)
        })
    }

    /// PUT: the whole object, or the status of it.
    pub(super) fn replace(
        &self,
        user: &User,
        target: &Target,
        query: &Query,
        object: &Value,
    ) -> Result<(StatusCode, Arc<Stored>), Failure> {
        query.check_write("UpdateOptions")?;
        let name = text(object, &["metadata", "name"]);
        if name.is_empty() {
            return Err(Failure::bad_request(format!(
                "the name of the object ({} based on URL) was undeterminable: name must be provided",
                target.name
            )));
        }
        if name != target.name {
            return Err(Failure::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                target.name
            )));
        }
        check_same_namespace(target, object)?;
        let exists = self
            .inner
            .store
            .get(target.kind, &super::key(target))
            .is_some();
        if !exists && target.part == Part::Main && target.kind.has(Feature::CreateOnUpdate) {
            self.check_may_create(user, target)?;
            check_uid(target, object, "")?;
            let mut object = object.clone();
            metadata_mut(&mut object).remove("resourceVersion");
            let created = self.create(user, target, query, object)?;
            return Ok((StatusCode::CREATED, created));
        }
        let replaced = self.update(user, target, query, |old| {
            check_uid(target, object, text(&old.value, &["metadata", "uid"]))?;
            Ok(object.clone())
        })?;
        Ok((StatusCode::OK, replaced))
    }

    /// Whoever may change what is there may not make what is not.
    pub(super) fn check_may_create(&self, user: &User, target: &Target) -> Result<(), Failure> {
        let asked = Asked::creation(target);
        let authorizer = &self.inner.authorizer;
        match authorizer.authorize(user, &asked.attributes()) {
            Permission::Allowed => Ok(()),
            Permission::Denied => {
                let reason = authorizer.reason(user, &asked.attributes());
                Err(asked.forbidden(user, &reason))
            }
        }
    }

    /// Replaces an object by what `make` makes of it, over and over until nobody else was faster.
    pub(super) fn update(
        &self,
        user: &User,
        target: &Target,
        query: &Query,
        make: impl Fn(&Stored) -> Result<Value, Failure>,
    ) -> Result<Arc<Stored>, Failure> {
        let kind = target.kind;
        loop {
            let old = self.existing(target)?;
            let mut new = make(&old)?;
            set_name(target, &mut new);
            let operation = Operation::Update {
                old: &old.value,
                new: &new,
            };
            self.restrict(user, target, operation)?;
            check_version(target, &new, &old)?;
            let mut object = strategy::prepare_update(kind, target.part, new, &old.value)?;
            strategy::check_update(kind, target.part, &object, &old.value, &self.context(user))?;
            strategy::settle(kind, target.part, &mut object);
            if is_same(&object, &old.value) {
                return Ok(old);
            }
            if query.dry_run == DryRun::Yes {
                return Ok(self.inner.store.unstored(kind, super::key(target), object));
            }
            let stored = if is_finished(&object) {
                // What lets an object go is not stored: it goes in its last state.
                let store = &self.inner.store;
                let last = old.value.clone();
                store
                    .remove(kind, &old.key, last, old.revision)
                    .map(|_| store.as_of(kind, old.key.clone(), object, old.revision))
            } else {
                self.inner.store.put(
                    kind,
                    old.key.clone(),
                    object,
                    Expect::Revision(old.revision),
                )
            };
            // Someone else was faster: look again. A PUT that named a version fails there.
            if let Ok(stored) = stored {
                self.finish_namespace(kind, &target.namespace);
                return Ok(stored);
            }
        }
    }

    pub(super) fn context<'a>(&'a self, user: &'a User) -> Context<'a> {
        Context {
            user,
            authorizer: self.inner.authorizer.as_ref(),
            now: self.now(),
        }
    }

    /// What the controller manager does for each new namespace.
    pub(crate) fn add_default_service_account(&self, namespace: &str) {
        let Some(kind) = KINDS.get(kinds::SERVICE_ACCOUNTS) else {
            return;
        };
        let mut object = json!({"metadata": {"name": "default", "namespace": namespace}});
        self.fill_system_fields(&mut object);
        // Whoever made it first made the same.
        let _ = self
            .inner
            .store
            .put(kind, Key::new(namespace, "default"), object, Expect::Absent);
    }

    /// The namespace of a new object must exist and not be on its way out.
    pub(super) fn check_namespace(&self, target: &Target, name: &str) -> Result<(), Failure> {
        if !target.kind.is_namespaced() {
            return Ok(());
        }
        let Some(namespaces) = KINDS.get(kinds::NAMESPACES) else {
            return Ok(());
        };
        let namespace = &target.namespace;
        let found = self.inner.store.get(namespaces, &Key::new("", namespace));
        let Some(found) = found else {
            return Err(Failure::not_found(namespaces, namespace));
        };
        if at(&found.value, &["metadata", "deletionTimestamp"]).is_some() {
            return Err(Failure::namespace_terminating(target.kind, name, namespace));
        }
        Ok(())
    }

    /// Admission that needs other objects: a pod's service account must exist.
    fn admit(&self, kind: &Kind, object: &Value, name: &str) -> Result<(), Failure> {
        if kind.rules != Rules::Pod {
            return Ok(());
        }
        let namespace = text(object, &["metadata", "namespace"]);
        let named =
            ["serviceAccountName", "serviceAccount"].map(|field| text(object, &["spec", field]));
        let account = named
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or("default");
        let Some(accounts) = KINDS.get(kinds::SERVICE_ACCOUNTS) else {
            return Ok(());
        };
        if self
            .inner
            .store
            .get(accounts, &Key::new(namespace, account))
            .is_none()
        {
            return Err(Failure::forbidden(
                kind,
                name,
                &format!(
                    "error looking up service account {namespace}/{account}: serviceaccount {account:?} not found"
                ),
            ));
        }
        Ok(())
    }

    /// Where a node is: what the admission plugin PodTopologyLabels gives to the pods on it.
    pub(super) fn topology_labels(&self, node: &str) -> Map<String, Value> {
        let found = KINDS.get(kinds::NODES).and_then(|kind| {
            let store = &self.inner.store;
            store
                .get(kind, &Key::new("", node))
                .filter(|_| !node.is_empty())
        });
        let labels = found.and_then(|node| {
            let labels = at(&node.value, &["metadata", "labels"])?;
            labels.as_object().cloned()
        });
        let mut labels = labels.unwrap_or_default();
        labels.retain(|key, _| TOPOLOGY.contains(&key.as_str()));
        labels
    }

    /// Gives a Service an address out of 10.96.0.0/12, unless it has or wants none.
    fn allocate_cluster_ip(&self, object: &mut Value) {
        let external = text(object, &["spec", "type"]) == "ExternalName";
        if external || at(object, &["spec", "clusterIP"]).is_some() {
            return;
        }
        // Consecutive, by the number of the next revision: unique for a million writes.
        let number = self.inner.store.revision() % (1 << 20);
        let [_, high, middle, low] = u32::try_from(number).unwrap_or_default().to_be_bytes();
        let address = format!("10.{}.{middle}.{low}", 96 + high);
        let spec = map_mut(object, "spec");
        spec.insert("clusterIP".into(), address.clone().into());
        spec.insert("clusterIPs".into(), json!([address]));
    }
}

/// Adds labels, over those that are there.
pub(super) fn add_labels(object: &mut Value, labels: Map<String, Value>) {
    let own = as_map_mut(
        metadata_mut(object)
            .entry("labels")
            .or_insert_with(|| json!({})),
    );
    own.extend(labels);
}

/// The namespace of a new object is the request's.
fn set_namespace(target: &Target, object: &mut Value) -> Result<(), Failure> {
    check_same_namespace(target, object)?;
    set_place(target, object);
    Ok(())
}

/// An object that names a namespace names the request's; one that is in none may name any.
pub(super) fn check_same_namespace(target: &Target, object: &Value) -> Result<(), Failure> {
    let given = text(object, &["metadata", "namespace"]);
    if target.kind.is_namespaced() && !given.is_empty() && given != target.namespace {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// The UID in a PUT is a condition on what it replaces. (In a patch it is a change.)
pub(super) fn check_uid(target: &Target, object: &Value, current: &str) -> Result<(), Failure> {
    let uid = text(object, &["metadata", "uid"]);
    if uid.is_empty() || uid == current {
        return Ok(());
    }
    let kind = target.kind;
    let place = match kind.plural {
        "nodes" => "minions",
        "services" => "services/specs",
        plural => plural,
    };
    let namespace = match target.namespace.as_str() {
        "" => String::new(),
        namespace => format!("{namespace}/"),
    };
    Err(Failure::conflict(
        kind,
        &target.name,
        &format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{place}/{namespace}{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {current}",
            target.name
        ),
    ))
}

/// Puts name and namespace of the request into an object that may leave them out.
fn set_name(target: &Target, object: &mut Value) {
    metadata_mut(object).insert("name".into(), target.name.clone().into());
    set_place(target, object);
}

fn set_place(target: &Target, object: &mut Value) {
    let map = as_map_mut(object);
    map.insert("kind".into(), target.kind.kind.into());
    map.insert("apiVersion".into(), target.kind.api_version().into());
    let metadata = metadata_mut(object);
    if target.kind.is_namespaced() {
        metadata.insert("namespace".into(), target.namespace.clone().into());
    } else {
        metadata.remove("namespace");
    }
}

/// A resource version in the object is a condition on what it replaces.
fn check_version(target: &Target, new: &Value, old: &Stored) -> Result<(), Failure> {
    let kind = target.kind;
    match text(new, &["metadata", "resourceVersion"]) {
        "" | "0" if kind.has(Feature::UnconditionalUpdate) => Ok(()),
        "" | "0" => Err(Failure::invalid_as(
            kind.group,
            kind.plural,
            &target.name,
            &[FieldError::invalid_raw(
                "metadata.resourceVersion",
                0,
                "must be specified for an update",
            )],
        )),
        version if version.parse::<u64>().is_err() => {
            Err(Failure::new(500, "", go_parse_error("Uint", version)))
        }
        version if version == old.revision.to_string() => Ok(()),
        _ => Err(Failure::modified(kind, &target.name)),
    }
}

/// Whether storing `new` would change nothing.
fn is_same(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else {
        return false;
    };
    let typed = |field: &str| matches!(field, "kind" | "apiVersion" | "metadata");
    let others_equal = new.iter().filter(|(field, _)| !typed(field)).count()
        == old.iter().filter(|(field, _)| !typed(field)).count()
        && new
            .iter()
            .filter(|(field, _)| !typed(field))
            .all(|(field, value)| old.get(field) == Some(value));
    others_equal && same_metadata(new.get("metadata"), old.get("metadata"))
}

fn same_metadata(new: Option<&Value>, old: Option<&Value>) -> bool {
    let (Some(Value::Object(new)), Some(Value::Object(old))) = (new, old) else {
        return new == old;
    };
    let versionless = |map: &serde_json::Map<String, Value>| {
        map.len() - usize::from(map.contains_key("resourceVersion"))
    };
    versionless(new) == versionless(old)
        && new
            .iter()
            .filter(|(field, _)| *field != "resourceVersion")
            .all(|(field, value)| old.get(field) == Some(value))
}

/// Whether an object on its way out has nothing left to wait for.
pub(super) fn is_finished(object: &Value) -> bool {
    at(object, &["metadata", "deletionTimestamp"]).is_some()
        && strategy::metadata::strings(object, "finalizers").is_empty()
        && at(object, &["metadata", "deletionGracePeriodSeconds"])
            .and_then(Value::as_i64)
            .unwrap_or(0)
            == 0
}

const TOPOLOGY: &[&str] = &[
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const GENERATED_NAME_ATTEMPTS: usize = 8;
