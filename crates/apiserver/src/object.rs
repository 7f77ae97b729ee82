//! Reading and shaping objects held as JSON.

use serde_json::{Map, Value};

/// The string at a path of object keys, or `""`: absent and empty mean the same in the API.
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

/// The value at a path of object keys.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// The items of the array under a key; none if it is absent or of another type.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    let items = value.get(key).and_then(Value::as_array);
    items.into_iter().flatten()
}

/// An object's `metadata`, made if it is absent or of another type.
pub(crate) fn metadata_mut(value: &mut Value) -> &mut Map<String, Value> {
    map_mut(value, "metadata")
}

/// The map under a key, made if it is absent or of another type.
pub(crate) fn map_mut<'a>(value: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    let outer = as_map_mut(value);
    let inner = outer
        .entry(key.to_owned())
        .or_insert_with(|| Value::Object(Map::new()));
    as_map_mut(inner)
}

/// This value as a map; anything else is replaced by an empty one.
pub(crate) fn as_map_mut(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value
        .as_object_mut()
        .expect("invariant: the line above made it an object")
}

/// Sets a key unless it has a value already.
pub(crate) fn set_default(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    map.entry(key.to_owned()).or_insert_with(|| value.into());
}

/// Copies a key from one map to another, absence included.
pub(crate) fn copy_key(from: Option<&Value>, to: &mut Map<String, Value>, key: &str) {
    match from.and_then(|map| map.get(key)) {
        Some(value) => {
            to.insert(key.to_owned(), value.clone());
        }
        None => {
            to.remove(key);
        }
    }
}

/// Drops what Go's decoder and `omitempty` would drop: nulls everywhere, and of the metadata
/// empty values, bookkeeping and what is not known.
pub(crate) fn normalize(value: &mut Value) {
    for map in ["labels", "annotations"] {
        empty_nulls(value.get_mut("metadata").and_then(|it| it.get_mut(map)));
    }
    prune_nulls(value);
    metadata_mut(value).retain(|key, value| {
        let known = METADATA.contains(&key.as_str());
        known
            && match value {
                Value::Object(map) => !map.is_empty(),
                Value::Array(list) => !list.is_empty(),
                Value::String(text) => !text.is_empty(),
                _ => true,
            }
    });
}

/// A null in a map of strings is the empty string.
fn empty_nulls(map: Option<&mut Value>) {
    for value in map
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(|map| map.values_mut())
        .filter(|value| value.is_null())
    {
        *value = "".into();
    }
}

fn prune_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(prune_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(prune_nulls),
        _ => {}
    }
}

/// The fields of `ObjectMeta` that this server keeps.
pub(crate) const METADATA: &[&str] = &[
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "uid",
];

/// What Go's JSON decoder calls a value when it complains of it.
pub(crate) fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "array",
        Value::Bool(_) => "bool",
        Value::Null => "null",
        Value::Number(_) => "number",
        Value::Object(_) => "object",
        Value::String(_) => "string",
    }
}
