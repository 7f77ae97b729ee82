//! What stands in a row, by kind. The order is that of the columns.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::age::since;
use super::pods;
use crate::kinds::{self, Kind};
use crate::object::{at, list, text};

/// The cells of an object's row.
pub(super) fn of(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    let name = || json!(text(object, &["metadata", "name"]));
    let age = || json!(since(at(object, &["metadata", "creationTimestamp"]), now));
    match kind.table {
        kinds::PODS => pods::cells(object, now),
        kinds::NODES => node(object, name(), age()),
        kinds::NAMESPACES => vec![name(), json!(text(object, &["status", "phase"])), age()],
        kinds::SERVICES => service(object, name(), age()),
        kinds::SERVICE_ACCOUNTS => vec![name(), age()],
        kinds::SECRETS => vec![
            name(),
            json!(text(object, &["type"])),
            json!(count(object, "data")),
            age(),
        ],
        kinds::CONFIG_MAPS => {
            let data = count(object, "data") + count(object, "binaryData");
            vec![name(), json!(data), age()]
        }
        kinds::EVENTS | kinds::EVENTS_V1 => event(object, name(), now),
        kinds::DAEMON_SETS => {
            let status = |field| json!(number(object, &["status", field]));
            let nodes = at(object, &["spec", "template", "spec", "nodeSelector"]);
            let mut cells = vec![
                name(),
                status("desiredNumberScheduled"),
                status("currentNumberScheduled"),
                status("numberReady"),
                status("updatedNumberScheduled"),
                status("numberAvailable"),
                json!(labels(nodes)),
                age(),
            ];
            cells.extend(template(object));
            cells
        }
        kinds::DEPLOYMENTS => {
            let status = |field| number(object, &["status", field]);
            let ready = format!(
                "{}/{}",
                status("readyReplicas"),
                number(object, &["spec", "replicas"])
            );
            let mut cells = vec![
                name(),
                json!(ready),
                json!(status("updatedReplicas")),
                json!(status("availableReplicas")),
                age(),
            ];
            cells.extend(template(object));
            cells
        }
        kinds::REPLICA_SETS => {
            let mut cells = vec![
                name(),
                json!(number(object, &["spec", "replicas"])),
                json!(number(object, &["status", "replicas"])),
                json!(number(object, &["status", "readyReplicas"])),
                age(),
            ];
            cells.extend(template(object));
            cells
        }
        kinds::LEASES => vec![
            name(),
            json!(text(object, &["spec", "holderIdentity"])),
            age(),
        ],
        kinds::POD_CERTIFICATE_REQUESTS => certificate_request(object, name()),
        kinds::CLUSTER_TRUST_BUNDLES => {
            let signer = or(text(object, &["spec", "signerName"]), "<none>");
            vec![name(), json!(signer)]
        }
        kinds::ROLE_BINDINGS | kinds::CLUSTER_ROLE_BINDINGS => binding(object, name(), age()),
        _ => vec![
            name(),
            json!(text(object, &["metadata", "creationTimestamp"])),
        ],
    }
}

