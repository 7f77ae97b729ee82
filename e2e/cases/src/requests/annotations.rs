//! What users may tell a signer in `unverifiedUserAnnotations`.

use serde_json::json;

use super::{accepted, create, refused};
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("request-annotations/are-kept", |world: World| async move {
            let created = create(&world, |_, object| {
                object["spec"]["unverifiedUserAnnotations"] =
                    json!({"example.com/a": "b", "Example.com/Key_1.x": "", "a.b/c": "ü\n"});
            })
            .await
            .created();
            assert_eq!(
                created["spec"]["unverifiedUserAnnotations"],
                json!({"example.com/a": "b", "Example.com/Key_1.x": "", "a.b/c": "ü\n"})
            );
        }),
        Case::new(
            "request-annotations/empty-ones-are-left-out",
            |world: World| async move {
                let created = create(&world, |_, object| {
                    object["spec"]["unverifiedUserAnnotations"] = json!({});
                })
                .await
                .created();
                let spec = created["spec"].as_object().unwrap();
                assert!(!spec.contains_key("unverifiedUserAnnotations"), "{created}");
            },
        ),
        refused(
            "request-annotations/have-a-domain",
            |_, object| object["spec"]["unverifiedUserAnnotations"] = json!({"foo": "x"}),
            &[(
                ANNOTATIONS,
                "Invalid value: \"foo\": must be a domain-prefixed key (such as \"acme.io/foo\")",
            )],
        ),
        refused(
            "request-annotations/have-a-key",
            |_, object| object["spec"]["unverifiedUserAnnotations"] = json!({"": "x"}),
            &[(ANNOTATIONS, "Required value")],
        ),
        refused(
            "request-annotations/have-a-name-after-the-domain",
            |_, object| object["spec"]["unverifiedUserAnnotations"] = json!({"acme.io/": "x"}),
            &[
                (
                    ANNOTATIONS,
                    "Invalid value: \"acme.io/\": name part must be non-empty",
                ),
                (
                    ANNOTATIONS,
                    concat!("Invalid value: \"acme.io/\": name part ", name_rule!()),
                ),
            ],
        ),
        refused(
            "request-annotations/have-a-domain-before-the-name",
            |_, object| object["spec"]["unverifiedUserAnnotations"] = json!({"/foo": "x"}),
            &[(
                ANNOTATIONS,
                "Invalid value: \"/foo\": prefix part must be non-empty",
            )],
        ),
        refused(
            "request-annotations/have-one-slash",
            |_, object| object["spec"]["unverifiedUserAnnotations"] = json!({"a.b/c/d": "x"}),
            &[(
                ANNOTATIONS,
                concat!(
                    "Invalid value: \"a.b/c/d\": a valid label key ",
                    name_rule!(),
                    " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
                ),
            )],
        ),
        refused(
            "request-annotations/have-a-proper-domain",
            |_, object| object["spec"]["unverifiedUserAnnotations"] = json!({"a_b/foo": "x"}),
            &[(
                ANNOTATIONS,
                concat!(
                    "Invalid value: \"a_b/foo\": prefix part ",
                    subdomain_rule!()
                ),
            )],
        ),
        refused(
            "request-annotations/have-names-of-63-bytes-at-most",
            |_, object| {
                let key = format!("a.b/{}", "c".repeat(64));
                object["spec"]["unverifiedUserAnnotations"] = json!({key: "x"});
            },
            &[(
                ANNOTATIONS,
                "Invalid value: {}: name part must be no more than 63 bytes",
            )],
        ),
        refused(
            "request-annotations/have-domains-of-253-bytes-at-most",
            |_, object| {
                let key = format!("{}/c", "a".repeat(254));
                object["spec"]["unverifiedUserAnnotations"] = json!({key: "x"});
            },
            &[(
                ANNOTATIONS,
                "Invalid value: {}: prefix part must be no more than 253 bytes",
            )],
        ),
        refused(
            "request-annotations/are-each-told-wrong",
            |_, object| object["spec"]["unverifiedUserAnnotations"] = json!({"a": "", "b": ""}),
            &[
                (
                    ANNOTATIONS,
                    "Invalid value: \"a\": must be a domain-prefixed key (such as \"acme.io/foo\")",
                ),
                (
                    ANNOTATIONS,
                    "Invalid value: \"b\": must be a domain-prefixed key (such as \"acme.io/foo\")",
                ),
            ],
        ),
        refused(
            "request-annotations/have-256-kib-at-most",
            |_, object| {
                object["spec"]["unverifiedUserAnnotations"] =
                    json!({"acme.io/a": "x".repeat(256 * 1024 - 8)});
            },
            &[(ANNOTATIONS, "Too long: may not be more than 262144 bytes")],
        ),
        accepted("request-annotations/may-have-256-kib", |_, object| {
            object["spec"]["unverifiedUserAnnotations"] =
                json!({"acme.io/a": "x".repeat(256 * 1024 - 9)});
        }),
    ]
}

const ANNOTATIONS: &str = "spec.unverifiedUserAnnotations";
