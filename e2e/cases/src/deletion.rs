//! What a DELETE answers, what holds an object back, and deletion of many.

use http::Method;
use serde_json::{Value, json};

use crate::samples::{config_map, names, pod, pod_account, samples, version};
use crate::{Case, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("deletion/most-kinds-answer-with-a-status", status),
        Case::new("deletion/some-kinds-answer-with-the-object", object),
        Case::new("deletion/a-uid-may-be-a-precondition", uid),
        Case::new(
            "deletion/a-version-may-be-a-precondition",
            version_precondition,
        ),
        Case::new("deletion/conflicts-of-a-group-name-it", conflict_of_group),
        Case::new("deletion/options-are-checked", options),
        Case::new("deletion/options-are-read-from-the-body", options_body),
        Case::new("deletion/options-are-of-their-types", options_types),
        Case::new("deletion/finalizers-hold-an-object", finalizers),
        Case::new(
            "deletion/no-finalizer-is-added-afterwards",
            no_new_finalizers,
        ),
        Case::new("deletion/the-mark-cannot-be-taken-away", mark_stays),
        Case::new("deletion/a-pod-on-a-node-is-marked-first", graceful_pod),
        Case::new("deletion/a-grace-period-may-be-shortened", shortened),
        Case::new("deletion/a-pod-on-no-node-goes-at-once", unscheduled_pod),
        Case::new(
            "deletion/a-negative-grace-period-is-one-second",
            negative_grace,
        ),
        Case::new("deletion/many-are-deleted-by-selector", collection),
        Case::new("deletion/many-are-deleted-dry", collection_dry),
        Case::new(
            "deletion/preconditions-hold-for-many",
            collection_precondition,
        ),
        Case::new("deletion/a-limit-holds-for-many", collection_limit),
        Case::new("deletion/default-namespaces-stay", default_namespaces),
    ]
}

async fn map(world: &World, name: &str) -> (String, Value) {
    let path = world.core("configmaps");
    let made = world.admin().post(&path, &config_map(name)).await.created();
    (format!("{path}/{name}"), made)
}

const ANSWER_WITH_OBJECT: [&str; 3] = ["pods", "services", "serviceaccounts"];

async fn status(world: World) {
    let admin = world.admin();
    for (path, resource, sample) in samples(&world) {
        if ANSWER_WITH_OBJECT.contains(&resource) {
            continue;
        }
        let made = admin.post(&path, &sample).await.created();
        let status = admin.delete(&format!("{path}/x")).await.ok();
        assert_eq!(status["kind"], "Status");
        assert_eq!(status["status"], "Success");
        let (kind, group) = resource.split_once('.').unwrap_or((resource, ""));
        let mut details = json!({"name": "x", "kind": kind, "uid": made["metadata"]["uid"]});
        if !group.is_empty() {
            details["group"] = group.into();
        }
        assert_eq!(status["details"], details);
    }
}

async fn object(world: World) {
    pod_account(&world).await;
    let admin = world.admin();
    for (path, resource, sample) in samples(&world) {
        if !ANSWER_WITH_OBJECT.contains(&resource) {
            continue;
        }
        let made = admin.post(&path, &sample).await.created();
        let gone = admin.delete(&format!("{path}/x")).await.ok();
        assert_eq!(gone["kind"], made["kind"]);
        assert_eq!(gone["metadata"]["uid"], made["metadata"]["uid"]);
        assert!(version(&gone) > version(&made), "at the version of its end");
        admin
            .get(&format!("{path}/x"))
            .await
            .refused(404, "NotFound");
    }
}

async fn uid(world: World) {
    let (path, made) = map(&world, "a").await;
    let admin = world.admin();
    let current = made["metadata"]["uid"].as_str().unwrap();
    for uid in ["another", ""] {
        let answer = admin
            .delete_with(&path, &json!({"preconditions": {"uid": uid}}))
            .await;
        // The one conflict that names the kind, not the resource.
        assert_eq!(
            answer.refused(409, "Conflict"),
            format!(
                "Operation cannot be fulfilled on ConfigMap \"a\": the UID in the precondition ({uid}) does not match the UID in record ({current}). The object might have been deleted and then recreated"
            )
        );
        assert_eq!(
            answer.body["details"],
            json!({"name": "a", "kind": "ConfigMap"})
        );
    }
    let right = json!({"preconditions": {"uid": current}});
    admin.delete_with(&path, &right).await.ok();
    admin
        .delete_with(&path, &right)
        .await
        .refused(404, "NotFound");
}

