//! What requests do: one function per verb.
//!
//! Reads take snapshots; writes run the rules of [`crate::strategy`] on a snapshot and then swap
//! it in, starting over when someone else was faster. So no lock is held while certificates are
//! parsed, and two writers never both win.

mod delete;
mod list;
mod patch;
mod write;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;

use crate::kinds::KINDS;
use crate::node::restriction::{self, Operation};
use crate::object::{metadata_mut, normalize};
use crate::request::{Query, Target, Verb};
use crate::server::{Admission, ApiServer};
use crate::service::{ApiBody, json_response};
use crate::status::Failure;
use crate::store::{Key, Stored};
use crate::strategy;
use crate::user::User;
use crate::versions;
use crate::watch::{Representation, append_metadata};

impl ApiServer {
    /// Serves a request that faults and authorizer let through.
    pub(crate) fn serve(
        &self,
        user: &User,
        target: &Target,
        query: &Query,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response<ApiBody>, Failure> {
        let accept = representation(headers)?;
        match target.verb {
            Verb::Get => {
                self.check_reached(query.revision(target)?)?;
                let object = self.existing(target)?;
                Ok(object_response(target, StatusCode::OK, &object, accept))
            }
            Verb::List => self.list(target, query, accept),
            Verb::Watch => self.watch(user, target, query, accept),
            Verb::Create => {
                let object = self.create(
                    user,
                    target,
                    query,
                    parse_body(target, query, headers, body)?,
                )?;
                Ok(object_response(
                    target,
                    StatusCode::CREATED,
                    &object,
                    accept,
                ))
            }
            Verb::Update => {
                let object = parse_body(target, query, headers, body)?;
                let (status, object) = self.replace(user, target, query, &object)?;
                Ok(object_response(target, status, &object, accept))
            }
            Verb::Patch => {
                let object = self.patch(user, target, query, headers, body)?;
                Ok(object_response(target, StatusCode::OK, &object, accept))
            }
            Verb::Delete => {
                self.restrict(user, target, Operation::Delete)?;
                self.delete(target, query, body, accept)
            }
            Verb::DeleteCollection => self.delete_collection(target, query, body),
        }
    }

    /// What NodeRestriction says to a write, where it is on.
    fn restrict(
        &self,
        user: &User,
        target: &Target,
        operation: Operation<'_>,
    ) -> Result<(), Failure> {
        let inner = &self.inner;
        match inner.admission {
            Admission::Default => Ok(()),
            Admission::NodeRestriction => restriction::admit(
                &inner.store,
                inner.authorizer.as_ref(),
                user,
                target,
                operation,
            ),
        }
    }

    /// The object a request names.
    fn existing(&self, target: &Target) -> Result<Arc<Stored>, Failure> {
        self.inner
            .store
            .get(target.kind, &key(target))
            .ok_or_else(|| Failure::not_found(target.kind, &target.name))
    }

    /// Sets what every new object gets and no client chooses.
    pub(crate) fn fill_system_fields(&self, object: &mut Value) {
        let uid = self.inner.random.uid();
        let created = rfc3339(self.now());
        let metadata = metadata_mut(object);
        for field in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
        ] {
            metadata.remove(field);
        }
        metadata.insert("uid".into(), uid.into());
        metadata.insert("creationTimestamp".into(), created.into());
    }
}

/// Dates as the API shows them: UTC, whole seconds.
pub(crate) fn rfc3339(timestamp: jiff::Timestamp) -> String {
    timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn key(target: &Target) -> Key {
    Key::new(&target.namespace, &target.name)
}

/// The object in a request's body, if it is one of the target's kind.
fn parse_body(
    target: &Target,
    query: &Query,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Value, Failure> {
    let media_type = media_type(headers);
    if !matches!(media_type, "" | "application/json") {
        return Err(Failure::unsupported_media_type(MEDIA_TYPES));
    }
    let unrecognized = |why: &str| {
        Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {why}",
            target.kind.kind
        ))
    };
    let mut object: Value =
        serde_json::from_slice(body).map_err(|error| unrecognized(&error.to_string()))?;
    let what = match &object {
        Value::Object(_) => "",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(_) | Value::Null => "number",
    };
    if !what.is_empty() {
        return Err(unrecognized(&format!(
            "json: cannot unmarshal {what} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
        )));
    }
    match check_type(target, &object) {
        Ok(()) => {}
        Err(Misfit::OtherVersion(given)) => {
            return Err(Failure::bad_request(format!(
                "the API version in the data ({given}) does not match the expected API version ({})",
                target.kind.api_version()
            )));
        }
        Err(Misfit::Unreadable { kind, version, why }) => {
            return Err(Failure::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {}: {why}",
                target.kind.kind
            )));
        }
    }
    if query.is_strict() {
        strategy::refuse_unknown(target.kind, &object)?;
    }
    versions::known(target.kind, &mut object);
    normalize(&mut object);
    Ok(object)
}

