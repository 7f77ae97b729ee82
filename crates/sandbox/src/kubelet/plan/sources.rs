//! The sources that a volume's files come from.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, ConfigMapProjection, DownwardAPIProjection,
    DownwardAPIVolumeFile, KeyToPath, PodCertificateProjection, SecretProjection,
    ServiceAccountTokenProjection, VolumeProjection,
};
use podcert_pki::KeyType;

use super::Verdict;
use super::fields::Field;
use crate::kubelet::generation::RelativePath;
use crate::kubelet::objects::ObjectKind;
use crate::kubelet::trust_bundle::{Presence, Selection};

/// One source of files.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// `podCertificate`.
    Certificate(CertificatePlan),
    /// `downwardAPI`.
    Downward(Vec<DownwardFile>),
    /// `configMap` or `secret`.
    Object(ObjectPlan),
    /// `serviceAccountToken`.
    Token(TokenPlan),
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

/// A file that tells the pod about itself.
#[derive(Clone, Debug)]
pub(crate) struct DownwardFile {
    /// What it tells.
    pub(crate) field: Field,
    /// Its mode, if not the volume's.
    pub(crate) mode: Option<u32>,
    /// The file.
    pub(crate) path: RelativePath,
}

/// A ConfigMap's or Secret's content.
#[derive(Clone, Debug)]
pub(crate) struct ObjectPlan {
    /// What it is.
    pub(crate) kind: ObjectKind,
    /// Its name, in the pod's namespace.
    pub(crate) name: String,
    /// Which keys; all of them, each in the file of its name, when there are none.
    pub(crate) items: Vec<Item>,
    /// Whether object and keys may be missing.
    pub(crate) optional: bool,
}

/// A key that gets a file.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// The key.
    pub(crate) key: String,
    /// The file's mode, if not the volume's.
    pub(crate) mode: Option<u32>,
    /// The file.
    pub(crate) path: RelativePath,
}

/// A token of the pod's service account.
#[derive(Clone, Debug)]
pub(crate) struct TokenPlan {
    /// For whom; the API server's own audience when empty.
    pub(crate) audience: String,
    /// How long a token is asked for.
    pub(crate) seconds: i64,
    /// The file.
    pub(crate) path: RelativePath,
}

pub(super) fn parse(
    source: &VolumeProjection,
    field: &str,
    v: &mut Verdict,
) -> Result<Source, String> {
    let VolumeProjection {
        cluster_trust_bundle,
        config_map,
        downward_api,
        pod_certificate,
        secret,
        service_account_token,
    } = source;
    match (
        cluster_trust_bundle,
        config_map,
        downward_api,
        pod_certificate,
        secret,
        service_account_token,
    ) {
        (Some(source), None, None, None, None, None) => trust_bundle(source, field, v),
        (None, Some(source), None, None, None, None) => {
            let ConfigMapProjection {
                items: wanted,
                name,
                optional,
            } = source;
            Ok(Source::Object(ObjectPlan {
                kind: ObjectKind::ConfigMap,
                name: name.clone(),
                items: items(wanted.as_deref(), field, v)?,
                optional: *optional == Some(true),
            }))
        }
        (None, None, Some(DownwardAPIProjection { items }), None, None, None) => {
            downward(items.as_deref(), field, v).map(Source::Downward)
        }
        (None, None, None, Some(source), None, None) => certificate(source, field, v),
        (None, None, None, None, Some(source), None) => {
            let SecretProjection {
                items: wanted,
                name,
                optional,
            } = source;
            Ok(Source::Object(ObjectPlan {
                kind: ObjectKind::Secret,
                name: name.clone(),
                items: items(wanted.as_deref(), field, v)?,
                optional: *optional == Some(true),
            }))
        }
        (None, None, None, None, None, Some(source)) => token(source, field, v),
        _ => Err("exactly one source must be set".to_owned()),
    }
}

