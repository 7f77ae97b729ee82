//! Lists: order, pages, versions, and what is left of them after a compaction.

use serde_json::{Value, json};

use crate::samples::{config_map, names, samples};
use crate::{Answer, Case, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("lists/an-empty-one-has-a-kind-and-a-version", empty),
        Case::new("lists/items-have-no-kind-of-their-own", items),
        Case::new("lists/items-are-in-the-order-of-their-names", order),
        Case::new(
            "lists/namespaces-come-one-after-the-other",
            across_namespaces,
        ),
        Case::new("lists/pages-are-of-one-snapshot", pages),
        Case::new("lists/pages-may-grow", growing_pages),
        Case::new("lists/what-remains-is-counted-without-selectors", remaining),
        Case::new(
            "lists/a-page-is-of-no-version-of-its-own",
            continue_with_version,
        ),
        Case::new(
            "lists/a-continuation-is-one-of-the-servers",
            malformed_continue,
        ),
        Case::new("lists/an-exact-version-is-of-the-past", exact),
        Case::new("lists/no-older-than-a-version-is-the-newest", not_older),
        Case::new("lists/a-version-and-a-limit-are-exact", version_and_limit),
        Case::new("lists/any-version-ignores-the-limit", any_version),
        Case::new(
            "lists/options-that-contradict-each-other-are-refused",
            contradictions,
        ),
        Case::new("lists/a-version-yet-to-come-times-out", future),
        Case::new(
            "lists/a-compacted-snapshot-continues-with-a-fresh-token",
            compacted_continue,
        ),
        Case::new("lists/a-compacted-version-is-gone", compacted_version),
    ]
}

async fn fill(world: &World, count: usize) -> String {
    let path = world.core("configmaps");
    for index in 0..count {
        let mut object = config_map(&format!("m{index}"));
        object["metadata"]["labels"] = json!({"case": "lists"});
        world.admin().post(&path, &object).await.created();
    }
    path
}

/// Leaves out what comes with a real namespace.
const OURS: &str = "fieldSelector=metadata.name!%3Dkube-root-ca.crt";

fn list_version(list: &Value) -> String {
    list["metadata"]["resourceVersion"].as_str().unwrap().into()
}

async fn empty(world: World) {
    for (path, resource, sample) in samples(&world) {
        let list = world
            .admin()
            .get(&format!("{path}?fieldSelector=metadata.name%3Dnothing"))
            .await
            .ok();
        let kind = match resource.split('.').next().unwrap() {
            "podcertificaterequests" => "PodCertificateRequest",
            "pods" => "Pod",
            "services" => "Service",
            "configmaps" => "ConfigMap",
            "secrets" => "Secret",
            "events" => "Event",
            "leases" => "Lease",
            _ => "ServiceAccount",
        };
        assert_eq!(list["kind"], format!("{kind}List"), "{sample}");
        assert_eq!(list["items"], json!([]));
        assert!(list_version(&list).parse::<u64>().unwrap() > 0);
        assert_eq!(list["metadata"].as_object().unwrap().len(), 1, "{list}");
    }
}

async fn items(world: World) {
    let path = fill(&world, 1).await;
    let list = world.admin().get(&format!("{path}?{OURS}")).await.ok();
    assert_eq!(list["apiVersion"], "v1");
    let item = &list["items"][0];
    assert_eq!(item.get("kind"), None);
    assert_eq!(item.get("apiVersion"), None);
    assert_eq!(item["data"], json!({"key": "value"}));
}

async fn order(world: World) {
    let path = world.core("configmaps");
    for name in ["b", "a.b", "a", "b-1", "a-b", "b1"] {
        world.admin().post(&path, &config_map(name)).await.created();
    }
    let list = world.admin().get(&format!("{path}?{OURS}")).await.ok();
    assert_eq!(names(&list), ["a", "a-b", "a.b", "b", "b-1", "b1"]);
}

async fn across_namespaces(world: World) {
    let path = world.core("configmaps");
    let label = format!("case={}", world.namespace);
    for (path, name) in [(path.as_str(), "b"), (&path, "a")] {
        let mut object = config_map(name);
        object["metadata"]["labels"] = json!({"case": world.namespace});
        world.admin().post(path, &object).await.created();
    }
    let all = format!(
        "/api/v1/configmaps?labelSelector={}",
        label.replace('=', "%3D")
    );
    let list = world.admin().get(&all).await.ok();
    assert_eq!(names(&list), ["a", "b"]);
    assert_eq!(list["items"][0]["metadata"]["namespace"], world.namespace);
}

/// Somebody else's compaction may end a paged list: then it begins again.
async fn retry_expired<R>(attempt: impl Fn() -> R)
where
    R: Future<Output = Result<(), Answer>>,
{
    for _ in 0..3 {
        match attempt().await {
            Ok(()) => return,
            Err(answer) => {
                answer.refused(410, "Expired");
            }
        }
    }
    panic!("three paged lists expired");
}

async fn page(world: &World, path: &str, query: &str) -> Result<Value, Answer> {
    let answer = world.admin().get(&format!("{path}?{OURS}&{query}")).await;
    if answer.code == 410 {
        return Err(answer);
    }
    Ok(answer.ok())
}

