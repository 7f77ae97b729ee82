//! Changes of a request itself: its metadata may change, its spec never.

use serde_json::{Value, json};

use super::scene::{Scene, case};
use super::{before_1_37, invalid, remove, says, since_1_37};
use crate::{Case, Release, World};

pub(super) fn cases() -> Vec<Case> {
    [spec(), metadata()].concat()
}

fn spec() -> Vec<Case> {
    vec![
        changed("request-update/signer-never-changes", |spec| {
            spec["signerName"] = "example.com/other".into();
        }),
        changed("request-update/pod-never-changes", |spec| {
            spec["podName"] = "other".into();
        }),
        changed("request-update/pod-uid-never-changes", |spec| {
            spec["podUID"] = "other".into();
        }),
        changed("request-update/service-account-never-changes", |spec| {
            spec["serviceAccountName"] = "other".into();
        }),
        changed("request-update/service-account-uid-never-changes", |spec| {
            spec["serviceAccountUID"] = "other".into();
        }),
        changed("request-update/node-never-changes", |spec| {
            spec["nodeName"] = "other".into();
        }),
        changed("request-update/node-uid-never-changes", |spec| {
            spec["nodeUID"] = "other".into();
        }),
        changed("request-update/lifetime-never-changes", |spec| {
            spec["maxExpirationSeconds"] = 3600.into();
        }),
        changed("request-update/annotations-never-change", |spec| {
            spec["unverifiedUserAnnotations"] = json!({"a.b/c": "d"});
        }),
        changed("request-update/csr-never-changes", |spec| {
            spec["stubPKCS10Request"] = "AAAA".into();
        })
        .only(|target| target.release >= Release::V1_36),
        changed("request-update/public-key-never-changes", |spec| {
            spec["pkixPublicKey"] = "AAAA".into();
        })
        .only(|target| target.release < Release::V1_36),
        changed("request-update/spec-does-not-vanish", |spec| {
            *spec = json!({});
        }),
        changed("request-update/rules-of-creation-are-not-asked", |spec| {
            spec["signerName"] = "".into();
            spec["maxExpirationSeconds"] = 1.into();
        }),
        case(
            "request-update/refusal-shows-the-spec-in-gos-own-form",
            |scene| async move {
                let mut body = scene.created.clone();
                body["spec"] = json!({
                    "signerName": "s", "podName": "p", "podUID": "pu", "serviceAccountName": "sa",
                    "serviceAccountUID": "sau", "nodeName": "n", "nodeUID": "nu",
                    "unverifiedUserAnnotations": {"a": "b"},
                });
                let answer = scene.world.admin().put(&scene.object_path(), &body).await;
                invalid(
                    &answer,
                    &[("spec", "Invalid value: {}: field is immutable")],
                );
                let stub = if scene.world.target.release >= Release::V1_36 {
                    "\"StubPKCS10Request\":null,"
                } else {
                    ""
                };
                assert_eq!(
                    answer.body["details"]["causes"][0]["message"],
                    format!(
                        "Invalid value: {{\"SignerName\":\"s\",\"PodName\":\"p\",\"PodUID\":\"pu\",\"ServiceAccountName\":\"sa\",\"ServiceAccountUID\":\"sau\",\"NodeName\":\"n\",\"NodeUID\":\"nu\",\"MaxExpirationSeconds\":86400,\"PKIXPublicKey\":null,\"ProofOfPossession\":null,{stub}\"UnverifiedUserAnnotations\":{{\"a\":\"b\"}}}}: field is immutable"
                    )
                );
            },
        ),
        case(
            "request-update/default-lifetime-may-be-left-out",
            |scene| async move {
                let mut body = scene.created.clone();
                remove(&mut body, "spec", "maxExpirationSeconds");
                let after = scene
                    .world
                    .admin()
                    .put(&scene.object_path(), &body)
                    .await
                    .ok();
                assert_eq!(after, scene.created);
            },
        ),
        case(
            "request-update/merge-patch-of-the-spec-is-refused",
            |scene| async move {
                let patch = json!({"spec": {"podName": "other"}});
                let answer = scene
                    .world
                    .admin()
                    .patch(&scene.object_path(), "merge", &patch)
                    .await;
                invalid(
                    &answer,
                    &[("spec", "Invalid value: {}: field is immutable")],
                );
            },
        ),
        case(
            "request-update/json-patch-of-the-spec-is-refused",
            |scene| async move {
                let patch = json!([{"op": "replace", "path": "/spec/podName", "value": "other"}]);
                let answer = scene
                    .world
                    .admin()
                    .patch(&scene.object_path(), "json", &patch)
                    .await;
                invalid(
                    &answer,
                    &[("spec", "Invalid value: {}: field is immutable")],
                );
            },
        ),
        case(
            "request-update/unknown-field-is-no-change",
            |scene| async move {
                let mut body = scene.created.clone();
                body["spec"]["extra"] = 1.into();
                let after = scene
                    .world
                    .admin()
                    .put(&scene.object_path(), &body)
                    .await
                    .ok();
                assert_eq!(after, scene.created);
            },
        ),
    ]
}

