//! The volumes of a pod: projected ones made of certificates and trust bundles, and empty folders.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, EmptyDirVolumeSource, PodCertificateProjection,
    ProjectedVolumeSource, Volume, VolumeProjection,
};
use podcert_pki::KeyType;

use super::Verdict;
use crate::kubelet::generation::RelativePath;
use crate::kubelet::trust_bundle::{Presence, Selection};

/// One volume.
#[derive(Clone, Debug)]
pub(crate) enum VolumePlan {
    /// A folder that starts empty and lives as long as the pod.
    Empty,
    /// Files that are written as one generation.
    Projected {
        /// The files' mode.
        mode: u32,
        /// Where they come from.
        sources: Vec<Source>,
    },
}

/// One source of a projected volume.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// `podCertificate`.
    Certificate(CertificatePlan),
    /// `clusterTrustBundle`.
    TrustBundle {
        /// Which bundles.
        selection: Selection,
        /// Whether there must be any.
        presence: Presence,
        /// The file.
        path: RelativePath,
    },
}

/// A `podCertificate` source.
#[derive(Clone, Debug)]
pub(crate) struct CertificatePlan {
    /// Copied into the request.
    pub(crate) signer_name: String,
    /// What key to make for each request.
    pub(crate) key_type: KeyType,
    /// Copied into the request.
    pub(crate) max_expiration_seconds: Option<i32>,
    /// Copied into the request as its unverified annotations.
    pub(crate) user_annotations: Option<BTreeMap<String, String>>,
    /// The files.
    pub(crate) paths: CertificatePaths,
}

/// The files of a certificate; at least one is set.
#[derive(Clone, Debug)]
pub(crate) struct CertificatePaths {
    /// Key and chain in one file.
    pub(crate) bundle: Option<RelativePath>,
    /// The chain alone.
    pub(crate) chain: Option<RelativePath>,
    /// The key alone.
    pub(crate) key: Option<RelativePath>,
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
    // Compared as a whole: any other source that is set, known today or not, makes a difference.
    let bare = Volume {
        name: volume.name.clone(),
        ..Volume::default()
    };
    if let Some(projected) = &volume.projected {
        let only = Volume {
            projected: Some(projected.clone()),
            ..bare
        };
        if *volume == only {
            return parse_projected(&volume.name, projected, v);
        }
    } else if let Some(empty_dir) = &volume.empty_dir {
        let only = Volume {
            empty_dir: Some(empty_dir.clone()),
            ..bare
        };
        if *volume == only {
            let EmptyDirVolumeSource {
                medium, size_limit, ..
            } = empty_dir;
            let field = format!("volume {:?}: emptyDir", volume.name);
            v.note(
                medium.as_ref(),
                &field,
                "it is a folder of the sandbox's file system",
            );
            v.note(size_limit.as_ref(), &field, "its sizeLimit is not enforced");
            return Some(VolumePlan::Empty);
        }
    }
    let kinds = kinds(volume);
    v.refuse(format!(
        "volume {:?}: {kinds} cannot be had here; only projected volumes of podCertificate and \
         clusterTrustBundle, and emptyDir",
        volume.name,
    ));
    None
}

fn parse_projected(
    name: &str,
    projected: &ProjectedVolumeSource,
    v: &mut Verdict,
) -> Option<VolumePlan> {
    let ProjectedVolumeSource {
        default_mode,
        default_user,
        sources,
    } = projected;
    let field = format!("volume {name:?}");
    v.refuse_some(default_user.as_ref(), &field, OUR_USER);
    let mode = default_mode.unwrap_or(DEFAULT_MODE);
    let Some(mode) = u32::try_from(mode).ok().filter(|mode| mode & !0o777 == 0) else {
        v.refuse(format!("{field}: defaultMode {mode} is none"));
        return None;
    };
    let mut taken = Vec::new();
    let mut parsed = Vec::new();
    for (index, source) in sources.iter().flatten().enumerate() {
        let field = format!("{field}: source {index}");
        match parse_source(source, &field, v) {
            Ok(source) => {
                for path in source.paths() {
                    if taken.contains(path) {
                        v.refuse(format!("{field}: the path {path:?} is taken"));
                    }
                    taken.push(path.clone());
                }
                parsed.push(source);
            }
            Err(sentence) => v.refuse(format!("{field}: {sentence}")),
        }
    }
    Some(VolumePlan::Projected {
        mode,
        sources: parsed,
    })
}

