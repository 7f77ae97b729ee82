//! What a ClusterTrustBundle must be: one test per rule.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic in a test is its report"
)]

mod common;

use std::sync::Arc;

use common::certificates::*;
use common::*;
use k8s_openapi::api::certificates::v1::ClusterTrustBundle;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use podcert_apiserver::{Attributes, Authorizer, Permission, User};
use serde_json::json;

const NAME: &str = "example.com:signer:primary";

fn bundle(name: &str, signer: Option<&str>, pem: &str) -> ClusterTrustBundle {
    from(json!({
        "metadata": {"name": name},
        "spec": {"signerName": signer, "trustBundle": pem},
    }))
}

fn linked(pem: &str) -> ClusterTrustBundle {
    bundle(NAME, Some(SIGNER), pem)
}

fn bundles(client: Client) -> Api<ClusterTrustBundle> {
    Api::all(client)
}

async fn created(object: &ClusterTrustBundle) -> ClusterTrustBundle {
    let (_, client) = world();
    bundles(client)
        .create(&post(), object)
        .await
        .expect("created")
}

/// Refused with this one cause.
async fn refused(object: &ClusterTrustBundle, field: &str, message: &str) {
    let (_, client) = world();
    let status = refusal(bundles(client).create(&post(), object).await);
    assert_eq!(causes(&status), [(field.to_owned(), message.to_owned())]);
    assert!(
        status.message.starts_with(&format!(
            "ClusterTrustBundle.certificates.k8s.io {:?} is invalid: {field}: ",
            object.name_any()
        )),
        "{}",
        status.message
    );
}

async fn bundle_refused(pem: &str, why: &str) {
    let message = format!("Invalid value: \"<value omitted>\": {why}");
    refused(&linked(pem), "spec.trustBundle", &message).await;
}

