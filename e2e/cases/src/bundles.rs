//! ClusterTrustBundles: what one must be, and what an update of one may do.
//!
//! What may be told without storing anything is told by dry runs: bundles have no namespace that
//! would take them away after the case.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa};
use serde_json::{Value, json};

use crate::material::{KeyType, ca, key, leaf};
use crate::objects::SUBDOMAIN;
use crate::{Answer, ApiVersion, Case, Release, World};

pub(crate) fn cases() -> Vec<Case> {
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
        Case::new("bundles/an-anchor-is-needed", no_anchor),
        Case::new("bundles/text-around-anchors-is-fine", text_between),
        Case::new("bundles/lines-may-end-as-on-windows", carriage_returns),
        Case::new("bundles/blocks-that-are-no-pem-are-text", malformed_blocks),
        Case::new("bundles/other-blocks-are-refused", other_blocks),
        Case::new("bundles/pem-headers-are-refused", headers),
        Case::new("bundles/anchors-must-parse", unparsable),
        Case::new("bundles/anchors-are-authorities", end_entity),
        Case::new("bundles/an-anchor-comes-once", duplicates),
        Case::new("bundles/expired-anchors-are-fine", expired),
        Case::new("bundles/every-bad-block-is-told", several_bad),
        Case::new(
            "bundles/name-signer-and-content-are-told-together",
            all_wrong,
        ),
        Case::new("bundles/a-mebibyte-fits", size),
        Case::new("bundles/fields-have-their-types", types),
        Case::new("bundles/unknown-fields-are-dropped", unknown_fields),
        Case::new("bundles/unknown-fields-are-refused-strictly", strict),
        Case::new(
            "bundles/the-body-is-of-the-version-in-the-path",
            other_version,
        ),
        Case::new("bundles/a-namespace-is-ignored", namespace_ignored),
        Case::new("bundles/there-is-no-status", no_status),
        Case::new("bundles/an-update-names-its-version", update_needs_version),
        Case::new("bundles/an-update-of-nothing-finds-nothing", update_absent),
        Case::new("bundles/the-signer-never-changes", signer_immutable),
        Case::new("bundles/an-update-is-checked", update_checked),
        Case::new(
            "bundles/an-update-that-changes-nothing-writes-nothing",
            unchanged,
        ),
        Case::new(
            "bundles/a-generated-name-is-checked-again-on-update",
            update_generate_name,
        ),
        Case::new("bundles/a-merge-patch-changes-the-content", patched),
        Case::new("bundles/they-are-selected-by-signer", selected),
        Case::new("bundles/a-watch-by-signer-sees-no-other", watched),
        Case::new("bundles/deletion-answers-with-a-status", deleted),
    ]
}

fn bundle(name: &str, signer: Option<&str>, pem: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"signerName": signer, "trustBundle": pem},
    })
}

/// A signer of this world alone, and the beginning of its bundles' names.
fn signer(world: &World) -> (String, String) {
    (
        format!("example.com/{}", world.namespace),
        format!("example.com:{}:", world.namespace),
    )
}

/// Creates nothing, but asks whether it could be.
async fn ask(world: &World, object: &Value) -> Answer {
    let path = format!("{}?dryRun=All", world.bundles());
    world.admin().post(&path, object).await
}

async fn accepted(world: &World, object: &Value) -> Value {
    ask(world, object).await.created()
}

async fn refused(world: &World, object: &Value, causes: &[(&str, &str)]) {
    let answer = ask(world, object).await;
    answer.invalid(causes);
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let message = answer.body["message"].as_str().unwrap();
    assert!(
        message.starts_with(&format!(
            "ClusterTrustBundle.certificates.k8s.io {name:?} is invalid: "
        )),
        "{message}"
    );
}

/// A bundle of no signer with this content is refused for these reasons.
async fn content_refused(world: &World, pem: &str, reasons: &[&str]) {
    let reasons: Vec<String> = reasons.iter().map(|why| omitted(why)).collect();
    let causes: Vec<(&str, &str)> = reasons
        .iter()
        .map(|why| ("spec.trustBundle", why.as_str()))
        .collect();
    refused(world, &bundle(&world.namespace, None, pem), &causes).await;
}

