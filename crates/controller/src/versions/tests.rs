use podcert_runtime::Jitter;

use super::*;

fn names(document: &str) -> Vec<String> {
    let list: ResourceList = serde_json::from_str(document).unwrap();
    let resources = list.resources.unwrap_or_default();
    resources.into_iter().map(|found| found.name).collect()
}

#[test]
fn the_resource_list_of_a_real_server_is_read() {
    // 1.37's list of v1beta1, shortened by its last entries.
    let document = r#"{"kind":"APIResourceList","apiVersion":"v1",
        "groupVersion":"certificates.k8s.io/v1beta1","resources":[
        {"name":"clustertrustbundles","singularName":"clustertrustbundle","namespaced":false,
         "kind":"ClusterTrustBundle","verbs":["create","delete","deletecollection","get","list",
         "patch","update","watch"],"storageVersionHash":"v5yhuVertL4="},
        {"name":"podcertificaterequests","singularName":"podcertificaterequest","namespaced":true,
         "kind":"PodCertificateRequest","verbs":["create","delete","deletecollection","get","list",
         "patch","update","watch"],"storageVersionHash":"wYA9yXQH8fg="},
        {"name":"podcertificaterequests/status","singularName":"","namespaced":true,
         "kind":"PodCertificateRequest","verbs":["get","patch","update"]}]}"#;
    let expected = [
        Spoken::Bundles.plural(),
        Spoken::Requests.plural(),
        "podcertificaterequests/status",
    ];
    assert_eq!(names(document), expected);
    // Go writes null for a list of nothing.
    assert!(names(r#"{"kind":"APIResourceList","resources":null}"#).is_empty());
}

#[test]
fn a_path_that_is_not_served_and_an_object_that_is_gone_are_told_apart() {
    let status = |text: &str| serde_json::from_str::<Status>(text).unwrap();
    // As 1.37 answers to a version it does not serve.
    let unserved = status(
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",
            "message":"the server could not find the requested resource","reason":"NotFound",
            "details":{},"code":404}"#,
    );
    assert!(is_unserved(&unserved));
    // As kube puts it when the body is plain text.
    let text = Status::failure("404 page not found", "Failed to parse error data").with_code(404);
    assert!(is_unserved(&text));
    let gone = status(
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",
            "message":"podcertificaterequests.certificates.k8s.io \"none\" not found",
            "reason":"NotFound","details":{"name":"none","group":"certificates.k8s.io",
            "kind":"podcertificaterequests"},"code":404}"#,
    );
    assert!(!is_unserved(&gone));
    assert!(!is_unserved(
        &Status::failure("no", "Forbidden").with_code(403)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_doubt_is_looked_into_at_once_and_those_that_follow_ever_later() {
    let (mut pace, jitter) = (Pace::default(), Jitter::seeded(1));
    let doubt = Doubt::Unserved(Spoken::Requests, ApiVersion::V1);
    pace.ask(Instant::now());
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(pace.earliest(doubt, &jitter) <= Instant::now());
    let mut waits = Vec::new();
    for _ in 0..8 {
        pace.ask(Instant::now());
        let wait = pace.earliest(doubt, &jitter) - Instant::now();
        tokio::time::sleep(wait).await;
        waits.push(wait);
    }
    assert_eq!(waits[0], Duration::ZERO, "the first question was long ago");
    assert!(waits[1] >= Duration::from_millis(500), "{waits:?}");
    assert!(waits[7] >= Duration::from_secs(15), "{waits:?}");
    assert!(waits[7] <= Duration::from_secs(30), "{waits:?}");
    let broken = pace.earliest(Doubt::Broken, &jitter);
    assert!(broken - pace.asked.unwrap() >= Duration::from_secs(30));
}
