//! Reading one object: what is absent, and metadata alone.

use serde_json::json;

use super::{CREATED_BY_UPDATE, details, map};
use crate::samples::samples;
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("objects/one-that-is-absent-is-not-found", absent),
        Case::new("objects/metadata-can-be-read-alone", metadata_only),
    ]
}

async fn absent(world: World) {
    let admin = world.admin();
    for (path, resource, object) in samples(&world) {
        let path = format!("{path}/x");
        let message = format!("{resource} \"x\" not found");
        for answer in [
            admin.get(&path).await,
            admin.delete(&path).await,
            admin
                .patch(&path, "merge", &json!({"metadata": {"labels": {"a": "b"}}}))
                .await,
        ] {
            assert_eq!(answer.refused(404, "NotFound"), message);
            assert_eq!(answer.body["details"], details(resource));
        }
        if !CREATED_BY_UPDATE.contains(&resource) {
            let answer = admin.put(&path, &object).await;
            assert_eq!(answer.refused(404, "NotFound"), message);
        }
    }
}

async fn metadata_only(world: World) {
    let (path, made) = map(&world, "a").await;
    let admin = world.admin();
    let alone = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let found = admin.get_as(&path, alone).await.ok();
    assert_eq!(
        found,
        json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": made["metadata"],
        })
    );
    let list = admin
        .get_as(
            &world.core("configmaps"),
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        )
        .await
        .ok();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert!(list["items"].as_array().unwrap().contains(&found), "{list}");
    // What is asked for has a group and a version, and is one or many as the path is.
    for media in [
        "application/json;as=PartialObjectMetadata;v=v1",
        "application/json;as=Nonsense;g=meta.k8s.io;v=v1",
    ] {
        assert_eq!(
            admin
                .get_as(&path, media)
                .await
                .refused(406, "NotAcceptable"),
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        );
        let either = format!("{media},application/json");
        assert_eq!(admin.get_as(&path, &either).await.ok(), made);
    }
}
