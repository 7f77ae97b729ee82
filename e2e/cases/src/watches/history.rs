//! Versions that a watch cannot begin at: those yet to come, and those that are forgotten.

use serde_json::json;

use super::{WATCH_LIST, create, expect, is_initial_end, short, watch};
use crate::{Case, World};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("watches/a-list-yet-to-come-is-an-error-event", future_list),
        Case::new("watches/a-version-yet-to-come-is-waited-for", future),
        Case::new("watches/a-compacted-version-is-an-error-event", compacted),
        Case::new(
            "watches/compaction-spares-those-that-are-up-to-date",
            compaction_spares,
        ),
    ]
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
    let mut attempt = 0;
    let mut changes = loop {
        let from = events_version(&world).await;
        let path = format!("{}?resourceVersion={from}", world.core("events"));
        let mut changes = world.admin().watch(&path).await.unwrap();
        let name = format!("b{attempt}");
        event(&world, &name).await;
        let first = changes.next().await.expect("the watch goes on");
        // Another case may have compacted before the watch began.
        if short(&first) == "!410" && attempt < ATTEMPTS {
            attempt += 1;
            continue;
        }
        assert_eq!(short(&first), format!("+{name}"));
        break changes;
    };
    world.compact().await;
    event(&world, "c").await;
    expect(&mut changes, &["+c"]).await;
}

/// Compactions of other cases to put up with.
const ATTEMPTS: usize = 5;
