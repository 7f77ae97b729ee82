//! Rules of `metadata`, common to all kinds (`apimachinery/pkg/api/validation/objectmeta.go`).

use serde_json::Value;

use super::names::{self, NameRule, Prefix};
use crate::field::FieldError;
use crate::kinds::Kind;
use crate::object::{at, text};

/// Checks the metadata of an object about to be created; its name is generated already.
pub(crate) fn check_create(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let rule = kind.name_rule;
    if rule == NameRule::TrustBundle {
        errors.extend(super::trust_bundle::check_name(object));
    } else {
        let generate_name = text(object, &["metadata", "generateName"]);
        if !generate_name.is_empty() {
            errors.extend(
                names::name(rule, generate_name, Prefix::ToBeExtended)
                    .into_iter()
                    .map(|why| FieldError::invalid("metadata.generateName", generate_name, why)),
            );
        }
        let name = text(object, &["metadata", "name"]);
        if name.is_empty() {
            errors.push(FieldError::required(
                "metadata.name",
                "name or generateName is required",
            ));
        } else {
            errors.extend(
                names::name(rule, name, Prefix::Complete)
                    .into_iter()
                    .map(|why| FieldError::invalid("metadata.name", name, why)),
            );
        }
    }
    if at(object, &["metadata", "generation"])
        .and_then(Value::as_i64)
        .is_some_and(|generation| generation < 0)
    {
        let generation = at(object, &["metadata", "generation"]).unwrap_or(&Value::Null);
        errors.push(FieldError::invalid_raw(
            "metadata.generation",
            generation,
            "must be greater than or equal to 0",
        ));
    }
    errors.extend(check_maps(object));
    errors.extend(check_finalizers(object));
    for (index, finalizer) in strings(object, "finalizers").into_iter().enumerate() {
        let standard = matches!(finalizer, "kubernetes" | ORPHAN | FOREGROUND);
        if !finalizer.contains('/') && !standard {
            errors.push(FieldError::invalid(
                &format!("metadata.finalizers[{index}]"),
                finalizer,
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
    errors
}

/// Drops owners that are named twice, as the real server does when it stores an object.
pub(crate) fn prepare_create(object: &mut Value) {
    let metadata = crate::object::metadata_mut(object);
    if let Some(Value::Array(owners)) = metadata.get_mut("ownerReferences") {
        let mut seen: Vec<Value> = Vec::new();
        owners.retain(|owner| {
            let new = !seen.contains(owner);
            if new {
                seen.push(owner.clone());
            }
            new
        });
    }
}

/// Checks the metadata of an object about to be replaced.
pub(crate) fn check_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let uid = text(new, &["metadata", "uid"]);
    if uid != text(old, &["metadata", "uid"]) {
        errors.push(FieldError::invalid(
            "metadata.uid",
            uid,
            "field is immutable",
        ));
    }
    if at(old, &["metadata", "deletionTimestamp"]).is_some() {
        let before = strings(old, "finalizers");
        let added: Vec<&str> = strings(new, "finalizers")
            .into_iter()
            .filter(|finalizer| !before.contains(finalizer))
            .collect();
        if !added.is_empty() {
            errors.push(FieldError::forbidden(
                "metadata.finalizers",
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    added.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
                ),
            ));
        }
    }
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        let value = at(new, &["metadata", key]);
        if value != at(old, &["metadata", key]) {
            errors.push(FieldError::invalid_raw(
                &format!("metadata.{key}"),
                value.unwrap_or(&Value::Null),
                "field is immutable",
            ));
        }
    }
    errors.extend(check_maps(new));
    errors.extend(check_finalizers(new));
    errors
}

/// Total size of annotation keys and values.
pub(crate) const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// The size of an annotation map as the limit counts it.
pub(crate) fn annotations_size(annotations: Option<&Value>) -> usize {
    annotations
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum()
}

fn check_maps(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let labels = at(object, &["metadata", "labels"]).and_then(Value::as_object);
    for (key, value) in labels.into_iter().flatten() {
        errors.extend(
            names::label_key(key)
                .into_iter()
                .map(|why| FieldError::invalid("metadata.labels", key, why)),
        );
        let value = value.as_str().unwrap_or_default();
        errors.extend(
            names::label_value(value)
                .into_iter()
                .map(|why| FieldError::invalid("metadata.labels", value, why)),
        );
    }
    let annotations = at(object, &["metadata", "annotations"]);
    for key in annotations
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|map| map.keys())
    {
        errors.extend(
            names::label_key(&key.to_lowercase())
                .into_iter()
                .map(|why| FieldError::invalid("metadata.annotations", key, why)),
        );
    }
    if annotations_size(annotations) > ANNOTATIONS_LIMIT {
        errors.push(FieldError::too_long(
            "metadata.annotations",
            ANNOTATIONS_LIMIT,
        ));
    }
    let owners = at(object, &["metadata", "ownerReferences"]).and_then(Value::as_array);
    let controllers: Vec<String> = owners
        .into_iter()
        .flatten()
        .filter(|owner| owner.get("controller") == Some(&Value::Bool(true)))
        .map(|owner| format!("{}/{}", text(owner, &["kind"]), text(owner, &["name"])))
        .collect();
    for (index, owner) in owners.into_iter().flatten().enumerate() {
        let api_version = text(owner, &["apiVersion"]);
        if api_version.matches('/').count() > 1 || api_version.ends_with('/') {
            errors.push(FieldError::invalid(
                &format!("metadata.ownerReferences[{index}].apiVersion"),
                api_version,
                "must be <group>/<version> or <version>",
            ));
        }
        for field in ["apiVersion", "kind", "name", "uid"] {
            if text(owner, &[field]).is_empty() {
                errors.push(FieldError::required(
                    &format!("metadata.ownerReferences[{index}].{field}"),
                    "must not be empty",
                ));
            }
        }
        if api_version == "v1" && text(owner, &["kind"]) == "Event" {
            errors.push(FieldError::invalid_raw(
                &format!("metadata.ownerReferences[{index}]"),
                show_owner(owner),
                "/v1, Kind=Event is disallowed from being an owner",
            ));
        }
    }
    if let [first, others @ ..] = controllers.as_slice() {
        let all: Vec<String> = owners.into_iter().flatten().map(show_owner).collect();
        for other in others {
            errors.push(FieldError::invalid_raw(
                "metadata.ownerReferences",
                format!("[{}]", all.join(",")),
                format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {other}"
                ),
            ));
        }
    }
    errors
}

