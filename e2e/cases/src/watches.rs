//! Watches: where they begin, what they show, how they end.

mod changes;
mod history;
mod options;

use serde_json::{Value, json};

use crate::samples::config_map;
use crate::{Case, Changes, World};

pub(crate) fn cases() -> Vec<Case> {
    [changes::cases(), options::cases(), history::cases()].concat()
}

async fn create(world: &World, name: &str, label: &str) -> Value {
    let mut object = config_map(name);
    object["metadata"]["labels"] = json!({"app": label});
    let path = world.core("configmaps");
    world.admin().post(&path, &object).await.created()
}

async fn touch(world: &World, name: &str, value: &str) -> Value {
    let path = format!("{}/{name}", world.core("configmaps"));
    let patch = json!({"data": {"key": value}});
    world.admin().patch(&path, "merge", &patch).await.ok()
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

/// The objects of the next events, which are these in [`short`].
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

/// The query of a watch that begins with a list and marks its end.
const WATCH_LIST: &str =
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";

/// Whether a bookmark is that mark.
fn is_initial_end(bookmark: &Value) -> bool {
    bookmark["metadata"]["annotations"] == json!({"k8s.io/initial-events-end": "true"})
}
