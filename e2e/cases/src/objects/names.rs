//! Names: which ones may be had, how they are generated, and that they match the path.

use serde_json::{Value, json};

use super::map;
use crate::material::{KeyType, key, request};
use crate::samples::{SUBDOMAIN, config_map, pod_account, samples};
use crate::{Case, Release, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
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
        Case::new("objects/the-name-is-the-one-in-the-path", name_mismatch),
    ]
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
        assert_eq!(answer.invalid_fields(), fields, "{start}");
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