fn check_finalizers(object: &Value) -> Vec<FieldError> {
    let finalizers = strings(object, "finalizers");
    let mut errors: Vec<FieldError> = finalizers
        .iter()
        .flat_map(|finalizer| {
            names::label_key(finalizer)
                .into_iter()
                .map(move |why| FieldError::invalid("metadata.finalizers", finalizer, why))
        })
        .collect();
    if finalizers.contains(&ORPHAN) && finalizers.contains(&FOREGROUND) {
        let shown: Vec<String> = finalizers.iter().map(|name| format!("{name:?}")).collect();
        errors.push(FieldError::invalid_raw(
            "metadata.finalizers",
            format!("[{}]", shown.join(",")),
            format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set"),
        ));
    }
    errors
}

/// An owner as Go encodes it: in the order of its type's fields.
fn show_owner(owner: &Value) -> String {
    let fields: Vec<String> = [
        "apiVersion",
        "kind",
        "name",
        "uid",
        "controller",
        "blockOwnerDeletion",
    ]
    .into_iter()
    .filter_map(|field| Some(format!("{field:?}:{}", owner.get(field)?)))
    .collect();
    format!("{{{}}}", fields.join(","))
}

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// The strings of a list in the metadata.
pub(crate) fn strings<'a>(object: &'a Value, key: &str) -> Vec<&'a str> {
    at(object, &["metadata", key])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}
