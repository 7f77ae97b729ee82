//! The manifests of deploy/examples run as they are, and so would meshtool's own.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a panic in a test is its report"
)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{World, is_ready, trust_bundle_of};
use kube::ResourceExt;
use podcert_pki::{CredentialBundle, TrustBundle};
use podcert_sandbox::Images;
use tokio::time::sleep;

const UNAUTH: &str = include_str!("../../../deploy/examples/service-dns-unauth-client.yaml");
const SPIFFE: &str = include_str!("../../../deploy/examples/service-dns-spiffe-client.yaml");

async fn world(image: &str) -> World {
    let images = Images::new().with(image, "/none");
    let world = World::with(|options| options.images = images).await;
    for (name, labels) in [
        ("service-dns", "{service-dns.row-major.net/canarying: live}"),
        (
            "spiffe",
            "{spiffe.row-major.net/canarying: live, spiffe.row-major.net/trust-domain: cluster.local}",
        ),
    ] {
        let signer = format!("signerName: row-major.net/{name}");
        let bundle = format!("row-major.net:{name}:primary-bundle");
        world
            .apply(&trust_bundle_of(&bundle, &signer, labels).0)
            .await;
    }
    world
}

async fn both_run(world: &World, unauth: &str, spiffe: &str) {
    world.apply(unauth).await;
    world.apply(spiffe).await;
    sleep(Duration::from_secs(10)).await;
    let pods = world.pods().await;
    let mut count = BTreeMap::new();
    for pod in &pods {
        assert!(is_ready(pod), "{:?}", pod.status);
        let key = (pod.namespace().unwrap(), pod.labels()["app"].clone());
        *count.entry(key).or_insert(0) += 1;
        let read = |volume: &str, file: &str| {
            std::fs::read_to_string(world.file(pod, volume, file)).unwrap()
        };
        match (
            pod.namespace().unwrap().as_str(),
            pod.labels()["app"].as_str(),
        ) {
            ("service-dns-unauth-client", "server") => {
                CredentialBundle::from_pem(read("service-tls-creds", "creds.pem")).unwrap();
            }
            ("service-dns-unauth-client", _) => {
                TrustBundle::from_pem(read("service-dns-trustbundle", "trust.pem")).unwrap();
            }
            (_, "server") => {
                let creds = read("tls-config", "service-dns-cred-bundle.pem");
                let bundle = CredentialBundle::from_pem(creds).unwrap();
                assert_eq!(
                    bundle.key().public_key().key_type().to_string(),
                    "ECDSAP256"
                );
                TrustBundle::from_pem(read("tls-config", "spiffe-trust-bundle.pem")).unwrap();
            }
            (_, _) => {
                let creds = read("tls-config", "spiffe-cred-bundle.pem");
                let bundle = CredentialBundle::from_pem(creds).unwrap();
                assert_eq!(bundle.key().public_key().key_type().to_string(), "ED25519");
                TrustBundle::from_pem(read("tls-config", "service-dns-trust-bundle.pem")).unwrap();
            }
        }
    }
    let of = |namespace: &str, app: &str| count[&(namespace.to_owned(), app.to_owned())];
    assert_eq!(of("service-dns-unauth-client", "server"), 1);
    assert_eq!(of("service-dns-unauth-client", "client"), 1);
    assert_eq!(of("service-dns-spiffe-client", "server"), 3);
    assert_eq!(of("service-dns-spiffe-client", "client"), 3);
    assert!(world.sandbox.report().refusals.is_empty());
}

#[tokio::test(start_paused = true)]
async fn our_examples_run() {
    let world = world("ghcr.io/podcert/podcert").await;
    both_run(&world, UNAUTH, SPIFFE).await;
    let launches = world.tasks.launches.lock().unwrap().clone();
    let server = launches
        .iter()
        .find(|launch| launch.argv[1] == "demo-server")
        .unwrap();
    assert_eq!(server.argv[0], "/podcert");
    assert_eq!(server.argv[2], "--listen=0.0.0.0:443");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn manifests_with_meshtools_image_by_digest_and_its_command_run() {
    let digest = format!(
        "ghcr.io/ahmedtd/meshtool@sha256:{}",
        "0123456789abcdef".repeat(4)
    );
    let world = world("ghcr.io/ahmedtd/meshtool").await;
    let theirs = |text: &str| {
        let text = text.replace("ghcr.io/podcert/podcert:0.1.0", &digest);
        text.replace("- /podcert\n", "- /meshtool\n")
    };
    both_run(&world, &theirs(UNAUTH), &theirs(SPIFFE)).await;
    let launches = world.tasks.launches.lock().unwrap().clone();
    assert!(launches.iter().all(|launch| launch.argv[0] == "/meshtool"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn applying_again_replaces_and_keeps_the_pods() {
    let world = world("ghcr.io/podcert/podcert").await;
    world.apply(UNAUTH).await;
    sleep(Duration::from_secs(10)).await;
    let names = |pods: Vec<k8s_openapi::api::core::v1::Pod>| -> Vec<_> {
        pods.iter().map(ResourceExt::name_any).collect()
    };
    let before = names(world.pods().await);
    let applied = world.sandbox.apply(UNAUTH).await.unwrap();
    assert!(
        applied
            .iter()
            .all(|one| one.change == podcert_sandbox::Change::Replaced)
    );
    assert_eq!(
        applied[1].to_string(),
        "Service service-dns-unauth-client/server replaced"
    );
    sleep(Duration::from_secs(10)).await;
    assert_eq!(names(world.pods().await), before);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_cannot_be_applied_says_which_document_and_why() {
    let world = world("img").await;
    let good = "apiVersion: v1\nkind: Namespace\nmetadata: {name: fine}\n";
    for (bad, expected) in [
        ("kind: Namespace", "document 2: apiVersion is missing"),
        (
            "apiVersion: v1\nkind: Namespace",
            "document 2: metadata.name is missing",
        ),
        (
            "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}",
            "document 2: the sandbox has no kind \"Job\" of apiVersion \"batch/v1\"",
        ),
        ("a: [", "the manifest is no YAML"),
        ("just text", "document 2: apiVersion is missing"),
    ] {
        let error = world
            .sandbox
            .apply(&format!("{good}---\n{bad}\n"))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        let fine = kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(world.sandbox.admin());
        assert!(
            fine.get_opt("fine").await.unwrap().is_none(),
            "nothing was changed"
        );
    }
    let refused = "apiVersion: v1\nkind: Service\nmetadata: {name: UPPER}\nspec: {}\n";
    let error = world.sandbox.apply(refused).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("document 1: Service \"UPPER\" was refused"),
        "{error}"
    );
    let empty = world.sandbox.apply("---\n# nothing\n---\n").await.unwrap();
    assert!(empty.is_empty());
    world.end().await;
}
