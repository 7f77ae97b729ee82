//! What the kubelet does with volumes, environments, containers and probes, in virtual time.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a panic in a test is its report"
)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use common::{World, is_ready};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Secret};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::time::sleep;

const MINUTE: Duration = Duration::from_secs(60);

/// A pod `web` with this in its spec, beside one container `main`.
fn pod(spec: &Value) -> String {
    let mut whole = json!({
        "containers": [{"name": "main", "image": "img", "command": ["serve"]}],
    });
    let map = whole.as_object_mut().unwrap();
    map.extend(spec.as_object().unwrap().clone());
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "labels": {"app": "web"}, "annotations": {"note": "a \"b\""}},
        "spec": whole,
    })
    .to_string()
}

fn object(kind: &str, name: &str, data: &Value) -> String {
    let field = if kind == "Secret" {
        "stringData"
    } else {
        "data"
    };
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, field: data}).to_string()
}

fn status(pod: &Pod, container: &str) -> ContainerStatus {
    let status = pod.status.as_ref().unwrap();
    let init = status.init_container_statuses.iter().flatten();
    let mut all = init.chain(status.container_statuses.iter().flatten());
    all.find(|status| status.name == container).unwrap().clone()
}

fn waiting(pod: &Pod, container: &str) -> (String, String) {
    let waiting = status(pod, container)
        .state
        .unwrap()
        .waiting
        .unwrap_or_default();
    (
        waiting.reason.unwrap_or_default(),
        waiting.message.unwrap_or_default(),
    )
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().unwrap().phase.as_deref().unwrap()
}

