//! The rules of pods, and of the pods in templates, as far as a pod that breaks them would be found
//! out by a real cluster before anything ran (`pkg/apis/core/validation/validation.go`).
//!
//! Of volumes only their names are looked at, of probes their numbers; security contexts, affinity
//! and what else is left to whoever carries a pod out are not.

mod resources;
mod update;

use serde_json::{Value, json};

pub(crate) use self::update::check_update;
use super::names;
use crate::field::FieldError;
use crate::object::{at, list, text};
use crate::quantity::Quantity;

/// Checks a pod.
pub(crate) fn check(pod: &Value) -> Vec<FieldError> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let mut errors = check_spec(spec, "spec");
    check_nonnegative(spec, "spec", "terminationGracePeriodSeconds", &mut errors);
    for kind in ["containers", "initContainers"] {
        for (index, container) in list(spec, kind).enumerate() {
            let image = text(container, &["image"]);
            if image.trim() != image {
                errors.push(FieldError::invalid(
                    &format!("spec.{kind}[{index}].image"),
                    image,
                    "must not have leading or trailing whitespace",
                ));
            }
        }
    }
    errors
}

/// What holds of new pods alone.
pub(crate) fn check_create(pod: &Value) -> Vec<FieldError> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let mut errors = Vec::new();
    if list(spec, "ephemeralContainers").next().is_some() {
        let why = "cannot be set on create";
        errors.push(FieldError::forbidden("spec.ephemeralContainers", why));
    }
    if !text(spec, &["nodeName"]).is_empty() && list(spec, "schedulingGates").next().is_some() {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden("spec.nodeName", why));
    }
    errors
}

/// Checks the spec of a pod or of a template, which stands at `path`.
pub(crate) fn check_spec(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let volumes = check_volumes(spec, path, &mut errors);
    let mut seen = Vec::new();
    if list(spec, "containers").next().is_none() {
        errors.push(FieldError::required(&format!("{path}.containers"), ""));
    }
    for kind in ["containers", "initContainers"] {
        for (index, container) in list(spec, kind).enumerate() {
            let path = format!("{path}.{kind}[{index}]");
            check_container(container, &path, &volumes, &mut errors);
            let name = text(container, &["name"]);
            if seen.contains(&name) {
                errors.push(FieldError::duplicate(&format!("{path}.name"), name));
            }
            seen.push(name);
            let is_init =
                kind == "initContainers" && text(container, &["restartPolicy"]) != "Always";
            check_probes(container, &path, is_init, &mut errors);
        }
    }
    for (field, supported) in [
        ("restartPolicy", ["Always", "OnFailure", "Never"].as_slice()),
        (
            "dnsPolicy",
            ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"].as_slice(),
        ),
    ] {
        check_choice(spec, path, field, supported, &mut errors);
    }
    if let Some(seconds) = at(spec, &["activeDeadlineSeconds"]).and_then(Value::as_i64)
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        errors.push(FieldError::invalid_raw(
            &format!("{path}.activeDeadlineSeconds"),
            seconds,
            "must be between 1 and 2147483647, inclusive",
        ));
    }
    for (field, complain) in [
        (
            "serviceAccountName",
            names::dns_subdomain as fn(&str) -> Vec<String>,
        ),
        ("nodeName", names::dns_subdomain),
        ("hostname", names::dns_label),
        ("subdomain", names::dns_label),
    ] {
        let value = text(spec, &[field]);
        if !value.is_empty() {
            let field = format!("{path}.{field}");
            let complaints = complain(value).into_iter();
            errors.extend(complaints.map(|why| FieldError::invalid(&field, value, why)));
        }
    }
    check_tolerations(spec, path, &mut errors);
    errors
}

/// The names of the volumes.
fn check_volumes<'a>(spec: &'a Value, path: &str, errors: &mut Vec<FieldError>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for (index, volume) in list(spec, "volumes").enumerate() {
        let field = format!("{path}.volumes[{index}].name");
        let name = text(volume, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&field, ""));
            continue;
        }
        let complaints = names::dns_label(name).into_iter();
        errors.extend(complaints.map(|why| FieldError::invalid(&field, name, why)));
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(&field, name));
        }
        seen.push(name);
    }
    seen
}

