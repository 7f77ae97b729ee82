//! PATCH: merge, JSON patch, what both obey.

use http::Method;
use serde_json::{Value, json};

use crate::samples::{config_map, pod, pod_account, version};
use crate::{Answer, Case, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("patches/a-merge-sets-and-removes", merge),
        Case::new("patches/one-that-changes-nothing-writes-nothing", unchanged),
        Case::new(
            "patches/a-merge-may-name-the-version-it-means",
            merge_version,
        ),
        Case::new("patches/without-a-version-none-conflicts", no_version),
        Case::new("patches/the-identity-stays", identity),
        Case::new("patches/the-result-has-its-types", types),
        Case::new("patches/a-kind-left-out-is-put-back", kind_removed),
        Case::new("patches/the-result-is-checked", checked),
        Case::new("patches/a-merge-is-an-object", malformed_merge),
        Case::new("patches/json-operations-run-in-order", operations),
        Case::new("patches/a-json-test-that-fails-fails-all", failed_test),
        Case::new("patches/a-json-replacement-of-nothing-adds", replace_absent),
        Case::new(
            "patches/json-operations-on-nothing-fail",
            operations_on_nothing,
        ),
        Case::new(
            "patches/json-patches-are-lists-of-operations",
            malformed_operations,
        ),
        Case::new(
            "patches/json-patches-have-ten-thousand-operations-at-most",
            many_operations,
        ),
        Case::new("patches/json-copies-do-not-explode", copies),
        Case::new("patches/a-json-patch-does-not-rename", json_rename),
        Case::new("patches/other-media-types-are-refused", media_types),
        Case::new("patches/force-is-for-apply", force),
        Case::new("patches/of-the-object-leaves-the-status", main_part),
        Case::new("patches/of-the-status-leaves-the-spec", status_part),
        Case::new("patches/of-finalizers-lets-an-object-go", finalizers),
    ]
}

async fn map(world: &World) -> (String, Value) {
    let path = world.core("configmaps");
    let made = world.admin().post(&path, &config_map("a")).await.created();
    (format!("{path}/a"), made)
}

async fn merge(world: World) {
    let (path, made) = map(&world).await;
    let patch = json!({"metadata": {"labels": {"x": "y"}}, "data": {"key": null, "other": "1"}});
    let patched = world.admin().patch(&path, "merge", &patch).await.ok();
    assert_eq!(patched["metadata"]["labels"], json!({"x": "y"}));
    assert_eq!(patched["data"], json!({"other": "1"}));
    assert!(version(&patched) > version(&made));
}

async fn unchanged(world: World) {
    let (path, made) = map(&world).await;
    let admin = world.admin();
    let same = json!({"data": {"key": "value", "absent": null}});
    let patched = admin.patch(&path, "merge", &same).await.ok();
    assert_eq!(version(&patched), version(&made));
    let patched = admin.patch(&path, "json", &json!([])).await.ok();
    assert_eq!(version(&patched), version(&made));
}

async fn merge_version(world: World) {
    let (path, made) = map(&world).await;
    let admin = world.admin();
    let versioned = json!({
        "metadata": {"resourceVersion": made["metadata"]["resourceVersion"]},
        "data": {"key": "new"},
    });
    admin.patch(&path, "merge", &versioned).await.ok();
    let conflict = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again";
    let answer = admin.patch(&path, "merge", &versioned).await;
    assert_eq!(answer.refused(409, "Conflict"), conflict);
    let nothing_else = json!({"metadata": versioned["metadata"]});
    let answer = admin.patch(&path, "merge", &nothing_else).await;
    assert_eq!(answer.refused(409, "Conflict"), conflict);
    let malformed = json!({"metadata": {"resourceVersion": "abc"}});
    let answer = admin.patch(&path, "merge", &malformed).await;
    assert_eq!(
        answer.refused(500, ""),
        "strconv.ParseUint: parsing \"abc\": invalid syntax"
    );
}

async fn no_version(world: World) {
    let (path, _) = map(&world).await;
    let admin = world.admin();
    let patches = (0..8).map(|index| {
        let (admin, path) = (admin.clone(), path.clone());
        async move {
            let patch = json!({"data": {format!("k{index}"): "v"}});
            admin.patch(&path, "merge", &patch).await.ok();
        }
    });
    futures::future::join_all(patches).await;
    let data = admin.get(&path).await.ok()["data"].clone();
    assert_eq!(data.as_object().unwrap().len(), 9, "{data}");
}

