//! The Node authorizer: what a node may read, and what it may do with requests at all.
//!
//! It knows nodes by their group and name, and what they may read by what their pods name.

use serde_json::json;

use super::place::{Place, add_account, add_pod};
use super::{forbidden, opinion};
use crate::material::{KeyType, key, request};
use crate::rights::eventually;
use crate::{Case, User, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("nodes/a-request-is-only-created", only_created),
        Case::new("nodes/a-node-reads-its-own-requests", own_requests),
        Case::new("nodes/a-node-reads-what-its-pods-name", own_objects),
        Case::new("nodes/who-is-not-in-the-group-is-no-node", not_in_group),
        Case::new("nodes/a-node-needs-a-name", nameless),
    ]
}

async fn only_created(world: World) {
    let place = Place::prepare(&world).await;
    let object = place.ask("a", |_| ()).await.created();
    let path = format!("{}/a", world.requests());
    let caller = world.as_user(&place.user());
    let refused = |verb: &str, resource: &str, reason: &str| {
        let denial = format!(
            "User \"{}\" cannot {verb} resource \"{resource}\" in API group \"certificates.k8s.io\" in the namespace \"{}\"",
            place.user().name,
            world.namespace
        );
        forbidden("a", &format!("{denial}{}", opinion(&world, reason)))
    };
    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    let main = "podcertificaterequests";
    for (answer, verb) in [
        (caller.put(&path, &object).await, "update"),
        (caller.patch(&path, "merge", &patch).await, "patch"),
        (caller.delete(&path).await, "delete"),
    ] {
        let reason = format!("nodes may not {verb} podcertificaterequests");
        assert_eq!(
            answer.refused(403, "Forbidden"),
            refused(verb, main, &reason)
        );
    }
    let status = format!("{path}/status");
    let reason = "nodes may not access the status subresource of PodCertificateRequests";
    for (answer, verb) in [
        (caller.put(&status, &object).await, "update"),
        (caller.patch(&status, "merge", &patch).await, "patch"),
        (caller.get(&status).await, "get"),
    ] {
        let expected = refused(verb, "podcertificaterequests/status", reason);
        assert_eq!(answer.refused(403, "Forbidden"), expected);
    }
}

async fn own_requests(world: World) {
    let place = Place::prepare(&world).await;
    place.ask("a", |_| ()).await.created();
    let (node, requests) = (&place.node, world.requests());
    let everywhere = format!("/apis/{}/podcertificaterequests", world.certificates_api());
    let selector = format!("fieldSelector=spec.nodeName%3D{node}");
    let caller = world.as_user(&place.user());
    for path in [&requests, &everywhere] {
        let list = caller.get(&format!("{path}?{selector}")).await.ok();
        let names: Vec<_> = list["items"].as_array().unwrap().iter().collect();
        assert_eq!(names.len(), 1, "{list}");
    }
    let mut changes = caller
        .watch(&format!("{requests}?{selector}"))
        .await
        .unwrap();
    assert_eq!(changes.next().await.unwrap().0, "ADDED");
    let single = format!("{requests}/a");
    eventually(|| caller.get(&single), |answer| answer.code == 200).await;

    let reason = "can only list/watch podcertificaterequests with nodeName field selector";
    for (verb, query) in [
        ("list", String::new()),
        ("list", "?fieldSelector=spec.nodeName%3Dother".to_owned()),
        ("list", format!("?fieldSelector=spec.nodeName%21%3D{node}")),
        ("watch", "?watch=1".to_owned()),
    ] {
        let answer = caller.get(&format!("{requests}{query}")).await;
        assert_eq!(
            answer.refused(403, "Forbidden"),
            format!(
                "podcertificaterequests.certificates.k8s.io is forbidden: User \"system:node:{node}\" cannot {verb} resource \"podcertificaterequests\" in API group \"certificates.k8s.io\" in the namespace \"{}\"{}",
                world.namespace,
                opinion(&world, reason)
            )
        );
    }
    let other = format!("{}-b", world.namespace);
    let answer = world.as_user(&User::node(&other)).get(&single).await;
    let why = format!(
        "User \"system:node:{other}\" cannot get resource \"podcertificaterequests\" in API group \"certificates.k8s.io\" in the namespace \"{}\"{}",
        world.namespace,
        opinion(
            &world,
            &format!("no relationship found between node '{other}' and this object")
        )
    );
    assert_eq!(answer.refused(403, "Forbidden"), forbidden("a", &why));
}

