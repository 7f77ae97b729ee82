//! What must be written so that a bundle is as it should be. Pure.

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use podcert_pki::{BundleError, Certificate, TrustBundle};
use podcert_resources::{ClusterTrustBundle, ClusterTrustBundleSpec};

use crate::UnknownAnchors;

/// How a bundle should be.
#[derive(Clone, Debug)]
pub(super) struct Desired {
    pub(super) name: String,
    pub(super) signer: String,
    /// Ours; others may stand beside them.
    pub(super) labels: BTreeMap<String, String>,
    /// Of every CA in the pool.
    pub(super) anchors: TrustBundle,
    /// Of CAs that were in the pool: a good reload dropped them. Empty at first when this replica
    /// becomes the one that publishes.
    pub(super) dropped: HashSet<Certificate>,
    pub(super) unknown: UnknownAnchors,
}

impl Desired {
    /// The anchors of `observed` that are in no pool this process has seen.
    pub(super) fn unknown_in(&self, observed: &TrustBundle) -> Vec<Certificate> {
        let known = |anchor: &Certificate| {
            self.anchors.anchors().contains(anchor) || self.dropped.contains(anchor)
        };
        let anchors = observed.anchors().iter();
        anchors.filter(|anchor| !known(anchor)).cloned().collect()
    }

    /// Whether whoever trusts `observed` trusts every CA of the pool.
    pub(super) fn is_published_in(&self, observed: &TrustBundle) -> bool {
        let published = observed.anchors();
        let mut wanted = self.anchors.anchors().iter();
        wanted.all(|anchor| published.contains(anchor))
    }

    /// The text that `observed` should be, where it should be another.
    fn text_for(&self, observed: &str) -> Option<String> {
        let (published, unreadable) = TrustBundle::readable_part(observed);
        if let (UnknownAnchors::Keep, Some(_)) = (self.unknown, unreadable) {
            return self.text_before(observed, published.as_ref());
        }
        // The kubelet reads anchors as a set, and so do we.
        let wanted = self.anchors_beside(published.as_ref());
        let anchored = published.is_some_and(|published| published.same_anchors(&wanted));
        (!anchored).then(|| wanted.to_pem())
    }

    /// The same where not all of it can be read. Clients may read more than we do, so it stays as it
    /// is, below those of the pool's anchors that it lacks.
    fn text_before(&self, observed: &str, published: Option<&TrustBundle>) -> Option<String> {
        let published = published.map_or(&[][..], TrustBundle::anchors);
        let wanted = self.anchors.anchors().iter();
        let missing: String = wanted
            .filter(|anchor| !published.contains(anchor))
            .map(Certificate::to_pem)
            .collect();
        (!missing.is_empty()).then(|| missing + observed)
    }

    /// What the bundle should hold, where it holds `observed`: the anchors of the pool, and those
    /// that are not ours to remove.
    fn anchors_beside(&self, observed: Option<&TrustBundle>) -> TrustBundle {
        let mut anchors = self.anchors.anchors().to_vec();
        if let (UnknownAnchors::Keep, Some(observed)) = (self.unknown, observed) {
            anchors.extend(self.unknown_in(observed));
        }
        // All of them CAs and none twice, so there is nothing to refuse.
        TrustBundle::new(anchors).unwrap_or_else(|_| self.anchors.clone())
    }
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
    let text = desired.text_for(&observed.spec.trust_bundle);
    if labelled && text.is_none() {
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
    if let Some(text) = text {
        updated.spec.trust_bundle = text;
    }
    Step::Update(Box::new(updated))
}

/// The anchors of `bundle`, as far as they can be read.
pub(super) fn anchors(bundle: &ClusterTrustBundle) -> Option<TrustBundle> {
    TrustBundle::readable_part(&bundle.spec.trust_bundle).0
}

/// Why `bundle` cannot be read to the end.
pub(super) fn unreadable(bundle: &ClusterTrustBundle) -> Option<BundleError> {
    TrustBundle::readable_part(&bundle.spec.trust_bundle).1
}

#[cfg(test)]
mod tests {
    use podcert_authority::{CaId, CaOptions, Pool};