fn check_container(container: &Value, path: &str, volumes: &[&str], errors: &mut Vec<FieldError>) {
    let name = text(container, &["name"]);
    let field = format!("{path}.name");
    if name.is_empty() {
        errors.push(FieldError::required(&field, ""));
    } else {
        let complaints = names::dns_label(name).into_iter();
        errors.extend(complaints.map(|why| FieldError::invalid(&field, name, why)));
    }
    if text(container, &["image"]).is_empty() {
        errors.push(FieldError::required(&format!("{path}.image"), ""));
    }
    let policies = &["File", "FallbackToLogsOnError"];
    check_choice(
        container,
        path,
        "terminationMessagePolicy",
        policies,
        errors,
    );
    check_ports(container, path, errors);
    for (index, variable) in list(container, "env").enumerate() {
        let name = text(variable, &["name"]);
        let field = format!("{path}.env[{index}].name");
        let printable = |c: char| c.is_ascii_graphic() || c == ' ';
        if name.is_empty() {
            errors.push(FieldError::required(&field, ""));
        } else if !name.chars().all(|c| printable(c) && c != '=') {
            let why = "a valid environment variable name must consist only of printable ASCII characters other than '='";
            errors.push(FieldError::invalid(&field, name, why));
        }
    }
    let mut places = Vec::new();
    for (index, mount) in list(container, "volumeMounts").enumerate() {
        let path = format!("{path}.volumeMounts[{index}]");
        let name = text(mount, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&format!("{path}.name"), ""));
        } else if !volumes.contains(&name) {
            errors.push(FieldError::not_found(&format!("{path}.name"), name));
        }
        let place = text(mount, &["mountPath"]);
        let field = format!("{path}.mountPath");
        if place.is_empty() {
            errors.push(FieldError::required(&field, ""));
        }
        if places.contains(&place) {
            errors.push(FieldError::invalid(&field, place, "must be unique"));
        }
        places.push(place);
    }
    let policies = &["Always", "IfNotPresent", "Never"];
    check_choice(container, path, "imagePullPolicy", policies, errors);
    resources::check(container, &format!("{path}.resources"), errors);
}

fn check_ports(container: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut seen = Vec::new();
    for (index, port) in list(container, "ports").enumerate() {
        let path = format!("{path}.ports[{index}]");
        let name = text(port, &["name"]);
        let field = format!("{path}.name");
        let complaints = names::port_name(name);
        if !name.is_empty() && complaints.is_empty() {
            if seen.contains(&name) {
                errors.push(FieldError::duplicate(&field, name));
            }
            seen.push(name);
        } else if !name.is_empty() {
            let complaints = complaints.into_iter();
            errors.extend(complaints.map(|why| FieldError::invalid(&field, name, why)));
        }
        for (field, is_required) in [("containerPort", true), ("hostPort", false)] {
            let number = at(port, &[field]).and_then(Value::as_i64).unwrap_or(0);
            let field = format!("{path}.{field}");
            match number {
                0 if is_required => errors.push(FieldError::required(&field, "")),
                0..=65535 => {}
                number => {
                    let why = "must be between 1 and 65535, inclusive";
                    errors.push(FieldError::invalid_raw(&field, number, why));
                }
            }
        }
        check_choice(port, &path, "protocol", &["SCTP", "TCP", "UDP"], errors);
    }
}

fn check_probes(container: &Value, path: &str, is_init: bool, errors: &mut Vec<FieldError>) {
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get(kind) else {
            continue;
        };
        let path = format!("{path}.{kind}");
        if is_init {
            let why = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(&path, why));
            continue;
        }
        let mut handlers = ["exec", "httpGet", "tcpSocket", "grpc"]
            .into_iter()
            .filter(|handler| probe.get(handler).is_some());
        if handlers.next().is_none() {
            errors.push(FieldError::required(&path, "must specify a handler type"));
        }
        for handler in handlers {
            errors.push(FieldError::forbidden(
                &format!("{path}.{handler}"),
                "may not specify more than 1 handler type",
            ));
        }
        for field in [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ] {
            check_nonnegative(probe, &path, field, errors);
        }
        let number = |field: &str| at(probe, &[field]).and_then(Value::as_i64);
        if let Some(seconds) = number("terminationGracePeriodSeconds").filter(|it| *it <= 0) {
            errors.push(FieldError::invalid_raw(
                &format!("{path}.terminationGracePeriodSeconds"),
                seconds,
                "must be greater than 0",
            ));
        }
        if kind != "readinessProbe"
            && let Some(threshold) = number("successThreshold").filter(|it| *it != 1)
        {
            let field = format!("{path}.successThreshold");
            errors.push(FieldError::invalid_raw(&field, threshold, "must be 1"));
        }
    }
}

