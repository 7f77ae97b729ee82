//! Creation: defaults, names, namespaces, what clients cannot set.

use serde_json::{Value, json};

use super::{accepted, create, proper, refused, remove};
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("request-create/defaults-are-filled-in", defaults),
        Case::new(
            "request-create/status-is-dropped",
            |world: World| async move {
                let created = create(&world, |_, object| {
                object["status"] = json!({
                    "conditions": [{"type": "Issued", "status": "True", "reason": "R", "message": "",
                        "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                    "certificateChain": "x",
                });
            })
            .await
            .created();
                assert_eq!(created["status"], json!({}), "{created}");
            },
        ),
        Case::new(
            "request-create/pod-need-not-exist",
            |world: World| async move {
                let created = create(&world, |_, _| {}).await.created();
                assert_eq!(created["spec"]["podName"], "web-0");
                let pod = world
                    .admin()
                    .get(&format!("{}/web-0", world.core("pods")))
                    .await;
                pod.refused(404, "NotFound");
            },
        ),
        Case::new("request-create/unknown-fields-are-dropped", unknown_fields),
        Case::new(
            "request-create/system-fields-are-the-servers",
            system_fields,
        ),
        Case::new(
            "request-create/taken-name-conflicts",
            |world: World| async move {
                let object = proper(&world);
                world
                    .admin()
                    .post(&world.requests(), &object)
                    .await
                    .created();
                let answer = world.admin().post(&world.requests(), &object).await;
                assert_eq!(
                    answer.refused(409, "AlreadyExists"),
                    "podcertificaterequests.certificates.k8s.io \"a\" already exists"
                );
            },
        ),
        Case::new(
            "request-create/resource-version-is-refused",
            |world: World| async move {
                let answer = create(&world, |_, object| {
                    object["metadata"]["resourceVersion"] = "1".into();
                })
                .await;
                assert_eq!(
                    answer.refused(500, ""),
                    "resourceVersion should not be set on objects to be created"
                );
            },
        ),
        Case::new(
            "request-create/other-namespace-is-refused",
            |world: World| async move {
                let answer = create(&world, |_, object| {
                    object["metadata"]["namespace"] = "elsewhere".into();
                })
                .await;
                assert_eq!(
                    answer.refused(400, "BadRequest"),
                    "the namespace of the provided object does not match the namespace sent on the request"
                );
            },
        ),
        Case::new(
            "request-create/namespace-may-be-left-out",
            |world: World| async move {
                let mut object = proper(&world);
                remove(&mut object, "metadata", "namespace");
                let created = world
                    .admin()
                    .post(&world.requests(), &object)
                    .await
                    .created();
                assert_eq!(created["metadata"]["namespace"], world.namespace);
            },
        ),
        Case::new(
            "request-create/namespace-must-exist",
            |world: World| async move {
                let mut object = proper(&world);
                object["metadata"]["namespace"] = "nowhere".into();
                let path = world.requests().replace(&world.namespace, "nowhere");
                let answer = world.admin().post(&path, &object).await;
                assert_eq!(
                    answer.refused(404, "NotFound"),
                    "namespaces \"nowhere\" not found"
                );
            },
        ),
        Case::new("request-create/name-is-generated", generated_name),
        Case::new(
            "request-create/name-comes-before-generate-name",
            |world: World| async move {
                let created = create(&world, |_, object| {
                    object["metadata"]["generateName"] = "req-".into();
                })
                .await
                .created();
                assert_eq!(created["metadata"]["name"], "a");
                assert_eq!(created["metadata"]["generateName"], "req-");
            },
        ),
        Case::new(
            "request-create/generated-name-has-63-characters-at-most",
            |world: World| async move {
                let mut object = proper(&world);
                let prefix = "a".repeat(100);
                object["metadata"] = json!({"generateName": prefix});
                let created = world
                    .admin()
                    .post(&world.requests(), &object)
                    .await
                    .created();
                let name = created["metadata"]["name"].as_str().unwrap();
                assert_eq!(name.len(), 63);
                assert!(name.starts_with(&prefix[..58]), "{name}");
            },
        ),
        refused(
            "request-create/name-is-required",
            |_, object| object["metadata"] = json!({}),
            &[(
                "metadata.name",
                "Required value: name or generateName is required",
            )],
        ),
        refused(
            "request-create/name-is-a-subdomain",
            |_, object| object["metadata"]["name"] = "A".into(),
            &[("metadata.name", subdomain!("A"))],
        ),
        refused(
            "request-create/name-has-253-characters-at-most",
            |_, object| object["metadata"]["name"] = "a".repeat(254).into(),
            &[(
                "metadata.name",
                "Invalid value: \"{}\": must be no more than 253 characters",
            )],
        ),
        accepted(
            "request-create/name-may-have-253-characters",
            |_, object| {
                object["metadata"]["name"] = "a".repeat(253).into();
            },
        ),
        accepted("request-create/name-may-have-dots", |_, object| {
            object["metadata"]["name"] = "a.b-c.0".into();
        }),
        Case::new(
            "request-create/generate-name-is-a-subdomain",
            |world: World| async move {
                let answer = create(&world, |_, object| {
                    object["metadata"] = json!({"generateName": "A_b-"});
                })
                .await;
                assert_eq!(
                    answer.invalid_fields(),
                    ["metadata.generateName", "metadata.name"]
                );
            },
        ),
        Case::new(
            "request-create/empty-spec-misses-everything",
            |world: World| async move {
                for spec in [json!({}), Value::Null] {
                    let mut object = proper(&world);
                    object["spec"] = spec;
                    let answer = world.admin().post(&world.requests(), &object).await;
                    let mut fields = answer.invalid_fields();
                    // What is said about the missing key differs between releases.
                    fields.truncate(7);
                    assert_eq!(
                        fields,
                        [
                            "spec.signerName",
                            "spec.podName",
                            "spec.podUID",
                            "spec.serviceAccountName",
                            "spec.serviceAccountUID",
                            "spec.nodeName",
                            "spec.nodeUID",
                        ],
                        "{}",
                        answer.body
                    );
                }
            },
        ),
        Case::new(
            "request-create/all-broken-fields-are-named-at-once",
            |world: World| async move {
                let answer = create(&world, |_, object| {
                    object["spec"]["nodeUID"] = "".into();
                    object["spec"]["maxExpirationSeconds"] = 1.into();
                })
                .await;
                assert_eq!(
                    answer.refused(422, "Invalid"),
                    "PodCertificateRequest.certificates.k8s.io \"a\" is invalid: [spec.nodeUID: Invalid value: \"\": must not be empty, spec.maxExpirationSeconds: Invalid value: 1: must be in the range [3600, 7862400]]"
                );
                let details = &answer.body["details"];
                assert_eq!(details["name"], "a");
                assert_eq!(details["group"], "certificates.k8s.io");
                assert_eq!(details["kind"], "PodCertificateRequest");
                assert_eq!(details["causes"][0]["reason"], "FieldValueInvalid");
            },
        ),
    ]
}

