//! People who may not see all of it: they are told what is hidden, and nothing that is not so.

use anyhow::{Context as _, Result, ensure};
use podcert_cases::User;
use serde_json::{Value, json};

use super::asked::{Pods, WAITS};
use super::asker::{Asker, Said};
use super::place::Place;

/// Everybody. How many they are, with the administrator.
///
/// # Errors
/// What somebody is told otherwise.
pub(super) async fn all(place: &Place, administrator: &Asker, pods: &Pods) -> Result<usize> {
    let reader = user(place, "reader", &[]).await?;
    as_documented(&reader, administrator, pods)
        .await
        .context("with the documented rights")?;
    let asker = user(place, "no-requests", &["podcertificaterequests"]).await?;
    without_requests(&asker, pods)
        .await
        .context("without requests")?;
    let asker = user(place, "no-bundles", &["clustertrustbundles"]).await?;
    without_bundles(&asker, pods)
        .await
        .context("without bundles")?;
    let asker = user(place, "no-events", &["events"]).await?;
    without_events(&asker, pods)
        .await
        .context("without Events")?;
    let asker = user(place, "no-leases", &["leases"]).await?;
    without_leases(&asker).await.context("without Leases")?;
    let asker = user(place, "no-pods", &["pods"]).await?;
    without_pods(&asker, pods).await.context("without pods")?;
    let asker = user(place, "no-reviews", &["subjectaccessreviews"]).await?;
    without_reviews(&asker, pods)
        .await
        .context("without asking who may sign")?;
    let everything: Vec<&str> = RIGHTS
        .iter()
        .flat_map(|(_, resources, _)| *resources)
        .copied()
        .collect();
    let asker = user(place, "nobody", &everything).await?;
    without_rights(&asker, pods)
        .await
        .context("without any rights")?;
    Ok(9)
}

/// A user with the rights that docs/operations.md names, but not to `hidden`.
async fn user(place: &Place, name: &str, hidden: &[&str]) -> Result<Asker> {
    let stage = &place.stage;
    let rules: Vec<Value> = RIGHTS
        .iter()
        .map(|(group, resources, verbs)| {
            let shown = resources.iter().filter(|one| !hidden.contains(one));
            (group, shown.collect::<Vec<_>>(), verbs)
        })
        .filter(|(_, resources, _)| !resources.is_empty())
        .map(|(group, resources, verbs)| {
            json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
        })
        .collect();
    if !rules.is_empty() {
        let who = User {
            name: name.to_owned(),
            groups: Vec::new(),
        };
        stage.grant(name, &who, rules.into()).await?;
        let sample = json!({"group": "", "resource": "nodes", "verb": "list"});
        stage.wait_for_rights(&who, &sample).await?;
    }
    Asker::user(&place.program, &stage.kubeconfig, name, &stage.folder)
}

/// They see what the administrator sees.
async fn as_documented(reader: &Asker, administrator: &Asker, pods: &Pods) -> Result<()> {
    let (theirs, ours) = (reader.status().await?, administrator.status().await?);
    theirs.ends_with(3)?;
    let facts = |said: Said| {
        let mut report = said.into_report();
        // They pass.
        report["controllers"][0]["replicas"][0]["lease"] = Value::Null;
        report["findings"] = Value::Null;
        report
    };
    let (theirs, ours) = (facts(theirs), facts(ours));
    ensure!(theirs == ours, "{theirs:#}\nis not {ours:#}");
    for pod in [pods.issued(), pods.waiting()] {
        let (theirs, ours) = (
            reader.explain(&pod).await?,
            administrator.explain(&pod).await?,
        );
        for field in [
            "/uid",
            "/sources/0/state",
            "/sources/0/reason",
            "/sources/0/certificate",
        ] {
            theirs.has(&[(field, ours.at(field).clone())])?;
        }
        theirs.hides(&[])?;
    }
    Ok(())
}

