//! What a server says it serves.

use crate::{ApiVersion, Case, Release, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("discovery/version-names-the-release", version),
        Case::new("discovery/certificates-are-served", served),
        Case::new("discovery/v1-is-preferred", |world: World| async move {
            let group = world.admin().get("/apis/certificates.k8s.io").await.ok();
            assert_eq!(group["preferredVersion"]["version"], "v1", "{group}");
        })
        // Before, v1 holds CertificateSigningRequests alone, and is preferred all the same.
        .only(|target| target.api == ApiVersion::V1 || target.release < Release::V1_37),
    ]
}

async fn version(world: World) {
    let version = world.admin().get("/version").await.ok();
    let found = format!(
        "{}.{}",
        version["major"].as_str().unwrap(),
        version["minor"].as_str().unwrap()
    );
    assert_eq!(found, world.target.release.as_str(), "{version}");
}

async fn served(world: World) {
    let path = format!("/apis/{}", world.certificates_api());
    let list = world.admin().get(&path).await.ok();
    let names: Vec<&str> = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| resource["name"].as_str().unwrap())
        .collect();
    for name in [
        "podcertificaterequests",
        "podcertificaterequests/status",
        "clustertrustbundles",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
}
