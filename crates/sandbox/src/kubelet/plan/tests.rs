use std::path::Path;

use super::*;

use podcert_pki::KeyType;
use serde_json::{Value, json};

use crate::kubelet::trust_bundle::{Presence, Selection};

/// A pod in the shape of the examples; `change` edits its JSON.
fn pod(change: impl FnOnce(&mut Value)) -> Pod {
    let mut value = json!({
        "metadata": {"namespace": "demo", "name": "web-1", "uid": "u1", "labels": {"app": "web"}},
        "spec": {
            "nodeName": "sandbox",
            "serviceAccountName": "default",
            "restartPolicy": "Always",
            "containers": [{
                "name": "main",
                "image": "img:1",
                "imagePullPolicy": "Always",
                "command": ["/meshtool", "demo-server", "--listen=0.0.0.0:443"],
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
                    "readOnlyRootFilesystem": true,
                },
                "volumeMounts": [{"name": "tls", "mountPath": "/run/tls"}],
            }],
            "volumes": [{"name": "tls", "projected": {"sources": [
                {"podCertificate": {
                    "signerName": "e.org/s", "keyType": "ED25519", "credentialBundlePath": "c.pem",
                    "maxExpirationSeconds": 7200, "userAnnotations": {"e.org/a": "b"},
                }},
                {"clusterTrustBundle": {
                    "signerName": "e.org/t", "labelSelector": {}, "path": "t.pem",
                }},
            ]}}],
        },
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

fn images() -> Images {
    Images::new().with("img", "/bin/tool")
}

fn refusals(change: impl FnOnce(&mut Value)) -> Vec<String> {
    parse(&pod(change), &images()).err().unwrap_or_default()
}

#[test]
fn a_pod_like_the_examples_is_taken_as_it_is() {
    let plan = parse(&pod(|_| {}), &images()).unwrap();
    let [container] = plan.containers.as_slice() else {
        panic!("{:?}", plan.containers)
    };
    assert_eq!(
        container.words,
        ["/meshtool", "demo-server", "--listen=0.0.0.0:443"]
    );
    assert_eq!(container.program.path(), Path::new("/bin/tool"));
    assert_eq!(plan.grace, Duration::from_secs(30));
    assert_eq!(container.restart, RestartPolicy::Always);
    assert_eq!(container.role, Role::Main);
    let VolumePlan::Files { mode, sources } = &plan.volumes["tls"] else {
        panic!()
    };
    assert_eq!(*mode, 0o644);
    let [
        Source::Certificate(certificate),
        Source::TrustBundle {
            selection,
            presence,
            ..
        },
    ] = sources.as_slice()
    else {
        panic!("{sources:?}")
    };
    assert_eq!(certificate.key_type, KeyType::Ed25519);
    assert_eq!(certificate.max_expiration_seconds, Some(7200));
    assert_eq!(
        certificate.user_annotations.as_ref().unwrap()["e.org/a"],
        "b"
    );
    assert!(matches!(
        selection,
        Selection::Signer {
            label_selector: Some(_),
            ..
        }
    ));
    assert_eq!(*presence, Presence::Required);
    assert_eq!(
        plan.notes.len(),
        2,
        "capabilities and root: {:?}",
        plan.notes
    );
}

#[test]
fn what_cannot_be_honoured_is_refused_by_its_name() {
    let on_pod: &[(&str, Value, &str)] = &[
        ("hostNetwork", json!(true), "spec.hostNetwork"),
        ("hostPID", json!(true), "spec.hostPID"),
        ("hostIPC", json!(true), "spec.hostIPC"),
        ("hostUsers", json!(false), "spec.hostUsers"),
        (
            "shareProcessNamespace",
            json!(true),
            "spec.shareProcessNamespace",
        ),
        ("affinity", json!({}), "spec.affinity"),
        (
            "initContainers",
            json!([{"name": "i", "image": "img:1"}]),
            "container \"i\": command",
        ),
        (
            "initContainers",
            json!([{"name": "main", "image": "img:1", "command": ["a"]}]),
            "the name is taken",
        ),
        (
            "initContainers",
            json!([{"name": "i", "image": "img:1", "command": ["a"],
                    "readinessProbe": {"exec": {"command": ["a"]}}}]),
            "is not probed",
        ),
        (
            "readinessGates",
            json!([{"conditionType": "a"}]),
            "spec.readinessGates",
        ),
        (
            "hostAliases",
            json!([{"ip": "1.2.3.4"}]),
            "spec.hostAliases",
        ),
        ("dnsPolicy", json!("None"), "spec.dnsPolicy"),
        ("dnsConfig", json!({}), "spec.dnsConfig"),
        (
            "securityContext",
            json!({"supplementalGroups": [1]}),
            "securityContext.supplementalGroups",
        ),
        (
            "securityContext",
            json!({"runAsUser": 4_294_000}),
            "securityContext.runAsUser",
        ),
        ("runtimeClassName", json!("gvisor"), "spec.runtimeClassName"),
        (
            "activeDeadlineSeconds",
            json!(5),
            "spec.activeDeadlineSeconds",
        ),
        ("restartPolicy", json!("Sometimes"), "spec.restartPolicy"),
        ("containers", json!([]), "at least one container"),
    ];
    for (field, value, expected) in on_pod {
        let sentences = refusals(|pod| pod["spec"][*field] = value.clone());
        assert!(
            sentences.iter().any(|s| s.contains(expected)),
            "{field}: {sentences:?}"
        );
    }
    let on_container: &[(&str, Value, &str)] = &[
        ("image", json!("other:1"), "image \"other:1\""),
        ("command", json!(null), "command: must be set"),
        ("livenessProbe", json!({}), "livenessProbe: exactly one"),
        ("readinessProbe", json!({}), "readinessProbe"),
        ("startupProbe", json!({}), "startupProbe"),
        ("lifecycle", json!({}), "lifecycle"),
        ("envFrom", json!([{}]), "either configMapRef"),
        (
            "env",
            json!([{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]),
            "no resourceFieldRef",
        ),
        (
            "env",
            json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}]),
            "none that a variable can have",
        ),
        ("restartPolicy", json!("Sometimes"), "restartPolicy"),
        (
            "readinessProbe",
            json!({"grpc": {"port": 1}}),
            "no grpc probes",
        ),
        (
            "readinessProbe",
            json!({"httpGet": {"port": "web"}}),
            "no port \"web\"",
        ),
        (
            "readinessProbe",
            json!({"httpGet": {"port": 80, "host": "example.org"}}),
            "the pod itself",
        ),
        (
            "env",
            json!([{"name": "A=B", "value": "c"}]),
            "no variable's name",
        ),
        (
            "ports",
            json!([{"containerPort": 1, "hostPort": 80}]),
            "no hostPort",
        ),
        (
            "ports",
            json!([{"containerPort": 1, "protocol": "UDP"}]),
            "only TCP",
        ),
        ("securityContext", json!({"privileged": true}), "privileged"),
        (
            "securityContext",
            json!({"capabilities": {"add": ["SYS_ADMIN"]}}),
            "SYS_ADMIN",
        ),
        (
            "volumeMounts",
            json!([{"name": "tls", "mountPath": "/a", "subPath": "b"}]),
            "subPath",
        ),
        (
            "volumeMounts",
            json!([{"name": "tls", "mountPath": "a"}]),
            "absolute",
        ),
        (
            "volumeMounts",
            json!([{"name": "none", "mountPath": "/a"}]),
            "no volume \"none\"",
        ),
        ("workingDir", json!("/x"), "workingDir"),
        ("tty", json!(true), "tty"),
        ("stdin", json!(true), "stdin"),
    ];
    for (field, value, expected) in on_container {
        let sentences = refusals(|pod| pod["spec"]["containers"][0][*field] = value.clone());
        assert!(
            sentences.iter().any(|s| s.contains(expected)),
            "{field}: {sentences:?}"
        );
    }
    let on_volume: &[(Value, &str)] = &[
        (json!({"hostPath": {"path": "/etc"}}), "hostPath"),
        (
            json!({"configMap": {"name": "c", "items": [{"key": "a", "path": "../a"}]}}),
            "must be relative",
        ),
        (
            json!({"secret": {"secretName": "s", "defaultMode": 4095}}),
            "defaultMode",
        ),
        (
            json!({"downwardAPI": {"items": [{"path": "a", "resourceFieldRef": {"resource": "limits.cpu"}}]}}),
            "no resourceFieldRef",
        ),
        (
            json!({"downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "status.podIP"}}]}}),
            "none that a file can have",
        ),
        (
            json!({"persistentVolumeClaim": {"claimName": "c"}}),
            "persistentVolumeClaim",
        ),
        (json!({"csi": {"driver": "d"}}), "csi"),
        (json!({}), "without a source"),
        (
            json!({"emptyDir": {}, "hostPath": {"path": "/etc"}}),
            "hostPath",
        ),
        (json!({"projected": {"defaultMode": 4095}}), "defaultMode"),
        (
            json!({"projected": {"sources": [
                {"secret": {"name": "s"}, "configMap": {"name": "s"}},
            ]}}),
            "source 0: exactly one",
        ),
        (
            json!({"projected": {"sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 60}},
            ]}}),
            "expirationSeconds 60",
        ),
        (json!({"projected": {"sources": [{}]}}), "source 0"),
        (
            certificate(&json!({"keyType": "RSA2048"})),
            "keyType \"RSA2048\"",
        ),
        (
            certificate(&json!({"credentialBundlePath": null})),
            "no path",
        ),
        (
            certificate(&json!({"credentialBundlePath": "../x"})),
            "must be relative",
        ),
        (certificate(&json!({"keyPath": "c.pem"})), "is taken"),
        (certificate(&json!({"user": 5})), "source 0"),
        (
            json!({"projected": {"sources": [{"clusterTrustBundle": {"path": "a"}}]}}),
            "either name",
        ),
    ];
    for (value, expected) in on_volume {
        let sentences = refusals(|pod| {
            let mut volume = value.clone();
            volume["name"] = json!("tls");
            pod["spec"]["volumes"][0] = volume;
        });
        assert!(
            sentences.iter().any(|s| s.contains(expected)),
            "{value}: {sentences:?}"
        );
    }
    let sentences = refusals(|pod| pod["spec"]["volumes"][0]["name"] = json!("../../x"));
    assert!(sentences[0].contains("DNS label"), "{sentences:?}");
}

fn certificate(change: &Value) -> Value {
    let mut source =
        json!({"signerName": "e.org/s", "keyType": "ED25519", "credentialBundlePath": "c.pem"});
    for (key, value) in change.as_object().unwrap() {
        source[key] = value.clone();
    }
    json!({"projected": {"sources": [{"podCertificate": source}]}})
}

#[test]
fn all_refusals_come_at_once() {
    let sentences = refusals(|pod| {
        pod["spec"]["hostNetwork"] = json!(true);
        pod["spec"]["containers"][0]["tty"] = json!(true);
    });
    assert_eq!(sentences.len(), 2, "{sentences:?}");
}

#[test]
fn a_key_and_its_chain_may_have_files_of_their_own() {
    let plan = parse(
        &pod(|pod| {
            let paths = json!({
                "credentialBundlePath": null, "keyPath": "k.pem", "certificateChainPath": "c/d.pem",
            });
            let mut volume = certificate(&paths);
            volume["name"] = json!("tls");
            volume["projected"]["defaultMode"] = json!(0o400);
            pod["spec"]["volumes"][0] = volume;
        }),
        &images(),
    )
    .unwrap();
    let VolumePlan::Files {
        mode: 0o400,
        sources,
    } = &plan.volumes["tls"]
    else {
        panic!()
    };
    let Source::Certificate(certificate) = &sources[0] else {
        panic!()
    };
    assert!(certificate.paths.bundle.is_none());
    assert!(certificate.paths.key.is_some() && certificate.paths.chain.is_some());
}

#[test]
fn containers_come_in_their_order_with_their_rules() {
    let with = |policy: &str| {
        let container = |name: &str, policy: Value| json!({"name": name, "image": "img:1", "command": ["a"], "restartPolicy": policy});
        let plan = parse(
            &pod(|pod| {
                let spec = &mut pod["spec"];
                spec["restartPolicy"] = json!(policy);
                spec["initContainers"] = json!([
                    container("first", Value::Null),
                    container("beside", json!("Always")),
                ]);
                let main = spec["containers"].as_array_mut().unwrap();
                main.push(container("second", Value::Null));
            }),
            &images(),
        )
        .unwrap();
        let containers = plan.containers.into_iter();
        containers
            .map(|c| (c.name, c.role, c.restart))
            .collect::<Vec<_>>()
    };
    let expected = |init, main| {
        [
            ("first".to_owned(), Role::Init, init),
            ("beside".to_owned(), Role::Sidecar, RestartPolicy::Always),
            ("main".to_owned(), Role::Main, main),
            ("second".to_owned(), Role::Main, main),
        ]
    };
    use RestartPolicy::{Always, Never, OnFailure};
    assert_eq!(with("Always"), expected(OnFailure, Always));
    assert_eq!(with("OnFailure"), expected(OnFailure, OnFailure));
    assert_eq!(with("Never"), expected(Never, Never));
}

#[test]
fn probes_have_the_defaults_of_the_api() {
    let plan = parse(
        &pod(|pod| {
            let container = &mut pod["spec"]["containers"][0];
            container["ports"] = json!([{"name": "web", "containerPort": 8443}]);
            container["livenessProbe"] = json!({"exec": {"command": ["true"]}});
            container["readinessProbe"] = json!({
                "httpGet": {"port": "web", "scheme": "HTTPS", "path": "ready"},
                "periodSeconds": 3, "failureThreshold": 1,
            });
        }),
        &images(),
    )
    .unwrap();
    let probes = &plan.containers[0].probes;
    assert!(probes.startup.is_none());
    let seconds = Duration::from_secs;
    let liveness = probes.liveness.as_ref().unwrap();
    assert_eq!(liveness.action, Action::Exec(vec!["true".to_owned()]));
    assert_eq!(
        (liveness.period, liveness.timeout),
        (seconds(10), seconds(1))
    );
    assert_eq!(
        (liveness.success_threshold, liveness.failure_threshold),
        (1, 3)
    );
    let readiness = probes.readiness.as_ref().unwrap();
    let action = Action::Http {
        tls: true,
        port: 8443,
        path: "/ready".to_owned(),
        headers: Vec::new(),
    };
    assert_eq!(readiness.action, action);
    assert_eq!(readiness.period, seconds(3));
    assert_eq!(readiness.failure_threshold, 1);
}
