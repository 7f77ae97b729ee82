//! Deployments and DaemonSets: what is filled in, what is refused, and the scale of the former.

use serde_json::{Value, json};

use crate::{Case, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("workloads/a-daemon-set-is-completed", daemon_set),
        Case::new("workloads/a-daemon-set-selects-its-own-pods", selectors),
        Case::new("workloads/a-scale-is-read", read),
        Case::new("workloads/a-scale-is-written", write),
        Case::new("workloads/a-scale-has-conditions", conditions),
        Case::new("workloads/a-scale-is-asked-for-properly", scale_options),
        Case::new("workloads/a-replica-set-needs-a-selector", no_selector),
        Case::new(
            "workloads/a-daemon-set-counts-its-templates",
            template_numbers,
        ),
        Case::new("workloads/a-scale-is-discovered", discovered),
    ]
}

fn path(world: &World, plural: &str) -> String {
    format!("/apis/apps/v1/namespaces/{}/{plural}", world.namespace)
}

fn workload(kind: &str) -> Value {
    json!({
        "kind": kind,
        "apiVersion": "apps/v1",
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}, "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["b", "a"]},
            ]},
            "template": {
                "metadata": {"labels": {"app": "web", "tier": "a"}},
                "spec": {
                    "containers": [{"name": "main", "image": "none"}],
                    "automountServiceAccountToken": false,
                    "nodeSelector": {"on": "no-node"},
                },
            },
        },
    })
}

async fn daemon_set(world: World) {
    let sets = path(&world, "daemonsets");
    let created = world
        .admin()
        .post(&sets, &workload("DaemonSet"))
        .await
        .created();
    assert_eq!(created["metadata"]["generation"], 1);
    assert_eq!(
        created["spec"]["updateStrategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}})
    );
    assert_eq!(created["spec"]["revisionHistoryLimit"], 10);
    let number = "/metadata/annotations/deprecated.daemonset.template.generation";
    assert_eq!(created.pointer(number), Some(&json!("1")));
    let one = format!("{sets}/web");
    let patch = json!({"metadata": {"annotations": null}, "spec": {"minReadySeconds": 1}});
    let patched = world.admin().patch(&one, "merge", &patch).await.ok();
    assert_eq!(patched.pointer(number), Some(&json!("1")));
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}});
    let patched = world.admin().patch(&one, "merge", &patch).await.ok();
    assert_eq!(patched.pointer(number), Some(&json!("2")));
    assert_eq!(patched["metadata"]["generation"], 3);
    let table = world.admin().get_as(&sets, TABLE).await.ok();
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells[0], "web");
    assert_eq!(cells[6], "on=no-node");
    assert_eq!(cells[8..10], [json!("main"), json!("none")]);
    assert_eq!(cells[10], "app=web,tier in (a,b)");
}

async fn selectors(world: World) {
    let sets = path(&world, "daemonsets");
    let mut object = workload("DaemonSet");
    object["spec"]["selector"] = json!({"matchLabels": {"app": "other"}});
    let answer = world.admin().post(&sets, &object).await;
    assert_eq!(answer.invalid_fields(), ["spec.template.metadata.labels"]);
    let answer = world
        .admin()
        .post(&path(&world, "deployments"), &object)
        .await;
    answer.refused(400, "BadRequest");
}

/// A Deployment of three, which nothing can run.
async fn deploy(world: &World) -> Value {
    let mut object = workload("Deployment");
    object["spec"]["replicas"] = 3.into();
    // The controller-manager of a real cluster leaves a paused one's pods alone, and its scale too.
    object["spec"]["paused"] = true.into();
    let deployments = path(world, "deployments");
    world.admin().post(&deployments, &object).await.created()
}

async fn read(world: World) {
    let created = deploy(&world).await;
    let scale = format!("{}/web/scale", path(&world, "deployments"));
    let found = world.admin().get(&scale).await.ok();
    assert_eq!(found["kind"], "Scale");
    assert_eq!(found["apiVersion"], "autoscaling/v1");
    assert_eq!(found["spec"], json!({"replicas": 3}));
    assert_eq!(found["status"]["selector"], "app=web,tier in (a,b)");
    let metadata = &found["metadata"];
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        assert_eq!(metadata[field], created["metadata"][field], "{field}");
    }
    let answer = world
        .admin()
        .get(&format!("{}/gone/scale", path(&world, "deployments")))
        .await;
    assert_eq!(
        answer.refused(404, "NotFound"),
        "deployments.apps \"gone\" not found"
    );
}

async fn write(world: World) {
    deploy(&world).await;
    let deployment = format!("{}/web", path(&world, "deployments"));
    let scale = format!("{deployment}/scale");
    let admin = world.admin();
    let mut wanted = admin.get(&scale).await.ok();
    wanted["spec"]["replicas"] = 5.into();
    wanted["metadata"]["resourceVersion"] = Value::Null;
    let written = admin.put(&scale, &wanted).await.ok();
    assert_eq!(written["spec"]["replicas"], 5);
    let found = admin.get(&deployment).await.ok();
    assert_eq!(found["spec"]["replicas"], 5);
    assert_eq!(found["metadata"]["generation"], 2);

    let patch = json!({"spec": {"replicas": 1}});
    let patched = admin.patch(&scale, "merge", &patch).await.ok();
    assert_eq!(patched["spec"]["replicas"], 1);
    let patch = json!([{"op": "replace", "path": "/spec/replicas", "value": 0}]);
    let patched = admin.patch(&scale, "json", &patch).await.ok();
    assert_eq!(patched["spec"], json!({}));
    assert_eq!(admin.get(&deployment).await.ok()["spec"]["replicas"], 0);
}

