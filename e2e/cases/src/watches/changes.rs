//! What a watch shows: each change of what it selects, in order, from where it begins.

use serde_json::{Value, json};

use super::{create, expect, now, touch, watch};
use crate::samples::{config_map, pod, pod_account, version};
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("watches/from-a-version-shows-what-came-after", from_version),
        Case::new(
            "watches/from-no-version-begins-with-what-there-is",
            from_nothing,
        ),
        Case::new(
            "watches/versions-of-all-kinds-are-of-one-sequence",
            one_sequence,
        ),
        Case::new("watches/the-last-state-has-the-version-of-its-end", deleted),
        Case::new("watches/a-write-of-nothing-is-not-seen", nothing_written),
        Case::new(
            "watches/objects-that-begin-to-match-are-added",
            begins_to_match,
        ),
        Case::new("watches/one-object-by-its-name", one_object),
        Case::new("watches/one-namespace-sees-no-other", one_namespace),
        Case::new("watches/a-namespace-may-be-absent", absent_namespace),
        Case::new("watches/a-finalizer-that-goes-ends-an-object", finalized),
        Case::new("watches/a-pod-is-marked-before-it-goes", pod_marked),
        Case::new("watches/metadata-can-be-watched-alone", metadata_only),
    ]
}

async fn relabel(world: &World, name: &str, label: &str) -> Value {
    let path = format!("{}/{name}", world.core("configmaps"));
    let patch = json!({"metadata": {"labels": {"app": label}}});
    world.admin().patch(&path, "merge", &patch).await.ok()
}

async fn delete(world: &World, name: &str) {
    let path = format!("{}/{name}", world.core("configmaps"));
    world.admin().delete(&path).await.ok();
}

async fn from_version(world: World) {
    create(&world, "a", "x").await;
    let from = now(&world).await;
    create(&world, "b", "x").await;
    let mut changes = watch(&world, &format!("resourceVersion={from}")).await;
    let touched = touch(&world, "a", "new").await;
    delete(&world, "b").await;
    let seen = expect(&mut changes, &["+b", "~a", "-b"]).await;
    assert_eq!(seen[1], touched);
    assert_eq!(seen[1]["kind"], "ConfigMap");
    assert_eq!(seen[1]["apiVersion"], "v1");
}

async fn from_nothing(world: World) {
    for name in ["b", "a"] {
        create(&world, name, "x").await;
    }
    touch(&world, "a", "new").await;
    for query in ["", "resourceVersion=0"] {
        let mut changes = watch(&world, query).await;
        expect(&mut changes, &["+a", "+b"]).await;
        touch(&world, "b", query).await;
        expect(&mut changes, &["~b"]).await;
    }
}

async fn one_sequence(world: World) {
    let map = create(&world, "a", "x").await;
    let secret = json!({"metadata": {"name": "a"}});
    let path = world.core("secrets");
    let secret = world.admin().post(&path, &secret).await.created();
    let later = touch(&world, "a", "new").await;
    assert!(version(&map) < version(&secret));
    assert!(version(&secret) < version(&later));
    assert!(now(&world).await.parse::<u64>().unwrap() >= version(&later));
}

