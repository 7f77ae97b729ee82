use std::collections::BTreeSet;
use std::{fs, path::Path};

use podcert_issuance::{NamePolicy, Policy, service_dns};
use serde_json::Value;
use tokio::sync::watch;

use super::*;
use crate::{OwnPod, PoolSource, Signer};

/// One signer of each of these names.
fn config(signers: &[&str], shared: bool) -> Config {
    let signers = signers.iter().map(|name| Signer {
        policy: Policy::new(
            name.parse().unwrap(),
            NamePolicy::ServiceDns(service_dns::Policy::default()),
        ),
        pool: PoolSource::Memory(watch::channel(None).1),
    });
    let mut config = Config::new(signers.collect());
    if shared {
        config.own_pod = Some(OwnPod {
            namespace: "mesh".into(),
            name: "podcert-0".into(),
            uid: "u".into(),
        });
        config.application = Some("app".parse().unwrap());
    }
    config
}

/// Group, resource, verb and the name that is granted.
type Pair = (String, String, String, Option<String>);

fn pairs(rights: &[Right]) -> BTreeSet<Pair> {
    let mut pairs = BTreeSet::new();
    for right in rights {
        let name = match &right.scope {
            Scope::Signer(signer) => Some(all_of_domain(signer)),
            _ => None,
        };
        for verb in right.verbs {
            pairs.insert((
                right.group.to_owned(),
                right.resource.to_owned(),
                (*verb).to_owned(),
                name.clone(),
            ));
        }
    }
    pairs
}

/// What the rules of `deploy/controller/rbac.yaml` grant.
fn granted() -> BTreeSet<Pair> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/controller/rbac.yaml");
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap();
    let mut pairs = BTreeSet::new();
    for rule in documents
        .iter()
        .filter_map(|document| document["rules"].as_array())
        .flatten()
    {
        let texts = |field: &str| -> Vec<String> {
            let list = rule[field].as_array().into_iter().flatten();
            list.map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let names: Vec<Option<String>> = match texts("resourceNames") {
            none if none.is_empty() => vec![None],
            names => names.into_iter().map(Some).collect(),
        };
        for group in texts("apiGroups") {
            for resource in texts("resources") {
                for verb in texts("verbs") {
                    for name in &names {
                        pairs.insert((group.clone(), resource.clone(), verb.clone(), name.clone()));
                    }
                }
            }
        }
    }
    pairs
}

/// What Kubernetes' own role `system:cluster-trust-bundle-discovery` grants to every service account.
const GRANTED_TO_ALL: [(&str, &str, &str); 2] = [
    (CERTIFICATES_GROUP, "clustertrustbundles", "list"),
    (CERTIFICATES_GROUP, "clustertrustbundles", "watch"),
];

#[test]
fn the_role_that_is_shipped_grants_what_is_asked_for_and_no_more() {
    let config = config(&["row-major.net/spiffe", "row-major.net/service-dns"], true);
    let mut asked = pairs(&all(&config));
    for (group, resource, verb) in GRANTED_TO_ALL {
        let pair = (group.to_owned(), resource.to_owned(), verb.to_owned(), None);
        assert!(asked.remove(&pair), "{pair:?} is asked for no more");
    }
    assert_eq!(asked, granted());
    assert!(asked.len() > 20);
}

#[test]
fn what_the_configuration_does_not_use_is_not_asked_for() {
    let alone = all(&config(&["a.example/x"], false));
    assert!(alone.iter().all(|right| right.resource != "leases"));
    let signers: Vec<_> = alone.iter().filter_map(Right::name).collect();
    assert_eq!(signers, ["a.example/x"; 2]);
    let shared = all(&config(&["a.example/x", "b.example/y"], true));
    let leases: Vec<_> = shared.iter().filter(|it| it.resource == "leases").collect();
    assert_eq!(leases.len(), 2);
    let question = leases[0].questions("get").remove(0);
    assert_eq!(question.namespace.as_deref(), Some("mesh"));
    assert!(shared.iter().any(|it| it.name() == Some("b.example/y")));
}

#[test]
fn a_signer_may_be_granted_by_its_name_or_with_its_domain() {
    let rights = all(&config(&["a.example/x"], false));
    let sign = rights.iter().find(|it| it.verbs == ["sign"]).unwrap();
    let names: Vec<_> = sign
        .questions("sign")
        .into_iter()
        .filter_map(|question| question.name)
        .collect();
    assert_eq!(names, ["a.example/x", "a.example/*"]);
    let status = rights.iter().find(|it| it.resource.contains('/')).unwrap();
    let question = status.questions("update").remove(0);
    assert_eq!(question.resource.as_deref(), Some("podcertificaterequests"));
    assert_eq!(question.subresource.as_deref(), Some("status"));
}

#[test]
fn a_missing_right_is_a_sentence_with_the_rule_that_grants_it() {
    let rights = all(&config(&["a.example/x"], true));
    let said = |resource: &str, verbs: &[&'static str]| {
        let right = rights.iter().find(|it| it.resource == resource).unwrap();
        let missing = Missing {
            right: right.clone(),
            verbs: verbs.to_vec(),
        };
        missing.to_string()
    };
    assert_eq!(
        said("pods", &["list", "watch"]),
        "the right to list and watch pods is missing: no certificate is issued for a pod that is not \
         seen. To grant it, add to this controller's ClusterRole the rule {apiGroups: [\"\"], \
         resources: [\"pods\"], verbs: [\"list\", \"watch\"]}"
    );
    assert_eq!(
        said("signers", &["sign"]),
        "the right to sign for a.example/x is missing: no request to this signer is answered. To grant \
         it, add to this controller's ClusterRole the rule {apiGroups: [\"certificates.k8s.io\"], \
         resources: [\"signers\"], resourceNames: [\"a.example/*\"], verbs: [\"sign\"]}"
    );
    assert!(said("leases", &["get", "list", "watch"]).starts_with(
        "the right to get, list and watch leases in namespace mesh is missing: this replica works alone"
    ));
}

#[test]
fn an_event_names_all_that_is_needed_and_only_that() {
    let rights = all(&config(&["a.example/x"], true));
    let missing: Vec<Missing> = rights.into_iter().map(Missing::all_of).collect();
    let note = note(&missing).unwrap();
    assert!(
        note.contains("list and watch pods; list and watch services;"),
        "{note}"
    );
    assert!(note.contains("sign for a.example/x"), "{note}");
    assert!(
        !note.contains("leases") && !note.contains("nodes"),
        "{note}"
    );
    assert!(note.len() < 1024, "{}", note.len());
    let optional: Vec<Missing> = missing
        .into_iter()
        .filter(|missing| missing.right.need == Need::Optional)
        .collect();
    assert_eq!(super::note(&optional), None);
}
