//! Watches: where they begin, what they show, how they end, and kube's watcher on top of them.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic in a test is its report"
)]

mod common;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use common::*;
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use podcert_apiserver::{ApiServer, Effect, Matching, Occurrence, Verb};
use proptest::prelude::*;
use serde_json::json;
use tokio::time::{Instant, timeout};

type Events = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + Send>>;

fn maps(client: &Client) -> Api<ConfigMap> {
    Api::default_namespaced(client.clone())
}

async fn watch(maps: &Api<ConfigMap>, params: &WatchParams, from: &str) -> Events {
    maps.watch(params, from).await.expect("a watch").boxed()
}

/// An event in short: `+a` added, `~a` modified, `-a` deleted, `=` bookmark, `!410` error.
fn short(event: &WatchEvent<ConfigMap>) -> String {
    match event {
        WatchEvent::Added(map) => format!("+{}", map.name_any()),
        WatchEvent::Modified(map) => format!("~{}", map.name_any()),
        WatchEvent::Deleted(map) => format!("-{}", map.name_any()),
        WatchEvent::Bookmark(_) => "=".into(),
        WatchEvent::Error(status) => format!("!{}", status.code),
    }
}

/// Everything that comes within a second.
async fn drain(events: &mut Events) -> Vec<String> {
    let mut seen = Vec::new();
    while let Ok(Some(event)) = timeout(Duration::from_secs(1), events.next()).await {
        seen.push(short(&event.expect("an event")));
    }
    seen
}

async fn touch(maps: &Api<ConfigMap>, name: &str, value: &str) -> ConfigMap {
    let mut map = maps.get(name).await.expect("there");
    map.data = Some([("key".to_owned(), value.to_owned())].into());
    maps.replace(name, &post(), &map).await.expect("replaced")
}

async fn delete(maps: &Api<ConfigMap>, name: &str) {
    maps.delete(name, &DeleteParams::default())
        .await
        .expect("deleted");
}

