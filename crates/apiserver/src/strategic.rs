//! Strategic merge patches: merge patches that know what a list is keyed by
//! (`apimachinery/pkg/util/strategicpatch`).
//!
//! Maps merge field by field and `null` deletes, as in a merge patch (RFC 7386). Lists whose field
//! says so merge element by element. Beside fields, a patch may hold directives:
//!
//! - `$patch: replace | delete` in a map, or in an element of a list that merges by key;
//! - `$retainKeys: [...]`: fields that are not in it go;
//! - `$deleteFromPrimitiveList/<field>: [...]`: values that go;
//! - `$setElementOrder/<field>: [...]`: the order in which the elements are to stand.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::schema::{Field, Schemas, Shape, Strategy, UNKNOWN};
use crate::status::Failure;

/// Applies a patch to an object of this type.
pub(crate) fn merge(
    schemas: &Schemas,
    type_name: &str,
    object: &mut Value,
    patch: &Map<String, Value>,
) -> Result<(), Failure> {
    let shape = Shape::Named(type_name.to_owned());
    let old = match std::mem::take(object) {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    *object = merge_maps(schemas, &shape, old, patch)?.into();
    Ok(())
}

fn merge_maps(
    schemas: &Schemas,
    shape: &Shape,
    mut object: Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<Map<String, Value>, Failure> {
    match patch.get(PATCH).map(|directive| directive.as_str()) {
        None | Some(Some("merge")) => {}
        Some(Some("replace")) => return Ok(clean(patch)),
        Some(Some("delete")) => return Ok(Map::new()),
        Some(_) => return Err(malformed("unknown directive in $patch")),
    }
    if let Some(retained) = patch.get(RETAIN_KEYS) {
        let retained = retained
            .as_array()
            .ok_or_else(|| malformed("$retainKeys is no list"))?;
        object.retain(|field, _| retained.iter().any(|it| it.as_str() == Some(field)));
    }
    for (directive, values) in patch {
        if let Some(field) = directive.strip_prefix(DELETE_FROM)
            && let Some(Value::Array(list)) = object.get_mut(field)
        {
            let gone = values
                .as_array()
                .ok_or_else(|| malformed("$deleteFromPrimitiveList is no list"))?;
            list.retain(|value| !gone.contains(value));
        }
    }
    for (field, value) in patch {
        if field.starts_with('$') {
            continue;
        }
        let known = field_of(schemas, shape, field);
        let order = patch.get(&format!("{ORDER}{field}"));
        match (object.remove(field), value) {
            (_, Value::Null) => {}
            (Some(Value::Object(old)), Value::Object(patch)) => {
                let inner = inner_shape(shape, known);
                let merged = merge_maps(schemas, inner, old, patch)?;
                object.insert(field.clone(), merged.into());
            }
            (old, Value::Array(patch)) => {
                let old = match old {
                    Some(Value::Array(list)) => list,
                    _ => Vec::new(),
                };
                let merged = merge_lists(schemas, known, &old, patch, order)?;
                object.insert(field.clone(), merged.into());
            }
            (_, Value::Object(patch)) => {
                // A map that is told to go from where it is not.
                if patch.get(PATCH).and_then(Value::as_str) != Some("delete") {
                    object.insert(field.clone(), clean(patch).into());
                }
            }
            (_, value) => {
                object.insert(field.clone(), value.clone());
            }
        }
    }
    // Orders of lists that the patch does not change otherwise.
    for (directive, order) in patch {
        if let Some(field) = directive.strip_prefix(ORDER)
            && !patch.contains_key(field)
            && let Some(Value::Array(list)) = object.get_mut(field)
        {
            let key = field_of(schemas, shape, field).map_or("", merge_key);
            let given = std::mem::take(list);
            *list = in_order(given.clone(), &given, order, key)?;
        }
    }
    Ok(object)
}

fn merge_lists(
    schemas: &Schemas,
    field: Option<&Field>,
    old: &[Value],
    patch: &[Value],
    order: Option<&Value>,
) -> Result<Vec<Value>, Failure> {
    let Some((Shape::List(element), Strategy::Merge(_) | Strategy::MergeRetaining(_))) =
        field.map(|field| (&field.shape, field.merging.patch))
    else {
        return Ok(patch.iter().map(clean_value).collect());
    };
    let key = field.map_or("", merge_key);
    let mut merged: Vec<Option<Value>> = old.iter().cloned().map(Some).collect();
    // Where the elements of each name are: lists may be long.
    let mut places: HashMap<String, Vec<usize>> = HashMap::new();
    for (place, value) in old.iter().enumerate() {
        if let Some(name) = name_of(value, key) {
            places.entry(name).or_default().push(place);
        }
    }
    if key.is_empty() {
        for value in patch {
            let there = places.entry(value.to_string()).or_default();
            if there.is_empty() {
                there.push(merged.len());
                merged.push(Some(value.clone()));
            }
        }
    } else {
        let replaces = |value: &Value| value.get(PATCH).and_then(Value::as_str) == Some("replace");
        if patch.iter().any(replaces) {
            let kept = patch.iter().filter(|value| value.get(key).is_some());
            return Ok(kept.map(clean_value).collect());
        }
        for value in patch {
            let Value::Object(change) = value else {
                return Err(malformed(
                    "an element of a list that merges by key is no map",
                ));
            };
            let Some(name) = change.get(key) else {
                return Err(malformed(&format!(
                    "map: {value} does not contain declared merge key: {key}"
                )));
            };
            let name = name.to_string();
            if change.get(PATCH).and_then(Value::as_str) == Some("delete") {
                for place in places.remove(&name).into_iter().flatten() {
                    if let Some(gone) = merged.get_mut(place) {
                        *gone = None;
                    }
                }
                continue;
            }
            let there = places.entry(name).or_default();
            match there.first().and_then(|place| merged.get_mut(*place)) {
                Some(Some(Value::Object(found))) => {
                    let old = std::mem::take(found);
                    *found = merge_maps(schemas, element, old, change)?;
                }
                _ => {
                    there.push(merged.len());
                    merged.push(Some(clean(change).into()));
                }
            }
        }
    }
    let merged = merged.into_iter().flatten().collect();
    // Without an order, that of the patch is the one.
    match order {
        Some(order) => in_order(merged, old, order, key),
        None => in_order(merged, old, &patch.into(), key),
    }
}

/// Puts a list in the order wanted; elements that it does not name keep their place among those
/// that were there before.
fn in_order(
    list: Vec<Value>,
    before: &[Value],
    order: &Value,
    key: &str,
) -> Result<Vec<Value>, Failure> {
    let order = order
        .as_array()
        .ok_or_else(|| malformed("$setElementOrder is no list"))?;
    let places = |list: &[Value]| {
        let mut places = HashMap::new();
        for (place, value) in list.iter().enumerate() {
            if let Some(name) = name_of(value, key) {
                places.entry(name).or_insert(place);
            }
        }
        places
    };
    let (wanted, former) = (places(order), places(before));
    let place = |places: &HashMap<String, usize>, value: &Value| {
        name_of(value, key).and_then(|name| places.get(&name).copied())
    };
    let (mut named, mut unnamed) = (Vec::new(), Vec::new());
    for value in list {
        let then = place(&former, &value);
        match place(&wanted, &value) {
            Some(now) => named.push((now, then, value)),
            None => unnamed.push((then, value)),
        }
    }
    named.sort_by_key(|(now, ..)| *now);
    let mut ordered = Vec::with_capacity(named.len() + unnamed.len());
    let mut named = named.into_iter().peekable();
    for (here, value) in unnamed {
        // All that did not stand behind it before go first.
        let stays = |there: Option<usize>| matches!((here, there), (Some(here), Some(there)) if here < there);
        while let Some((.., next)) = named.next_if(|(_, there, _)| !stays(*there)) {
            ordered.push(next);
        }
        ordered.push(value);
    }
    ordered.extend(named.map(|(.., value)| value));
    Ok(ordered)
}

/// By what an element of a list is told from the others: its key, or all of it.
fn name_of(value: &Value, key: &str) -> Option<String> {
    match key {
        "" => Some(value.to_string()),
        key => value.get(key).map(Value::to_string),
    }
}

fn field_of<'a>(schemas: &'a Schemas, shape: &Shape, field: &str) -> Option<&'a Field> {
    match shape {
        Shape::Named(name) => schemas.fields(name)?.get(field),
        _ => None,
    }
}