async fn deleted(world: World) {
    let made = create(&world, "a", "x").await;
    let from = now(&world).await;
    delete(&world, "a").await;
    let mut changes = watch(&world, &format!("resourceVersion={from}")).await;
    let gone = expect(&mut changes, &["-a"]).await.remove(0);
    assert_eq!(gone["data"], made["data"]);
    assert_eq!(gone["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(gone["metadata"].get("deletionTimestamp"), None);
    assert!(version(&gone) > version(&made));
}

async fn nothing_written(world: World) {
    create(&world, "a", "x").await;
    let from = now(&world).await;
    let mut changes = watch(&world, &format!("resourceVersion={from}")).await;
    touch(&world, "a", "value").await;
    touch(&world, "a", "new").await;
    let seen = expect(&mut changes, &["~a"]).await;
    assert_eq!(seen[0]["data"]["key"], "new");
}

async fn begins_to_match(world: World) {
    let from = now(&world).await;
    let query = format!("labelSelector=app%3Dweb&resourceVersion={from}");
    let path = format!("{}?{query}", world.core("configmaps"));
    let mut changes = world.admin().watch(&path).await.unwrap();
    create(&world, "a", "db").await;
    let added = relabel(&world, "a", "web").await;
    let touched = touch(&world, "a", "new").await;
    let left = relabel(&world, "a", "db").await;
    delete(&world, "a").await;
    create(&world, "b", "web").await;
    let seen = expect(&mut changes, &["+a", "~a", "-a", "+b"]).await;
    assert_eq!(seen[0], added);
    assert_eq!(seen[1], touched);
    // What matched last, at the version of the change that ended it.
    assert_eq!(seen[2]["metadata"]["labels"]["app"], "web");
    assert_eq!(seen[2]["data"], touched["data"]);
    assert_eq!(version(&seen[2]), version(&left));
}

async fn one_object(world: World) {
    create(&world, "a", "x").await;
    create(&world, "b", "x").await;
    let path = format!(
        "{}?fieldSelector=metadata.name%3Da",
        world.core("configmaps")
    );
    let mut changes = world.admin().watch(&path).await.unwrap();
    expect(&mut changes, &["+a"]).await;
    touch(&world, "b", "new").await;
    touch(&world, "a", "new").await;
    delete(&world, "b").await;
    delete(&world, "a").await;
    expect(&mut changes, &["~a", "-a"]).await;
}

async fn one_namespace(world: World) {
    let path = format!(
        "/api/v1/configmaps?labelSelector=case%3D{}",
        world.namespace
    );
    let mut everywhere = world.admin().watch(&path).await.unwrap();
    let from = now(&world).await;
    let mut here = watch(&world, &format!("resourceVersion={from}")).await;
    let mut elsewhere = config_map("elsewhere");
    elsewhere["metadata"] = json!({
        "generateName": format!("{}-", world.namespace),
        "labels": {"app": "x", "case": world.namespace},
    });
    let path = "/api/v1/namespaces/default/configmaps";
    let made = world.admin().post(path, &elsewhere).await.created();
    let name = made["metadata"]["name"].as_str().unwrap();
    create(&world, "a", "x").await;
    expect(&mut here, &["+a"]).await;
    expect(&mut everywhere, &[&format!("+{name}")]).await;
    world.admin().delete(&format!("{path}/{name}")).await.ok();
}

async fn absent_namespace(world: World) {
    let path = format!(
        "/api/v1/namespaces/{}-absent/configmaps?timeoutSeconds=1",
        world.namespace
    );
    let mut changes = world.admin().watch(&path).await.unwrap();
    assert_eq!(changes.next().await, None);
}

async fn finalized(world: World) {
    create(&world, "a", "x").await;
    let from = now(&world).await;
    let path = format!("{}/a", world.core("configmaps"));
    let admin = world.admin();
    let hold = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    admin.patch(&path, "merge", &hold).await.ok();
    admin.delete(&path).await.ok();
    let free = json!({"metadata": {"finalizers": null}});
    admin.patch(&path, "merge", &free).await.ok();
    let mut changes = watch(&world, &format!("resourceVersion={from}")).await;
    let seen = expect(&mut changes, &["~a", "~a", "-a"]).await;
    assert_eq!(seen[0]["metadata"].get("deletionTimestamp"), None);
    assert!(seen[1]["metadata"]["deletionTimestamp"].is_string());
    assert!(seen[2]["metadata"]["deletionTimestamp"].is_string());
    // It goes as it is stored last; the update that let it go is not stored.
    assert_eq!(
        seen[2]["metadata"]["finalizers"],
        json!(["example.com/hold"])
    );
    assert!(version(&seen[2]) > version(&seen[1]));
}

async fn pod_marked(world: World) {
    pod_account(&world).await;
    let path = world.core("pods");
    let admin = world.admin();
    let mut changes = admin.watch(&path).await.unwrap();
    admin.post(&path, &pod("a")).await.created();
    let answered = admin.delete(&format!("{path}/a")).await.ok();
    let seen = expect(&mut changes, &["+a", "~a", "-a"]).await;
    assert_eq!(seen[1]["metadata"]["deletionGracePeriodSeconds"], 0);
    assert!(seen[1]["metadata"]["deletionTimestamp"].is_string());
    assert!(version(&seen[2]) > version(&seen[1]));
    assert_eq!(version(&answered), version(&seen[2]));
}

async fn metadata_only(world: World) {
    let made = create(&world, "a", "x").await;
    let path = format!("{}?labelSelector=app", world.core("configmaps"));
    let alone = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let mut changes = world.admin().watch_as(&path, alone).await.unwrap();
    let seen = expect(&mut changes, &["+a"]).await;
    assert_eq!(
        seen[0],
        json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": made["metadata"],
        })
    );
    let answer = world
        .admin()
        .watch_as(&path, "application/json;as=PartialObjectMetadata;v=v1")
        .await
        .unwrap_err();
    answer.refused(406, "NotAcceptable");
}
