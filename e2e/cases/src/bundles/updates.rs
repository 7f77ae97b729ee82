//! What becomes of a stored bundle: updates, patches, deletion.

use serde_json::{Value, json};

use super::{NO_ANCHOR, bundle, invalid, omitted, remove, signer, stored};
use crate::material::ca;
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
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
        Case::new("bundles/deletion-answers-with-a-status", deleted),
    ]
}

async fn update_needs_version(world: World) {
    let (path, made) = stored(&world).await;
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
    let (path, made) = stored(&world).await;
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
    let (path, made) = stored(&world).await;
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
    let (path, made) = stored(&world).await;
    let again = world.admin().put(&path, &made).await.ok();
    assert_eq!(
        again["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
    remove(&world, &path).await;
}

async fn update_generate_name(world: World) {
    let (path, mut made) = stored(&world).await;
    let (signer, prefix) = signer(&world);
    made["metadata"]["generateName"] = "zz".into();
    let why =
        format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}");
    let answer = world.admin().put(&path, &made).await;
    answer.invalid(&[("metadata.generateName", &invalid("zz", &why))]);
    remove(&world, &path).await;
}

async fn patched(world: World) {
    let (path, made) = stored(&world).await;
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

async fn deleted(world: World) {
    let (path, made) = stored(&world).await;
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