fn parse_source(source: &VolumeProjection, field: &str, v: &mut Verdict) -> Result<Source, String> {
    match source {
        VolumeProjection {
            cluster_trust_bundle: Some(bundle),
            config_map: None,
            downward_api: None,
            pod_certificate: None,
            secret: None,
            service_account_token: None,
        } => parse_trust_bundle(bundle, field, v),
        VolumeProjection {
            cluster_trust_bundle: None,
            config_map: None,
            downward_api: None,
            pod_certificate: Some(certificate),
            secret: None,
            service_account_token: None,
        } => parse_certificate(certificate, field, v),
        _ => Err("only podCertificate or clusterTrustBundle, one of them".to_owned()),
    }
}

fn parse_certificate(
    certificate: &PodCertificateProjection,
    field: &str,
    v: &mut Verdict,
) -> Result<Source, String> {
    let PodCertificateProjection {
        certificate_chain_path,
        credential_bundle_path,
        key_path,
        key_type,
        max_expiration_seconds,
        signer_name,
        user,
        user_annotations,
    } = certificate;
    v.refuse_some(user.as_ref(), field, OUR_USER);
    let path = |path: &Option<String>| -> Result<Option<RelativePath>, String> {
        let path = path.as_deref().filter(|path| !path.is_empty());
        path.map(RelativePath::try_from).transpose()
    };
    let paths = CertificatePaths {
        bundle: path(credential_bundle_path)?,
        chain: path(certificate_chain_path)?,
        key: path(key_path)?,
    };
    if paths.all().next().is_none() {
        return Err(
            "no path: credentialBundlePath, or keyPath and certificateChainPath".to_owned(),
        );
    }
    let offered = KEY_TYPES.iter().find(|(name, _)| name == key_type);
    let Some((_, key_type)) = offered else {
        let names: Vec<_> = KEY_TYPES.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "keyType {key_type:?} must be one of {}",
            names.join(", ")
        ));
    };
    Ok(Source::Certificate(CertificatePlan {
        signer_name: signer_name.clone(),
        key_type: *key_type,
        max_expiration_seconds: *max_expiration_seconds,
        user_annotations: user_annotations.clone(),
        paths,
    }))
}

fn parse_trust_bundle(
    bundle: &ClusterTrustBundleProjection,
    field: &str,
    v: &mut Verdict,
) -> Result<Source, String> {
    let ClusterTrustBundleProjection {
        label_selector,
        name,
        optional,
        path,
        signer_name,
        user,
    } = bundle;
    v.refuse_some(user.as_ref(), field, OUR_USER);
    let selection = match (name, signer_name) {
        (Some(name), None) if label_selector.is_none() => Selection::Name(name.clone()),
        (None, Some(signer_name)) => Selection::Signer {
            signer_name: signer_name.clone(),
            label_selector: label_selector.clone(),
        },
        _ => return Err("either name, or signerName with labelSelector".to_owned()),
    };
    let presence = match optional {
        Some(true) => Presence::Optional,
        _ => Presence::Required,
    };
    let path = RelativePath::try_from(path.as_str())?;
    Ok(Source::TrustBundle {
        selection,
        presence,
        path,
    })
}

impl Source {
    fn paths(&self) -> Box<dyn Iterator<Item = &RelativePath> + '_> {
        match self {
            Self::Certificate(certificate) => Box::new(certificate.paths.all()),
            Self::TrustBundle { path, .. } => Box::new(std::iter::once(path)),
        }
    }
}

impl CertificatePaths {
    fn all(&self) -> impl Iterator<Item = &RelativePath> {
        [&self.bundle, &self.chain, &self.key].into_iter().flatten()
    }
}

/// The names of the sources that are set, as the manifest spells them.
fn kinds(volume: &Volume) -> String {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(volume) else {
        return "this source".to_owned();
    };
    let kinds: Vec<_> = fields
        .keys()
        .filter(|key| *key != "name")
        .map(String::as_str)
        .collect();
    if kinds.is_empty() {
        "a volume without a source".to_owned()
    } else {
        kinds.join(" and ")
    }
}

/// Kubernetes' default of `defaultMode`.
const DEFAULT_MODE: i32 = 0o644;
/// The key types a projection may name; RSA2048 is no Kubernetes key type.
const KEY_TYPES: [(&str, KeyType); 6] = [
    ("RSA3072", KeyType::Rsa3072),
    ("RSA4096", KeyType::Rsa4096),
    ("ECDSAP256", KeyType::EcdsaP256),
    ("ECDSAP384", KeyType::EcdsaP384),
    ("ECDSAP521", KeyType::EcdsaP521),
    ("ED25519", KeyType::Ed25519),
];
const OUR_USER: &str = "files belong to the user who started the sandbox";
