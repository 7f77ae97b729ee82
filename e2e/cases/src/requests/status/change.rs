//! From where to where a status goes: to Issued, Denied or Failed, once.

use serde_json::{Value, json};

use super::UNKNOWN_TYPE;
use crate::material::ca;
use crate::requests::scene::{Scene, case, refused};
use crate::requests::{Cause, invalid, says};
use crate::{Answer, Case, Release};

pub(super) fn cases() -> Vec<Case> {
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

const FINAL: &[Cause] = &[(
    "status",
    "Invalid value: immutable after PodCertificateRequest is issued, denied, or failed",
)];

const STILL: &[Cause] = &[(
    "status",
    "Invalid value: status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"",
)];