async fn version_precondition(world: World) {
    let (path, made) = map(&world, "a").await;
    let admin = world.admin();
    let current = made["metadata"]["resourceVersion"].as_str().unwrap();
    let wrong = json!({"preconditions": {"resourceVersion": "7"}});
    assert_eq!(
        admin
            .delete_with(&path, &wrong)
            .await
            .refused(409, "Conflict"),
        format!(
            "Operation cannot be fulfilled on ConfigMap \"a\": the ResourceVersion in the precondition (7) does not match the ResourceVersion in record ({current}). The object might have been modified"
        )
    );
    let both = json!({"preconditions": {
        "uid": made["metadata"]["uid"], "resourceVersion": current,
    }});
    admin.delete_with(&path, &both).await.ok();
}

async fn conflict_of_group(world: World) {
    let (path, _, sample) = samples(&world).remove(0);
    world.admin().post(&path, &sample).await.created();
    let wrong = json!({"preconditions": {"uid": "another"}});
    let answer = world
        .admin()
        .delete_with(&format!("{path}/x"), &wrong)
        .await;
    let message = answer.refused(409, "Conflict");
    assert!(
        message.starts_with(
            "Operation cannot be fulfilled on PodCertificateRequest.certificates.k8s.io \"x\": "
        ),
        "{message}"
    );
    assert_eq!(
        answer.body["details"],
        json!({"name": "x", "kind": "PodCertificateRequest", "group": "certificates.k8s.io"})
    );
}

async fn options(world: World) {
    let (path, _) = map(&world, "a").await;
    let admin = world.admin();
    let policies = "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"";
    for (options, field, why) in [
        (
            json!({"dryRun": ["x"]}),
            "dryRun",
            "Unsupported value: [\"x\"]: supported values: \"All\"".to_owned(),
        ),
        (
            json!({"propagationPolicy": "x"}),
            "propagationPolicy",
            format!("Unsupported value: \"x\": {policies}"),
        ),
        (
            json!({"propagationPolicy": "Background", "orphanDependents": true}),
            "propagationPolicy",
            "Invalid value: \"Background\": orphanDependents and deletionPropagation cannot be both set".to_owned(),
        ),
    ] {
        let answer = admin.delete_with(&path, &options).await;
        answer.invalid(&[(field, &why)]);
        assert_eq!(
            answer.body["message"],
            format!("DeleteOptions.meta.k8s.io \"\" is invalid: {field}: {why}")
        );
    }
    let answer = admin.delete(&format!("{path}?propagationPolicy=x")).await;
    let why = format!("Unsupported value: \"x\": {policies}");
    answer.invalid(&[("propagationPolicy", &why)]);
    let body = Some("{".to_owned());
    let answer = admin
        .send(Method::DELETE, &path, body, "application/json")
        .await;
    let message = answer.refused(400, "BadRequest");
    let start = "couldn't get version/kind; json parse error: ";
    assert!(message.starts_with(start), "{message}");
    let answer = admin
        .delete_with(&path, &json!({"kind": "Foo", "apiVersion": "v1"}))
        .await;
    let message = answer.refused(400, "BadRequest");
    let start = "no kind \"Foo\" is registered for version \"v1\"";
    assert!(message.starts_with(start), "{message}");
    admin.get(&path).await.ok();
}

