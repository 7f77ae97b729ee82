//! Pods, and the templates that they come from: what is filled in, what is refused, and how little of
//! them may change.

use serde_json::{Value, json};

use crate::samples::{pod, pod_account};
use crate::{Case, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("pods/get-defaults", pod_defaults),
        Case::new("pods/are-completed-in-all-their-parts", parts),
        Case::new("pods/are-admitted-with-priority-and-tolerations", admission),
        Case::new("pods/need-their-service-account", pod_account_missing),
        Case::new("pods/ask-for-amounts-of-resources", amounts),
        Case::new("pods/ask-for-resources-that-there-are", resources),
        Case::new("pods/have-containers-that-can-run", containers),
        Case::new("pods/have-a-spec-that-can-be-carried-out", specs),
        Case::new("pods/stay-where-they-are", pod_immutable),
        Case::new("pods/change-in-few-ways", changes),
        Case::new("pods/mean-the-same-however-written", same),
        Case::new("pods/are-completed-in-templates", templates),
        Case::new("workloads/roll-as-they-can", strategies),
    ]
}

async fn pod_defaults(world: World) {
    pod_account(&world).await;
    let path = world.core("pods");
    let made = world.admin().post(&path, &pod("a")).await.created();
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["status"]["phase"], "Pending");
    let spec = &made["spec"];
    for (field, value) in [
        ("serviceAccount", json!("web")),
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("enableServiceLinks", json!(true)),
    ] {
        assert_eq!(spec[field], value, "{field}");
    }
    world.admin().delete(&format!("{path}/a")).await.ok();
}

async fn pod_account_missing(world: World) {
    let answer = world.admin().post(&world.core("pods"), &pod("a")).await;
    assert_eq!(
        answer.refused(403, "Forbidden"),
        format!(
            "pods \"a\" is forbidden: error looking up service account {}/web: serviceaccount \"web\" not found",
            world.namespace
        )
    );
}

async fn pod_immutable(world: World) {
    pod_account(&world).await;
    let admin = world.admin();
    let path = world.core("pods");
    admin.post(&path, &pod("a")).await.created();
    let path = format!("{path}/a");
    for patch in [
        json!({"spec": {"nodeName": "elsewhere"}}),
        json!({"spec": {"serviceAccountName": "other"}}),
        json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
    ] {
        let answer = admin.patch(&path, "merge", &patch).await;
        let message = answer.refused(422, "Invalid");
        assert!(
            message.starts_with(
                "Pod \"a\" is invalid: spec: Forbidden: pod updates may not change fields other than"
            ),
            "{message}"
        );
    }
    admin.delete(&path).await.ok();
}

/// A pod whose container has these fields.
fn with(name: &str, fields: &Value) -> Value {
    let mut object = pod(name);
    let container = object["spec"]["containers"][0].as_object_mut().unwrap();
    for (field, value) in fields.as_object().unwrap() {
        container.insert(field.clone(), value.clone());
    }
    object
}