async fn content_accepted(world: &World, pem: &str) {
    let made = accepted(world, &bundle(&world.namespace, None, pem)).await;
    assert_eq!(made["spec"]["trustBundle"], pem);
}

fn omitted(why: &str) -> String {
    format!("Invalid value: \"<value omitted>\": {why}")
}

fn invalid(value: &str, why: &str) -> String {
    format!("Invalid value: {value:?}: {why}")
}

/// A bundle of this world's signer that is stored; the caller removes it.
async fn stored(world: &World, suffix: &str) -> (String, Value) {
    let (signer, prefix) = signer(world);
    let name = format!("{prefix}{suffix}");
    let made = world
        .admin()
        .post(
            &world.bundles(),
            &bundle(&name, Some(&signer), &ca("root").pem),
        )
        .await
        .created();
    (format!("{}/{name}", world.bundles()), made)
}

async fn remove(world: &World, path: &str) {
    world.admin().delete(path).await.ok();
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
    answer.refused(422, "Invalid");
    let fields: Vec<&str> = answer.body["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| cause["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["metadata.generateName", "metadata.name"]);

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

const NO_ANCHOR: &str = "at least one trust anchor must be provided";

async fn no_anchor(world: World) {
    for pem in ["", "just text"] {
        content_refused(&world, pem, &[NO_ANCHOR]).await;
    }
    for spec in [json!({}), json!(null)] {
        let object = json!({"metadata": {"name": world.namespace}, "spec": spec});
        refused(
            &world,
            &object,
            &[("spec.trustBundle", &omitted(NO_ANCHOR))],
        )
        .await;
    }
}

async fn text_between(world: World) {
    let pem = format!("one\n{}\ntwo\n{}three", ca("one").pem, ca("two").pem);
    content_accepted(&world, &pem).await;
    content_accepted(&world, ca("one").pem.trim_end()).await;
}

async fn carriage_returns(world: World) {
    content_accepted(&world, &ca("root").pem.replace('\n', "\r\n")).await;
}

async fn malformed_blocks(world: World) {
    let pem = ca("root").pem;
    let noise = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    content_refused(&world, noise, &[NO_ANCHOR]).await;
    content_accepted(&world, &format!("{noise}{pem}")).await;
    // A block begins at the beginning of a line, and its last line holds nothing else.
    content_refused(&world, &format!(" {pem}"), &[NO_ANCHOR]).await;
    content_refused(&world, &format!("{}x", pem.trim_end()), &[NO_ANCHOR]).await;
}

async fn other_blocks(world: World) {
    let pem = format!("{}{}", ca("root").pem, key(KeyType::P256).serialize_pem());
    content_refused(&world, &pem, &["entry 1 has bad block type: PRIVATE KEY"]).await;
}

async fn headers(world: World) {
    let begin = "-----BEGIN CERTIFICATE-----\n";
    let pem = ca("root")
        .pem
        .replace(begin, &format!("{begin}Key: value\n\n"));
    content_refused(&world, &pem, &["entry 0 has PEM block headers"]).await;
}

async fn unparsable(world: World) {
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    content_refused(&world, pem, &["entry 0 does not parse as X.509"]).await;
}

fn end_entity_of(world: &World) -> String {
    let now = world.now();
    let day = std::time::Duration::from_secs(86_400);
    leaf(&ca("issuer"), &key(KeyType::P256), now, now + day, &[])
}

async fn end_entity(world: World) {
    let pem = format!("{}{}", ca("root").pem, end_entity_of(&world));
    content_refused(&world, &pem, &["entry 1 does not have the CA bit set"]).await;
}

async fn duplicates(world: World) {
    let (one, two) = (ca("one").pem, ca("two").pem);
    let pem = format!("{one}{two}{one}");
    content_refused(&world, &pem, &["duplicate trust anchor (indices [0 2])"]).await;
    let pem = format!("{one}{two}{one}{two}{one}");
    content_refused(
        &world,
        &pem,
        &[
            "duplicate trust anchor (indices [0 2 4])",
            "duplicate trust anchor (indices [1 3])",
        ],
    )
    .await;
    // The same in other lines is the same.
    let pem = format!("{one}{}", one.replace('\n', "\r\n"));
    content_refused(&world, &pem, &["duplicate trust anchor (indices [0 1])"]).await;
}

async fn expired(world: World) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "old");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let old = params.self_signed(&key(KeyType::P256)).unwrap();
    content_accepted(&world, &old.pem()).await;
}

