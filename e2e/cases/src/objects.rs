//! Creating, reading and replacing objects: what all kinds have in common.

use serde_json::{Value, json};

use crate::material::{KeyType, key, request};
use crate::{Case, Release, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("objects/a-new-one-gets-uid-version-and-date", created),
        Case::new("objects/clients-choose-neither-uid-nor-dates", not_chosen),
        Case::new("objects/a-version-on-create-is-refused", version_on_create),
        Case::new("objects/one-that-exists-is-not-created-again", exists),
        Case::new("objects/one-that-is-absent-is-not-found", absent),
        Case::new("objects/a-name-is-needed", nameless),
        Case::new("objects/names-are-subdomains", names_checked),
        Case::new("objects/generated-names-end-in-five-letters", generated),
        Case::new(
            "objects/generated-names-fit-63-characters",
            generated_length,
        ),
        Case::new(
            "objects/what-a-name-is-generated-from-is-checked",
            generated_checked,
        ),
        Case::new(
            "objects/a-name-goes-before-a-generated-one",
            name_and_generate_name,
        ),
        Case::new(
            "objects/the-namespace-is-the-one-in-the-path",
            namespace_mismatch,
        ),
        Case::new("objects/the-namespace-must-exist", namespace_missing),
        Case::new(
            "objects/nothing-new-in-a-namespace-that-ends",
            namespace_ends,
        ),
        Case::new("objects/the-name-is-the-one-in-the-path", name_mismatch),
        Case::new("objects/an-update-raises-the-version", updated),
        Case::new("objects/an-old-version-conflicts", conflict),
        Case::new("objects/a-version-is-a-number", malformed_version),
        Case::new(
            "objects/some-kinds-are-overwritten-without-a-version",
            unconditional,
        ),
        Case::new("objects/others-want-the-version", conditional),
        Case::new("objects/a-uid-is-a-precondition", uid_precondition),
        Case::new(
            "objects/an-update-that-changes-nothing-writes-nothing",
            unchanged,
        ),
        Case::new(
            "objects/some-kinds-are-created-by-their-first-update",
            create_on_update,
        ),
        Case::new("objects/dates-of-creation-are-not-changed", creation_date),
        Case::new(
            "objects/deletion-is-not-asked-for-by-an-update",
            deletion_fields,
        ),
        Case::new("objects/dry-runs-change-nothing", dry_runs),
        Case::new("objects/dry-runs-are-for-all-stages", dry_run_values),
        Case::new("objects/metadata-can-be-read-alone", metadata_only),
    ]
}

/// What `metadata.name` is told when it is no subdomain.
pub(crate) const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// The names in a list.
pub(crate) fn names(list: &Value) -> Vec<String> {
    list["items"]
        .as_array()
        .expect("a list has items")
        .iter()
        .map(|item| item["metadata"]["name"].as_str().expect("a name").into())
        .collect()
}

/// A ConfigMap.
pub(crate) fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"key": "value"}})
}

/// A pod that a new namespace takes at once: with a service account of its own, without a token.
/// Whoever creates it creates the account `web` before.
pub(crate) fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "containers": [{"name": "main", "image": "none"}],
            "serviceAccountName": "web",
            "automountServiceAccountToken": false,
        },
    })
}

/// Creates the account that [`pod`] names.
pub(crate) async fn pod_account(world: &World) {
    let account = json!({"metadata": {"name": "web"}});
    world
        .admin()
        .post(&world.core("serviceaccounts"), &account)
        .await
        .created();
}

/// Metadata as a number.
pub(crate) fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version")
        .parse()
        .expect("a number")
}

/// Collection, resource as messages name it, and an object called `x`, of each kind that podcert
/// touches in namespaces.
pub(crate) fn samples(world: &World) -> Vec<(String, &'static str, Value)> {
    let leases = format!(
        "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
        world.namespace
    );
    vec![
        (
            world.requests(),
            "podcertificaterequests.certificates.k8s.io",
            request(world, "x", &key(KeyType::P256)),
        ),
        (world.core("pods"), "pods", pod("x")),
        (
            world.core("services"),
            "services",
            json!({"metadata": {"name": "x"}, "spec": {"ports": [{"port": 443}]}}),
        ),
        (world.core("configmaps"), "configmaps", config_map("x")),
        (
            world.core("secrets"),
            "secrets",
            json!({"metadata": {"name": "x"}}),
        ),
        (
            world.core("events"),
            "events",
            json!({
                "metadata": {"name": "x"},
                "involvedObject": {"kind": "Pod", "name": "p", "namespace": world.namespace},
            }),
        ),
        (
            leases,
            "leases.coordination.k8s.io",
            json!({"metadata": {"name": "x"}, "spec": {"holderIdentity": "one"}}),
        ),
        (
            world.core("serviceaccounts"),
            "serviceaccounts",
            json!({"metadata": {"name": "x"}}),
        ),
    ]
}