async fn the_pod(world: &World) -> Pod {
    let pods: Api<Pod> = Api::namespaced(world.sandbox.admin(), "default");
    pods.get("web").await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn files_of_objects_follow_them_with_the_pods_sync() {
    let world = World::start().await;
    let volumes = json!([
        {"name": "all", "configMap": {"name": "settings", "defaultMode": 0o440}},
        {"name": "some", "projected": {"defaultMode": 0o400, "sources": [
            {"secret": {"name": "keys", "items": [{"key": "a", "path": "deep/a.key", "mode": 0o600}]}},
            {"secret": {"name": "not-there", "optional": true}},
            {"configMap": {"name": "settings", "optional": true, "items": [{"key": "no", "path": "no"}]}},
            {"downwardAPI": {"items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "note", "fieldRef": {"fieldPath": "metadata.annotations"}},
                {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
            ]}},
        ]}},
        {"name": "scratch", "emptyDir": {}},
    ]);
    world.apply(&pod(&json!({ "volumes": volumes }))).await;
    sleep(MINUTE).await;
    let pod = the_pod(&world).await;
    assert_eq!(waiting(&pod, "main").0, "ContainerCreating");
    world
        .assert_event("FailedMount", "configmap \"settings\" not found")
        .await;
    world
        .assert_event("FailedMount", "secret \"keys\" not found")
        .await;

    let settings =
        |value: &str| object("ConfigMap", "settings", &json!({"one": value, "two": "2"}));
    world.apply(&settings("1")).await;
    world
        .apply(&object(
            "Secret",
            "keys",
            &json!({"a": "key", "b": "other"}),
        ))
        .await;
    let pod = world.ready_pod().await;
    let read = |volume, file| std::fs::read_to_string(world.file(&pod, volume, file)).ok();
    let mode = |volume, file| {
        let meta = std::fs::metadata(world.file(&pod, volume, file)).unwrap();
        meta.permissions().mode() & 0o777
    };
    assert_eq!(read("all", "one").as_deref(), Some("1"));
    assert_eq!((mode("all", "one"), mode("all", "two")), (0o440, 0o440));
    assert_eq!(read("some", "deep/a.key").as_deref(), Some("key"));
    assert_eq!(
        (mode("some", "deep/a.key"), mode("some", "name")),
        (0o600, 0o400)
    );
    assert_eq!(read("some", "b"), None, "only what is listed");
    assert_eq!(read("some", "labels").as_deref(), Some("app=\"web\""));
    assert_eq!(
        read("some", "note").as_deref(),
        Some("note=\"a \\\"b\\\"\"")
    );
    assert!(world.file(&pod, "scratch", "").is_dir());
    let generation = |volume| std::fs::read_link(world.file(&pod, volume, "..data")).unwrap();
    let before = (generation("all"), generation("some"));

    world.apply(&settings("one")).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(
        read("all", "one").as_deref(),
        Some("1"),
        "not before the pod's sync"
    );
    sleep(Duration::from_millis(80_100)).await;
    assert_eq!(read("all", "one").as_deref(), Some("one"));
    assert_ne!(generation("all"), before.0);
    assert_eq!(
        generation("some"),
        before.1,
        "what did not change is not touched"
    );

    // A label of the pod is another matter: the pod has changed, so it is synced.
    let pods: Api<Pod> = Api::namespaced(world.sandbox.admin(), "default");
    let patch = Patch::Merge(json!({"metadata": {"labels": {"tier": "front"}}}));
    pods.patch("web", &PatchParams::default(), &patch)
        .await
        .unwrap();
    sleep(Duration::from_millis(100)).await;
    let labels = read("some", "labels").unwrap();
    assert_eq!(labels, "app=\"web\"\ntier=\"front\"");

    let secrets: Api<Secret> = Api::namespaced(world.sandbox.admin(), "default");
    secrets.delete("keys", &Default::default()).await.unwrap();
    sleep(MINUTE * 3).await;
    assert_eq!(
        read("some", "deep/a.key").as_deref(),
        Some("key"),
        "what is gone stays as it was"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_is_refreshed_at_four_fifths_of_its_life() {
    let world = World::start().await;
    let volumes = json!([{"name": "vault", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 7200}},
    ]}}]);
    world.apply(&pod(&json!({ "volumes": volumes }))).await;
    let pod = world.ready_pod().await;
    let token = |volume: &str| std::fs::read_to_string(world.file(&pod, volume, "token")).unwrap();
    let first = token("vault");
    let claims = |token: &str| -> Value {
        use base64::Engine as _;
        let part = token.split('.').nth(1).unwrap();
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(part)
            .unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let found = claims(&first);
    assert_eq!(found["aud"], json!(["vault"]));
    assert_eq!(found["sub"], "system:serviceaccount:default:default");
    assert_eq!(
        found["kubernetes.io"]["pod"]["uid"],
        json!(pod.uid().unwrap())
    );
    sleep(MINUTE * 95).await;
    assert_eq!(
        token("vault"),
        first,
        "not before 96 minutes less ten seconds"
    );
    sleep(MINUTE * 3).await;
    let second = token("vault");
    assert_ne!(second, first);
    assert!(claims(&second)["exp"].as_i64() > found["exp"].as_i64());

    // What every pod gets beside.
    let volumes = pod.spec.as_ref().unwrap().volumes.iter().flatten();
    let mut names = volumes.map(|volume| volume.name.as_str());
    let access = names
        .find(|name| name.starts_with("kube-api-access-"))
        .unwrap();
    let user = world.sandbox.api().authenticate(&token(access)).unwrap();
    assert_eq!(user.name, "system:serviceaccount:default:default");
    let read = |file| std::fs::read_to_string(world.file(&pod, access, file)).unwrap();
    assert_eq!(read("namespace"), "default");
    assert_eq!(read("ca.crt"), "", "nobody serves TLS in a closed sandbox");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_environment_waits_for_what_it_is_made_of() {
    let world = World::start().await;
    let env = json!([
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "ONE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "one"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "x", "key": "y", "optional": true}}},
        {"name": "ALL", "value": "$(APP) on $(NODE): $(ONE), $(P_two)"},
    ]);
    let from = json!([
        {"prefix": "P_", "configMapRef": {"name": "settings"}},
        {"secretRef": {"name": "not-there", "optional": true}},
    ]);
    let containers = json!([{
        "name": "main", "image": "img", "command": ["serve"], "args": ["--ip=$(IP)"],
        "env": env, "envFrom": from,
    }]);
    world
        .apply(&pod(&json!({ "containers": containers })))
        .await;
    sleep(Duration::from_secs(5)).await;
    let pod = the_pod(&world).await;
    let expected = (
        "CreateContainerConfigError",
        "configmap \"settings\" not found",
    );
    let found = waiting(&pod, "main");
    assert_eq!((found.0.as_str(), found.1.as_str()), expected);
    world
        .apply(&object("ConfigMap", "settings", &json!({"two": "2"})))
        .await;
    sleep(Duration::from_secs(16)).await;
    let found = waiting(&the_pod(&world).await, "main").1;
    assert_eq!(found, "couldn't find key one in ConfigMap default/settings");
    world
        .apply(&object(
            "ConfigMap",
            "settings",
            &json!({"one": "1", "two": "2"}),
        ))
        .await;
    let pod = world.ready_pod().await;
    assert_eq!(status(&pod, "main").restart_count, 0);
    let launch = world.tasks.launches.lock().unwrap()[0].clone();
    let address = pod.status.as_ref().unwrap().pod_ip.clone().unwrap();
    assert_eq!(launch.argv, ["serve".to_owned(), format!("--ip={address}")]);
    assert_eq!(launch.environment["ALL"], "web on sandbox: 1, 2");
    assert!(!launch.environment.contains_key("NONE"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn init_containers_come_first_and_sidecars_stay() {
    let world = World::start().await;
    let container =
        |name: &str, command: Value| json!({"name": name, "image": "img", "command": command});
    let mut sidecar = container("beside", json!(["serve"]));
    sidecar["restartPolicy"] = json!("Always");
    let spec = json!({
        "restartPolicy": "OnFailure",
        "initContainers": [container("first", json!(["succeed-after", "20"])), sidecar],
        "containers": [
            container("main", json!(["succeed-after", "30"])),
            container("other", json!(["succeed-after", "40"])),
        ],
    });
    world.apply(&pod(&spec)).await;
    sleep(Duration::from_secs(10)).await;
    let pod = the_pod(&world).await;
    assert_eq!(phase(&pod), "Pending");
    assert_eq!(waiting(&pod, "main").0, "PodInitializing");
    assert!(status(&pod, "first").state.unwrap().running.is_some());
    sleep(Duration::from_secs(15)).await;
    let pod = the_pod(&world).await;
    assert!(is_ready(&pod) && phase(&pod) == "Running");
    assert!(status(&pod, "first").state.unwrap().terminated.is_some());
    let names: Vec<_> = {
        let launches = world.tasks.launches.lock().unwrap();
        launches
            .iter()
            .map(|launch| launch.container.clone())
            .collect()
    };
    assert_eq!(names, ["first", "beside", "main", "other"]);
    sleep(MINUTE).await;
    let pod = the_pod(&world).await;
    assert_eq!(phase(&pod), "Succeeded");
    assert_eq!(
        world.tasks.stops.lock().unwrap().len(),
        1,
        "the sidecar was stopped"
    );
    assert_eq!(world.tasks.launches.lock().unwrap().len(), 4);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_init_container_keeps_the_pod_from_starting() {
    let world = World::start().await;
    let spec = |policy: &str| {
        json!({
            "restartPolicy": policy,
            "initContainers": [{"name": "first", "image": "img", "command": ["crash-after", "1"]}],
        })
    };
    world.apply(&pod(&spec("Always"))).await;
    sleep(Duration::from_secs(40)).await;
    let found = the_pod(&world).await;
    assert_eq!(phase(&found), "Pending");
    let first = status(&found, "first");
    // Runs at 0, 1, 12 and 33; the next is at 74.
    assert_eq!(first.restart_count, 3);
    let (reason, message) = waiting(&found, "first");
    assert_eq!(reason, "CrashLoopBackOff");
    let uid = found.uid().unwrap();
    let expected = format!("back-off 40s restarting failed container=first pod=web_default({uid})");
    assert_eq!(message, expected);
    assert_eq!(first.last_state.unwrap().terminated.unwrap().exit_code, 1);
    world
        .assert_event(
            "BackOff",
            "Back-off restarting failed container first in pod web_default",
        )
        .await;
    world.end().await;

    let world = World::start().await;
    world.apply(&pod(&spec("Never"))).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(phase(&the_pod(&world).await), "Failed");
    assert_eq!(world.tasks.launches.lock().unwrap().len(), 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn probes_decide_when_a_container_has_started_is_ready_and_lives() {
    let world = World::start().await;
    let probe = |word: &str, more: Value| {
        let mut probe = json!({"exec": {"command": ["check", word]}});
        probe
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        probe
    };
    let containers = json!([{
        "name": "main", "image": "img", "command": ["serve"],
        "startupProbe": probe("up", json!({"periodSeconds": 5, "failureThreshold": 6})),
        "readinessProbe": probe("ready", json!({"periodSeconds": 4, "successThreshold": 2})),
        "livenessProbe": probe("alive", json!({
            "periodSeconds": 10, "failureThreshold": 2, "terminationGracePeriodSeconds": 3,
        })),
    }]);
    let set = |word: &str, healthy: bool| {
        let mut words = world.tasks.healthy.lock().unwrap();
        if healthy {
            words.insert(word.to_owned());
        } else {
            words.remove(word);
        }
    };
    set("alive", true);
    world
        .apply(&pod(&json!({ "containers": containers })))
        .await;
    sleep(Duration::from_secs(12)).await;
    let pod = the_pod(&world).await;
    assert!(!is_ready(&pod) && phase(&pod) == "Running");
    assert_eq!(status(&pod, "main").started, Some(false));
    world
        .assert_event("Unhealthy", "Startup probe failed")
        .await;

    set("up", true);
    sleep(Duration::from_secs(6)).await;
    let pod = the_pod(&world).await;
    assert_eq!(status(&pod, "main").started, Some(true));
    assert!(!is_ready(&pod), "it has started, and is not ready");
    set("ready", true);
    sleep(Duration::from_secs(4)).await;
    assert!(!is_ready(&the_pod(&world).await), "once is not enough");
    sleep(Duration::from_secs(4)).await;
    assert!(is_ready(&the_pod(&world).await));
    set("ready", false);
    sleep(Duration::from_secs(13)).await;
    let pod = the_pod(&world).await;
    assert!(!is_ready(&pod), "three failures");
    let conditions = pod.status.as_ref().unwrap().conditions.as_ref().unwrap();
    let ready = conditions
        .iter()
        .find(|c| c.type_ == "ContainersReady")
        .unwrap();
    assert_eq!(
        ready.message.as_deref(),
        Some("containers with unready status: [main]")
    );
    assert_eq!(status(&pod, "main").restart_count, 0);

    set("alive", false);
    sleep(Duration::from_secs(22)).await;
    let pod = the_pod(&world).await;
    assert_eq!(status(&pod, "main").restart_count, 1);
    assert_eq!(*world.tasks.stops.lock().unwrap(), [Duration::from_secs(3)]);
    world
        .assert_event(
            "Killing",
            "Container main failed liveness probe, will be restarted",
        )
        .await;
    world.end().await;
}
