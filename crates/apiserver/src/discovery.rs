//! The documents that say what is served: `/api`, `/apis`, one per group and version, `/version`,
//! and the health checks.
//!
//! Clients ask in one of two forms: plain, one document per group and version, or aggregated
//! (`apidiscovery.k8s.io/v2`), everything at once. Both are made from the same [`Resource`]s, which
//! come from [`crate::kinds`] and [`crate::reviews`].

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::kinds::{self, Feature, KINDS, Kind};
use crate::openapi;
use crate::reviews::{self, REVIEWS};
use crate::service::{ApiBody, json_response, text_response};
use crate::status::Failure;
use crate::versions::Versions;

/// The document at this path.
pub(crate) fn document(
    path: &[String],
    headers: &HeaderMap,
    served: Versions,
) -> Result<Response<ApiBody>, Failure> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let aggregated = wants_aggregated(headers);
    let body = match path.as_slice() {
        ["livez" | "readyz" | "healthz", ..] => return Ok(text_response(StatusCode::OK, "ok")),
        ["version"] => version(),
        ["openapi", "v2"] => return Ok(openapi::version_2(headers)),
        ["openapi", "v3", path @ ..] => {
            openapi::document(path, served).ok_or_else(Failure::no_such_page)?
        }
        ["api"] if aggregated => return Ok(aggregate(&[""], served)),
        ["apis"] if aggregated => return Ok(aggregate(&groups(), served)),
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
        ["api", version] if versions("", served).contains(version) => {
            resource_list("", version, served)
        }
        ["apis", group, version] if versions(group, served).contains(version) => {
            resource_list(group, version, served)
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

/// One served resource, as discovery shows it.
struct Resource {
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
    is_namespaced: bool,
    verbs: &'static [&'static str],
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    parts: Vec<SubResource>,
}

/// A subresource, as discovery shows it.
struct SubResource {
    name: &'static str,
    /// Group, version and kind of what is read and written there, if they are not the resource's.
    kind: Option<(&'static str, &'static str, &'static str)>,
    verbs: &'static [&'static str],
}

impl SubResource {
    /// Those of a kind, by name.
    fn of(kind: &Kind) -> Vec<Self> {
        let mut parts = Vec::new();
        if kind.id == kinds::PODS {
            parts.push(Self {
                name: "binding",
                kind: Some(("", "", "Binding")),
                verbs: &["create"],
            });
            parts.push(Self {
                name: "log",
                kind: None,
                verbs: &["get"],
            });
        }
        if kind.has(Feature::Scale) {
            parts.push(Self {
                name: "scale",
                kind: Some(("autoscaling", "v1", "Scale")),
                verbs: UPDATE_VERBS,
            });
        }
        if kind.has(Feature::Status) {
            parts.push(Self {
                name: "status",
                kind: None,
                verbs: UPDATE_VERBS,
            });
        }
        if kind.id == kinds::SERVICE_ACCOUNTS {
            parts.push(Self {
                name: "token",
                kind: Some(("authentication.k8s.io", "v1", "TokenRequest")),
                verbs: &["create"],
            });
        }
        parts
    }

    fn to_plain(&self, of: &Resource) -> Value {
        let mut shown = json!({
            "name": format!("{}/{}", of.plural, self.name),
            "singularName": "",
            "namespaced": of.is_namespaced,
            "kind": self.kind.map_or(of.kind, |(_, _, kind)| kind),
            "verbs": self.verbs,
        });
        // Those of the resource's own group and version are left out.
        if let (Some((group, version, _)), Some(map)) = (self.kind, shown.as_object_mut())
            && !group.is_empty()
        {
            map.insert("group".into(), group.into());
            map.insert("version".into(), version.into());
        }
        shown
    }

    fn to_aggregated(&self, of: &Resource) -> Value {
        let (group, version, kind) = self.kind.unwrap_or(("", "", of.kind));
        json!({
            "subresource": self.name,
            "responseKind": {"group": group, "version": version, "kind": kind},
            "verbs": self.verbs,
        })
    }
}

/// The resources of a group and version, by name.
fn resources(group: &str, version: &str, served: Versions) -> Vec<Resource> {
    let kinds = KINDS
        .iter()
        .filter(|kind| kind.group == group && kind.version == version && served.include(kind))
        .map(|kind| Resource {
            plural: kind.plural,
            singular: kind.singular,
            kind: kind.kind,
            is_namespaced: kind.is_namespaced(),
            verbs: MAIN_VERBS,
            short_names: kind.short_names,
            categories: match kind.has(Feature::All) {
                true => &["all"],
                false => &[],
            },
            parts: SubResource::of(kind),
        });
    let reviews = REVIEWS
        .iter()
        .filter(|review| review.group == group && version == reviews::VERSION)
        .map(|review| Resource {
            plural: review.plural,
            singular: review.singular,
            kind: review.kind,
            is_namespaced: false,
            verbs: &["create"],
            short_names: &[],
            categories: &[],
            parts: Vec::new(),
        });
    let mut resources: Vec<Resource> = kinds.chain(reviews).collect();
    if (group, version) == ("", "v1") {
        resources.push(Resource {
            plural: "bindings",
            singular: "binding",
            kind: "Binding",
            is_namespaced: true,
            verbs: &["create"],
            short_names: &[],
            categories: &[],
            parts: Vec::new(),
        });
    }
    resources.sort_by_key(|resource| resource.plural);
    resources
}

/// The groups beside the core group, each once.
fn groups() -> Vec<&'static str> {
    let mut groups: Vec<&str> = KINDS
        .iter()
        .map(|kind| kind.group)
        .chain(REVIEWS.iter().map(|review| review.group))
        .filter(|group| !group.is_empty())
        .collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// The versions of a group, the preferred one first.
fn versions(group: &str, served: Versions) -> Vec<&'static str> {
    let kinds = KINDS.iter().filter(|kind| kind.group == group);
    let mut versions: Vec<&str> = kinds
        .map(|kind| kind.version)
        .filter(|version| crate::kinds::serves(group, version, served))
        .collect();
    versions.dedup();
    if versions.is_empty() && REVIEWS.iter().any(|review| review.group == group) {
        versions.push(reviews::VERSION);
    }
    versions
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

fn group(name: &str, served: Versions) -> Value {
    let versions: Vec<Value> = versions(name, served)
        .into_iter()
        .map(|version| json!({"groupVersion": group_version(name, version), "version": version}))
        .collect();
    json!({
        "name": name,
        "preferredVersion": versions.first(),
        "versions": versions,
    })
}

fn resource_list(group: &str, version: &str, served: Versions) -> Value {
    let mut list = Vec::new();
    for resource in resources(group, version, served) {
        list.push(resource.to_plain());
        list.extend(resource.parts.iter().map(|part| part.to_plain(&resource)));
    }
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version(group, version),
        "resources": list,
    })
}