async fn options_body(world: World) {
    let (path, _) = map(&world, "a").await;
    let admin = world.admin();
    let dry = json!({"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]});
    admin.delete_with(&path, &dry).await.ok();
    admin.get(&path).await.ok();
    let wet = json!({
        "kind": "DeleteOptions", "apiVersion": "v1",
        "gracePeriodSeconds": 0, "propagationPolicy": "Background",
    });
    admin.delete_with(&path, &wet).await.ok();
    admin.get(&path).await.refused(404, "NotFound");
}

async fn held(world: &World) -> (String, Value) {
    let admin = world.admin();
    let path = world.core("configmaps");
    let mut object = config_map("a");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    admin.post(&path, &object).await.created();
    let path = format!("{path}/a");
    let marked = admin.delete(&path).await.ok();
    (path, marked)
}

async fn options_types(world: World) {
    let maps = world.core("configmaps");
    let admin = world.admin();
    admin.post(&maps, &config_map("a")).await.created();
    let path = format!("{maps}/a");
    for (options, why) in [
        (
            json!({"dryRun": "All"}),
            "json: cannot unmarshal string into Go struct field DeleteOptions.dryRun of type []string",
        ),
        (
            json!({"preconditions": {"uid": 5}}),
            "json: cannot unmarshal number into Go struct field Preconditions.preconditions.uid of type types.UID",
        ),
        (
            json!({"preconditions": "x"}),
            "json: cannot unmarshal string into Go struct field DeleteOptions.preconditions of type v1.Preconditions",
        ),
        (
            json!({"gracePeriodSeconds": "0"}),
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
        ),
        (
            json!([]),
            "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }",
        ),
    ] {
        let answer = admin.delete_with(&path, &options).await;
        assert_eq!(answer.refused(400, "BadRequest"), why);
    }
    admin.get(&path).await.ok();
}

async fn finalizers(world: World) {
    let (path, marked) = held(&world).await;
    let admin = world.admin();
    assert_eq!(marked["kind"], "ConfigMap");
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    // Again, even with no grace: nothing changes.
    assert_eq!(admin.delete(&path).await.ok(), marked);
    let now = json!({"gracePeriodSeconds": 0});
    assert_eq!(admin.delete_with(&path, &now).await.ok(), marked);
    // The last finalizer goes, and the object with it.
    let mut free = marked.clone();
    free["metadata"]["finalizers"] = json!([]);
    let last = admin.put(&path, &free).await.ok();
    assert_eq!(version(&last), version(&marked), "nothing new is stored");
    admin.get(&path).await.refused(404, "NotFound");
}

async fn no_new_finalizers(world: World) {
    let (path, marked) = held(&world).await;
    let mut more = marked.clone();
    more["metadata"]["finalizers"] = json!(["example.com/hold", "example.com/more"]);
    world.admin().put(&path, &more).await.invalid_update(world.target, &[(
        "metadata.finalizers",
        "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"example.com/more\"}",
    )]);
}

async fn mark_stays(world: World) {
    let (path, marked) = held(&world).await;
    let mut object = marked.clone();
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.remove("deletionTimestamp");
    metadata.remove("deletionGracePeriodSeconds");
    object["data"] = json!({"key": "new"});
    let updated = world.admin().put(&path, &object).await.ok();
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        assert_eq!(updated["metadata"][field], marked["metadata"][field]);
    }
}

/// A pod on a node that nobody runs.
async fn scheduled(world: &World, name: &str) -> (String, Value) {
    let mut object = pod(name);
    object["spec"]["nodeName"] = format!("{}-nowhere", world.namespace).into();
    let path = world.core("pods");
    let made = world.admin().post(&path, &object).await.created();
    (format!("{path}/{name}"), made)
}

async fn graceful_pod(world: World) {
    pod_account(&world).await;
    let admin = world.admin();
    let (path, made) = scheduled(&world, "a").await;
    let marked = admin.delete(&path).await.ok();
    let metadata = &marked["metadata"];
    assert_eq!(metadata["deletionGracePeriodSeconds"], 30);
    assert!(metadata["deletionTimestamp"].is_string());
    assert_eq!(
        metadata["generation"].as_i64(),
        made["metadata"]["generation"].as_i64().map(|it| it + 1)
    );
    // Once more, or with a longer period: nothing changes.
    assert_eq!(version(&admin.delete(&path).await.ok()), version(&marked));
    let longer = json!({"gracePeriodSeconds": 60});
    let again = admin.delete_with(&path, &longer).await.ok();
    assert_eq!(version(&again), version(&marked));
    // The kubelet's last word.
    let now = json!({"gracePeriodSeconds": 0});
    let gone = admin.delete_with(&path, &now).await.ok();
    assert_eq!(gone["kind"], "Pod");
    assert_eq!(gone["metadata"]["deletionGracePeriodSeconds"], 0);
    admin.get(&path).await.refused(404, "NotFound");
}

async fn shortened(world: World) {
    pod_account(&world).await;
    let admin = world.admin();
    let (path, _) = scheduled(&world, "a").await;
    let marked = admin.delete(&path).await.ok();
    let shorter = json!({"gracePeriodSeconds": 10});
    let again = admin.delete_with(&path, &shorter).await.ok();
    assert_eq!(again["metadata"]["deletionGracePeriodSeconds"], 10);
    let date = |object: &Value| -> jiff::Timestamp {
        let text = object["metadata"]["deletionTimestamp"].as_str().unwrap();
        text.parse().unwrap()
    };
    // Counted from the first deletion.
    let earlier = (date(&marked) - date(&again)).get_seconds();
    assert_eq!(earlier, 20);
    assert_eq!(
        again["metadata"]["generation"],
        marked["metadata"]["generation"]
    );
    let now = json!({"gracePeriodSeconds": 0});
    admin.delete_with(&path, &now).await.ok();
}

async fn unscheduled_pod(world: World) {
    pod_account(&world).await;
    let admin = world.admin();
    admin.post(&world.core("pods"), &pod("a")).await.created();
    let path = format!("{}/a", world.core("pods"));
    let gone = admin.delete(&path).await.ok();
    assert_eq!(gone["metadata"]["deletionGracePeriodSeconds"], 0);
    assert!(gone["metadata"]["deletionTimestamp"].is_string());
    admin.get(&path).await.refused(404, "NotFound");
}

async fn negative_grace(world: World) {
    pod_account(&world).await;
    let (path, _) = scheduled(&world, "a").await;
    let admin = world.admin();
    let marked = admin
        .delete_with(&path, &json!({"gracePeriodSeconds": -1}))
        .await
        .ok();
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 1);
}

