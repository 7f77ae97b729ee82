//! Questions about oneself, as `kubectl auth can-i` and `whoami` ask them.

use serde_json::{Value, json};

use crate::rights::{someone, someone_with};
use crate::{Answer, Case, Release, User, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("reviews/administrators-may-do-everything", administrator),
        Case::new("reviews/access-is-what-a-request-would-get", access),
        Case::new("reviews/access-of-somebody-else", access_of_somebody),
        Case::new("reviews/a-review-asks-one-question", one_question),
        Case::new("reviews/what-is-null-is-not-asked", nulls),
        Case::new("reviews/rules-are-those-of-bound-roles", rules),
        Case::new("reviews/rules-are-of-a-namespace", no_namespace),
        Case::new("reviews/the-caller-learns-who-they-are", who),
        Case::new("reviews/are-only-created", only_created),
    ]
}

async fn ask(world: &World, user: &User, spec: Value) -> Answer {
    let path = format!("{AUTHORIZATION}/selfsubjectaccessreviews");
    let body = json!({
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "spec": spec,
    });
    world.as_user(user).post(&path, &body).await
}

async fn administrator(world: World) {
    for spec in [
        json!({"resourceAttributes": {"verb": "delete", "resource": "nodes"}}),
        json!({"resourceAttributes": {"verb": "*", "resource": "*", "group": "*"}}),
        json!({"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}),
    ] {
        let review = ask(&world, &User::admin(), spec.clone()).await.created();
        assert_eq!(review["kind"], "SelfSubjectAccessReview");
        assert_eq!(review["status"]["allowed"], true, "{review}");
        assert_eq!(review["spec"], spec);
    }
}

async fn nulls(world: World) {
    let spec = json!({
        "resourceAttributes": null,
        "nonResourceAttributes": {"verb": "get", "path": "/metrics"},
    });
    let review = ask(&world, &User::admin(), spec).await.created();
    assert_eq!(review["status"]["allowed"], true, "{review}");
}

async fn access(world: World) {
    let rules = json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}]);
    let user = someone_with(&world, "reader", rules).await;
    for (verb, group, allowed) in [
        ("get", "apps", true),
        ("list", "apps", false),
        ("get", "", false),
    ] {
        let spec = json!({"resourceAttributes": {
            "verb": verb, "group": group, "resource": "deployments", "namespace": world.namespace,
        }});
        let review = ask(&world, &user, spec).await.created();
        assert_eq!(review["status"]["allowed"], allowed, "{review}");
        assert_eq!(review["status"].get("denied"), None, "{review}");
    }
    for (path, allowed) in [("/api", true), ("/metrics", false)] {
        let spec = json!({"nonResourceAttributes": {"verb": "get", "path": path}});
        let review = ask(&world, &user, spec).await.created();
        assert_eq!(review["status"]["allowed"], allowed, "{review}");
    }
}

async fn access_of_somebody(world: World) {
    let rules = json!([{
        "apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "verbs": ["sign"],
        "resourceNames": ["example.com/*"],
    }]);
    let signer = someone_with(&world, "signer", rules).await;
    let path = format!("{AUTHORIZATION}/subjectaccessreviews");
    let question = |user: &User, name: &str| {
        json!({"spec": {"user": user.name, "groups": ["system:authenticated"], "resourceAttributes": {
            "verb": "sign", "group": "certificates.k8s.io", "resource": "signers", "name": name,
        }}})
    };
    let nobody = someone(&world, "nobody");
    for (user, name, allowed) in [
        (&signer, "example.com/*", true),
        // Names are compared as they are.
        (&signer, "example.com/a", false),
        (&nobody, "example.com/*", false),
    ] {
        let spec = question(user, name);
        let review = world.admin().post(&path, &spec).await.created();
        assert_eq!(review["kind"], "SubjectAccessReview");
        assert_eq!(review["status"]["allowed"], allowed, "{review}");
        assert_eq!(review["spec"], spec["spec"]);
    }
    // By the groups that are named and no others.
    let mut spec = question(&nobody, "example.com/*");
    spec["spec"]["groups"] = json!(["system:masters"]);
    let review = world.admin().post(&path, &spec).await.created();
    assert_eq!(review["status"]["allowed"], true, "{review}");
    // It is a right of its own.
    let answer = world.as_user(&signer).post(&path, &spec).await;
    answer.refused(403, "Forbidden");
    let mut of_nobody = question(&nobody, "example.com/*");
    of_nobody["spec"]["user"] = json!("");
    of_nobody["spec"]["groups"] = json!([]);
    let answer = world.admin().post(&path, &of_nobody).await;
    answer.refused(422, "Invalid");
}

async fn one_question(world: World) {
    for spec in [
        json!({}),
        json!({"resourceAttributes": {"verb": "get", "resource": "pods"},
               "nonResourceAttributes": {"verb": "get", "path": "/api"}}),
    ] {
        let answer = ask(&world, &User::admin(), spec).await;
        let message = answer.refused(422, "Invalid");
        if world.target.release < Release::V1_37 {
            continue;
        }
        let rule = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        assert!(message.ends_with(rule), "{message}");
    }
}

async fn rules(world: World) {
    let rule = json!({"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]});
    let user = someone_with(&world, "reader", json!([rule])).await;
    let path = format!("{AUTHORIZATION}/selfsubjectrulesreviews");
    let body = json!({"spec": {"namespace": world.namespace}});
    let review = world.as_user(&user).post(&path, &body).await.created();
    let found = review["status"]["resourceRules"].as_array().unwrap();
    assert!(found.contains(&rule), "{review}");
    let paths = review["status"]["nonResourceRules"].as_array().unwrap();
    let discovery = |rule: &Value| {
        let urls = rule["nonResourceURLs"].as_array().unwrap();
        urls.contains(&json!("/openapi/*"))
    };
    assert!(paths.iter().any(discovery), "{review}");
}

async fn no_namespace(world: World) {
    let path = format!("{AUTHORIZATION}/selfsubjectrulesreviews");
    let answer = world.admin().post(&path, &json!({"spec": {}})).await;
    assert_eq!(answer.refused(400, "BadRequest"), "no namespace on request");
}

async fn who(world: World) {
    let user = someone(&world, "somebody");
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let review = world.as_user(&user).post(path, &json!({})).await.created();
    let info = &review["status"]["userInfo"];
    assert_eq!(info["username"], user.name.as_str());
    assert_eq!(info["groups"], json!(["system:authenticated"]));
}

async fn only_created(world: World) {
    let path = format!("{AUTHORIZATION}/selfsubjectaccessreviews");
    let answer = world.admin().get(&path).await;
    answer.refused(405, "MethodNotAllowed");
}

const AUTHORIZATION: &str = "/apis/authorization.k8s.io/v1";
