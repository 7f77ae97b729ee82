//! ClusterTrustBundles: what one must be, and what an update of one may do.
//!
//! What may be told without storing anything is told by dry runs: bundles have no namespace that
//! would take them away after the case.

mod content;
mod fields;
mod names;
mod selection;
mod updates;

use serde_json::{Value, json};

use crate::material::ca;
use crate::{Answer, Case, World};

pub(crate) fn cases() -> Vec<Case> {
    [
        names::cases(),
        content::cases(),
        fields::cases(),
        updates::cases(),
        selection::cases(),
    ]
    .concat()
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

fn omitted(why: &str) -> String {
    format!("Invalid value: \"<value omitted>\": {why}")
}

fn invalid(value: &str, why: &str) -> String {
    format!("Invalid value: {value:?}: {why}")
}

/// A bundle of this world's signer that is stored; the caller removes it.
async fn stored(world: &World) -> (String, Value) {
    let (signer, prefix) = signer(world);
    let name = format!("{prefix}x");
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

/// What a bundle without a certificate is told.
const NO_ANCHOR: &str = "at least one trust anchor must be provided";
