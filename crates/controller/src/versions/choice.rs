//! The choice of a version for each resource, from what is served and what was doubted. Pure.
//!
//! v1 is spoken where it is served. A version that was listed and then answered "no such path" is
//! passed over for a while if there is another one: in the midst of an upgrade, API servers of two
//! releases may stand behind one address, and only the version that both serve always works.

use std::{fmt, time::Duration};

use podcert_resources::ApiVersion;
use tokio::time::Instant;

use super::Doubt;

/// A resource that is spoken in more than one version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Spoken {
    Bundles,
    Requests,
}

impl Spoken {
    pub(crate) const ALL: [Self; 2] = [Self::Requests, Self::Bundles];

    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Bundles => "clustertrustbundles",
            Self::Requests => "podcertificaterequests",
        }
    }

    /// The feature gate that 1.35 and 1.36 want.
    fn feature_gate(self) -> &'static str {
        match self {
            Self::Bundles => "ClusterTrustBundle",
            Self::Requests => "PodCertificateRequest",
        }
    }
}

/// Which version of each resource is spoken; nothing until it is known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct InUse {
    pub(crate) bundles: Option<ApiVersion>,
    pub(crate) requests: Option<ApiVersion>,
    /// Whether v1beta1 shows requests, be it in use or not.
    pub(crate) requests_at_v1beta1: bool,
}

impl InUse {
    pub(crate) fn of(self, spoken: Spoken) -> Option<ApiVersion> {
        match spoken {
            Spoken::Bundles => self.bundles,
            Spoken::Requests => self.requests,
        }
    }
}

/// For people: `podcertificaterequests v1, clustertrustbundles v1beta1`.
impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, spoken) in Spoken::ALL.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let version = self.of(spoken).map_or("none", ApiVersion::as_str);
            write!(f, "{comma}{} {version}", spoken.plural())?;
        }
        Ok(())
    }
}

/// What a server said it serves.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Served {
    bundles: Listed,
    requests: Listed,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Listed {
    v1: bool,
    v1beta1: bool,
}

impl Served {
    pub(super) fn add(&mut self, spoken: Spoken, version: ApiVersion) {
        let listed = match spoken {
            Spoken::Bundles => &mut self.bundles,
            Spoken::Requests => &mut self.requests,
        };
        match version {
            ApiVersion::V1 => listed.v1 = true,
            ApiVersion::V1Beta1 => listed.v1beta1 = true,
        }
    }

    fn has(self, spoken: Spoken, version: ApiVersion) -> bool {
        let listed = match spoken {
            Spoken::Bundles => self.bundles,
            Spoken::Requests => self.requests,
        };
        match version {
            ApiVersion::V1 => listed.v1,
            ApiVersion::V1Beta1 => listed.v1beta1,
        }
    }

    /// What podcert needs and the server has in no version podcert speaks.
    pub(super) fn missing(self) -> Option<String> {
        let missing = Spoken::ALL.into_iter().filter(|spoken| {
            !ApiVersion::ALL
                .into_iter()
                .any(|version| self.has(*spoken, version))
        });
        let missing: Vec<String> = missing
            .map(|spoken| {
                format!(
                    "the API server serves {plural} neither as certificates.k8s.io/v1, which \
                     Kubernetes does from 1.37 on, nor as v1beta1, which 1.35 and 1.36 do with \
                     --feature-gates={gate}=true \
                     --runtime-config=certificates.k8s.io/v1beta1/{plural}=true",
                    plural = spoken.plural(),
                    gate = spoken.feature_gate(),
                )
            })
            .collect();
        (!missing.is_empty()).then(|| missing.join("; "))
    }
}

/// What is in use, and what is passed over.
#[derive(Debug, Default)]
pub(super) struct Choice {
    in_use: InUse,
    passed_over: Vec<(Spoken, ApiVersion, Instant)>,
}

impl Choice {
    pub(super) fn in_use(&self) -> InUse {
        self.in_use
    }

    /// Takes in a doubt; false when it is about what is not in use any more.
    pub(super) fn doubt(&mut self, doubt: Doubt, now: Instant) -> bool {
        let Doubt::Unserved(spoken, version) = doubt else {
            return true;
        };
        let re_read = spoken == Spoken::Requests
            && version == ApiVersion::V1Beta1
            && self.in_use.requests_at_v1beta1;
        if self.in_use.of(spoken) != Some(version) {
            return re_read;
        }
        self.passed_over
            .retain(|(other, at, _)| (*other, *at) != (spoken, version));
        self.passed_over.push((spoken, version, now));
        true
    }

    /// What to speak with a server that serves `served`.
    pub(super) fn among(&mut self, served: Served, now: Instant) -> InUse {
        self.passed_over
            .retain(|(_, _, since)| now - *since < PASSED_OVER);
        self.in_use = InUse {
            bundles: self.pick(served, Spoken::Bundles),
            requests: self.pick(served, Spoken::Requests),
            requests_at_v1beta1: served.has(Spoken::Requests, ApiVersion::V1Beta1),
        };
        self.in_use
    }

