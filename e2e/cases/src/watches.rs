//! Watches: where they begin, what they show, how they end.

use serde_json::{Value, json};

use crate::samples::{config_map, pod, pod_account, version};
use crate::{Case, Changes, World};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("watches/from-a-version-shows-what-came-after", from_version),
        Case::new(
            "watches/from-no-version-begins-with-what-there-is",
            from_nothing,
        ),
        Case::new(
            "watches/versions-of-all-kinds-are-of-one-sequence",
            one_sequence,
        ),
        Case::new("watches/the-last-state-has-the-version-of-its-end", deleted),
        Case::new("watches/a-write-of-nothing-is-not-seen", nothing_written),
        Case::new(
            "watches/objects-that-begin-to-match-are-added",
            begins_to_match,
        ),
        Case::new("watches/one-object-by-its-name", one_object),
        Case::new("watches/one-namespace-sees-no-other", one_namespace),
        Case::new("watches/a-namespace-may-be-absent", absent_namespace),
        Case::new("watches/a-finalizer-that-goes-ends-an-object", finalized),
        Case::new("watches/a-pod-is-marked-before-it-goes", pod_marked),
        Case::new("watches/they-end-when-their-time-is-up", timeout),
        Case::new("watches/a-bookmark-comes-before-the-end", bookmark),
        Case::new("watches/a-list-in-a-watch-ends-with-a-bookmark", watch_list),
        Case::new("watches/a-list-in-a-watch-may-be-empty", empty_watch_list),
        Case::new(
            "watches/a-list-in-a-watch-without-bookmarks-has-no-end",
            no_bookmark,
        ),
        Case::new(
            "watches/without-a-version-bookmarks-end-the-list-too",
            legacy_bookmark,
        ),
        Case::new(
            "watches/without-initial-events-only-changes-come",
            no_initial_events,
        ),
        Case::new(
            "watches/options-that-contradict-each-other-are-refused",
            contradictions,
        ),
        Case::new("watches/limits-do-not-matter", limit),
        Case::new("watches/selectors-are-checked-first", bad_selector),
        Case::new("watches/a-list-yet-to-come-is-an-error-event", future_list),
        Case::new("watches/a-version-yet-to-come-is-waited-for", future),
        Case::new("watches/a-compacted-version-is-an-error-event", compacted),
        Case::new(
            "watches/compaction-spares-those-that-are-up-to-date",
            compaction_spares,
        ),
        Case::new("watches/metadata-can-be-watched-alone", metadata_only),
    ]
}

async fn create(world: &World, name: &str, label: &str) -> Value {
    let mut object = config_map(name);
    object["metadata"]["labels"] = json!({"app": label});
    let path = world.core("configmaps");
    world.admin().post(&path, &object).await.created()
}

async fn relabel(world: &World, name: &str, label: &str) -> Value {
    let path = format!("{}/{name}", world.core("configmaps"));
    let patch = json!({"metadata": {"labels": {"app": label}}});
    world.admin().patch(&path, "merge", &patch).await.ok()
}

async fn touch(world: &World, name: &str, value: &str) -> Value {
    let path = format!("{}/{name}", world.core("configmaps"));
    let patch = json!({"data": {"key": value}});
    world.admin().patch(&path, "merge", &patch).await.ok()
}

async fn delete(world: &World, name: &str) {
    let path = format!("{}/{name}", world.core("configmaps"));
    world.admin().delete(&path).await.ok();
}

/// The version of the ConfigMaps now.
async fn now(world: &World) -> String {
    let list = world.admin().get(&world.core("configmaps")).await.ok();
    list["metadata"]["resourceVersion"].as_str().unwrap().into()
}

/// Only ConfigMaps that a case makes carry the label `app`.
async fn watch(world: &World, query: &str) -> Changes {
    let path = format!("{}?labelSelector=app&{query}", world.core("configmaps"));
    world.admin().watch(&path).await.unwrap()
}

