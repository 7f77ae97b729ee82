//! Kubernetes releases on command lines.

use std::fmt;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use podcert_cases::{ApiVersion, Policies, Release, Target};

/// Every release that podcert is checked against, the newest first.
pub(crate) const ALL: [Release; 3] = [Release::V1_37, Release::V1_36, Release::V1_35];

/// Parses a release: `1.37`.
pub(crate) fn release() -> impl TypedValueParser<Value = Release> {
    PossibleValuesParser::new(ALL.map(Release::as_str)).try_map(|text| {
        let found = ALL.into_iter().find(|release| release.as_str() == text);
        found.ok_or("invariant: it is one of the possible values")
    })
}

/// The API versions that a release serves here.
pub(crate) fn targets(release: Release) -> Vec<Target> {
    let apis: &[ApiVersion] = match release {
        Release::V1_35 | Release::V1_36 => &[ApiVersion::V1beta1],
        Release::V1_37 => &[ApiVersion::V1, ApiVersion::V1beta1],
    };
    let target = |&api| Target {
        release,
        api,
        policies: Policies::Evaluated,
    };
    apis.iter().map(target).collect()
}

/// A server, and the kubelets that ask it, which may be older.
///
/// Kubernetes calls the difference version skew. It decides what a request looks like: kubelets
/// speak v1 from 1.37 on, and show a bare key before 1.36 and a CSR since.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Skew {
    /// The server's release.
    pub(crate) server: Release,
    /// The kubelets' release.
    pub(crate) kubelets: Release,
}

impl Skew {
    /// Kubelets of the server's release.
    pub(crate) fn none(server: Release) -> Self {
        Self {
            server,
            kubelets: server,
        }
    }

    /// Kubelets of the server's release, and of every one before.
    pub(crate) fn all(server: Release) -> impl Iterator<Item = Self> {
        ALL.into_iter()
            .filter(move |kubelets| *kubelets <= server)
            .map(move |kubelets| Self { server, kubelets })
    }

    /// The version that requests are made and read at.
    pub(crate) fn api(self) -> ApiVersion {
        match self.kubelets {
            Release::V1_35 | Release::V1_36 => ApiVersion::V1beta1,
            Release::V1_37 => ApiVersion::V1,
        }
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, kubelets } = self;
        write!(f, "kubelets {} on {}", kubelets.as_str(), server.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_is_never_newer_than_its_server_and_speaks_what_that_serves() {
        for server in ALL {
            let served: Vec<ApiVersion> = targets(server).iter().map(|target| target.api).collect();
            let skews: Vec<Skew> = Skew::all(server).collect();
            assert_eq!(skews.first(), Some(&Skew::none(server)));
            for skew in skews {
                assert!(
                    skew.kubelets <= server && served.contains(&skew.api()),
                    "{skew}"
                );
            }
        }
    }

    #[test]
    fn every_release_is_served_in_some_version() {
        for release in ALL {
            assert!(!targets(release).is_empty());
            assert!(
                targets(release)
                    .iter()
                    .all(|target| target.release == release)
            );
        }
    }
}
