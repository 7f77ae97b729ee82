//! The admission policy in `deploy/admission`: nobody but a pod's own node requests certificates
//! for it, exceptions aside.
//!
//! Policies hold for the whole cluster; here each case applies the manifest under a name of its
//! own, narrowed to its namespace, with that namespace in the place of `kube-system`.

use serde_json::{Value, json};

use crate::material::{KeyType, SIGNER, key, request};
use crate::nodes::Place;
use crate::rights::{eventually, owned, someone, someone_with};
use crate::{Answer, Case, Policies, Target, User, World};

const MANIFEST: &str = include_str!("../../../deploy/admission/own-node.yaml");
const EXCEPTIONS: &str = "podcert.dev/may-request-certificates";
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        Case::new("policy/the-manifest-is-without-warnings", manifest),
        Case::new("policy/a-pods-own-node-requests", own_node),
        Case::new("policy/nobody-else-requests", nobody_else),
        Case::new("policy/an-exception-goes-as-far-as-it-says", exception),
        Case::new(
            "policy/an-exception-may-be-for-a-whole-namespace",
            exception_for_namespace,
        ),
        Case::new("policy/an-exception-ends-with-its-line", exception_ends),
        Case::new("policy/what-is-malformed-is-no-exception", malformed),
        Case::new("policy/without-its-parameter-nobody-requests", no_parameter),
        Case::new("policy/what-exists-may-be-changed", changed),
    ];
    cases.into_iter().map(|case| case.only(evaluates)).collect()
}

fn evaluates(target: Target) -> bool {
    target.policies == Policies::Evaluated
}

/// Applies the manifest, and waits until nobody's request is refused by it.
async fn apply(world: &World) {
    apply_with(world, &world.namespace).await;
    let answer = try_until(world, |answer| answer.code == 403).await;
    assert_eq!(
        answer.refused(403, "Forbidden"),
        refused(world, &administrator(world), "settled", "node-0", "web")
    );
}

/// Applies the manifest with this namespace as its parameter.
async fn apply_with(world: &World, parameter: &str) {
    let owners = owned(world).await;
    let objects: Vec<Value> = serde_saphyr::from_multiple(MANIFEST).expect("YAML");
    let [mut policy, mut binding]: [Value; 2] = objects.try_into().expect("a policy, a binding");
    assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
    assert_eq!(binding["spec"]["paramRef"]["name"], "kube-system");
    let metadata = json!({"name": world.namespace, "ownerReferences": owners});
    policy["metadata"] = metadata.clone();
    policy["spec"]["matchConstraints"]["namespaceSelector"] =
        json!({"matchLabels": {"kubernetes.io/metadata.name": world.namespace}});
    binding["metadata"] = metadata;
    binding["spec"]["policyName"] = world.namespace.clone().into();
    binding["spec"]["paramRef"]["name"] = parameter.into();
    for (plural, object) in [
        ("validatingadmissionpolicies", policy),
        ("validatingadmissionpolicybindings", binding),
    ] {
        let path = format!("{GROUP}/{plural}");
        world.admin().post(&path, &object).await.created();
    }
}

/// An administrator by another name than the server's own, so that words can be compared.
fn administrator(world: &World) -> User {
    let mut user = someone(world, "admin");
    user.groups = vec!["system:masters".into()];
    user
}

/// What the administrator is told who tries to create a request, once it is right.
async fn try_until(world: &World, is_right: impl Fn(&Answer) -> bool) -> Answer {
    let object = request(world, "settled", &key(KeyType::Ed25519));
    let caller = world.as_user(&administrator(world));
    let path = format!("{}?dryRun=All", world.requests());
    eventually(|| async { caller.post(&path, &object).await }, is_right).await
}

/// Writes the exceptions, and waits until they hold: until the last of them, which is for a user
/// of no consequence, does.
async fn except(world: &World, lines: &str) {
    let marker = administrator(world).name;
    let lines = format!("{lines}\n{marker} {SIGNER} {}/web", world.namespace);
    annotate(world, &lines).await;
    try_until(world, |answer| answer.code == 201).await;
}

