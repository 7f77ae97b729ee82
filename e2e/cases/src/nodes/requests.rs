//! NodeRestriction: which requests a node may make.
//!
//! A request has to be for a pod that is bound to the node and as the request describes it. What
//! may only be missing from a cache is answered `500`, so that the kubelet asks again; what is
//! plainly another's, `403`.

use serde_json::{Value, json};

use super::forbidden;
use super::place::{Place, add_account, add_node, add_pod};
use crate::material::{KeyType, key, request};
use crate::rights::{eventually, grant, someone, someone_with};
use crate::{Case, User, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("nodes/a-true-request-is-created", proper),
        Case::new("nodes/a-request-names-its-own-node", other_name),
        Case::new("nodes/what-a-cache-may-not-know-yet-may-be-retried", uids),
        Case::new(
            "nodes/a-request-without-a-node-object-may-be-retried",
            no_node,
        ),
        Case::new("nodes/the-pod-is-bound-to-the-node", other_node),
        Case::new("nodes/mirror-pods-get-no-certificates", mirror),
        Case::new("nodes/the-service-account-is-the-pods", other_account),
        Case::new("nodes/the-service-account-must-be-there", no_account),
        Case::new("nodes/restriction-comes-before-the-rules", before_rules),
        Case::new(
            "nodes/restriction-holds-whatever-rights-a-node-has",
            only_created_with_rights,
        ),
        Case::new("nodes/who-is-no-node-is-not-restricted", unrestricted),
    ]
}

async fn proper(world: World) {
    let place = Place::prepare(&world).await;
    place.ask("true", |_| ()).await.created();
    let mut object = place.request("", |_| ());
    object["metadata"] = json!({"generateName": "req-", "ownerReferences": [{
        "apiVersion": "core/v1", "kind": "Pod", "name": "web-0", "uid": place.pod_uid,
    }]});
    let caller = world.as_user(&place.user());
    let created = caller.post(&world.requests(), &object).await.created();
    let name = created["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("req-") && name.len() > 4, "{created}");
}

async fn other_name(world: World) {
    let place = Place::prepare(&world).await;
    let why = format!(
        "PodCertificateRequest.Spec.NodeName=\"elsewhere\", which is not the requesting node \"{}\"",
        place.node
    );
    let answer = place
        .ask("a", |spec| spec["nodeName"] = "elsewhere".into())
        .await;
    assert_eq!(answer.refused(403, "Forbidden"), forbidden("a", &why));
    assert_eq!(
        answer.body["details"],
        json!({"name": "a", "group": "certificates.k8s.io", "kind": "podcertificaterequests"})
    );
    // Without a name the prefix stands for it.
    let mut object = place.request("", |spec| spec["nodeName"] = "elsewhere".into());
    object["metadata"] = json!({"generateName": "req-"});
    let caller = world.as_user(&place.user());
    let answer = caller.post(&world.requests(), &object).await;
    assert_eq!(answer.refused(403, "Forbidden"), forbidden("req-", &why));
}

async fn uids(world: World) {
    let place = Place::prepare(&world).await;
    let pod = place.pod();
    let Place {
        node_uid,
        account_uid,
        pod_uid,
        ..
    } = &place;
    for (field, expected) in [
        (
            "nodeUID",
            format!(
                "PodCertificateRequest for pod \"{pod}\" names node UID \"wrong\", inconsistent with the running node (\"{node_uid}\")"
            ),
        ),
        (
            "podUID",
            format!(
                "PodCertificateRequest for pod \"{pod}\" contains pod UID (\"wrong\") which differs from running pod \"{pod_uid}\""
            ),
        ),
        (
            "serviceAccountUID",
            format!(
                "PodCertificateRequest for pod \"{pod}\" names service account UID \"wrong\", which differs from the running service account (\"{account_uid}\")"
            ),
        ),
    ] {
        let answer = place.ask("a", |spec| spec[field] = "wrong".into()).await;
        assert_eq!(answer.refused(500, ""), expected);
    }
    let answer = place.ask("a", |spec| spec["podName"] = "gone".into()).await;
    assert_eq!(
        answer.refused(500, ""),
        format!(
            "while retrieving pod \"{}/gone\" named in the PodCertificateRequest: pod \"gone\" not found",
            world.namespace
        )
    );
}

async fn no_node(world: World) {
    let place = Place::prepare(&world).await;
    let name = format!("{}-unregistered", world.namespace);
    let object = place.request("a", |spec| spec["nodeName"] = name.clone().into());
    let caller = world.as_user(&User::node(&name));
    assert_eq!(
        caller
            .post(&world.requests(), &object)
            .await
            .refused(500, ""),
        format!(
            "while retrieving node \"{name}\" named in the PodCertificateRequest: node \"{name}\" not found"
        )
    );
}

async fn other_node(world: World) {
    let place = Place::prepare(&world).await;
    let name = format!("{}-b", world.namespace);
    let uid = add_node(&world, &name).await;
    let object = place.request("a", |spec| {
        spec["nodeName"] = name.clone().into();
        spec["nodeUID"] = uid.clone().into();
    });
    let (caller, path) = (world.as_user(&User::node(&name)), world.requests());
    let answer = eventually(
        || async { caller.post(&path, &object).await },
        |answer| answer.code != 500,
    )
    .await;
    let why = format!(
        "pod \"{}\" is not running on node \"{name}\" named in the PodCertificateRequest",
        place.pod()
    );
    assert_eq!(answer.refused(403, "Forbidden"), forbidden("a", &why));
}

async fn mirror(world: World) {
    let place = Place::prepare(&world).await;
    let uid = add_pod(&world, "static", &place.node, |pod| {
        pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "1"});
        pod["spec"]["volumes"] = json!([]);
        pod["spec"]
            .as_object_mut()
            .unwrap()
            .remove("serviceAccountName");
    })
    .await;
    let object = place.request("a", |spec| {
        spec["podName"] = "static".into();
        spec["podUID"] = uid.clone().into();
    });
    let (caller, path) = (world.as_user(&place.user()), world.requests());
    let answer = eventually(
        || async { caller.post(&path, &object).await },
        |answer| answer.code != 500,
    )
    .await;
    let why = format!("pod \"{}/static\" is a mirror pod", world.namespace);
    assert_eq!(answer.refused(403, "Forbidden"), forbidden("a", &why));
}

