//! Which signers a request may name: a domain and a path.

use super::{accepted, refused, remove};
use crate::Case;

pub(super) fn cases() -> Vec<Case> {
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
