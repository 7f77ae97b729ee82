use serde_json::json;

use super::*;
use crate::testing::read;

fn candidate(namespace: &str, name: &str, account: &str, signers: &[&str]) -> Candidate {
    Candidate {
        pod: read(json!({
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"serviceAccountName": account, "containers": []},
        })),
        configured: Some(Configured {
            signers: signers.iter().map(|&signer| signer.to_owned()).collect(),
            application: None,
        }),
    }
}

fn question(namespace: &str, account: &str, signer: &str) -> Question {
    Question {
        namespace: namespace.into(),
        account: account.into(),
        signer: signer.into(),
    }
}

#[test]
fn an_account_is_asked_about_as_the_user_it_is() {
    let one = question("podcert", "controller", "row-major.net/spiffe");
    assert_eq!(one.user(), "system:serviceaccount:podcert:controller");
    assert_eq!(
        one.groups(),
        [
            "system:serviceaccounts",
            "system:serviceaccounts:podcert",
            "system:authenticated"
        ]
    );
    assert_eq!(one.names(), ["row-major.net/spiffe", "row-major.net/*"]);
}

#[test]
fn each_thing_is_asked_once() {
    let candidates = [
        candidate("podcert", "one", "controller", &["a.b/c", "a.b/d"]),
        candidate("podcert", "two", "controller", &["a.b/c"]),
        candidate("podcert", "three", "", &["a.b/c"]),
    ];
    assert_eq!(
        questions(&candidates),
        [
            question("podcert", "controller", "a.b/c"),
            question("podcert", "controller", "a.b/d"),
            question("podcert", "default", "a.b/c"),
        ]
    );
}

#[test]
fn many_in_one_namespace_keep_nobody_of_another_out() {
    let mut candidates: Vec<Candidate> = (0..200)
        .map(|number| candidate("a-tenant", "pod", &format!("account-{number}"), &["a.b/c"]))
        .collect();
    candidates.push(candidate("podcert", "one", "controller", &["a.b/c"]));
    let asked = questions(&candidates);
    assert_eq!(asked.len(), MOST_QUESTIONS);
    assert_eq!(asked[1], question("podcert", "controller", "a.b/c"));
    let rights: Rights = asked
        .into_iter()
        .map(|question| {
            let may = question.namespace == "podcert";
            (question, may)
        })
        .collect();
    let judged = Judged::new(&candidates, Some(&rights));
    assert_eq!(judged.controllers.len(), 1);
    assert_eq!(judged.powerless.len(), MOST_QUESTIONS - 1);
    let hidden = judged.not_shown().unwrap();
    assert!(hidden.what.contains("151 more pods"), "{hidden}");
    let finding = judged.finding().unwrap();
    assert!(finding.message.ends_with("and 44 more"), "{finding:?}");
}

#[test]
fn a_controller_answers_for_the_signers_it_may_sign_for() {
    let candidates = [candidate(
        "podcert",
        "one",
        "controller",
        &["a.b/c", "a.b/d"],
    )];
    let asked = questions(&candidates);
    let rights: Rights = asked
        .into_iter()
        .map(|question| {
            let may = question.signer == "a.b/d";
            (question, may)
        })
        .collect();
    let judged = Judged::new(&candidates, Some(&rights));
    let configured = judged.controllers[0].configured.as_ref().unwrap();
    assert_eq!(configured.signers, ["a.b/d"]);
}

#[test]
fn a_pod_whose_flags_cannot_be_read_is_asked_about_the_usual_signers() {
    let mut other = candidate("podcert", "one", "controller", &[]);
    other.configured = None;
    let candidates = [other];
    let asked = questions(&candidates);
    let signers: Vec<&str> = asked.iter().map(|one| one.signer.as_str()).collect();
    assert_eq!(
        signers,
        [signers::POD_IDENTITY, signers::SERVICE_DNS, signers::SPIFFE]
    );
    let rights: Rights = asked
        .into_iter()
        .map(|question| {
            let may = question.signer == signers::SPIFFE;
            (question, may)
        })
        .collect();
    let judged = Judged::new(&candidates, Some(&rights));
    assert!(judged.controllers[0].configured.is_none());
    let nobody = Judged::new(&candidates, Some(&Rights::default()));
    assert!(nobody.controllers.is_empty() && nobody.powerless.is_empty());
}
