//! A pod's row: what its containers' states add up to in one word.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::age::since;
use super::cells::{number, or};
use crate::object::{at, list, text};

/// The cells of a pod's row.
pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = Summary::of(pod);
    let restarts = match summary.last_restart {
        Some(date) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, since(Some(date), now))
        }
        _ => summary.restarts.to_string(),
    };
    let status = pod.get("status").unwrap_or(&Value::Null);
    let address = list(status, "podIPs").next();
    vec![
        json!(text(pod, &["metadata", "name"])),
        json!(format!("{}/{}", summary.ready, summary.containers)),
        json!(summary.word),
        json!(restarts),
        json!(since(at(pod, &["metadata", "creationTimestamp"]), now)),
        json!(or(
            address.map_or("", |address| text(address, &["ip"])),
            "<none>"
        )),
        json!(or(text(pod, &["spec", "nodeName"]), "<none>")),
        json!(or(text(status, &["nominatedNodeName"]), "<none>")),
        json!(gates(pod, status)),
    ]
}

fn gates(pod: &Value, status: &Value) -> String {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let gates: Vec<&str> = list(spec, "readinessGates")
        .map(|gate| text(gate, &["conditionType"]))
        .collect();
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates.iter().filter(|gate| is_true(status, gate)).count();
    format!("{open}/{}", gates.len())
}

/// What the containers of a pod come to.
struct Summary<'a> {
    word: String,
    ready: usize,
    containers: usize,
    restarts: i64,
    last_restart: Option<&'a Value>,
}

impl<'a> Summary<'a> {
    fn of(pod: &'a Value) -> Self {
        let null = &Value::Null;
        let (spec, status) = (
            pod.get("spec").unwrap_or(null),
            pod.get("status").unwrap_or(null),
        );
        let phase = text(status, &["phase"]);
        let reason = text(status, &["reason"]);
        let gated = list(status, "conditions").any(|condition| {
            text(condition, &["type"]) == "PodScheduled"
                && text(condition, &["reason"]) == "SchedulingGated"
        });
        let sidecars: Vec<&str> = list(spec, "initContainers")
            .filter(|container| text(container, &["restartPolicy"]) == "Always")
            .map(|container| text(container, &["name"]))
            .collect();
        let mut summary = Self {
            word: if gated {
                "SchedulingGated".to_owned()
            } else {
                or(reason, phase).to_owned()
            },
            ready: 0,
            containers: list(spec, "containers").count() + sidecars.len(),
            restarts: 0,
            last_restart: None,
        };
        let initializing = summary.initialize(spec, status, &sidecars);
        if !initializing || is_true(status, "Initialized") {
            // Of the init containers, only those that go on running count from here on.
            (summary.restarts, summary.last_restart) = (0, None);
            for container in list(status, "initContainerStatuses") {
                if sidecars.contains(&text(container, &["name"])) {
                    summary.count_restarts(container);
                }
            }
            summary.run(status);
        }
        let ending = at(pod, &["metadata", "deletionTimestamp"]).is_some();
        if ending && reason == "NodeLost" {
            summary.word = "Unknown".to_owned();
        } else if ending && !matches!(phase, "Failed" | "Succeeded") {
            summary.word = "Terminating".to_owned();
        }
        summary
    }

    fn count_restarts(&mut self, container: &'a Value) {
        self.restarts += number(container, &["restartCount"]);
        let date = at(container, &["lastState", "terminated", "finishedAt"]);
        let text = |date: Option<&'a Value>| date.and_then(Value::as_str).unwrap_or_default();
        if text(date) > text(self.last_restart) {
            self.last_restart = date;
        }
    }

    /// Takes in the init containers, in their order; true if one of them holds up the rest.
    fn initialize(&mut self, spec: &Value, status: &'a Value, sidecars: &[&str]) -> bool {
        for (index, container) in list(status, "initContainerStatuses").enumerate() {
            self.count_restarts(container);
            let terminated = at(container, &["state", "terminated"]);
            if terminated.is_some_and(|it| number(it, &["exitCode"]) == 0) {
                continue;
            }
            let is = |field: &str| container.get(field) == Some(&Value::Bool(true));
            if sidecars.contains(&text(container, &["name"])) && is("started") {
                self.ready += usize::from(is("ready"));
                continue;
            }
            let waiting = text(container, &["state", "waiting", "reason"]);
            self.word = match terminated {
                Some(terminated) => format!("Init:{}", ended(terminated)),
                None if !matches!(waiting, "" | "PodInitializing") => format!("Init:{waiting}"),
                None => format!("Init:{index}/{}", list(spec, "initContainers").count()),
            };
            return true;
        }
        false
    }

    /// Takes in the containers; the first one with something to say has the last word.
    fn run(&mut self, status: &'a Value) {
        let (mut running, mut failure) = (false, None);
        let containers: Vec<&Value> = list(status, "containerStatuses").collect();
        for container in containers.into_iter().rev() {
            self.count_restarts(container);
            let waiting = text(container, &["state", "waiting", "reason"]);
            if !waiting.is_empty() {
                self.word = waiting.to_owned();
            } else if let Some(terminated) = at(container, &["state", "terminated"]) {
                self.word = ended(terminated);
                if number(terminated, &["exitCode"]) != 0 {
                    failure = Some(self.word.clone());
                }
            } else if container.get("ready") == Some(&Value::Bool(true))
                && at(container, &["state", "running"]).is_some()
            {
                running = true;
                self.ready += 1;
            }
        }
        if self.word != "Completed" {
            return;
        }
        if running && is_true(status, "Ready") {
            self.word = "Running".to_owned();
        } else if let Some(failure) = failure {
            self.word = failure;
        } else if running {
            self.word = "NotReady".to_owned();
        }
    }
}

/// How a container ended: its reason, else its signal, else its exit code.
fn ended(terminated: &Value) -> String {
    let signal = number(terminated, &["signal"]);
    match text(terminated, &["reason"]) {
        "" if signal != 0 => format!("Signal:{signal}"),
        "" => format!("ExitCode:{}", number(terminated, &["exitCode"])),
        reason => reason.to_owned(),
    }
}

fn is_true(status: &Value, wanted: &str) -> bool {
    list(status, "conditions")
        .find(|condition| text(condition, &["type"]) == wanted)
        .is_some_and(|condition| text(condition, &["status"]) == "True")
}
