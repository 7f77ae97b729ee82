//! Rules of Events (`pkg/apis/core/validation/events.go`): loose in the core group, strict in
//! `events.k8s.io`, and worded with the field names of the former in both.

use serde_json::Value;

use super::names;
use crate::field::FieldError;
use crate::kinds::Kind;
use crate::object::{at, text};

/// Checks an Event.
pub(crate) fn check(kind: &Kind, event: &Value) -> Vec<FieldError> {
    let new = !kind.group.is_empty();
    let object = if new { "regarding" } else { "involvedObject" };
    let mut errors = Vec::new();
    let place = text(event, &["metadata", "namespace"]);
    let namespace = text(event, &[object, "namespace"]);
    let elsewhere = if namespace.is_empty() {
        !matches!(place, "default" | "kube-system")
    } else {
        !new && namespace != place
    };
    if elsewhere {
        errors.push(FieldError::invalid(
            "involvedObject.namespace",
            namespace,
            "does not match event.namespace",
        ));
    }
    if !new {
        return errors;
    }
    for field in [
        "eventTime",
        "reportingController",
        "reportingInstance",
        "action",
        "reason",
    ] {
        if text(event, &[field]).is_empty() {
            errors.push(FieldError::required(field, ""));
        }
    }
    let controller = text(event, &["reportingController"]);
    errors.extend(
        names::label_key(controller)
            .into_iter()
            .map(|why| FieldError::invalid("reportingController", controller, why)),
    );
    for (field, told, limit) in [
        ("reportingInstance", "reportingInstance", 128),
        ("action", "action", 128),
        ("reason", "reason", 128),
        ("note", "message", 1024),
    ] {
        if text(event, &[field]).len() > limit {
            let why = format!("can have at most {limit} characters");
            errors.push(FieldError::invalid(told, "", why));
        }
    }
    let severity = text(event, &["type"]);
    if !matches!(severity, "Normal" | "Warning") {
        let why = format!("has invalid value: {severity}");
        errors.push(FieldError::invalid("type", "", why));
    }
    let count = at(event, &["series", "count"]).and_then(Value::as_i64);
    if at(event, &["series"]).is_some() && count.unwrap_or(0) < 2 {
        errors.push(FieldError::invalid(
            "series.count",
            "",
            "should be at least 2",
        ));
    }
    errors
}

/// Of an Event of the new group only the series changes.
pub(crate) fn check_update(kind: &Kind, event: &Value, old: &Value) -> Vec<FieldError> {
    if kind.group.is_empty() {
        return Vec::new();
    }
    [
        ("reason", "reason"),
        ("note", "message"),
        ("action", "action"),
        ("type", "type"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ]
    .into_iter()
    .filter(|(field, _)| event.get(*field) != old.get(*field))
    .map(|(field, told)| FieldError::invalid(told, text(event, &[field]), "field is immutable"))
    .collect()
}
