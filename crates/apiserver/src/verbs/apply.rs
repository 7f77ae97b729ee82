//! Server-side apply, without ownership.
//!
//! What is applied is merged into what is there: maps field by field, lists as their types say
//! (`x-kubernetes-list-type`). Nobody keeps who applied what, so there are no conflicts, and a field
//! that is left out of a later apply stays. An object that is not there is created.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value};

use super::Unknown;
use crate::authorization::Asked;
use crate::field::FieldError;
use crate::object::metadata_mut;
use crate::request::{Part, Query, Target, refuse_options};
use crate::schema::{Field, ListType, Schemas, Shape, UNKNOWN, schemas, type_name};
use crate::server::ApiServer;
use crate::status::Failure;
use crate::store::Stored;
use crate::user::{Permission, User};
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
            // Whoever may patch what is there may not make what is not, as upstream.
            let asked = Asked::creation(target);
            let authorizer = &self.inner.authorizer;
            if let Permission::Denied = authorizer.authorize(user, &asked.attributes()) {
                let reason = authorizer.reason(user, &asked.attributes());
                return Err(asked.forbidden(user, &reason));
            }
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
            for value in applied {
                if !list.contains(value) {
                    list.push(value.clone());
                }
            }
        }
        ListType::Map(keys) => {
            for value in applied {
                let same =
                    |it: &Value| keys.iter().all(|key| key_of(it, key) == key_of(value, key));
                match list.iter_mut().find(|it| same(it)) {
                    Some(there) => merge(schemas, element, there, value),
                    None => list.push(value.clone()),
                }
            }
        }
    }
}

/// A key's value; the one key that has a default upstream is `protocol`.
fn key_of(value: &Value, key: &str) -> Value {
    match value.get(key) {
        None if key == "protocol" => "TCP".into(),
        found => found.cloned().unwrap_or_default(),
    }
}