async fn version(maps: &Api<ConfigMap>) -> String {
    let list = maps.list(&ListParams::default()).await.expect("listed");
    list.metadata.resource_version.expect("a version")
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_each_minute_and_shortly_before_the_end() {
    let (_, client) = world();
    let maps = maps(&client);
    let from = version(&maps).await;
    let begin = Instant::now();
    let params = WatchParams::default().timeout(150);
    let mut events = watch(&maps, &params, &from).await;
    let mut times = Vec::new();
    while let Some(event) = events.next().await {
        assert_eq!(short(&event.expect("an event")), "=");
        times.push(begin.elapsed().as_secs());
    }
    assert_eq!(times, [60, 120, 148]);
    assert_eq!(
        begin.elapsed().as_secs(),
        150,
        "the watch ends when its time is up"
    );

    let mut events = watch(&maps, &params.disable_bookmarks(), &from).await;
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_carries_the_version_of_the_whole_server() {
    let (api, client) = world();
    let maps = maps(&client);
    let from = version(&maps).await;
    let mut events = watch(&maps, &WatchParams::default(), &from).await;
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client);
    nodes
        .create(&post(), &from_json("n"))
        .await
        .expect("created");
    let Some(Ok(WatchEvent::Bookmark(bookmark))) = events.next().await else {
        panic!("expected a bookmark");
    };
    assert_eq!(
        bookmark.metadata.resource_version,
        api.resource_version().to_string()
    );
    assert_eq!(bookmark.types.kind, "ConfigMap");
    assert!(bookmark.metadata.annotations.is_empty());
}

fn from_json<K: serde::de::DeserializeOwned>(name: &str) -> K {
    from(json!({"metadata": {"name": name}}))
}

#[tokio::test(start_paused = true)]
async fn a_version_too_old_is_an_error_event_not_an_http_error() {
    let api = builder().history(2).build();
    let client = client(&api);
    let maps = maps(&client);
    let from = version(&maps).await;
    for name in ["a", "b", "c", "d"] {
        maps.create(&post(), &config_map(name))
            .await
            .expect("created");
    }
    let mut events = watch(&maps, &WatchParams::default(), &from).await;
    let Some(Ok(WatchEvent::Error(status))) = events.next().await else {
        panic!("expected an error event");
    };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    assert!(
        status.message.starts_with("too old resource version: "),
        "{}",
        status.message
    );
    assert!(events.next().await.is_none(), "and the watch ends");
}

#[tokio::test(start_paused = true)]
async fn large_objects_have_a_short_history() {
    let (_, client) = world();
    let maps = maps(&client);
    let from = version(&maps).await;
    let mut large = config_map("large");
    let text = "x".repeat(2_900_000);
    large.data = Some([("text".to_owned(), text)].into());
    maps.create(&post(), &large).await.expect("created");
    let patch =
        |value: usize| Patch::Merge(json!({"metadata": {"labels": {"n": value.to_string()}}}));
    let mut recent = String::new();
    for number in 0..26 {
        let patched = maps
            .patch("large", &PatchParams::default(), &patch(number))
            .await
            .expect("patched");
        if number == 22 {
            recent = patched.resource_version().expect("a version");
        }
    }
    let mut events = watch(&maps, &WatchParams::default(), &from).await;
    assert_eq!(drain(&mut events).await, ["!410"]);
    let mut events = watch(&maps, &WatchParams::default(), &recent).await;
    assert_eq!(drain(&mut events).await, ["~large"; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_falls_behind_the_history_ends() {
    let api = builder().history(3).build();
    let client = client(&api);
    let maps = maps(&client);
    let from = version(&maps).await;
    let mut slow = watch(&maps, &WatchParams::default(), &from).await;
    for name in ["a", "b", "c", "d", "e"] {
        maps.create(&post(), &config_map(name))
            .await
            .expect("created");
    }
    assert!(slow.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn compaction_spares_the_watches_that_are_up_to_date() {
    let (api, client) = world();
    let maps = maps(&client);
    maps.create(&post(), &config_map("a"))
        .await
        .expect("created");
    let from = version(&maps).await;
    let mut events = watch(&maps, &WatchParams::default(), &from).await;
    assert_eq!(drain(&mut events).await, [""; 0]);
    api.faults().compact();
    touch(&maps, "a", "new").await;
    assert_eq!(drain(&mut events).await, ["~a"]);
    let mut late = watch(&maps, &WatchParams::default(), &from).await;
    assert_eq!(drain(&mut late).await, ["!410"]);
}

#[tokio::test(start_paused = true)]
async fn open_watches_are_counted_until_they_are_dropped() {
    let (api, client) = world();
    let maps = maps(&client);
    let one = watch(&maps, &WatchParams::default(), "0").await;
    let two = watch(&maps, &WatchParams::default(), "0").await;
    assert_eq!(api.open_watches(), 2);
    drop(one);
    assert_eq!(api.open_watches(), 1);
    drop(two);
    assert_eq!(api.open_watches(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_timeout_lives_between_once_and_twice_the_servers_default() {
    let (_, client) = world();
    let begin = Instant::now();
    let request = http::Request::get("/api/v1/configmaps?watch=true")
        .body(Vec::new())
        .expect("a request");
    let mut events = client
        .request_events::<ConfigMap>(request)
        .await
        .expect("a watch")
        .boxed();
    assert!(events.next().await.is_none());
    let lived = begin.elapsed().as_secs();
    assert!((1800..3600).contains(&lived), "{lived}");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_beyond_the_end_of_time_is_none() {
    let (_, client) = world();
    let path = format!("/api/v1/configmaps?watch=true&timeoutSeconds={}", i64::MAX);
    let request = http::Request::get(path)
        .body(Vec::new())
        .expect("a request");
    let mut events = client
        .request_events::<ConfigMap>(request)
        .await
        .expect("a watch")
        .boxed();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    maps.create(&post(), &config_map("a"))
        .await
        .expect("created");
    assert!(events.next().await.is_some());
}

/// What kube's watcher has made of its stream: the objects it believes in.
#[derive(Default)]
struct Mirror {
    objects: BTreeMap<String, String>,
    initial: BTreeMap<String, String>,
    inits: usize,
    errors: usize,
}

impl Mirror {
    fn apply(&mut self, event: watcher::Result<watcher::Event<ConfigMap>>) {
        let entry = |map: &ConfigMap| {
            let data = map.data.clone().unwrap_or_default();
            (map.name_any(), data.get("key").cloned().unwrap_or_default())
        };
        match event {
            Err(_) => self.errors += 1,
            Ok(watcher::Event::Init) => {
                self.inits += 1;
                self.initial.clear();
            }
            Ok(watcher::Event::InitApply(map)) => self.initial.extend([entry(&map)]),
            Ok(watcher::Event::InitDone) => self.objects = std::mem::take(&mut self.initial),
            Ok(watcher::Event::Apply(map)) => self.objects.extend([entry(&map)]),
            Ok(watcher::Event::Delete(map)) => {
                self.objects.remove(&map.name_any());
            }
        }
    }

    /// Follows the watcher until nothing comes for ten seconds.
    async fn settle<S>(&mut self, events: &mut S)
    where
        S: Stream<Item = watcher::Result<watcher::Event<ConfigMap>>> + Unpin,
    {
        while let Ok(Some(event)) = timeout(Duration::from_secs(10), events.next()).await {
            self.apply(event);
        }
    }
}

async fn truth(maps: &Api<ConfigMap>) -> BTreeMap<String, String> {
    let list = maps.list(&ListParams::default()).await.expect("listed");
    list.items
        .into_iter()
        .map(|map| (map.name_any(), map.data.unwrap_or_default()["key"].clone()))
        .collect()
}

/// kube's watcher through quiet hours, cut watches, failing reconnects and lost history.
async fn watcher_keeps_up(config: watcher::Config) {
    let (api, client) = world();
    let maps = maps(&client);
    let faults = api.faults();
    for name in ["a", "b"] {
        maps.create(&post(), &config_map(name))
            .await
            .expect("created");
    }
    let mut events = watcher(maps.clone(), config).boxed();
    let mut mirror = Mirror::default();
    mirror.settle(&mut events).await;
    assert_eq!(mirror.objects, truth(&maps).await);
    assert_eq!((mirror.inits, mirror.errors), (1, 0));

    // Hours of reconnects: kube asks for 290 s at a time.
    for round in 0..20 {
        let follow = async {
            let quiet = tokio::time::sleep(Duration::from_secs(600));
            tokio::pin!(quiet);
            loop {
                tokio::select! {
                    () = &mut quiet => break,
                    event = events.next() => mirror.apply(event.expect("a watcher never ends")),
                }
            }
        };
        follow.await;
        touch(&maps, "a", &format!("round {round}")).await;
    }
    mirror.settle(&mut events).await;
    assert_eq!(mirror.objects, truth(&maps).await);
    assert_eq!(
        (mirror.inits, mirror.errors),
        (1, 0),
        "reconnects resume, they do not relist"
    );

    // Cut while things change.
    assert_eq!(faults.drop_watches(&Matching::any()), 1);
    touch(&maps, "a", "after the cut").await;
    delete(&maps, "b").await;
    mirror.settle(&mut events).await;
    assert_eq!(mirror.objects, truth(&maps).await);
    assert_eq!((mirror.inits, mirror.errors), (1, 0));

    // Cut, and the server refuses to take the watch up for a while.
    let refusing = faults.inject(
        Matching::any().verb(Verb::Watch),
        Occurrence::Next(3),
        Effect::error(503, "ServiceUnavailable", "try later"),
    );
    faults.drop_watches(&Matching::any());
    maps.create(&post(), &config_map("c"))
        .await
        .expect("created");
    mirror.settle(&mut events).await;
    assert_eq!(refusing.hits(), 3);
    assert_eq!(mirror.objects, truth(&maps).await);
    assert_eq!((mirror.inits, mirror.errors), (1, 3));

    // Cut, and the history is gone: 410, then all over again.
    delete(&maps, "c").await;
    maps.create(&post(), &config_map("d"))
        .await
        .expect("created");
    faults.drop_watches(&Matching::any());
    faults.compact();
    mirror.settle(&mut events).await;
    assert_eq!(mirror.objects, truth(&maps).await);
    assert_eq!((mirror.inits, mirror.errors), (2, 4));
}

#[tokio::test(start_paused = true)]
async fn kubes_watcher_keeps_up_by_list_and_watch() {
    watcher_keeps_up(watcher::Config::default().page_size(1)).await;
}

#[tokio::test(start_paused = true)]
async fn kubes_watcher_keeps_up_by_streaming_lists() {
    watcher_keeps_up(watcher::Config::default().streaming_lists()).await;
}

#[tokio::test(start_paused = true)]
async fn a_year_of_watching_takes_no_time() {
    let api = builder()
        .bookmark_interval(Duration::from_secs(86_400))
        .watch_timeout(None)
        .build();
    let client = client(&api);
    let maps = maps(&client);
    let config = watcher::Config::default().timeout(0);
    let mut events = watcher(maps.clone(), config).boxed();
    let mut mirror = Mirror::default();
    mirror.settle(&mut events).await;
    tokio::time::sleep(Duration::from_secs(365 * 86_400)).await;
    maps.create(&post(), &config_map("a"))
        .await
        .expect("created");
    mirror.settle(&mut events).await;
    assert_eq!(mirror.objects, truth(&maps).await);
    assert_eq!(mirror.inits, 1);
    assert_eq!(api.stats().of_verb(Verb::Watch).total(), 1);
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Create(u8),
    Delete(u8),
    Relabel(u8, bool),
    Touch(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_u8).prop_map(Step::Create),
        (0..6_u8).prop_map(Step::Delete),
        (0..6_u8, any::<bool>()).prop_map(|(name, web)| Step::Relabel(name, web)),
        (0..6_u8, any::<u8>()).prop_map(|(name, value)| Step::Touch(name, value)),
    ]
}

async fn take(maps: &Api<ConfigMap>, step: &Step) {
    // Steps that do not apply (a second create, a delete of nothing) are refused: no change.
    match step {
        Step::Create(name) => {
            let _ = maps.create(&post(), &config_map(&format!("m{name}"))).await;
        }
        Step::Delete(name) => {
            let _ = maps
                .delete(&format!("m{name}"), &DeleteParams::default())
                .await;
        }
        Step::Relabel(name, web) => {
            let app = if *web { "web" } else { "db" };
            let patch = json!({"metadata": {"labels": {"app": app}}});
            let _ = maps
                .patch(
                    &format!("m{name}"),
                    &Default::default(),
                    &kube::api::Patch::Merge(&patch),
                )
                .await;
        }
        Step::Touch(name, value) => {
            let patch = json!({"data": {"key": value.to_string()}});
            let _ = maps
                .patch(
                    &format!("m{name}"),
                    &Default::default(),
                    &kube::api::Patch::Merge(&patch),
                )
                .await;
        }
    }
}

type Snapshot = BTreeMap<String, Option<String>>;

fn snapshot(items: &[ConfigMap]) -> Snapshot {
    items
        .iter()
        .map(|map| (map.name_any(), map.resource_version()))
        .collect()
}

/// Lists at every version, then replays a watch from each: it must end where the final list is.
async fn replay(steps: &[Step], labels: &str) {
    let (_, client) = world();
    let maps = maps(&client);
    let list = async || {
        maps.list(&ListParams::default().labels(labels))
            .await
            .expect("listed")
    };
    let mut lists = vec![list().await];
    for step in steps {
        take(&maps, step).await;
        lists.push(list().await);
    }
    let last = snapshot(&lists.last().expect("a list").items);
    for list in &lists {
        let from = list.metadata.resource_version.clone().expect("a version");
        // The list as of this version is still what it was then.
        let then = ListParams::default()
            .labels(labels)
            .at(&from)
            .matching(kube::api::VersionMatch::Exact);
        assert_eq!(
            snapshot(&maps.list(&then).await.expect("listed").items),
            snapshot(&list.items)
        );

        let mut known = snapshot(&list.items);
        let params = WatchParams::default()
            .labels(labels)
            .timeout(1)
            .disable_bookmarks();
        let events: Vec<_> = maps
            .watch(&params, &from)
            .await
            .expect("a watch")
            .try_collect()
            .await
            .expect("events");
        for event in events {
            match event {
                WatchEvent::Added(map) => {
                    assert!(
                        known
                            .insert(map.name_any(), map.resource_version())
                            .is_none()
                    );
                }
                WatchEvent::Modified(map) => {
                    assert!(
                        known
                            .insert(map.name_any(), map.resource_version())
                            .is_some()
                    );
                }
                WatchEvent::Deleted(map) => assert!(known.remove(&map.name_any()).is_some()),
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(known, last, "from {from}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_watch_replayed_from_any_version_ends_at_the_final_list(
        steps in proptest::collection::vec(step(), 0..24)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            replay(&steps, "").await;
            replay(&steps, "app=web").await;
        });
    }
}

/// Real threads for once: what optimistic concurrency and the log promise must hold there too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_on_several_threads_lose_no_update_and_watches_see_all_in_order() {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 50;
    let api = ApiServer::builder().seed(1).build();
    let maps = maps(&client(&api));
    let counter: ConfigMap = from(json!({"metadata": {"name": "n"}, "data": {"key": "0"}}));
    maps.create(&post(), &counter).await.expect("created");
    let mut events = watch(&maps, &WatchParams::default(), "0").await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let maps = maps.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while done < ROUNDS {
                    let mut map = maps.get("n").await.expect("there");
                    let value: usize = map.data.clone().expect("data")["key"].parse().expect("n");
                    map.data = Some([("key".to_owned(), (value + 1).to_string())].into());
                    match maps.replace("n", &post(), &map).await {
                        Ok(_) => done += 1,
                        Err(kube::Error::Api(status)) => assert_eq!(status.code, 409),
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    let (mut last_value, mut last_version) = (None, 0);
    while last_value != Some(WRITERS * ROUNDS) {
        let event = events.next().await.expect("an event").expect("an event");
        let (WatchEvent::Added(map) | WatchEvent::Modified(map)) = event else {
            continue;
        };
        let value: usize = map.data.clone().expect("data")["key"].parse().expect("n");
        let version: u64 = map
            .resource_version()
            .expect("a version")
            .parse()
            .expect("n");
        assert!(version > last_version);
        assert!(last_value.is_none_or(|last| value == last + 1));
        (last_value, last_version) = (Some(value), version);
    }
    for writer in writers {
        writer.await.expect("a writer");
    }
}