async fn map(world: &World, name: &str) -> (String, Value) {
    let path = world.core("configmaps");
    let made = world.admin().post(&path, &config_map(name)).await.created();
    (format!("{path}/{name}"), made)
}

async fn created(world: World) {
    let before = world.now();
    let (path, made) = map(&world, "a").await;
    let metadata = &made["metadata"];
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert_eq!(metadata["namespace"], world.namespace);
    let date: jiff::Timestamp = metadata["creationTimestamp"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((date - before).total(jiff::Unit::Second).unwrap().abs() < 60.0);
    assert_eq!(world.admin().get(&path).await.ok(), made);
    let (_, second) = map(&world, "b").await;
    assert!(version(&second) > version(&made));
    assert_ne!(second["metadata"]["uid"], made["metadata"]["uid"]);
}

async fn not_chosen(world: World) {
    let mut object = config_map("a");
    object["metadata"] = json!({
        "name": "a", "uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z",
        "deletionTimestamp": "2001-01-01T00:00:00Z", "deletionGracePeriodSeconds": 7,
        "generation": 9, "selfLink": "here",
    });
    let path = world.core("configmaps");
    let made = world.admin().post(&path, &object).await.created();
    let metadata = &made["metadata"];
    assert_ne!(metadata["uid"], "mine");
    assert_ne!(metadata["creationTimestamp"], "2001-01-01T00:00:00Z");
    for field in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
    ] {
        assert_eq!(metadata.get(field), None, "{field}");
    }
    // A kind that does not count its generations keeps what it is given.
    assert_eq!(metadata["generation"], 9);
}

async fn version_on_create(world: World) {
    let path = world.core("configmaps");
    let versioned =
        |name: &str, version: &str| json!({"metadata": {"name": name, "resourceVersion": version}});
    let answer = world.admin().post(&path, &versioned("a", "7")).await;
    assert_eq!(
        answer.refused(500, ""),
        "resourceVersion should not be set on objects to be created"
    );
    world
        .admin()
        .post(&path, &versioned("a", "0"))
        .await
        .created();
}

async fn exists(world: World) {
    pod_account(&world).await;
    let admin = world.admin();
    for (path, resource, object) in samples(&world) {
        admin.post(&path, &object).await.created();
        let answer = admin.post(&path, &object).await;
        assert_eq!(
            answer.refused(409, "AlreadyExists"),
            format!("{resource} \"x\" already exists")
        );
        assert_eq!(answer.body["details"], details(resource));
    }
}

async fn absent(world: World) {
    let admin = world.admin();
    for (path, resource, object) in samples(&world) {
        let path = format!("{path}/x");
        let message = format!("{resource} \"x\" not found");
        for answer in [
            admin.get(&path).await,
            admin.delete(&path).await,
            admin
                .patch(&path, "merge", &json!({"metadata": {"labels": {"a": "b"}}}))
                .await,
        ] {
            assert_eq!(answer.refused(404, "NotFound"), message);
            assert_eq!(answer.body["details"], details(resource));
        }
        if !CREATED_BY_UPDATE.contains(&resource) {
            let answer = admin.put(&path, &object).await;
            assert_eq!(answer.refused(404, "NotFound"), message);
        }
    }
}

const CREATED_BY_UPDATE: [&str; 3] = ["events", "leases.coordination.k8s.io", "services"];

fn details(resource: &str) -> Value {
    match resource.split_once('.') {
        Some((kind, group)) => json!({"name": "x", "kind": kind, "group": group}),
        None => json!({"name": "x", "kind": resource}),
    }
}

