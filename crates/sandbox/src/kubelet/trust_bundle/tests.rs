use super::*;

use k8s_openapi::api::certificates::v1::ClusterTrustBundleSpec;
use kube::api::ObjectMeta;

fn pem(der: &[u8]) -> String {
    encode("CERTIFICATE", der).unwrap()
}

fn bundle(
    name: &str,
    signer: Option<&str>,
    labels: &[(&str, &str)],
    pem: &str,
) -> ClusterTrustBundle {
    let labels = labels
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    ClusterTrustBundle {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            ..Default::default()
        },
        spec: ClusterTrustBundleSpec {
            signer_name: signer.map(str::to_owned),
            trust_bundle: pem.to_owned(),
        },
    }
}

fn by_signer(label_selector: Option<LabelSelector>) -> Selection {
    Selection::Signer {
        signer_name: "e.org/s".to_owned(),
        label_selector,
    }
}

fn live() -> LabelSelector {
    LabelSelector {
        match_labels: Some([("stage".to_owned(), "live".to_owned())].into()),
        match_expressions: None,
    }
}

fn anchors(pem: &str) -> BTreeSet<Vec<u8>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|block| block.unwrap().to_vec())
        .collect()
}

#[test]
fn matches_are_united_once_each_and_headers_are_gone() {
    let commented = format!("a comment\n{}more\n{}", pem(b"one"), pem(b"two"));
    let bundles = [
        bundle(
            "e.org:s:a",
            Some("e.org/s"),
            &[("stage", "live")],
            &commented,
        ),
        bundle(
            "e.org:s:b",
            Some("e.org/s"),
            &[("stage", "live")],
            &pem(b"two"),
        ),
        bundle(
            "e.org:s:c",
            Some("e.org/s"),
            &[("stage", "canary")],
            &pem(b"three"),
        ),
        bundle(
            "e.org:t:a",
            Some("e.org/t"),
            &[("stage", "live")],
            &pem(b"four"),
        ),
        bundle("plain", None, &[("stage", "live")], &pem(b"five")),
    ];
    let take = |selection: &Selection| content(&bundles, selection, Presence::Required, 7);
    let text = take(&by_signer(Some(live()))).unwrap();
    assert_eq!(anchors(&text), [b"one".to_vec(), b"two".to_vec()].into());
    assert_eq!(text.matches("BEGIN").count(), 2);
    assert!(!text.contains("comment") && !text.contains("more"));

    let all = take(&by_signer(Some(LabelSelector::default()))).unwrap();
    assert_eq!(
        anchors(&all).len(),
        3,
        "an empty selector matches everything of the signer"
    );
    assert!(
        take(&by_signer(None)).unwrap_err().contains("matched zero"),
        "no selector: nothing"
    );
    let named = take(&Selection::Name("plain".to_owned())).unwrap();
    assert_eq!(anchors(&named), [b"five".to_vec()].into());
}

#[test]
fn the_order_is_stable_within_a_kubelet_and_differs_between_kubelets() {
    let many: String = (0..20)
        .map(|n| pem(format!("anchor {n}").as_bytes()))
        .collect();
    let bundles = [bundle("plain", None, &[], &many)];
    let take = |seed| {
        content(
            &bundles,
            &Selection::Name("plain".to_owned()),
            Presence::Required,
            seed,
        )
        .unwrap()
    };
    assert_eq!(take(1), take(1));
    assert_ne!(take(1), take(2));
    assert_eq!(anchors(&take(1)), anchors(&take(2)));
}

#[test]
fn nothing_is_an_empty_file_only_when_optional() {
    let missing = Selection::Name("missing".to_owned());
    let none: [ClusterTrustBundle; 0] = [];
    assert_eq!(
        content(&none, &missing, Presence::Optional, 0),
        Ok(String::new())
    );
    let sentence = content(&none, &missing, Presence::Required, 0).unwrap_err();
    assert_eq!(sentence, "clustertrustbundle \"missing\" not found");
}

#[test]
fn selectors_mean_what_they_mean_everywhere() {
    let with = |operator: &str, values: &[&str]| LabelSelector {
        match_labels: None,
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: "stage".to_owned(),
            operator: operator.to_owned(),
            values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
        }]),
    };
    let labels = BTreeMap::from([("stage".to_owned(), "live".to_owned())]);
    let cases = [
        ("In", &["live", "x"][..], true, false),
        ("In", &["x"], false, false),
        ("NotIn", &["live"], false, true),
        ("NotIn", &["x"], true, true),
        ("Exists", &[], true, false),
        ("DoesNotExist", &[], false, true),
        ("Gt", &["1"], false, false),
    ];
    for (operator, values, labelled, bare) in cases {
        let selector = with(operator, values);
        assert_eq!(
            selector_matches(&selector, Some(&labels)),
            labelled,
            "{operator} {values:?}"
        );
        assert_eq!(
            selector_matches(&selector, None),
            bare,
            "{operator} {values:?} without labels"
        );
    }
}
