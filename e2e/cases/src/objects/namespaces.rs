//! Namespaces: the one in the path counts, has to be there, and takes nothing new when it ends.

use serde_json::json;

use super::map;
use crate::samples::config_map;
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "objects/the-namespace-is-the-one-in-the-path",
            namespace_mismatch,
        ),
        Case::new("objects/the-namespace-must-exist", namespace_missing),
        Case::new(
            "objects/nothing-new-in-a-namespace-that-ends",
            namespace_ends,
        ),
    ]
}

async fn namespace_mismatch(world: World) {
    let (path, made) = map(&world, "a").await;
    let mut object = made.clone();
    object["metadata"]["namespace"] = "elsewhere".into();
    let message =
        "the namespace of the provided object does not match the namespace sent on the request";
    let answer = world.admin().put(&path, &object).await;
    assert_eq!(answer.refused(400, "BadRequest"), message);
    let elsewhere = json!({"metadata": {"name": "b", "namespace": "elsewhere"}});
    let answer = world
        .admin()
        .post(&world.core("configmaps"), &elsewhere)
        .await;
    assert_eq!(answer.refused(400, "BadRequest"), message);
    let answer = world
        .admin()
        .patch(
            &path,
            "merge",
            &json!({"metadata": {"namespace": "elsewhere"}}),
        )
        .await;
    assert_eq!(answer.refused(400, "BadRequest"), message);
    object["metadata"]["namespace"] = "".into();
    world.admin().put(&path, &object).await.ok();
}

async fn namespace_missing(world: World) {
    let missing = format!("{}-missing", world.namespace);
    let path = format!("/api/v1/namespaces/{missing}/configmaps");
    let answer = world.admin().post(&path, &config_map("a")).await;
    assert_eq!(
        answer.refused(404, "NotFound"),
        format!("namespaces {missing:?} not found")
    );
    assert_eq!(
        answer.body["details"],
        json!({"name": missing, "kind": "namespaces"})
    );
    let list = world.admin().get(&path).await.ok();
    assert_eq!(list["items"], json!([]));
}

async fn namespace_ends(world: World) {
    let admin = world.admin();
    let ending = format!("{}-ends", world.namespace);
    let object = json!({"metadata": {"name": ending}});
    admin.post("/api/v1/namespaces", &object).await.created();
    let path = format!("/api/v1/namespaces/{ending}/configmaps");
    let mut held = config_map("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    admin.post(&path, &held).await.created();

    let namespace = format!("/api/v1/namespaces/{ending}");
    let marked = admin.delete(&namespace).await.ok();
    assert_eq!(marked["kind"], "Namespace");
    assert_eq!(marked["status"]["phase"], "Terminating");
    assert!(
        marked["metadata"]["deletionTimestamp"].is_string(),
        "{marked}"
    );
    let answer = admin.post(&path, &config_map("late")).await;
    let message = format!(
        "configmaps \"late\" is forbidden: unable to create new content in namespace {ending} because it is being terminated"
    );
    assert_eq!(answer.refused(403, "Forbidden"), message);
    assert_eq!(
        answer.body["details"]["causes"],
        json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {ending} is being terminated"),
            "field": "metadata.namespace",
        }])
    );
    // What is there may still change, and lets the namespace go in the end.
    let held = format!("{path}/held");
    let change = json!({"data": {"key": "new"}});
    admin.patch(&held, "merge", &change).await.ok();
    let free = json!({"metadata": {"finalizers": null}});
    admin.patch(&held, "merge", &free).await.ok();
}