async fn without_requests(asker: &Asker, pods: &Pods) -> Result<()> {
    let said = asker.status().await?;
    said.hides(&["PodCertificateRequests"])?;
    said.ends_with(1)?;
    said.has(&[
        ("/version", json!(pods.version())),
        ("/controllers/0/replicas/0/lease/state", json!("held")),
        ("/waiting", json!([])),
        ("/findings", json!([])),
        // Nobody knows.
        ("/signers/1/issued", Value::Null),
        ("/signers/1/waiting", Value::Null),
        ("/signers/1/refused", Value::Null),
        ("/signers/1/lastIssued", Value::Null),
        ("/signers/1/answered", json!(true)),
    ])?;
    let page = asker.page(&["status"]).await?;
    page.says(1, &["hidden", "PodCertificateRequests cannot be looked at"])?;
    page.is_silent_on(&["0 issued", "0 waiting"])?;

    let said = asker.explain(&pods.issued()).await?;
    said.hides(&[&format!(
        "PodCertificateRequests in namespace {}",
        pods.namespace()
    )])?;
    said.ends_with(1)?;
    said.has(&[
        ("/sources/0/state", json!("unknown")),
        ("/sources/0/certificate", Value::Null),
        ("/sources/0/request", Value::Null),
        ("/sources/2/state", pods.anchors("present")),
    ])
}

async fn without_bundles(asker: &Asker, pods: &Pods) -> Result<()> {
    let said = asker.status().await?;
    said.hides(&["ClusterTrustBundles"])?;
    said.ends_with(3)?;
    said.has(&[
        ("/signers/1/answered", json!(true)),
        ("/signers/1/bundle", Value::Null),
        ("/signers/1/signingExpires", Value::Null),
        ("/signers/1/issued", json!(1)),
        // The Event says it.
        ("/waiting/0/reason", json!(WAITS)),
        ("/waiting/0/told", json!(true)),
    ])?;
    ensure!(said.tells("/findings", &["no bundle"]).is_err(), "{said:?}");
    let page = asker.page(&["status"]).await?;
    page.says(3, &["hidden", "ClusterTrustBundles cannot be looked at"])?;
    page.is_silent_on(&["bundle none"])?;

    let said = asker.explain(&pods.issued()).await?;
    said.hides(&["ClusterTrustBundles"])?;
    said.ends_with(i32::from(!pods.anchors("unknown").is_null()))?;
    said.has(&[
        ("/sources/0/state", json!("present")),
        ("/sources/1/state", json!("present")),
        ("/sources/2/state", pods.anchors("unknown")),
    ])?;
    let said = asker.explain(&pods.waiting()).await?;
    said.ends_with(3)?;
    said.has(&[
        ("/sources/0/state", json!("waiting")),
        ("/sources/0/reason", json!(WAITS)),
    ])
}

async fn without_events(asker: &Asker, pods: &Pods) -> Result<()> {
    let said = asker.status().await?;
    said.hides(&["Events"])?;
    said.ends_with(3)?;
    said.has(&[
        ("/waiting/0/reason", json!(WAITS)),
        ("/waiting/0/told", json!(false)),
    ])?;
    let said = asker.explain(&pods.waiting()).await?;
    said.hides(&[&format!(
        "Events in namespace {}",
        pods.namespace_of_waiting()
    )])?;
    said.ends_with(3)?;
    said.has(&[
        ("/sources/0/state", json!("waiting")),
        ("/sources/0/reason", json!(WAITS)),
    ])?;
    // There is one.
    ensure!(
        said.tells("/sources/0/details", &["no Event"]).is_err(),
        "{said:?}"
    );
    Ok(())
}

async fn without_leases(asker: &Asker) -> Result<()> {
    let said = asker.status().await?;
    said.hides(&["Leases"])?;
    said.has(&[
        ("/controllers/0/replicas/0/lease/state", json!("unknown")),
        ("/controllers/0/replicas/0/ready", json!(true)),
    ])?;
    let page = asker.page(&["status"]).await?;
    page.is_silent_on(&["no Lease"])
}