/// How JSON fails to be an object of the wanted kind.
enum Misfit {
    /// It is one, in this other API version.
    OtherVersion(String),
    /// It says to be of this kind and version (without group), which cannot be decoded.
    Unreadable {
        kind: String,
        version: String,
        why: String,
    },
}

/// Refuses objects of another kind or version, and values of other types than the kind's; absent
/// kinds and versions are taken for the target's.
fn check_type(target: &Target, object: &Value) -> Result<(), Misfit> {
    let given = |field: &str| {
        object
            .get(field)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let wanted = target.kind;
    let kind = given("kind").unwrap_or(wanted.kind);
    let expected = wanted.api_version();
    let api_version = given("apiVersion").unwrap_or(&expected);
    let unreadable = |why: String| Misfit::Unreadable {
        kind: kind.to_owned(),
        version: api_version.rsplit('/').next().unwrap_or_default().into(),
        why,
    };
    let is_registered = KINDS
        .iter()
        .any(|row| row.kind == kind && row.api_version() == api_version);
    if !is_registered || (kind != wanted.kind && api_version == expected) {
        return Err(unreadable(format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/runtime/scheme.go:111\""
        )));
    }
    if api_version != expected {
        return Err(Misfit::OtherVersion(api_version.to_owned()));
    }
    if let Some(why) = strategy::types::misfit(wanted, object) {
        return Err(unreadable(why));
    }
    for path in ["metadata", "spec", "status"] {
        if object
            .get(path)
            .is_some_and(|value| !value.is_object() && !value.is_null())
        {
            return Err(unreadable(format!("{path} must be an object")));
        }
    }
    Ok(())
}

/// The body's media type, without parameters.
fn media_type(headers: &HeaderMap) -> &str {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map_or("", str::trim)
}

/// How the client wants objects. JSON is all there is; `as=PartialObjectMetadata` (and its list)
/// reduces them to their metadata.
fn representation(headers: &HeaderMap) -> Result<Representation, Failure> {
    let Some(accept) = headers.get(ACCEPT).and_then(|value| value.to_str().ok()) else {
        return Ok(Representation::Whole);
    };
    for alternative in accept.split(',') {
        let mut parameters = alternative.split(';').map(str::trim);
        let media_type = parameters.next().unwrap_or_default();
        if !matches!(
            media_type,
            "application/json" | "*/*" | "application/*" | ""
        ) {
            continue;
        }
        let parameters: Vec<&str> = parameters.collect();
        let named = |name: &str| {
            parameters
                .iter()
                .find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='))
        };
        match named("as") {
            None => return Ok(Representation::Whole),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList")
                if named("g") == Some("meta.k8s.io") && named("v") == Some("v1") =>
            {
                return Ok(Representation::MetadataOnly);
            }
            // Tables and what else there is: maybe the next alternative is plainer.
            Some(_) => {}
        }
    }
    Err(Failure::not_acceptable(MEDIA_TYPES))
}

fn object_response(
    target: &Target,
    status: StatusCode,
    object: &Stored,
    representation: Representation,
) -> Response<ApiBody> {
    match representation {
        Representation::Whole => json_response(status, object.bytes(target.kind)),
        Representation::MetadataOnly => {
            let mut bytes = Vec::new();
            append_metadata(&object.value, &mut bytes);
            json_response(status, bytes)
        }
    }
}

/// What the real server reads and writes; this one only the first.
const MEDIA_TYPES: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
