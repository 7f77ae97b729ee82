//! Kubernetes releases on command lines.

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

#[cfg(test)]
mod tests {
    use super::*;

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
