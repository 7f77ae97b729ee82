//! Label and field selectors, as clients use them.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic in a test is its report"
)]

mod common;

use common::certificates::*;
use common::*;
use k8s_openapi::api::certificates::v1::PodCertificateRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod};
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

async fn names<K>(api: &Api<K>, params: ListParams) -> Vec<String>
where
    K: Clone + DeserializeOwned + std::fmt::Debug + Resource,
{
    let list = api.list(&params).await.expect("listed");
    list.items.iter().map(ResourceExt::name_any).collect()
}

fn labels(selector: &str) -> ListParams {
    ListParams::default().labels(selector)
}

fn fields(selector: &str) -> ListParams {
    ListParams::default().fields(selector)
}

#[tokio::test(start_paused = true)]
async fn labels_select_by_equality_and_sets() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    for (name, app) in [("a", Some("web")), ("b", Some("db")), ("c", None)] {
        let mut map = config_map(name);
        if let Some(app) = app {
            map.labels_mut()
                .insert("example.com/app".into(), app.into());
        }
        maps.create(&post(), &map).await.expect("created");
    }
    for (selector, expected) in [
        ("example.com/app=web", vec!["a"]),
        ("example.com/app!=web", vec!["b", "c"]),
        ("example.com/app in (web, db)", vec!["a", "b"]),
        ("example.com/app notin (web)", vec!["b", "c"]),
        ("example.com/app", vec!["a", "b"]),
        ("!example.com/app", vec!["c"]),
        ("example.com/app,example.com/app!=db", vec!["a"]),
    ] {
        assert_eq!(names(&maps, labels(selector)).await, expected, "{selector}");
    }
    let status = refusal(maps.list(&labels("a in b")).await);
    assert_eq!((status.code, status.reason.as_str()), (400, "BadRequest"));
}

#[tokio::test(start_paused = true)]
async fn requests_are_selected_by_signer_pod_and_node() {
    let (_, client) = world();
    let requests: Api<PodCertificateRequest> = Api::default_namespaced(client);
    let csr = csr(&p256());
    for (name, signer, pod, node) in [
        ("a", "example.com/one", "p", "n1"),
        ("b", "example.com/two", "p", "n2"),
        ("c", "example.com/one", "q", "n2"),
    ] {
        let mut object = request_json(name, &csr);
        object["spec"]["signerName"] = signer.into();
        object["spec"]["podName"] = pod.into();
        object["spec"]["nodeName"] = node.into();
        requests
            .create(&post(), &from(object))
            .await
            .expect("created");
    }
    for (selector, expected) in [
        ("spec.signerName=example.com/one", vec!["a", "c"]),
        ("spec.podName=p", vec!["a", "b"]),
        ("spec.nodeName=n2", vec!["b", "c"]),
        (
            "spec.nodeName=n2,spec.signerName!=example.com/one",
            vec!["b"],
        ),
        ("metadata.name=c", vec!["c"]),
    ] {
        assert_eq!(
            names(&requests, fields(selector)).await,
            expected,
            "{selector}"
        );
    }
    let status = refusal(requests.list(&fields("spec.podUID=x")).await);
    assert_eq!(status.message, "field label not supported: spec.podUID");
    // Upstream forgot this one; so do we.
    let status = refusal(requests.list(&fields("metadata.namespace=default")).await);
    assert_eq!(
        status.message,
        "field label not supported: metadata.namespace"
    );
}

#[tokio::test(start_paused = true)]
async fn pods_are_selected_by_node_phase_and_namespace() {
    let (_, client) = world();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    for (name, node) in [("a", Some("n1")), ("b", None)] {
        let mut object = pod(name);
        object.spec.as_mut().expect("spec").node_name = node.map(str::to_owned);
        pods.create(&post(), &object).await.expect("created");
    }
    let everywhere: Api<Pod> = Api::all(client);
    for (selector, expected) in [
        ("spec.nodeName=n1", vec!["a"]),
        ("spec.nodeName=", vec!["b"]),
        ("status.phase=Pending", vec!["a", "b"]),
        ("status.phase!=Pending", vec![]),
        ("metadata.namespace=default,metadata.name=b", vec!["b"]),
        ("metadata.namespace=kube-system", vec![]),
    ] {
        assert_eq!(
            names(&everywhere, fields(selector)).await,
            expected,
            "{selector}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_selected_by_what_they_are_about() {
    let (_, client) = world();
    let events: Api<Event> = Api::default_namespaced(client);
    for (name, about) in [("a", "x"), ("b", "y")] {
        let event: Event = from(json!({
            "metadata": {"name": name},
            "involvedObject": {"kind": "Pod", "name": about},
            "reason": "Denied", "type": "Warning",
        }));
        events.create(&post(), &event).await.expect("created");
    }
    let selector = "involvedObject.kind=Pod,involvedObject.name=y,type=Warning";
    assert_eq!(names(&events, fields(selector)).await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn kinds_without_fields_of_their_own_know_name_and_namespace() {
    let (_, client) = world();
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    maps.create(&post(), &config_map("a"))
        .await
        .expect("created");
    assert_eq!(
        names(&maps, fields("metadata.name=a,metadata.namespace=default")).await,
        ["a"]
    );
    let status = refusal(maps.list(&fields("data.key=x")).await);
    assert_eq!(
        status.message,
        "\"data.key\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    );
    let nodes: Api<Node> = Api::all(client);
    nodes
        .create(&post(), &from(json!({"metadata": {"name": "n"}})))
        .await
        .expect("created");
    assert_eq!(
        names(&nodes, fields("spec.unschedulable=false")).await,
        ["n"]
    );
}
