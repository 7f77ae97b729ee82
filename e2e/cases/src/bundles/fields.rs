//! The form of a bundle's JSON: types, unknown fields, API version, what bundles do not have.

use serde_json::{Value, json};

use super::{accepted, ask, bundle, remove, stored};
use crate::material::ca;
use crate::{ApiVersion, Case, Release, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("bundles/fields-have-their-types", types),
        Case::new("bundles/unknown-fields-are-dropped", unknown_fields),
        Case::new("bundles/unknown-fields-are-refused-strictly", strict),
        Case::new(
            "bundles/the-body-is-of-the-version-in-the-path",
            other_version,
        ),
        Case::new("bundles/a-namespace-is-ignored", namespace_ignored),
        Case::new("bundles/there-is-no-status", no_status),
    ]
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
    let (path, _) = stored(&world).await;
    let answer = world.admin().get(&format!("{path}/status")).await;
    assert_eq!(
        answer.refused(404, "NotFound"),
        "the server could not find the requested resource"
    );
    remove(&world, &path).await;
}