    fn pick(&self, served: Served, spoken: Spoken) -> Option<ApiVersion> {
        let doubted = |version: &ApiVersion| {
            let mut found = self.passed_over.iter();
            found
                .find(|(other, at, _)| (*other, at) == (spoken, version))
                .map(|(_, _, since)| *since)
        };
        // Undoubted ones first (`None` is the least), in order of preference; then the one whose
        // doubt is the oldest. Nothing at all is a server that is starting, or one that podcert
        // cannot work with: what is in use stays.
        ApiVersion::ALL
            .into_iter()
            .filter(|version| served.has(spoken, *version))
            .min_by_key(doubted)
            .or(self.in_use.of(spoken))
    }
}

/// How long a version that was not there after all is passed over.
const PASSED_OVER: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests {
    use super::*;

    const V1: ApiVersion = ApiVersion::V1;
    const BETA: ApiVersion = ApiVersion::V1Beta1;
    const UNSERVED_V1: Doubt = Doubt::Unserved(Spoken::Requests, V1);
    const UNSERVED_BETA: Doubt = Doubt::Unserved(Spoken::Requests, BETA);

    fn served(requests: &[ApiVersion], bundles: &[ApiVersion]) -> Served {
        let mut served = Served::default();
        for version in requests {
            served.add(Spoken::Requests, *version);
        }
        for version in bundles {
            served.add(Spoken::Bundles, *version);
        }
        served
    }

    #[test]
    fn v1_where_it_is_served_each_resource_on_its_own() {
        let now = Instant::now();
        for (requests, bundles, expected) in [
            (&[V1][..], &[V1][..], (Some(V1), Some(V1), false)),
            (&[V1, BETA], &[V1, BETA], (Some(V1), Some(V1), true)),
            (&[BETA], &[BETA], (Some(BETA), Some(BETA), true)),
            (&[BETA], &[], (Some(BETA), None, true)),
            (&[], &[BETA], (None, Some(BETA), false)),
            (&[V1], &[V1, BETA], (Some(V1), Some(V1), false)),
        ] {
            let chosen = Choice::default().among(served(requests, bundles), now);
            let found = (chosen.requests, chosen.bundles, chosen.requests_at_v1beta1);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_is_missing_is_said_with_the_flags_that_help() {
        assert_eq!(served(&[BETA], &[V1]).missing(), None);
        let words = served(&[BETA], &[]).missing().unwrap();
        assert!(words.contains("serves clustertrustbundles"), "{words}");
        assert!(
            words.contains("--feature-gates=ClusterTrustBundle=true"),
            "{words}"
        );
        assert!(!words.contains("podcertificaterequests"), "{words}");
        let words = served(&[], &[]).missing().unwrap();
        assert!(
            words.contains("v1beta1/podcertificaterequests=true"),
            "{words}"
        );
    }

    #[test]
    fn a_version_is_given_up_only_for_another_one() {
        let (mut choice, now) = (Choice::default(), Instant::now());
        choice.among(served(&[V1], &[V1]), now);
        let kept = choice.among(served(&[], &[]), now);
        assert_eq!((kept.requests, kept.bundles), (Some(V1), Some(V1)));
        let moved = choice.among(served(&[BETA], &[]), now);
        assert_eq!((moved.requests, moved.bundles), (Some(BETA), Some(V1)));
    }

    #[test]
    fn among_servers_of_two_releases_the_version_of_both_is_spoken() {
        let (mut choice, begin) = (Choice::default(), Instant::now());
        let newer = || served(&[V1, BETA], &[V1, BETA]);
        choice.among(newer(), begin);
        assert!(choice.doubt(UNSERVED_V1, begin));
        let chosen = choice.among(newer(), begin);
        assert_eq!((chosen.requests, chosen.bundles), (Some(BETA), Some(V1)));
        assert!(!choice.doubt(UNSERVED_V1, begin), "not in use any more");
        let later = begin + PASSED_OVER - Duration::from_secs(1);
        assert_eq!(choice.among(newer(), later).requests, Some(BETA));
        assert_eq!(
            choice.among(newer(), begin + PASSED_OVER).requests,
            Some(V1)
        );
    }

    #[test]
    fn what_is_doubted_is_spoken_if_there_is_nothing_else() {
        let (mut choice, now) = (Choice::default(), Instant::now());
        choice.among(served(&[V1], &[V1]), now);
        choice.doubt(UNSERVED_V1, now);
        assert_eq!(choice.among(served(&[V1], &[V1]), now).requests, Some(V1));
        // Where both are doubted, they take turns: one of the two may work.
        let both = served(&[V1, BETA], &[V1]);
        assert_eq!(choice.among(both, now).requests, Some(BETA));
        choice.doubt(UNSERVED_BETA, now + Duration::from_secs(1));
        assert_eq!(
            choice.among(both, now + Duration::from_secs(1)).requests,
            Some(V1)
        );
        choice.doubt(UNSERVED_V1, now + Duration::from_secs(2));
        assert_eq!(
            choice.among(both, now + Duration::from_secs(2)).requests,
            Some(BETA)
        );
    }

    #[test]
    fn a_re_read_that_finds_no_v1beta1_is_worth_asking_again() {
        let (mut choice, now) = (Choice::default(), Instant::now());
        choice.among(served(&[V1, BETA], &[V1]), now);
        assert!(choice.doubt(UNSERVED_BETA, now));
        assert_eq!(
            choice.among(served(&[V1, BETA], &[V1]), now).requests,
            Some(V1)
        );
        assert!(!choice.among(served(&[V1], &[V1]), now).requests_at_v1beta1);
        assert!(!choice.doubt(UNSERVED_BETA, now));
    }
}
