//! The versions of `certificates.k8s.io` podcert speaks.
//!
//! Kubernetes 1.37 serves v1, and v1beta1 where it is told to; 1.36 and 1.35 serve v1beta1 where
//! they are told to. An object is the same one in either, with the same UID and resource version.
//! What differs is what of it is shown: the public key that a kubelet of 1.35 sends is a field of
//! v1beta1 alone, and v1 shows an empty stub in its place.

use serde::{Serialize, Serializer};

/// The group of both resources podcert speaks in more than one version.
pub const CERTIFICATES_GROUP: &str = "certificates.k8s.io";

/// A version of `certificates.k8s.io`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ApiVersion {
    /// `v1`, from Kubernetes 1.37 on.
    #[default]
    V1,
    /// `v1beta1`, from 1.33 on for bundles and from 1.35 on for requests.
    V1Beta1,
}

impl ApiVersion {
    /// All of them, the one to prefer first.
    pub const ALL: [Self; 2] = [Self::V1, Self::V1Beta1];

    /// As it stands in a path: `v1beta1`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1Beta1 => "v1beta1",
        }
    }

    /// As it stands in an object: `certificates.k8s.io/v1beta1`.
    pub const fn group_version(self) -> &'static str {
        match self {
            Self::V1 => "certificates.k8s.io/v1",
            Self::V1Beta1 => "certificates.k8s.io/v1beta1",
        }
    }
}

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The value of an object's `apiVersion`.
impl Serialize for ApiVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.group_version())
    }
}
