//! The fields of the spec beside the key: signer, names and UIDs, lifetime, annotations.

use serde_json::{Value, json};

use super::{accepted, create, refused, remove};
use crate::material::{KeyType, key, set_key};
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    [signer(), names(), uids(), lifetime(), annotations()].concat()
}

fn signer() -> Vec<Case> {
    vec![
        refused(
            "request-signer/is-required",
            |_, object| object["spec"]["signerName"] = "".into(),
            &[("spec.signerName", "Required value")],
        ),
        refused(
            "request-signer/may-not-be-absent",
            |_, object| remove(object, "spec", "signerName"),
            &[("spec.signerName", "Required value")],
        ),
        refused(
            "request-signer/has-a-path",
            |_, object| object["spec"]["signerName"] = "noslash".into(),
            &[(
                "spec.signerName",
                concat!("Invalid value: \"noslash\": ", signer_form!()),
            )],
        ),
        refused(
            "request-signer/has-one-slash",
            |_, object| object["spec"]["signerName"] = "example.com/a/b".into(),
            &[(
                "spec.signerName",
                concat!("Invalid value: \"example.com/a/b\": ", signer_form!()),
            )],
        ),
        refused(
            "request-signer/domain-has-two-segments",
            |_, object| object["spec"]["signerName"] = "com/signer".into(),
            &[(
                "spec.signerName",
                "Invalid value: \"com\": should be a domain with at least two segments separated by dots",
            )],
        ),
        refused(
            "request-signer/domain-consists-of-labels",
            |_, object| object["spec"]["signerName"] = "Example.com/signer".into(),
            &[(
                "spec.signerName",
                concat!(
                    "Invalid value: \"Example.com\": validating label \"Example\": ",
                    label_rule!()
                ),
            )],
        ),
        refused(
            "request-signer/domain-is-not-empty",
            |_, object| object["spec"]["signerName"] = "/signer".into(),
            &[
                (
                    "spec.signerName",
                    concat!(
                        "Invalid value: \"\": validating label \"\": ",
                        label_rule!()
                    ),
                ),
                (
                    "spec.signerName",
                    "Invalid value: \"\": should be a domain with at least two segments separated by dots",
                ),
            ],
        ),
        refused(
            "request-signer/domain-labels-have-63-characters-at-most",
            |_, object| object["spec"]["signerName"] = format!("{}.com/x", "a".repeat(64)).into(),
            &[(
                "spec.signerName",
                "Invalid value: {}: must be no more than 63 characters",
            )],
        ),
        refused(
            "request-signer/path-consists-of-subdomains",
            |_, object| object["spec"]["signerName"] = "example.com/Signer".into(),
            &[(
                "spec.signerName",
                concat!(
                    "Invalid value: \"Signer\": validating label \"Signer\": ",
                    subdomain_rule!()
                ),
            )],
        ),
        refused(
            "request-signer/path-is-not-empty",
            |_, object| object["spec"]["signerName"] = "example.com/".into(),
            &[(
                "spec.signerName",
                concat!(
                    "Invalid value: \"\": validating label \"\": ",
                    subdomain_rule!()
                ),
            )],
        ),
        refused(
            "request-signer/has-no-underscore",
            |_, object| object["spec"]["signerName"] = "example.com/a_b".into(),
            &[(
                "spec.signerName",
                concat!(
                    "Invalid value: \"a_b\": validating label \"a_b\": ",
                    subdomain_rule!()
                ),
            )],
        ),
        refused(
            "request-signer/has-571-characters-at-most",
            |_, object| {
                object["spec"]["signerName"] = format!("{}/{}", domain(253), path(318)).into();
            },
            &[(
                "spec.signerName",
                "Too long: may not be more than 571 bytes",
            )],
        ),
        refused(
            "request-signer/domain-has-253-characters-at-most",
            |_, object| object["spec"]["signerName"] = format!("{}/a", domain(255)).into(),
            &[(
                "spec.signerName",
                "Too long: may not be more than 253 bytes",
            )],
        ),
        accepted("request-signer/may-have-571-characters", |_, object| {
            object["spec"]["signerName"] = format!("{}/{}", domain(253), path(317)).into();
        }),
        accepted("request-signer/path-may-have-dots", |_, object| {
            object["spec"]["signerName"] = "sub.example.com/a.b-c.0".into();
        }),
        accepted("request-signer/of-kubernetes-may-be-asked", |_, object| {
            object["spec"]["signerName"] = "kubernetes.io/any".into();
        }),
    ]
}

