//! Requests that make no sense: paths, methods, bodies, options.

use http::Method;
use serde_json::{Value, json};

use crate::samples::config_map;
use crate::{Answer, Case, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("paths/an-unknown-resource-is-not-found", unknown_resource),
        Case::new("paths/an-unserved-version-is-not-found", unknown_version),
        Case::new("paths/an-unknown-group-is-no-page", unknown_group),
        Case::new("paths/scopes-are-not-mixed", scopes),
        Case::new("paths/only-some-kinds-have-a-status", no_status),
        Case::new("paths/methods-that-do-not-fit-are-refused", methods),
        Case::new("paths/bodies-are-json-objects", malformed),
        Case::new("paths/a-body-needs-no-kind", kindless),
        Case::new("paths/a-body-is-of-the-kind-in-the-path", other_kind),
        Case::new("paths/metadata-has-its-types", metadata_types),
        Case::new("paths/nulls-are-absent", nulls),
        Case::new("paths/other-media-types-are-refused", media_types),
        Case::new("paths/a-body-has-three-mebibytes-at-most", too_large),
        Case::new("paths/numbers-in-options-are-numbers", option_numbers),
        Case::new("paths/flags-in-options-are-true-unless-false", option_flags),
        Case::new("paths/unknown-options-are-ignored", unknown_options),
        Case::new("paths/field-validation-has-three-ways", field_validation),
        Case::new(
            "paths/unknown-metadata-is-refused-strictly",
            strict_metadata,
        ),
    ]
}

const NO_RESOURCE: &str = "the server could not find the requested resource";

fn no_such_resource(answer: &Answer) {
    assert_eq!(answer.refused(404, "NotFound"), NO_RESOURCE);
    assert_eq!(answer.body["details"], json!({}));
}

async fn unknown_resource(world: World) {
    let admin = world.admin();
    let group = format!("/apis/{}", world.certificates_api());
    for path in [
        format!("{group}/nonsense"),
        format!("{group}/nonsense/a"),
        format!("{group}/namespaces/{}/nonsense", world.namespace),
        "/api/v1/nonsense".into(),
    ] {
        no_such_resource(&admin.get(&path).await);
        no_such_resource(&admin.post(&path, &json!({})).await);
    }
}

async fn unknown_version(world: World) {
    let admin = world.admin();
    for path in [
        "/apis/certificates.k8s.io/v9/podcertificaterequests",
        "/apis/certificates.k8s.io/v9",
        "/apis/coordination.k8s.io/v9/leases",
        "/api/v9/pods",
    ] {
        no_such_resource(&admin.get(path).await);
    }
}

async fn unknown_group(world: World) {
    for path in ["/apis/nonsense.example.com/v1/things", "/nonsense"] {
        let answer = world.admin().get(path).await;
        assert_eq!(answer.code, 404);
        assert_eq!(answer.body, "404 page not found\n");
    }
}

async fn scopes(world: World) {
    let admin = world.admin();
    no_such_resource(&admin.get(&world.core("nodes")).await);
    no_such_resource(&admin.get("/api/v1/pods/a").await);
    let bundles = format!(
        "/apis/{}/namespaces/{}/clustertrustbundles",
        world.certificates_api(),
        world.namespace
    );
    no_such_resource(&admin.get(&bundles).await);
}

async fn no_status(world: World) {
    for plural in ["configmaps", "secrets", "serviceaccounts"] {
        let path = format!("{}/a/status", world.core(plural));
        no_such_resource(&world.admin().get(&path).await);
    }
}

async fn methods(world: World) {
    let admin = world.admin();
    let maps = world.core("configmaps");
    let status = format!("{}/a/status", world.requests());
    for (method, path) in [
        (Method::POST, "/api/v1/configmaps".to_owned()),
        (Method::DELETE, "/api/v1/configmaps".to_owned()),
        (Method::PUT, maps.clone()),
        (Method::PATCH, maps.clone()),
        (Method::POST, format!("{maps}/a")),
        (Method::DELETE, status.clone()),
        (Method::POST, status),
        (Method::OPTIONS, format!("{maps}/a")),
    ] {
        let media = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let body = Some("{}".to_owned());
        let answer = admin.send(method, &path, body, media).await;
        assert_eq!(
            answer.refused(405, "MethodNotAllowed"),
            "the server does not allow this method on the requested resource"
        );
        assert_eq!(answer.body["details"], json!({}));
    }
}

