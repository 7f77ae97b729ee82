//! The types of the objects served: which fields they have, and how lists of them merge.
//!
//! They are those of Kubernetes 1.37 (descriptions included); [`merging`] adds what these leave out.
//! From them are made the OpenAPI documents, the check for unknown fields, and the patches that need
//! to know what a list is keyed by.
//!
//! They come from k8s-openapi's types, but not at run time: as code they are megabytes. `generate`,
//! which is built for tests alone, makes them, and a test holds what it makes against
//! `definitions.json.gz`, which is read once per process, when first needed.

#[cfg(test)]
mod generate;
mod merging;
mod typing;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::OnceLock;

use flate2::read::GzDecoder;
use serde_json::{Map, Value, json};

pub(crate) use self::merging::{ListType, Merging, Strategy};
use crate::kinds::Kind;

/// All types, by their names in OpenAPI: `io.k8s.api.core.v1.Pod`.
pub(crate) struct Schemas {
    types: HashMap<String, Fields>,
    /// As OpenAPI shows them.
    pub(crate) definitions: Map<String, Value>,
}

/// The fields of a type by their names; of a type that is no struct, none.
pub(crate) type Fields = HashMap<String, Field>;

/// One field of a type.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) shape: Shape,
    /// How a list in it merges; of anything else, as nothing does.
    pub(crate) merging: Merging,
}

/// What a value is made of.
#[derive(Debug)]
pub(crate) enum Shape {
    /// A type of its own, by its name.
    Named(String),
    List(Box<Self>),
    /// A map with names of people's choice.
    Map(Box<Self>),
    /// A value without parts, or with parts that nobody knows.
    Leaf(Scalar),
}

/// What a value without parts is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scalar {
    Bool,
    /// Bytes, in JSON as base64.
    Bytes,
    Integer(Width),
    Text,
    Other,
}

/// How large an integer may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Width {
    Int32,
    Int64,
}

/// The types, made when first asked for.
pub(crate) fn schemas() -> &'static Schemas {
    static SCHEMAS: OnceLock<Schemas> = OnceLock::new();
    SCHEMAS.get_or_init(Schemas::read)
}

/// The name of a kind's type.
pub(crate) fn type_name(kind: &Kind) -> String {
    type_name_of(kind.group, kind.version, kind.kind)
}