async fn annotate(world: &World, exceptions: &str) {
    let path = format!("/api/v1/namespaces/{}", world.namespace);
    let patch = json!({"metadata": {"annotations": {EXCEPTIONS: exceptions}}});
    world.admin().patch(&path, "merge", &patch).await.ok();
}

fn refused(world: &World, user: &User, name: &str, node: &str, account: &str) -> String {
    let namespace = &world.namespace;
    let user = &user.name;
    format!(
        "podcertificaterequests.certificates.k8s.io \"{name}\" is forbidden: ValidatingAdmissionPolicy '{namespace}' with binding '{namespace}' denied request: user \"{user}\" is not the kubelet of node \"{node}\": only that may create a PodCertificateRequest for a pod there. Let the kubelet do it (a podCertificate volume), or add the line \"{user} {SIGNER} {namespace}/{account}\" to the annotation podcert.dev/may-request-certificates of the namespace kube-system"
    )
}

/// A user who may create requests as far as RBAC is concerned.
async fn creator(world: &World, name: &str) -> User {
    let rules = json!([{"apiGroups": ["certificates.k8s.io"], "verbs": ["create"],
                        "resources": ["podcertificaterequests"]}]);
    someone_with(world, name, rules).await
}

async fn create(world: &World, user: &User, name: &str, change: impl Fn(&mut Value)) -> Answer {
    let mut object = request(world, name, &key(KeyType::Ed25519));
    change(&mut object["spec"]);
    world.as_user(user).post(&world.requests(), &object).await
}

async fn manifest(world: World) {
    apply(&world).await;
    let path = format!("{GROUP}/validatingadmissionpolicies/{}", world.namespace);
    let admin = world.admin();
    // The expressions' types are checked by a controller.
    let answer = eventually(
        || admin.get(&path),
        |answer| {
            answer.body["status"]["observedGeneration"] == answer.body["metadata"]["generation"]
        },
    )
    .await;
    let checked = &answer.body["status"]["typeChecking"];
    assert_eq!(checked.get("expressionWarnings"), None, "{}", answer.body);
}

async fn own_node(world: World) {
    let place = Place::prepare(&world).await;
    apply(&world).await;
    place.ask("a", |_| ()).await.created();
    let mut object = place.request("", |_| ());
    object["metadata"] = json!({"generateName": "req-"});
    let caller = world.as_user(&place.user());
    caller.post(&world.requests(), &object).await.created();
}

async fn nobody_else(world: World) {
    let place = Place::prepare(&world).await;
    apply(&world).await;
    let plain = creator(&world, "plain").await;
    let account = User::service_account(&world.namespace, "web");
    let mut namesake = administrator(&world);
    namesake.name = place.user().name;
    let mut member = administrator(&world);
    member.groups.push("system:nodes".into());
    for user in [administrator(&world), plain, namesake, member] {
        // A true request, as the node would make it.
        let object = place.request("a", |_| ());
        let answer = world.as_user(&user).post(&world.requests(), &object).await;
        let expected = refused(&world, &user, "a", &place.node, "web");
        assert_eq!(answer.refused(403, "Forbidden"), expected);
        let object = place.request("b", |spec| spec["podName"] = "forged".into());
        let answer = world.as_user(&user).post(&world.requests(), &object).await;
        assert_eq!(
            answer.refused(403, "Forbidden"),
            expected.replace("\"a\"", "\"b\"")
        );
    }
    // RBAC or NodeRestriction come first for these.
    let other = User::node(&format!("{}-b", world.namespace));
    for user in [account, other] {
        let object = place.request("a", |_| ());
        let answer = world.as_user(&user).post(&world.requests(), &object).await;
        answer.refused(403, "Forbidden");
    }
    // Further groups take nothing from the node.
    let mut both = place.user();
    both.groups.push("system:masters".into());
    let object = place.request("a", |_| ());
    world
        .as_user(&both)
        .post(&world.requests(), &object)
        .await
        .created();
}