fn token(list: &Value) -> &str {
    list["metadata"]["continue"].as_str().expect("more to come")
}

async fn pages(world: World) {
    let path = fill(&world, 7).await;
    let admin = world.admin();
    retry_expired(|| async {
        let first = page(&world, &path, "limit=3").await?;
        assert_eq!(names(&first), ["m0", "m1", "m2"]);
        // What happens between pages is not in them.
        admin.delete(&format!("{path}/m4")).await.ok();
        admin.post(&path, &config_map("m35")).await.created();
        let second = page(
            &world,
            &path,
            &format!("limit=3&continue={}", token(&first)),
        )
        .await;
        let third = match &second {
            Ok(list) => page(&world, &path, &format!("limit=3&continue={}", token(list))).await,
            Err(answer) => Err(answer.clone()),
        };
        admin.delete(&format!("{path}/m35")).await.ok();
        admin.post(&path, &config_map("m4")).await.created();
        let (second, third) = (second?, third?);
        assert_eq!(names(&second), ["m3", "m4", "m5"]);
        assert_eq!(list_version(&second), list_version(&first));
        assert_eq!(names(&third), ["m6"]);
        assert_eq!(third["metadata"].get("continue"), None);
        assert_eq!(third["metadata"].get("remainingItemCount"), None);
        Ok(())
    })
    .await;
}

async fn growing_pages(world: World) {
    let path = fill(&world, 4).await;
    retry_expired(|| async {
        let first = page(&world, &path, "limit=1").await?;
        let rest = page(&world, &path, &format!("continue={}", token(&first))).await?;
        assert_eq!(names(&rest), ["m1", "m2", "m3"]);
        Ok(())
    })
    .await;
}

async fn remaining(world: World) {
    let path = fill(&world, 3).await;
    let admin = world.admin();
    let list = admin.get(&format!("{path}?limit=1")).await.ok();
    let all = admin.get(&path).await.ok();
    assert_eq!(
        list["metadata"]["remainingItemCount"],
        names(&all).len() - 1
    );
    for selector in [OURS, "labelSelector=case"] {
        let list = admin.get(&format!("{path}?limit=1&{selector}")).await.ok();
        token(&list);
        assert_eq!(list["metadata"].get("remainingItemCount"), None);
    }
}

async fn continue_with_version(world: World) {
    let path = fill(&world, 2).await;
    retry_expired(|| async {
        let first = page(&world, &path, "limit=1").await?;
        let token = token(&first);
        let answer = world
            .admin()
            .get(&format!("{path}?continue={token}&resourceVersion=5"))
            .await;
        assert_eq!(
            answer.refused(400, "BadRequest"),
            "specifying resource version is not allowed when using continue"
        );
        let rest = page(
            &world,
            &path,
            &format!("continue={token}&resourceVersion=0"),
        )
        .await?;
        assert_eq!(names(&rest), ["m1"]);
        Ok(())
    })
    .await;
}

async fn malformed_continue(world: World) {
    for token in ["nonsense", "e30", "!"] {
        let path = format!("{}?continue={token}", world.core("configmaps"));
        let answer = world.admin().get(&path).await;
        let message = answer.refused(400, "BadRequest");
        let start = "invalid continue token: continue key is not valid";
        assert!(message.starts_with(start), "{message}");
    }
}

async fn exact(world: World) {
    let path = fill(&world, 2).await;
    let admin = world.admin();
    retry_expired(|| async {
        let before = page(&world, &path, "").await?;
        admin.delete(&format!("{path}/m0")).await.ok();
        let query = format!(
            "resourceVersion={}&resourceVersionMatch=Exact",
            list_version(&before)
        );
        let then = page(&world, &path, &query).await;
        let first = page(&world, &path, &format!("{query}&limit=1")).await;
        admin.post(&path, &config_map("m0")).await.created();
        let (then, first) = (then?, first?);
        assert_eq!(names(&then), ["m0", "m1"]);
        assert_eq!(list_version(&then), list_version(&before));
        assert_eq!(names(&first), ["m0"]);
        token(&first);
        Ok(())
    })
    .await;
}

async fn not_older(world: World) {
    let path = fill(&world, 2).await;
    let admin = world.admin();
    let before = admin.get(&path).await.ok();
    admin.delete(&format!("{path}/m0")).await.ok();
    let query = format!("{path}?{OURS}&resourceVersion={}", list_version(&before));
    for query in [
        query.clone(),
        format!("{query}&resourceVersionMatch=NotOlderThan"),
    ] {
        let list = admin.get(&query).await.ok();
        // Caches may be behind the newest, but never before what was asked for.
        let number = |list: &Value| list_version(list).parse::<u64>().unwrap();
        assert!(number(&list) >= number(&before));
    }
}

async fn version_and_limit(world: World) {
    let path = fill(&world, 2).await;
    let admin = world.admin();
    retry_expired(|| async {
        let before = page(&world, &path, "").await?;
        admin.delete(&format!("{path}/m0")).await.ok();
        let query = format!("resourceVersion={}&limit=1", list_version(&before));
        let then = page(&world, &path, &query).await;
        admin.post(&path, &config_map("m0")).await.created();
        let then = then?;
        assert_eq!(names(&then), ["m0"]);
        assert_eq!(list_version(&then), list_version(&before));
        Ok(())
    })
    .await;
}

