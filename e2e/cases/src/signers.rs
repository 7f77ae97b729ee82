//! The rights of signers: `sign` for what is written into a request's status, `attest` for the
//! ClusterTrustBundles of a signer.

use serde_json::{Value, json};

use crate::material::{KeyType, SIGNER, ca, date, denied, key, leaf, request};
use crate::rights::{grant_here, owned, someone, someone_with};
use crate::{Answer, Caller, Case, User, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("sign/by-the-signers-name", sign_by_name),
        Case::new("sign/by-the-domain", sign_by_domain),
        Case::new("sign/without-names-is-for-all", sign_for_all),
        Case::new("sign/of-others-is-invalid", sign_of_others),
        Case::new("sign/in-a-namespace-alone-is-nothing", sign_in_a_namespace),
        Case::new("sign/is-needed-to-issue", sign_to_issue),
        Case::new(
            "sign/is-not-needed-where-nothing-changes",
            sign_without_change,
        ),
        Case::new("sign/is-asked-for-after-the-rules", sign_after_rules),
        Case::new("sign/is-not-enough-to-write", sign_needs_update),
        Case::new("sign/patches-need-the-verb-patch", sign_by_patch),
        Case::new(
            "sign/the-main-resource-takes-no-status",
            sign_by_main_resource,
        ),
        Case::new("attest/by-the-signers-name", attest_by_name),
        Case::new("attest/by-the-domain", attest_by_domain),
        Case::new("attest/of-others-is-forbidden", attest_of_others),
        Case::new("attest/is-asked-for-after-the-rules", attest_after_rules),
        Case::new(
            "attest/bundles-without-signer-need-none",
            attest_without_signer,
        ),
        Case::new("attest/is-needed-for-labels-too", attest_for_labels),
        Case::new(
            "attest/the-garbage-collectors-fields-need-none",
            attest_for_collector,
        ),
        Case::new("attest/deletion-needs-none", attest_for_deletion),
        Case::new("attest/dry-runs-need-it", attest_for_dry_run),
    ]
}

fn sign(names: &[&str]) -> Value {
    signers("sign", names)
}

fn signers(verb: &str, names: &[&str]) -> Value {
    json!({"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "verbs": [verb],
           "resourceNames": names})
}

fn status(verbs: &[&str]) -> Value {
    json!({"apiGroups": ["certificates.k8s.io"], "verbs": verbs,
           "resources": ["podcertificaterequests/status"]})
}

fn bundles(verbs: &[&str]) -> Value {
    json!({"apiGroups": ["certificates.k8s.io"], "verbs": verbs,
           "resources": ["clustertrustbundles"]})
}

/// A new request to [`SIGNER`].
async fn ask(world: &World, name: &str) -> Value {
    let object = request(world, name, &key(KeyType::Ed25519));
    world
        .admin()
        .post(&world.requests(), &object)
        .await
        .created()
}

/// Makes a request and denies it as `user`.
async fn deny(world: &World, user: &User, name: &str) -> Answer {
    let object = denied(world, ask(world, name).await);
    let path = format!("{}/{name}/status", world.requests());
    world.as_user(user).put(&path, &object).await
}

fn not_permitted(user: &User) -> String {
    format!(
        "Forbidden: User \"{}\" is not permitted to \"sign\" for signer \"{SIGNER}\"",
        user.name
    )
}

async fn sign_by_name(world: World) {
    let user = someone_with(
        &world,
        "signer",
        json!([status(&["update"]), sign(&[SIGNER])]),
    )
    .await;
    let denied = deny(&world, &user, "a").await.ok();
    assert_eq!(
        denied["status"]["conditions"][0]["type"], "Denied",
        "{denied}"
    );
}

async fn sign_by_domain(world: World) {
    let rules = json!([status(&["update"]), sign(&["example.com/*"])]);
    let user = someone_with(&world, "signer", rules).await;
    deny(&world, &user, "a").await.ok();
}

async fn sign_for_all(world: World) {
    let user = someone_with(&world, "signer", json!([status(&["update"]), sign(&[])])).await;
    deny(&world, &user, "a").await.ok();
}

