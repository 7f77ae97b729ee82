//! Server-side apply, without ownership.
//!
//! What is applied is merged into what is there: maps field by field, lists as their types say
//! (`x-kubernetes-list-type`). Nobody keeps who applied what, so there are no conflicts, and a field
//! that is left out of a later apply stays. An object that is not there is created.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value};

use super::Unknown;
use crate::field::FieldError;
use crate::object::metadata_mut;
use crate::request::{Part, Query, Target, refuse_options};
use crate::schema::{Field, ListType, Schemas, Shape, UNKNOWN, schemas, type_name};
use crate::server::ApiServer;
use crate::status::Failure;
use crate::store::Stored;
use crate::user::User;
use crate::versions;

impl ApiServer {
    pub(super) fn apply(
        &self,
        user: &User,
        target: &Target,
        query: &Query,
        body: &Bytes,
        unknown: &Unknown,
    ) -> Result<(StatusCode, Arc<Stored>), Failure> {
        query.check_write("PatchOptions")?;
        if query.field_manager.is_empty() {
            let error = FieldError::required("fieldManager", "is required for apply patch");
            refuse_options("PatchOptions", &[error])?;
        }
        let applied: Value = serde_json::from_slice(body)
            .map_err(|error| Failure::bad_request(format!("error decoding YAML: {error}")))?;
        let mut applied = super::typed(target, query, applied, unknown)?;
        super::patch::check_identity(target, &applied)?;
        let exists = self
            .inner
            .store
            .get(target.kind, &super::key(target))
            .is_some();
        if !exists && target.part == Part::Main {
            self.check_may_create(user, target)?;
            metadata_mut(&mut applied).remove("resourceVersion");
            let created = self.create(user, target, query, applied)?;
            return Ok((StatusCode::CREATED, created));
        }
        let updated = self.update(user, target, query, |old| {
            let mut object = versions::view(target.kind, &old.value);
            let shape = Shape::Named(type_name(target.kind));
            merge(schemas(), &shape, &mut object, &applied);
            Ok(object)
        })?;
        Ok((StatusCode::OK, updated))
    }
}

fn merge(schemas: &Schemas, shape: &Shape, object: &mut Value, applied: &Value) {
    match (object, applied) {
        (Value::Object(old), Value::Object(applied)) => {
            merge_maps(schemas, shape, old, applied);
        }
        (object, applied) => *object = applied.clone(),
    }
}

fn merge_maps(
    schemas: &Schemas,
    shape: &Shape,
    old: &mut Map<String, Value>,
    applied: &Map<String, Value>,
) {
    for (name, value) in applied {
        let field = match shape {
            Shape::Named(shape) => schemas.fields(shape).and_then(|fields| fields.get(name)),
            _ => None,
        };
        let inner = match (shape, field) {
            (Shape::Map(element), _) => element,
            (_, Some(field)) => &field.shape,
            _ => &UNKNOWN,
        };
        match (old.get_mut(name), value) {
            (Some(Value::Array(list)), Value::Array(applied)) => {
                merge_lists(schemas, field, list, applied);
            }
            (Some(there), value) => merge(schemas, inner, there, value),
            (None, value) => {
                old.insert(name.clone(), value.clone());
            }
        }
    }
}

fn merge_lists(schemas: &Schemas, field: Option<&Field>, list: &mut Vec<Value>, applied: &[Value]) {
    let Some(Field {
        shape: Shape::List(element),
        merging,
    }) = field
    else {
        *list = applied.to_vec();
        return;
    };
    match merging.list {
        ListType::Atomic => *list = applied.to_vec(),
        ListType::Set => {
            let mut there: HashSet<String> = list.iter().map(Value::to_string).collect();
            for value in applied {
                if there.insert(value.to_string()) {
                    list.push(value.clone());
                }
            }
        }
        ListType::Map(keys) => {
            let mut places = HashMap::new();
            for (place, value) in list.iter().enumerate() {
                places.entry(name_of(value, keys)).or_insert(place);
            }
            for value in applied {
                let place = *places.entry(name_of(value, keys)).or_insert(list.len());
                match list.get_mut(place) {
                    Some(there) => merge(schemas, element, there, value),
                    None => list.push(value.clone()),
                }
            }
        }
    }
}

/// By what an element is told from the others.
fn name_of(value: &Value, keys: &[&str]) -> String {
    let keys: Vec<Value> = keys.iter().map(|key| key_of(value, key)).collect();
    Value::from(keys).to_string()
}

/// A key's value; the one key that has a default upstream is `protocol`.
fn key_of(value: &Value, key: &str) -> Value {
    match value.get(key) {
        None if key == "protocol" => "TCP".into(),
        found => found.cloned().unwrap_or_default(),
    }
}
