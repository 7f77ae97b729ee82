//! What must be written so that a bundle is as it should be. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use podcert_pki::TrustBundle;
use podcert_resources::{ClusterTrustBundle, ClusterTrustBundleSpec};

/// How a bundle should be.
#[derive(Clone, Debug)]
pub(super) struct Desired {
    pub(super) name: String,
    pub(super) signer: String,
    /// Ours; others may stand beside them.
    pub(super) labels: BTreeMap<String, String>,
    pub(super) anchors: TrustBundle,
}

/// The one write that brings it there.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Nothing,
    Create(Box<ClusterTrustBundle>),
    Update(Box<ClusterTrustBundle>),
}

/// Compares `desired` with what is there.
pub(super) fn plan(desired: &Desired, observed: Option<&ClusterTrustBundle>) -> Step {
    let Some(observed) = observed else {
        return Step::Create(Box::new(ClusterTrustBundle::new(
            ObjectMeta {
                labels: Some(desired.labels.clone()),
                name: Some(desired.name.clone()),
                ..ObjectMeta::default()
            },
            ClusterTrustBundleSpec {
                signer_name: Some(desired.signer.clone()),
                trust_bundle: desired.anchors.to_pem(),
            },
        )));
    };
    let labels = observed.metadata.labels.as_ref();
    let labelled = desired
        .labels
        .iter()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value));
    // The kubelet reads anchors as a set, and so do we; what does not parse is not what we want.
    let anchored = TrustBundle::from_pem(&observed.spec.trust_bundle)
        .is_ok_and(|anchors| anchors.same_anchors(&desired.anchors));
    if labelled && anchored {
        return Step::Nothing;
    }
    let mut updated = observed.clone();
    updated
        .metadata
        .labels
        .get_or_insert_default()
        .extend(desired.labels.clone());
    // The server keeps those itself; sending them back is only bytes.
    updated.metadata.managed_fields = None;
    if !anchored {
        updated.spec.trust_bundle = desired.anchors.to_pem();
    }
    Step::Update(Box::new(updated))
}

#[cfg(test)]
mod tests {
    use podcert_authority::{CaId, CaOptions, Pool};

    use super::*;

    fn anchors(ids: &[&str]) -> TrustBundle {
        let roots = ids
            .iter()
            .map(|id| {
                let options = CaOptions::new(CaId::new(*id));
                let pool = Pool::generate(&options, "2026-01-01T00:00:00Z".parse().unwrap());
                pool.unwrap().anchors().anchors()[0].clone()
            })
            .collect();
        TrustBundle::new(roots).unwrap()
    }

    fn desired(anchors: TrustBundle) -> Desired {
        Desired {
            name: "row-major.net:spiffe:primary-bundle".into(),
            signer: "row-major.net/spiffe".into(),
            labels: BTreeMap::from([("spiffe.row-major.net/canarying".into(), "live".into())]),
            anchors,
        }
    }

    fn created(desired: &Desired) -> ClusterTrustBundle {
        match plan(desired, None) {
            Step::Create(bundle) => *bundle,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_there_already_is_not_written() {
        let desired = desired(anchors(&["1", "2"]));
        let bundle = created(&desired);
        assert_eq!(
            bundle.spec.signer_name.as_deref(),
            Some("row-major.net/spiffe")
        );
        assert_eq!(plan(&desired, Some(&bundle)), Step::Nothing);

        // Another order and a foreign label are no difference.
        let mut same = bundle.clone();
        let mut reversed = desired.anchors.anchors().to_vec();
        reversed.reverse();
        same.spec.trust_bundle = TrustBundle::new(reversed).unwrap().to_pem();
        same.metadata
            .labels
            .as_mut()
            .unwrap()
            .insert("team".into(), "a".into());
        assert_eq!(plan(&desired, Some(&same)), Step::Nothing);
    }

    #[test]
    fn what_differs_is_put_right_and_the_rest_left_alone() {
        let desired = desired(anchors(&["1"]));
        let mut bundle = created(&desired);
        bundle.metadata.resource_version = Some("7".into());
        bundle.metadata.labels = Some(BTreeMap::from([("team".into(), "a".into())]));
        let Step::Update(updated) = plan(&desired, Some(&bundle)) else {
            panic!()
        };
        let labels = updated.metadata.labels.as_ref().unwrap();
        assert_eq!(labels.len(), 2);
        assert_eq!(updated.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(updated.spec, bundle.spec);

        for content in ["", "garbage", &anchors(&["other"]).to_pem()] {
            let mut bundle = created(&desired);
            content.clone_into(&mut bundle.spec.trust_bundle);
            let Step::Update(updated) = plan(&desired, Some(&bundle)) else {
                panic!()
            };
            assert_eq!(updated.spec.trust_bundle, desired.anchors.to_pem());
        }
    }
}
