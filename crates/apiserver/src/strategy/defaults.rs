//! What the real server fills into pods and what makes them: by the types of their parts, as
//! `pkg/apis/core/v1/defaults.go` and `pkg/apis/apps/v1/defaults.go` do it.
//!
//! With the same step a spec takes the form in which Go writes it: what is zero is left out where
//! absence says the same, and amounts of resources are written in one way. So two specs that mean
//! the same are the same, which updates of pods are held against.

use serde_json::{Map, Value, json};

use crate::kinds::{Kind, Rules};
use crate::object::{as_map_mut, map_mut, set_default};
use crate::protobuf;
use crate::quantity::Quantity;
use crate::schema::{Fields, Schemas, Shape, schemas, type_name};

/// Completes an object, if it is a pod, makes pods, or binds a role.
pub(crate) fn complete(kind: &Kind, object: &mut Value) {
    match (kind.rules, kind.kind) {
        (_, "ClusterRoleBinding" | "RoleBinding") => return binding(object),
        (Rules::Pod, _) => pod(map_mut(object, "spec")),
        (_, "Deployment") => deployment(map_mut(object, "spec")),
        (Rules::DaemonSet, _) => daemon_set(map_mut(object, "spec")),
        (Rules::Workload, _) => set_default(map_mut(object, "spec"), "replicas", 1),
        _ => return,
    }
    if kind.rules != Rules::Pod {
        let template = as_map_mut(
            map_mut(object, "spec")
                .entry("template")
                .or_insert_with(|| json!({})),
        );
        for part in ["metadata", "spec"] {
            template.entry(part).or_insert_with(|| json!({}));
        }
    }
    let schemas = schemas();
    let fields = schemas.fields(&type_name(kind));
    let spec = object.get_mut("spec");
    if let (Some(spec), Some(field)) = (spec, fields.and_then(|fields| fields.get("spec"))) {
        walk(schemas, &field.shape, spec);
    }
}

/// Users and groups are of RBAC's own API group, and so are roles.
fn binding(object: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    fill(map_mut(object, "roleRef"), "apiGroup", GROUP);
    let subjects = object.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        if matches!(
            subject.get("kind").and_then(Value::as_str),
            Some("User" | "Group")
        ) {
            fill(subject, "apiGroup", GROUP);
        }
    }
}

/// What only pods get, and the pods in templates do not.
fn pod(spec: &mut Map<String, Value>) {
    set_default(spec, "enableServiceLinks", true);
    if spec
        .get("terminationGracePeriodSeconds")
        .and_then(Value::as_i64)
        .is_some_and(|seconds| seconds < 0)
    {
        spec.insert("terminationGracePeriodSeconds".into(), 1.into());
    }
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for kind in ["initContainers", "containers"] {
        let containers = spec.get_mut(kind).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            request_limits(container);
            let ports = container.get_mut("ports").and_then(Value::as_array_mut);
            for port in ports
                .into_iter()
                .flatten()
                .filter_map(Value::as_object_mut)
                .filter(|_| host_network)
            {
                if let Some(number) = port.get("containerPort").cloned() {
                    fill(port, "hostPort", number);
                }
            }
        }
    }
}

/// Who limits a resource and asks for none of it asks for all of it.
fn request_limits(container: &mut Value) {
    let Some(Value::Object(resources)) = container.get_mut("resources") else {
        return;
    };
    let Some(Value::Object(limits)) = resources.get("limits").cloned() else {
        return;
    };
    let requests = resources.entry("requests").or_insert_with(|| json!({}));
    if let Some(requests) = requests.as_object_mut() {
        for (name, amount) in limits {
            requests.entry(name).or_insert(amount);
        }
    }
}

fn deployment(spec: &mut Map<String, Value>) {
    set_default(spec, "replicas", 1);
    set_default(spec, "revisionHistoryLimit", 10);
    set_default(spec, "progressDeadlineSeconds", 600);
    roll(
        spec,
        "strategy",
        [("maxUnavailable", "25%".into()), ("maxSurge", "25%".into())],
    );
}

