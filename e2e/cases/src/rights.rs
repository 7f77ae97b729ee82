//! Rights for users, and waiting until the server goes by them.
//!
//! A real server reads roles, bindings, pods and nodes from caches that lag a moment behind what
//! was just written, so whoever grants something waits here until it holds. Cluster-scoped objects
//! are owned by the case's namespace: the garbage collector takes them away with it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{Answer, User, World};

/// The API group of roles and bindings, with its version.
pub(crate) const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A user of this case alone.
pub(crate) fn someone(world: &World, name: &str) -> User {
    User::new(format!("{}-{name}", world.namespace))
}

/// The `ownerReferences` that make an object go with the case's namespace.
pub(crate) async fn owned(world: &World) -> Value {
    let path = format!("/api/v1/namespaces/{}", world.namespace);
    let namespace = world.admin().get(&path).await.ok();
    json!([{
        "apiVersion": "v1", "kind": "Namespace", "name": world.namespace,
        "uid": namespace["metadata"]["uid"],
    }])
}

/// Lets `user` do what these rules say, everywhere. `name` tells the case's grants apart.
pub(crate) async fn grant(world: &World, name: &str, user: &User, rules: Value) {
    let subject =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user.name});
    grant_to(world, name, subject, user, rules).await;
}

/// A user of this case alone who may do what these rules say, everywhere.
pub(crate) async fn someone_with(world: &World, name: &str, rules: Value) -> User {
    let user = someone(world, name);
    grant(world, name, &user, rules).await;
    user
}

/// As [`grant`], to any kind of subject; `user` is one it covers.
pub(crate) async fn grant_to(
    world: &World,
    name: &str,
    subject: Value,
    user: &User,
    mut rules: Value,
) {
    rules
        .as_array_mut()
        .expect("a list of rules")
        .push(marker(name));
    let role = format!("{}-{name}", world.namespace);
    let metadata = json!({"name": role, "ownerReferences": owned(world).await});
    let admin = world.admin();
    admin
        .post(
            &format!("{RBAC}/clusterroles"),
            &json!({"metadata": metadata, "rules": rules}),
        )
        .await
        .created();
    admin
        .post(
            &format!("{RBAC}/clusterrolebindings"),
            &json!({
                "metadata": metadata,
                "roleRef": role_ref("ClusterRole", &role),
                "subjects": [subject],
            }),
        )
        .await
        .created();
    granted(world, name, user).await;
}

/// Lets `user` do what these rules say in the case's namespace.
pub(crate) async fn grant_here(world: &World, name: &str, user: &User, mut rules: Value) {
    rules
        .as_array_mut()
        .expect("a list of rules")
        .push(marker(name));
    let admin = world.admin();
    let path = format!("{RBAC}/namespaces/{}", world.namespace);
    admin
        .post(
            &format!("{path}/roles"),
            &json!({"metadata": {"name": name}, "rules": rules}),
        )
        .await
        .created();
    admin
        .post(
            &format!("{path}/rolebindings"),
            &json!({
                "metadata": {"name": name},
                "roleRef": role_ref("Role", name),
                "subjects": [{
                    "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user.name,
                }],
            }),
        )
        .await
        .created();
    granted(world, name, user).await;
}

/// A rule by which a grant is recognized once it holds.
pub(crate) fn marker(name: &str) -> Value {
    json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"],
           "resourceNames": [format!("granted-{name}")]})
}

/// Waits until a grant with this [`marker`] holds for a user.
pub(crate) async fn granted(world: &World, name: &str, user: &User) {
    let caller = world.as_user(user);
    let path = format!("{}/granted-{name}", world.core("configmaps"));
    eventually(
        || async { caller.get(&path).await },
        |answer| answer.code == 404,
    )
    .await;
}

pub(crate) fn role_ref(kind: &str, name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name})
}

/// Asks until the answer is as it should be.
///
/// # Panics
/// When it is not within 20 seconds.
pub(crate) async fn eventually<F: Future<Output = Answer>>(
    ask: impl Fn() -> F,
    is_right: impl Fn(&Answer) -> bool,
) -> Answer {
    let mut answer = ask().await;
    for _ in 0..200 {
        if is_right(&answer) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        answer = ask().await;
    }
    panic!("still {answer:?}");
}
