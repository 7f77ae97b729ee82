//! Services, Secrets, ConfigMaps, Leases and Namespaces: what podcert sees of their defaults
//! and rules.

use serde_json::{Value, json};

use crate::samples::config_map;
use crate::{Case, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("services/get-an-address-and-defaults", service_defaults),
        Case::new("services/lead-to-numbers-or-names", service_targets),
        Case::new("services/keep-their-address", service_address),
        Case::new(
            "services/have-ports-unless-headless-or-external",
            service_ports,
        ),
        Case::new("secrets/text-becomes-data", secret_text),
        Case::new("secrets/data-is-base64", secret_base64),
        Case::new("configmaps/binary-data-is-base64", map_base64),
        Case::new("secrets/immutable-ones-stay", secret_immutable),
        Case::new("secrets/keep-their-type", secret_type),
        Case::new("secrets/of-tls-have-certificate-and-key", secret_tls),
        Case::new("configmaps/immutable-ones-stay", map_immutable),
        Case::new("configmaps/keys-are-names-of-files", map_keys),
        Case::new("leases/durations-are-positive", lease_numbers),
        Case::new("namespaces/carry-their-name-as-a-label", namespace_label),
        Case::new("namespaces/are-dns-labels", namespace_name),
    ]
}

fn service(name: &str, spec: &Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn service_defaults(world: World) {
    let path = world.core("services");
    let object = service("a", &json!({"ports": [{"port": 443}]}));
    let made = world.admin().post(&path, &object).await.created();
    let spec = &made["spec"];
    assert_eq!(spec["type"], "ClusterIP");
    assert_eq!(spec["sessionAffinity"], "None");
    assert_eq!(spec["internalTrafficPolicy"], "Cluster");
    assert_eq!(
        spec["ports"],
        json!([{"protocol": "TCP", "port": 443, "targetPort": 443}])
    );
    let address = spec["clusterIP"].as_str().unwrap();
    address.parse::<std::net::IpAddr>().unwrap();
    assert_eq!(spec["clusterIPs"], json!([address]));
    assert_eq!(made["status"], json!({"loadBalancer": {}}));

    let object = service("b", &json!({"clusterIP": "None"}));
    let made = world.admin().post(&path, &object).await.created();
    assert_eq!(made["spec"]["clusterIP"], "None");
    assert_eq!(made["spec"]["clusterIPs"], json!(["None"]));
    let object = service("c", &json!({"type": "ExternalName", "externalName": "a.b"}));
    let made = world.admin().post(&path, &object).await.created();
    assert_eq!(made["spec"].get("clusterIP"), None);
}

async fn service_targets(world: World) {
    for (target, what) in [
        (json!({}), "object"),
        (json!(1.5), "number 1.5"),
        (json!(3_000_000_000_u32), "number 3000000000"),
    ] {
        let object = service("a", &json!({"ports": [{"port": 1, "targetPort": target}]}));
        let answer = world.admin().post(&world.core("services"), &object).await;
        assert_eq!(
            answer.refused(400, "BadRequest"),
            format!(
                "Service in version \"v1\" cannot be handled as a Service: json: cannot unmarshal {what} into Go struct field ServicePort.spec.ports.targetPort of type int32"
            )
        );
    }
}

async fn map_base64(world: World) {
    let object = json!({"metadata": {"name": "a"}, "binaryData": {"k": "!"}});
    let answer = world.admin().post(&world.core("configmaps"), &object).await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: illegal base64 data at input byte 0"
    );
}

async fn service_address(world: World) {
    let admin = world.admin();
    let path = world.core("services");
    let object = service("a", &json!({"ports": [{"port": 443}]}));
    let made = admin.post(&path, &object).await.created();
    let path = format!("{path}/a");
    let other = json!({"spec": {"clusterIP": "10.0.0.1"}});
    let answer = admin.patch(&path, "merge", &other).await;
    answer.invalid(&[(
        "spec.clusterIPs[0]",
        "Invalid value: [\"10.0.0.1\"]: may not change once set",
    )]);
    // Left out, it is put back.
    let mut object = made.clone();
    let spec = object["spec"].as_object_mut().unwrap();
    spec.remove("clusterIP");
    spec.remove("clusterIPs");
    spec.insert("selector".into(), json!({"a": "b"}));
    let updated = admin.put(&path, &object).await.ok();
    assert_eq!(updated["spec"]["clusterIP"], made["spec"]["clusterIP"]);
    assert_eq!(updated["spec"]["selector"], json!({"a": "b"}));
}