fn daemon_set(spec: &mut Map<String, Value>) {
    set_default(spec, "revisionHistoryLimit", 10);
    roll(
        spec,
        "updateStrategy",
        [("maxUnavailable", 1.into()), ("maxSurge", 0.into())],
    );
}

fn roll(spec: &mut Map<String, Value>, strategy: &str, how: [(&str, Value); 2]) {
    let strategy = as_map_mut(spec.entry(strategy).or_insert_with(|| json!({})));
    fill(strategy, "type", "RollingUpdate");
    if strategy.get("type").and_then(Value::as_str) != Some("RollingUpdate") {
        return;
    }
    let rolling = as_map_mut(strategy.entry("rollingUpdate").or_insert_with(|| json!({})));
    for (field, value) in how {
        set_default(rolling, field, value);
    }
}

/// Completes a value and what is in it.
fn walk(schemas: &Schemas, shape: &Shape, value: &mut Value) {
    match (shape, value) {
        (Shape::Named(name), Value::Object(map)) => {
            let Some(fields) = schemas.fields(name) else {
                return;
            };
            let name = name.strip_prefix("io.k8s.api.").unwrap_or(name);
            drop_zeros(name, fields, map);
            own(name, map);
            for (field, value) in map.iter_mut() {
                if let Some(known) = fields.get(field) {
                    walk(schemas, &known.shape, value);
                }
            }
        }
        (Shape::Named(name), value) if name.ends_with(".Quantity") => {
            rewrite(value, |quantity| quantity);
        }
        (Shape::List(element), Value::Array(list)) => {
            for value in list {
                walk(schemas, element, value);
            }
        }
        (Shape::Map(element), Value::Object(map)) => {
            for value in map.values_mut() {
                walk(schemas, element, value);
            }
        }
        _ => {}
    }
}

/// Leaves out what Go leaves out.
fn drop_zeros(name: &str, fields: &Fields, map: &mut Map<String, Value>) {
    map.retain(
        |field, value| match (fields.get(field).map(|it| &it.shape), &*value) {
            (Some(Shape::List(_)), Value::Array(list)) => !list.is_empty(),
            (Some(Shape::Map(_)), Value::Object(map)) => !map.is_empty(),
            (Some(Shape::Leaf(_)), value) if protobuf::is_zero(value) => {
                protobuf::is_optional(name, field)
            }
            _ => true,
        },
    );
}

/// The defaults of one type.
fn own(name: &str, map: &mut Map<String, Value>) {
    match name {
        "core.v1.PodSpec" => {
            fill(map, "dnsPolicy", "ClusterFirst");
            fill(map, "restartPolicy", "Always");
            fill(map, "schedulerName", "default-scheduler");
            set_default(map, "securityContext", json!({}));
            set_default(map, "terminationGracePeriodSeconds", 30);
            // One is another name of the other.
            let account = map.get("serviceAccountName").or(map.get("serviceAccount"));
            if let Some(account) = account.cloned() {
                map.insert("serviceAccountName".into(), account.clone());
                map.insert("serviceAccount".into(), account);
            }
            round(map, "overhead");
        }
        "core.v1.Container" | "core.v1.EphemeralContainer" => {
            let policy = pull_policy(map.get("image"));
            fill(map, "imagePullPolicy", policy);
            fill(map, "terminationMessagePath", "/dev/termination-log");
            fill(map, "terminationMessagePolicy", "File");
            set_default(map, "resources", json!({}));
        }
        "core.v1.ContainerPort" => fill(map, "protocol", "TCP"),
        "core.v1.ResourceRequirements" => {
            round(map, "limits");
            round(map, "requests");
        }
        "core.v1.ResourceFieldSelector" => fill(map, "divisor", "0"),
        "core.v1.Probe" => {
            fill(map, "timeoutSeconds", 1);
            fill(map, "periodSeconds", 10);
            fill(map, "successThreshold", 1);
            fill(map, "failureThreshold", 3);
        }
        "core.v1.HTTPGetAction" => {
            fill(map, "path", "/");
            fill(map, "scheme", "HTTP");
        }
        "core.v1.GRPCAction" => set_default(map, "service", ""),
        "core.v1.ObjectFieldSelector" => fill(map, "apiVersion", "v1"),
        "core.v1.FileKeySelector" => set_default(map, "optional", false),
        "core.v1.Volume" if map.keys().all(|field| field == "name") => {
            map.insert("emptyDir".into(), json!({}));
        }
        "core.v1.ImageVolumeSource" => {
            let policy = pull_policy(map.get("reference"));
            fill(map, "pullPolicy", policy);
        }
        "core.v1.HostPathVolumeSource" => set_default(map, "type", ""),
        "core.v1.SecretVolumeSource"
        | "core.v1.ConfigMapVolumeSource"
        | "core.v1.DownwardAPIVolumeSource"
        | "core.v1.ProjectedVolumeSource" => set_default(map, "defaultMode", 0o644),
        "core.v1.ServiceAccountTokenProjection" => set_default(map, "expirationSeconds", 3600),
        _ => {}
    }
}