async fn several_bad(world: World) {
    let root = ca("root").pem;
    let pem = format!(
        "{root}{}{}{root}",
        end_entity_of(&world),
        key(KeyType::P256).serialize_pem()
    );
    // Duplicates are looked for among good blocks only.
    content_refused(
        &world,
        &pem,
        &[
            "entry 1 does not have the CA bit set",
            "entry 2 has bad block type: PRIVATE KEY",
        ],
    )
    .await;
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

async fn size(world: World) {
    let pem = ca("root").pem;
    let fitting = format!("{pem}{}", "#".repeat(1024 * 1024 - pem.len()));
    content_accepted(&world, &fitting).await;
    let object = bundle(&world.namespace, None, &format!("{fitting}#"));
    let why = "Too long: may not be more than 1048576 bytes";
    refused(&world, &object, &[("spec.trustBundle", why)]).await;
}

async fn types(world: World) {
    for spec in [
        json!({"trustBundle": 7}),
        json!({"signerName": 7}),
        json!("x"),
    ] {
        let object = json!({"metadata": {"name": world.namespace}, "spec": spec});
        let answer = ask(&world, &object).await;
        let message = answer.refused(400, "BadRequest");
        let start = format!(
            "ClusterTrustBundle in version {:?} cannot be handled as a ClusterTrustBundle: ",
            world.target.api.as_str()
        );
        assert!(message.starts_with(&start), "{message}");
    }
}

fn with_unknown_fields(world: &World) -> Value {
    let mut object = bundle(&world.namespace, None, &ca("root").pem);
    object["spec"]["more"] = 1.into();
    object["status"] = json!({});
    object
}

async fn unknown_fields(world: World) {
    let made = accepted(&world, &with_unknown_fields(&world)).await;
    assert_eq!(made["spec"].get("more"), None);
    assert_eq!(made.get("status"), None);
}

async fn strict(world: World) {
    let path = format!("{}?dryRun=All&fieldValidation=Strict", world.bundles());
    let fine = bundle(&world.namespace, None, &ca("root").pem);
    world.admin().post(&path, &fine).await.created();
    let answer = world
        .admin()
        .post(&path, &with_unknown_fields(&world))
        .await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        format!(
            "ClusterTrustBundle in version {:?} cannot be handled as a ClusterTrustBundle: strict decoding error: unknown field \"spec.more\", unknown field \"status\"",
            world.target.api.as_str()
        )
    );
}

async fn other_version(world: World) {
    let other = match world.target.api {
        ApiVersion::V1 => "v1beta1",
        ApiVersion::V1beta1 => "v1",
    };
    let mut object = bundle(&world.namespace, None, &ca("root").pem);
    object["kind"] = "ClusterTrustBundle".into();
    object["apiVersion"] = format!("certificates.k8s.io/{other}").into();
    let answer = ask(&world, &object).await;
    let message = answer.refused(400, "BadRequest");
    let expected = if world.target.release >= Release::V1_37 {
        format!(
            "the API version in the data (certificates.k8s.io/{other}) does not match the expected API version ({})",
            world.certificates_api()
        )
    } else {
        // Before 1.37 there is no such kind under v1.
        format!(
            "ClusterTrustBundle in version {other:?} cannot be handled as a ClusterTrustBundle: no kind \"ClusterTrustBundle\" is registered for version \"certificates.k8s.io/{other}\""
        )
    };
    assert!(message.starts_with(&expected), "{message}");

    object["apiVersion"] = world.certificates_api().into();
    object["kind"] = "PodCertificateRequest".into();
    let answer = ask(&world, &object).await;
    let message = answer.refused(400, "BadRequest");
    let start = format!(
        "PodCertificateRequest in version {:?} cannot be handled as a ClusterTrustBundle: ",
        world.target.api.as_str()
    );
    assert!(message.starts_with(&start), "{message}");
}

async fn namespace_ignored(world: World) {
    let mut object = bundle(&world.namespace, None, &ca("root").pem);
    object["metadata"]["namespace"] = "anywhere".into();
    let made = accepted(&world, &object).await;
    assert_eq!(made["metadata"].get("namespace"), None);
}

