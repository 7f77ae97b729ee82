//! What kubelets may do: the Node authorizer, and NodeRestriction for the requests they make.
//!
//! There is no kubelet here: the cases make Node objects and pods bound to them, and call as
//! `system:node:<name>`.

use serde_json::{Value, json};

use crate::material::{KeyType, SIGNER, key, request, set_key};
use crate::rights::{eventually, grant, grant_here, owned, someone};
use crate::{Answer, Case, Release, Target, User, World};

pub(crate) fn cases() -> Vec<Case> {
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
        Case::new("nodes/restriction-comes-before-the-rules", before_rules),
        Case::new("nodes/a-request-is-only-created", only_created),
        Case::new(
            "nodes/restriction-holds-whatever-rights-a-node-has",
            only_created_with_rights,
        ),
        Case::new("nodes/a-node-reads-its-own-requests", own_requests),
        Case::new("nodes/a-node-reads-what-its-pods-name", own_objects),
        Case::new("nodes/who-is-not-in-the-group-is-no-node", not_in_group),
        Case::new("nodes/who-is-no-node-is-not-restricted", unrestricted),
        Case::new("nodes/a-node-needs-a-name", nameless),
        Case::new("nodes/pods-are-the-nodes-own", own_pods),
        Case::new("nodes/a-node-writes-its-own-node-object", own_node),
    ]
}

fn checks_mounts(target: Target) -> bool {
    target.release >= Release::V1_37
}

/// A node with a pod on it.
pub(crate) struct Place {
    world: World,
    pub(crate) node: String,
    node_uid: String,
    account_uid: String,
    pod_uid: String,
}

impl Place {
    /// A node, a service account `web` and a pod `web-0` that mounts a certificate of [`SIGNER`];
    /// ready when the server admits a true request.
    pub(crate) async fn prepare(world: &World) -> Self {
        let node = format!("{}-a", world.namespace);
        let place = Self {
            node_uid: add_node(world, &node).await,
            account_uid: add_account(world, "web").await,
            pod_uid: add_pod(world, "web-0", &node, |_| ()).await,
            world: world.clone(),
            node,
        };
        place.settle("web-0", &place.pod_uid).await;
        place
    }

    /// Waits until the server admits a request for this pod of the node.
    async fn settle(&self, pod: &str, uid: &str) {
        let object = self.request("settled", |spec| {
            spec["podName"] = pod.into();
            spec["podUID"] = uid.into();
        });
        let path = format!("{}?dryRun=All", self.world.requests());
        let caller = self.world.as_user(&self.user());
        eventually(
            || async { caller.post(&path, &object).await },
            |answer| answer.code == 201,
        )
        .await;
    }

    pub(crate) fn user(&self) -> User {
        User::node(&self.node)
    }

    /// A true request, spoilt.
    pub(crate) fn request(&self, name: &str, spoil: impl Fn(&mut Value)) -> Value {
        let key = key(KeyType::Ed25519);
        let mut object = request(&self.world, name, &key);
        let spec = &mut object["spec"];
        spec["podUID"] = self.pod_uid.clone().into();
        spec["serviceAccountUID"] = self.account_uid.clone().into();
        spec["nodeName"] = self.node.clone().into();
        spec["nodeUID"] = self.node_uid.clone().into();
        spoil(spec);
        let uid = object["spec"]["podUID"].as_str().unwrap().to_owned();
        set_key(&self.world, &mut object, &key, &uid);
        object
    }

    /// What the node's kubelet is told when it makes such a request.
    pub(crate) async fn ask(&self, name: &str, spoil: impl Fn(&mut Value)) -> Answer {
        let object = self.request(name, spoil);
        self.world
            .as_user(&self.user())
            .post(&self.world.requests(), &object)
            .await
    }

    fn pod(&self) -> String {
        format!("{}/web-0", self.world.namespace)
    }
}

async fn add_node(world: &World, name: &str) -> String {
    let node = json!({"metadata": {"name": name, "ownerReferences": owned(world).await}});
    let node = world.admin().post("/api/v1/nodes", &node).await.created();
    uid(&node)
}

async fn add_account(world: &World, name: &str) -> String {
    let account = json!({"metadata": {"name": name}});
    let path = world.core("serviceaccounts");
    uid(&world.admin().post(&path, &account).await.created())
}

/// A pod on this node that mounts a certificate of [`SIGNER`], changed.
async fn add_pod(world: &World, name: &str, node: &str, change: impl Fn(&mut Value)) -> String {
    let mut pod = json!({
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {
            "nodeName": node,
            "serviceAccountName": "web",
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "example.com/web:1"}],
            "volumes": [volume(SIGNER)],
        },
    });
    change(&mut pod);
    uid(&world
        .admin()
        .post(&world.core("pods"), &pod)
        .await
        .created())
}

