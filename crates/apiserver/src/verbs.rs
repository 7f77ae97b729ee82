//! What requests do: one function per verb.
//!
//! Reads take snapshots; writes run the rules of [`crate::strategy`] on a snapshot and then swap
//! it in, starting over when someone else was faster. So no lock is held while certificates are
//! parsed, and two writers never both win.

mod apply;
mod binding;
mod delete;
mod list;
mod patch;
mod scale;
mod token_volume;
mod write;

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, WARNING};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::Value;

use crate::kinds::KINDS;
use crate::node::restriction::{self, Operation};
use crate::object::{json_type, metadata_mut, normalize};
use crate::protobuf;
use crate::representation::{MEDIA_TYPES, Representation};
use crate::request::{FieldValidation, Part, Query, Target, Verb};
use crate::schema::schemas;
use crate::server::{Admission, ApiServer};
use crate::service::{ApiBody, json_response};
use crate::status::Failure;
use crate::store::{Key, Stored};
use crate::strategy;
use crate::user::User;
use crate::versions;

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
        let unknown = Unknown::default();
        let mut response = self.carry_out(user, target, query, headers, body, &unknown)?;
        unknown.tell(&mut response);
        Ok(response)
    }

    fn carry_out(
        &self,
        user: &User,
        target: &Target,
        query: &Query,
        headers: &HeaderMap,
        body: &Bytes,
        unknown: &Unknown,
    ) -> Result<Response<ApiBody>, Failure> {
        let accept = Representation::negotiate(headers, query)?;
        match target.part {
            Part::Binding => return self.assign(user, target, query, headers, body),
            Part::Scale => return self.scale(user, target, query, headers, body),
            Part::Token => {
                let answer = self.request_token(user, target, query, body)?;
                return Ok(json_response(StatusCode::CREATED, answer.to_string()));
            }
            // Logs are streams, and not served here.
            Part::Log | Part::Main | Part::Status => {}
        }
        match target.verb {
            Verb::Get => {
                self.check_reached(query.revision(target)?)?;
                let object = self.existing(target)?;
                Ok(self.answer(target, StatusCode::OK, &object, accept))
            }
            Verb::List => self.list(target, query, accept),
            Verb::Watch => self.watch(user, target, query, accept),
            Verb::Create => {
                let object = self.create(
                    user,
                    target,
                    query,
                    parse_body(target, query, headers, body, unknown)?,
                )?;
                Ok(self.answer(target, StatusCode::CREATED, &object, accept))
            }
            Verb::Update => {
                let object = parse_body(target, query, headers, body, unknown)?;
                let (status, object) = self.replace(user, target, query, &object)?;
                Ok(self.answer(target, status, &object, accept))
            }
            Verb::Patch => {
                let (status, object) = match media_type(headers) {
                    APPLY_PATCH => self.apply(user, target, query, body, unknown)?,
                    media_type => {
                        let object = self.patch(user, target, query, media_type, body, unknown)?;
                        (StatusCode::OK, object)
                    }
                };
                Ok(self.answer(target, status, &object, accept))
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
    pub(crate) fn existing(&self, target: &Target) -> Result<Arc<Stored>, Failure> {
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
    unknown: &Unknown,
) -> Result<Value, Failure> {
    let media_type = media_type(headers);
    if !matches!(media_type, "" | "application/json" | protobuf::MEDIA_TYPE) {
        return Err(Failure::unsupported_media_type(MEDIA_TYPES));
    }
    let unrecognized = |why: &str| {
        Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {why}",
            target.kind.kind
        ))
    };
    let object: Value =
        serde_json::from_slice(body).map_err(|error| unrecognized(&error.to_string()))?;
    if !object.is_object() {
        return Err(unrecognized(&type_meta_error(&object)));
    }
    typed(target, query, object, unknown)
}

/// What Go's decoder says where it looks for version and kind and finds no object.
fn type_meta_error(value: &Value) -> String {
    let what = match value {
        Value::Null => "number",
        value => json_type(value),
    };
    format!(
        "json: cannot unmarshal {what} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
    )
}

/// The object as its type has it, if it is one of the target's kind.
fn typed(
    target: &Target,
    query: &Query,
    mut object: Value,
    unknown: &Unknown,
) -> Result<Value, Failure> {
    let unreadable = |kind: &str, version: &str, why: &str| {
        Failure::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {}: {why}",
            target.kind.kind
        ))
    };
    match check_type(target, &object) {
        Ok(()) => {}
        Err(Misfit::OtherVersion(given)) => {
            return Err(Failure::bad_request(format!(
                "the API version in the data ({given}) does not match the expected API version ({})",
                target.kind.api_version()
            )));
        }
        Err(Misfit::Unreadable { kind, version, why }) => {
            return Err(unreadable(&kind, &version, &why));
        }
    }
    let wanted = target.kind;
    unknown
        .drop_from(target, query, &mut object)
        .map_err(|why| unreadable(wanted.kind, wanted.version, &why))?;
    versions::known(wanted, &mut object);
    normalize(&mut object);
    Ok(object)
}

/// The warnings of a request: fields that its object's type does not have.
#[derive(Debug, Default)]
struct Unknown(RefCell<Vec<String>>);

impl Unknown {
    /// Drops unknown fields from an object; an error where that is to be one.
    fn drop_from(&self, target: &Target, query: &Query, object: &mut Value) -> Result<(), String> {
        let found: Vec<String> = schemas()
            .prune(target.kind, object)
            .iter()
            .map(|path| format!("unknown field {path:?}"))
            .collect();
        if found.is_empty() {
            return Ok(());
        }
        match query.field_validation() {
            FieldValidation::Ignore => {}
            FieldValidation::Strict => {
                return Err(format!("strict decoding error: {}", found.join(", ")));
            }
            FieldValidation::Warn => *self.0.borrow_mut() = found,
        }
        Ok(())
    }

    /// Tells what was found, one `Warning` header each (RFC 7234, code 299).
    fn tell(self, response: &mut Response<ApiBody>) {
        let mut length = 0;
        for mut warning in self.0.into_inner() {
            if let Some((end, _)) = warning.char_indices().nth(WARNING_LIMIT) {
                warning.truncate(end);
            }
            // Clients take no answer with more of a head than they expect.
            length += warning.len();
            if length > WARNINGS_LIMIT {
                break;
            }
            let warning = warning.replace(char::is_control, "?");
            let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
            if let Ok(value) = HeaderValue::try_from(format!("299 - \"{text}\"")) {
                response.headers_mut().append(WARNING, value);
            }
        }
    }
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
    let misfit = strategy::types::misfit(wanted, object);
    if let Some(why) = misfit.or_else(|| schemas().misfit(wanted, object)) {
        return Err(unreadable(why));
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

impl ApiServer {
    /// An object as the answer.
    fn answer(
        &self,
        target: &Target,
        status: StatusCode,
        object: &Stored,
        accept: Representation,
    ) -> Response<ApiBody> {
        json_response(status, accept.bytes(target.kind, object, self.now()))
    }
}

/// As many characters as upstream says in a warning, and as many bytes in all of them.
const WARNING_LIMIT: usize = 256;
const WARNINGS_LIMIT: usize = 4096;
const APPLY_PATCH: &str = "application/apply-patch+yaml";