async fn any_version(world: World) {
    let path = fill(&world, 3).await;
    let list = world
        .admin()
        .get(&format!("{path}?{OURS}&limit=1&resourceVersion=0"))
        .await
        .ok();
    assert_eq!(list["metadata"].get("continue"), None);
}

async fn contradictions(world: World) {
    const MATCH: &str = "resourceVersionMatch";
    const NO_VERSION: &str =
        "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided";
    const CONTINUE: &str = "Forbidden: resourceVersionMatch is forbidden when continue is provided";
    const INITIAL: &str = "Forbidden: sendInitialEvents is forbidden for list";
    for (query, causes) in [
        ("resourceVersionMatch=Exact", vec![(MATCH, NO_VERSION)]),
        (
            "resourceVersion=0&resourceVersionMatch=Exact",
            vec![(
                MATCH,
                "Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            )],
        ),
        (
            "resourceVersion=5&resourceVersionMatch=foo",
            vec![(
                MATCH,
                "Unsupported value: \"foo\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
            )],
        ),
        (
            "resourceVersion=5&resourceVersionMatch=NotOlderThan&continue=x",
            vec![(MATCH, CONTINUE)],
        ),
        (
            "resourceVersionMatch=NotOlderThan&continue=x",
            vec![(MATCH, NO_VERSION), (MATCH, CONTINUE)],
        ),
        (
            "sendInitialEvents=true",
            vec![("sendInitialEvents", INITIAL)],
        ),
        (
            "sendInitialEvents=false&resourceVersionMatch=NotOlderThan",
            vec![(MATCH, NO_VERSION), ("sendInitialEvents", INITIAL)],
        ),
    ] {
        let path = format!("{}?{query}", world.core("configmaps"));
        let answer = world.admin().get(&path).await;
        answer.invalid(&causes);
        let message = answer.body["message"].as_str().unwrap();
        let start = "ListOptions.meta.k8s.io \"\" is invalid: ";
        assert!(message.starts_with(start), "{message}");
    }
}

async fn future(world: World) {
    let admin = world.admin();
    let path = fill(&world, 1).await;
    for path in [
        format!("{path}?resourceVersion=1000000000"),
        format!("{path}?resourceVersion=1000000000&resourceVersionMatch=NotOlderThan"),
        format!("{path}?resourceVersion=1000000000&resourceVersionMatch=Exact"),
        format!("{path}/m0?resourceVersion=1000000000"),
    ] {
        let answer = admin.get(&path).await;
        let message = answer.refused(504, "Timeout");
        let start = "Timeout: Too large resource version: 1000000000, current: ";
        assert!(message.starts_with(start), "{message}");
        assert_eq!(
            answer.body["details"],
            json!({
                "causes": [{
                    "reason": "ResourceVersionTooLarge",
                    "message": "Too large resource version",
                }],
                "retryAfterSeconds": 1,
            })
        );
    }
    // One object may be read from a cache.
    admin
        .get(&format!("{path}/m0?resourceVersion=0"))
        .await
        .ok();
}

/// Events have no watch cache in real servers: what etcd forgets is gone for them at once.
async fn fill_events(world: &World) -> String {
    let path = world.core("events");
    for index in 0..3 {
        let event = json!({
            "metadata": {"name": format!("e{index}")},
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": world.namespace},
        });
        world.admin().post(&path, &event).await.created();
    }
    path
}

async fn compacted_continue(world: World) {
    let path = fill_events(&world).await;
    let admin = world.admin();
    let first = admin.get(&format!("{path}?limit=1")).await.ok();
    assert_eq!(names(&first), ["e0"]);
    admin.delete(&format!("{path}/e1")).await.ok();
    world.compact().await;
    let answer = admin
        .get(&format!("{path}?limit=1&continue={}", token(&first)))
        .await;
    assert_eq!(
        answer.refused(410, "Expired"),
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list."
    );
    let rest = admin
        .get(&format!("{path}?limit=5&continue={}", token(&answer.body)))
        .await
        .ok();
    assert_eq!(names(&rest), ["e2"]);
    assert_ne!(list_version(&rest), list_version(&first));
}

async fn compacted_version(world: World) {
    let path = fill_events(&world).await;
    let admin = world.admin();
    let before = list_version(&admin.get(&path).await.ok());
    admin.delete(&format!("{path}/e1")).await.ok();
    world.compact().await;
    for query in [
        format!("resourceVersion={before}&resourceVersionMatch=Exact"),
        format!("resourceVersion={before}&limit=1"),
    ] {
        let answer = admin.get(&format!("{path}?{query}")).await;
        assert_eq!(
            answer.refused(410, "Expired"),
            "The resourceVersion for the provided list is too old."
        );
    }
    let list = admin
        .get(&format!("{path}?resourceVersion={before}"))
        .await
        .ok();
    assert_eq!(names(&list), ["e0", "e2"]);
}