async fn post_raw(world: &World, body: &str, media: &str) -> Answer {
    let path = format!("{}?dryRun=All", world.core("configmaps"));
    world
        .admin()
        .send(Method::POST, &path, Some(body.into()), media)
        .await
}

async fn malformed(world: World) {
    for body in ["{", "[]", "7", "", "\"x\""] {
        let answer = post_raw(&world, body, "application/json").await;
        let message = answer.refused(400, "BadRequest");
        assert!(
            message.starts_with(
                "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: "
            ),
            "{message}"
        );
    }
}

async fn kindless(world: World) {
    let path = world.core("configmaps");
    for (name, given) in [
        ("a", json!({})),
        ("b", json!({"apiVersion": "v1"})),
        ("c", json!({"kind": "ConfigMap"})),
    ] {
        let mut object = config_map(name);
        object
            .as_object_mut()
            .unwrap()
            .extend(given.as_object().unwrap().clone());
        let made = world.admin().post(&path, &object).await.created();
        assert_eq!(made["kind"], "ConfigMap");
        assert_eq!(made["apiVersion"], "v1");
    }
}

async fn other_kind(world: World) {
    for (given, start) in [
        (
            json!({"apiVersion": "v2", "kind": "ConfigMap"}),
            "ConfigMap in version \"v2\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is registered for version \"v2\"",
        ),
        (
            json!({"kind": "Secret"}),
            "Secret in version \"v1\" cannot be handled as a ConfigMap: ",
        ),
        (
            json!({"apiVersion": "v1", "kind": "Nonsense"}),
            "Nonsense in version \"v1\" cannot be handled as a ConfigMap: no kind \"Nonsense\" is registered for version \"v1\"",
        ),
    ] {
        let answer = post_raw(&world, &given.to_string(), "application/json").await;
        let message = answer.refused(400, "BadRequest");
        assert!(message.starts_with(start), "{message}");
    }
}

async fn metadata_types(world: World) {
    for object in [
        json!({"metadata": 7}),
        json!({"metadata": {"name": 7}}),
        json!({"metadata": {"name": "a", "labels": {"k": 7}}}),
        json!({"metadata": {"name": "a", "annotations": ["k"]}}),
        json!({"metadata": {"name": "a", "finalizers": "k"}}),
        json!({"metadata": {"name": "a", "generation": "1"}}),
        json!({"metadata": {"name": "a"}, "data": 7}),
        json!({"metadata": {"name": "a"}, "data": {"k": 7}}),
    ] {
        let answer = post_raw(&world, &object.to_string(), "application/json").await;
        let message = answer.refused(400, "BadRequest");
        assert!(
            message.starts_with("ConfigMap in version \"v1\" cannot be handled as a ConfigMap: "),
            "{message}"
        );
    }
}

async fn nulls(world: World) {
    let object = json!({
        "kind": null,
        "metadata": {"name": "a", "annotations": null, "labels": {"k": null}, "ownerReferences": null},
        "data": null,
    });
    let answer = post_raw(&world, &object.to_string(), "application/json").await;
    let made = answer.created();
    // A null in a map of strings is the empty string.
    assert_eq!(made["metadata"]["labels"], json!({"k": ""}));
    for field in ["annotations", "ownerReferences"] {
        assert_eq!(made["metadata"].get(field), None, "{field}");
    }
    assert_eq!(made.get("data"), None);
}

async fn media_types(world: World) {
    let body = config_map("a").to_string();
    for media in ["application/json", "application/json; charset=utf-8", ""] {
        post_raw(&world, &body, media).await.created();
    }
    let answer = post_raw(&world, &body, "text/plain").await;
    assert_eq!(
        answer.refused(415, "UnsupportedMediaType"),
        "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"
    );
}

