//! What a request asks for before anybody looks whether it exists, and who decides on it.
//!
//! The real server takes a request apart once (`RequestInfo`) and authorizes that, ahead of
//! everything else: whoever may not list things learns `403` even where there are no things.
//! [`Asked`] is that reading; [`NodeAndRbac`] decides as `--authorization-mode=Node,RBAC` does.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::Method;
use serde_json::Value;

use crate::node;
use crate::rbac;
use crate::request::{Target, decoded, flag, segments};
use crate::status::Failure;
use crate::store::Store;
use crate::user::{Attributes, Authorizer, Permission, User, everything};

/// A request as authorizers see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    verb: String,
    group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    /// The path of a request for no resource; else empty.
    path: String,
    fields: Vec<(String, String)>,
}

impl Asked {
    /// Reads method, path and query.
    pub(crate) fn read(method: &Method, path: &str, query: &str) -> Self {
        // A path that cannot be read leads nowhere: under this name nothing is granted.
        let path = decoded(path).unwrap_or(Cow::Borrowed(path));
        let segments = segments(&path).unwrap_or_default();
        let (group, parts) = match segments.as_slice() {
            ["api", _, parts @ ..] if !parts.is_empty() => ("", parts),
            ["apis", group, _, parts @ ..] if !parts.is_empty() => (*group, parts),
            _ => {
                return Self {
                    verb: method.as_str().to_lowercase(),
                    path: path.into_owned(),
                    ..Self::default()
                };
            }
        };
        let (namespace, parts) = match parts {
            ["namespaces", namespace, "status" | "finalize", ..] | ["namespaces", namespace] => {
                (*namespace, parts)
            }
            ["namespaces", namespace, rest @ ..] => (*namespace, rest),
            parts => ("", parts),
        };
        let part = |index: usize| parts.get(index).copied().unwrap_or_default().to_owned();
        let mut asked = Self {
            verb: verb(method).to_owned(),
            group: group.to_owned(),
            resource: part(0),
            subresource: part(2),
            namespace: namespace.to_owned(),
            name: part(1),
            ..Self::default()
        };
        if asked.name.is_empty() {
            asked.read_collection(query);
        }
        asked
    }

    /// To make the object that a request for another verb names.
    pub(crate) fn creation(target: &Target) -> Self {
        Self {
            verb: "create".to_owned(),
            group: target.kind.group.to_owned(),
            resource: target.kind.plural.to_owned(),
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            ..Self::default()
        }
    }

    /// To act as the one of this name (and namespace, for a service account).
    pub(crate) fn impersonation(resource: &str, namespace: &str, name: &str) -> Self {
        Self {
            verb: "impersonate".to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Requests of collections: which verb it really is, and what the field selector narrows.
    fn read_collection(&mut self, query: &str) {
        let parameter = |wanted: &str| {
            form_urlencoded::parse(query.as_bytes())
                .find(|(key, _)| key == wanted)
                .map(|(_, value)| value.into_owned())
        };
        self.verb = match self.verb.as_str() {
            "get" if parameter("watch").is_some_and(|value| flag(&value)) => "watch".to_owned(),
            "get" => "list".to_owned(),
            "delete" => "deletecollection".to_owned(),
            _ => return,
        };
        self.fields = equalities(&parameter("fieldSelector").unwrap_or_default());
        // A collection narrowed to one name is asked for under that name.
        let name = self.fields.iter().find(|(path, _)| path == "metadata.name");
        if let Some((_, name)) = name
            && self.verb != "deletecollection"
            && !matches!(name.as_str(), "." | "..")
            && !name.contains(['/', '%'])
        {
            self.name.clone_from(name);
        }
    }

    pub(crate) fn attributes(&self) -> Attributes<'_> {
        Attributes {
            verb: &self.verb,
            group: &self.group,
            resource: &self.resource,
            subresource: &self.subresource,
            namespace: &self.namespace,
            name: &self.name,
            path: &self.path,
            fields: &self.fields,
        }
    }

    /// The refusal, with what the authorizer has to say about it.
    pub(crate) fn forbidden(&self, user: &User, reason: &str) -> Failure {
        let (name, verb) = (&user.name, &self.verb);
        let mut message = if self.path.is_empty() {
            let mut resource = self.resource.clone();
            if !self.subresource.is_empty() {
                resource = format!("{resource}/{}", self.subresource);
            }
            let place = match self.namespace.as_str() {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace {namespace:?}"),
            };
            let group = &self.group;
            format!(
                "User {name:?} cannot {verb} resource {resource:?} in API group {group:?} {place}"
            )
        } else {
            format!("User {name:?} cannot {verb} path {:?}", self.path)
        };
        for (character, entity) in [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;")] {
            message = message.replace(character, entity);
        }
        if !reason.is_empty() {
            message = format!("{message}: {reason}");
        }
        Failure::forbidden_resource(&self.group, &self.resource, &self.name, &message)
    }
}

/// The Node authorizer, then RBAC, over the objects in the store; before both, members of
/// `system:masters` may do everything.
pub(crate) struct NodeAndRbac {
    store: Arc<Store>,
}

impl NodeAndRbac {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

impl fmt::Debug for NodeAndRbac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeAndRbac")
    }
}