async fn nameless(world: World) {
    pod_account(&world).await;
    let required = "Required value: name or generateName is required";
    for (path, resource, mut object) in samples(&world) {
        // A Service is given its address first, which wants the name too, in other words.
        if resource == "services" {
            continue;
        }
        object["metadata"]["name"] = "".into();
        let answer = world.admin().post(&path, &object).await;
        answer.invalid(&[("metadata.name", required)]);
    }
}

async fn names_checked(world: World) {
    let path = world.core("configmaps");
    let admin = world.admin();
    for name in ["Not_A_Name", "a..b", ".a", "a/b", "-a", "a-"] {
        let answer = admin.post(&path, &config_map(name)).await;
        let why = format!("Invalid value: {name:?}: {SUBDOMAIN}");
        answer.invalid(&[("metadata.name", &why)]);
        assert_eq!(
            answer.body["message"],
            format!("ConfigMap {name:?} is invalid: metadata.name: {why}")
        );
    }
    let long = "x".repeat(253);
    admin.post(&path, &config_map(&long)).await.created();
    let long = "x".repeat(254);
    let why = format!("Invalid value: {long:?}: must be no more than 253 characters");
    let answer = admin.post(&path, &config_map(&long)).await;
    answer.invalid(&[("metadata.name", &why)]);
    // Services are DNS labels, and until 1.35 of an older kind.
    if world.target.release < Release::V1_36 {
        return;
    }
    let service =
        |name: &str| json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 443}]}});
    let path = world.core("services");
    let answer = admin.post(&path, &service("a.b")).await;
    answer.invalid(&[(
        "metadata.name",
        "Invalid value: \"a.b\": must not contain dots",
    )]);
    let long = "a".repeat(64);
    let why = format!("Invalid value: {long:?}: must be no more than 63 characters");
    let answer = admin.post(&path, &service(&long)).await;
    answer.invalid(&[("metadata.name", &why)]);
}

async fn generated(world: World) {
    let path = world.requests();
    let mut object = request(&world, "", &key(KeyType::P256));
    object["metadata"]["generateName"] = "req-".into();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let made = world.admin().post(&path, &object).await.created();
        assert_eq!(made["metadata"]["generateName"], "req-");
        let name = made["metadata"]["name"].as_str().unwrap().to_owned();
        let suffix = name.strip_prefix("req-").unwrap();
        assert_eq!(suffix.len(), 5, "{name}");
        assert!(
            suffix
                .chars()
                .all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c)),
            "{name}"
        );
        assert!(seen.insert(name));
    }
}

fn generate(start: &str) -> Value {
    json!({"metadata": {"generateName": start}})
}

async fn generated_length(world: World) {
    let start = "x".repeat(100);
    let path = world.core("configmaps");
    let made = world.admin().post(&path, &generate(&start)).await.created();
    let name = made["metadata"]["name"].as_str().unwrap();
    assert_eq!(name.len(), 63);
    assert!(name.starts_with(&"x".repeat(58)));
    assert_eq!(made["metadata"]["generateName"], start);
}

async fn generated_checked(world: World) {
    let path = world.core("configmaps");
    let admin = world.admin();
    for start in ["a-", "a--", "a.b"] {
        admin.post(&path, &generate(start)).await.created();
    }
    let long = "x".repeat(254);
    let why = format!("Invalid value: {long:?}: must be no more than 253 characters");
    let answer = admin.post(&path, &generate(&long)).await;
    answer.invalid(&[("metadata.generateName", &why)]);
    for (start, fields) in [
        ("-", vec!["metadata.generateName", "metadata.name"]),
        ("A", vec!["metadata.generateName", "metadata.name"]),
        // The check masks the last dash, and what is before it too.
        ("a.-", vec!["metadata.name"]),
    ] {
        let answer = admin.post(&path, &generate(start)).await;
        answer.refused(422, "Invalid");
        let causes = answer.body["details"]["causes"].as_array().unwrap();
        let found: Vec<&str> = causes
            .iter()
            .map(|cause| cause["field"].as_str().unwrap())
            .collect();
        assert_eq!(found, fields, "{start}");
    }
}