    use super::*;

    fn of(ids: &[&str]) -> TrustBundle {
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
            dropped: HashSet::new(),
            unknown: UnknownAnchors::Keep,
        }
    }

    fn joined(bundles: &[&TrustBundle]) -> TrustBundle {
        let anchors = bundles.iter().flat_map(|bundle| bundle.anchors());
        TrustBundle::new(anchors.cloned().collect()).unwrap()
    }

    fn created(desired: &Desired) -> ClusterTrustBundle {
        match plan(desired, None) {
            Step::Create(bundle) => *bundle,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_there_already_is_not_written() {
        let desired = desired(of(&["1", "2"]));
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
        let desired = desired(of(&["1"]));
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

        for content in ["", "garbage"] {
            let mut bundle = created(&desired);
            content.clone_into(&mut bundle.spec.trust_bundle);
            let Step::Update(updated) = plan(&desired, Some(&bundle)) else {
                panic!()
            };
            assert_eq!(updated.spec.trust_bundle, desired.anchors.to_pem());
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_from_those_who_can() {
        let (pool, dropped, foreign) = (of(&["1", "2"]), of(&["dropped"]), of(&["foreign"]));
        let mut desired = desired(pool.clone());
        desired.dropped = dropped.anchors().iter().cloned().collect();
        let mut bundle = created(&desired);
        // Go skips such a line; who reads strictly refuses it.
        let rest = format!("---\n{}{}", foreign.to_pem(), dropped.to_pem());
        bundle.spec.trust_bundle = pool.anchors()[1].to_pem() + &rest;
        assert!(unreadable(&bundle).is_some());
        assert_eq!(
            desired.unknown_in(&anchors(&bundle).unwrap()),
            foreign.anchors()
        );
        let Step::Update(updated) = plan(&desired, Some(&bundle)) else {
            panic!()
        };
        let text = pool.anchors()[0].to_pem() + &bundle.spec.trust_bundle;
        assert_eq!(updated.spec.trust_bundle, text);
        assert_eq!(plan(&desired, Some(&updated)), Step::Nothing);
        assert!(desired.is_published_in(&anchors(&updated).unwrap()));

        // By the operator's word it goes.
        desired.unknown = UnknownAnchors::Remove;
        let Step::Update(updated) = plan(&desired, Some(&updated)) else {
            panic!()
        };
        assert_eq!(updated.spec.trust_bundle, pool.to_pem());
        assert!(unreadable(&updated).is_none());
    }

    #[test]
    fn an_anchor_leaves_when_the_pool_dropped_it_and_for_no_other_reason() {
        let (kept, dropped, foreign) = (of(&["kept"]), of(&["dropped"]), of(&["foreign"]));
        let mut desired = desired(kept.clone());
        let mut bundle = created(&desired);
        bundle.spec.trust_bundle = joined(&[&foreign, &dropped]).to_pem();
        let updated = |desired: &Desired, bundle: &ClusterTrustBundle| {
            let Step::Update(updated) = plan(desired, Some(bundle)) else {
                panic!()
            };
            anchors(&updated).unwrap()
        };
        // Nobody here knows either of them: one more is trusted, none less.
        let all = joined(&[&kept, &foreign, &dropped]);
        assert_eq!(updated(&desired, &bundle), all);
        assert_eq!(desired.unknown_in(&all).len(), 2);
        bundle.spec.trust_bundle = all.to_pem();
        assert_eq!(plan(&desired, Some(&bundle)), Step::Nothing);

        desired.dropped = dropped.anchors().iter().cloned().collect();
        let rest = joined(&[&kept, &foreign]);
        assert_eq!(updated(&desired, &bundle), rest);
        assert_eq!(desired.unknown_in(&rest), foreign.anchors());
        bundle.spec.trust_bundle = rest.to_pem();
        assert_eq!(plan(&desired, Some(&bundle)), Step::Nothing);

        desired.unknown = UnknownAnchors::Remove;
        assert_eq!(updated(&desired, &bundle), kept);
        assert!(desired.is_published_in(&all));
        assert!(!desired.is_published_in(&foreign));
    }
}
