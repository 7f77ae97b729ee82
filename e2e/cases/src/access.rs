//! Who may do what: RBAC, its default roles, and the words of a refusal.

use http::Method;
use serde_json::json;

use crate::rights::{
    RBAC, eventually, grant, grant_here, grant_to, granted, marker, owned, role_ref, someone,
    someone_with,
};
use crate::{Case, Release, User, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "access/a-user-without-rights-is-told-what-is-missing",
            nobody,
        ),
        Case::new("access/what-is-not-there-is-forbidden-too", not_there),
        Case::new("access/paths-are-for-who-is-authenticated", paths),
        Case::new("access/paths-may-be-granted", granted_paths),
        Case::new("access/anonymous-may-ask-for-the-version-alone", anonymous),
        Case::new("access/a-master-needs-no-role", master),
        Case::new("access/service-accounts-read-bundles", bundle_readers),
        Case::new("access/names-narrow-a-rule", names),
        Case::new(
            "access/a-subresource-is-a-resource-of-its-own",
            subresources,
        ),
        Case::new("access/verbs-and-groups-must-match", verbs_and_groups),
        Case::new("access/a-role-ends-with-its-namespace", namespaced),
        Case::new(
            "access/a-cluster-role-bound-in-a-namespace-ends-with-it",
            bound_in_a_namespace,
        ),
        Case::new("access/groups-and-service-accounts-are-subjects", subjects),
        Case::new("access/a-binding-to-nothing-is-named", binding_to_nothing),
        Case::new("access/a-right-ends-with-its-binding", withdrawn),
        Case::new("access/changes-that-make-need-create", making),
        Case::new("access/comes-before-what-is-asked", unread),
    ]
}

/// A PUT and an apply may make what is not there, for those who may make it.
async fn making(world: World) {
    let leases = format!(
        "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
        world.namespace
    );
    let verbs = json!(["get", "patch", "update"]);
    let rules = json!([
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs},
    ]);
    let user = someone(&world, "changes");
    grant_here(&world, "changes", &user, rules).await;
    let caller = world.as_user(&user);
    let lease = json!({"metadata": {"name": "x"}, "spec": {"holderIdentity": "one"}});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
    let applied = format!("{}/x?fieldManager=case", world.core("configmaps"));
    let cannot = |resource: &str, plural: &str, group: &str| {
        format!(
            "{resource} \"x\" is forbidden: User \"{}\" cannot create resource \"{plural}\" in API group \"{group}\" in the namespace \"{}\"",
            user.name, world.namespace
        )
    };
    let answer = caller.put(&format!("{leases}/x"), &lease).await;
    let (resource, group) = ("leases.coordination.k8s.io", "coordination.k8s.io");
    assert_eq!(
        answer.refused(403, "Forbidden"),
        cannot(resource, "leases", group)
    );
    let answer = caller.patch(&applied, "apply", &map).await;
    assert_eq!(
        answer.refused(403, "Forbidden"),
        cannot("configmaps", "configmaps", "")
    );
    // What is there may be changed in both ways.
    let admin = world.admin();
    admin.post(&leases, &lease).await.created();
    admin.post(&world.core("configmaps"), &map).await.created();
    let found = admin.get(&format!("{leases}/x")).await.ok();
    caller.put(&format!("{leases}/x"), &found).await.ok();
    caller.patch(&applied, "apply", &map).await.ok();
}

/// Who may not ask learns nothing about the question.
async fn unread(world: World) {
    let caller = world.as_user(&someone(&world, "nobody"));
    let secrets = format!("{}?limit=x", world.core("secrets"));
    caller.get(&secrets).await.refused(403, "Forbidden");
    world.admin().get(&secrets).await.refused(400, "BadRequest");
    let pods = world.core("pods");
    for (body, media) in [
        ("xx", "application/vnd.kubernetes.protobuf"),
        ("{", "application/json"),
    ] {
        let answer = caller.send(Method::POST, &pods, Some(body.into()), media);
        answer.await.refused(403, "Forbidden");
    }
}

