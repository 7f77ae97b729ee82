//! What a bundle may be called, and which signers it may name: the one follows from the other.

use serde_json::json;

use super::{NO_ANCHOR, accepted, ask, bundle, invalid, omitted, refused, signer};
use crate::material::ca;
use crate::samples::SUBDOMAIN;
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("bundles/one-of-no-signer-has-a-plain-name", plain_name),
        Case::new(
            "bundles/one-of-a-signer-is-named-after-it",
            named_after_signer,
        ),
        Case::new("bundles/an-empty-signer-name-is-none", empty_signer),
        Case::new("bundles/what-follows-the-signer-is-a-subdomain", suffix),
        Case::new(
            "bundles/the-suffix-has-253-characters-at-most",
            suffix_length,
        ),
        Case::new(
            "bundles/names-of-kubernetes-are-not-reserved",
            kubernetes_names,
        ),
        Case::new(
            "bundles/generated-names-follow-the-signer-too",
            generated_names,
        ),
        Case::new("bundles/signer-names-are-a-domain-and-a-path", signer_names),
        Case::new(
            "bundles/name-signer-and-content-are-told-together",
            all_wrong,
        ),
    ]
}

async fn plain_name(world: World) {
    let pem = ca("root").pem;
    let made = accepted(&world, &bundle(&world.namespace, None, &pem)).await;
    assert_eq!(made["spec"], json!({"trustBundle": pem}));
    assert_eq!(made["apiVersion"], world.certificates_api());
    refused(
        &world,
        &bundle("a:b", None, &pem),
        &[(
            "metadata.name",
            &invalid(
                "a:b",
                "ClusterTrustBundle without signer name must not have \":\" in its name",
            ),
        )],
    )
    .await;
    for name in ["Abc", "a/b", "a_b", ".a"] {
        refused(
            &world,
            &bundle(name, None, &pem),
            &[("metadata.name", &invalid(name, SUBDOMAIN))],
        )
        .await;
    }
}

async fn named_after_signer(world: World) {
    let (signer, prefix) = signer(&world);
    let pem = ca("root").pem;
    let name = format!("{prefix}x");
    let made = accepted(&world, &bundle(&name, Some(&signer), &pem)).await;
    assert_eq!(made["spec"]["signerName"], signer);
    for name in ["plain", "example.com:other:x"] {
        let why = format!(
            "ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"
        );
        refused(
            &world,
            &bundle(name, Some(&signer), &pem),
            &[("metadata.name", &invalid(name, &why))],
        )
        .await;
    }
}

async fn empty_signer(world: World) {
    let object = bundle(&world.namespace, Some(""), &ca("root").pem);
    let made = accepted(&world, &object).await;
    assert_eq!(made["spec"].get("signerName"), None);
}

async fn suffix(world: World) {
    let (signer, prefix) = signer(&world);
    let pem = ca("root").pem;
    accepted(
        &world,
        &bundle(&format!("{prefix}a.b-c"), Some(&signer), &pem),
    )
    .await;
    for suffix in ["", "x:y", "X", "-x"] {
        let name = format!("{prefix}{suffix}");
        refused(
            &world,
            &bundle(&name, Some(&signer), &pem),
            &[("metadata.name", &invalid(&name, SUBDOMAIN))],
        )
        .await;
    }
}

async fn suffix_length(world: World) {
    let (signer, prefix) = signer(&world);
    let pem = ca("root").pem;
    let name = format!("{prefix}{}", "x".repeat(253));
    accepted(&world, &bundle(&name, Some(&signer), &pem)).await;
    let name = format!("{name}x");
    let why = invalid(&name, "must be no more than 253 characters");
    refused(
        &world,
        &bundle(&name, Some(&signer), &pem),
        &[("metadata.name", &why)],
    )
    .await;
    let name = "x".repeat(254);
    let why = invalid(&name, "must be no more than 253 characters");
    refused(
        &world,
        &bundle(&name, None, &pem),
        &[("metadata.name", &why)],
    )
    .await;
}

