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
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    }))
    .unwrap()
}

/// Pods that listen on whatever they are asked for, but for one that is deaf; each also listens on 9090.
struct Fake;

impl Network for Fake {
    fn api(&mut self) -> Option<PathBuf> {
        Some("/api".into())
    }

    fn address(&mut self, pod: &Pod) -> Option<Ipv4Addr> {
        let last = *pod.name_any().as_bytes().first()?;
        Some(Ipv4Addr::new(10, 0, 0, last))
    }

    fn socket(&mut self, pod: &Pod, port: u16) -> Option<PathBuf> {
        let name = pod.name_any();
        (name != "deaf").then(|| PathBuf::from(format!("/{name}/{port}")))
    }

    fn open(&mut self, pod: &Pod) -> BTreeMap<u16, PathBuf> {
        let socket = self.socket(pod, 9090);
        socket.into_iter().map(|socket| (9090, socket)).collect()
    }
}

fn resolved(services: &[Service], pods: &[Pod]) -> Services {
    let services: Vec<_> = services.iter().cloned().map(Arc::new).collect();
    let pods: Vec<_> = pods.iter().cloned().map(Arc::new).collect();
    resolve(&services, &pods, &mut Fake)
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
    let list = resolved(&[web], &pods);
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
    let list = resolved(&[web], &[pod("a", "demo", "web", "True")]);
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
    let list = resolved(&[bare, external], &[pod("a", "demo", "web", "True")]);
    assert!(list.resolve("bare.demo", 443).unwrap().is_empty());
    assert_eq!(list.resolve("ext.demo", 443), None);
}

#[test]
fn addresses_lead_where_names_do() {
    let ports = json!([{"port": 443, "targetPort": 8443}]);
    let web = json!({"selector": {"app": "web"}, "clusterIP": "10.96.0.7", "ports": ports});
    let mut bare = web.clone();
    bare["clusterIP"] = "None".into();
    let services = [service("web", &web), service("bare", &bare)];
    let pods = [
        pod("a", "demo", "web", "True"),
        pod("b", "demo", "web", "False"),
    ];
    let list = resolved(&services, &pods);
    let behind = [PathBuf::from("/a/8443")];
    assert_eq!(list.resolve("10.96.0.7", 443).unwrap(), behind);
    assert_eq!(
        list.resolve("bare.demo.svc", 443),
        None,
        "nobody translates"
    );
    let open = [PathBuf::from("/a/9090")];
    assert_eq!(list.resolve("bare.demo.svc", 9090).unwrap(), open);
    assert_eq!(list.addresses["web.demo"], [Ipv4Addr::new(10, 96, 0, 7)]);
    assert_eq!(list.addresses["bare.demo"], [Ipv4Addr::new(10, 0, 0, b'a')]);
    let unready = Ipv4Addr::new(10, 0, 0, b'b').to_string();
    assert_eq!(
        list.resolve(&unready, 9090).unwrap(),
        [PathBuf::from("/b/9090")]
    );
    assert_eq!(list.resolve(&unready, 8443), None, "nobody listens there");

    let mut early = bare.clone();
    early["publishNotReadyAddresses"] = true.into();
    let list = resolved(&[service("early", &early)], &pods);
    assert_eq!(list.addresses["early.demo"].len(), 2);
    assert_eq!(list.resolve("early.demo.svc", 9090).unwrap().len(), 2);
}

#[test]
fn the_service_of_the_api_server_leads_to_it() {
    let spec = json!({"clusterIP": "10.96.0.1", "ports": [{"port": 443, "targetPort": 6443}]});
    let mut api = service("kubernetes", &spec);
    let elsewhere = resolved(std::slice::from_ref(&api), &[]);
    assert!(
        elsewhere
            .resolve("kubernetes.demo", 443)
            .unwrap()
            .is_empty()
    );
    api.metadata.namespace = Some("default".into());
    let list = resolved(&[api], &[]);
    for host in ["kubernetes.default.svc", "10.96.0.1"] {
        assert_eq!(list.resolve(host, 443).unwrap(), [PathBuf::from("/api")]);
    }
}