fn certificate(
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
        return Err("no path is set".to_owned());
    }
    let Some((_, key_type)) = KEY_TYPES.iter().find(|(name, _)| name == key_type) else {
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

fn trust_bundle(
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

fn token(
    token: &ServiceAccountTokenProjection,
    field: &str,
    v: &mut Verdict,
) -> Result<Source, String> {
    let ServiceAccountTokenProjection {
        audience,
        expiration_seconds,
        path,
        user,
    } = token;
    v.refuse_some(user.as_ref(), field, OUR_USER);
    let seconds = expiration_seconds.unwrap_or(DEFAULT_TOKEN_SECONDS);
    if !(MIN_TOKEN_SECONDS..=MAX_TOKEN_SECONDS).contains(&seconds) {
        return Err(format!(
            "expirationSeconds {seconds} must be between {MIN_TOKEN_SECONDS} and \
             {MAX_TOKEN_SECONDS}",
        ));
    }
    Ok(Source::Token(TokenPlan {
        audience: audience.clone().unwrap_or_default(),
        seconds,
        path: RelativePath::try_from(path.as_str())?,
    }))
}

/// The keys of a ConfigMap or Secret that are listed.
pub(super) fn items(
    items: Option<&[KeyToPath]>,
    field: &str,
    v: &mut Verdict,
) -> Result<Vec<Item>, String> {
    let items = items.into_iter().flatten();
    items
        .map(|item| {
            let KeyToPath {
                key,
                mode: wanted,
                path,
                user,
            } = item;
            v.refuse_some(user.as_ref(), field, OUR_USER);
            Ok(Item {
                key: key.clone(),
                mode: mode(*wanted, "mode")?,
                path: RelativePath::try_from(path.as_str())?,
            })
        })
        .collect()
}

/// The files that tell the pod about itself.
pub(super) fn downward(
    files: Option<&[DownwardAPIVolumeFile]>,
    field: &str,
    v: &mut Verdict,
) -> Result<Vec<DownwardFile>, String> {
    let files = files.into_iter().flatten();
    files
        .map(|file| {
            let DownwardAPIVolumeFile {
                field_ref,
                mode: wanted,
                path,
                resource_field_ref,
                user,
            } = file;
            v.refuse_some(user.as_ref(), field, OUR_USER);
            if resource_field_ref.is_some() {
                return Err(super::fields::NO_RESOURCES.to_owned());
            }
            let reference = field_ref.as_ref().ok_or("fieldRef is missing")?;
            Ok(DownwardFile {
                field: Field::in_volume(&reference.field_path)?,
                mode: mode(*wanted, "mode")?,
                path: RelativePath::try_from(path.as_str())?,
            })
        })
        .collect()
}

/// Permission bits as the API has them.
pub(super) fn mode(mode: Option<i32>, field: &str) -> Result<Option<u32>, String> {
    let checked = |mode: i32| {
        let bits = u32::try_from(mode).ok().filter(|mode| mode & !0o777 == 0);
        bits.ok_or_else(|| format!("{field} {mode} is none"))
    };
    mode.map(checked).transpose()
}

impl Source {
    /// The files that are known before anything is read.
    pub(super) fn paths(&self) -> Vec<&RelativePath> {
        match self {
            Self::Certificate(certificate) => certificate.paths.all().collect(),
            Self::Downward(files) => files.iter().map(|file| &file.path).collect(),
            Self::Object(object) => object.items.iter().map(|item| &item.path).collect(),
            Self::Token(TokenPlan { path, .. }) | Self::TrustBundle { path, .. } => vec![path],
        }
    }
}

impl CertificatePaths {
    fn all(&self) -> impl Iterator<Item = &RelativePath> {
        [&self.bundle, &self.chain, &self.key].into_iter().flatten()
    }
}

/// The key types a projection may name; RSA2048 is no Kubernetes key type.
const KEY_TYPES: [(&str, KeyType); 6] = [
    ("RSA3072", KeyType::Rsa3072),
    ("RSA4096", KeyType::Rsa4096),
    ("ECDSAP256", KeyType::EcdsaP256),
    ("ECDSAP384", KeyType::EcdsaP384),
    ("ECDSAP521", KeyType::EcdsaP521),
    ("ED25519", KeyType::Ed25519),
];
pub(super) const OUR_USER: &str = "files belong to the user who started the sandbox";
/// Kubernetes' default and bounds of `expirationSeconds`.
const DEFAULT_TOKEN_SECONDS: i64 = 3600;
const MIN_TOKEN_SECONDS: i64 = 600;
const MAX_TOKEN_SECONDS: i64 = 1 << 32;