/// The next event in short: `+a` added, `~a` modified, `-a` deleted, `=` bookmark, `!410` error.
fn short(event: &(String, Value)) -> String {
    let (kind, object) = event;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match kind.as_str() {
        "ADDED" => format!("+{name}"),
        "MODIFIED" => format!("~{name}"),
        "DELETED" => format!("-{name}"),
        "BOOKMARK" => "=".into(),
        _ => format!("!{}", object["code"]),
    }
}

async fn expect(changes: &mut Changes, expected: &[&str]) -> Vec<Value> {
    let mut objects = Vec::new();
    for expected in expected {
        let mut event = changes.next().await.expect("the watch goes on");
        // Bookmarks may come between any two events.
        while *expected != "=" && short(&event) == "=" {
            event = changes.next().await.expect("the watch goes on");
        }
        assert_eq!(short(&event), *expected, "{event:?}");
        objects.push(event.1);
    }
    objects
}

async fn from_version(world: World) {
    create(&world, "a", "x").await;
    let from = now(&world).await;
    create(&world, "b", "x").await;
    let mut changes = watch(&world, &format!("resourceVersion={from}")).await;
    let touched = touch(&world, "a", "new").await;
    delete(&world, "b").await;
    let seen = expect(&mut changes, &["+b", "~a", "-b"]).await;
    assert_eq!(seen[1], touched);
    assert_eq!(seen[1]["kind"], "ConfigMap");
    assert_eq!(seen[1]["apiVersion"], "v1");
}

async fn from_nothing(world: World) {
    for name in ["b", "a"] {
        create(&world, name, "x").await;
    }
    touch(&world, "a", "new").await;
    for query in ["", "resourceVersion=0"] {
        let mut changes = watch(&world, query).await;
        expect(&mut changes, &["+a", "+b"]).await;
        touch(&world, "b", query).await;
        expect(&mut changes, &["~b"]).await;
    }
}

async fn one_sequence(world: World) {
    let map = create(&world, "a", "x").await;
    let secret = json!({"metadata": {"name": "a"}});
    let path = world.core("secrets");
    let secret = world.admin().post(&path, &secret).await.created();
    let later = touch(&world, "a", "new").await;
    assert!(version(&map) < version(&secret));
    assert!(version(&secret) < version(&later));
    assert!(now(&world).await.parse::<u64>().unwrap() >= version(&later));
}