#[tokio::test(start_paused = true)]
async fn a_linked_bundle_is_named_after_its_signer() {
    let pem = ca("root").pem;
    let made = created(&linked(&pem)).await;
    assert_eq!(made.spec.trust_bundle, pem);
    refused(
        &bundle("example.com:other:primary", Some(SIGNER), &pem),
        "metadata.name",
        "Invalid value: \"example.com:other:primary\": ClusterTrustBundle for signerName example.com/signer must be named with prefix example.com:signer:",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_follows_the_prefix_is_a_subdomain() {
    refused(
        &bundle("example.com:signer:a:b", Some(SIGNER), &ca("root").pem),
        "metadata.name",
        "Invalid value: \"example.com:signer:a:b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_unlinked_bundle_has_no_colon_in_its_name() {
    let pem = ca("root").pem;
    created(&bundle("plain", None, &pem)).await;
    refused(
        &bundle("a:b", None, &pem),
        "metadata.name",
        "Invalid value: \"a:b\": ClusterTrustBundle without signer name must not have \":\" in its name",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_signer_name_is_checked() {
    refused(
        &bundle("noslash:x", Some("noslash"), &ca("root").pem),
        "spec.signerName",
        "Invalid value: \"noslash\": must be a fully qualified domain and path of the form 'example.com/signer-name'",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_bundle_needs_an_anchor() {
    bundle_refused("", "at least one trust anchor must be provided").await;
    bundle_refused("just text", "at least one trust anchor must be provided").await;
}

#[tokio::test(start_paused = true)]
async fn several_anchors_and_text_between_them_are_fine() {
    let pem = format!("first\n{}\nsecond\n{}", ca("one").pem, ca("two").pem);
    created(&linked(&pem)).await;
}

#[tokio::test(start_paused = true)]
async fn expired_anchors_are_fine() {
    let mut old = ca("old");
    old.params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    old.params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    created(&linked(
        &old.params
            .self_signed(&old.key)
            .expect("a certificate")
            .pem(),
    ))
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_key_is_no_anchor() {
    let ca = ca("root");
    let pem = format!("{}{}", ca.pem, ca.key.serialize_pem());
    bundle_refused(&pem, "entry 1 has bad block type: PRIVATE KEY").await;
}

#[tokio::test(start_paused = true)]
async fn pem_headers_are_refused() {
    let pem = ca("root")
        .pem
        .replace("CERTIFICATE-----\n", "CERTIFICATE-----\nKey: value\n\n");
    let pem = pem.replace(
        "-----END CERTIFICATE-----\nKey: value\n\n",
        "-----END CERTIFICATE-----\n",
    );
    bundle_refused(&pem, "entry 0 has PEM block headers").await;
}

#[tokio::test(start_paused = true)]
async fn an_anchor_must_parse() {
    bundle_refused(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "entry 0 does not parse as X.509",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_anchor_is_a_ca() {
    let root = ca("root");
    let leaf = leaf(&root, &p256(), 0, 3600, &["a"]);
    bundle_refused(
        &format!("{}{leaf}", root.pem),
        "entry 1 does not have the CA bit set",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_anchor_comes_once() {
    let (one, two) = (ca("one").pem, ca("two").pem);
    bundle_refused(
        &format!("{one}{two}{one}"),
        "duplicate trust anchor (indices [0 2])",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_bundle_has_a_mebibyte_at_most() {
    let pem = ca("root").pem;
    let fitting = format!("{pem}{}", "#".repeat(1024 * 1024 - pem.len()));
    created(&linked(&fitting)).await;
    refused(
        &linked(&format!("{fitting}#")),
        "spec.trustBundle",
        "Too long: may not be more than 1048576 bytes",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_signer_never_changes() {
    let (_, client) = world();
    let bundles = bundles(client);
    let pem = ca("root").pem;
    let mut made = bundles
        .create(&post(), &linked(&pem))
        .await
        .expect("created");
    made.spec.signer_name = Some("example.com/other".into());
    let causes = causes(&refusal(bundles.replace(NAME, &post(), &made).await));
    assert!(causes.contains(&(
        "spec.signerName".to_owned(),
        "Invalid value: \"example.com/other\": field is immutable".to_owned()
    )));
}

#[tokio::test(start_paused = true)]
async fn an_update_is_checked_and_needs_a_version() {
    let (_, client) = world();
    let bundles = bundles(client);
    let mut made = bundles
        .create(&post(), &linked(&ca("root").pem))
        .await
        .expect("created");
    let mut empty = made.clone();
    empty.spec.trust_bundle = "none".into();
    let status = refusal(bundles.replace(NAME, &post(), &empty).await);
    assert_eq!(causes(&status)[0].0, "spec.trustBundle");

    made.spec.trust_bundle = ca("next").pem;
    let updated = bundles
        .replace(NAME, &post(), &made)
        .await
        .expect("replaced");
    assert_eq!(updated.spec.trust_bundle, made.spec.trust_bundle);
    made.metadata.resource_version = None;
    let status = refusal(bundles.replace(NAME, &post(), &made).await);
    assert_eq!(causes(&status)[0].0, "metadata.resourceVersion");
}

#[tokio::test(start_paused = true)]
async fn bundles_are_selected_by_signer_and_label() {
    let (_, client) = world();
    let bundles = bundles(client);
    let pem = ca("root").pem;
    let mut live = linked(&pem);
    live.labels_mut().insert("canarying".into(), "live".into());
    bundles.create(&post(), &live).await.expect("created");
    bundles
        .create(&post(), &bundle("plain", None, &pem))
        .await
        .expect("created");
    let names = |params: ListParams| {
        let bundles = bundles.clone();
        async move {
            let list = bundles.list(&params).await.expect("listed");
            list.items
                .iter()
                .map(ResourceExt::name_any)
                .collect::<Vec<_>>()
        }
    };
    let by_signer = ListParams::default().fields("spec.signerName=example.com/signer");
    assert_eq!(names(by_signer.clone()).await, [NAME]);
    assert_eq!(names(by_signer.labels("canarying=canary")).await, [""; 0]);
    assert_eq!(
        names(ListParams::default().fields("spec.signerName=")).await,
        ["plain"]
    );
}

/// Only `publisher` may attest.
#[derive(Debug)]
struct OnlyPublisher;

impl Authorizer for OnlyPublisher {
    fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> Permission {
        if attributes.verb == "attest" {
            assert_eq!(
                (attributes.group, attributes.resource),
                ("certificates.k8s.io", "signers")
            );
        }
        match attributes.verb {
            "attest" if user.name != "publisher" || attributes.name != SIGNER => Permission::Denied,
            _ => Permission::Allowed,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_not_attest_writes_no_linked_bundle() {
    let api = builder().authorizer(Arc::new(OnlyPublisher)).build();
    let mallory = bundles(client_of(&api, User::new("mallory")));
    let publisher = bundles(client_of(&api, User::new("publisher")));
    let pem = ca("root").pem;

    let status = refusal(mallory.create(&post(), &linked(&pem)).await);
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        status.message,
        "clustertrustbundles.certificates.k8s.io \"example.com:signer:primary\" is forbidden: user not permitted to attest for signerName \"example.com/signer\""
    );
    mallory
        .create(&post(), &bundle("plain", None, &pem))
        .await
        .expect("an unlinked one is free");

    let made = publisher
        .create(&post(), &linked(&pem))
        .await
        .expect("created");
    let mut change = made.clone();
    change.spec.trust_bundle = ca("evil").pem;
    assert_eq!(
        refusal(mallory.replace(NAME, &post(), &change).await).code,
        403
    );
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let patched = mallory
        .patch(NAME, &PatchParams::default(), &Patch::Merge(&label))
        .await;
    assert_eq!(refusal(patched).code, 403);

    // What the garbage collector does needs no permission to attest.
    let finalizer = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    mallory
        .patch(NAME, &PatchParams::default(), &Patch::Merge(&finalizer))
        .await
        .expect("a finalizer");
    mallory
        .delete(NAME, &DeleteParams::default())
        .await
        .expect("marked");
    publisher
        .patch(
            NAME,
            &PatchParams::default(),
            &Patch::Merge(&json!({"metadata": {"finalizers": null}})),
        )
        .await
        .expect("freed");
    assert_eq!(refusal(publisher.get(NAME).await).code, 404);
}