async fn nobody(world: World) {
    let user = someone(&world, "nobody");
    let (caller, name) = (world.as_user(&user), &user.name);
    let here = format!("in the namespace \"{}\"", world.namespace);
    let pods = world.core("pods");
    let requests = world.requests();
    let cases = [
        (caller.get(&pods).await, "pods", "list", "pods", &*here),
        (
            caller.get(&format!("{pods}/a")).await,
            "pods \"a\"",
            "get",
            "pods",
            &*here,
        ),
        (
            caller
                .get(&format!("{pods}?fieldSelector=metadata.name%3Da"))
                .await,
            "pods \"a\"",
            "list",
            "pods",
            &*here,
        ),
        (
            caller.get("/api/v1/pods?watch=1").await,
            "pods",
            "watch",
            "pods",
            "at the cluster scope",
        ),
        (
            caller.get("/api/v1/nodes/a").await,
            "nodes \"a\"",
            "get",
            "nodes",
            "at the cluster scope",
        ),
        (
            caller.post(&pods, &json!({})).await,
            "pods",
            "create",
            "pods",
            &*here,
        ),
        (
            caller.delete(&pods).await,
            "pods",
            "deletecollection",
            "pods",
            &*here,
        ),
        (
            caller.put(&format!("{pods}/a/status"), &json!({})).await,
            "pods \"a\"",
            "update",
            "pods/status",
            &*here,
        ),
    ];
    for (answer, subject, verb, resource, place) in cases {
        assert_eq!(
            answer.refused(403, "Forbidden"),
            format!(
                "{subject} is forbidden: User \"{name}\" cannot {verb} resource \"{resource}\" in API group \"\" {place}"
            )
        );
    }
    let answer = caller
        .patch(&format!("{requests}/a/status"), "merge", &json!({}))
        .await;
    assert_eq!(
        answer.refused(403, "Forbidden"),
        format!(
            "podcertificaterequests.certificates.k8s.io \"a\" is forbidden: User \"{name}\" cannot patch resource \"podcertificaterequests/status\" in API group \"certificates.k8s.io\" {here}"
        )
    );
    assert_eq!(
        answer.body["details"],
        json!({"name": "a", "group": "certificates.k8s.io", "kind": "podcertificaterequests"})
    );
    // A namespace is within itself.
    let answer = caller
        .get(&format!("/api/v1/namespaces/{}", world.namespace))
        .await;
    assert_eq!(
        answer.refused(403, "Forbidden"),
        format!(
            "namespaces \"{}\" is forbidden: User \"{name}\" cannot get resource \"namespaces\" in API group \"\" {here}",
            world.namespace
        )
    );
}

async fn not_there(world: World) {
    let user = someone(&world, "nobody");
    let name = &user.name;
    let answer = world.as_user(&user).get("/apis/not.there/v1/things").await;
    assert_eq!(
        answer.refused(403, "Forbidden"),
        format!(
            "things.not.there is forbidden: User \"{name}\" cannot list resource \"things\" in API group \"not.there\" at the cluster scope"
        )
    );
    assert_eq!(
        answer.body["details"],
        json!({"group": "not.there", "kind": "things"})
    );
    let answer = world.as_user(&user).get("/not/there").await;
    assert_eq!(
        answer.refused(403, "Forbidden"),
        format!("forbidden: User \"{name}\" cannot get path \"/not/there\"")
    );
    assert_eq!(answer.body["details"], json!({}));
    assert_eq!(
        world.admin().get("/apis/not.there/v1/things").await.code,
        404
    );
}

async fn paths(world: World) {
    let user = someone(&world, "nobody");
    let caller = world.as_user(&user);
    for path in [
        "/api",
        "/api/v1",
        "/apis",
        "/apis/certificates.k8s.io",
        &format!("/apis/{}", world.certificates_api()),
        "/version",
        "/healthz",
        "/livez",
        "/readyz",
    ] {
        assert_eq!(caller.get(path).await.code, 200, "{path}");
    }
    // Discovery of what is not there is missing, not forbidden.
    assert_eq!(caller.get("/apis/not.there").await.code, 404);
    let name = &user.name;
    assert_eq!(
        caller
            .post("/version", &json!({}))
            .await
            .refused(403, "Forbidden"),
        format!("forbidden: User \"{name}\" cannot post path \"/version\"")
    );
}

async fn granted_paths(world: World) {
    let user = someone(&world, "prober");
    let rules = json!([{"nonResourceURLs": ["/one", "/many/*"], "verbs": ["get"]}]);
    grant(&world, "paths", &user, rules).await;
    let caller = world.as_user(&user);
    for (path, code) in [
        ("/one", 404),
        ("/one/more", 403),
        ("/many/of/them", 404),
        ("/many", 403),
    ] {
        assert_eq!(caller.get(path).await.code, code, "{path}");
    }
}

async fn anonymous(world: World) {
    let caller = world.as_user(&User::anonymous());
    for path in ["/version", "/healthz", "/livez", "/readyz"] {
        assert_eq!(caller.get(path).await.code, 200, "{path}");
    }
    assert_eq!(
        caller.get("/api").await.refused(403, "Forbidden"),
        "forbidden: User \"system:anonymous\" cannot get path \"/api\""
    );
    assert_eq!(
        caller.get(&world.bundles()).await.refused(403, "Forbidden"),
        "clustertrustbundles.certificates.k8s.io is forbidden: User \"system:anonymous\" cannot list resource \"clustertrustbundles\" in API group \"certificates.k8s.io\" at the cluster scope"
    );
}

