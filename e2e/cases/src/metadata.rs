//! Labels, annotations, owners and finalizers.

use serde_json::{Value, json};

use crate::{Case, Release, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "metadata/labels-are-qualified-names-and-short-values",
            labels,
        ),
        Case::new("metadata/annotation-keys-are-qualified-names", annotations),
        Case::new("metadata/annotations-fit-256-kibibytes", annotations_size),
        Case::new("metadata/owners-are-named-in-full", owners)
            .only(|target| target.release >= Release::V1_37),
        Case::new(
            "metadata/owners-are-named-in-full-without-place",
            owners_before,
        )
        .only(|target| target.release < Release::V1_37),
        Case::new("metadata/owners-of-any-group-are-kept", owners_kept),
        Case::new("metadata/one-owner-controls", controllers),
        Case::new("metadata/events-own-nothing", event_owner)
            .only(|target| target.release >= Release::V1_37),
        Case::new("metadata/an-owner-comes-once", duplicate_owner),
        Case::new("metadata/finalizers-are-qualified", finalizers),
        Case::new("metadata/a-generation-is-not-negative", generation),
        Case::new("metadata/an-update-is-checked-too", updates),
    ]
}

const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

fn invalid(value: &str, why: &str) -> String {
    format!("Invalid value: {value:?}: {why}")
}

/// A ConfigMap with this in its metadata.
fn map(metadata: &Value) -> Value {
    let mut object = json!({"metadata": {"name": "a"}});
    object["metadata"]
        .as_object_mut()
        .unwrap()
        .extend(metadata.as_object().unwrap().clone());
    object
}

async fn accepted(world: &World, metadata: &Value) -> Value {
    let path = format!("{}?dryRun=All", world.core("configmaps"));
    let made = world.admin().post(&path, &map(metadata)).await.created();
    made["metadata"].clone()
}

async fn refused(world: &World, metadata: &Value, causes: &[(&str, &str)]) {
    let path = format!("{}?dryRun=All", world.core("configmaps"));
    world
        .admin()
        .post(&path, &map(metadata))
        .await
        .invalid(causes);
}

async fn labels(world: World) {
    let fine = json!({"labels": {
        "a": "", "example.com/B_c.d": "X-y.z_1", "k": "v".repeat(63),
    }});
    assert_eq!(accepted(&world, &fine).await["labels"], fine["labels"]);
    let long = "x".repeat(64);
    let subdomain = crate::samples::SUBDOMAIN;
    for (key, value, bad, why) in [
        ("a b", "c", "a b", format!("name part {QUALIFIED}")),
        ("A/b", "c", "A/b", format!("prefix part {subdomain}")),
        ("/b", "c", "/b", "prefix part must be non-empty".into()),
        (
            &long,
            "c",
            &long,
            "name part must be no more than 63 bytes".into(),
        ),
        ("a", "-", "-", LABEL_VALUE.into()),
        ("a", &long, &long, "must be no more than 63 bytes".into()),
    ] {
        let metadata = json!({"labels": {key: value}});
        refused(
            &world,
            &metadata,
            &[("metadata.labels", &invalid(bad, &why))],
        )
        .await;
    }
}

async fn annotations(world: World) {
    // Case does not matter in keys, and values are free.
    let fine = json!({"annotations": {"A/B": "any thing\n", "a": ""}});
    assert_eq!(
        accepted(&world, &fine).await["annotations"],
        fine["annotations"]
    );
    let metadata = json!({"annotations": {"a b": "c"}});
    let why = invalid("a b", &format!("name part {QUALIFIED}"));
    refused(&world, &metadata, &[("metadata.annotations", &why)]).await;
}

async fn annotations_size(world: World) {
    let sized = |size: usize| json!({"annotations": {"a": "x".repeat(size - 1)}});
    accepted(&world, &sized(256 * 1024)).await;
    let why = "Too long: may not be more than 262144 bytes";
    refused(
        &world,
        &sized(256 * 1024 + 1),
        &[("metadata.annotations", why)],
    )
    .await;
}

fn owner() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"})
}