async fn defaults(world: World) {
    let created = create(&world, |_, _| {}).await.created();
    assert_eq!(created["kind"], "PodCertificateRequest");
    assert_eq!(created["apiVersion"], world.certificates_api());
    assert_eq!(created["spec"]["maxExpirationSeconds"], 86_400);
    assert_eq!(created["status"], json!({}), "{created}");
    let metadata = created["metadata"].as_object().unwrap();
    assert!(!metadata.contains_key("generation"), "{created}");
    let read = world
        .admin()
        .get(&format!("{}/a", world.requests()))
        .await
        .ok();
    assert_eq!(read, created);
}

async fn unknown_fields(world: World) {
    let created = create(&world, |_, object| {
        object["extra"] = 1.into();
        object["spec"]["extra"] = json!({"a": 1});
        object["metadata"]["extra"] = "x".into();
    })
    .await
    .created();
    assert!(!created.to_string().contains("extra\""), "{created}");
}

async fn system_fields(world: World) {
    let created = create(&world, |_, object| {
        let metadata = &mut object["metadata"];
        metadata["uid"] = "44444444-4444-4444-4444-444444444444".into();
        metadata["creationTimestamp"] = "2001-01-01T00:00:00Z".into();
        metadata["deletionTimestamp"] = "2001-01-01T00:00:00Z".into();
        metadata["generation"] = 7.into();
    })
    .await
    .created();
    let metadata = created["metadata"].as_object().unwrap();
    assert_ne!(metadata["uid"], "44444444-4444-4444-4444-444444444444");
    assert_ne!(metadata["creationTimestamp"], "2001-01-01T00:00:00Z");
    assert!(!metadata.contains_key("deletionTimestamp"), "{created}");
}

async fn generated_name(world: World) {
    let mut names = Vec::new();
    for _ in 0..2 {
        let created = create(&world, |_, object| {
            object["metadata"] = json!({"generateName": "req-"});
        })
        .await
        .created();
        assert_eq!(created["metadata"]["generateName"], "req-");
        let name = created["metadata"]["name"].as_str().unwrap().to_owned();
        let suffix = name.strip_prefix("req-").unwrap();
        assert_eq!(suffix.len(), 5, "{name}");
        assert!(
            suffix
                .chars()
                .all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c)),
            "{name}"
        );
        names.push(name);
    }
    assert_ne!(names[0], names[1]);
}
