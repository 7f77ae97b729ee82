//! The rights that meshtool's manifests give its controller: enough for a controller that takes
//! its place, and no more than they say.

use serde_json::{Value, json};

use crate::material::{KeyType, ca, denied, key, request};
use crate::rights::{RBAC, grant_to, granted, marker, owned, role_ref};
use crate::{Caller, Case, User, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("meshtool/its-rights-are-enough-to-see", see),
        Case::new("meshtool/its-rights-are-enough-to-sign", signs),
        Case::new("meshtool/its-rights-are-enough-to-publish", publish),
        Case::new("meshtool/its-rights-are-enough-for-events", events),
        Case::new("meshtool/its-rights-are-enough-for-leases", leases),
        Case::new("meshtool/its-rights-end-there", end),
    ]
}

/// The ClusterRole `meshtool-signer`.
fn signer_rules() -> Value {
    let read = ["get", "list", "watch"];
    let certificates = ["certificates.k8s.io"];
    json!([
        {"apiGroups": [""], "resources": ["services", "pods"], "verbs": read},
        {"apiGroups": certificates, "resources": ["podcertificaterequests"],
         "verbs": ["get", "list", "watch", "update"]},
        {"apiGroups": certificates, "resources": ["clustertrustbundles"],
         "verbs": ["create", "get", "list", "watch", "update", "delete"]},
        {"apiGroups": certificates, "resources": ["podcertificaterequests/status"],
         "verbs": ["update"]},
        {"apiGroups": certificates, "resources": ["signers"], "resourceNames": ["row-major.net/*"],
         "verbs": ["sign", "attest"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
    ])
}

/// Its controller, bound to the ClusterRole `meshtool-signer` and, in the case's namespace, to the
/// Role `meshtool-controller`.
async fn controller(world: &World) -> (User, Caller) {
    let user = User::service_account(&world.namespace, "default");
    let account =
        json!({"kind": "ServiceAccount", "name": "default", "namespace": world.namespace});
    grant_to(
        world,
        "meshtool-signer",
        account.clone(),
        &user,
        signer_rules(),
    )
    .await;
    let path = format!("{RBAC}/namespaces/{}", world.namespace);
    let rules = json!([
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
         "verbs": ["create", "get", "list", "watch", "update", "delete"]},
        marker("meshtool-controller"),
    ]);
    let role = json!({"metadata": {"name": "meshtool-controller"}, "rules": rules});
    let admin = world.admin();
    admin.post(&format!("{path}/roles"), &role).await.created();
    let binding = json!({
        "metadata": {"name": "meshtool-controller"},
        "roleRef": role_ref("Role", "meshtool-controller"), "subjects": [account],
    });
    admin
        .post(&format!("{path}/rolebindings"), &binding)
        .await
        .created();
    granted(world, "meshtool-controller", &user).await;
    let caller = world.as_user(&user);
    (user, caller)
}

/// A request to a signer of meshtool's domain, or of another.
async fn ask(world: &World, name: &str, signer: &str) -> Value {
    let mut object = request(world, name, &key(KeyType::Ed25519));
    object["spec"]["signerName"] = signer.into();
    world
        .admin()
        .post(&world.requests(), &object)
        .await
        .created()
}

async fn see(world: World) {
    let (_, caller) = controller(&world).await;
    let requests = format!("/apis/{}/podcertificaterequests", world.certificates_api());
    for path in [
        "/api/v1/pods",
        "/api/v1/services",
        &requests,
        &world.bundles(),
    ] {
        caller.get(path).await.ok();
        assert!(caller.watch(path).await.is_ok(), "{path}");
    }
    let own = format!("{requests}?fieldSelector=spec.signerName%3Drow-major.net/spiffe");
    caller.get(&own).await.ok();
    for path in ["/version", "/apis", "/apis/certificates.k8s.io"] {
        assert_eq!(caller.get(path).await.code, 200, "{path}");
    }
}

async fn signs(world: World) {
    let (user, caller) = controller(&world).await;
    for (name, signer) in [
        ("a", "row-major.net/spiffe"),
        ("b", "row-major.net/service-dns"),
    ] {
        let object = denied(&world, ask(&world, name, signer).await);
        let path = format!("{}/{name}/status", world.requests());
        // Its rights are for PUT alone.
        let patch = json!({"status": object["status"]});
        caller
            .patch(&path, "merge", &patch)
            .await
            .refused(403, "Forbidden");
        caller.put(&path, &object).await.ok();
    }
    let object = denied(&world, ask(&world, "c", "example.com/other").await);
    let answer = caller
        .put(&format!("{}/c/status", world.requests()), &object)
        .await;
    let message = format!(
        "Forbidden: User \"{}\" is not permitted to \"sign\" for signer \"example.com/other\"",
        user.name
    );
    answer.invalid(&[("spec.signerName", &message)]);
}

async fn publish(world: World) {
    let (_, caller) = controller(&world).await;
    let owners = owned(&world).await;
    let bundle = |signer: &str| {
        json!({
            "apiVersion": world.certificates_api(), "kind": "ClusterTrustBundle",
            "metadata": {
                "name": format!("{}:{}", signer.replace('/', ":"), world.namespace),
                "labels": {"spiffe.row-major.net/canarying": "live"},
                "ownerReferences": owners,
            },
            "spec": {"signerName": signer, "trustBundle": ca("root").pem},
        })
    };
    let bundles = world.bundles();
    let own = bundle("row-major.net/spiffe");
    let mut own = caller.post(&bundles, &own).await.created();
    let path = format!("{bundles}/{}", own["metadata"]["name"].as_str().unwrap());
    own["spec"]["trustBundle"] = ca("second").pem.into();
    own["metadata"]["labels"]["spiffe.row-major.net/trust-domain"] = "cluster.local".into();
    caller.put(&path, &own).await.ok();
    caller
        .patch(&path, "merge", &json!({}))
        .await
        .refused(403, "Forbidden");
    caller.delete(&path).await.ok();
    let other = bundle("example.com/other");
    let answer = caller.post(&bundles, &other).await;
    assert_eq!(
        answer.refused(403, "Forbidden"),
        format!(
            "clustertrustbundles.certificates.k8s.io {} is forbidden: user not permitted to attest for signerName \"example.com/other\"",
            other["metadata"]["name"]
        )
    );
}

async fn events(world: World) {
    let (user, caller) = controller(&world).await;
    let path = format!(
        "/apis/events.k8s.io/v1/namespaces/{}/events",
        world.namespace
    );
    let event = json!({
        "metadata": {"name": "a.1"}, "eventTime": world.now().strftime("%Y-%m-%dT%H:%M:%S.000000Z").to_string(),
        "reportingController": "row-major.net/controller", "reportingInstance": "controller-0",
        "action": "Sign", "reason": "Pending", "type": "Warning", "note": "waits",
        "regarding": {"apiVersion": world.certificates_api(), "kind": "PodCertificateRequest",
                      "namespace": world.namespace, "name": "a"},
    });
    let event = caller.post(&path, &event).await.created();
    let path = format!("{path}/a.1");
    let repeated = json!({"series": {"count": 2, "lastObservedTime": event["eventTime"]}});
    for answer in [
        caller.patch(&path, "merge", &repeated).await,
        caller.put(&path, &event).await,
        caller.get(&path).await,
    ] {
        answer.refused(403, "Forbidden");
    }
    let answer = caller.post(&world.core("events"), &json!({})).await;
    assert_eq!(
        answer.refused(403, "Forbidden"),
        format!(
            "events is forbidden: User \"{}\" cannot create resource \"events\" in API group \"\" in the namespace \"{}\"",
            user.name, world.namespace
        )
    );
}

async fn leases(world: World) {
    let (_, caller) = controller(&world).await;
    let group = "/apis/coordination.k8s.io/v1";
    let leases = format!("{group}/namespaces/{}/leases", world.namespace);
    let lease = json!({
        "metadata": {"name": "controller-0"},
        "spec": {"holderIdentity": "controller-0", "leaseDurationSeconds": 15},
    });
    let lease = caller.post(&leases, &lease).await.created();
    let path = format!("{leases}/controller-0");
    caller.put(&path, &lease).await.ok();
    caller.get(&leases).await.ok();
    assert!(caller.watch(&leases).await.is_ok());
    caller
        .patch(&path, "merge", &json!({}))
        .await
        .refused(403, "Forbidden");
    caller.delete(&path).await.ok();
    for path in [
        format!("{group}/leases"),
        format!("{group}/namespaces/kube-system/leases"),
    ] {
        caller.get(&path).await.refused(403, "Forbidden");
    }
}

async fn end(world: World) {
    let (_, caller) = controller(&world).await;
    ask(&world, "a", "row-major.net/spiffe").await;
    for path in [
        &world.core("secrets"),
        &world.core("configmaps"),
        &world.core("serviceaccounts"),
        &world.core("events"),
        "/api/v1/namespaces",
        &format!("/api/v1/namespaces/{}", world.namespace),
        "/api/v1/nodes",
        RBAC,
    ] {
        // Discovery is everybody's.
        let code = if path == RBAC { 200 } else { 403 };
        assert_eq!(caller.get(path).await.code, code, "{path}");
    }
    let requests = world.requests();
    let request = request(&world, "b", &key(KeyType::Ed25519));
    caller
        .post(&requests, &request)
        .await
        .refused(403, "Forbidden");
    caller
        .delete(&format!("{requests}/a"))
        .await
        .refused(403, "Forbidden");
    caller.delete(&requests).await.refused(403, "Forbidden");
    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    caller
        .patch(&format!("{requests}/a"), "merge", &patch)
        .await
        .refused(403, "Forbidden");
    caller
        .get(&format!("{requests}/a/status"))
        .await
        .refused(403, "Forbidden");
    caller
        .delete(&world.bundles())
        .await
        .refused(403, "Forbidden");
    caller
        .delete(&format!("{}/web", world.core("pods")))
        .await
        .refused(403, "Forbidden");
}