fn node(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let status = object.get("status").unwrap_or(&Value::Null);
    let ready = list(status, "conditions").find(|it| text(it, &["type"]) == "Ready");
    let mut words = vec![match ready.map(|ready| text(ready, &["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }];
    if at(object, &["spec", "unschedulable"]) == Some(&Value::Bool(true)) {
        words.push("SchedulingDisabled");
    }
    let labels = at(object, &["metadata", "labels"]).and_then(Value::as_object);
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.as_str() {
            "kubernetes.io/role" => value.as_str(),
            key => key.strip_prefix("node-role.kubernetes.io/"),
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    let address = |wanted: &str| {
        let found = list(status, "addresses").find(|it| text(it, &["type"]) == wanted);
        found
            .map_or("<none>", |it| text(it, &["address"]))
            .to_owned()
    };
    let info = |field: &str| text(object, &["status", "nodeInfo", field]);
    let mut kernel = or(info("kernelVersion"), "<unknown>").to_owned();
    if !info("architecture").is_empty() {
        kernel = format!("{kernel} ({})", info("architecture"));
    }
    vec![
        name,
        json!(words.join(",")),
        json!(or(&roles.join(","), "<none>")),
        age,
        json!(info("kubeletVersion")),
        json!(address("InternalIP")),
        json!(address("ExternalIP")),
        json!(or(info("osImage"), "<unknown>")),
        json!(kernel),
        json!(or(info("containerRuntimeVersion"), "<unknown>")),
    ]
}

fn service(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let kind = text(spec, &["type"]);
    let texts = |value: &Value, field: &str| -> Vec<String> {
        list(value, field)
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let given = texts(spec, "externalIPs");
    let external = match kind {
        "ClusterIP" | "NodePort" => or(&given.join(","), "<none>").to_owned(),
        "LoadBalancer" => {
            let balancer = at(object, &["status", "loadBalancer"]).unwrap_or(&Value::Null);
            let mut addresses: Vec<String> = list(balancer, "ingress")
                .map(|it| or(text(it, &["ip"]), text(it, &["hostname"])).to_owned())
                .filter(|it| !it.is_empty())
                .collect();
            addresses.sort_unstable();
            addresses.dedup();
            addresses.extend(given);
            or(&addresses.join(","), "<pending>").to_owned()
        }
        "ExternalName" => text(spec, &["externalName"]).to_owned(),
        _ => "<unknown>".to_owned(),
    };
    let ports: Vec<String> = list(spec, "ports")
        .map(|port| {
            let (number, protocol) = (number(port, &["port"]), text(port, &["protocol"]));
            match self::number(port, &["nodePort"]) {
                0 => format!("{number}/{protocol}"),
                node_port => format!("{number}:{node_port}/{protocol}"),
            }
        })
        .collect();
    let cluster = texts(spec, "clusterIPs");
    vec![
        name,
        json!(kind),
        json!(cluster.first().map_or("<none>", String::as_str)),
        json!(external),
        json!(or(&ports.join(","), "<none>")),
        age,
        json!(labels(spec.get("selector"))),
    ]
}

/// Events of both groups; they name the same things differently.
fn event(object: &Value, name: Value, now: Timestamp) -> Vec<Value> {
    let field = |core: &str, newer: &str| object.get(core).or_else(|| object.get(newer));
    let seen = |dates: &[Option<&Value>]| since(dates.iter().flatten().next().copied(), now);
    let first = field("firstTimestamp", "deprecatedFirstTimestamp");
    let first = seen(&[first, object.get("eventTime")]);
    let last = field("lastTimestamp", "deprecatedLastTimestamp");
    let (last, count) = match object.get("series") {
        Some(series) => (
            since(series.get("lastObservedTime"), now),
            number(series, &["count"]),
        ),
        None => {
            let count = field("count", "deprecatedCount").and_then(Value::as_i64);
            let last = last.map_or_else(|| first.clone(), |last| since(Some(last), now));
            (last, count.filter(|count| *count != 0).unwrap_or(1))
        }
    };
    let about = field("involvedObject", "regarding").unwrap_or(&Value::Null);
    let target = text(about, &["kind"]).to_lowercase();
    let target = match text(about, &["name"]) {
        "" => target,
        name => format!("{target}/{name}"),
    };
    let source = field("source", "deprecatedSource").unwrap_or(&Value::Null);
    let reporter = field("reportingComponent", "reportingController");
    let component = or(
        text(source, &["component"]),
        reporter.and_then(Value::as_str).unwrap_or_default(),
    );
    let host = or(
        text(source, &["host"]),
        text(object, &["reportingInstance"]),
    );
    let source = match host {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    };
    let message = field("message", "note").and_then(Value::as_str);
    vec![
        json!(last),
        json!(text(object, &["type"])),
        json!(text(object, &["reason"])),
        json!(target),
        json!(text(about, &["fieldPath"])),
        json!(source),
        json!(message.unwrap_or_default().trim()),
        json!(first),
        json!(count),
        name,
    ]
}

fn certificate_request(object: &Value, name: Value) -> Vec<Value> {
    let status = object.get("status").unwrap_or(&Value::Null);
    let state = list(status, "conditions")
        .map(|condition| text(condition, &["type"]))
        .filter(|condition| matches!(*condition, "Issued" | "Denied" | "Failed"))
        .last()
        .unwrap_or("Pending");
    let spec = |field: &str| json!(text(object, &["spec", field]));
    vec![
        name,
        spec("podName"),
        spec("serviceAccountName"),
        spec("nodeName"),
        spec("signerName"),
        json!(state),
        json!(labels(at(object, &["spec", "unverifiedUserAnnotations"]))),
    ]
}

fn binding(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let subjects = |kind: &str| {
        let found: Vec<String> = list(object, "subjects")
            .filter(|subject| text(subject, &["kind"]) == kind)
            .map(|subject| {
                let name = text(subject, &["name"]);
                match kind {
                    "ServiceAccount" => format!("{}/{name}", text(subject, &["namespace"])),
                    _ => name.to_owned(),
                }
            })
            .collect();
        json!(found.join(", "))
    };
    let role = format!(
        "{}/{}",
        text(object, &["roleRef", "kind"]),
        text(object, &["roleRef", "name"])
    );
    vec![
        name,
        json!(role),
        age,
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

/// Names and images of a pod template's containers, and the selector.
fn template(object: &Value) -> [Value; 3] {
    let spec = at(object, &["spec", "template", "spec"]).unwrap_or(&Value::Null);
    let join = |field: &str| {
        let found: Vec<&str> = list(spec, "containers")
            .map(|container| text(container, &[field]))
            .collect();
        json!(found.join(","))
    };
    let selector = selector(at(object, &["spec", "selector"]));
    [join("name"), join("image"), json!(or(&selector, "<none>"))]
}

/// A label selector as people write it, by key.
pub(crate) fn selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector else {
        return String::new();
    };
    let equal = selector.get("matchLabels").and_then(Value::as_object);
    let mut terms: Vec<(&str, String)> = equal
        .into_iter()
        .flatten()
        .map(|(key, value)| {
            let value = value.as_str().unwrap_or_default();
            (key.as_str(), format!("{key}={value}"))
        })
        .collect();
    for expression in list(selector, "matchExpressions") {
        let key = text(expression, &["key"]);
        let mut values: Vec<&str> = list(expression, "values")
            .filter_map(Value::as_str)
            .collect();
        values.sort_unstable();
        let values = values.join(",");
        let term = match text(expression, &["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => continue,
        };
        terms.push((key, term));
    }
    terms.sort_by_key(|(key, _)| *key);
    let terms: Vec<String> = terms.into_iter().map(|(_, term)| term).collect();
    terms.join(",")
}

/// A map of strings as `key=value,...`.
fn labels(map: Option<&Value>) -> String {
    let mut pairs: Vec<String> = map
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort_unstable();
    or(&pairs.join(","), "<none>").to_owned()
}

fn count(object: &Value, field: &str) -> usize {
    object
        .get(field)
        .and_then(Value::as_object)
        .map_or(0, Map::len)
}

/// The number at a path; absent ones are zero.
pub(super) fn number(object: &Value, path: &[&str]) -> i64 {
    at(object, path).and_then(Value::as_i64).unwrap_or(0)
}

/// The text, or this if it is empty.
pub(super) fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}