async fn no_status(world: World) {
    let (path, _) = stored(&world, "x").await;
    let answer = world.admin().get(&format!("{path}/status")).await;
    assert_eq!(
        answer.refused(404, "NotFound"),
        "the server could not find the requested resource"
    );
    remove(&world, &path).await;
}

async fn update_needs_version(world: World) {
    let (path, made) = stored(&world, "x").await;
    let name = made["metadata"]["name"].as_str().unwrap();
    for version in [None, Some("0")] {
        let mut object = made.clone();
        object["metadata"]["resourceVersion"] = version.into();
        let answer = world.admin().put(&path, &object).await;
        answer.invalid(&[(
            "metadata.resourceVersion",
            "Invalid value: 0: must be specified for an update",
        )]);
        // The one refusal of a field that names the resource, not the kind.
        assert_eq!(
            answer.body["message"],
            format!(
                "clustertrustbundles.certificates.k8s.io {name:?} is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
            )
        );
    }
    let mut object = made.clone();
    object["metadata"]["resourceVersion"] = "1".into();
    assert_eq!(
        world
            .admin()
            .put(&path, &object)
            .await
            .refused(409, "Conflict"),
        format!(
            "Operation cannot be fulfilled on clustertrustbundles.certificates.k8s.io {name:?}: the object has been modified; please apply your changes to the latest version and try again"
        )
    );
    remove(&world, &path).await;
}

async fn update_absent(world: World) {
    let object = bundle(&world.namespace, None, &ca("root").pem);
    let path = format!("{}/{}", world.bundles(), world.namespace);
    assert_eq!(
        world
            .admin()
            .put(&path, &object)
            .await
            .refused(404, "NotFound"),
        format!(
            "clustertrustbundles.certificates.k8s.io {:?} not found",
            world.namespace
        )
    );
}

async fn signer_immutable(world: World) {
    let (path, made) = stored(&world, "x").await;
    let name = made["metadata"]["name"].as_str().unwrap();
    let mut other = made.clone();
    other["spec"]["signerName"] = "example.com/other".into();
    world.admin().put(&path, &other).await.invalid(&[
        (
            "metadata.name",
            &invalid(
                name,
                "ClusterTrustBundle for signerName example.com/other must be named with prefix example.com:other:",
            ),
        ),
        (
            "spec.signerName",
            &invalid("example.com/other", "field is immutable"),
        ),
    ]);
    let mut none = made.clone();
    none["spec"]["signerName"] = Value::Null;
    world.admin().put(&path, &none).await.invalid(&[
        (
            "metadata.name",
            &invalid(
                name,
                "ClusterTrustBundle without signer name must not have \":\" in its name",
            ),
        ),
        ("spec.signerName", &invalid("", "field is immutable")),
    ]);
    remove(&world, &path).await;
}

