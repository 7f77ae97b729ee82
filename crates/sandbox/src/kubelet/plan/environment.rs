//! A container's environment: literal values, fields of the pod, and `$(NAME)` in what comes later.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, Pod};

use super::Verdict;

/// The whole environment of the process: what the container asks for, and what every container has.
pub(super) fn parse<'a>(
    pod: &Pod,
    wanted: impl Iterator<Item = &'a EnvVar>,
    at: &dyn Fn(&str) -> String,
    v: &mut Verdict,
) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
    if let Some(name) = &pod.metadata.name {
        environment.insert("HOSTNAME".to_owned(), name.clone());
    }
    for EnvVar {
        name,
        value,
        value_from,
    } in wanted
    {
        if name.is_empty() || name.contains(['=', '\0']) {
            v.refuse(format!("{}: {name:?} is no variable's name", at("env")));
            continue;
        }
        let value = match (value, value_from) {
            (value, None) => {
                let expanded = expand(value.as_deref().unwrap_or_default(), &environment);
                if expanded.is_none() {
                    v.refuse(format!("{} {name:?}: {TOO_LONG}", at("env")));
                    continue;
                }
                expanded
            }
            (_, Some(source)) => field(pod, source),
        };
        match value {
            Some(value) => {
                environment.insert(name.clone(), value);
            }
            None => v.refuse(format!("{} {name:?}: {ONLY_FIELDS}", at("env"))),
        }
    }
    environment
}

/// Replaces `$(NAME)` by the variable's value; `None` when the result is longer than [`MAX_WORD`]. An unknown name stays as it is and `$$` is one `$`, as in
/// `third_party/forked/golang/expansion`.
pub(super) fn expand(text: &str, environment: &BTreeMap<String, String>) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|a| a.split_once(')')) {
            match environment.get(name) {
                Some(value) => out.push_str(value),
                None => out.extend(["$(", name, ")"]),
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
        // Looked at in each round: variables that name each other twice double with every line.
        if out.len() > MAX_WORD {
            return None;
        }
    }
    out.push_str(rest);
    (out.len() <= MAX_WORD).then_some(out)
}

/// The value of a `fieldRef`; `None` for any other source and for fields that are not known here.
fn field(pod: &Pod, source: &EnvVarSource) -> Option<String> {
    let EnvVarSource {
        config_map_key_ref: None,
        field_ref: Some(reference),
        file_key_ref: None,
        resource_field_ref: None,
        secret_key_ref: None,
    } = source
    else {
        return None;
    };
    let (meta, spec) = (&pod.metadata, pod.spec.as_ref());
    match reference.field_path.as_str() {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()),
        path => {
            let quoted = |list: &str| {
                let key = path
                    .strip_prefix(list)?
                    .strip_prefix("['")?
                    .strip_suffix("']")?;
                Some(key.to_owned())
            };
            let (map, key) = if let Some(key) = quoted("metadata.labels") {
                (meta.labels.as_ref(), key)
            } else {
                (meta.annotations.as_ref(), quoted("metadata.annotations")?)
            };
            Some(
                map.and_then(|map| map.get(&key))
                    .cloned()
                    .unwrap_or_default(),
            )
        }
    }
}

/// What container runtimes set when the image does not.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const ONLY_FIELDS: &str = "only values and fieldRef to the pod's names, labels, annotations, \
                           node and service account are read";
/// The longest variable or argument that Linux passes to a program (`MAX_ARG_STRLEN`).
const MAX_WORD: usize = 128 * 1024;
pub(super) const TOO_LONG: &str = "longer than the 131072 bytes that a program can be given";