async fn without_pods(asker: &Asker, pods: &Pods) -> Result<()> {
    let said = asker.status().await?;
    said.hides(&["the pods of controllers"])?;
    said.has(&[
        ("/controllers/0/replicas/0/lease/state", json!("held")),
        ("/controllers/0/replicas/0/hasPod", Value::Null),
        ("/controllers/0/replicas/0/ready", Value::Null),
        ("/controllers/0/signers", Value::Null),
        ("/signers/0/answered", Value::Null),
    ])?;
    let page = asker.page(&["status"]).await?;
    page.is_silent_on(&["outside", "no replica that lives"])?;
    let page = asker.page(&["explain", "pod", &pods.issued()]).await?;
    page.says(1, &[&pods.issued(), "cannot be looked at"])
}

/// The controller is taken at its word, which is said.
async fn without_reviews(asker: &Asker, pods: &Pods) -> Result<()> {
    let who = "whether pods that say they are controllers may sign";
    let said = asker.status().await?;
    said.hides(&[who])?;
    said.ends_with(3)?;
    said.has(&[
        ("/controllers/0/replicas/0/lease/state", json!("held")),
        ("/controllers/0/replicas/0/ready", json!(true)),
        ("/controllers/1", Value::Null),
        ("/signers/1/answered", json!(true)),
        ("/signers/1/issued", json!(1)),
    ])?;
    said.tells("/notShown", &["subjectaccessreviews", "at their word"])?;
    let page = asker.page(&["status"]).await?;
    page.says(3, &["hidden", who, "at their word"])?;

    // Only where it matters who answers.
    let said = asker.explain(&pods.issued()).await?;
    said.hides(&[])?;
    said.ends_with(0)?;
    let said = asker.explain(&pods.waiting()).await?;
    said.hides(&[who])?;
    said.ends_with(3)?;
    said.has(&[
        ("/sources/0/state", json!("waiting")),
        ("/sources/0/reason", json!(WAITS)),
    ])
}

async fn without_rights(asker: &Asker, pods: &Pods) -> Result<()> {
    let said = asker.status().await?;
    said.hides(&[
        "Leases",
        "pods",
        "PodCertificateRequests",
        "Events",
        "ClusterTrustBundles",
    ])?;
    said.ends_with(1)?;
    said.has(&[
        ("/version", json!(pods.version())),
        ("/controllers", json!([])),
        ("/signers", json!([])),
        ("/waiting", json!([])),
        ("/findings", json!([])),
    ])?;
    let page = asker.page(&["status"]).await?;
    page.says(1, &["hidden", "Leases cannot be looked at"])?;
    page.is_silent_on(&["no controller shows itself"])?;

    let page = asker
        .page(&["explain", "pod", &pods.issued(), "--output=json"])
        .await?;
    page.says(1, &[&pods.issued(), "cannot be looked at"])?;
    // Whether there is one is hidden too.
    let nobody = format!("{}/nobody", pods.namespace());
    let page = asker.page(&["explain", "pod", &nobody]).await?;
    page.says(1, &[&nobody, "cannot be looked at"])?;
    page.is_silent_on(&["there is no pod"])
}

/// What docs/operations.md says one needs to see all: groups, their resources, and the verbs.
const RIGHTS: [(&str, &[&str], &[&str]); 5] = [
    (
        "",
        &["pods", "services", "nodes", "serviceaccounts"],
        &["get", "list"],
    ),
    ("events.k8s.io", &["events"], &["get", "list"]),
    ("coordination.k8s.io", &["leases"], &["get", "list"]),
    (
        "certificates.k8s.io",
        &["podcertificaterequests", "clustertrustbundles"],
        &["get", "list"],
    ),
    (
        "authorization.k8s.io",
        &["subjectaccessreviews"],
        &["create"],
    ),
];
