use serde_json::{Value, json};

use super::*;
use crate::kinds::KINDS;

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().expect("a date")
}

fn cells_of(kind: usize, object: &Value) -> Vec<Value> {
    let kind = KINDS.get(kind).expect("a row");
    cells::of(kind, object, now())
}

#[test]
fn each_kind_has_as_many_cells_as_columns() {
    for kind in KINDS {
        let cells = cells::of(kind, &json!({}), now());
        assert_eq!(cells.len(), columns(kind).len(), "{}", kind.qualified());
    }
}

#[test]
fn ages_have_two_or_three_figures() {
    let hour = 3_600_000;
    for (millis, expected) in [
        (-3000, "<invalid>"),
        (-1000, "0s"),
        (0, "0s"),
        (119_999, "119s"),
        (120_000, "2m"),
        (599_000, "9m59s"),
        (10_740_000, "179m"),
        (3 * hour, "3h"),
        (8 * hour - 60_000, "7h59m"),
        (47 * hour, "47h"),
        (49 * hour, "2d1h"),
        (192 * hour, "8d"),
        (24 * 365 * 2 * hour, "2y"),
        (24 * 366 * 2 * hour, "2y2d"),
        (24 * 365 * 9 * hour, "9y"),
    ] {
        assert_eq!(age::human(millis), expected, "{millis}");
    }
    assert_eq!(age::since(None, now()), "<unknown>");
}

/// Status of a pod with two containers, one init container and one sidecar.
fn pod(status: &Value) -> Value {
    json!({
        "metadata": {"name": "p", "creationTimestamp": "2026-11-21T11:59:00Z"},
        "spec": {
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "a"}, {"name": "b"}],
        },
        "status": status,
    })
}

fn first_cells(status: &Value) -> String {
    let cells = cells_of(kinds::PODS, &pod(status));
    let cells: Vec<&str> = cells.iter().take(5).filter_map(Value::as_str).collect();
    cells.join(" ")
}

#[test]
fn a_pod_is_what_its_containers_are() {
    let done =
        json!({"name": "i", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}});
    let started = json!({"name": "s", "started": true, "ready": true, "restartCount": 1});
    let running = |name: &str| {
        json!({"name": name, "ready": true, "restartCount": 1, "state": {"running": {}},
               "lastState": {"terminated": {"finishedAt": "2026-11-21T11:59:55Z"}}})
    };
    let ended = |code: i64| {
        json!({"name": "b", "state": {"terminated": {"exitCode": code, "reason":
            if code == 0 { "Completed" } else { "Error" }}}})
    };
    for (status, expected) in [
        (json!({"phase": "Pending"}), "p 0/3 Pending 0 60s"),
        (
            json!({"phase": "Pending", "initContainerStatuses":
                [{"name": "i", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
            "p 0/3 Init:CrashLoopBackOff 2 60s",
        ),
        (
            json!({"phase": "Pending", "initContainerStatuses":
                [done, {"name": "s", "state": {"waiting": {"reason": "PodInitializing"}}}]}),
            "p 0/3 Init:1/2 0 60s",
        ),
        (
            json!({"phase": "Pending", "initContainerStatuses":
                [{"name": "i", "state": {"terminated": {"exitCode": 3}}}]}),
            "p 0/3 Init:ExitCode:3 0 60s",
        ),
        (
            json!({"phase": "Running", "initContainerStatuses": [done, started],
                   "containerStatuses": [running("a"), running("b")]}),
            "p 3/3 Running 3 (5s ago) 60s",
        ),
        (
            json!({"phase": "Running", "initContainerStatuses": [done, started],
                   "containerStatuses": [running("a"), ended(0)]}),
            "p 2/3 NotReady 2 (5s ago) 60s",
        ),
        (
            json!({"phase": "Running", "containerStatuses": [running("a"), ended(1)]}),
            "p 1/3 Error 1 (5s ago) 60s",
        ),
        (
            json!({"phase": "Pending", "containerStatuses":
                [{"name": "a", "state": {"waiting": {"reason": "ContainerCreating"}}}]}),
            "p 0/3 ContainerCreating 0 60s",
        ),
        (
            json!({"phase": "Failed", "reason": "Evicted"}),
            "p 0/3 Evicted 0 60s",
        ),
    ] {
        assert_eq!(first_cells(&status), expected, "{status}");
    }
}

#[test]
fn a_pod_on_its_way_out_is_terminating_unless_it_has_ended() {
    for (phase, word) in [("Running", "Terminating"), ("Succeeded", "Succeeded")] {
        let mut pod = pod(&json!({"phase": phase}));
        pod["metadata"]["deletionTimestamp"] = json!("2026-11-21T12:00:30Z");
        assert_eq!(cells_of(kinds::PODS, &pod)[2], word);
    }
}

#[test]
fn selectors_are_shown_by_key() {
    let object = json!({"spec": {"selector": {
        "matchLabels": {"b": "2"},
        "matchExpressions": [
            {"key": "a", "operator": "NotIn", "values": ["y", "x"]},
            {"key": "c", "operator": "DoesNotExist"},
        ],
    }}});
    let cells = cells_of(kinds::DEPLOYMENTS, &object);
    assert_eq!(cells[7], "a notin (x,y),b=2,!c");
}
