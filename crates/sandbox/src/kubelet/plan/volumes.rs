//! The volumes of a pod: files made of API objects, and empty folders.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, DownwardAPIVolumeSource, EmptyDirVolumeSource, ProjectedVolumeSource,
    SecretVolumeSource, Volume,
};

use super::Verdict;
use super::sources::{OUR_USER, ObjectPlan, Source, downward, items, mode};
use crate::kubelet::generation::RelativePath;
use crate::kubelet::objects::ObjectKind;

/// One volume.
#[derive(Clone, Debug)]
pub(crate) enum VolumePlan {
    /// A folder that starts empty and lives as long as the pod.
    Empty,
    /// Files that are written as one generation.
    Files {
        /// The mode of files that have none of their own.
        mode: u32,
        /// Where they come from.
        sources: Vec<Source>,
    },
}

pub(super) fn parse<'a>(
    volumes: impl Iterator<Item = &'a Volume>,
    v: &mut Verdict,
) -> BTreeMap<String, VolumePlan> {
    let mut plans = BTreeMap::new();
    for volume in volumes {
        let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if volume.name.is_empty() || volume.name.len() > 63 || !volume.name.chars().all(label) {
            v.refuse(format!(
                "volume {:?}: the name must be a DNS label",
                volume.name
            ));
            continue;
        }
        let plan = parse_volume(volume, v);
        if plans.contains_key(&volume.name) {
            v.refuse(format!("volume {:?}: the name is taken", volume.name));
        }
        plans.extend(plan.map(|plan| (volume.name.clone(), plan)));
    }
    plans
}

fn parse_volume(volume: &Volume, v: &mut Verdict) -> Option<VolumePlan> {
    let field = format!("volume {:?}", volume.name);
    // By the names that are set: any other source, known today or not, makes a difference.
    let kinds = kinds(volume);
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    let plan = match (kinds.as_slice(), volume) {
        (
            ["projected"],
            Volume {
                projected: Some(source),
                ..
            },
        ) => projected(source, &field, v),
        (
            ["configMap"],
            Volume {
                config_map: Some(source),
                ..
            },
        ) => config_map(source, &field, v),
        (
            ["secret"],
            Volume {
                secret: Some(source),
                ..
            },
        ) => secret(source, &field, v),
        (
            ["downwardAPI"],
            Volume {
                downward_api: Some(source),
                ..
            },
        ) => downward_api(source, &field, v),
        (
            ["emptyDir"],
            Volume {
                empty_dir: Some(source),
                ..
            },
        ) => {
            empty_dir(source, &field, v);
            Ok(VolumePlan::Empty)
        }
        _ => {
            let kinds = match kinds.as_slice() {
                [] => "a volume without a source".to_owned(),
                kinds => kinds.join(" and "),
            };
            Err(format!(
                "{kinds} cannot be had here; only one of projected, configMap, secret, \
                 downwardAPI and emptyDir",
            ))
        }
    };
    match plan {
        Ok(plan) => {
            check_paths(&plan, &field, v);
            Some(plan)
        }
        Err(sentence) => {
            v.refuse(format!("{field}: {sentence}"));
            None
        }
    }
}

fn projected(
    source: &ProjectedVolumeSource,
    field: &str,
    v: &mut Verdict,
) -> Result<VolumePlan, String> {
    let ProjectedVolumeSource {
        default_mode,
        default_user,
        sources,
    } = source;
    v.refuse_some(default_user.as_ref(), field, OUR_USER);
    let mode = mode(*default_mode, "defaultMode")?.unwrap_or(DEFAULT_MODE);
    let mut parsed = Vec::new();
    for (index, source) in sources.iter().flatten().enumerate() {
        let field = format!("{field}: source {index}");
        match super::sources::parse(source, &field, v) {
            Ok(source) => parsed.push(source),
            Err(sentence) => v.refuse(format!("{field}: {sentence}")),
        }
    }
    Ok(VolumePlan::Files {
        mode,
        sources: parsed,
    })
}

fn config_map(
    source: &ConfigMapVolumeSource,
    field: &str,
    v: &mut Verdict,
) -> Result<VolumePlan, String> {
    let ConfigMapVolumeSource {
        default_mode,
        default_user,
        items: wanted,
        name,
        optional,
    } = source;
    v.refuse_some(default_user.as_ref(), field, OUR_USER);
    let object = ObjectPlan {
        kind: ObjectKind::ConfigMap,
        name: name.clone(),
        items: items(wanted.as_deref(), field, v)?,
        optional: *optional == Some(true),
    };
    files(*default_mode, Source::Object(object))
}

fn secret(source: &SecretVolumeSource, field: &str, v: &mut Verdict) -> Result<VolumePlan, String> {
    let SecretVolumeSource {
        default_mode,
        default_user,
        items: wanted,
        optional,
        secret_name,
    } = source;
    v.refuse_some(default_user.as_ref(), field, OUR_USER);
    let object = ObjectPlan {
        kind: ObjectKind::Secret,
        name: secret_name.clone().unwrap_or_default(),
        items: items(wanted.as_deref(), field, v)?,
        optional: *optional == Some(true),
    };
    files(*default_mode, Source::Object(object))
}

fn downward_api(
    source: &DownwardAPIVolumeSource,
    field: &str,
    v: &mut Verdict,
) -> Result<VolumePlan, String> {
    let DownwardAPIVolumeSource {
        default_mode,
        default_user,
        items,
    } = source;
    v.refuse_some(default_user.as_ref(), field, OUR_USER);
    files(
        *default_mode,
        Source::Downward(downward(items.as_deref(), field, v)?),
    )
}

fn empty_dir(source: &EmptyDirVolumeSource, field: &str, v: &mut Verdict) {
    let EmptyDirVolumeSource {
        medium,
        mode,
        size_limit,
    } = source;
    let field = format!("{field}: emptyDir");
    let medium = medium.as_ref().filter(|medium| !medium.is_empty());
    v.note(
        medium,
        &field,
        "it is a folder of the sandbox's file system",
    );
    v.note(
        mode.as_ref(),
        &field,
        "its mode is 0700: nobody else enters the pod's folders",
    );
    v.note(size_limit.as_ref(), &field, "its sizeLimit is not enforced");
}

fn files(default_mode: Option<i32>, source: Source) -> Result<VolumePlan, String> {
    Ok(VolumePlan::Files {
        mode: mode(default_mode, "defaultMode")?.unwrap_or(DEFAULT_MODE),
        sources: vec![source],
    })
}

/// No two sources may name the same file. (Keys that are not listed are seen only when the files are written.)
fn check_paths(plan: &VolumePlan, field: &str, v: &mut Verdict) {
    let VolumePlan::Files { sources, .. } = plan else {
        return;
    };
    let mut taken: Vec<&RelativePath> = Vec::new();
    for path in sources.iter().flat_map(Source::paths) {
        if taken.contains(&path) {
            v.refuse(format!("{field}: the path {path:?} is taken"));
        }
        taken.push(path);
    }
}

/// The names of the sources that are set, as the manifest spells them.
fn kinds(volume: &Volume) -> Vec<String> {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(volume) else {
        return Vec::new();
    };
    fields
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name != "name")
        .collect()
}

/// Kubernetes' default of `defaultMode`.
const DEFAULT_MODE: u32 = 0o644;
