//! What a new object gets from the server, whatever its client wrote.

use serde_json::json;

use super::{details, map};
use crate::samples::{config_map, pod_account, samples, version};
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("objects/a-new-one-gets-uid-version-and-date", created),
        Case::new("objects/clients-choose-neither-uid-nor-dates", not_chosen),
        Case::new("objects/a-version-on-create-is-refused", version_on_create),
        Case::new("objects/one-that-exists-is-not-created-again", exists),
    ]
}

async fn created(world: World) {
    let before = world.now();
    let (path, made) = map(&world, "a").await;
    let metadata = &made["metadata"];
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert_eq!(metadata["namespace"], world.namespace);
    let date: jiff::Timestamp = metadata["creationTimestamp"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((date - before).total(jiff::Unit::Second).unwrap().abs() < 60.0);
    assert_eq!(world.admin().get(&path).await.ok(), made);
    let (_, second) = map(&world, "b").await;
    assert!(version(&second) > version(&made));
    assert_ne!(second["metadata"]["uid"], made["metadata"]["uid"]);
}

async fn not_chosen(world: World) {
    let mut object = config_map("a");
    object["metadata"] = json!({
        "name": "a", "uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z",
        "deletionTimestamp": "2001-01-01T00:00:00Z", "deletionGracePeriodSeconds": 7,
        "generation": 9, "selfLink": "here",
    });
    let path = world.core("configmaps");
    let made = world.admin().post(&path, &object).await.created();
    let metadata = &made["metadata"];
    assert_ne!(metadata["uid"], "mine");
    assert_ne!(metadata["creationTimestamp"], "2001-01-01T00:00:00Z");
    for field in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
    ] {
        assert_eq!(metadata.get(field), None, "{field}");
    }
    // A kind that does not count its generations keeps what it is given.
    assert_eq!(metadata["generation"], 9);
}

async fn version_on_create(world: World) {
    let path = world.core("configmaps");
    let versioned =
        |name: &str, version: &str| json!({"metadata": {"name": name, "resourceVersion": version}});
    let answer = world.admin().post(&path, &versioned("a", "7")).await;
    assert_eq!(
        answer.refused(500, ""),
        "resourceVersion should not be set on objects to be created"
    );
    world
        .admin()
        .post(&path, &versioned("a", "0"))
        .await
        .created();
}

async fn exists(world: World) {
    pod_account(&world).await;
    let admin = world.admin();
    for (path, resource, object) in samples(&world) {
        admin.post(&path, &object).await.created();
        let answer = admin.post(&path, &object).await;
        assert_eq!(
            answer.refused(409, "AlreadyExists"),
            format!("{resource} \"x\" already exists")
        );
        assert_eq!(answer.body["details"], details(resource));
    }
}
