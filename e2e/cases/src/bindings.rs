//! Bindings: how a pod gets its node.

use serde_json::{Value, json};

use crate::rights::{grant_here, someone, someone_with};
use crate::samples::{pod, pod_account};
use crate::{Answer, Case, Release, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("bindings/give-a-pod-its-node", bound),
        Case::new("bindings/are-for-pods-without-a-node", obstacles),
        Case::new("bindings/have-conditions", conditions),
        Case::new("bindings/name-their-pod-and-a-node", names),
        // Before, any name of a node was taken.
        Case::new("bindings/name-a-node-as-nodes-are-named", node_names)
            .only(|target| target.release >= Release::V1_37),
        Case::new("bindings/are-of-one-type", types),
        Case::new("bindings/have-an-older-path", older),
        Case::new("bindings/need-a-right-of-their-own", rights),
        Case::new("bindings/are-discovered", discovered),
    ]
}

fn binding(name: &str, node: &str) -> Value {
    json!({
        "kind": "Binding",
        "apiVersion": "v1",
        "metadata": {"name": name},
        "target": {"kind": "Node", "name": node},
    })
}

async fn bind(world: &World, name: &str, binding: &Value) -> Answer {
    let path = format!("{}/{name}/binding", world.core("pods"));
    world.admin().post(&path, binding).await
}

/// A pod that nobody schedules, and its path.
async fn unbound(world: &World, name: &str) -> String {
    let pods = world.core("pods");
    world.admin().post(&pods, &pod(name)).await.created();
    format!("{pods}/{name}")
}

async fn bound(world: World) {
    pod_account(&world).await;
    let path = unbound(&world, "a").await;
    let mut object = binding("a", "one");
    object["metadata"]["labels"] = json!({"rack": "r1"});
    object["metadata"]["annotations"] = json!({"why": "room"});
    let dry = format!("{path}/binding?dryRun=All");
    world.admin().post(&dry, &object).await.created();
    let before = world.admin().get(&path).await.ok();
    assert_eq!(before["spec"].get("nodeName"), None);

    let answer = bind(&world, "a", &object).await.created();
    for (field, value) in [
        ("kind", json!("Status")),
        ("status", json!("Success")),
        ("code", json!(201)),
    ] {
        assert_eq!(answer[field], value, "{answer}");
    }
    let found = world.admin().get(&path).await.ok();
    assert_eq!(found["spec"]["nodeName"], "one");
    assert_eq!(found["metadata"]["labels"], json!({"rack": "r1"}));
    assert_eq!(found["metadata"]["annotations"], json!({"why": "room"}));
    // It is no change of what was asked for.
    assert_eq!(found["metadata"]["generation"], 1);
    let condition = &found["status"]["conditions"][0];
    assert_eq!(condition["type"], "PodScheduled");
    assert_eq!(condition["status"], "True");
    assert!(condition["lastTransitionTime"].is_string(), "{condition}");
    world
        .admin()
        .delete_with(&path, &json!({"gracePeriodSeconds": 0}))
        .await
        .ok();
}

async fn obstacles(world: World) {
    pod_account(&world).await;
    let path = unbound(&world, "a").await;
    // Whoever was refused before is told so no longer.
    let status = json!({"status": {"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "full",
    }, {"type": "Other", "status": "True"}]}});
    let status_path = format!("{path}/status");
    world
        .admin()
        .patch(&status_path, "merge", &status)
        .await
        .ok();
    bind(&world, "a", &binding("a", "one")).await.created();
    let found = world.admin().get(&path).await.ok();
    let conditions = found["status"]["conditions"].as_array().unwrap();
    assert_eq!(conditions.len(), 2);
    assert_eq!(conditions[0]["status"], "True");
    assert_eq!(conditions[0].get("reason"), None);

    let conflict = |answer: &Answer, why: &str| {
        let message = answer.refused(409, "Conflict");
        assert_eq!(
            message,
            format!("Operation cannot be fulfilled on pods/binding {why}")
        );
        assert_eq!(answer.body["details"]["kind"], "pods/binding");
    };
    let answer = bind(&world, "a", &binding("a", "one")).await;
    conflict(&answer, "\"a\": pod a is already assigned to node \"one\"");
    world.admin().delete(&path).await.ok();
    let answer = bind(&world, "a", &binding("a", "one")).await;
    conflict(
        &answer,
        "\"a\": pod a is being deleted, cannot be assigned to a host",
    );
    let now = json!({"gracePeriodSeconds": 0});
    world.admin().delete_with(&path, &now).await.ok();
    let answer = bind(&world, "a", &binding("a", "one")).await;
    assert_eq!(answer.refused(404, "NotFound"), "pods \"a\" not found");

    let mut gated = pod("gated");
    gated["spec"]["schedulingGates"] = json!([{"name": "wait"}]);
    let made = world.admin().post(&world.core("pods"), &gated).await;
    let made = made.created();
    let condition = &made["status"]["conditions"][0];
    assert_eq!(condition["reason"], "SchedulingGated");
    let answer = bind(&world, "gated", &binding("gated", "one")).await;
    conflict(
        &answer,
        "\"gated\": pod gated has non-empty .spec.schedulingGates",
    );
}

