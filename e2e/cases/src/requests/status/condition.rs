//! The condition that a status consists of, or begins with: type, status, reason, message, date.

use serde_json::{Value, json};

use super::UNKNOWN_TYPE;
use crate::Case;
use crate::requests::scene::{case, refused};
use crate::requests::{before_1_37, since_1_37};

pub(super) fn cases() -> Vec<Case> {
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
        concat!("Invalid value: \"\": name part ", name_rule!()),
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
