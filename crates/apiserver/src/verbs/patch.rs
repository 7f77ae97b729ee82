//! PATCH: JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch.
//!
//! Server-side apply comes by the same method, but is another thing: [`super::apply`].

use std::sync::Arc;

use bytes::Bytes;
use json_patch::PatchOperation;
use serde_json::{Map, Value, json};

use super::{Misfit, Unknown};
use crate::field::FieldError;
use crate::object::normalize;
use crate::request::{Query, Target};
use crate::schema::{schemas, type_name};
use crate::server::ApiServer;
use crate::status::Failure;
use crate::store::Stored;
use crate::strategic;
use crate::user::User;
use crate::versions;

impl ApiServer {
    pub(super) fn patch(
        &self,
        user: &User,
        target: &Target,
        query: &Query,
        media_type: &str,
        body: &Bytes,
        unknown: &Unknown,
    ) -> Result<Arc<Stored>, Failure> {
        let patch = Patch::parse(media_type, body)?;
        query.check_write("PatchOptions")?;
        query.refuse_force()?;
        self.update(user, target, query, |old| {
            let mut object = versions::view(target.kind, &old.value);
            patch.apply(&type_name(target.kind), &mut object)?;
            super::check_type(target, &object)
                .map_err(|misfit| unreadable(target, &object, misfit))?;
            unknown
                .drop_from(target, query, &mut object)
                .map_err(|why| strictly(target, &object, why))?;
            versions::known(target.kind, &mut object);
            normalize(&mut object);
            check_identity(target, &object)?;
            Ok(object)
        })
    }
}

pub(super) enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Map<String, Value>),
}

impl Patch {
    pub(super) fn parse(media_type: &str, body: &[u8]) -> Result<Self, Failure> {
        let malformed = |error: serde_json::Error| {
            Failure::bad_request(format!("error decoding patch: {error}"))
        };
        match media_type {
            JSON_PATCH => {
                let operations: Vec<Value> = serde_json::from_slice(body).map_err(malformed)?;
                let patch: json_patch::Patch = serde_json::from_value(operations.into())
                    .map_err(|_| Failure::patch_does_not_apply())?;
                if patch.0.len() > OPERATIONS_LIMIT {
                    return Err(Failure::new(
                        413,
                        "RequestEntityTooLarge",
                        format!(
                            "Request entity too large: The allowed maximum operations in a JSON patch is {OPERATIONS_LIMIT}, got {}",
                            patch.0.len()
                        ),
                    ));
                }
                Ok(Self::Json(patch))
            }
            MERGE_PATCH => {
                let patch: Value = serde_json::from_slice(body).map_err(malformed)?;
                if !patch.is_object() {
                    return Err(Failure::bad_request(
                        "error decoding patch: a merge patch must be a JSON object",
                    ));
                }
                Ok(Self::Merge(patch))
            }
            STRATEGIC_MERGE_PATCH => {
                let patch: Value = serde_json::from_slice(body).map_err(malformed)?;
                match patch {
                    Value::Object(patch) => Ok(Self::Strategic(patch)),
                    _ => Err(Failure::bad_request(
                        "error decoding patch: a strategic merge patch must be a JSON object",
                    )),
                }
            }
            _ => Err(Failure::unroutable_media_type()),
        }
    }

    /// Patches an object of the type of this name.
    pub(super) fn apply(&self, type_name: &str, object: &mut Value) -> Result<(), Failure> {
        match self {
            Self::Json(patch) => {
                let mut copied = 0;
                for operation in &patch.0 {
                    check_growth(operation, object, &mut copied)?;
                    let operation = &replacement(operation, object);
                    json_patch::patch(object, std::slice::from_ref(operation))
                        .map_err(|_| Failure::patch_does_not_apply())?;
                }
                Ok(())
            }
            Self::Merge(patch) => {
                json_patch::merge(object, patch);
                Ok(())
            }
            Self::Strategic(patch) => strategic::merge(schemas(), type_name, object, patch),
        }
    }
}

/// Upstream's library takes the replacement of a member that is absent for an addition.
fn replacement(operation: &PatchOperation, object: &Value) -> PatchOperation {
    match operation {
        PatchOperation::Replace(replace) if object.pointer(replace.path.as_str()).is_none() => {
            PatchOperation::Add(json_patch::AddOperation {
                path: replace.path.clone(),
                value: replace.value.clone(),
            })
        }
        operation => operation.clone(),
    }
}