async fn parts(world: World) {
    pod_account(&world).await;
    let mut object = with(
        "a",
        &json!({
            "image": "example.test:5000/web",
            "ports": [{"containerPort": 80}],
            "env": [
                {"name": "A", "value": ""},
                {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "C", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            ],
            "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}, "requests": {"cpu": "0.1"}},
            "readinessProbe": {"httpGet": {"port": 80}, "initialDelaySeconds": 0},
            "livenessProbe": {"grpc": {"port": 80}},
            "lifecycle": {"preStop": {"httpGet": {"port": 1}}},
            "volumeMounts": [{"name": "p", "mountPath": "/p", "readOnly": false}],
        }),
    );
    object["spec"]["volumes"] = json!([
        {"name": "p", "projected": {"sources": [
            {"serviceAccountToken": {"path": "t"}},
            {"downwardAPI": {"items": [
                {"path": "n", "fieldRef": {"fieldPath": "metadata.namespace"}},
            ]}},
        ]}},
        {"name": "s", "secret": {"secretName": "s"}},
        {"name": "c", "configMap": {"name": "s"}},
        {"name": "d", "downwardAPI": {"items": []}},
        {"name": "e"},
        {"name": "h", "hostPath": {"path": "/x"}},
        {"name": "m", "emptyDir": {"sizeLimit": "1024Mi"}},
    ]);
    let path = world.core("pods");
    let made = world.admin().post(&path, &object).await.created();
    assert_eq!(made["spec"]["securityContext"], json!({}));
    assert_eq!(
        made["spec"]["containers"],
        json!([{
            "name": "main",
            "image": "example.test:5000/web",
            "imagePullPolicy": "Always",
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "ports": [{"containerPort": 80, "protocol": "TCP"}],
            "env": [
                {"name": "A"},
                {"name": "B", "valueFrom": {"fieldRef": {
                    "apiVersion": "v1", "fieldPath": "metadata.name",
                }}},
                {"name": "C", "valueFrom": {"resourceFieldRef": {
                    "resource": "limits.cpu", "divisor": "0",
                }}},
            ],
            "resources": {
                "limits": {"cpu": "500m", "memory": "1Gi"},
                "requests": {"cpu": "100m", "memory": "1Gi"},
            },
            "readinessProbe": {
                "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
            },
            "livenessProbe": {
                "grpc": {"port": 80, "service": ""},
                "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
            },
            "lifecycle": {"preStop": {"httpGet": {"port": 1, "path": "/", "scheme": "HTTP"}}},
            "volumeMounts": [{"name": "p", "mountPath": "/p"}],
        }])
    );
    assert_eq!(
        made["spec"]["volumes"],
        json!([
            {"name": "p", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}},
                {"downwardAPI": {"items": [{"path": "n", "fieldRef": {
                    "apiVersion": "v1", "fieldPath": "metadata.namespace",
                }}]}},
            ]}},
            {"name": "s", "secret": {"secretName": "s", "defaultMode": 420}},
            {"name": "c", "configMap": {"name": "s", "defaultMode": 420}},
            {"name": "d", "downwardAPI": {"defaultMode": 420}},
            {"name": "e", "emptyDir": {}},
            {"name": "h", "hostPath": {"path": "/x", "type": ""}},
            {"name": "m", "emptyDir": {"sizeLimit": "1Gi"}},
        ])
    );
    assert_eq!(made["status"]["qosClass"], "Burstable");
}

async fn admission(world: World) {
    pod_account(&world).await;
    let path = world.core("pods");
    let mut object = pod("a");
    object["spec"]["tolerations"] =
        json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]);
    let made = world.admin().post(&path, &object).await.created();
    assert_eq!(made["spec"]["priority"], 0);
    assert_eq!(made["spec"]["preemptionPolicy"], "PreemptLowerPriority");
    assert_eq!(
        made["spec"]["tolerations"],
        json!([
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists"},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists",
             "effect": "NoExecute", "tolerationSeconds": 300},
        ])
    );
    assert_eq!(made["status"]["qosClass"], "BestEffort");
    for (field, value, why) in [
        (
            "priority",
            json!(5),
            "the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name",
        ),
        (
            "priorityClassName",
            json!("none"),
            "no PriorityClass with name none was found",
        ),
    ] {
        let mut object = pod("b");
        object["spec"][field] = value;
        let answer = world.admin().post(&path, &object).await;
        let message = answer.refused(403, "Forbidden");
        assert_eq!(message, format!("pods \"b\" is forbidden: {why}"));
    }
    let mut object = pod("c");
    object["spec"]["priorityClassName"] = "system-node-critical".into();
    let made = world.admin().post(&path, &object).await.created();
    assert_eq!(made["spec"]["priority"], 2_000_001_000);
}

