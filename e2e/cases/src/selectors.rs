//! Label and field selectors: their grammar, and which fields each kind knows.

use serde_json::json;

use crate::samples::{config_map, names, pod, pod_account};
use crate::{Answer, Case, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("selectors/labels-by-equality-and-sets", labels),
        Case::new("selectors/labels-by-order", label_order),
        Case::new("selectors/label-grammar", label_grammar),
        Case::new("selectors/label-keys-and-values-are-checked", label_values),
        Case::new("selectors/fields-by-equality", fields),
        Case::new("selectors/field-grammar", field_grammar),
        Case::new("selectors/fields-that-kinds-know", known_fields),
        Case::new("selectors/fields-of-pods", pods),
        Case::new("selectors/fields-of-events", events),
        Case::new("selectors/fields-of-requests", requests),
    ]
}

/// Percent-encodes what a selector may hold.
pub(crate) fn encode(selector: &str) -> String {
    let mut encoded = String::new();
    for c in selector.chars() {
        match c {
            ' ' | '=' | '!' | '<' | '>' | '\\' | ',' | '(' | ')' | '#' | '%' => {
                encoded.push_str(&format!("%{:02X}", u32::from(c)));
            }
            c => encoded.push(c),
        }
    }
    encoded
}

/// A real namespace has one more, which no selector here shall match.
const NOT_OURS: &str = "kube-root-ca.crt";

async fn select(world: &World, kind: &str, selector: &str) -> Answer {
    let path = format!("{}?{kind}={}", world.core("configmaps"), encode(selector));
    world.admin().get(&path).await
}

async fn selected(world: &World, kind: &str, selector: &str) -> Vec<String> {
    let mut found = names(&select(world, kind, selector).await.ok());
    found.retain(|name| name != NOT_OURS);
    found
}

async fn fill(world: &World) {
    for (name, labels) in [
        ("a", json!({"app": "web", "n": "1"})),
        ("b", json!({"app": "db", "n": "2"})),
        ("c", json!({"n": "x"})),
        ("d", json!({"app": ""})),
    ] {
        let mut object = config_map(name);
        object["metadata"]["labels"] = labels;
        let path = world.core("configmaps");
        world.admin().post(&path, &object).await.created();
    }
}

async fn labels(world: World) {
    fill(&world).await;
    for (selector, expected) in [
        ("app=web", "a"),
        ("app==web", "a"),
        ("app!=web", "bcd"),
        ("app in (web, db)", "ab"),
        ("app in (web)", "a"),
        ("app notin (web)", "bcd"),
        ("app notin (web,)", "bc"),
        ("app", "abd"),
        ("!app", "c"),
        ("app,n=1", "a"),
        ("app=web,app=db", ""),
        ("app=", "d"),
        ("app==", "d"),
        ("app in ()", "d"),
        ("app in (,)", "d"),
        (" app = web ", "a"),
        ("example.com/app!=web", "abcd"),
        ("", "abcd"),
    ] {
        let found = selected(&world, "labelSelector", selector).await;
        assert_eq!(found.concat(), expected, "{selector}");
    }
}

async fn label_order(world: World) {
    fill(&world).await;
    for (selector, expected) in [("n>1", "b"), ("n<2", "a"), ("n > 0 , n < 3", "ab")] {
        let found = selected(&world, "labelSelector", selector).await;
        assert_eq!(found.concat(), expected, "{selector}");
    }
}