/// Refuses operations that make more of an object than a request's body can hold: copies that double it, and values put
/// so deep that whoever walks the object runs out of stack.
fn check_growth(
    operation: &PatchOperation,
    object: &Value,
    copied: &mut usize,
) -> Result<(), Failure> {
    let unprocessable = |message| Failure::new(422, "Invalid", message);
    let (path, value) = match operation {
        PatchOperation::Add(add) => (&add.path, Some(&add.value)),
        PatchOperation::Replace(replace) => (&replace.path, Some(&replace.value)),
        PatchOperation::Copy(copy) => (&copy.path, object.pointer(copy.from.as_str())),
        PatchOperation::Move(from_to) => (&from_to.path, object.pointer(from_to.from.as_str())),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
    };
    // What is not there to copy is told by the patch itself.
    let Some(value) = value else {
        return Ok(());
    };
    if path.as_str().matches('/').count() + depth(value) > DEPTH_LIMIT {
        return Err(unprocessable(format!(
            "the patch nests values more than {DEPTH_LIMIT} deep"
        )));
    }
    if matches!(operation, PatchOperation::Copy(_)) {
        *copied += serde_json::to_vec(value).map_or(0, |bytes| bytes.len());
        if *copied > COPY_LIMIT {
            return Err(Failure::patch_does_not_apply());
        }
    }
    Ok(())
}

/// How many arrays and objects are in each other.
fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(list) => list.iter().map(depth).max(),
        Value::Object(map) => map.values().map(depth).max(),
        _ => return 0,
    };
    1 + inner.unwrap_or(0)
}

/// An error of the patch, which shows the whole object that it made.
fn unreadable(target: &Target, object: &Value, misfit: Misfit) -> Failure {
    let why = match misfit {
        Misfit::Unreadable { why, .. } => why,
        Misfit::OtherVersion(given) => format!(
            "the API version in the data ({given}) does not match the expected API version ({})",
            target.kind.api_version()
        ),
    };
    ill_made(object, &why)
}

/// The same, of an object that need not be of a kind.
pub(super) fn ill_made(object: &Value, why: &str) -> Failure {
    let error = FieldError::invalid("patch", &object.to_string(), why);
    Failure::new(422, "Invalid", format!(" \"\" is invalid: {error}")).with_details(json!({
        "causes": [{
            "reason": error.kind.cause(),
            "message": error.body(),
            "field": error.field,
        }],
    }))
}

/// The same of fields that nobody knows.
fn strictly(target: &Target, object: &Value, why: String) -> Failure {
    let misfit = Misfit::Unreadable {
        kind: String::new(),
        version: String::new(),
        why,
    };
    unreadable(target, object, misfit)
}

/// A patch cannot move an object.
pub(super) fn check_identity(target: &Target, object: &Value) -> Result<(), Failure> {
    let name = crate::object::text(object, &["metadata", "name"]);
    if name != target.name {
        return Err(Failure::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )));
    }
    super::write::check_same_namespace(target, object)
}

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_MERGE_PATCH: &str = "application/strategic-merge-patch+json";
const OPERATIONS_LIMIT: usize = 10_000;
/// Upstream's `jsonpatch.AccumulatedCopySizeLimit`.
const COPY_LIMIT: usize = 3 * 1024 * 1024;
/// As deep as the parser of bodies goes.
const DEPTH_LIMIT: usize = 127;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn apply(operations: &Value, object: &mut Value) -> Result<(), Failure> {
        let kind = &crate::kinds::KINDS[crate::kinds::CONFIG_MAPS];
        Patch::parse(JSON_PATCH, operations.to_string().as_bytes())?.apply(&type_name(kind), object)
    }

    #[test]
    fn copies_that_double_the_object_are_stopped() {
        let copies: Vec<_> = (0..16)
            .map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/c{n}")}))
            .collect();
        let mut object = json!({"data": {"seed": "x".repeat(1000)}});
        let failure = apply(&json!(copies), &mut object).unwrap_err();
        assert_eq!(failure.code, 422);
    }

    #[test]
    fn an_object_deeper_than_any_body_cannot_be_made() {
        let nest = |depth: usize| (0..depth).fold(json!({}), |inner, _| json!({ "a": inner }));
        let mut path = String::new();
        let mut operations = Vec::new();
        for _ in 0..50 {
            let at = if path.is_empty() { "/a" } else { &path };
            operations.push(json!({"op": "add", "path": at, "value": nest(100)}));
            path.push_str(&"/a".repeat(100));
        }
        let failure = apply(&json!(operations), &mut json!({})).unwrap_err();
        assert_eq!(failure.code, 422);

        let below =
            [json!({"op": "copy", "from": "/a", "path": format!("{}/a", "/a".repeat(100))})];
        let failure = apply(&json!(below), &mut json!({"a": nest(100)})).unwrap_err();
        assert_eq!(failure.code, 422);
        let beside = [json!({"op": "copy", "from": "/a", "path": "/b"})];
        apply(&json!(beside), &mut json!({"a": nest(100)})).unwrap();
    }
}