async fn amounts(world: World) {
    pod_account(&world).await;
    let path = world.core("pods");
    for (amount, why) in [
        (
            json!("lots"),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            json!({}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (json!("1MM"), "unable to parse quantity's suffix"),
    ] {
        let object = with("a", &json!({"resources": {"limits": {"cpu": amount}}}));
        let answer = world.admin().post(&path, &object).await;
        assert_eq!(
            answer.refused(400, "BadRequest"),
            format!("Pod in version \"v1\" cannot be handled as a Pod: {why}")
        );
    }
}

async fn resources(world: World) {
    pod_account(&world).await;
    let object = with(
        "a",
        &json!({"resources": {
            "limits": {"cpu": "1", "memory": "-1", "gpu": 1},
            "requests": {"cpu": "1.5", "memory": "-1", "gpu": 1, "a.test/b": 1},
        }}),
    );
    let answer = world.admin().post(&world.core("pods"), &object).await;
    let negative = "Invalid value: \"-1\": must be greater than or equal to 0";
    let odd = "Invalid value: \"gpu\": must be a standard resource type or fully qualified";
    let strange = "Invalid value: \"gpu\": must be a standard resource for containers";
    let field = |name: &str| format!("spec.containers[0].resources.{name}");
    answer.invalid(&[
        (&field("limits[memory]"), negative),
        (&field("limits[gpu]"), odd),
        (&field("limits[gpu]"), strange),
        (&field("requests[memory]"), negative),
        (&field("requests[gpu]"), odd),
        (&field("requests[gpu]"), strange),
        (
            &field("requests"),
            "Invalid value: \"1500m\": must be less than or equal to cpu limit of 1",
        ),
        (
            &field("limits"),
            "Required value: Limit must be set for non overcommitable resources",
        ),
    ]);
    let object = with("a", &json!({"resources": {"limits": {"a.test/b": "0.5"}}}));
    let answer = world.admin().post(&world.core("pods"), &object).await;
    let whole = "Invalid value: \"500m\": must be an integer";
    answer.invalid(&[
        (&field("limits[a.test/b]"), whole),
        (&field("requests[a.test/b]"), whole),
    ]);
}

async fn containers(world: World) {
    pod_account(&world).await;
    let object = with(
        "a",
        &json!({
            "imagePullPolicy": "Sometimes",
            "terminationMessagePolicy": "Never",
            "ports": [
                {"protocol": "ICMP"},
                {"containerPort": 70_000, "name": "A_"},
                {"containerPort": 1, "name": "a"},
                {"containerPort": 2, "name": "a"},
            ],
            "env": [{"name": "A=B"}, {"value": "x"}],
            "volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "w", "mountPath": "/a"}],
            "livenessProbe": {"successThreshold": 2, "periodSeconds": -1},
        }),
    );
    let answer = world.admin().post(&world.core("pods"), &object).await;
    let expected = [
        (
            "imagePullPolicy",
            "Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ),
        (
            "terminationMessagePolicy",
            "Unsupported value: \"Never\": supported values: \"File\", \"FallbackToLogsOnError\"",
        ),
        ("ports[0].containerPort", "Required value"),
        (
            "ports[0].protocol",
            "Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ),
        (
            "ports[1].name",
            "Invalid value: \"A_\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (
            "ports[1].name",
            "Invalid value: \"A_\": must contain at least one letter (a-z)",
        ),
        (
            "ports[1].containerPort",
            "Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        ("ports[3].name", "Duplicate value: \"a\""),
        (
            "env[0].name",
            "Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII characters other than '='",
        ),
        ("env[1].name", "Required value"),
        ("volumeMounts[0].name", "Not found: \"v\""),
        ("volumeMounts[1].name", "Not found: \"w\""),
        (
            "volumeMounts[1].mountPath",
            "Invalid value: \"/a\": must be unique",
        ),
        (
            "livenessProbe",
            "Required value: must specify a handler type",
        ),
        (
            "livenessProbe.periodSeconds",
            "Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "livenessProbe.successThreshold",
            "Invalid value: 2: must be 1",
        ),
    ];
    let expected: Vec<(String, &str)> = expected
        .iter()
        .map(|(field, why)| (format!("spec.containers[0].{field}"), *why))
        .collect();
    let expected: Vec<(&str, &str)> = expected
        .iter()
        .map(|(field, why)| (field.as_str(), *why))
        .collect();
    answer.invalid(&expected);
}

async fn specs(world: World) {
    pod_account(&world).await;
    let mut object = pod("a");
    object["spec"]["restartPolicy"] = "Once".into();
    object["spec"]["dnsPolicy"] = "Ask".into();
    object["spec"]["activeDeadlineSeconds"] = 0.into();
    object["spec"]["tolerations"] =
        json!([{"key": "a", "operator": "x"}, {"tolerationSeconds": 1}]);
    object["spec"]["volumes"] = json!([{}, {"name": "v"}, {"name": "v"}]);
    object["spec"]["initContainers"] = json!([
        {"name": "main", "image": "none", "startupProbe": {"exec": {"command": ["a"]}}},
    ]);
    let pods = world.core("pods");
    let answer = world.admin().post(&pods, &object).await;
    answer.invalid(&[
        ("spec.restartPolicy", "Unsupported value: \"Once\": supported values: \"Always\", \"OnFailure\", \"Never\""),
        ("spec.dnsPolicy", "Unsupported value: \"Ask\": supported values: \"ClusterFirstWithHostNet\", \"ClusterFirst\", \"Default\", \"None\""),
        ("spec.activeDeadlineSeconds", "Invalid value: 0: must be between 1 and 2147483647, inclusive"),
        ("spec.tolerations[0].operator", "Unsupported value: \"x\": supported values: \"Equal\", \"Exists\""),
        ("spec.tolerations[1].operator", "Invalid value: \"\": operator must be Exists when `key` is empty, which means \"match all values and all keys\""),
        ("spec.tolerations[1].effect", "Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set"),
        ("spec.volumes[0].name", "Required value"),
        ("spec.volumes[2].name", "Duplicate value: \"v\""),
        ("spec.initContainers[0].name", "Duplicate value: \"main\""),
        ("spec.initContainers[0].startupProbe", "Forbidden: may not be set for init containers without restartPolicy=Always"),
    ]);
    let mut object = pod("a");
    object["spec"]["containers"] = json!([null, {"name": "A", "image": " b"}]);
    let answer = world.admin().post(&pods, &object).await;
    answer.invalid(&[
        ("spec.containers[0].name", "Required value"),
        ("spec.containers[0].image", "Required value"),
        ("spec.containers[1].name", "Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"),
        ("spec.containers[1].image", "Invalid value: \" b\": must not have leading or trailing whitespace"),
    ]);
    object["spec"]["containers"] = json!([]);
    let answer = world.admin().post(&pods, &object).await;
    answer.invalid(&[("spec.containers", "Required value")]);
}

async fn changes(world: World) {
    pod_account(&world).await;
    let admin = world.admin();
    let mut object = pod("a");
    object["spec"]["activeDeadlineSeconds"] = 50.into();
    object["spec"]["tolerations"] = json!([{"key": "a", "operator": "Exists"}]);
    admin.post(&world.core("pods"), &object).await.created();
    let path = format!("{}/a", world.core("pods"));
    for patch in [
        json!({"spec": {"containers": [{"name": "main", "image": "other"}]}}),
        json!({"spec": {"activeDeadlineSeconds": 40}}),
        json!({"spec": {"tolerations": [
            {"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"},
        ]}}),
    ] {
        admin.patch(&path, "strategic-merge", &patch).await.ok();
    }
    let found = admin.get(&path).await.ok();
    assert_eq!(found["spec"]["containers"][0]["image"], "other");
    assert_eq!(found["metadata"]["generation"], 4);
    let deadline = "spec.activeDeadlineSeconds";
    for (patch, field, why) in [
        (
            json!({"spec": {"activeDeadlineSeconds": 60}}),
            deadline,
            "Invalid value: 60: must be less than or equal to previous value",
        ),
        (
            json!({"spec": {"activeDeadlineSeconds": null}}),
            deadline,
            "Invalid value: null: must not update from a positive integer to nil value",
        ),
        (
            json!({"spec": {"tolerations": [{"key": "b", "operator": "Exists"}]}}),
            "spec.tolerations",
            "Forbidden: existing toleration can not be modified except its tolerationSeconds",
        ),
        (
            json!({"spec": {"schedulingGates": [{"name": "x"}]}}),
            "spec.schedulingGates[0].name",
            "Forbidden: only deletion is allowed, but found new scheduling gate 'x'",
        ),
        (
            json!({"spec": {"initContainers": [{"name": "x", "image": "x"}]}}),
            "spec.initContainers",
            "Forbidden: pod updates may not add or remove containers",
        ),
    ] {
        let answer = admin.patch(&path, "merge", &patch).await;
        answer.invalid(&[(field, why)]);
    }
    admin.delete(&path).await.ok();
}

async fn same(world: World) {
    pod_account(&world).await;
    let admin = world.admin();
    let object = with("a", &json!({"resources": {"limits": {"cpu": 0.5}}}));
    let made = admin.post(&world.core("pods"), &object).await.created();
    let path = format!("{}/a", world.core("pods"));
    let mut object = made.clone();
    object["spec"]["hostNetwork"] = false.into();
    object["spec"]["nodeSelector"] = json!({});
    object["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "0.5".into();
    for field in ["priority", "preemptionPolicy", "tolerations"] {
        object["spec"].as_object_mut().unwrap().remove(field);
    }
    let updated = admin.put(&path, &object).await.ok();
    assert_eq!(updated["spec"], made["spec"]);
    assert_eq!(updated["metadata"]["generation"], 1);
    admin.delete(&path).await.ok();
}

fn workload(spec: &Value) -> Value {
    let mut object = json!({
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": "none:1"}]},
            },
        },
    });
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    object
}

async fn templates(world: World) {
    let path = format!("/apis/apps/v1/namespaces/{}/deployments", world.namespace);
    // Nobody makes its pods.
    let object = workload(&json!({"paused": true}));
    let made = world.admin().post(&path, &object).await.created();
    let spec = &made["spec"];
    for (field, value) in [
        ("replicas", json!(1)),
        ("revisionHistoryLimit", json!(10)),
        ("progressDeadlineSeconds", json!(600)),
        (
            "strategy",
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}),
        ),
    ] {
        assert_eq!(spec[field], value, "{field}");
    }
    assert_eq!(
        spec["template"]["spec"],
        json!({
            "containers": [{
                "name": "main",
                "image": "none:1",
                "imagePullPolicy": "IfNotPresent",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }],
            "dnsPolicy": "ClusterFirst",
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "securityContext": {},
            "terminationGracePeriodSeconds": 30,
        })
    );
    let patch = json!({"spec": {"template": {"spec": {
        "restartPolicy": "Never", "activeDeadlineSeconds": 5,
        "containers": [{"name": "main", "image": ""}],
    }}}});
    let answer = world
        .admin()
        .patch(&format!("{path}/web"), "merge", &patch)
        .await;
    let template = "spec.template.spec";
    answer.invalid(&[
        (
            &format!("{template}.restartPolicy"),
            "Unsupported value: \"Never\": supported values: \"Always\"",
        ),
        (
            &format!("{template}.activeDeadlineSeconds"),
            "Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported",
        ),
        (&format!("{template}.containers[0].image"), "Required value"),
    ]);
}

async fn strategies(world: World) {
    for (kind, spec, field, why) in [
        (
            "deployments",
            json!({"strategy": {"type": "Slow"}}),
            "strategy",
            "Unsupported value: {\"Type\":\"Slow\",\"RollingUpdate\":null}: supported values: \"Recreate\", \"RollingUpdate\"",
        ),
        (
            "deployments",
            json!({"strategy": {"type": "Recreate", "rollingUpdate": {}}}),
            "strategy.rollingUpdate",
            "Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            "deployments",
            json!({"strategy": {"rollingUpdate": {"maxUnavailable": "101%"}}}),
            "strategy.rollingUpdate.maxUnavailable",
            "Invalid value: \"101%\": must not be greater than 100%",
        ),
        (
            "deployments",
            json!({"strategy": {"rollingUpdate": {"maxUnavailable": "x"}}}),
            "strategy.rollingUpdate.maxUnavailable",
            "Invalid value: \"x\": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ),
        (
            "deployments",
            json!({"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}}),
            "strategy.rollingUpdate.maxUnavailable",
            "Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        (
            "deployments",
            json!({"replicas": -1}),
            "replicas",
            "Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "deployments",
            json!({"progressDeadlineSeconds": 1, "minReadySeconds": 2}),
            "progressDeadlineSeconds",
            "Invalid value: 1: must be greater than minReadySeconds",
        ),
        (
            "daemonsets",
            json!({"updateStrategy": {"type": "Slow"}}),
            "updateStrategy",
            "Unsupported value: {\"Type\":\"Slow\",\"RollingUpdate\":null}: supported values: \"RollingUpdate\", \"OnDelete\"",
        ),
        (
            "daemonsets",
            json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}),
            "updateStrategy.rollingUpdate.maxUnavailable",
            "Required value: cannot be 0 when maxSurge is 0",
        ),
        (
            "daemonsets",
            json!({"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}}),
            "updateStrategy.rollingUpdate.maxSurge",
            "Invalid value: 1: may not be set when maxUnavailable is non-zero",
        ),
    ] {
        let path = format!("/apis/apps/v1/namespaces/{}/{kind}", world.namespace);
        let answer = world.admin().post(&path, &workload(&spec)).await;
        answer.invalid(&[(&format!("spec.{field}"), why)]);
    }
}