async fn update_checked(world: World) {
    let (path, made) = stored(&world, "x").await;
    let admin = world.admin();
    let mut object = made.clone();
    object["spec"]["trustBundle"] = "".into();
    let answer = admin.put(&path, &object).await;
    answer.invalid(&[("spec.trustBundle", &omitted(NO_ANCHOR))]);
    let next = ca("next").pem;
    object["spec"]["trustBundle"] = format!("{next}{next}").into();
    admin.put(&path, &object).await.invalid(&[(
        "spec.trustBundle",
        &omitted("duplicate trust anchor (indices [0 1])"),
    )]);
    object["spec"]["trustBundle"] = next.clone().into();
    object["metadata"]["labels"] = json!({"a": "b"});
    let updated = admin.put(&path, &object).await.ok();
    assert_eq!(updated["spec"]["trustBundle"], next);
    assert_eq!(updated["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(updated["metadata"]["uid"], made["metadata"]["uid"]);
    assert_ne!(
        updated["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
    remove(&world, &path).await;
}

async fn unchanged(world: World) {
    let (path, made) = stored(&world, "x").await;
    let again = world.admin().put(&path, &made).await.ok();
    assert_eq!(
        again["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
    remove(&world, &path).await;
}

async fn update_generate_name(world: World) {
    let (path, mut made) = stored(&world, "x").await;
    let (signer, prefix) = signer(&world);
    made["metadata"]["generateName"] = "zz".into();
    let why =
        format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}");
    let answer = world.admin().put(&path, &made).await;
    answer.invalid(&[("metadata.generateName", &invalid("zz", &why))]);
    remove(&world, &path).await;
}

async fn patched(world: World) {
    let (path, made) = stored(&world, "x").await;
    let admin = world.admin();
    let next = ca("next").pem;
    let change = json!({"spec": {"trustBundle": next}});
    let patched = admin.patch(&path, "merge", &change).await.ok();
    assert_eq!(patched["spec"]["trustBundle"], next);
    assert_eq!(patched["spec"]["signerName"], made["spec"]["signerName"]);
    let old = json!({"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}});
    admin
        .patch(&path, "merge", &old)
        .await
        .refused(409, "Conflict");
    let bad = json!({"spec": {"trustBundle": "x"}});
    let answer = admin.patch(&path, "merge", &bad).await;
    answer.invalid(&[("spec.trustBundle", &omitted(NO_ANCHOR))]);
    remove(&world, &path).await;
}

async fn selected(world: World) {
    let (path, _) = stored(&world, "x").await;
    let plain = format!("{}/{}", world.bundles(), world.namespace);
    let admin = world.admin();
    admin
        .post(
            &world.bundles(),
            &bundle(&world.namespace, None, &ca("root").pem),
        )
        .await
        .created();
    let (signer, prefix) = signer(&world);
    let list = |selector: String| {
        let admin = admin.clone();
        let path = format!("{}?fieldSelector={selector}", world.bundles());
        async move { crate::objects::names(&admin.get(&path).await.ok()) }
    };
    let name = format!("{prefix}x");
    assert_eq!(
        list(format!("spec.signerName%3D{signer}")).await,
        std::slice::from_ref(&name)
    );
    assert_eq!(
        list(format!("metadata.name%3D{name}")).await,
        std::slice::from_ref(&name)
    );
    let unlinked = list("spec.signerName%3D".into()).await;
    assert!(unlinked.contains(&world.namespace), "{unlinked:?}");
    assert!(!unlinked.contains(&name), "{unlinked:?}");
    let others = list(format!("spec.signerName!%3D{signer}")).await;
    assert!(!others.contains(&name), "{others:?}");
    for field in ["metadata.namespace", "spec.trustBundle", "status"] {
        let path = format!("{}?fieldSelector={field}%3Dx", world.bundles());
        assert_eq!(
            admin.get(&path).await.refused(400, "BadRequest"),
            format!("field label not supported: {field}")
        );
    }
    remove(&world, &path).await;
    remove(&world, &plain).await;
}

async fn watched(world: World) {
    let (signer, prefix) = signer(&world);
    let admin = world.admin();
    let list = admin.get(&world.bundles()).await.ok();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!(
        "{}?fieldSelector=spec.signerName%3D{signer}&resourceVersion={version}",
        world.bundles()
    );
    let mut changes = admin.watch(&path).await.unwrap();
    let plain = bundle(&world.namespace, None, &ca("root").pem);
    admin.post(&world.bundles(), &plain).await.created();
    let (path, _) = stored(&world, "x").await;
    remove(&world, &path).await;
    remove(&world, &format!("{}/{}", world.bundles(), world.namespace)).await;
    let name = format!("{prefix}x");
    for expected in ["ADDED", "DELETED"] {
        let (kind, object) = changes.next().await.unwrap();
        assert_eq!(kind, expected);
        assert_eq!(object["metadata"]["name"], name);
    }
}

async fn deleted(world: World) {
    let (path, made) = stored(&world, "x").await;
    let name = made["metadata"]["name"].as_str().unwrap();
    let status = world.admin().delete(&path).await.ok();
    assert_eq!(status["kind"], "Status");
    assert_eq!(status["status"], "Success");
    assert_eq!(
        status["details"],
        json!({
            "name": name,
            "group": "certificates.k8s.io",
            "kind": "clustertrustbundles",
            "uid": made["metadata"]["uid"],
        })
    );
    assert_eq!(
        world.admin().delete(&path).await.refused(404, "NotFound"),
        format!("clustertrustbundles.certificates.k8s.io {name:?} not found")
    );
}