async fn conditions(world: World) {
    deploy(&world).await;
    let scale = format!("{}/web/scale", path(&world, "deployments"));
    let admin = world.admin();
    let current = admin.get(&scale).await.ok();
    let mut wanted = current.clone();
    wanted["spec"]["replicas"] = (-1).into();
    let answer = admin.put(&scale, &wanted).await;
    answer.invalid(&[(
        "spec.replicas",
        "Invalid value: -1: must be greater than or equal to 0",
    )]);
    assert_eq!(answer.body["details"]["group"], "autoscaling");
    let mut wanted = current.clone();
    wanted["metadata"]["uid"] = "another".into();
    let answer = admin.put(&scale, &wanted).await;
    answer.refused(409, "Conflict");
    let mut wanted = current.clone();
    wanted["metadata"]["resourceVersion"] = "1".into();
    wanted["spec"]["replicas"] = 4.into();
    let answer = admin.put(&scale, &wanted).await;
    let message = answer.refused(409, "Conflict");
    assert!(
        message.contains("the object has been modified"),
        "{message}"
    );
    let mut wanted = current;
    wanted["metadata"]["name"] = "other".into();
    let answer = admin.put(&scale, &wanted).await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "the name of the object (other) does not match the name on the URL (web)"
    );
}

async fn scale_options(world: World) {
    deploy(&world).await;
    let scale = format!("{}/web/scale", path(&world, "deployments"));
    let admin = world.admin();
    let wanted = json!({"metadata": {"name": "web"}, "spec": {"replicas": 4}});
    for (option, field, why) in [
        (
            "dryRun=yes",
            "dryRun",
            "Unsupported value: [\"yes\"]: supported values: \"All\"",
        ),
        (
            "fieldValidation=foo",
            "fieldValidation",
            "Unsupported value: \"foo\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
        ),
    ] {
        let answer = admin.put(&format!("{scale}?{option}"), &wanted).await;
        answer.invalid(&[(field, why)]);
    }
    for (field, value, why) in [
        (
            "/metadata/namespace",
            json!("default"),
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            "/metadata/resourceVersion",
            json!(5),
            "Scale in version \"v1\" cannot be handled as a Scale: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.resourceVersion of type string",
        ),
        (
            "/spec/replicas",
            json!("x"),
            "Scale in version \"v1\" cannot be handled as a Scale: json: cannot unmarshal string into Go struct field ScaleSpec.spec.replicas of type int32",
        ),
    ] {
        let mut object = wanted.clone();
        let (part, field) = field[1..].split_once('/').unwrap();
        object[part][field] = value;
        let answer = admin.put(&scale, &object).await;
        assert_eq!(answer.refused(400, "BadRequest"), why);
    }
    let patch = json!({"metadata": {"name": "other"}, "spec": {"replicas": 4}});
    let answer = admin.patch(&scale, "merge", &patch).await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "the name of the object (other) does not match the name on the URL (web)"
    );
    let patch = json!({"spec": {"replicas": 4}});
    let forced = format!("{scale}?force=true");
    let answer = admin.patch(&forced, "merge", &patch).await;
    let why = "Forbidden: may not be specified for non-apply patch";
    answer.invalid(&[("force", why)]);
    let patch = json!({"spec": {"replicas": "x"}});
    let answer = admin.patch(&scale, "merge", &patch).await;
    assert_eq!(answer.invalid_fields(), ["patch"]);
    assert_eq!(admin.get(&scale).await.ok()["spec"]["replicas"], 3);
}

async fn no_selector(world: World) {
    for (plural, kind, told) in [
        ("replicasets", "ReplicaSet", "deployment"),
        ("deployments", "Deployment", "deployment"),
        ("daemonsets", "DaemonSet", "daemonset"),
    ] {
        let mut object = workload(kind);
        object["spec"]["selector"] = json!({});
        let answer = world.admin().post(&path(&world, plural), &object).await;
        let why = format!("Invalid value: {{}}: empty selector is invalid for {told}");
        answer.invalid(&[("spec.selector", &why)]);
    }
}

async fn template_numbers(world: World) {
    let sets = path(&world, "daemonsets");
    let number = "deprecated.daemonset.template.generation";
    let mut object = workload("DaemonSet");
    object["metadata"]["annotations"] = json!({number: "abc"});
    let answer = world.admin().post(&sets, &object).await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "DaemonSet in version \"v1\" cannot be handled as a DaemonSet: strconv.ParseInt: parsing \"abc\": invalid syntax"
    );
}

async fn discovered(world: World) {
    let list = world.admin().get("/apis/apps/v1").await.ok();
    let find = |list: &Value, name: &str| {
        let resources = list["resources"].as_array().unwrap();
        let found = resources.iter().find(|it| it["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("{name} in {list}"))
    };
    let scale = find(&list, "deployments/scale");
    for (field, expected) in [
        ("group", "autoscaling"),
        ("version", "v1"),
        ("kind", "Scale"),
    ] {
        assert_eq!(scale[field], expected, "{scale}");
    }
    assert_eq!(scale["verbs"], json!(["get", "patch", "update"]));
    let sets = find(&list, "daemonsets");
    assert_eq!(sets["shortNames"], json!(["ds"]));
    assert_eq!(sets["categories"], json!(["all"]));
    let core = world.admin().get("/api/v1").await.ok();
    assert_eq!(find(&core, "pods/log")["verbs"], json!(["get"]));
    let token = find(&core, "serviceaccounts/token");
    assert_eq!(token["kind"], "TokenRequest");
    assert_eq!(token["group"], "authentication.k8s.io");
    assert_eq!(token["verbs"], json!(["create"]));
}

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