async fn exception(world: World) {
    apply(&world).await;
    let user = creator(&world, "excepted").await;
    let other = creator(&world, "other").await;
    let (name, namespace) = (&user.name, &world.namespace);
    except(
        &world,
        &format!("{name} {SIGNER} {namespace}/web\n{name} example.com/second elsewhere/*"),
    )
    .await;
    create(&world, &user, "a", |_| ()).await.created();
    // For another signer, for another service account, by another user:
    let answer = create(&world, &user, "b", |spec| {
        spec["signerName"] = "example.com/second".into();
    })
    .await;
    answer.refused(403, "Forbidden");
    let answer = create(&world, &user, "b", |spec| {
        spec["serviceAccountName"] = "admin".into();
    })
    .await;
    let expected = refused(&world, &user, "b", "node-0", "admin");
    assert_eq!(answer.refused(403, "Forbidden"), expected);
    let answer = create(&world, &other, "b", |_| ()).await;
    let expected = refused(&world, &other, "b", "node-0", "web");
    assert_eq!(answer.refused(403, "Forbidden"), expected);
    // Nor does it save from the rules.
    let answer = create(&world, &user, "b", |spec| {
        spec["maxExpirationSeconds"] = 1.into();
    })
    .await;
    answer.refused(422, "Invalid");
}

async fn exception_for_namespace(world: World) {
    apply(&world).await;
    let user = creator(&world, "excepted").await;
    except(
        &world,
        &format!("{} {SIGNER} {}/*", user.name, world.namespace),
    )
    .await;
    create(&world, &user, "a", |_| ()).await.created();
    create(&world, &user, "b", |spec| {
        spec["serviceAccountName"] = "admin".into();
    })
    .await
    .created();
    create(&world, &user, "c", |spec| {
        spec["signerName"] = "example.com/second".into();
    })
    .await
    .refused(403, "Forbidden");
}

async fn exception_ends(world: World) {
    apply(&world).await;
    except(&world, "").await;
    annotate(&world, "").await;
    try_until(&world, |answer| answer.code == 403).await;
}

async fn malformed(world: World) {
    apply(&world).await;
    let user = creator(&world, "user").await;
    let (name, namespace) = (&user.name, &world.namespace);
    let lines = [
        "*".to_owned(),
        "* * *".to_owned(),
        "* * */*".to_owned(),
        name.clone(),
        format!("{name} * {namespace}/web"),
        format!("{name} {SIGNER}"),
        format!("{name} {SIGNER} web"),
        format!("{name} {SIGNER} {namespace}/"),
        format!("{name} {SIGNER} {namespace}/we"),
        format!("{name} {SIGNER} */*"),
        format!("{name} example.com/* {namespace}/web"),
        format!(" {name} {SIGNER} {namespace}/web"),
        format!("{name}  {SIGNER} {namespace}/web"),
        format!("{name} {SIGNER} {namespace}/web and more"),
        format!("* {SIGNER} {namespace}/web"),
        format!("system:masters {SIGNER} {namespace}/web"),
    ];
    except(&world, &lines.join("\n")).await;
    let answer = create(&world, &user, "a", |_| ()).await;
    let expected = refused(&world, &user, "a", "node-0", "web");
    assert_eq!(answer.refused(403, "Forbidden"), expected);
}

async fn no_parameter(world: World) {
    let place = Place::prepare(&world).await;
    apply_with(&world, "no-such-namespace").await;
    let answer = try_until(&world, |answer| answer.code != 201).await;
    let message = answer.refused(422, "Invalid");
    assert!(message.contains("no params found"), "{message}");
    place.ask("a", |_| ()).await.refused(422, "Invalid");
}

async fn changed(world: World) {
    let object = request(&world, "a", &key(KeyType::Ed25519));
    let admin = world.admin();
    admin.post(&world.requests(), &object).await.created();
    apply(&world).await;
    let path = format!("{}/a", world.requests());
    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    admin.patch(&path, "merge", &patch).await.ok();
    admin.delete(&path).await.ok();
}