fn volume(signer: &str) -> Value {
    json!({"name": "identity", "projected": {"sources": [{"podCertificate": {
        "signerName": signer, "keyType": "ED25519", "credentialBundlePath": "credentials.pem",
    }}]}})
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// `why`, as the admission plugin words its refusal of a request with this name.
fn forbidden(name: &str, why: &str) -> String {
    format!("podcertificaterequests.certificates.k8s.io \"{name}\" is forbidden: {why}")
}

/// What the Node authorizer adds to a refusal: from 1.37 on with its name before it.
fn opinion(world: &World, reason: &str) -> String {
    match world.target.release {
        Release::V1_37 => format!(": node: {reason}"),
        _ => format!(": {reason}"),
    }
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

async fn unrestricted(world: World) {
    // Neither pod nor node nor service account exist.
    let user = someone(&world, "forger");
    let rules = json!([{"apiGroups": ["certificates.k8s.io"], "verbs": ["create"],
                        "resources": ["podcertificaterequests"]}]);
    grant(&world, "forger", &user, rules).await;
    let object = request(&world, "forged", &key(KeyType::Ed25519));
    world
        .as_user(&user)
        .post(&world.requests(), &object)
        .await
        .created();
    // Nor does a group make a node, nor a node's name.
    let mut user = someone(&world, "member");
    user.groups = vec!["system:nodes".into()];
    let rules = json!([{"apiGroups": ["certificates.k8s.io"], "verbs": ["create"],
                        "resources": ["podcertificaterequests"]}]);
    grant(&world, "member", &user, rules).await;
    let object = request(&world, "by-a-member", &key(KeyType::Ed25519));
    world
        .as_user(&user)
        .post(&world.requests(), &object)
        .await
        .created();
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

async fn own_pods(world: World) {
    let place = Place::prepare(&world).await;
    let name = format!("{}-b", world.namespace);
    let node = &place.node;
    let (own, other) = (
        world.as_user(&place.user()),
        world.as_user(&User::node(&name)),
    );
    let pod = format!("{}/web-0", world.core("pods"));
    let status = format!("{pod}/status");
    let running = json!({"status": {"phase": "Running"}});
    assert_eq!(
        other
            .patch(&status, "merge", &running)
            .await
            .refused(403, "Forbidden"),
        format!(
            "pods \"web-0\" is forbidden: node \"{name}\" can only update pod status for pods with spec.nodeName set to itself"
        )
    );
    let relabel = json!({"metadata": {"labels": {"app": "other"}}});
    assert_eq!(
        own.patch(&status, "merge", &relabel)
            .await
            .refused(403, "Forbidden"),
        format!(
            "pods \"web-0\" is forbidden: node \"{node}\" cannot update labels through pod status"
        )
    );
    let patched = own.patch(&status, "merge", &running).await.ok();
    assert_eq!(patched["status"]["phase"], "Running");
    own.patch(&pod, "merge", &relabel)
        .await
        .refused(403, "Forbidden");
    let new = json!({"metadata": {"name": "new"}, "spec": {
        "nodeName": node, "containers": [{"name": "main", "image": "example.com/web:1"}],
    }});
    assert_eq!(
        own.post(&world.core("pods"), &new)
            .await
            .refused(403, "Forbidden"),
        format!(
            "pods \"new\" is forbidden: pod does not have \"kubernetes.io/config.mirror\" annotation, node \"{node}\" can only create mirror pods"
        )
    );
    assert_eq!(
        other.delete(&pod).await.refused(403, "Forbidden"),
        format!(
            "pods \"web-0\" is forbidden: node \"{name}\" can only delete pods with spec.nodeName set to itself"
        )
    );
    own.delete(&pod).await.ok();
}

async fn own_node(world: World) {
    let (name, other) = (
        format!("{}-a", world.namespace),
        format!("{}-b", world.namespace),
    );
    let caller = world.as_user(&User::node(&name));
    let owners = owned(&world).await;
    let node = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels, "ownerReferences": owners}});
    assert_eq!(
        caller
            .post("/api/v1/nodes", &node(&other, json!({})))
            .await
            .refused(403, "Forbidden"),
        format!(
            "nodes \"{other}\" is forbidden: node \"{name}\" is not allowed to modify node \"{other}\""
        )
    );
    let reserved = json!({"kubernetes.io/role": "x", "kubernetes.io/os": "linux", "mine": "1"});
    assert_eq!(
        caller
            .post("/api/v1/nodes", &node(&name, reserved))
            .await
            .refused(403, "Forbidden"),
        format!(
            "nodes \"{name}\" is forbidden: node \"{name}\" is not allowed to set the following labels: kubernetes.io/role"
        )
    );
    let allowed = json!({"kubernetes.io/os": "linux", "mine": "1", "a.node.kubernetes.io/b": "c"});
    caller
        .post("/api/v1/nodes", &node(&name, allowed))
        .await
        .created();
    let path = format!("/api/v1/nodes/{name}");
    caller.get(&path).await.ok();
    let status = json!({"status": {"phase": "Running"}});
    caller
        .patch(&format!("{path}/status"), "merge", &status)
        .await
        .ok();
    for (patch, why) in [
        (
            json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}),
            format!("node \"{name}\" is not allowed to modify taints"),
        ),
        (
            json!({"metadata": {"labels": {"node-restriction.kubernetes.io/a": "b",
                                           "k8s.io/x": "y", "mine": "2"}}}),
            "is not allowed to modify labels: k8s.io/x, node-restriction.kubernetes.io/a".into(),
        ),
        (
            json!({"metadata": {"ownerReferences": []}}),
            format!("node \"{name}\" is not allowed to modify ownerReferences"),
        ),
    ] {
        let answer = caller.patch(&path, "merge", &patch).await;
        let expected = format!("nodes \"{name}\" is forbidden: {why}");
        assert_eq!(answer.refused(403, "Forbidden"), expected);
    }
    let answer = world.as_user(&User::node(&other)).get(&path).await;
    assert_eq!(
        answer.refused(403, "Forbidden"),
        format!(
            "nodes \"{name}\" is forbidden: User \"system:node:{other}\" cannot get resource \"nodes\" in API group \"\" at the cluster scope{}",
            opinion(
                &world,
                &format!("node '{other}' cannot read '{name}', only its own Node object")
            )
        )
    );
}