async fn sign_of_others(world: World) {
    for (name, rule) in [
        ("none", status(&["get"])),
        ("other-path", sign(&["example.com/other"])),
        (
            "no-glob",
            sign(&["example.com/sig*", "*/signer", "*/*", "*"]),
        ),
        ("parent", sign(&["com/*", "*.com/*", "example.com"])),
        ("munged", sign(&["example.com:signer", "example.com:*"])),
        ("attest", signers("attest", &[SIGNER])),
        ("approve", signers("approve", &[SIGNER])),
        (
            "group",
            json!({"apiGroups": [""], "resources": ["signers"], "verbs": ["sign"]}),
        ),
    ] {
        let user = someone_with(&world, name, json!([status(&["update"]), rule])).await;
        let answer = deny(&world, &user, name).await;
        answer.invalid(&[("spec.signerName", &not_permitted(&user))]);
        let cause = &answer.body["details"]["causes"][0];
        assert_eq!(cause["reason"], "FieldValueForbidden", "{name}");
        assert_eq!(
            answer.body["message"].as_str().unwrap(),
            format!(
                "PodCertificateRequest.certificates.k8s.io \"{name}\" is invalid: spec.signerName: {}",
                not_permitted(&user)
            )
        );
    }
}

async fn sign_in_a_namespace(world: World) {
    let user = someone(&world, "signer");
    grant_here(
        &world,
        "signer",
        &user,
        json!([status(&["update"]), sign(&[SIGNER])]),
    )
    .await;
    let answer = deny(&world, &user, "a").await;
    answer.invalid(&[("spec.signerName", &not_permitted(&user))]);
}

async fn sign_to_issue(world: World) {
    let signer = someone_with(
        &world,
        "signer",
        json!([status(&["update"]), sign(&[SIGNER])]),
    )
    .await;
    let writer = someone_with(&world, "writer", json!([status(&["update"])])).await;

    let key = key(KeyType::P256);
    let object = request(&world, "a", &key);
    let mut object = world
        .admin()
        .post(&world.requests(), &object)
        .await
        .created();
    let (hour, now) = (jiff::SignedDuration::from_hours(1), world.now());
    let from = jiff::Timestamp::from_second(now.as_second()).unwrap();
    let (until, refresh) = (from + hour * 12, from + hour * 6);
    object["status"] = json!({
        "conditions": [{
            "type": "Issued", "status": "True", "reason": "Issued", "message": "",
            "lastTransitionTime": date(from),
        }],
        "certificateChain": leaf(&ca("root"), &key, from, until, &["web.example.com"]),
        "notBefore": date(from), "notAfter": date(until), "beginRefreshAt": date(refresh),
    });
    let path = format!("{}/a/status", world.requests());
    let answer = world.as_user(&writer).put(&path, &object).await;
    answer.invalid(&[("spec.signerName", &not_permitted(&writer))]);
    let issued = world.as_user(&signer).put(&path, &object).await.ok();
    assert_eq!(
        issued["status"]["conditions"][0]["type"], "Issued",
        "{issued}"
    );
}

async fn sign_without_change(world: World) {
    let user = someone_with(&world, "writer", json!([status(&["update"])])).await;
    let mut object = ask(&world, "a").await;
    // Metadata is not for the status subresource to change: nothing does.
    object["metadata"]["labels"] = json!({"a": "b"});
    let path = format!("{}/a/status", world.requests());
    let same = world.as_user(&user).put(&path, &object).await.ok();
    assert_eq!(same["metadata"].get("labels"), None, "{same}");
}

async fn sign_after_rules(world: World) {
    let user = someone_with(&world, "writer", json!([status(&["update"])])).await;
    let mut object = denied(&world, ask(&world, "a").await);
    object["status"]["conditions"][0]["status"] = "False".into();
    let path = format!("{}/a/status", world.requests());
    let answer = world.as_user(&user).put(&path, &object).await;
    let message = answer.refused(422, "Invalid");
    assert!(!message.contains("sign\""), "{message}");
}

async fn sign_needs_update(world: World) {
    let main = json!({"apiGroups": ["certificates.k8s.io"], "verbs": ["*"],
                      "resources": ["podcertificaterequests"]});
    let user = someone_with(
        &world,
        "signer",
        json!([main, sign(&[SIGNER]), status(&["get", "patch"])]),
    )
    .await;
    let answer = deny(&world, &user, "a").await;
    assert_eq!(
        answer.refused(403, "Forbidden"),
        format!(
            "podcertificaterequests.certificates.k8s.io \"a\" is forbidden: User \"{}\" cannot update resource \"podcertificaterequests/status\" in API group \"certificates.k8s.io\" in the namespace \"{}\"",
            user.name, world.namespace
        )
    );
}