async fn identity(world: World) {
    let (path, made) = map(&world).await;
    let admin = world.admin();
    let metadata = async |field: &str, value: &str| -> Answer {
        let patch = json!({"metadata": {field: value}});
        admin.patch(&path, "merge", &patch).await
    };
    assert_eq!(
        metadata("name", "b").await.refused(400, "BadRequest"),
        "the name of the object (b) does not match the name on the URL (a)"
    );
    metadata("uid", "b").await.invalid_update(
        world.target,
        &[("metadata.uid", "Invalid value: \"b\": field is immutable")],
    );
    metadata("deletionTimestamp", "2001-01-01T00:00:00Z")
        .await
        .invalid_update(
            world.target,
            &[(
                "metadata.deletionTimestamp",
                "Invalid value: \"2001-01-01T00:00:00Z\": field is immutable",
            )],
        );
    let kept = metadata("creationTimestamp", "2001-01-01T00:00:00Z")
        .await
        .ok();
    assert_eq!(version(&kept), version(&made));
}

async fn types(world: World) {
    let (path, _) = map(&world).await;
    for patch in [
        json!({"metadata": 7}),
        json!({"data": 7}),
        json!({"data": {"k": 7}}),
        json!({"kind": "Secret"}),
        json!({"apiVersion": "v2"}),
    ] {
        let answer = world.admin().patch(&path, "merge", &patch).await;
        let message = answer.refused(422, "Invalid");
        let start = " \"\" is invalid: patch: Invalid value: ";
        assert!(message.starts_with(start), "{message}");
        assert_eq!(answer.body["details"]["causes"][0]["field"], "patch");
    }
}

async fn kind_removed(world: World) {
    let (path, made) = map(&world).await;
    let patch = json!({"kind": null});
    let patched = world.admin().patch(&path, "merge", &patch).await.ok();
    assert_eq!(patched["kind"], "ConfigMap");
    assert_eq!(version(&patched), version(&made));
}

async fn checked(world: World) {
    let (path, _) = map(&world).await;
    let patch = json!({"metadata": {"labels": {"/b": "c"}}});
    let answer = world.admin().patch(&path, "merge", &patch).await;
    answer.invalid_update(
        world.target,
        &[(
            "metadata.labels",
            "Invalid value: \"/b\": prefix part must be non-empty",
        )],
    );
}

async fn raw(world: &World, path: &str, body: &str, media: &str) -> Answer {
    let body = Some(body.to_owned());
    world.admin().send(Method::PATCH, path, body, media).await
}

async fn malformed_merge(world: World) {
    let (path, _) = map(&world).await;
    for body in ["{", "7", "[]", "null", ""] {
        raw(&world, &path, body, "application/merge-patch+json")
            .await
            .refused(400, "BadRequest");
    }
}

async fn operations(world: World) {
    let (path, _) = map(&world).await;
    let patch = json!([
        {"op": "test", "path": "/data/key", "value": "value"},
        {"op": "replace", "path": "/data/key", "value": "new"},
        {"op": "add", "path": "/data/a", "value": "1"},
        {"op": "copy", "from": "/data/a", "path": "/data/b"},
        {"op": "move", "from": "/data/a", "path": "/data/c"},
        {"op": "add", "path": "/data/d", "value": "1"},
        {"op": "remove", "path": "/data/d"},
    ]);
    let patched = world.admin().patch(&path, "json", &patch).await.ok();
    assert_eq!(patched["data"], json!({"key": "new", "b": "1", "c": "1"}));
}

fn does_not_apply(answer: &Answer) {
    assert_eq!(
        answer.refused(422, "Invalid"),
        "the server rejected our request due to an error in our request"
    );
    assert_eq!(answer.body["details"], json!({}));
}

async fn failed_test(world: World) {
    let (path, made) = map(&world).await;
    let admin = world.admin();
    for (pointer, value) in [
        ("/data/key", "other"),
        ("/metadata/resourceVersion", "1"),
        ("/x", "y"),
    ] {
        let patch = json!([
            {"op": "add", "path": "/data/a", "value": "1"},
            {"op": "test", "path": pointer, "value": value},
        ]);
        does_not_apply(&admin.patch(&path, "json", &patch).await);
    }
    assert_eq!(admin.get(&path).await.ok(), made);
}

