//! Lists and watches of the bundles of one signer.

use super::{bundle, remove, signer, stored};
use crate::material::ca;
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("bundles/they-are-selected-by-signer", selected),
        Case::new("bundles/a-watch-by-signer-sees-no-other", watched),
    ]
}

async fn selected(world: World) {
    let (path, _) = stored(&world).await;
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
        async move { crate::samples::names(&admin.get(&path).await.ok()) }
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
    let (path, _) = stored(&world).await;
    remove(&world, &path).await;
    remove(&world, &format!("{}/{}", world.bundles(), world.namespace)).await;
    let name = format!("{prefix}x");
    for expected in ["ADDED", "DELETED"] {
        let (kind, object) = changes.next().await.unwrap();
        assert_eq!(kind, expected);
        assert_eq!(object["metadata"]["name"], name);
    }
}