fn metadata() -> Vec<Case> {
    vec![
        case("request-update/metadata-changes", |scene| async move {
            let mut body = scene.created.clone();
            body["metadata"]["labels"] = json!({"a": "b"});
            body["metadata"]["annotations"] = json!({"a.b/c": "d"});
            body["metadata"]["finalizers"] = json!(["a.b/c"]);
            body["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "y"}]);
            let caller = scene.world.admin();
            let after = caller.put(&scene.object_path(), &body).await.ok();
            for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
                assert_eq!(after["metadata"][field], body["metadata"][field], "{after}");
            }
            let release = json!({"metadata": {"finalizers": null}});
            caller
                .patch(&scene.object_path(), "merge", &release)
                .await
                .ok();
        }),
        case(
            "request-update/metadata-changes-by-patch",
            |scene| async move {
                let patch = json!({"metadata": {"labels": {"a": "b"}}});
                let caller = scene.world.admin();
                let after = caller
                    .patch(&scene.object_path(), "merge", &patch)
                    .await
                    .ok();
                assert_eq!(after["metadata"]["labels"], json!({"a": "b"}));
                assert_eq!(after["spec"], scene.created["spec"]);
            },
        ),
        case(
            "request-update/bad-label-and-spec-are-told-at-once",
            |scene| async move {
                let mut body = scene.created.clone();
                body["metadata"]["labels"] = json!({"a": "b c"});
                body["spec"]["podName"] = "other".into();
                let answer = scene.world.admin().put(&scene.object_path(), &body).await;
                invalid(
                    &answer,
                    &[
                        ("metadata.labels", "Invalid value: \"b c\": {}"),
                        ("spec", "Invalid value: {}: field is immutable"),
                    ],
                );
            },
        )
        .only(since_1_37),
        case(
            "request-update/bad-label-is-told-three-times-before-1-37",
            |scene| async move {
                let mut body = scene.created.clone();
                body["metadata"]["labels"] = json!({"a": "b c"});
                body["spec"]["podName"] = "other".into();
                let answer = scene.world.admin().put(&scene.object_path(), &body).await;
                invalid(
                    &answer,
                    &[
                        ("metadata.labels", "Invalid value: \"b c\": {}"),
                        ("metadata.labels", "Invalid value: \"b c\": {}"),
                        ("metadata.labels", "Invalid value: \"b c\": {}"),
                        ("spec", "Invalid value: {}: field is immutable"),
                    ],
                );
            },
        )
        .only(before_1_37),
        case(
            "request-update/needs-a-resource-version",
            |scene| async move {
                let mut body = scene.created.clone();
                remove(&mut body, "metadata", "resourceVersion");
                let answer = scene.world.admin().put(&scene.object_path(), &body).await;
                assert_eq!(
                    answer.refused(422, "Invalid"),
                    "podcertificaterequests.certificates.k8s.io \"a\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
                );
            },
        ),
        case("request-update/does-not-create", |scene| async move {
            let mut body = scene.created.clone();
            body["metadata"] = json!({"name": "b"});
            let path = format!("{}/b", scene.world.requests());
            let answer = scene.world.admin().put(&path, &body).await;
            assert_eq!(
                answer.refused(404, "NotFound"),
                "podcertificaterequests.certificates.k8s.io \"b\" not found"
            );
        }),
    ]
}

/// A case: a PUT with this change of the spec is refused.
fn changed(name: &'static str, change: fn(&mut Value)) -> Case {
    Case::new(name, move |world: World| async move {
        let scene = Scene::begin(world).await;
        let mut body = scene.created.clone();
        change(&mut body["spec"]);
        let answer = scene.world.admin().put(&scene.object_path(), &body).await;
        invalid(
            &answer,
            &[("spec", "Invalid value: {}: field is immutable")],
        );
        assert!(says(
            &answer.body["message"],
            "PodCertificateRequest.certificates.k8s.io \"a\" is invalid: spec: {}"
        ));
        assert_eq!(scene.read().await, scene.created);
    })
}