async fn three(world: &World) -> String {
    let path = world.core("configmaps");
    for (name, app) in [("a", "web"), ("b", "db"), ("c", "web")] {
        let mut object = config_map(name);
        object["metadata"]["labels"] = json!({"app": app});
        world.admin().post(&path, &object).await.created();
    }
    path
}

/// The ConfigMaps that [`three`] made and that are left: real namespaces come with one of their own.
async fn left(world: &World) -> Vec<String> {
    let path = format!("{}?labelSelector=app", world.core("configmaps"));
    names(&world.admin().get(&path).await.ok())
}

async fn collection(world: World) {
    let path = three(&world).await;
    let admin = world.admin();
    let gone = admin
        .delete(&format!("{path}?labelSelector=app%3Dweb"))
        .await
        .ok();
    assert_eq!(gone["kind"], "ConfigMapList");
    assert_eq!(names(&gone), ["a", "c"]);
    assert_eq!(left(&world).await, ["b"]);
    let gone = admin
        .delete(&format!("{path}?fieldSelector=metadata.name%3Db"))
        .await
        .ok();
    assert_eq!(names(&gone), ["b"]);
    let none = admin
        .delete(&format!("{path}?labelSelector=app"))
        .await
        .ok();
    assert_eq!(none["items"], json!([]));
    let answer = admin.delete(&format!("{path}?fieldSelector=foo%3Db")).await;
    answer.refused(400, "BadRequest");
}

async fn collection_dry(world: World) {
    let path = three(&world).await;
    let gone = world
        .admin()
        .delete(&format!("{path}?labelSelector=app&dryRun=All"))
        .await
        .ok();
    assert_eq!(names(&gone), ["a", "b", "c"]);
    assert_eq!(left(&world).await, ["a", "b", "c"]);
}

async fn collection_precondition(world: World) {
    let path = three(&world).await;
    let wrong = json!({"preconditions": {"uid": "another"}});
    let path = format!("{path}?labelSelector=app");
    world
        .admin()
        .delete_with(&path, &wrong)
        .await
        .refused(409, "Conflict");
    assert_eq!(left(&world).await, ["a", "b", "c"]);
}

async fn collection_limit(world: World) {
    let path = three(&world).await;
    let path = format!("{path}?labelSelector=app&limit=1");
    let gone = world.admin().delete(&path).await.ok();
    assert_eq!(names(&gone), ["a"]);
    assert!(gone["metadata"]["continue"].is_string(), "{gone}");
    assert_eq!(left(&world).await, ["b", "c"]);
}

async fn default_namespaces(world: World) {
    for name in ["default", "kube-system"] {
        let path = format!("/api/v1/namespaces/{name}?dryRun=All");
        assert_eq!(
            world.admin().delete(&path).await.refused(403, "Forbidden"),
            format!("namespaces {name:?} is forbidden: this namespace may not be deleted")
        );
    }
}
