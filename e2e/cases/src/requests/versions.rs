//! One request under two versions: 1.37 shows the same objects as v1 and, on request, as v1beta1.
//!
//! The target's version is v1beta1, so that both are served; the other one is v1.

use serde_json::{Value, json};

use super::keys::set_bare;
use super::scene::Scene;
use super::{invalid, proper};
use crate::material::{KeyType, key};
use crate::{ApiVersion, Case, Release, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("request-versions/show-the-same-request", |world: World| async move {
            let beta = world.admin().post(&world.requests(), &proper(&world)).await.created();
            let stable = world.admin().get(&at_v1(&world, "/a")).await.ok();
            assert_eq!(stable, as_v1(&beta));
        }),
        Case::new("request-versions/take-the-same-request", |world: World| async move {
            let mut object = proper(&world);
            object["apiVersion"] = V1.into();
            let stable = world.admin().post(&at_v1(&world, ""), &object).await.created();
            assert_eq!(stable["apiVersion"], V1);
            let beta = world.admin().get(&format!("{}/a", world.requests())).await.ok();
            assert_eq!(beta["apiVersion"], world.certificates_api());
            assert_eq!(as_v1(&beta), stable);
        }),
        Case::new("request-versions/v1-shows-a-bare-key-as-none", |world: World| async move {
            let beta = bare(&world).await;
            let stable = world.admin().get(&at_v1(&world, "/a")).await.ok();
            assert_eq!(stable, as_v1(&beta));
            assert_eq!(stable["spec"].get("stubPKCS10Request"), Some(&Value::Null));
        }),
        Case::new("request-versions/v1-cannot-touch-a-bare-key", |world: World| async move {
            let beta = bare(&world).await;
            let path = at_v1(&world, "/a");
            let caller = world.admin();
            let mut stable = caller.get(&path).await.ok();
            let immutable = &[("spec", "Invalid value: {}: field is immutable")];
            // Not even by writing back what was read, and not the metadata alone.
            invalid(&caller.put(&path, &stable).await, immutable);
            stable["metadata"]["labels"] = json!({"a": "b"});
            invalid(&caller.put(&path, &stable).await, immutable);
            let patch = json!({"metadata": {"labels": {"a": "b"}}});
            invalid(&caller.patch(&path, "merge", &patch).await, immutable);
            let after = caller.get(&format!("{}/a", world.requests())).await.ok();
            assert_eq!(after, beta);
            // At v1beta1 it can be done.
            let path = format!("{}/a", world.requests());
            let after = caller.patch(&path, "merge", &patch).await.ok();
            assert_eq!(after["spec"], beta["spec"]);
        }),
        Case::new("request-versions/v1-answers-a-bare-key", |world: World| async move {
            let key = key(KeyType::P256);
            let scene = Scene::begin_with_key_form(world, key, set_bare).await;
            let mut body = scene.body(&scene.issued());
            body["apiVersion"] = V1.into();
            let path = at_v1(&scene.world, "/a/status");
            let after = scene.world.admin().put(&path, &body).await.ok();
            assert_eq!(after["status"], body["status"]);
            let beta = scene.read().await;
            assert_eq!(beta["spec"], scene.created["spec"]);
            assert_eq!(beta["status"], body["status"]);
        }),
        Case::new("request-versions/status-is-written-at-either", |world: World| async move {
            let scene = Scene::begin(world).await;
            let status = json!({"conditions": [scene.condition("Denied")]});
            let path = at_v1(&scene.world, "/a/status");
            let patch = json!({"status": status});
            let after = scene.world.admin().patch(&path, "merge", &patch).await.ok();
            assert_eq!(after["apiVersion"], V1);
            let read = scene.read().await;
            assert_eq!(as_v1(&read), after);
            // The same again, at the other version, is no change.
            let again = scene.world.admin().patch(&scene.path(), "merge", &patch).await.ok();
            assert_eq!(again, read);
        }),
        Case::new("request-versions/body-is-of-the-paths-version", |world: World| async move {
            let answer = world.admin().post(&at_v1(&world, ""), &proper(&world)).await;
            assert_eq!(
                answer.refused(400, "BadRequest"),
                "the API version in the data (certificates.k8s.io/v1beta1) does not match the expected API version (certificates.k8s.io/v1)"
            );
        }),
        Case::new("request-versions/lists-show-each-others", |world: World| async move {
            let beta = bare(&world).await;
            let list = world.admin().get(&at_v1(&world, "")).await.ok();
            assert_eq!(list["apiVersion"], V1);
            assert_eq!(list["items"].as_array().unwrap().len(), 1);
            let item = &list["items"][0];
            assert_eq!(item["metadata"], beta["metadata"]);
            assert_eq!(item["spec"].get("pkixPublicKey"), None, "{list}");
            let list = world.admin().get(&world.requests()).await.ok();
            assert_eq!(list["apiVersion"], world.certificates_api());
            assert_eq!(list["items"][0]["spec"], beta["spec"]);
        }),
        Case::new("request-versions/selectors-work-at-either", |world: World| async move {
            bare(&world).await;
            for path in [at_v1(&world, ""), world.requests()] {
                for (selector, count) in [
                    ("spec.signerName=example.com/signer", 1),
                    ("spec.signerName=example.com/other", 0),
                    ("spec.podName=web-0,spec.nodeName=node-0", 1),
                    ("spec.nodeName!=node-0", 0),
                ] {
                    let path = format!("{path}?fieldSelector={}", selector.replace('=', "%3D"));
                    let list = world.admin().get(&path).await.ok();
                    let items = list["items"].as_array().unwrap();
                    assert_eq!(items.len(), count, "{path}: {list}");
                }
            }
        }),
        Case::new("request-versions/watches-show-each-others", watches),
        Case::new("request-versions/delete-works-at-either", |world: World| async move {
            let caller = world.admin();
            caller.post(&world.requests(), &proper(&world)).await.created();
            caller.delete(&at_v1(&world, "/a")).await.ok();
            caller.get(&format!("{}/a", world.requests())).await.refused(404, "NotFound");
        }),
        Case::new("bundle-versions/show-the-same-bundle", |world: World| async move {
            let caller = world.admin();
            let ca = crate::material::ca("root");
            let object = json!({
                "metadata": {"name": world.namespace},
                "spec": {"trustBundle": ca.pem},
            });
            let beta = caller.post(&world.bundles(), &object).await.created();
            assert_eq!(beta["apiVersion"], world.certificates_api());
            let path = format!("/apis/{V1}/clustertrustbundles/{}", world.namespace);
            let stable = caller.get(&path).await.ok();
            assert_eq!(stable, as_v1(&beta));
            let labels = json!({"metadata": {"labels": {"a": "b"}}});
            let stable = caller.patch(&path, "merge", &labels).await.ok();
            assert_eq!(stable["apiVersion"], V1);
            let path = format!("{}/{}", world.bundles(), world.namespace);
            let beta = caller.get(&path).await.ok();
            assert_eq!(as_v1(&beta), stable);
            caller.delete(&path).await.ok();
        }),
    ]
    .into_iter()
    .map(|case| {
        case.only(|target| target.release >= Release::V1_37 && target.api == ApiVersion::V1beta1)
    })
    .collect()
}

