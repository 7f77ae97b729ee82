//! What a bundle may hold: PEM blocks, each an authority's certificate, each once.
//!
//! The server reads as Go's `pem` does: what is no block is text, and text is fine.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa};
use serde_json::json;

use super::{NO_ANCHOR, accepted, bundle, omitted, refused};
use crate::material::{KeyType, ca, key, leaf};
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
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
        Case::new("bundles/a-mebibyte-fits", size),
    ]
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

async fn size(world: World) {
    let pem = ca("root").pem;
    let fitting = format!("{pem}{}", "#".repeat(1024 * 1024 - pem.len()));
    content_accepted(&world, &fitting).await;
    let object = bundle(&world.namespace, None, &format!("{fitting}#"));
    let why = "Too long: may not be more than 1048576 bytes";
    refused(&world, &object, &[("spec.trustBundle", why)]).await;
}