async fn deleted(world: World) {
    let made = create(&world, "a", "x").await;
    let from = now(&world).await;
    delete(&world, "a").await;
    let mut changes = watch(&world, &format!("resourceVersion={from}")).await;
    let gone = expect(&mut changes, &["-a"]).await.remove(0);
    assert_eq!(gone["data"], made["data"]);
    assert_eq!(gone["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(gone["metadata"].get("deletionTimestamp"), None);
    assert!(version(&gone) > version(&made));
}

async fn nothing_written(world: World) {
    create(&world, "a", "x").await;
    let from = now(&world).await;
    let mut changes = watch(&world, &format!("resourceVersion={from}")).await;
    touch(&world, "a", "value").await;
    touch(&world, "a", "new").await;
    let seen = expect(&mut changes, &["~a"]).await;
    assert_eq!(seen[0]["data"]["key"], "new");
}

async fn begins_to_match(world: World) {
    let from = now(&world).await;
    let query = format!("labelSelector=app%3Dweb&resourceVersion={from}");
    let path = format!("{}?{query}", world.core("configmaps"));
    let mut changes = world.admin().watch(&path).await.unwrap();
    create(&world, "a", "db").await;
    let added = relabel(&world, "a", "web").await;
    let touched = touch(&world, "a", "new").await;
    let left = relabel(&world, "a", "db").await;
    delete(&world, "a").await;
    create(&world, "b", "web").await;
    let seen = expect(&mut changes, &["+a", "~a", "-a", "+b"]).await;
    assert_eq!(seen[0], added);
    assert_eq!(seen[1], touched);
    // What matched last, at the version of the change that ended it.
    assert_eq!(seen[2]["metadata"]["labels"]["app"], "web");
    assert_eq!(seen[2]["data"], touched["data"]);
    assert_eq!(version(&seen[2]), version(&left));
}

async fn one_object(world: World) {
    create(&world, "a", "x").await;
    create(&world, "b", "x").await;
    let path = format!(
        "{}?fieldSelector=metadata.name%3Da",
        world.core("configmaps")
    );
    let mut changes = world.admin().watch(&path).await.unwrap();
    expect(&mut changes, &["+a"]).await;
    touch(&world, "b", "new").await;
    touch(&world, "a", "new").await;
    delete(&world, "b").await;
    delete(&world, "a").await;
    expect(&mut changes, &["~a", "-a"]).await;
}

async fn one_namespace(world: World) {
    let path = format!(
        "/api/v1/configmaps?labelSelector=case%3D{}",
        world.namespace
    );
    let mut everywhere = world.admin().watch(&path).await.unwrap();
    let from = now(&world).await;
    let mut here = watch(&world, &format!("resourceVersion={from}")).await;
    let mut elsewhere = config_map("elsewhere");
    elsewhere["metadata"] = json!({
        "generateName": format!("{}-", world.namespace),
        "labels": {"app": "x", "case": world.namespace},
    });
    let path = "/api/v1/namespaces/default/configmaps";
    let made = world.admin().post(path, &elsewhere).await.created();
    let name = made["metadata"]["name"].as_str().unwrap();
    create(&world, "a", "x").await;
    expect(&mut here, &["+a"]).await;
    expect(&mut everywhere, &[&format!("+{name}")]).await;
    world.admin().delete(&format!("{path}/{name}")).await.ok();
}

async fn absent_namespace(world: World) {
    let path = format!(
        "/api/v1/namespaces/{}-absent/configmaps?timeoutSeconds=1",
        world.namespace
    );
    let mut changes = world.admin().watch(&path).await.unwrap();
    assert_eq!(changes.next().await, None);
}

async fn finalized(world: World) {
    create(&world, "a", "x").await;
    let from = now(&world).await;
    let path = format!("{}/a", world.core("configmaps"));
    let admin = world.admin();
    let hold = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    admin.patch(&path, "merge", &hold).await.ok();
    admin.delete(&path).await.ok();
    let free = json!({"metadata": {"finalizers": null}});
    admin.patch(&path, "merge", &free).await.ok();
    let mut changes = watch(&world, &format!("resourceVersion={from}")).await;
    let seen = expect(&mut changes, &["~a", "~a", "-a"]).await;
    assert_eq!(seen[0]["metadata"].get("deletionTimestamp"), None);
    assert!(seen[1]["metadata"]["deletionTimestamp"].is_string());
    assert!(seen[2]["metadata"]["deletionTimestamp"].is_string());
    // It goes as it is stored last; the update that let it go is not stored.
    assert_eq!(
        seen[2]["metadata"]["finalizers"],
        json!(["example.com/hold"])
    );
    assert!(version(&seen[2]) > version(&seen[1]));
}

async fn pod_marked(world: World) {
    pod_account(&world).await;
    let path = world.core("pods");
    let admin = world.admin();
    let mut changes = admin.watch(&path).await.unwrap();
    admin.post(&path, &pod("a")).await.created();
    let answered = admin.delete(&format!("{path}/a")).await.ok();
    let seen = expect(&mut changes, &["+a", "~a", "-a"]).await;
    assert_eq!(seen[1]["metadata"]["deletionGracePeriodSeconds"], 0);
    assert!(seen[1]["metadata"]["deletionTimestamp"].is_string());
    assert!(version(&seen[2]) > version(&seen[1]));
    assert_eq!(version(&answered), version(&seen[2]));
}

async fn timeout(world: World) {
    let mut changes = watch(&world, "timeoutSeconds=1").await;
    assert_eq!(changes.next().await, None);
}

async fn bookmark(world: World) {
    create(&world, "a", "x").await;
    let from = now(&world).await;
    let query = format!("resourceVersion={from}&allowWatchBookmarks=true&timeoutSeconds=5");
    let mut changes = watch(&world, &query).await;
    // Something that the watch does not see moves the bookmark on.
    let secret = json!({"metadata": {"name": "a"}});
    world
        .admin()
        .post(&world.core("secrets"), &secret)
        .await
        .created();
    let seen = expect(&mut changes, &["="]).await;
    assert_eq!(seen[0]["kind"], "ConfigMap");
    assert_eq!(seen[0]["apiVersion"], "v1");
    let metadata = seen[0]["metadata"].as_object().unwrap();
    assert_eq!(metadata.len(), 1, "{metadata:?}");
    assert!(version(&seen[0]) >= from.parse().unwrap());
    while let Some(event) = changes.next().await {
        assert_eq!(short(&event), "=");
    }
}

const WATCH_LIST: &str =
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";

fn is_initial_end(bookmark: &Value) -> bool {
    bookmark["metadata"]["annotations"] == json!({"k8s.io/initial-events-end": "true"})
}

async fn watch_list(world: World) {
    let made = create(&world, "b", "x").await;
    create(&world, "a", "x").await;
    let from = version(&made);
    for version_asked in [
        "".into(),
        "&resourceVersion=0".into(),
        format!("&resourceVersion={from}"),
    ] {
        let mut changes = watch(&world, &format!("{WATCH_LIST}{version_asked}")).await;
        let seen = expect(&mut changes, &["+a", "+b", "="]).await;
        assert!(is_initial_end(&seen[2]), "{}", seen[2]);
        assert!(version(&seen[2]) >= version(&seen[0]));
        touch(&world, "a", &format!("x{version_asked}")).await;
        expect(&mut changes, &["~a"]).await;
    }
}

async fn empty_watch_list(world: World) {
    let mut changes = watch(&world, WATCH_LIST).await;
    let seen = expect(&mut changes, &["="]).await;
    assert!(is_initial_end(&seen[0]), "{}", seen[0]);
}

async fn no_bookmark(world: World) {
    create(&world, "a", "x").await;
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1";
    let mut changes = watch(&world, query).await;
    expect(&mut changes, &["+a"]).await;
    assert_eq!(changes.next().await, None);
}

async fn legacy_bookmark(world: World) {
    create(&world, "a", "x").await;
    for query in ["", "&resourceVersion=0"] {
        let mut changes = watch(&world, &format!("allowWatchBookmarks=true{query}")).await;
        let seen = expect(&mut changes, &["+a", "="]).await;
        assert!(is_initial_end(&seen[1]), "{}", seen[1]);
    }
}

async fn no_initial_events(world: World) {
    create(&world, "a", "x").await;
    let from = now(&world).await;
    create(&world, "b", "x").await;
    let none = "sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    let mut changes = watch(&world, &format!("{none}&resourceVersion={from}")).await;
    expect(&mut changes, &["+b"]).await;
    let mut changes = watch(&world, none).await;
    create(&world, "c", "x").await;
    expect(&mut changes, &["+c"]).await;
}

async fn contradictions(world: World) {
    const MATCH: &str = "resourceVersionMatch";
    const WANTS: &str =
        "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
    const ALONE: &str = "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
    const CONTINUE: &str = "Forbidden: resourceVersionMatch is forbidden when continue is provided";
    for (query, causes) in [
        ("sendInitialEvents=true", vec![WANTS]),
        ("sendInitialEvents=false", vec![WANTS]),
        (
            "sendInitialEvents=true&resourceVersionMatch=Exact",
            vec![
                WANTS,
                "Unsupported value: \"Exact\": supported values: \"NotOlderThan\"",
            ],
        ),
        (
            "resourceVersion=5&resourceVersionMatch=NotOlderThan",
            vec![ALONE],
        ),
        (
            "resourceVersion=5&resourceVersionMatch=Foo",
            vec![
                ALONE,
                "Unsupported value: \"Foo\": supported values: \"NotOlderThan\"",
            ],
        ),
        ("continue=x", vec![CONTINUE]),
    ] {
        let path = format!("{}?{query}", world.core("configmaps"));
        let answer = world.admin().watch(&path).await.unwrap_err();
        let causes: Vec<(&str, &str)> = causes.into_iter().map(|why| (MATCH, why)).collect();
        answer.invalid(&causes);
        let message = answer.body["message"].as_str().unwrap();
        let start = "ListOptions.meta.k8s.io \"\" is invalid: ";
        assert!(message.starts_with(start), "{message}");
    }
}

async fn limit(world: World) {
    create(&world, "a", "x").await;
    create(&world, "b", "x").await;
    for query in ["limit=1", &format!("limit=1&{WATCH_LIST}")] {
        let mut changes = watch(&world, query).await;
        expect(&mut changes, &["+a", "+b"]).await;
    }
}

async fn bad_selector(world: World) {
    let path = format!("{}?fieldSelector=data%3Dx", world.core("configmaps"));
    let answer = world.admin().watch(&path).await.unwrap_err();
    answer.refused(400, "BadRequest");
}

async fn future_list(world: World) {
    let query = format!("{WATCH_LIST}&resourceVersion=1000000000");
    let mut changes = watch(&world, &query).await;
    let error = expect(&mut changes, &["!504"]).await.remove(0);
    assert_eq!(error["reason"], "Timeout");
    let message = error["message"].as_str().unwrap();
    let start = "Timeout: Too large resource version: 1000000000, current: ";
    assert!(message.starts_with(start), "{message}");
    assert_eq!(changes.next().await, None);
}

async fn future(world: World) {
    let mut changes = watch(&world, "resourceVersion=1000000000&timeoutSeconds=1").await;
    create(&world, "a", "x").await;
    assert_eq!(changes.next().await, None);
}

async fn event(world: &World, name: &str) {
    let event = json!({
        "metadata": {"name": name},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": world.namespace},
    });
    world
        .admin()
        .post(&world.core("events"), &event)
        .await
        .created();
}

async fn events_version(world: &World) -> String {
    let list = world.admin().get(&world.core("events")).await.ok();
    list["metadata"]["resourceVersion"].as_str().unwrap().into()
}

async fn compacted(world: World) {
    // Events have no watch cache in real servers: what etcd forgets is gone at once.
    let from = events_version(&world).await;
    event(&world, "a").await;
    event(&world, "b").await;
    world.compact().await;
    let path = format!("{}?resourceVersion={from}", world.core("events"));
    let mut changes = world.admin().watch(&path).await.unwrap();
    let error = expect(&mut changes, &["!410"]).await.remove(0);
    assert_eq!(error["kind"], "Status");
    assert_eq!(error["reason"], "Expired");
    assert_eq!(
        error["message"],
        "The resourceVersion for the provided watch is too old."
    );
    assert_eq!(changes.next().await, None);
    // With the list in the watch, the old version is only the least that is wanted.
    let path = format!("{path}&{WATCH_LIST}");
    let mut changes = world.admin().watch(&path).await.unwrap();
    let seen = expect(&mut changes, &["+a", "+b", "="]).await;
    assert!(is_initial_end(&seen[2]), "{}", seen[2]);
}

async fn compaction_spares(world: World) {
    event(&world, "a").await;
    let from = events_version(&world).await;
    let path = format!("{}?resourceVersion={from}", world.core("events"));
    let mut changes = world.admin().watch(&path).await.unwrap();
    event(&world, "b").await;
    expect(&mut changes, &["+b"]).await;
    world.compact().await;
    event(&world, "c").await;
    expect(&mut changes, &["+c"]).await;
}

async fn metadata_only(world: World) {
    let made = create(&world, "a", "x").await;
    let path = format!("{}?labelSelector=app", world.core("configmaps"));
    let alone = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let mut changes = world.admin().watch_as(&path, alone).await.unwrap();
    let seen = expect(&mut changes, &["+a"]).await;
    assert_eq!(
        seen[0],
        json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": made["metadata"],
        })
    );
    let answer = world
        .admin()
        .watch_as(&path, "application/json;as=PartialObjectMetadata;v=v1")
        .await
        .unwrap_err();
    answer.refused(406, "NotAcceptable");
}
