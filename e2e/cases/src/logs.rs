//! Questions for logs, as far as they are answered without a kubelet: what is refused, and that
//! there is nothing where nothing runs.

use serde_json::json;

use crate::rights::{someone, someone_with};
use crate::samples::{pod, pod_account};
use crate::{Case, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("logs/of-what-does-not-run-are-empty", empty),
        Case::new("logs/are-of-one-container", containers),
        Case::new("logs/options-are-checked", options),
        Case::new("logs/need-a-right-of-their-own", rights),
    ]
}

async fn empty(world: World) {
    pod_account(&world).await;
    let pods = world.core("pods");
    world.admin().post(&pods, &pod("a")).await.created();
    for query in ["", "?follow=true", "?container=main&tailLines=0&previous=1"] {
        let log = world.admin().get(&format!("{pods}/a/log{query}")).await;
        assert_eq!((log.code, log.body), (204, json!("")));
    }
    let answer = world.admin().get(&format!("{pods}/gone/log")).await;
    assert_eq!(answer.refused(404, "NotFound"), "pods \"gone\" not found");
    let answer = world
        .admin()
        .post(&format!("{pods}/a/log"), &json!({}))
        .await;
    answer.refused(405, "MethodNotAllowed");
}

async fn containers(world: World) {
    pod_account(&world).await;
    let mut object = pod("a");
    object["spec"]["containers"] = json!([
        {"name": "main", "image": "none"},
        {"name": "side", "image": "none"},
    ]);
    object["spec"]["initContainers"] = json!([{"name": "first", "image": "none"}]);
    let pods = world.core("pods");
    world.admin().post(&pods, &object).await.created();
    let log = format!("{pods}/a/log");
    let answer = world.admin().get(&log).await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "a container name must be specified for pod a, choose one of: [first main side]"
    );
    let answer = world.admin().get(&format!("{log}?container=third")).await;
    assert_eq!(
        answer.refused(400, "BadRequest"),
        "container third is not valid for pod a"
    );
    for name in ["main", "side", "first"] {
        let path = format!("{log}?container={name}");
        assert_eq!(world.admin().get(&path).await.code, 204);
    }
}

async fn options(world: World) {
    pod_account(&world).await;
    let pods = world.core("pods");
    world.admin().post(&pods, &pod("a")).await.created();
    for (query, field, why) in [
        (
            "tailLines=-1",
            "tailLines",
            "Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "limitBytes=0",
            "limitBytes",
            "Invalid value: 0: must be greater than 0",
        ),
        (
            "sinceSeconds=0",
            "sinceSeconds",
            "Invalid value: 0: must be greater than 0",
        ),
        (
            "sinceSeconds=5&sinceTime=2026-01-01T00:00:00Z",
            "[]",
            "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
        ),
    ] {
        let answer = world.admin().get(&format!("{pods}/a/log?{query}")).await;
        answer.invalid(&[(field, why)]);
        assert_eq!(answer.body["details"]["kind"], "PodLogOptions");
    }
    let answer = world
        .admin()
        .get(&format!("{pods}/a/log?tailLines=x"))
        .await;
    let message = answer.refused(400, "BadRequest");
    assert!(message.contains("invalid syntax"), "{message}");
}

async fn rights(world: World) {
    pod_account(&world).await;
    let pods = world.core("pods");
    world.admin().post(&pods, &pod("a")).await.created();
    let rule =
        |resource: &str| json!([{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]);
    let reader = someone_with(&world, "reader", rule("pods/log")).await;
    let log = format!("{pods}/a/log");
    assert_eq!(world.as_user(&reader).get(&log).await.code, 204);
    let somebody = someone(&world, "somebody");
    let answer = world.as_user(&somebody).get(&log).await;
    let message = answer.refused(403, "Forbidden");
    let cannot = format!(
        "cannot get resource \"pods/log\" in API group \"\" in the namespace \"{}\"",
        world.namespace
    );
    assert!(message.contains(&cannot), "{message}");
}
