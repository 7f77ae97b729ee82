//! Patches that know the types: strategic merge and server-side apply; and fields that no type has.

use serde_json::{Value, json};

use crate::{Case, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("merges/strategic-ones-go-by-the-keys-of-lists", keys),
        Case::new("merges/strategic-ones-take-directives", directives),
        Case::new("merges/strategic-ones-put-lists-in-order", order),
        Case::new("merges/strategic-ones-need-the-keys", no_key),
        Case::new("merges/applying-creates-and-then-changes", apply),
        Case::new("merges/applying-goes-by-the-types-of-lists", apply_lists),
        Case::new("merges/applying-names-who-applies", no_manager),
        Case::new("merges/unknown-fields-are-dropped", dropped),
        Case::new("merges/unknown-fields-are-refused-strictly", strict),
    ]
}

fn deployments(world: &World) -> String {
    format!("/apis/apps/v1/namespaces/{}/deployments", world.namespace)
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a", "labels": {"x": "1", "y": "2"}},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "a"}},
            "template": {
                "metadata": {"labels": {"app": "a"}},
                "spec": {"containers": [
                    {"name": "one", "image": "a", "env": [{"name": "A", "value": "1"}]},
                    {"name": "two", "image": "b", "args": ["x", "y"]},
                ]},
            },
        },
    })
}

async fn made(world: &World) -> String {
    let path = deployments(world);
    world.admin().post(&path, &deployment()).await.created();
    format!("{path}/a")
}

fn containers(object: &Value) -> Vec<&str> {
    let containers = object["spec"]["template"]["spec"]["containers"].as_array();
    let containers = containers.expect("containers");
    containers
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect()
}

async fn keys(world: World) {
    let path = made(&world).await;
    let patch = json!({
        "metadata": {"labels": {"x": null, "z": "3"}},
        "spec": {"template": {"spec": {"containers": [
            {"name": "two", "args": ["z"], "env": [{"name": "B", "value": "2"}]},
            {"name": "three", "image": "c"},
        ]}}},
    });
    let patched = world
        .admin()
        .patch(&path, "strategic-merge", &patch)
        .await
        .ok();
    assert_eq!(patched["metadata"]["labels"], json!({"y": "2", "z": "3"}));
    assert_eq!(containers(&patched), ["one", "two", "three"]);
    let two = &patched["spec"]["template"]["spec"]["containers"][1];
    assert_eq!((&two["image"], &two["args"]), (&json!("b"), &json!(["z"])));
    assert_eq!(two["env"], json!([{"name": "B", "value": "2"}]));
}

async fn directives(world: World) {
    let path = made(&world).await;
    let patch = json!({
        "metadata": {"labels": {"$patch": "replace", "only": "1"}},
        "spec": {
            "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
            "template": {"spec": {"containers": [{"name": "one", "$patch": "delete"}]}},
        },
    });
    let patched = world
        .admin()
        .patch(&path, "strategic-merge", &patch)
        .await
        .ok();
    assert_eq!(patched["metadata"]["labels"], json!({"only": "1"}));
    assert_eq!(containers(&patched), ["two"]);
    assert_eq!(patched["spec"]["strategy"], json!({"type": "Recreate"}));
}

async fn order(world: World) {
    let path = made(&world).await;
    let patch = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "new"}, {"name": "two"}, {"name": "one"}],
        "containers": [{"name": "new", "image": "c"}],
    }}}});
    let patched = world
        .admin()
        .patch(&path, "strategic-merge", &patch)
        .await
        .ok();
    assert_eq!(containers(&patched), ["new", "two", "one"]);
}

async fn no_key(world: World) {
    let path = made(&world).await;
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"image": "c"}]}}}});
    let answer = world.admin().patch(&path, "strategic-merge", &patch).await;
    assert!((400..=500).contains(&answer.code), "{answer:?}");
}

async fn apply(world: World) {
    let path = format!("{}/a?fieldManager=case", world.core("configmaps"));
    let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    let admin = world.admin();
    let body = map(json!({"x": "1"}));
    let first = admin.patch(&path, "apply", &body).await.created();
    assert_eq!(first["data"], json!({"x": "1"}));
    let body = map(json!({"x": "2", "y": "3"}));
    let second = admin.patch(&path, "apply", &body).await.ok();
    assert_eq!(second["data"], json!({"x": "2", "y": "3"}));
    assert_eq!(first["metadata"]["uid"], second["metadata"]["uid"]);
    let third = admin.patch(&path, "apply", &body).await.ok();
    assert_eq!(
        third["metadata"]["resourceVersion"],
        second["metadata"]["resourceVersion"]
    );
}

async fn apply_lists(world: World) {
    let path = format!("{}/a?fieldManager=case&force=true", deployments(&world));
    let admin = world.admin();
    admin.patch(&path, "apply", &deployment()).await.created();
    let mut more = deployment();
    let spec = &mut more["spec"]["template"]["spec"];
    spec["containers"][1]["args"] = json!(["z"]);
    spec["containers"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "three", "image": "c"}));
    let applied = admin.patch(&path, "apply", &more).await.ok();
    assert_eq!(containers(&applied), ["one", "two", "three"]);
    let two = &applied["spec"]["template"]["spec"]["containers"][1];
    assert_eq!(two["args"], json!(["z"]));
}

async fn no_manager(world: World) {
    let path = format!("{}/a", world.core("configmaps"));
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let answer = world.admin().patch(&path, "apply", &body).await;
    answer.invalid(&[(
        "fieldManager",
        "Required value: is required for apply patch",
    )]);
}

/// A Deployment with fields that no type has, deep and not.
fn odd() -> Value {
    let mut odd = deployment();
    odd["spec"]["replica"] = json!(1);
    odd["spec"]["template"]["spec"]["containers"][1]["imag"] = json!("c");
    odd
}

async fn dropped(world: World) {
    for checked in ["", "?fieldValidation=Ignore", "?fieldValidation=Warn"] {
        let path = format!("{}{checked}", deployments(&world));
        let made = world.admin().post(&path, &odd()).await.created();
        assert_eq!(made["spec"].get("replica"), None);
        let container = &made["spec"]["template"]["spec"]["containers"][1];
        assert_eq!(container.get("imag"), None);
        let path = format!("{}/a", deployments(&world));
        world.admin().delete(&path).await.ok();
    }
}

async fn strict(world: World) {
    let path = format!("{}?fieldValidation=Strict", deployments(&world));
    let answer = world.admin().post(&path, &odd()).await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.replica\", unknown field \"spec.template.spec.containers[1].imag\""
    );
}
