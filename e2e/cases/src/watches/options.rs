//! What a watch is asked for besides changes: bookmarks, a list at its beginning, an end.

use serde_json::json;

use super::{WATCH_LIST, create, expect, is_initial_end, now, short, touch, watch};
use crate::samples::version;
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
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
    ]
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
