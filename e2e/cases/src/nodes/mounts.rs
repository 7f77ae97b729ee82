//! NodeRestriction, from 1.37 on: a node asks only for certificates that its pods mount.
//!
//! What counts is that some volume of the pod names the signer. A right of the node stands in for
//! it; the rest of what the volume says is not compared.

use serde_json::json;

use super::forbidden;
use super::place::{Place, add_pod, volume};
use crate::material::{KeyType, SIGNER, key, set_key};
use crate::rights::{grant, grant_here};
use crate::{Case, Release, Target, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "nodes/a-pod-that-mounts-nothing-may-request-all-the-same",
            unmounted,
        )
        .only(|target| target.release < Release::V1_37),
        Case::new("nodes/the-pod-mounts-a-certificate-of-the-signer", mounted).only(checks_mounts),
        Case::new("nodes/a-right-stands-in-for-the-mount", right_to_signer).only(checks_mounts),
        Case::new(
            "nodes/the-mounted-keys-annotations-and-times-are-not-compared",
            not_compared,
        ),
    ]
}

fn checks_mounts(target: Target) -> bool {
    target.release >= Release::V1_37
}

async fn unmounted(world: World) {
    let place = Place::prepare(&world).await;
    let uid = add_pod(&world, "bare", &place.node, |pod| {
        pod["spec"]["volumes"] = json!([]);
    })
    .await;
    place.settle("bare", &uid).await;
    place
        .ask("a", |spec| {
            spec["podName"] = "bare".into();
            spec["podUID"] = uid.clone().into();
            spec["signerName"] = "example.com/never-mounted".into();
        })
        .await
        .created();
}

async fn mounted(world: World) {
    let place = Place::prepare(&world).await;
    let pod = place.pod();
    let unmounted = |signer: &str| {
        forbidden(
            "a",
            &format!(
                "pod \"{pod}\" does not mount a podCertificate projected volume for signer \"{signer}\""
            ),
        )
    };
    for signer in [
        "example.com/other",
        "example.com/signer2",
        "example.com/*",
        "garbage",
    ] {
        let answer = place
            .ask("a", |spec| spec["signerName"] = signer.into())
            .await;
        assert_eq!(answer.refused(403, "Forbidden"), unmounted(signer));
    }
    // Any source of any volume will do.
    let uid = add_pod(&world, "several", &place.node, |pod| {
        let mut second = volume("example.com/second");
        let third = volume("example.com/third")["projected"]["sources"][0].clone();
        second["name"] = "second".into();
        second["projected"]["sources"]
            .as_array_mut()
            .unwrap()
            .push(third);
        second["projected"]["sources"][1]["podCertificate"]["credentialBundlePath"] =
            "b.pem".into();
        pod["spec"]["volumes"] =
            json!([{"name": "scratch", "emptyDir": {}}, volume(SIGNER), second]);
    })
    .await;
    place.settle("several", &uid).await;
    for (name, signer) in [
        ("a", SIGNER),
        ("b", "example.com/second"),
        ("c", "example.com/third"),
    ] {
        place
            .ask(name, |spec| {
                spec["podName"] = "several".into();
                spec["podUID"] = uid.clone().into();
                spec["signerName"] = signer.into();
            })
            .await
            .created();
    }
}

async fn right_to_signer(world: World) {
    let place = Place::prepare(&world).await;
    let node = place.user();
    let rule = |signer: &str, account: &str| {
        json!({"apiGroups": ["certificates.k8s.io"], "resources": [signer],
               "verbs": ["request-serviceaccounts-podcertificate-signer"],
               "resourceNames": [account]})
    };
    let rules = json!([
        rule("example.com:granted", "web"),
        rule("example.com:for-another", "other"),
        rule("example.com/slash", "web"),
    ]);
    grant_here(&world, "signers", &node, rules).await;
    let ask = async |name: &str, signer: &str| {
        place
            .ask(name, |spec| spec["signerName"] = signer.into())
            .await
    };
    ask("granted", "example.com/granted").await.created();
    ask("a", "example.com/for-another")
        .await
        .refused(403, "Forbidden");
    ask("a", "example.com/slash")
        .await
        .refused(403, "Forbidden");
    let any = json!([{"apiGroups": ["certificates.k8s.io"], "resources": ["*"],
                      "verbs": ["request-serviceaccounts-podcertificate-signer"]}]);
    grant(&world, "any-signer", &node, any).await;
    ask("any", "example.com/slash").await.created();
    // The right saves from nothing else.
    place
        .ask("b", |spec| spec["nodeName"] = "elsewhere".into())
        .await
        .refused(403, "Forbidden");
}

async fn not_compared(world: World) {
    let place = Place::prepare(&world).await;
    // The volume says Ed25519, no annotations and no life time.
    let key = key(KeyType::P256);
    let mut object = place.request("a", |spec| {
        spec["maxExpirationSeconds"] = 7200.into();
        spec["unverifiedUserAnnotations"] = json!({"example.com/admin": "yes"});
    });
    set_key(&world, &mut object, &key, &place.pod_uid);
    let caller = world.as_user(&place.user());
    caller.post(&world.requests(), &object).await.created();
}