async fn name_and_generate_name(world: World) {
    let object = json!({"metadata": {"name": "a", "generateName": "B-"}});
    let path = world.core("configmaps");
    let answer = world.admin().post(&path, &object).await;
    let made = answer.created();
    assert_eq!(made["metadata"]["name"], "a");
    let answer = world.admin().post(&path, &object).await;
    assert!(
        answer
            .refused(409, "AlreadyExists")
            .starts_with("configmaps \"a\" already exists"),
    );
}

async fn namespace_mismatch(world: World) {
    let (path, made) = map(&world, "a").await;
    let mut object = made.clone();
    object["metadata"]["namespace"] = "elsewhere".into();
    let message =
        "the namespace of the provided object does not match the namespace sent on the request";
    let answer = world.admin().put(&path, &object).await;
    assert_eq!(answer.refused(400, "BadRequest"), message);
    let elsewhere = json!({"metadata": {"name": "b", "namespace": "elsewhere"}});
    let answer = world
        .admin()
        .post(&world.core("configmaps"), &elsewhere)
        .await;
    assert_eq!(answer.refused(400, "BadRequest"), message);
    let answer = world
        .admin()
        .patch(
            &path,
            "merge",
            &json!({"metadata": {"namespace": "elsewhere"}}),
        )
        .await;
    assert_eq!(answer.refused(400, "BadRequest"), message);
    object["metadata"]["namespace"] = "".into();
    world.admin().put(&path, &object).await.ok();
}

async fn namespace_missing(world: World) {
    let missing = format!("{}-missing", world.namespace);
    let path = format!("/api/v1/namespaces/{missing}/configmaps");
    let answer = world.admin().post(&path, &config_map("a")).await;
    assert_eq!(
        answer.refused(404, "NotFound"),
        format!("namespaces {missing:?} not found")
    );
    assert_eq!(
        answer.body["details"],
        json!({"name": missing, "kind": "namespaces"})
    );
    let list = world.admin().get(&path).await.ok();
    assert_eq!(list["items"], json!([]));
}

async fn namespace_ends(world: World) {
    let admin = world.admin();
    let ending = format!("{}-ends", world.namespace);
    let object = json!({"metadata": {"name": ending}});
    admin.post("/api/v1/namespaces", &object).await.created();
    let path = format!("/api/v1/namespaces/{ending}/configmaps");
    let mut held = config_map("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    admin.post(&path, &held).await.created();

    let namespace = format!("/api/v1/namespaces/{ending}");
    let marked = admin.delete(&namespace).await.ok();
    assert_eq!(marked["kind"], "Namespace");
    assert_eq!(marked["status"]["phase"], "Terminating");
    assert!(
        marked["metadata"]["deletionTimestamp"].is_string(),
        "{marked}"
    );
    let answer = admin.post(&path, &config_map("late")).await;
    let message = format!(
        "configmaps \"late\" is forbidden: unable to create new content in namespace {ending} because it is being terminated"
    );
    assert_eq!(answer.refused(403, "Forbidden"), message);
    assert_eq!(
        answer.body["details"]["causes"],
        json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {ending} is being terminated"),
            "field": "metadata.namespace",
        }])
    );
    // What is there may still change, and lets the namespace go in the end.
    let held = format!("{path}/held");
    let change = json!({"data": {"key": "new"}});
    admin.patch(&held, "merge", &change).await.ok();
    let free = json!({"metadata": {"finalizers": null}});
    admin.patch(&held, "merge", &free).await.ok();
}

async fn name_mismatch(world: World) {
    let (path, made) = map(&world, "a").await;
    let mut object = made.clone();
    object["metadata"]["name"] = "b".into();
    let answer = world.admin().put(&path, &object).await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "the name of the object (b) does not match the name on the URL (a)"
    );
    object["metadata"]["name"] = "".into();
    let answer = world.admin().put(&path, &object).await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "the name of the object (a based on URL) was undeterminable: name must be provided"
    );
}