fn check_tolerations(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (index, toleration) in list(spec, "tolerations").enumerate() {
        let path = format!("{path}.tolerations[{index}]");
        let [key, operator, value, effect] =
            ["key", "operator", "value", "effect"].map(|field| text(toleration, &[field]));
        if !key.is_empty() {
            let field = format!("{path}.key");
            let complaints = names::label_key(key).into_iter();
            errors.extend(complaints.map(|why| FieldError::invalid(&field, key, why)));
        }
        let field = format!("{path}.operator");
        if key.is_empty() && operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(&field, operator, why));
        }
        if toleration.get("tolerationSeconds").is_some() && effect != "NoExecute" {
            errors.push(FieldError::invalid(
                &format!("{path}.effect"),
                effect,
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            ));
        }
        match operator {
            "Equal" | "" => {
                let complaints = names::label_value(value);
                if !complaints.is_empty() {
                    errors.push(FieldError::invalid(&field, value, complaints.join(";")));
                }
            }
            "Exists" if value.is_empty() => {}
            "Exists" => {
                let why = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(&field, value, why));
            }
            // Comparisons stand behind a feature gate; which of them there are is said all the same.
            other => {
                let supported: &[&str] = match other {
                    "Lt" | "Gt" => &["Equal", "Exists", "Lt", "Gt"],
                    _ => &["Equal", "Exists"],
                };
                errors.push(FieldError::not_supported(&field, other, supported));
            }
        }
        let effects = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if !effect.is_empty() {
            check_choice(toleration, &path, "effect", effects, errors);
        }
    }
}

/// A field that must have one of a few values.
fn check_choice(
    owner: &Value,
    path: &str,
    field: &str,
    supported: &[&str],
    errors: &mut Vec<FieldError>,
) {
    let value = text(owner, &[field]);
    let field = format!("{path}.{field}");
    if value.is_empty() {
        errors.push(FieldError::required(&field, ""));
    } else if !supported.contains(&value) {
        errors.push(FieldError::not_supported(&field, value, supported));
    }
}

pub(crate) fn check_nonnegative(
    owner: &Value,
    path: &str,
    field: &str,
    errors: &mut Vec<FieldError>,
) {
    let number = at(owner, &[field]).and_then(Value::as_i64);
    if let Some(number) = number.filter(|number| *number < 0) {
        errors.push(FieldError::invalid_raw(
            &format!("{path}.{field}"),
            number,
            "must be greater than or equal to 0",
        ));
    }
}

/// What a new pod that waits behind gates says of itself.
pub(crate) fn gated_condition(pod: &Value) -> Option<Value> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    list(spec, "schedulingGates").next()?;
    Some(json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
        "lastTransitionTime": text(pod, &["metadata", "creationTimestamp"]),
    }))
}

/// How a pod fares when its node runs out of memory, which follows from its resources.
pub(crate) fn quality_of_service(pod: &Value) -> &'static str {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let mut found = None;
    let containers = list(spec, "initContainers").chain(list(spec, "containers"));
    let of_containers = containers.filter_map(|container| container.get("resources"));
    let mut all: Vec<&Value> = of_containers.collect();
    if let Some(whole) = spec.get("resources") {
        all = vec![whole];
    }
    for resources in all {
        for resource in ["cpu", "memory"] {
            let amount = |kind: &str| {
                let amount = Quantity::parse(text(resources, &[kind, resource]));
                amount.ok().filter(|amount| !amount.is_zero())
            };
            let class = match (amount("requests"), amount("limits")) {
                (None, None) => "BestEffort",
                (request, limit) if request == limit => "Guaranteed",
                _ => "Burstable",
            };
            match found {
                None => found = Some(class),
                Some(found) if found != class => return "Burstable",
                Some(_) => {}
            }
        }
    }
    found.unwrap_or("BestEffort")
}
