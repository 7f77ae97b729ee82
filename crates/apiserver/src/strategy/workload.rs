//! The rules of Deployments, DaemonSets and ReplicaSets (`pkg/apis/apps/validation/validation.go`).

use serde_json::{Map, Value, json};

use super::pod;
use crate::field::FieldError;
use crate::kinds::{Kind, Rules};
use crate::object::{at, text};

/// A workload's selector is mandatory and must select its own pods.
pub(crate) fn check(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let selector = at(object, &["spec", "selector"]);
    let wanted = selector
        .and_then(|selector| selector.get("matchLabels"))
        .and_then(Value::as_object);
    let expressions = selector
        .and_then(|selector| selector.get("matchExpressions"))
        .and_then(Value::as_array);
    if selector.is_none() {
        errors.push(FieldError::required("spec.selector", ""));
    } else if wanted.is_none_or(Map::is_empty) && expressions.is_none_or(Vec::is_empty) {
        errors.push(FieldError::invalid_raw(
            "spec.selector",
            "{}",
            // A ReplicaSet's is told as a Deployment's.
            match kind.rules {
                Rules::DaemonSet => "empty selector is invalid for daemonset",
                _ => "empty selector is invalid for deployment",
            },
        ));
    }
    let labels = at(object, &["spec", "template", "metadata", "labels"]);
    let selected = wanted
        .into_iter()
        .flatten()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value));
    if !selected {
        errors.push(FieldError::invalid_raw(
            "spec.template.metadata.labels",
            labels.unwrap_or(&json!({})),
            "`selector` does not match template `labels`",
        ));
    }
    let spec = object.get("spec").unwrap_or(&Value::Null);
    check_template(kind, spec, &mut errors);
    for field in [
        "replicas",
        "minReadySeconds",
        "revisionHistoryLimit",
        "progressDeadlineSeconds",
    ] {
        pod::check_nonnegative(spec, "spec", field, &mut errors);
    }
    check_strategy(spec, &mut errors);
    let number = |field: &str| at(spec, &[field]).and_then(Value::as_i64);
    if let Some(deadline) = number("progressDeadlineSeconds")
        && deadline <= number("minReadySeconds").unwrap_or(0)
    {
        errors.push(FieldError::invalid_raw(
            "spec.progressDeadlineSeconds",
            deadline,
            "must be greater than minReadySeconds",
        ));
    }
    errors
}

/// The pods that it makes.
fn check_template(kind: &Kind, spec: &Value, errors: &mut Vec<FieldError>) {
    const PATH: &str = "spec.template.spec";
    let nothing = Value::Null;
    let template = at(spec, &["template", "spec"]).unwrap_or(&nothing);
    errors.extend(pod::check_spec(template, PATH));
    let policy = text(template, &["restartPolicy"]);
    if policy != "Always" {
        let field = format!("{PATH}.restartPolicy");
        errors.push(FieldError::not_supported(&field, policy, &["Always"]));
    }
    if template.get("activeDeadlineSeconds").is_some() {
        let what = match kind.rules {
            Rules::DaemonSet => "DaemonSet",
            _ => "ReplicaSet",
        };
        errors.push(FieldError::forbidden(
            &format!("{PATH}.activeDeadlineSeconds"),
            format!("activeDeadlineSeconds in {what} is not Supported"),
        ));
    }
}

/// How pods are replaced: a Deployment's `strategy`, a DaemonSet's `updateStrategy`.
fn check_strategy(spec: &Value, errors: &mut Vec<FieldError>) {
    if let Some(strategy) = spec.get("strategy") {
        match text(strategy, &["type"]) {
            "RollingUpdate" => {
                let path = "spec.strategy.rollingUpdate";
                if check_rolling(strategy, path, errors) == (false, false) {
                    let value = at(strategy, &["rollingUpdate", "maxUnavailable"]);
                    errors.push(FieldError::invalid_raw(
                        &format!("{path}.maxUnavailable"),
                        value.unwrap_or(&Value::Null),
                        "may not be 0 when `maxSurge` is 0",
                    ));
                }
            }
            "Recreate" if strategy.get("rollingUpdate").is_none() => {}
            "Recreate" => errors.push(FieldError::forbidden(
                "spec.strategy.rollingUpdate",
                "may not be specified when strategy `type` is 'Recreate'",
            )),
            other => errors.push(unknown_strategy(
                "spec.strategy",
                other,
                &["Recreate", "RollingUpdate"],
            )),
        }
    }
    if let Some(strategy) = spec.get("updateStrategy") {
        match text(strategy, &["type"]) {
            "RollingUpdate" => {
                let path = "spec.updateStrategy.rollingUpdate";
                match check_rolling(strategy, path, errors) {
                    (false, false) => errors.push(FieldError::required(
                        &format!("{path}.maxUnavailable"),
                        "cannot be 0 when maxSurge is 0",
                    )),
                    (true, true) => {
                        let value = at(strategy, &["rollingUpdate", "maxSurge"]);
                        errors.push(FieldError::invalid_raw(
                            &format!("{path}.maxSurge"),
                            value.unwrap_or(&Value::Null),
                            "may not be set when maxUnavailable is non-zero",
                        ));
                    }
                    _ => {}
                }
            }
            "OnDelete" => {}
            other => errors.push(unknown_strategy(
                "spec.updateStrategy",
                other,
                &["RollingUpdate", "OnDelete"],
            )),
        }
    }
}

/// Upstream shows its own type, which knows nothing of rolling here.
fn unknown_strategy(field: &str, name: &str, supported: &[&str]) -> FieldError {
    let shown = format!("{{\"Type\":{name:?},\"RollingUpdate\":null}}");
    FieldError::not_supported_raw(field, shown, supported)
}

/// Whether `maxUnavailable` and `maxSurge` are more than nothing.
fn check_rolling(strategy: &Value, path: &str, errors: &mut Vec<FieldError>) -> (bool, bool) {
    let some = ["maxUnavailable", "maxSurge"].map(|field| {
        let path = format!("{path}.{field}");
        match at(strategy, &["rollingUpdate", field]) {
            Some(Value::String(share)) => {
                let digits = share.strip_suffix('%').unwrap_or_default();
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    errors.push(FieldError::invalid(&path, share, PERCENT));
                    return true;
                }
                let percent = digits.parse::<u32>().unwrap_or(u32::MAX);
                if percent > 100 && (field == "maxUnavailable" || path.contains("updateStrategy")) {
                    let why = "must not be greater than 100%";
                    errors.push(FieldError::invalid(&path, share, why));
                }
                percent != 0
            }
            Some(number) => {
                let number = number.as_i64().unwrap_or(0);
                if number < 0 {
                    let why = "must be greater than or equal to 0";
                    errors.push(FieldError::invalid_raw(&path, number, why));
                }
                number != 0
            }
            None => false,
        }
    });
    some.into()
}

const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

/// The selector of a workload never changes.
pub(crate) fn check_update(object: &Value, old: &Value) -> Vec<FieldError> {
    let selector = at(object, &["spec", "selector"]);
    if selector == at(old, &["spec", "selector"]) {
        return Vec::new();
    }
    vec![FieldError::invalid_raw(
        "spec.selector",
        selector.unwrap_or(&Value::Null),
        "field is immutable",
    )]
}