async fn master(world: World) {
    let mut user = someone(&world, "master");
    user.groups = vec!["system:masters".into()];
    let caller = world.as_user(&user);
    caller.get(&world.core("secrets")).await.ok();
    assert_eq!(caller.get("/not/there").await.code, 404);
}

async fn bundle_readers(world: World) {
    let bundles = world.bundles();
    let account = User::service_account(&world.namespace, "anyone");
    world.as_user(&account).get(&bundles).await.ok();
    assert!(world.as_user(&account).watch(&bundles).await.is_ok());
    let missing = format!("{bundles}/not-there");
    world
        .as_user(&account)
        .get(&missing)
        .await
        .refused(404, "NotFound");
    let node = User::node(&world.namespace);
    world.as_user(&node).get(&bundles).await.ok();
    let user = someone(&world, "nobody");
    world
        .as_user(&user)
        .get(&bundles)
        .await
        .refused(403, "Forbidden");
    for user in [account, node] {
        let answer = world.as_user(&user).post(&bundles, &json!({})).await;
        assert_eq!(
            answer.refused(403, "Forbidden"),
            format!(
                "clustertrustbundles.certificates.k8s.io is forbidden: User \"{}\" cannot create resource \"clustertrustbundles\" in API group \"certificates.k8s.io\" at the cluster scope",
                user.name
            )
        );
    }
}

async fn names(world: World) {
    let user = someone(&world, "reader");
    let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"],
                        "verbs": ["get", "list", "create", "delete"]}]);
    grant(&world, "names", &user, rules).await;
    let caller = world.as_user(&user);
    let secrets = world.core("secrets");
    for (path, code) in [
        (format!("{secrets}/a"), 404),
        (format!("{secrets}/b"), 403),
        (secrets.clone(), 403),
        // A list that its field selector narrows to one name is about that name.
        (format!("{secrets}?fieldSelector=metadata.name%3Da"), 200),
        (
            format!("{secrets}?fieldSelector=metadata.name%3D%3Da,type%3DOpaque"),
            200,
        ),
        (format!("{secrets}?fieldSelector=metadata.name%3Db"), 403),
        (format!("{secrets}?fieldSelector=metadata.name%21%3Da"), 403),
        (
            format!("{secrets}?fieldSelector=metadata.name%3Da&watch=1"),
            403,
        ),
    ] {
        assert_eq!(caller.get(&path).await.code, code, "{path}");
    }
    // A new object has no name yet, whatever it says.
    let secret = json!({"metadata": {"name": "a"}});
    caller
        .post(&secrets, &secret)
        .await
        .refused(403, "Forbidden");
    // A collection is not narrowed for its deletion.
    let narrowed = format!("{secrets}?fieldSelector=metadata.name%3Da");
    caller.delete(&narrowed).await.refused(403, "Forbidden");
}

async fn subresources(world: World) {
    let requests = world.requests();
    let status = format!("{requests}/x/status");
    let rule = |resource: &str| {
        json!([{"apiGroups": ["certificates.k8s.io"], "resources": [resource],
                "verbs": ["get"]}])
    };
    for (name, resource, main, sub) in [
        ("main", "podcertificaterequests", 404, 403),
        ("status", "podcertificaterequests/status", 403, 404),
        ("any-status", "*/status", 403, 404),
        ("any", "*", 404, 404),
        ("not-a-glob", "podcertificaterequests/*", 403, 403),
    ] {
        let user = someone_with(&world, name, rule(resource)).await;
        let caller = world.as_user(&user);
        let found = (
            caller.get(&format!("{requests}/x")).await.code,
            caller.get(&status).await.code,
        );
        assert_eq!(found, (main, sub), "{resource}");
    }
}

async fn verbs_and_groups(world: World) {
    let rules = json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": ["apps"], "resources": ["services"], "verbs": ["list"]},
        {"apiGroups": ["*"], "resources": ["events"], "verbs": ["*"]},
    ]);
    let user = someone_with(&world, "reader", rules).await;
    let caller = world.as_user(&user);
    let events = format!(
        "/apis/events.k8s.io/v1/namespaces/{}/events",
        world.namespace
    );
    for (path, code) in [
        (world.core("pods"), 200),
        (format!("{}?watch=1", world.core("pods")), 403),
        (format!("{}/a", world.core("pods")), 403),
        (world.core("services"), 403),
        (world.core("events"), 200),
        (events.clone(), 200),
    ] {
        assert_eq!(caller.get(&path).await.code, code, "{path}");
    }
    caller.delete(&events).await.ok();
}

