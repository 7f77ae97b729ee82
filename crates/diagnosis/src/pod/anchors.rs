//! A `clusterTrustBundle` source: the bundles that its name or selector picks.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ClusterTrustBundleProjection;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use podcert_pki::TrustBundle;
use podcert_pki::inspect::describe::span;
use podcert_resources::ClusterTrustBundle;

use super::{SourceReport, State, View, Wants};

pub(super) fn explain(
    view: &View<'_>,
    volume: &str,
    projection: &ClusterTrustBundleProjection,
) -> SourceReport {
    let selected_by = match (&projection.name, &projection.signer_name) {
        (Some(name), _) => format!("name {name}"),
        (None, Some(signer)) => format!(
            "signer {signer}, {}",
            in_words(projection.label_selector.as_ref())
        ),
        (None, None) => "nothing".to_owned(),
    };
    let paths = vec![projection.path.clone()];
    let report = SourceReport::new(volume, paths, Wants::Anchors { selected_by });
    let Ok(bundles) = &view.bundles else {
        return report.found(State::Unknown, "ClusterTrustBundles cannot be looked at");
    };
    let picked: Vec<&ClusterTrustBundle> = bundles
        .iter()
        .filter(|bundle| is_picked(projection, bundle))
        .collect();
    if picked.is_empty() {
        return none_picked(report, projection, bundles);
    }
    let names: Vec<&str> = picked.iter().map(|bundle| name(bundle)).collect();
    let names = names.join(", ");
    let mut anchors = Vec::new();
    for bundle in &picked {
        match TrustBundle::from_pem(&bundle.spec.trust_bundle) {
            Ok(read) => anchors.extend(read.anchors().to_vec()),
            Err(error) => {
                return report.found(
                    State::Attention,
                    format!("{} cannot be read: {error}", name(bundle)),
                );
            }
        }
    }
    let last = anchors
        .iter()
        .map(podcert_pki::Certificate::not_after)
        .max();
    let count = match anchors.len() {
        1 => "1 anchor".to_owned(),
        count => format!("{count} anchors"),
    };
    match last {
        Some(last) if last <= view.now => report
            .found(
                State::Missing,
                format!(
                    "{count} of {names}, all expired, the last {} ago",
                    span(last, view.now)
                ),
            )
            .cure("a new CA in the signer's pool"),
        Some(last) => report.found(
            State::Present,
            format!("{count} of {names}, good for {}", span(view.now, last)),
        ),
        None => report.found(State::Missing, format!("{names} holds no anchor")),
    }
}

fn none_picked(
    report: SourceReport,
    projection: &ClusterTrustBundleProjection,
    bundles: &[ClusterTrustBundle],
) -> SourceReport {
    let optional = projection.optional == Some(true);
    let state = if optional {
        State::Attention
    } else {
        State::Missing
    };
    let then = if optional {
        "the projection is optional: the file is empty"
    } else {
        "the pod does not start without it"
    };
    let report = match (&projection.name, &projection.signer_name) {
        (Some(name), _) => report
            .found(state, format!("there is no ClusterTrustBundle {name}"))
            .cure("whoever publishes it; podcert status says what podcert's signers publish"),
        (None, Some(signer)) => {
            let of_signer: Vec<&ClusterTrustBundle> = bundles
                .iter()
                .filter(|bundle| bundle.spec.signer_name.as_ref() == Some(signer))
                .collect();
            match of_signer.as_slice() {
                [] => report
                    .found(
                        state,
                        format!("there is no ClusterTrustBundle of signer {signer}"),
                    )
                    .cure("a controller that publishes it: podcert status"),
                others => {
                    let mut report = report.found(
                        state,
                        format!(
                            "no ClusterTrustBundle of signer {signer} has the labels asked for"
                        ),
                    );
                    for other in others {
                        let labels = in_words_of(other.metadata.labels.as_ref());
                        report = report.detail(format!("{} has {labels}", name(other)));
                    }
                    if projection.label_selector.is_none() {
                        report = report.detail(
                            "a clusterTrustBundle source without labelSelector picks nothing; an empty \
                             one picks all",
                        );
                    }
                    report.cure("the labels of the projection (pod owner)")
                }
            }
        }
        (None, None) => report.found(state, "the source names neither a bundle nor a signer"),
    };
    report.detail(then)
}

fn is_picked(projection: &ClusterTrustBundleProjection, bundle: &ClusterTrustBundle) -> bool {
    match (&projection.name, &projection.signer_name) {
        (Some(wanted), _) => name(bundle) == wanted,
        (None, Some(signer)) => {
            bundle.spec.signer_name.as_ref() == Some(signer)
                && projection
                    .label_selector
                    .as_ref()
                    .is_some_and(|selector| selects(selector, bundle.metadata.labels.as_ref()))
        }
        (None, None) => false,
    }
}

/// Kubernetes' label selectors (meta/v1 LabelSelector): all of it must hold.
fn selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let value = |key: &str| labels.and_then(|labels| labels.get(key));
    let equal = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.iter().flatten();
    equal
        .map(|(key, wanted)| value(key) == Some(wanted))
        .chain(expressions.map(|expression| {
            let values = expression.values.as_deref().unwrap_or_default();
            let own = value(&expression.key);
            match expression.operator.as_str() {
                "In" => own.is_some_and(|own| values.contains(own)),
                "NotIn" => own.is_none_or(|own| !values.contains(own)),
                "Exists" => own.is_some(),
                "DoesNotExist" => own.is_none(),
                _ => false,
            }
        }))
        .all(|holds| holds)
}

fn in_words(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else {
        return "no labelSelector".to_owned();
    };
    let mut terms: Vec<String> = selector
        .match_labels
        .iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    for expression in selector.match_expressions.iter().flatten() {
        let values = expression.values.as_deref().unwrap_or_default().join(",");
        terms.push(match expression.operator.as_str() {
            "Exists" => expression.key.clone(),
            "DoesNotExist" => format!("!{}", expression.key),
            operator => format!("{} {} ({values})", expression.key, operator.to_lowercase()),
        });
    }
    match terms.as_slice() {
        [] => "any labels".to_owned(),
        terms => format!("labels {}", terms.join(", ")),
    }
}

fn in_words_of(labels: Option<&BTreeMap<String, String>>) -> String {
    let terms: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    match terms.as_slice() {
        [] => "no labels".to_owned(),
        terms => format!("labels {}", terms.join(", ")),
    }
}

fn name(bundle: &ClusterTrustBundle) -> &str {
    bundle.metadata.name.as_deref().unwrap_or_default()
}
