//! OpenAPI v3: which fields there are, for `kubectl explain`, for what checks objects before it
//! sends them, and for what wants to know which options a request may have.
//!
//! `/openapi/v3` names a document per group and version; each has the paths of its resources, with
//! as much of each operation as clients look at, and the schemas that these refer to.
//!
//! `/openapi/v2` is there and says nothing of any type: kubectl falls back to it where v3 has no
//! document, and without it would complain of OpenAPI instead of a kind that is not served.

use std::collections::BTreeSet;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::kinds::{KINDS, Kind};
use crate::schema::{schemas, type_name};
use crate::service::{ApiBody, json_response};
use crate::versions::Versions;

/// The document at this path below `/openapi/v3`; `None` where there is none.
pub(crate) fn document(path: &[&str], served: Versions) -> Option<Value> {
    match path {
        [] => Some(index(served)),
        ["api", version] => group_version("", version, served),
        ["apis", group, version] => group_version(group, version, served),
        _ => None,
    }
}

/// The document of v2: without types, as JSON or as gnostic's protobuf.
pub(crate) fn version_2(headers: &HeaderMap) -> Response<ApiBody> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    if !accept.is_some_and(|accept| accept.contains(GNOSTIC)) {
        let document = json!({
            "swagger": "2.0",
            "info": {"title": TITLE, "version": RELEASE},
            "paths": {},
            "definitions": {},
        });
        return json_response(StatusCode::OK, document.to_string());
    }
    // Document { swagger = 1, info = 2: Info { title = 1, version = 2 }, paths = 8, definitions = 9 }
    let info = [field(1, TITLE.as_bytes()), field(2, RELEASE.as_bytes())].concat();
    let document = [
        field(1, b"2.0"),
        field(2, &info),
        field(8, b""),
        field(9, b""),
    ]
    .concat();
    let mut response = Response::new(ApiBody::once(document));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(GNOSTIC_ANSWER));
    response
}

/// A field of a message; none here is so long that its length needs more than a byte.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap_or(0x7f) & 0x7f;
    [&[number << 3 | 2, length], bytes].concat()
}

fn index(served: Versions) -> Value {
    let mut paths = Map::new();
    for kind in KINDS.iter().filter(|kind| served.include(kind)) {
        let path = root(kind);
        let path = path.trim_start_matches('/');
        // The hash lets clients keep a document for ever: it is the server's release.
        let url = format!("/openapi/v3/{path}?hash={}", env!("CARGO_PKG_VERSION"));
        paths.insert(path.to_owned(), json!({"serverRelativeURL": url}));
    }
    json!({ "paths": paths })
}

/// Where a kind's group and version are served.
fn root(kind: &Kind) -> String {
    match kind.group {
        "" => format!("/api/{}", kind.version),
        group => format!("/apis/{group}/{}", kind.version),
    }
}

fn group_version(group: &str, version: &str, served: Versions) -> Option<Value> {
    let kinds: Vec<&Kind> = KINDS
        .iter()
        .filter(|kind| kind.group == group && kind.version == version && served.include(kind))
        .collect();
    if kinds.is_empty() {
        return None;
    }
    let mut paths = Map::new();
    let mut wanted = BTreeSet::new();
    for kind in &kinds {
        add_paths(kind, &mut paths);
        collect(&type_name(kind), &mut wanted);
    }
    let definitions = &schemas().definitions;
    let mut components: Map<String, Value> = wanted
        .iter()
        .filter_map(|name| Some((name.clone(), definitions.get(name)?.clone())))
        .collect();
    for kind in &kinds {
        if let Some(Value::Object(schema)) = components.get_mut(&type_name(kind)) {
            schema.insert("x-kubernetes-group-version-kind".into(), json!([gvk(kind)]));
        }
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": TITLE, "version": RELEASE},
        "paths": paths,
        "components": {"schemas": components},
    }))
}

/// The names of a type and of all it is made of.
fn collect(name: &str, found: &mut BTreeSet<String>) {
    if !found.insert(name.to_owned()) {
        return;
    }
    if let Some(schema) = schemas().definitions.get(name) {
        collect_references(schema, found);
    }
}

fn collect_references(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref")
                && let Some(name) = reference.rsplit('/').next()
            {
                collect(name, found);
            }
            map.values().for_each(|it| collect_references(it, found));
        }
        Value::Array(list) => list.iter().for_each(|it| collect_references(it, found)),
        _ => {}
    }
}

fn gvk(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

fn add_paths(kind: &Kind, paths: &mut Map<String, Value>) {
    let collection = match kind.is_namespaced() {
        true => format!("{}/namespaces/{{namespace}}/{}", root(kind), kind.plural),
        false => format!("{}/{}", root(kind), kind.plural),
    };
    let schema = json!({"$ref": format!("#/components/schemas/{}", type_name(kind))});
    let answer = json!({"200": {
        "description": "OK",
        "content": {"application/json": {"schema": schema}},
    }});
    let body = |types: &[&str], schema: &Value| {
        let content: Map<String, Value> = types
            .iter()
            .map(|media| ((*media).to_owned(), json!({"schema": schema})))
            .collect();
        json!({"content": content, "required": true})
    };
    let operation = |action: &str, options: &[&str], body: Option<Value>| {
        let parameters: Vec<Value> = options
            .iter()
            .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}))
            .collect();
        let mut operation = json!({
            "parameters": parameters,
            "responses": answer,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk(kind),
        });
        if let (Some(body), Some(map)) = (body, operation.as_object_mut()) {
            map.insert("requestBody".into(), body);
        }
        operation
    };
    let whole = || Some(body(&["application/json"], &schema));
    paths.insert(
        collection.clone(),
        json!({
            "get": operation("list", &["labelSelector", "fieldSelector", "limit", "continue"], None),
            "post": operation("post", WRITE, whole()),
            "delete": operation("deletecollection", &["dryRun"], None),
        }),
    );
    paths.insert(
        format!("{collection}/{{name}}"),
        json!({
            "get": operation("get", &["resourceVersion"], None),
            "put": operation("put", WRITE, whole()),
            "patch": operation(
                "patch",
                &[WRITE, &["force"]].concat(),
                Some(body(PATCHES, &json!({"type": "object"}))),
            ),
            "delete": operation("delete", &["dryRun", "gracePeriodSeconds"], None),
        }),
    );
}

const TITLE: &str = "Kubernetes";
const RELEASE: &str = "v1.37.0";
const GNOSTIC: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// What is asked for is no media type that Go can read, so the answer has another.
const GNOSTIC_ANSWER: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
const PATCHES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_in_the_index_is_there_and_whole() {
        let index = index(Versions::Both);
        let paths = index["paths"].as_object().expect("paths");
        assert!(paths.contains_key("api/v1") && paths.contains_key("apis/apps/v1"));
        for path in paths.keys() {
            let path: Vec<&str> = path.split('/').collect();
            let document = document(&path, Versions::Both).expect("a document");
            let mut wanted = BTreeSet::new();
            collect_references(&document["paths"], &mut wanted);
            for name in wanted {
                let schema = &document["components"]["schemas"][&name];
                assert!(schema.is_object(), "{name} in {path:?}");
            }
        }
        assert!(document(&["apis", "none", "v1"], Versions::Both).is_none());
    }
}
