//! Defaults and rules of the plain kinds: as much as callers of this server depend on.

use serde_json::{Map, Value, json};

use super::admission;
use crate::field::FieldError;
use crate::kinds::Rules;
use crate::object::{as_map_mut, at, copy_key, map_mut, set_default, text};

/// Fills in what the real server would.
pub(crate) fn default(rules: Rules, object: &mut Value) {
    match rules {
        Rules::Pod => set_default(map_mut(object, "status"), "phase", "Pending"),
        Rules::Service => {
            let spec = map_mut(object, "spec");
            set_default(spec, "type", "ClusterIP");
            set_default(spec, "sessionAffinity", "None");
            if spec.get("type").and_then(Value::as_str) != Some("ExternalName") {
                set_default(spec, "ipFamilies", json!(["IPv4"]));
                set_default(spec, "ipFamilyPolicy", "SingleStack");
                set_default(spec, "internalTrafficPolicy", "Cluster");
            }
            if let Some(address) = spec.get("clusterIP").cloned() {
                set_default(spec, "clusterIPs", json!([address]));
            }
            for port in spec
                .get_mut("ports")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                let number = port.get("port").cloned();
                let port = as_map_mut(port);
                set_default(port, "protocol", "TCP");
                if let Some(number) = number {
                    set_default(port, "targetPort", number);
                }
            }
        }
        Rules::DaemonSet => {
            let annotations = map_mut_in(object, "metadata", "annotations");
            let number = annotations.get(TEMPLATE_GENERATION).and_then(Value::as_str);
            let number = number.and_then(|number| number.parse::<i64>().ok());
            let number = number.unwrap_or(1).max(1).to_string();
            annotations.insert(TEMPLATE_GENERATION.into(), number.into());
        }
        Rules::Secret => {
            let map = as_map_mut(object);
            set_default(map, "type", "Opaque");
            if let Some(Value::Object(texts)) = map.remove("stringData") {
                let data = map_mut(object, "data");
                for (key, text) in texts {
                    let text = text.as_str().unwrap_or_default();
                    data.insert(key, base64(text).into());
                }
            }
        }
        Rules::Namespace => {
            let name = text(object, &["metadata", "name"]).to_owned();
            let labels = map_mut_in(object, "metadata", "labels");
            labels.insert("kubernetes.io/metadata.name".into(), name.into());
            set_default(map_mut(object, "status"), "phase", "Active");
            set_default(map_mut(object, "spec"), "finalizers", json!(["kubernetes"]));
        }
        Rules::ClusterTrustBundle
        | Rules::ConfigMap
        | Rules::Event
        | Rules::Lease
        | Rules::Plain
        | Rules::PodCertificateRequest
        | Rules::Workload => {}
    }
    if rules == Rules::Service {
        set_default(map_mut(object, "status"), "loadBalancer", json!({}));
    }
}

/// Puts back what an update may leave out or not choose: a Service's address, which template of a
/// DaemonSet this is, and what admission gave a pod.
pub(crate) fn keep(rules: Rules, object: &mut Value, old: &Value) {
    if rules == Rules::Pod {
        admission::readmit_pod(object, old);
    }
    if rules == Rules::DaemonSet {
        let number = text(old, &["metadata", "annotations", TEMPLATE_GENERATION]).parse::<i64>();
        let same = at(object, &["spec", "template"]) == at(old, &["spec", "template"]);
        let number = number.unwrap_or(1).max(1).saturating_add(i64::from(!same));
        map_mut_in(object, "metadata", "annotations")
            .insert(TEMPLATE_GENERATION.into(), number.to_string().into());
    }
    let external = text(object, &["spec", "type"]) == "ExternalName";
    if rules != Rules::Service || external || !text(object, &["spec", "clusterIP"]).is_empty() {
        return;
    }
    for field in ["clusterIP", "clusterIPs"] {
        copy_key(old.get("spec"), map_mut(object, "spec"), field);
    }
}

/// Checks an object of one of these kinds.
pub(crate) fn check(rules: Rules, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match rules {
        Rules::ConfigMap | Rules::Secret => {
            let data = object.get("data").and_then(Value::as_object);
            for key in data.into_iter().flat_map(Map::keys) {
                let known = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
                if key.is_empty() || !key.chars().all(known) {
                    errors.push(FieldError::invalid(
                        &format!("data[{key}]"),
                        key,
                        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
                    ));
                }
            }
            if text(object, &["type"]) == "kubernetes.io/tls" {
                for key in ["tls.crt", "tls.key"] {
                    if data.is_none_or(|data| !data.contains_key(key)) {
                        errors.push(FieldError::required(&format!("data[{key}]"), ""));
                    }
                }
            }
        }
        Rules::Lease => {
            for (field, least, why) in [
                ("leaseDurationSeconds", 1, "must be greater than 0"),
                ("leaseTransitions", 0, "must be greater than or equal to 0"),
            ] {
                let value = at(object, &["spec", field]).and_then(Value::as_i64);
                if let Some(value) = value.filter(|value| *value < least) {
                    errors.push(FieldError::invalid_raw(
                        &format!("spec.{field}"),
                        value,
                        why,
                    ));
                }
            }
        }
        Rules::Service => {
            let ports = at(object, &["spec", "ports"]).and_then(Value::as_array);
            let headless = text(object, &["spec", "clusterIP"]) == "None";
            let external = text(object, &["spec", "type"]) == "ExternalName";
            if !headless && !external && ports.is_none_or(Vec::is_empty) {
                errors.push(FieldError::required("spec.ports", ""));
            }
        }
        _ => {}
    }
    errors
}

/// A Service keeps its address.
pub(crate) fn check_service_update(object: &Value, old: &Value) -> Vec<FieldError> {
    let (new, old) = (
        text(object, &["spec", "clusterIP"]),
        text(old, &["spec", "clusterIP"]),
    );
    if old.is_empty() || new == old || text(object, &["spec", "type"]) == "ExternalName" {
        return Vec::new();
    }
    vec![FieldError::invalid_raw(
        "spec.clusterIPs[0]",
        json!([new]),
        "may not change once set",
    )]
}

/// A Secret's type never changes, and an immutable Secret's data neither.
pub(crate) fn check_secret_update(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if object.get("type") != old.get("type") {
        errors.push(FieldError::invalid(
            "type",
            text(object, &["type"]),
            "field is immutable",
        ));
    }
    errors.extend(check_immutable(object, old));
    errors
}

/// The data of an immutable Secret or ConfigMap never changes.
pub(crate) fn check_immutable(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let immutable = old.get("immutable") == Some(&Value::Bool(true));
    if immutable && object.get("immutable") != Some(&Value::Bool(true)) {
        errors.push(FieldError::forbidden(
            "immutable",
            "field is immutable when `immutable` is set",
        ));
    }
    if immutable && object.get("data") != old.get("data") {
        errors.push(FieldError::forbidden(
            "data",
            "field is immutable when `immutable` is set",
        ));
    }
    errors
}

/// Where versions without a field for it have the number of a DaemonSet's template.
pub(crate) const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn map_mut_in<'a>(object: &'a mut Value, outer: &str, inner: &str) -> &'a mut Map<String, Value> {
    let outer = map_mut(object, outer);
    as_map_mut(
        outer
            .entry(inner.to_owned())
            .or_insert_with(|| Value::Object(Map::new())),
    )
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