async fn owners(world: World) {
    let field = |name: &str| format!("metadata.ownerReferences[0].{name}");
    let required = "Required value: must not be empty";
    refused(
        &world,
        &json!({"ownerReferences": [{}]}),
        &[
            (&field("apiVersion"), required),
            (&field("kind"), required),
            (&field("name"), required),
            (&field("uid"), required),
        ],
    )
    .await;
    let mut bad = owner();
    bad["apiVersion"] = "a/b/c".into();
    let why = invalid("a/b/c", "must be <group>/<version> or <version>");
    let metadata = json!({"ownerReferences": [bad]});
    refused(&world, &metadata, &[(&field("apiVersion"), &why)]).await;
}

async fn owners_kept(world: World) {
    // The group `core` does not exist; kubelets write it all the same.
    let mut odd = owner();
    odd["apiVersion"] = "core/v1".into();
    odd["uid"] = "v".into();
    let metadata = json!({"ownerReferences": [owner(), odd]});
    let made = accepted(&world, &metadata).await;
    assert_eq!(made["ownerReferences"], metadata["ownerReferences"]);
}

async fn controllers(world: World) {
    let mut one = owner();
    one["controller"] = true.into();
    let mut two = one.clone();
    two["uid"] = "u2".into();
    two["name"] = "p2".into();
    let metadata = json!({"ownerReferences": [one, two]});
    let why = "Invalid value: [{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"p\",\"uid\":\"u\",\"controller\":true},{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"p2\",\"uid\":\"u2\",\"controller\":true}]: Only one reference can have Controller set to true. Found \"true\" in references for Pod/p and Pod/p2";
    refused(&world, &metadata, &[("metadata.ownerReferences", why)]).await;
}

async fn event_owner(world: World) {
    let mut event = owner();
    event["kind"] = "Event".into();
    let metadata = json!({"ownerReferences": [event]});
    let why = "Invalid value: {\"apiVersion\":\"v1\",\"kind\":\"Event\",\"name\":\"p\",\"uid\":\"u\"}: /v1, Kind=Event is disallowed from being an owner";
    refused(&world, &metadata, &[("metadata.ownerReferences[0]", why)]).await;
}

async fn duplicate_owner(world: World) {
    let metadata = json!({"ownerReferences": [owner(), owner()]});
    let made = accepted(&world, &metadata).await;
    assert_eq!(made["ownerReferences"], json!([owner()]));
}

async fn finalizers(world: World) {
    let fine = json!({"finalizers": ["example.com/a", "orphan"]});
    assert_eq!(
        accepted(&world, &fine).await["finalizers"],
        fine["finalizers"]
    );
    let unqualified = "name is neither a standard finalizer name nor is it fully qualified";
    let metadata = json!({"finalizers": ["example.com/a", "plain"]});
    let why = invalid("plain", unqualified);
    refused(&world, &metadata, &[("metadata.finalizers[1]", &why)]).await;
    let metadata = json!({"finalizers": ["a b"]});
    refused(
        &world,
        &metadata,
        &[
            (
                "metadata.finalizers",
                &invalid("a b", &format!("name part {QUALIFIED}")),
            ),
            ("metadata.finalizers[0]", &invalid("a b", unqualified)),
        ],
    )
    .await;
    let metadata = json!({"finalizers": ["foregroundDeletion", "orphan"]});
    let why = "Invalid value: [\"foregroundDeletion\",\"orphan\"]: finalizer orphan and foregroundDeletion cannot be both set";
    refused(&world, &metadata, &[("metadata.finalizers", why)]).await;
}

async fn generation(world: World) {
    let why = "Invalid value: -1: must be greater than or equal to 0";
    refused(
        &world,
        &json!({"generation": -1}),
        &[("metadata.generation", why)],
    )
    .await;
}

async fn updates(world: World) {
    let admin = world.admin();
    let path = world.core("configmaps");
    admin.post(&path, &map(&json!({}))).await.created();
    let path = format!("{path}/a");
    let labels = json!({"labels": {"a b": "c"}});
    let why = invalid("a b", &format!("name part {QUALIFIED}"));
    let answer = admin.put(&path, &map(&labels)).await;
    answer.invalid_update(world.target, &[("metadata.labels", &why)]);
}

async fn owners_before(world: World) {
    let empty = "Invalid value: \"\": must not be empty";
    refused(
        &world,
        &json!({"ownerReferences": [{}]}),
        &[
            (
                "metadata.ownerReferences.apiVersion",
                "Invalid value: \"\": version must not be empty",
            ),
            ("metadata.ownerReferences.kind", empty),
            ("metadata.ownerReferences.name", empty),
            ("metadata.ownerReferences.uid", empty),
        ],
    )
    .await;
}