/// The shape of a value: its field's, or that of all values of a map.
fn inner_shape<'a>(shape: &'a Shape, field: Option<&'a Field>) -> &'a Shape {
    match (shape, field) {
        (Shape::Map(element), _) => element,
        (_, Some(field)) => &field.shape,
        _ => &UNKNOWN,
    }
}

fn merge_key(field: &Field) -> &'static str {
    match field.merging.patch {
        Strategy::Merge(key) | Strategy::MergeRetaining(key) => key,
        Strategy::Replace | Strategy::Retain => "",
    }
}

/// What a patch adds where nothing was: without directives and nulls.
fn clean(patch: &Map<String, Value>) -> Map<String, Value> {
    patch
        .iter()
        .filter(|(field, value)| !field.starts_with('$') && !value.is_null())
        .map(|(field, value)| (field.clone(), clean_value(value)))
        .collect()
}

fn clean_value(value: &Value) -> Value {
    match value {
        Value::Object(map) => clean(map).into(),
        Value::Array(list) => list
            .iter()
            .filter(|value| value.get(PATCH).and_then(Value::as_str) != Some("delete"))
            .map(clean_value)
            .collect(),
        value => value.clone(),
    }
}

fn malformed(why: &str) -> Failure {
    Failure::bad_request(why)
}

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";