async fn conditions(world: World) {
    pod_account(&world).await;
    let path = unbound(&world, "a").await;
    let found = world.admin().get(&path).await.ok();
    let metadata = &found["metadata"];
    for (field, other, what) in [
        ("uid", "other", "UID"),
        ("resourceVersion", "1", "ResourceVersion"),
    ] {
        let mut object = binding("a", "one");
        object["metadata"][field] = other.into();
        let answer = bind(&world, "a", &object).await;
        let current = metadata[field].as_str().unwrap();
        assert_eq!(
            answer.refused(409, "Conflict"),
            format!(
                "Operation cannot be fulfilled on pods \"a\": StorageError: invalid object, Code: 4, Key: /registry/pods/{}/a, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: {what} in precondition: {other}, {what} in object meta: {current}",
                world.namespace
            )
        );
    }
    let mut object = binding("a", "one");
    for field in ["uid", "resourceVersion"] {
        object["metadata"][field] = metadata[field].clone();
    }
    bind(&world, "a", &object).await.created();
}

async fn names(world: World) {
    pod_account(&world).await;
    unbound(&world, "a").await;
    for name in ["b", ""] {
        let answer = bind(&world, "a", &binding(name, "one")).await;
        assert_eq!(
            answer.refused(400, "BadRequest"),
            "name in URL does not match name in Binding object"
        );
    }
    let mut object = binding("a", "one");
    object["metadata"]["namespace"] = "default".into();
    let answer = bind(&world, "a", &object).await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "the namespace of the provided object does not match the namespace sent on the request"
    );
    let answer = bind(&world, "a", &binding("a", "")).await;
    assert_eq!(answer.refused(500, ""), "target.name: Required value");
    let mut object = binding("a", "one");
    object["target"]["kind"] = "Pod".into();
    let answer = bind(&world, "a", &object).await;
    assert_eq!(
        answer.refused(500, ""),
        "target.kind: Unsupported value: \"Pod\": supported values: \"Node\", \"<empty>\""
    );
    object["target"]["kind"] = "".into();
    bind(&world, "a", &object).await.created();
}

async fn node_names(world: World) {
    pod_account(&world).await;
    unbound(&world, "a").await;
    let answer = bind(&world, "a", &binding("a", "A B")).await;
    let message = answer.refused(500, "");
    assert!(
        message.starts_with("target.name: Invalid value: \"A B\": a lowercase RFC 1123 subdomain"),
        "{message}"
    );
}

async fn types(world: World) {
    pod_account(&world).await;
    unbound(&world, "a").await;
    let mut object = binding("a", "one");
    object["target"] = 5.into();
    let answer = bind(&world, "a", &object).await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "Binding in version \"v1\" cannot be handled as a Binding: json: cannot unmarshal number into Go struct field Binding.target of type v1.ObjectReference"
    );
    let answer = bind(&world, "a", &pod("a")).await;
    // A pod is no binding; without a kind it is one without a target.
    assert_eq!(answer.refused(500, ""), "target.name: Required value");
    let mut object = pod("a");
    object["kind"] = "Pod".into();
    object["apiVersion"] = "v1".into();
    let answer = bind(&world, "a", &object).await;
    let message = answer.refused(400, "BadRequest");
    let why = "Pod in version \"v1\" cannot be handled as a Binding";
    assert!(message.starts_with(why), "{message}");
}

async fn older(world: World) {
    pod_account(&world).await;
    let path = unbound(&world, "a").await;
    let bindings = world.core("bindings");
    let answer = world.admin().post(&bindings, &binding("", "one")).await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "Name parameter required."
    );
    // It has no conditions.
    let mut object = binding("a", "one");
    object["metadata"]["uid"] = "other".into();
    world.admin().post(&bindings, &object).await.created();
    let found = world.admin().get(&path).await.ok();
    assert_eq!(found["spec"]["nodeName"], "one");
    for path in [&bindings, &format!("{path}/binding")] {
        let answer = world.admin().get(path).await;
        answer.refused(405, "MethodNotAllowed");
    }
    let answer = world.admin().get("/api/v1/bindings").await;
    answer.refused(404, "NotFound");
}

async fn rights(world: World) {
    pod_account(&world).await;
    let path = format!("{}/binding", unbound(&world, "a").await);
    let all =
        |resource: &str| json!([{"apiGroups": [""], "resources": [resource], "verbs": ["*"]}]);
    let owner = someone_with(&world, "owner", all("pods")).await;
    let answer = world
        .as_user(&owner)
        .post(&path, &binding("a", "one"))
        .await;
    let message = answer.refused(403, "Forbidden");
    let cannot = format!(
        "cannot create resource \"pods/binding\" in API group \"\" in the namespace \"{}\"",
        world.namespace
    );
    assert!(message.contains(&cannot), "{message}");
    let scheduler = someone(&world, "scheduler");
    grant_here(&world, "schedules", &scheduler, all("pods/binding")).await;
    let scheduler = world.as_user(&scheduler);
    let object = binding("a", "one");
    scheduler.post(&path, &object).await.created();
    let answer = scheduler.post(&world.core("bindings"), &object).await;
    let message = answer.refused(403, "Forbidden");
    assert!(
        message.contains("cannot create resource \"bindings\""),
        "{message}"
    );
}

async fn discovered(world: World) {
    let list = world.admin().get("/api/v1").await.ok();
    let resources = list["resources"].as_array().unwrap();
    for (name, singular) in [("bindings", "binding"), ("pods/binding", "")] {
        let found = resources.iter().find(|it| it["name"] == name);
        let expected = json!({
            "name": name, "singularName": singular, "namespaced": true, "kind": "Binding",
            "verbs": ["create"],
        });
        assert_eq!(found, Some(&expected));
    }
}