async fn label_grammar(world: World) {
    for (selector, message) in [
        (
            "a in b",
            "unable to parse requirement: found 'b' expected: '('",
        ),
        (
            "a in",
            "unable to parse requirement: found '' expected: '('",
        ),
        (
            "a in (b",
            "unable to parse requirement: found '', expected: ',' or ')'",
        ),
        (
            "a b",
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
        ),
        (
            "a!b",
            "unable to parse requirement: found '!', expected: in, notin, =, ==, !=, gt, lt",
        ),
        (
            "a>=1",
            "unable to parse requirement: found '=', expected: identifier",
        ),
        (
            "=x",
            "found '=', expected: !, identifier, or 'end of string'",
        ),
        (
            ",a",
            "found ',', expected: !, identifier, or 'end of string'",
        ),
        (
            "(a)",
            "found '(', expected: !, identifier, or 'end of string'",
        ),
        ("a,,b", "found ',', expected: identifier after ','"),
        ("a,", "found '', expected: identifier after ','"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
    ] {
        let answer = select(&world, "labelSelector", selector).await;
        assert_eq!(answer.refused(400, "BadRequest"), message, "{selector}");
    }
}

async fn label_values(world: World) {
    const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let subdomain = crate::samples::SUBDOMAIN;
    let long = "x".repeat(64);
    for (selector, message) in [
        (
            "n>a".to_owned(),
            "values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an integer".to_owned(),
        ),
        (
            "a/b/c=d".into(),
            format!("<nil>: Invalid value: \"a/b/c\": a valid label key {QUALIFIED} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"),
        ),
        (
            "A/b=c".into(),
            format!("<nil>: Invalid value: \"A/b\": prefix part {subdomain}"),
        ),
        (
            "/b=c".into(),
            "<nil>: Invalid value: \"/b\": prefix part must be non-empty".into(),
        ),
        (
            "a/=c".into(),
            format!("<nil>: Invalid value: \"a/\": name part must be non-empty; name part {QUALIFIED}"),
        ),
        (
            format!("{long}=a"),
            format!("<nil>: Invalid value: {long:?}: name part must be no more than 63 bytes"),
        ),
        (
            format!("a={long}"),
            format!("values[0][a]: Invalid value: {long:?}: must be no more than 63 bytes"),
        ),
        (
            "a in (-)".into(),
            "values[0][a]: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')".into(),
        ),
    ] {
        let answer = select(&world, "labelSelector", &selector).await;
        let message = format!("unable to parse requirement: {message}");
        assert_eq!(answer.refused(400, "BadRequest"), message, "{selector}");
    }
}

async fn fields(world: World) {
    fill(&world).await;
    let here = format!("metadata.namespace={}", world.namespace);
    let both = format!("metadata.name=a,{here}");
    for (selector, expected) in [
        ("metadata.name=a", "a"),
        ("metadata.name==a", "a"),
        ("metadata.name!=a", "bcd"),
        ("metadata.name=a,", "a"),
        ("metadata.name=a,metadata.name=b", ""),
        ("metadata.name=a\\,b", ""),
        ("metadata.name= a", ""),
        ("metadata.name=", ""),
        ("metadata.namespace=elsewhere", ""),
        (&here, "abcd"),
        (&both, "a"),
        (",", "abcd"),
        ("=", "abcd"),
    ] {
        let found = selected(&world, "fieldSelector", selector).await;
        assert_eq!(found.concat(), expected, "{selector}");
    }
}

async fn field_grammar(world: World) {
    for (selector, message) in [
        (
            "metadata.name",
            "invalid selector: 'metadata.name'; can't understand 'metadata.name'",
        ),
        (
            "a=b,metadata.name>x",
            "invalid selector: 'a=b,metadata.name>x'; can't understand 'metadata.name>x'",
        ),
        (
            "metadata.name=a=b",
            "invalid field selector: unescaped character in value: 61",
        ),
        (
            "metadata.name=a\\x",
            "invalid field selector: invalid escape sequence: \\x",
        ),
    ] {
        let answer = select(&world, "fieldSelector", selector).await;
        assert_eq!(answer.refused(400, "BadRequest"), message, "{selector}");
    }
}

async fn known_fields(world: World) {
    let group = |group: &str, plural: &str| {
        format!("/apis/{group}/namespaces/{}/{plural}", world.namespace)
    };
    let certificates = world.certificates_api();
    let all = [
        "metadata.namespace",
        "spec.nodeName",
        "spec.serviceAccountName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.hostNetwork",
        "spec.clusterIP",
        "spec.type",
        "spec.signerName",
        "spec.podName",
        "spec.podUID",
        "spec.nodeUID",
        "spec.unschedulable",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
        "status.replicas",
        "type",
        "reason",
        "source",
        "reportingComponent",
        "reportingController",
        "involvedObject.name",
        "involvedObject.uid",
        "regarding.name",
        "regarding.uid",
    ];
    for (path, known) in [
        ("/api/v1/namespaces".to_owned(), vec!["status.phase"]),
        ("/api/v1/nodes".to_owned(), vec!["spec.unschedulable"]),
        (
            world.core("pods"),
            vec![
                "metadata.namespace",
                "spec.nodeName",
                "spec.serviceAccountName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.hostNetwork",
                "status.phase",
                "status.podIP",
                "status.nominatedNodeName",
            ],
        ),
        (
            world.core("services"),
            vec!["metadata.namespace", "spec.clusterIP", "spec.type"],
        ),
        (world.core("secrets"), vec!["metadata.namespace", "type"]),
        (
            world.core("events"),
            vec![
                "metadata.namespace",
                "type",
                "reason",
                "source",
                "reportingComponent",
                "involvedObject.name",
                "involvedObject.uid",
            ],
        ),
        (
            group("events.k8s.io/v1", "events"),
            vec![
                "metadata.namespace",
                "type",
                "reason",
                "reportingController",
                "regarding.name",
                "regarding.uid",
            ],
        ),
        (
            world.requests(),
            vec!["spec.nodeName", "spec.signerName", "spec.podName"],
        ),
        (
            format!("/apis/{certificates}/clustertrustbundles"),
            vec!["spec.signerName"],
        ),
        // Those that know none of their own know where they are, and say so in other words.
        (world.core("configmaps"), vec![]),
        (world.core("serviceaccounts"), vec![]),
        (group("coordination.k8s.io/v1", "leases"), vec![]),
        (group("apps/v1", "deployments"), vec![]),
        (group("apps/v1", "replicasets"), vec![]),
        (group("rbac.authorization.k8s.io/v1", "roles"), vec![]),
    ] {
        for field in all {
            let answer = world
                .admin()
                .get(&format!("{path}?limit=1&fieldSelector={field}%3Dx"))
                .await;
            let plain = known.is_empty();
            if known.contains(&field) || (plain && field == "metadata.namespace") {
                answer.ok();
                continue;
            }
            let message = if plain {
                format!(
                    "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                )
            } else {
                format!("field label not supported: {field}")
            };
            assert_eq!(answer.refused(400, "BadRequest"), message, "{path}");
        }
    }
}

async fn pods(world: World) {
    pod_account(&world).await;
    let path = world.core("pods");
    let node = format!("{}-nowhere", world.namespace);
    let mut scheduled = pod("a");
    scheduled["spec"]["nodeName"] = node.clone().into();
    for object in [scheduled, pod("b")] {
        world.admin().post(&path, &object).await.created();
    }
    for (selector, expected) in [
        (format!("spec.nodeName={node}"), "a"),
        ("spec.nodeName=".into(), "b"),
        ("spec.serviceAccountName=web".into(), "ab"),
        ("status.phase=Pending".into(), "ab"),
        ("status.phase!=Pending".into(), ""),
        ("spec.hostNetwork=false".into(), "ab"),
        (
            format!("metadata.namespace={},metadata.name=b", world.namespace),
            "b",
        ),
    ] {
        let path = format!("/api/v1/pods?fieldSelector={}", encode(&selector));
        let list = world.admin().get(&path).await.ok();
        let found: Vec<String> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| item["metadata"]["namespace"] == world.namespace)
            .map(|item| item["metadata"]["name"].as_str().unwrap().into())
            .collect();
        assert_eq!(found.concat(), expected, "{selector}");
    }
    for name in ["a", "b"] {
        let now = json!({"gracePeriodSeconds": 0});
        world
            .admin()
            .delete_with(&format!("{path}/{name}"), &now)
            .await
            .ok();
    }
}

async fn events(world: World) {
    let path = world.core("events");
    for (name, about, component) in [("a", "x", "one"), ("b", "y", "")] {
        let event = json!({
            "metadata": {"name": name},
            "involvedObject": {"kind": "Pod", "name": about, "namespace": world.namespace},
            "reason": "Denied", "type": "Warning", "source": {"component": component},
        });
        world.admin().post(&path, &event).await.created();
    }
    for (selector, expected) in [
        (
            "involvedObject.kind=Pod,involvedObject.name=y,type=Warning",
            "b",
        ),
        ("source=one", "a"),
        ("source=", "b"),
        ("reason=Denied", "ab"),
    ] {
        let path = format!("{path}?fieldSelector={}", encode(selector));
        let found = names(&world.admin().get(&path).await.ok());
        assert_eq!(found.concat(), expected, "{selector}");
    }
}

async fn requests(world: World) {
    use crate::material::{KeyType, key, request};
    for (name, signer, pod, node) in [
        ("a", "example.com/one", "p", "n1"),
        ("b", "example.com/two", "p", "n2"),
        ("c", "example.com/one", "q", "n2"),
    ] {
        let mut object = request(&world, name, &key(KeyType::P256));
        object["spec"]["signerName"] = signer.into();
        object["spec"]["podName"] = pod.into();
        object["spec"]["nodeName"] = node.into();
        world
            .admin()
            .post(&world.requests(), &object)
            .await
            .created();
    }
    for (selector, expected) in [
        ("spec.signerName=example.com/one", "ac"),
        ("spec.podName=p", "ab"),
        ("spec.nodeName=n2", "bc"),
        ("spec.nodeName=n2,spec.signerName!=example.com/one", "b"),
        ("metadata.name=c", "c"),
    ] {
        let path = format!("{}?fieldSelector={}", world.requests(), encode(selector));
        let found = names(&world.admin().get(&path).await.ok());
        assert_eq!(found.concat(), expected, "{selector}");
    }
}