/// `Always` for the image that is the newest by its tag; others stay what they are once pulled.
fn pull_policy(image: Option<&Value>) -> &'static str {
    let image = image.and_then(Value::as_str).unwrap_or_default();
    let (name, digest) = match image.split_once('@') {
        Some((name, _)) => (name, true),
        None => (image, false),
    };
    let last = name.rsplit('/').next().unwrap_or_default();
    let is_latest = match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => !digest,
    };
    if is_latest { "Always" } else { "IfNotPresent" }
}

/// Sets a field that is absent, or zero: for fields of which Go cannot tell the two apart.
fn fill(map: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    if map.get(field).is_none_or(protobuf::is_zero) {
        map.insert(field.to_owned(), value.into());
    }
}

/// Amounts of resources are as fine as thousandths.
fn round(map: &mut Map<String, Value>, field: &str) {
    let amounts = map.get_mut(field).and_then(Value::as_object_mut);
    for amount in amounts.into_iter().flat_map(Map::values_mut) {
        rewrite(amount, Quantity::to_milli);
    }
}

fn rewrite(amount: &mut Value, change: impl Fn(Quantity) -> Quantity) {
    let text = match &*amount {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    // Whoever decoded the object has refused what is no amount.
    if let Ok(quantity) = Quantity::parse(&text) {
        *amount = change(quantity).to_string().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_pulled_by_their_tags() {
        for (image, policy) in [
            ("web", "Always"),
            ("web:latest", "Always"),
            ("web:1", "IfNotPresent"),
            ("registry.test:5000/web", "Always"),
            ("registry.test:5000/web:1", "IfNotPresent"),
            ("web@sha256:00", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(Some(&image.into())), policy, "{image}");
        }
    }

    #[test]
    fn what_is_zero_is_left_out_where_go_leaves_it_out() {
        let kind = &crate::kinds::KINDS[crate::kinds::PODS];
        let mut given = json!({"spec": {
            "hostNetwork": false,
            "nodeSelector": {},
            "automountServiceAccountToken": false,
            "activeDeadlineSeconds": 0,
            "containers": [{"name": "a", "image": "b", "env": [{"name": "A", "value": ""}],
                "ports": [], "tty": false,
                "readinessProbe": {"initialDelaySeconds": 0, "timeoutSeconds": 0}}],
        }});
        complete(kind, &mut given);
        let spec = &given["spec"];
        assert_eq!(spec.get("hostNetwork"), None);
        assert_eq!(spec.get("nodeSelector"), None);
        assert_eq!(spec["automountServiceAccountToken"], false);
        assert_eq!(spec["activeDeadlineSeconds"], 0);
        let container = &spec["containers"][0];
        assert_eq!(container["env"], json!([{"name": "A"}]));
        assert_eq!((container.get("ports"), container.get("tty")), (None, None));
        let probe = json!({"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3});
        assert_eq!(container["readinessProbe"], probe);
        let once = given.clone();
        complete(kind, &mut given);
        assert_eq!(given, once);
    }
}
