//! `metav1.Status`: how the server says no.
//!
//! Every refusal inside the crate is a [`Failure`]; it becomes the JSON body and the HTTP code of
//! the response, or the `ERROR` event of a watch. The wording follows `apimachinery/pkg/api/errors`
//! because controllers (and people) match on it.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::field::FieldError;
use crate::kinds::Kind;

/// A refused request: what `metav1.Status` carries.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: u16,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) message: String,
    details: Option<Value>,
    /// Where a list that expired may go on, out of step.
    continue_token: Option<String>,
    /// Paths outside the served groups answer in plain text, as the real server's mux does.
    pub(crate) plain_text: bool,
}

impl Failure {
    pub(crate) fn new(
        code: u16,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: message.into(),
            details: None,
            continue_token: None,
            plain_text: false,
        }
    }

    pub(crate) fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} {name:?} not found", kind.qualified()),
        )
        .with_details(resource_details(kind, name))
    }

    /// A path under a served group and version that names no resource.
    pub(crate) fn no_such_resource() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
        .with_details(json!({}))
    }

    /// A path under no served group and version.
    pub(crate) fn no_such_page() -> Self {
        let mut failure = Self::new(404, "NotFound", "404 page not found");
        failure.plain_text = true;
        failure
    }

    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{} {name:?} already exists", kind.qualified()),
        )
        .with_details(resource_details(kind, name))
    }

    pub(crate) fn generated_name_exists(kind: &Kind, name: &str) -> Self {
        let mut details = resource_details(kind, name);
        if let Some(map) = details.as_object_mut() {
            map.insert("retryAfterSeconds".into(), json!(1));
        }
        Self::new(
            409,
            "AlreadyExists",
            format!(
                "{} {name:?} already exists, the server was not able to generate a unique name for the object",
                kind.qualified()
            ),
        )
        .with_details(details)
    }

    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        Self::new(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {} {name:?}: {why}",
                kind.qualified()
            ),
        )
        .with_details(resource_details(kind, name))
    }

    /// A conflict of what is no kind of its own: `what` is its name, group included.
    pub(crate) fn conflict_of(what: &str, name: &str, why: &str) -> Self {
        let (kind, group) = what.split_once('.').unwrap_or((what, ""));
        let mut details = json!({"name": name, "kind": kind});
        if let (false, Some(map)) = (group.is_empty(), details.as_object_mut()) {
            map.insert("group".into(), group.into());
        }
        Self::new(
            409,
            "Conflict",
            format!("Operation cannot be fulfilled on {what} {name:?}: {why}"),
        )
        .with_details(details)
    }

    /// A conflict with the conditions of a deletion, which names the kind instead of the resource.
    pub(crate) fn deletion_conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let mut details = resource_details(kind, name);
        if let Some(map) = details.as_object_mut() {
            map.insert("kind".into(), kind.kind.into());
        }
        let group = match kind.group {
            "" => String::new(),
            group => format!(".{group}"),
        };
        Self::new(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {}{group} {name:?}: {why}",
                kind.kind
            ),
        )
        .with_details(details)
    }

    /// Something new in a namespace on its way out.
    pub(crate) fn namespace_terminating(kind: &Kind, name: &str, namespace: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let mut details = resource_details(kind, name);
        if let Some(map) = details.as_object_mut() {
            map.insert(
                "causes".into(),
                json!([{
                    "reason": "NamespaceTerminating",
                    "message": format!("namespace {namespace} is being terminated"),
                    "field": "metadata.namespace",
                }]),
            );
        }
        Self::forbidden(kind, name, &why).with_details(details)
    }

    pub(crate) fn modified(kind: &Kind, name: &str) -> Self {
        Self::conflict(kind, name, OPTIMISTIC_LOCK)
    }

    pub(crate) fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let message = if name.is_empty() {
            format!("{} is forbidden: {why}", kind.qualified())
        } else {
            format!("{} {name:?} is forbidden: {why}", kind.qualified())
        };
        Self::new(403, "Forbidden", message).with_details(resource_details(kind, name))
    }

    /// As [`Failure::forbidden`] for what need not be served; without a resource, of a path.
    pub(crate) fn forbidden_resource(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let mut subject = resource.to_owned();
        if !group.is_empty() {
            subject = format!("{subject}.{group}");
        }
        if !name.is_empty() {
            subject = format!("{subject} {name:?}");
        }
        if !subject.is_empty() {
            subject.push_str(" is ");
        }
        let mut details = serde_json::Map::new();
        for (field, value) in [("name", name), ("group", group), ("kind", resource)] {
            if !value.is_empty() {
                details.insert(field.into(), value.into());
            }
        }
        Self::new(403, "Forbidden", format!("{subject}forbidden: {why}"))
            .with_details(details.into())
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .with_details(json!({}))
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// A list that cannot go on as it began, with the token by which it can all the same.
    pub(crate) fn expired_list(message: &'static str, token: String) -> Self {
        let mut failure = Self::expired(message);
        failure.continue_token = Some(token);
        failure
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit}"),
        )
    }

    pub(crate) fn unsupported_media_type(accepted: &[&str]) -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {}",
                accepted.join(", ")
            ),
        )
    }

    /// A patch of a type that no route takes: refused before anything reads the body.
    pub(crate) fn unroutable_media_type() -> Self {
        Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type")
            .with_details(json!({}))
    }

    pub(crate) fn not_acceptable(accepted: &[&str]) -> Self {
        Self::new(
            406,
            "NotAcceptable",
            format!(
                "only the following media types are accepted: {}",
                accepted.join(", ")
            ),
        )
    }

    /// A read at a resource version this server has not reached.
    pub(crate) fn future_revision(asked: u64, current: u64) -> Self {
        Self::new(
            504,
            "Timeout",
            format!("Timeout: Too large resource version: {asked}, current: {current}"),
        )
        .with_details(json!({
            "causes": [{
                "reason": "ResourceVersionTooLarge",
                "message": "Too large resource version",
            }],
            "retryAfterSeconds": 1,
        }))
    }

    /// A JSON patch that does not apply.
    pub(crate) fn patch_does_not_apply() -> Self {
        Self::new(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )
        .with_details(json!({}))
    }

    /// Errors of fields, with the paths a client can point at.
    pub(crate) fn invalid(kind: &Kind, name: &str, errors: &[FieldError]) -> Self {
        Self::invalid_as(kind.group, kind.kind, name, errors)
    }

    /// As [`Failure::invalid`] where the real server names the resource instead of the kind.
    pub(crate) fn invalid_as(group: &str, what: &str, name: &str, errors: &[FieldError]) -> Self {
        let qualified = if group.is_empty() {
            what.to_owned()
        } else {
            format!("{what}.{group}")
        };
        let mut seen: Vec<String> = Vec::new();
        for error in errors {
            let text = error.to_string();
            if !seen.contains(&text) {
                seen.push(text);
            }
        }
        let joined = match seen.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let causes: Vec<Value> = errors
            .iter()
            .map(|error| {
                json!({
                    "reason": error.kind.cause(),
                    "message": error.body(),
                    "field": error.field,
                })
            })
            .collect();
        let mut details = json!({"name": name, "kind": what, "causes": causes});
        if let Some(map) = details.as_object_mut() {
            if !group.is_empty() {
                map.insert("group".into(), json!(group));
            }
            if name.is_empty() {
                map.remove("name");
            }
        }
        Self::new(
            422,
            "Invalid",
            format!("{qualified} {name:?} is invalid: {joined}"),
        )
        .with_details(details)
    }

    /// The `metav1.Status` object.
    pub(crate) fn to_json(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if let Some(map) = status.as_object_mut() {
            if !self.reason.is_empty() {
                map.insert("reason".into(), json!(self.reason));
            }
            if let Some(details) = &self.details {
                map.insert("details".into(), details.clone());
            }
            if let Some(token) = &self.continue_token {
                map.insert("metadata".into(), json!({"continue": token}));
            }
        }
        status
    }
}

/// The `metav1.Status` of a completed deletion.
pub(crate) fn deleted(kind: &Kind, name: &str, uid: &str) -> Value {
    let mut details = resource_details(kind, name);
    if let Some(map) = details.as_object_mut() {
        map.insert("uid".into(), json!(uid));
    }
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    })
}

fn resource_details(kind: &Kind, name: &str) -> Value {
    let mut details = json!({"kind": kind.plural});
    if let Some(map) = details.as_object_mut() {
        if !name.is_empty() {
            map.insert("name".into(), json!(name));
        }
        if !kind.group.is_empty() {
            map.insert("group".into(), json!(kind.group));
        }
    }
    details
}

const OPTIMISTIC_LOCK: &str =
    "the object has been modified; please apply your changes to the latest version and try again";