async fn too_large(world: World) {
    let body = " ".repeat(3 * 1024 * 1024 + 1);
    let answer = post_raw(&world, &body, "application/json").await;
    assert_eq!(
        answer.refused(413, "RequestEntityTooLarge"),
        "Request entity too large: limit is 3145728"
    );
}

async fn option_numbers(world: World) {
    let admin = world.admin();
    let maps = world.core("configmaps");
    for option in ["limit", "timeoutSeconds"] {
        let answer = admin.get(&format!("{maps}?{option}=x")).await;
        assert_eq!(
            answer.refused(400, "BadRequest"),
            "strconv.ParseInt: parsing \"x\": invalid syntax"
        );
    }
    admin.post(&maps, &config_map("a")).await.created();
    let answer = admin
        .delete(&format!("{maps}/a?gracePeriodSeconds=x"))
        .await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "strconv.ParseInt: parsing \"x\": invalid syntax"
    );
    // Below one, a limit is none.
    let list = admin.get(&format!("{maps}?limit=-1")).await.ok();
    assert_eq!(list["metadata"].get("continue"), None);
    for version in ["x", "-1"] {
        let answer = admin
            .get(&format!("{maps}?resourceVersion={version}"))
            .await;
        assert_eq!(
            answer.refused(400, "BadRequest"),
            format!(
                "invalid resource version: resourceVersion: Invalid value: {version:?}: strconv.ParseUint: parsing {version:?}: invalid syntax"
            )
        );
        let found = format!(
            "resourceVersion: Invalid value: {version:?}: strconv.ParseUint: parsing {version:?}: invalid syntax"
        );
        let answer = admin
            .get(&format!("{maps}/a?resourceVersion={version}"))
            .await;
        assert_eq!(answer.refused(500, ""), found);
        let path = format!("{maps}?resourceVersion={version}");
        let answer = admin.watch(&path).await.unwrap_err();
        assert_eq!(answer.refused(500, ""), found);
    }
}

async fn option_flags(world: World) {
    let maps = world.core("configmaps");
    for no in ["false", "False", "0"] {
        let list = world.admin().get(&format!("{maps}?watch={no}")).await.ok();
        assert_eq!(list["kind"], "ConfigMapList", "{no}");
    }
    for yes in ["true", "TRUE", "1", "x", ""] {
        let path = format!("{maps}?watch={yes}&timeoutSeconds=1");
        let watched = world.admin().get(&path).await;
        // Events follow each other: that is no JSON document, and without events it is nothing.
        let text = watched.body.as_str().map(str::to_owned);
        let event = text.unwrap_or_else(|| watched.body.to_string());
        assert_eq!(watched.code, 200);
        assert!(!event.contains("ConfigMapList"), "{yes}: {event}");
    }
}

async fn unknown_options(world: World) {
    let maps = world.core("configmaps");
    let path = format!("{maps}?nonsense=x&pretty=x&fieldManager=me&gracePeriodSeconds=x");
    world.admin().get(&path).await.ok();
}

async fn field_validation(world: World) {
    let path = |how: &str| {
        format!(
            "{}?dryRun=All&fieldValidation={how}",
            world.core("configmaps")
        )
    };
    for how in ["", "Ignore", "Warn", "Strict"] {
        world
            .admin()
            .post(&path(how), &config_map("a"))
            .await
            .created();
    }
    let answer = world.admin().post(&path("x"), &config_map("a")).await;
    let why = "Unsupported value: \"x\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"";
    answer.invalid(&[("fieldValidation", why)]);
    assert_eq!(
        answer.body["message"],
        format!("CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: {why}")
    );
}

async fn strict_metadata(world: World) {
    let mut object: Value = config_map("a");
    object["metadata"]["more"] = 1.into();
    let maps = world.core("configmaps");
    let path = format!("{maps}?dryRun=All&fieldValidation=Strict");
    assert_eq!(
        world
            .admin()
            .post(&path, &object)
            .await
            .refused(400, "BadRequest"),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"metadata.more\""
    );
    let path = format!("{maps}?dryRun=All");
    let made = world.admin().post(&path, &object).await.created();
    assert_eq!(made["metadata"].get("more"), None);
}