impl Authorizer for NodeAndRbac {
    fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> Permission {
        let allowed = user.groups.iter().any(|group| group == MASTERS)
            || node::authorize(&self.store, user, attributes).is_ok()
            || rbac::authorize(&self.store, user, attributes).is_ok();
        if allowed {
            Permission::Allowed
        } else {
            Permission::Denied
        }
    }

    fn rules(&self, user: &User, namespace: &str) -> Option<Vec<Value>> {
        let mut rules = Vec::new();
        if user.groups.iter().any(|group| group == MASTERS) {
            rules.extend(everything());
        }
        // What the Node authorizer lets kubelets do depends on objects and is no rule.
        rules.extend(rbac::rules(&self.store, user, namespace));
        Some(rules)
    }

    fn reason(&self, user: &User, attributes: &Attributes<'_>) -> String {
        let opinions = [
            (
                "node",
                node::authorize(&self.store, user, attributes)
                    .err()
                    .unwrap_or_default(),
            ),
            (
                "rbac",
                rbac::authorize(&self.store, user, attributes)
                    .err()
                    .unwrap_or_default(),
            ),
        ];
        let said: Vec<String> = opinions
            .into_iter()
            .filter(|(_, reason)| !reason.is_empty())
            .map(|(authorizer, reason)| format!("{authorizer}: {reason}"))
            .collect();
        said.join("\n")
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// The `field=value` and `field==value` terms of a field selector. Backslashes are kept: no name
/// that matters here has any.
fn equalities(selector: &str) -> Vec<(String, String)> {
    selector
        .split(',')
        .filter_map(|term| term.split_once('='))
        .filter(|(field, _)| !field.ends_with('!'))
        .map(|(field, value)| {
            let value = value.strip_prefix('=').unwrap_or(value);
            (field.to_owned(), value.to_owned())
        })
        .collect()
}

const MASTERS: &str = "system:masters";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Query, Route, route};

    fn read(method: &Method, path: &str, query: &str) -> String {
        let asked = Asked::read(method, path, query);
        let a = asked.attributes();
        if !a.path.is_empty() {
            return format!("{} {}", a.verb, a.path);
        }
        format!(
            "{} {}|{}/{} ns={} name={}",
            a.verb, a.group, a.resource, a.subresource, a.namespace, a.name
        )
    }

    #[test]
    fn paths_are_read_as_the_real_server_reads_them() {
        let certificates = "/apis/certificates.k8s.io/v1";
        for (method, path, query, expected) in [
            (Method::GET, "/api/v1", "", "get /api/v1"),
            (Method::POST, "/version", "", "post /version"),
            (
                Method::GET,
                certificates,
                "",
                "get /apis/certificates.k8s.io/v1",
            ),
            (
                Method::GET,
                "/api/v1/pods",
                "watch=1",
                "watch |pods/ ns= name=",
            ),
            (
                Method::GET,
                "/api/v1/namespaces/a",
                "",
                "get |namespaces/ ns=a name=a",
            ),
            (
                Method::PUT,
                "/api/v1/namespaces/a/status",
                "",
                "update |namespaces/status ns=a name=a",
            ),
            (
                Method::GET,
                "/api/v1/namespaces/a/pods",
                "fieldSelector=metadata.name%3Dx",
                "list |pods/ ns=a name=x",
            ),
            (
                Method::DELETE,
                "/api/v1/namespaces/a/pods",
                "",
                "deletecollection |pods/ ns=a name=",
            ),
            (
                Method::PATCH,
                "/apis/things.io/v3/namespaces/a/things/x/status",
                "",
                "patch things.io|things/status ns=a name=x",
            ),
        ] {
            assert_eq!(read(&method, path, query), expected, "{path}?{query}");
        }
    }

