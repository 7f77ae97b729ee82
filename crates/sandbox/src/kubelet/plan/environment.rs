//! What a container's environment is made of; [`crate::kubelet::environment`] reads it when the container starts.

use k8s_openapi::api::core::v1::{
    ConfigMapEnvSource, ConfigMapKeySelector, EnvFromSource, EnvVar, EnvVarSource, SecretEnvSource,
    SecretKeySelector,
};

use super::Verdict;
use super::fields::{Field, NO_RESOURCES};
use crate::kubelet::objects::ObjectKind;

/// A container's environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct EnvironmentPlan {
    /// Whole objects whose keys become variables.
    pub(crate) objects: Vec<ObjectVariables>,
    /// Single variables, in their order: later ones may use earlier ones.
    pub(crate) variables: Vec<(String, Value)>,
    /// Whether the Services of the namespace are told too.
    pub(crate) service_links: bool,
}

/// `envFrom`.
#[derive(Clone, Debug)]
pub(crate) struct ObjectVariables {
    pub(crate) kind: ObjectKind,
    pub(crate) name: String,
    pub(crate) optional: bool,
    pub(crate) prefix: String,
}

/// Where a variable's value comes from.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// A field of the pod.
    Field(Field),
    /// A key of a ConfigMap or Secret.
    Key {
        kind: ObjectKind,
        name: String,
        key: String,
        optional: bool,
    },
    /// A text with `$(NAME)` in it.
    Text(String),
}

pub(super) fn parse(
    objects: &[EnvFromSource],
    variables: &[EnvVar],
    service_links: bool,
    at: &dyn Fn(&str) -> String,
    v: &mut Verdict,
) -> EnvironmentPlan {
    let mut plan = EnvironmentPlan {
        service_links,
        ..EnvironmentPlan::default()
    };
    for source in objects {
        let EnvFromSource {
            config_map_ref,
            prefix,
            secret_ref,
        } = source;
        let (kind, name, optional) = match (config_map_ref, secret_ref) {
            (Some(ConfigMapEnvSource { name, optional }), None) => {
                (ObjectKind::ConfigMap, name, optional)
            }
            (None, Some(SecretEnvSource { name, optional })) => {
                (ObjectKind::Secret, name, optional)
            }
            _ => {
                v.refuse(format!(
                    "{}: either configMapRef or secretRef",
                    at("envFrom")
                ));
                continue;
            }
        };
        plan.objects.push(ObjectVariables {
            kind,
            name: name.clone(),
            optional: *optional == Some(true),
            prefix: prefix.clone().unwrap_or_default(),
        });
    }
    for EnvVar {
        name,
        value,
        value_from,
    } in variables
    {
        if !is_name(name) {
            v.refuse(format!("{}: {name:?} is no variable's name", at("env")));
            continue;
        }
        let value = match value_from {
            None => Ok(Value::Text(value.clone().unwrap_or_default())),
            Some(source) => parse_source(source),
        };
        match value {
            Ok(value) => plan.variables.push((name.clone(), value)),
            Err(sentence) => v.refuse(format!("{} {name:?}: {sentence}", at("env"))),
        }
    }
    plan
}

/// Whether a program can be given a variable of this name.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

fn parse_source(source: &EnvVarSource) -> Result<Value, String> {
    let EnvVarSource {
        config_map_key_ref,
        field_ref,
        file_key_ref,
        resource_field_ref,
        secret_key_ref,
    } = source;
    if resource_field_ref.is_some() {
        return Err(NO_RESOURCES.to_owned());
    }
    if file_key_ref.is_some() {
        return Err("no fileKeyRef: files of volumes are not read here".to_owned());
    }
    match (config_map_key_ref, field_ref, secret_key_ref) {
        (
            Some(ConfigMapKeySelector {
                key,
                name,
                optional,
            }),
            None,
            None,
        ) => Ok(Value::Key {
            kind: ObjectKind::ConfigMap,
            name: name.clone(),
            key: key.clone(),
            optional: *optional == Some(true),
        }),
        (None, Some(field), None) => Field::in_environment(&field.field_path).map(Value::Field),
        (
            None,
            None,
            Some(SecretKeySelector {
                key,
                name,
                optional,
            }),
        ) => Ok(Value::Key {
            kind: ObjectKind::Secret,
            name: name.clone(),
            key: key.clone(),
            optional: *optional == Some(true),
        }),
        _ => Err("exactly one source must be set".to_owned()),
    }
}