fn names() -> Vec<Case> {
    vec![
        refused(
            "request-pod/name-is-a-subdomain",
            |_, object| object["spec"]["podName"] = "A".into(),
            &[("spec.podName", subdomain!("A"))],
        ),
        refused(
            "request-pod/name-is-not-empty",
            |_, object| object["spec"]["podName"] = "".into(),
            &[("spec.podName", subdomain!(""))],
        ),
        refused(
            "request-pod/name-has-253-characters-at-most",
            |_, object| object["spec"]["podName"] = "a".repeat(254).into(),
            &[(
                "spec.podName",
                "Invalid value: \"{}\": must be no more than 253 characters",
            )],
        ),
        refused(
            "request-service-account/name-is-a-subdomain",
            |_, object| object["spec"]["serviceAccountName"] = "not ok".into(),
            &[("spec.serviceAccountName", subdomain!("not ok"))],
        ),
        refused(
            "request-service-account/name-is-not-empty",
            |_, object| remove(object, "spec", "serviceAccountName"),
            &[("spec.serviceAccountName", subdomain!(""))],
        ),
        refused(
            "request-service-account/name-has-253-characters-at-most",
            |_, object| object["spec"]["serviceAccountName"] = "a".repeat(254).into(),
            &[(
                "spec.serviceAccountName",
                "Invalid value: \"{}\": must be no more than 253 characters",
            )],
        ),
        refused(
            "request-node/name-is-a-subdomain",
            |_, object| object["spec"]["nodeName"] = "-a".into(),
            &[("spec.nodeName", subdomain!("-a"))],
        ),
        refused(
            "request-node/name-is-not-empty",
            |_, object| remove(object, "spec", "nodeName"),
            &[("spec.nodeName", subdomain!(""))],
        ),
        refused(
            "request-node/name-has-253-characters-at-most",
            |_, object| object["spec"]["nodeName"] = "a".repeat(254).into(),
            &[(
                "spec.nodeName",
                "Invalid value: \"{}\": must be no more than 253 characters",
            )],
        ),
        accepted(
            "request-pod/names-may-have-253-characters-and-dots",
            |_, object| {
                let name = format!("a.{}", "b".repeat(251));
                for field in ["podName", "serviceAccountName", "nodeName"] {
                    object["spec"][field] = name.clone().into();
                }
            },
        ),
    ]
}