    #[test]
    fn what_is_authorized_is_what_is_done() {
        let own = "fieldSelector=spec.nodeName%3Dn1";
        for query in [
            format!("{own}&fieldSelector="),
            format!("fieldSelector=&{own}"),
            "watch=false&watch=true".to_owned(),
            "watch=1&watch=0".to_owned(),
            "watch=False".to_owned(),
            "watch=".to_owned(),
        ] {
            let (method, path) = (Method::GET, "/api/v1/pods");
            let asked = Asked::read(&method, path, &query);
            let parsed = Query::parse(&query).unwrap();
            let versions = crate::versions::Versions::default();
            let Route::Resource(target) = route(&method, path, &parsed, versions).unwrap() else {
                panic!("{query}")
            };
            assert_eq!(asked.verb, target.verb.as_str(), "{query}");
            let selection = parsed.selection(&target).unwrap();
            assert_eq!(!asked.fields.is_empty(), selection.is_partial(), "{query}");
        }
    }

    #[test]
    fn only_equalities_of_a_field_selector_count() {
        let found = equalities("a=b,c==d,e!=f,g");
        let expected = [("a", "b"), ("c", "d")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(found, expected);
    }
}

#[cfg(test)]
mod path_tests {
    use http::Method;
    use proptest::prelude::*;

    use super::Asked;
    use crate::request::{Query, Route, route};
    use crate::versions::Versions;

    /// Whatever a path looks like, what is authorized is what is served.
    fn agree(method: &Method, path: &str) -> Result<(), TestCaseError> {
        let query = Query::parse("").unwrap();
        let Ok(Route::Resource(target)) = route(method, path, &query, Versions::default()) else {
            return Ok(());
        };
        let asked = Asked::read(method, path, "");
        let resource = match asked.subresource.as_str() {
            "" => asked.resource.clone(),
            part => format!("{}/{part}", asked.resource),
        };
        prop_assert_eq!(resource, target.resource());
        prop_assert_eq!(&asked.verb, target.verb.as_str());
        prop_assert_eq!(&asked.group, target.kind.group);
        prop_assert_eq!(&asked.name, &target.name);
        if target.kind.is_namespaced() {
            prop_assert_eq!(&asked.namespace, &target.namespace);
        }
        Ok(())
    }

    #[test]
    fn empty_segments_lead_nowhere() {
        let query = Query::parse("").unwrap();
        for path in [
            "/api/v1/namespaces/a/pods/p//log",
            "/api/v1/namespaces/default//secrets",
            "/api/v1//namespaces/default/secrets",
            "/api/v1/namespaces/a/serviceaccounts/boss//token",
            "/api/v1/namespaces/a/pods/p%2F%2Flog",
        ] {
            assert!(
                route(&Method::GET, path, &query, Versions::default()).is_err(),
                "{path}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_authorized_is_what_is_served(
            method in prop::sample::select(vec![Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE]),
            segments in prop::collection::vec(
                prop::sample::select(vec![
                    "", "api", "apis", "v1", "apps", "namespaces", "default", "a", "pods", "secrets", "p", "log",
                    "token", "status", "scale", "deployments", "serviceaccounts", "nodes", "%2F", "%2Flog", "finalize",
                ]),
                0..9,
            ),
        ) {
            agree(&method, &format!("/{}", segments.join("/")))?;
            agree(&method, &format!("/api/v1/{}", segments.join("/")))?;
            agree(&method, &format!("/apis/apps/v1/{}", segments.join("/")))?;
        }
    }
}
