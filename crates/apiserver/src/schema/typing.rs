//! Whether values are of the types that their fields have, and what Go's decoder says if not.
//!
//! A value of another type would be stored and then break every typed client that lists the kind:
//! the kubelets and controllers of a sandbox first.

use serde_json::Value;

use super::{Scalar, Schemas, Shape, Width, type_name};
use crate::kinds::Kind;
use crate::object::json_type;
use crate::quantity::Quantity;
use crate::strategy::types::{date_error, illegal_base64};

impl Schemas {
    /// What the decoder says about an object of this kind; `None` if every value fits.
    pub(crate) fn misfit(&self, kind: &Kind, object: &Value) -> Option<String> {
        self.misfit_of(&type_name(kind), object)
    }

    /// The same of an object of the type of this name.
    pub(crate) fn misfit_of(&self, name: &str, object: &Value) -> Option<String> {
        let shape = Shape::Named(name.to_owned());
        self.misfit_at(&shape, object, short(name), "")
    }

    /// `owner` is the struct that has the field at `path`.
    fn misfit_at(&self, shape: &Shape, value: &Value, owner: &str, path: &str) -> Option<String> {
        if value.is_null() {
            return None;
        }
        let wrong = |what: &str| {
            let wanted = match self.go_type(shape) {
                // The one text that has a type of its own wherever it stands.
                wanted if wanted == "string" && path.ends_with("uid") => "types.UID".to_owned(),
                wanted => wanted,
            };
            Some(format!(
                "json: cannot unmarshal {what} into Go struct field {owner}.{path} of type {wanted}"
            ))
        };
        match (shape, value) {
            (Shape::Named(name), Value::Object(map)) if self.fields(name).is_some() => {
                let fields = self.fields(name)?;
                let owner = short(name);
                map.iter().find_map(|(field, value)| {
                    let known = fields.get(field)?;
                    let path = match path {
                        "" => field.clone(),
                        path => format!("{path}.{field}"),
                    };
                    self.misfit_at(&known.shape, value, owner, &path)
                })
            }
            // Quantities, dates, and what is either a number or a name.
            (Shape::Named(name), value) if self.fields(name).is_none() => {
                match (short(name), value) {
                    ("Quantity", Value::String(text)) => amount_error(text),
                    ("Quantity", value) => amount_error(&value.to_string()),
                    ("Time", Value::String(text)) => date_error(text),
                    // Whatever a manager of fields may own.
                    ("FieldsV1", Value::Object(_)) | (_, Value::String(_)) => None,
                    ("Time" | "MicroTime", value) => wrong(json_type(value)),
                    // Either a number or a name.
                    ("IntOrString", Value::Number(number)) => match number.as_i64() {
                        Some(it) if i32::try_from(it).is_ok() => None,
                        _ => wrong(&format!("number {number}")),
                    },
                    (_, value) => wrong(json_type(value)),
                }
            }
            (Shape::List(element), Value::Array(list)) => list
                .iter()
                .find_map(|value| self.misfit_at(element, value, owner, path)),
            (Shape::Map(element), Value::Object(map)) => map
                .values()
                .find_map(|value| self.misfit_at(element, value, owner, path)),
            (Shape::Leaf(Scalar::Integer(width)), Value::Number(number)) => {
                let fits = match (width, number.as_i64()) {
                    (_, None) => false,
                    (Width::Int32, Some(number)) => i32::try_from(number).is_ok(),
                    (Width::Int64, Some(_)) => true,
                };
                if fits {
                    return None;
                }
                wrong(&format!("number {number}"))
            }
            (Shape::Leaf(Scalar::Bytes), Value::String(text)) => {
                illegal_base64(text).map(|at| format!("illegal base64 data at input byte {at}"))
            }
            (Shape::Leaf(Scalar::Other), _)
            | (Shape::Leaf(Scalar::Text), Value::String(_))
            | (Shape::Leaf(Scalar::Bool), Value::Bool(_)) => None,
            (_, value) => wrong(json_type(value)),
        }
    }

