//! What a server says it serves.

use serde_json::json;

use crate::{ApiVersion, Case, Release, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("discovery/version-names-the-release", version),
        Case::new("discovery/certificates-are-served", served),
        Case::new("discovery/everything-may-be-asked-for-at-once", aggregated),
        Case::new("discovery/openapi-names-fields-and-options", openapi),
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

async fn aggregated(world: World) {
    let accept =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let core = world.admin().get_as("/api", accept).await.ok();
    assert_eq!(core["kind"], "APIGroupDiscoveryList");
    assert_eq!(core["apiVersion"], "apidiscovery.k8s.io/v2");
    let resources = core["items"][0]["versions"][0]["resources"]
        .as_array()
        .unwrap();
    let pods = resources
        .iter()
        .find(|it| it["resource"] == "pods")
        .unwrap();
    assert_eq!(pods["scope"], "Namespaced");
    assert_eq!(pods["responseKind"]["kind"], "Pod");
    assert_eq!(pods["singularResource"], "pod");
    assert_eq!(pods["shortNames"], json!(["po"]));
    assert_eq!(pods["categories"], json!(["all"]));
    let status = pods["subresources"].as_array().unwrap();
    let status = status.iter().find(|it| it["subresource"] == "status");
    assert_eq!(status.unwrap()["verbs"], json!(["get", "patch", "update"]));

    let groups = world.admin().get_as("/apis", accept).await.ok();
    let groups = groups["items"].as_array().unwrap();
    let certificates = groups
        .iter()
        .find(|it| it["metadata"]["name"] == "certificates.k8s.io")
        .unwrap();
    let versions = certificates["versions"].as_array().unwrap();
    let version = versions
        .iter()
        .find(|it| it["version"] == world.target.api.as_str())
        .unwrap();
    let names: Vec<&str> = version["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["resource"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"clustertrustbundles"), "{names:?}");
}

async fn openapi(world: World) {
    let index = world.admin().get("/openapi/v3").await.ok();
    let url = index["paths"][format!("apis/{}", world.certificates_api())]["serverRelativeURL"]
        .as_str()
        .unwrap()
        .to_owned();
    let document = world.admin().get(&url).await.ok();
    let version = world.target.api.as_str();
    let name = format!("io.k8s.api.certificates.{version}.PodCertificateRequest");
    let schema = &document["components"]["schemas"][&name];
    let gvk = json!({
        "group": "certificates.k8s.io", "version": version, "kind": "PodCertificateRequest",
    });
    assert_eq!(schema["x-kubernetes-group-version-kind"], json!([gvk]));
    let spec = &document["components"]["schemas"][format!("{name}Spec")]["properties"];
    assert_eq!(spec["podName"]["type"], "string");
    assert_eq!(spec["maxExpirationSeconds"]["format"], "int32");
    let path = format!(
        "/apis/{}/namespaces/{{namespace}}/podcertificaterequests/{{name}}",
        world.certificates_api()
    );
    let patch = &document["paths"][&path]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"], gvk);
    let options: Vec<&str> = patch["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert!(options.contains(&"fieldValidation"), "{options:?}");
    let media = patch["requestBody"]["content"].as_object().unwrap();
    assert!(media.contains_key("application/strategic-merge-patch+json"));
}