async fn watches(world: World) {
    let caller = world.admin();
    let first = bare(&world).await;
    let version = first["metadata"]["resourceVersion"].as_str().unwrap();
    let mut stable = caller
        .watch(&format!("{}?resourceVersion={version}", at_v1(&world, "")))
        .await
        .unwrap();
    let mut beta = caller
        .watch(&format!("{}?resourceVersion={version}", world.requests()))
        .await
        .unwrap();
    // A write at each version, and both watches see both.
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let path = format!("{}/a", world.requests());
    let labelled = caller.patch(&path, "merge", &labels).await.ok();
    caller.delete(&at_v1(&world, "/a")).await.ok();
    for expected in ["MODIFIED", "DELETED"] {
        let (kind, object) = beta.next().await.unwrap();
        assert_eq!(kind, expected);
        assert_eq!(object["apiVersion"], world.certificates_api());
        assert_eq!(object["spec"], labelled["spec"]);
        let (kind, shown) = stable.next().await.unwrap();
        assert_eq!(kind, expected);
        assert_eq!(shown["apiVersion"], V1);
        assert_eq!(shown["metadata"], object["metadata"]);
        assert_eq!(shown["spec"].get("pkixPublicKey"), None, "{shown}");
        assert_eq!(shown["spec"]["signerName"], object["spec"]["signerName"]);
    }
}

/// Creates a request with a bare key, which only v1beta1 can.
async fn bare(world: &World) -> Value {
    let mut object = proper(world);
    set_bare(&mut object, &key(KeyType::P256));
    world
        .admin()
        .post(&world.requests(), &object)
        .await
        .created()
}

/// The path of the namespace's requests, or of one, at v1.
fn at_v1(world: &World, rest: &str) -> String {
    format!(
        "/apis/{V1}/namespaces/{}/podcertificaterequests{rest}",
        world.namespace
    )
}

/// An object as v1 shows it: without the fields that v1 does not have.
fn as_v1(object: &Value) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = V1.into();
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.remove("pkixPublicKey");
        spec.remove("proofOfPossession");
    }
    object
}

const V1: &str = "certificates.k8s.io/v1";