async fn sign_by_patch(world: World) {
    let updater = someone_with(
        &world,
        "updater",
        json!([status(&["update"]), sign(&[SIGNER])]),
    )
    .await;
    let patcher = someone_with(
        &world,
        "patcher",
        json!([status(&["patch"]), sign(&[SIGNER])]),
    )
    .await;
    let other = someone_with(&world, "other", json!([status(&["patch"])])).await;

    let object = denied(&world, ask(&world, "a").await);
    let patch = json!({"status": object["status"]});
    let path = format!("{}/a/status", world.requests());
    let answer = world.as_user(&updater).patch(&path, "merge", &patch).await;
    answer.refused(403, "Forbidden");
    let answer = world.as_user(&other).patch(&path, "merge", &patch).await;
    answer.invalid(&[("spec.signerName", &not_permitted(&other))]);
    world
        .as_user(&patcher)
        .patch(&path, "merge", &patch)
        .await
        .ok();
}

async fn sign_by_main_resource(world: World) {
    let main = json!({"apiGroups": ["certificates.k8s.io"], "verbs": ["update"],
                      "resources": ["podcertificaterequests"]});
    let user = someone_with(&world, "writer", json!([main])).await;
    let object = denied(&world, ask(&world, "a").await);
    let path = format!("{}/a", world.requests());
    let same = world.as_user(&user).put(&path, &object).await.ok();
    assert_eq!(same["status"].get("conditions"), None, "{same}");
}

/// Someone who may do what these rules say, and a bundle of [`SIGNER`] that is the case's own.
async fn publisher(world: &World, name: &str, rules: Value) -> (Caller, Value) {
    let user = someone_with(world, name, rules).await;
    let bundle = json!({
        "apiVersion": world.certificates_api(),
        "kind": "ClusterTrustBundle",
        "metadata": {
            "name": format!("example.com:signer:{}", world.namespace),
            "ownerReferences": owned(world).await,
        },
        "spec": {"signerName": SIGNER, "trustBundle": ca("root").pem},
    });
    (world.as_user(&user), bundle)
}

fn path_of(world: &World, bundle: &Value) -> String {
    let name = bundle["metadata"]["name"].as_str().unwrap();
    format!("{}/{name}", world.bundles())
}

fn not_attested(bundle: &Value) -> String {
    format!(
        "clustertrustbundles.certificates.k8s.io {} is forbidden: user not permitted to attest for signerName \"{SIGNER}\"",
        bundle["metadata"]["name"]
    )
}

async fn attest_by_name(world: World) {
    let rules = json!([
        bundles(&["create", "update", "patch"]),
        signers("attest", &[SIGNER])
    ]);
    let (caller, bundle) = publisher(&world, "publisher", rules).await;
    let mut bundle = caller.post(&world.bundles(), &bundle).await.created();
    let path = path_of(&world, &bundle);
    bundle["spec"]["trustBundle"] = ca("second").pem.into();
    caller.put(&path, &bundle).await.ok();
    let patch = json!({"spec": {"trustBundle": ca("third").pem}});
    caller.patch(&path, "merge", &patch).await.ok();
}

async fn attest_by_domain(world: World) {
    let rules = json!([bundles(&["create"]), signers("attest", &["example.com/*"])]);
    let (caller, bundle) = publisher(&world, "publisher", rules).await;
    caller.post(&world.bundles(), &bundle).await.created();
}

async fn attest_of_others(world: World) {
    for (name, rule) in [
        ("none", bundles(&["get"])),
        (
            "other",
            signers(
                "attest",
                &["example.com/other", "com/*", "*/*", "*", "example.com/s*"],
            ),
        ),
        ("sign", signers("sign", &[SIGNER])),
    ] {
        let (caller, bundle) = publisher(&world, name, json!([bundles(&["create"]), rule])).await;
        let answer = caller.post(&world.bundles(), &bundle).await;
        assert_eq!(answer.refused(403, "Forbidden"), not_attested(&bundle));
        assert_eq!(
            answer.body["details"],
            json!({"name": bundle["metadata"]["name"], "group": "certificates.k8s.io",
                   "kind": "clustertrustbundles"})
        );
    }
}