async fn other_account(world: World) {
    let place = Place::prepare(&world).await;
    let uid = add_account(&world, "admin").await;
    let answer = place
        .ask("a", |spec| {
            spec["serviceAccountName"] = "admin".into();
            spec["serviceAccountUID"] = uid.clone().into();
        })
        .await;
    let why = format!(
        "PodCertificateRequest for pod \"{}\" contains serviceAccountName (\"admin\") that differs from running pod (\"web\")",
        place.pod()
    );
    assert_eq!(answer.refused(403, "Forbidden"), forbidden("a", &why));
}

async fn no_account(world: World) {
    let place = Place::prepare(&world).await;
    let account = format!("{}/web", world.core("serviceaccounts"));
    world.admin().delete(&account).await.ok();
    let object = place.request("a", |_| ());
    let path = format!("{}?dryRun=All", world.requests());
    let caller = world.as_user(&place.user());
    let answer = eventually(
        || async { caller.post(&path, &object).await },
        |answer| answer.code != 201,
    )
    .await;
    assert_eq!(
        answer.refused(500, ""),
        format!(
            "while retrieving service account \"{}/web\" named in the PodCertificateRequest: serviceaccount \"web\" not found",
            world.namespace
        )
    );
}

async fn before_rules(world: World) {
    let place = Place::prepare(&world).await;
    let spoil = |spec: &mut Value| {
        spec["maxExpirationSeconds"] = 1.into();
        spec["podUID"] = "".into();
    };
    let answer = place.ask("a", spoil).await;
    answer.refused(500, "");
    let answer = place
        .ask("a", |spec| spec["maxExpirationSeconds"] = 1.into())
        .await;
    answer.refused(422, "Invalid");
}

async fn only_created_with_rights(world: World) {
    let place = Place::prepare(&world).await;
    let rules = json!([
        {"apiGroups": ["certificates.k8s.io"], "verbs": ["*"],
         "resources": ["podcertificaterequests", "podcertificaterequests/status", "signers"]},
    ]);
    grant(&world, "everything", &place.user(), rules).await;
    let object = place.ask("a", |_| ()).await.created();
    let path = format!("{}/a", world.requests());
    let caller = world.as_user(&place.user());
    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    for (answer, operation) in [
        (caller.put(&path, &object).await, "UPDATE"),
        (caller.patch(&path, "merge", &patch).await, "UPDATE"),
        (
            caller.put(&format!("{path}/status"), &object).await,
            "UPDATE",
        ),
        (caller.delete(&path).await, "DELETE"),
    ] {
        let why = format!("unexpected operation {operation}");
        assert_eq!(answer.refused(403, "Forbidden"), forbidden("a", &why));
    }
}

async fn unrestricted(world: World) {
    // Neither pod nor node nor service account exist.
    let rules = json!([{"apiGroups": ["certificates.k8s.io"], "verbs": ["create"],
                        "resources": ["podcertificaterequests"]}]);
    let user = someone_with(&world, "forger", rules.clone()).await;
    let object = request(&world, "forged", &key(KeyType::Ed25519));
    world
        .as_user(&user)
        .post(&world.requests(), &object)
        .await
        .created();
    // Nor does a group make a node, nor a node's name.
    let mut user = someone(&world, "member");
    user.groups = vec!["system:nodes".into()];
    grant(&world, "member", &user, rules).await;
    let object = request(&world, "by-a-member", &key(KeyType::Ed25519));
    world
        .as_user(&user)
        .post(&world.requests(), &object)
        .await
        .created();
}