    /// What Go calls the type.
    fn go_type(&self, shape: &Shape) -> String {
        match shape {
            Shape::Named(name) if name.ends_with(".IntOrString") => "int32".to_owned(),
            Shape::Named(name) if self.fields(name).is_none() => short(name).to_owned(),
            Shape::Named(name) => {
                let mut parts = name.rsplit('.');
                let own = parts.next().unwrap_or(name);
                format!("{}.{own}", parts.next().unwrap_or_default())
            }
            Shape::List(element) => format!("[]{}", self.go_type(element)),
            Shape::Map(element) => format!("map[string]{}", self.go_type(element)),
            Shape::Leaf(Scalar::Bool) => "bool".to_owned(),
            Shape::Leaf(Scalar::Bytes) => "[]uint8".to_owned(),
            Shape::Leaf(Scalar::Integer(Width::Int32)) => "int32".to_owned(),
            Shape::Leaf(Scalar::Integer(Width::Int64)) => "int64".to_owned(),
            Shape::Leaf(Scalar::Text) => "string".to_owned(),
            Shape::Leaf(Scalar::Other) => "interface {}".to_owned(),
        }
    }
}

fn amount_error(text: &str) -> Option<String> {
    Quantity::parse(text).err().map(str::to_owned)
}

/// The type's name without its package.
fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::schemas;
    use super::*;
    use crate::kinds::KINDS;

    fn misfit(kind: &str, object: &Value) -> Option<String> {
        let kind = KINDS.iter().find(|row| row.kind == kind).unwrap();
        schemas().misfit(kind, object)
    }

    #[test]
    fn values_of_other_types_are_told_as_go_tells_them() {
        let pod = |container: Value| json!({"spec": {"containers": [container]}});
        for (kind, object, expected) in [
            (
                "Pod",
                pod(json!({"env": [{"name": "A", "value": 1}]})),
                "number into Go struct field EnvVar.spec.containers.env.value of type string",
            ),
            (
                "Pod",
                pod(json!({"ports": [{"containerPort": "80"}]})),
                "string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
            ),
            (
                "Pod",
                pod(json!({"command": "/podcert"})),
                "string into Go struct field Container.spec.containers.command of type []string",
            ),
            (
                "Pod",
                json!({"spec": {"activeDeadlineSeconds": 1.5}}),
                "number 1.5 into Go struct field PodSpec.spec.activeDeadlineSeconds of type int64",
            ),
            (
                "Deployment",
                json!({"spec": {"replicas": 3_000_000_000_u32}}),
                "number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "Deployment",
                json!({"spec": {"template": []}}),
                "array into Go struct field DeploymentSpec.spec.template of type v1.PodTemplateSpec",
            ),
            (
                "Secret",
                json!({"stringData": {"a": 1}}),
                "number into Go struct field Secret.stringData of type string",
            ),
            (
                "ClusterRole",
                json!({"rules": [{"resources": "pods"}]}),
                "string into Go struct field PolicyRule.rules.resources of type []string",
            ),
        ] {
            let said = misfit(kind, &object).unwrap();
            assert_eq!(said, format!("json: cannot unmarshal {expected}"));
        }
    }

    #[test]
    fn what_fits_is_left_alone() {
        let pod = json!({"metadata": {"name": "x", "creationTimestamp": null}, "spec": {
            "containers": [{
                "name": "c", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": 1, "memory": "64Mi"}},
                "livenessProbe": {"httpGet": {"port": "http"}},
                "readinessProbe": {"httpGet": {"port": 80}},
                "env": null,
            }],
            "nodeSelector": {"a": "b"},
            "unknown": {"a": 1},
        }});
        assert_eq!(misfit("Pod", &pod), None);
    }

    #[test]
    fn what_typed_clients_could_not_read_is_refused() {
        for (kind, object) in [
            (
                "Pod",
                json!({"spec": {"containers": [{"resources": {"limits": {"cpu": {}}}}]}}),
            ),
            ("Pod", json!({"status": {"startTime": {}}})),
            ("Pod", json!({"status": {"startTime": "x"}})),
            ("Service", json!({"spec": {"ports": [{"targetPort": {}}]}})),
            ("Service", json!({"spec": {"ports": [{"targetPort": 1.5}]}})),
            (
                "Service",
                json!({"spec": {"ports": [{"targetPort": 3_000_000_000_u32}]}}),
            ),
            ("ConfigMap", json!({"binaryData": {"a": "!"}})),
            ("Lease", json!({"spec": {"renewTime": {}}})),
        ] {
            assert!(misfit(kind, &object).is_some(), "{kind} {object}");
        }
    }
}