async fn service_ports(world: World) {
    let answer = world
        .admin()
        .post(&world.core("services"), &service("a", &json!({})))
        .await;
    answer.invalid(&[("spec.ports", "Required value")]);
}

async fn secret_text(world: World) {
    let object = json!({"metadata": {"name": "a"}, "stringData": {"k": "b"}});
    let path = world.core("secrets");
    let made = world.admin().post(&path, &object).await.created();
    assert_eq!(made["type"], "Opaque");
    assert_eq!(made["data"], json!({"k": "Yg=="}));
    assert_eq!(made.get("stringData"), None);
}

async fn secret_base64(world: World) {
    let object = json!({"metadata": {"name": "a"}, "data": {"k": "!"}});
    let answer = world.admin().post(&world.core("secrets"), &object).await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte 0"
    );
}

async fn secret_immutable(world: World) {
    let admin = world.admin();
    let path = world.core("secrets");
    let object = json!({"metadata": {"name": "a"}, "data": {"k": "Yg=="}, "immutable": true});
    admin.post(&path, &object).await.created();
    let path = format!("{path}/a");
    let why = "Forbidden: field is immutable when `immutable` is set";
    let answer = admin
        .patch(&path, "merge", &json!({"data": {"k": "Yw=="}}))
        .await;
    answer.invalid(&[("data", why)]);
    let answer = admin
        .patch(&path, "merge", &json!({"immutable": false}))
        .await;
    answer.invalid(&[("immutable", why)]);
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    admin.patch(&path, "merge", &labels).await.ok();
}

async fn secret_type(world: World) {
    let admin = world.admin();
    let path = world.core("secrets");
    let object = json!({"metadata": {"name": "a"}});
    admin.post(&path, &object).await.created();
    let answer = admin
        .patch(&format!("{path}/a"), "merge", &json!({"type": "foo/bar"}))
        .await;
    answer.invalid(&[("type", "Invalid value: \"foo/bar\": field is immutable")]);
}

async fn secret_tls(world: World) {
    let object = json!({"metadata": {"name": "a"}, "type": "kubernetes.io/tls", "data": {}});
    let answer = world.admin().post(&world.core("secrets"), &object).await;
    answer.invalid(&[
        ("data[tls.crt]", "Required value"),
        ("data[tls.key]", "Required value"),
    ]);
}

async fn map_immutable(world: World) {
    let admin = world.admin();
    let path = world.core("configmaps");
    let mut object = config_map("a");
    object["immutable"] = true.into();
    admin.post(&path, &object).await.created();
    let path = format!("{path}/a");
    let why = "Forbidden: field is immutable when `immutable` is set";
    let answer = admin
        .patch(&path, "merge", &json!({"data": {"key": "x"}}))
        .await;
    answer.invalid(&[("data", why)]);
    let answer = admin
        .patch(&path, "merge", &json!({"immutable": null}))
        .await;
    answer.invalid(&[("immutable", why)]);
}

async fn map_keys(world: World) {
    let mut object = config_map("a");
    object["data"] = json!({"a b": "c"});
    let why = "Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
    let answer = world.admin().post(&world.core("configmaps"), &object).await;
    answer.invalid(&[("data[a b]", why)]);
    let secret = json!({"metadata": {"name": "a"}, "stringData": {"a b": "c"}});
    let answer = world.admin().post(&world.core("secrets"), &secret).await;
    answer.invalid(&[("data[a b]", why)]);
}

async fn lease_numbers(world: World) {
    let path = format!(
        "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
        world.namespace
    );
    let object = json!({
        "metadata": {"name": "a"},
        "spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1},
    });
    let answer = world.admin().post(&path, &object).await;
    answer.invalid(&[
        (
            "spec.leaseDurationSeconds",
            "Invalid value: 0: must be greater than 0",
        ),
        (
            "spec.leaseTransitions",
            "Invalid value: -1: must be greater than or equal to 0",
        ),
    ]);
}

async fn namespace_label(world: World) {
    let path = format!("/api/v1/namespaces/{}", world.namespace);
    let found = world.admin().get(&path).await.ok();
    let labels = json!({"kubernetes.io/metadata.name": world.namespace});
    assert_eq!(found["metadata"]["labels"], labels);
    assert_eq!(found["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(found["status"]["phase"], "Active");
}

async fn namespace_name(world: World) {
    let object = json!({"metadata": {"name": "a.b"}});
    let answer = world.admin().post("/api/v1/namespaces", &object).await;
    answer.invalid(&[(
        "metadata.name",
        "Invalid value: \"a.b\": must not contain dots",
    )]);
}
