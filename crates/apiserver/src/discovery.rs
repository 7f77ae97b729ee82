//! The documents that say what is served: `/api`, `/apis`, one per group and version, `/version`,
//! and the health checks. Made from [`crate::kinds`]; only the plain (not aggregated) form.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::kinds::{Feature, KINDS, Kind};
use crate::service::{ApiBody, json_response, text_response};
use crate::status::Failure;
use crate::versions::Versions;

/// The document at this path.
pub(crate) fn document(path: &[String], served: Versions) -> Result<Response<ApiBody>, Failure> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let body = match path.as_slice() {
        ["livez" | "readyz" | "healthz", ..] => return Ok(text_response(StatusCode::OK, "ok")),
        ["version"] => version(),
        ["api"] => json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        }),
        ["apis"] => json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": groups()
                .into_iter()
                .map(|name| group(name, served))
                .collect::<Vec<_>>(),
        }),
        ["apis", name] if groups().contains(name) => {
            let mut group = group(name, served);
            if let Some(map) = group.as_object_mut() {
                map.insert("kind".into(), "APIGroup".into());
                map.insert("apiVersion".into(), "v1".into());
            }
            group
        }
        ["api", version] if crate::kinds::serves("", version, served) => {
            resources("", version, served)
        }
        ["apis", group, version] if crate::kinds::serves(group, version, served) => {
            resources(group, version, served)
        }
        ["api", _] => return Err(Failure::no_such_resource()),
        ["apis", group, _] => return Err(crate::request::no_such_version(group)),
        _ => return Err(Failure::no_such_page()),
    };
    Ok(json_response(StatusCode::OK, body.to_string()))
}

fn version() -> Value {
    json!({
        "major": "1",
        "minor": "37",
        "gitVersion": "v1.37.0+podcert",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        "goVersion": "",
        "compiler": "rustc",
        "platform": "",
    })
}

/// The groups beside the core group, each once.
fn groups() -> Vec<&'static str> {
    let mut groups: Vec<&str> = KINDS
        .iter()
        .map(|kind| kind.group)
        .filter(|group| !group.is_empty())
        .collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn group(name: &str, served: Versions) -> Value {
    let mut versions: Vec<&str> = KINDS
        .iter()
        .filter(|kind| kind.group == name)
        .map(|kind| kind.version)
        .filter(|version| crate::kinds::serves(name, version, served))
        .collect();
    versions.dedup();
    let versions: Vec<Value> = versions
        .into_iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    json!({
        "name": name,
        "preferredVersion": versions.first(),
        "versions": versions,
    })
}

fn resources(group: &str, version: &str, served: Versions) -> Value {
    let kinds = KINDS
        .iter()
        .filter(|kind| kind.group == group && kind.version == version && served.include(kind));
    let mut list = Vec::new();
    for kind in kinds {
        list.push(resource(kind, kind.plural, MAIN_VERBS));
        if kind.has(Feature::Status) {
            list.push(resource(kind, kind.plural_status, STATUS_VERBS));
        }
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": list,
    })
}

fn resource(kind: &Kind, name: &str, verbs: &[&str]) -> Value {
    let mut resource = json!({
        "name": name,
        "singularName": if name == kind.plural { kind.singular } else { "" },
        "namespaced": kind.is_namespaced(),
        "kind": kind.kind,
        "verbs": verbs,
    });
    if let Some(map) = resource.as_object_mut()
        && name == kind.plural
        && !kind.short_names.is_empty()
    {
        map.insert("shortNames".into(), json!(kind.short_names));
    }
    resource
}

const MAIN_VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
const STATUS_VERBS: &[&str] = &["get", "patch", "update"];