async fn namespaced(world: World) {
    let user = someone(&world, "reader");
    let rules = json!([{"apiGroups": ["", "certificates.k8s.io"], "resources": ["*"],
                        "verbs": ["get", "list"]}]);
    grant_here(&world, "reader", &user, rules).await;
    let caller = world.as_user(&user);
    caller.get(&world.core("pods")).await.ok();
    caller.get(&world.requests()).await.ok();
    caller
        .get(&format!("/api/v1/namespaces/{}", world.namespace))
        .await
        .ok();
    for path in [
        "/api/v1/pods",
        "/api/v1/namespaces/kube-system/pods",
        "/api/v1/namespaces",
        "/api/v1/nodes",
        &world.bundles(),
    ] {
        caller.get(path).await.refused(403, "Forbidden");
    }
}

async fn bound_in_a_namespace(world: World) {
    let user = someone(&world, "reader");
    let role = format!("{}-role", world.namespace);
    let admin = world.admin();
    let rules = json!([{"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["list"]},
                       marker("bound")]);
    admin
        .post(
            &format!("{RBAC}/clusterroles"),
            &json!({"metadata": {"name": role, "ownerReferences": owned(&world).await},
                    "rules": rules}),
        )
        .await
        .created();
    admin
        .post(
            &format!("{RBAC}/namespaces/{}/rolebindings", world.namespace),
            &json!({"metadata": {"name": "bound"}, "roleRef": role_ref("ClusterRole", &role),
                    "subjects": [{"kind": "User", "name": user.name,
                                  "apiGroup": "rbac.authorization.k8s.io"}]}),
        )
        .await
        .created();
    granted(&world, "bound", &user).await;
    let caller = world.as_user(&user);
    caller.get(&world.core("pods")).await.ok();
    for path in ["/api/v1/pods", "/api/v1/nodes"] {
        caller.get(path).await.refused(403, "Forbidden");
    }
}

async fn subjects(world: World) {
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
    let group = format!("{}-team", world.namespace);
    let mut member = someone(&world, "member");
    member.groups = vec![group.clone()];
    let team = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group});
    grant_to(&world, "team", team, &member, rules.clone()).await;
    let account = User::service_account(&world.namespace, "web");
    let subject = json!({"kind": "ServiceAccount", "name": "web", "namespace": world.namespace});
    grant_to(&world, "account", subject, &account, rules).await;
    let mut namesake = someone(&world, "other");
    namesake.name = group;
    for (user, code) in [
        (member, 200),
        (account, 200),
        (namesake, 403),
        (User::service_account(&world.namespace, "other"), 403),
        (User::service_account("default", "web"), 403),
        // What counts of a service account is its user name, not its groups.
        (
            User::new(format!("system:serviceaccount:{}:web", world.namespace)),
            200,
        ),
    ] {
        let answer = world.as_user(&user).get(&world.core("pods")).await;
        assert_eq!(answer.code, code, "{user:?}");
    }
}

async fn binding_to_nothing(world: World) {
    let user = someone(&world, "reader");
    let missing = format!("{}-missing", world.namespace);
    world
        .admin()
        .post(
            &format!("{RBAC}/clusterrolebindings"),
            &json!({"metadata": {"name": missing, "ownerReferences": owned(&world).await},
                    "roleRef": role_ref("ClusterRole", &missing),
                    "subjects": [{"kind": "User", "name": user.name,
                                  "apiGroup": "rbac.authorization.k8s.io"}]}),
        )
        .await
        .created();
    // From 1.37 on an authorizer's reason begins with its name.
    let by = if world.target.release >= Release::V1_37 {
        "rbac: "
    } else {
        ""
    };
    let expected = format!(
        "pods is forbidden: User \"{}\" cannot list resource \"pods\" in API group \"\" in the namespace \"{}\": {by}RBAC: clusterrole.rbac.authorization.k8s.io \"{missing}\" not found",
        user.name, world.namespace
    );
    let (caller, pods) = (world.as_user(&user), world.core("pods"));
    eventually(
        || caller.get(&pods),
        |answer| answer.body["message"] == expected,
    )
    .await;
}

async fn withdrawn(world: World) {
    let user = someone(&world, "reader");
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
    grant_here(&world, "reader", &user, rules).await;
    let (caller, pods) = (world.as_user(&user), world.core("pods"));
    caller.get(&pods).await.ok();
    let binding = format!("{RBAC}/namespaces/{}/rolebindings/reader", world.namespace);
    world.admin().delete(&binding).await.ok();
    eventually(|| caller.get(&pods), |answer| answer.code == 403).await;
}