/// Whether the client would rather have everything at once.
fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let first = accept.into_iter().flat_map(|accept| accept.split(','));
    for alternative in first {
        let mut parameters = alternative.split(';').map(str::trim);
        if !matches!(
            parameters.next(),
            Some("application/json" | "*/*" | "application/*")
        ) {
            continue;
        }
        let parameters: Vec<&str> = parameters.collect();
        if !parameters.iter().any(|it| it.starts_with("as=")) {
            return false;
        }
        let wanted = ["g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"];
        if wanted
            .iter()
            .all(|parameter| parameters.contains(parameter))
        {
            return true;
        }
    }
    false
}

fn aggregate(groups: &[&str], served: Versions) -> Response<ApiBody> {
    let items: Vec<Value> = groups
        .iter()
        .map(|group| {
            let versions: Vec<Value> = versions(group, served)
                .into_iter()
                .map(|version| {
                    let resources = resources(group, version, served);
                    let resources: Vec<Value> =
                        resources.iter().map(Resource::to_aggregated).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = match *group {
                "" => json!({}),
                name => json!({"name": name}),
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let document = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    });
    let mut response = json_response(StatusCode::OK, document.to_string());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
    response
}

impl Resource {
    fn to_plain(&self) -> Value {
        let mut resource = json!({
            "name": self.plural,
            "singularName": self.singular,
            "namespaced": self.is_namespaced,
            "kind": self.kind,
            "verbs": self.verbs,
        });
        self.add_names(&mut resource);
        resource
    }

    fn to_aggregated(&self) -> Value {
        // Groups and versions that are the document's own are left empty.
        let kind = json!({"group": "", "version": "", "kind": self.kind});
        let mut resource = json!({
            "resource": self.plural,
            "responseKind": kind,
            "scope": if self.is_namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": self.singular,
            "verbs": self.verbs,
        });
        self.add_names(&mut resource);
        if let (false, Some(map)) = (self.parts.is_empty(), resource.as_object_mut()) {
            let parts = self.parts.iter().map(|part| part.to_aggregated(self));
            map.insert("subresources".into(), parts.collect());
        }
        resource
    }

    fn add_names(&self, resource: &mut Value) {
        for (field, names) in [
            ("shortNames", self.short_names),
            ("categories", self.categories),
        ] {
            if let (false, Some(map)) = (names.is_empty(), resource.as_object_mut()) {
                map.insert(field.into(), json!(names));
            }
        }
    }
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
const UPDATE_VERBS: &[&str] = &["get", "patch", "update"];
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