/// The name of the type of this group, version and kind.
pub(crate) fn type_name_of(group: &str, version: &str, kind: &str) -> String {
    let group = match group {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    format!("io.k8s.api.{group}.{version}.{kind}")
}

impl Schemas {
    fn read() -> Self {
        let mut definitions = definitions();
        let types = definitions
            .iter()
            .map(|(name, schema)| (name.clone(), fields(name, schema)))
            .collect();
        for (name, schema) in &mut definitions {
            finish(name, schema);
        }
        Self { types, definitions }
    }

    /// The fields of this type.
    pub(crate) fn fields(&self, name: &str) -> Option<&Fields> {
        self.types.get(name).filter(|fields| !fields.is_empty())
    }

    /// Drops from an object what its type does not have, and answers with the paths of it.
    pub(crate) fn prune(&self, kind: &Kind, object: &mut Value) -> Vec<String> {
        let mut unknown = Vec::new();
        self.prune_at(&Shape::Named(type_name(kind)), object, "", &mut unknown);
        unknown
    }

    /// What Go makes of a null in a list: nothing that anything was said about.
    fn zero(&self, shape: &Shape) -> Value {
        match shape {
            Shape::Named(name) if self.fields(name).is_some() => json!({}),
            Shape::Leaf(Scalar::Text) => json!(""),
            Shape::Leaf(Scalar::Integer(_)) => json!(0),
            Shape::Leaf(Scalar::Bool) => json!(false),
            _ => Value::Null,
        }
    }

    fn prune_at(&self, shape: &Shape, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
        match (shape, value) {
            (Shape::Named(name), Value::Object(map)) => {
                let Some(fields) = self.fields(name) else {
                    return;
                };
                let below = |field: &str| match path {
                    "" => field.to_owned(),
                    path => format!("{path}.{field}"),
                };
                let before = unknown.len();
                for (field, value) in map.iter_mut() {
                    match fields.get(field) {
                        None => unknown.push(below(field)),
                        Some(known) if value.is_object() || value.is_array() => {
                            self.prune_at(&known.shape, value, &below(field), unknown);
                        }
                        Some(_) => {}
                    }
                }
                if unknown.len() > before {
                    map.retain(|field, _| fields.contains_key(field));
                }
            }
            (Shape::List(element), Value::Array(list)) => {
                for (index, value) in list.iter_mut().enumerate() {
                    if value.is_null() {
                        *value = self.zero(element);
                    }
                    self.prune_at(element, value, &format!("{path}[{index}]"), unknown);
                }
            }
            (Shape::Map(element), Value::Object(map)) => {
                for (key, value) in map {
                    if value.is_object() || value.is_array() {
                        self.prune_at(element, value, &format!("{path}.{key}"), unknown);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The schemas as k8s-openapi has them, by the names of their types.
fn definitions() -> Map<String, Value> {
    serde_json::from_reader(std::io::BufReader::new(GzDecoder::new(DEFINITIONS)))
        .expect("invariant: a test reads what is compiled in")
}

fn fields(name: &str, schema: &Value) -> Fields {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .map(|(field, schema)| {
            let known = Field {
                shape: shape(schema),
                merging: merging::of(name, field),
            };
            (field.clone(), known)
        })
        .collect()
}

fn shape(schema: &Value) -> Shape {
    let reference = schema.get("$ref").and_then(Value::as_str);
    if let Some(name) = reference.and_then(|path| path.rsplit('/').next()) {
        return Shape::Named(name.to_owned());
    }
    let inner = |key: &str| schema.get(key).map(|inner| Box::new(shape(inner)));
    match schema.get("type").and_then(Value::as_str) {
        Some("array") => inner("items").map_or(UNKNOWN, Shape::List),
        Some("object") => inner("additionalProperties").map_or(UNKNOWN, Shape::Map),
        Some("boolean") => Shape::Leaf(Scalar::Bool),
        Some("integer") => Shape::Leaf(Scalar::Integer(
            match schema.get("format").and_then(Value::as_str) {
                Some("int32") => Width::Int32,
                _ => Width::Int64,
            },
        )),
        Some("string") => match schema.get("format").and_then(Value::as_str) {
            Some("byte") => Shape::Leaf(Scalar::Bytes),
            _ => Shape::Leaf(Scalar::Text),
        },
        _ => UNKNOWN,
    }
}

/// What nothing is known about.
pub(crate) const UNKNOWN: Shape = Shape::Leaf(Scalar::Other);

/// Brings a schema into the form in which Kubernetes publishes it: how lists merge is told, and a
/// reference with a description of its own stands in an `allOf`.
fn finish(name: &str, schema: &mut Value) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (field, property) in properties.into_iter().flatten() {
        wrap_references(property);
        let Some(map) = property.as_object_mut() else {
            continue;
        };
        let merging = merging::of(name, field);
        if let Some((strategy, key)) = merging.strategic() {
            map.insert("x-kubernetes-patch-strategy".into(), strategy.into());
            if !key.is_empty() {
                map.insert("x-kubernetes-patch-merge-key".into(), key.into());
            }
        }
        let list_type = match merging.list {
            ListType::Atomic => continue,
            ListType::Map(keys) => {
                map.insert("x-kubernetes-list-map-keys".into(), json!(keys));
                "map"
            }
            ListType::Set => "set",
        };
        map.insert("x-kubernetes-list-type".into(), list_type.into());
    }
}

fn wrap_references(schema: &mut Value) {
    if let Some(map) = schema.as_object_mut() {
        if map.len() > 1
            && let Some(reference) = map.remove("$ref")
        {
            map.insert("allOf".into(), json!([{"$ref": reference}]));
        }
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = map.get_mut(key) {
                wrap_references(inner);
            }
        }
    }
}

static DEFINITIONS: &[u8] = include_bytes!("schema/definitions.json.gz");
