//! Replacing an object: versions and conflicts, preconditions, what an update cannot change, and
//! the kinds that an update creates.

use serde_json::{Value, json};

use super::{CREATED_BY_UPDATE, map};
use crate::samples::{pod_account, samples, version};
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("objects/an-update-raises-the-version", updated),
        Case::new("objects/an-old-version-conflicts", conflict),
        Case::new("objects/a-version-is-a-number", malformed_version),
        Case::new(
            "objects/some-kinds-are-overwritten-without-a-version",
            unconditional,
        ),
        Case::new("objects/others-want-the-version", conditional),
        Case::new("objects/a-uid-is-a-precondition", uid_precondition),
        Case::new(
            "objects/an-update-that-changes-nothing-writes-nothing",
            unchanged,
        ),
        Case::new(
            "objects/some-kinds-are-created-by-their-first-update",
            create_on_update,
        ),
        Case::new("objects/dates-of-creation-are-not-changed", creation_date),
        Case::new(
            "objects/deletion-is-not-asked-for-by-an-update",
            deletion_fields,
        ),
    ]
}

async fn updated(world: World) {
    let (path, made) = map(&world, "a").await;
    let mut object = made.clone();
    object["data"] = json!({"key": "new"});
    let second = world.admin().put(&path, &object).await.ok();
    assert!(version(&second) > version(&made));
    assert_eq!(second["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(second["data"], object["data"]);
    assert_eq!(world.admin().get(&path).await.ok()["data"], object["data"]);
}

async fn conflict(world: World) {
    let (path, made) = map(&world, "a").await;
    let mut object = made.clone();
    object["data"] = json!({"key": "new"});
    world.admin().put(&path, &object).await.ok();
    let answer = world.admin().put(&path, &object).await;
    assert_eq!(
        answer.refused(409, "Conflict"),
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    assert_eq!(
        answer.body["details"],
        json!({"name": "a", "kind": "configmaps"})
    );
}

async fn malformed_version(world: World) {
    let (path, mut made) = map(&world, "a").await;
    made["metadata"]["resourceVersion"] = "abc".into();
    let answer = world.admin().put(&path, &made).await;
    assert_eq!(
        answer.refused(500, ""),
        "strconv.ParseUint: parsing \"abc\": invalid syntax"
    );
}

async fn unconditional(world: World) {
    pod_account(&world).await;
    let admin = world.admin();
    for (path, resource, object) in samples(&world) {
        if CONDITIONAL.contains(&resource) {
            continue;
        }
        let mut object = admin.post(&path, &object).await.created();
        object["metadata"]["labels"] = json!({"a": "b"});
        let path = format!("{path}/x");
        for version in [None, Some("0")] {
            object["metadata"]["resourceVersion"] = version.into();
            let updated = admin.put(&path, &object).await.ok();
            assert_eq!(updated["metadata"]["labels"], json!({"a": "b"}));
        }
    }
}

const CONDITIONAL: [&str; 2] = [
    "podcertificaterequests.certificates.k8s.io",
    "leases.coordination.k8s.io",
];

async fn conditional(world: World) {
    let admin = world.admin();
    for (path, resource, object) in samples(&world) {
        if !CONDITIONAL.contains(&resource) {
            continue;
        }
        let made = admin.post(&path, &object).await.created();
        let path = format!("{path}/x");
        for version in [None, Some("0")] {
            let mut object = made.clone();
            object["metadata"]["resourceVersion"] = version.into();
            let answer = admin.put(&path, &object).await;
            answer.invalid(&[(
                "metadata.resourceVersion",
                "Invalid value: 0: must be specified for an update",
            )]);
            assert_eq!(
                answer.body["message"],
                format!(
                    "{resource} \"x\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
                )
            );
        }
    }
}

async fn uid_precondition(world: World) {
    let (path, made) = map(&world, "a").await;
    let mut object = made.clone();
    object["metadata"]["uid"] = "another".into();
    let answer = world.admin().put(&path, &object).await;
    assert_eq!(
        answer.refused(409, "Conflict"),
        format!(
            "Operation cannot be fulfilled on configmaps \"a\": StorageError: invalid object, Code: 4, Key: /registry/configmaps/{}/a, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: another, UID in object meta: {}",
            world.namespace,
            made["metadata"]["uid"].as_str().unwrap()
        )
    );
    // Left out, it is taken from what is there.
    object["metadata"].as_object_mut().unwrap().remove("uid");
    let updated = world.admin().put(&path, &object).await.ok();
    assert_eq!(updated["metadata"]["uid"], made["metadata"]["uid"]);
}

async fn unchanged(world: World) {
    let (path, made) = map(&world, "a").await;
    assert_eq!(world.admin().put(&path, &made).await.ok(), made);
    let plain = json!({"metadata": {"name": "a", "labels": {}}, "data": {"key": "value"}});
    let again = world.admin().put(&path, &plain).await.ok();
    assert_eq!(version(&again), version(&made));
}

async fn create_on_update(world: World) {
    let admin = world.admin();
    for (path, resource, mut object) in samples(&world) {
        if !CREATED_BY_UPDATE.contains(&resource) {
            continue;
        }
        let path = format!("{path}/x");
        let dry = format!("{path}?dryRun=All");
        admin.put(&dry, &object).await.created();
        // Even when the client believes to have seen it.
        object["metadata"]["resourceVersion"] = "5".into();
        let made = admin.put(&path, &object).await.created();
        assert!(made["metadata"]["uid"].is_string());
        admin.put(&path, &made).await.ok();
        admin.delete(&path).await.ok();
        let mut ghost = made.clone();
        ghost["metadata"]["resourceVersion"] = Value::Null;
        let answer = admin.put(&path, &ghost).await;
        let message = answer.refused(409, "Conflict");
        let end = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: ",
            made["metadata"]["uid"].as_str().unwrap()
        );
        assert!(message.ends_with(&end), "{message}");
    }
}

async fn creation_date(world: World) {
    let (path, made) = map(&world, "a").await;
    for date in [json!("2001-01-01T00:00:00Z"), Value::Null] {
        let mut object = made.clone();
        object["metadata"]["creationTimestamp"] = date;
        object["metadata"]["generation"] = 7.into();
        let again = world.admin().put(&path, &object).await.ok();
        assert_eq!(
            again["metadata"]["creationTimestamp"],
            made["metadata"]["creationTimestamp"]
        );
        assert_eq!(again["metadata"].get("generation"), None);
    }
}

async fn deletion_fields(world: World) {
    let (path, made) = map(&world, "a").await;
    for (field, value, shown) in [
        (
            "deletionTimestamp",
            json!("2001-01-01T00:00:00Z"),
            "\"2001-01-01T00:00:00Z\"",
        ),
        ("deletionGracePeriodSeconds", json!(3), "3"),
    ] {
        let mut object = made.clone();
        object["metadata"][field] = value;
        let why = format!("Invalid value: {shown}: field is immutable");
        let field = format!("metadata.{field}");
        let answer = world.admin().put(&path, &object).await;
        answer.invalid_update(world.target, &[(&field, &why)]);
    }
}