async fn attest_after_rules(world: World) {
    let rules = json!([bundles(&["create"])]);
    let (caller, mut bundle) = publisher(&world, "publisher", rules).await;
    bundle["spec"]["trustBundle"] = "".into();
    let answer = caller.post(&world.bundles(), &bundle).await;
    answer.refused(422, "Invalid");
}

async fn attest_without_signer(world: World) {
    let rules = json!([bundles(&["create", "update", "patch", "delete"])]);
    let (caller, mut bundle) = publisher(&world, "publisher", rules).await;
    bundle["metadata"]["name"] = world.namespace.clone().into();
    bundle["spec"].as_object_mut().unwrap().remove("signerName");
    let mut bundle = caller.post(&world.bundles(), &bundle).await.created();
    let path = path_of(&world, &bundle);
    bundle["spec"]["trustBundle"] = ca("second").pem.into();
    caller.put(&path, &bundle).await.ok();
    // Whom a bundle belongs to is not changed later: that is a rule, and no question of rights.
    let patch = json!({"spec": {"signerName": SIGNER}});
    caller
        .patch(&path, "merge", &patch)
        .await
        .refused(422, "Invalid");
    caller.delete(&path).await.ok();
}

async fn attest_for_labels(world: World) {
    let rules = json!([bundles(&["update", "patch"])]);
    let (caller, bundle) = publisher(&world, "publisher", rules).await;
    let admin = world.admin();
    let bundle = admin.post(&world.bundles(), &bundle).await.created();
    let path = path_of(&world, &bundle);
    for patch in [
        json!({"metadata": {"labels": {"a": "b"}}}),
        json!({"metadata": {"annotations": {"a": "b"}}}),
        json!({"spec": {"trustBundle": ca("second").pem}}),
    ] {
        let answer = caller.patch(&path, "merge", &patch).await;
        assert_eq!(answer.refused(403, "Forbidden"), not_attested(&bundle));
    }
    // What changes nothing needs nothing.
    caller.put(&path, &bundle).await.ok();
    caller.patch(&path, "merge", &json!({})).await.ok();
}

async fn attest_for_collector(world: World) {
    let rules = json!([bundles(&["update", "patch"])]);
    let (caller, bundle) = publisher(&world, "collector", rules).await;
    let admin = world.admin();
    let bundle = admin.post(&world.bundles(), &bundle).await.created();
    let path = path_of(&world, &bundle);
    let patch = json!({"metadata": {"finalizers": ["example.com/held"]}});
    caller.patch(&path, "merge", &patch).await.ok();
    let both = json!({"metadata": {"finalizers": null, "labels": {"a": "b"}}});
    let answer = caller.patch(&path, "merge", &both).await;
    assert_eq!(answer.refused(403, "Forbidden"), not_attested(&bundle));
    let mut bundle = admin.get(&path).await.ok();
    let metadata = bundle["metadata"].as_object_mut().unwrap();
    metadata.remove("finalizers");
    metadata.remove("ownerReferences");
    let bundle = caller.put(&path, &bundle).await.ok();
    assert_eq!(bundle["metadata"].get("ownerReferences"), None, "{bundle}");
    // Nothing owns it any more.
    admin.delete(&path).await.ok();
}

async fn attest_for_deletion(world: World) {
    let rules = json!([bundles(&["delete"])]);
    let (caller, bundle) = publisher(&world, "cleaner", rules).await;
    let admin = world.admin();
    admin.post(&world.bundles(), &bundle).await.created();
    caller.delete(&path_of(&world, &bundle)).await.ok();
}

async fn attest_for_dry_run(world: World) {
    let rules = json!([bundles(&["create"])]);
    let (caller, bundle) = publisher(&world, "publisher", rules).await;
    let path = format!("{}?dryRun=All", world.bundles());
    let answer = caller.post(&path, &bundle).await;
    assert_eq!(answer.refused(403, "Forbidden"), not_attested(&bundle));
    world.admin().post(&path, &bundle).await.created();
}