async fn updated(world: World) {
    let (path, made) = map(&world, "a").await;
    let mut object = made.clone();
    object["data"] = json!({"key": "new"});
    let second = world.admin().put(&path, &object).await.ok();
    assert!(version(&second) > version(&made));
    assert_eq!(second["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(second["data"], object["data"]);
    assert_eq!(world.admin().get(&path).await.ok()["data"], object["data"]);
}

async fn conflict(world: World) {
    let (path, made) = map(&world, "a").await;
    let mut object = made.clone();
    object["data"] = json!({"key": "new"});
    world.admin().put(&path, &object).await.ok();
    let answer = world.admin().put(&path, &object).await;
    assert_eq!(
        answer.refused(409, "Conflict"),
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    assert_eq!(
        answer.body["details"],
        json!({"name": "a", "kind": "configmaps"})
    );
}

async fn malformed_version(world: World) {
    let (path, mut made) = map(&world, "a").await;
    made["metadata"]["resourceVersion"] = "abc".into();
    let answer = world.admin().put(&path, &made).await;
    assert_eq!(
        answer.refused(500, ""),
        "strconv.ParseUint: parsing \"abc\": invalid syntax"
    );
}

async fn unconditional(world: World) {
    pod_account(&world).await;
    let admin = world.admin();
    for (path, resource, object) in samples(&world) {
        if CONDITIONAL.contains(&resource) {
            continue;
        }
        let mut object = admin.post(&path, &object).await.created();
        object["metadata"]["labels"] = json!({"a": "b"});
        let path = format!("{path}/x");
        for version in [None, Some("0")] {
            object["metadata"]["resourceVersion"] = version.into();
            let updated = admin.put(&path, &object).await.ok();
            assert_eq!(updated["metadata"]["labels"], json!({"a": "b"}));
        }
    }
}

const CONDITIONAL: [&str; 2] = [
    "podcertificaterequests.certificates.k8s.io",
    "leases.coordination.k8s.io",
];

async fn conditional(world: World) {
    let admin = world.admin();
    for (path, resource, object) in samples(&world) {
        if !CONDITIONAL.contains(&resource) {
            continue;
        }
        let made = admin.post(&path, &object).await.created();
        let path = format!("{path}/x");
        for version in [None, Some("0")] {
            let mut object = made.clone();
            object["metadata"]["resourceVersion"] = version.into();
            let answer = admin.put(&path, &object).await;
            answer.invalid(&[(
                "metadata.resourceVersion",
                "Invalid value: 0: must be specified for an update",
            )]);
            assert_eq!(
                answer.body["message"],
                format!(
                    "{resource} \"x\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
                )
            );
        }
    }
}

async fn uid_precondition(world: World) {
    let (path, made) = map(&world, "a").await;
    let mut object = made.clone();
    object["metadata"]["uid"] = "another".into();
    let answer = world.admin().put(&path, &object).await;
    assert_eq!(
        answer.refused(409, "Conflict"),
        format!(
            "Operation cannot be fulfilled on configmaps \"a\": StorageError: invalid object, Code: 4, Key: /registry/configmaps/{}/a, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: another, UID in object meta: {}",
            world.namespace,
            made["metadata"]["uid"].as_str().unwrap()
        )
    );
    // Left out, it is taken from what is there.
    object["metadata"].as_object_mut().unwrap().remove("uid");
    let updated = world.admin().put(&path, &object).await.ok();
    assert_eq!(updated["metadata"]["uid"], made["metadata"]["uid"]);
}

async fn unchanged(world: World) {
    let (path, made) = map(&world, "a").await;
    assert_eq!(world.admin().put(&path, &made).await.ok(), made);
    let plain = json!({"metadata": {"name": "a", "labels": {}}, "data": {"key": "value"}});
    let again = world.admin().put(&path, &plain).await.ok();
    assert_eq!(version(&again), version(&made));
}

async fn create_on_update(world: World) {
    let admin = world.admin();
    for (path, resource, mut object) in samples(&world) {
        if !CREATED_BY_UPDATE.contains(&resource) {
            continue;
        }
        let path = format!("{path}/x");
        let dry = format!("{path}?dryRun=All");
        admin.put(&dry, &object).await.created();
        // Even when the client believes to have seen it.
        object["metadata"]["resourceVersion"] = "5".into();
        let made = admin.put(&path, &object).await.created();
        assert!(made["metadata"]["uid"].is_string());
        admin.put(&path, &made).await.ok();
        admin.delete(&path).await.ok();
        let mut ghost = made.clone();
        ghost["metadata"]["resourceVersion"] = Value::Null;
        let answer = admin.put(&path, &ghost).await;
        let message = answer.refused(409, "Conflict");
        let end = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: ",
            made["metadata"]["uid"].as_str().unwrap()
        );
        assert!(message.ends_with(&end), "{message}");
    }
}

async fn creation_date(world: World) {
    let (path, made) = map(&world, "a").await;
    for date in [json!("2001-01-01T00:00:00Z"), Value::Null] {
        let mut object = made.clone();
        object["metadata"]["creationTimestamp"] = date;
        object["metadata"]["generation"] = 7.into();
        let again = world.admin().put(&path, &object).await.ok();
        assert_eq!(
            again["metadata"]["creationTimestamp"],
            made["metadata"]["creationTimestamp"]
        );
        assert_eq!(again["metadata"].get("generation"), None);
    }
}

async fn deletion_fields(world: World) {
    let (path, made) = map(&world, "a").await;
    for (field, value, shown) in [
        (
            "deletionTimestamp",
            json!("2001-01-01T00:00:00Z"),
            "\"2001-01-01T00:00:00Z\"",
        ),
        ("deletionGracePeriodSeconds", json!(3), "3"),
    ] {
        let mut object = made.clone();
        object["metadata"][field] = value;
        let why = format!("Invalid value: {shown}: field is immutable");
        let field = format!("metadata.{field}");
        let answer = world.admin().put(&path, &object).await;
        answer.invalid_update(world.target, &[(&field, &why)]);
    }
}

async fn dry_runs(world: World) {
    let admin = world.admin();
    let maps = world.core("configmaps");
    let dry = |path: &str| format!("{path}?dryRun=All");
    let made = admin.post(&dry(&maps), &config_map("a")).await.created();
    assert_eq!(made["metadata"].get("resourceVersion"), None);
    let (path, made) = map(&world, "a").await;
    admin
        .post(&dry(&maps), &config_map("a"))
        .await
        .refused(409, "AlreadyExists");
    let mut object = made.clone();
    object["data"] = json!({"key": "dry"});
    let dried = admin.put(&dry(&path), &object).await.ok();
    assert_eq!(dried["data"], object["data"]);
    let change = json!({"data": {"key": "dry"}});
    let dried = admin.patch(&dry(&path), "merge", &change).await.ok();
    assert_eq!(dried["data"], change["data"]);
    admin.delete(&dry(&path)).await.ok();
    assert_eq!(admin.get(&path).await.ok(), made);
}

async fn dry_run_values(world: World) {
    let (path, made) = map(&world, "a").await;
    let admin = world.admin();
    for (value, shown) in [("x", "x"), ("", "")] {
        let why = format!("Unsupported value: [{shown:?}]: supported values: \"All\"");
        let query = format!("?dryRun={value}");
        let maps = format!("{}{query}", world.core("configmaps"));
        let path = format!("{path}{query}");
        for (answer, options) in [
            (admin.post(&maps, &config_map("b")).await, "CreateOptions"),
            (admin.put(&path, &made).await, "UpdateOptions"),
            (
                admin.patch(&path, "merge", &json!({})).await,
                "PatchOptions",
            ),
            (admin.delete(&path).await, "DeleteOptions"),
        ] {
            answer.invalid(&[("dryRun", &why)]);
            assert_eq!(
                answer.body["message"],
                format!("{options}.meta.k8s.io \"\" is invalid: dryRun: {why}")
            );
        }
        // Reads do not look at it.
        admin.get(&maps).await.ok();
    }
}

async fn metadata_only(world: World) {
    let (path, made) = map(&world, "a").await;
    let admin = world.admin();
    let alone = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let found = admin.get_as(&path, alone).await.ok();
    assert_eq!(
        found,
        json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": made["metadata"],
        })
    );
    let list = admin
        .get_as(
            &world.core("configmaps"),
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        )
        .await
        .ok();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert!(list["items"].as_array().unwrap().contains(&found), "{list}");
    // What is asked for has a group and a version, and is one or many as the path is.
    for media in [
        "application/json;as=PartialObjectMetadata;v=v1",
        "application/json;as=Nonsense;g=meta.k8s.io;v=v1",
    ] {
        assert_eq!(
            admin
                .get_as(&path, media)
                .await
                .refused(406, "NotAcceptable"),
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        );
        let either = format!("{media},application/json");
        assert_eq!(admin.get_as(&path, &either).await.ok(), made);
    }
}