async fn kubernetes_names(world: World) {
    let pem = ca("root").pem;
    for (name, signer) in [
        ("kubernetes.io:case:x", "kubernetes.io/case"),
        ("my.kubernetes.io:case:x", "my.kubernetes.io/case"),
    ] {
        accepted(&world, &bundle(name, Some(signer), &pem)).await;
    }
}

async fn generated_names(world: World) {
    let (signer, prefix) = signer(&world);
    let generate = |start: &str| {
        json!({
            "metadata": {"generateName": start},
            "spec": {"signerName": signer, "trustBundle": ca("root").pem},
        })
    };
    let start = format!("{prefix}g-");
    let made = accepted(&world, &generate(&start)).await;
    let name = made["metadata"]["name"].as_str().unwrap();
    assert_eq!(name.strip_prefix(&start).unwrap().len(), 5, "{name}");

    // The beginning has to be a name by itself, or nearly so: a last dash is fine, no more.
    let answer = ask(&world, &generate(&prefix)).await;
    answer.invalid(&[("metadata.generateName", &invalid(&prefix, SUBDOMAIN))]);
    let answer = ask(&world, &generate("other-")).await;
    assert_eq!(
        answer.invalid_fields(),
        ["metadata.generateName", "metadata.name"]
    );

    let nameless = json!({"metadata": {}, "spec": {"trustBundle": ca("root").pem}});
    let required = "Required value: name or generateName is required";
    refused(&world, &nameless, &[("metadata.name", required)]).await;
}

async fn signer_names(world: World) {
    const FORM: &str =
        "must be a fully qualified domain and path of the form 'example.com/signer-name'";
    const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    let pem = ca("root").pem;
    let named = |signer: &str| {
        bundle(
            &format!("{}:x", signer.replace('/', ":")),
            Some(signer),
            &pem,
        )
    };
    accepted(&world, &named("example.com/a.b")).await;
    for (signer, value, why) in [
        ("noslash", "noslash", FORM.to_owned()),
        ("a.b/c/d", "a.b/c/d", FORM.to_owned()),
        (
            "example.com/",
            "",
            format!("validating label \"\": {SUBDOMAIN}"),
        ),
        (
            "example/c",
            "example",
            "should be a domain with at least two segments separated by dots".to_owned(),
        ),
        (
            "Example.com/c",
            "Example.com",
            format!("validating label \"Example\": {LABEL}"),
        ),
        (
            "exa_mple.com/c",
            "exa_mple.com",
            format!("validating label \"exa_mple\": {LABEL}"),
        ),
        (
            "example.com/C",
            "C",
            format!("validating label \"C\": {SUBDOMAIN}"),
        ),
    ] {
        refused(
            &world,
            &named(signer),
            &[("spec.signerName", &invalid(value, &why))],
        )
        .await;
    }
    let path = "p".repeat(254);
    let why = format!("validating label {path:?}: must be no more than 253 characters");
    let long = named(&format!("example.com/{path}"));
    refused(&world, &long, &[("spec.signerName", &invalid(&path, &why))]).await;
    let domain = format!("{}com", format!("{}.", "b".repeat(63)).repeat(4));
    let long = named(&format!("{domain}/c"));
    let why = "Too long: may not be more than 253 bytes";
    refused(&world, &long, &[("spec.signerName", why)]).await;
}

async fn all_wrong(world: World) {
    refused(
        &world,
        &bundle("A:b", Some("noslash"), "x"),
        &[
            (
                "metadata.name",
                &invalid(
                    "A:b",
                    "ClusterTrustBundle for signerName noslash must be named with prefix noslash:",
                ),
            ),
            (
                "spec.signerName",
                &invalid(
                    "noslash",
                    "must be a fully qualified domain and path of the form 'example.com/signer-name'",
                ),
            ),
            ("spec.trustBundle", &omitted(NO_ANCHOR)),
        ],
    )
    .await;
}
