//! How a status is written: by PUT and PATCH of the status subresource and by nothing else, which
//! parts of what is sent count, and what conflicts.

use serde_json::{Value, json};

use super::UNKNOWN_TYPE;
use crate::Case;
use crate::requests::scene::{Scene, case};
use crate::requests::{invalid, proper, remove, since_1_37};

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(
            "status-write/put-stores-the-status-alone",
            |mut scene| async move {
                let mut body = scene.created.clone();
                body["status"] = scene.issued();
                body["spec"]["signerName"] = "example.com/other".into();
                body["metadata"]["labels"] = json!({"a": "b"});
                body["metadata"]["annotations"] = json!({"a.b/c": "d"});
                body["metadata"]["finalizers"] = json!(["a.b/c"]);
                body["metadata"]["ownerReferences"] =
                    json!([{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "y"}]);
                let after = scene.world.admin().put(&scene.path(), &body).await.ok();
                assert_eq!(after["status"], body["status"]);
                let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
                assert_ne!(version(&after), version(&scene.created));
                scene.created["metadata"]["resourceVersion"] = version(&after);
                scene.created["status"] = body["status"].clone();
                forget_managers(&mut scene.created);
                let mut after = after;
                forget_managers(&mut after);
                assert_eq!(after, scene.created);
            },
        ),
        case("status-write/put-needs-no-spec", |mut scene| async move {
            let spec = scene.created["spec"].clone();
            scene.write(scene.issued()).await;
            assert_eq!(scene.created["spec"], spec);
        }),
        case(
            "status-write/put-of-spec-null-keeps-the-spec",
            |scene| async move {
                let mut body = scene.body(&scene.issued());
                body["spec"] = Value::Null;
                let after = scene.world.admin().put(&scene.path(), &body).await.ok();
                assert_eq!(after["spec"], scene.created["spec"]);
            },
        ),
        case(
            "status-write/is-answered-with-metadata-alone-where-asked",
            |scene| async move {
                let path = format!("{}?fieldValidation=Ignore", scene.path());
                let alone = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json";
                let mut body = scene.body(&scene.issued());
                body["nonsense"] = true.into();
                let after = scene.world.admin().put_as(&path, &body, alone).await.ok();
                assert_eq!(after["kind"], "PartialObjectMetadata");
                assert_eq!(after["metadata"]["name"], "a");
                assert_eq!(after.get("status"), None);
                assert_eq!(scene.read().await["status"], body["status"]);
            },
        ),
        case(
            "status-write/needs-a-resource-version",
            |scene| async move {
                for version in [None, Some("")] {
                    let mut body = scene.body(&scene.issued());
                    let metadata = body["metadata"].as_object_mut().unwrap();
                    metadata.remove("resourceVersion");
                    if let Some(version) = version {
                        metadata.insert("resourceVersion".into(), version.into());
                    }
                    let answer = scene.world.admin().put(&scene.path(), &body).await;
                    assert_eq!(
                        answer.refused(422, "Invalid"),
                        "podcertificaterequests.certificates.k8s.io \"a\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
                    );
                }
            },
        ),
        case(
            "status-write/of-an-old-version-conflicts",
            |mut scene| async move {
                let old = scene.body(&scene.issued());
                let labels = json!({"metadata": {"labels": {"a": "b"}}});
                let caller = scene.world.admin();
                scene.created = caller
                    .patch(&scene.object_path(), "merge", &labels)
                    .await
                    .ok();
                assert_eq!(
                    caller
                        .put(&scene.path(), &old)
                        .await
                        .refused(409, "Conflict"),
                    MODIFIED
                );
                assert_eq!(scene.read().await, scene.created);
            },
        ),
        case(
            "status-write/rules-come-before-conflicts",
            |mut scene| async move {
                let old = scene.body(&json!({"conditions": [scene.condition("Approved")]}));
                let labels = json!({"metadata": {"labels": {"a": "b"}}});
                let caller = scene.world.admin();
                scene.created = caller
                    .patch(&scene.object_path(), "merge", &labels)
                    .await
                    .ok();
                assert_eq!(
                    caller
                        .put(&scene.path(), &old)
                        .await
                        .refused(409, "Conflict"),
                    MODIFIED
                );
            },
        ),
        case(
            "status-write/of-another-uid-conflicts",
            |scene| async move {
                let mut body = scene.body(&scene.issued());
                body["metadata"]["uid"] = "44444444-4444-4444-4444-444444444444".into();
                let answer = scene.world.admin().put(&scene.path(), &body).await;
                assert_eq!(
                    answer.refused(409, "Conflict"),
                    format!(
                        "Operation cannot be fulfilled on podcertificaterequests.certificates.k8s.io \"a\": StorageError: invalid object, Code: 4, Key: /registry/podcertificaterequests/{}/a, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: 44444444-4444-4444-4444-444444444444, UID in object meta: {}",
                        scene.world.namespace,
                        scene.created["metadata"]["uid"].as_str().unwrap()
                    )
                );
            },
        ),
        case(
            "status-write/patch-of-the-uid-is-refused",
            |scene| async move {
                let patch = json!({
                    "metadata": {"uid": "44444444-4444-4444-4444-444444444444"},
                    "status": scene.issued(),
                });
                for path in [scene.path(), scene.object_path()] {
                    let answer = scene.world.admin().patch(&path, "merge", &patch).await;
                    // Before 1.37 the cause is there more than once.
                    assert_eq!(
                        answer.refused(422, "Invalid"),
                        "PodCertificateRequest.certificates.k8s.io \"a\" is invalid: metadata.uid: Invalid value: \"44444444-4444-4444-4444-444444444444\": field is immutable"
                    );
                    assert_eq!(answer.body["details"]["causes"][0]["field"], "metadata.uid");
                }
            },
        ),
        case("status-write/may-leave-out-the-uid", |scene| async move {
            let mut body = scene.body(&scene.issued());
            remove(&mut body, "metadata", "uid");
            scene.world.admin().put(&scene.path(), &body).await.ok();
        }),
        case(
            "status-write/may-leave-out-the-namespace",
            |scene| async move {
                let mut body = scene.body(&scene.issued());
                remove(&mut body, "metadata", "namespace");
                scene.world.admin().put(&scene.path(), &body).await.ok();
            },
        ),
        case("status-write/names-its-object", |scene| async move {
            let mut body = scene.body(&scene.issued());
            body["metadata"]["name"] = "b".into();
            let answer = scene.world.admin().put(&scene.path(), &body).await;
            assert_eq!(
                answer.refused(400, "BadRequest"),
                "the name of the object (b) does not match the name on the URL (a)"
            );
        }),
        case("status-write/needs-an-object", |scene| async move {
            let caller = scene.world.admin();
            caller.delete(&scene.object_path()).await.ok();
            let gone = "podcertificaterequests.certificates.k8s.io \"a\" not found";
            assert_eq!(
                scene.put(scene.issued()).await.refused(404, "NotFound"),
                gone
            );
            let patch = json!({"status": scene.issued()});
            let answer = caller.patch(&scene.path(), "merge", &patch).await;
            assert_eq!(answer.refused(404, "NotFound"), gone);
        }),
        case(
            "status-write/of-another-object-of-the-name-conflicts",
            |scene| async move {
                let caller = scene.world.admin();
                caller.delete(&scene.object_path()).await.ok();
                caller
                    .post(&scene.world.requests(), &proper(&scene.world))
                    .await
                    .created();
                scene.put(scene.issued()).await.refused(409, "Conflict");
            },
        ),
        case(
            "status-write/merge-patch-obeys-the-same-rules",
            |scene| async move {
                let caller = scene.world.admin();
                let wrong = json!({"status": {"conditions": [scene.condition("Approved")]}});
                let answer = caller.patch(&scene.path(), "merge", &wrong).await;
                invalid(&answer, &[("status.conditions.[0].type", UNKNOWN_TYPE)]);
                let right = json!({"status": scene.issued()});
                let after = caller.patch(&scene.path(), "merge", &right).await.ok();
                assert_eq!(after["status"], right["status"]);
            },
        ),
        case(
            "status-write/json-patch-obeys-the-same-rules",
            |scene| async move {
                let caller = scene.world.admin();
                let wrong = json!([{"op": "add", "path": "/status/conditions",
                "value": [scene.condition("Approved")]}]);
                let answer = caller.patch(&scene.path(), "json", &wrong).await;
                invalid(&answer, &[("status.conditions.[0].type", UNKNOWN_TYPE)]);
                let right = json!([{"op": "replace", "path": "/status", "value": scene.issued()}]);
                let after = caller.patch(&scene.path(), "json", &right).await.ok();
                assert_eq!(after["status"], right[0]["value"]);
            },
        ),
        case(
            "status-write/patch-touches-the-status-alone",
            |scene| async move {
                let patch = json!({
                    "status": scene.issued(),
                    "spec": {"signerName": "example.com/other"},
                    "metadata": {"labels": {"a": "b"}},
                });
                let caller = scene.world.admin();
                let after = caller.patch(&scene.path(), "merge", &patch).await.ok();
                assert_eq!(after["spec"], scene.created["spec"]);
                assert_eq!(after["metadata"]["labels"], Value::Null);
            },
        ),
        case(
            "status-write/patch-of-an-old-version-conflicts",
            |scene| async move {
                let caller = scene.world.admin();
                let labels = json!({"metadata": {"labels": {"a": "b"}}});
                caller
                    .patch(&scene.object_path(), "merge", &labels)
                    .await
                    .ok();
                let patch = json!({
                    "metadata": {"resourceVersion": scene.created["metadata"]["resourceVersion"]},
                    "status": scene.issued(),
                });
                let answer = caller.patch(&scene.path(), "merge", &patch).await;
                assert_eq!(answer.refused(409, "Conflict"), MODIFIED);
            },
        ),
        case(
            "status-write/plain-put-changes-no-status",
            |scene| async move {
                let mut body = scene.created.clone();
                body["status"] = scene.issued();
                body["metadata"]["labels"] = json!({"a": "b"});
                let caller = scene.world.admin();
                let after = caller.put(&scene.object_path(), &body).await.ok();
                assert_eq!(after["status"], json!({}));
                assert_eq!(after["metadata"]["labels"], json!({"a": "b"}));
            },
        ),
        case(
            "status-write/plain-patch-changes-no-status",
            |scene| async move {
                let caller = scene.world.admin();
                let patch = json!({"status": scene.issued()});
                let after = caller
                    .patch(&scene.object_path(), "merge", &patch)
                    .await
                    .ok();
                assert_eq!(after["status"], json!({}));
            },
        ),
        case(
            "status-write/plain-patch-of-the-status-is-no-write",
            |scene| async move {
                let caller = scene.world.admin();
                let patch = json!({"status": scene.issued()});
                let after = caller
                    .patch(&scene.object_path(), "merge", &patch)
                    .await
                    .ok();
                assert_eq!(after, scene.created);
            },
        )
        // Before, who tried is written down in managedFields.
        .only(since_1_37),
        case(
            "status-write/status-can-be-read-alone",
            |mut scene| async move {
                scene.write(scene.issued()).await;
                let read = scene.world.admin().get(&scene.path()).await.ok();
                assert_eq!(read, scene.created);
            },
        ),
        case(
            "status-write/object-on-its-way-out-takes-a-status",
            |mut scene| async move {
                let caller = scene.world.admin();
                let hold = json!({"metadata": {"finalizers": ["example.com/hold"]}});
                caller
                    .patch(&scene.object_path(), "merge", &hold)
                    .await
                    .ok();
                caller.delete(&scene.object_path()).await.ok();
                scene.created = scene.read().await;
                assert!(scene.created["metadata"]["deletionTimestamp"].is_string());
                scene.write(scene.issued()).await;
                let release = json!({"metadata": {"finalizers": null}});
                caller
                    .patch(&scene.object_path(), "merge", &release)
                    .await
                    .ok();
                caller
                    .get(&scene.object_path())
                    .await
                    .refused(404, "NotFound");
            },
        ),
        case(
            "status-write/unknown-fields-are-dropped",
            |scene| async move {
                let mut status = scene.issued();
                status["extra"] = 1.into();
                status["conditions"][0]["extra"] = 1.into();
                let after = scene.put(status).await.ok();
                assert_eq!(after["status"], scene.issued_like(&after));
            },
        ),
    ]
}

impl Scene {
    /// An issued status with the chain of `object`: signatures differ from one to the next.
    fn issued_like(&self, object: &Value) -> Value {
        let mut status = self.issued();
        status["certificateChain"] = object["status"]["certificateChain"].clone();
        status
    }
}

/// Who changed what last is bookkeeping of the real servers alone.
fn forget_managers(object: &mut Value) {
    remove(object, "metadata", "managedFields");
}

const MODIFIED: &str = "Operation cannot be fulfilled on podcertificaterequests.certificates.k8s.io \"a\": the object has been modified; please apply your changes to the latest version and try again";
