//! Events, of the core group and of `events.k8s.io`, as podcert's recorder writes them.

use serde_json::{Value, json};

use crate::samples::names;
use crate::{Case, Policies, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        // The embedded server keeps them apart: a difference that its documentation names.
        Case::new("events/both-groups-show-the-same", two_views)
            .only(|target| target.policies == Policies::Evaluated),
        Case::new("events/the-new-group-wants-all-fields", required),
        Case::new("events/the-new-group-bounds-its-fields", bounded),
        Case::new(
            "events/an-event-is-in-the-namespace-of-its-object",
            namespaces,
        ),
        Case::new(
            "events/of-cluster-scoped-objects-are-in-default",
            cluster_scoped,
        ),
        Case::new("events/a-series-counts-on", series),
        Case::new("events/nothing-else-changes", immutable),
    ]
}

fn path(world: &World) -> String {
    in_namespace(&world.namespace)
}

fn in_namespace(namespace: &str) -> String {
    format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events")
}

fn event(world: &World, name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "eventTime": "2026-11-21T12:00:00.000000Z",
        "reportingController": "example.com/controller", "reportingInstance": "controller-0",
        "action": "Waiting", "reason": "NotYet", "type": "Warning", "note": "for better times",
        "regarding": {"kind": "Pod", "name": "p", "namespace": world.namespace},
    })
}