fn uids() -> Vec<Case> {
    vec![
        refused(
            "request-pod/uid-is-not-empty",
            |world, object| set_pod_uid(world, object, ""),
            &[("spec.podUID", "Invalid value: \"\": must not be empty")],
        ),
        refused(
            "request-service-account/uid-is-not-empty",
            |_, object| remove(object, "spec", "serviceAccountUID"),
            &[(
                "spec.serviceAccountUID",
                "Invalid value: \"\": must not be empty",
            )],
        ),
        refused(
            "request-node/uid-is-not-empty",
            |_, object| object["spec"]["nodeUID"] = "".into(),
            &[("spec.nodeUID", "Invalid value: \"\": must not be empty")],
        ),
        refused(
            "request-pod/uid-has-128-bytes-at-most",
            |world, object| set_pod_uid(world, object, &"x".repeat(129)),
            &[("spec.podUID", "Too long: may not be more than 128 bytes")],
        ),
        refused(
            "request-service-account/uid-has-128-bytes-at-most",
            |_, object| object["spec"]["serviceAccountUID"] = "x".repeat(129).into(),
            &[(
                "spec.serviceAccountUID",
                "Too long: may not be more than 128 bytes",
            )],
        ),
        refused(
            "request-node/uid-has-128-bytes-at-most",
            |_, object| object["spec"]["nodeUID"] = "x".repeat(129).into(),
            &[("spec.nodeUID", "Too long: may not be more than 128 bytes")],
        ),
        refused(
            "request-node/uid-is-counted-in-bytes",
            |_, object| object["spec"]["nodeUID"] = "é".repeat(65).into(),
            &[("spec.nodeUID", "Too long: may not be more than 128 bytes")],
        ),
        accepted("request-pod/uids-may-be-any-128-bytes", |world, object| {
            set_pod_uid(world, object, &"!".repeat(128));
            object["spec"]["serviceAccountUID"] = "é".repeat(64).into();
            object["spec"]["nodeUID"] = "/".into();
        }),
        Case::new(
            "request-create/empty-spec-misses-everything",
            |world: World| async move {
                for spec in [json!({}), Value::Null] {
                    let mut object = super::proper(&world);
                    object["spec"] = spec;
                    let answer = world.admin().post(&world.requests(), &object).await;
                    answer.refused(422, "Invalid");
                    let mut fields: Vec<&str> = answer.body["details"]["causes"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|cause| cause["field"].as_str().unwrap())
                        .collect();
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
    ]
}

fn lifetime() -> Vec<Case> {
    vec![
        refused(
            "request-lifetime/is-an-hour-at-least",
            |_, object| object["spec"]["maxExpirationSeconds"] = 3599.into(),
            &[(
                MAX,
                "Invalid value: 3599: must be in the range [3600, 7862400]",
            )],
        ),
        refused(
            "request-lifetime/is-91-days-at-most",
            |_, object| object["spec"]["maxExpirationSeconds"] = 7_862_401.into(),
            &[(
                MAX,
                "Invalid value: 7862401: must be in the range [3600, 7862400]",
            )],
        ),
        refused(
            "request-lifetime/zero-is-no-default",
            |_, object| object["spec"]["maxExpirationSeconds"] = 0.into(),
            &[(
                MAX,
                "Invalid value: 0: must be in the range [3600, 7862400]",
            )],
        ),
        refused(
            "request-lifetime/is-not-negative",
            |_, object| object["spec"]["maxExpirationSeconds"] = (-86_400).into(),
            &[(
                MAX,
                "Invalid value: -86400: must be in the range [3600, 7862400]",
            )],
        ),
        accepted("request-lifetime/may-be-an-hour", |_, object| {
            object["spec"]["maxExpirationSeconds"] = 3600.into();
        }),
        accepted("request-lifetime/may-be-91-days", |_, object| {
            object["spec"]["maxExpirationSeconds"] = 7_862_400.into();
        }),
        Case::new(
            "request-lifetime/null-is-the-default",
            |world: World| async move {
                let created = create(&world, |_, object| {
                    object["spec"]["maxExpirationSeconds"] = Value::Null;
                })
                .await
                .created();
                assert_eq!(created["spec"]["maxExpirationSeconds"], 86_400);
            },
        ),
        refused(
            "request-lifetime/for-kubernetes-signers-is-a-day-at-most",
            |_, object| {
                object["spec"]["signerName"] = "kubernetes.io/any".into();
                object["spec"]["maxExpirationSeconds"] = 86_401.into();
            },
            &[(
                MAX,
                "Invalid value: 86401: must be in the range [3600, 86400]",
            )],
        ),
        refused(
            "request-lifetime/for-kubernetes-subdomains-is-a-day-at-most",
            |_, object| {
                object["spec"]["signerName"] = "sub.kubernetes.io/any".into();
                object["spec"]["maxExpirationSeconds"] = 86_401.into();
            },
            &[(
                MAX,
                "Invalid value: 86401: must be in the range [3600, 86400]",
            )],
        ),
        accepted(
            "request-lifetime/for-kubernetes-signers-may-be-a-day",
            |_, object| {
                object["spec"]["signerName"] = "kubernetes.io/any".into();
                object["spec"]["maxExpirationSeconds"] = 86_400.into();
            },
        ),
        accepted(
            "request-lifetime/of-like-named-signers-is-not-limited",
            |_, object| {
                object["spec"]["signerName"] = "notkubernetes.io/any".into();
                object["spec"]["maxExpirationSeconds"] = 86_401.into();
            },
        ),
    ]
}

fn annotations() -> Vec<Case> {
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
                    "Invalid value: \"acme.io/\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
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
                "Invalid value: \"a.b/c/d\": a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
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

/// Sets the pod's UID, with a key and where it belongs a proof that fit.
fn set_pod_uid(world: &World, object: &mut Value, uid: &str) {
    object["spec"]["podUID"] = uid.into();
    set_key(world, object, &key(KeyType::P256), uid);
}

/// A domain of so many characters, 130 at least.
fn domain(length: usize) -> String {
    let label = "a".repeat(63);
    let start = [label.as_str(); 2].join(".");
    let middle = "b".repeat((length - 128).min(63));
    let rest = length - 128 - middle.len();
    match rest {
        0 => format!("{start}.{middle}"),
        1 => format!("{start}.{}.b", &middle[1..]),
        rest => format!("{start}.{middle}.{}", "c".repeat(rest - 1)),
    }
}

/// A path of so many characters, between 256 and 507.
fn path(length: usize) -> String {
    format!("{}.{}", "d".repeat(253), "e".repeat(length - 254))
}

const MAX: &str = "spec.maxExpirationSeconds";
const ANNOTATIONS: &str = "spec.unverifiedUserAnnotations";