async fn replace_absent(world: World) {
    let (path, _) = map(&world).await;
    let patch = json!([{"op": "replace", "path": "/data/new", "value": "1"}]);
    let patched = world.admin().patch(&path, "json", &patch).await.ok();
    assert_eq!(patched["data"]["new"], "1");
}

async fn operations_on_nothing(world: World) {
    let (path, _) = map(&world).await;
    for operation in [
        json!({"op": "remove", "path": "/data/absent"}),
        json!({"op": "add", "path": "/absent/below", "value": "1"}),
    ] {
        does_not_apply(
            &world
                .admin()
                .patch(&path, "json", &json!([operation]))
                .await,
        );
    }
}

async fn malformed_operations(world: World) {
    let (path, _) = map(&world).await;
    for body in ["{}", "[{", "7", ""] {
        raw(&world, &path, body, "application/json-patch+json")
            .await
            .refused(400, "BadRequest");
    }
    for operation in [
        json!({"op": "nonsense", "path": "/data"}),
        json!({"op": "add", "value": "1"}),
    ] {
        does_not_apply(
            &world
                .admin()
                .patch(&path, "json", &json!([operation]))
                .await,
        );
    }
}

async fn many_operations(world: World) {
    let (path, _) = map(&world).await;
    let many = vec![json!({"op": "test", "path": "/data/key", "value": "value"}); 10_001];
    let answer = world.admin().patch(&path, "json", &json!(many)).await;
    assert_eq!(
        answer.refused(413, "RequestEntityTooLarge"),
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
    );
}

async fn copies(world: World) {
    let (path, _) = map(&world).await;
    let mut patch = vec![json!({"op": "add", "path": "/data/big", "value": "x".repeat(1_000_000)})];
    for index in 0..4 {
        let copy = format!("/data/b{index}");
        patch.push(json!({"op": "copy", "from": "/data/big", "path": copy}));
    }
    does_not_apply(&world.admin().patch(&path, "json", &json!(patch)).await);
}

async fn json_rename(world: World) {
    let (path, _) = map(&world).await;
    let patch = json!([{"op": "replace", "path": "/metadata/name", "value": "b"}]);
    let answer = world.admin().patch(&path, "json", &patch).await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "the name of the object (b) does not match the name on the URL (a)"
    );
}

async fn media_types(world: World) {
    let (path, _) = map(&world).await;
    for media in ["application/json", "text/plain", ""] {
        let answer = raw(&world, &path, "{}", media).await;
        assert_eq!(
            answer.refused(415, "UnsupportedMediaType"),
            "415: Unsupported Media Type"
        );
        assert_eq!(answer.body["details"], json!({}));
    }
}

async fn force(world: World) {
    let (path, _) = map(&world).await;
    let path = format!("{path}?force=true");
    let answer = world.admin().patch(&path, "merge", &json!({})).await;
    answer.invalid(&[(
        "force",
        "Forbidden: may not be specified for non-apply patch",
    )]);
}

async fn running_pod(world: &World) -> String {
    pod_account(world).await;
    let path = world.core("pods");
    world.admin().post(&path, &pod("a")).await.created();
    format!("{path}/a")
}

async fn main_part(world: World) {
    let path = running_pod(&world).await;
    let both = json!({"metadata": {"labels": {"m": "1"}}, "status": {"phase": "Running"}});
    let patched = world.admin().patch(&path, "merge", &both).await.ok();
    assert_eq!(patched["metadata"]["labels"]["m"], "1");
    assert_eq!(patched["status"]["phase"], "Pending");
}

async fn status_part(world: World) {
    let path = format!("{}/status", running_pod(&world).await);
    let both = json!({
        "metadata": {"labels": {"s": "1"}},
        "spec": {"nodeName": "elsewhere"},
        "status": {"phase": "Running"},
    });
    let patched = world.admin().patch(&path, "merge", &both).await.ok();
    assert_eq!(patched["spec"].get("nodeName"), None);
    assert_eq!(patched["status"]["phase"], "Running");
    // Of a pod, it may change labels too.
    assert_eq!(patched["metadata"]["labels"]["s"], "1");
}

async fn finalizers(world: World) {
    let (path, _) = map(&world).await;
    let admin = world.admin();
    let hold = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    admin.patch(&path, "merge", &hold).await.ok();
    admin.delete(&path).await.ok();
    let free = json!({"metadata": {"finalizers": null}});
    admin.patch(&path, "merge", &free).await.ok();
    admin.get(&path).await.refused(404, "NotFound");
}