async fn two_views(world: World) {
    let admin = world.admin();
    let made = admin
        .post(&path(&world), &event(&world, "a"))
        .await
        .created();
    let core = admin.get(&format!("{}/a", world.core("events"))).await.ok();
    assert_eq!(core["apiVersion"], "v1");
    assert_eq!(core["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(core["involvedObject"], made["regarding"]);
    assert_eq!(core["message"], made["note"]);
    assert_eq!(core["reportingComponent"], made["reportingController"]);
    for field in ["reportingInstance", "reason", "type", "action", "eventTime"] {
        assert_eq!(core[field], made[field], "{field}");
    }
    let old = json!({
        "metadata": {"name": "b"},
        "involvedObject": {"kind": "Pod", "name": "q", "namespace": world.namespace},
        "reason": "Old", "message": "as before", "type": "Normal", "count": 3,
        "source": {"component": "kubelet", "host": "n"},
        "firstTimestamp": "2026-11-21T12:00:00Z", "lastTimestamp": "2026-11-21T12:01:00Z",
    });
    admin.post(&world.core("events"), &old).await.created();
    let new = admin.get(&format!("{}/b", path(&world))).await.ok();
    assert_eq!(new["apiVersion"], "events.k8s.io/v1");
    assert_eq!(new["regarding"], old["involvedObject"]);
    assert_eq!(new["note"], old["message"]);
    assert_eq!(new["deprecatedCount"], 3);
    assert_eq!(new["deprecatedSource"], old["source"]);
    assert_eq!(new["deprecatedFirstTimestamp"], old["firstTimestamp"]);
    assert_eq!(new["deprecatedLastTimestamp"], old["lastTimestamp"]);
    let list = admin.get(&path(&world)).await.ok();
    assert_eq!(names(&list), ["a", "b"]);
    let about = format!("{}?fieldSelector=regarding.name%3Dq", path(&world));
    assert_eq!(names(&admin.get(&about).await.ok()), ["b"]);
    let about = format!(
        "{}?fieldSelector=involvedObject.name%3Dp",
        world.core("events")
    );
    assert_eq!(names(&admin.get(&about).await.ok()), ["a"]);
}

async fn required(world: World) {
    for (field, why) in [
        ("action", "Required value"),
        ("reason", "Required value"),
        ("reportingInstance", "Required value"),
        ("eventTime", "Required value"),
        ("type", "Invalid value: \"\": has invalid value: "),
    ] {
        let mut event = event(&world, "a");
        event.as_object_mut().unwrap().remove(field);
        let answer = world.admin().post(&path(&world), &event).await;
        answer.invalid(&[(field, why)]);
    }
    let mut event = event(&world, "a");
    event.as_object_mut().unwrap().remove("reportingController");
    let answer = world.admin().post(&path(&world), &event).await;
    let fields = answer.invalid_fields();
    assert!(
        fields.iter().all(|field| *field == "reportingController"),
        "{fields:?}"
    );
    // A note is not needed.
    event["reportingController"] = "plain".into();
    event.as_object_mut().unwrap().remove("note");
    world.admin().post(&path(&world), &event).await.created();
}

async fn bounded(world: World) {
    let long = |length: usize| "n".repeat(length);
    for (field, value, cause, why) in [
        (
            "reason",
            long(129),
            "reason",
            "Invalid value: \"\": can have at most 128 characters",
        ),
        (
            "action",
            long(129),
            "action",
            "Invalid value: \"\": can have at most 128 characters",
        ),
        (
            "reportingInstance",
            long(129),
            "reportingInstance",
            "Invalid value: \"\": can have at most 128 characters",
        ),
        // Named as the core group names it.
        (
            "note",
            long(1025),
            "message",
            "Invalid value: \"\": can have at most 1024 characters",
        ),
        (
            "type",
            "Alarm".into(),
            "type",
            "Invalid value: \"\": has invalid value: Alarm",
        ),
    ] {
        let mut event = event(&world, "a");
        event[field] = value.into();
        let answer = world.admin().post(&path(&world), &event).await;
        answer.invalid(&[(cause, why)]);
        assert!(
            answer.body["message"]
                .as_str()
                .unwrap()
                .starts_with("Event \"a\" is invalid: ")
        );
    }
    let mut event = event(&world, "a");
    event["note"] = long(1024).into();
    event["reason"] = long(128).into();
    world.admin().post(&path(&world), &event).await.created();
}

async fn namespaces(world: World) {
    for namespace in ["default", ""] {
        let why = format!("Invalid value: {namespace:?}: does not match event.namespace");
        let mut new = event(&world, "a");
        new["regarding"]["namespace"] = namespace.into();
        let answer = world.admin().post(&path(&world), &new).await;
        // The new group minds only an object of no namespace.
        if namespace.is_empty() {
            answer.invalid(&[("involvedObject.namespace", &why)]);
        } else {
            answer.created();
        }
        let old = json!({
            "metadata": {"name": "a"},
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": namespace},
        });
        let answer = world.admin().post(&world.core("events"), &old).await;
        answer.invalid(&[("involvedObject.namespace", &why)]);
    }
}

async fn cluster_scoped(world: World) {
    let mut event = event(&world, &world.namespace);
    event["regarding"] = json!({
        "apiVersion": world.certificates_api(), "kind": "ClusterTrustBundle", "name": "b",
    });
    let answer = world.admin().post(&path(&world), &event).await;
    answer.invalid(&[(
        "involvedObject.namespace",
        "Invalid value: \"\": does not match event.namespace",
    )]);
    let path = in_namespace("default");
    world.admin().post(&path, &event).await.created();
    let path = format!("{path}/{}", world.namespace);
    world.admin().delete(&path).await.ok();
}

async fn series(world: World) {
    let admin = world.admin();
    admin
        .post(&path(&world), &event(&world, "a"))
        .await
        .created();
    let path = format!("{}/a", path(&world));
    for count in [2, 3] {
        let series = json!({"series": {
            "count": count, "lastObservedTime": "2026-11-21T12:05:00.000000Z",
        }});
        let patched = admin.patch(&path, "merge", &series).await.ok();
        assert_eq!(patched["series"], series["series"]);
    }
    let one = json!({"series": {"count": 1}});
    let answer = admin.patch(&path, "merge", &one).await;
    answer.invalid(&[("series.count", "Invalid value: \"\": should be at least 2")]);
}

async fn immutable(world: World) {
    let admin = world.admin();
    admin
        .post(&path(&world), &event(&world, "a"))
        .await
        .created();
    let path = format!("{}/a", path(&world));
    for (field, cause) in [
        ("reason", "reason"),
        ("note", "message"),
        ("action", "action"),
    ] {
        let answer = admin.patch(&path, "merge", &json!({field: "other"})).await;
        answer.invalid_update(
            world.target,
            &[(cause, "Invalid value: \"other\": field is immutable")],
        );
    }
}
