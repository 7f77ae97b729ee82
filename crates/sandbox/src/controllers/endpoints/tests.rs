use super::*;

use serde_json::{Value, json};

fn service(name: &str, spec: &Value) -> Service {
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": "demo"}, "spec": spec}))
        .unwrap()
}

fn pod(name: &str, namespace: &str, app: &str, ready: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": namespace, "uid": name, "labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 8443, "name": "tls"}]}]},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }))
    .unwrap()
}

fn socket(pod: &Pod, port: u16) -> Option<PathBuf> {
    let name = pod.name_any();
    (name != "deaf").then(|| PathBuf::from(format!("/{name}/{port}")))
}

#[test]
fn only_ready_listening_pods_of_the_namespace_answer() {
    let web = service(
        "web",
        &json!({"selector": {"app": "web"}, "ports": [{"port": 443}]}),
    );
    let mut going = pod("going", "demo", "web", "True");
    going.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
        jiff::Timestamp::UNIX_EPOCH,
    ));
    let pods = [
        pod("a", "demo", "web", "True"),
        pod("b", "demo", "web", "True"),
        pod("slow", "demo", "web", "False"),
        pod("deaf", "demo", "web", "True"),
        pod("else", "demo", "db", "True"),
        pod("far", "other", "web", "True"),
        going,
    ];
    let list = resolve(&[web], &pods, socket);
    for name in ["web.demo", "web.demo.svc", "web.demo.svc.cluster.local"] {
        let sockets = list.resolve(name, 443).unwrap();
        assert_eq!(sockets, [PathBuf::from("/a/443"), PathBuf::from("/b/443")]);
    }
    assert_eq!(list.resolve("web", 443), None);
    assert_eq!(list.resolve("web.demo.svc", 80), None);
}

#[test]
fn target_ports_are_numbers_names_or_the_port_itself() {
    let ports = json!([
        {"port": 443, "targetPort": "tls"},
        {"port": 80, "targetPort": 8080},
        {"port": 53, "protocol": "UDP"},
        {"port": 81, "targetPort": "nobody"},
    ]);
    let web = service("web", &json!({"selector": {"app": "web"}, "ports": ports}));
    let list = resolve(&[web], &[pod("a", "demo", "web", "True")], socket);
    assert_eq!(
        list.resolve("web.demo", 443).unwrap(),
        [PathBuf::from("/a/8443")]
    );
    assert_eq!(
        list.resolve("web.demo", 80).unwrap(),
        [PathBuf::from("/a/8080")]
    );
    assert_eq!(list.resolve("web.demo", 53), None);
    assert!(list.resolve("web.demo", 81).unwrap().is_empty());
}

#[test]
fn without_a_selector_there_is_nobody_and_an_external_name_is_not_ours() {
    let bare = service("bare", &json!({"ports": [{"port": 443}]}));
    let external = service(
        "ext",
        &json!({"type": "ExternalName", "externalName": "e.org"}),
    );
    let list = resolve(
        &[bare, external],
        &[pod("a", "demo", "web", "True")],
        socket,
    );
    assert!(list.resolve("bare.demo", 443).unwrap().is_empty());
    assert_eq!(list.resolve("ext.demo", 443), None);
}
