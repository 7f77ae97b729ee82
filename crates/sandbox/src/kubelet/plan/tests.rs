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
    assert_eq!(
        plan.argv,
        ["/meshtool", "demo-server", "--listen=0.0.0.0:443"]
    );
    assert_eq!(plan.program, PathBuf::from("/bin/tool"));
    assert_eq!(plan.grace, Duration::from_secs(30));
    assert_eq!(plan.restart, RestartPolicy::Always);
    assert_eq!(plan.environment["HOSTNAME"], "web-1");
    let VolumePlan::Projected { mode, sources } = &plan.volumes["tls"] else {
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
        ("nodeSelector", json!({"a": "b"}), "spec.nodeSelector"),
        ("affinity", json!({}), "spec.affinity"),
        (
            "initContainers",
            json!([{"name": "i"}]),
            "spec.initContainers",
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
            json!({"fsGroup": 1}),
            "securityContext.fsGroup",
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
        ("containers", json!([]), "exactly one container"),
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
        ("livenessProbe", json!({}), "livenessProbe"),
        ("readinessProbe", json!({}), "readinessProbe"),
        ("startupProbe", json!({}), "startupProbe"),
        ("lifecycle", json!({}), "lifecycle"),
        ("envFrom", json!([{}]), "envFrom"),
        (
            "env",
            json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
            "env \"A\"",
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
        (json!({"secret": {"secretName": "s"}}), "secret"),
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
            json!({"projected": {"sources": [{"secret": {"name": "s"}}]}}),
            "source 0",
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
fn the_environment_is_the_containers() {
    let plan = parse(
        &pod(|pod| {
            pod["spec"]["containers"][0]["env"] = json!([
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "NS", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
                {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "BOTH", "value": "$(NS)/$(POD)"},
                {"name": "LATER", "value": "$(NOT_YET)"},
            ]);
            pod["spec"]["containers"][0]["args"] = json!(["--id=$(BOTH)", "$$(BOTH)", "$(X", "5$"]);
        }),
        &images(),
    )
    .unwrap();
    assert_eq!(plan.environment["BOTH"], "demo/web-1");
    assert_eq!(plan.environment["APP"], "web");
    assert_eq!(plan.environment["LATER"], "$(NOT_YET)");
    assert_eq!(plan.argv[3..], ["--id=demo/web-1", "$(BOTH)", "$(X", "5$"]);
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
    let VolumePlan::Projected {
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
fn an_environment_that_doubles_itself_is_refused_before_it_is_large() {
    let mut env = vec![json!({"name": "V0", "value": "lol"})];
    for n in 1..24 {
        let value = format!("$(V{0})$(V{0})", n - 1);
        env.push(json!({"name": format!("V{n}"), "value": value}));
    }
    let refused = refusals(|pod| pod["spec"]["containers"][0]["env"] = json!(env));
    assert!(
        refused
            .iter()
            .any(|why| why.contains("env \"V16\"") && why.contains("131072")),
        "{:?}",
        refused.first()
    );

    let words: Vec<_> = (0..1000).map(|_| "$(BIG)").collect();
    let refused = refusals(|pod| {
        let container = &mut pod["spec"]["containers"][0];
        container["env"] = json!([{"name": "BIG", "value": "x".repeat(100_000)}]);
        container["command"] = json!([words.concat()]);
    });
    assert!(
        refused.iter().any(|why| why.contains("131072")),
        "{refused:?}"
    );
}