async fn own_objects(world: World) {
    let place = Place::prepare(&world).await;
    let admin = world.admin();
    for (plural, name) in [
        ("secrets", "mounted"),
        ("secrets", "in-env"),
        ("secrets", "for-images"),
        ("secrets", "unrelated"),
        ("configmaps", "mounted"),
        ("configmaps", "unrelated"),
    ] {
        let object = json!({"metadata": {"name": name}});
        admin.post(&world.core(plural), &object).await.created();
    }
    add_account(&world, "unrelated").await;
    add_pod(&world, "user", &place.node, |pod| {
        let spec = &mut pod["spec"];
        spec["containers"][0]["envFrom"] = json!([{"secretRef": {"name": "in-env"}}]);
        spec["imagePullSecrets"] = json!([{"name": "for-images"}]);
        spec["volumes"] = json!([
            {"name": "one", "secret": {"secretName": "mounted"}},
            {"name": "two", "projected": {"sources": [{"configMap": {"name": "mounted"}}]}},
        ]);
    })
    .await;
    let caller = world.as_user(&place.user());
    let other = world.as_user(&User::node(&format!("{}-b", world.namespace)));
    for (plural, name) in [
        ("pods", "user"),
        ("serviceaccounts", "web"),
        ("secrets", "mounted"),
        ("secrets", "in-env"),
        ("secrets", "for-images"),
        ("configmaps", "mounted"),
    ] {
        let path = format!("{}/{name}", world.core(plural));
        eventually(|| caller.get(&path), |answer| answer.code == 200).await;
        other.get(&path).await.refused(403, "Forbidden");
    }
    let watched = format!(
        "{}?fieldSelector=metadata.name%3Dmounted",
        world.core("secrets")
    );
    assert!(caller.watch(&watched).await.is_ok());
    for (path, verb, resource, name, reason) in [
        (
            format!("{}/unrelated", world.core("secrets")),
            "get",
            "secrets",
            " \"unrelated\"",
            format!(
                "no relationship found between node '{}' and this object",
                place.node
            ),
        ),
        (
            format!("{}/unrelated", world.core("serviceaccounts")),
            "get",
            "serviceaccounts",
            " \"unrelated\"",
            format!(
                "no relationship found between node '{}' and this object",
                place.node
            ),
        ),
        (
            world.core("secrets"),
            "list",
            "secrets",
            "",
            "No Object name found".to_owned(),
        ),
        (
            world.core("pods"),
            "list",
            "pods",
            "",
            "can only list/watch pods with spec.nodeName field selector".to_owned(),
        ),
    ] {
        assert_eq!(
            caller.get(&path).await.refused(403, "Forbidden"),
            format!(
                "{resource}{name} is forbidden: User \"system:node:{}\" cannot {verb} resource \"{resource}\" in API group \"\" in the namespace \"{}\"{}",
                place.node,
                world.namespace,
                opinion(&world, &reason)
            )
        );
    }
    let own = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", place.node);
    let pods = caller.get(&own).await.ok();
    assert_eq!(pods["items"].as_array().unwrap().len(), 2, "{pods}");
    caller.get("/api/v1/services").await.ok();
}

async fn not_in_group(world: World) {
    let place = Place::prepare(&world).await;
    let user = User::new(place.user().name);
    let object = place.request("a", |_| ());
    let caller = world.as_user(&user);
    let answer = caller.post(&world.requests(), &object).await;
    // The Node authorizer has nothing to say of it.
    assert_eq!(
        answer.refused(403, "Forbidden"),
        format!(
            "podcertificaterequests.certificates.k8s.io is forbidden: User \"{}\" cannot create resource \"podcertificaterequests\" in API group \"certificates.k8s.io\" in the namespace \"{}\"",
            user.name, world.namespace
        )
    );
}

async fn nameless(world: World) {
    let object = request(&world, "a", &key(KeyType::Ed25519));
    let caller = world.as_user(&User::node(""));
    let answer = caller.post(&world.requests(), &object).await;
    assert_eq!(
        answer.refused(403, "Forbidden"),
        format!(
            "podcertificaterequests.certificates.k8s.io is forbidden: User \"system:node:\" cannot create resource \"podcertificaterequests\" in API group \"certificates.k8s.io\" in the namespace \"{}\"{}",
            world.namespace,
            opinion(&world, "unknown node for user \"system:node:\"")
        )
    );
}
