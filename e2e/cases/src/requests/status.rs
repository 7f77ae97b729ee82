//! Writing a status: how, from where to where, and with which conditions.

use serde_json::{Value, json};

use super::scene::{Scene, refused};
use super::{invalid, says};
use crate::material::ca;
use crate::{Answer, Case, Release, Target, World};

pub(super) fn cases() -> Vec<Case> {
    [writing(), transitions(), conditions()].concat()
}

fn writing() -> Vec<Case> {
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
            super::create::remove(&mut body, "metadata", "uid");
            scene.world.admin().put(&scene.path(), &body).await.ok();
        }),
        case(
            "status-write/may-leave-out-the-namespace",
            |scene| async move {
                let mut body = scene.body(&scene.issued());
                super::create::remove(&mut body, "metadata", "namespace");
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
                    .post(&scene.world.requests(), &super::proper(&scene.world))
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

fn transitions() -> Vec<Case> {
    vec![
        case("status-change/to-issued", |mut scene| async move {
            let status = scene.issued();
            scene.write(status.clone()).await;
            assert_eq!(scene.created["status"], status);
        }),
        case("status-change/to-denied", |scene| async move {
            bare(scene, "Denied").await;
        }),
        case("status-change/to-failed", |scene| async move {
            bare(scene, "Failed").await;
        }),
        case(
            "status-change/denied-has-no-certificate",
            |scene| async move {
                not_bare(scene, "Denied").await;
            },
        ),
        case(
            "status-change/failed-has-no-certificate",
            |scene| async move {
                not_bare(scene, "Failed").await;
            },
        ),
        case("status-change/issued-is-final", |scene| async move {
            terminal(scene, "Issued").await;
        }),
        case("status-change/denied-is-final", |scene| async move {
            terminal(scene, "Denied").await;
        }),
        case("status-change/failed-is-final", |scene| async move {
            terminal(scene, "Failed").await;
        }),
        case(
            "status-change/issued-keeps-its-chain",
            |mut scene| async move {
                scene.write(scene.issued()).await;
                // The same request, the same dates, another signature.
                invalid(&scene.put(scene.issued()).await, FINAL);
                let mut status = scene.created["status"].clone();
                let chain = status["certificateChain"].as_str().unwrap();
                status["certificateChain"] = format!("{chain}{}", ca("another").pem).into();
                invalid(&scene.put(status).await, FINAL);
            },
        ),
        case(
            "status-change/conditions-are-checked-before-finality",
            |mut scene| async move {
                scene.write(scene.issued()).await;
                let status = json!({"conditions": [scene.condition("Approved")]});
                invalid(
                    &scene.put(status).await,
                    &[("status.conditions.[0].type", UNKNOWN_TYPE)],
                );
            },
        ),
        case(
            "status-change/metadata-changes-after-the-end",
            |mut scene| async move {
                scene.write(scene.issued()).await;
                let labels = json!({"metadata": {"labels": {"a": "b"}}});
                let caller = scene.world.admin();
                let after = caller
                    .patch(&scene.object_path(), "merge", &labels)
                    .await
                    .ok();
                assert_eq!(after["status"], scene.created["status"]);
            },
        ),
        case(
            "status-change/nothing-is-no-change",
            |mut scene| async move {
                let mut bare = scene.body(&Value::Null);
                bare.as_object_mut().unwrap().remove("status");
                for status in [json!({}), Value::Null, json!({"conditions": []})] {
                    let after = scene.put(status).await.ok();
                    assert_eq!(after["spec"], scene.created["spec"]);
                    assert_eq!(after["status"], json!({}));
                    // 1.35 writes down who tried, in managedFields.
                    if scene.world.target.release >= Release::V1_36 {
                        assert_eq!(after, scene.created);
                    }
                    scene.created = after;
                }
                bare["metadata"]["resourceVersion"] =
                    scene.created["metadata"]["resourceVersion"].clone();
                let after = scene.world.admin().put(&scene.path(), &bare).await.ok();
                assert_eq!(after["status"], json!({}));
            },
        ),
        refused(
            "status-change/needs-a-condition",
            |_, status| status["conditions"] = json!([]),
            STILL,
        ),
        refused(
            "status-change/chain-alone-is-not-issued",
            |_, status| *status = json!({"certificateChain": "x"}),
            STILL,
        ),
        refused(
            "status-change/date-alone-is-not-issued",
            |scene, status| *status = json!({"notBefore": scene.date(0)}),
            STILL,
        ),
    ]
}

fn conditions() -> Vec<Case> {
    vec![
        refused(
            "status-condition/type-is-known",
            |scene, status| status["conditions"] = json!([scene.condition("Approved")]),
            &[("status.conditions.[0].type", UNKNOWN_TYPE)],
        ),
        refused(
            "status-condition/type-is-required",
            |_, status| {
                drop(
                    status["conditions"][0]
                        .as_object_mut()
                        .unwrap()
                        .remove("type"),
                );
            },
            &[
                (
                    "status.conditions.[0].type",
                    "Unsupported value: \"\": supported values: \"Issued\", \"Denied\", \"Failed\"",
                ),
                ("status.conditions[0].type", "Required value: is required"),
            ],
        )
        .only(since_1_37),
        refused(
            "status-condition/type-is-required-before-1-37",
            |_, status| status["conditions"][0]["type"] = "".into(),
            &[
    (
        "status.conditions.[0].type",
        "Unsupported value: \"\": supported values: \"Issued\", \"Denied\", \"Failed\"",
    ),
    (
        "status.conditions[0].type",
        "Invalid value: \"\": name part must be non-empty",
    ),
    (
        "status.conditions[0].type",
        "Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
    ),
            ],
        )
        .only(before_1_37),
        refused(
            "status-condition/type-is-a-qualified-name",
            |_, status| status["conditions"][0]["type"] = "a b".into(),
            &[
                (
                    "status.conditions.[0].type",
                    "Unsupported value: \"a b\": supported values: \"Issued\", \"Denied\", \"Failed\"",
                ),
                (
                    "status.conditions[0].type",
                    "Invalid value: \"a b\": name part {}",
                ),
            ],
        ),
        refused(
            "status-condition/unknown-one-beside-issued-is-refused",
            |scene, status| {
                status["conditions"] =
                    json!([scene.condition("Issued"), scene.condition("Approved")]);
            },
            &[("status.conditions.[1].type", UNKNOWN_TYPE)],
        ),
        refused(
            "status-condition/there-is-one-at-most",
            |scene, status| {
                status["conditions"] =
                    json!([scene.condition("Issued"), scene.condition("Denied")]);
            },
            &[(
                "status.conditions.[1].type",
                "Invalid value: \"Denied\": There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"",
            )],
        ),
        refused(
            "status-condition/the-same-twice-is-wrong-twice",
            |scene, status| {
                status["conditions"] =
                    json!([scene.condition("Issued"), scene.condition("Issued")]);
            },
            &[
                (
                    "status.conditions.[1].type",
                    "Invalid value: \"Issued\": There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"",
                ),
                ("status.conditions[1]", "Duplicate value: \"Issued\""),
            ],
        )
        .only(since_1_37),
        refused(
            "status-condition/the-same-twice-is-told-of-the-type-before-1-37",
            |scene, status| {
                status["conditions"] =
                    json!([scene.condition("Issued"), scene.condition("Issued")]);
            },
            &[
                (
                    "status.conditions.[1].type",
                    "Invalid value: \"Issued\": There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"",
                ),
                ("status.conditions[1].type", "Duplicate value: \"Issued\""),
            ],
        )
        .only(before_1_37),
        refused(
            "status-condition/is-true",
            |_, status| status["conditions"][0]["status"] = "False".into(),
            &[(
                "status.conditions.[0].status",
                "Unsupported value: \"False\": supported values: \"True\"",
            )],
        ),
        refused(
            "status-condition/is-not-unknown",
            |_, status| status["conditions"][0]["status"] = "Unknown".into(),
            &[(
                "status.conditions.[0].status",
                "Unsupported value: \"Unknown\": supported values: \"True\"",
            )],
        ),
        refused(
            "status-condition/status-is-spelt-right",
            |_, status| status["conditions"][0]["status"] = "true".into(),
            &[
                (
                    "status.conditions.[0].status",
                    "Unsupported value: \"true\": supported values: \"True\"",
                ),
                (
                    "status.conditions[0].status",
                    "Unsupported value: \"true\": supported values: \"False\", \"True\", \"Unknown\"",
                ),
            ],
        ),
        refused(
            "status-condition/status-is-required",
            |_, status| status["conditions"][0]["status"] = "".into(),
            &[
                (
                    "status.conditions.[0].status",
                    "Unsupported value: \"\": supported values: \"True\"",
                ),
                ("status.conditions[0].status", "Required value"),
            ],
        )
        .only(since_1_37),
        refused(
            "status-condition/status-is-required-before-1-37",
            |_, status| status["conditions"][0]["status"] = "".into(),
            &[
                (
                    "status.conditions.[0].status",
                    "Unsupported value: \"\": supported values: \"True\"",
                ),
                (
                    "status.conditions[0].status",
                    "Unsupported value: \"\": supported values: \"False\", \"True\", \"Unknown\"",
                ),
            ],
        )
        .only(before_1_37),
        refused(
            "status-condition/false-denial-is-refused-too",
            |scene, status| {
                *status = json!({"conditions": [scene.condition("Denied")]});
                status["conditions"][0]["status"] = "False".into();
            },
            &[(
                "status.conditions.[0].status",
                "Unsupported value: \"False\": supported values: \"True\"",
            )],
        ),
        refused(
            "status-condition/reason-is-required",
            |_, status| status["conditions"][0]["reason"] = "".into(),
            &[("status.conditions[0].reason", "Required value")],
        ),
        refused(
            "status-condition/reason-is-one-word",
            |_, status| status["conditions"][0]["reason"] = "two words".into(),
            &[(
                "status.conditions[0].reason",
                concat!("Invalid value: \"two words\": ", reason_rule!()),
            )],
        ),
        refused(
            "status-condition/reason-begins-with-a-letter",
            |_, status| status["conditions"][0]["reason"] = "1st".into(),
            &[(
                "status.conditions[0].reason",
                concat!("Invalid value: \"1st\": ", reason_rule!()),
            )],
        ),
        refused(
            "status-condition/reason-ends-in-no-colon",
            |_, status| status["conditions"][0]["reason"] = "a:".into(),
            &[(
                "status.conditions[0].reason",
                concat!("Invalid value: \"a:\": ", reason_rule!()),
            )],
        ),
        refused(
            "status-condition/reason-has-1024-bytes-at-most",
            |_, status| status["conditions"][0]["reason"] = "a".repeat(1025).into(),
            &[(
                "status.conditions[0].reason",
                "Too long: may not be more than 1024 bytes",
            )],
        ),
        refused(
            "status-condition/message-has-32-kib-at-most",
            |_, status| status["conditions"][0]["message"] = "a".repeat(32 * 1024 + 1).into(),
            &[(
                "status.conditions[0].message",
                "Too long: may not be more than 32768 bytes",
            )],
        ),
        refused(
            "status-condition/transition-time-is-required",
            |_, status| {
                let condition = status["conditions"][0].as_object_mut().unwrap();
                condition.remove("lastTransitionTime");
            },
            &[("status.conditions[0].lastTransitionTime", "Required value")],
        ),
        refused(
            "status-condition/transition-time-is-not-null",
            |_, status| status["conditions"][0]["lastTransitionTime"] = Value::Null,
            &[("status.conditions[0].lastTransitionTime", "Required value")],
        ),
        refused(
            "status-condition/observed-generation-is-not-negative",
            |_, status| status["conditions"][0]["observedGeneration"] = (-1).into(),
            &[(
                "status.conditions[0].observedGeneration",
                "Invalid value: -1: must be greater than or equal to zero",
            )],
        ),
        refused(
            "status-condition/empty-one-lacks-everything",
            |_, status| status["conditions"] = json!([{}]),
            &[
                (
                    "status.conditions.[0].type",
                    "Unsupported value: \"\": supported values: \"Issued\", \"Denied\", \"Failed\"",
                ),
                ("status.conditions[0].type", "Required value: is required"),
                ("status.conditions[0].status", "Required value"),
                ("status.conditions[0].lastTransitionTime", "Required value"),
                ("status.conditions[0].reason", "Required value"),
            ],
        )
        .only(since_1_37),
        refused(
            "status-condition/certificate-is-not-looked-at-before",
            |_, status| {
                status["conditions"][0]["reason"] = "".into();
                status["certificateChain"] = "x".into();
                status["notBefore"] = Value::Null;
            },
            &[("status.conditions[0].reason", "Required value")],
        ),
        case("status-condition/may-say-all-it-can", |scene| async move {
            let mut status = scene.issued();
            let condition = &mut status["conditions"][0];
            condition["reason"] = format!("A{}_", "b:,_9".repeat(204)).into();
            condition["message"] = "ü".repeat(16 * 1024).into();
            condition["observedGeneration"] = 7.into();
            condition["lastTransitionTime"] = "2001-01-01T00:00:00Z".into();
            let after = scene.put(status.clone()).await.ok();
            assert_eq!(after["status"], status);
        }),
        case("status-condition/needs-no-message", |scene| async move {
            let mut status = scene.issued();
            status["conditions"][0]
                .as_object_mut()
                .unwrap()
                .remove("message");
            let after = scene.put(status).await.ok();
            assert_eq!(after["status"]["conditions"][0]["message"], "");
        }),
        case(
            "status-condition/generation-zero-is-left-out",
            |scene| async move {
                let mut status = scene.issued();
                status["conditions"][0]["observedGeneration"] = 0.into();
                let after = scene.put(status).await.ok();
                let condition = after["status"]["conditions"][0].as_object().unwrap();
                assert!(!condition.contains_key("observedGeneration"), "{after}");
            },
        ),
        case(
            "status-condition/transition-time-is-cut-to-seconds",
            |scene| async move {
                let mut status = scene.issued();
                status["conditions"][0]["lastTransitionTime"] =
                    "2026-11-21T13:00:00.75+01:00".into();
                let after = scene.put(status).await.ok();
                assert_eq!(
                    after["status"]["conditions"][0]["lastTransitionTime"],
                    "2026-11-21T12:00:00Z"
                );
            },
        ),
    ]
}

pub(super) fn since_1_37(target: Target) -> bool {
    target.release >= Release::V1_37
}

pub(super) fn before_1_37(target: Target) -> bool {
    target.release < Release::V1_37
}

/// A case about a created request.
pub(super) fn case<F, R>(name: &'static str, run: F) -> Case
where
    F: Fn(Scene) -> R + Send + Sync + Copy + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    Case::new(name, move |world: World| async move {
        run(Scene::begin(world).await).await;
    })
}

impl Scene {
    /// An issued status with the chain of `object`: signatures differ from one to the next.
    fn issued_like(&self, object: &Value) -> Value {
        let mut status = self.issued();
        status["certificateChain"] = object["status"]["certificateChain"].clone();
        status
    }
}

/// Denied and Failed consist of their condition.
async fn bare(mut scene: Scene, kind: &'static str) {
    let status = json!({"conditions": [scene.condition(kind)]});
    scene.write(status.clone()).await;
    assert_eq!(scene.created["status"], status);
}

/// Denied and Failed have none of the fields of Issued.
async fn not_bare(scene: Scene, kind: &'static str) {
    for field in [
        "certificateChain",
        "notBefore",
        "beginRefreshAt",
        "notAfter",
    ] {
        let mut status = json!({"conditions": [scene.condition(kind)]});
        status[field] = scene.issued()[field].clone();
        invalid(
            &scene.put(status).await,
            &[(
                "status",
                "Invalid value: non-condition status fields must be empty when denying or failing the PodCertificateRequest",
            )],
        );
    }
}

/// The end is the end, but the same again is no change.
async fn terminal(mut scene: Scene, kind: &'static str) {
    let status = match kind {
        "Issued" => scene.issued(),
        kind => json!({"conditions": [scene.condition(kind)]}),
    };
    scene.write(status.clone()).await;
    assert_eq!(scene.put(status.clone()).await.ok(), scene.created);
    let other = if kind == "Denied" { "Failed" } else { "Denied" };
    let mut reworded = status.clone();
    reworded["conditions"][0]["message"] = "otherwise".into();
    let mut dated = status;
    dated["notAfter"] = scene.date(1).into();
    for change in [
        reworded,
        dated,
        json!({"conditions": [scene.condition(other)]}),
        json!({"conditions": []}),
        json!({}),
        Value::Null,
    ] {
        invalid(&scene.put(change).await, FINAL);
    }
    let clear = json!({"status": null});
    let answer: Answer = scene
        .world
        .admin()
        .patch(&scene.path(), "merge", &clear)
        .await;
    invalid(&answer, FINAL);
    let message = answer.body["message"].clone();
    assert!(says(
        &message,
        "PodCertificateRequest.certificates.k8s.io \"a\" is invalid: status: {}"
    ));
    assert_eq!(scene.read().await, scene.created);
}

/// Who changed what last is bookkeeping of the real servers alone.
fn forget_managers(object: &mut Value) {
    super::create::remove(object, "metadata", "managedFields");
}

const UNKNOWN_TYPE: &str =
    "Unsupported value: \"Approved\": supported values: \"Issued\", \"Denied\", \"Failed\"";
const FINAL: &[super::Cause] = &[(
    "status",
    "Invalid value: immutable after PodCertificateRequest is issued, denied, or failed",
)];
const STILL: &[super::Cause] = &[(
    "status",
    "Invalid value: status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"",
)];
const MODIFIED: &str = "Operation cannot be fulfilled on podcertificaterequests.certificates.k8s.io \"a\": the object has been modified; please apply your changes to the latest version and try again";
