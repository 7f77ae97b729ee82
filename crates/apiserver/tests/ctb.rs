//! Who may write the ClusterTrustBundles of a signer, told by a plugged-in authorizer. What a bundle
//! must be, the shared cases tell.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic in a test is its report"
)]

mod common;

use std::sync::Arc;

use common::*;
use k8s_openapi::api::certificates::v1::ClusterTrustBundle;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use podcert_apiserver::{Attributes, Authorizer, Permission, User};
use podcert_cases::material::{SIGNER, ca};
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
